//! Measurements of some requests: means, and whether they show that the server is overloaded. This module
//! does not take random variation for a trend, and does not decide what follows.
use super::tuning::{CALM, CROWDED, JITTER, LONG_QUEUE, SHORT_QUEUE};

/// Sums over successful requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) count: usize,
    /// Sum over the requests of the mean number in flight while each one ran.
    load: f64,
    latency: f64,
    latency_squared: f64,
}

impl Sums {
    pub(super) fn add(&mut self, load: f64, latency: f64) {
        self.count += 1;
        self.load += load;
        self.latency += latency;
        self.latency_squared += latency * latency;
    }

    pub(super) fn mean(&self) -> Option<SeenAnswers> {
        let count = self.count as f64;
        let latency = self.latency / count;
        let variance = (self.latency_squared / count - latency * latency).max(0.0);
        (self.count > 0).then(|| SeenAnswers {
            load: self.load / count,
            latency,
            error: (variance / count).sqrt(),
        })
    }
}

/// Means over some successful requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenAnswers {
    pub(super) load: f64,
    pub(super) latency: f64,
    /// Standard error of `latency` in seconds: pages differ in size, so a mean varies randomly.
    pub(super) error: f64,
}

impl SeenAnswers {
    /// Returns the throughput in requests per second, by Little's law.
    pub(super) fn throughput(self) -> f64 {
        self.load / self.latency
    }

    /// Returns the lower bound of the latency in seconds: the mean minus two standard errors.
    fn surely(self) -> f64 {
        self.latency - 2.0 * self.error
    }

    /// Estimates how many of the requests in flight only queue, if a single request takes `base` seconds.
    fn queue(self, base: f64) -> f64 {
        self.load * (1.0 - base / self.surely())
    }

    /// Whether a lower load shortened a queue without a loss of throughput.
    pub(super) fn relieves(self, before: Self) -> bool {
        let kept = self.throughput() / before.throughput();
        let load = self.load / before.load;
        let chance = 2.0 * self.error.hypot(before.error);
        kept >= (1.0 + load) / 2.0 && before.latency - self.latency >= JITTER.max(chance)
    }

    /// Whether an increase in load brought at least half of that increase in throughput, within the
    /// statistical error.
    pub(super) fn gains_on(self, before: Self) -> bool {
        let load = self.load / before.load;
        let throughput = self.load / self.surely().max(f64::EPSILON);
        throughput >= 0.99 * before.throughput() * (1.0 + load) / 2.0
    }

    pub(super) fn is_calm(self, base: f64) -> bool {
        self.surely() < base * CALM || self.queue(base) < SHORT_QUEUE
    }

    pub(super) fn is_crowded(self, base: f64) -> bool {
        self.surely() > base * CROWDED
            && self.surely() > base + JITTER
            && self.queue(base) > LONG_QUEUE
    }
}
