//! Reads the tokens of a JSON text, one after the other. Copies nothing.
//!
//! The texts come from pages or from files whose digest was compared. So a malformed text is a bug or damage: it ends
//! in an error, and is not explained.

use std::{borrow::Cow, str::Chars};

use memchr::{memchr, memchr2};

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedJson;

pub(crate) type Read<T> = Result<T, MalformedJson>;

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonKind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A string between its quotes, as the text has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawString<'a> {
    pub(crate) text: &'a str,
    pub(crate) has_escapes: bool,
}

impl<'a> RawString<'a> {
    /// Returns the value; `None` if an escape is half of a surrogate pair, which no text can hold.
    pub(crate) fn value(self) -> Option<Cow<'a, str>> {
        if !self.has_escapes {
            return Some(Cow::Borrowed(self.text));
        }
        let mut value = String::with_capacity(self.text.len());
        self.unescape(&mut value).map(|()| Cow::Owned(value))
    }

    /// Appends the value. `None` if no text can hold it; a part of it is then appended.
    fn unescape(self, value: &mut String) -> Option<()> {
        let mut rest = self.text;
        while let Some(at) = memchr(b'\\', rest.as_bytes()) {
            value.push_str(rest.get(..at)?);
            let mut escape = rest.get(at + 1..)?.chars();
            value.push(match escape.next()? {
                same @ ('"' | '\\' | '/') => same,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => unicode(&mut escape)?,
                _ => return None,
            });
            rest = escape.as_str();
        }
        value.push_str(rest);
        Some(())
    }
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct JsonCursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> JsonCursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the position, in bytes from the begin of the text.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Checks that nothing follows the value.
    pub(crate) fn end(mut self) -> Read<()> {
        if self.peek().is_none() { Ok(()) } else { Err(MalformedJson) }
    }

    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Returns the kind of the next value, from its first byte.
    #[inline]
    pub(crate) fn kind(&mut self) -> Read<JsonKind> {
        Ok(match self.peek().ok_or(MalformedJson)? {
            b'"' => JsonKind::String,
            b'{' => JsonKind::Object,
            b'[' => JsonKind::Array,
            b't' | b'f' => JsonKind::Bool,
            b'n' => JsonKind::Null,
            b'-' | b'0'..=b'9' => JsonKind::Number,
            _ => return Err(MalformedJson),
        })
    }

    /// Reads a string.
    #[inline]
    pub(crate) fn string(&mut self) -> Read<RawString<'a>> {
        if self.peek() != Some(b'"') {
            return Err(MalformedJson);
        }
        let start = self.at + 1;
        let (end, has_escapes) = string_end(self.text.as_bytes(), start)?;
        self.at = end + 1;
        let text = self.text.get(start..end).ok_or(MalformedJson)?;
        Ok(RawString { text, has_escapes })
    }

    /// Reads a number or a word.
    #[inline]
    pub(crate) fn scalar(&mut self) -> Read<&'a str> {
        self.peek();
        let start = self.at;
        let rest = self.text.get(start..).ok_or(MalformedJson)?;
        let is_end = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\t' | b'\r');
        let length = rest.bytes().position(is_end).unwrap_or(rest.len());
        self.at = start + length;
        match rest.get(..length) {
            Some(token) if !token.is_empty() => Ok(token),
            _ => Err(MalformedJson),
        }
    }

    /// Reads `true` or `false`.
    pub(crate) fn bool(&mut self) -> Read<bool> {
        match self.scalar()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(MalformedJson),
        }
    }

    /// Passes the bracket that opens an array or an object.
    pub(crate) fn enter(&mut self) {
        self.peek();
        self.at += 1;
    }

    /// Whether another element follows. Passes the comma before it, or the bracket that ends the elements.
    #[inline]
    pub(crate) fn has_more(&mut self) -> Read<bool> {
        match self.peek().ok_or(MalformedJson)? {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            b']' | b'}' => {
                self.at += 1;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// Reads the name of a member and its colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Read<RawString<'a>> {
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(MalformedJson);
        }
        self.at += 1;
        Ok(key)
    }

    /// Passes a value of any depth. Returns its text.
    pub(crate) fn skip(&mut self) -> Read<&'a str> {
        match self.kind()? {
            JsonKind::String => {
                let start = self.at;
                self.string()?;
                self.text.get(start..self.at).ok_or(MalformedJson)
            }
            JsonKind::Array | JsonKind::Object => self.container(),
            _ => self.scalar(),
        }
    }

    fn container(&mut self) -> Read<&'a str> {
        let (bytes, start, mut depth) = (self.text.as_bytes(), self.at, 0_usize);
        loop {
            match bytes.get(self.at).ok_or(MalformedJson)? {
                b'"' => self.at = string_end(bytes, self.at + 1)?.0,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return self.text.get(start..self.at).ok_or(MalformedJson);
            }
        }
    }
}

