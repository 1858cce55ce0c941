//! What the record of a conversion says, and sources that are not what their record says.

use std::fs;

use super::{convert, export, record, run, world};
use crate::{support::ID, transform};

#[test]
fn record_has_the_facts_of_the_source() {
    let world = world(transform::rows(500));
    export(&world, &["-o", "a/", "--ordering", "-order"]);
    let before = record(&world, "a");
    let summary = convert(&world, &["a/", "-o", "b.jsonl", "--manifest"]);
    let after = record(&world, "b.jsonl");
    for field in
        ["base_url", "dataset", "query", "count", "completeness", "rows", "digest", "columns"]
    {
        assert_eq!(before[field], after[field], "{field}");
        assert!(!after[field].is_null(), "{field}");
    }
    let from = &after["converted_from"];
    assert_eq!(from["stated_digest"], serde_json::Value::Null);
    assert_eq!((&from["format"], &from["digest"]), (&"parquet".into(), &before["digest"]));
    assert_eq!(
        (&from["is_recorded"], &from["finished_at"]),
        (&true.into(), &before["finished_at"])
    );
    assert_eq!((after["pages"].as_u64(), after["ranges"].as_array().unwrap().len()), (Some(0), 0));
    assert_eq!(summary["dataset"], ID.to_string());
    // A single file states the same, except for the address.
    export(&world, &["-o", "c.arrow", "--limit", "10"]);
    convert(&world, &["c.arrow", "-o", "d/"]);
    let record = record(&world, "d");
    assert_eq!((&record["completeness"], &record["count"]), (&"partial".into(), &500.into()));
    assert_eq!(
        (&record["base_url"], &record["dataset"]),
        (&serde_json::Value::Null, &before["dataset"])
    );
}

#[test]
fn damaged_source_publishes_nothing() {
    let world = world(transform::rows(1200));
    for file in ["rows.parquet", "rows.arrow", "rows.jsonl", "rows.csv"] {
        export(&world, &["-o", file, "--manifest", "--overwrite", "--compression", "none"]);
        let mut bytes = world.read(file);
        // A value of another row that stays well formed.
        let at = memchr(&bytes, b"q1100").unwrap();
        bytes[at + 4] = b'7';
        fs::write(world.path(file), bytes).unwrap();
        for out in ["out.parquet", "out/", "out.csv"] {
            let ran = run(&world, &[file, "-o", out]);
            assert_eq!(ran.code, Some(65), "{file} {}", ran.stderr);
            let why =
                if file.contains("jsonl") || file.contains("csv") { "SHA-256" } else { "digest" };
            assert!(ran.stderr.contains(&format!("{file}: {why}")), "{}", ran.stderr);
        }
        assert!(
            world.entries().iter().all(|name| name.starts_with("rows.")),
            "{:?}",
            world.entries()
        );
    }
}

fn memchr(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

#[test]
fn wrong_sources_are_named() {
    let world = world(transform::rows(600));
    export(&world, &["-o", "a/", "--rows-per-file", "200"]);
    fs::create_dir(world.path("none")).unwrap();
    fs::write(world.path("notes.txt"), "x").unwrap();
    fs::write(world.path("bad.parquet"), "x").unwrap();
    let mut told = String::new();
    for source in ["missing.parquet", "missing/", "none", "notes.txt", "bad.parquet", "-"] {
        told += &run(&world, &[source, "-o", "out.jsonl"]).told(&world);
    }
    fs::remove_file(world.path("a/part-00001.parquet")).unwrap();
    told += &run(&world, &["a/", "-o", "out.jsonl"]).told(&world);
    insta::assert_snapshot!(told, @"
    exit 74
    error: cannot read missing.parquet
      cause: No such file or directory (os error 2)
    exit 74
    error: cannot read missing/
      cause: No such file or directory (os error 2)
    exit 65
    error: none: it has no record: there is no none.manifest.json, and the folder is empty; if its record is elsewhere, name it with --source-record
    exit 65
    error: notes.txt: it cannot be read: its extension is unknown; exports end in .parquet, .arrow, .jsonl or .csv
    exit 65
    error: bad.parquet: it cannot be read: it is too short
    exit 74
    error: cannot read -
      cause: No such file or directory (os error 2)
    exit 65
    error: a/: part-00001.parquet is missing
    ");
    assert!(!world.path("out.jsonl").exists());
}

#[test]
fn record_elsewhere_is_given() {
    let world = world(transform::rows(100));
    export(&world, &["-o", "a/", "--record", "r.json"]);
    assert_eq!(run(&world, &["a/", "-o", "b.csv"]).code, Some(65));
    convert(&world, &["a/", "--source-record", "r.json", "-o", "b/", "--record", "s.json"]);
    assert!(world.path("s.json").exists());
    convert(&world, &["b/", "--source-record", "s.json", "-o", "c.csv"]);
}

#[test]
fn split_of_the_source_is_named() {
    let world = world(transform::rows(400));
    export(&world, &["-o", "e/", "--split", "train=0.8,test=0.2"]);
    let rows = record(&world, "e")["splits"][1]["rows"].clone();
    for source in ["e/test/", "e/test/part-00000.parquet"] {
        let summary = convert(&world, &[source, "-o", "t.jsonl", "--manifest", "--overwrite"]);
        assert_eq!((&summary["completeness"], &summary["rows"]), (&"proven".into(), &rows));
        let earlier = record(&world, "t.jsonl")["earlier"].clone();
        assert_eq!(earlier.as_array().unwrap().len(), 1, "{earlier}");
        let numbers = (&earlier[0]["split"], &earlier[0]["rows_read"], &earlier[0]["rows"]);
        assert_eq!(numbers, (&"test".into(), &400.into(), &rows), "{source}");
        assert!(super::verified(&world, "t.jsonl").contains("ok, "));
    }
    // Of all splits, none is named.
    convert(&world, &["e/", "-o", "all.parquet", "--manifest"]);
    assert_eq!(record(&world, "all.parquet")["earlier"][0]["split"], serde_json::Value::Null);
    // It stays in the record of the next conversion.
    convert(&world, &["t.jsonl", "-o", "u.parquet", "--where", ".persona"]);
    convert(&world, &["u.parquet", "-o", "v.csv", "--manifest"]);
    let earlier = record(&world, "v.csv")["earlier"].clone();
    assert_eq!(
        (&earlier[0]["split"], &earlier[1]["split"]),
        (&"test".into(), &serde_json::Value::Null)
    );
}

#[test]
fn nested_columns_become_text() {
    let world = world(transform::rows(300));
    for source in ["a.parquet", "b.arrow"] {
        let exported = export(&world, &["-o", source, "--json-columns", "nested"]);
        let summary = convert(&world, &[source, "-o", "out.jsonl", "--manifest", "--overwrite"]);
        assert_eq!(summary["digest"], summary["source_digest"], "{source}");
        // The inputs have a number that no double holds, so that their text is kept as it is.
        assert_eq!(summary["digest"], exported["digest"], "{source}");
        assert_eq!(summary["completeness"], "proven", "{source}");
        assert!(super::verified(&world, "out.jsonl").contains("ok, 300 rows"), "{source}");
    }
}
