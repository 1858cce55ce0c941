//! Tests of each fault, as a client receives it.

use std::io::ErrorKind;

use serde_json::json;

use super::*;

/// Starts a server with 60 rows on 3 pages, and with a fault on every request for page 2.
fn with_fault(fault: Fault) -> Background {
    scripted(Faults::none().on(2, FaultAttempt::Always, fault))
}

fn scripted(faults: Faults) -> Background {
    serve_rows(60, Options { faults, ..Options::default() })
}

fn page_2(server: &Background) -> Reply {
    get(server, &datapoints("?page=2"))
}

#[test]
fn fault_applies_only_to_its_page_and_attempt() {
    let server = scripted(Faults::none().on(2, FaultAttempt::First(2), Fault::status(503)));
    let mut client = Client::connect(&server);
    let mut status = |page| client.get(&datapoints(&format!("?page={page}"))).status;
    assert_eq!([status(1), status(2), status(2), status(2)], [200, 503, 503, 200]);
    assert_eq!(server.stats().attempts(ID, 2), 3);

    server.set_faults(Faults::none().on(2, FaultAttempt::Nth(1), Fault::status(502)));
    assert_eq!([status(2), status(2)], [502, 200], "attempts count from 1 again");
}

#[test]
fn fault_applies_to_page_requested_as_last() {
    let server = scripted(Faults::none().on(3, FaultAttempt::Always, Fault::status(500)));
    assert_eq!(get(&server, &datapoints("?page=last")).status, 500);
}

#[test]
fn list_of_datasets_has_its_own_faults() {
    let server =
        scripted(Faults::none().on(FaultPage::List, FaultAttempt::Always, Fault::status(403)));
    assert_eq!(get(&server, "/api/datasets/").status, 403);
    assert_eq!(get(&server, &datapoints("")).status, 200);
}

