//! What is there: the snapshots of a job, and what retention would do with them. Changes nothing.

use serde::Serialize;
use uuid::Uuid;

use super::{
    Status, Verdict, history, prune,
    series::{Series, SeriesState, bytes_of},
};
use crate::{config::Job, error::Result, location::StorageOptions, record::stamp::Stamp};

/// A snapshot as the list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ListedSnapshot {
    /// The job.
    pub job: String,
    /// Its stamp, as in the folder's name.
    pub snapshot: Stamp,
    /// Its folder, or the folder that it will be, below the job's own.
    pub path: String,
    /// The dataset; `None` for what is not complete.
    pub dataset: Option<Uuid>,
    /// Its version, where the list of datasets had one.
    pub version: Option<i64>,
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// Whether it is whole.
    pub complete: bool,
    /// Runs since then that found the data unchanged.
    pub unchanged_runs: u64,
    /// The last of them, RFC 3339, UTC.
    pub unchanged_until: Option<String>,
    /// Why it is none of the job's, if it only looks like one.
    pub problem: Option<String>,
}

/// The snapshots of a job, those that were interrupted included, the oldest first. Blocks.
///
/// # Errors
/// When a folder cannot be read, or its store cannot be reached.
pub fn list_snapshots(job: &Job, storage: &StorageOptions) -> Result<Vec<ListedSnapshot>> {
    let folder = job.folder(storage)?;
    let runs = history::read(&folder)?;
    let confirmed = |path: &str| {
        let of = |it: &&super::SnapshotResult| {
            it.status == Status::Unchanged && it.path.as_deref() == Some(path)
        };
        let runs = runs.iter().filter(|run| run.snapshots.iter().any(|it| of(&it)));
        let times: Vec<&String> = runs.map(|run| &run.started_at).collect();
        (times.len() as u64, times.last().map(|time| (*time).clone()))
    };
    let mut all = Vec::new();
    for series in Series::all_of(job, &folder)? {
        let mut listed = Vec::new();
        let empty = |stamp: Stamp| ListedSnapshot {
            job: job.name.clone(),
            snapshot: stamp,
            path: series.path(stamp),
            dataset: None,
            version: None,
            rows: None,
            bytes: None,
            complete: false,
            unchanged_runs: 0,
            unchanged_until: None,
            problem: None,
        };
        for entry in series.entries()? {
            let mut shown = empty(entry.stamp);
            match entry.state {
                SeriesState::Complete(manifest) => {
                    let listed = manifest.snapshot.as_ref().and_then(|it| it.listed.as_ref());
                    shown.version = listed.and_then(|listed| listed.version);
                    shown.dataset = Some(manifest.dataset);
                    shown.rows = Some(manifest.rows);
                    shown.bytes = Some(bytes_of(&manifest));
                    shown.complete = true;
                    (shown.unchanged_runs, shown.unchanged_until) = confirmed(&shown.path);
                }
                SeriesState::Incomplete => {}
                SeriesState::Foreign(why) => shown.problem = Some(why),
            }
            listed.push(shown);
        }
        for (stamp, _) in series.interrupted()? {
            if listed.iter().all(|shown| shown.snapshot != stamp) {
                listed.push(empty(stamp));
            }
        }
        listed.sort_by_key(|shown| shown.snapshot);
        all.extend(listed);
    }
    Ok(all)
}

/// What retention would do now with the snapshots of a job, and why; removes nothing. Blocks.
///
/// # Errors
/// As [`list_snapshots`].
pub fn plan_retention(job: &Job, storage: &StorageOptions) -> Result<Vec<Verdict>> {
    let folder = job.folder(storage)?;
    let mut all = Vec::new();
    for series in Series::all_of(job, &folder)? {
        all.extend(prune::verdicts(job, &series)?);
    }
    Ok(all)
}
