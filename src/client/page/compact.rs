//! JSON text without white space between its tokens. Never changes a token, and never parses one.

use std::borrow::Cow;

use memchr::memchr2;

/// JSON text without the white space between its tokens; mostly there is none.
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

/// What comes before the first white space outside a string, and what comes after it.
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

/// The index after the quote that ends the string whose content begins at `at`.
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
