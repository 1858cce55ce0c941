//! Every fault alone, on the first page, on a middle page and on the last page, with the expected result.

use std::{
    sync::{LazyLock, Mutex},
    time::Duration,
};

use futures::TryStreamExt;
use overmind_export::{
    Client, Export, ExportOptions, ExportPlan, StreamOptions,
    demo::{Fault, FaultAttempt, Faults, Options},
};
use serde_json::Value;

use self::Then::{Ends, Refuses, Retries, Same, SecondPass};
use crate::{
    support::{ID, World, side_by_side},
    tree::{Tree, content},
};

/// Number of rows: ten pages of 25, the last page with 5 rows.
pub(crate) const ROWS: u64 = 230;
const PAGES: [u64; 3] = [1, 5, 10];

/// The outputs, each with its arguments. A directory has five parts of two pages.
pub(crate) const OUTPUTS: [(&str, &[&str]); 6] = [
    ("rows.jsonl", &[]),
    ("parquet", &["--rows-per-file", "50"]),
    ("rows.arrow", &[]),
    ("rows.parquet", &[]),
    ("arrow", &["--format", "arrow", "--rows-per-file", "50"]),
    ("jsonl", &["--format", "jsonl", "--rows-per-file", "50"]),
];

/// The content of each output after a run without faults.
pub(crate) static TRUTH: LazyLock<[Tree; OUTPUTS.len()]> = LazyLock::new(|| {
    let world = World::generated(Options::default(), ROWS);
    OUTPUTS.map(|(output, arguments)| {
        world.export(&[&["-o", output, "--page-size", "25"], arguments].concat()).ok();
        content(&world.path(output))
    })
});

