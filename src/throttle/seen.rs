//! Statistics of a group of requests: their means, and whether these show that the server is overloaded.
//!
//! The comparisons allow for random variation. This module only measures. The caller decides about the
//! concurrency.
use super::tuning::{CALM, CROWDED, JITTER, LONG_QUEUE, SHORT_QUEUE};

/// Sums over successful requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) count: usize,
    /// Sum of the loads. The load of a request is the mean number of requests in flight while it ran.
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
    /// Standard error of `latency` in seconds. Pages differ in size, so the mean latency varies randomly.
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

    /// Estimates the number of requests in flight that wait in the server's queue. `base` is the latency of a
    /// request without a queue, in seconds.
    fn queue(self, base: f64) -> f64 {
        self.load * (1.0 - base / self.surely())
    }

    /// Returns whether the load, which is lower than in `before`, shortened the server's queue and kept the
    /// throughput.
    pub(super) fn relieves(self, before: Self) -> bool {
        let kept = self.throughput() / before.throughput();
        let load = self.load / before.load;
        let chance = 2.0 * self.error.hypot(before.error);
        kept >= (1.0 + load) / 2.0 && before.latency - self.latency >= JITTER.max(chance)
    }

    /// Returns whether the throughput grew at least half as much as the load, within the statistical error.
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
