//! Finds `NaN` and `Infinity`: some encoders write these numbers, but they are not valid JSON.
//!
//! Runs only when a body is not JSON, to name the row and the field in the error.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use crate::error::PageError;

/// The invalid words. `-Infinity` is one of them, so that the error names the sign, too.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Returns an error that names the first such number.
///
/// Returns `None` if the body has no such number. Also returns `None` if the body or the row is still not a JSON
/// object when all of them are replaced.
pub(in crate::client) fn explain(body: &str) -> Option<PageError> {
    let mut valid = body.as_bytes().to_vec();
    let (mut first, mut in_string, mut at) = (None, false, 0);
    while let Some(byte) = body.as_bytes().get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'I' | b'N' if !in_string => {
                let rest = &body.as_bytes()[at..];
                if let Some(word) = WORDS.into_iter().find(|it| rest.starts_with(it.as_bytes())) {
                    first.get_or_insert((at, word));
                    // The replacement has the same length, so that positions do not change.
                    valid[at..at + word.len()].fill(b' ');
                    valid[at] = b'0';
                    at += word.len() - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let (at, word) = first?;
    let valid = std::str::from_utf8(&valid).ok()?;
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(valid).ok()?;
    let holds = |value: &RawValue| {
        let start = value.get().as_ptr().addr() - valid.as_ptr().addr();
        (start..start + value.get().len()).contains(&at)
    };
    let (name, value) = fields.into_iter().find(|(_, value)| holds(value))?;
    let why = format!("{word}, which is not valid JSON");
    let rows: Option<Vec<&RawValue>> = serde_json::from_str(value.get()).ok();
    let found = rows.into_iter().flatten().enumerate().find(|(_, row)| holds(row));
    let Some((row, text)) = found.filter(|_| name == "results") else {
        return Some(PageError::NotAPage(format!("field {:?}: {why}", &*name)));
    };
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text.get()).ok()?;
    let (field, _) = fields.into_iter().find(|(_, value)| holds(value))?;
    Some(PageError::Row { row, field: field.into_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(row: &str) -> String {
        format!(r#"{{"count":2,"next":null,"results":[{{"id":"a, NaN"}},{row}]}}"#)
    }

    #[test]
    fn invalid_number_is_reported_with_row_and_field() {
        let table = [
            (r#"{"id":"b","input":NaN}"#, r#"row 1, field "input": NaN"#),
            (
                r#"{"input":"\"NaN","tags":{"a":[1,-Infinity]}}"#,
                r#"row 1, field "tags": -Infinity"#,
            ),
            (r#"{"score":Infinity,"order":NaN}"#, r#"row 1, field "score": Infinity"#),
        ];
        for (row, expected) in table {
            let error = explain(&page(row)).unwrap().to_string();
            assert_eq!(error, format!("{expected}, which is not valid JSON"), "{row}");
        }
        let error = explain(r#"{"count":NaN,"results":[]}"#).unwrap().to_string();
        assert!(error.ends_with(r#"field "count": NaN, which is not valid JSON"#), "{error}");
    }

    #[test]
    fn other_errors_are_not_explained() {
        for row in [r#"{"id":"NaN"}"#, r#"{"id":NaN"#, r#"{"id":NaN,"input":nope}"#, "NaN]"] {
            assert!(explain(&page(row)).is_none(), "{row}");
        }
    }
}
