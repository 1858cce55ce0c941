//! The reports of an export: at its start, at its end, and when it fails. Writes nothing.

use std::time::Duration;

use serde::Serialize;

use super::Export;
use crate::{
    client::{LOGGED, Meter, Page},
    destination::KeptPart,
    error::Error,
    location::Target,
    paginator::rows_of,
    record::{
        WrittenSplit,
        manifest::{Completeness, Manifest},
    },
    text::{counted, grouped},
    transform::TransformRecord,
};

/// The result of an export.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The dataset.
    pub dataset: uuid::Uuid,
    /// The output, as given in the options.
    pub output: String,
    /// Rows of the dataset, as the API says.
    pub count: u64,
    /// Number of rows read.
    pub rows_read: u64,
    /// Number of rows written: all rows read, or those that the transformation kept, or the lines of a map.
    pub rows: u64,
    /// The splits, in their order. Empty if the rows are not split.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<WrittenSplit>,
    /// Number of rows that were left out because an expression of the transformation failed.
    pub failed_rows: u64,
    /// Number of rows that were left out because they equal an earlier one.
    pub duplicate_rows: u64,
    /// Number of rows with a value that does not fit the type of its nested column, which is in the column `_rescued`.
    pub rescued_rows: u64,
    /// The paths of these values, such as `.input.messages[].content`: the first ones, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rescued_paths: Vec<String>,
    /// Number of rows in which each path of the transformation has replaced a value: the paths of `mask`, then
    /// those of `pseudonymise`, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced_rows: Vec<u64>,
    /// What no row gave to the expressions, as in [`Part::missing`](crate::Part::missing).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// How the rows to write were chosen and changed; `None` if all were written as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformRecord>,
    /// Number of the rows read that belong to parts of an interrupted run. They were not fetched now.
    pub kept_rows: u64,
    /// Whether there is a dataset card that `load_dataset` cannot read as a whole, because the export has no rows.
    #[serde(skip)]
    pub(crate) has_empty_card: bool,
    /// Number of files written.
    pub files: u64,
    /// Number of bytes written, after compression.
    pub bytes: u64,
    /// Whether every row of the dataset is proven to have been read once.
    pub completeness: Completeness,
    /// A digest of the rows' content. Equal content has an equal digest in any format.
    pub digest: String,
    /// Number of pages read, including the pages of kept parts.
    pub pages: u64,
    /// Number of requests sent for this export, including retries.
    pub requests: u64,
    /// Number of retried requests.
    pub retries: u64,
    /// Number of bytes of pages received for this export, after decompression.
    pub received_bytes: u64,
    /// Time from the start of the run to its publication, in seconds.
    pub seconds: f64,
}

/// The result of a dry run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DryRun {
    /// The dataset.
    pub dataset: uuid::Uuid,
    /// The output.
    pub output: String,
    /// Rows of the dataset, as the API says.
    pub count: u64,
    /// Number of rows that would be read. A transformation can keep fewer.
    pub rows: u64,
    /// How the rows to write would be chosen; `None` if all would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformRecord>,
    /// Number of rows that a page really contains.
    pub rows_per_page: u64,
    /// Number of these rows that belong to finished parts of an interrupted export. The export would not fetch them again
    /// if the parts are intact and the dataset is unchanged.
    pub kept_rows: u64,
    /// Number of requests that the export would need if none fails.
    pub requests: u64,
}

impl Export {
    pub(super) fn announce(&self, first: &Page, kept: &[KeptPart]) {
        let options = &self.plan.options;
        let rows = rows_of(options.pages, options.limit, first);
        let groups = kept.iter().step_by(self.plan.splits().len().max(1));
        let kept_rows = groups.map(|kept| kept.part.rows_read).sum();
        // A later pass need not say it again.
        if let (Some(ordering), None) = (options.query.unchecked_ordering(), self.progress.total())
        {
            self.progress.note(unchecked(ordering));
        }
        self.progress.begin(rows, kept_rows);
        if let Some(last) = kept.last() {
            self.progress.note(format!(
                "resuming: {} kept ({} of {}, up to page {})",
                counted(kept.len() as u64, "finished part"),
                grouped(kept_rows),
                counted(first.count(), "row"),
                last.part.last_page,
            ));
        }
    }

