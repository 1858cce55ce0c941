//! When a job runs: five cron fields on the clock of its time zone, each run once across daylight
//! saving; never looks at the clock itself.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use twox_hash::XxHash3_64;

use crate::config::{Job, Schedule};

/// Times of a day up to which a list is taken for fixed times; more of them are an interval.
const FIXED_TIMES: usize = 48;
/// The span between two runs that the longest sensible schedule, a leap day, still has.
const HORIZON: TimeDelta = TimeDelta::days(366 * 9);

/// The times of one job.
///
/// Fixed times run once a day whatever the clock does: in spring, a time that the clock leaves out
/// runs when the clock has moved on; in autumn, a time that comes twice runs the first time. Times
/// that begin with a star (`*/15 * * * *`, `0 * * * *`) are intervals and follow the hours that pass.
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
    /// One, or one for each time of day of a list of fixed times.
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
    /// The time that the schedule names.
    pub scheduled: DateTime<Utc>,
    /// When it starts: `scheduled` and the job's share of the jitter.
    pub starts: DateTime<Utc>,
}

impl PartialEq for Timetable {
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.text.clone(), it.zone, it.jitter, it.seed);
        key(self) == key(other)
    }
}

impl Timetable {
    /// The times of the job of this name, on the clock of this zone. Each run starts up to `jitter`
    /// later: by how much is a function of the job's name and the time, so that a restart neither
    /// repeats nor moves a run, and it never reaches the next run.
    pub fn new(job: &str, schedule: &Schedule, zone: Tz, jitter: Duration) -> Self {
        let schedule = schedule.cron();
        let crons = fixed_times(schedule).unwrap_or_else(|| vec![schedule.clone()]);
        let text = schedule.pattern.as_str().to_owned();
        let seed = XxHash3_64::oneshot(job.as_bytes());
        Self { crons, text, zone, jitter, seed }
    }

    /// The times of a job of the configuration file; `None` if it is only run by hand.
    pub fn of(job: &Job) -> Option<Self> {
        let schedule = job.schedule.as_ref()?;
        Some(Self::new(&job.name, schedule, job.timezone, job.jitter))
    }

    /// The zone whose clock it goes by.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first run that the schedule names after this time; `None` when there is none in years.
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

    /// The runs after this time, without end.
    pub fn after(&self, time: DateTime<Utc>) -> impl Iterator<Item = Slot> + '_ {
        std::iter::successors(self.next_after(time), |slot| self.next_after(slot.scheduled))
    }

    fn scheduled_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = time.with_timezone(&self.zone);
        let next = |cron: &Cron| cron.find_next_occurrence(&local, false).ok();
        let next = self.crons.iter().filter_map(next).min()?.with_timezone(&Utc);
        (next - time <= HORIZON).then_some(next)
    }
}

/// The times of day that the schedule lists, each as a schedule of its own: only such a one is moved
/// over the hour that a clock leaves out, and runs once in the hour that comes twice.
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
