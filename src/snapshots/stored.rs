//! Finds the complete snapshots below a root. Needs no configuration file, and changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::{
    JobResult, history,
    series::{Series, SeriesState, bytes_of},
};
use crate::{
    error::Result,
    location::Location,
    record::{manifest::Manifest, place::HIDDEN, stamp::Stamp},
};

/// A complete snapshot below a root.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoredSnapshot {
    /// Start of the run that began the snapshot, as in the folder's name.
    pub stamp: Stamp,
    /// The snapshot's path or URL.
    pub location: String,
    /// The dataset.
    pub dataset: Uuid,
    /// The dataset's version, if the list of datasets contained one.
    pub version: Option<i64>,
    /// Number of rows.
    pub rows: u64,
    /// Size of the snapshot's files in bytes.
    pub bytes: u64,
}

/// Returns the names of the jobs that have run below a root, sorted. Empty if there is no such root. Blocks.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if a folder cannot be read. [`Error::Store`](crate::Error::Store) if its object store
/// cannot be reached.
pub fn stored_jobs(root: &Location) -> Result<Vec<String>> {
    let hidden = root.child(HIDDEN);
    let mut names = Vec::new();
    for entry in hidden.entries()? {
        // A store calls a prefix a folder, and a file system a directory.
        if entry.size.is_none() && hidden.child(&entry.name).is_directory()? {
            names.push(entry.name);
        }
    }
    Ok(names)
}

/// Returns the results of a job's runs below a root, from its history, oldest first; none if it has no history. Blocks.
/// [`job_history`](super::job_history) does the same with a configured job.
///
/// # Errors
/// The same as for [`stored_jobs`].
pub fn stored_history(root: &Location, job: &str) -> Result<Vec<JobResult>> {
    history::read(&root.child(HIDDEN).child(job))
}

/// Returns the complete snapshots of a job below a root, oldest first. Blocks.
///
/// # Errors
/// The same as for [`stored_jobs`].
pub fn stored_snapshots(root: &Location, job: &str) -> Result<Vec<StoredSnapshot>> {
    stored_with_others(root, job).map(|(all, _)| all)
}

/// Does the same. Also returns the names of the other jobs whose snapshots are in the job's folder, with their number: a
/// renamed folder has such snapshots.
pub(crate) fn stored_with_others(
    root: &Location,
    job: &str,
) -> Result<(Vec<StoredSnapshot>, BTreeMap<String, u64>)> {
    let (mut all, mut others) = (Vec::new(), BTreeMap::new());
    for series in series(root, job)? {
        for stamp in series.stamps()? {
            match series.readable_state(stamp)? {
                SeriesState::Complete(manifest) => {
                    all.push(stored(&series, stamp, &manifest));
                }
                SeriesState::Foreign { job: Some(job), .. } => {
                    *others.entry(job).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    all.sort_by_key(|it| it.stamp);
    Ok((all, others))
}

/// Returns the newest complete snapshot of a job below a root. With `select = "all"` it returns one for each folder of a
/// dataset. Blocks.
///
/// Snapshots with a stamp after `until` do not count, and neither do those of another dataset than `dataset`.
///
/// # Errors
/// The same as for [`stored_jobs`].
pub fn newest_snapshots(
    root: &Location,
    job: &str,
    until: Option<Stamp>,
    dataset: Option<Uuid>,
) -> Result<Vec<StoredSnapshot>> {
    let mut found = Vec::new();
    for series in series(root, job)? {
        let mut stamps = series.stamps()?;
        stamps.retain(|stamp| until.is_none_or(|until| *stamp <= until));
        for stamp in stamps.into_iter().rev() {
            if let SeriesState::Complete(manifest) = series.state(stamp)?
                && dataset.is_none_or(|dataset| manifest.dataset == Some(dataset))
            {
                found.push(stored(&series, stamp, &manifest));
                break;
            }
        }
    }
    Ok(found)
}

fn series(root: &Location, job: &str) -> Result<Vec<Series>> {
    Series::at(job, root.child(job), root.child(HIDDEN).child(job)).and_datasets()
}

fn stored(series: &Series, stamp: Stamp, manifest: &Manifest) -> StoredSnapshot {
    let listed = manifest.snapshot.as_ref().and_then(|it| it.listed.as_ref());
    StoredSnapshot {
        stamp,
        location: series.target(stamp).to_string(),
        dataset: manifest.dataset_or_nil(),
        version: listed.and_then(|listed| listed.version),
        rows: manifest.rows,
        bytes: bytes_of(manifest),
    }
}
