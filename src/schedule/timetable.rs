//! Computes when a job runs, from five cron fields and a time zone. Handles daylight saving time, and never
//! reads the clock itself.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use twox_hash::XxHash3_64;

use crate::config::{Job, Schedule};
#[cfg(feature = "report")]
use crate::{report::MOST_MISSED, snapshots::JobResult};

/// Largest number of times per day for which a list counts as fixed times. A longer list counts as an
/// interval.
const FIXED_TIMES: usize = 48;
/// Longest time to the next run: nine years, because two leap days can be eight years apart.
const HORIZON: TimeDelta = TimeDelta::days(366 * 9);
/// Longest time by which a run begins before its scheduled time, by the clock of another program such as a timer: 5 min.
#[cfg(feature = "report")]
const EARLY: TimeDelta = TimeDelta::minutes(5);

/// The scheduled times of one job.
///
/// Each fixed time gives one run a day, also when daylight saving time begins or ends. If the clock skips the
/// time in spring, the job runs right after the gap. If the time occurs twice in autumn, the job runs at the
/// first occurrence. Two times that the gap moves to the same moment give one run.
///
/// A schedule whose minute or hour begins with a star (`*/15 * * * *`, `0 * * * *`) is an interval, and so is one
/// with more than 48 times a day. Intervals follow the hours that really pass, not the clock.
///
/// ```
/// use std::time::Duration;
/// use overmind_export::{Schedule, chrono_tz::Europe::London, schedule::Timetable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let schedule: Schedule = "30 2 * * mon-fri".parse()?;
/// let nights = Timetable::new("triage-eval", &schedule, London, Duration::ZERO);
/// let next = nights.next_after("2026-11-20T12:00:00Z".parse()?).expect("there is one");
/// assert_eq!(next.scheduled.to_rfc3339(), "2026-11-23T02:30:00+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Timetable {
    /// One pattern, or one for each time of day if the schedule lists several fixed times.
    crons: Vec<Cron>,
    text: String,
    zone: Tz,
    jitter: Duration,
    seed: u64,
}

/// One run of a [`Timetable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slot {
    /// The time in the schedule, without jitter.
    pub scheduled: DateTime<Utc>,
    /// The start of the run: `scheduled` plus the jitter of this run.
    pub starts: DateTime<Utc>,
}

impl PartialEq for Timetable {
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.text.clone(), it.zone, it.jitter, it.seed);
        key(self) == key(other)
    }
}

impl Timetable {
    /// Creates the times of the job with this name, in this time zone.
    ///
    /// Each run starts up to `jitter` later than scheduled. The delay is a hash of the job's name and the
    /// scheduled time, so that a restart neither repeats nor moves a run. The delay always ends before the next
    /// scheduled time.
    pub fn new(job: &str, schedule: &Schedule, zone: Tz, jitter: Duration) -> Self {
        let schedule = schedule.cron();
        let crons = fixed_times(schedule).unwrap_or_else(|| vec![schedule.clone()]);
        let text = schedule.pattern.as_str().to_owned();
        let seed = XxHash3_64::oneshot(job.as_bytes());
        Self { crons, text, zone, jitter, seed }
    }

    /// Returns the times of a job of the configuration file; `None` for a job without a schedule.
    pub fn of(job: &Job) -> Option<Self> {
        let schedule = job.schedule.as_ref()?;
        Some(Self::new(&job.name, schedule, job.timezone, job.jitter))
    }

    /// Returns the time zone of the schedule.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Returns the first run that is scheduled after this time; `None` if there is none within nine years.
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<Slot> {
        let scheduled = self.scheduled_after(time)?;
        let span = (self.scheduled_after(scheduled))
            .and_then(|next| (next - scheduled).to_std().ok())
            .map_or(self.jitter, |span| {
                self.jitter.min(span.saturating_sub(Duration::from_secs(1)))
            });
        let share = XxHash3_64::oneshot_with_seed(self.seed, &scheduled.timestamp().to_le_bytes());
        let delay = share % (span.as_secs() + 1);
        let delay = TimeDelta::try_seconds(i64::try_from(delay).ok()?)?;
        Some(Slot { scheduled, starts: scheduled.checked_add_signed(delay)? })
    }