    pub(super) fn summary(&self, manifest: &Manifest, elapsed: Duration) -> Summary {
        let (output, kept) = (self.plan.target.to_string(), self.progress.kept());
        Summary::of(manifest, output, self.client.meter(), kept, elapsed)
    }
}

impl Summary {
    /// Summarizes the export that a manifest describes. `kept` is the number of rows that were not fetched by this run.
    pub(crate) fn of(
        manifest: &Manifest,
        output: String,
        meter: &Meter,
        kept: u64,
        elapsed: Duration,
    ) -> Self {
        let (rescued_rows, rescued_paths) = manifest.rescued();
        Self {
            dataset: manifest.dataset_or_nil(),
            output,
            count: manifest.count.unwrap_or_default(),
            rows_read: manifest.rows_read,
            rows: manifest.rows,
            splits: manifest.splits.clone(),
            failed_rows: manifest.failed_rows(),
            duplicate_rows: manifest.duplicate_rows(),
            rescued_rows,
            rescued_paths: rescued_paths.0,
            replaced_rows: manifest.replaced_rows(),
            missing: manifest.missing(),
            transform: manifest.transform.clone(),
            kept_rows: kept.min(manifest.rows_read),
            has_empty_card: manifest.has_empty_card(),
            files: manifest.parts.len() as u64,
            bytes: manifest.parts.iter().map(|part| part.bytes).sum(),
            completeness: manifest.completeness,
            digest: manifest.digest.clone(),
            pages: manifest.pages,
            requests: meter.requests(),
            retries: meter.retries(),
            received_bytes: meter.bytes(),
            seconds: elapsed.as_secs_f64(),
        }
    }
}

/// Returns a note about an ordering that the proof cannot check.
pub(crate) fn unchecked(ordering: &str) -> String {
    format!(
        "the order of the rows is not checked: the API ignores `ordering {ordering}` if it does not know the \
         field, and only the order of id and order can be checked"
    )
}

/// Returns a note that counts the failed attempts; `None` if the log has a line for each.
pub(crate) fn failures(meter: &Meter) -> Option<String> {
    let failures = meter.failures();
    if failures.values().all(|count| *count <= LOGGED) && !failures.contains_key(&Some(429)) {
        return None;
    }
    let kinds = failures.iter().map(|(status, count)| {
        let kind = match status {
            Some(429) => "429 (too many requests)".to_owned(),
            Some(status) => status.to_string(),
            None => "no answer".to_owned(),
        };
        (grouped(*count), kind)
    });
    let kinds: Vec<_> = kinds.collect();
    let total = counted(failures.values().sum(), "failed attempt");
    Some(match kinds.as_slice() {
        [(_, kind)] => format!("{total}: {kind}"),
        kinds => {
            let kinds: Vec<_> =
                kinds.iter().map(|(count, kind)| format!("{count} × {kind}")).collect();
            format!("{total}: {}", kinds.join(", "))
        }
    })
}

impl Error {
    /// Adds a hint about the next run, and whether rows were already delivered.
    pub(super) fn with_kept_parts(self, kept: usize, target: &Target) -> Self {
        match self {
            Self::Interrupted { signal, number, .. } => {
                let hint = match target {
                    _ if kept > 0 => "run the same command again to resume where it stopped",
                    Target::Stdout => "the output is not complete: run the same command again",
                    Target::File(_) => {
                        "nothing was written: run the same command again, or export to a directory \
                         (a path that ends in a slash), which can be resumed"
                    }
                    Target::Directory(_) => "no new part was finished: run the same command again",
                };
                Self::Interrupted { signal, number, hint: Some(hint) }
            }
            Self::Incomplete { seen, planned, .. } => {
                let delivered = matches!(target, Target::Stdout);
                Self::Incomplete { seen, delivered, planned }
            }
            Self::UnmatchedPath { option, path, rows, meant, .. } => {
                let delivered = matches!(target, Target::Stdout);
                Self::UnmatchedPath { option, path, rows, meant, delivered }
            }
            error => error,
        }
    }
}
