//! Files that no record vouches for: their rows are checked, and the record of the output claims nothing.

use std::fs;

use serde_json::Value;

use super::{convert, export, hostile, record, run, verified, world};
use crate::{read::Table, support::Ran, transform};

#[test]
fn text_without_a_record_keeps_every_value() {
    let world = world(hostile());
    let digest = export(&world, &["-o", "truth.parquet"])["digest"].clone();
    for file in ["rows.jsonl", "rows.csv.gz"] {
        export(&world, &["-o", file]);
        let summary =
            convert(&world, &[file, "-o", "out/", "--rows-per-file", "500", "--overwrite"]);
        assert_eq!((&summary["digest"], &summary["completeness"]), (&digest, &"partial".into()));
        let record = record(&world, "out");
        for field in ["dataset", "base_url", "query", "count"] {
            assert_eq!(record[field], Value::Null, "{field}");
        }
        assert_eq!(record["converted_from"]["is_recorded"], false);
        assert!(verified(&world, "out/").contains("ok, "));
        convert(&world, &["out/", "-o", "again.parquet", "--overwrite"]);
        let table = Table::read("again.parquet", world.read("again.parquet"));
        table.assert_equals(&Table::read("truth.parquet", world.read("truth.parquet")), file);
        assert!(verified(&world, "again.parquet").contains("ok, "));
        Ran::of(world.command().args(["diff", "truth.parquet", "again.parquet"])).ok();
    }
}

#[test]
fn transformation_of_a_plain_file_is_recorded() {
    let world = world(transform::rows(300));
    export(&world, &["-o", "rows.jsonl"]);
    let how = ["--where", ".tags.passed", "--column", "topic=.tags.topic"];
    convert(&world, &[&["rows.jsonl", "-o", "a.parquet"], &how[..]].concat());
    assert!(verified(&world, "a.parquet").contains("150 rows of 300 read"));
    convert(&world, &["a.parquet", "-o", "b.jsonl", "--manifest"]);
    assert_eq!(record(&world, "b.jsonl")["earlier"][0]["rows_read"], 300);
}

#[test]
fn rows_that_no_export_has_are_refused() {
    let world = world(Vec::new());
    let id = |number: u8| format!("00000000-0000-4000-8000-0000000000{number:02}");
    let (one, two) = (id(1), id(2));
    let table = [
        format!("{{\"id\":\"{one}\",\"input\":1}}\n{{\"id\":\"{one}\",\"input\":2}}\n"),
        format!("{{\"id\":\"{one}\",\"input\":1}}\n{{\"id\":null,\"input\":2}}\n"),
        format!("{{\"id\":\"{one}\",\"input\":1}}\n{{\"id\":\"b\\u001b[1m\",\"input\":2}}\n"),
        format!("{{\"id\":\"{one}\",\"input\":1}}\n{{\"id\":\"{two}\"}}\n"),
        format!("{{\"id\":\"{one}\",\"topic\":1}}\n"),
        format!("{{ \"id\":\"{one}\",\"input\":\"{{\"}}\n"),
        "{\"a\":1}\n".to_owned(),
        "not JSON\n".to_owned(),
    ];
    let mut told = String::new();
    for text in table {
        fs::write(world.path("rows.jsonl"), text).unwrap();
        told += &run(&world, &["rows.jsonl", "-o", "out/"]).told(&world);
    }
    fs::write(world.path("rows.csv"), format!("id,input\r\n{one},[1\r\n")).unwrap();
    told += &run(&world, &["rows.csv", "-o", "out/"]).told(&world);
    insta::assert_snapshot!(told, @r#"
    exit 65
    error: rows.jsonl: its 2 rows have only 1 distinct ids
    exit 65
    error: rows.jsonl: it cannot be read: Invalid argument error: Column 'id' is declared as non-nullable but contains null values
    exit 65
    error: rows.jsonl: row 2: its id "b\u{1b}[1m" is not a UUID
    exit 65
    error: rows.jsonl: line 2: it does not have the column "input" of the lines before
      hint: leave it out with --drop, or name the columns to write with --columns
    exit 65
    error: rows.jsonl: it has the column topic, and no record says what it is
      hint: leave it out with --drop, or give the record with --source-record
    exit 65
    error: rows.jsonl: row 1: its input "{" is not JSON: it ends too early
    exit 65
    error: rows.jsonl: line 1: it has "a" and no column of a row, which are id, order, input, expected_output, persona, tags, additional_properties; lines of a map can be read only with their record
    exit 65
    error: rows.jsonl: line 1: it is not JSON: an error at byte 2
    exit 65
    error: rows.csv: row 1: its input "[1" is not JSON: it ends too early
    "#);
    assert_eq!(world.entries(), ["rows.csv", "rows.jsonl"]);
}

#[test]
fn unknown_columns_can_be_left_out() {
    let world = world(Vec::new());
    let line = "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"topic\":1,\"input\": [ 1, null ],\"tags\":null}\n";
    fs::write(world.path("rows.jsonl"), line).unwrap();
    for how in [["--drop", "topic"], ["--columns", "id,input,tags"]] {
        let lines = run(&world, &[&["rows.jsonl", "-o", "-", "-q"], &how[..]].concat()).ok().stdout;
        let plain =
            "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"input\":[1,null],\"tags\":null}\n";
        assert_eq!(lines, plain);
    }
}
