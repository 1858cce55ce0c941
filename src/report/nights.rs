//! What a report shows of the runs of jobs: their histories, their snapshots, and the runs to come.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use uuid::Uuid;

use super::{Report, ReportOptions, SnapshotData, changes::ChangesSeen, page};
use crate::{
    clock::{Clock as _, SystemClock},
    error::{Error, Result, limits},
    location::{Location, StorageOptions},
    record::{place::HIDDEN, stamp::Stamp},
    snapshots::{
        DamagedSnapshot, Failure, JobResult, RetentionDecision, RunHistory, StoredSnapshot,
        stored_damage, stored_gaps, stored_jobs, stored_with_others,
    },
};

/// Rows of the last change that are shown.
const CHANGED_ROWS: usize = 30;
/// Most scheduled times that are listed as missed: 1,000. One more says that there are more.
pub(crate) const MOST_MISSED: usize = 1000;
/// Time by which the clocks of two machines can differ: an hour.
const CLOCKS: TimeDelta = TimeDelta::hours(1);
/// No run began before this year. A machine without a clock battery starts in 1970.
const FIRST_YEAR: i32 = 2000;
/// The page says what changed in this time: 7 days.
pub(super) const WEEK: TimeDelta = TimeDelta::days(7);
/// Bytes of all histories of a page: 16 MiB. As runs, they take about ten times as much memory.
const HISTORIES: u64 = 16 << 20;
/// Fewest and most bytes of a history: 64 KiB, about 100 runs, and 4 MiB, about 8,000 runs.
const HISTORY: (u64, u64) = (64 << 10, 4 << 20);

/// Returns the number of bytes to read of each history for a page about this number of jobs.
pub(crate) fn history_limit(jobs: usize) -> u64 {
    (HISTORIES / (jobs as u64).max(1)).clamp(HISTORY.0, HISTORY.1)
}

/// The runs of a job.
///
/// ```no_run
/// use overmind_export::{JobNights, Location, Report, chrono::Utc};
///
/// let root = Location::from("/data/snapshots");
/// let nights = JobNights::read(&root, "triage-eval")?;
/// let page = Report::of_nights("snapshots", &[nights], Utc::now());
/// assert!(page.as_html().contains("triage-eval"));
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobNights {
    /// The job's name.
    pub job: String,
    /// The runs in its history, oldest first.
    pub runs: Vec<JobResult>,
    /// Its complete snapshots, oldest first.
    pub snapshots: Vec<StoredSnapshot>,
    /// The snapshots newer than the newest complete one whose manifest is damaged or missing, newest first.
    pub damaged: Vec<DamagedSnapshot>,
    /// The snapshots older than the newest complete one whose manifest is damaged or missing, newest first.
    pub damaged_earlier: Vec<DamagedSnapshot>,
    /// Number of lines of its history that cannot be read.
    pub unreadable_lines: u64,
    /// Size of the older lines of its history that were not read, in bytes.
    pub unread_bytes: u64,
    /// What retention decides about its snapshots, with reasons; empty if the job's configuration is not known.
    pub retention: Vec<RetentionDecision>,
    /// The names of other jobs whose snapshots are in its folder, with their number.
    pub of_others: BTreeMap<String, u64>,
    /// The scheduled times since the last run that ended at which no run began, oldest first; `None` if the schedule is not
    /// known.
    pub missed: Option<Vec<DateTime<Utc>>>,
    /// The scheduled times between earlier runs at which no run began, oldest first.
    pub missed_before: Vec<DateTime<Utc>>,
    /// The start of the active run, if the job is known to run.
    pub running_since: Option<DateTime<Utc>>,
    /// The next runs; empty if they are not known.
    pub next: Vec<DateTime<Utc>>,
    /// What the last snapshots hold, oldest first; empty if their rows were not read.
    pub data: Vec<SnapshotData>,
    /// The snapshots whose rows could not be read, oldest first.
    pub unread: Vec<UnreadSnapshot>,
    /// Why the runs could not be read, for a page that shows other jobs, too.
    pub problem: Option<Failure>,
    /// Whether the page may show values of rows, also in the messages of failures.
    pub(super) shows_values: bool,
    /// What changed between the last two snapshots, if their rows were read.
    pub(super) last_change: Option<NightsChange>,
    /// What changed in the last week, or since the oldest snapshot that was read, if that is another change.
    pub(super) week_change: Option<NightsChange>,
}

