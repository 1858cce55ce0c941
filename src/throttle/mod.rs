//! Decides when another request may start. Three things count: the requests in flight, the rate, and the
//! pauses that the server asked for. This module never sends or repeats a request. It sees outcomes, not answers.
//!
//! A request waits in [`Throttle::acquire`] and holds the [`Permit`] until its answer is complete.
//! [`Permit::finish`] reports the outcome. The throttle learns from these outcomes only.

mod concurrency;
mod limit;
mod pace;
#[cfg(test)]
mod scenarios;
mod stats;
#[cfg(test)]
mod tests;
mod tuning;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

pub use concurrency::{Concurrency, InFlight, InvalidConcurrency};
use limit::{Finish, Limit, Started};
use pace::Pace;
pub use pace::{InvalidRate, Rate};
use tuning::LONGEST_PAUSE;

/// The throttle of one API. Clones share the limit, the rate, the pauses and the queue.
#[derive(Clone, Debug)]
pub(crate) struct Throttle {
    state: Arc<Mutex<ThrottleState>>,
    /// Number of requests that may start at the same time. `None` if the user gave a rate limit, or if the
    /// limit of requests in flight is learned.
    burst: Option<usize>,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server did its work. The latency is a measure of its load.
    Success,
    /// The server asks for fewer requests, or did not answer in time.
    PushBack { kind: PushBack, retry_after: Option<Duration> },
    /// The result does not show the load: another error status, a failed connection, or a cancelled request.
    Neutral,
}

/// The reason for fewer requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushBack {
    /// 429: too many requests per unit of time, or too many at once.
    RateLimited,
    /// 503: the server is overloaded or down. Also a 403 that is not JSON: a firewall with a rate limit.
    Unavailable,
    /// The server did not answer in time.
    TimedOut,
}

impl PushBack {
    /// The default pause when the answer has no `Retry-After`. After a 429 it is 100 ms, so that the requests
    /// in flight finish before the next attempt. Otherwise one exceeded quota would count several times.
    fn default_pause(self) -> Duration {
        match self {
            Self::RateLimited => Duration::from_millis(100),
            Self::Unavailable | Self::TimedOut => Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct ThrottleState {
    limit: Limit,
    pace: Pace,
    paused_until: Option<Instant>,
    /// The waiting requests, the most urgent first.
    queue: BTreeMap<QueuePlace, Waker>,
    next_ticket: u64,
}

/// A place in the queue, ordered by priority, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueuePlace {
    priority: u64,
    ticket: u64,
}

/// Whether the next request may start.
enum Gate {
    Open,
    /// The gate opens at this time, whether or not another request finishes.
    OpensAt(Instant),
    /// All request slots are in use until another request finishes.
    Full,
}

impl Throttle {
    pub(crate) fn new(concurrency: Concurrency, rate: Option<Rate>) -> Self {
        let now = Instant::now();
        let burst = match (concurrency, rate) {
            (Concurrency::Fixed(number), None) => Some(number.get()),
            _ => None,
        };
        Self {
            burst,
            state: Arc::new(Mutex::new(ThrottleState {
                limit: Limit::new(concurrency, now),
                pace: Pace::new(rate, now),
                paused_until: None,
                queue: BTreeMap::new(),
                next_ticket: 0,
            })),
        }
    }

    /// Waits until a request may start. The lowest `priority` goes first, and equal ones go in order of
    /// arrival. The priority is a page number: an early page that is retried must not wait behind later ones.
    ///
    /// Dropping the future leaves the queue. A future that is kept must be polled: the first future in
    /// the queue holds up the others.
    ///
    /// # Errors
    /// The remaining time of a pause that the server asked for, if it exceeds the result of `longest_pause`. The
    /// pause may exist already, or begin while the request waits.
    pub(crate) async fn acquire(
        &self,
        priority: u64,
        longest_pause: impl Fn() -> Duration,
    ) -> Result<Permit, Duration> {
        Acquire { throttle: self, priority, longest_pause, place: None, timer: None }.await
    }

    /// Waits until a request may start, through a pause of any length.
    #[cfg(test)]
    pub(crate) async fn turn(&self, priority: u64) -> Permit {
        let Ok(permit) = self.acquire(priority, || Duration::MAX).await else {
            unreachable!("no pause is that long");
        };
        permit
    }

    /// Returns the number of requests that hold a permit.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().limit.in_flight()
    }

    /// Whether the concurrency is fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.lock().limit.is_fixed()
    }

    /// Returns the number of requests that may start now. `None` unless the concurrency is fixed, no rate was
    /// given or learned, and there is no pause.
    pub(crate) fn free_places(&self) -> Option<usize> {
        let state = self.lock();
        let at_will = !state.pace.is_learned() && state.pause(Instant::now()).is_zero();
        self.burst.filter(|_| at_will).map(|burst| burst.saturating_sub(state.limit.in_flight()))
    }

    /// Returns the current limit of requests in flight.
    pub(crate) fn limit(&self) -> usize {
        self.lock().limit.get()
    }

