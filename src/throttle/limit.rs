//! How many requests may be in flight: a number the user fixed, or one learned from the server.
//! Pure: it is told the time, and never waits, locks or reads a clock.
//!
//! The learned limit moves once a *round* (about one round trip), never by a single sample:
//! pages differ in size. It multiplies each round while that brings more (slow start), then climbs
//! by an eighth as long as nothing queues. Refusals cut it in proportion to their share of the
//! round, so a lost request in a hundred costs little and a server that refuses everything is left
//! alone.
//!
//! Rising latency has two causes that look alike: our requests queue at the server, or the server
//! became slower for a reason of its own. A *trial* tells them apart: half the load for a moment.
//! If throughput holds, the other half only stood in a queue, and half of the half is tried. If
//! throughput falls with the load, the latency was not ours, and the limit comes back at once.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use super::seen::{JITTER, SeenAnswers, Sums};

/// How many requests may be in flight at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as the server sustains, found while requests run; none beyond 16 start while as many
    /// pages wait for the consumer.
    #[default]
    Auto,
    /// Exactly this many, from the first moment on: beside a first page that takes longer than 25 ms the
    /// next ones are asked for before it is known whether they exist, unless a rate was given. A dataset
    /// with fewer pages answers the others with 404, which is no error.
    Fixed(InFlight),
}

/// A number of requests in flight, from 1 to [`InFlight::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight(NonZeroU8);

/// A text or number that is no [`Concurrency`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no concurrency: give `auto` or a number from 1 to {max}", max = InFlight::MAX)]
pub struct InvalidConcurrency(String);

impl InFlight {
    /// The most requests that one throttle keeps in flight.
    pub const MAX: usize = 64;

    /// The number as a plain integer.
    pub fn get(self) -> usize {
        self.0.get().into()
    }
}

impl TryFrom<usize> for InFlight {
    type Error = InvalidConcurrency;

    fn try_from(number: usize) -> Result<Self, Self::Error> {
        u8::try_from(number)
            .ok()
            .and_then(NonZeroU8::new)
            .map(Self)
            .filter(|it| it.get() <= Self::MAX)
            .ok_or_else(|| InvalidConcurrency(number.to_string()))
    }
}

impl FromStr for Concurrency {
    type Err = InvalidConcurrency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number: usize = text.parse().map_err(|_| InvalidConcurrency(text.to_owned()))?;
        InFlight::try_from(number).map(Self::Fixed)
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(number) => number.get().fmt(f),
        }
    }
}

/// Where slow start begins. From less, a dataset of a hundred pages is half over before the limit has
/// grown. A server that queues so few already shows it in the trial that ends slow start.
const FIRST_LIMIT: usize = 16;
/// In slow start, an answer that takes no longer than this times the quickest says that there is no
/// queue yet: a request that opens a connection takes two round trips, and a little more by chance.
const QUICK: f64 = 2.5;
/// For how many more requests such an answer makes room; others make room for one.
const ROOM: usize = 3;
/// After slow start a round is no shorter, however many requests it saw: in less, one thread that was
/// kept from running for a moment looks like a queue, or like none.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);
/// Where answers take less, the limit stays: 16 in flight are 6,400 requests a second or more by then,
/// and to ask for more at once was no faster and made the caches colder.
const NO_WAIT: f64 = 0.0025;
/// So few in flight are no queue worth a trial.
const NO_QUEUE: f64 = 4.0;
/// What the limit keeps above the load that fills the server exactly.
const HEADROOM: f64 = 1.25;
/// A trial halves the load, so trials on a merely noisy server must be rare...
const ROUNDS_BETWEEN_TRIALS: u32 = 8;
/// ...yet one comes now and then, because a base latency measured under load hides a queue...
const ROUNDS_WITHOUT_TRIAL: u32 = 64;
/// ...and one that waits this many rounds for a single request is given up.
const PATIENCE: u32 = 32;

