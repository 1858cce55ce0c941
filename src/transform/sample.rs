//! A sample of the rows: a keyed hash of a row's input decides. Nothing else of the row or the run matters.

use std::fmt::Write;

use serde_json::value::RawValue;
use twox_hash::XxHash3_64;

use super::{
    json::{is_deeper, write_string},
    row_value::JsonMembers,
};
use crate::{
    client::{Row, compact::compact},
    error::{Error, Result},
};

/// Nesting up to which keys are sorted and strings are compared by their characters.
const DEPTH: usize = 500;

/// Makes the hash of samples another than that of splits with the same seed.
const PURPOSE: u64 = 0x7361_6d70_6c65_0001;

/// The choice of a fraction of the rows.
#[derive(Debug)]
pub(super) struct Sample {
    seed: u64,
    /// Rows with a hash below it are kept.
    below: u64,
    is_all: bool,
}

impl Sample {
    pub(super) fn new(fraction: f64, seed: u64) -> Result<Self> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            let why = "use a number above 0 and up to 1, such as 0.05";
            return Err(Error::invalid("sample", fraction.to_string(), why));
        }
        // A conversion saturates: 1 keeps all rows but those of the largest hash, which the flag keeps.
        let below = (fraction * 2_f64.powi(64)) as u64;
        Ok(Self { seed: seed ^ PURPOSE, below, is_all: fraction >= 1.0 })
    }

    pub(super) fn keeps(&self, row: &Row<'_>) -> bool {
        self.is_all || {
            let text = canonical(row.input.unwrap_or("null"));
            XxHash3_64::oneshot_with_seed(self.seed, text.as_bytes()) < self.below
        }
    }
}

/// Returns a text that is equal for equal JSON values: without white space, keys sorted, strings with the same
/// escapes. Numbers keep their digits, so 1 and 1.0 differ.
pub(super) fn canonical(json: &str) -> String {
    if is_deeper(json, DEPTH) {
        return compact(json).into_owned();
    }
    let mut text = String::with_capacity(json.len());
    append(json.trim_ascii(), &mut text);
    text
}

fn append(json: &str, text: &mut String) {
    match json.as_bytes().first() {
        Some(b'"') => string(json, text),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                append(item.get(), text);
            }
            text.push(']');
        }
        Some(b'{') => {
            let members =
                serde_json::from_str::<JsonMembers<'_>>(json).map_or(Vec::new(), |it| it.0);
            let mut members: Vec<_> = members
                .into_iter()
                .map(|(key, value)| {
                    let mut text = String::new();
                    string(key.get(), &mut text);
                    (text, value)
                })
                .collect();
            // Stable: repeated keys keep their order.
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            text.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                // Writing to a string cannot fail.
                let _ = write!(text, "{comma}{key}:");
                append(value.get(), text);
            }
            text.push('}');
        }
        _ => text.push_str(json),
    }
}

fn string(json: &str, text: &mut String) {
    match serde_json::from_str::<String>(json) {
        Ok(string) => write_string(&string, text),
        // A lone surrogate is not a character: keep its escape.
        Err(_) => text.push_str(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_texts() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, r#" { "b" : [ true , null ] , "a" : 1 } "#),
            (r#""ü\n\u0041\/""#, r#""\u00fc\u000aA/""#),
            (r#"{"k":"\ud800"}"#, r#"{ "k": "\ud800" }"#),
            (r#"{"\u006b":{"z":1,"a":2}}"#, r#"{"k":{"a":2,"z":1}}"#),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        for (one, other) in [("1", "1.0"), (r#""1""#, "1"), (r#"[1,2]"#, "[2,1]"), ("{}", "[]")] {
            assert_ne!(canonical(one), canonical(other));
        }
        assert_eq!(canonical(r#"{"a":1,"a":2}"#), r#"{"a":1,"a":2}"#);
        let deep = format!("{}{}", "[ ".repeat(100_000), " ]".repeat(100_000));
        assert_eq!(canonical(&deep).len(), 200_000);
    }

    #[test]
    fn fraction_must_be_above_zero_and_up_to_one() {
        for wrong in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
            let error = Sample::new(wrong, 0).unwrap_err().to_string();
            assert!(error.contains("is not a valid sample: use a number above 0"), "{error}");
        }
        assert!(Sample::new(1.0, 0).unwrap().is_all);
    }
}
