//! Computed columns: their values in every format, and what reads them back.

use std::fs;

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Float64Type};
use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use overmind_export::{Batches, ColumnType, ReadOptions};
use serde_json::Value;

use super::{record, rows, world};
use crate::{
    support::{Ran, World},
    tree::content,
};

/// A column of each type. Each is null in some rows.
const COLUMNS: [&str; 14] = [
    "--column",
    "topic=.tags.topic",
    "--column",
    "last=.input.messages[-1].content | select(length > 0)",
    "--column",
    "twice:int=if .order % 3 == 0 then .order * 2 else null end",
    "--column",
    "third:float=if .order == 4 then null else .order / 3 end",
    "--column",
    "passed:bool=.tags.passed | select(.)",
    "--column",
    r#"at:timestamp=if .order < 1000 then "2026-01-01T00:\(.order % 50 + 10):00.25+01:00" else empty end"#,
    "--column",
    "roles:json=[.input.messages[].role] | select(.[1] == \"user\")",
];

fn batches(world: &World, name: &str, columns: &[&str]) -> Vec<RecordBatch> {
    let mut options = ReadOptions::default();
    options.columns = columns.iter().map(|name| (*name).to_owned()).collect();
    let record = world.path(&format!("{name}.manifest.json"));
    options.record = record.exists().then(|| record.as_path().into());
    let found = Batches::open_with(&world.path(name).as_path().into(), &options).unwrap();
    found.map(Result::unwrap).collect()
}

