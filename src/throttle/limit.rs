//! The limit of requests in flight: a fixed number, or one learned from the server. The code is pure: the
//! caller passes the time, and the code never waits, locks or reads a clock.
//!
//! # Learning
//!
//! The learned limit changes once a *round* (about one round trip). A single sample never changes it,
//! because pages differ in size.
//!
//! - **Slow start**: the limit multiplies each round, up to four times, while throughput grows with it.
//! - **Increase**: after slow start the limit grows by an eighth a round, as long as nothing queues. That
//!   is at least one request, so below a limit of 16 it is an additive increase.
//! - **Multiplicative decrease**: refusals cut the limit in proportion to their share of the round, by up
//!   to one half. One refused request in a hundred costs little. A server that refuses everything gets
//!   almost no requests.
//!
//! # Trials
//!
//! Rising latency has two causes that look the same: our requests queue at the server, or the server
//! became slower for another reason. A *trial* distinguishes them by halving the load for a moment. If
//! throughput holds, the other half of the requests only queued, and the trial halves the load again. If
//! throughput falls with the load, our requests did not cause the latency. The limit then returns to its
//! old value immediately.

use tokio::time::Instant;

use super::concurrency::{Concurrency, InFlight};
use super::stats::{AnswerStats, Sums};
use super::tuning::{
    FIRST_LIMIT, HEADROOM, JITTER_S, LEAST_LATENCY_S, LEAST_TRIAL_LOAD, MOST_TRIAL_ROUNDS,
    QUICK_RATIO, ROUNDS_BETWEEN_TRIALS, ROUNDS_WITHOUT_TRIAL, SHORTEST_ROUND, SLOW_START_STEP,
};

/// The number of requests in flight and the rule that bounds it.
#[derive(Debug)]
pub(super) struct Limit {
    in_flight: usize,
    /// Request-seconds in flight so far: the integral of `in_flight` over time.
    work: f64,
    work_until: Instant,
    rule: LimitRule,
}

#[derive(Debug)]
enum LimitRule {
    Fixed(usize),
    Adaptive(Box<Adaptive>),
}

/// The measurements of a request's start, kept until it finishes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    pub(super) at: Instant,
    work: f64,
    /// Number of the request's cohort, if it belongs to one.
    cohort: Option<u32>,
}

/// The result of a request, as the limit sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Success,
    PushedBack,
    /// The result does not show the server's load.
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
        // A round lasts one round trip: it ends when a request that started in it has finished.
        let is_long = adaptive.is_slow_start || now - adaptive.round.opened >= SHORTEST_ROUND;
        if adaptive.round.is_complete() && is_long && started.at >= adaptive.round.opened {
            adaptive.end_round(in_flight, now);
        }
        let latency = (now - started.at).as_secs_f64().max(f64::EPSILON);
        let load = (self.work - started.work) / latency;
        adaptive.watch(started, finish, load, latency);
        adaptive.finish(started, finish, load, latency);
        // If all requests of a round are refused, the cut must not wait for the round trip.
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
    /// The round with the highest throughput, of the rounds in which the limit was used.
    best: Option<AnswerStats>,
    round: Round,
    /// Estimated latency of a request that does not queue, in seconds.
    base: Option<f64>,
    /// Lowest latency of any request, in seconds.
    quickest: f64,
    /// Time of the last cut. Refusals of requests that started earlier are part of its cause.
    cut_at: Option<Instant>,
    trial: Option<Trial>,
    cohorts: u32,
    rounds_since_trial: u32,
}

#[derive(Debug)]
struct Round {
    opened: Instant,
    /// Limit at the time when the round began.
    limit: usize,
    successes: Sums,
    pushed_back: usize,
    /// Maximum number of requests in flight: a limit that was not reached proves nothing.
    peak: usize,
}

/// A comparison of throughput at the present load and at half of it. It continues with half of the half,
/// until throughput falls.
#[derive(Debug)]
struct Trial {
    /// The lowest limit that is known to be high enough.
    sufficient: usize,
    /// The measurements at that limit.
    reference: Option<AnswerStats>,
    was_queueing: bool,
    cohort: Cohort,
}

