//! What is odd about the runs of a job: failures, runs that did not happen, and data that changed much in one night.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    drift::{self, DriftLine, ShareJump, SnapshotData},
    nights::JobNights,
    shares::DriftGroup,
};
use crate::snapshots::{DamagedSnapshot, Failure, JobResult, Status};

/// A fall of the rows to this part of the rows before, or to fewer, is odd: four of five. Whole numbers keep an exact
/// fifth exact.
const FALL: (u128, u128) = (4, 5);
/// A rise of the rows to this multiple of the rows before, or to more, is odd.
const RISE: u128 = 2;
/// Rows that fewer rows than this more or less do not make odd, unless none is left.
const FEW_ROWS: u64 = 10;
/// What is odd counts for the state of a job if it is from the last week before the last run: 7 days.
const RECENT: TimeDelta = TimeDelta::days(7);
/// Runs that say how far apart runs usually are.
const USUAL_RUNS: usize = 30;
/// Fewest runs that say it.
const FEWEST_RUNS: usize = 3;
/// A job without a run for this many times the usual time is stale: one missed run, and half of the time as reserve.
const LATE: f64 = 1.5;
/// Time that a run may be late when runs are close together.
const RESERVE: TimeDelta = TimeDelta::minutes(15);

/// Comparisons that say how many rows usually change.
const FEWEST_COMPARISONS: usize = 5;
/// Many changed rows are odd if they are this many times the usual number.
const UNUSUAL: f64 = 2.0;

/// Something odd about a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum OddNight {
    /// Its runs cannot be read.
    Unreadable(Failure),
    /// A snapshot has no valid manifest: its path, what is wrong, and whether it is newer than the newest complete one.
    Damaged { path: String, why: String, is_newest: bool },
    /// The rows of a snapshot cannot be read: its time, and why.
    Unread { at: DateTime<Utc>, why: Failure },
    /// Snapshots of other jobs are in its folder: the names of these jobs, with their number.
    OfOthers(BTreeMap<String, u64>),
    /// Lines of its history cannot be read: their number.
    UnreadableLines(u64),
    /// The last runs failed: their number, and the start of the first of them.
    Failing { runs: u64, since: String },
    /// All runs were interrupted, or found the job locked: their number.
    NeverEnded(usize),
    /// No run began at scheduled times: their number, the first of them, and the last run that ended.
    Missed { runs: usize, first: DateTime<Utc>, last_run: String, has_succeeded: bool },
    /// The last run that ended is further back than runs usually are apart.
    Quiet { last_run: String, has_succeeded: bool, silent: TimeDelta, usual: TimeDelta },
    /// No run began at these scheduled times, and later runs did.
    MissedBefore(Vec<DateTime<Utc>>),
    /// The times of runs cannot be right: the number of runs, one of the times, and the time of a run nearby.
    Misdated { runs: usize, example: String, near: DateTime<Utc> },
    /// The rows of a dataset, or of all data of a run, changed much from one run to the next.
    Rows { dataset: Option<Uuid>, before: u64, after: u64, at: String, back: Option<RowsBack> },
    /// Many rows of a snapshot have other values than in the snapshot before: the place of the snapshot in the data, and the
    /// number of rows whose values differ, whatever their spelling.
    Changed { place: usize, at: DateTime<Utc>, rows: u64 },
    /// The share of a value jumped: the name of its group, and each jump with the time of its snapshot.
    Share { group: String, value: String, jumps: Vec<(DateTime<Utc>, ShareJump)> },
}

/// The run after which the rows were again about as many as before they changed much.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RowsBack {
    pub(super) rows: u64,
    pub(super) at: String,
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JobState {
    Failing,
    Damaged,
    Stale,
    Odd,
    New,
    Well,
}

