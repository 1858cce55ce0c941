//! Statistics of a group of requests: their means, and whether these show that the server is overloaded.
//!
//! The comparisons allow for random variation. This module only measures. The caller decides about the
//! concurrency.
use super::tuning::{IDLE_RATIO, JITTER_S, LONG_QUEUE, QUEUED_RATIO, SHORT_QUEUE};

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

    pub(super) fn mean(&self) -> Option<AnswerStats> {
        let count = self.count as f64;
        let latency = self.latency / count;
        let variance = (self.latency_squared / count - latency * latency).max(0.0);
        (self.count > 0).then(|| AnswerStats {
            load: self.load / count,
            latency,
            error: (variance / count).sqrt(),
        })
    }
}

/// Means over some successful requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerStats {
    pub(super) load: f64,
    pub(super) latency: f64,
    /// Standard error of `latency` in seconds. Pages differ in size, so the mean latency varies randomly.
    pub(super) error: f64,
}

impl AnswerStats {
    /// Returns the throughput in requests per second, by Little's law.
    pub(super) fn throughput(self) -> f64 {
        self.load / self.latency
    }

    /// Returns the lower bound of the latency in seconds: the mean minus two standard errors.
    fn low_latency(self) -> f64 {
        self.latency - 2.0 * self.error
    }

    /// Estimates the number of requests in flight that wait in the server's queue. `base` is the latency of a
    /// request without a queue, in seconds.
    fn queue(self, base: f64) -> f64 {
        self.load * (1.0 - base / self.low_latency())
    }

    /// Returns whether the load, which is lower than in `before`, shortened the server's queue and kept the
    /// throughput.
    pub(super) fn shortens_queue(self, before: Self) -> bool {
        let kept = self.throughput() / before.throughput();
        let load = self.load / before.load;
        let chance = 2.0 * self.error.hypot(before.error);
        kept >= (1.0 + load) / 2.0 && before.latency - self.latency >= JITTER_S.max(chance)
    }

    /// Returns whether the throughput grew at least half as much as the load, within the statistical error.
    pub(super) fn outperforms(self, before: Self) -> bool {
        let load = self.load / before.load;
        let throughput = self.load / self.low_latency().max(f64::EPSILON);
        throughput >= 0.99 * before.throughput() * (1.0 + load) / 2.0
    }

    pub(super) fn is_calm(self, base: f64) -> bool {
        self.low_latency() < base * IDLE_RATIO || self.queue(base) < SHORT_QUEUE
    }

    pub(super) fn is_crowded(self, base: f64) -> bool {
        self.low_latency() > base * QUEUED_RATIO
            && self.low_latency() > base + JITTER_S
            && self.queue(base) > LONG_QUEUE
    }
}