/// Reads the four digits of an escape, and those of a second one that a surrogate needs.
fn unicode(escape: &mut Chars<'_>) -> Option<char> {
    let first = code_unit(escape)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    *escape = escape.as_str().strip_prefix("\\u")?.chars();
    let second = code_unit(escape).filter(|unit| (0xdc00..0xe000).contains(unit))?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
}

fn code_unit(escape: &mut Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| Some(unit << 4 | escape.next()?.to_digit(16)?))
}

/// Returns the position of the quote that ends a string, and whether the string has escapes. Its content begins at
/// `at`.
#[inline]
fn string_end(bytes: &[u8], mut at: usize) -> Read<(usize, bool)> {
    let mut has_escapes = false;
    loop {
        let rest = bytes.get(at..).ok_or(MalformedJson)?;
        at += memchr2(b'"', b'\\', rest).ok_or(MalformedJson)?;
        if bytes.get(at) == Some(&b'"') {
            return Ok((at, has_escapes));
        }
        (at, has_escapes) = (at + 2, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_in_order() {
        let mut cursor = JsonCursor::new(r#" {"a\"" : [1.5 , true,{}], "b":"x"} "#);
        assert_eq!(cursor.kind(), Ok(JsonKind::Object));
        cursor.enter();
        assert_eq!(cursor.has_more(), Ok(true));
        let key = cursor.key().unwrap();
        assert_eq!((key.text, &*key.value().unwrap()), (r#"a\""#, "a\""));
        assert_eq!(cursor.clone().skip(), Ok("[1.5 , true,{}]"));
        cursor.enter();
        assert_eq!((cursor.has_more(), cursor.scalar()), (Ok(true), Ok("1.5")));
        assert_eq!((cursor.has_more(), cursor.bool()), (Ok(true), Ok(true)));
        assert_eq!((cursor.has_more(), cursor.skip()), (Ok(true), Ok("{}")));
        assert_eq!((cursor.has_more(), cursor.has_more()), (Ok(false), Ok(true)));
        assert_eq!(cursor.key().unwrap().text, "b");
        assert_eq!(cursor.string().unwrap().text, "x");
        assert_eq!((cursor.has_more(), cursor.end()), (Ok(false), Ok(())));
    }

    #[test]
    fn text_that_is_cut_short_is_malformed() {
        for text in ["", "\"a", "\"a\\", "[1", "{\"a\"", "[\"]"] {
            let mut cursor = JsonCursor::new(text);
            assert_eq!(cursor.skip(), Err(MalformedJson), "{text}");
        }
        assert!(RawString { text: r"\ud800", has_escapes: true }.value().is_none());
    }

    #[test]
    fn escapes_are_read_as_by_a_json_library() {
        for text in [
            r#"\"\\\/\b\f\n\r\t é"#,
            r"\u00e9\uD83D\ude00x\u0000",
            r"\ud83d\u0041",
            r"\ud83dx",
            r"\ude00",
            r"\ud83d\ud83d",
            r"a\u12",
            r"\x",
        ] {
            let value = RawString { text, has_escapes: true }.value();
            let expected = serde_json::from_str::<String>(&format!("\"{text}\"")).ok();
            assert_eq!(value.as_deref(), expected.as_deref(), "{text}");
        }
    }
}
