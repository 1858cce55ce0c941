//! The hash of a JSON value: all spellings of a value have one hash.

use std::sync::{Mutex, PoisonError};

use serde::de::IgnoredAny;
use twox_hash::XxHash3_128;

use crate::transform::canonical_value;

/// The canonical text of a longer value needs up to five times its memory: only one of them is made at a time.
const LARGE: usize = 1 << 20;
static LARGE_VALUE: Mutex<()> = Mutex::new(());

/// Marks a text that is not JSON, and the end of a value. No canonical text has these bytes.
const NOT_JSON: u8 = 1;
const END: u8 = 0;

/// A hash over values.
pub(super) struct ValueHash(XxHash3_128);

impl ValueHash {
    /// Returns the hash of one value.
    pub(super) fn of(json: &str) -> u128 {
        let mut hash = Self::new();
        hash.push(json);
        hash.finish()
    }

    pub(super) fn new() -> Self {
        Self(XxHash3_128::new())
    }

    /// Adds a value. A text that is not JSON is equal to itself only.
    pub(super) fn push(&mut self, json: &str) {
        if serde_json::from_str::<IgnoredAny>(json).is_err() {
            self.0.write(&[NOT_JSON]);
            self.0.write(json.as_bytes());
        } else {
            let large = json.len() > LARGE;
            let _one = large.then(|| LARGE_VALUE.lock().unwrap_or_else(PoisonError::into_inner));
            canonical_value(json, &mut |part| self.0.write(part));
        }
        self.0.write(&[END]);
    }

    pub(super) fn finish(&self) -> u128 {
        self.0.finish_128()
    }
}

