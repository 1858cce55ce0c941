//! The text of an error: its causes, its hint, and durations in readable form. Control characters are
//! replaced, so that the text cannot control a terminal.

use std::{error::Error as StdError, fmt, iter, time::Duration};

use unicode_width::UnicodeWidthStr;

use super::Error;
use crate::text;

impl Error {
    /// Returns the error and its causes on one line, without the hint. For logs and lists.
    ///
    /// ```
    /// assert_eq!(overmind_export::Error::NoKey.one_line(), "no API key");
    /// ```
    pub fn one_line(&self) -> String {
        let texts = iter::once(self.to_string()).chain(causes(self));
        harmless(&texts.collect::<Vec<_>>().join(": "))
    }

    /// Returns the full text that the command prints: the error, its causes and the hint.
    ///
    /// ```
    /// let error = overmind_export::Error::NoKey;
    /// assert!(error.report().to_string().starts_with("error: no API key\n  hint: set OVERMIND_LAB"));
    /// ```
    pub fn report(&self) -> ErrorReport<'_> {
        ErrorReport(self)
    }
}

/// The text of [`Error::report`]: a line `error:`, a line for each cause, and a line with the hint.
#[derive(Debug)]
pub struct ErrorReport<'a>(&'a Error);

impl fmt::Display for ErrorReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", harmless(&self.0.to_string()))?;
        for line in excerpt(self.0) {
            writeln!(f, "    {line}")?;
        }
        for cause in causes(self.0) {
            writeln!(f, "  cause: {}", harmless(&cause))?;
        }
        if let Some(hint) = self.0.hint() {
            // Whole: it can be a command to copy.
            writeln!(f, "  hint: {}", text::line(hint))?;
        }
        Ok(())
    }
}

/// Returns two lines: the line of an expression with the wrong part, and the marks below that part. No line for other
/// errors, and for an expression without a text.
pub(crate) fn excerpt(error: &Error) -> Vec<String> {
    /// Most characters to show before the start of the wrong part, and from its start.
    const AROUND: usize = 60;
    let Error::Expression { expression, position, length, .. } = error else { return Vec::new() };
    if expression.trim().is_empty() {
        return Vec::new();
    }
    let (before, after) = expression.split_at_checked(*position).unwrap_or((expression, ""));
    let before = before.rsplit('\n').next().unwrap_or_default();
    let skipped = before.chars().count().saturating_sub(AROUND);
    let before: String = before.chars().skip(skipped).collect();
    let after = after.split('\n').next().unwrap_or_default();
    let wrong = after.get(..*length).unwrap_or(after);
    // Columns of the terminal, for the text as it is shown: a character can take two, or none.
    let columns = |text: &str| text::harmless(text, AROUND).width();
    let line = text::harmless(&format!("{before}{after}"), 2 * AROUND);
    let marks = "^".repeat(columns(wrong).clamp(1, AROUND));
    vec![line.trim_end().to_owned(), " ".repeat(columns(&before)) + &marks]
}

/// Makes a text safe to print: one line without control characters, at most 2000 characters.
///
/// Part of the text can come from a server. The limit is about one screen, so that it cannot flood a log.
pub(crate) fn harmless(text: &str) -> String {
    const LENGTH: usize = 2000;
    let mut shown = text::harmless(text, LENGTH);
    if text.chars().nth(LENGTH).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns the texts of the causes, the outermost first. Skips a text that the one before it contains.
pub(crate) fn causes(error: &dyn StdError) -> Vec<String> {
    let mut texts = Vec::new();
    let mut before = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !text.is_empty() && !before.contains(&text) {
            texts.push(text.clone());
            before = text;
        }
        next = cause.source();
    }
    texts
}

/// Formats a duration for people: `0.4 s`, `12 s`, `2 min 5 s`, `3 h 0 min`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_contained_in_the_error_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner;
        assert_eq!(causes(&Outer(Inner)), Vec::<String>::new());
    }

    #[test]
    fn server_text_is_cleaned_and_cut() {
        // The text of a server must not control or flood the terminal.
        let text = Error::Usage(format!("\u{1b}[2J\n{}", "x".repeat(9999))).report().to_string();
        assert!(text.starts_with("error: \u{fffd}[2J xxx") && text.ends_with("x…\n"), "{text}");
        assert_eq!(text.chars().count(), "error: ".len() + 2000 + "…\n".chars().count());
    }

    #[test]
    fn hints_are_harmless_and_whole() {
        let hint = format!("all rows are in \u{1b}[2J\nerror: \u{202e}{}", "x".repeat(9999));
        let source = std::io::ErrorKind::AlreadyExists.into();
        let error = Error::Unpublished { path: "rows".into(), hint, source };
        let text = error.report().to_string();
        let hint = text.lines().last().unwrap_or_default();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(hint.starts_with("  hint: all rows are in \u{fffd}[2J error: \u{fffd}x"), "{text}");
        assert!(hint.ends_with(&"x".repeat(9999)), "{text}");
    }

    #[test]
    fn durations_are_readable() {
        let texts = [400, 12_000, 125_000, 10_800_000].map(|ms| human(Duration::from_millis(ms)));
        assert_eq!(texts, ["0.4 s", "12 s", "2 min 5 s", "3 h 0 min"]);
    }
}
