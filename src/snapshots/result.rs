//! What a run of a job came to, as `--json`, `_history.jsonl` and `on_result` tell it.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, causes, harmless},
    record::stamp::Stamp,
    text,
};

/// What a run of a job came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobResult {
    /// The job's name.
    pub job: String,
    /// What came of it, of all its datasets together: failed if any failed, else stored if any was
    /// stored.
    pub status: Status,
    /// When the run began, RFC 3339, UTC.
    pub started_at: String,
    /// When it ended.
    pub finished_at: String,
    /// How long it took.
    pub seconds: f64,
    /// Rows of the snapshots that were stored.
    pub rows: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Requests sent, retries included.
    pub requests: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Each dataset's snapshot; one, unless the job selects all.
    pub snapshots: Vec<SnapshotResult>,
    /// Snapshots that were removed, by their path below the job's folder.
    pub pruned: Vec<String>,
    /// What ended the run, if it failed.
    pub error: Option<Failure>,
    /// The exit code that goes with it, 0 for a run that did not fail.
    pub exit_code: u8,
}

impl JobResult {
    /// What the exit code stands for: what ended the run, or else the first of its datasets that
    /// failed.
    pub fn failure(&self) -> Option<&Failure> {
        let of_dataset = self.snapshots.iter().find_map(|snapshot| snapshot.error.as_ref());
        self.error.as_ref().or(of_dataset)
    }

    /// Whether it was told to stop: a later run continues it.
    pub fn was_interrupted(&self) -> bool {
        matches!(self.exit_code, 130 | 143)
    }
}

/// Whether there is a new snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There is.
    Stored,
    /// The data is that of the last snapshot, which still stands for it.
    Unchanged,
    /// There is not; the last one still stands.
    Failed,
}

/// What a run came to for one dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotResult {
    /// The dataset.
    pub dataset: Uuid,
    /// Its name, where the list has one.
    pub name: Option<String>,
    /// Its version, likewise.
    pub version: Option<i64>,
    /// What came of it.
    pub status: Status,
    /// The stamp of the snapshot that stands for the data now: the stored one, or the one that is
    /// unchanged; of a failed one the stamp under which the next run continues, if it left anything.
    pub snapshot: Option<Stamp>,
    /// The snapshot's path below the job's folder.
    pub path: Option<String>,
    /// How it is known to be unchanged: `metadata` or `content`.
    pub unchanged_by: Option<String>,
    /// Rows of the snapshot.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// The digest of its content.
    pub digest: Option<String>,
    /// What ended it, if it failed.
    pub error: Option<Failure>,
}

/// An error as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The error itself.
    pub message: String,
    /// Its causes, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code that goes with it.
    pub exit_code: u8,
}

/// As the command prints errors, without `error:`: the message, a line for each cause, the hint.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless(&self.message))?;
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
    pub(crate) fn new(error: &Error) -> Self {
        Self {
            message: error.to_string(),
            causes: causes(error),
            hint: error.hint().map(|hint| hint.into_owned()),
            exit_code: error.exit_code(),
        }
    }
}
