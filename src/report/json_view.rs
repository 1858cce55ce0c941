//! A JSON text as a tree of its tokens. A text that was cut short gives everything before the cut.

use std::borrow::Cow;

use crate::nested::{JsonCursor, JsonKind, MalformedJson};

/// Deepest level that becomes a tree. Below it, the text stays as it is.
const DEPTH: usize = 32;
/// Size of a text that is laid out again, in bytes: 64 KiB.
const MOST_LAID_OUT: usize = 64 << 10;

/// A JSON value, whose numbers keep their tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum JsonView<'a> {
    /// A number, `true`, `false` or `null`, or a value below the deepest level.
    Token(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<JsonView<'a>>),
    Object(Vec<JsonMember<'a>>),
}

/// A key and its value.
pub(super) type JsonMember<'a> = (Cow<'a, str>, JsonView<'a>);

struct ViewParser<'a> {
    text: &'a str,
    cursor: JsonCursor<'a>,
    is_cut: bool,
}

impl<'a> JsonView<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut parser = ViewParser { text, cursor: JsonCursor::new(text), is_cut: false };
        parser.value(0)
    }

    /// Whether a text is only the beginning of a value.
    pub(super) fn is_beginning(text: &str) -> bool {
        JsonCursor::new(text).skip().is_err()
    }

    /// Returns the value of the first member with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, it)| it),
            _ => None,
        }
    }

    /// Returns all texts in the value, without keys.
    pub(super) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Token(_) => Vec::new(),
            Self::Text(text) => vec![text],
            Self::Array(items) => items.iter().flat_map(Self::texts).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, it)| it.texts()).collect(),
        }
    }

    /// Returns the text of the first turn of a user in a conversation.
    pub(super) fn first_request(&self) -> Option<&str> {
        let is_user = |it: &Self| matches!(it.as_text(), Some("user" | "human"));
        match self {
            Self::Token(_) | Self::Text(_) => None,
            Self::Array(items) => items.iter().find_map(Self::first_request),
            Self::Object(members) if self.get("role").is_some_and(is_user) => {
                let is_said = |key: &str| matches!(key, "content" | "text" | "parts");
                let mut said = members.iter().filter(|(key, _)| is_said(key)).map(|(_, it)| it);
                said.find_map(|it| match it {
                    Self::Array(parts) => {
                        parts.iter().find_map(|it| it.get("text").unwrap_or(it).as_words())
                    }
                    it => it.as_words(),
                })
            }
            Self::Object(members) => members.iter().find_map(|(_, it)| it.first_request()),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Token("null"))
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a text that is more than white space.
    fn as_words(&self) -> Option<&str> {
        self.as_text().filter(|text| !text.trim().is_empty())
    }

    /// Returns the JSON text with line breaks, as people write it.
    pub(super) fn laid_out(&self) -> String {
        let mut out = String::new();
        self.lay_out(0, &mut out);
        out
    }

    fn lay_out(&self, level: usize, out: &mut String) {
        if out.len() > MOST_LAID_OUT {
            out.push('…');
            return;
        }
        match self {
            Self::Token(token) => out.push_str(token),
            Self::Text(text) => quote(text, out),
            Self::Array(items) if items.is_empty() => out.push_str("[]"),
            Self::Object(members) if members.is_empty() => out.push_str("{}"),
            Self::Array(items) => {
                // A list of short values is one line.
                let is_short = |item: &Self| match item {
                    Self::Token(token) => token.len() < 20,
                    Self::Text(text) => text.len() < 20,
                    _ => false,
                };
                if items.len() <= 8 && items.iter().all(is_short) {
                    out.push('[');
                    for (index, item) in items.iter().enumerate() {
                        out.push_str(if index == 0 { "" } else { ", " });
                        item.lay_out(level, out);
                    }
                    out.push(']');
                    return;
                }
                block(out, level, ['[', ']'], items, |item, out| item.lay_out(level + 1, out));
            }
            Self::Object(members) => {
                block(out, level, ['{', '}'], members, |(key, value), out| {
                    quote(key, out);
                    out.push_str(": ");
                    value.lay_out(level + 1, out);
                });
            }
        }
    }
}

