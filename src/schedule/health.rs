//! Says whether a job is healthy, from its history and its schedule. Runs nothing.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::Timetable;
use crate::{
    clock::text,
    config::Job,
    error::Result,
    location::StorageOptions,
    snapshots::{DamagedSnapshot, Failure, JobResult, RunHistory, Status, damaged_snapshots},
};

/// A job that had rows in this time before its last success, and has none now, needs attention: 7 days.
const LOST_ROWS: TimeDelta = TimeDelta::days(7);

/// The state of a job at one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobHealth {
    /// The job's name.
    pub job: String,
    /// Whether the last run failed. A run that a signal interrupted does not count.
    pub failed: bool,
    /// Whether the job never succeeded, or `stale_from` has passed.
    pub stale: bool,
    /// End of the last run that stored a snapshot or found no change, RFC 3339, UTC.
    pub last_success: Option<String>,
    /// The last run that failed. Later runs may have succeeded.
    pub last_failure: Option<FailedRun>,
    /// The time by which two more runs after the last success should have ended, RFC 3339, UTC. `None` for a job
    /// without a schedule or without a success.
    pub stale_from: Option<String>,
    /// The snapshots newer than the newest complete one whose manifest is damaged or missing, newest first.
    pub damaged: Vec<DamagedSnapshot>,
    /// The snapshots of the last success that have no rows, although rows were read or an earlier snapshot had some.
    pub empty: Vec<EmptySnapshot>,
    /// Number of lines of the history that cannot be read. The runs in them do not count.
    pub unreadable_lines: u64,
}

/// A snapshot without rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EmptySnapshot {
    /// The dataset.
    pub dataset: Uuid,
    /// The dataset's name, if the list of datasets contains one.
    pub name: Option<String>,
    /// Number of rows that were read for the snapshot. `None` in the history of an earlier version.
    pub rows_read: Option<u64>,
    /// The newest run that stored or found rows: the success before, or one in the week before the last success. `None` if
    /// they have none either.
    pub before: Option<RunWithRows>,
}

/// A run whose snapshot had rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunWithRows {
    /// End of the run, RFC 3339, UTC.
    pub finished_at: String,
    /// Number of rows in the snapshot.
    pub rows: u64,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FailedRun {
    /// End of the run, RFC 3339, UTC.
    pub finished_at: String,
    /// The error that determines the exit code of the run.
    pub error: Option<Failure>,
}

impl JobHealth {
    /// Returns whether the job needs attention: its last run failed, it is stale, its newest snapshot is damaged, or the
    /// newest snapshot of a dataset has no rows and one of the week before had some.
    pub fn is_bad(&self) -> bool {
        let has_lost_rows = self.empty.iter().any(|snapshot| snapshot.before.is_some());
        self.failed || self.stale || !self.damaged.is_empty() || has_lost_rows
    }

    fn of(job: &Job, runs: &[JobResult], now: DateTime<Utc>) -> Self {
        // An interrupted run says nothing about the job. The next run resumes it.
        let ended = || runs.iter().rev().filter(|run| !run.was_interrupted());
        let has_failed = |run: &&JobResult| run.status == Status::Failed;
        let success = ended().find(|run| !has_failed(run));
        let failure = ended().find(has_failed);
        let stale_from = success.and_then(|success| stale_from(job, success));
        let mut successes = ended().filter(|run| !has_failed(run));
        let empty = successes.next().map(|last| empty(last, &successes.collect::<Vec<_>>()));
        Self {
            job: job.name.clone(),
            failed: ended().next().is_some_and(|run| has_failed(&run)),
            stale: success.is_none() || stale_from.is_some_and(|time| time < now),
            last_success: success.map(|run| run.finished_at.clone()),
            last_failure: failure.map(|run| FailedRun {
                finished_at: run.finished_at.clone(),
                error: run.failure().cloned(),
            }),
            stale_from: stale_from.map(text),
            damaged: Vec::new(),
            empty: empty.unwrap_or_default(),
            unreadable_lines: 0,
        }
    }
}

/// Returns the state of a job at this time. Blocks.
///
/// # Errors
/// The same as for [`job_history`](crate::job_history).
pub fn job_health(job: &Job, storage: &StorageOptions, now: DateTime<Utc>) -> Result<JobHealth> {
    let history = RunHistory::of_job(job, storage)?;
    let damaged = damaged_snapshots(job, storage)?;
    let health = JobHealth::of(job, &history.runs, now);
    Ok(JobHealth { damaged, unreadable_lines: history.unreadable, ..health })
}

