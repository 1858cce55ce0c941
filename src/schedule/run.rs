//! The loop: waits for what is due, starts it, and listens; never knows what a run does.
//!
//! ```text
//! reload, stop ─► ┌──────┐ ◄─ time, in short steps against the wall clock
//!                 │ loop │ ── starts ─► runner (one task a run) ──┐
//!                 └──────┘ ◄──────────── ended ───────────────────┘
//! ```

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{
    select,
    sync::mpsc,
    task::{self, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Entry, Slot,
    agenda::{Agenda, Event},
    metrics::Metrics,
};

/// The longest sleep. A clock that is set, or a machine that was suspended, is noticed after it.
const STEP: Duration = Duration::from_secs(30);
/// The shortest, for a timer that fires a moment early by the wall clock.
const TICK: Duration = Duration::from_millis(5);

/// What the wall clock says.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What a schedule starts.
pub trait Runner: Send + Sync + 'static {
    /// What it needs to know of a job.
    type Job: Clone + Send + 'static;

    /// Runs the job to its end, whatever that is: it tells of it by itself. Once `stop` is cancelled it
    /// has a few seconds to end in a state that the next run continues.
    fn run(
        &self,
        job: Self::Job,
        slot: Slot,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;

    /// When the job's last run began that came to an end of its own; `None` if there was none.
    fn last_run(&self, job: &Self::Job) -> Option<DateTime<Utc>>;
}

/// What a running schedule is told.
#[derive(Debug)]
pub enum Order<J> {
    /// Go on with these jobs, and this many of them side by side.
    Reload(Vec<Entry<J>>, usize),
    /// Start nothing more, end what runs within this time, and return.
    Stop(Duration),
}

/// Jobs that run at their times until told to stop.
pub struct Schedule<R: Runner> {
    runner: Arc<R>,
    clock: Clock,
    metrics: Arc<Metrics>,
    agenda: Agenda<R::Job>,
    stop: CancellationToken,
    runs: JoinSet<()>,
    names: HashMap<task::Id, String>,
}

impl<R: Runner> Schedule<R> {
    /// A schedule of these jobs, of which up to `side_by_side` run at once.
    pub fn new(
        runner: Arc<R>,
        clock: Clock,
        metrics: Arc<Metrics>,
        entries: Vec<Entry<R::Job>>,
        side_by_side: usize,
    ) -> Self {
        let mut agenda = Agenda::new(side_by_side);
        agenda.replace(entries, side_by_side, clock(), |job| runner.last_run(job));
        let (stop, runs, names) = (CancellationToken::new(), JoinSet::new(), HashMap::new());
        Self { runner, clock, metrics, agenda, stop, runs, names }
    }

    /// Runs until an order to stop, or until nobody is left to give one. `false` says that a run did
    /// not end in the time that the order gave, and was dropped.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order<R::Job>>) -> bool {
        self.announce();
        loop {
            self.start_what_is_due();
            let nap = self.nap();
            select! {
                order = orders.recv() => match order {
                    Some(Order::Reload(entries, side_by_side)) => self.reload(entries, side_by_side),
                    Some(Order::Stop(grace)) => return self.end(grace).await,
                    None => return self.end(Duration::ZERO).await,
                },
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                () = sleep(nap) => {}
            }
        }
    }

    fn start_what_is_due(&mut self) {
        let now = (self.clock)();
        self.metrics.alive();
        for event in self.agenda.due(now) {
            match event {
                Event::Start { name, job, slot, missed } => self.start(name, job, slot, missed),
                Event::Busy { name, slot, since } => tracing::warn!(
                    job = name, scheduled = %slot.scheduled, running_since = %seconds(since),
                    "due, but the last run has not ended: it will run once after that"
                ),
                Event::Missed { name, slot, missed } => tracing::warn!(
                    job = name, missed, last = %slot.scheduled,
                    "missed, and not caught up: catch_up is false"
                ),
            }
        }
        self.metrics.next(
            self.agenda.upcoming().iter().map(|(entry, slot)| (entry.name.as_str(), slot.starts)),
        );
    }

    fn start(&mut self, name: String, job: R::Job, slot: Slot, missed: u64) {
        let late = (self.clock)() - slot.starts;
        let late = late.to_std().unwrap_or_default().as_secs();
        if missed > 0 {
            tracing::warn!(job = name, missed, "earlier runs were missed: this one stands for all");
        }
        tracing::info!(job = name, scheduled = %slot.scheduled, late_seconds = late, "run starts");
        let (runner, stop) = (self.runner.clone(), self.stop.clone());
        let handle = self.runs.spawn(async move { runner.run(job, slot, stop).await });
        self.names.insert(handle.id(), name);
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        if let Err(error) = ended {
            tracing::error!(job = name, %error, "the run stopped: this is a bug");
        }
        self.agenda.ended(&name);
        if let Some((_, slot)) = self.agenda.upcoming().iter().find(|(it, _)| it.name == name) {
            tracing::info!(job = name, at = %slot.starts, "next run");
        }
    }

    fn reload(&mut self, entries: Vec<Entry<R::Job>>, side_by_side: usize) {
        let runner = &self.runner;
        self.agenda.replace(entries, side_by_side, (self.clock)(), |job| runner.last_run(job));
        self.announce();
    }

    fn announce(&self) {
        let upcoming = self.agenda.upcoming();
        for (entry, slot) in &upcoming {
            let local = slot.starts.with_timezone(&entry.timetable.zone());
            tracing::info!(job = entry.name, at = %slot.starts, local = %local.to_rfc3339(), "next run");
        }
        if upcoming.is_empty() {
            tracing::warn!("no job has a schedule: nothing will run");
        }
    }

    /// How long until something may be due.
    fn nap(&self) -> Duration {
        let until = self.agenda.wakes().map(|at| at - (self.clock)());
        until.map_or(STEP, |until| until.to_std().unwrap_or_default()).clamp(TICK, STEP)
    }

    async fn end(mut self, grace: Duration) -> bool {
        self.stop.cancel();
        if !self.runs.is_empty() {
            tracing::info!(running = self.runs.len(), "stopping what runs");
        }
        let all = async { while self.runs.join_next().await.is_some() {} };
        let ended = timeout(grace, all).await.is_ok();
        if !ended {
            tracing::warn!(running = self.runs.len(), "did not end in time: left as if killed");
        }
        ended
    }
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests;
