//! A sample of the rows: a keyed hash of a row's input decides. Nothing else of the row or the run matters.

use std::mem;

use twox_hash::XxHash3_64;

use super::json_text::{scalar_end, string_end, unescape};
use crate::{
    client::Row,
    error::{Error, Result},
};

/// Makes the hash of samples another than that of splits with the same seed.
const PURPOSE: u64 = 0x7361_6d70_6c65_0001;

/// Least fraction: about 1.1e-16, one row of 2^53.
const LEAST: f64 = 1.0 / (1_u64 << 53) as f64;

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
        if fraction < LEAST {
            let why = "it keeps no row of any dataset: use a larger number, such as 0.001";
            return Err(Error::invalid("sample", fraction.to_string(), why));
        }
        // A conversion saturates: 1 keeps all rows but those of the largest hash, which the flag keeps.
        let below = (fraction * 2_f64.powi(64)) as u64;
        Ok(Self { seed: seed ^ PURPOSE, below, is_all: fraction >= 1.0 })
    }

    pub(super) fn keeps(&self, row: &Row<'_>) -> bool {
        self.is_all || value_hash(row.input.unwrap_or("null"), self.seed) < self.below
    }
}

/// Returns a hash that is equal for equal JSON values. White space, the order of keys and escapes do not matter.
/// Numbers are compared by their digits, so 1 and 1.0 differ. Repeated keys keep their order.
///
/// Takes time that grows with the length of the text, and 16 bytes for each level of nesting and each member of an object
/// that is open. The text must be valid JSON; the hash of any other text has no meaning.
fn value_hash(json: &str, seed: u64) -> u64 {
    let hash = |bytes: &[u8]| XxHash3_64::oneshot_with_seed(seed, bytes);
    let (array, object) = (hash(b"["), hash(b"{"));
    let (mut open, mut whole) = (Vec::<OpenValue>::new(), 0);
    let (bytes, mut at, mut text) = (json.as_bytes(), 0, Vec::new());
    while let Some(byte) = bytes.get(at) {
        let value = match byte {
            b'[' => {
                open.push(OpenValue::Array(array));
                at += 1;
                continue;
            }
            b'{' => {
                open.push(OpenValue::Object(Box::default()));
                at += 1;
                continue;
            }
            b']' | b'}' => {
                at += 1;
                match open.pop() {
                    Some(OpenValue::Array(items)) => items,
                    Some(OpenValue::Object(members)) => members.hash(object, seed),
                    None => continue,
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                // The quote makes a string another value than a number with the same characters.
                text.clear();
                text.push(b'"');
                unescape(bytes.get(at + 1..end).unwrap_or_default(), &mut text);
                at = end + 1;
                hash(&text)
            }
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                at += 1;
                continue;
            }
            _ => {
                let start = at;
                at = scalar_end(bytes, start);
                hash(bytes.get(start..at).unwrap_or_default())
            }
        };
        match open.last_mut() {
            Some(OpenValue::Array(items)) => *items = both(*items, value, seed),
            Some(OpenValue::Object(members)) => members.push(value),
            None => whole = value,
        }
    }
    whole
}

/// An array or an object whose end was not read yet.
enum OpenValue {
    /// The hash of the items so far.
    Array(u64),
    Object(Box<ObjectHashes>),
}

/// The hashes of the keys and values of an object so far.
#[derive(Default)]
struct ObjectHashes {
    key: Option<u64>,
    all: Vec<(u64, u64)>,
}

impl ObjectHashes {
    /// Adds a key or a value: they alternate.
    fn push(&mut self, hash: u64) {
        match mem::take(&mut self.key) {
            Some(key) => self.all.push((key, hash)),
            None => self.key = Some(hash),
        }
    }

    fn hash(mut self, object: u64, seed: u64) -> u64 {
        // Stable: repeated keys keep their order.
        self.all.sort_by_key(|(key, _)| *key);
        let hashes = self.all.iter().flat_map(|(key, value)| [*key, *value]);
        hashes.fold(object, |hash, next| both(hash, next, seed))
    }
}

fn both(one: u64, other: u64, seed: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, &[one.to_le_bytes(), other.to_le_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn hash(json: &str) -> u64 {
        value_hash(json, 7)
    }

    #[test]
    fn equal_values_have_equal_hashes() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, " { \"b\" : [ true ,\n null ] ,\t\"a\" : 1 } "),
            (r#""ü\n\u0041\/""#, r#""\u00fc\u000aA/""#),
            (r#""😀\"\\""#, r#""\uD83D\ude00\u0022\u005c""#),
            (r#"{"k":"\ud800é"}"#, r#"{ "k": "\uD800\u00e9" }"#),
            (r#"{"\u006b":{"z":1,"a":2}}"#, r#"{"k":{"a":2,"z":1}}"#),
        ] {
            assert_eq!(hash(one), hash(other), "{one} {other}");
        }
        let different = [
            "1",
            "1.0",
            "\"1\"",
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "[1,[2]]",
            "[1,2,[]]",
            "{}",
            "[]",
            "\"\"",
            "\"[\"",
            "null",
            "[null]",
            r#"{"a":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#"["a",1]"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":"b"}"#,
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
        ];
        let hashes: std::collections::BTreeSet<_> = different.into_iter().map(hash).collect();
        assert_eq!(hashes.len(), different.len());
        assert_ne!(value_hash("1", 1), value_hash("1", 2));
    }

    #[test]
    fn hash_takes_linear_time_for_any_nesting() {
        let start = Instant::now();
        for open in ["[", "{\"a\":"] {
            let closed = if open == "[" { "]" } else { "}" };
            let depth = 200_000;
            let leaf = r#""x\u0041""#;
            let deep = format!("{}{leaf}{}", open.repeat(depth), closed.repeat(depth));
            let spaced = deep.replace(':', " : ").replace("\\u0041", "A");
            assert_eq!(hash(&deep), hash(&spaced));
        }
        // The quadratic way takes minutes.
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    proptest! {
        /// Whatever the text is, and whatever its value is.
        #[test]
        fn any_text_has_a_hash(text in any::<String>(), json in r#"[\[\]{}",:a1\\ud8]{0,40}"#) {
            let _ = (hash(&text), hash(&json));
        }

        #[test]
        fn printed_again_has_the_same_hash(text in any::<String>(), numbers in any::<Vec<i64>>()) {
            let value = serde_json::json!({ "text": text, "a": numbers, "b": { "é": [text] } });
            let (one, other) = (value.to_string(), serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(hash(&one), hash(&other));
            let Value::Object(members) = value else { return Ok(()) };
            let members = members.iter().rev().map(|(key, value)| format!("\"{key}\": {value}"));
            let reversed = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            prop_assert_eq!(hash(&one), hash(&reversed));
        }
    }

    #[test]
    fn fraction_must_be_above_zero_and_up_to_one() {
        for wrong in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
            let error = Sample::new(wrong, 0).unwrap_err().to_string();
            assert!(error.contains("is not a valid sample: use a number above 0"), "{error}");
        }
        for small in [1e-30, f64::MIN_POSITIVE, LEAST / 2.0] {
            let error = Sample::new(small, 0).unwrap_err().to_string();
            assert!(error.contains("it keeps no row of any dataset"), "{error}");
        }
        assert!(Sample::new(LEAST, 0).unwrap().below > 0);
        assert!(Sample::new(1.0, 0).unwrap().is_all);
    }
}
