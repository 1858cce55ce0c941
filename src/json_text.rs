//! Strings in JSON text.

use std::fmt::Write;

/// Length of the blocks that are searched at once.
const BLOCK: usize = 32;

/// Appends a string with quotes. Escapes only what JSON requires.
pub(crate) fn push_json_string(string: &str, text: &mut String) {
    text.push('"');
    let mut rest = string;
    loop {
        let (plain, after) = rest.split_at(plain_length(rest.as_bytes()));
        text.push_str(plain);
        match after.as_bytes().first() {
            None => break,
            Some(b'"') => text.push_str("\\\""),
            Some(b'\\') => text.push_str("\\\\"),
            Some(b'\n') => text.push_str("\\n"),
            Some(b'\r') => text.push_str("\\r"),
            Some(b'\t') => text.push_str("\\t"),
            // Writing to a string cannot fail.
            Some(byte) => drop(write!(text, "\\u{byte:04x}")),
        }
        // Every character that needs an escape has one byte.
        rest = &after[1..];
    }
    text.push('"');
}

/// Whether a byte needs an escape in a string.
pub(crate) fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\')
}

/// Returns the number of bytes before the first that needs an escape.
fn plain_length(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    // Without an early end, the compiler compares a block in few instructions.
    let is_plain =
        |block: &&[u8; BLOCK]| !block.iter().fold(false, |any, byte| any | is_escaped(*byte));
    let start = blocks.iter().take_while(is_plain).count() * BLOCK;
    let rest = &bytes[start..];
    start + rest.iter().position(|byte| is_escaped(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn string_is_read_back(string in "[a-zé\"\\\\\u{0}-\u{1f}\u{7f}\u{2028}]{0,100}") {
            let mut text = String::new();
            push_json_string(&string, &mut text);
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), string);
        }
    }

    #[test]
    fn only_what_json_requires_is_escaped() {
        for (string, expected) in [
            ("", r#""""#),
            ("\"\\\n\r\t", r#""\"\\\n\r\t""#),
            ("\u{8}\u{1f}/é\u{7f}", "\"\\u0008\\u001f/é\u{7f}\""),
            (&"x".repeat(70), &format!("\"{}\"", "x".repeat(70))),
        ] {
            let mut text = String::new();
            push_json_string(string, &mut text);
            assert_eq!(text, expected);
        }
    }
}
