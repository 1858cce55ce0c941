//! Finds the tokens and values of a JSON text by their position, without parsing them.
//!
//! The text must be valid JSON. With any other text, the functions end, too, and return positions in the text, but
//! these have no meaning.

use memchr::{memchr, memchr2};

/// Returns the place of the quote that ends the string that begins at `start`.
pub(super) fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

/// Returns the end of the number or word that begins at `start`. It has at least one byte.
pub(super) fn scalar_end(bytes: &[u8], start: usize) -> usize {
    let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
    let rest = bytes.get(start..).unwrap_or_default();
    (start + rest.iter().position(is_end).unwrap_or(rest.len()).max(1)).min(bytes.len())
}

/// Returns the position of the next byte that is not white space.
pub(super) fn after_space(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    start + rest.iter().position(is_text).unwrap_or(rest.len())
}

/// Returns the end of the value that begins at `start`. Its nesting does not matter.
pub(super) fn value_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_u64);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at) + 1,
            b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ if depth == 0 => return scalar_end(bytes, at),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// Appends the characters of a string as UTF-8. A lone surrogate is appended like a character.
pub(super) fn unescape(escaped: &[u8], text: &mut Vec<u8>) {
    let mut rest = escaped;
    while let Some(at) = memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (code, length) = match rest.get(1) {
            Some(b'u') => unicode_escape(rest),
            Some(escape) => {
                let byte = match escape {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                };
                (u32::from(byte), 2)
            }
            None => (u32::from(b'\\'), 1),
        };
        match char::from_u32(code) {
            Some(c) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            // Three bytes as UTF-8 would have them. No character has these.
            None => text.extend(
                [0xe0 | code >> 12, 0x80 | code >> 6 & 0x3f, 0x80 | code & 0x3f]
                    .map(|byte| byte as u8),
            ),
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
}

/// Returns the code of the character that a text begins with, as `\u0041` or as a pair, and the length of its escape.
fn unicode_escape(text: &[u8]) -> (u32, usize) {
    let code = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(high) = code(0) else { return (u32::from(b'\\'), 1) };
    match code(6) {
        Some(low @ 0xdc00..=0xdfff) if (0xd800..=0xdbff).contains(&high) => {
            (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12)
        }
        _ => (high, 6),
    }
}
