//! Finds damaged snapshots. Changes nothing.

use serde::Serialize;

use super::series::{Series, SeriesState};
use crate::{
    config::Job,
    error::Result,
    location::{Location, StorageOptions},
    record::{place::HIDDEN, stamp::Stamp},
};

/// A snapshot whose manifest is damaged or missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DamagedSnapshot {
    /// The stamp in the folder's name.
    pub snapshot: Stamp,
    /// The snapshot's path below the job's folder.
    pub path: String,
    /// The snapshot's path or URL.
    pub location: String,
    /// What is wrong, as a predicate such as `has no manifest`.
    pub why: String,
}

/// Returns the damaged snapshots of a job that are newer than its newest complete one, newest first. With
/// `select = "all"`, each dataset has its own newest snapshot. A snapshot that a run is publishing or deleting does not
/// count, and neither does an interrupted one that the next run finishes. Blocks.
///
/// # Errors
/// The same as for [`list_snapshots`](super::list_snapshots).
pub fn damaged_snapshots(job: &Job, storage: &StorageOptions) -> Result<Vec<DamagedSnapshot>> {
    damaged(&Series::of_job(job, storage)?, Age::Newer)
}

/// Does the same for a job below a root. Needs no configuration. Blocks.
///
/// # Errors
/// The same as for [`stored_jobs`](super::stored_jobs).
pub fn stored_damage(root: &Location, job: &str) -> Result<Vec<DamagedSnapshot>> {
    stored(root, job, Age::Newer)
}

/// Returns the damaged snapshots of a job below a root that are older than its newest complete one, newest first. Reads all
/// manifests. Blocks.
///
/// # Errors
/// The same as for [`stored_jobs`](super::stored_jobs).
#[cfg_attr(not(feature = "report"), expect(dead_code, reason = "only pages name them"))]
pub(crate) fn stored_gaps(root: &Location, job: &str) -> Result<Vec<DamagedSnapshot>> {
    stored(root, job, Age::Older)
}

/// The age of damaged snapshots: newer or older than the newest complete one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Newer,
    Older,
}

fn stored(root: &Location, job: &str, age: Age) -> Result<Vec<DamagedSnapshot>> {
    damaged(&Series::at(job, root.child(job), root.child(HIDDEN).child(job)), age)
}

fn damaged(of_job: &Series, age: Age) -> Result<Vec<DamagedSnapshot>> {
    let mut all = Vec::new();
    for series in of_job.and_datasets()? {
        series.add_damaged(age, &mut all)?;
    }
    all.sort_by_key(|it| std::cmp::Reverse(it.snapshot));
    Ok(all)
}

impl Series {
    fn add_damaged(&self, age: Age, all: &mut Vec<DamagedSnapshot>) -> Result<()> {
        let mut here = Age::Newer;
        for snapshot in self.stamps()?.into_iter().rev() {
            let why = match self.settled(snapshot)? {
                Some(SeriesState::Complete(_)) if age == Age::Newer => break,
                Some(SeriesState::Complete(_)) => {
                    here = Age::Older;
                    continue;
                }
                Some(SeriesState::Damaged(why)) => why,
                Some(SeriesState::Incomplete) => "has no manifest".to_owned(),
                Some(SeriesState::Foreign { .. }) | None => continue,
            };
            if here != age {
                continue;
            }
            let (path, location) = (self.path(snapshot), self.target(snapshot).to_string());
            all.push(DamagedSnapshot { snapshot, path, location, why });
        }
        Ok(())
    }

    /// Returns the state of a snapshot; `None` if a run is changing it, or has deleted it.
    ///
    /// A run publishes the record before it removes the staging, and marks a deletion before it moves the record away.
    /// So a folder without a record, staging and mark is either damaged, or a run has just ended: then the second look
    /// finds the record, or no folder.
    fn settled(&self, snapshot: Stamp) -> Result<Option<SeriesState>> {
        match self.readable_state(snapshot)? {
            SeriesState::Incomplete if self.is_changing(snapshot)? => return Ok(None),
            SeriesState::Incomplete => {}
            state => return Ok(Some(state)),
        }
        let state = self.readable_state(snapshot)?;
        Ok(if self.stamps()?.contains(&snapshot) { Some(state) } else { None })
    }
}