#[test]
fn values_are_the_same_in_every_format() {
    let world = world(1100);
    let expected = |index: u64| {
        let twice = index.is_multiple_of(3).then_some(index * 2);
        let passed = index.is_multiple_of(2).then_some(true);
        let at = format!("2025-12-31T23:{:02}:00.250000Z", index % 50 + 10);
        let role = index.is_multiple_of(4).then(|| Value::from(vec!["user", "user"]));
        let last = "x".repeat((index % 50) as usize * 10);
        let topic = ["billing", "search", "login"][(index % 3) as usize];
        serde_json::json!({
            "topic": topic,
            "last": Some(last).filter(|text| !text.is_empty()),
            "twice": twice,
            "passed": passed,
            "at": (index < 1000).then_some(at),
            "roles": role,
        })
    };
    let drop = ["--drop", "input,expected_output,persona,tags,additional_properties"];
    world.export(&[&["-o", "rows.jsonl", "--manifest"], &drop[..], &COLUMNS].concat()).ok();
    let text = String::from_utf8(world.read("rows.jsonl")).unwrap();
    for (index, line) in text.lines().enumerate() {
        let mut found: Value = serde_json::from_str(line).unwrap();
        let fields = found.as_object_mut().unwrap();
        assert_eq!(fields.remove("order"), Some(index.into()));
        assert!(fields.remove("id").is_some());
        // The parser of this test is not exact for floating-point numbers.
        let third = (index != 4).then_some(index as f64 / 3.0);
        assert_eq!(fields.remove("third").is_some_and(|it| it.is_null()), third.is_none());
        if let Some(third) = third {
            assert!(line.contains(&format!(r#","third":{third:?},"#)), "{line}");
        }
        assert_eq!(found, expected(index as u64), "row {index}");
    }
    let whole = record(&world, "rows.jsonl");
    assert_eq!(whole["columns"][0], "id");
    assert_eq!(whole["columns"][3], serde_json::json!({"name": "last", "type": "string"}));
    assert_eq!(whole["transform"]["columns"][6]["type"], "json");
    for output in ["p.parquet", "a.arrow", "z.jsonl.zst", "t.jsonl", "c.csv", "d.csv.zst", "parts/"]
    {
        let name = output.trim_end_matches('/');
        let more: &[&str] = match name {
            "parts" => &["--rows-per-file", "300"],
            "t.jsonl" => &["--manifest", "--json-columns", "text"],
            _ => &["--manifest"],
        };
        world.export(&[&["-o", output], more, &drop, &COLUMNS].concat()).ok();
        assert_eq!(record(&world, name)["digest"], whole["digest"], "{output}");
        Ran::of(world.command().args(["verify", name])).ok();
        let (one, other) = (batches(&world, "rows.jsonl", &[]), batches(&world, name, &[]));
        let rows = |found: &[RecordBatch]| found.iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!((rows(&one), rows(&other)), (1100, 1100), "{name}");
        let third = other[0].column_by_name("third").unwrap().as_primitive::<Float64Type>();
        assert!(third.is_null(4));
        assert_eq!(third.value(1), 1.0 / 3.0);
        let at = other[0].schema().field_with_name("at").unwrap().data_type().clone();
        assert_eq!(at, ColumnType::Timestamp.data_type());
    }
}

#[test]
fn files_without_their_record_still_have_the_columns() {
    let world = world(30);
    for output in ["p.parquet", "a.arrow"] {
        world.export(&[&["-o", output], &COLUMNS[..]].concat()).ok();
        Ran::of(world.command().args(["verify", output])).ok();
        let chosen = batches(&world, output, &["third", "topic"]);
        let names: Vec<String> =
            chosen[0].schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["topic", "third"]);
    }
    // JSON Lines do not say types, so the values stay JSON.
    world.export(&[&["-o", "t.jsonl", "--json-columns", "text"], &COLUMNS[..]].concat()).ok();
    let found = batches(&world, "t.jsonl", &["twice"]);
    assert_eq!(found[0].column(0).as_string::<i32>().value(0), "0");
    world.export(&[&["-o", "rows.jsonl"], &COLUMNS[..]].concat()).ok();
    let found = batches(&world, "rows.jsonl", &["topic"]);
    assert_eq!(found[0].column(0).as_string::<i32>().value(0), "\"billing\"");
    world.export(&[&["-o", "c.csv"], &COLUMNS[..]].concat()).ok();
    let found = batches(&world, "c.csv", &["twice"]);
    assert_eq!(found[0].column(0).as_string::<i32>().value(3), "6");
    let preview = Ran::of(world.command().args(["preview", "rows.jsonl", "--json", "-n1"])).ok();
    let line = String::from_utf8(world.read("rows.jsonl")).unwrap();
    assert_eq!(preview.stdout.lines().next(), line.lines().next());
}

#[test]
fn api_columns_are_replaced_and_ordered() {
    let world = world(20);
    let arguments = [
        "-o",
        "-",
        "--column",
        "persona=.tags.topic",
        "--column",
        "tags={n: .order}",
        "--columns",
        "tags,persona,id",
        "--limit",
        "1",
    ];
    let ran = world.export(&arguments).ok();
    let line =
        r#"{"tags":{"n":0},"persona":"billing","id":"00000000-0000-4000-8000-000000000000"}"#;
    assert_eq!(ran.stdout.trim_end(), line);
    for output in ["p.parquet", "a.arrow", "rows.jsonl", "c.csv"] {
        world.export(&[&["-o", output, "--manifest"], &arguments[2..]].concat()).ok();
        Ran::of(world.command().args(["verify", output])).ok();
        let preview = Ran::of(world.command().args(["preview", output, "--json"])).ok();
        assert_eq!(preview.stdout.trim_end(), line, "{output}");
    }
}

#[test]
fn bytes_do_not_depend_on_threads_or_interruptions() {
    let arguments = [&["-o", "rows", "--page-size", "25", "--rows-per-file", "100"], &COLUMNS[..]];
    let arguments = arguments.concat();
    let run = |threads: &str, is_interrupted: bool| {
        let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
        let faults = if is_interrupted { faults } else { Faults::none() };
        let world = World::with_rows(Options { faults, ..Options::default() }, rows(1100));
        let more = ["--encode-threads", threads, "--max-retries", "0"];
        if is_interrupted {
            assert_eq!(world.export(&[&arguments[..], &more].concat()).code, Some(69));
            world.server.set_faults(Faults::none());
        }
        world.export(&[&arguments[..], &more].concat()).ok();
        Ran::of(world.command().args(["verify", "rows"])).ok();
        content(&world.path("rows"))
    };
    let truth = run("1", false);
    assert!(run("16", false) == truth);
    assert!(run("2", true) == truth);
}

#[test]
fn on_error_decides_about_failed_columns() {
    let world = world(20);
    let column = ["--column", "n:int=.order / (if .order == 7 then \"x\" else 1 end)"];
    let failed = world.export(&[&["-o", "a.jsonl"], &column[..]].concat());
    assert_eq!(failed.code, Some(65));
    assert!(failed.stderr.contains("page 1, row 8 (id 00000000-"), "{}", failed.stderr);
    assert!(failed.stderr.contains("): --column \"n=.order / "), "{}", failed.stderr);
    assert_eq!(world.entries(), Vec::<String>::new());
    for (action, rows) in [("null", 20), ("skip", 19)] {
        let more = ["-o", "a.jsonl", "--manifest", "--overwrite", "--on-error", action, "--json"];
        let ran = world.export(&[&more, &column[..]].concat()).ok();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&summary["rows"], &summary["failed_rows"]), (&rows.into(), &1.into()));
        let text = String::from_utf8(world.read("a.jsonl")).unwrap();
        assert_eq!(text.matches("\"n\":null").count(), usize::from(action == "null"));
        let verified = Ran::of(world.command().args(["verify", "a.jsonl"])).ok();
        let expected = if action == "null" { "ok, 20 rows" } else { "ok, 19 rows of 20 read" };
        assert!(verified.stdout.contains(expected), "{}", verified.stdout);
    }
}