/// Returns what is odd about a job, the worst first, and how the job is.
pub(super) fn of_job(job: &JobNights, as_of: DateTime<Utc>) -> (Vec<OddNight>, JobState) {
    let failing = match &job.problem {
        Some(problem) => Some(OddNight::Unreadable(problem.clone())),
        None => failing(job),
    };
    let damaged: Vec<OddNight> = damaged(job).collect();
    let lines = Some(job.unreadable_lines).filter(|lines| *lines > 0);
    let stale = never_ended(job).or_else(|| missed(job, as_of)).or_else(|| quiet(job, as_of));
    let missed_before = Some(&job.missed_before).filter(|it| !it.is_empty());
    let missed_before = missed_before.map(|it| OddNight::MissedBefore(it.clone()));
    let others = Some(&job.of_others).filter(|it| !it.is_empty());
    let others = others.map(|it| OddNight::OfOthers(it.clone()));
    let data = [rows(&job.runs), changed(&job.data), shares(job)].concat();
    let last = job.last_dated(as_of).and_then(JobNights::start);
    let since = last.map(|last| last - RECENT);
    let misdated = misdated(job, as_of);
    let is_recent = |odd: &OddNight| since.is_none_or(|since| odd.newest() >= Some(since));
    let state = match () {
        () if failing.is_some() => JobState::Failing,
        () if !damaged.is_empty() => JobState::Damaged,
        () if stale.is_some() => JobState::Stale,
        () if lines.is_some() || others.is_some() => JobState::Odd,
        () if missed_before.iter().chain(&misdated).chain(&data).any(is_recent) => JobState::Odd,
        () if job.runs.is_empty() => JobState::New,
        () => JobState::Well,
    };
    let lines = lines.map(OddNight::UnreadableLines);
    let first = failing.into_iter().chain(damaged).chain(stale).chain(lines).chain(others);
    (first.chain(misdated).chain(missed_before).chain(data).collect(), state)
}

impl OddNight {
    /// When it was odd for the last time, as far as its data say it.
    fn newest(&self) -> Option<DateTime<Utc>> {
        match self {
            // The rows are back: the data is not odd any more.
            Self::Rows { back: Some(_), .. } => None,
            Self::Rows { at, .. } => DateTime::parse_from_rfc3339(at).ok().map(|at| at.to_utc()),
            Self::Changed { at, .. } => Some(*at),
            Self::Misdated { near, .. } => Some(*near),
            Self::MissedBefore(times) => times.iter().max().copied(),
            Self::Share { jumps, .. } => jumps.iter().map(|(at, _)| *at).max(),
            _ => None,
        }
    }
}

fn damaged(job: &JobNights) -> impl Iterator<Item = OddNight> {
    let odd = |it: &DamagedSnapshot, is_newest| OddNight::Damaged {
        path: format!("{}/{}", job.job, it.path),
        why: it.why.clone(),
        is_newest,
    };
    let newest = job.damaged.iter().map(move |it| odd(it, true));
    let earlier = job.damaged_earlier.iter().map(move |it| odd(it, false));
    let unread = job.unread.iter();
    let unread = unread.map(|it| OddNight::Unread { at: it.stamp.time(), why: it.error.clone() });
    newest.chain(earlier).chain(unread)
}

fn failing(job: &JobNights) -> Option<OddNight> {
    let ended = || {
        let runs = job.runs.iter().rev();
        runs.filter(|run| !run.was_interrupted() && !run.was_locked_out())
    };
    let failed: Vec<_> = ended().take_while(|run| run.status == Status::Failed).collect();
    let since = failed.last()?.started_at.clone();
    Some(OddNight::Failing { runs: failed.len() as u64, since })
}

fn never_ended(job: &JobNights) -> Option<OddNight> {
    let has_none = !job.runs.is_empty() && job.last_ended().is_none();
    has_none.then_some(OddNight::NeverEnded(job.runs.len()))
}

/// Finds runs whose times cannot be right.
fn misdated(job: &JobNights, as_of: DateTime<Utc>) -> Option<OddNight> {
    let is_wrong = |run: &JobResult| JobNights::dated(run, as_of).is_none();
    let last = job.runs.iter().rposition(is_wrong)?;
    let later = job.runs.get(last + 1..).unwrap_or_default();
    let near = later.iter().find_map(|run| JobNights::dated(run, as_of)).unwrap_or(as_of);
    let runs = job.runs.iter().filter(|run| is_wrong(run)).count();
    Some(OddNight::Misdated { runs, example: job.runs.get(last)?.started_at.clone(), near })
}

