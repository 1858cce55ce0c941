//! Connects the jobs of the configuration file with the scheduler.
//!
//! After each run it updates the metrics, writes a log line and calls `on_result`, whatever the result is.
//! No failure here ends the schedule.

use std::{path::Path, slice, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{AgendaEntry, Metrics, OnResult, RunEnd, Runner, Slot, Timetable};
use crate::{
    client::Client,
    config::{Config, Job},
    error::{Error, Result, causes},
    location::StorageOptions,
    snapshots::{JobResult, RunOptions, Status, Stop, job_history, run_jobs},
    tasks::blocking,
};

/// Largest delay of a punctual run in addition to its jitter.
const A_LITTLE_LATE: TimeDelta = TimeDelta::minutes(1);

/// A scheduled job, with the client and the settings for its runs.
#[derive(Debug)]
pub struct Planned {
    job: Job,
    client: Client,
    storage: StorageOptions,
    on_result: Option<OnResult>,
}

impl Planned {
    #[cfg(feature = "report")]
    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    #[cfg(feature = "report")]
    pub(super) fn storage(&self) -> &StorageOptions {
        &self.storage
    }

    /// Returns the scheduled jobs with these names. Without names, returns all jobs that have a schedule.
    ///
    /// The jobs share the client's request slots. They access the object stores of their roots with the
    /// options `storage`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a name is unknown or its job has no schedule. [`Error::Configuration`] if no job
    /// has a schedule, or if the program of an `on_result` cannot be run.
    pub fn of(
        config: &Config,
        names: &[String],
        client: &Client,
        storage: &StorageOptions,
    ) -> Result<Vec<AgendaEntry<Arc<Self>>>> {
        let jobs = config.jobs_named(names)?;
        if let Some(job) = jobs.iter().find(|job| job.schedule.is_none())
            && !names.is_empty()
        {
            return Err(Error::invalid("job", &job.name, "it has no schedule"));
        }
        let folder = config.path.parent().unwrap_or(Path::new("/"));
        let entries = jobs.into_iter().filter_map(|job| Some((Timetable::of(&job)?, job)));
        let entries = entries.map(|(timetable, job)| {
            let on_result = OnResult::of(&job, folder)?;
            if job.relative_root.is_some() && !job.root.exists() {
                let (job, root) = (&job.name, job.root.display());
                tracing::info!(job, %root, "its root is relative to the configuration file");
            }
            let (name, catch_up) = (job.name.clone(), job.catch_up);
            let (client, storage) = (client.clone(), storage.clone());
            let job = Arc::new(Self { job, client, storage, on_result });
            Ok(AgendaEntry { name, timetable, catch_up, job })
        });
        let entries = entries.collect::<Result<Vec<_>>>()?;
        if entries.is_empty() {
            let path = config.path.display();
            return Err(Error::Configuration(format!("no job of {path} has a schedule")));
        }
        Ok(entries)
    }
}

/// The [`Runner`] for [`Planned`] jobs.
pub struct SnapshotJobs {
    options: RunOptions,
    metrics: Arc<Metrics>,
}

impl SnapshotJobs {
    /// Creates a runner that counts in these metrics. Of the options it uses the clock and the observer.
    pub fn new(options: RunOptions, metrics: Arc<Metrics>) -> Self {
        Self { options: RunOptions { jobs: 1, ..options }, metrics }
    }

    fn count(&self, result: &JobResult, stop: &Stop) -> RunEnd {
        let end = match result.status {
            Status::Stored => RunEnd::Stored,
            Status::Unchanged => RunEnd::Unchanged,
            Status::Failed if stop.is_requested() && result.was_interrupted() => {
                RunEnd::Interrupted
            }
            Status::Failed => RunEnd::Failed,
        };
        let now = self.options.clock.now();
        self.metrics.ended(&result.job, end, result.rows, result.bytes, result.seconds, now);
        if result.status != Status::Failed {
            self.metrics.rescued(&result.job, result.newest_rescued_rows());
        }
        end
    }
}

impl Runner for SnapshotJobs {
    type Job = Arc<Planned>;

    async fn run(&self, planned: Arc<Planned>, _: Slot, stop: Stop) {
        let Planned { job, client, storage, on_result } = &*planned;
        self.metrics.started(&job.name);
        let options = RunOptions { storage: storage.clone(), ..self.options.clone() };
        let results = run_jobs(client, slice::from_ref(job), &options, &stop).await;
        for result in results {
            let end = self.count(&result, &stop);
            log(&result, end);
            if let Some(hook) = on_result {
                tell(hook, &result).await;
            }
        }
    }

    async fn last_run(&self, planned: &Arc<Planned>) -> Option<DateTime<Utc>> {
        let (job, storage) = (planned.job.clone(), planned.storage.clone());
        let name = job.name.clone();
        let read = blocking("reading the history", move || job_history(&job, &storage)).await;
        let runs = match read.flatten() {
            Ok(runs) => runs,
            Err(error) => {
                let causes = causes(&error).join(": ");
                tracing::warn!(job = name, %error, causes, "cannot read the history: missed runs are not caught up");
                Vec::new()
            }
        };
        let first = runs.iter().filter_map(|run| time(&run.started_at)).min();
        let good = runs.iter().filter(|run| run.status != Status::Failed);
        let last_success = good.filter_map(|run| time(&run.finished_at)).max();
        let since = first.unwrap_or_else(|| self.options.clock.now());
        self.metrics.known(&name, since, last_success);
        last_run(&runs, planned.job.jitter)
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    text.parse().ok()
}

/// Returns the start of the last run that was neither interrupted nor locked out by another run.
///
/// If there was no such run, returns a time before the first one's scheduled time. The job is then still due.
fn last_run(runs: &[JobResult], jitter: Duration) -> Option<DateTime<Utc>> {
    let begun = |is_owed: bool| {
        let owed = |run: &JobResult| run.was_interrupted() || run.was_locked_out();
        let runs = runs.iter().filter(move |run| owed(run) == is_owed);
        runs.filter_map(|run| time(&run.started_at))
    };
    let before = |first: DateTime<Utc>| {
        let late = TimeDelta::from_std(jitter).ok()?.checked_add(&A_LITTLE_LATE)?;
        first.checked_sub_signed(late)
    };
    begun(false).max().or_else(|| before(begun(true).min()?))
}

fn log(result: &JobResult, end: RunEnd) {
    let JobResult { job, rows, bytes, requests, retries, .. } = result;
    let seconds = (result.seconds * 1e3).round() / 1e3;
    let snapshots = result.snapshots.iter().filter_map(|it| it.path.as_deref());
    let snapshot = snapshots.collect::<Vec<_>>().join(" ");
    let pruned = result.pruned.len();
    match (end, result.failure()) {
        (RunEnd::Stored, _) => {
            tracing::info!(
                job, snapshot, rows, bytes, requests, retries, pruned, seconds, "stored"
            );
        }
        (RunEnd::Unchanged, _) => {
            tracing::info!(job, snapshot, requests, retries, pruned, seconds, "unchanged");
        }
        (RunEnd::Interrupted, _) => {
            tracing::warn!(job, requests, seconds, "interrupted: the next run resumes it");
        }
        (RunEnd::Failed, Some(error)) => {
            let causes = error.causes.join(": ");
            let hint = error.hint.as_deref().unwrap_or_default();
            let (exit_code, error) = (error.exit_code, &error.message);
            tracing::error!(job, exit_code, requests, retries, error, causes, hint, "failed");
        }
        (RunEnd::Failed, None) => tracing::error!(job, "failed"),
    }
}

async fn tell(hook: &OnResult, result: &JobResult) {
    let told = match serde_json::to_vec(result) {
        Ok(json) => hook.tell(&[&json[..], b"\n"].concat(), OnResult::LIMIT).await,
        Err(error) => return tracing::error!(job = result.job, %error, "on_result"),
    };
    if let Err(error) = told {
        let causes = causes(&error).join(": ");
        tracing::error!(job = result.job, %error, causes, "on_result failed; this does not change the run's result");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(started_at: &str, exit_code: u8) -> JobResult {
        serde_json::from_value(json!({
            "job": "a", "status": "failed", "started_at": started_at, "finished_at": started_at,
            "seconds": 9.0, "rows": 0, "bytes": 0, "requests": 1, "retries": 0, "snapshots": [],
            "pruned": [], "error": null, "exit_code": exit_code,
        }))
        .unwrap()
    }

    #[test]
    fn job_with_only_interrupted_runs_is_still_due() {
        let last = |runs: &[JobResult]| {
            last_run(runs, Duration::from_secs(600)).map(|time| time.to_rfc3339())
        };
        assert_eq!(last(&[]), None);
        let interrupted = [run("2026-11-22T02:09:00Z", 143), run("2026-11-23T02:00:30Z", 130)];
        // Before the scheduled time of the first run.
        assert_eq!(last(&interrupted).as_deref(), Some("2026-11-22T01:58:00+00:00"));
        let [first, second] = interrupted;
        // Another run held the lock, and may have been killed.
        let locked_out = run("2026-11-23T04:00:00Z", 75);
        let runs = [first, run("2026-11-22T03:00:00Z", 69), second, locked_out];
        assert_eq!(last(&runs).as_deref(), Some("2026-11-22T03:00:00+00:00"));
    }
}
