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
        .map(|(option, path)| {
            let (field, meant) = with_meant(path);
            // The name of a field of the row, and not a path in it.
            let name = field.trim_start_matches('.');
            let name = Some(name).filter(|name| !name.contains(['.', '[']));
            let usual = || Some(format!(".{}", similar(name?, FIELDS)?));
            let meant = meant.map(str::to_owned).or_else(usual);
            let meant = meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default();
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

/// Returns the text of a record about a value that no row has given, and the path that was probably meant: it can follow
/// in brackets.
fn with_meant(text: &str) -> (&str, Option<&str>) {
    let opened = text.strip_suffix(')').and_then(|text| Some((text, text.rfind(" (.")?)));
    match opened {
        Some((inner, at)) => (&text[..at], inner.get(at + 2..)),
        None => (text, None),
    }
}

/// Keeps what none of more rows gave to the expressions either.
pub(crate) fn keep_missing(sum: &mut Option<Vec<String>>, missing: &[String]) {
    let Some(sum) = sum else { return *sum = Some(missing.to_vec()) };
    sum.retain_mut(|kept| {
        let (text, meant) = with_meant(kept);
        let Some(other) = missing.iter().find(|other| with_meant(other).0 == text) else {
            return false;
        };
        // The first name that was probably meant stays.
        if meant.is_none() {
            *kept = other.clone();
        }
        true
    });
}

/// Returns the path that was probably meant by a path of an option whose values are replaced.
pub(crate) fn meant_of(missing: &[String], option: &str, path: &str) -> Option<String> {
    missing.iter().find_map(|text| {
        let (start, meant) = with_meant(text);
        let (of_option, start) = start.split_once(": ")?;
        let rest = path.strip_prefix(start).filter(|_| of_option == option)?;
        // A longer name is another one.
        let is_whole = rest.is_empty() || rest.starts_with(['.', '[']);
        let meant = meant.filter(|_| is_whole);
        meant.map(|meant| format!("{meant}{rest}"))
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