/// Whether two JSON texts are spellings of one value.
pub(crate) fn is_same_value(one: &str, other: &str) -> bool {
    one == other || ValueHash::of(one) == ValueHash::of(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A JSON value, whose numbers are digits and an exponent.
    #[derive(Debug, Clone, PartialEq)]
    enum Value {
        Null,
        Bool(bool),
        Number(bool, String, i64),
        Text(String),
        Array(Vec<Value>),
        Object(Vec<(String, Value)>),
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = || "[a-cé😀\"\\\\/\u{0}\n]{0,6}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            // No zero at the end, so that other digits or another exponent are another value.
            (any::<bool>(), "[1-9]|[1-9][0-9]{0,24}[1-9]", -400..400_i64)
                .prop_map(|(sign, digits, exponent)| Value::Number(sign, digits, exponent)),
            Just(Value::Number(false, "0".to_owned(), 0)),
            text().prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::btree_map(text(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Random bits that decide how a value is spelled.
    struct Choices<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

    impl Choices<'_> {
        fn of(&mut self, count: u8) -> u8 {
            self.0.next().map_or(0, |byte| byte % count)
        }

        fn space(&mut self, out: &mut String) {
            out.push_str(["", "", "", " ", "\n\t", "\r "][self.of(6) as usize]);
        }

        fn text(&mut self, text: &str, out: &mut String) {
            out.push('"');
            for c in text.chars() {
                match (self.of(4), c) {
                    (0, c) => {
                        let mut units = [0; 2];
                        for unit in c.encode_utf16(&mut units) {
                            out.push_str(&format!("\\u{unit:04x}"));
                        }
                    }
                    (1, c) => {
                        let mut units = [0; 2];
                        for unit in c.encode_utf16(&mut units) {
                            out.push_str(&format!("\\u{unit:04X}"));
                        }
                    }
                    (2, '/') => out.push_str("\\/"),
                    (_, '\n') => out.push_str("\\n"),
                    (_, '\0') => out.push_str("\\u0000"),
                    (_, '"' | '\\') => out.extend(['\\', c]),
                    (_, c) => out.push(c),
                }
            }
            out.push('"');
        }

        fn number(&mut self, negative: bool, digits: &str, exponent: i64, out: &mut String) {
            if negative || (digits == "0" && self.of(2) == 0) {
                out.push('-');
            }
            let (zeros, point) = ("0".repeat(self.of(4) as usize), self.of(30) as usize);
            let digits = if digits == "0" { digits.to_owned() } else { format!("{digits}{zeros}") };
            let exponent = if digits == "0" { exponent } else { exponent - zeros.len() as i64 };
            if point == 0 && (exponent == 0 || (0..30).contains(&exponent) && self.of(2) == 0) {
                out.push_str(&digits);
                if digits != "0" {
                    out.push_str(&"0".repeat(exponent as usize));
                }
                return;
            }
            let missing = (point + 1).saturating_sub(digits.len());
            let padded = format!("{}{digits}", "0".repeat(missing));
            let (whole, fraction) = padded.split_at(padded.len() - point);
            out.push_str(whole);
            if point > 0 {
                out.push('.');
                out.push_str(fraction);
            }
            let exponent = exponent + point as i64;
            if exponent != 0 || self.of(2) == 0 {
                let sign = if exponent < 0 { "-" } else { ["", "+"][self.of(2) as usize] };
                let mark = ['e', 'E'][self.of(2) as usize];
                let zeros = "0".repeat(self.of(3) as usize);
                out.push_str(&format!("{mark}{sign}{zeros}{}", exponent.abs()));
            }
        }

        fn value(&mut self, value: &Value, out: &mut String) {
            self.space(out);
            match value {
                Value::Null => out.push_str("null"),
                Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
                Value::Number(sign, digits, exponent) => self.number(*sign, digits, *exponent, out),
                Value::Text(text) => self.text(text, out),
                Value::Array(items) => {
                    out.push('[');
                    for (index, item) in items.iter().enumerate() {
                        out.push_str(if index > 0 { "," } else { "" });
                        self.value(item, out);
                    }
                    self.space(out);
                    out.push(']');
                }
                Value::Object(members) => {
                    out.push('{');
                    let mut members: Vec<_> = members.iter().collect();
                    members.retain(|(_, value)| *value != Value::Null || self.of(2) == 0);
                    if !members.is_empty() {
                        let turn = usize::from(self.of(8)) % members.len();
                        members.rotate_left(turn);
                        if self.of(2) == 0 {
                            members.reverse();
                        }
                    }
                    for (index, (key, value)) in members.into_iter().enumerate() {
                        out.push_str(if index > 0 { "," } else { "" });
                        self.space(out);
                        self.text(key, out);
                        self.space(out);
                        out.push(':');
                        self.value(value, out);
                    }
                    self.space(out);
                    out.push('}');
                }
            }
            self.space(out);
        }
    }

    fn spelled(value: &Value, choices: &[u8]) -> String {
        let mut text = String::new();
        Choices(choices.iter().cycle()).value(value, &mut text);
        text
    }

    /// The value without members that are null.
    fn without_nulls(value: &Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
            Value::Object(members) => {
                let members = members.iter().filter(|(_, value)| *value != Value::Null);
                let members = members.map(|(key, value)| (key.clone(), without_nulls(value)));
                Value::Object(members.collect())
            }
            other => other.clone(),
        }
    }

    /// The value with its scalars changed at one place.
    fn changed(value: &Value, place: &mut usize) -> Value {
        let mut here = || {
            let is_here = *place == 0;
            *place = place.wrapping_sub(1);
            is_here
        };
        match value {
            Value::Array(items) if here() => {
                Value::Array(items.iter().cloned().chain([Value::Null]).collect())
            }
            Value::Object(members) if here() => {
                let new = ("new".to_owned(), Value::Bool(true));
                Value::Object(members.iter().cloned().chain([new]).collect())
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|it| changed(it, place)).collect())
            }
            Value::Object(members) => {
                let members = members.iter().map(|(key, it)| (key.clone(), changed(it, place)));
                Value::Object(members.collect())
            }
            other if !here() => other.clone(),
            Value::Null => Value::Bool(false),
            Value::Bool(value) => Value::Bool(!value),
            Value::Number(sign, digits, _) if digits == "0" => {
                Value::Number(*sign, "1".to_owned(), 0)
            }
            Value::Number(sign, digits, exponent) => match exponent % 3 {
                0 => Value::Number(!sign, digits.clone(), *exponent),
                1 => Value::Number(*sign, format!("{digits}1"), exponent - 1),
                _ => Value::Number(*sign, digits.clone(), exponent + 1),
            },
            Value::Text(text) => Value::Text(format!("{text}x")),
        }
    }

    proptest! {
        #[test]
        fn all_spellings_of_a_value_have_one_hash(
            value in value(),
            one in prop::collection::vec(any::<u8>(), 1..200),
            other in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let (one, other) = (spelled(&value, &one), spelled(&value, &other));
            prop_assert!(serde_json::from_str::<IgnoredAny>(&one).is_ok(), "{}", one);
            prop_assert_eq!(ValueHash::of(&one), ValueHash::of(&other), "{} {}", one, other);
        }

        #[test]
        fn other_values_have_other_hashes(
            value in value(),
            place in 0..12_usize,
            one in prop::collection::vec(any::<u8>(), 1..200),
            other in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let next = changed(&value, &mut place.clone());
            prop_assume!(without_nulls(&next) != without_nulls(&value));
            let (one, other) = (spelled(&value, &one), spelled(&next, &other));
            prop_assert_ne!(ValueHash::of(&one), ValueHash::of(&other), "{} {}", one, other);
        }
    }

    #[test]
    fn only_a_spelling_of_the_value_has_its_hash() {
        for (one, other, is_equal) in [
            ("1", "1.0000000000000000001", false),
            ("9223372036854775808", "9223372036854775807", false),
            ("1e400", "1e401", false),
            ("-0", "0.0", true),
            ("1", "\"1\"", false),
            ("true", "1", false),
            ("[1,2]", "[2,1]", false),
            ("[null]", "[]", false),
            (r#"{"a":null}"#, "{}", true),
            (r#"{"a":[{"b":null,"c":0}]}"#, r#"{"a":[{"c":0e1}]}"#, true),
            // Repeated keys keep their order, their number and their nulls.
            (r#"{"a":1,"b":0,"a":2}"#, r#"{"b":0,"\u0061":1.0,"a":2}"#, true),
            (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#, false),
            (r#"{"a":1,"a":1}"#, r#"{"a":1}"#, false),
            (r#"{"a":1,"a":null}"#, r#"{"a":1}"#, false),
            (r#"{"a":null,"a":1}"#, r#"{"a":1}"#, false),
            // A lone surrogate is a character of its own. Composed and decomposed characters differ.
            (r#""\uD800""#, r#""\ud800""#, true),
            (r#""\ud800""#, r#""\udfff""#, false),
            (r#""\ud83d\ude00""#, "\"😀\"", true),
            ("\"é\"", "\"e\u{301}\"", false),
            // Texts that are not JSON.
            ("1 2", "1 3", false),
            ("01", "1", false),
            ("nul", "nul", true),
            ("nul", "null", false),
        ] {
            assert_eq!(ValueHash::of(one) == ValueHash::of(other), is_equal, "{one} {other}");
        }
    }

    #[test]
    fn values_of_several_columns_stay_apart() {
        let hash = |values: &[&str]| {
            let mut hash = ValueHash::new();
            values.iter().for_each(|value| hash.push(value));
            hash.finish()
        };
        assert_eq!(hash(&["1.0", "\"a\""]), hash(&["1", "\"\\u0061\""]));
        assert_ne!(hash(&["1", "2"]), hash(&["12"]));
        assert_ne!(hash(&["1", "2"]), hash(&["2", "1"]));
    }
}
