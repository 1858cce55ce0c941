//! What is found in a value on the way through its tokens: its content, and turns of conversations.

use std::borrow::Cow;

use twox_hash::XxHash3_64;

use super::{DEPTH, TextSight};
use crate::nested::{JsonCursor, JsonKind, MalformedJson, RawString};

/// Members that make an object with a role a turn of a conversation.
const CONTENTS: [&str; 4] = ["content", "tool_calls", "parts", "text"];
/// From this length on, two equal texts are no accident: 20 bytes.
const LONG: usize = 20;
/// Members of a turn that say nothing.
const NAMES: [&str; 4] = ["role", "name", "id", "type"];

/// What a value of a row has in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowContent {
    /// Number of turns of conversations.
    pub(crate) turns: u64,
    /// Bytes of strings without white space around them.
    pub(crate) bytes: usize,
    /// Whether there is a letter or a digit in the strings.
    pub(crate) has_words: bool,
    /// Number of numbers and booleans, and of values that were not looked at.
    pub(crate) others: u64,
    /// Whether something was seen for the first time at a place that had values before: a type, a key, an object without
    /// a key, an odd text, or a text that repeats.
    pub(crate) is_new: bool,
    /// A hash of the last text that is long, as the JSON text has it; 0 if there is none.
    pub(crate) last_text: u64,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenTurn<'a> {
    pub(crate) role: &'a str,
    /// Whether it has no text, no number and no call.
    pub(crate) is_empty: bool,
}

pub(super) struct TreeScan<'a, 'r> {
    pub(super) cursor: JsonCursor<'a>,
    pub(super) row: u64,
    pub(super) content: RowContent,
    /// Number of nodes that were added.
    pub(super) added: usize,
    /// Number of places where repeated texts can still be counted.
    pub(super) room: usize,
    on_turn: &'r mut dyn FnMut(SeenTurn<'_>),
    last_text: &'a str,
}

impl<'a, 'r> TreeScan<'a, 'r> {
    pub(super) fn new(
        text: &'a str,
        row: u64,
        room: usize,
        on_turn: &'r mut dyn FnMut(SeenTurn<'_>),
    ) -> Self {
        let content = RowContent::default();
        let cursor = JsonCursor::new(text);
        Self { cursor, row, content, added: 0, room, on_turn, last_text: "" }
    }

    /// Sees a string, before its escapes are replaced.
    pub(super) fn see(&mut self, string: &RawString<'a>) {
        if string.text.len() >= LONG {
            self.last_text = string.text;
        }
    }

    /// Ends the value. Returns what is in it.
    pub(super) fn end(self) -> Result<RowContent, MalformedJson> {
        self.cursor.end()?;
        let last_text = match self.last_text {
            "" => 0,
            text => XxHash3_64::oneshot(text.as_bytes()).max(1),
        };
        Ok(RowContent { last_text, ..self.content })
    }

    /// Passes a value that is not looked at. Nothing but brackets and white space is no content.
    fn skip(&mut self) -> Result<(), MalformedJson> {
        let text = self.cursor.skip()?;
        self.content.others += u64::from(text.bytes().any(|byte| byte.is_ascii_alphanumeric()));
        Ok(())
    }

    /// Looks for turns and content in a value that the tree has no node for.
    pub(super) fn look(&mut self, depth: usize) -> Result<(), MalformedJson> {
        match self.cursor.kind()? {
            JsonKind::Null => drop(self.cursor.scalar()?),
            JsonKind::Bool | JsonKind::Number => {
                self.cursor.scalar()?;
                self.content.others += 1;
            }
            JsonKind::String => {
                let string = self.cursor.string()?;
                self.see(&string);
                self.content.add(&string.value().unwrap_or(string.text.into()));
            }
            JsonKind::Array | JsonKind::Object if depth >= DEPTH => self.skip()?,
            JsonKind::Array => {
                self.cursor.enter();
                while self.cursor.has_more()? {
                    self.look(depth + 1)?;
                }
            }
            JsonKind::Object => {
                self.cursor.enter();
                let mut turn = TurnMembers::default();
                while self.cursor.has_more()? {
                    let key = self.cursor.key()?;
                    turn.see(&key, &self.cursor)?;
                    let before = self.content;
                    self.look(depth + 1)?;
                    turn.pass(&key, &before, &self.content);
                }
                self.end_of_object(turn);
            }
        }
        Ok(())
    }

    /// Counts an object if it is a turn. Returns whether it is one.
    pub(super) fn end_of_object(&mut self, turn: TurnMembers<'_>) -> bool {
        let Some(role) = turn.role.filter(|_| turn.has_content) else { return false };
        self.content.turns += 1;
        let role = role.value().unwrap_or(role.text.into());
        (self.on_turn)(SeenTurn { role: &role, is_empty: !turn.is_filled });
        true
    }
}

impl RowContent {
    pub(super) fn add(&mut self, text: &str) -> TextSight {
        let sight = TextSight::of(text);
        self.bytes += sight.bytes;
        self.has_words |= sight.has_words;
        sight
    }
}

/// Returns a key without its escapes, or as it is if no text can hold it.
fn name_of<'a>(key: &RawString<'a>) -> Cow<'a, str> {
    let unescaped = if key.has_escapes { key.value() } else { None };
    unescaped.unwrap_or(key.text.into())
}

/// The members that make an object a turn.
#[derive(Default)]
pub(super) struct TurnMembers<'a> {
    role: Option<RawString<'a>>,
    has_content: bool,
    is_filled: bool,
}

impl<'a> TurnMembers<'a> {
    /// Sees a key. The cursor is at its value.
    pub(super) fn see(
        &mut self,
        key: &RawString<'_>,
        cursor: &JsonCursor<'a>,
    ) -> Result<(), MalformedJson> {
        let name = name_of(key);
        if name == "role" && cursor.clone().kind()? == JsonKind::String {
            self.role = Some(cursor.clone().string()?);
        }
        self.has_content |= CONTENTS.contains(&&*name);
        Ok(())
    }

    /// Passes the value of a key: the content of the row before and after it.
    pub(super) fn pass(&mut self, key: &RawString<'_>, before: &RowContent, after: &RowContent) {
        let has_more = after.bytes > before.bytes || after.others > before.others;
        self.is_filled |= has_more && !NAMES.contains(&&*name_of(key));
    }
}
