//! Deletes expired snapshots, and gives the reason why every other snapshot stays.
//!
//! A snapshot expires when no count of `keep` covers it. The newest complete snapshot never expires.
//! Incomplete snapshots, and folders whose manifest does not name this job, are never deleted. Nor are snapshots of
//! the dataset that the job named before: perhaps they are all that is left of it.

use serde::Serialize;

use super::{
    Failure, Stop, retention,
    series::{Series, SeriesEntry, SeriesState, bytes_of},
};
use crate::{
    config::Job,
    destination::PlaceLock,
    error::Result,
    location::StorageOptions,
    record::{manifest::Manifest, stamp::Stamp},
};

/// The retention's decision for one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetentionDecision {
    /// The job.
    pub job: String,
    /// The folder's path below the job's folder.
    pub path: String,
    /// The decision.
    pub action: RetentionAction,
    /// The reason, as text for people.
    pub why: String,
}

/// The possible decisions for a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionAction {
    /// The snapshot stays: a count of `keep` covers it, or the job has no `keep`.
    Keep,
    /// The snapshot is expired. The next run deletes it.
    Remove,
    /// The folder stays because retention must not touch it.
    Leave,
}

/// The result of [`prune_job`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PruneResult {
    /// The job.
    pub job: String,
    /// Deleted snapshots, as paths below the job's folder.
    pub pruned: Vec<String>,
    /// Size of their files in bytes.
    pub bytes: u64,
    /// The error that ended the deletion, if any.
    pub error: Option<Failure>,
}

/// Deletes the expired snapshots of a job without a run. Blocks.
///
/// Sends no request to the API, and needs no space on the disk of the snapshots. It takes the job's lock, so it
/// fails while the job runs. Ends early when a stop is requested.
pub fn prune_job(job: &Job, storage: &StorageOptions, stop: &Stop) -> PruneResult {
    let mut removed = Vec::new();
    let error = prune_locked(job, storage, stop, &mut removed).err();
    PruneResult {
        job: job.name.clone(),
        bytes: removed.iter().map(|it| it.bytes).sum(),
        pruned: removed.into_iter().map(|it| it.path).collect(),
        error: error.as_ref().map(Failure::new),
    }
}

fn prune_locked(
    job: &Job,
    storage: &StorageOptions,
    stop: &Stop,
    removed: &mut Vec<PrunedSnapshot>,
) -> Result<()> {
    let of_job = Series::of_job(job, storage)?;
    // The check would create the folders of a job that never ran.
    if !of_job.exists()? {
        return Ok(());
    }
    of_job.check()?;
    let lock = PlaceLock::take(&of_job.staging())?;
    let all = of_job.and_datasets();
    let pruned =
        all.and_then(|all| all.iter().try_for_each(|series| prune(job, series, stop, removed)));
    let released = lock.release();
    pruned.and(released)
}

/// A deleted snapshot.
#[derive(Debug)]
pub(crate) struct PrunedSnapshot {
    /// The path below the job's folder.
    pub(crate) path: String,
    /// Size of its files in bytes.
    pub(crate) bytes: u64,
}

/// Returns the retention's decisions for the snapshots of a series, oldest first. Deletes nothing.
pub(crate) fn decisions(job: &Job, series: &Series) -> Result<Vec<RetentionDecision>> {
    Ok(judge(job, series)?.into_iter().map(|(decision, _)| decision).collect())
}

/// Deletes expired snapshots and adds them to `removed`. The caller holds the job's lock.
///
/// First finishes the deletions that a killed run had begun. Ends early when a stop is requested; the next
/// run deletes the remaining expired snapshots.
pub(crate) fn prune(
    job: &Job,
    series: &Series,
    stop: &Stop,
    removed: &mut Vec<PrunedSnapshot>,
) -> Result<()> {
    series.check()?;
    series.finish_removals()?;
    for (decision, doomed) in judge(job, series)? {
        if stop.is_requested() {
            break;
        }
        if let Some((stamp, manifest)) = doomed {
            series.remove(stamp, &manifest)?;
            tracing::info!(job = job.name, path = decision.path, "removed");
            removed.push(PrunedSnapshot { path: decision.path, bytes: bytes_of(&manifest) });
        }
    }
    Ok(())
}

type ExpiredSnapshot = Option<(Stamp, Box<Manifest>)>;

fn judge(job: &Job, series: &Series) -> Result<Vec<(RetentionDecision, ExpiredSnapshot)>> {
    let entries = series.entries()?;
    let counts = |entry: &&SeriesEntry| match &entry.state {
        SeriesState::Complete(manifest) => job.may_store(manifest.dataset_or_nil()),
        SeriesState::Incomplete | SeriesState::Damaged(_) | SeriesState::Foreign { .. } => false,
    };
    let stamps: Vec<Stamp> = entries.iter().filter(counts).map(|entry| entry.stamp).collect();
    let reasons = job.keep.map(|keep| retention::decide(&stamps, keep, job.timezone));
    let decision = |entry: SeriesEntry| {
        let path = series.path(entry.stamp);
        let decision = |action, why| RetentionDecision {
            job: job.name.clone(),
            path: path.clone(),
            action,
            why,
        };
        let manifest = match entry.state {
            SeriesState::Complete(manifest) if !job.may_store(manifest.dataset_or_nil()) => {
                let why = format!("is of dataset {}, not of the job's", manifest.dataset_or_nil());
                return Ok((decision(RetentionAction::Leave, why), None));
            }
            SeriesState::Complete(manifest) => manifest,
            SeriesState::Incomplete => {
                return Ok((decision(RetentionAction::Leave, "is not complete".to_owned()), None));
            }
            SeriesState::Damaged(why) | SeriesState::Foreign { why, .. } => {
                return Ok((decision(RetentionAction::Leave, why), None));
            }
        };
        let Some(reasons) = &reasons else {
            return Ok((
                decision(
                    RetentionAction::Keep,
                    "the job has no keep: every snapshot stays".to_owned(),
                ),
                None,
            ));
        };
        let at = stamps.iter().position(|stamp| *stamp == entry.stamp);
        let reasons = at.and_then(|at| reasons.get(at)).filter(|reasons| !reasons.is_empty());
        if let Some(reasons) = reasons {
            let words: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            return Ok((decision(RetentionAction::Keep, words.join("; ")), None));
        }
        if let Some(why) = series.obstacle(entry.stamp, &manifest)? {
            return Ok((decision(RetentionAction::Leave, why), None));
        }
        let why = "no count keeps it".to_owned();
        Ok((decision(RetentionAction::Remove, why), Some((entry.stamp, manifest))))
    };
    entries.into_iter().map(decision).collect()
}
