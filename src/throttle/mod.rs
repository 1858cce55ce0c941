//! Decides when another request may start: how many are in flight, at what pace, and the pauses
//! that the server asked for. It never sends, repeats or interprets a request.
//!
//! A request waits in [`Throttle::acquire`] and holds the [`Permit`] until its answer is complete.
//! [`Permit::finish`] says how it went, and that is all the throttle learns from.

mod limit;
mod pace;
#[cfg(test)]
mod scenarios;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

pub use limit::{Concurrency, InFlight, InvalidConcurrency};
use limit::{Finish, Limit, Started};
use pace::Pace;
pub use pace::{InvalidRate, Rate};

/// The longest pause that one answer can impose. Whether to wait that long at all is up to the
/// caller, who sees `Retry-After` first.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// One for each API: clones share their limit, pace, pauses and queue.
#[derive(Clone, Debug)]
pub(crate) struct Throttle {
    state: Arc<Mutex<ThrottleState>>,
    fixed: Option<usize>,
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server did its work; the time it took is a measure of its load.
    Success,
    /// The server, or its silence, asks for less.
    PushBack { kind: PushBack, retry_after: Option<Duration> },
    /// A failure that says nothing about load: connection refused, an answer that cannot be read.
    Neutral,
}

/// Why the server wants less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushBack {
    /// 429: too many requests in a time, or too many at once.
    RateLimited,
    /// 503: overloaded or down.
    Unavailable,
    /// No answer in time.
    TimedOut,
}

impl PushBack {
    /// The pause when the server names none. What is in flight when a quota is overdrawn should be
    /// back before the next attempt, or one breach counts as many.
    fn unsaid_pause(self) -> Duration {
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
    /// Those who wait, the most urgent first.
    queue: BTreeMap<QueuePlace, Waker>,
    next_ticket: u64,
}

/// A place in the queue: first by priority, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueuePlace {
    priority: u64,
    ticket: u64,
}

/// Whether the next request may start.
enum Gate {
    Open,
    /// By time alone.
    OpensAt(Instant),
    /// Not before another request finishes.
    Full,
}

impl Throttle {
    pub(crate) fn new(concurrency: Concurrency, rate: Option<Rate>) -> Self {
        let now = Instant::now();
        let fixed = match (concurrency, rate) {
            (Concurrency::Fixed(number), None) => Some(number.get()),
            _ => None,
        };
        Self {
            fixed,
            state: Arc::new(Mutex::new(ThrottleState {
                limit: Limit::new(concurrency, now),
                pace: Pace::new(rate, now),
                paused_until: None,
                queue: BTreeMap::new(),
                next_ticket: 0,
            })),
        }
    }

    /// Waits until a request may start. The lowest `priority` goes first (a page number: an early
    /// page that is tried again must not wait behind later ones), equal ones in order of arrival.
    ///
    /// Dropping the future leaves the queue. A future that is kept must be polled: the first in
    /// the queue holds up the others.
    ///
    /// # Errors
    /// What is left of a pause that the server asked for, if that is more than `patience` says when
    /// it comes to it: whether the pause is there already or comes while the request waits.
    pub(crate) async fn acquire(
        &self,
        priority: u64,
        patience: impl Fn() -> Duration,
    ) -> Result<Permit, Duration> {
        Acquire { throttle: self, priority, patience, place: None, timer: None }.await
    }

    /// A turn for one who waits out whatever pause there is.
    #[cfg(test)]
    pub(crate) async fn turn(&self, priority: u64) -> Permit {
        let Ok(permit) = self.acquire(priority, || Duration::MAX).await else {
            unreachable!("no pause is that long");
        };
        permit
    }

    /// How many requests hold a permit.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().limit.in_flight()
    }

    /// Whether the number in flight was fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.lock().limit.is_fixed()
    }

    /// How many requests may start now: of a number that was fixed, while no pace was given or learned
    /// and no pause is on.
    pub(crate) fn free_places(&self) -> Option<usize> {
        let state = self.lock();
        let at_will = !state.pace.is_learned() && state.pause(Instant::now()).is_zero();
        self.fixed.filter(|_| at_will).map(|fixed| fixed.saturating_sub(state.limit.in_flight()))
    }

    /// How many may hold one at present.
    pub(crate) fn limit(&self) -> usize {
        self.lock().limit.get()
    }

    /// How long nothing starts because the server asked for a pause.
    #[cfg(test)]
    pub(crate) fn paused_for(&self) -> Option<Duration> {
        let left = self.lock().pause(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, ThrottleState> {
        // Nothing panics under the lock, and no half-made change could be observed if it did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ThrottleState {
    /// What is left of the pause that the server asked for.
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
                let pause = retry_after.unwrap_or_else(|| kind.unsaid_pause()).min(LONGEST_PAUSE);
                self.paused_until = self.paused_until.max(Some(now + pause));
                match kind {
                    PushBack::RateLimited => {
                        self.pace.refuse(started.at, pause, now);
                        // Once there is a rate to correct, a 429 is about the rate: cutting the
                        // number in flight as well would starve a slow server with a quota.
                        if is_paced { Finish::Unmeasured } else { Finish::PushedBack }
                    }
                    PushBack::Unavailable | PushBack::TimedOut => Finish::PushedBack,
                }
            }
            Outcome::Neutral => Finish::Unmeasured,
        };
        self.limit.finish(started, finish, now);
    }

    /// The one to wake: who is first must look at the gate again, and set the timer if it has to.
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

/// A request's wait for its turn.
struct Acquire<'a, P> {
    throttle: &'a Throttle,
    priority: u64,
    patience: P,
    place: Option<QueuePlace>,
    timer: Option<Pin<Box<Sleep>>>,
}

// Nothing in it is pinned: the timer has a place of its own.
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
            if !pause.is_zero() && pause > (this.patience)() {
                // Dropping this wakes who is next, who has a pause to look at too.
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

/// The right to have one request in flight. Dropped without [`finish`](Permit::finish), the
/// request counts as cancelled: its place is free again, and nothing is learned from it.
#[derive(Debug)]
pub(crate) struct Permit {
    throttle: Throttle,
    ticket: Option<QueueTicket>,
}

/// What is remembered of a request in flight.
#[derive(Clone, Copy, Debug)]
struct QueueTicket {
    started: Started,
    is_paced: bool,
}

impl Permit {
    /// Gives the place back and says how the request went.
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