#[test]
fn status_fault_has_its_headers_and_body() {
    let fault = Fault::status(429).header("Retry-After", "7").body(r#"{"detail":"slow"}"#);
    let reply = page_2(&with_fault(fault));
    assert_eq!((reply.status, reply.text()), (429, r#"{"detail":"slow"}"#));
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.header("content-type"), Some("application/json"));

    let reply = page_2(&with_fault(Fault::status(502)));
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let reply = page_2(&with_fault(Fault::invalid_page()));
    assert_eq!((reply.status, reply.text()), (404, r#"{"detail":"Invalid page."}"#));
    let reply = page_2(&with_fault(Fault::redirect("http://elsewhere.example/")));
    assert_eq!((reply.status, reply.header("location")), (302, Some("http://elsewhere.example/")));
}

#[test]
fn delayed_answer_comes_after_its_delay() {
    let delay = Duration::from_millis(40);
    let server = with_fault(Fault::Delay(delay));
    let started = std::time::Instant::now();
    assert_eq!(orders(&page_2(&server))[0], 25);
    // A slow machine only takes longer.
    assert!(started.elapsed() >= delay);
}

#[test]
fn delayed_request_blocks_no_other_request() {
    let server = with_fault(Fault::Delay(Duration::from_secs(3600)));
    let mut delayed = Client::connect(&server);
    delayed.send(&datapoints("?page=2"));
    assert!(server.wait_until(TIME_LIMIT, |stats| stats.attempts(ID, 2) == 1));
    assert_eq!(get(&server, &datapoints("?page=1")).status, 200);
    assert_eq!(server.stats().in_flight, 1);
    drop(delayed);
    assert!(server.wait_until(TIME_LIMIT, |stats| stats.in_flight == 0));
}

#[test]
fn reset_replaces_the_answer() {
    let server = with_fault(Fault::ResetBeforeHeaders);
    let mut client = Client::connect(&server);
    client.send(&datapoints("?page=2"));
    assert_eq!(client.head().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.stats().bytes_sent, 0);
}

#[test]
fn cut_body_is_shorter_than_its_length() {
    for after in [0, 1, 5_000] {
        let server = with_fault(Fault::CutBody { after });
        let mut client = Client::connect(&server);
        client.send(&datapoints("?page=2"));
        let length: usize =
            client.head().unwrap().header("content-length").unwrap().parse().unwrap();
        assert!(length > 5_000);
        assert_eq!(client.read_to_close().unwrap().len(), after);
    }
}

#[test]
fn truncated_json_answer_has_half_a_page() {
    let server = scripted(Faults::none().on(2, FaultAttempt::Nth(2), Fault::TruncatedJson));
    let (whole, half) = (page_2(&server).body, page_2(&server));
    assert_eq!((half.status, &half.body[..]), (200, &whole[..whole.len() / 2]));
}

#[test]
fn html_and_content_type_faults_keep_status_200() {
    let reply = page_2(&with_fault(Fault::Html));
    assert_eq!((reply.status, &reply.body[..9]), (200, &b"<!doctype"[..]));
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));

    let reply = page_2(&with_fault(Fault::ContentType("text/plain".to_owned())));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(orders(&reply).len(), 25);
}

#[test]
fn field_faults_replace_or_remove_fields() {
    let faults = Faults::none()
        .on(2, FaultAttempt::Nth(2), Fault::field(3, "order", "\"three\""))
        .on(2, FaultAttempt::Nth(2), Fault::field(3, "surprise", "[1]"))
        .on(2, FaultAttempt::Nth(2), Fault::missing_field(4, "id"));
    let server = scripted(faults);
    let (mut expected, page) = (page_2(&server).json(), page_2(&server).json());
    expected["results"][3]["order"] = json!("three");
    expected["results"][3]["surprise"] = json!([1]);
    expected["results"][4].as_object_mut().unwrap().remove("id");
    assert_eq!(page, expected);
}

#[test]
fn faults_replace_count_and_next() {
    assert_eq!(page_2(&with_fault(Fault::Count(61))).json()["count"], 61);
    assert_eq!(page_2(&with_fault(Fault::DropNext)).json()["next"], json!(null));
    let foreign = "https://elsewhere.example/?page=3";
    assert_eq!(page_2(&with_fault(Fault::Next(foreign.to_owned()))).json()["next"], foreign);
}

#[test]
fn faults_repeat_cut_and_shift_rows() {
    let rows = |fault| orders(&page_2(&with_fault(fault)));
    assert_eq!(rows(Fault::RepeatPage(1)), (0..25).collect::<Vec<_>>());
    assert_eq!(rows(Fault::RepeatPage(3)), (50..60).collect::<Vec<_>>());
    assert_eq!(rows(Fault::ShortPage(5)), (25..45).collect::<Vec<_>>());
    assert!(rows(Fault::ShortPage(1_000)).is_empty());
    assert_eq!(rows(Fault::ShiftRows(2)), (23..48).collect::<Vec<_>>());
    assert_eq!(rows(Fault::ShiftRows(1_000)), (0..25).collect::<Vec<_>>());
}

#[test]
fn all_rules_for_a_page_apply() {
    let faults = Faults::none().on(1..=2, FaultAttempt::Always, Fault::Count(7)).on(
        FaultPage::Any,
        FaultAttempt::Always,
        Fault::ShortPage(24),
    );
    let reply = page_2(&scripted(faults));
    assert_eq!(reply.json()["count"], 7);
    assert_eq!(orders(&reply), [25]);
}

#[test]
fn endless_body_lasts_until_client_disconnects() {
    let server = with_fault(Fault::EndlessBody);
    let mut client = Client::connect(&server);
    client.send(&datapoints("?page=2"));
    assert_eq!(client.head().unwrap().header("transfer-encoding"), Some("chunked"));
    let far_more_than_a_page = 20 << 20;
    assert!(client.read(far_more_than_a_page).ends_with(b"aaaa"));
    drop(client);
    assert!(server.wait_until(TIME_LIMIT, |stats| stats.in_flight == 0));
}

#[test]
fn stalled_body_keeps_its_connection_open() {
    for after in [0, 100] {
        let server = with_fault(Fault::Stall { after });
        let mut client = Client::connect(&server);
        client.send(&datapoints("?page=2"));
        let head = client.head().unwrap();
        assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 5_000);
        assert_eq!(client.read(after).len(), after);
        assert_eq!(server.stats().in_flight, 1);
        drop(client);
        assert!(server.wait_until(TIME_LIMIT, |stats| stats.in_flight == 0));
    }
}

#[test]
fn random_faults_are_the_same_in_every_run() {
    let run = || {
        let faults = Faults::random(3, 0.4, [Fault::status(503), Fault::Html]);
        let server = scripted(faults);
        let mut client = Client::connect(&server);
        let mut ask = |page| {
            let reply = client.get(&datapoints(&format!("?page_size=5&page={page}")));
            (reply.status, reply.header("content-type").map(str::to_owned))
        };
        (1..=12).flat_map(|page| [ask(page), ask(page)]).collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first, run());
    let struck = first.iter().filter(|(status, _)| *status == 503).count();
    assert!((1..first.len()).contains(&struck));
}
