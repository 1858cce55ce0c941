//! The rows of a batch: their values in the form in which they are compared, and their hashes.
//!
//! JSON is compared token for token: white space between tokens is dropped, as in the files of an export. Nothing
//! else is normalized, unless the caller ignores the spelling.

use std::borrow::Cow;

use arrow_array::{Array, Int64Array, RecordBatch, cast::AsArray, types::Int64Type};
use twox_hash::{XxHash3_64, XxHash3_128};

use super::{
    json_value::ValueHash,
    table::{COMPARED, ColumnSet, NO_KEY, TableEntry},
};
use crate::{
    batch::{Column, TextValues},
    client::compact::compact,
    error::{Error, Result},
    location::Location,
    readback::kinds::wrong_values,
};

/// The key column, which identifies rows, and the columns that are compared.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    pub(super) key: Column,
    pub(super) columns: Vec<Column>,
    /// Whether two spellings of a JSON value are equal.
    pub(super) ignore_spelling: bool,
}

impl Compared {
    /// Returns the compared columns that are JSON.
    pub(super) fn json_columns(&self) -> ColumnSet {
        ColumnSet::of(self.columns.iter().map(|column| column.is_json()))
    }
}

/// A batch whose columns have the names and types of an export.
pub(super) struct Rows<'a> {
    columns: [Option<Values<'a>>; Column::ALL.len()],
    len: usize,
    /// Whether the JSON has no white space between tokens, as in the files of an export.
    is_compact: bool,
}

enum Values<'a> {
    Integers(&'a Int64Array),
    Text(TextValues<'a>),
    Json(TextValues<'a>),
}

/// A value of a row. JSON has no white space between tokens.
#[derive(Debug, Clone)]
pub(super) enum RowValue<'a> {
    Integer(i64),
    Text(&'a str),
    Json(Cow<'a, str>),
}

impl<'a> Rows<'a> {
    /// Takes a batch of `file` and checks names and types of its columns. Leaves out the computed ones.
    pub(super) fn new(
        batch: &'a RecordBatch,
        file: &Location,
        computed: &[String],
    ) -> Result<Self> {
        let damaged = |why| Error::Damaged { path: file.to_path(), why };
        let mut columns = [const { None }; Column::ALL.len()];
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let name = field.name();
            let Ok(column) = name.parse::<Column>() else {
                if computed.contains(name) {
                    continue;
                }
                return Err(damaged(format!("it has a column {name:?}, which no export has")));
            };
            let values = match column {
                Column::Order => array.as_primitive_opt::<Int64Type>().map(Values::Integers),
                column if column.is_json() => TextValues::of(array).map(Values::Json),
                _ => TextValues::of(array).map(Values::Text),
            };
            let wrong = || damaged(wrong_values(name, array.data_type()));
            columns[column as usize] = Some(values.ok_or_else(wrong)?);
        }
        Ok(Self { columns, len: batch.num_rows(), is_compact: false })
    }

    /// Takes JSON as it is, because a digest says that an export has written it.
    pub(super) fn compact(self, is_compact: bool) -> Self {
        Self { is_compact, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the columns of the batch, in the order of an export.
    pub(super) fn columns(&self) -> impl Iterator<Item = Column> {
        Column::ALL.into_iter().filter(|column| self.columns[*column as usize].is_some())
    }

    pub(super) fn is_without(&self, column: Column) -> bool {
        self.columns[column as usize].is_none()
    }

    /// Returns a row's value, or `None` if it is null or the batch does not have the column.
    pub(super) fn value(&self, column: Column, row: usize) -> Option<RowValue<'a>> {
        match self.columns[column as usize].as_ref()? {
            Values::Integers(values) => {
                values.is_valid(row).then(|| RowValue::Integer(values.value(row)))
            }
            Values::Text(values) => values.get(row).map(RowValue::Text),
            Values::Json(values) => {
                let json = values.get(row)?;
                Some(RowValue::Json(match self.is_compact {
                    true => Cow::Borrowed(json),
                    false => compact(json),
                }))
            }
        }
    }

    /// Returns the value of a row for the comparison: a JSON null is none if the spelling is ignored.
    fn compared_value(
        &self,
        compared: &Compared,
        column: Column,
        row: usize,
    ) -> Option<RowValue<'a>> {
        let ignored = compared.ignore_spelling;
        self.value(column, row).filter(|it| !(ignored && it.is_json_null()))
    }

    /// Returns the hash of a row's key, or [`NO_KEY`].
    pub(super) fn key(&self, compared: &Compared, row: usize) -> u128 {
        let value = self.compared_value(compared, compared.key, row);
        value.map_or(NO_KEY, |value| match value {
            RowValue::Json(json) if compared.ignore_spelling => {
                ValueHash::of(&json).max(NO_KEY + 1)
            }
            value => value.with_bytes(XxHash3_128::oneshot).max(NO_KEY + 1),
        })
    }

    pub(super) fn entry(&self, compared: &Compared, row: usize) -> TableEntry {
        // 0 marks a null: a value whose hash is 0 gets the hash 1.
        let ignored = compared.ignore_spelling;
        let value = |column| self.compared_value(compared, column, row);
        let key = self.key(compared, row);
        let mut hashes = [0; COMPARED];
        for (hash, column) in hashes.iter_mut().zip(&compared.columns) {
            *hash = value(*column).map_or(0, |value| match value {
                RowValue::Json(json) if ignored => (ValueHash::of(&json) as u64).max(1),
                value => value.with_bytes(XxHash3_64::oneshot).max(1),
            });
        }
        TableEntry::new(key, hashes)
    }

    /// Returns a hash of the values of JSON columns, whatever their spelling.
    pub(super) fn value_hash(&self, columns: impl Iterator<Item = Column>, row: usize) -> u128 {
        let mut hash = ValueHash::new();
        for column in columns {
            match self.value(column, row) {
                Some(RowValue::Json(json)) => hash.push(&json),
                _ => hash.push("null"),
            }
        }
        hash.finish()
    }
}

impl RowValue<'_> {
    /// Whether this is a JSON text for a missing value. Exports write no value instead.
    fn is_json_null(&self) -> bool {
        matches!(self, Self::Json(json) if *json == "null")
    }

    fn with_bytes<T>(&self, hash: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Integer(value) => hash(&value.to_le_bytes()),
            Self::Text(text) => hash(text.as_bytes()),
            Self::Json(text) => hash(text.as_bytes()),
        }
    }

    /// Returns the value as plain text: a number in decimal, a text without quotes, JSON as its JSON text.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => text.to_owned(),
            Self::Json(text) => text.into_owned(),
        }
    }

    /// Returns the value as JSON text.
    pub(super) fn into_json(self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => serde_json::Value::from(text).to_string(),
            Self::Json(text) => text.into_owned(),
        }
    }
}