#[test]
fn diff_names_the_columns_that_it_does_not_compare() {
    let world = world(20);
    world.export(&["-o", "a.parquet", "--column", "topic=.tags.topic"]).ok();
    world.export(&["-o", "b.jsonl"]).ok();
    let ran = Ran::of(world.command().args(["diff", "a.parquet", "b.jsonl"])).ok();
    let note = "not compared: topic (computed by expressions in a.parquet)";
    assert!(ran.stdout.contains("equal: 20 rows") && ran.stdout.contains(note), "{}", ran.stdout);
}

#[test]
fn changed_values_are_found() {
    let world = world(20);
    world.export(&["-o", "rows.jsonl", "--manifest", "--column", "third:float=.order / 3"]).ok();
    let text = String::from_utf8(world.read("rows.jsonl")).unwrap();
    // The size stays the same.
    fs::write(world.path("rows.jsonl"), text.replace("0.3333333333333333", "0.3333333333333334"))
        .unwrap();
    let ran = Ran::of(world.command().args(["verify", "rows.jsonl"]));
    assert_eq!(ran.code, Some(65));
    assert!(ran.stdout.contains("digest") && ran.stdout.contains("SHA-256"), "{}", ran.stdout);
}

#[test]
fn wrong_columns_are_refused_before_the_first_request() {
    let world = world(1);
    for (arguments, why) in [
        (&["--column", "topic"][..], "give a name and an expression, such as topic=.tags.topic"),
        (&["--column", "a:text=.id"], "the types are string, int, float, bool, timestamp, json"),
        (&["--column", "=.id"], "a column needs a name"),
        (&["--column", "id=.order"], "the id of a row is never replaced"),
        (&["--column", "order:string=.id"], "always of the type int: give another name"),
        (&["--column", "a=.b c"], "is not a valid expression"),
        (&["--column", "a=.b", "--column", "A=.b"], "only in case"),
        (&["--columns", "id,topic"], "the columns are id, order"),
        (&["--drop", "topic"], "the columns are id, order"),
        (&["--drop", "id", "--columns", "id"], "cannot be used with"),
    ] {
        let ran = world.export(&[&["-o", "a.jsonl"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(world.server.stats().requests, 0);
}