    /// Returns all runs that are scheduled after this time. The iterator ends only if no run follows within nine
    /// years.
    pub fn after(&self, time: DateTime<Utc>) -> impl Iterator<Item = Slot> + '_ {
        std::iter::successors(self.next_after(time), |slot| self.next_after(slot.scheduled))
    }

    /// Returns the times after the start of a run at which the next runs should have begun, and ended by now: at most
    /// 1,001, which means that there are more than 1,000. Each run may take twice as long as that one, and at least a quarter of an hour.
    #[cfg(feature = "report")]
    pub(crate) fn missed_since(&self, run: &JobResult, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        const LEAST: TimeDelta = TimeDelta::minutes(15);
        let Ok(start) = run.started_at.parse::<DateTime<Utc>>() else { return Vec::new() };
        let took = TimeDelta::try_seconds((2.0 * run.seconds) as i64).unwrap_or(LEAST).max(LEAST);
        let starts = self.after(start).map(|slot| slot.starts);
        starts.take_while(|starts| now - *starts > took).take(MOST_MISSED + 1).collect()
    }

    /// Returns the times between earlier runs at which no run began, oldest first. A run makes up for the last time before
    /// it. Empty if most of the times were missed: then the runs followed another schedule.
    #[cfg(feature = "report")]
    pub(crate) fn missed_between(&self, runs: &[JobResult]) -> Vec<DateTime<Utc>> {
        // A month of nights. More missed times than runs say that the runs followed another schedule.
        const RUNS: usize = 30;
        let runs = runs.get(runs.len().saturating_sub(RUNS)..).unwrap_or_default();
        let time = |text: &str| text.parse::<DateTime<Utc>>().ok();
        let runs = runs.iter();
        let runs = runs.filter_map(|run| Some((time(&run.started_at)?, time(&run.finished_at)?)));
        let runs: Vec<_> = runs.collect();
        let mut missed = Vec::new();
        for pair in runs.windows(2) {
            let [(before, ended), (after, _)] = *pair else { continue };
            let mut slots = self.after(before);
            let (Some(first), Some(second)) = (slots.next(), slots.next()) else { continue };
            let early = EARLY.min((second.scheduled - first.scheduled) / 4);
            let between = self.after(before).map(|slot| slot.starts);
            let between = between.take_while(|at| *at <= after + early).take(RUNS + 1);
            // Times during a run are not missed: the job runs once more after it.
            let mut between: Vec<_> =
                between.filter(|at| *at > (before + early).max(ended)).collect();
            between.pop();
            missed.extend(between);
            if missed.len() * 2 > runs.len() {
                return Vec::new();
            }
        }
        missed
    }

    /// Returns the starts of the next runs that a page about the job shows.
    #[cfg(feature = "report")]
    pub(crate) fn next_starts(&self, time: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        const SHOWN: usize = 5;
        self.after(time).take(SHOWN).map(|slot| slot.starts).collect()
    }

    /// Returns the longest time between two runs, jitter included. `None` if the next run, or the run after it, is
    /// more than nine years away.
    ///
    /// It looks at the next 13 intervals, which cover the months of a year, and at all intervals of the next eight
    /// days, which cover a weekend.
    pub fn longest_interval(&self, time: DateTime<Utc>) -> Option<Duration> {
        const INTERVALS: usize = 13;
        const DAYS: TimeDelta = TimeDelta::days(8);
        let first = self.scheduled_after(time)?;
        let runs = std::iter::successors(Some(first), |run| self.scheduled_after(*run));
        let runs = runs.enumerate();
        let runs = runs.take_while(|(index, run)| *index <= INTERVALS || *run - first <= DAYS);
        let (mut longest, mut before) = (TimeDelta::zero(), first);
        for (_, run) in runs {
            longest = longest.max(run - before);
            before = run;
        }
        let longest = longest.to_std().ok().filter(|longest| !longest.is_zero());
        longest.map(|longest| longest + self.jitter)
    }

    fn scheduled_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = time.with_timezone(&self.zone);
        let next = |cron: &Cron| cron.find_next_occurrence(&local, false).ok();
        let next = self.crons.iter().filter_map(next).min()?.with_timezone(&Utc);
        (next - time <= HORIZON).then_some(next)
    }
}

/// Splits a list of fixed times into one pattern per time of day; `None` for other schedules.
///
/// The cron library handles daylight saving time only in a pattern with a single time: it moves a skipped
/// time, and runs a repeated time once.
fn fixed_times(cron: &Cron) -> Option<Vec<Cron>> {
    let pattern = &cron.pattern;
    let fields: Vec<&str> = pattern.as_str().split_whitespace().collect();
    let [minute, hour, days @ ..] = fields.as_slice() else { return None };
    if minute.starts_with('*') || hour.starts_with('*') {
        return None;
    }
    let (minutes, hours) = (pattern.minutes.values(), pattern.hours.values());
    if !(2..=FIXED_TIMES).contains(&(minutes.len() * hours.len())) {
        return None;
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let days = days.join(" ");
    let times = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (hour, minute)));
    times.map(|(hour, minute)| parser.parse(&format!("{minute} {hour} {days}")).ok()).collect()
}

#[cfg(test)]
mod tests;
