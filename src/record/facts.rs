//! The facts in a data file's own metadata, and the digest of a record batch.
//!
//! Facts contain no time, host name or random value: the same rows give the same bytes.

use std::fmt::Display;

use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    batch::{ArrayValue, ColumnValues, OutputColumn},
    client::Query,
    error::{Error, Result},
    location::Location,
    nested::NestedField,
    proof::{Digest, RowHasher},
    record::{
        manifest::{Completeness, ListedPart, RecordLayout},
        part::{RowNumbers, unexplained},
    },
    transform::TransformRecord,
};

/// The facts in a file's own metadata, under the key `overmind_export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Version of the layout, the same as of the manifest.
    pub(crate) format_version: u32,
    pub(crate) tool: String,
    pub(crate) dataset: Uuid,
    pub(crate) query: Query,
    pub(crate) completeness: Completeness,
    /// Number of rows of the dataset.
    pub(crate) count: u64,
    /// Number of the file's first row among the rows that the export has read, from 0.
    pub(crate) first_row: u64,
    /// Number of rows that were read for the file.
    pub(crate) rows_read: u64,
    /// Number of rows of the file.
    pub(crate) rows: u64,
    /// How these rows were chosen from the rows read. `None` if all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transform: Option<TransformRecord>,
    /// Digest of the file's rows.
    pub(crate) digest: String,
    /// Digest of the rows as they are read back. `None` if it is the same digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nested_digest: Option<String>,
    /// The types of the JSON columns, if they are nested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nested: Option<Vec<NestedField>>,
}

impl Facts {
    /// Parses the facts from a file's metadata. `location` is named in errors.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they are not facts of this layout.
    pub(crate) fn parse(json: &str, location: &Location) -> Result<Self> {
        let damaged = |error| {
            let why = format!("it cannot be read: {error}");
            Error::Damaged { path: location.to_path(), why }
        };
        serde_json::from_str::<RecordLayout>(json).map_err(damaged)?.check(location)?;
        serde_json::from_str(json).map_err(damaged)
    }

    /// Returns why the file is not this part of an export; `None` if it is.
    pub(crate) fn difference(&self, listed: &ListedPart) -> Option<String> {
        let ListedPart { part, first_row, dataset, count, transform, columns: _ } = listed;
        let differs = |what: &str, own: &dyn Display, recorded: &dyn Display| {
            Some(format!("its own {what} is {own}, recorded {recorded}"))
        };
        if self.digest != part.digest {
            return differs("digest", &self.digest, &part.digest);
        }
        if self.nested_digest != part.nested_digest {
            return differs(
                "digest of the rows read back",
                &self.read_digest(),
                &part.read_digest(),
            );
        }
        if self.dataset != *dataset {
            return differs("dataset", &self.dataset, dataset);
        }
        if self.transform.as_ref() != transform.as_deref() {
            return Some("its own transformation is not the recorded one".to_owned());
        }
        let numbers = [
            ("number of rows of the dataset", self.count, *count),
            ("first row", self.first_row, *first_row),
            ("number of rows read", self.rows_read, part.rows_read),
            ("number of rows", self.rows, part.rows),
        ];
        let (what, own, recorded) = numbers.into_iter().find(|(_, own, other)| own != other)?;
        differs(what, &own, &recorded)
    }

    /// Returns the digest of the rows as they are read back.
    pub(crate) fn read_digest(&self) -> &str {
        self.nested_digest.as_ref().unwrap_or(&self.digest)
    }

    /// Returns why the file cannot have the rows that it states.
    pub(crate) fn unexplained(&self) -> Option<String> {
        let numbers =
            RowNumbers { rows: self.rows, rows_read: self.rows_read, failed: 0, duplicates: 0 };
        unexplained(numbers, self.transform.as_ref())
    }

    /// Returns the computed columns that the file can have.
    pub(crate) fn computed(&self) -> Vec<OutputColumn> {
        self.transform.as_ref().map(TransformRecord::output_columns).unwrap_or_default()
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::Internal(format!("facts: {error}")))
    }
}

impl Facts {
    /// Returns the completeness of the file alone. The facts state that of the whole export.
    pub(crate) fn completeness_of_file(&self) -> Completeness {
        match self.completeness {
            // The file is one of several parts.
            Completeness::Proven if self.rows_read < self.count => Completeness::Partial,
            completeness => completeness,
        }
    }
}

/// Returns the digest of the rows of a batch. Its columns must be those of an export, in the order of its record.
/// [`Digest::join`] joins the digests of consecutive batches.
///
/// # Errors
/// [`Error::Internal`] when a column has a type that no export has.
pub fn digest(batch: &RecordBatch) -> Result<Digest> {
    let mut hasher = RowHasher::new();
    let mut digest = Digest::default();
    let columns = batch.columns().iter().map(|array| {
        let unknown = || Error::Internal(format!("a column of type {}", array.data_type()));
        ColumnValues::of(array).ok_or_else(unknown)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        hasher.start();
        for column in &columns {
            match column.get(row) {
                None => hasher.field(None),
                Some(ArrayValue::Text(text)) => hasher.field(Some(text.as_bytes())),
                Some(ArrayValue::Int(int) | ArrayValue::Timestamp(int)) => {
                    hasher.int_field(Some(int));
                }
                Some(ArrayValue::Float(float)) => hasher.field(Some(&float.to_le_bytes())),
                Some(ArrayValue::Bool(value)) => hasher.field(Some(&[u8::from(value)])),
            }
        }
        digest.push(hasher.end());
    }
    Ok(digest)
}
