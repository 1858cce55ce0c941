//! What holds for the body of every page, whatever its bytes are. Property tests and fuzzers assert it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken invariant ends the test"
)]

use std::{borrow::Cow, error::Error as _, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Datapoint, Page, Row, located::FIELDS, scan::scan, wire};
use crate::{client::compact::compact, error::PageError};

/// The number of the page that is decoded.
pub(in crate::client) const NUMBER: u64 = 7;

/// A page as the derived code of serde reads it.
#[derive(Deserialize)]
struct PlainPage<'a> {
    count: u64,
    #[serde(rename = "next")]
    _next: Option<IgnoredAny>,
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    #[serde(rename = "previous", default)]
    _previous: IgnoredAny,
}

/// The members of an object as JSON texts, in order.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((name.get(), value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Decodes a body, and reads everything in the result as an export would.
pub(in crate::client) fn decode(body: Vec<u8>) -> Result<Page, PageError> {
    let received = body.clone();
    if let Ok(text) = str::from_utf8(&body) {
        assert_scanned_as_parsed(text);
    }
    let result = Page::decode(NUMBER, body);
    match &result {
        Ok(page) => {
            let text = str::from_utf8(&received).unwrap();
            assert_eq!((page.number(), page.bytes()), (NUMBER, text.len()));
            assert_eq!((page.rows().len(), page.ids().len()), (page.len(), page.len()));
            assert_plain(page, text);
            for (row, owned) in page.rows().zip(page.datapoints()) {
                assert_datapoint(&row, &owned);
            }
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let (_, _) = (error.source().map(ToString::to_string), error.hint());
        }
    }
    result
}

/// Checks the scanner against the parser: if the scanner accepts a body, the parser accepts it too and finds
/// the same values. Also checks the scanner's result about white space. Returns whether the scanner accepted.
pub(super) fn assert_scanned_as_parsed(body: &str) -> bool {
    let Some(scanned) = scan(body) else { return false };
    let parsed = wire::decode(body).unwrap();
    assert_eq!(
        (scanned.count, scanned.next, scanned.previous),
        (parsed.count, parsed.next, parsed.previous)
    );
    assert_eq!(scanned.rows, parsed.rows);
    let spaces =
        serde_json::from_str::<&RawValue>(body).unwrap().get() != body || compact(body) != body;
    assert_eq!(scanned.compact, !spaces);
    true
}

/// Checks that every value of a page is the text that a plain parse finds.
fn assert_plain(page: &Page, body: &str) {
    let plain: PlainPage<'_> = serde_json::from_str(body).unwrap();
    assert_eq!((page.count(), page.len()), (plain.count, plain.results.len()));
    for (row, text) in page.rows().zip(plain.results) {
        let Members(members) = serde_json::from_str(text.get()).unwrap();
        let name = |quoted: &str| serde_json::from_str::<String>(quoted).unwrap_or_default();
        let is_known = |quoted: &str| FIELDS.contains(&name(quoted).as_str());
        let (known, unknown): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|(quoted, _)| is_known(quoted));
        let value = |field: &str| {
            let mut values = known.iter().filter(|(quoted, _)| name(quoted) == field);
            let value = values.next().map_or("null", |(_, value)| *value);
            assert!(values.next().is_none(), "{field} appears twice");
            value
        };
        let json = |field| Some(value(field)).filter(|value| *value != "null");
        assert_eq!(row.id, serde_json::from_str::<Uuid>(value("id")).unwrap());
        assert_eq!(row.order, serde_json::from_str::<Option<i64>>(value("order")).unwrap());
        let persona: Option<String> = serde_json::from_str(value("persona")).unwrap();
        assert_eq!(row.persona, persona.as_deref());
        assert_eq!(row.input, json("input"));
        assert_eq!(row.expected_output, json("expected_output"));
        assert_eq!(row.tags, json("tags"));
        let others = row.additional_properties.map(serde_json::from_str::<Members<'_>>);
        assert_eq!(others.map(|others| others.unwrap().0).unwrap_or_default(), unknown);
        for value in [row.input, row.expected_output, row.tags, row.additional_properties] {
            let value = value.unwrap_or("null");
            serde_json::from_str::<IgnoredAny>(value).unwrap();
            assert!(!row.compact || matches!(compact(value), Cow::Borrowed(_)), "{value}");
        }
    }
}

/// Checks that a datapoint has the texts of its row, and that its line is read back.
fn assert_datapoint(row: &Row<'_>, owned: &Datapoint) {
    fn texts(row: &Datapoint) -> [Option<&str>; 4] {
        let values = [&row.input, &row.expected_output, &row.tags, &row.additional_properties];
        values.map(|value| value.as_ref().map(|value| value.get()))
    }
    let rows = [row.input, row.expected_output, row.tags, row.additional_properties];
    assert_eq!(texts(owned), rows);
    let line = serde_json::to_string(owned).unwrap();
    assert!(!line.contains('\n'), "{line}");
    let again: Datapoint = serde_json::from_str(&line).unwrap();
    assert_eq!((again.id, again.order, &again.persona), (owned.id, owned.order, &owned.persona));
    assert_eq!(
        texts(&again),
        rows.map(|text| text.map(compact)).each_ref().map(|it| it.as_deref())
    );
}