/// What changed between two snapshots.
#[derive(Debug, Clone)]
pub(super) struct NightsChange {
    /// The places of the two snapshots in the data.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) seen: ChangesSeen,
}

/// A snapshot whose rows are damaged.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UnreadSnapshot {
    /// Start of the run that began the snapshot.
    pub stamp: Stamp,
    /// Why its rows could not be read.
    pub error: Failure,
}

/// Returns whether an error is about the files of this snapshot, and not about the options or the machine.
fn is_damage(error: &Error, stamp: Stamp) -> bool {
    let is_mistake = matches!(
        error,
        Error::UnmatchedPath { .. } | Error::UnmatchedNode { .. } | Error::ValueTooLarge { .. }
    );
    names(error, stamp) || error.exit_code() == 65 && !is_mistake
}

/// Returns whether an error names a file of this snapshot. Not if a limit of the machine was reached.
fn names(error: &Error, stamp: Stamp) -> bool {
    let folder = stamp.folder();
    let is_in = |path: &Path| path.to_string_lossy().contains(&folder);
    match error {
        Error::Io { path, .. } => is_in(path) && limits::hint(error).is_none(),
        Error::Store { url, .. } => url.contains(&folder),
        Error::Damaged { path, .. } => is_in(path),
        Error::Column(error) => is_in(&error.path),
        _ => false,
    }
}

impl JobNights {
    /// Returns the runs of a job. Snapshots, retention and next runs can be added.
    pub fn new(job: impl Into<String>, runs: Vec<JobResult>) -> Self {
        Self {
            job: job.into(),
            runs,
            snapshots: Vec::new(),
            damaged: Vec::new(),
            damaged_earlier: Vec::new(),
            unreadable_lines: 0,
            unread_bytes: 0,
            retention: Vec::new(),
            of_others: BTreeMap::new(),
            missed: None,
            missed_before: Vec::new(),
            running_since: None,
            next: Vec::new(),
            data: Vec::new(),
            unread: Vec::new(),
            problem: None,
            shows_values: false,
            last_change: None,
            week_change: None,
        }
    }

    /// Returns the runs of a history.
    pub(crate) fn of_history(job: &str, history: RunHistory) -> Self {
        let RunHistory { runs, unreadable, unread_bytes } = history;
        Self { unreadable_lines: unreadable, unread_bytes, ..Self::new(job, runs) }
    }

    /// Reads the history and the records of the snapshots of a job below a root. Needs no configuration. Blocks.
    ///
    /// Of a history longer than 4 MiB (about 8,000 runs of one dataset), only the end is read.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Store`] when a folder or the history cannot be read.
    pub fn read(root: &Location, job: &str) -> Result<Self> {
        Self::read_within(root, job, history_limit(1))
    }

    /// Does the same, with this limit of the history in bytes.
    pub(crate) fn read_within(root: &Location, job: &str, limit: u64) -> Result<Self> {
        let mut nights = Self::of_history(job, RunHistory::newest_stored(root, job, limit)?);
        nights.read_snapshots(root)?;
        Ok(nights)
    }

    /// Reads the records of the snapshots below a root.
    pub(crate) fn read_snapshots(&mut self, root: &Location) -> Result<()> {
        self.damaged = stored_damage(root, &self.job)?;
        self.damaged_earlier = stored_gaps(root, &self.job)?;
        (self.snapshots, self.of_others) = stored_with_others(root, &self.job)?;
        Ok(())
    }