/// The number in flight and the rule that bounds it.
#[derive(Debug)]
pub(super) struct Limit {
    in_flight: usize,
    /// Request-seconds spent in flight so far: the integral of `in_flight` over time.
    work: f64,
    work_until: Instant,
    rule: LimitRule,
}

#[derive(Debug)]
enum LimitRule {
    Fixed(usize),
    Adaptive(Box<Adaptive>),
}

/// What a request carries from its start to its finish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    pub(super) at: Instant,
    work: f64,
    /// The number of the cohort that it belongs to.
    cohort: Option<u32>,
}

/// How a request finished, as far as the limit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Success,
    PushedBack,
    /// It says nothing about the server's load.
    Unmeasured,
}

impl Limit {
    pub(super) fn new(concurrency: Concurrency, now: Instant) -> Self {
        let rule = match concurrency {
            Concurrency::Auto => LimitRule::Adaptive(Box::new(Adaptive::new(now))),
            Concurrency::Fixed(number) => LimitRule::Fixed(number.get()),
        };
        Self { in_flight: 0, work: 0.0, work_until: now, rule }
    }

    pub(super) fn get(&self) -> usize {
        match &self.rule {
            LimitRule::Fixed(limit) => *limit,
            LimitRule::Adaptive(adaptive) => adaptive.limit,
        }
    }

    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.rule, LimitRule::Fixed(_))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn is_reached(&self) -> bool {
        self.in_flight >= self.get()
    }

    pub(super) fn start(&mut self, now: Instant) -> Started {
        self.account_until(now);
        self.in_flight += 1;
        let cohort = match &mut self.rule {
            LimitRule::Fixed(_) => None,
            LimitRule::Adaptive(adaptive) => adaptive.start(self.in_flight),
        };
        Started { at: now, work: self.work, cohort }
    }

    pub(super) fn finish(&mut self, started: Started, finish: Finish, now: Instant) {
        self.account_until(now);
        let in_flight = self.in_flight;
        self.in_flight -= 1;
        let LimitRule::Adaptive(adaptive) = &mut self.rule else {
            return;
        };
        // One round trip: a request that started in this round is back.
        let is_long = adaptive.is_slow_start || now - adaptive.round.opened >= SHORTEST_ROUND;
        if adaptive.round.is_complete() && is_long && started.at >= adaptive.round.opened {
            adaptive.end_round(in_flight, now);
        }
        let latency = (now - started.at).as_secs_f64().max(f64::EPSILON);
        let load = (self.work - started.work) / latency;
        adaptive.watch(started, finish, load, latency);
        adaptive.finish(started, finish, load, latency);
        // A whole round of refusals is no time to wait for the round trip.
        if adaptive.round.pushed_back >= adaptive.round.wanted() {
            adaptive.end_round(self.in_flight, now);
        }
    }

    fn account_until(&mut self, now: Instant) {
        self.work += self.in_flight as f64 * (now - self.work_until).as_secs_f64();
        self.work_until = now;
    }
}

#[derive(Debug)]
struct Adaptive {
    limit: usize,
    is_slow_start: bool,
    /// The round with the most throughput, of those that said something about the limit.
    best: Option<SeenAnswers>,
    round: Round,
    /// The latency of a request that does not queue.
    base: Option<f64>,
    /// The least latency of any request.
    quickest: f64,
    /// Refusals of requests that started before the last cut were part of its cause.
    cut_at: Option<Instant>,
    trial: Option<Trial>,
    cohorts: u32,
    rounds_since_trial: u32,
}

#[derive(Debug)]
struct Round {
    opened: Instant,
    /// The limit at that time.
    limit: usize,
    successes: Sums,
    pushed_back: usize,
    /// The most that were in flight: a limit that was not reached proves nothing.
    peak: usize,
}

/// A comparison of the throughput at the present load with that at half of it, and of that with
/// half of the half, until it falls.
#[derive(Debug)]
struct Trial {
    /// The lowest limit known to be high enough.
    sufficient: usize,
    /// What was seen at that limit.
    reference: Option<SeenAnswers>,
    was_queueing: bool,
    cohort: Cohort,
}

