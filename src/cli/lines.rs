//! Text for people. Whatever is printed goes through here, so that no name, path or message from outside can
//! steer the terminal or forge a line: a line is one line, whatever was formatted into it.

use std::fmt::Display;

use crate::{Error, text::line};

/// Lines, each of which is harmless.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Vec<String>);

impl Lines {
    /// One line.
    pub(super) fn one(text: impl Display) -> Self {
        Self::default().and(text)
    }

    /// Another line.
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

    /// The lines of a text that is our own. Line ends that came from outside would be taken for ours: format
    /// nothing of that kind into it.
    pub(super) fn of(text: &str) -> Self {
        Self(text.lines().map(line).collect())
    }

    /// What is said of an error, hint included: its parts are one line each already.
    pub(super) fn report(error: &Error) -> Self {
        Self::of(&error.report().to_string())
    }

    /// As it is printed.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|line| line.to_owned() + "\n").collect()
    }
}

impl<T: Display> FromIterator<T> for Lines {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        Self(lines.into_iter().map(line).collect())
    }
}
