//! The promises of the stream, checked with a real server: every row in order, limits that hold, at most one
//! error, then the end.

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

/// Time limit of waits. It is far longer than any successful step takes.
const LONG: Duration = Duration::from_secs(30);

/// A server with its own runtime, and a client without retries.
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

/// Rows whose `order` is their number, from 0.
fn plain(count: u64) -> Vec<String> {
    (0..count).map(|row| format!(r#"{{"id":"{}","order":{row}}}"#, rows::id(row))).collect()
}

fn numbers(rows: &[Datapoint]) -> Vec<i64> {
    rows.iter().map(|row| row.order.unwrap()).collect()
}

/// Options that delay these pages.
fn delayed(page: impl Into<FaultPage>, delay: Duration) -> Options {
    let faults = Faults::none().on(page, FaultAttempt::Always, Fault::Delay(delay));
    Options { faults, ..Options::default() }
}

/// The parameters of one case of the property test.
#[derive(Debug, Clone)]
struct Case {
    rows: u64,
    page_size: u32,
    /// The server's maximum page size. It is also the page size of a server that ignores the requested one.
    cap: u32,
    ignores: bool,
    concurrency: u64,
    prefetch_pages: usize,
    prefetch_bytes: usize,
    /// Delayed pages: the page number and the delay in milliseconds.
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
    fn rows_come_once_in_order_within_all_bounds(case in cases()) {
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
                // One page may wait in the channel, in addition to the prefetched pages.
                let ahead = server.stats().requests - taken;
                prop_assert!(
                    ahead <= 1 + case.prefetch_pages.max(1) as u64,
                    "{ahead} prefetched pages"
                );
            }
            prop_assert_eq!(numbers(&rows), (0..case.rows as i64).collect::<Vec<_>>());
            prop_assert!(rows.iter().enumerate().all(|(row, it)| it.id == rows::id(row as u64)));
            Ok(())
        })?;
        let stats = server.stats();
        prop_assert!(stats.max_in_flight as u64 <= case.concurrency);
        prop_assert_eq!(stats.attempts.len() as u64, expected_pages);
        // Pages that do not exist may be requested together with a slow first page.
        prop_assert!(stats.requests < expected_pages + case.concurrency);
        // Requests that started together with a slow first page are cancelled if they do not fit, and sent again.
        let is_expected = |page: u64, attempts: u32| {
            attempts == 1 || attempts == 2 && (2..=case.concurrency).contains(&page)
        };
        let mut attempts = stats.attempts.iter();
        prop_assert!(attempts.all(|((_, page), attempts)| is_expected(*page, *attempts)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_a_client_share_the_request_slots() {
    // Two streams together use all six slots, and never more.
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
async fn pages_above_the_byte_limit_come_one_by_one() {
    let row =
        |number| format!(r#"{{"id":"{}","input":"{}"}}"#, rows::id(number), "x".repeat(100_000));
    let (server, client) = serve(Options::default(), (0..6).map(row).collect(), "16");
    let options = StreamOptions { page_size: 1, prefetch_bytes: 1, ..StreamOptions::default() };
    let rows = client.dataset(ID).options(options).datapoints();
    assert_eq!(rows.try_collect::<Vec<_>>().await.unwrap().len(), 6);
    assert_eq!(server.stats().max_in_flight, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_any_size_pass_a_small_byte_limit() {
    // The limit is smaller than the pages in flight, so bodies wait on their connections until the budget
    // has room. The size estimate from small pages is too low for the large pages.
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
async fn stream_ends_after_the_first_error() {
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
            assert!(error.is_none(), "{fault:?}: an item after the error");
            match row {
                Ok(row) => seen.push(row),
                Err(it) => error = Some(it),
            }
        }
        assert_eq!(error.as_ref().map(Error::exit_code), Some(code), "{fault:?}: {error:?}");
        assert!(seen.len() <= 20, "{fault:?}: {} rows", seen.len());
        assert_eq!(numbers(&seen), (0..seen.len() as i64).collect::<Vec<_>>(), "{fault:?}");
        for _ in 0..3 {
            assert!(rows.next().await.is_none(), "{fault:?}: an item after the end");
        }
        // The end cancels the prefetch, even before the stream is dropped.
        assert!(server.wait_until(LONG / 2, |stats| stats.in_flight == 0), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_stream_cancels_its_requests() {
    let (server, client) = serve(delayed(2..=99, LONG), plain(100), "5");
    let options = StreamOptions { page_size: 5, ..StreamOptions::default() };
    let mut rows = client.dataset(ID).options(options).datapoints();
    assert_eq!(rows.next().await.unwrap().unwrap().order, Some(0));
    assert!(server.wait_until(LONG, |stats| stats.in_flight == 5));
    drop(rows);
    assert!(server.wait_until(LONG / 2, |stats| stats.in_flight == 0));
    assert_eq!(server.stats().requests, 6);
    // Cancelled requests free their slots: the client can be used again.
    server.set_faults(Faults::none());
    let all = client.dataset(ID).datapoints();
    assert_eq!(all.try_collect::<Vec<_>>().await.unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ignored_page_size_is_accepted() {
    let options = Options { ignore_page_size: true, page_size: 7, ..Options::default() };
    let (server, client) = serve(options, plain(40), "4");
    let options = StreamOptions { page_size: 100, ..StreamOptions::default() };
    let pages: Vec<_> = client.dataset(ID).options(options).pages().try_collect().await.unwrap();
    let sizes: Vec<_> = pages.iter().map(|page| page.len()).collect();
    assert_eq!(sizes, [7, 7, 7, 7, 7, 5]);
    assert_eq!(server.stats().requests, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_and_page_range_select_exact_rows() {
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
async fn invalid_options_are_refused_before_any_request() {
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
async fn datapoints_keep_every_value() {
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
    // A stream changes nothing. Only files drop white space.
    let last = rows.last().unwrap();
    assert_eq!(last.input.as_ref().unwrap().get(), r#"[ 1 ,{ "a":2 } ]"#);
    assert_eq!(last.additional_properties.as_ref().unwrap().get(), r#"{"x":[ 3]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datapoint_serializes_to_its_json_line() {
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
fn connection_is_reused_for_the_next_page() {
    let row = |row| format!(r#"{{"id":"{}","input":"{}"}}"#, rows::id(row), "x".repeat(5000));
    let (server, client) = serve(Options::default(), (0..500).map(row).collect(), "1");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let options = StreamOptions { page_size: 5, ..StreamOptions::default() };
    let pages = client.dataset(ID).options(options).pages();
    assert_eq!(runtime.block_on(pages.try_collect::<Vec<_>>()).unwrap().len(), 100);
    assert_eq!(server.stats().connections, 1);
}
