//! What a client has done so far, for progress and summaries; never decides anything.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Counters of a client, read while it works.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    /// Counts everything that this one counts.
    whole: Option<Arc<Meter>>,
    statuses: Mutex<BTreeMap<Option<u16>, u64>>,
}

impl Meter {
    /// Requests sent, retries included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Requests sent again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Bytes of page bodies received, after decompression.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// A meter from zero whose counts are part of this one's.
    pub(crate) fn part(whole: Arc<Self>) -> Self {
        Self { whole: Some(whole), ..Self::default() }
    }

    /// Requests that have ended, by the status of their answer; `None` counts those without one.
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

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        if let Some(whole) = &self.whole {
            whole.received(bytes);
        }
    }
}
