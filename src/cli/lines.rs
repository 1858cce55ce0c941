//! Text for people. All printed text goes through this module. It replaces control characters, so that a name,
//! path or message from outside can neither control the terminal nor add a line of its own.

use std::fmt::Display;

use console::measure_text_width;

use super::flags::with_flags;
use crate::{
    Failure,
    chrono::{SecondsFormat, Utc},
    text::{harmless_json, line},
};

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

    /// Wraps the lines that are wider than a terminal: at a ` · `, or else between words. A word that is too wide
    /// stays whole, and so does an indented line: it is a path or a command to copy. `None` means no terminal.
    pub(super) fn wrapped(self, width: Option<usize>) -> Self {
        let Some(width) = width else { return self };
        Self(self.0.iter().flat_map(|line| wrapped(line, width)).collect())
    }

    /// Returns the text to print.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|line| line.to_owned() + "\n").collect()
    }
}

/// Returns the report of a failure: its message, causes and hint, or one JSON object with them. `job` is empty or
/// the name of the failed job.
pub(super) fn report(job: &str, failure: &Failure, json: bool) -> String {
    let flags = |text: &str| with_flags(text).into_owned();
    let failure = Failure {
        message: flags(&failure.message),
        causes: failure.causes.iter().map(|cause| flags(cause)).collect(),
        hint: failure.hint.as_deref().map(flags),
        ..failure.clone()
    };
    if !json {
        let job = if job.is_empty() { String::new() } else { format!("{}: ", line(job)) };
        return format!("error: {job}{failure}\n");
    }
    let mut fields = serde_json::json!({
        "message": failure.message,
        "causes": failure.causes,
        "hint": failure.hint,
        "exit_code": failure.exit_code,
    });
    if !job.is_empty() {
        fields["job"] = job.into();
    }
    log_line("ERROR", &fields)
}

/// Returns the message and the causes of a failure on one line.
pub(super) fn one_line(failure: &Failure) -> String {
    let texts = std::iter::once(&failure.message).chain(&failure.causes);
    texts.map(String::as_str).collect::<Vec<_>>().join(": ")
}

/// Returns a line of the JSON log with this message.
pub(super) fn log_object(level: &str, message: impl Display) -> String {
    log_line(level, &serde_json::json!({ "message": message.to_string().trim_end() }))
}

/// Returns a line of the JSON log, with the layout of `tracing`.
fn log_line(level: &str, fields: &serde_json::Value) -> String {
    let object = serde_json::json!({
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        "level": level,
        "fields": fields,
        "target": "overmind_export",
    });
    harmless_json(&object.to_string()) + "\n"
}

fn wrapped(line: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    const DOT: &str = " · ";
    let (mut lines, mut rest) = (Vec::new(), line);
    let indent = |lines: &[String]| if lines.is_empty() { "" } else { INDENT };
    while !line.starts_with(' ') {
        let room = width.saturating_sub(indent(&lines).len());
        if measure_text_width(rest) <= room {
            break;
        }
        let fits = |(at, _): &(usize, &str)| *at > 0 && measure_text_width(&rest[..*at]) <= room;
        let at_dot = rest.rmatch_indices(DOT).find(fits);
        let at_word =
            || rest.rmatch_indices(' ').find(fits).or_else(|| rest.match_indices(' ').next());
        let Some((at, between)) = at_dot.or_else(at_word) else { break };
        lines.push(format!("{}{}", indent(&lines), &rest[..at]));
        rest = &rest[at + between.len()..];
    }
    lines.push(format!("{}{rest}", indent(&lines)));
    lines
}

impl<T: Display> FromIterator<T> for Lines {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        Self(lines.into_iter().map(line).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_line_is_wrapped_between_words() {
        let lines = Lines::one("100,000 rows in 1 file · 4.6 s · complete: every row once")
            .and("a_word_that_is_wider_than_the_terminal and more of it")
            .and("  /a path/that is/wider than the terminal");
        insta::assert_snapshot!(lines.clone().wrapped(Some(24)).text(), @"
        100,000 rows in 1 file
          4.6 s
          complete: every row
          once
        a_word_that_is_wider_than_the_terminal
          and more of it
          /a path/that is/wider than the terminal
        ");
        assert_eq!(lines.clone().wrapped(None).text(), lines.text());
    }
}
