//! Prometheus metrics of a schedule. They only record and decide nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use chrono::{DateTime, Utc};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};
use tokio::time::Instant;

use crate::client::Client;

/// Longest silence of a healthy loop: twice its longest sleep of 30 s, plus a reserve. A loop that is silent
/// for longer hangs.
const SILENCE: Duration = Duration::from_secs(90);

/// The result of a run, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// The run stored a new snapshot.
    Stored,
    /// The run found the data unchanged.
    Unchanged,
    /// The run failed with an error.
    Failed,
    /// A stop interrupted the run. The next run resumes it.
    Interrupted,
}

impl RunEnd {
    const ALL: [Self; 4] = [Self::Stored, Self::Unchanged, Self::Failed, Self::Interrupted];

    fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    job: String,
    result: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of one schedule, in the OpenMetrics text format.
///
/// ```
/// use overmind_export::schedule::{Metrics, RunEnd};
///
/// let metrics = Metrics::new();
/// metrics.started("triage-eval");
/// metrics.ended("triage-eval", RunEnd::Stored, 1_000, 52_344, 1.5, chrono::Utc::now());
/// assert!(metrics.text().contains("overmind_export_rows_total{job=\"triage-eval\"} 1000\n"));
/// ```
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    runs: Family<RunLabels, Counter>,
    rows: Family<JobLabels, Counter>,
    bytes: Family<JobLabels, Counter>,
    duration: Family<JobLabels, Seconds>,
    last_run: Family<JobLabels, Gauge>,
    rescued: Family<JobLabels, Gauge>,
    last_success: Family<JobLabels, Gauge>,
    running: Family<JobLabels, Gauge>,
    known_since: Family<JobLabels, Gauge>,
    expected_interval: Family<JobLabels, Gauge>,
    reload_successful: Gauge,
    shared: Arc<MetricsShared>,
    known: Mutex<BTreeSet<String>>,
    alive: Mutex<Instant>,
    /// The starts of active runs.
    active: Mutex<BTreeMap<String, Instant>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the metrics of a new schedule, without any runs.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("overmind_export");
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the program", info);
        let shared = Arc::new(MetricsShared::default());
        registry.register_collector(Box::new(shared.clone()));
        let metrics = Self {
            runs: Family::default(),
            rows: Family::default(),
            bytes: Family::default(),
            duration: Family::default(),
            last_run: Family::default(),
            rescued: Family::default(),
            last_success: Family::default(),
            running: Family::default(),
            known_since: Family::default(),
            expected_interval: Family::default(),
            reload_successful: Gauge::default(),
            shared,
            known: Mutex::default(),
            alive: Mutex::new(Instant::now()),
            active: Mutex::default(),
            registry: Registry::default(),
        };
        metrics.reload_successful.set(1);
        registry.register("runs", "Ended runs, by result", metrics.runs.clone());
        registry.register("rows", "Rows of stored snapshots", metrics.rows.clone());
        let help = "Bytes of stored snapshots, after compression";
        registry.register("bytes", help, metrics.bytes.clone());
        let help = "Rows of the newest snapshot with values that do not fit the pinned schema";
        registry.register("rescued_rows", help, metrics.rescued.clone());
        let help = "Duration of the last run";
        registry.register("run_duration_seconds", help, metrics.duration.clone());
        let help = "When the last run ended, with any result";
        registry.register("last_run_timestamp_seconds", help, metrics.last_run.clone());
        let help = "End of the last run that stored or found no change; 0 if there was none";
        registry.register("last_success_timestamp_seconds", help, metrics.last_success.clone());
        let help = "When the first known run began, or else when the schedule first had the job";
        registry.register("known_since_timestamp_seconds", help, metrics.known_since.clone());
        let help = "Longest time between two runs of the job's schedule, jitter included";
        registry.register("expected_interval_seconds", help, metrics.expected_interval.clone());
        registry.register("running", "Whether the job is running", metrics.running.clone());
        let help = "Whether the last read of the configuration file succeeded";
        registry.register("reload_successful", help, metrics.reload_successful.clone());
        Self { registry, ..metrics }
    }

    /// Adds a client. The counters contain all its requests, in addition to those of the clients added before.
    pub fn follow(&self, client: &Client) {
        let mut traffic = self.shared.traffic();
        traffic.fold();
        if !traffic.clients.iter().any(|known| Arc::ptr_eq(&known.0, &client.0)) {
            traffic.clients.push(client.clone());
        }
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job before its first run in this process. `since` is the start of its first known run, or the present
    /// time if it never ran. `last_success` is the end of its last successful run.
    pub fn known(&self, job: &str, since: DateTime<Utc>, last_success: Option<DateTime<Utc>>) {
        self.jobs().insert(job.to_owned());
        // Start the counters at 0. A series that first appears with a failure shows no increase to alert on.
        self.running.get_or_create(&label(job)).inc_by(0);
        self.rows.get_or_create(&label(job)).inc_by(0);
        self.bytes.get_or_create(&label(job)).inc_by(0);
        let failed = RunLabels { job: job.to_owned(), result: RunEnd::Failed.label() };
        self.runs.get_or_create(&failed).inc_by(0);
        self.known_since.get_or_create(&label(job)).set(since.timestamp());
        // An alert on the age of a success must also see a job that never had one.
        let last_success = last_success.map_or(0, |time| time.timestamp());
        self.last_success.get_or_create(&label(job)).set(last_success);
    }

    /// Sets the longest time between two runs of a job's schedule.
    pub fn expects(&self, job: &str, interval: Duration) {
        self.jobs().insert(job.to_owned());
        let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
        self.expected_interval.get_or_create(&label(job)).set(seconds);
    }

    /// Removes the series of all other jobs, so that no alert waits for their next success.
    pub(super) fn retain(&self, jobs: &BTreeSet<&str>) {
        let mut known = self.jobs();
        for gone in known.iter().filter(|name| !jobs.contains(name.as_str())) {
            let job = label(gone);
            self.rows.remove(&job);
            self.bytes.remove(&job);
            self.rescued.remove(&job);
            self.duration.remove(&job);
            self.last_run.remove(&job);
            self.last_success.remove(&job);
            self.running.remove(&job);
            self.known_since.remove(&job);
            self.expected_interval.remove(&job);
            for end in RunEnd::ALL {
                self.runs.remove(&RunLabels { job: gone.clone(), result: end.label() });
            }
        }
        known.retain(|name| jobs.contains(name.as_str()));
    }

    /// Records that a run of the job has begun.
    pub fn started(&self, job: &str) {
        self.jobs().insert(job.to_owned());
        self.running.get_or_create(&label(job)).set(1);
        self.active().insert(job.to_owned(), Instant::now());
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long a run of the job has been active; `None` if there is none.
    #[cfg(feature = "report")]
    pub(super) fn active_for(&self, job: &str) -> Option<Duration> {
        self.active().get(job).map(Instant::elapsed)
    }

    /// Records that a run of the job has ended at the time `at`, after `seconds`.
    ///
    /// `rows` and `bytes` count only if the run stored a snapshot. The call has no effect if the job has left
    /// the schedule in the meantime.
    pub fn ended(
        &self,
        job: &str,
        end: RunEnd,
        rows: u64,
        bytes: u64,
        seconds: f64,
        at: DateTime<Utc>,
    ) {
        self.active().remove(job);
        // Hold the lock to the end, so that `retain` cannot run in between and miss these series.
        let known = self.jobs();
        if !known.contains(job) {
            return;
        }
        let job = label(job);
        self.runs.get_or_create(&RunLabels { job: job.job.clone(), result: end.label() }).inc();
        self.running.get_or_create(&job).set(0);
        self.duration.get_or_create(&job).set(seconds);
        self.last_run.get_or_create(&job).set(at.timestamp());
        if end == RunEnd::Stored {
            self.rows.get_or_create(&job).inc_by(rows);
            self.bytes.get_or_create(&job).inc_by(bytes);
        }
        if matches!(end, RunEnd::Stored | RunEnd::Unchanged) {
            self.last_success.get_or_create(&job).set(at.timestamp());
        }
    }

    /// Sets the number of rows of the newest snapshot with values that do not fit the pinned schema. The call has no
    /// effect if the job has left the schedule in the meantime.
    pub fn rescued(&self, job: &str, rows: u64) {
        let known = self.jobs();
        if known.contains(job) {
            let rows = i64::try_from(rows).unwrap_or(i64::MAX);
            self.rescued.get_or_create(&label(job)).set(rows);
        }
    }

    /// Records whether the last read of the configuration file succeeded.
    pub fn reloaded(&self, good: bool) {
        self.reload_successful.set(i64::from(good));
    }

    /// Sets the next start of each job.
    pub(super) fn next<'a>(&self, starts: impl Iterator<Item = (&'a str, DateTime<Utc>)>) {
        let next = starts.map(|(job, time)| (job.to_owned(), time.timestamp())).collect();
        *self.shared.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Records that the scheduler's loop is alive.
    pub(super) fn alive(&self) {
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns whether the scheduler's loop was alive within the last 90 s.
    pub fn healthy(&self) -> bool {
        let alive = *self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.elapsed() <= SILENCE
    }

    /// Returns all metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

fn label(job: &str) -> JobLabels {
    JobLabels { job: job.to_owned() }
}

/// The values that are collected at the time of a scrape.
#[derive(Debug, Default)]
struct MetricsShared {
    next: Mutex<BTreeMap<String, i64>>,
    traffic: Mutex<Traffic>,
}

/// The counters of all clients. A reload can replace the client, and counters must never decrease.
#[derive(Debug, Default)]
struct Traffic {
    clients: Vec<Client>,
    before: Totals,
}

#[derive(Debug, Default, Clone)]
struct Totals {
    by_status: BTreeMap<Option<u16>, u64>,
    retries: u64,
    received: u64,
}

impl Totals {
    fn add(&mut self, client: &Client) {
        let meter = client.meter();
        for (status, count) in meter.by_status() {
            *self.by_status.entry(status).or_default() += count;
        }
        self.retries += meter.retries();
        self.received += meter.bytes();
    }
}

impl Traffic {
    /// Drops the clients without other owners and adds their counters to `before`.
    fn fold(&mut self) {
        let (used, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.clients)
            .into_iter()
            .partition(|client| Arc::strong_count(&client.0) > 1);
        gone.iter().for_each(|client| self.before.add(client));
        self.clients = used;
    }
}

impl MetricsShared {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for MetricsShared {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (totals, in_flight) = {
            let traffic = self.traffic();
            let mut totals = traffic.before.clone();
            traffic.clients.iter().for_each(|client| totals.add(client));
            (totals, traffic.clients.iter().map(Client::in_flight).sum::<usize>())
        };
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).clone();

        let mut put = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        put("retries", "Repeated requests.", &ConstCounter::new(totals.retries))?;
        let help = "Bytes of received pages, after decompression.";
        put("received_bytes", help, &ConstCounter::new(totals.received))?;
        let help = "Requests in flight now.";
        put("requests_in_flight", help, &ConstGauge::new(in_flight as u64))?;

        let counter = ConstCounter::new(0_u64).metric_type();
        let help = "Ended requests, by status of the answer, or none without an answer.";
        let mut requests = encoder.encode_descriptor("requests", help, None, counter)?;
        for (status, count) in totals.by_status {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            let metric = ConstCounter::new(count);
            metric.encode(requests.encode_family(&[("status", status)])?)?;
        }
        let gauge = ConstGauge::new(0_i64).metric_type();
        let help = "When the next run of the job starts.";
        let mut family =
            encoder.encode_descriptor("next_run_timestamp_seconds", help, None, gauge)?;
        for (job, time) in next {
            let metric = ConstGauge::new(time);
            metric.encode(family.encode_family(&[("job", job)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
