//! Runs that were interrupted, and the parts that they leave.

use std::time::Duration;

use super::{BILLING, record, rows, world};
use crate::{
    support::{ID, Ran, World, entries},
    tree::content,
};
use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};

/// Slow enough that no page waits for the writer: pages that wait are lost when a later one fails.
const LATENCY: Duration = Duration::from_millis(30);

const ARGUMENTS: [&str; 10] = [
    "-o",
    "rows",
    "--page-size",
    "25",
    "--rows-per-file",
    "20",
    "--concurrency",
    "1",
    "--max-retries",
    "0",
];

#[test]
fn interrupted_run_resumes_with_the_same_expressions() {
    let where_ =
        [&ARGUMENTS[..], &BILLING[..2], &["--where", ".tags.x.y", "--on-error", "skip"]].concat();
    let mut data = rows(2000);
    // Rows on which the expression fails are counted in their part.
    for (index, line) in data.iter_mut().enumerate() {
        let x = if [3, 60, 1500].contains(&index) { "1" } else { r#"{"y":1}"# };
        *line = line.replace(r#""score""#, &format!(r#""x":{x},"score""#));
    }
    let truth = World::with_rows(Options::default(), data.clone());
    let ran = truth.export(&where_).ok();
    assert!(
        ran.stderr.contains("left out, because an expression failed: 3 rows"),
        "{}",
        ran.stderr
    );
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, data);
    assert_eq!(world.export(&where_).code, Some(69));
    world.server.set_faults(Faults::none());
    world.export(&where_).ok();
    assert!(content(&world.path("rows")) == content(&truth.path("rows")));
    Ran::of(world.command().args(["verify", "rows"])).ok();
}

#[test]
fn kept_parts_are_not_fetched_again() {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world =
        World::with_rows(Options { faults, latency: LATENCY, ..Options::default() }, rows(2000));
    let run = |condition: &str| world.export(&[&ARGUMENTS[..], &["--where", condition]].concat());
    assert_eq!(run(".tags.topic == \"billing\"").code, Some(69));
    world.server.set_faults(Faults::none());
    let before = world.server.stats().requests;
    let resumed = run(".tags.topic == \"billing\"").ok();
    assert!(resumed.stderr.contains("resuming: "), "{}", resumed.stderr);
    let (_, page) = resumed.stderr.split_once("up to page ").unwrap();
    let kept: u64 = page.split_once(')').unwrap().0.parse().unwrap();
    // Of 80 pages. The first page and the last kept page are fetched again.
    let requests = world.server.stats().requests - before;
    assert!(kept > 8 && requests <= 80 - kept + 2, "{requests} requests: {}", resumed.stderr);
    assert_eq!(entries(world.folder.path()), ["rows", "rows.manifest.json"]);

    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    world.server.set_faults(faults);
    let overwrite = |condition: &str| {
        world.export(&[&ARGUMENTS[..], &["--overwrite", "--where", condition]].concat())
    };
    assert_eq!(overwrite(".order < 1000").code, Some(69));
    world.server.set_faults(Faults::none());
    // Other expressions would give other rows.
    let other = overwrite(".order < 1001");
    assert_eq!(other.code, Some(73));
    assert!(
        other.stderr.contains(
            r#"cannot be resumed: --where was ".order < 1000", now it is ".order < 1001""#
        ),
        "{}",
        other.stderr
    );
    assert!(other.stderr.contains("give --restart"), "{}", other.stderr);
    overwrite(".order < 1000").ok();
    assert_eq!(record(&world, "rows")["rows"], 1000);
}

#[test]
fn proof_counts_rows_that_are_not_kept() {
    // Page 6 comes late, so that the dataset is another one when the last pages are read.
    let slow = Fault::Delay(Duration::from_secs(1));
    let faults = Faults::none().on(6, FaultAttempt::First(1), slow);
    let world =
        World::with_rows(Options { faults, latency: LATENCY, ..Options::default() }, rows(230));
    let arguments = ["-o", "rows.jsonl", "--page-size", "25", "--concurrency", "1"];
    let run = world.start(&[&arguments[..], &["--max-passes", "1", "--where", "false"]].concat());
    assert!(world.server.wait_until(Duration::from_secs(30), |stats| stats.attempts(ID, 6) == 1));
    world.server.replace(vec![Dataset::from_rows("rows", rows(260)).with_id(ID)]);
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("the dataset changed during the export"), "{}", ran.stderr);
    assert_eq!(world.entries(), Vec::<String>::new());
}

