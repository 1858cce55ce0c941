//! The scheduler's loop: waits for due jobs, starts them, and handles reloads and stops. It does not know
//! what a run does.
//!
//! ```text
//! reload, stop ─► ┌──────┐ ◄─ time, in short steps against the wall clock
//!                 │ loop │ ── starts ─► runner (one task per run) ┐
//!                 └──────┘ ◄──────────── ended ───────────────────┘
//! ```

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::{
    select,
    sync::mpsc,
    task::{self, JoinError, JoinSet},
    time::{sleep, timeout},
};

use super::{
    AgendaEntry, Slot,
    agenda::{Agenda, AgendaEvent},
    metrics::Metrics,
};
use crate::{
    clock::{Clock, text},
    snapshots::Stop,
    tasks::stopped,
};

/// Longest sleep of the loop. After a clock change or a suspension, the loop reacts within this time.
const STEP: Duration = Duration::from_secs(30);
/// Shortest sleep of the loop, because a timer can fire slightly early by the wall clock.
const TICK: Duration = Duration::from_millis(5);
/// Time limit for aborting runs. Aborting does not wait for their cleanup.
const DROP: Duration = Duration::from_secs(1);
/// Time limit for reading a job's history, because all jobs wait for it.
const HISTORY: Duration = Duration::from_secs(20);

/// Runs the jobs that a [`Scheduler`] starts.
pub trait Runner: Send + Sync + 'static {
    /// The data that the runner needs for a job.
    type Job: Clone + Send + Sync + 'static;

    /// Runs the job to its end and reports the result itself.
    ///
    /// After a request to stop, the run has a few seconds to end in a state that the next run can resume.
    fn run(&self, job: Self::Job, slot: Slot, stop: Stop) -> impl Future<Output = ()> + Send;

    /// Returns the start of the job's last run that was not interrupted.
    ///
    /// If all runs were interrupted, returns a time before the first one. If there was no run, returns `None`.
    /// The scheduler calls this once for each job that is new to it.
    fn last_run(&self, job: &Self::Job) -> impl Future<Output = Option<DateTime<Utc>>> + Send;
}

/// Runs jobs at their scheduled times until a stop is requested.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::{sync::Arc, time::Duration};
/// use overmind_export::schedule::{AgendaEntry, Metrics, Runner, Scheduler, Slot, Timetable};
/// use overmind_export::{Stop, SystemClock, chrono::{DateTime, Utc}, chrono_tz::UTC};
///
/// struct Hello;
/// impl Runner for Hello {
///     type Job = &'static str;
///     async fn run(&self, job: &'static str, _: Slot, _: Stop) {
///         println!("hello, {job}");
///     }
///     async fn last_run(&self, _: &&'static str) -> Option<DateTime<Utc>> {
///         None
///     }
/// }
///
/// let cron = "0 2 * * *".parse().expect("a schedule");
/// let timetable = Timetable::new("night", &cron, UTC, Duration::ZERO);
/// let entry = AgendaEntry { name: "night".to_owned(), timetable, catch_up: true, job: "night" };
/// let (_reloads, receiver) = tokio::sync::mpsc::unbounded_channel();
/// let stop = Stop::default();
/// stop.request("SIGTERM", 15);
/// let metrics = Arc::new(Metrics::new());
/// let scheduler = Scheduler::new(Arc::new(Hello), Arc::new(SystemClock), metrics, 4);
/// assert!(scheduler.run(vec![entry], receiver, stop, async {}).await);
/// # }
/// ```
pub struct Scheduler<R: Runner> {
    runner: Arc<R>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    agenda: Agenda<R::Job>,
    runs: JoinSet<()>,
    names: HashMap<task::Id, String>,
    stop: Stop,
}

impl<R: Runner> Scheduler<R> {
    /// Creates a scheduler that runs up to `side_by_side` jobs at the same time.
    pub fn new(
        runner: Arc<R>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        side_by_side: usize,
    ) -> Self {
        let (runs, names) = (JoinSet::new(), HashMap::new());
        let agenda = Agenda::new(side_by_side);
        Self { runner, clock, metrics, agenda, runs, names, stop: Stop::default() }
    }

    /// Runs these jobs until `stop` is requested. Each message of `reloads` replaces the jobs.
    ///
    /// After the request no new run starts, and active runs may end until `grace` completes. `grace` is
    /// polled only after the request. Returns `false` if runs did not end in time and were aborted.
    pub async fn run(
        mut self,
        entries: Vec<AgendaEntry<R::Job>>,
        mut reloads: mpsc::UnboundedReceiver<Vec<AgendaEntry<R::Job>>>,
        stop: Stop,
        grace: impl Future<Output = ()>,
    ) -> bool {
        self.stop = stop.clone();
        self.take(entries).await;
        while !stop.is_requested() {
            self.start_what_is_due();
            let nap = self.nap();
            select! {
                _ = stop.wait() => {}
                Some(entries) = reloads.recv() => self.take(entries).await,
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                () = sleep(nap) => {}
            }
        }
        self.end(grace).await
    }

