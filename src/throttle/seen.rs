//! What some requests showed about the server's load: means, and whether they are bad news.
//! It never takes chance for a trend, and never decides what follows.

/// Latency differences below this are noise, and never shrink the limit.
pub(super) const JITTER: f64 = 0.005;
/// Below this multiple of the base latency nothing queues: the limit may grow.
const CALM: f64 = 1.2;
/// Above this multiple of the base latency requests may be queueing: a trial tells.
const CROWDED: f64 = 1.5;
/// So many queued requests (as the latency suggests) are too few to matter, whatever the multiple.
const SHORT_QUEUE: f64 = 3.0;
/// Only a longer queue than this is worth a trial.
const LONG_QUEUE: f64 = 6.0;

/// Sums over successful requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) count: usize,
    /// The mean number of requests that were in flight beside each one.
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

/// The mean of some requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenAnswers {
    pub(super) load: f64,
    pub(super) latency: f64,
    /// The standard error of `latency`: pages differ in size, so a mean may be off by chance.
    pub(super) error: f64,
}

impl SeenAnswers {
    /// Requests a second, by Little's law.
    pub(super) fn throughput(self) -> f64 {
        self.load / self.latency
    }

    /// The latency less what may be chance.
    fn surely(self) -> f64 {
        self.latency - 2.0 * self.error
    }

    /// How many of the requests in flight only wait, if one alone would take `base`.
    fn queue(self, base: f64) -> f64 {
        self.load * (1.0 - base / self.surely())
    }

    /// Whether less load shortened a queue and cost no throughput.
    pub(super) fn relieves(self, before: Self) -> bool {
        let kept = self.throughput() / before.throughput();
        let load = self.load / before.load;
        let chance = 2.0 * self.error.hypot(before.error);
        kept >= (1.0 + load) / 2.0 && before.latency - self.latency >= JITTER.max(chance)
    }

    /// Whether what there is more of in load brought at least half as much in throughput, give or
    /// take chance.
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
