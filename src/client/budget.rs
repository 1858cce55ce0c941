//! A memory budget for pages, in bytes. A [`Hold`] reserves bytes and releases them when it is dropped.
//!
//! The owner of the [`Budget`] decides which requests start. A body that is larger than expected waits in
//! its [`BodyReservation`] until the budget has space. The body of the due page does not wait.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// A memory budget that several tasks share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<BudgetInner>);

#[derive(Debug)]
struct BudgetInner {
    limit: usize,
    used: AtomicUsize,
    /// Wakes the task that starts requests: some bytes were released.
    freed: Notify,
    /// Number of the due page: the next one in order, which all others wait for. It may exceed the limit.
    due: AtomicU64,
    /// Wakes waiting bodies: some bytes were released, or another page is due.
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

    /// Whether this many more bytes are within the limit.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.0.limit
    }

    /// Returns the number of reserved bytes.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }

    /// Reserves bytes, even beyond the limit.
    pub(crate) fn hold(&self, bytes: usize) -> Hold {
        self.0.used.fetch_add(bytes, Ordering::AcqRel);
        Hold { budget: self.clone(), bytes }
    }

    /// Reserves the expected size of a page's body in bytes, even beyond the limit.
    pub(crate) fn room(&self, page: u64, expected: usize) -> BodyReservation {
        BodyReservation { hold: self.hold(expected), page, expected }
    }

    /// Sets the due page and wakes waiting bodies.
    pub(crate) fn set_due(&self, page: u64) {
        self.0.due.store(page, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Waits until a hold shrinks or is dropped. Returns at once if that happened since the last call.
    pub(crate) async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

/// A reservation in a [`Budget`]. Dropping it releases the bytes.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Budget,
    bytes: usize,
}

impl Hold {
    /// Changes the reservation to this many bytes, even beyond the limit.
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

    /// Grows to this many bytes if the limit allows it. Returns whether it did.
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

/// The reservation for the body of one page while it arrives.
#[derive(Debug)]
pub(crate) struct BodyReservation {
    hold: Hold,
    page: u64,
    expected: usize,
}

impl BodyReservation {
    /// Grows the reservation to this many bytes if possible. Returns whether it did.
    ///
    /// For the due page, this always works.
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

    /// Waits until the reservation can grow to this many bytes, and grows it.
    pub(crate) async fn grow(&mut self, bytes: usize) {
        let budget = self.hold.budget.clone();
        loop {
            let mut changed = pin!(budget.0.changed.notified());
            // Register before the check. Otherwise a change between the check and the wait would be missed.
            changed.as_mut().enable();
            if self.try_grow(bytes) {
                return;
            }
            changed.await;
        }
    }

    /// Resets the reservation to the expected size: the body was dropped, and will be requested again.
    pub(crate) fn begin_again(&mut self) {
        self.hold.resize(self.expected);
    }

    /// Releases the reservation, so that other bodies can use it, and waits until this page is due.
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

    /// Turns the reservation into one for the decoded page, with this many bytes.
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
    fn dropped_hold_releases_its_bytes() {
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
    fn only_the_due_page_may_exceed_the_limit() {
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
