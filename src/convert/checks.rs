//! Checks the rows of a source that no record vouches for.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, builder::StringBuilder, cast::AsArray};
use arrow_schema::DataType;
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::{
    batch::{Column, OutputColumn, json_texts},
    client::compact::compact,
    error::{Error, Result},
    location::Location,
    proof::{DEFAULT_LIMIT_BYTES, IdSet},
    text::{counted, grouped, json_mistake, quoted},
};

/// Longest part of a wrong value in a message, in characters.
const SHOWN: usize = 60;

/// In an export, null and a missing value are the same.
const NULL: &str = "null";

/// What to check of each row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowChecks {
    /// JSON columns must be JSON. White space between tokens is dropped, and JSON null becomes null.
    pub(super) json: bool,
    /// Ids must be UUIDs, as an export writes them.
    pub(super) ids: bool,
    /// Ids must be distinct.
    pub(super) distinct: bool,
}

impl RowChecks {
    /// Returns the checks of a source. The metadata of a file proves nothing about its rows: the same program wrote both.
    /// `writes_json` says that JSON columns become values of JSON Lines: a line with a value that is not JSON
    /// could not be read at all.
    pub(super) fn of(has_record: bool, is_transformed: bool, writes_json: bool) -> Self {
        Self {
            // Replacements are made in the text of the JSON, which must be JSON for that, whatever a record says.
            json: !has_record || is_transformed || writes_json,
            ids: !has_record || is_transformed,
            distinct: !has_record,
        }
    }
}

/// Returns the ids of a batch; none if it has no such column. `first_row` is the number of its first row, from 1.
///
/// # Errors
/// [`Error::Damaged`] for the first id that is not a UUID in the form of an export: one id has one text only.
pub(super) fn ids(batch: &RecordBatch, place: &Location, first_row: u64) -> Result<Vec<Uuid>> {
    let texts = batch.column_by_name(Column::Id.name()).and_then(|ids| ids.as_string_opt::<i32>());
    let Some(texts) = texts else { return Ok(Vec::new()) };
    let mut form = Uuid::encode_buffer();
    let id = |(row, text): (usize, Option<&str>)| {
        let row = grouped(first_row + row as u64);
        match text.map(Uuid::try_parse) {
            Some(Ok(id)) if text == Some(id.hyphenated().encode_lower(&mut form)) => Ok(id),
            Some(Ok(id)) => {
                let text = quoted(text.unwrap_or_default(), SHOWN);
                Err(damaged(place, format!("row {row}: its id {text} is not written as {id}")))
            }
            None => Err(damaged(place, format!("row {row} has no id"))),
            Some(Err(_)) => {
                let id = quoted(text.unwrap_or_default(), SHOWN);
                Err(damaged(place, format!("row {row}: its id {id} is not a UUID")))
            }
        }
    };
    texts.iter().enumerate().map(id).collect()
}

/// Checks the JSON columns of a batch, and gives them the form of an export: no white space between tokens, no JSON null.
///
/// # Errors
/// [`Error::Damaged`] for the first value that is not JSON.
pub(super) fn with_json(
    batch: RecordBatch,
    columns: &[OutputColumn],
    place: &Location,
    first_row: u64,
) -> Result<RecordBatch> {
    let mut changed = None;
    let columns = columns.iter().zip(batch.columns()).enumerate();
    for (index, (column, array)) in columns.filter(|(_, (it, _))| it.column_type().holds_json()) {
        let mut are_compact = true;
        for (row, text) in json_texts(array) {
            if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
                let (row, text) = (grouped(first_row + row as u64), quoted(text, SHOWN));
                let why =
                    format!("row {row}: its {column} {text} is not JSON: {}", json_mistake(&error));
                return Err(damaged(place, why));
            }
            let is_object = text.trim_start().starts_with('{') || text.trim() == NULL;
            if column.of_api() == Some(Column::AdditionalProperties) && !is_object {
                let (row, text) = (grouped(first_row + row as u64), quoted(text, SHOWN));
                let why = format!("row {row}: its {column} {text} is not an object");
                return Err(damaged(place, why));
            }
            are_compact &= matches!(compact(text), Cow::Borrowed(text) if text != NULL);
        }
        if !are_compact {
            let arrays = changed.get_or_insert_with(|| batch.columns().to_vec());
            arrays[index] = compacted(array)?;
        }
    }
    let Some(arrays) = changed else { return Ok(batch) };
    let made = RecordBatch::try_new(batch.schema(), arrays);
    made.map_err(|error| Error::Internal(format!("record batch: {error}")))
}

fn compacted(array: &ArrayRef) -> Result<ArrayRef> {
    if let Some(lists) = array.as_list_opt::<i32>() {
        let DataType::List(field) = lists.data_type() else { return Ok(array.clone()) };
        let (offsets, values) = (lists.offsets().clone(), compacted(lists.values())?);
        let made = ListArray::try_new(field.clone(), offsets, values, lists.nulls().cloned());
        let failed = |error| Error::Internal(format!("a column of lists: {error}"));
        return Ok(Arc::new(made.map_err(failed)?));
    }
    let Some(texts) = array.as_string_opt::<i32>() else { return Ok(array.clone()) };
    let mut builder = StringBuilder::with_capacity(texts.len(), 0);
    let texts = texts.iter().map(|text| text.map(compact).filter(|text| text != NULL));
    texts.for_each(|text| builder.append_option(text));
    Ok(Arc::new(builder.finish()))
}

/// The distinct ids of a source.
pub(super) struct DistinctIds {
    ids: IdSet,
    rows: u64,
}

impl DistinctIds {
    pub(super) fn new(temp_dir: &std::path::Path) -> Self {
        Self { ids: IdSet::spilling(DEFAULT_LIMIT_BYTES, temp_dir.to_owned()), rows: 0 }
    }

    pub(super) fn add(&mut self, ids: &[Uuid], temp_dir: &std::path::Path) -> Result<()> {
        self.rows += ids.len() as u64;
        ids.iter()
            .try_for_each(|id| self.ids.insert(*id))
            .map_err(Error::io("sort ids in", temp_dir))
    }

    /// # Errors
    /// [`Error::Damaged`] when an id came twice: no export has such rows.
    pub(super) fn check(self, place: &Location, temp_dir: &std::path::Path) -> Result<()> {
        let distinct = self.ids.finish().map_err(Error::io("sort ids in", temp_dir))?.distinct;
        if distinct == self.rows {
            return Ok(());
        }
        let (rows, distinct) = (counted(self.rows, "row"), grouped(distinct));
        Err(damaged(place, format!("its {rows} have only {distinct} distinct ids")))
    }
}

pub(super) fn damaged(place: &Location, why: String) -> Error {
    Error::Damaged { path: place.to_path(), why }
}
