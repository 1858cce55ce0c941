//! Checks that `mask` and `pseudonymise` can do on a source what they promise: the fields exist, no computed column keeps a
//! value that they replace, and a pseudonym does not depend on how the source spells JSON.

use super::source::ConvertSource;
use crate::{
    batch::{BatchColumn, Column, ColumnSource, ColumnType},
    error::{Error, Result},
    nested::NestedType,
    text::quoted,
    transform::{EarlierColumn, PathStep, Shaper, ValuePath},
};

/// Longest expression in a message, in characters.
const SHOWN: usize = 60;

/// Checks the replacements of a transformation, its sample and its splits. `columns` are those of the output.
///
/// # Errors
/// [`Error::Usage`] for a path of a field or column that the source does not have, and for a column of the output that was
/// computed from values that a path replaces. [`Error::Invalid`] for a path into a computed column that cannot hold the
/// replacement. [`Error::Usage`] for pseudonyms, samples and splits whose result would depend on the spelling of nested JSON.
pub(super) fn check(
    shaper: &Shaper,
    source: &ConvertSource,
    columns: &[BatchColumn],
) -> Result<()> {
    require_columns(shaper, source)?;
    require_types(shaper, source)?;
    require_replaced(shaper, source, columns)?;
    require_spelling(shaper, source)
}

/// Refuses a path whose field does not exist in the source.
fn require_columns(shaper: &Shaper, source: &ConvertSource) -> Result<()> {
    let has = |name: &str| source.columns.iter().any(|column| column.name() == name);
    let others = Column::AdditionalProperties.name();
    for (option, path) in shaper.replaced() {
        let name = path.field.as_str();
        let is_usual = name.parse::<Column>().is_ok();
        let why = match is_usual {
            _ if has(name) || !is_usual && has(others) => continue,
            true => format!("the source has no column {name}"),
            false => format!("the source has neither a column {name} nor a column {others}"),
        };
        let path = quoted(&path.to_string(), SHOWN);
        return Err(Error::Usage(format!("`{option}` {path} has no effect: {why}")));
    }
    Ok(())
}

/// Refuses a path into a computed column whose type cannot hold the replacement.
fn require_types(shaper: &Shaper, source: &ConvertSource) -> Result<()> {
    for (option, path) in shaper.replaced() {
        let of_name = source.columns.iter().find(|column| column.name() == path.field);
        let Some(column) = of_name.filter(|column| column.of_api().is_none()) else { continue };
        let kind = column.column_type();
        let why = match kind {
            ColumnType::Json => continue,
            _ if !path.steps.is_empty() => {
                format!("its values are of the type {kind}, without parts")
            }
            ColumnType::String => continue,
            _ if option == "pseudonymise" => {
                format!(
                    "its values are of the type {kind}, and pseudonyms are texts: mask it instead"
                )
            }
            _ => continue,
        };
        let what = if option == "mask" { "path of `mask`" } else { "path of `pseudonymise`" };
        return Err(Error::invalid(what, path.to_string(), why));
    }
    Ok(())
}

/// Refuses to write a computed column of the source that was computed from values that a path replaces, unless the column
/// is replaced, too.
fn require_replaced(
    shaper: &Shaper,
    source: &ConvertSource,
    columns: &[BatchColumn],
) -> Result<()> {
    let earlier = source.origin.earlier.iter().map(|it| it.transform.columns.as_slice());
    let held = shaper.held_by(earlier);
    let is_written = |name: &str| {
        let mut columns = columns.iter();
        columns.any(|it| it.column.name() == name && matches!(it.source, ColumnSource::Batch(_)))
    };
    let Some(held) = held.into_iter().find(|held| is_written(&held.name)) else { return Ok(()) };
    let EarlierColumn { name, expression, option, path } = held;
    let (expression, own) = (quoted(&expression, SHOWN), ValuePath::of_field(&name));
    Err(Error::Usage(format!(
        "the column {name} of the source was computed by {expression}, so it can have values that `{option}` {path} \
         replaces: replace {own}, too, leave it out with `drop`, or compute it again with `column`"
    )))
}

/// Refuses a sample, splits or pseudonyms that would not be those of the same rows with JSON text.
fn require_spelling(shaper: &Shaper, source: &ConvertSource) -> Result<()> {
    let kind_of = |name: &str| {
        let found = source.origin.nested.iter().find(|field| field.name == name);
        found.map(|field| &field.kind)
    };
    let why = "nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null";
    if let Some(option) = shaper.chooses_by_input()
        && kind_of("input").is_some_and(|kind| !keeps_spelling(kind, &[]))
    {
        return Err(Error::Usage(format!(
            "`{option}` chooses rows by their inputs, and {why}, so other rows would be chosen than from the text: give \
             `split_by` an expression of texts, such as .id"
        )));
    }
    for (field, paths) in shaper.key_reads() {
        let Some(kind) = kind_of(field) else { continue };
        let is_whole = paths.is_empty() && !keeps_spelling(kind, &[]);
        let wrong = paths.iter().find(|path| !keeps_spelling(kind, &path.steps));
        let path = wrong.map(ToString::to_string).or_else(|| is_whole.then(|| format!(".{field}")));
        if let Some(path) = path {
            return Err(Error::Usage(format!(
                "`split_by` reads {path}, which has objects or decimal numbers, and {why}, so other rows would be chosen \
                 than from the text: give an expression of texts, such as .id"
            )));
        }
    }
    let hashed = shaper.replaced().filter(|(option, _)| *option == "pseudonymise");
    for (option, path) in hashed {
        if kind_of(&path.field).is_some_and(|kind| !keeps_spelling(kind, &path.steps)) {
            let path = quoted(&path.to_string(), SHOWN);
            return Err(Error::Usage(format!(
                "`{option}` {path} leads to values with objects or decimal numbers, and {why}, so their pseudonyms would \
                 differ from those of the text: name the texts in them, or mask the path"
            )));
        }
    }
    Ok(())
}

/// Whether values at these steps are read back with the canonical text that they had before. Members that are null are left
/// out of an object, and a decimal number has other digits.
fn keeps_spelling(kind: &NestedType, steps: &[PathStep]) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return match kind {
            NestedType::Float | NestedType::Struct { .. } => false,
            NestedType::List { item } => keeps_spelling(item, steps),
            _ => true,
        };
    };
    match (kind, step) {
        (NestedType::List { item }, PathStep::Item(_) | PathStep::Each) => {
            keeps_spelling(item, rest)
        }
        (NestedType::Struct { fields }, PathStep::Each) => {
            fields.iter().all(|field| keeps_spelling(&field.kind, rest))
        }
        (NestedType::Struct { fields }, PathStep::Key(key)) => {
            let found = fields.iter().find(|field| field.name == *key);
            found.is_none_or(|field| keeps_spelling(&field.kind, rest))
        }
        // No value is there, or the JSON text itself.
        _ => true,
    }
}
