//! What an expression is expected to find in the rows: the values at the paths that it reads, and a result that is not
//! null. What no row gives is probably misspelled.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;

use super::{
    expression::Expression,
    paths::{PathStep, ValuePath},
    places::{PathSet, PathTree},
    row_value::FIELDS,
};
use crate::{client::Row, text::similar};

/// Most paths that are expected. The other half of the numbers is for results.
const MOST_PATHS: usize = PathSet::MOST / 2;
/// Number of rows of a block whose names are compared with a misspelled one.
const ROWS_COMPARED: usize = 20;
/// Most names that are compared.
const MOST_NAMES: usize = 512;

/// What the expressions of a transformation are expected to find, each with a number.
#[derive(Debug, Default)]
pub(super) struct ExpectedValues {
    values: Vec<ExpectedValue>,
    /// The paths in the fields that are JSON, in the order of [`json_fields`].
    fields: [ExpectedPaths; 4],
    /// The number of the result of each expression, by the number of the expression.
    results: Vec<Option<usize>>,
}

/// A value that some row is expected to give.
#[derive(Debug)]
struct ExpectedValue {
    /// What a record says if no row gives it: the option for a result, such as `dedupe`, or with a path, such as
    /// `dedupe: .inptu`.
    text: String,
    /// The path; `None` for a result.
    path: Option<ValuePath>,
    /// The number of a path that this one begins with. If no row has that one, it is named alone.
    within: Option<usize>,
}

/// The paths in a field.
#[derive(Debug, Default)]
struct ExpectedPaths {
    tree: PathTree,
    numbers: PathSet,
}

impl ExpectedValues {
    /// Adds the next expression. `label` names its option. `has_result` says that null on every row is a surprise: it is
    /// none for a condition, which leaves such rows out.
    pub(super) fn add(&mut self, label: &str, expression: &Expression, has_result: bool) {
        for name in expression.names().iter().filter(|name| !FIELDS.contains(&name.as_str())) {
            self.add_path(label, &ValuePath::of_field(name), &[]);
        }
        for read in expression.paths() {
            self.add_path(label, &read.path, &read.others);
        }
        let result = has_result.then(|| self.number(label.to_owned(), None)).flatten();
        self.results.push(result);
    }

    /// Adds a path whose values are replaced, and the paths to the values that have these. An unknown field can also be the
    /// name of a computed column, so it is left out.
    pub(super) fn add_replaced(&mut self, option: &str, path: &ValuePath) {
        let keys = path.steps.iter().enumerate().filter(|(_, it)| matches!(it, PathStep::Key(_)));
        let lengths: Vec<usize> = keys.map(|(place, _)| place + 1).collect();
        if !FIELDS.contains(&path.field.as_str()) {
            return;
        }
        for length in lengths {
            let steps = path.steps.iter().take(length).cloned().collect();
            self.add_path(option, &ValuePath { field: path.field.clone(), steps }, &[]);
        }
    }

    /// Adds a path. A value at one of the others is as good.
    fn add_path(&mut self, label: &str, path: &ValuePath, others: &[ValuePath]) {
        let text = format!("{label}: {path}");
        let paths = self.values.iter().filter(|value| value.path.is_some()).count();
        let is_known = self.values.iter().any(|value| value.text == text);
        // A text, an id or a number has no parts.
        let is_json = field_of(path).is_some();
        if is_known || !is_json || paths >= MOST_PATHS {
            return;
        }
        let Some(number) = self.number(text, Some(path.clone())) else { return };
        for path in [path].into_iter().chain(others) {
            let Some((field, steps)) = field_of(path) else { continue };
            self.fields[field].tree.insert(&steps, number);
            self.fields[field].numbers.insert(number);
        }
    }

    /// Returns the number of a value; `None` if there are too many.
    fn number(&mut self, text: String, path: Option<ValuePath>) -> Option<usize> {
        if self.values.len() >= PathSet::MOST {
            return None;
        }
        let option = |text: &str| text.split_once(": ").map(|(option, _)| option.to_owned());
        let is_around = |value: &ExpectedValue| match (&path, &value.path) {
            (Some(path), Some(other)) => {
                path.is_within(other) && option(&text) == option(&value.text)
            }
            _ => false,
        };
        let within = self.values.iter().position(is_around);
        self.values.push(ExpectedValue { text, path, within });
        Some(self.values.len() - 1)
    }

