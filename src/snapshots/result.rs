//! The result of a job's run, as written by `--json`, `history.jsonl` and `on_result`.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::series::bytes_of;
use crate::{
    config::with_keys,
    error::{Error, causes, excerpt, harmless},
    record::{WrittenSplit, manifest::Manifest, stamp::Stamp},
    text,
    transform::TransformRecord,
};

/// The result of one run of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobResult {
    /// The job's name.
    pub job: String,
    /// The status of the run: failed if the run or any dataset failed, otherwise stored if any dataset was
    /// stored, otherwise unchanged.
    pub status: Status,
    /// Start of the run, RFC 3339, UTC.
    pub started_at: String,
    /// End of the run, RFC 3339, UTC.
    pub finished_at: String,
    /// Duration of the run in seconds.
    pub seconds: f64,
    /// Number of rows in the stored snapshots.
    pub rows: u64,
    /// Number of rows that were read for the stored snapshots. `None` in the history of an earlier version.
    #[serde(default)]
    pub rows_read: Option<u64>,
    /// Number of rows on which an expression of the transformation failed, in the stored snapshots.
    #[serde(default)]
    pub failed_rows: u64,
    /// Number of rows that the stored snapshots do not have because they equal an earlier one.
    #[serde(default)]
    pub duplicate_rows: u64,
    /// Number of rows in which each path of the transformation has replaced a value, in the stored snapshots: the paths of
    /// `mask`, then those of `pseudonymise`, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced_rows: Vec<u64>,
    /// Number of rows with a value that does not fit the pinned schema, in the stored snapshots.
    #[serde(default)]
    pub rescued_rows: u64,
    /// Size of the stored snapshots' files in bytes.
    pub bytes: u64,
    /// Number of requests sent, retries included.
    pub requests: u64,
    /// Number of retries.
    pub retries: u64,
    /// The result of each dataset that the run processed; at most one unless the job selects all datasets.
    pub snapshots: Vec<SnapshotResult>,
    /// Deleted expired snapshots, as paths below the job's folder.
    pub pruned: Vec<String>,
    /// The error that ended the run as a whole, if any.
    pub error: Option<Failure>,
    /// The exit code for this result; 0 if nothing failed.
    pub exit_code: u8,
}

impl JobResult {
    /// Returns the error that determines the exit code: the run's own error, otherwise that of the first
    /// failed dataset.
    pub fn failure(&self) -> Option<&Failure> {
        let of_dataset = self.snapshots.iter().find_map(|snapshot| snapshot.error.as_ref());
        self.error.as_ref().or(of_dataset)
    }

    /// Returns the number of rows with a value that does not fit the pinned schema, in the snapshots that represent the
    /// data now: also in those that this run found unchanged.
    pub fn newest_rescued_rows(&self) -> u64 {
        self.snapshots.iter().fold(0, |sum, snapshot| sum.saturating_add(snapshot.rescued_rows))
    }

    /// Returns whether a signal interrupted the run. A later run resumes it.
    pub fn was_interrupted(&self) -> bool {
        matches!(self.exit_code, 130 | 143)
    }

    /// Returns whether the run found the job locked by another run, or lost its lock to another run.
    pub fn was_locked_out(&self) -> bool {
        self.exit_code == 75
    }
}

/// Whether a run stored a new snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The run stored a new snapshot.
    Stored,
    /// The data equals the last snapshot, which remains the newest.
    Unchanged,
    /// The run failed, as a whole or for this dataset. It may have stored snapshots of other datasets.
    Failed,
}

