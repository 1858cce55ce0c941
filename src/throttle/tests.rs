//! Tests of the throttle's promises, one promise a test, under paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance, sleep, timeout};

use super::*;

const LONG: Duration = Duration::from_secs(24 * 60 * 60);

fn fixed(number: usize) -> Throttle {
    throttle(number, None)
}

fn throttle(number: usize, rate: Option<&str>) -> Throttle {
    Throttle::new(
        Concurrency::Fixed(InFlight::try_from(number).unwrap()),
        rate.map(|it| it.parse().unwrap()),
    )
}

fn push_back(kind: PushBack, retry_after: Option<u64>) -> Outcome {
    Outcome::PushBack { kind, retry_after: retry_after.map(Duration::from_secs) }
}

/// Lets every ready task run.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// Starts a waiting task for each priority, in the given order. The list fills in the order of grants.
async fn wait_with(throttle: &Throttle, priorities: &[u64]) -> Arc<Mutex<Vec<(u64, usize)>>> {
    let granted = Arc::new(Mutex::new(Vec::new()));
    for (arrival, priority) in priorities.iter().copied().enumerate() {
        let (throttle, granted) = (throttle.clone(), granted.clone());
        tokio::spawn(async move {
            let permit = throttle.turn(priority).await;
            granted.lock().unwrap().push((priority, arrival));
            sleep(Duration::from_millis(10)).await;
            permit.finish(Outcome::Success);
        });
        settle().await;
    }
    granted
}

#[tokio::test(start_paused = true)]
async fn fixed_limit_is_exact() {
    for number in [1, 2, 7, 64] {
        let throttle = fixed(number);
        let mut permits = Vec::new();
        for _ in 0..number {
            permits.push(throttle.turn(1).await);
        }
        assert_eq!(throttle.in_flight(), number);
        assert!(timeout(LONG, throttle.turn(1)).await.is_err());
        for permit in permits {
            permit.finish(push_back(PushBack::Unavailable, None));
        }
        assert_eq!((throttle.in_flight(), throttle.limit()), (0, number));
    }
}

#[tokio::test(start_paused = true)]
async fn lowest_page_goes_first_then_arrival_order() {
    let throttle = fixed(1);
    let held = throttle.turn(0).await;
    let granted = wait_with(&throttle, &[9, 3, 7, 3, 1]).await;
    held.finish(Outcome::Success);
    sleep(Duration::from_secs(1)).await;
    let order = granted.lock().unwrap().clone();
    assert_eq!(order, [(1, 4), (3, 1), (3, 3), (7, 2), (9, 0)]);
}

