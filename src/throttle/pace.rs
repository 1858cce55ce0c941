//! The rate at which requests may start: the user's rate limit, and the rate learned from 429 answers. The
//! code is pure: the caller passes the time, and the code never waits, locks or reads a clock.
//!
//! # Why a rate
//!
//! A server that answers in 5 ms and allows 20 requests a second is overloaded tenfold by one request in
//! flight. No concurrency fits such a server, only a rate does. Servers do not publish this rate, and they
//! usually enforce it with a token bucket.
//!
//! # Learning
//!
//! When a 429 comes, the rate lies between two known numbers. The requested rate at that moment was too
//! high. The admitted rate over the whole time since the last pause never exceeds the quota. The new
//! ceiling is the geometric mean of the two (multiplicative decrease).
//!
//! Below the ceiling the rate follows the cubic curve of TCP CUBIC. It returns quickly to near the ceiling
//! and stays there for long. Then it rises ever faster, because a quota without further 429s has changed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::tuning::{CATCH_UP, EARLY_REFUSAL_RATIO, LEAST_REQUESTS, SLOWEST, STEP_BACK};
use tokio::time::Instant;

/// A number of requests per unit of time, such as `20/s` or `600/min`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    requests: f64,
    per: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

/// The error for a text that is not a [`Rate`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a rate: give requests per second, minute or hour, such as `20/s`, `600/min` or `0.5/s`"
)]
pub struct InvalidRate(String);

impl Unit {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }

    fn seconds(self) -> f64 {
        match self {
            Self::Second => 1.0,
            Self::Minute => 60.0,
            Self::Hour => 3600.0,
        }
    }
}

impl Rate {
    /// Returns the rate in requests per second.
    pub fn per_second(self) -> f64 {
        self.requests / self.per.seconds()
    }

    /// Returns this rate divided by a number of workers, which keep to it together. 0 counts as 1.
    ///
    /// ```
    /// use overmind_export::Rate;
    /// let quota: Rate = "20/s".parse()?;
    /// assert_eq!(quota.divided(16).per_second(), 1.25);
    /// # Ok::<(), overmind_export::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn divided(self, workers: u32) -> Self {
        Self { requests: self.requests / f64::from(workers.max(1)), per: self.per }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (requests, unit) = text.split_once('/')?;
            let per = Unit::ALL.into_iter().find(|it| it.name() == unit)?;
            let requests = requests.parse().ok()?;
            let rate = Self { requests, per };
            // A rate below one request an hour is a mistake. This also excludes waits that overflow.
            let is_sane = requests.is_finite() && rate.per_second() >= 1.0 / 3600.0;
            is_sane.then_some(rate)
        };
        parse().ok_or_else(|| InvalidRate(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, self.per.name())
    }
}

/// The schedule of request starts, and the rate learned from the server.
#[derive(Debug)]
pub(super) struct Pace {
    cap: Option<f64>,
    learned: Option<Ceiling>,
    /// Earliest time of the next start.
    next: Option<Instant>,
    window: PaceWindow,
    refusal: Option<Refusal>,
    /// Whether a 429 among the first few requests was ignored as random.
    forgiven: bool,
}

/// Counters since the end of the last refusal.
#[derive(Debug)]
struct PaceWindow {
    opened: Instant,
    starts: u32,
    refused: u32,
}

/// A group of 429s, from the first one until a request starts again.
#[derive(Debug)]
struct Refusal {
    at: Instant,
    resume: Instant,
}

#[derive(Debug)]
struct Ceiling {
    rate: f64,
    /// Time in seconds for which the rate was fully used: an unused rate proves nothing.
    tested: f64,
}

impl Ceiling {
    /// Returns the current rate in requests per second.
    fn current(&self) -> f64 {
        // At least 100 requests between two probes keep 429s rare at any rate.
        let plateau = (100.0 / self.rate).clamp(5.0, 60.0);
        let scale = plateau / STEP_BACK.cbrt();
        self.rate * (1.0 + ((self.tested - plateau) / scale).powi(3))
    }
}

impl Pace {
    pub(super) fn new(cap: Option<Rate>, now: Instant) -> Self {
        Self {
            cap: cap.map(Rate::per_second),
            learned: None,
            next: None,
            window: PaceWindow { opened: now, starts: 0, refused: 0 },
            refusal: None,
            forgiven: false,
        }
    }

    /// Returns the earliest time of the next start; `None` means immediately.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a rate was learned from a 429.
    pub(super) fn is_learned(&self) -> bool {
        self.learned.is_some()
    }

    pub(super) fn start(&mut self, now: Instant) {
        if let Some(refusal) = self.refusal.take() {
            self.learn(&refusal);
        }
        if self.window.starts == 0 {
            self.window.opened = now;
        }
        self.window.starts += 1;
        let learned = self.learned.as_ref().map(Ceiling::current);
        let rate = match (self.cap, learned) {
            (Some(cap), Some(learned)) => cap.min(learned),
            (Some(rate), None) | (None, Some(rate)) => rate,
            (None, None) => return,
        };
        let interval = Duration::from_secs_f64(1.0 / rate);
        let slot = self.next.unwrap_or(now);
        if let Some(ceiling) = &mut self.learned
            && learned == Some(rate)
            && now < slot + interval
        {
            ceiling.tested += interval.as_secs_f64();
        }
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        self.next = Some(slot.max(earliest) + interval);
    }

    pub(super) fn refuse(&mut self, started: Instant, retry_after: Duration, now: Instant) {
        // This request started before the last pause, and that refusal has already lowered the rate.
        if self.refusal.is_none() && started < self.window.opened {
            return;
        }
        self.window.refused += 1;
        let resume = now + retry_after;
        let refusal = self.refusal.get_or_insert(Refusal { at: now, resume });
        refusal.resume = refusal.resume.max(resume);
    }

    fn learn(&mut self, refusal: &Refusal) {
        let fresh = PaceWindow { opened: refusal.resume, starts: 0, refused: 0 };
        let PaceWindow { opened, starts, refused } = std::mem::replace(&mut self.window, fresh);
        // One 429 among the first few requests may have another cause: the pause is obeyed, nothing more.
        // A second 429 shows a quota.
        if self.learned.is_none() && starts < LEAST_REQUESTS && !self.forgiven {
            self.forgiven = true;
            return;
        }
        // Requests still in flight count as admitted: a quota refuses immediately. A too high estimate
        // costs one more 429, a too low one costs many seconds.
        let admitted = starts.saturating_sub(refused);
        let per_second = |count: u32, until: Instant| {
            f64::from(count) / (until - opened).as_secs_f64().max(0.001)
        };
        // The pause is part of the time, because a quota refills during the pause.
        let came_through = per_second(admitted, refusal.resume);
        let asked_for = match &self.learned {
            Some(ceiling) => ceiling.current(),
            None => per_second(starts, refusal.at),
        };
        let rate = if self.learned.is_some() && admitted < LEAST_REQUESTS {
            // An early refusal: a small token bucket, or a rate that is far too high. The admitted rate
            // over a pause that refills few tokens is less reliable than the learned rate itself.
            came_through.max(asked_for * EARLY_REFUSAL_RATIO)
        } else {
            (came_through * asked_for).sqrt()
        };
        self.learned = Some(Ceiling { rate: rate.min(asked_for).max(SLOWEST), tested: 0.0 });
    }
}