/// Consecutive requests that are all awaited, down to the last one. If the trial counted the first finished
/// requests instead, it would favour small pages and take them for a shorter queue.
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

    /// Whether more than half of the limit was used.
    fn is_in_use(&self) -> bool {
        self.limit < 2 * self.peak
    }

    /// Number of requests that must finish before the round can end.
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
                    self.limit = (self.limit + self.slow_start_step(latency)).min(InFlight::MAX);
                }
                self.quickest = self.quickest.min(latency);
            }
            Finish::PushedBack if self.cut_at.is_none_or(|cut| started.at >= cut) => {
                self.round.pushed_back += 1;
            }
            Finish::PushedBack | Finish::Unmeasured => {}
        }
    }

    /// By how much an answer in slow start raises the limit, in requests.
    fn slow_start_step(&self, latency: f64) -> usize {
        if latency < JITTER_S {
            // The latency is so low that more requests in flight would hardly help.
            0
        } else if latency <= QUICK_RATIO * self.quickest {
            SLOW_START_STEP
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
        } else if self.rounds_since_trial > MOST_TRIAL_ROUNDS {
            self.abandon_trial();
        }
        self.round = Round::open(now, self.limit, in_flight);
    }

    fn back_off(&mut self, now: Instant) {
        let share = self.round.pushed_back as f64 / self.round.finished() as f64;
        self.limit = ((self.limit as f64 * (1.0 - share / 2.0)) as usize).max(1);
        self.cut_at = Some(now);
        self.trial = None;
        // A round without one success is an outage. It does not show the load that the server can take
        // after the outage, so slow start begins again.
        self.is_slow_start = self.round.successes.count == 0;
        self.best = None;
    }

    fn judge(&mut self) {
        let Some(seen) = self.round.successes.mean() else {
            return;
        };
        let base = self.lower_base(seen);
        if self.is_slow_start && self.round.is_in_use() && self.ends_slow_start(seen) {
            return;
        }
        // In slow start the load multiplies, so a trial must start immediately.
        let may_try = self.is_slow_start || self.rounds_since_trial >= ROUNDS_BETWEEN_TRIALS;
        let is_overdue = self.rounds_since_trial >= ROUNDS_WITHOUT_TRIAL
            && seen.latency >= 2.0 * JITTER_S
            && seen.load >= LEAST_TRIAL_LOAD;
        if is_overdue || may_try && seen.is_crowded(base) {
            self.begin_trial();
        } else if !self.is_slow_start
            && self.round.peak >= self.limit
            && seen.is_calm(base)
            && self.should_grow(seen)
        {
            self.limit = (self.limit + (self.limit / 8).max(1)).min(InFlight::MAX);
        }
    }

    /// Whether slow start is over. It is over if this round brought no more throughput than a round with
    /// fewer requests in flight, or if the latency is too low for more requests to help.
    fn ends_slow_start(&mut self, seen: AnswerStats) -> bool {
        if seen.latency < JITTER_S {
            self.is_slow_start = false;
            self.best = Some(seen);
            return true;
        }
        match self.best {
            Some(best) if !seen.outperforms(best) => {
                self.is_slow_start = false;
                self.limit = self.limit.min((best.load * HEADROOM).ceil() as usize);
                // The best round may already have had a queue.
                self.begin_trial();
                true
            }
            _ => {
                self.best = Some(seen);
                false
            }
        }
    }

    /// Whether the requests in flight pay off. At low latencies the server has so little work that its
    /// latency shows little: an increase may come from this process, which is busy itself. Therefore
    /// throughput must grow there.
    fn should_grow(&mut self, seen: AnswerStats) -> bool {
        let is_better = self.best.is_none_or(|best| seen.outperforms(best));
        if is_better {
            self.best = Some(seen);
        }
        seen.latency >= JITTER_S || is_better && seen.latency >= LEAST_LATENCY_S
    }

    /// Moves the base latency towards lower latencies (EWMA, weight 1/4). Only a trial raises it.
    fn lower_base(&mut self, seen: AnswerStats) -> f64 {
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
            self.trial = self.trial.take().and_then(|it| self.next_step(it, seen));
        }
    }

    /// Starts the next step of a trial, at a lower load, or ends the trial.
    fn next_step(&mut self, mut trial: Trial, seen: Option<AnswerStats>) -> Option<Trial> {
        self.rounds_since_trial = 0;
        let Some(seen) = seen else {
            self.limit = trial.sufficient;
            return None;
        };
        let half = ((seen.load / 2.0) as usize).max(1);
        match trial.reference {
            Some(before) if !seen.shortens_queue(before) => {
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
