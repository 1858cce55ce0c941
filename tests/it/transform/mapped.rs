//! `--map`: any number of lines for a row, each as the expression gives it.

use std::fs;

use arrow_array::cast::AsArray;
use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use overmind_export::{Batches, ReadOptions};
use serde_json::Value;

use super::{record, rows, world};
use crate::{
    support::{ID, Ran, World},
    tree::content,
};

const MESSAGES: [&str; 4] = ["--map", ".input.messages[]", "--where", ".order % 2 == 0"];

fn verified(ran: &Ran) -> bool {
    ran.stdout.contains(": ok, ")
}

#[test]
fn each_output_is_a_line() {
    let world = world(1000);
    let ran = world.export(&[&["-o", "chat.jsonl", "--manifest"], &MESSAGES[..]].concat()).ok();
    assert!(ran.stderr.contains("1,000 lines from 1,000 rows read, in 1 file"), "{}", ran.stderr);
    assert!(ran.stderr.contains("complete: every row read once"), "{}", ran.stderr);
    let text = String::from_utf8(world.read("chat.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1000);
    assert_eq!(lines[2], r#"{"role":"user","content":"q2"}"#);
    assert_eq!(lines[5], format!(r#"{{"role":"user","content":"{}"}}"#, "x".repeat(40)));
    let record = record(&world, "chat.jsonl");
    assert_eq!(record["transform"]["map"], ".input.messages[]");
    assert_eq!((&record["rows_read"], &record["rows"]), (&1000.into(), &1000.into()));
    let line = serde_json::json!([{"name": "line", "type": "json", "is_line": true}]);
    assert_eq!(record["columns"], line);
    let ran = Ran::of(world.command().args(["verify", "chat.jsonl"])).ok();
    assert!(verified(&ran), "{}", ran.stdout);
    // Everywhere the same lines.
    let stdout = world.export(&[&["-o", "-"], &MESSAGES[..]].concat()).ok().stdout;
    assert!(stdout == text);
    let preview = world
        .command()
        .args(["preview", &ID.to_string(), "--json", "-n", "5"])
        .args(MESSAGES)
        .output();
    let first: String = lines[..5].iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(preview.unwrap().stdout).unwrap(), first);
    for output in ["parts/", "z.jsonl.zst"] {
        let more: &[&str] = if output == "parts/" {
            &["--rows-per-file", "100", "--format", "jsonl"]
        } else {
            &["--manifest"]
        };
        world.export(&[&["-o", output], more, &MESSAGES[..]].concat()).ok();
        let name = output.trim_end_matches('/');
        assert_eq!(super::record(&world, name)["digest"], record["digest"], "{output}");
        let ran = Ran::of(world.command().args(["verify", name])).ok();
        assert!(verified(&ran), "{}", ran.stdout);
    }
}

#[test]
fn lines_are_read_back_as_one_column() {
    let world = world(30);
    let map = r#"if .order == 3 then empty elif .order == 4 then null, 1.50, "a\nb" else {n: .order} end"#;
    world.export(&["-o", "x.jsonl", "--manifest", "--map", map]).ok();
    let mut options = ReadOptions::default();
    options.record = Some(world.path("x.jsonl.manifest.json").as_path().into());
    let batches = Batches::open_with(&world.path("x.jsonl").as_path().into(), &options).unwrap();
    assert_eq!(batches.rows(), Some(31));
    let read: Vec<Option<String>> = batches
        .flat_map(|batch| {
            let batch = batch.unwrap();
            assert_eq!(batch.schema().field(0).name(), "line");
            batch
                .column(0)
                .as_string::<i32>()
                .iter()
                .map(|it| it.map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(read[2..6], [text("{\"n\":2}"), None, text("1.50"), text("\"a\\nb\"")]);
    // A changed line is found.
    let path = world.path("x.jsonl");
    let changed = fs::read_to_string(&path).unwrap().replace("{\"n\":9}", "{\"n\":8}");
    fs::write(&path, changed).unwrap();
    let ran = Ran::of(world.command().args(["verify", "x.jsonl"]));
    assert_eq!(ran.code, Some(65), "{}", ran.stdout);
}

#[test]
fn interrupted_map_resumes_with_equal_bytes() {
    let arguments =
        ["-o", "rows", "--format", "jsonl", "--page-size", "25", "--rows-per-file", "40"];
    let more = ["--concurrency", "1", "--max-retries", "0"];
    let arguments = [&arguments[..], &more[..], &MESSAGES[..]].concat();
    let truth = world(2000);
    truth.export(&[&arguments[..], &["--encode-threads", "16"]].concat()).ok();
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, rows(2000));
    assert_eq!(world.export(&arguments).code, Some(69));
    world.server.set_faults(Faults::none());
    let ran = world.export(&[&arguments[..], &["--encode-threads", "1"]].concat()).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    assert!(content(&world.path("rows")) == content(&truth.path("rows")));
    Ran::of(world.command().args(["verify", "rows"])).ok();
}

#[test]
fn failed_rows_give_no_line() {
    let world = world(100);
    let map = ".order | if . % 10 == 0 then 1, error(\"x\") else . end";
    let ran = world.export(&["-o", "x.jsonl", "--map", map]);
    assert_eq!(ran.code, Some(65));
    assert!(ran.stderr.contains("--map") && ran.stderr.contains("failed: x"), "{}", ran.stderr);
    for on_error in ["skip", "null"] {
        let more = ["--json", "--overwrite", "--manifest", "--on-error", on_error];
        let ran = world.export(&[&["-o", "x.jsonl", "--map", map], &more[..]].concat()).ok();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&summary["rows"], &summary["failed_rows"]), (&90.into(), &10.into()));
        Ran::of(world.command().args(["verify", "x.jsonl"])).ok();
    }
}

#[test]
fn map_sees_masked_rows() {
    let world = world(20);
    let arguments =
        ["-o", "-", "--mask", ".input.messages[0].content", "--map", "[.input.messages[].content]"];
    let ran = world.export(&arguments).ok();
    assert_eq!(ran.stdout.lines().nth(1), Some(r#"[null,"xxxxxxxxxx"]"#));
    assert_eq!(ran.stdout.lines().count(), 20);
}

#[test]
fn map_is_refused_where_it_cannot_be() {
    let world = world(10);
    for (arguments, why) in [
        (&["-o", "x.parquet", "--map", ".id"][..], "--map writes JSON Lines, not Parquet"),
        (&["-o", "x.csv", "--map", ".id"], "--map writes JSON Lines, not CSV"),
        (&["-o", "x/", "--map", ".id"], "--map writes JSON Lines, not Parquet"),
        (&["-o", "x.jsonl", "--json-columns", "text", "--map", ".id"], "not JSON text"),
        (&["-o", "x.jsonl", "--map", ".id", "--columns", "id"], "cannot be used with"),
        (&["-o", "x.jsonl", "--map", ".id", "--column", "a=.id"], "cannot be used with"),
        (&["-o", "x.jsonl", "--map", ".id |"], "an expression is missing at the end"),
    ] {
        let ran = world.export(arguments);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    assert_eq!(world.server.stats().attempts.len(), 0);
}
