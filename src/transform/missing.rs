//! Sentences about fields and results that no row gave to the expressions of a transformation.

use super::row_value::FIELDS;
use crate::text::similar;

/// Returns a sentence for each field that an expression reads and no row has, and for each expression that is null on
/// every row.
///
/// `missing` is that of a [`Summary`](crate::Summary), for example, and `rows` the number of its rows: expressions have
/// no results if no row is kept. Names of options are in backticks.
///
/// ```
/// let missing = ["where: .persna".to_owned(), "column topic".to_owned()];
/// let sentences = overmind_export::missing_values(&missing, 1);
/// assert_eq!(sentences[0], "no row has the field .persna, which `where` reads: did you mean .persona?");
/// assert_eq!(sentences[1], "`column` topic is null on every row: a misspelled field is null, too");
/// ```
pub fn missing_values(missing: &[String], rows: u64) -> Vec<String> {
    missing_values_of("no row", missing, rows)
}

/// Does the same. `none` names the rows: `no row`, for example.
pub(crate) fn missing_values_of(none: &str, missing: &[String], rows: u64) -> Vec<String> {
    let fields = missing.iter().filter_map(|text| text.split_once(": "));
    let mut sentences: Vec<_> = fields
        .clone()
        .map(|(option, field)| {
            let meant = similar(field.trim_start_matches('.'), FIELDS);
            let meant = meant.map(|meant| format!(": did you mean .{meant}?")).unwrap_or_default();
            format!("{none} has the field {field}, which {} reads{meant}", quoted(option))
        })
        .collect();
    let is_result = |text: &&String| {
        let is_field = text.contains(": ");
        !is_field && rows > 0 && !fields.clone().any(|(option, _)| option == text.as_str())
    };
    sentences.extend(missing.iter().filter(is_result).map(|option| {
        format!("{} is null on every row: a misspelled field is null, too", quoted(option))
    }));
    sentences
}

/// Puts the name of an option in backticks: that of a column follows it.
fn quoted(option: &str) -> String {
    match option.split_once(' ') {
        Some((option, column)) => format!("`{option}` {column}"),
        None => format!("`{option}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_of_no_row_is_named_once() {
        let missing = ["where: .persna", "dedupe: .inptu", "dedupe", "column topic", "split_by"];
        let missing = missing.map(str::to_owned);
        let text = |rows| missing_values(&missing, rows).join("\n");
        insta::assert_snapshot!(text(1), @r"
        no row has the field .persna, which `where` reads: did you mean .persona?
        no row has the field .inptu, which `dedupe` reads: did you mean .input?
        `column` topic is null on every row: a misspelled field is null, too
        `split_by` is null on every row: a misspelled field is null, too
        ");
        insta::assert_snapshot!(text(0), @r"
        no row has the field .persna, which `where` reads: did you mean .persona?
        no row has the field .inptu, which `dedupe` reads: did you mean .input?
        ");
    }
}
