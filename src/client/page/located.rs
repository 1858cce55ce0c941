//! Where the values of a page lie in its body, whoever found them.

use std::ops::Range;

use uuid::Uuid;

use crate::client::link::Link;

pub(super) type Span = Range<usize>;

/// What a body says, and where.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub(super) count: u64,
    pub(super) next: Link,
    pub(super) previous: Link,
    pub(super) rows: Vec<Located>,
    /// Whether it is known that there is no white space between tokens.
    pub(super) compact: bool,
}

/// Where a row's values lie.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Located {
    pub(super) id: Uuid,
    pub(super) order: Option<i64>,
    pub(super) input: Option<Span>,
    pub(super) expected_output: Option<Span>,
    pub(super) persona: Option<JsonText>,
    pub(super) tags: Option<Span>,
    pub(super) additional_properties: Option<Box<str>>,
}

/// A string that needed unescaping cannot be borrowed from the body.
#[derive(Debug, PartialEq)]
pub(super) enum JsonText {
    Borrowed(Span),
    Owned(Box<str>),
}

/// The fields of a row that have a place of their own; the others are kept as one object.
pub(super) const FIELDS: [&str; 6] = ["id", "order", "input", "expected_output", "persona", "tags"];

/// An object in the making, of the fields that have no place of their own.
#[derive(Default)]
pub(super) struct Unknown(String);

impl Unknown {
    /// Adds a field by its name, quoted as it came, and its value.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(name);
        self.0.push(':');
        self.0.push_str(value);
    }

    /// The object, unless there was no field.
    pub(super) fn finish(mut self) -> Option<Box<str>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push('}');
        Some(self.0.into())
    }
}