/// Returns the snapshots of a run that have no rows. `earlier` are the successes before it, newest first.
fn empty(last: &JobResult, earlier: &[&JobResult]) -> Vec<EmptySnapshot> {
    let time = |text: &str| text.parse::<DateTime<Utc>>().ok();
    let since = time(&last.started_at).and_then(|at| at.checked_sub_signed(LOST_ROWS));
    let recent = earlier.iter().enumerate().take_while(|(index, run)| {
        *index == 0 || since.is_some_and(|since| time(&run.started_at) >= Some(since))
    });
    let recent: Vec<&JobResult> = recent.map(|(_, run)| *run).collect();
    // A job with one dataset can have another id for each of its versions.
    let has_one = last.snapshots.len() == 1;
    let empty = last.snapshots.iter().filter(|it| it.status != Status::Failed && it.rows == 0);
    let empty = empty.map(|snapshot| {
        let of_dataset = |run: &JobResult| {
            let mut snapshots = run.snapshots.iter();
            let found = snapshots.find(|it| has_one || it.dataset == snapshot.dataset)?;
            let (finished_at, rows) = (run.finished_at.clone(), found.rows);
            (rows > 0).then_some(RunWithRows { finished_at, rows })
        };
        EmptySnapshot {
            dataset: snapshot.dataset,
            name: snapshot.name.clone(),
            rows_read: snapshot.rows_read,
            before: recent.iter().find_map(|run| of_dataset(run)),
        }
    });
    // An empty dataset has no rows to keep.
    let has_had_rows =
        |it: &EmptySnapshot| it.before.is_some() || it.rows_read.is_some_and(|rows| rows > 0);
    empty.filter(has_had_rows).collect()
}

