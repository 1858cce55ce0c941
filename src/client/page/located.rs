//! The positions of a page's values in its body. Both the scanner and the parser produce them.

use std::ops::Range;

use uuid::Uuid;

use crate::client::link::Link;

pub(super) type Span = Range<usize>;

/// A decoded page: its own fields, and the positions of its rows' values in the body.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub(super) count: u64,
    pub(super) next: Link,
    pub(super) previous: Link,
    pub(super) rows: Vec<RowSpans>,
    /// Whether the body is known to have no white space between tokens. False if unknown.
    pub(super) compact: bool,
}

/// The positions of a row's values in the body.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RowSpans {
    pub(super) id: Uuid,
    pub(super) order: Option<i64>,
    pub(super) input: Option<Span>,
    pub(super) expected_output: Option<Span>,
    pub(super) persona: Option<JsonText>,
    pub(super) tags: Option<Span>,
    pub(super) additional_properties: Option<Box<str>>,
}

/// A string value. An owned copy is needed only if the string contains escapes.
#[derive(Debug, PartialEq)]
pub(super) enum JsonText {
    Borrowed(Span),
    Owned(Box<str>),
}

/// The known fields of a row. The other fields are kept together in one JSON object.
pub(super) const FIELDS: [&str; 6] = ["id", "order", "input", "expected_output", "persona", "tags"];

/// Builds the JSON object of a row's unknown fields.
#[derive(Default)]
pub(super) struct Unknown(String);

impl Unknown {
    /// Adds a field. `name` is copied from the JSON text and includes the quotes.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(name);
        self.0.push(':');
        self.0.push_str(value);
    }

    /// Returns the object, or `None` if there was no field.
    pub(super) fn finish(mut self) -> Option<Box<str>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push('}');
        Some(self.0.into())
    }
}
