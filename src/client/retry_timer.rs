//! The retry time limit: how long the API may only fail before a run gives up. All runs of a client share it.
//!
//! | event | answered | succeeded | failing since | exhausted at |
//! |---|---|---|---|---|
//! | start | no | no | – | – |
//! | a fetch succeeds | yes | yes | – | – |
//! | an attempt fails with an answer | yes | same | set, unless it is set | same |
//! | an attempt fails without an answer | same | same | set, unless it is set | same |
//! | a run gives up, no time is left | same | same | – | now |
//! | a run gives up for another reason | same | same | – | same |
//! | the last running fetch ends | same | same | – | same |
//!
//! The time left is the retry time limit minus the time since *failing since*. A fetch that began before
//! *exhausted at* has no time left: another run has already waited for the same API.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::retry::RetryPolicy;

/// Default retry time limit if the API has answered before.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(120);
/// Default retry time limit if the API has never answered: a wrong address should not cost two minutes.
pub(super) const NEVER_ANSWERED: Duration = Duration::from_secs(15);
/// Pauses up to 1 s are always waited for, even if the retry time limit is used up: they cost less than a
/// failed run.
const SHORT: Duration = Duration::from_secs(1);

/// The shared state of the retry time limit.
#[derive(Debug, Default)]
pub(crate) struct RetryTimer(Mutex<RetryState>);

#[derive(Debug, Default, Clone, Copy)]
struct RetryState {
    /// Whether the API has ever answered, even with an error.
    answered: bool,
    /// Whether a request has ever succeeded.
    succeeded: bool,
    /// Number of running fetches.
    running: u64,
    /// Time of the first failure since the last success.
    failing_since: Option<Instant>,
    /// Time when a run gave up because the retry time limit was used up.
    exhausted_at: Option<Instant>,
}

/// A guard for a running fetch.
pub(super) struct RunningFetch<'a>(&'a RetryTimer);

impl Drop for RunningFetch<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        // After the last fetch, nothing waits any more. A later failure is the first failure of a new run.
        if state.running == 0 {
            state.failing_since = None;
        }
    }
}

impl RetryTimer {
    fn lock(&self) -> MutexGuard<'_, RetryState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a fetch until the returned guard is dropped.
    pub(super) fn enter(&self) -> RunningFetch<'_> {
        self.lock().running += 1;
        RunningFetch(self)
    }

    /// Records a success, which resets the retry time limit.
    pub(super) fn succeeded(&self) {
        let mut state = self.lock();
        let running = state.running;
        *state = RetryState { answered: true, succeeded: true, running, ..RetryState::default() };
    }

    /// Whether a request has ever succeeded. If so, an answer in another form comes from a proxy, a firewall
    /// or a cache in front of the API.
    pub(super) fn has_succeeded(&self) -> bool {
        self.lock().succeeded
    }

    /// Whether the API, or a proxy, firewall or cache in front of it, has ever answered.
    pub(super) fn has_answered(&self) -> bool {
        self.lock().answered
    }

    /// Records that a run gave up. The next run of the client starts with the full retry time limit.
    ///
    /// Other runs end too if no time is `left`. If the run gave up for another reason, they go on.
    pub(super) fn exhausted(&self, left: Duration) {
        let mut state = self.lock();
        state.failing_since = None;
        if left.is_zero() {
            state.exhausted_at = Some(Instant::now());
        }
    }

    /// Records a failure of a fetch that began at `begun`. Returns the rest of the retry time limit.
    pub(super) fn failed(&self, begun: Instant, answered: bool, policy: &RetryPolicy) -> Duration {
        let mut state = self.lock();
        if state.exhausted_since(begun) {
            return Duration::ZERO;
        }
        state.answered |= answered;
        state.failing_since.get_or_insert_with(Instant::now);
        state.left(policy)
    }

    /// Returns the longest pause that a fetch may wait for, if the fetch began at `begun`.
    pub(super) fn longest_pause(&self, begun: Instant, policy: &RetryPolicy) -> Duration {
        // An API that asks for a pause has answered, even if the answer is not recorded yet.
        let state = RetryState { answered: true, ..*self.lock() };
        if state.exhausted_since(begun) { SHORT } else { state.left(policy).max(SHORT) }
    }
}

impl RetryState {
    /// Whether the retry time limit was used up after `begun`.
    ///
    /// Concurrent runs share the waiting time. If one run finds the API dead, the others do not wait again.
    fn exhausted_since(&self, begun: Instant) -> bool {
        self.exhausted_at.is_some_and(|at| begun < at)
    }

    /// Returns the rest of the retry time limit.
    fn left(&self, policy: &RetryPolicy) -> Duration {
        let default = if self.answered { RETRY_FOR } else { NEVER_ANSWERED };
        let failing_for = self.failing_since.map(|since| since.elapsed()).unwrap_or_default();
        policy.retry_for.unwrap_or(default).saturating_sub(failing_for)
    }
}