    /// Adds the values that a row has. Once a block has given all of them, this costs nothing.
    pub(super) fn look(&self, row: &Row<'_>, found: &mut PathSet) {
        for (paths, text) in self.fields.iter().zip(json_fields(row)) {
            let Some(text) = text.filter(|_| !found.has_all(paths.numbers)) else { continue };
            // What cannot be parsed is not misspelled.
            found.join(paths.tree.find(text).map_or(paths.numbers, |(_, found)| found));
        }
    }

    /// Adds the result of an expression that is not null.
    pub(super) fn add_result(&self, expression: usize, found: &mut PathSet) {
        if let Some(Some(number)) = self.results.get(expression) {
            found.insert(*number);
        }
    }

    /// Returns what no row has given, as records have it. The first of the rows say which names are there instead.
    pub(super) fn missing<'r>(
        &self,
        found: PathSet,
        rows: impl Iterator<Item = Row<'r>>,
    ) -> Vec<String> {
        let numbered = self.values.iter().enumerate();
        let is_missing = |number: usize| !found.contains(number);
        let missing = numbered
            .filter(|(number, value)| is_missing(*number) && !value.within.is_some_and(is_missing));
        let missing: Vec<&ExpectedValue> = missing.map(|(_, value)| value).collect();
        let has_paths = missing.iter().any(|value| value.path.is_some());
        let rows: Vec<Row<'_>> = rows.take(if has_paths { ROWS_COMPARED } else { 0 }).collect();
        let with_meant = |value: &ExpectedValue| {
            let meant = value.path.as_ref().and_then(|path| meant(path, &rows));
            let meant = meant.map(|meant| format!(" ({meant})")).unwrap_or_default();
            format!("{}{meant}", value.text)
        };
        missing.into_iter().map(with_meant).collect()
    }
}

/// The fields of a row that are JSON. The last one has the unknown fields.
fn json_fields<'r>(row: &Row<'r>) -> [Option<&'r str>; 4] {
    [row.input, row.expected_output, row.tags, row.additional_properties]
}

/// Returns the place of the JSON with the values of a path, and the steps in it. `None` if its field is not JSON.
fn field_of(path: &ValuePath) -> Option<(usize, Vec<PathStep>)> {
    match path.field.as_str() {
        "input" => Some((0, path.steps.clone())),
        "expected_output" => Some((1, path.steps.clone())),
        "tags" => Some((2, path.steps.clone())),
        "id" | "order" | "persona" => None,
        name => {
            let field = PathStep::Key(name.to_owned());
            Some((3, [field].into_iter().chain(path.steps.iter().cloned()).collect()))
        }
    }
}

/// Returns the path with the name that was probably meant by the last step of this one: a similar name that these rows
/// have there. `None` also for the name of a usual field, which needs no row.
fn meant(path: &ValuePath, rows: &[Row<'_>]) -> Option<ValuePath> {
    if path.steps.is_empty() && similar(&path.field, FIELDS).is_some() {
        return None;
    }
    let (field, steps) = field_of(path)?;
    let (PathStep::Key(key), around) = steps.split_last()? else { return None };
    let mut tree = PathTree::default();
    tree.insert(around, 0);
    let mut names = BTreeSet::new();
    for text in rows.iter().filter_map(|row| json_fields(row)[field]) {
        for place in tree.find(text).map(|(places, _)| places).unwrap_or_default() {
            let object = text.get(place).map(serde_json::from_str::<BTreeMap<String, IgnoredAny>>);
            let Some(Ok(object)) = object else { continue };
            names.extend(object.into_keys().take(MOST_NAMES.saturating_sub(names.len())));
        }
    }
    // The name is right, and its values are null.
    if names.contains(key) {
        return None;
    }
    let name = similar(key, names.iter().map(String::as_str))?.to_owned();
    let mut meant = path.clone();
    match meant.steps.last_mut() {
        Some(last) => *last = PathStep::Key(name),
        None => meant.field = name,
    }
    Some(meant)
}