    /// Returns a job whose runs cannot be read, for a page that shows other jobs, too.
    ///
    /// ```
    /// use overmind_export::{Error, JobNights};
    ///
    /// let job = JobNights::unreadable("triage-eval", &Error::NoKey);
    /// assert!(job.problem.is_some());
    /// ```
    pub fn unreadable(job: impl Into<String>, error: &Error) -> Self {
        Self { problem: Some(Failure::new(error)), ..Self::new(job, Vec::new()) }
    }

    /// Reads the rows of the last `most` snapshots. Compares each with the one before, and the newest with one of a week
    /// before. Of a job with several datasets, only snapshots of the dataset of the newest one count. Blocks.
    ///
    /// A damaged snapshot does not stop the others: it is in `unread`, and the next one is compared with the last one that
    /// could be read. A snapshot that has been deleted meanwhile is no longer in `snapshots`.
    ///
    /// Messages of failures can quote values of rows. The page shows such messages only if this method was called with
    /// options that show all values.
    ///
    /// # Errors
    /// Those of [`SnapshotData::read`] that are not about the files of one snapshot. [`Error::UnmatchedPath`] for a path of
    /// the mask that leads to no value in any of the snapshots, and [`Error::Usage`] for a dropped column that none of them
    /// has.
    pub fn read_data(
        &mut self,
        most: usize,
        storage: &StorageOptions,
        options: &ReportOptions,
    ) -> Result<()> {
        self.read_rows(most, storage, options)?;
        Self::require_found(std::slice::from_ref(self), options)
    }

    /// Refuses a path of the mask and a dropped column that are in no snapshot of these jobs.
    ///
    /// # Errors
    /// [`Error::UnmatchedPath`] and [`Error::Usage`].
    pub(crate) fn require_found(jobs: &[Self], options: &ReportOptions) -> Result<()> {
        SnapshotData::require_found(jobs.iter().flat_map(|job| &job.data), options)
    }

