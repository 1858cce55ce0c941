//! Removes what the counts of `keep` do not keep, and says why everything else stays.
//!
//! Never the newest complete snapshot, never what is not a snapshot of the job by its own manifest,
//! and nothing that is not whole.

use serde::Serialize;

use super::{
    Stop, retention,
    series::{Series, SeriesEntry, SeriesState},
};
use crate::{
    config::Job,
    error::Result,
    record::{manifest::Manifest, stamp::Stamp},
};

/// What retention does with a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// The job.
    pub job: String,
    /// The folder, below the job's own.
    pub path: String,
    /// What is done with it.
    pub fate: Fate,
    /// Why, in words.
    pub why: String,
}

/// What is done with a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It stays because a count keeps it.
    Keep,
    /// It is removed.
    Remove,
    /// It stays because it is not to be touched.
    Leave,
}

/// What the retention of a job would do with the snapshots of a series, the oldest first.
pub(crate) fn verdicts(job: &Job, series: &Series) -> Result<Vec<Verdict>> {
    Ok(judge(job, series)?.into_iter().map(|(verdict, _)| verdict).collect())
}

/// Removes what may go, until told to stop, and what a killed run was removing; gives the paths of what
/// went, below the job's folder. What is left goes with the next run.
pub(crate) fn prune(job: &Job, series: &Series, stop: &Stop) -> Result<Vec<String>> {
    series.check()?;
    series.finish_removals()?;
    let mut removed = Vec::new();
    for (verdict, doomed) in judge(job, series)? {
        if stop.is_requested() {
            break;
        }
        if let Some((stamp, manifest)) = doomed {
            series.remove(stamp, &manifest)?;
            tracing::info!(job = job.name, path = verdict.path, "removed");
            removed.push(verdict.path);
        }
    }
    Ok(removed)
}

type Doomed = Option<(Stamp, Box<Manifest>)>;

fn judge(job: &Job, series: &Series) -> Result<Vec<(Verdict, Doomed)>> {
    let entries = series.entries()?;
    let complete = |entry: &&SeriesEntry| matches!(entry.state, SeriesState::Complete(_));
    let stamps: Vec<Stamp> = entries.iter().filter(complete).map(|entry| entry.stamp).collect();
    let reasons = job.keep.map(|keep| retention::decide(&stamps, keep, job.timezone));
    let verdict = |entry: SeriesEntry| {
        let path = series.path(entry.stamp);
        let verdict = |fate, why| Verdict { job: job.name.clone(), path: path.clone(), fate, why };
        let manifest = match entry.state {
            SeriesState::Complete(manifest) => manifest,
            SeriesState::Incomplete => {
                return Ok((verdict(Fate::Leave, "is not complete".to_owned()), None));
            }
            SeriesState::Foreign(why) => return Ok((verdict(Fate::Leave, why), None)),
        };
        let Some(reasons) = &reasons else {
            return Ok((verdict(Fate::Keep, "there is no keep: all stay".to_owned()), None));
        };
        let at = stamps.iter().position(|stamp| *stamp == entry.stamp);
        let reasons = at.and_then(|at| reasons.get(at)).filter(|reasons| !reasons.is_empty());
        if let Some(reasons) = reasons {
            let words: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            return Ok((verdict(Fate::Keep, words.join("; ")), None));
        }
        if let Some(why) = series.obstacle(entry.stamp, &manifest)? {
            return Ok((verdict(Fate::Leave, why), None));
        }
        let why = "no count keeps it".to_owned();
        Ok((verdict(Fate::Remove, why), Some((entry.stamp, manifest))))
    };
    entries.into_iter().map(verdict).collect()
}
