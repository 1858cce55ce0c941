//! Lists the snapshots of a job, the decisions of its retention, and the folders that no job names. Changes nothing.

use std::path::Path;

use serde::Serialize;
use uuid::Uuid;

use super::{
    RetentionDecision, Status, history, prune,
    series::{Series, SeriesState, bytes_of},
};
use crate::{
    config::{Config, Job},
    error::Result,
    location::{Location, StorageOptions},
    record::{place::HIDDEN, stamp::Stamp},
};

/// A snapshot as shown in the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ListedSnapshot {
    /// The job.
    pub job: String,
    /// The stamp in the folder's name.
    pub snapshot: Stamp,
    /// The snapshot's path below the job's folder. An incomplete snapshot will be published there.
    pub path: String,
    /// The dataset; `None` unless the snapshot is complete.
    pub dataset: Option<Uuid>,
    /// Whether the job names another dataset now. Retention does not delete such a snapshot.
    pub other_dataset: bool,
    /// The dataset's version, if the list of datasets contained one.
    pub version: Option<i64>,
    /// Number of rows; `None` unless the snapshot is complete.
    pub rows: Option<u64>,
    /// Size of the snapshot's files in bytes; `None` unless the snapshot is complete.
    pub bytes: Option<u64>,
    /// Whether the snapshot is complete.
    pub complete: bool,
    /// Number of later runs that found the data unchanged.
    pub unchanged_runs: u64,
    /// Start of the last of these runs, RFC 3339, UTC.
    pub unchanged_until: Option<String>,
    /// Why the folder is not a snapshot of this job, although its name is that of a snapshot.
    pub problem: Option<String>,
}

/// Lists the snapshots of a job, interrupted ones included, oldest first. Blocks.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) if the root of the job is not a valid location.
/// [`Error::Io`](crate::Error::Io) if a folder cannot be read. [`Error::Store`](crate::Error::Store) if its
/// object store cannot be reached.
pub fn list_snapshots(job: &Job, storage: &StorageOptions) -> Result<Vec<ListedSnapshot>> {
    let runs = history::read(&job.hidden(storage)?)?;
    let confirmed = |path: &str| {
        let of = |it: &&super::SnapshotResult| {
            it.status == Status::Unchanged && it.path.as_deref() == Some(path)
        };
        let runs = runs.iter().filter(|run| run.snapshots.iter().any(|it| of(&it)));
        let times: Vec<&String> = runs.map(|run| &run.started_at).collect();
        (times.len() as u64, times.last().map(|time| (*time).clone()))
    };
    let mut all = Vec::new();
    for series in Series::of_job(job, storage)?.and_datasets()? {
        let mut listed = Vec::new();
        let empty = |stamp: Stamp| ListedSnapshot {
            job: job.name.clone(),
            snapshot: stamp,
            path: series.path(stamp),
            dataset: None,
            other_dataset: false,
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
                    shown.dataset = manifest.dataset;
                    shown.other_dataset = !job.may_store(manifest.dataset_or_nil());
                    shown.rows = Some(manifest.rows);
                    shown.bytes = Some(bytes_of(&manifest));
                    shown.complete = true;
                    (shown.unchanged_runs, shown.unchanged_until) = confirmed(&shown.path);
                }
                SeriesState::Incomplete => {}
                SeriesState::Damaged(why) | SeriesState::Foreign { why, .. } => {
                    shown.problem = Some(why);
                }
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

/// A folder with snapshots of a job that the configuration does not name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct UnnamedFolder {
    /// The name of the job that wrote the snapshots.
    pub job: String,
    /// The folder or prefix.
    pub path: String,
    /// Number of snapshots, also those that are not complete.
    pub snapshots: u64,
}

/// Returns the folders with snapshots under the roots of the jobs that no job of the configuration names: the job was
/// renamed or removed, or belongs to another configuration. Blocks.
///
/// # Errors
/// The same as for [`list_snapshots`].
pub fn unnamed_folders(config: &Config, storage: &StorageOptions) -> Result<Vec<UnnamedFolder>> {
    let mut found = Vec::new();
    let mut roots: Vec<&Path> = Vec::new();
    for job in &config.jobs {
        if roots.contains(&job.root.as_path()) {
            continue;
        }
        roots.push(&job.root);
        let root = Location::of(&job.root, &job.storage_with(storage))?;
        let is_named =
            |name: &str| config.jobs.iter().any(|it| it.root == job.root && it.name == name);
        for entry in root.child(HIDDEN).entries()? {
            // A store calls a prefix a folder, and a file system a directory.
            if entry.size.is_some() || is_named(&entry.name) {
                continue;
            }
            let (name, folder) = (entry.name.as_str(), root.child(&entry.name));
            if !folder.is_directory()? {
                continue;
            }
            let mut snapshots = 0;
            for series in
                Series::at(name, folder.clone(), root.child(HIDDEN).child(name)).and_datasets()?
            {
                snapshots += series.stamps()?.len() as u64;
            }
            if snapshots > 0 {
                found.push(UnnamedFolder {
                    job: name.to_owned(),
                    path: folder.to_string(),
                    snapshots,
                });
            }
        }
    }
    Ok(found)
}

/// Returns the retention's decision for each snapshot of a job, with the reason. Deletes nothing. Blocks.
///
/// # Errors
/// The same as for [`list_snapshots`].
pub fn plan_retention(job: &Job, storage: &StorageOptions) -> Result<Vec<RetentionDecision>> {
    let mut all = Vec::new();
    for series in Series::of_job(job, storage)?.and_datasets()? {
        all.extend(prune::decisions(job, &series)?);
    }
    Ok(all)
}