/// The expected result of a fault. The expected output is [`TRUTH`].
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The expected output, without a retry.
    Same,
    /// The expected output, after this number of retries.
    Retries(u64),
    /// The expected output from a second pass, after a log line that contains this text.
    SecondPass(&'static str),
    /// No output, this exit code and a message that contains this text. Finished parts may be kept.
    Ends(i32, &'static str),
    /// Like [`Ends`], but no part is kept, because the next run could not use it.
    Refuses(i32, &'static str),
}

type Row = (&'static str, fn(u64) -> Fault, [Then; 3]);

/// Faults of the first attempt only.
const ONCE: &[Row] = &[
    ("408", |_| Fault::status(408), [Retries(1); 3]),
    ("409", |_| Fault::status(409), [Retries(1); 3]),
    ("425", |_| Fault::status(425), [Retries(1); 3]),
    ("429", |_| Fault::status(429), [Retries(1); 3]),
    ("429, Retry-After: 1", |_| Fault::status(429).header("Retry-After", "1"), [Retries(1); 3]),
    ("500", |_| Fault::status(500), [Retries(1); 3]),
    ("502, HTML", |_| Fault::status(502), [Retries(1); 3]),
    ("503", |_| Fault::status(503), [Retries(1); 3]),
    ("503, Retry-After: 1", |_| Fault::status(503).header("Retry-After", "1"), [Retries(1); 3]),
    ("504, HTML", |_| Fault::status(504), [Retries(1); 3]),
    ("answer after the timeout", |_| Fault::Delay(Duration::from_secs(60)), [Retries(1); 3]),
    ("reset before headers", |_| Fault::ResetBeforeHeaders, [Retries(1); 3]),
    ("body cut short", |_| Fault::CutBody { after: 100 }, [Retries(1); 3]),
    ("body cut at once", |_| Fault::CutBody { after: 0 }, [Retries(1); 3]),
    ("body stalls", |_| Fault::Stall { after: 100 }, [Retries(1); 3]),
    ("403, HTML", |_| Fault::html(403), [Retries(1); 3]),
    ("404, HTML", |_| Fault::html(404), [Ends(78, "no datasets API"), Retries(1), Retries(1)]),
    ("304", |_| Fault::status(304).body(""), [Retries(1); 3]),
    ("brotli", |_| Fault::coding("br"), [Retries(1); 3]),
    ("gzip by another name", |_| Fault::coding("X-GZip"), [Same; 3]),
    ("NaN in a row", |_| Fault::field(2, "input", "NaN"), [Retries(1); 3]),
    ("503, Retry-After: 0.5", |_| Fault::status(503).header("Retry-After", "0.5"), [Retries(1); 3]),
    ("truncated JSON", |_| Fault::TruncatedJson, [Retries(1); 3]),
    ("200 with HTML", |_| Fault::Html, [Retries(1); 3]),
    ("wrong type in a row", |_| Fault::field(2, "order", "\"two\""), [Retries(1); 3]),
    ("row without id", |_| Fault::missing_field(2, "id"), [Retries(1); 3]),
    ("JSON, but no page", |_| Fault::status(200).body("{\"detail\":\"hi\"}"), [Retries(1); 3]),
    ("wrong content type", |_| Fault::ContentType("text/plain".to_owned()), [Same; 3]),
    ("redirect within the origin", again, [Same; 3]),
    ("redirect to another origin", away, [Ends(78, "redirects to another origin"); 3]),
    (
        "count goes up",
        |_| Fault::Count(ROWS + 3),
        [
            SecondPass("count changed from 233 to 230 (page 2)"),
            SecondPass("count changed from 230 to 233 (page 5)"),
            SecondPass("count changed from 230 to 233 (page 10)"),
        ],
    ),
    (
        "count goes down",
        |_| Fault::Count(ROWS - 50),
        [
            SecondPass("count changed from 180 to 230 (page 2)"),
            SecondPass("count changed from 230 to 180 (page 5)"),
            SecondPass("count changed from 230 to 180 (page 10)"),
        ],
    ),
    (
        "another page's rows",
        |_| Fault::RepeatPage(4),
        [
            SecondPass("25 ids came twice"),
            SecondPass("page 5 has the same rows as page 4"),
            SecondPass("230 rows promised, 225 distinct ids came"),
        ],
    ),
    (
        "short page",
        |_| Fault::ShortPage(3),
        [
            // Then page 2 is too long and page 11 is missing. The message names whichever is seen first.
            SecondPass("changed during the export: page"),
            SecondPass("page 5 is short: 22 rows where the others have 25"),
            SecondPass("230 rows promised, 227 distinct ids came"),
        ],
    ),
    (
        "page without rows",
        |_| Fault::ShortPage(25),
        [
            SecondPass("page 1 is empty"),
            SecondPass("page 5 is empty"),
            SecondPass("page 10 is empty"),
        ],
    ),
    (
        "rows shifted by two",
        |_| Fault::ShiftRows(2),
        [
            Same,
            SecondPass("2 ids came twice"),
            SecondPass("230 rows promised, 228 distinct ids came"),
        ],
    ),
    (
        "next is null",
        |_| Fault::DropNext,
        [
            SecondPass("page 1 says there is no next page but is not the last (of 10)"),
            SecondPass("page 5 says there is no next page but is not the last (of 10)"),
            Same,
        ],
    ),
    (
        "next at a foreign host",
        foreign_next,
        [Same, Same, SecondPass("page 10 says there is a next page but the last is page 10")],
    ),
    ("another page", |page| Fault::SwapPage(page % 10 + 1), [Retries(1); 3]),
    (
        "404, Invalid page",
        |_| Fault::invalid_page(),
        [
            Ends(66, "no such dataset"),
            SecondPass("page 5 is gone (404), where count was 230"),
            SecondPass("page 10 is gone (404), where count was 230"),
        ],
    ),
    (
        "endless body",
        |_| Fault::EndlessBody,
        [Ends(65, "the body is larger than 1,048,576 bytes"); 3],
    ),
    ("400", |_| Fault::status(400), [Ends(2, "the API refuses a parameter"); 3]),
    ("401", |_| Fault::status(401), [Ends(77, "the API refuses the key"); 3]),
    ("402", |_| Fault::status(402), [Ends(77, "the API asks for payment"); 3]),
    ("403", |_| Fault::status(403), [Ends(77, "the API does not allow this"); 3]),
];

/// Faults of every attempt.
const ALWAYS: &[Row] = &[
    ("408", |_| Fault::status(408), [Ends(69, "answered 408"); 3]),
    ("429", |_| Fault::status(429), [Ends(69, "answered 429"); 3]),
    ("429, back in an hour", in_an_hour, [Ends(69, "asks for a pause of 1 h 0 min"); 3]),
    ("500", |_| Fault::status(500), [Ends(69, "stayed unavailable: 2 attempts in"); 3]),
    ("502, HTML", |_| Fault::status(502), [Ends(69, "answered 502 Bad Gateway"); 3]),
    ("503", |_| Fault::status(503), [Ends(69, "answered 503 Service Unavailable"); 3]),
    (
        "answer after the timeout",
        |_| Fault::Delay(Duration::from_secs(60)),
        [Ends(69, "no complete answer within 2 s"); 3],
    ),
    (
        "reset before headers",
        |_| Fault::ResetBeforeHeaders,
        [Ends(69, "the connection broke before an answer"); 3],
    ),
    (
        "body cut short",
        |_| Fault::CutBody { after: 100 },
        [Ends(69, "the body broke off after 100 bytes"); 3],
    ),
    (
        "body stalls",
        |_| Fault::Stall { after: 100 },
        [Ends(69, "no complete answer within 2 s"); 3],
    ),
    ("truncated JSON", |_| Fault::TruncatedJson, [Ends(65, "bytes received are not JSON"); 3]),
    ("200 with HTML", |_| Fault::Html, [Ends(65, "expected JSON, got text/html"); 3]),
    (
        "wrong type in a row",
        |_| Fault::field(2, "order", "\"two\""),
        [Ends(65, "row 2, field \"order\": invalid type: string \"two\""); 3],
    ),
    ("row without id", |_| Fault::missing_field(2, "id"), [Ends(65, "missing field `id`"); 3]),
    ("redirect to another origin", away, [Ends(78, "redirects to another origin"); 3]),
    ("redirect without end", again, [Ends(78, "the API redirects too often"); 3]),
    ("count differs", |_| Fault::Count(ROWS + 3), [Refuses(65, "count changed from"); 3]),
    ("another page's rows", |_| Fault::RepeatPage(4), [Refuses(65, "25 ids came twice"); 3]),
    (
        "short page",
        |_| Fault::ShortPage(3),
        [
            Refuses(65, "the dataset changed during the export: page"),
            Refuses(65, "page 5 is short: 22 rows"),
            Refuses(65, "230 rows promised, 227 distinct ids came"),
        ],
    ),
    (
        "rows shifted by two",
        |_| Fault::ShiftRows(2),
        [Same, Refuses(65, "2 ids came twice"), Refuses(65, "2 ids came twice")],
    ),
    (
        "next is null",
        |_| Fault::DropNext,
        [
            Refuses(65, "page 1 says there is no next page but is not the last"),
            Refuses(65, "page 5 says there is no next page but is not the last"),
            Same,
        ],
    ),
    (
        "next at a foreign host",
        foreign_next,
        [Same, Same, Refuses(65, "page 10 says there is a next page")],
    ),
    (
        "page 7 in its place",
        |_| Fault::SwapPage(7),
        [
            Ends(65, "it is another page: its `next` is page 8 and should be page 2"),
            Ends(65, "it is another page: its `next` is page 8 and should be page 6"),
            Ends(65, "it is another page: its `next` is page 8 and should be page 11"),
        ],
    ),
    (
        "404, Invalid page",
        |_| Fault::invalid_page(),
        [
            Ends(66, "no such dataset"),
            Refuses(65, "page 5 is gone (404)"),
            Refuses(65, "page 10 is gone (404)"),
        ],
    ),
    ("endless body", |_| Fault::EndlessBody, [Ends(65, "the body is larger than"); 3]),
    ("401", |_| Fault::status(401), [Ends(77, "the API refuses the key"); 3]),
];

fn again(page: u64) -> Fault {
    Fault::redirect(&format!("/api/datasets/{ID}/datapoints/?page={page}&page_size=25"))
}

fn away(_: u64) -> Fault {
    Fault::redirect("http://127.0.0.1:1/")
}

fn foreign_next(page: u64) -> Fault {
    Fault::Next(format!("https://elsewhere.example/x?page={}", page + 1))
}

fn in_an_hour(_: u64) -> Fault {
    Fault::status(429).header("Retry-After", "3600")
}

#[test]
fn transient_faults_are_retried_or_fail_cleanly() {
    // Each fault costs a retry or another pass, or ends the run without an output.
    run_table("once", ONCE, FaultAttempt::First(1));
}

#[test]
fn permanent_faults_fail_and_the_next_run_completes() {
    run_table("always", ALWAYS, FaultAttempt::Always);
}

/// Runs every row of the table on every page, alternates between the outputs, and prints a table of the results.
fn run_table(when: &str, rows: &[Row], attempt: FaultAttempt) {
    let lines = Mutex::new(Vec::new());
    let cases = rows.iter().enumerate().flat_map(|row| [0, 1, 2].map(|place| (row, place)));
    side_by_side(cases, |((index, (name, fault, then)), place)| {
        let page = PAGES[place];
        let output = (index + place) % OUTPUTS.len();
        let faults = Faults::none().on(page, attempt, fault(page));
        let what = format!("{name}, {when}, page {page}, to {}", OUTPUTS[output].0);
        let line = run_case(&what, faults, output, then[place]);
        lines.lock().unwrap().push((
            index,
            place,
            format!("| {name} | {when} | {page} | {line} |"),
        ));
    });
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    for (.., line) in lines {
        println!("{line}");
    }
}

fn run_case(what: &str, faults: Faults, output: usize, then: Then) -> String {
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    let (name, more) = OUTPUTS[output];
    let common = ["-o", name, "--json", "--page-size", "25", "--timeout", "2s"];
    let arguments = [&common, &["--max-page-bytes", "1MiB"][..], more].concat();
    let ran =
        world.export(&[&arguments, &["--max-retries", "1", "--max-passes", "2"][..]].concat());
    let moved = "the dataset changed during the export";
    match then {
        Same | Retries(_) | SecondPass(_) => {
            assert_eq!(ran.code, Some(0), "{what}: {ran:?}");
            assert_eq!(world.entries(), world.exported(name), "{what}");
            assert!(content(&world.path(name)) == TRUTH[output], "{what}: the output differs");
            let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
            let retries = summary["retries"].as_u64().unwrap();
            match then {
                Retries(expected) => assert_eq!(retries, expected, "{what}: {ran:?}"),
                SecondPass(words) => assert!(ran.stderr.contains(words), "{what}: {ran:?}"),
                _ => assert_eq!(retries, 0, "{what}: {ran:?}"),
            }
            let is_second = ran.stderr.contains(moved);
            assert_eq!(is_second, matches!(then, SecondPass(_)), "{what}: {ran:?}");
            let what = if is_second { "whole output, second pass" } else { "whole output" };
            format!("{what} | {retries} | 0")
        }
        Ends(code, words) | Refuses(code, words) => {
            assert_eq!(ran.code, Some(code), "{what}: {ran:?}");
            assert!(ran.stderr.contains(words), "{what}: {ran:?}");
            assert_eq!(ran.stdout, "", "{what}");
            let left = world.entries();
            let staging = format!(".{name}.partial");
            let kept = left == [staging.as_str()] && world.path(&staging).is_dir();
            let may_keep = matches!(then, Ends(..)) && world.path(&staging).join("data").exists();
            assert!(left.is_empty() || kept && may_keep, "{what}: {left:?}");

            world.server.set_faults(Faults::none());
            let next = world.export(&arguments).ok();
            assert_eq!(next.stderr.contains("resuming: "), kept, "{what}: {next:?}");
            assert_eq!(world.entries(), world.exported(name), "{what}");
            assert!(
                content(&world.path(name)) == TRUTH[output],
                "{what}: the output of the next run differs"
            );
            let nothing = if kept { "no output; finished parts kept" } else { "no output" };
            format!("{nothing}: “{words}” | {} | {code}", retries_before(&ran.stderr))
        }
    }
}

/// The number of retries before the run failed. Each failed attempt that may be repeated logs one line, also the
/// last attempt.
fn retries_before(stderr: &str) -> usize {
    stderr.matches("WARN attempt failed").count().saturating_sub(1)
}

#[test]
fn other_origins_get_no_connection() {
    let elsewhere = World::generated(Options::default(), ROWS);
    let url = format!("{}/api/datasets/{ID}/datapoints/?page=6", elsewhere.server.url());
    let next = (1..=9).fold(Faults::none(), |faults, page| {
        let next = url.replace("page=6", &format!("page={}", page + 1));
        faults.on(page, FaultAttempt::Always, Fault::Next(next))
    });
    let away = next.clone().on(5, FaultAttempt::Always, Fault::redirect(&url));
    for (faults, code) in [(next, 0), (away, 78)] {
        let world = World::generated(Options { faults, ..Options::default() }, ROWS);
        let ran = world.export(&["-o", "rows.jsonl", "--page-size", "25"]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
    }
    assert_eq!(elsewhere.server.stats().connections, 0);
}

#[test]
fn stalled_body_is_requested_again() {
    let faults = Faults::none().on(5, FaultAttempt::First(1), Fault::Stall { after: 100 });
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    let client = Client::builder()
        .base_url(world.server.url())
        .api_key("k")
        .idle_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pages = runtime.block_on(async {
        let options = StreamOptions { page_size: 25, ..StreamOptions::default() };
        client.dataset(ID).options(options).pages().try_collect::<Vec<_>>().await.unwrap()
    });
    assert_eq!(pages.len(), 10);
    assert_eq!(client.meter().retries(), 1);
}

#[test]
fn each_export_counts_its_own_requests() {
    let faults = Faults::none().on(2, FaultAttempt::Nth(1), Fault::status(503));
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    let client = Client::builder().base_url(world.server.url()).api_key("k").build().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let summaries = ["a.jsonl", "b.jsonl"].map(|name| {
        let mut options = ExportOptions::new(ID, world.path(name));
        options.page_size = 50;
        let export = Export::new(client.clone(), ExportPlan::new(options).unwrap());
        runtime.block_on(export.run()).unwrap()
    });
    let counts = summaries.map(|it| (it.requests, it.retries, it.received_bytes));
    let pages = ROWS.div_ceil(50);
    assert_eq!((counts[0].0, counts[0].1), (pages + 1, 1));
    assert_eq!((counts[1].0, counts[1].1), (pages, 0));
    assert_eq!(counts[0].2, counts[1].2);
    // The client's meter counts both exports.
    assert_eq!(client.meter().requests(), 2 * pages + 1);
    assert_eq!(client.meter().bytes(), 2 * counts[0].2);
}
