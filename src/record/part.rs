//! The parts of an export as its record lists them: their files, their rows, and whether their numbers are possible.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    earlier::{EarlierTransform, RowNumbers, unexplained},
    written::Completeness,
};
use crate::{
    batch::OutputColumn,
    client::Query,
    nested::RescuedPaths,
    proof::Digest,
    text::{counted, grouped},
    transform::{TransformRecord, keep_missing},
};

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// Path of the file, relative to the directory of the export. The parts of a split are in a folder of its name.
    pub path: String,
    /// Name of the split whose rows the file has; `None` if the rows are not split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Number of the first page in the file, from 1. 0 for a conversion.
    pub first_page: u64,
    /// Number of the last page in the file. 0 for a conversion.
    pub last_page: u64,
    /// Number of rows that were read for the file. The parts of all splits that have the same pages were read for
    /// together, and have the same number.
    pub rows_read: u64,
    /// Number of rows of the file.
    pub rows: u64,
    /// Number of rows on which an expression of the transformation failed. Of parts with the same pages, the first has it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Number of rows that equal an earlier row of the export, so that they were left out. Of parts with the same pages,
    /// the first has it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Number of rows of the file in which each path of the transformation has replaced a value: the paths of `mask`,
    /// then those of `pseudonymise`, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<u64>,
    /// What none of the rows that were read gave to the expressions of the transformation: a field that an expression reads,
    /// such as `dedupe: .inptu`, or a result that is not null, such as `dedupe` or `column topic`. A similar name that rows
    /// have in place of a misspelled one is in brackets: `where: .input.mesages (.input.messages)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Number of rows of the file with a value that does not fit the type of its nested column. The column `_rescued`
    /// has these values.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rescued: u64,
    /// The paths of these values, such as `.input.messages[].content`: the first ones, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rescued_paths: Vec<String>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Digest of the file's rows. The digests of the parts join to that of the export.
    pub digest: String,
    /// Digest of the rows as this program reads them back. `None` if it is the same digest. The text of nested JSON columns
    /// can differ from the text that the API gave, in the spelling of numbers for instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested_digest: Option<String>,
}

impl Part {
    /// Returns the digest of the rows as they are read back.
    pub(crate) fn read_digest(&self) -> &str {
        self.nested_digest.as_ref().unwrap_or(&self.digest)
    }
}

/// The rows of a part, or of all parts so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartRows {
    /// Number of rows that were read.
    pub(crate) read: u64,
    /// Number of rows that were written: all, or those that the transformation keeps.
    pub(crate) written: u64,
    /// Number of rows on which an expression failed.
    pub(crate) failed: u64,
    /// Number of rows that equal an earlier one.
    pub(crate) duplicates: u64,
    /// Number of written rows in which each path has replaced a value.
    pub(crate) replaced: Vec<u64>,
    /// What no row that was read gave to the expressions; `None` before the first rows.
    pub(crate) missing: Option<Vec<String>>,
    /// Number of written rows with a value that does not fit the type of its nested column.
    pub(crate) rescued: u64,
    /// The first paths of these values.
    pub(crate) rescued_paths: RescuedPaths,
    /// Digest of the rows that were written.
    pub(crate) digest: Digest,
    /// Digest of these rows as they are read back, if their JSON columns are nested.
    pub(crate) nested_digest: Option<Digest>,
}

impl PartRows {
    pub(crate) fn join(&mut self, next: &Self) {
        // Another program may have written the numbers of kept parts.
        self.read = self.read.saturating_add(next.read);
        self.written = self.written.saturating_add(next.written);
        self.failed = self.failed.saturating_add(next.failed);
        self.duplicates = self.duplicates.saturating_add(next.duplicates);
        add_replaced(&mut self.replaced, &next.replaced);
        if let Some(missing) = &next.missing {
            keep_missing(&mut self.missing, missing);
        }
        self.rescued = self.rescued.saturating_add(next.rescued);
        self.rescued_paths.join(&next.rescued_paths.0);
        self.digest.join(next.digest, next.written);
        if let Some(next_digest) = next.nested_digest {
            self.nested_digest.get_or_insert_default().join(next_digest, next.written);
        }
    }
}

impl From<&Part> for PartRows {
    fn from(part: &Part) -> Self {
        Self {
            read: part.rows_read,
            written: part.rows,
            failed: part.failed,
            duplicates: part.duplicates,
            replaced: part.replaced.clone(),
            missing: Some(part.missing.clone()),
            rescued: part.rescued,
            rescued_paths: RescuedPaths(part.rescued_paths.clone()),
            // The digest of a kept part is always valid.
            digest: part.digest.parse().unwrap_or_default(),
            nested_digest: part.nested_digest.as_ref().and_then(|digest| digest.parse().ok()),
        }
    }
}

/// Adds the rows in which each path has replaced a value.
pub(crate) fn add_replaced(sums: &mut Vec<u64>, rows: &[u64]) {
    sums.resize(sums.len().max(rows.len()), 0);
    for (sum, rows) in sums.iter_mut().zip(rows) {
        *sum = sum.saturating_add(*rows);
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A part of an export, and the record's facts about the whole export.
#[derive(Debug, Clone)]
pub(crate) struct ListedPart {
    pub(crate) part: Part,
    /// Number of the part's first row among all rows read.
    pub(crate) first_row: u64,
    pub(crate) dataset: Option<Uuid>,
    /// Number of rows of the dataset.
    pub(crate) count: Option<u64>,
    pub(crate) completeness: Completeness,
    pub(crate) query: Option<Query>,
    pub(crate) transform: Option<Arc<TransformRecord>>,
    pub(crate) earlier: Arc<[EarlierTransform]>,
    pub(crate) columns: Arc<[OutputColumn]>,
}

impl ListedPart {
    /// Returns why the part cannot have the recorded rows.
    pub(crate) fn unexplained(&self) -> Option<String> {
        let part = &self.part;
        let transform = self.transform.as_deref();
        let paths = transform.map_or(0, TransformRecord::replaced_paths);
        if part.replaced.len() != paths {
            let counted = counted(part.replaced.len() as u64, "path");
            return Some(format!("it counts the replacements of {counted}, recorded {paths}"));
        }
        // A row can have any number of lines.
        let is_mapped = transform.is_some_and(|transform| transform.map.is_some());
        let most = if is_mapped { part.rows_read } else { part.rows };
        if let Some(more) = part.replaced.iter().find(|rows| **rows > most) {
            let (rows, changed) = (counted(most, "row"), grouped(*more));
            return Some(format!("it has {rows}, and {changed} with replaced values"));
        }
        let &Part { rows, rows_read, failed, duplicates, rescued, .. } = part;
        if rescued > rows {
            let (rows, rescued) = (counted(rows, "row"), grouped(rescued));
            return Some(format!("it has {rows}, and {rescued} with values that do not fit"));
        }
        unexplained(RowNumbers { rows, rows_read, failed, duplicates }, transform)
    }
}
