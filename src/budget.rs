//! Bytes in flight, counted: a [`Hold`] says how many, and gives them back when it is dropped.
//!
//! Never blocks and never refuses: who may go ahead is for the holder of the [`Budget`] to decide.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit, used: AtomicUsize::new(0), freed: Notify::new() }))
    }

    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.0.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }

    pub(crate) fn hold(&self, bytes: usize) -> Hold {
        self.0.used.fetch_add(bytes, Ordering::AcqRel);
        Hold { budget: self.clone(), bytes }
    }

    /// Returns when a hold has shrunk or gone since the last call.
    pub(crate) async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

#[derive(Debug)]
pub(crate) struct Hold {
    budget: Budget,
    bytes: usize,
}

impl Hold {
    pub(crate) fn resize(&mut self, bytes: usize) {
        let inner = &self.budget.0;
        if bytes >= self.bytes {
            inner.used.fetch_add(bytes - self.bytes, Ordering::AcqRel);
        } else {
            inner.used.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
            inner.freed.notify_one();
        }
        self.bytes = bytes;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hold_takes_it_gives_back() {
        let budget = Budget::new(10);
        let mut hold = budget.hold(6);
        assert!(budget.fits(4) && !budget.fits(5));
        hold.resize(12);
        assert_eq!(budget.used(), 12);
        hold.resize(3);
        assert!(budget.fits(7));
        drop(hold);
        assert_eq!(budget.used(), 0);
    }
}
