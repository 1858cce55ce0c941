//! Conversions to nested JSON columns: types, values and bytes.

use std::fs;

use overmind_export::demo::Options;

use super::{convert, export, record, run, verified, world};
use crate::{support::World, transform, tree::content};

const NESTED: [&str; 2] = ["--json-columns", "nested"];

#[test]
fn nested_conversion_equals_a_nested_export() {
    let world = world(transform::rows(1500));
    for format in ["parquet", "arrow"] {
        let direct = format!("direct.{format}");
        let expected = export(&world, &[&["-o", &direct, "--manifest"], &NESTED[..]].concat());
        for source in ["rows.parquet", "rows.arrow", "rows.jsonl", "rows.csv", "parts/"] {
            let more: &[&str] = if source == "parts/" { &[] } else { &["--manifest"] };
            export(&world, &[&["-o", source, "--overwrite"], more].concat());
            let out = format!("out.{format}");
            let source = source.trim_end_matches('/');
            let converted = convert(
                &world,
                &[&[source, "-o", &out, "--manifest", "--overwrite"], &NESTED[..]].concat(),
            );
            assert_eq!(converted["digest"], expected["digest"], "{source}");
            let (one, other) = (record(&world, &direct), record(&world, &out));
            assert!(one["nested"].is_array());
            assert_eq!(one["nested"], other["nested"], "{source}");
            assert_eq!(other["json_columns"], "nested");
            // The digest of the values as they are read back.
            assert_eq!(one["parts"][0]["nested_digest"], other["parts"][0]["nested_digest"]);
            assert!(verified(&world, &out).contains("ok, 1,500 rows"), "{source}");
        }
    }
}

#[test]
fn nested_conversions_are_equal_with_any_threads() {
    let world = world(transform::rows(1500));
    export(&world, &["-o", "rows.jsonl", "--manifest"]);
    let options =
        ["--where", ".order % 7 != 0", "--column", "x:json=.tags", "--column", "n:int[]=[.order]"];
    for format in ["parquet", "arrow"] {
        for threads in ["1", "16"] {
            let more = [
                "--format",
                format,
                "--rows-per-file",
                "400",
                "--encode-threads",
                threads,
                "--overwrite",
            ];
            let out = format!("out{threads}");
            let summary = convert(
                &world,
                &[&["rows.jsonl", "-o", &format!("{out}/")], &more[..], &NESTED, &options].concat(),
            );
            assert_eq!(summary["files"], 4);
            verified(&world, &out);
        }
        assert!(content(&world.path("out1")) == content(&world.path("out16")), "{format}");
        let nested = record(&world, "out1")["nested"].clone();
        assert_eq!(nested[4]["name"], "x");
        assert_eq!(nested[4]["type"], "struct");
    }
    // The nested parts are a source, too.
    let again = convert(
        &world,
        &["out1", "-o", "again.parquet", "--manifest", "--json-columns", "nested,tags=text"],
    );
    assert_eq!(again["rows"], 1285);
    let nested = record(&world, "again.parquet")["nested"].clone();
    assert_eq!(nested[2]["type"], "json");
    verified(&world, "again.parquet");
}

#[test]
fn folder_of_a_split_becomes_nested() {
    let world = world(transform::rows(300));
    export(&world, &["-o", "out/", "--split", "train=0.8,test=0.2"]);
    let converted = convert(
        &world,
        &[&["out/train", "-o", "train.parquet", "--manifest"], &NESTED[..]].concat(),
    );
    let split = record(&world, "out")["splits"][0].clone();
    assert_eq!((&split["name"], &split["digest"]), (&"train".into(), &converted["digest"]));
    verified(&world, "train.parquet");
}

#[test]
fn given_types_decide_and_misfits_end_the_conversion() {
    let world = world(transform::rows(50));
    export(&world, &["-o", "rows.jsonl", "--manifest"]);
    export(&world, &[&["-o", "n.parquet", "--manifest"], &NESTED[..]].concat());
    fs::rename(world.path("n.parquet.manifest.json"), world.path("schema.json")).unwrap();
    convert(&world, &["rows.jsonl", "-o", "out.parquet", "--manifest", "--schema", "schema.json"]);
    let types: serde_json::Value = serde_json::from_slice(&world.read("schema.json")).unwrap();
    assert_eq!(record(&world, "out.parquet")["nested"], types["nested"]);
    let other = World::with_rows(
        Options::default(),
        vec![r#"{"id":"00000000-0000-4000-8000-000000000000","tags":[1]}"#.to_owned()],
    );
    other.export(&["-o", "rows.jsonl"]).ok();
    fs::copy(world.path("schema.json"), other.path("schema.json")).unwrap();
    let ran = run(&other, &["rows.jsonl", "-o", "out.parquet", "--schema", "schema.json"]);
    assert_eq!(ran.code, Some(65), "{}", ran.stderr);
    assert!(ran.stderr.contains("tags") && ran.stderr.contains("[1]"), "{}", ran.stderr);
    assert!(!other.path("out.parquet").exists());
    for (arguments, why) in [
        (&["-o", "a.csv", "--json-columns", "nested"][..], "nested"),
        (&["-o", "a.parquet", "--nest", ".tags"], "give --json-columns nested"),
        (&["-o", "a.parquet", "--json-columns", "nested,x=text"], "the JSON columns are"),
        (&["-o", "a.parquet", "--json-columns", "value"], "value"),
    ] {
        let ran = run(&world, &[&["rows.jsonl"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}
