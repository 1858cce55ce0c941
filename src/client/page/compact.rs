//! Removes the white space between the tokens of a JSON text. Never changes or parses a token.

use std::borrow::Cow;

use memchr::memchr2;

/// Returns a JSON text without the white space between its tokens. Borrows the text in the usual case that
/// it has no such white space.
pub(crate) fn compact(text: &str) -> Cow<'_, str> {
    let Some((token, mut rest)) = split_at_space(text) else { return Cow::Borrowed(text) };
    let mut compact = token.to_owned();
    while let Some((token, after)) = split_at_space(rest) {
        compact.push_str(token);
        rest = after;
    }
    compact.push_str(rest);
    Cow::Owned(compact)
}

/// Splits a text at the first white space outside a string. The white space character is in neither half.
pub(crate) fn split_at_space(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\n' | b'\t' | b'\r' => return Some((&text[..at], &text[at + 1..])),
            b'"' => at = string_end(bytes, at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Returns the index after the closing quote of a string. The content of the string begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}