/// Requests that started one after the other, awaited to the last one: counting those that finish
/// first would favour small pages, and mistake them for a shorter queue.
#[derive(Debug)]
struct Cohort {
    to_start: usize,
    running: usize,
    successes: Sums,
}

impl Cohort {
    fn at(limit: usize) -> Self {
        Self { to_start: limit.clamp(8, 32), running: 0, successes: Sums::default() }
    }
}

impl Round {
    fn open(now: Instant, limit: usize, in_flight: usize) -> Self {
        Self { opened: now, limit, successes: Sums::default(), pushed_back: 0, peak: in_flight }
    }

    fn finished(&self) -> usize {
        self.successes.count + self.pushed_back
    }

    /// Whether the limit was reached, or nearly.
    fn is_in_use(&self) -> bool {
        self.limit < 2 * self.peak
    }

    /// How many requests must have finished for the round to be over.
    fn wanted(&self) -> usize {
        self.limit.clamp(4, 32)
    }

    fn is_complete(&self) -> bool {
        self.finished() >= self.wanted()
    }
}

impl Adaptive {
    fn new(now: Instant) -> Self {
        Self {
            limit: FIRST_LIMIT,
            is_slow_start: true,
            best: None,
            round: Round::open(now, FIRST_LIMIT, 0),
            base: None,
            quickest: f64::INFINITY,
            cut_at: None,
            trial: None,
            cohorts: 0,
            rounds_since_trial: 0,
        }
    }

    fn start(&mut self, in_flight: usize) -> Option<u32> {
        self.round.peak = self.round.peak.max(in_flight);
        let cohort = &mut self.trial.as_mut()?.cohort;
        cohort.to_start = cohort.to_start.checked_sub(1)?;
        cohort.running += 1;
        Some(self.cohorts)
    }

    fn finish(&mut self, started: Started, finish: Finish, load: f64, latency: f64) {
        match finish {
            Finish::Success => {
                self.round.successes.add(load, latency);
                let is_calm = self.round.pushed_back == 0 && self.trial.is_none();
                if self.is_slow_start && self.round.is_in_use() && is_calm {
                    self.limit = (self.limit + self.room_after(latency)).min(InFlight::MAX);
                }
                self.quickest = self.quickest.min(latency);
            }
            Finish::PushedBack if self.cut_at.is_none_or(|cut| started.at >= cut) => {
                self.round.pushed_back += 1;
            }
            Finish::PushedBack | Finish::Unmeasured => {}
        }
    }

    /// For how many more requests an answer in slow start makes room.
    fn room_after(&self, latency: f64) -> usize {
        if latency < JITTER {
            // There is next to no waiting that more requests could fill.
            0
        } else if latency <= QUICK * self.quickest {
            ROOM
        } else {
            1
        }
    }

    fn end_round(&mut self, in_flight: usize, now: Instant) {
        self.rounds_since_trial += 1;
        if self.round.pushed_back > 0 {
            self.back_off(now);
        } else if self.trial.is_none() {
            self.judge();
        } else if self.rounds_since_trial > PATIENCE {
            self.abandon_trial();
        }
        self.round = Round::open(now, self.limit, in_flight);
    }

    fn back_off(&mut self, now: Instant) {
        let share = self.round.pushed_back as f64 / self.round.finished() as f64;
        self.limit = ((self.limit as f64 * (1.0 - share / 2.0)) as usize).max(1);
        self.cut_at = Some(now);
        self.trial = None;
        // A round without one success is an outage. It says nothing about the load that the
        // server takes when it is back, so that is found afresh.
        self.is_slow_start = self.round.successes.count == 0;
        self.best = None;
    }

