//! The canonical text of a JSON value: equal values have equal texts, and other values have other texts.
//!
//! No white space, keys in the order of their characters, strings with the escapes of RFC 8785. Numbers stay as they
//! are written, so 1 and 1.0 differ. Repeated keys keep their order.

use std::ops::Range;

use super::json_text::{scalar_end, string_end, unescape};

/// Returns the canonical text of a JSON text. Takes time and memory that grow with the length of the text, whatever its
/// nesting. The text must be valid JSON; the result for any other text has no meaning.
pub(super) fn canonical(json: &str) -> Vec<u8> {
    let bytes = json.as_bytes();
    let nodes = nodes_of(bytes);
    let (mut text, mut key) = (Vec::with_capacity(bytes.len()), Vec::new());
    let mut left = Vec::new();
    left.extend(nodes.len().checked_sub(1).map(CanonicalStep::Node));
    while let Some(step) = left.pop() {
        let node = match step {
            CanonicalStep::Byte(byte) => {
                text.push(byte);
                continue;
            }
            CanonicalStep::Node(node) => node,
        };
        match nodes.get(node) {
            Some(JsonNode::Scalar(place)) => text.extend_from_slice(&bytes[place.clone()]),
            Some(JsonNode::Text(place)) => {
                key.clear();
                unescape(&bytes[place.clone()], &mut key);
                write_string(&key, &mut text);
            }
            Some(JsonNode::Array(items)) => {
                text.push(b'[');
                left.push(CanonicalStep::Byte(b']'));
                for (index, item) in items.iter().enumerate().rev() {
                    left.push(CanonicalStep::Node(*item));
                    left.extend((index > 0).then_some(CanonicalStep::Byte(b',')));
                }
            }
            Some(JsonNode::Object(parts)) => {
                text.push(b'{');
                left.push(CanonicalStep::Byte(b'}'));
                let (pairs, _) = parts.as_chunks::<2>();
                let mut members: Vec<_> = pairs
                    .iter()
                    .map(|[key, value]| (key_of(bytes, nodes.get(*key)), *key, *value))
                    .collect();
                // Stable: repeated keys keep their order.
                members.sort_by(|one, other| one.0.cmp(&other.0));
                for (index, (_, key, value)) in members.into_iter().enumerate().rev() {
                    left.push(CanonicalStep::Node(value));
                    left.push(CanonicalStep::Byte(b':'));
                    left.push(CanonicalStep::Node(key));
                    left.extend((index > 0).then_some(CanonicalStep::Byte(b',')));
                }
            }
            None => {}
        }
    }
    text
}

/// Returns the canonical text of a string.
pub(super) fn canonical_string(string: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(string.len() + 2);
    write_string(string.as_bytes(), &mut text);
    text
}

/// What is still to be written.
enum CanonicalStep {
    Byte(u8),
    Node(usize),
}

/// A value of a text. Its parts are values before it.
enum JsonNode {
    Scalar(Range<usize>),
    /// A string, without its quotes.
    Text(Range<usize>),
    Array(Vec<usize>),
    /// Keys and values, alternating.
    Object(Vec<usize>),
}

/// Returns the values of a text, each after its parts. The last one is the whole.
fn nodes_of(bytes: &[u8]) -> Vec<JsonNode> {
    let (mut nodes, mut open, mut at) = (Vec::new(), Vec::<JsonNode>::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let node = match byte {
            b'[' | b'{' => {
                let parts = Vec::new();
                open.push(if *byte == b'[' {
                    JsonNode::Array(parts)
                } else {
                    JsonNode::Object(parts)
                });
                at += 1;
                continue;
            }
            b']' | b'}' => {
                at += 1;
                let Some(node) = open.pop() else { continue };
                node
            }
            b'"' => {
                let (start, end) = (at + 1, string_end(bytes, at));
                at = end + 1;
                JsonNode::Text(start.min(end)..end)
            }
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                at += 1;
                continue;
            }
            _ => {
                let start = at;
                at = scalar_end(bytes, start);
                JsonNode::Scalar(start..at)
            }
        };
        if let Some(JsonNode::Array(parts) | JsonNode::Object(parts)) = open.last_mut() {
            parts.push(nodes.len());
        }
        nodes.push(node);
    }
    nodes
}

