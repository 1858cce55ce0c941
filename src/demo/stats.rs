//! Statistics about received requests and sent answers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use uuid::Uuid;

/// Number of requests to keep in memory. The limit is for servers that run for days.
const REMEMBERED: usize = 10_000;

/// The statistics of a server since its start.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Number of accepted connections.
    pub connections: u64,
    /// Number of received requests, answered or not.
    pub requests: u64,
    /// Number of answers by status. A reset connection has no status.
    pub statuses: BTreeMap<u16, u64>,
    /// Number of requests for each existing page. The key is the dataset (`None` for the list of datasets) and
    /// the page number. Replacing the faults resets these counts.
    pub attempts: BTreeMap<(Option<Uuid>, u64), u32>,
    /// Number of requests that are received but not yet answered.
    pub in_flight: usize,
    /// Largest number of requests that were in flight at the same time.
    pub max_in_flight: usize,
    /// Bytes written to sockets, including headers, after compression.
    pub bytes_sent: u64,
    /// The latest requests, oldest first, at most 10,000.
    pub received: VecDeque<Received>,
}

impl Stats {
    /// Returns the number of requests for a page of a dataset.
    pub fn attempts(&self, dataset: Uuid, page: u64) -> u32 {
        self.attempts.get(&(Some(dataset), page)).copied().unwrap_or_default()
    }

    /// Returns the number of answers with this status.
    pub fn answered(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// A received request.
#[derive(Clone)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    headers: HeaderMap,
}

impl Received {
    pub(crate) fn new(method: String, target: String, headers: HeaderMap) -> Received {
        Received { method, target, headers }
    }

    /// Returns a header, if it exists and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Leaves out the headers, because they contain the API key.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// The shared statistics, and a condition variable for waiting threads.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    stats: Mutex<Stats>,
    changed: Condvar,
}

impl Ledger {
    pub(crate) fn snapshot(&self) -> Stats {
        self.lock().clone()
    }

    /// Waits until the statistics meet a condition. Returns false if `timeout` ends first.
    pub(crate) fn wait_until(&self, timeout: Duration, done: impl Fn(&Stats) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |stats| !done(stats));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(crate) fn connected(&self) {
        self.change(|stats| stats.connections += 1);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.change(|stats| stats.bytes_sent += bytes as u64);
    }

    pub(crate) fn answered(&self, status: u16) {
        self.change(|stats| *stats.statuses.entry(status).or_default() += 1);
    }

    /// Counts one more request for a page and returns the new count.
    pub(crate) fn attempt(&self, dataset: Option<Uuid>, page: u64) -> u32 {
        self.change(|stats| {
            let attempts = stats.attempts.entry((dataset, page)).or_default();
            *attempts += 1;
            *attempts
        })
    }

    #[cfg(feature = "faults")]
    pub(crate) fn forget_attempts(&self) {
        self.change(|stats| stats.attempts.clear());
    }

    /// Counts a request. The request is in flight until the guard is dropped.
    pub(crate) fn arrived(self: &Arc<Self>, received: Received) -> InFlightGuard {
        self.change(|stats| {
            stats.requests += 1;
            stats.in_flight += 1;
            stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
            if stats.received.len() == REMEMBERED {
                stats.received.pop_front();
            }
            stats.received.push_back(received);
        });
        InFlightGuard(Arc::clone(self))
    }

    fn change<T>(&self, with: impl FnOnce(&mut Stats) -> T) -> T {
        let result = with(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a request in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard(Arc<Ledger>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.change(|stats| stats.in_flight -= 1);
    }
}
