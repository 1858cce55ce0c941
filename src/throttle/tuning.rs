//! Every constant of the throttle: its unit, its value, and the reason for it.

use std::time::Duration;

// Pauses.

/// Longest pause that one answer can impose: 24 hours. Longer values would overflow time arithmetic. The
/// caller sees `Retry-After` first and decides whether to wait that long.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

// The limit of requests in flight.

/// Initial limit of slow start: 16 requests. With fewer, a dataset of 100 pages would be half done before
/// the limit has grown. A server that queues at 16 shows this in the trial that ends slow start.
pub(super) const FIRST_LIMIT: usize = 16;

/// Slow start: an answer within 2.5 times the lowest latency shows that nothing queues yet. The factor
/// allows for jitter and for a new connection, which makes a request take two round trips.
pub(super) const QUICK_RATIO: f64 = 2.5;

/// Slow start: such a quick answer raises the limit by 3 requests (fourfold a round), so that the limit
/// grows quickly on an idle server. A slower answer raises it by 1 (twofold a round).
pub(super) const SLOW_START_STEP: usize = 3;

/// Minimum length of a round after slow start: 10 ms, whatever its number of requests. In a shorter round,
/// one thread that the system delays looks like a queue, or hides a queue.
pub(super) const SHORTEST_ROUND: Duration = Duration::from_millis(10);

/// Latency in seconds (2.5 ms) below which the limit does not increase. At 2.5 ms, 16 requests in flight
/// already are at least 6,400 requests per second. More requests were not faster and caused more cache misses.
pub(super) const LEAST_LATENCY_S: f64 = 0.0025;

/// Number of requests in flight below which no periodic trial starts: fewer than 4 are too short a queue.
pub(super) const LEAST_TRIAL_LOAD: f64 = 4.0;

/// Ratio of the limit to the load that exactly fills the server: 1.25, so that the server stays busy
/// when the load varies.
pub(super) const HEADROOM: f64 = 1.25;

/// Minimum number of rounds between two trials: 8. A trial halves the load, so trials on a server that
/// is merely noisy must be rare.
pub(super) const ROUNDS_BETWEEN_TRIALS: u32 = 8;

/// Number of rounds after which a trial starts even if nothing seems to queue: 64. A base latency that was
/// measured under load hides a queue.
pub(super) const ROUNDS_WITHOUT_TRIAL: u32 = 64;

/// Number of rounds after which a trial is given up: 32, so that one request without an answer cannot
/// prolong it.
pub(super) const MOST_TRIAL_ROUNDS: u32 = 32;

// Signs of a queue in the answers.

/// Latency difference in seconds (5 ms) that counts as noise: a smaller one never lowers the limit. A
/// latency below it also ends slow start, because more requests in flight would hardly help.
pub(super) const JITTER_S: f64 = 0.005;

/// Multiple of the base latency below which nothing queues: 1.2 leaves 20 % for noise, and the limit may
/// grow.
pub(super) const IDLE_RATIO: f64 = 1.2;

/// Multiple of the base latency above which requests may be queueing: 1.5 is clearly above the noise, so a
/// trial starts.
pub(super) const QUEUED_RATIO: f64 = 1.5;

/// Number of queued requests, estimated from the latency, that is too small to matter: with fewer than 3
/// the limit may grow at any latency.
pub(super) const SHORT_QUEUE: f64 = 3.0;

/// Number of queued requests above which a trial starts: 6, because a trial costs throughput and a shorter
/// queue costs less.
pub(super) const LONG_QUEUE: f64 = 6.0;

// The rate.

/// Time that a late start may catch up: 5 ms, because the timer's resolution of 1 ms would otherwise
/// lower the rate. It also bounds the largest burst.
pub(super) const CATCH_UP: Duration = Duration::from_millis(5);

/// Number of requests between two 429s that make an estimate reliable: with fewer than 10, one more or
/// less changes the rate too much.
pub(super) const LEAST_REQUESTS: u32 = 10;

/// Factor of the multiplicative decrease, 0.7, when a 429 comes before there is enough evidence: the rate
/// falls clearly, but a single early 429 does not halve it.
pub(super) const EARLY_REFUSAL_RATIO: f64 = 0.7;

/// Lowest learned rate: 0.1 requests per second (one in 10 s), so that an export never stops entirely.
pub(super) const SLOWEST: f64 = 0.1;

/// Distance of the rate below the ceiling after a 429: 10 %, so that the next 429 is not immediate.
pub(super) const STEP_BACK: f64 = 0.1;