/// Returns the characters of a key, in whose order the keys are sorted.
fn key_of(bytes: &[u8], node: Option<&JsonNode>) -> Vec<u8> {
    let mut key = Vec::new();
    if let Some(JsonNode::Text(place)) = node {
        unescape(&bytes[place.clone()], &mut key);
    }
    key
}

/// Writes a string with its quotes. A lone surrogate, which [`unescape`] writes like a character, is written as an
/// escape.
fn write_string(string: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    let is_plain = |byte: &u8| *byte >= 0x20 && !matches!(byte, b'"' | b'\\' | 0xed);
    let mut rest = string;
    while let Some(byte) = rest.first() {
        let plain = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        if plain > 0 {
            text.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            continue;
        }
        let short = match byte {
            b'"' => Some(b'"'),
            b'\\' => Some(b'\\'),
            0x08 => Some(b'b'),
            b'\t' => Some(b't'),
            b'\n' => Some(b'n'),
            0x0c => Some(b'f'),
            b'\r' => Some(b'r'),
            _ => None,
        };
        let passed = match (short, rest) {
            (Some(short), _) => {
                text.extend([b'\\', short]);
                1
            }
            (None, [0xed, second @ 0xa0..=0xff, third, ..]) => {
                let low = u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
                text.extend(format!("\\u{:04x}", 0xd000 | low).bytes());
                3
            }
            (None, [0xed, ..]) => {
                text.push(0xed);
                1
            }
            (None, _) => {
                text.extend(format!("\\u{byte:04x}").bytes());
                1
            }
        };
        rest = rest.get(passed..).unwrap_or_default();
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn text(json: &str) -> String {
        String::from_utf8(canonical(json)).unwrap()
    }

    #[test]
    fn equal_values_have_equal_texts() {
        for (json, expected) in [
            (" 1.50 ", "1.50"),
            ("null", "null"),
            (r#""aü\u00fc\/\u0041""#, r#""aüü/A""#),
            (r#""\u0008\u000C\n\r\t\"\\\u001f\u007f""#, "\"\\b\\f\\n\\r\\t\\\"\\\\\\u001f\u{7f}\""),
            (r#""\uD83D\ude00 \uD800x\uDFFF\uD7FF""#, "\"😀 \\ud800x\\udfff\u{d7ff}\""),
            (r#""\\ud800""#, r#""\\ud800""#),
            (
                " { \"b\" : [ true ,\n null, {} , [] ] ,\t\"a\" : {\"z\":1,\"y\":2} } ",
                r#"{"a":{"y":2,"z":1},"b":[true,null,{},[]]}"#,
            ),
            (r#"{"b":1,"\u0061":2,"b":0}"#, r#"{"a":2,"b":1,"b":0}"#),
            (r#"{"ß":1,"z":2,"\ud800":3,"😀":4}"#, r#"{"z":2,"ß":1,"\ud800":3,"😀":4}"#),
        ] {
            assert_eq!(text(json), expected, "{json}");
            assert_eq!(text(expected), expected);
        }
        assert_eq!(canonical_string("a\"\nü"), "\"a\\\"\\nü\"".as_bytes());
    }

    #[test]
    fn deep_values_take_linear_time() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(300_000), close.repeat(300_000));
            assert_eq!(text(&deep.replace(':', " : ")), deep);
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(any in r#"[\[\]{}",:a1\\ud8í\u{d7ff}]{0,40}"#) {
            let _ = canonical(&any);
        }

        #[test]
        fn value_stays_the_same(text in any::<String>(), numbers in any::<Vec<i64>>()) {
            let value = json!({ "text": text, "a": numbers, "é": { &text: [text], "A": null } });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let printed = tests::text(&pretty);
            prop_assert_eq!(&serde_json::from_str::<Value>(&printed).unwrap(), &value);
            // The map of the parser is sorted like the keys.
            prop_assert_eq!(printed.replace("\\b", "\\u0008"), value.to_string().replace("\\b", "\\u0008"));
        }
    }
}