    async fn take(&mut self, entries: Vec<AgendaEntry<R::Job>>) {
        let (runner, agenda, now) = (&self.runner, &self.agenda, self.clock.now());
        let new = entries.iter().filter(|entry| !agenda.knows(&entry.name));
        let asked =
            new.map(async |entry| match timeout(HISTORY, runner.last_run(&entry.job)).await {
                Ok(last) => Some((entry.name.clone(), last?)),
                Err(_) => {
                    tracing::warn!(
                        job = entry.name,
                        "reading its history took too long: missed runs are not caught up"
                    );
                    self.metrics.known(&entry.name, now, None);
                    None
                }
            });
        let last_runs = select! {
            last_runs = join_all(asked) => last_runs.into_iter().flatten().collect(),
            // A stop must not wait for a store that does not answer.
            _ = self.stop.wait() => return,
        };
        self.metrics.retain(&entries.iter().map(|entry| entry.name.as_str()).collect());
        for entry in &entries {
            if let Some(interval) = entry.timetable.longest_interval(now) {
                self.metrics.expects(&entry.name, interval);
            }
        }
        self.agenda.replace(entries, self.clock.now(), &last_runs);
        self.publish();
        self.announce(None);
    }

    fn start_what_is_due(&mut self) {
        let now = self.clock.now();
        self.metrics.alive();
        for event in self.agenda.due(now) {
            match event {
                AgendaEvent::Start { name, job, slot, missed } => {
                    self.start(name, job, slot, missed)
                }
                AgendaEvent::Busy { name, slot, since } => tracing::warn!(
                    job = name, scheduled = %text(slot.scheduled), running_since = %text(since),
                    "due, but the last run has not ended: the job will run once after its end"
                ),
                AgendaEvent::Missed { name, slot, missed } => tracing::warn!(
                    job = name, missed, last = %text(slot.scheduled),
                    "missed runs are not caught up: catch_up is false"
                ),
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let upcoming = self.agenda.upcoming();
        let next = upcoming.iter().map(|(entry, slot)| (entry.name.as_str(), slot.starts));
        self.metrics.next(next);
    }

    fn start(&mut self, name: String, job: R::Job, slot: Slot, missed: u64) {
        let late = self.clock.now() - slot.starts;
        let late = late.to_std().unwrap_or_default().as_secs();
        if missed > 0 {
            tracing::warn!(
                job = name,
                missed,
                "earlier runs were missed: this run makes up for all of them"
            );
        }
        tracing::info!(job = name, scheduled = %text(slot.scheduled), late_seconds = late, "run starts");
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
            let error = stopped("the run", error);
            tracing::error!(job = name, error = %error.one_line(), "the run stopped");
        }
        self.agenda.ended(&name);
        self.announce(Some(&name));
    }

    /// Logs the next run of each job, or of one job. Runs that are already due are logged when they start.
    fn announce(&self, only: Option<&str>) {
        let upcoming = self.agenda.upcoming();
        if upcoming.is_empty() {
            tracing::warn!("no job has a schedule: nothing will run");
        }
        let now = self.clock.now();
        let wanted =
            |name: &str, slot: &Slot| only.is_none_or(|it| it == name) && slot.starts > now;
        for (entry, slot) in upcoming.iter().filter(|(entry, slot)| wanted(&entry.name, slot)) {
            let (job, at, zone) = (&entry.name, text(slot.starts), entry.timetable.zone());
            let local = slot.starts.with_timezone(&zone).format("%a %H:%M %Z");
            tracing::info!(job, %at, %local, "next run");
        }
    }

    /// Returns how long the loop sleeps: until the next job is due, limited by `TICK` and `STEP`.
    fn nap(&self) -> Duration {
        let until = self.agenda.wakes().map(|at| at - self.clock.now());
        until.map_or(STEP, |until| until.to_std().unwrap_or_default()).clamp(TICK, STEP)
    }

    async fn end(mut self, grace: impl Future<Output = ()>) -> bool {
        if !self.runs.is_empty() {
            tracing::info!(running = self.runs.len(), "stopping the active runs");
        }
        let ended = select! {
            () = async { while self.runs.join_next().await.is_some() {} } => true,
            () = grace => self.runs.is_empty(),
        };
        if !ended {
            tracing::warn!(running = self.runs.len(), "runs did not end in time and were aborted");
            // This also kills the `on_result` programs of these runs.
            drop(timeout(DROP, self.runs.shutdown()).await);
        }
        ended
    }
}

#[cfg(test)]
mod tests;
