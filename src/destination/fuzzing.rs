//! Targets for fuzzers: journals and control objects of ended runs. See [`crate::fuzzing`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken invariant ends the fuzzer"
)]

use serde::Serialize;
use serde_json::Value;

use super::{
    journal::{Announced, Contents},
    sealed::{is_intact, seal, sealed},
};

#[cfg(feature = "clouds")]
pub(crate) use super::remote::fuzzing::control;

/// A journal of a local export.
pub(crate) fn journal(bytes: &[u8]) {
    let bytes = &*resealed(bytes);
    let Some(contents) = Contents::parse(bytes) else { return };
    let Contents { header, parts, publishing, is_whole } = &contents;
    assert_eq!(header.difference(header), None);
    for kept in parts {
        assert!(kept.part.first_page <= kept.part.last_page);
        kept.part.last_page.checked_add(1).expect("a next page");
    }
    // As a run writes it.
    let mut written = Vec::new();
    append(&mut written, header);
    parts.iter().for_each(|part| append(&mut written, part));
    if let Some(publishing) = publishing {
        append(&mut written, &Announced { publishing: publishing.clone() });
    }
    let again = Contents::parse(&written).expect("a journal");
    assert_eq!((&again.parts, &again.publishing), (parts, publishing));
    assert_eq!(again.is_whole, publishing.is_none());
    assert!(has_fraction(&header.plan) || again.header == *header);
    // A run that resumes appends to a whole journal only, and the next run reads what it appends.
    if let (true, Some(part)) = (is_whole, parts.first()) {
        let mut longer = bytes.to_vec();
        append(&mut longer, part);
        let longer = Contents::parse(&longer).expect("a journal");
        assert!(longer.is_whole && longer.parts.starts_with(parts));
        assert_eq!(longer.parts.len(), parts.len() + 1);
    }
    // A crash cuts it anywhere.
    for end in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        if let Some(cut) = Contents::parse(&bytes[..end]) {
            assert!(parts.starts_with(&cut.parts));
            assert!(cut.publishing.is_none() || cut.publishing == *publishing);
        }
    }
}

fn append(journal: &mut Vec<u8>, line: &impl Serialize) {
    journal.extend(sealed(line).expect("JSON"));
    journal.push(b'\n');
}

/// Adds the check value to each line without a valid one. Otherwise a fuzzer would never get beyond it.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        match is_intact(text) {
            true => all.extend(text),
            false => all.extend(seal(text.to_vec())),
        }
        all.extend(&line[text.len()..]);
    }
    all
}

/// Whether a value has a number that is not whole: serde_json may read one that it wrote with another last digit.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