#[test]
fn parts_end_after_four_times_their_rows() {
    let world = world(300);
    // Only the last part has a row.
    let arguments = ["--page-size", "10", "--rows-per-file", "20", "--where", ".order == 250"];
    for format in ["parquet", "arrow", "jsonl"] {
        let output = ["-o", format, "--format", format];
        world.export(&[&output, &arguments[..]].concat()).ok();
        let record = record(&world, format);
        let numbers = |name: &str| -> Vec<u64> {
            let parts = record["parts"].as_array().unwrap();
            parts.iter().map(|part| part[name].as_u64().unwrap()).collect()
        };
        assert_eq!(numbers("rows_read"), [80, 80, 80, 60], "{format}");
        assert_eq!(numbers("rows"), [0, 0, 0, 1], "{format}");
        assert_eq!(numbers("first_page"), [1, 9, 17, 25], "{format}");
        let verified = Ran::of(world.command().args(["verify", format])).ok();
        assert!(verified.stdout.contains("ok, 1 row of 300 read"), "{}", verified.stdout);
        let read = Ran::of(world.command().args(["preview", format, "--json"])).ok();
        assert!(read.stdout.contains("-000000000250\""), "{}", read.stdout);
    }
    let diff = world.command().args(["diff", "parquet", "jsonl"]).output().unwrap();
    assert_eq!(diff.status.code(), Some(0), "{diff:?}");
}

#[test]
fn parts_without_rows_are_resumed() {
    let faults = Faults::none().on(20, FaultAttempt::Always, Fault::status(503));
    let world =
        World::with_rows(Options { faults, latency: LATENCY, ..Options::default() }, rows(300));
    let arguments = "-o rows/ --page-size 10 --rows-per-file 20 --max-retries 0 --concurrency 1";
    let arguments: Vec<_> = arguments.split(' ').chain(["--where", ".order == 250"]).collect();
    assert_eq!(world.export(&arguments).code, Some(69));
    world.server.set_faults(Faults::none());
    let ran = world.export(&arguments).ok();
    assert!(
        ran.stderr.contains("resuming: 2 finished parts kept (160 of 300 rows"),
        "{}",
        ran.stderr
    );
    Ran::of(world.command().args(["verify", "rows"])).ok();
    let parts = record(&world, "rows");
    assert_eq!((&parts["rows"], &parts["rows_read"]), (&1.into(), &300.into()));
}

#[test]
fn other_action_on_errors_is_not_resumed() {
    let faults = Faults::none().on(20, FaultAttempt::Always, Fault::status(503));
    let world =
        World::with_rows(Options { faults, latency: LATENCY, ..Options::default() }, rows(300));
    let arguments = "-o rows/ --page-size 10 --rows-per-file 20 --max-retries 0 --concurrency 1";
    let run = |action: &str, more: &[&str]| {
        let arguments =
            arguments.split(' ').chain(["--where", ".id.x or true", "--on-error", action]);
        world.export(&arguments.chain(more.iter().copied()).collect::<Vec<_>>())
    };
    assert_eq!(run("skip", &[]).code, Some(69));
    world.server.set_faults(Faults::none());
    let other = run("null", &[]);
    assert_eq!(other.code, Some(73), "{other:?}");
    assert!(
        other.stderr.contains(r#"--on-error was "skip", now it is "null""#),
        "{}",
        other.stderr
    );
    run("null", &["--restart"]).ok();
    assert_eq!(record(&world, "rows")["transform"]["on_error"], "null");
}

#[test]
fn parts_with_failed_rows_or_more_lines_are_resumed() {
    let column =
        ["--column", r#"n:int=if .order % 2 == 0 then "x" else 1 end"#, "--on-error", "null"];
    let map = ["--format", "jsonl", "--map", ".order, .order, .order"];
    for (transform, rows) in [(column, 300), (map, 900)] {
        let faults = Faults::none().on(9, FaultAttempt::Always, Fault::status(503));
        let world = World::with_rows(
            Options { faults, latency: LATENCY, ..Options::default() },
            super::rows(300),
        );
        let run = || world.export(&[&ARGUMENTS[..], &transform].concat());
        assert_eq!(run().code, Some(69));
        world.server.set_faults(Faults::none());
        let ran = run().ok();
        assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
        assert_eq!(record(&world, "rows")["rows"], rows);
        Ran::of(world.command().args(["verify", "rows"])).ok();
    }
}