fn block<T>(
    out: &mut String,
    level: usize,
    brackets: [char; 2],
    items: &[T],
    write: impl Fn(&T, &mut String),
) {
    let new_line = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", level));
    };
    out.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if out.len() > MOST_LAID_OUT {
            out.push('…');
            break;
        }
        out.push_str(if index == 0 { "" } else { "," });
        new_line(out, level + 1);
        write(item, out);
    }
    new_line(out, level);
    out.push(brackets[1]);
}

fn quote(text: &str, out: &mut String) {
    // Serializing a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

impl<'a> ViewParser<'a> {
    fn value(&mut self, depth: usize) -> JsonView<'a> {
        let parsed = match self.cursor.kind() {
            Ok(JsonKind::Array | JsonKind::Object) if depth >= DEPTH => {
                self.cursor.skip().map(JsonView::Token)
            }
            Ok(JsonKind::Array) => Ok(self.array(depth)),
            Ok(JsonKind::Object) => Ok(self.object(depth)),
            Ok(JsonKind::String) => self.string(),
            Ok(_) => self.cursor.scalar().map(JsonView::Token),
            Err(error) => Err(error),
        };
        parsed.unwrap_or_else(|_| {
            self.is_cut = true;
            JsonView::Token("…")
        })
    }

    fn string(&mut self) -> Result<JsonView<'a>, MalformedJson> {
        let start = self.cursor.position();
        match self.cursor.string() {
            Ok(string) => Ok(match string.value() {
                Some(text) => JsonView::Text(text),
                // Half of a surrogate pair is no text. Its token is not that of the text that looks like it.
                None => JsonView::Token(self.text[start..self.cursor.position()].trim()),
            }),
            Err(error) => {
                // The text ends within the string.
                let rest = self.text.get(start..).ok_or(error)?;
                let rest = rest.trim_start().strip_prefix('"').ok_or(error)?;
                self.is_cut = true;
                let closed = format!("\"{}\"", rest.trim_end_matches('\\'));
                let text = serde_json::from_str::<String>(&closed);
                Ok(JsonView::Text(text.map_or(rest.into(), Cow::Owned)))
            }
        }
    }

    fn array(&mut self, depth: usize) -> JsonView<'a> {
        let mut items = Vec::new();
        self.cursor.enter();
        while self.goes_on() {
            items.push(self.value(depth + 1));
        }
        JsonView::Array(items)
    }

    fn object(&mut self, depth: usize) -> JsonView<'a> {
        let mut members = Vec::new();
        self.cursor.enter();
        while self.goes_on() {
            match self.cursor.key() {
                Ok(key) => {
                    let name = key.value().unwrap_or_else(|| format!("\"{}\"", key.text).into());
                    members.push((name, self.value(depth + 1)));
                }
                Err(_) => self.is_cut = true,
            }
        }
        JsonView::Object(members)
    }

    fn goes_on(&mut self) -> bool {
        if self.is_cut {
            return false;
        }
        match self.cursor.has_more() {
            Ok(more) => more,
            Err(_) => {
                self.is_cut = true;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_as_they_are() {
        let text = r#"{"a":1.50,"a":[1e400,"\ud800",{}],"b":{"long":"x"}}"#;
        let expected = "{\n  \"a\": 1.50,\n  \"a\": [\n    1e400,\n    \"\\ud800\",\n    {}\n  ],\n  \"b\": {\n    \
                        \"long\": \"x\"\n  }\n}";
        assert_eq!(JsonView::of(text).laid_out(), expected);
    }

    #[test]
    fn cut_text_gives_what_is_before_the_cut() {
        for (text, expected) in [
            (r#"{"a":["x","half"#, "{\n  \"a\": [\"x\", \"half\"]\n}"),
            (r#"{"a":1,"b"#, "{\n  \"a\": 1\n}"),
            ("[1,", "[1, …]"),
            (r#"["a\"#, r#"["a"]"#),
            ("", "…"),
        ] {
            assert_eq!(JsonView::of(text).laid_out(), expected, "{text}");
        }
    }

    #[test]
    fn layout_of_deep_text_is_bounded() {
        let deep = format!("{}{}", "[".repeat(16_000), "]".repeat(16_000));
        assert!(JsonView::of(&deep).laid_out().len() < 64 << 10);
        let wide = format!("[{}1]", "[[[[[[[[1]]]]]]]],".repeat(2000));
        let laid_out = JsonView::of(&wide).laid_out();
        assert!(laid_out.len() < 70 << 10, "{}", laid_out.len());
    }
}
