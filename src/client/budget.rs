//! Bytes in flight, counted: a [`Hold`] says how many, and gives them back when it is dropped.
//!
//! Who may begin is for the holder of the [`Budget`] to decide. A body that outgrows what it was
//! expected to be waits in its [`Room`] until there is enough of it, unless its page is due.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<BudgetInner>);

#[derive(Debug)]
struct BudgetInner {
    limit: usize,
    used: AtomicUsize,
    /// For the one that begins pages.
    freed: Notify,
    /// The page that everything waits for: it may always proceed.
    due: AtomicU64,
    /// For bodies that wait: there may be room, or another page is due.
    changed: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(BudgetInner {
            limit,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
            due: AtomicU64::new(0),
            changed: Notify::new(),
        }))
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

    /// Room for the body of a page that is expected to take this many bytes.
    pub(crate) fn room(&self, page: u64, expected: usize) -> Room {
        Room { hold: self.hold(expected), page, expected }
    }

    /// Says which page everything waits for now.
    pub(crate) fn set_due(&self, page: u64) {
        self.0.due.store(page, Ordering::Release);
        self.0.changed.notify_waiters();
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
            inner.changed.notify_waiters();
        }
        self.bytes = bytes;
    }

    /// Grows, if that stays within the limit.
    fn try_grow(&mut self, bytes: usize) -> bool {
        let (inner, more) = (&self.budget.0, bytes - self.bytes);
        let grown = inner.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(more).filter(|used| *used <= inner.limit)
        });
        if grown.is_ok() {
            self.bytes = bytes;
        }
        grown.is_ok()
    }
}

/// What the body of one page may take while it arrives.
#[derive(Debug)]
pub(crate) struct Room {
    hold: Hold,
    page: u64,
    expected: usize,
}

impl Room {
    /// Whether a body of this many bytes may be held now; if so, it is counted.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        if bytes <= self.hold.bytes {
            return true;
        }
        if self.is_due() {
            self.hold.resize(bytes);
            return true;
        }
        self.hold.try_grow(bytes)
    }

    /// Returns when a body of this many bytes may be held.
    pub(crate) async fn grow(&mut self, bytes: usize) {
        let budget = self.hold.budget.clone();
        loop {
            let mut changed = pin!(budget.0.changed.notified());
            // Before looking, so that no change between the look and the wait is missed.
            changed.as_mut().enable();
            if self.try_grow(bytes) {
                return;
            }
            changed.await;
        }
    }

    /// The body is gone and will be asked for again.
    pub(crate) fn begin_again(&mut self) {
        self.hold.resize(self.expected);
    }

    /// The body is gone, to make room for others; returns when its page is due.
    pub(crate) async fn give_way(&mut self) {
        self.expected = 0;
        self.hold.resize(0);
        let budget = self.hold.budget.clone();
        loop {
            let mut changed = pin!(budget.0.changed.notified());
            changed.as_mut().enable();
            if self.is_due() {
                return;
            }
            changed.await;
        }
    }

    fn is_due(&self) -> bool {
        self.hold.budget.0.due.load(Ordering::Acquire) == self.page
    }

    /// What the page holds from now on.
    pub(crate) fn into_hold(mut self, bytes: usize) -> Hold {
        self.hold.resize(bytes);
        self.hold
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

    #[test]
    fn a_body_outgrows_what_was_expected_within_the_limit_unless_its_page_is_due() {
        let budget = Budget::new(10);
        let (mut due, mut ahead) = (budget.room(1, 4), budget.room(2, 4));
        budget.set_due(1);
        assert!(ahead.try_grow(4) && ahead.try_grow(6));
        assert!(!ahead.try_grow(7));
        assert!(due.try_grow(20));
        assert_eq!(budget.used(), 26);
        ahead.begin_again();
        assert_eq!(budget.used(), 24);
        budget.set_due(2);
        assert!(ahead.try_grow(30) && !due.try_grow(21));
        drop((due, ahead));
        assert_eq!(budget.used(), 0);
    }
}