/// Returns the time at which the job becomes stale unless it succeeds again: when the second run after its last
/// success should have ended. A run should take as long as the last successful one.
///
/// For equal intervals this is twice the interval. For a schedule with pauses, such as weekends, it is not twice
/// the longest pause.
fn stale_from(job: &Job, success: &JobResult) -> Option<DateTime<Utc>> {
    let time = |text: &str| text.parse::<DateTime<Utc>>().ok();
    let (begin, end) = (time(&success.started_at)?, time(&success.finished_at)?);
    let second = Timetable::of(job)?.after(begin).nth(1)?;
    second.starts.checked_add_signed((end - begin).max(TimeDelta::zero()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn job(keys: &str) -> Job {
        let text = format!("[[job]]\nname = \"a\"\nroot = \"r\"\nselect = \"latest\"\n{keys}");
        Config::parse(&text, "/etc/snapshots.toml".as_ref()).unwrap().jobs.remove(0)
    }

    /// A run of ten minutes.
    fn run(started_at: &str, status: &str, exit_code: u8) -> JobResult {
        let end: DateTime<Utc> = started_at.parse().unwrap();
        let failure = json!({ "message": "m", "causes": [], "hint": null, "exit_code": exit_code });
        serde_json::from_value(json!({
            "job": "a", "status": status, "started_at": started_at,
            "finished_at": text(end + TimeDelta::minutes(10)), "seconds": 600.0, "rows": 0,
            "bytes": 0, "requests": 1, "retries": 0, "snapshots": [], "pruned": [],
            "error": if exit_code == 0 { json!(null) } else { failure }, "exit_code": exit_code,
        }))
        .unwrap()
    }

    fn health(keys: &str, runs: &[JobResult], now: &str) -> JobHealth {
        JobHealth::of(&job(keys), runs, now.parse().unwrap())
    }

    #[test]
    fn job_is_stale_when_two_runs_should_have_ended() {
        let from = |keys: &str, started: &str| {
            let runs = [run(started, "unchanged", 0)];
            health(keys, &runs, "2026-11-23T00:00:00Z").stale_from
        };
        for (keys, started, expected) in [
            ("schedule = \"0 2 * * *\"", "2026-11-23T02:00:00Z", Some("2026-11-25T02:10:00Z")),
            // A run that made up for a missed one.
            ("schedule = \"0 2 * * *\"", "2026-11-23T09:00:00Z", Some("2026-11-25T02:10:00Z")),
            ("schedule = \"*/15 * * * *\"", "2026-11-23T02:00:00Z", Some("2026-11-23T02:40:00Z")),
            // From Friday to Tuesday, and from Monday to Wednesday.
            ("schedule = \"0 2 * * 1-5\"", "2026-11-20T02:00:00Z", Some("2026-11-24T02:10:00Z")),
            ("schedule = \"0 2 * * 1-5\"", "2026-11-23T02:00:00Z", Some("2026-11-25T02:10:00Z")),
            ("", "2026-11-23T02:00:00Z", None),
        ] {
            assert_eq!(from(keys, started).as_deref(), expected, "{keys} {started}");
        }
        let runs = [run("2026-11-23T02:00:00Z", "stored", 0)];
        let stale = |now| health("schedule = \"0 2 * * *\"", &runs, now).stale;
        assert!(!stale("2026-11-25T02:10:00Z"));
        assert!(stale("2026-11-25T02:10:01Z"));
        // Without a schedule, a job is stale only if it never succeeded.
        assert!(!health("", &runs, "2036-11-25T02:10:00Z").stale);
        assert!(health("", &[], "2026-11-23T00:00:00Z").stale);
        assert!(
            health("", &[run("2026-11-23T02:00:00Z", "failed", 69)], "2026-11-23T03:00:00Z").stale
        );
    }

    /// A nightly run with these rows of each dataset, of 100 that were read. An empty dataset has `None`.
    fn night(day: u32, rows: &[Option<u64>]) -> JobResult {
        let mut result = run(&format!("2026-11-{day:02}T02:00:00Z"), "stored", 0);
        let snapshots = rows.iter().enumerate().map(|(dataset, rows)| {
            serde_json::from_value(json!({
                "dataset": Uuid::from_u128(dataset as u128), "name": null, "version": null, "status": "stored",
                "snapshot": null, "path": null, "unchanged_by": null, "rows": rows.unwrap_or(0),
                "rows_read": if rows.is_some() { 100 } else { 0 }, "bytes": 0, "digest": null, "error": null,
            }))
        });
        result.snapshots = snapshots.collect::<Result<_, _>>().unwrap();
        result
    }

    #[test]
    fn job_that_lost_all_rows_is_bad_for_a_week() {
        let states = |runs: &[JobResult]| {
            let health = health("", runs, "2026-11-30T00:00:00Z");
            let all = health.empty.iter().map(|it| {
                let before = it.before.as_ref();
                (
                    it.dataset.as_u128(),
                    before.map(|run| (run.finished_at[8..10].to_owned(), run.rows)),
                )
            });
            (all.collect::<Vec<_>>(), health.is_bad())
        };
        let on = |day: &str, rows| Some((day.to_owned(), rows));
        let (some, none, nothing) = (&[Some(7)][..], &[Some(0)][..], &[None][..]);
        assert_eq!(states(&[night(1, none), night(2, some)]), (vec![], false));
        assert_eq!(states(&[night(1, some), night(2, none)]), (vec![(0, on("01", 7))], true));
        assert_eq!(states(&[night(1, some), night(2, nothing)]), (vec![(0, on("01", 7))], true));
        let mut week = vec![night(1, some)];
        week.extend((2..=8).map(|day| night(day, none)));
        assert_eq!(states(&week), (vec![(0, on("01", 7))], true));
        week.push(night(9, none));
        assert_eq!(states(&week), (vec![(0, None)], false));
        // The run before counts, however long ago it was.
        assert_eq!(states(&[night(1, some), night(20, none)]), (vec![(0, on("01", 7))], true));
        // Never any rows.
        assert_eq!(states(&[night(1, none), night(2, none)]), (vec![(0, None)], false));
        assert_eq!(states(&[night(1, nothing), night(2, nothing)]), (vec![], false));
        // A failed run in between says nothing.
        let failed = run("2026-11-02T02:00:00Z", "failed", 69);
        assert_eq!(states(&[night(1, some), failed.clone()]), (vec![], true));
        let found = states(&[night(1, some), failed, night(3, none)]);
        assert_eq!(found, (vec![(0, on("01", 7))], true));
        // Each dataset of a job counts for itself.
        let two = |one, two| [Some(one), Some(two)];
        let found = states(&[night(1, &two(3, 4)), night(2, &two(3, 0))]);
        assert_eq!(found, (vec![(1, on("01", 4))], true));
    }

    #[test]
    fn last_run_that_was_not_interrupted_decides() {
        let (good, bad) =
            (run("2026-11-21T02:00:00Z", "stored", 0), run("2026-11-22T02:00:00Z", "failed", 69));
        let (interrupted, locked) =
            (run("2026-11-23T02:00:00Z", "failed", 143), run("2026-11-23T03:00:00Z", "failed", 75));
        let failed = |runs: &[&JobResult]| {
            let runs: Vec<_> = runs.iter().map(|run| (*run).clone()).collect();
            let health = health("", &runs, "2026-11-23T04:00:00Z");
            let code = health.last_failure.and_then(|run| run.error).map(|it| it.exit_code);
            (health.failed, code)
        };
        assert_eq!(failed(&[]), (false, None));
        assert_eq!(failed(&[&good]), (false, None));
        assert_eq!(failed(&[&good, &bad]), (true, Some(69)));
        assert_eq!(failed(&[&bad, &good]), (false, Some(69)));
        assert_eq!(failed(&[&good, &interrupted]), (false, None));
        assert_eq!(failed(&[&bad, &interrupted]), (true, Some(69)));
        assert_eq!(failed(&[&bad, &good, &locked]), (true, Some(75)));
    }
}