    fn judge(&mut self) {
        let Some(seen) = self.round.successes.mean() else {
            return;
        };
        let base = self.lower_base(seen);
        if self.is_slow_start && self.round.is_in_use() && self.is_enough(seen) {
            return;
        }
        // In slow start the load multiplies: there is no time to lose.
        let may_try = self.is_slow_start || self.rounds_since_trial >= ROUNDS_BETWEEN_TRIALS;
        let is_overdue = self.rounds_since_trial >= ROUNDS_WITHOUT_TRIAL
            && seen.latency >= 2.0 * JITTER
            && seen.load >= NO_QUEUE;
        if is_overdue || may_try && seen.is_crowded(base) {
            self.begin_trial();
        } else if !self.is_slow_start
            && self.round.peak >= self.limit
            && seen.is_calm(base)
            && self.pays(seen)
        {
            self.limit = (self.limit + (self.limit / 8).max(1)).min(InFlight::MAX);
        }
    }

    /// Whether slow start is over, because this round brought no more than one before with less in
    /// flight, or because there is little to wait for.
    fn is_enough(&mut self, seen: SeenAnswers) -> bool {
        if seen.latency < JITTER {
            self.is_slow_start = false;
            self.best = Some(seen);
            return true;
        }
        match self.best {
            Some(best) if !seen.gains_on(best) => {
                self.is_slow_start = false;
                self.limit = self.limit.min((best.load * HEADROOM).ceil() as usize);
                // What was best may have been a queue already.
                self.begin_trial();
                true
            }
            _ => {
                self.best = Some(seen);
                false
            }
        }
    }

    /// Whether what is in flight now is worth it, if it is so little work for the server that its
    /// latency hardly tells: what takes longer may then be this process, which is busy otherwise.
    fn pays(&mut self, seen: SeenAnswers) -> bool {
        let is_better = self.best.is_none_or(|best| seen.gains_on(best));
        if is_better {
            self.best = Some(seen);
        }
        seen.latency >= JITTER || is_better && seen.latency >= NO_WAIT
    }

    /// The base follows lower latencies. Higher ones raise it only after a trial.
    fn lower_base(&mut self, seen: SeenAnswers) -> f64 {
        let base = self.base.get_or_insert(seen.latency);
        *base += (seen.latency + seen.error - *base).min(0.0) / 4.0;
        *base
    }

    fn begin_trial(&mut self) {
        self.rounds_since_trial = 0;
        self.cohorts = self.cohorts.wrapping_add(1);
        self.trial = Some(Trial {
            sufficient: self.limit,
            reference: None,
            was_queueing: false,
            cohort: Cohort::at(self.limit),
        });
    }

    fn abandon_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.limit = trial.sufficient;
        }
    }

    fn watch(&mut self, started: Started, finish: Finish, load: f64, latency: f64) {
        let Some(trial) = &mut self.trial else {
            return;
        };
        if started.cohort != Some(self.cohorts) {
            return;
        }
        let cohort = &mut trial.cohort;
        cohort.running -= 1;
        if finish == Finish::Success {
            cohort.successes.add(load, latency);
        }
        if cohort.to_start == 0 && cohort.running == 0 {
            let seen = cohort.successes.mean();
            self.trial = self.trial.take().and_then(|it| self.go_on(it, seen));
        }
    }

    /// The next, lower load of a trial, or its end.
    fn go_on(&mut self, mut trial: Trial, seen: Option<SeenAnswers>) -> Option<Trial> {
        self.rounds_since_trial = 0;
        let Some(seen) = seen else {
            self.limit = trial.sufficient;
            return None;
        };
        let half = ((seen.load / 2.0) as usize).max(1);
        match trial.reference {
            Some(before) if !seen.relieves(before) => {
                self.base = Some(seen.latency);
                self.limit = trial.sufficient;
                if trial.was_queueing {
                    let enough = before.throughput() * seen.latency * HEADROOM;
                    self.limit = (enough as usize).clamp(1, trial.sufficient);
                    self.is_slow_start = false;
                }
                return None;
            }
            Some(_) => trial.was_queueing = true,
            None => {}
        }
        if half >= self.limit {
            return None;
        }
        trial.sufficient = self.limit;
        trial.reference = Some(seen);
        trial.cohort = Cohort::at(half);
        self.limit = half;
        self.cohorts = self.cohorts.wrapping_add(1);
        Some(trial)
    }
}
