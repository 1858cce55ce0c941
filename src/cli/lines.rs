//! Text for people. All printed text goes through this module. It replaces control characters, so that a name,
//! path or message from outside can neither control the terminal nor add a line of its own.

use std::fmt::Display;

use super::flags::with_flags;
use crate::{Error, text::line};

/// Lines without control characters.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Vec<String>);

impl Lines {
    /// Creates one line.
    pub(super) fn one(text: impl Display) -> Self {
        Self::default().and(text)
    }

    /// Adds another line and returns all lines.
    pub(super) fn and(mut self, text: impl Display) -> Self {
        self.push(text);
        self
    }

    pub(super) fn push(&mut self, text: impl Display) {
        self.0.push(line(text));
    }

    pub(super) fn extend(&mut self, lines: Self) {
        self.0.extend(lines.0);
    }

    /// Splits a text into lines. Use it only for text of this crate, because a line end in text from outside
    /// would start a new line.
    pub(super) fn of(text: &str) -> Self {
        Self(text.lines().map(line).collect())
    }

    /// Returns the report of an error, with its hint. Each part of a report is already one line.
    pub(super) fn report(error: &Error) -> Self {
        Self::of(&with_flags(&error.report().to_string()))
    }

    /// Returns the text to print.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|line| line.to_owned() + "\n").collect()
    }
}

impl<T: Display> FromIterator<T> for Lines {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        Self(lines.into_iter().map(line).collect())
    }
}
