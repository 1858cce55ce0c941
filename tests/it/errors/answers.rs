//! Refusals, failures and redirects that the API answers instead of a page, and the messages that a
//! user sees.

use std::time::Duration;

use overmind_export::demo::{Dataset, Fault, FaultAttempt::*, FaultPage, Faults, Options};

use super::{nobody, session, session_with, told_on};
use crate::support::{ID, World};

const EXPORT: &str = "export ID -o rows.jsonl";

#[test]
fn refused_key_is_reported_without_retry() {
    let options = Options { api_key: Some("another".to_owned()), ..Options::default() };
    let world = World::generated(options, 3);
    let told = session(&world, &[EXPORT, "datasets", "preview ID"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl
    exit 77
    error: the API refuses the key
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 401 Unauthorized: Invalid API key. (invalid_api_key)
      hint: the key is unknown, inactive or expired; the key comes from the variable OVERMIND_LAB_API_KEY

    $ overmind-export datasets
    exit 77
    error: the API refuses the key
      cause: GET http://API/api/datasets/ answered 401 Unauthorized: Invalid API key. (invalid_api_key)
      hint: the key is unknown, inactive or expired; the key comes from the variable OVERMIND_LAB_API_KEY

    $ overmind-export preview ID
    exit 77
    error: the API refuses the key
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=5 answered 401 Unauthorized: Invalid API key. (invalid_api_key)
      hint: the key is unknown, inactive or expired; the key comes from the variable OVERMIND_LAB_API_KEY
    ");
    assert_eq!(world.server.stats().requests, 3);
}

#[test]
fn unknown_dataset_error_mentions_filters() {
    // The API answers 404 when the dataset does not exist and also when a filter excludes it.
    let world = World::generated(Options::default(), 3);
    let other = "export 00000000-0000-4000-8000-000000000000 -o rows.jsonl";
    let told = session(&world, &[other, "export ID -o rows.jsonl --source seed --version-min 2"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export 00000000-0000-4000-8000-000000000000 -o rows.jsonl
    exit 66
    error: no such dataset, or a filter excludes it
      cause: GET http://API/api/datasets/00000000-0000-4000-8000-000000000000/datapoints/?page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
      hint: check the id and that the key belongs to its project: `overmind-export datasets` lists the datasets that the key can see

    $ overmind-export export ID -o rows.jsonl --source seed --version-min 2
    exit 66
    error: no such dataset, or a filter excludes it
      cause: GET http://API/api/datasets/ID/datapoints/?source=seed&version_min=2&page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
      hint: check the id and that the key belongs to its project; the API gives the same answer if a filter excludes the dataset, so try without filters
    ");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn unknown_dataset_error_is_same_for_all_commands() {
    let world = World::with(
        Options::default(),
        Dataset::generated(3, 7).with_id("00000000-0000-4000-8000-000000000000".parse().unwrap()),
    );
    let told = session(&world, &["preview ID"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export preview ID
    exit 66
    error: no such dataset, or a filter excludes it
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=5 answered 404 Not Found: No Dataset matches the given query.
      hint: check the id and that the key belongs to its project: `overmind-export datasets` lists the datasets that the key can see
    ");
    let (_, same) = told.split_once("exit 66").unwrap();
    let same = same.split("page_size").next().unwrap();
    for line in [
        "preview ID --json",
        "export ID -o -",
        "export ID -o parts/",
        "export ID -o rows.parquet --limit 5",
        "export ID -o rows.parquet --columns id",
        "export ID -o rows.parquet --dry-run",
        "export ID -o rows.parquet --json",
        "export ID -o rows.parquet --quiet",
    ] {
        let told = session(&world, &[line]);
        assert!(told.starts_with(&format!("$ overmind-export {line}\nexit 66{same}")), "{told}");
    }
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn refused_filter_error_quotes_api_reason() {
    let body = r#"{"generator_model":["Ensure this value has at most 20 characters."],"search":["Too short.","Try again."]}"#;
    let line = "export ID -o rows.jsonl --search support --generator-model demo-writer-1";
    insta::assert_snapshot!(told_on(1, Fault::status(400).body(body), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --search support --generator-model demo-writer-1
    exit 2
    error: the API refuses a parameter
      cause: GET http://API/api/datasets/ID/datapoints/?generator_model=demo-writer-1&search=support&page=1&page_size=100 answered 400 Bad Request: generator_model: Ensure this value has at most 20 characters.; search: Too short. Try again.
      hint: check the value of each filter; `overmind-export export --help` lists them
    ");
}

#[test]
fn each_refusal_status_has_its_own_error() {
    let body = r#"{"detail":"Credits are used up.","code":"payment_required"}"#;
    insta::assert_snapshot!(told_on(1, Fault::status(402).body(body), &[EXPORT]), @"
    $ overmind-export export ID -o rows.jsonl
    exit 77
    error: the API asks for payment
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 402 Payment Required: Credits are used up. (payment_required)
      hint: the account's credits are used up; the key comes from the variable OVERMIND_LAB_API_KEY
    ");
    insta::assert_snapshot!(told_on(FaultPage::List, Fault::status(403), &["datasets"]), @"
    $ overmind-export datasets
    exit 77
    error: the API does not allow this
      cause: GET http://API/api/datasets/ answered 403 Forbidden: You do not have permission to perform this action.
      hint: the key's plan or permissions do not allow this; the key comes from the variable OVERMIND_LAB_API_KEY
    ");
    insta::assert_snapshot!(told_on(1, Fault::status(418), &[EXPORT]), @"
    $ overmind-export export ID -o rows.jsonl
    exit 69
    error: the API refuses the request
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 418 I'm a teapot: A server error occurred.
    ");
}

#[test]
fn html_refusal_is_not_attributed_to_the_api() {
    // The API always refuses with JSON. A refusal with an HTML body is not from the API.
    let world = World::generated(Options::default(), 3);
    let told = session_with(&world, &[EXPORT], |it| {
        it.env("OVERMIND_LAB_BASE_URL", format!("{}/v2", world.server.url()));
    });
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export ID -o rows.jsonl
    exit 78
    error: there is no datasets API at the base URL
      cause: GET http://API/v2/api/datasets/ID/datapoints/?page=1&page_size=100 answered 404 Not Found: expected JSON, got text/html; charset=utf-8 that begins "<!doctype html> <html lang=\"en\"> <head>"
      hint: check the base URL; it comes from --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL
    "#);
    insta::assert_snapshot!(told_on(1, Fault::html(403), &[EXPORT]), @r#"
    $ overmind-export export ID -o rows.jsonl
    exit 69
    TIME  WARN attempt failed url=http://API/api/datasets/ID/datapoints/?page=1&page_size=100 attempts=1 cause=answered 403 Forbidden: expected JSON, got text/html; charset=utf-8 that begins "<html><head><title>403</title></head><bo"
    TIME  WARN attempt failed url=http://API/api/datasets/ID/datapoints/?page=1&page_size=100 attempts=2 cause=answered 403 Forbidden: expected JSON, got text/html; charset=utf-8 that begins "<html><head><title>403</title></head><bo"
    TIME  WARN attempt failed url=http://API/api/datasets/ID/datapoints/?page=1&page_size=100 attempts=3 cause=answered 403 Forbidden: expected JSON, got text/html; charset=utf-8 that begins "<html><head><title>403</title></head><bo"
    TIME  WARN attempt failed url=http://API/api/datasets/ID/datapoints/?page=1&page_size=100 attempts=4 cause=answered 403 Forbidden: expected JSON, got text/html; charset=utf-8 that begins "<html><head><title>403</title></head><bo"
    error: a firewall or a proxy refuses the request
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 403 Forbidden: expected JSON, got text/html; charset=utf-8 that begins "<html><head><title>403</title></head><bo"
      hint: a firewall or a proxy sent this answer: ask the operator of the network to allow this machine, or send fewer requests with --rate-limit or --concurrency
    "#);
}

#[test]
fn server_text_cannot_control_the_terminal() {
    let body = r#"{"detail":"\u001b[2Jgone\nexit 0"}"#;
    insta::assert_snapshot!(told_on(1, Fault::status(403).body(body), &[EXPORT]), @"
    $ overmind-export export ID -o rows.jsonl
    exit 77
    error: the API does not allow this
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 403 Forbidden: �[2Jgone exit 0
      hint: the key's plan or permissions do not allow this; the key comes from the variable OVERMIND_LAB_API_KEY
    ");
}

#[test]
fn page_past_the_end_is_not_a_missing_dataset() {
    // Both are answered with 404. The detail "Invalid page." is the difference.
    let world = World::generated(Options::default(), 1000);
    let told = session(&world, &["export ID -o rows.jsonl --pages 11-12"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl --pages 11-12
    exit 66
    error: there is no such page
      cause: GET http://API/api/datasets/ID/datapoints/?page=11&page_size=100 answered 404 Not Found: Invalid page.
      hint: the dataset exists or existed, but it has no such page: --dry-run shows the number of pages
    ");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn unavailable_api_error_quotes_last_answer() {
    let line = "export ID -o rows.jsonl --max-retries 1";
    insta::assert_snapshot!(told_on(1, Fault::status(503), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 1
    exit 69
    TIME  WARN attempt failed url=http://API/api/datasets/ID/datapoints/?page=1&page_size=100 attempts=1 cause=answered 503 Service Unavailable: Service temporarily unavailable, try again later.
    TIME  WARN attempt failed url=http://API/api/datasets/ID/datapoints/?page=1&page_size=100 attempts=2 cause=answered 503 Service Unavailable: Service temporarily unavailable, try again later.
    error: the API at http://API stayed unavailable: 2 attempts in T s
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 503 Service Unavailable: Service temporarily unavailable, try again later.
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    insta::assert_snapshot!(told_on(3, Fault::html(502), &["export ID -o rows.jsonl --max-retries 0 -q"]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: GET http://API/api/datasets/ID/datapoints/?page=3&page_size=100 answered 502 Bad Gateway
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
}

#[test]
fn server_text_cannot_break_or_flood_the_log() {
    let body = format!(r#"{{"detail":"one\n\u001b[2Jtwo {}"}}"#, "x".repeat(9_000));
    let line = "export ID -o rows.jsonl --max-retries 1";
    let told = told_on(1, Fault::status(503).body(&body), &[line]);
    let warned: Vec<_> = told.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warned.len(), 2, "{told}");
    for line in warned {
        assert!(line.contains("one \u{fffd}[2Jtwo xxx") && line.ends_with("x…"), "{line}");
        assert!(line.len() < 2_500, "{}", line.len());
    }
    assert!(!told.contains('\u{1b}'));
    // A very long error body is not read to its end, so the message does not quote it.
    let body = format!(r#"{{"detail":"{}"}}"#, "x".repeat(8 << 20));
    insta::assert_snapshot!(told_on(1, Fault::status(403).body(&body), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 1
    exit 77
    error: the API does not allow this
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 403 Forbidden
      hint: the key's plan or permissions do not allow this; the key comes from the variable OVERMIND_LAB_API_KEY
    ");
}

#[test]
fn zero_retry_time_limit_fails_on_first_error() {
    let line = "export ID -o rows.jsonl --retry-for 0 -q";
    insta::assert_snapshot!(told_on(1, Fault::status(500), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --retry-for 0 -q
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 500 Internal Server Error: A server error occurred.
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
}

#[test]
fn retry_after_beyond_time_limit_ends_the_run() {
    // The message says when to run again.
    let fault = Fault::status(429).header("Retry-After", "3600");
    insta::assert_snapshot!(told_on(1, fault, &["export ID -o rows.jsonl -q"]), @"
    $ overmind-export export ID -o rows.jsonl -q
    exit 69
    error: the API at http://API asks for a pause of 1 h 0 min
      hint: run again after that pause, or set --retry-for to a longer time
    ");
}

#[test]
fn refused_connection_is_reported() {
    let world = World::generated(Options::default(), 3);
    let nobody = nobody().to_string();
    let told = session_with(&world, &["export ID -o rows.jsonl --max-retries 0 -q"], |it| {
        it.env("OVERMIND_LAB_BASE_URL", format!("http://{nobody}"));
    });
    insta::assert_snapshot!(told.replace(&nobody, "NOBODY"), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 69
    error: the API at http://NOBODY stayed unavailable: 1 attempt in T s
      cause: cannot connect: Connection refused (os error 111)
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn broken_or_hanging_connection_is_described() {
    let line = "export ID -o rows.jsonl --max-retries 0 -q --timeout 300ms";
    let told = |fault| told_on(1, fault, &[line]);
    insta::assert_snapshot!(told(Fault::ResetBeforeHeaders), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q --timeout 300ms
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: the connection broke before an answer: Connection reset by peer (os error 104)
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    insta::assert_snapshot!(told(Fault::CutBody { after: 1000 }), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q --timeout 300ms
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: the body broke off after 1,000 bytes: end of file before message length reached
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    insta::assert_snapshot!(told(Fault::Delay(Duration::from_secs(60))), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q --timeout 300ms
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: no complete answer within 0.3 s
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    insta::assert_snapshot!(told(Fault::Stall { after: 1000 }), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q --timeout 300ms
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: no complete answer within 0.3 s
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
}

#[test]
fn redirect_to_another_origin_is_not_followed() {
    let other = World::generated(Options::default(), 1000);
    let to = format!("{}/api/datasets/{ID}/datapoints/", other.server.url());
    let told = told_on(1, Fault::redirect(&to), &[EXPORT]);
    insta::assert_snapshot!(told.replace(&other.server.addr().to_string(), "OTHER"), @"
    $ overmind-export export ID -o rows.jsonl
    exit 78
    error: the API redirects to another origin
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 302 Found to http://OTHER/api/datasets/ID/datapoints/
      hint: redirects to another origin are not followed, because they would leak the key: set the base URL to the new address of the API
    ");
    assert_eq!(other.server.stats().connections, 0);
}

#[test]
fn same_origin_redirects_are_followed_up_to_a_limit() {
    let to = format!("/api/datasets/{ID}/datapoints/?page=1&page_size=100");
    insta::assert_snapshot!(told_on(1, Fault::redirect(&to), &[EXPORT]), @"
    $ overmind-export export ID -o rows.jsonl
    exit 78
    error: the API redirects too often
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 302 Found to /api/datasets/ID/datapoints/?page=1&page_size=100
      hint: check the base URL
    ");
    let faults = Faults::none().on(1, Nth(1), Fault::redirect(&to));
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    insta::assert_snapshot!(session(&world, &[EXPORT]), @"
    $ overmind-export export ID -o rows.jsonl
    exit 0
    1,000 rows in 1 file (989.52 KiB) · T s · N rows/s · complete: every row once
      rows.jsonl
    ");
}

#[test]
fn base_url_with_api_is_explained() {
    let world = World::generated(Options::default(), 10);
    let told = |path: &str| {
        session_with(&world, &["datasets", EXPORT], |command| {
            command.env("OVERMIND_LAB_BASE_URL", world.server.url() + path);
        })
    };
    insta::assert_snapshot!(told("/api"), @r#"
    $ overmind-export datasets
    exit 78
    error: there is no datasets API at the base URL
      cause: GET http://API/api/api/datasets/ answered 404 Not Found: expected JSON, got text/html; charset=utf-8 that begins "<!doctype html> <html lang=\"en\"> <head>"
      hint: leave out /api and the text after it: every request adds it to the base URL, which comes from --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL

    $ overmind-export export ID -o rows.jsonl
    exit 78
    error: there is no datasets API at the base URL
      cause: GET http://API/api/api/datasets/ID/datapoints/?page=1&page_size=100 answered 404 Not Found: expected JSON, got text/html; charset=utf-8 that begins "<!doctype html> <html lang=\"en\"> <head>"
      hint: leave out /api and the text after it: every request adds it to the base URL, which comes from --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL
    "#);
    assert!(told("/api/datasets/").contains("hint: leave out /api and the text after it"));
}