#[tokio::test(start_paused = true)]
async fn pause_beyond_the_limit_rejects_all_waiters() {
    let throttle = fixed(1);
    let longest = || Duration::from_secs(60);
    let held = throttle.turn(0).await;
    let waiting: Vec<_> = (1..=3)
        .map(|page| {
            let throttle = throttle.clone();
            tokio::spawn(async move { throttle.acquire(page, longest).await.map(drop) })
        })
        .collect();
    settle().await;
    held.finish(push_back(PushBack::RateLimited, Some(3600)));
    let hour = Duration::from_secs(3600);
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap(), Err(hour));
    }
    assert_eq!(throttle.acquire(1, longest).await.map(drop), Err(hour));
    assert_eq!(throttle.lock().queue.len(), 0);
    // Only the rest of the pause counts.
    sleep(Duration::from_secs(3541)).await;
    assert!(throttle.acquire(1, longest).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn early_page_overtakes_page_that_waits_for_rate() {
    let throttle = throttle(8, Some("1/s"));
    throttle.turn(0).await.finish(Outcome::Success);
    let granted = wait_with(&throttle, &[5, 2]).await;
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(*granted.lock().unwrap(), [(2, 1)]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*granted.lock().unwrap(), [(2, 1), (5, 0)]);
}

#[tokio::test(start_paused = true)]
async fn dropped_wait_leaves_queue_and_wakes_next() {
    let throttle = fixed(1);
    let held = throttle.turn(0).await;
    let first = tokio::spawn({
        let throttle = throttle.clone();
        async move { drop(throttle.turn(1).await) }
    });
    settle().await;
    let granted = wait_with(&throttle, &[2]).await;
    // The slot is free and the first task is woken, but it is aborted before it takes its turn.
    held.finish(Outcome::Success);
    first.abort();
    settle().await;
    assert_eq!(*granted.lock().unwrap(), [(2, 0)]);
    assert_eq!(throttle.lock().queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_permit_frees_slot_and_teaches_nothing() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    for _ in 0..1000 {
        drop(throttle.turn(1).await);
    }
    assert_eq!((throttle.in_flight(), throttle.limit()), (0, 16));
}

#[tokio::test(start_paused = true)]
async fn retry_after_pauses_every_request() {
    for kind in [PushBack::RateLimited, PushBack::Unavailable] {
        let throttle = fixed(8);
        let other = throttle.clone();
        let started = Instant::now();
        let long = throttle.turn(1).await;
        let short = throttle.turn(2).await;
        long.finish(push_back(kind, Some(7)));
        // A shorter pause does not cut a longer one short.
        short.finish(push_back(kind, Some(3)));
        assert_eq!(other.paused_for(), Some(Duration::from_secs(7)));
        let _permit = other.turn(3).await;
        assert_eq!(started.elapsed().as_secs(), 7);
        assert_eq!(other.paused_for(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn early_429_does_not_lower_the_rate() {
    let throttle = fixed(1);
    let slow = throttle.turn(1).await;
    // A backoff or a slow first page: two requests in a second do not show a quota.
    sleep(Duration::from_secs(1)).await;
    slow.finish(Outcome::Neutral);
    throttle.turn(1).await.finish(push_back(PushBack::RateLimited, Some(1)));
    throttle.turn(1).await.finish(Outcome::Success);
    let resumed = Instant::now();
    for page in 2..100 {
        throttle.turn(page).await.finish(Outcome::Success);
    }
    assert_eq!(resumed.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn retry_after_delays_request_waiting_for_rate() {
    let throttle = throttle(8, Some("1/s"));
    let started = Instant::now();
    let permit = throttle.turn(1).await;
    let granted = wait_with(&throttle, &[2]).await;
    permit.finish(push_back(PushBack::Unavailable, Some(5)));
    sleep(Duration::from_millis(4900)).await;
    assert!(granted.lock().unwrap().is_empty());
    sleep(Duration::from_millis(200)).await;
    assert_eq!(granted.lock().unwrap().len(), 1);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn huge_retry_after_is_capped_at_one_day() {
    let throttle = fixed(1);
    let permit = throttle.turn(1).await;
    permit.finish(Outcome::PushBack {
        kind: PushBack::Unavailable,
        retry_after: Some(Duration::MAX),
    });
    assert_eq!(throttle.paused_for(), Some(LONG));
}

#[tokio::test(start_paused = true)]
async fn rate_limit_spaces_requests_evenly() {
    for (rate, interval_ms) in [("20/s", 50.0), ("600/min", 100.0), ("1000/s", 1.0)] {
        let throttle = throttle(64, Some(rate));
        let mut starts = Vec::new();
        let begin = Instant::now();
        for page in 0..200 {
            throttle.turn(page).await.finish(Outcome::Success);
            starts.push(begin.elapsed().as_secs_f64() * 1000.0);
        }
        for (index, at) in starts.iter().enumerate() {
            let due = index as f64 * interval_ms;
            assert!((at - due).abs() <= 2.0, "{rate}: start {index} at {at} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn idle_time_does_not_accumulate_rate() {
    let throttle = throttle(64, Some("20/s"));
    throttle.turn(0).await.finish(Outcome::Success);
    advance(Duration::from_secs(60)).await;
    let begin = Instant::now();
    for page in 1..=20 {
        throttle.turn(page).await.finish(Outcome::Success);
    }
    assert!(begin.elapsed() >= Duration::from_millis(19 * 50 - 6));
}

/// Runs `rounds` round trips with as many requests in flight as the limit allows.
async fn run(throttle: &Throttle, rounds: usize, latency: impl Fn(usize) -> Duration) {
    for round in 0..rounds {
        let mut tasks: Vec<JoinHandle<()>> = Vec::new();
        for index in 0..throttle.limit() {
            let permit = throttle.turn(1).await;
            let time = latency(round * 7 + index);
            tasks.push(tokio::spawn(async move {
                sleep(time).await;
                permit.finish(Outcome::Success);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_start_quadruples_limit_per_round_trip() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    for limit in [16, 64, 64] {
        assert_eq!(throttle.limit(), limit);
        run(&throttle, 1, |_| Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn slow_start_adds_three_if_quick_and_one_if_slow() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    let mut permits = Vec::new();
    for page in 0..16 {
        permits.push(throttle.turn(page).await);
    }
    for (after, limit) in [(50, 19), (70, 22), (10, 23), (0, 24)] {
        sleep(Duration::from_millis(after)).await;
        permits.pop().unwrap().finish(Outcome::Success);
        assert_eq!(throttle.limit(), limit);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_start_ends_when_throughput_stops_growing() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    // A server that answers 160 requests a second at any concurrency.
    run(&throttle, 1, |_| Duration::from_millis(100)).await;
    assert_eq!(throttle.limit(), 64);
    run(&throttle, 2, |_| Duration::from_millis(400)).await;
    assert!(throttle.limit() <= 20, "{}", throttle.limit());
}

#[tokio::test(start_paused = true)]
async fn at_low_latency_limit_grows_by_an_eighth() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    for limit in [16, 16, 18, 20, 22] {
        assert_eq!(throttle.limit(), limit);
        run(&throttle, 3, |_| Duration::from_millis(4)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn at_minimal_latency_limit_stays() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    run(&throttle, 200, |_| Duration::from_millis(2)).await;
    assert_eq!(throttle.limit(), 16);
}

#[tokio::test(start_paused = true)]
async fn few_extra_milliseconds_never_lower_limit() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    run(&throttle, 200, |_| Duration::from_millis(3)).await;
    for round in 0..100 {
        // The latency rises to more than twice the base latency, but only by 4 ms.
        let time = Duration::from_millis(3 + round % 5);
        run(&throttle, 1, |_| time).await;
        assert_eq!(throttle.limit(), 64);
    }
}

#[tokio::test(start_paused = true)]
async fn unreached_limit_does_not_grow() {
    let throttle = Throttle::new(Concurrency::Auto, None);
    for page in 0..1000 {
        let permit = throttle.turn(page).await;
        sleep(Duration::from_millis(50)).await;
        permit.finish(Outcome::Success);
    }
    assert_eq!(throttle.limit(), 16);
}

#[tokio::test(start_paused = true)]
async fn round_of_refusals_halves_limit_once() {
    for kind in [PushBack::RateLimited, PushBack::Unavailable, PushBack::TimedOut] {
        let throttle = Throttle::new(Concurrency::Auto, None);
        run(&throttle, 5, |_| Duration::from_millis(50)).await;
        let mut permits = Vec::new();
        for _ in 0..throttle.limit() {
            permits.push(throttle.turn(1).await);
        }
        sleep(Duration::from_millis(50)).await;
        for permit in permits {
            permit.finish(push_back(kind, None));
        }
        assert_eq!(throttle.limit(), 32);
    }
}

#[test]
fn settings_parse_from_their_display_form() {
    for text in ["auto", "1", "8", "64"] {
        assert_eq!(text.parse::<Concurrency>().unwrap().to_string(), text);
    }
    for text in ["20/s", "600/min", "0.5/s", "1000/h"] {
        assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
    }
    assert_eq!("600/min".parse::<Rate>().unwrap().per_second(), 10.0);
}

#[test]
fn invalid_setting_error_quotes_input() {
    for text in ["", "0", "65", "-1", "Auto", "1.5", "300", "18446744073709551616"] {
        let error = text.parse::<Concurrency>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{text}`")), "{error}");
    }
    for text in ["", "20", "/s", "0/s", "-1/s", "inf/s", "NaN/s", "1e-9/s", "20/day"] {
        let error = text.parse::<Rate>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{text}`")), "{error}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    GiveUp(usize),
    Finish(usize, Outcome),
    Drop(usize),
    Pass(u64),
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let refusal = (
        prop_oneof![
            Just(PushBack::RateLimited),
            Just(PushBack::Unavailable),
            Just(PushBack::TimedOut),
        ],
        proptest::option::of(0_u64..3),
    );
    prop_oneof![
        6 => Just(Outcome::Success),
        1 => Just(Outcome::Neutral),
        1 => refusal.prop_map(|(kind, retry_after)| push_back(kind, retry_after)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u64..20).prop_map(Step::Wait),
        1 => any::<usize>().prop_map(Step::GiveUp),
        4 => (any::<usize>(), any_outcome()).prop_map(|(index, it)| Step::Finish(index, it)),
        1 => any::<usize>().prop_map(Step::Drop),
        3 => (1_u64..500).prop_map(Step::Pass),
    ]
}

fn any_throttle() -> impl Strategy<Value = (Option<usize>, Option<&'static str>)> {
    (proptest::option::of(1_usize..=InFlight::MAX), proptest::option::of(Just("50/s")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn limit_holds_and_no_slot_or_turn_is_lost(
        (number, rate) in any_throttle(),
        steps in vec(any_step(), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let throttle = match number {
                Some(number) => throttle(number, rate),
                None => Throttle::new(Concurrency::Auto, rate.map(|it| it.parse().unwrap())),
            };
            play(&throttle, steps).await;
        });
    }
}

async fn play(throttle: &Throttle, steps: Vec<Step>) {
    let held = Arc::new(Mutex::new(Vec::<Permit>::new()));
    let mut waiting: Vec<JoinHandle<()>> = Vec::new();
    for step in steps {
        let count = held.lock().unwrap().len();
        match step {
            Step::Wait(priority) => {
                let (throttle, held) = (throttle.clone(), held.clone());
                waiting.push(tokio::spawn(async move {
                    let permit = throttle.turn(priority).await;
                    assert!(throttle.in_flight() <= throttle.limit());
                    assert_eq!(throttle.paused_for(), None);
                    held.lock().unwrap().push(permit);
                }));
            }
            Step::GiveUp(index) if !waiting.is_empty() => {
                waiting.swap_remove(index % waiting.len()).abort();
            }
            Step::Finish(index, outcome) if count > 0 => {
                let permit = held.lock().unwrap().swap_remove(index % count);
                permit.finish(outcome);
            }
            Step::Drop(index) if count > 0 => {
                let permit = held.lock().unwrap().swap_remove(index % count);
                drop(permit);
            }
            Step::Pass(ms) => sleep(Duration::from_millis(ms)).await,
            Step::GiveUp(_) | Step::Finish(..) | Step::Drop(_) => {}
        }
        settle().await;
        assert_eq!(throttle.in_flight(), held.lock().unwrap().len());
    }
    // Every waiting task gets its turn: each iteration frees every slot and outlasts any pause.
    let turns = waiting.len() + 1;
    for _ in 0..turns {
        for permit in std::mem::take(&mut *held.lock().unwrap()) {
            permit.finish(Outcome::Success);
        }
        assert_eq!(throttle.in_flight(), 0);
        sleep(Duration::from_secs(10)).await;
    }
    for task in waiting {
        assert!(task.is_finished());
        task.await.unwrap();
    }
    held.lock().unwrap().clear();
    assert_eq!(throttle.in_flight(), 0);
    assert_eq!(throttle.lock().queue.len(), 0);
}