fn missed(job: &JobNights, as_of: DateTime<Utc>) -> Option<OddNight> {
    let (missed, last) = (job.missed.as_ref()?, job.last_dated(as_of)?);
    let (runs, first) = (missed.len(), *missed.first()?);
    let (last_run, has_succeeded) = (last.started_at.clone(), last.status != Status::Failed);
    Some(OddNight::Missed { runs, first, last_run, has_succeeded })
}

/// Without a schedule, the times between the last runs say when the next one is due.
fn quiet(job: &JobNights, as_of: DateTime<Utc>) -> Option<OddNight> {
    if job.missed.is_some() {
        return None;
    }
    let last_run = job.last_dated(as_of)?;
    let starts = job.runs.iter().rev().filter_map(|run| JobNights::dated(run, as_of));
    let starts: Vec<_> = starts.collect();
    let starts = starts.get(..starts.len().min(USUAL_RUNS)).filter(|it| it.len() >= FEWEST_RUNS)?;
    let between = starts.windows(2).filter_map(|pair| match pair {
        [later, earlier] => Some(*later - *earlier),
        _ => None,
    });
    let usual = between.max()?;
    let silent = as_of - JobNights::start(last_run)?;
    let seconds = usual.num_seconds() as f64 * LATE;
    let is_late = silent.num_seconds() as f64 > seconds && silent > usual + RESERVE;
    let has_succeeded = last_run.status != Status::Failed;
    let last_run = last_run.started_at.clone();
    is_late.then_some(OddNight::Quiet { last_run, has_succeeded, silent, usual })
}

/// Whether the rows changed much.
fn is_much(before: u64, after: u64) -> bool {
    let (old, new) = (u128::from(before), u128::from(after));
    let is_fall = new * FALL.1 <= old * FALL.0;
    let is_rise = new >= old * RISE;
    (is_fall || is_rise) && (before.abs_diff(after) >= FEW_ROWS || after == 0 && before > 0)
}

/// Finds the runs in which the rows fell or rose much, the newest first. A run of several datasets is looked at dataset
/// by dataset.
fn rows(runs: &[JobResult]) -> Vec<OddNight> {
    let mut last = BTreeMap::<Option<Uuid>, u64>::new();
    let mut found = Vec::<OddNight>::new();
    // Of a job with several datasets, a run can have one of them: it is compared with the same one.
    let has_several = runs.iter().any(|run| run.snapshots.len() > 1);
    for run in runs {
        for snapshot in run.snapshots.iter().filter(|it| it.status != Status::Failed) {
            // A job with one dataset can have another id for each of its versions.
            let dataset = has_several.then_some(snapshot.dataset);
            let Some(before) = last.insert(dataset, snapshot.rows) else { continue };
            let after = snapshot.rows;
            let at = run.started_at.clone();
            // The last change of this dataset is over if the rows are again about as many as before it.
            let open = found.iter_mut().rev().find_map(|odd| match odd {
                OddNight::Rows { dataset: of, before, back, .. } if *of == dataset => {
                    Some((*before, back))
                }
                _ => None,
            });
            match open {
                Some((rows, back @ None)) if before != after && !is_much(rows, after) => {
                    *back = Some(RowsBack { rows: after, at });
                }
                _ if is_much(before, after) => {
                    found.push(OddNight::Rows { dataset, before, after, at, back: None });
                }
                _ => {}
            }
        }
    }
    found.reverse();
    found
}

/// Finds the snapshots of which many rows changed, the newest first. Many changes in each night are usual.
fn changed(data: &[SnapshotData]) -> Vec<OddNight> {
    let share = |it: &SnapshotData| {
        let change = it.change.as_ref()?;
        let changed = change.changed - change.respelled.unwrap_or(0).min(change.changed);
        (change.before > 0).then(|| changed as f64 / change.before as f64)
    };
    let mut shares: Vec<f64> = data.iter().filter_map(share).collect();
    shares.sort_by(f64::total_cmp);
    let usual = match shares.len() {
        ..FEWEST_COMPARISONS => 0.0,
        number => shares.get(number / 2).copied().unwrap_or(0.0),
    };
    let odd = data.iter().enumerate().filter_map(|(place, it)| {
        let rows = it.change.as_ref()?.many_changed().filter(|rows| *rows >= FEW_ROWS)?;
        let is_unusual = share(it)? >= UNUSUAL * usual;
        is_unusual.then_some(OddNight::Changed { place, at: it.taken_at, rows })
    });
    let mut odd: Vec<_> = odd.collect();
    odd.reverse();
    odd
}

