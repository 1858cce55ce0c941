//! Tests for retries and their limits, with a scripted transport under paused time.

use std::{sync::Arc, time::SystemTime};

use futures::TryStreamExt;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::{
    client::retry_timer::{NEVER_ANSWERED, RETRY_FOR},
    client::{Client, Page, Query, script::*},
    throttle::Throttle,
};

async fn fetch(client: &Client, page: u64) -> Result<Page> {
    client.first_page(Uuid::nil(), &Query::default(), page, 100).await
}

/// Fetches page 1 with the defaults.
async fn run(steps: impl IntoIterator<Item = Step>) -> (Script, Result<Page>) {
    run_with(RetryPolicy::default(), steps).await
}

async fn run_with(
    retry: RetryPolicy,
    steps: impl IntoIterator<Item = Step>,
) -> (Script, Result<Page>) {
    let script = Script::of(steps);
    let page = fetch(&client(&script, retry), 1).await;
    (script, page)
}

/// A policy without a limit on the number of retries. Only the retry time limit ends a run.
fn patient() -> RetryPolicy {
    RetryPolicy { max_retries: u64::MAX, retry_for: None }
}

fn retry_for(seconds: u64) -> RetryPolicy {
    RetryPolicy { retry_for: Some(Duration::from_secs(seconds)), ..patient() }
}

fn report(result: Result<Page>) -> String {
    result.unwrap_err().report().to_string()
}

