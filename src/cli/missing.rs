//! Lines about fields and results that no row gave to the expressions of a transformation.

use crate::{config::similar, transform::FIELDS};

use super::lines::Lines;

/// Adds a line for each field that an expression reads and no row has, and for each expression that is null on every row.
/// `named` returns a text with the names of options, which are in backticks, as a person gives them. Expressions are not
/// evaluated if no row is kept, so `rows` decides about their results. `row` names the rows: `no row`, for example.
pub(super) fn missing_values(
    lines: Lines,
    missing: &[String],
    (row, rows): (&str, u64),
    named: impl Fn(&str) -> String,
) -> Lines {
    let fields = missing.iter().filter_map(|text| text.split_once(": "));
    let lines = fields.clone().fold(lines, |lines, (option, field)| {
        let name = field.trim_start_matches('.');
        let meant = similar(name, FIELDS);
        let meant = meant.map(|meant| format!(": did you mean .{meant}?")).unwrap_or_default();
        let option = named(&quoted(option));
        lines.and(format_args!("  {row} has the field {field}, which {option} reads{meant}"))
    });
    let is_result = |text: &&String| {
        let is_field = text.contains(": ");
        !is_field && rows > 0 && !fields.clone().any(|(option, _)| option == text.as_str())
    };
    missing.iter().filter(is_result).fold(lines, |lines, option| {
        let option = named(&quoted(option));
        lines.and(format_args!("  {option} is null on every row: a misspelled field is null, too"))
    })
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
    use super::{super::flags::with_flags, *};

    #[test]
    fn field_of_no_row_is_named_once() {
        let missing = ["where: .persna", "dedupe: .inptu", "dedupe", "column topic", "split_by"];
        let missing = missing.map(str::to_owned);
        let text = |rows| {
            let named = |text: &str| with_flags(text).into_owned();
            missing_values(Lines::default(), &missing, ("no row", rows), named).text()
        };
        insta::assert_snapshot!(text(1), @r"
          no row has the field .persna, which --where reads: did you mean .persona?
          no row has the field .inptu, which --dedupe reads: did you mean .input?
          --column topic is null on every row: a misspelled field is null, too
          --split-by is null on every row: a misspelled field is null, too
        ");
        insta::assert_snapshot!(text(0), @r"
          no row has the field .persna, which --where reads: did you mean .persona?
          no row has the field .inptu, which --dedupe reads: did you mean .input?
        ");
    }
}
