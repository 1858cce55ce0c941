//! What an expression is expected to find in the rows: the fields that it reads, and a result that is not null. What no
//! row gives is probably misspelled.

use super::{
    expression::Expression,
    paths::PathStep,
    places::{PathSet, PathTree},
    row_value::FIELDS,
};
use crate::client::Row;

/// What the expressions of a transformation are expected to find, each with a number.
#[derive(Debug, Default)]
pub(super) struct ExpectedValues {
    /// What a record says if no row gives it: the option for a result, such as `dedupe`, or with a field, such as
    /// `dedupe: .inptu`.
    texts: Vec<String>,
    /// The fields that only some rows can have.
    fields: PathTree,
    /// The number of the result of each expression, by the number of the expression.
    results: Vec<Option<usize>>,
}

impl ExpectedValues {
    /// Adds the next expression. `label` names its option. `has_result` says that null on every row is a surprise: it is
    /// none for a condition, which leaves such rows out.
    pub(super) fn add(&mut self, label: &str, expression: &Expression, has_result: bool) {
        for name in expression.names().iter().filter(|name| !FIELDS.contains(&name.as_str())) {
            if let Some(number) = self.number(format!("{label}: .{name}")) {
                self.fields.insert(&[PathStep::Key(name.clone())], number);
            }
        }
        let result = has_result.then(|| self.number(label.to_owned())).flatten();
        self.results.push(result);
    }

    /// Returns the number of a text; `None` if there are too many.
    fn number(&mut self, text: String) -> Option<usize> {
        if self.texts.len() >= PathSet::MOST {
            return None;
        }
        self.texts.push(text);
        Some(self.texts.len() - 1)
    }

    /// Adds the fields that a row has.
    pub(super) fn look(&self, row: &Row<'_>, found: &mut PathSet) {
        if !self.fields.has_steps() {
            return;
        }
        let Some(others) = row.additional_properties else { return };
        match self.fields.find(others) {
            Some((_, fields)) => found.join(fields),
            // What cannot be parsed is not misspelled.
            None => (0..self.texts.len()).for_each(|number| found.insert(number)),
        }
    }

    /// Adds the result of an expression that is not null.
    pub(super) fn add_result(&self, expression: usize, found: &mut PathSet) {
        if let Some(Some(number)) = self.results.get(expression) {
            found.insert(*number);
        }
    }

    /// Returns what no row has given, as records have it.
    pub(super) fn missing(&self, found: PathSet) -> Vec<String> {
        let numbered = self.texts.iter().enumerate();
        let missing = numbered.filter(|(number, _)| !found.contains(*number));
        let mut texts: Vec<String> = Vec::new();
        for (_, text) in missing {
            if !texts.contains(text) {
                texts.push(text.clone());
            }
        }
        texts
    }
}
