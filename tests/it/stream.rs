//! The stream's promises, over a real server: every row in order, bounds that hold, one error and
//! then the end.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use overmind_export::{
    Client, Datapoint, Error, Export, ExportOptions, ExportPlan, PageRange, Query, Result,
    StreamOptions,
    demo::{
        Background, Dataset, Fault, FaultAttempt, FaultPage, Faults, Options, serve_in_background,
    },
};
use proptest::{prelude::*, sample::select};
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};

use crate::{
    rows,
    support::{ID, KEY},
};

/// Far longer than anything takes: only a failure waits for it.
const LONG: Duration = Duration::from_secs(30);

/// A server with a runtime of its own, and a client that is given no second chance.
fn serve(options: Options, rows: Vec<String>, concurrency: &str) -> (Background, Client) {
    let dataset = Dataset::from_rows("rows", rows).with_id(ID);
    let server = serve_in_background(options, vec![dataset]).unwrap();
    let client = Client::builder()
        .base_url(server.url())
        .api_key(KEY)
        .concurrency(concurrency.parse().unwrap())
        .max_retries(0)
        .build()
        .unwrap();
    (server, client)
}

/// Rows whose order is their number.
fn plain(count: u64) -> Vec<String> {
    (0..count).map(|row| format!(r#"{{"id":"{}","order":{row}}}"#, rows::id(row))).collect()
}

fn numbers(rows: &[Datapoint]) -> Vec<i64> {
    rows.iter().map(|row| row.order.unwrap()).collect()
}

fn delayed(page: impl Into<FaultPage>, delay: Duration) -> Options {
    let faults = Faults::none().on(page, FaultAttempt::Always, Fault::Delay(delay));
    Options { faults, ..Options::default() }
}

/// What one run of the property test is like.
#[derive(Debug, Clone)]
struct Case {
    rows: u64,
    page_size: u32,
    /// What the server does with the page size: caps it, or ignores it in favour of its own.
    cap: u32,
    ignores: bool,
    concurrency: u64,
    prefetch_pages: usize,
    prefetch_bytes: usize,
    /// Milliseconds by which some pages come later.
    delays: Vec<(u64, u64)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let server = (0..150_u64, 1..40_u32, any::<bool>());
    let bounds = (1..9_u64, 0..12_usize, select(vec![1, 3000, 20_000, 16 << 20]));
    let delays = prop::collection::vec((1..20_u64, 1..10_u64), 0..8);
    (server, 1..40_u32, bounds, delays).prop_map(|(server, page_size, bounds, delays)| {
        let (rows, cap, ignores) = server;
        let (concurrency, prefetch_pages, prefetch_bytes) = bounds;
        Case { rows, page_size, cap, ignores, concurrency, prefetch_pages, prefetch_bytes, delays }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_row_comes_once_and_in_order_within_every_bound(case in cases()) {
        let faults = case.delays.iter().fold(Faults::none(), |faults, (page, milliseconds)| {
            let delay = Fault::Delay(Duration::from_millis(*milliseconds));
            faults.on(*page, FaultAttempt::Always, delay)
        });
        let options = Options {
            page_size: case.cap,
            max_page_size: case.cap,
            ignore_page_size: case.ignores,
            faults,
            ..Options::default()
        };
        let (server, client) = serve(options, plain(case.rows), &case.concurrency.to_string());
        let page_rows = if case.ignores { case.cap } else { case.cap.min(case.page_size) };
        let expected_pages = case.rows.div_ceil(page_rows.into()).max(1);
        let stream = StreamOptions {
            page_size: case.page_size,
            prefetch_pages: case.prefetch_pages,
            prefetch_bytes: case.prefetch_bytes,
            ..StreamOptions::default()
        };
        Runtime::new().unwrap().block_on(async {
            let mut pages = client.dataset(ID).options(stream).pages();
            let (mut taken, mut rows) = (0, Vec::new());
            while let Some(page) = pages.next().await.transpose().unwrap() {
                taken += 1;
                prop_assert_eq!(page.number(), taken);
                rows.extend(page.datapoints());
                // One page waits in the channel beside those that are fetched ahead of it.
                let ahead = server.stats().requests - taken;
                prop_assert!(ahead <= 1 + case.prefetch_pages.max(1) as u64, "{ahead} ahead");
            }
            prop_assert_eq!(numbers(&rows), (0..case.rows as i64).collect::<Vec<_>>());
            prop_assert!(rows.iter().enumerate().all(|(row, it)| it.id == rows::id(row as u64)));
            Ok(())
        })?;
        let stats = server.stats();
        prop_assert!(stats.max_in_flight as u64 <= case.concurrency);
        prop_assert_eq!(stats.attempts.len() as u64, expected_pages);
        // If the first page took long, some that do not exist were asked for beside it.
        prop_assert!(stats.requests < expected_pages + case.concurrency);
        prop_assert!(stats.attempts.values().all(|attempts| *attempts == 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_requests_are_in_flight_as_may_be_and_no_more_for_all_clones_together() {
    let latency = Duration::from_millis(20);
    let options = Options { latency, ..Options::default() };
    let (server, client) = serve(options, plain(60), "6");
    let one = StreamOptions { page_size: 1, ..StreamOptions::default() };
    let first = client.dataset(ID).options(one.clone()).datapoints();
    let second = client.clone().dataset(ID).options(one).datapoints();
    let (first, second) =
        futures::join!(first.try_collect::<Vec<_>>(), second.try_collect::<Vec<_>>());
    assert_eq!(numbers(&first.unwrap()), (0..60).collect::<Vec<_>>());
    assert_eq!(second.unwrap().len(), 60);
    assert_eq!(server.stats().max_in_flight, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_larger_than_the_bound_pass_one_after_the_other() {
    let row =
        |number| format!(r#"{{"id":"{}","input":"{}"}}"#, rows::id(number), "x".repeat(100_000));
    let (server, client) = serve(Options::default(), (0..6).map(row).collect(), "16");
    let options = StreamOptions { page_size: 1, prefetch_bytes: 1, ..StreamOptions::default() };
    let rows = client.dataset(ID).options(options).datapoints();
    assert_eq!(rows.try_collect::<Vec<_>>().await.unwrap().len(), 6);
    assert_eq!(server.stats().max_in_flight, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_any_size_pass_when_the_bound_is_smaller_than_those_in_flight() {
    // Bodies wait for room on real connections; small pages say nothing of the large ones to come.
    let row = |number: u64| {
        let bytes = if number.is_multiple_of(3) { 10 } else { 300_000 };
        format!(r#"{{"id":"{}","input":"{}"}}"#, rows::id(number), "x".repeat(bytes))
    };
    let (server, client) = serve(Options::default(), (0..40).map(row).collect(), "16");
    let options =
        StreamOptions { page_size: 1, prefetch_bytes: 100_000, ..StreamOptions::default() };
    let mut pages = client.dataset(ID).options(options).pages();
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await.transpose().unwrap() {
        rows.extend(page.datapoints().map(|row| row.id));
    }
    assert_eq!(rows, (0..40).map(rows::id).collect::<Vec<_>>());
    assert_eq!(server.stats().requests, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_error_ends_the_stream_and_nothing_comes_after_it() {
    let table = [
        (Fault::status(403), 77),
        (Fault::status(500), 69),
        (Fault::ResetBeforeHeaders, 69),
        (Fault::field(2, "order", "\"seven\""), 65),
        (Fault::invalid_page(), 65),
        (Fault::ShortPage(1), 65),
        (Fault::Count(99), 65),
    ];
    for (fault, code) in table {
        let faults = Faults::none().on(4, FaultAttempt::Always, fault.clone()).on(
            6..=20,
            FaultAttempt::Always,
            Fault::Delay(LONG),
        );
        let options = Options { faults, ..Options::default() };
        let (server, client) = serve(options, plain(100), "8");
        let options = StreamOptions { page_size: 5, ..StreamOptions::default() };
        let mut rows = client.dataset(ID).options(options).datapoints();
        let (mut seen, mut error) = (Vec::new(), None);
        while let Some(row) = rows.next().await {
            assert!(error.is_none(), "{fault:?}: something came after the error");
            match row {
                Ok(row) => seen.push(row),
                Err(it) => error = Some(it),
            }
        }
        assert_eq!(error.as_ref().map(Error::exit_code), Some(code), "{fault:?}: {error:?}");
        assert!(seen.len() <= 20, "{fault:?}: {} rows", seen.len());
        assert_eq!(numbers(&seen), (0..seen.len() as i64).collect::<Vec<_>>(), "{fault:?}");
        for _ in 0..3 {
            assert!(rows.next().await.is_none(), "{fault:?}: it went on");
        }
        // The end cancels what was fetched ahead, though the stream is still there.
        assert!(server.wait_until(LONG / 2, |stats| stats.in_flight == 0), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_stream_cancels_the_requests_in_flight() {
    let (server, client) = serve(delayed(2..=99, LONG), plain(100), "5");
    let options = StreamOptions { page_size: 5, ..StreamOptions::default() };
    let mut rows = client.dataset(ID).options(options).datapoints();
    assert_eq!(rows.next().await.unwrap().unwrap().order, Some(0));
    assert!(server.wait_until(LONG, |stats| stats.in_flight == 5));
    drop(rows);
    assert!(server.wait_until(LONG / 2, |stats| stats.in_flight == 0));
    assert_eq!(server.stats().requests, 6);
    // What was cancelled holds no place: the client goes on.
    server.set_faults(Faults::none());
    let all = client.dataset(ID).datapoints();
    assert_eq!(all.try_collect::<Vec<_>>().await.unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_the_page_size_is_read_as_it_answers() {
    let options = Options { ignore_page_size: true, page_size: 7, ..Options::default() };
    let (server, client) = serve(options, plain(40), "4");
    let options = StreamOptions { page_size: 100, ..StreamOptions::default() };
    let pages: Vec<_> = client.dataset(ID).options(options).pages().try_collect().await.unwrap();
    let sizes: Vec<_> = pages.iter().map(|page| page.len()).collect();
    assert_eq!(sizes, [7, 7, 7, 7, 7, 5]);
    assert_eq!(server.stats().requests, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_and_a_range_of_pages_give_those_rows() {
    let (_server, client) = serve(Options::default(), plain(100), "4");
    let rows = async |pages: &str, limit| {
        let pages: PageRange = pages.parse().unwrap();
        let options = StreamOptions { page_size: 10, pages, limit, ..StreamOptions::default() };
        let rows: Result<Vec<_>> =
            client.dataset(ID).options(options).datapoints().try_collect().await;
        rows.map(|rows| numbers(&rows))
    };
    assert_eq!(rows("3-4", None).await.unwrap(), (20..40).collect::<Vec<_>>());
    assert_eq!(rows("9-", Some(13)).await.unwrap(), (80..93).collect::<Vec<_>>());
    assert_eq!(rows("1-", Some(1)).await.unwrap(), [0]);
    assert_eq!(rows("1-", Some(1000)).await.unwrap().len(), 100);
    assert_eq!(rows("11", None).await.unwrap_err().exit_code(), 66);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_make_no_sense_are_refused_before_any_request() {
    let (server, client) = serve(Options::default(), plain(3), "4");
    let query = Query { version_min: Some(5), version_max: Some(2), ..Query::default() };
    let default = StreamOptions::default;
    for (query, options) in [
        (Query::default(), StreamOptions { page_size: 0, ..default() }),
        (Query::default(), StreamOptions { limit: Some(0), ..default() }),
        (query, default()),
    ] {
        let mut rows = client.dataset(ID).query(query).options(options).datapoints();
        assert_eq!(rows.next().await.unwrap().unwrap_err().exit_code(), 2);
        assert!(rows.next().await.is_none());
    }
    assert_eq!(server.stats().requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datapoint_has_every_value_as_it_was_sent() {
    let mut expected = rows::hard();
    let spaced =
        r#"{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","input": [ 1 ,{ "a":2 } ] ,"x": [ 3]}"#;
    expected.push(rows::parsed(spaced.to_owned()));
    let (_server, client) = serve(Options::default(), rows::wire(&expected), "4");
    let options = StreamOptions { page_size: 5, ..StreamOptions::default() };
    let rows: Vec<_> =
        client.dataset(ID).options(options).datapoints().try_collect().await.unwrap();
    assert_eq!(rows.len(), expected.len());
    let json = |value: &Option<Box<RawValue>>| value.as_ref().map(|it| rows::compact(it.get()));
    for (number, (row, expected)) in rows.iter().zip(&expected).enumerate() {
        let columns = [
            Some(row.id.to_string()),
            row.order.map(|order| order.to_string()),
            json(&row.input),
            json(&row.expected_output),
            row.persona.clone(),
            json(&row.tags),
            json(&row.additional_properties),
        ];
        assert!(columns == expected.columns, "row {number}");
    }
    // A stream changes nothing at all; only files drop white space.
    let last = rows.last().unwrap();
    assert_eq!(last.input.as_ref().unwrap().get(), r#"[ 1 ,{ "a":2 } ]"#);
    assert_eq!(last.additional_properties.as_ref().unwrap().get(), r#"{"x":[ 3]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datapoint_serializes_to_what_its_line_of_json_lines_holds() {
    let mut sent = rows::wire(&rows::hard());
    sent.push(
        "{\"id\":\"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e\",\"input\": [ 1 ,{ \"a b\":2 } ] ,\n\"x\": [\n 3]}"
            .to_owned(),
    );
    let count = sent.len();
    let (_server, client) = serve(Options::default(), sent, "4");
    let datapoints: Vec<Datapoint> = client.dataset(ID).datapoints().try_collect().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let plan = ExportPlan::new(ExportOptions::new(ID, &path)).unwrap();
    Export::new(client, plan).run().await.unwrap();
    let file = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines.len(), count);
    for (datapoint, line) in datapoints.iter().zip(lines) {
        assert!(serde_json::to_string(datapoint).unwrap() == line, "{}", datapoint.id);
    }
}

#[test]
fn a_connection_that_has_brought_a_page_is_used_for_the_next_one() {
    let row = |row| format!(r#"{{"id":"{}","input":"{}"}}"#, rows::id(row), "x".repeat(5000));
    let (server, client) = serve(Options::default(), (0..500).map(row).collect(), "1");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let options = StreamOptions { page_size: 5, ..StreamOptions::default() };
    let pages = client.dataset(ID).options(options).pages();
    assert_eq!(runtime.block_on(pages.try_collect::<Vec<_>>()).unwrap().len(), 100);
    assert_eq!(server.stats().connections, 1);
}