    /// Returns the rest of the pause that the server asked for.
    #[cfg(test)]
    pub(crate) fn paused_for(&self) -> Option<Duration> {
        let left = self.lock().pause(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, ThrottleState> {
        // Nothing panics while it holds the lock. A panic would leave no half-made change either.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ThrottleState {
    /// Returns the rest of the pause that the server asked for; zero if there is none.
    fn pause(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn gate(&self, now: Instant) -> Gate {
        if self.limit.is_reached() {
            return Gate::Full;
        }
        match self.paused_until.max(self.pace.next()) {
            Some(at) if at > now => Gate::OpensAt(at),
            _ => Gate::Open,
        }
    }

    fn start(&mut self, now: Instant) -> QueueTicket {
        self.pace.start(now);
        QueueTicket { started: self.limit.start(now), is_paced: self.pace.is_learned() }
    }

    fn finish(&mut self, ticket: QueueTicket, outcome: Outcome, now: Instant) {
        let QueueTicket { started, is_paced } = ticket;
        let finish = match outcome {
            Outcome::Success => Finish::Success,
            Outcome::PushBack { kind, retry_after } => {
                let pause = retry_after.unwrap_or_else(|| kind.default_pause()).min(LONGEST_PAUSE);
                self.paused_until = self.paused_until.max(Some(now + pause));
                match kind {
                    PushBack::RateLimited => {
                        self.pace.refuse(started.at, pause, now);
                        // Once a rate was learned, a 429 corrects only this rate. If it also lowered the limit of
                        // requests in flight, a slow server would get fewer requests than its quota allows.
                        if is_paced { Finish::Unmeasured } else { Finish::PushedBack }
                    }
                    PushBack::Unavailable | PushBack::TimedOut => Finish::PushedBack,
                }
            }
            Outcome::Neutral => Finish::Unmeasured,
        };
        self.limit.finish(started, finish, now);
    }

    /// Returns the task to wake. The first in the queue must check the gate again and may set the timer.
    fn first_in_line(&self) -> Option<Waker> {
        let (_, waker) = self.queue.first_key_value()?;
        (!self.limit.is_reached()).then(|| waker.clone())
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The future of a request that waits for its start.
struct Acquire<'a, P> {
    throttle: &'a Throttle,
    priority: u64,
    longest_pause: P,
    place: Option<QueuePlace>,
    timer: Option<Pin<Box<Sleep>>>,
}

// No field is pinned structurally: the timer has its own allocation.
impl<P> Unpin for Acquire<'_, P> {}

impl<P: Fn() -> Duration> Future for Acquire<'_, P> {
    type Output = Result<Permit, Duration>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let mut state = this.throttle.lock();
            let place = *this.place.get_or_insert_with(|| {
                let ticket = state.next_ticket;
                state.next_ticket += 1;
                QueuePlace { priority: this.priority, ticket }
            });
            let now = Instant::now();
            let pause = state.pause(now);
            if !pause.is_zero() && pause > (this.longest_pause)() {
                // Dropping this future wakes the next task, which must check the pause too.
                return Poll::Ready(Err(pause));
            }
            let is_first = state.queue.keys().next().is_none_or(|it| *it >= place);
            let opens_at = match state.gate(now) {
                Gate::Open if is_first => {
                    state.queue.remove(&place);
                    this.place = None;
                    let ticket = state.start(now);
                    let next = state.first_in_line();
                    drop(state);
                    wake(next);
                    return Poll::Ready(Ok(Permit {
                        throttle: this.throttle.clone(),
                        ticket: Some(ticket),
                    }));
                }
                Gate::OpensAt(at) if is_first => Some(at),
                Gate::Open | Gate::OpensAt(_) | Gate::Full => None,
            };
            state
                .queue
                .entry(place)
                .and_modify(|waker| waker.clone_from(cx.waker()))
                .or_insert_with(|| cx.waker().clone());
            drop(state);
            let Some(at) = opens_at else {
                return Poll::Pending;
            };
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<P> Drop for Acquire<'_, P> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut state = self.throttle.lock();
            state.queue.remove(&place);
            let next = state.first_in_line();
            drop(state);
            wake(next);
        }
    }
}

/// The right to have one request in flight: one request slot. If it is dropped without
/// [`finish`](Permit::finish), the request counts as cancelled. The slot is free again, and the throttle
/// learns nothing.
#[derive(Debug)]
pub(crate) struct Permit {
    throttle: Throttle,
    ticket: Option<QueueTicket>,
}

/// The facts about a request in flight that its finish needs.
#[derive(Clone, Copy, Debug)]
struct QueueTicket {
    started: Started,
    is_paced: bool,
}

impl Permit {
    /// Frees the request slot and reports the outcome.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.release(outcome);
    }

    fn release(&mut self, outcome: Outcome) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut state = self.throttle.lock();
        state.finish(ticket, outcome, Instant::now());
        let next = state.first_in_line();
        drop(state);
        wake(next);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release(Outcome::Neutral);
    }
}
