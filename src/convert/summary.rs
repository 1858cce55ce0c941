//! The reports of a conversion.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    record::{
        WrittenSplit,
        manifest::{Completeness, Manifest},
    },
    transform::TransformRecord,
};

/// The result of a conversion.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConvertSummary {
    /// The source, as given in the options.
    pub source: String,
    /// The output, as given in the options.
    pub output: String,
    /// The dataset; `None` if the source does not say it.
    pub dataset: Option<Uuid>,
    /// Rows of the dataset, as the API said; `None` if the source does not say it.
    pub count: Option<u64>,
    /// Number of rows of the source. All were read.
    pub rows_read: u64,
    /// Number of rows written: all rows read, or those that the transformation kept, or the lines of a map.
    pub rows: u64,
    /// The splits, in their order. Empty if the rows are not split.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<WrittenSplit>,
    /// Number of rows on which an expression of the transformation failed.
    pub failed_rows: u64,
    /// Number of rows that equal an earlier row, so that `dedupe` has left them out.
    pub duplicate_rows: u64,
    /// Number of rows in which each path of the transformation has replaced a value: the paths of `mask`, then those of
    /// `pseudonymise`, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced_rows: Vec<u64>,
    /// What no row gave to the expressions, as in [`Part::missing`](crate::Part::missing).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Number of rows with a value that does not fit the type of its nested column, which is in the column `_rescued`.
    pub rescued_rows: u64,
    /// The paths of these values: the first ones, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rescued_paths: Vec<String>,
    /// How the rows to write were chosen and changed; `None` if all were written as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformRecord>,
    /// Whether there is a dataset card that `load_dataset` cannot read as a whole, because the output has no rows.
    #[serde(skip)]
    pub(crate) has_empty_card: bool,
    /// Number of files written.
    pub files: u64,
    /// Number of bytes written, after compression.
    pub bytes: u64,
    /// Whether every row of the dataset is proven to have been read: the source states it, and its rows have the digest
    /// that it states.
    pub completeness: Completeness,
    /// A digest of the content of the rows written. Equal content has an equal digest in any format.
    pub digest: String,
    /// A digest of the content of the rows read, as they were before the transformation.
    pub source_digest: String,
    /// Time from the start of the run to its publication, in seconds.
    pub seconds: f64,
}

/// What a conversion would do.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConvertDryRun {
    /// The source, as given in the options.
    pub source: String,
    /// The output, as given in the options.
    pub output: String,
    /// The dataset; `None` if the source does not say it.
    pub dataset: Option<Uuid>,
    /// Number of rows of the source; `None` if it does not say it.
    pub rows: Option<u64>,
    /// How the rows to write would be chosen; `None` if all would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformRecord>,
}

impl ConvertSummary {
    pub(super) fn of(
        manifest: &Manifest,
        (source, source_digest): (String, String),
        output: String,
        seconds: f64,
    ) -> Self {
        let (rescued_rows, rescued_paths) = manifest.rescued();
        Self {
            source,
            output,
            dataset: manifest.dataset,
            count: manifest.count,
            rows_read: manifest.rows_read,
            rows: manifest.rows,
            splits: manifest.splits.clone(),
            failed_rows: manifest.failed_rows(),
            duplicate_rows: manifest.duplicate_rows(),
            replaced_rows: manifest.replaced_rows(),
            missing: manifest.missing(),
            rescued_rows,
            rescued_paths: rescued_paths.0,
            transform: manifest.transform.clone(),
            has_empty_card: manifest.has_empty_card(),
            files: manifest.parts.len() as u64,
            bytes: manifest.parts.iter().map(|part| part.bytes).sum(),
            completeness: manifest.completeness,
            digest: manifest.digest.clone(),
            source_digest,
            seconds,
        }
    }
}