/// The result of a run for one dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotResult {
    /// The dataset.
    pub dataset: Uuid,
    /// The dataset's name, if the list of datasets contains one.
    pub name: Option<String>,
    /// The dataset's version, if the list of datasets contains one.
    pub version: Option<i64>,
    /// The status of this dataset.
    pub status: Status,
    /// The stamp of the snapshot that now represents the data: the new or the unchanged snapshot. After a
    /// failure it is the stamp of the interrupted snapshot, if there is one. The next run resumes or discards it.
    pub snapshot: Option<Stamp>,
    /// The snapshot's path below the job's folder.
    pub path: Option<String>,
    /// The comparison that found the data unchanged: `metadata` or `content`.
    pub unchanged_by: Option<String>,
    /// Number of rows in the snapshot.
    pub rows: u64,
    /// Number of rows that were read for the snapshot: more than its rows if the job's transformation left some out.
    /// `None` after a failure, and in the history of an earlier version.
    #[serde(default)]
    pub rows_read: Option<u64>,
    /// Number of rows on which an expression of the transformation failed.
    #[serde(default)]
    pub failed_rows: u64,
    /// Number of rows that the snapshot does not have because they equal an earlier one.
    #[serde(default)]
    pub duplicate_rows: u64,
    /// Number of rows in which each path of the transformation has replaced a value, as in [`JobResult::replaced_rows`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced_rows: Vec<u64>,
    /// What no row gave to the expressions, as in [`Part::missing`](crate::Part::missing).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// How the rows were chosen and changed. The history does not have it.
    #[serde(skip)]
    pub(crate) transform: Option<TransformRecord>,
    /// The splits, in their order. Empty if the rows are not split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<WrittenSplit>,
    /// Number of rows with a value that does not fit the pinned schema. The column `_rescued` has these values.
    #[serde(default)]
    pub rescued_rows: u64,
    /// The paths of these values, such as `.input.messages[].content`: the first ones, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rescued_paths: Vec<String>,
    /// Size of the snapshot's files in bytes.
    pub bytes: u64,
    /// The digest of the snapshot's content.
    pub digest: Option<String>,
    /// The error, if this dataset failed.
    pub error: Option<Failure>,
}

impl SnapshotResult {
    /// Takes the counts of a snapshot from its record.
    pub(super) fn count(&mut self, manifest: &Manifest) {
        self.rows = manifest.rows;
        self.rows_read = Some(manifest.rows_read);
        self.failed_rows = manifest.failed_rows();
        self.duplicate_rows = manifest.duplicate_rows();
        self.replaced_rows = manifest.replaced_rows();
        self.missing = manifest.missing();
        self.transform.clone_from(&manifest.transform);
        self.splits.clone_from(&manifest.splits);
        let (rescued_rows, rescued_paths) = manifest.rescued();
        (self.rescued_rows, self.rescued_paths) = (rescued_rows, rescued_paths.0);
        self.bytes = bytes_of(manifest);
        self.digest = Some(manifest.digest.clone());
    }
}

/// An error as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The error message.
    pub message: String,
    /// The part of an expression that is wrong: a line of the expression, and a line with marks below that part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excerpt: Vec<String>,
    /// The causes, outermost first.
    pub causes: Vec<String>,
    /// The recommended next step.
    pub hint: Option<String>,
    /// The exit code for this error.
    pub exit_code: u8,
    /// The HTTP status, if the API's answer is the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Whether rows are missing or repeated, or the list changed during the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// Whether the texts can have values of rows, such as ids. `None` in the history of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotes_values: Option<bool>,
}

/// Formats the failure as the command prints errors, without `error:`: the message, one line per cause,
/// the hint.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless(&self.message))?;
        for line in &self.excerpt {
            write!(f, "\n    {}", text::line(line))?;
        }
        for cause in &self.causes {
            write!(f, "\n  cause: {}", harmless(cause))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {}", text::line(hint)),
            None => Ok(()),
        }
    }
}

impl Failure {
    /// Returns the failure of a job: the options in its texts are keys of the configuration file.
    pub(crate) fn of_job(error: &Error) -> Self {
        let failure = Self::new(error);
        Self {
            message: with_keys(&failure.message),
            causes: failure.causes.iter().map(|cause| with_keys(cause)).collect(),
            hint: failure.hint.as_deref().map(with_keys),
            ..failure
        }
    }

    pub(crate) fn new(error: &Error) -> Self {
        Self {
            message: error.to_string(),
            excerpt: excerpt(error),
            causes: causes(error),
            hint: error.hint().map(|hint| hint.into_owned()),
            exit_code: error.exit_code(),
            http_status: error.http_status(),
            incomplete: error.is_incomplete(),
            quotes_values: Some(error.quotes_values()),
        }
    }

    /// Returns whether the texts can have values of rows. Of a failure of an earlier version, the exit code decides.
    pub(crate) fn can_quote_values(&self) -> bool {
        let by_code = || !matches!(self.exit_code, 2 | 66 | 73 | 75 | 77 | 78 | 130 | 143);
        self.quotes_values.unwrap_or_else(by_code)
    }
}
