//! Lines about fields and results that no row gave to the expressions of a transformation.

use super::lines::Lines;
use crate::transform::missing_values_of;

/// Adds a line for each field that an expression reads and no row has, and for each expression that is null on every row.
///
/// `none` names the rows: `no row`, for example. `named` returns a text with the names of options, which are in
/// backticks, as a person gives them.
pub(super) fn missing_values(
    lines: Lines,
    missing: &[String],
    (none, rows): (&str, u64),
    named: impl Fn(&str) -> String,
) -> Lines {
    let sentences = missing_values_of(none, missing, rows);
    sentences.iter().fold(lines, |lines, it| lines.and(format_args!("  {}", named(it))))
}
