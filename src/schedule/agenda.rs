//! Decides which jobs are due at a given time. It has no clock, task or file of its own.
//!
//! A job never overlaps itself. One run makes up for all missed runs, whatever the reason was.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Slot, Timetable};

/// Largest delay with which a run still counts as on time. It matters for jobs without `catch_up`.
const LATE: TimeDelta = TimeDelta::minutes(5);
/// Largest backward clock change that keeps the record of past runs, so that repeated hours repeat no run.
/// A larger change means that the old time was wrong. Planning then restarts at the new time.
const CLOCK_SET_BACK: TimeDelta = TimeDelta::hours(3);
/// Largest number of missed runs to count, because they are counted one by one.
const COUNTED: usize = 1000;

/// A job and its timetable. `J` is the data that the runner needs for the job.
#[derive(Debug, Clone)]
pub struct AgendaEntry<J> {
    /// The job's unique name, which identifies it across reloads.
    pub name: String,
    /// The job's timetable.
    pub timetable: Timetable,
    /// Whether one run makes up for the runs that were missed during downtime.
    pub catch_up: bool,
    /// The runner's data for the job.
    pub job: J,
}

/// An event that [`Agenda::due`] reports.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AgendaEvent<J> {
    /// Start this job now. The job counts as running until [`Agenda::ended`].
    Start { name: String, job: J, slot: Slot, missed: u64 },
    /// The job is due, but its last run has not ended. It will run once after that run.
    Busy { name: String, slot: Slot, since: DateTime<Utc> },
    /// The job was due too long ago and has no `catch_up`. Its runs are skipped.
    Missed { name: String, slot: Slot, missed: u64 },
}

#[derive(Debug)]
struct JobLine<J> {
    entry: AgendaEntry<J>,
    /// All runs scheduled up to this time are done or skipped.
    after: DateTime<Utc>,
    next: Option<Slot>,
    /// Whether the next run waits for an active run, of this job or of others. Its delay is then no downtime.
    waits: bool,
}

#[derive(Debug)]
pub(super) struct Agenda<J> {
    lines: Vec<JobLine<J>>,
    /// Start times by job name. Not part of `lines`, because a reload can drop a running job and add it again.
    running: BTreeMap<String, DateTime<Utc>>,
    side_by_side: usize,
}

impl<J> JobLine<J> {
    fn new(entry: AgendaEntry<J>, after: DateTime<Utc>) -> Self {
        let next = entry.timetable.next_after(after);
        Self { entry, after, next, waits: false }
    }

    fn deal_with(&mut self, until: DateTime<Utc>) {
        self.after = until;
        self.next = self.entry.timetable.next_after(until);
        self.waits = false;
    }

    /// Returns the number of runs that are due, and the last of them.
    fn overdue(&self, first: Slot, now: DateTime<Utc>) -> (u64, Slot) {
        // After a reload the first run can be older than the timetable.
        let since = first.scheduled.max(self.after);
        let due = self.entry.timetable.after(since).take_while(|slot| slot.starts <= now);
        due.take(COUNTED).fold((1, first), |(count, _), slot| (count + 1, slot))
    }
}

impl<J: Clone> Agenda<J> {
    pub(super) fn new(side_by_side: usize) -> Self {
        Self { lines: Vec::new(), running: BTreeMap::new(), side_by_side: side_by_side.max(1) }
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.entry.name == name)
    }

    /// Replaces the jobs. `last_runs` contains the start of the last run of each new job.
    pub(super) fn replace(
        &mut self,
        entries: Vec<AgendaEntry<J>>,
        now: DateTime<Utc>,
        last_runs: &BTreeMap<String, DateTime<Utc>>,
    ) {
        let before = std::mem::take(&mut self.lines);
        self.lines = entries
            .into_iter()
            .map(|entry| {
                match before.iter().find(|line| line.entry.name == entry.name) {
                    Some(line) if line.entry.timetable == entry.timetable => {
                        let waits = line.waits;
                        JobLine { waits, ..JobLine::new(entry, line.after) }
                    }
                    // The new timetable begins now, so its past times do not count as missed. A run of the
                    // old timetable still starts if it only waits for its jitter or for an active run.
                    Some(line) => {
                        let owed = line.next.filter(|slot| slot.scheduled <= now);
                        let new = JobLine::new(entry, line.after.max(now));
                        JobLine {
                            next: owed.or(new.next),
                            waits: owed.is_some() && line.waits,
                            ..new
                        }
                    }
                    None => {
                        let last = last_runs.get(&entry.name).filter(|_| entry.catch_up);
                        let since = self.running.get(&entry.name).max(last).copied();
                        JobLine::new(entry, since.unwrap_or(now))
                    }
                }
            })
            .collect();
    }

    /// Returns the events up to now, in the order of their due times.
    pub(super) fn due(&mut self, now: DateTime<Utc>) -> Vec<AgendaEvent<J>> {
        let mut events = Vec::new();
        for line in &mut self.lines {
            if line.after > now + CLOCK_SET_BACK {
                line.deal_with(now);
            }
        }
        self.lines.sort_by_key(|line| line.next.map(|slot| slot.starts));
        for line in &mut self.lines {
            let Some(slot) = line.next.filter(|slot| slot.starts <= now) else { continue };
            let name = line.entry.name.clone();
            if let Some(since) = self.running.get(&name) {
                if !line.waits {
                    line.waits = true;
                    events.push(AgendaEvent::Busy { name, slot, since: *since });
                }
                continue;
            }
            let (count, last) = line.overdue(slot, now);
            let on_time = now - last.starts <= LATE;
            if !(on_time || line.waits || line.entry.catch_up) {
                line.deal_with(now);
                events.push(AgendaEvent::Missed { name, slot: last, missed: count });
                continue;
            }
            if self.running.len() >= self.side_by_side {
                line.waits = true;
                continue;
            }
            line.deal_with(now);
            self.running.insert(name.clone(), now);
            let job = line.entry.job.clone();
            events.push(AgendaEvent::Start { name, job, slot: last, missed: count - 1 });
        }
        events
    }

    pub(super) fn ended(&mut self, name: &str) {
        self.running.remove(name);
    }

    /// Returns the next run of each job, soonest first.
    pub(super) fn upcoming(&self) -> Vec<(&AgendaEntry<J>, Slot)> {
        let mut next: Vec<_> =
            self.lines.iter().filter_map(|line| Some((&line.entry, line.next?))).collect();
        next.sort_by_key(|(_, slot)| slot.starts);
        next
    }

    /// Returns when the next job is due. Jobs that wait for an active run do not count.
    pub(super) fn wakes(&self) -> Option<DateTime<Utc>> {
        let waiting = |line: &&JobLine<J>| !line.waits;
        self.lines.iter().filter(waiting).filter_map(|line| Some(line.next?.starts)).min()
    }
}

#[cfg(test)]
mod tests;
