//! Counts what the server received and sent; never decides an answer.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use uuid::Uuid;

/// A server that runs for days must not remember every request.
const REMEMBERED: usize = 10_000;

/// What a server has seen since it started.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Requests received, whatever became of them.
    pub requests: u64,
    /// Answers by status; a connection that was reset has none.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests for each page that exists: by dataset, or none for the list of datasets, and
    /// page number. They start again when the faults are replaced.
    pub attempts: BTreeMap<(Option<Uuid>, u64), u32>,
    /// Requests received and not yet answered.
    pub in_flight: usize,
    /// The most requests that were in flight at once.
    pub max_in_flight: usize,
    /// Bytes written to sockets, heads included, as compressed.
    pub bytes_sent: u64,
    /// The latest requests, at most ten thousand, oldest first.
    pub received: VecDeque<Received>,
}

impl Stats {
    /// How often a page of a dataset was asked for.
    pub fn attempts(&self, dataset: Uuid, page: u64) -> u32 {
        self.attempts.get(&(Some(dataset), page)).copied().unwrap_or_default()
    }

    /// How many answers had this status.
    pub fn answered(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// One request, as it came in.
#[derive(Clone)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path and query.
    pub target: String,
    headers: HeaderMap,
}

impl Received {
    pub(crate) fn new(method: String, target: String, headers: HeaderMap) -> Received {
        Received { method, target, headers }
    }

    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Without the headers: they hold the key.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// The stats while they change, and a bell for those who wait for a change.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    stats: Mutex<Stats>,
    changed: Condvar,
}

impl Ledger {
    pub(crate) fn snapshot(&self) -> Stats {
        self.lock().clone()
    }

    /// Waits until the stats satisfy a condition; false when the time is up before that.
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

    /// Counts one more request for a page and says which it is, from 1.
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

    /// Counts a request; it is in flight until the guard is dropped.
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

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlightGuard(Arc<Ledger>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.change(|stats| stats.in_flight -= 1);
    }
}
