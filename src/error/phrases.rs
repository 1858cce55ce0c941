//! Phrases in the texts of errors.

use std::{path::PathBuf, time::Duration};

use super::human;
use crate::text::{counted, grouped};

/// What the text of an option is: most options take an expression.
pub(super) fn text_kind(option: &str) -> &'static str {
    if matches!(option, "mask" | "pseudonymise") { "path" } else { "expression" }
}

/// Asks whether another path was meant.
pub(super) fn meant_path(meant: Option<&str>) -> String {
    meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default()
}

/// Asks whether another output was meant.
pub(super) fn meant_output(meant: &Option<PathBuf>) -> String {
    meant.as_ref().map(|meant| format!(": did you mean {}?", meant.display())).unwrap_or_default()
}

pub(super) fn attempts_in(attempts: u64, elapsed: Duration) -> String {
    format!("{} in {}", counted(attempts, "attempt"), human(elapsed))
}

pub(super) fn damaged_of(damaged: u64, of: u64) -> String {
    let verb = if of == 1 { "is" } else { "are" };
    format!("{} of {} {verb} damaged", grouped(damaged), counted(of, "export"))
}

/// Lists the first problems.
pub(super) fn listed(problems: &[String]) -> String {
    const MOST: usize = 8;
    let first = problems.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(MOST) {
        0 => first,
        more => format!("{first}; and {} more", grouped(more as u64)),
    }
}

/// Names a page before one of its rows, if the row is of a page.
pub(super) fn of_page(page: u64) -> String {
    if page == 0 { String::new() } else { format!("page {page}, ") }
}

pub(super) fn of_id(id: uuid::Uuid) -> String {
    if id.is_nil() { String::new() } else { format!(" (id {id})") }
}

/// Names a row before one of its values.
pub(super) fn of_row(row: Option<u64>, id: Option<&str>) -> String {
    match (row, id) {
        (Some(row), Some(id)) => format!("row {row} (id {id}): "),
        (Some(row), None) => format!("row {row}: "),
        (None, Some(id)) => format!("row with id {id}: "),
        (None, None) => String::new(),
    }
}

/// Says why a value does not fit: the type that the schema has instead.
pub(super) fn unlike_schema(expected: Option<&str>) -> String {
    match expected {
        Some(expected) => format!("but the `schema` has {expected} there"),
        None => "but the `schema` has no such member".to_owned(),
    }
}
