//! Counts the work of a client, for progress and summaries. The counters influence nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Counters of a client. They can be read while the client works.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    /// The meter of the parent client, which counts everything in this meter too.
    whole: Option<Arc<Meter>>,
    statuses: Mutex<BTreeMap<Option<u16>, u64>>,
    failures: Mutex<BTreeMap<Option<u16>, u64>>,
}

impl Meter {
    /// Returns the number of sent requests, including retries.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Returns the number of retries.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Returns the size of all received page bodies in bytes, after decompression.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Creates a meter that starts from zero and also adds its counts to `whole`.
    pub(crate) fn part(whole: Arc<Self>) -> Self {
        Self { whole: Some(whole), ..Self::default() }
    }

    /// Returns the number of finished requests for each HTTP status. `None` counts requests without an
    /// answer.
    pub fn by_status(&self) -> BTreeMap<Option<u16>, u64> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn request(&self, again: bool) {
        self.requests.fetch_add(1, Relaxed);
        self.retries.fetch_add(u64::from(again), Relaxed);
        if let Some(whole) = &self.whole {
            whole.request(again);
        }
    }

    pub(crate) fn ended(&self, status: Option<u16>) {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        *statuses.entry(status).or_default() += 1;
        drop(statuses);
        if let Some(whole) = &self.whole {
            whole.ended(status);
        }
    }

    /// Returns the number of failed attempts for each HTTP status, as far as a retry could help. `None` counts
    /// attempts without an answer.
    pub(crate) fn failures(&self) -> BTreeMap<Option<u16>, u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a failed attempt. Returns the number of failures with this status so far.
    pub(crate) fn failed(&self, status: Option<u16>) -> u64 {
        if let Some(whole) = &self.whole {
            whole.failed(status);
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(status).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        if let Some(whole) = &self.whole {
            whole.received(bytes);
        }
    }
}
