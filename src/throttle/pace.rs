//! How many requests may start in a second: what the user allows, and what 429s taught.
//! Pure: it is told the time, and never waits, locks or reads a clock.
//!
//! Against a server that answers in 5 ms and allows 20 requests a second, one request in flight
//! is ten times too fast: no number in flight is right, only a rate is. Nobody tells that rate,
//! but it lies between two numbers that are known when a 429 comes: what was asked for at that
//! moment (too much), and what came through over the whole time since the last pause (never more
//! than the quota gives). The next ceiling is their geometric mean.
//!
//! Below the ceiling the rate follows the cubic curve of TCP CUBIC: quickly back near the
//! ceiling, long in its neighbourhood, and then upward ever faster, because a quota that does not
//! answer with 429 any more has changed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// A number of requests in a unit of time, as in `20/s` or `600/min`.
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

/// A text that is no [`Rate`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no rate: give requests per second, minute or hour, as in `20/s`, `600/min`, `0.5/s`"
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
    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.requests / self.per.seconds()
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
            // Slower than one an hour is a mistake, and not a finite wait for the float's extremes.
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

/// A start that comes late may be made up for by this much, or the timer's granularity of a
/// millisecond would eat into the rate. It is also the largest burst, as time.
const CATCH_UP: Duration = Duration::from_millis(5);
/// Fewer requests than this between two 429s say little about a quota.
const EVIDENCE: u32 = 10;
/// What is left of a learned rate that was refused before there was evidence.
const SOON: f64 = 0.7;
/// The slowest rate learned, per second.
const SLOWEST: f64 = 0.1;
/// How far below the ceiling the rate begins after a 429.
const STEP_BACK: f64 = 0.1;

/// The schedule of starts and what was learned about the server's quota.
#[derive(Debug)]
pub(super) struct Pace {
    cap: Option<f64>,
    learned: Option<Ceiling>,
    /// Nothing starts before this.
    next: Option<Instant>,
    window: PaceWindow,
    refusal: Option<Refusal>,
    /// Whether a 429 among the first few requests was put down to chance.
    forgiven: bool,
}

/// What happened since the last refusal was over.
#[derive(Debug)]
struct PaceWindow {
    opened: Instant,
    starts: u32,
    refused: u32,
}

/// The 429s that belong together: from the first one until a request starts again.
#[derive(Debug)]
struct Refusal {
    at: Instant,
    resume: Instant,
}

#[derive(Debug)]
struct Ceiling {
    rate: f64,
    /// Seconds for which the rate was used up. One that nobody needs proves nothing.
    tested: f64,
}

impl Ceiling {
    /// The rate to use now.
    fn current(&self) -> f64 {
        // At least a hundred requests between two probes keeps 429s rare at any rate.
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

    /// When the next request may start, if that is not at once.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a 429 has taught a rate.
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
        // A straggler from before the last pause: that refusal has been learned from.
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
        // One 429 among the first few requests may be anybody's doing: the pause is obeyed. A second
        // one is a quota's.
        if self.learned.is_none() && starts < EVIDENCE && !self.forgiven {
            self.forgiven = true;
            return;
        }
        // Those still in flight count as let through: a quota refuses at once, and an estimate
        // that is too high costs one more 429, one that is too low costs many seconds.
        let admitted = starts.saturating_sub(refused);
        let per_second = |count: u32, until: Instant| {
            f64::from(count) / (until - opened).as_secs_f64().max(0.001)
        };
        // The pause is part of the time: what a quota refuses now, it gives after the pause.
        let came_through = per_second(admitted, refusal.resume);
        let asked_for = match &self.learned {
            Some(ceiling) => ceiling.current(),
            None => per_second(starts, refusal.at),
        };
        let rate = if self.learned.is_some() && admitted < EVIDENCE {
            // Refused soon: a small bucket, or a rate that is far too high. What came through over
            // a pause that refills little says less than the rate itself.
            came_through.max(asked_for * SOON)
        } else {
            (came_through * asked_for).sqrt()
        };
        self.learned = Some(Ceiling { rate: rate.min(asked_for).max(SLOWEST), tested: 0.0 });
    }
}