#[tokio::test(start_paused = true)]
async fn only_temporary_failures_are_retried() {
    let retried = |status| (answer(status), 2, None);
    let refused_with = |status, code| (answer(status), 1, Some(code));
    let failed = |failure| (at_once(Err(failure)), 2, None);
    let seconds = Duration::from_secs;
    let text = || "why".to_owned();
    let table = [
        retried(408),
        retried(409),
        retried(425),
        retried(429),
        retried(500),
        retried(502),
        retried(503),
        retried(504),
        retried(599),
        (answer(200), 2, None),
        (answer(204), 2, None),
        failed(TransportFailure::Connect(text())),
        failed(TransportFailure::Timeout(seconds(60))),
        failed(TransportFailure::Stalled(seconds(30))),
        failed(TransportFailure::BeforeHeaders(text())),
        failed(TransportFailure::Body { bytes: 7, why: text() }),
        refused_with(301, 78),
        refused_with(400, 2),
        refused_with(401, 77),
        refused_with(402, 77),
        refused_with(403, 77),
        refused_with(404, 66),
        refused_with(405, 69),
        refused_with(410, 69),
        (at_once(Err(TransportFailure::Certificate(text()))), 1, Some(69)),
        (at_once(Err(TransportFailure::TooLarge { limit: 9 })), 1, Some(65)),
    ];
    for (step, attempts, code) in table {
        let (script, result) = run([step.clone(), page()]).await;
        let ended = result.as_ref().err().map(Error::exit_code);
        assert_eq!((script.attempts(), ended), (attempts, code), "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unreachable_api_ends_the_run_after_15_seconds() {
    let (script, result) = run_with(patient(), [refused()]).await;
    assert_eq!(script.times().last(), Some(&NEVER_ANSWERED));
    let told = report(result).replace(&format!("{} attempts", script.attempts()), "N attempts");
    insta::assert_snapshot!(told, @"
    error: the API at http://api.example stayed unavailable: N attempts in 15 s
      cause: cannot connect: Connection refused
      hint: check the base URL and the network; a larger `timeout`, `retry_for` or `max_retries` gives the API more time
    ");
}

#[tokio::test(start_paused = true)]
async fn failing_api_ends_the_run_after_2_minutes() {
    // The limit of 2 minutes applies if the API has answered before.
    let (script, result) = run_with(patient(), [refused(), answer(500), refused()]).await;
    assert_eq!(script.times().last(), Some(&RETRY_FOR));
    assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");

    // The earlier answer can belong to another request.
    let script = Script::of([page(), answer(502)]);
    let client = client(&script, patient());
    fetch(&client, 1).await.unwrap();
    let told = report(fetch(&client, 2).await);
    assert_eq!(script.times().last(), Some(&RETRY_FOR));
    let told = told.replace(&format!("{} attempts", script.attempts() - 1), "N attempts");
    insta::assert_snapshot!(told, @"
    error: the API at http://api.example stayed unavailable: N attempts in 2 min 0 s
      cause: GET http://api.example/api/datasets/00000000-0000-0000-0000-000000000000/datapoints/?page=2&page_size=100 answered 502 Bad Gateway: so it is
      hint: check the base URL and the network; a larger `timeout`, `retry_for` or `max_retries` gives the API more time
    ");
}

#[tokio::test(start_paused = true)]
async fn retry_for_replaces_both_default_limits() {
    for first in [refused(), answer(500)] {
        for seconds in [1, 60, 600] {
            let (script, result) = run_with(retry_for(seconds), [first.clone(), refused()]).await;
            assert_eq!(script.times().last(), Some(&Duration::from_secs(seconds)));
            assert_eq!(result.unwrap_err().exit_code(), 69);
        }
    }
    let (script, _) = run_with(retry_for(0), [refused()]).await;
    assert_eq!(script.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn kubernetes_job_survives_ten_minutes() {
    let file = include_str!("../../../config/kubernetes-cronjob.yaml");
    let option = |name: &str| {
        let line = file.lines().find_map(|line| line.trim().strip_prefix("- ")?.strip_prefix(name));
        line.unwrap().to_owned()
    };
    let policy = RetryPolicy {
        max_retries: option("--max-retries=").parse().unwrap(),
        retry_for: Some(humantime::parse_duration(&option("--retry-for=")).unwrap()),
    };
    // The backoff is random.
    for _ in 0..20 {
        for failure in [refused(), answer(503)] {
            let (script, _) = run_with(policy.clone(), [failure]).await;
            assert!(script.times().last() > Some(&Duration::from_secs(600)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn success_resets_the_retry_time_limit() {
    let minute = Duration::from_secs(60);
    let slow_failure = (minute, Err(TransportFailure::Timeout(minute)));
    let round = [page(), slow_failure.clone(), slow_failure];
    let script = Script::of(round.into_iter().cycle().take(60).chain([page()]));
    let client = client(&script, RetryPolicy::default());
    // There are 40 minutes of failures in total, but never more than two failures in a row.
    for number in 1..=21 {
        fetch(&client, number).await.unwrap();
    }
    assert!(script.times().last() > Some(&Duration::from_secs(40 * 60)));
}

#[tokio::test(start_paused = true)]
async fn max_retries_limits_each_request() {
    for max_retries in [0, 1, 7] {
        let policy = RetryPolicy { max_retries, ..retry_for(1_000_000) };
        let (script, result) = run_with(policy, [answer(500)]).await;
        assert_eq!(script.attempts() as u64, max_retries + 1);
        assert!(matches!(
            result,
            Err(Error::Unavailable { attempts, .. }) if attempts == max_retries + 1
        ));
    }
    // The limit is per request: many requests with one retry each do not reach it.
    let policy = RetryPolicy { max_retries: 5, ..retry_for(10) };
    let steps = [page(), answer(500)].into_iter().cycle().take(100);
    let script = Script::of(steps.chain([page()]));
    let client = client(&script, policy);
    for number in 1..=50 {
        fetch(&client, number).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn undecodable_answer_is_retried_three_times() {
    let html = || {
        at_once(Ok(Reply {
            content_type: "text/html".to_owned(),
            ..reply(200, "<!doctype html><title>Sign in</title>")
        }))
    };
    let (script, result) = run([html()]).await;
    assert_eq!(script.attempts(), 4);
    insta::assert_snapshot!(report(result), @r#"
    error: the answer for page 1 is not valid
      cause: expected JSON, got text/html that begins "<!doctype html><title>Sign in</title>"
      hint: check the base URL; a proxy or a sign-in page may have answered instead of the API
    "#);

    let broken = || at_once(Ok(reply(200, r#"{"count":1,"next":null,"res"#)));
    let (script, result) = run([broken(), refused(), html(), answer(502), broken(), page()]).await;
    assert_eq!(script.attempts(), 6);
    assert!(result.is_ok());

    let (script, result) = run([broken(), refused(), html(), broken(), html(), page()]).await;
    assert_eq!((script.attempts(), result.unwrap_err().exit_code()), (5, 65));
}

#[tokio::test(start_paused = true)]
async fn retry_after_delays_every_request() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(50));
    for (retry_after, at_least) in [("50".to_owned(), 50), (date, 48)] {
        for status in [429, 503] {
            let script = Script::of([retry_after_reply(status, &retry_after), page()]);
            let client = client(&script, RetryPolicy::default());
            let (asked_first, asked_second) = futures::join!(fetch(&client, 1), async {
                // The second request starts during the pause.
                sleep(Duration::from_secs(10)).await;
                fetch(&client, 2).await
            });
            assert!(asked_first.is_ok() && asked_second.is_ok());
            let times = script.times();
            assert_eq!((times.len(), times[0]), (3, Duration::ZERO));
            let held_back = Duration::from_secs(at_least)..=Duration::from_secs(51);
            assert!(times[1..].iter().all(|time| held_back.contains(time)), "{times:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_any_status_is_respected() {
    for status in [408, 409, 425, 500, 502, 504] {
        let (script, result) = run([retry_after_reply(status, 50), page()]).await;
        assert!(result.is_ok(), "{status}");
        assert_eq!(script.times()[1], Duration::from_secs(50), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn run_after_a_failed_run_has_the_full_time_limit() {
    let three = [answer(500), answer(500), answer(500)];
    for (steps, retries) in [(three.to_vec(), 2), (vec![retry_after_reply(429, 3600)], 2)] {
        let script = Script::of(steps.into_iter().chain([answer(500), page()]));
        let policy = RetryPolicy { max_retries: retries, retry_for: None };
        let client = client(&script, policy);
        assert_eq!(fetch(&client, 1).await.unwrap_err().exit_code(), 69);
        // In the next night, a failure is the first one of that run.
        sleep(Duration::from_secs(24 * 60 * 60)).await;
        assert!(fetch(&client, 1).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn too_long_pause_ends_all_concurrent_runs() {
    let minute = Duration::from_secs(60);
    let script = Script::of([(minute, retry_after_reply(429, 3600).1), page()]);
    let client = Client(Arc::new(ClientInner {
        throttle: Throttle::new("1".parse().unwrap(), None),
        ..ClientInner::scripted(&script, RetryPolicy::default())
    }));
    let wait = |result: Result<Page>| match result {
        Err(Error::LongPause { wait, .. }) => wait.as_secs(),
        other => panic!("{other:?}"),
    };
    let (one, other) = (client.metered(), client.metered());
    let begun = Instant::now();
    let (asked, queued) = futures::join!(fetch(&one, 1), fetch(&other, 2));
    assert_eq!((wait(asked), wait(queued), begun.elapsed()), (3600, 3600, minute));
    // A run that starts during the pause sends no request. The same holds for a stream.
    sleep(10 * minute).await;
    assert_eq!(wait(fetch(&client, 1).await), 3000);
    let stream = client.dataset(Uuid::nil()).pages();
    assert_eq!(wait(stream.try_collect::<Vec<_>>().await.map(|mut pages| pages.remove(0))), 3000);
    assert_eq!(script.attempts(), 1);
    // The rest of the pause is now short enough to wait for.
    sleep(49 * minute).await;
    assert!(fetch(&client, 1).await.is_ok());
    assert_eq!(script.times()[1], minute + Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn next_run_always_has_the_full_time_limit() {
    let night = Duration::from_secs(24 * 60 * 60);
    let steps = [answer(500), answer(401), answer(503), page()];
    let script = Script::of(steps);
    let one = client(&script, RetryPolicy::default());
    assert_eq!(fetch(&one, 1).await.unwrap_err().exit_code(), 77);
    sleep(night).await;
    assert!(fetch(&one, 1).await.is_ok());

    let script = Script::of([answer(500), (night, refused().1), answer(503), page()]);
    let one = client(&script, RetryPolicy::default());
    // The caller drops the request before the second answer.
    assert!(timeout(Duration::from_secs(60), fetch(&one, 1)).await.is_err());
    sleep(night).await;
    assert!(fetch(&one, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn concurrent_runs_share_the_time_limit() {
    let script = Script::of([answer(500)]);
    let client = client(&script, retry_for(100));
    let begun = Instant::now();
    let runs = (1..=8).map(|page| {
        let client = client.metered();
        async move { fetch(&client, page).await.unwrap_err().exit_code() }
    });
    assert_eq!(futures::future::join_all(runs).await, [69; 8]);
    assert!(begun.elapsed() <= Duration::from_secs(101), "{:?}", begun.elapsed());
    // A later run has the full retry time limit.
    let begun = Instant::now();
    assert!(fetch(&client, 1).await.is_err());
    assert!(begun.elapsed() >= Duration::from_secs(99), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn metered_client_has_its_own_counters() {
    let script = Script::of([answer(500), page()]);
    let client = client(&script, patient());
    let (first, second) = (client.metered(), client.metered());
    assert!(fetch(&first, 1).await.is_ok());
    assert!(fetch(&second, 1).await.is_ok());
    let counts = |client: &Client| (client.meter().requests(), client.meter().retries());
    assert_eq!((counts(&first), counts(&second), counts(&client)), ((2, 1), (1, 0), (3, 1)));
    assert_eq!(first.meter().bytes() + second.meter().bytes(), client.meter().bytes());
}

#[tokio::test(start_paused = true)]
async fn past_or_invalid_retry_after_is_ignored() {
    for retry_after in ["0", "Sun, 06 Nov 1994 08:49:37 GMT", "soon", "-1"] {
        let (script, result) = run([retry_after_reply(503, retry_after), page()]).await;
        assert!(result.is_ok(), "{retry_after}");
        assert!(script.times()[1] <= BASE, "{retry_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_beyond_the_time_limit_ends_the_run() {
    let (script, result) = run([retry_after_reply(429, 3600), page()]).await;
    assert_eq!(script.times(), [Duration::ZERO]);
    assert_eq!(result.as_ref().unwrap_err().exit_code(), 69);
    insta::assert_snapshot!(report(result), @"
    error: the API at http://api.example asks for a pause of 1 h 0 min
      hint: run again after that pause, or set `retry_for` to a longer time
    ");

    let (_, result) = run([retry_after_reply(503, 120), page()]).await;
    assert!(result.is_ok());
    let (_, result) = run_with(retry_for(119), [retry_after_reply(503, 120), page()]).await;
    assert!(matches!(result, Err(Error::LongPause { .. })));
    let (_, result) = run_with(retry_for(7200), [retry_after_reply(429, 3600), page()]).await;
    assert!(result.is_ok());
    let month = 31 * 24 * 60 * 60;
    let (script, result) = run([retry_after_reply(503, month), page()]).await;
    assert_eq!(script.attempts(), 1);
    assert!(matches!(result, Err(Error::LongPause { .. })));
    // A pause of more than 31 days is a mistake of the server, so it is ignored.
    let (script, result) = run([retry_after_reply(503, month + 1), page()]).await;
    assert!(result.is_ok() && script.attempts() == 2);
    let (_, result) = run_with(retry_for(u64::MAX), [retry_after_reply(503, 7200), page()]).await;
    assert!(result.is_ok());
    // The pause is compared with the rest of the retry time limit.
    let (script, result) =
        run([retry_after_reply(503, 90), retry_after_reply(503, 90), page()]).await;
    assert_eq!(script.attempts(), 2);
    assert!(matches!(result, Err(Error::LongPause { .. })));
}

#[tokio::test(start_paused = true)]
async fn error_reports_the_last_cause() {
    let policy = RetryPolicy { max_retries: 2, retry_for: None };
    let (_, result) = run_with(policy, [refused(), answer(500), answer(503)]).await;
    let told = report(result);
    assert!(told.contains("answered 503 Service Unavailable: so it is"), "{told}");
    assert!(!told.contains("refused") && !told.contains("500"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn every_attempt_repeats_the_url_and_is_counted() {
    let script = Script::of([refused(), answer(500), page()]);
    let client = client(&script, RetryPolicy::default());
    fetch(&client, 1).await.unwrap();
    fetch(&client, 2).await.unwrap();
    let asked = script.asked();
    let urls: Vec<_> = asked.iter().map(|url| url.split_once('?').unwrap().1).collect();
    let (first, second) = ("page=1&page_size=100", "page=2&page_size=100");
    assert_eq!(urls, [first, first, first, second]);
    assert_eq!((client.meter().requests(), client.meter().retries()), (4, 2));
    let by_status: Vec<_> = client.meter().by_status().into_iter().collect();
    assert_eq!(by_status, [(None, 1), (Some(200), 2), (Some(500), 1)]);
    assert_eq!(client.in_flight(), 0);
}

#[test]
fn backoff_doubles_to_its_cap_with_full_jitter() {
    let seconds = |attempts| backoff(attempts, 1.0).as_secs_f64();
    assert_eq!([1, 2, 3, 6, 7, 99].map(seconds), [0.5, 1.0, 2.0, 16.0, 20.0, 20.0]);
    assert_eq!(backoff(5, 0.0), Duration::ZERO);
}

fn firewall() -> Step {
    let content_type = "text/html".to_owned();
    at_once(Ok(Reply { content_type, ..reply(403, "<html>Request blocked</html>") }))
}

#[tokio::test(start_paused = true)]
async fn firewall_answer_is_retried_like_a_503() {
    // Before any success, it is retried 3 times.
    let (script, result) = run([firewall(), firewall(), firewall(), page()]).await;
    assert!(result.is_ok() && script.attempts() == 4);
    let (script, result) = run([firewall()]).await;
    assert_eq!((script.attempts(), result.unwrap_err().exit_code()), (4, 69));

    // After a success, it is retried as long as a 503.
    let blocked = (0..8).map(|_| firewall());
    let script = Script::of([page()].into_iter().chain(blocked).chain([page()]));
    let client = client(&script, RetryPolicy::default());
    fetch(&client, 1).await.unwrap();
    fetch(&client, 2).await.unwrap();
    assert_eq!(script.attempts(), 10);

    // A refusal by the API itself is final.
    let script = Script::of([page(), answer(403), page()]);
    let client = crate::client::script::client(&script, RetryPolicy::default());
    fetch(&client, 1).await.unwrap();
    assert_eq!(fetch(&client, 2).await.unwrap_err().exit_code(), 77);
    assert_eq!(script.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn not_modified_is_retried_three_times() {
    let not_modified = || at_once(Ok(Reply { content_type: String::new(), ..reply(304, "") }));
    let (script, result) = run([not_modified(), page()]).await;
    assert!(result.is_ok() && script.attempts() == 2);
    let (script, result) = run([not_modified()]).await;
    assert_eq!((script.attempts(), result.unwrap_err().exit_code()), (4, 69));
}

#[tokio::test(start_paused = true)]
async fn impossible_count_is_final() {
    let body = format!(r#"{{"count":{},"next":null,"results":[]}}"#, u64::MAX);
    let (script, result) = run([at_once(Ok(reply(200, &body)))]).await;
    assert_eq!((script.attempts(), result.unwrap_err().exit_code()), (1, 65));
}

#[tokio::test(start_paused = true)]
async fn wrong_protocol_is_final_before_any_success() {
    for failure in [TransportFailure::NotTls, TransportFailure::NotHttp] {
        let wrong = || at_once(Err(failure.clone()));
        let (script, result) = run([wrong(), page()]).await;
        assert_eq!((script.attempts(), result.unwrap_err().exit_code()), (1, 78));
        let script = Script::of([page(), wrong(), page()]);
        let client = client(&script, RetryPolicy::default());
        fetch(&client, 1).await.unwrap();
        fetch(&client, 2).await.unwrap();
    }
}
