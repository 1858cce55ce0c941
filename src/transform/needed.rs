//! The fields of a row that a transformation needs.

use super::{columns::FieldsRead, shaper::Shaper};
use crate::{
    batch::Column,
    error::{Error, Result},
    text::quoted,
};

impl Shaper {
    /// Refuses an expression that names a field which the rows do not have. `why` says it of a name. A field that an
    /// expression reads only with the whole row is null.
    ///
    /// # Errors
    /// [`Error::Usage`] for the first such expression, and for a sample or a split of rows without inputs.
    pub(crate) fn require_fields(&self, why: impl Fn(&str) -> Option<String>) -> Result<()> {
        for (expression, _) in self.labelled() {
            let FieldsRead::Named(names) = expression.fields() else { continue };
            if let Some((name, why)) = names.iter().find_map(|name| Some((name, why(name)?))) {
                let is_computed = self.columns().any(|column| column.name() == name);
                let why = match is_computed && name.parse::<Column>().is_err() {
                    true => format!(
                        "expressions do not see computed columns such as {name}: write what computes it instead"
                    ),
                    false => why,
                };
                let (option, text) = (expression.option(), quoted(expression.text(), 60));
                return Err(Error::Usage(format!("`{option}` {text} cannot be evaluated: {why}")));
            }
        }
        match self.chooses_by_input().and_then(|option| Some((option, why("input")?))) {
            Some((option, why)) => Err(Error::Usage(format!(
                "`{option}` chooses rows by their inputs, and {why}: give `split_by` another key, such as .id"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the names of the columns that the transformation reads or changes: those of the fields that its expressions
    /// read, and those of the values that it replaces.
    pub(crate) fn columns_read(&self) -> Vec<&str> {
        let others = Column::AdditionalProperties.name();
        let mut columns = Vec::new();
        for (expression, _) in self.labelled() {
            let FieldsRead::Named(names) = expression.fields() else {
                return Column::ALL.iter().map(|column| column.name()).collect();
            };
            let of_field = |name: &String| name.parse::<Column>().map_or(others, Column::name);
            columns.extend(names.iter().map(of_field));
        }
        columns.extend(self.chooses_by_input().map(|_| Column::Input.name()));
        for (_, path) in self.replaced() {
            columns.push(&path.field);
            columns.extend(path.field.parse::<Column>().is_err().then_some(others));
        }
        columns
    }
}
