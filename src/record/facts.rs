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
    proof::{Digest, RowHasher, push_field},
    record::{
        earlier::{EarlierTransform, RowNumbers, unexplained, unexplained_earlier},
        manifest::{Completeness, ListedPart, RecordLayout},
    },
    text::foreign,
    transform::TransformRecord,
};

/// The facts in a file's own metadata, under the key `overmind_export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Version of the layout, the same as of the manifest.
    pub(crate) format_version: u32,
    pub(crate) tool: String,
    /// `None` if unknown, like the next ones: the file was converted from one that does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dataset: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<Query>,
    pub(crate) completeness: Completeness,
    /// Number of rows of the dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    /// Number of the file's first row among the rows that the export has read, from 0.
    pub(crate) first_row: u64,
    /// Number of rows that were read for the file.
    pub(crate) rows_read: u64,
    /// Number of rows of the file.
    pub(crate) rows: u64,
    /// Name of the split whose rows the file has. `None` if the rows are not split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) split: Option<String>,
    /// How these rows were chosen from the rows read. `None` if all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transform: Option<TransformRecord>,
    /// The transformations that were made before the rows were read, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<EarlierTransform>,
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
        let damaged = |error: serde_json::Error| {
            let why = format!("it cannot be read: {}", foreign(error));
            Error::Damaged { path: location.to_path(), why }
        };
        serde_json::from_str::<RecordLayout>(json).map_err(damaged)?.check(location)?;
        serde_json::from_str(json).map_err(damaged)
    }

    /// Returns why the file is not this part of an export; `None` if it is.
    pub(crate) fn difference(&self, listed: &ListedPart) -> Option<String> {
        let ListedPart { part, first_row, dataset, count, transform, earlier, .. } = listed;
        let dataset_of = |id: &Option<Uuid>| id.map_or("unknown".to_owned(), |id| id.to_string());
        let count_of =
            |count: &Option<u64>| count.map_or("unknown".to_owned(), |count| count.to_string());
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
            return differs("dataset", &dataset_of(&self.dataset), &dataset_of(dataset));
        }
        if self.count != *count {
            let what = "number of rows of the dataset";
            return differs(what, &count_of(&self.count), &count_of(count));
        }
        if self.completeness != listed.completeness {
            let name = |completeness| match completeness {
                Completeness::Proven => "proven",
                Completeness::Partial => "partial",
            };
            return differs("completeness", &name(self.completeness), &name(listed.completeness));
        }
        if self.query != listed.query {
            return Some("its own filters and order are not the recorded ones".to_owned());
        }
        if self.split != part.split {
            let name = |split: &Option<String>| split.clone().unwrap_or_else(|| "none".to_owned());
            return differs("split", &name(&self.split), &name(&part.split));
        }
        if self.transform.as_ref() != transform.as_deref() {
            return Some("its own transformation is not the recorded one".to_owned());
        }
        if *self.earlier != **earlier {
            return Some("its own earlier transformations are not the recorded ones".to_owned());
        }
        let numbers = [
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
            .or_else(|| unexplained_earlier(&self.earlier, self.rows_read, false))
    }

    /// Returns the number of rows that there were to read for the whole export: those of the dataset, or those that the
    /// last earlier transformation has kept. `None` if unknown.
    fn rows_to_read(&self) -> Option<u64> {
        self.earlier.last().map_or(self.count, |last| Some(last.rows))
    }

    /// Returns the computed columns that the file can have.
    pub(crate) fn computed(&self) -> Vec<OutputColumn> {
        let earlier = self.earlier.iter().map(|earlier| &earlier.transform);
        // A later column replaces an earlier one with its name.
        let last_first = self.transform.iter().chain(earlier.rev());
        last_first.flat_map(TransformRecord::output_columns).collect()
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::Internal(format!("facts: {error}")))
    }
}

impl Facts {
    /// Returns the completeness of the file alone. The facts state that of the whole export.
    pub(crate) fn completeness_of_file(&self) -> Completeness {
        match self.completeness {
            // The file is one of several parts, or does not say how many rows there were.
            Completeness::Proven if self.rows_to_read() != Some(self.rows_read) => {
                Completeness::Partial
            }
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
    let mut digest = Digest::default();
    row_digests(batch, |row| digest.push(row))?;
    Ok(digest)
}

/// Passes the digest of each row of a batch to `visit`, in order.
///
/// # Errors
/// Those of [`digest`].
pub(crate) fn row_digests(batch: &RecordBatch, mut visit: impl FnMut(Digest)) -> Result<()> {
    let mut hasher = RowHasher::new();
    let columns = batch.columns().iter().map(|array| {
        let unknown = || Error::Internal(format!("a column of type {}", array.data_type()));
        ColumnValues::of(array).ok_or_else(unknown)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let mut list = Vec::new();
    for row in 0..batch.num_rows() {
        hasher.start();
        for column in &columns {
            match column.get(row) {
                Some(ArrayValue::List(items)) => {
                    list.clear();
                    for item in items {
                        with_bytes(item, |bytes| push_field(bytes, &mut list));
                    }
                    hasher.field(Some(&list));
                }
                value => with_bytes(value, |bytes| hasher.field(bytes)),
            }
        }
        visit(hasher.end());
    }
    Ok(())
}

/// Calls `visit` with the bytes of a value that is no list; `None` for null. A list has no lists in it.
fn with_bytes(value: Option<ArrayValue<'_>>, visit: impl FnOnce(Option<&[u8]>)) {
    match value {
        None | Some(ArrayValue::List(_)) => visit(None),
        Some(ArrayValue::Text(text)) => visit(Some(text.as_bytes())),
        Some(ArrayValue::Int(int) | ArrayValue::Timestamp(int)) => visit(Some(&int.to_le_bytes())),
        Some(ArrayValue::Float(float)) => visit(Some(&float.to_le_bytes())),
        Some(ArrayValue::Bool(value)) => visit(Some(&[u8::from(value)])),
    }
}
