//! The facts in a data file's own metadata, and the digest of a record batch.
//!
//! Facts contain no time, host name or random value: the same rows give the same bytes.

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use arrow_schema::DataType;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    client::Query,
    error::{Error, Result},
    proof::{Digest, RowHasher},
    record::manifest::Completeness,
};

/// The facts in a file's own metadata, under the key `overmind_export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) tool: String,
    pub(crate) dataset: Uuid,
    pub(crate) query: Query,
    pub(crate) completeness: Completeness,
    /// Number of rows of the dataset.
    pub(crate) count: u64,
    /// Number of the file's first row in the export, from 0.
    pub(crate) first_row: u64,
    /// Number of rows of the file.
    pub(crate) rows: u64,
    /// The file's share of the content digest.
    pub(crate) digest: String,
}

impl Facts {
    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::Internal(format!("facts: {error}")))
    }
}

/// Returns the digest of a batch. `first_row` is the number of its first row in the export, from 0.
pub(crate) fn digest(batch: &RecordBatch, first_row: u64) -> Result<Digest> {
    let mut hasher = RowHasher::new();
    let mut sum = Digest::default();
    let columns = batch.columns().iter().map(|array| match array.data_type() {
        DataType::Int64 => Ok(FieldValues::Integers(array.as_primitive::<Int64Type>())),
        DataType::Utf8 => Ok(FieldValues::Text(array.as_string::<i32>())),
        other => Err(Error::Internal(format!("a column of type {other}"))),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        hasher.start(first_row + row as u64);
        for column in &columns {
            match column {
                FieldValues::Integers(values) => {
                    hasher.int_field(values.is_valid(row).then(|| values.value(row)));
                }
                FieldValues::Text(values) => {
                    hasher.field(values.is_valid(row).then(|| values.value(row).as_bytes()));
                }
            }
        }
        sum += hasher.end();
    }
    Ok(sum)
}

enum FieldValues<'a> {
    Integers(&'a Int64Array),
    Text(&'a StringArray),
}
