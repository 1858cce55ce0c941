//! A state that several threads change, and the signal that it has changed.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A state behind a lock. A thread that has changed it wakes those that wait for a change.
pub(super) struct Watched<S> {
    state: Mutex<S>,
    changed: Condvar,
}

impl<S> Watched<S> {
    pub(super) fn new(state: S) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Locks the state. A panic in another thread does not matter: each change leaves the state consistent.
    pub(super) fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks the state until another thread has changed it.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, S>) -> MutexGuard<'a, S> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all threads that wait.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }
}