    /// Does the same as [`read_data`](Self::read_data), for one of several jobs: not each of them needs to have each masked
    /// path and each dropped column.
    pub(crate) fn read_rows(
        &mut self,
        most: usize,
        storage: &StorageOptions,
        options: &ReportOptions,
    ) -> Result<()> {
        self.shows_values = options.rows > 0 && options.mask.is_empty() && options.drop.is_empty();
        let dataset = self.snapshots.last().map(|newest| newest.dataset);
        let own = self.snapshots.iter().filter(|it| Some(it.dataset) == dataset);
        let own: Vec<&StoredSnapshot> = own.collect();
        let newest = own.last().map(|it| it.stamp);
        let options = &ReportOptions { rows: options.rows.min(CHANGED_ROWS), ..options.clone() };
        let (mut places, mut stamps) = (Vec::<Location>::new(), Vec::<Stamp>::new());
        let mut deleted = Vec::new();
        (self.data, self.unread) = (Vec::new(), Vec::new());
        (self.last_change, self.week_change) = (None, None);
        for snapshot in own.into_iter().rev().take(most).rev() {
            let (stamp, place) = (snapshot.stamp, Location::of(&snapshot.location, storage)?);
            let read = |before| {
                let taken = (stamp.time(), &place);
                match before {
                    Some(before) if Some(stamp) == newest => {
                        SnapshotData::read_with_rows(taken, before, options)
                            .map(|(data, changes)| (data, Some(changes)))
                    }
                    before => SnapshotData::read(taken, before, options).map(|data| (data, None)),
                }
            };
            let found = match (read(places.last()), stamps.last()) {
                // The files of the snapshot before have changed since they were read.
                (Err(error), Some(before)) if names(&error, *before) => read(None),
                (found, _) => found,
            };
            match found {
                Ok((mut data, changes)) => {
                    data.location.clone_from(&snapshot.location);
                    let (from, to) = (self.data.len().saturating_sub(1), self.data.len());
                    self.data.push(data);
                    self.last_change = changes.map(|seen| self.change(from, to, seen));
                    places.push(place);
                    stamps.push(stamp);
                }
                // Retention has deleted it meanwhile.
                Err(_) if place.as_local().is_some_and(|folder| !folder.exists()) => {
                    deleted.push(snapshot.location.clone());
                }
                Err(error) if is_damage(&error, stamp) => {
                    // Each request to a store that is down takes its time limit.
                    let is_last = matches!(error, Error::Store { .. });
                    self.unread.push(UnreadSnapshot { stamp, error: Failure::new(&error) });
                    if is_last {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.snapshots.retain(|it| !deleted.contains(&it.location));
        self.week_change = self.read_week(&places, &stamps, options)?;
        Ok(())
    }

    /// Compares the newest snapshot with the newest one that is at least a week older, or else with the oldest one. `None`
    /// if this is the last change.
    fn read_week(
        &self,
        places: &[Location],
        stamps: &[Stamp],
        options: &ReportOptions,
    ) -> Result<Option<NightsChange>> {
        let Some(to) = self.data.len().checked_sub(1) else { return Ok(None) };
        let Some(week_ago) = self.data.get(to).map(|newest| newest.taken_at - WEEK) else {
            return Ok(None);
        };
        let from = self.data.iter().rposition(|it| it.taken_at <= week_ago).unwrap_or(0);
        let is_last_change = self.last_change.as_ref().is_some_and(|it| it.from == from);
        let (Some(before), Some(after), false) =
            (places.get(from), places.get(to), from == to || is_last_change)
        else {
            return Ok(None);
        };
        match SnapshotData::changes(before, after, options) {
            Ok(seen) => Ok(Some(self.change(from, to, seen))),
            // The snapshots were read before: a file has just changed. The other comparisons remain.
            Err(error) if stamps.iter().any(|stamp| is_damage(&error, *stamp)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all errors of the job's files, the one of the job first.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        let damaged = self.damaged.iter().chain(&self.damaged_earlier).map(|it| {
            let why = format!("it {}", it.why);
            Failure::new(&Error::Damaged { path: it.location.clone().into(), why })
        });
        let unread = self.unread.iter().map(|it| it.error.clone());
        self.problem.iter().cloned().chain(damaged).chain(unread).collect()
    }

    fn change(&self, from: usize, to: usize, mut seen: ChangesSeen) -> NightsChange {
        // Snapshots of two jobs can have one name.
        if let Some(before) = self.data.get(from) {
            seen.before = self.below_root(&before.location);
        }
        NightsChange { from, to, seen }
    }

    /// Returns the path of a snapshot below the root. The page does not say where the root is.
    pub(super) fn below_root(&self, location: &str) -> String {
        let job = &self.job;
        match location.trim_end_matches('/').rsplit_once(&format!("/{job}/")) {
            Some((_, path)) => format!("{job}/{path}"),
            None => location.rsplit('/').next().unwrap_or(location).to_owned(),
        }
    }

    /// Returns the last run that was neither interrupted nor locked out: those say nothing about the job.
    pub(crate) fn last_ended(&self) -> Option<&JobResult> {
        self.runs.iter().rev().find(|run| !run.was_interrupted() && !run.was_locked_out())
    }

    /// Returns the last of these runs whose time can be right.
    pub(crate) fn last_dated(&self, now: DateTime<Utc>) -> Option<&JobResult> {
        let ended = |run: &&JobResult| !run.was_interrupted() && !run.was_locked_out();
        self.runs.iter().rev().filter(ended).find(|run| Self::dated(run, now).is_some())
    }

    /// Returns the start of a run; `None` if its time cannot be right: it is none, in the future, or before this century.
    pub(super) fn dated(run: &JobResult, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let start = Self::start(run)?;
        let is_possible = start.year() >= FIRST_YEAR && start - now <= CLOCKS;
        is_possible.then_some(start)
    }

    /// Returns the number of datasets that have snapshots, but not the newest one.
    pub(super) fn other_datasets(&self) -> u64 {
        let datasets: BTreeSet<Uuid> = self.snapshots.iter().map(|it| it.dataset).collect();
        (datasets.len() as u64).saturating_sub(1)
    }

    /// Returns the start of a run; `None` if its time is not one.
    pub(super) fn start(run: &JobResult) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&run.started_at).ok().map(|time| time.to_utc())
    }
}

/// Finds the root of snapshots and the jobs that a path means: all jobs of a root, or the job of a folder in it. `None`
/// if the path is neither.
///
/// # Errors
/// [`Error::Io`] or [`Error::Store`] when a folder cannot be read.
pub fn snapshot_jobs(place: &Location) -> Result<Option<(Location, Vec<String>)>> {
    if place.as_local().is_some_and(|path| !path.is_dir()) {
        return Ok(None);
    }
    // `.` and `..` have no name, which says whether they are the folder of a job.
    let named = match place.as_local().filter(|path| path.file_name().is_none()) {
        Some(path) => Location::from(path.canonicalize().map_err(Error::io("read", path))?),
        None => place.clone(),
    };
    let place = &named;
    let jobs = stored_jobs(place)?;
    if !jobs.is_empty() {
        return Ok(Some((place.clone(), jobs)));
    }
    let (Some(root), name) = (place.parent(), place.name()) else { return Ok(None) };
    let is_job = !name.is_empty() && stored_jobs(&root)?.contains(&name);
    Ok(is_job.then(|| (root, vec![name])))
}

/// Reads the runs of jobs. A job that cannot be read has a problem.
///
/// # Errors
/// The first error when no job can be read.
pub(crate) fn read_jobs(
    jobs: &[String],
    mut read: impl FnMut(&str) -> Result<JobNights>,
) -> Result<Vec<JobNights>> {
    let (mut nights, mut first) = (Vec::new(), None);
    for job in jobs {
        nights.push(read(job).unwrap_or_else(|error| {
            let unreadable = JobNights::unreadable(job, &error);
            first.get_or_insert(error);
            unreadable
        }));
    }
    match first {
        Some(error) if nights.iter().all(|it| it.problem.is_some()) => Err(error),
        _ => Ok(nights),
    }
}

impl Report {
    /// Reads the histories of all jobs below a root of snapshots, or of the job of a folder in it, and makes a report of
    /// their runs as of now. Needs no configuration. Blocks.
    ///
    /// A job that cannot be read does not stop the others: the page names the error.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the place is not a root of snapshots, and the first error of [`JobNights::read`] when no job
    /// can be read.
    pub fn nights(place: &Location) -> Result<Self> {
        let Some((root, jobs)) = snapshot_jobs(place)? else {
            let why = format!("it is not a root of snapshots: it has no folder {HIDDEN}");
            return Err(Error::invalid("root of snapshots", place.to_string(), why));
        };
        let nights =
            read_jobs(&jobs, |job| JobNights::read_within(&root, job, history_limit(jobs.len())))?;
        Ok(Self::of_nights(&place.name(), &nights, SystemClock.now()))
    }

    /// Makes a report of the runs of jobs as of this time. Reads nothing.
    pub fn of_nights(title: &str, jobs: &[JobNights], as_of: DateTime<Utc>) -> Self {
        Self { html: page::nights::render(title, jobs, as_of, false).into_string(), rows: 0 }
    }

    /// Does the same for a page that a server makes again when it is loaded again.
    pub(crate) fn of_live_nights(title: &str, jobs: &[JobNights], as_of: DateTime<Utc>) -> Self {
        Self { html: page::nights::render(title, jobs, as_of, true).into_string(), rows: 0 }
    }
}
