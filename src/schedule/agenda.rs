//! What is due: a state over jobs and a given time, without a clock, a task or a file of its own.
//!
//! A job never overlaps itself. What was missed, for whatever reason, is made up for by one run.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Slot, Timetable};

/// How late a run may start and still count as on time, where nothing is caught up.
const LATE: TimeDelta = TimeDelta::minutes(5);
/// A clock that goes back by more was wrong, and what it said no longer counts; by less, and the runs
/// of the hours that come again have been.
const CLOCK_SET_BACK: TimeDelta = TimeDelta::hours(3);
/// Missed runs that are counted one by one.
const COUNTED: usize = 1000;

/// A job and when it runs. `J` is what the runner needs to know of it.
#[derive(Debug, Clone)]
pub struct AgendaEntry<J> {
    /// Its name, which tells it from the others and is kept across reloads.
    pub name: String,
    /// When it runs.
    pub timetable: Timetable,
    /// Whether one run makes up for those that were missed while nothing ran here.
    pub catch_up: bool,
    /// What the runner gets.
    pub job: J,
}

/// What [`Agenda::due`] has found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AgendaEvent<J> {
    /// Start this now; it counts as running until [`Agenda::ended`].
    Start { name: String, job: J, slot: Slot, missed: u64 },
    /// It is due, and its last run has not ended: it will run once after that.
    Busy { name: String, slot: Slot, since: DateTime<Utc> },
    /// It was due too long ago, and catches nothing up.
    Missed { name: String, slot: Slot, missed: u64 },
}

#[derive(Debug)]
struct JobLine<J> {
    entry: AgendaEntry<J>,
    /// What the schedule names up to here has been dealt with.
    after: DateTime<Utc>,
    next: Option<Slot>,
    /// Kept from starting by a run, its own or others: late through no downtime.
    waits: bool,
}

#[derive(Debug)]
pub(super) struct Agenda<J> {
    lines: Vec<JobLine<J>>,
    /// By name and not by line: a job may leave the file and come back while it runs.
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

    /// How many runs were due by now, and the last of them.
    fn overdue(&self, first: Slot, now: DateTime<Utc>) -> (u64, Slot) {
        // After a reload the first may be older than the timetable.
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

    /// Takes these jobs for those it had. `last_runs` has when jobs that are new here last began.
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
                    // The new times begin now: those of them that have passed were never missed. A run
                    // of the old ones that only waits for its jitter or for a run to end still comes.
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

    /// Everything that happens by now, in the order in which it was due.
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

    /// The next start of each job, soonest first.
    pub(super) fn upcoming(&self) -> Vec<(&AgendaEntry<J>, Slot)> {
        let mut next: Vec<_> =
            self.lines.iter().filter_map(|line| Some((&line.entry, line.next?))).collect();
        next.sort_by_key(|(_, slot)| slot.starts);
        next
    }

    /// When [`due`](Self::due) may have something new to say; what waits for a run is not it.
    pub(super) fn wakes(&self) -> Option<DateTime<Utc>> {
        let waiting = |line: &&JobLine<J>| !line.waits;
        self.lines.iter().filter(waiting).filter_map(|line| Some(line.next?.starts)).min()
    }
}

#[cfg(test)]
mod tests;
