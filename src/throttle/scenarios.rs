//! Tests of the throttle with simulated servers, under paused time. Each file in `tests/data/throttle`
//! describes a server, a number of pages and the expected results, which must hold for several seeds.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Concurrency, InFlight, Outcome, PushBack, Throttle};

const SEEDS: [u64; 3] = [1, 20, 300];
const FIXED: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Maximum number of unfinished pages, like a paginator's prefetch bound.
const WINDOW: usize = 128;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// A description of the case for readers.
    #[serde(rename = "about")]
    _about: String,
    server: Model,
    pages: u64,
    /// Time in seconds from which everything except the total time is measured.
    settled_s: f64,
    expect: Expect,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    latency_ms: f64,
    /// Number of workers: more requests share the throughput of this number.
    workers: Option<f64>,
    /// Maximum number of requests at once: the server refuses more with a bare 429.
    most_at_once: Option<usize>,
    quota: Option<Quota>,
    outage: Option<Outage>,
    slower: Option<Slower>,
    big_pages: Option<BigPages>,
    /// The share of requests that get a 503 at random.
    #[serde(default)]
    flaky: f64,
}

/// A token bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quota {
    per_s: f64,
    burst: f64,
    retry_after_s: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outage {
    from_s: f64,
    to_s: f64,
    answer: Down,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Down {
    ConnectionRefused,
    Unavailable,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slower {
    from_s: f64,
    factor: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BigPages {
    share: f64,
    factor: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The mean limit after settling.
    limit: [f64; 2],
    /// Minimum throughput after settling, as a share of the throughput with the best fixed concurrency.
    of_best: f64,
    per_s: Option<f64>,
    /// Maximum total time, as a multiple of the total time with the best fixed concurrency...
    times_best: f64,
    /// ...plus this number of seconds to start.
    plus_s: f64,
    /// Maximum share of 429 answers after settling.
    limited_share: f64,
}

struct ScenarioServer {
    model: Model,
    seed: u64,
    opened: Instant,
    load: Mutex<Load>,
}

struct Load {
    in_flight: usize,
    tokens: f64,
    refilled: Instant,
}

impl ScenarioServer {
    fn new(model: &Model, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            model: model.clone(),
            seed,
            opened: now,
            load: Mutex::new(Load {
                in_flight: 0,
                tokens: model.quota.as_ref().map_or(0.0, |it| it.burst),
                refilled: now,
            }),
        }
    }

    fn age(&self) -> f64 {
        self.opened.elapsed().as_secs_f64()
    }

    /// Returns a random number from 0 to 1, the same for the same attempt at the same page.
    fn noise(&self, page: u64, attempt: u64, of: u64) -> f64 {
        let mut x = (self.seed << 40) ^ (page << 12) ^ (attempt << 4) ^ of;
        for _ in 0..3 {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^= x >> 31;
        }
        x as f64 / u64::MAX as f64
    }

    async fn answer(&self, page: u64, attempt: u64) -> Outcome {
        let (latency, outcome) = {
            let mut load = self.load.lock().unwrap();
            load.in_flight += 1;
            match self.refusal(&mut load, page, attempt) {
                Some(outcome) => (0.002, outcome),
                None => (self.latency(load.in_flight, page, attempt), Outcome::Success),
            }
        };
        sleep(Duration::from_secs_f64(latency)).await;
        self.load.lock().unwrap().in_flight -= 1;
        outcome
    }

    fn refusal(&self, load: &mut Load, page: u64, attempt: u64) -> Option<Outcome> {
        let age = self.age();
        let model = &self.model;
        if let Some(outage) = &model.outage
            && (outage.from_s..outage.to_s).contains(&age)
        {
            return Some(match outage.answer {
                Down::ConnectionRefused => Outcome::Neutral,
                Down::Unavailable => push_back(PushBack::Unavailable, None),
            });
        }
        if self.noise(page, attempt, 2) < model.flaky {
            return Some(push_back(PushBack::Unavailable, None));
        }
        if model.most_at_once.is_some_and(|most| load.in_flight > most) {
            return Some(push_back(PushBack::RateLimited, None));
        }
        let quota = model.quota.as_ref()?;
        let refill = load.refilled.elapsed().as_secs_f64() * quota.per_s;
        load.refilled = Instant::now();
        load.tokens = (load.tokens + refill).min(quota.burst);
        if load.tokens < 1.0 {
            return Some(push_back(PushBack::RateLimited, quota.retry_after_s));
        }
        load.tokens -= 1.0;
        None
    }

    fn latency(&self, in_flight: usize, page: u64, attempt: u64) -> f64 {
        let model = &self.model;
        let mut latency = model.latency_ms / 1000.0;
        latency *= 0.8 + 0.4 * self.noise(page, attempt, 0);
        if let Some(workers) = model.workers {
            latency *= (in_flight as f64 / workers).max(1.0);
        }
        if let Some(slower) = &model.slower
            && self.age() >= slower.from_s
        {
            latency *= slower.factor;
        }
        if let Some(big) = &model.big_pages
            && self.noise(page, 0, 1) < big.share
        {
            latency *= big.factor;
        }
        latency
    }
}

fn push_back(kind: PushBack, retry_after_s: Option<f64>) -> Outcome {
    Outcome::PushBack { kind, retry_after: retry_after_s.map(Duration::from_secs_f64) }
}

#[derive(Debug, Default)]
struct ScenarioReport {
    total_s: f64,
    pages: f64,
    requests: f64,
    limited: f64,
    /// The sum over all pages.
    limit: f64,
    per_s: f64,
}

/// Fetches every page as a paginator does. One request waits for its start at a time. A page that failed
/// joins the queue again under its own number.
async fn run(scenario: &Scenario, concurrency: Concurrency, seed: u64) -> ScenarioReport {
    let throttle = Throttle::new(concurrency, None);
    let server = Arc::new(ScenarioServer::new(&scenario.server, seed));
    let report = Arc::new(Mutex::new(ScenarioReport::default()));
    let window = Arc::new(Semaphore::new(WINDOW));
    let settled_s = scenario.settled_s;
    let mut tasks = JoinSet::new();
    for page in 1..=scenario.pages {
        let place = window.clone().acquire_owned().await.unwrap();
        let mut permit = throttle.turn(page).await;
        let (throttle, server, report) = (throttle.clone(), server.clone(), report.clone());
        tasks.spawn(async move {
            let _place = place;
            for attempt in 0.. {
                let outcome = server.answer(page, attempt).await;
                permit.finish(outcome);
                assert!(throttle.in_flight() <= InFlight::MAX);
                if server.age() >= settled_s {
                    let mut report = report.lock().unwrap();
                    report.requests += 1.0;
                    match outcome {
                        Outcome::Success => {
                            report.pages += 1.0;
                            report.limit += throttle.limit() as f64;
                        }
                        Outcome::PushBack { kind: PushBack::RateLimited, .. } => {
                            report.limited += 1.0
                        }
                        _ => {}
                    }
                }
                match outcome {
                    Outcome::Success => return,
                    Outcome::PushBack { retry_after: Some(_), .. } => {}
                    _ => sleep(Duration::from_millis(100 << attempt.min(3))).await,
                }
                permit = throttle.turn(page).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let mut report = std::mem::take(&mut *report.lock().unwrap());
    report.total_s = server.age();
    report.per_s = report.pages / (report.total_s - settled_s);
    report
}

async fn check(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/throttle")
        .join(name)
        .with_extension("json");
    let scenario: Scenario = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let expect = &scenario.expect;
    for seed in SEEDS {
        let mut best_per_s = 0_f64;
        let mut best_total_s = f64::INFINITY;
        for number in FIXED {
            let fixed = Concurrency::Fixed(InFlight::try_from(number).unwrap());
            let report = run(&scenario, fixed, seed).await;
            best_per_s = best_per_s.max(report.per_s);
            best_total_s = best_total_s.min(report.total_s);
        }
        let report = run(&scenario, Concurrency::Auto, seed).await;
        let limit = report.limit / report.pages;
        let limited_share = report.limited / report.requests;
        let seen = format!(
            "{name}, seed {seed}: limit {limit:.1}, {:.1}/s (best {best_per_s:.1}/s), \
             {:.2} s (best {best_total_s:.2} s), {:.2} % limited",
            report.per_s,
            report.total_s,
            100.0 * limited_share,
        );
        assert!((expect.limit[0]..=expect.limit[1]).contains(&limit), "{seen}");
        assert!(report.per_s >= expect.of_best * best_per_s, "{seen}");
        assert!(report.per_s >= expect.per_s.unwrap_or(0.0), "{seen}");
        assert!(report.total_s <= expect.times_best * best_total_s + expect.plus_s, "{seen}");
        assert!(limited_share <= expect.limited_share, "{seen}");
    }
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            check(stringify!($name)).await;
        }
    )*};
}

scenarios!(
    latency_bound_server_uses_all_slots,
    capacity_bound_server_has_no_queue,
    server_with_two_workers_is_not_flooded,
    rare_503_is_not_overload,
    page_size_variance_is_not_congestion,
    rate_quota_is_learned,
    rate_quota_with_small_burst_is_learned,
    rate_quota_without_burst_is_learned,
    rate_quota_of_slow_server_is_learned,
    rate_quota_without_retry_after_is_learned,
    concurrency_quota_is_respected,
    refused_connections_for_30_s,
    outage_of_30_s_with_503,
    doubled_latency_does_not_lower_limit,
    limit_grows_within_100_pages,
);
