//! Targets for fuzzers: pages, answers and header values of a server. See [`crate::fuzzing`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken invariant ends the fuzzer"
)]

use std::{error::Error as _, time::Duration};

use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::de::IgnoredAny;
use url::Url;

use super::{
    Page,
    coding::{Coding, Decoder, STEP, Unfit},
    datasets,
    key::Key,
    link::Link,
    page::invariants,
    retry_after::retry_after,
    transport::Reply,
};
use crate::error::{ApiError, Error, PageError, Resource};

/// A body: of a page, or of a page of the list of datasets.
pub(crate) fn page(bytes: &[u8]) {
    drop(invariants::decode(bytes.to_vec()));
    let Ok(list) = datasets::decode(invariants::NUMBER, bytes.to_vec()) else { return };
    serde_json::from_slice::<IgnoredAny>(bytes).expect("a list is JSON");
    for dataset in list.results {
        let text = serde_json::to_string(&dataset).expect("a dataset is JSON");
        let again: super::DatasetInfo = serde_json::from_str(&text).expect("a dataset");
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}

/// Values of headers and links, one a line. The first line is the `Date` of the answer.
pub(crate) fn headers(bytes: &[u8]) {
    const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (date, values) = text.split_once('\n').unwrap_or((text, ""));
    let values: Vec<&str> = values.split('\n').collect();
    let all = retry_after(&values, Some(date));
    assert!(all.is_none_or(|wait| wait <= LONGEST), "{all:?}");
    let alone = values.iter().map(|value| retry_after(&[value], Some(date)));
    // Without the date of the server, the clock of this machine moves between the calls.
    if httpdate::parse_http_date(date.trim()).is_ok() {
        assert_eq!(all, alone.clone().flatten().max());
    }
    for (value, wait) in values.iter().zip(alone) {
        let number = value.trim();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            let seconds = number.parse().ok().map(Duration::from_secs);
            assert_eq!(wait, seconds.filter(|wait| *wait <= LONGEST), "{number}");
        }
        link(value);
    }
}

/// Compares the page number of a link with that of the crate `url`.
fn link(text: &str) {
    let found = Link::of(text);
    assert!(found.is_there());
    // The crate drops white space and control characters.
    let parsed =
        Url::parse(text).or_else(|_| Url::parse("http://api.example/").unwrap().join(text));
    let Some(url) = parsed.ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic())) else {
        return;
    };
    let mut pages = url.query_pairs().filter(|(name, _)| name == "page").map(|(_, value)| value);
    let expected = match (pages.next().map(|value| value.parse()), pages.next()) {
        (Some(Ok(number)), None) => Link::Page(number),
        _ => Link::Unnumbered,
    };
    assert_eq!(found, expected, "{text}");
}

/// An answer: the status, a line for each header, an empty line, and the body.
pub(crate) fn answer(bytes: &[u8]) {
    let Some((status, rest)) = split(bytes, b"\n") else { return };
    let (head, body) = split(rest, b"\n\n").unwrap_or((rest, b""));
    let status = str::from_utf8(status).ok().and_then(|text| text.trim().parse().ok());
    let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in head.split(|byte| *byte == b'\n').filter_map(|line| split(line, b":")) {
        let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let (mut reply, coding) = Reply::of_head(status, &headers);
    match coding {
        Coding::Other(name) => reply.coding = Some(name),
        coding => match decoded(body, coding == Coding::Gzip, status.is_success()) {
            Ok(body) => reply.body = body,
            Err(_) => return,
        },
    }
    judged(reply);
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(bytes, mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

/// Decodes a body twice: the result does not depend on how the body arrives.
fn decoded(body: &[u8], gzip: bool, whole: bool) -> Result<Vec<u8>, Unfit> {
    const LIMIT: usize = 1 << 16;
    let decode = |step: usize| {
        let mut decoder = Decoder::new(gzip, Vec::new(), LIMIT);
        let pushed = body.chunks(step).try_for_each(|chunk| decoder.push(chunk));
        assert!(decoder.len() <= LIMIT);
        match whole {
            true => pushed.and_then(|()| decoder.finish()),
            // The body of an error is used as far as it goes.
            false => Ok(decoder.so_far()),
        }
    };
    let once = decode(STEP);
    if whole {
        assert_eq!(once.as_ref().ok(), decode(61).as_ref().ok());
    }
    once
}

/// Makes every error that an answer can cause. None of them has the key.
fn judged(reply: Reply) {
    const KEY: &str = "ovr_canary_5f3c9b";
    let key = Key::new(KEY.into(), Some("the variable OVERMIND_LAB_API_KEY".into()));
    let url = Url::parse("http://api.example/api/datasets/1/datapoints/?page=7").unwrap();
    let mut errors = Vec::new();
    if let Some(source) = PageError::not_json(&reply, &key) {
        errors.push(Error::Page { page: invariants::NUMBER, source });
    }
    for wanted in [
        Resource::Datasets { page: 1 },
        Resource::Datapoints { page: invariants::NUMBER, filtered: true },
    ] {
        errors.push(Error::Api(Box::new(ApiError::new(&url, wanted, &reply, &key))));
    }
    if let Err(error) = Page::decode(invariants::NUMBER, reply.body) {
        errors.push(Error::Page { page: invariants::NUMBER, source: error.redacted(&key) });
    }
    for error in errors {
        let cause = error.source().map(ToString::to_string);
        for text in [error.to_string(), error.one_line(), error.report().to_string()] {
            assert!(!text.contains(KEY), "{text}");
        }
        assert!(cause.is_none_or(|cause| !cause.contains(KEY)));
        assert!(matches!(error.exit_code(), 2 | 65 | 66 | 69 | 77 | 78), "{error:?}");
    }
}