/// Finds the shares that jumped, the largest jump first. Of the types of a place, only the one that rose most: those that fell
/// say the same.
fn shares(job: &JobNights) -> Vec<OddNight> {
    let mut found: Vec<(f64, OddNight)> = Vec::new();
    for table in drift::tables(&job.data) {
        let jumped = || table.lines.iter().filter(|line| !line.jumps.is_empty());
        let lines: Vec<&DriftLine> = match table.group {
            DriftGroup::Types(_) => {
                jumped().find(|line| line.rises()).or(jumped().next()).into_iter().collect()
            }
            _ => jumped().collect(),
        };
        for line in lines {
            let jumps = line.jumps.iter();
            let jumps = jumps.filter_map(|jump| Some((job.data.get(jump.place)?.taken_at, *jump)));
            let (group, value) = (table.group.name(), line.value.clone());
            let odd = OddNight::Share { group, value, jumps: jumps.collect() };
            found.push((line.largest(), odd));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, odd)| odd).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(day: u32, status: &str, rows: u64) -> JobResult {
        let at = format!("2026-09-{day:02}T02:00:00Z");
        let exit_code = if status == "failed" { 69 } else { 0 };
        let snapshot = json!({
            "dataset": Uuid::nil(), "name": null, "version": null, "status": status, "snapshot": null, "path": null,
            "unchanged_by": null, "rows": rows, "bytes": 0, "digest": null, "error": null,
        });
        serde_json::from_value(json!({
            "job": "a", "status": status, "started_at": at, "finished_at": at, "seconds": 9.0, "rows": rows, "bytes": 0,
            "requests": 1, "retries": 0, "snapshots": [snapshot], "pruned": [], "error": null, "exit_code": exit_code,
        }))
        .unwrap()
    }

    fn of(runs: Vec<JobResult>, as_of: &str) -> (Vec<OddNight>, JobState) {
        of_job(&JobNights::new("a", runs), as_of.parse().unwrap())
    }

    #[test]
    fn collapse_of_rows_is_odd_for_a_week() {
        let mut runs = vec![run(1, "stored", 1000), run(2, "failed", 0), run(3, "stored", 100)];
        let (odd, state) = of(runs.clone(), "2026-09-03T03:00:00Z");
        let at = "2026-09-03T02:00:00Z".to_owned();
        let expected = OddNight::Rows { dataset: None, before: 1000, after: 100, at, back: None };
        assert_eq!((odd.as_slice(), state), ([expected].as_slice(), JobState::Odd));
        runs.extend((4..=20).map(|day| run(day, "unchanged", 100)));
        let (odd, state) = of(runs, "2026-09-20T03:00:00Z");
        assert_eq!((odd.len(), state), (1, JobState::Well));
        // Usual growth is not odd, and neither are a few rows.
        let runs = vec![run(1, "stored", 1000), run(2, "stored", 1900), run(3, "stored", 1600)];
        assert_eq!(of(runs, "2026-09-03T03:00:00Z"), (Vec::new(), JobState::Well));
        let runs = vec![run(1, "stored", 2), run(2, "stored", 9), run(3, "stored", 1)];
        assert_eq!(of(runs, "2026-09-03T03:00:00Z"), (Vec::new(), JobState::Well));
    }

    #[test]
    fn exact_fifth_and_exact_double_are_odd() {
        for (before, after, is_odd) in [
            (100, 200, true),
            (100, 199, false),
            (100, 80, true),
            (100, 81, false),
            (350, 280, true),
            (0, 10, true),
        ] {
            let runs = vec![run(1, "stored", before), run(2, "stored", after)];
            let (odd, _) = of(runs, "2026-09-02T03:00:00Z");
            assert_eq!(odd.len(), usize::from(is_odd), "{before} to {after}");
        }
    }

    #[test]
    fn job_without_a_schedule_is_stale_by_its_habit() {
        let runs: Vec<_> = (1..=5).map(|day| run(day, "unchanged", 10)).collect();
        assert_eq!(of(runs.clone(), "2026-09-06T13:00:00Z").1, JobState::Well);
        let (odd, state) = of(runs.clone(), "2026-09-06T15:00:00Z");
        assert_eq!(state, JobState::Stale);
        assert!(matches!(&odd[..], [OddNight::Quiet { silent, .. }] if silent.num_hours() == 37));
        // Two runs are no habit. A known schedule decides alone.
        assert_eq!(of(runs[..2].to_vec(), "2036-09-06T15:00:00Z").1, JobState::Well);
        let mut job = JobNights::new("a", runs);
        job.missed = Some(Vec::new());
        assert_eq!(of_job(&job, "2036-09-06T15:00:00Z".parse().unwrap()).1, JobState::Well);
        job.missed = Some(vec!["2026-09-06T02:00:00Z".parse().unwrap()]);
        assert_eq!(of_job(&job, "2026-09-06T15:00:00Z".parse().unwrap()).1, JobState::Stale);
    }

    #[test]
    fn failures_in_a_row_are_counted() {
        let runs = vec![run(1, "stored", 10), run(2, "failed", 0), run(3, "failed", 0)];
        let (odd, state) = of(runs, "2026-09-03T03:00:00Z");
        let since = "2026-09-02T02:00:00Z".to_owned();
        assert_eq!((&odd[0], state), (&OddNight::Failing { runs: 2, since }, JobState::Failing));
        assert_eq!(of(Vec::new(), "2026-09-03T03:00:00Z"), (Vec::new(), JobState::New));
    }

    /// A run with these rows of two datasets.
    fn run_of_two(day: u32, rows: [Option<u64>; 2]) -> JobResult {
        let mut result = run(day, "stored", 0);
        let snapshot = result.snapshots.remove(0);
        let rows = rows.into_iter().enumerate();
        let snapshots = rows.filter_map(|(dataset, rows)| {
            let mut snapshot = snapshot.clone();
            (snapshot.dataset, snapshot.rows) = (Uuid::from_u128(dataset as u128), rows?);
            Some(snapshot)
        });
        result.snapshots = snapshots.collect();
        result
    }

    #[test]
    fn datasets_are_compared_with_themselves() {
        let rows = |nights: &[[Option<u64>; 2]]| {
            let runs = nights.iter().zip(1..).map(|(rows, day)| run_of_two(day, *rows));
            let (odd, _) = of(runs.collect(), &format!("2026-09-{:02}T03:00:00Z", nights.len()));
            let rows = odd.iter().map(|odd| match odd {
                OddNight::Rows { before, after, .. } => (*before, *after),
                odd => panic!("{odd:?}"),
            });
            rows.collect::<Vec<_>>()
        };
        let both = [Some(1000), Some(10)];
        // The first one fell in a night in which it came alone.
        assert_eq!(rows(&[both, [Some(5), None], [Some(5), None]]), [(1000, 5)]);
        assert_eq!(rows(&[both, [None, Some(10)], both, [Some(1000), None], both]), []);
    }

    #[test]
    fn runs_with_impossible_times_are_named() {
        let nights: Vec<_> = (1..=9).map(|day| run(day, "unchanged", 10)).collect();
        for time in [
            "2027-01-01T02:00:00Z",
            "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z",
            "yesterday",
            "",
        ] {
            let mut last = run(10, "unchanged", 10);
            last.started_at = time.to_owned();
            let mut runs = nights.clone();
            runs.push(last.clone());
            // The run says nothing about the next one: the runs before it do.
            let (odd, state) = of(runs.clone(), "2026-09-10T03:00:00Z");
            assert_eq!(state, JobState::Odd, "{time}");
            assert!(
                matches!(&odd[..], [OddNight::Misdated { runs: 1, example, .. }] if example == time)
            );
            assert_eq!(of(runs, "2026-09-20T03:00:00Z").1, JobState::Stale, "{time}");
            // Long after it, the job is well.
            let mut runs = nights.clone();
            runs.insert(0, last);
            let (odd, state) = of(runs, "2026-09-09T03:00:00Z");
            assert_eq!((odd.len(), state), (1, JobState::Well), "{time}");
        }
    }
}
