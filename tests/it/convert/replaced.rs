//! Masks and pseudonyms of a source that has computed columns or nested JSON: no replaced value stays anywhere.

use std::fs;

use serde_json::{Value, json};

use super::{convert, export, record, run, verified, world};
use crate::{support::World, transform};

/// An export with columns that were computed from the persona and from tags.
fn computed(rows: u64) -> World {
    let world = world(transform::rows(rows));
    let columns = ["user=.persona", "topic=.tags.topic", "n:int=.order", "all:json=.tags"];
    let columns: Vec<_> = columns.iter().flat_map(|column| ["--column", column]).collect();
    export(
        &world,
        &[&["-o", "a.parquet", "--columns", "id,persona,tags,user,topic,n,all"], &columns[..]]
            .concat(),
    );
    world
}

/// Writes a key of pseudonyms.
fn key(world: &World) {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(world.path("key")).unwrap();
    file.write_all(b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
}

#[test]
fn computed_column_cannot_keep_a_masked_value() {
    let world = computed(40);
    let mut told = String::new();
    for arguments in [
        &["--mask", ".persona"][..],
        &["--mask", ".persona, .user.x"],
        &["--mask", ".tags.topic"],
        &["--mask", ".tags.score"],
        &["--mask", ".n[0]"],
        &["--pseudonymise", ".n", "--pseudonym-key-file", "key"],
        &["--mask", ".input"],
        &["--mask", ".source_trace_id"],
    ] {
        if !world.path("key").exists() {
            key(&world);
        }
        told += &run(&world, &[&["a.parquet", "-o", "out.jsonl"], arguments].concat()).told(&world);
    }
    insta::assert_snapshot!(told, @r#"
    exit 2
    error: the column user of the source was computed by ".persona", so it can have values that --mask .persona replaces: replace .user, too, leave it out with --drop, or compute it again with --column
    exit 2
    error: ".user.x" is not a valid path of --mask: its values are of the type string, without parts
    exit 2
    error: the column topic of the source was computed by ".tags.topic", so it can have values that --mask .tags.topic replaces: replace .topic, too, leave it out with --drop, or compute it again with --column
    exit 2
    error: the column all of the source was computed by ".tags", so it can have values that --mask .tags.score replaces: replace .all, too, leave it out with --drop, or compute it again with --column
    exit 2
    error: ".n[0]" is not a valid path of --mask: its values are of the type int, without parts
    exit 2
    error: ".n" is not a valid path of --pseudonymise: its values are of the type int, and pseudonyms are texts: mask it instead
    exit 2
    error: --mask ".input" has no effect: the source has no column input
    exit 2
    error: --mask ".source_trace_id" has no effect: the source has neither a column source_trace_id nor a column additional_properties
    "#);
    assert!(!world.path("out.jsonl").exists());
    for how in [
        &["--mask", ".persona,.user"][..],
        &["--mask", ".persona", "--drop", "user"],
        &["--mask", ".persona", "--column", "user=.persona"],
    ] {
        let out = ["a.parquet", "-o", "out.jsonl", "--manifest", "--overwrite"];
        convert(&world, &[&out[..], how].concat());
        let text = String::from_utf8(world.read("out.jsonl")).unwrap();
        assert!(!text.contains("angry") && text.lines().count() == 40, "{text}");
        verified(&world, "out.jsonl");
    }
}

#[test]
fn computed_columns_can_be_masked() {
    let world = computed(40);
    key(&world);
    for (threads, out) in [("1", "b.jsonl"), ("16", "c.jsonl")] {
        let how = [
            "--mask",
            ".user, .n, .all.topic",
            "--pseudonymise",
            ".topic,.persona",
            "--pseudonym-key-file",
            "key",
        ];
        let more = ["--where", ".tags.passed", "--encode-threads", threads, "--manifest"];
        let summary = convert(&world, &[&["a.parquet", "-o", out], &how[..], &more].concat());
        assert_eq!(summary["replaced_rows"], json!([16, 20, 20, 20, 16]));
        assert!(verified(&world, out).contains("ok, 20 rows"));
    }
    assert!(world.read("b.jsonl") == world.read("c.jsonl"));
    let text = String::from_utf8(world.read("b.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &rows {
        assert_eq!(
            (&row["user"], &row["n"], &row["all"]["topic"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert!(row["all"]["passed"] == true && row["tags"]["topic"].is_string(), "{row}");
        assert_eq!(row["topic"].as_str().map(str::len), Some(32), "{row}");
    }
    // Equal values have equal pseudonyms, and a text the one of its JSON.
    assert_eq!(
        (&rows[0]["topic"], rows[0]["topic"] == rows[1]["topic"]),
        (&rows[3]["topic"], false)
    );
    // A path that leads to no value of a column fails the run.
    let none = run(&world, &["a.parquet", "-o", "d.jsonl", "--mask", ".all.nothing"]);
    assert_eq!(none.code, Some(65), "{}", none.stderr);
    assert!(
        none.stderr.contains("--mask \".all.nothing\" matches no value in 40 rows"),
        "{}",
        none.stderr
    );
}

#[test]
fn record_has_no_digest_of_rows_before_a_mask() {
    let world = world(transform::rows(30));
    export(&world, &["-o", "a.parquet"]);
    let summary =
        convert(&world, &["a.parquet", "-o", "b.jsonl", "--manifest", "--mask", ".persona"]);
    let digest = summary["source_digest"].as_str().unwrap().to_owned();
    let from = record(&world, "b.jsonl")["converted_from"].clone();
    assert_eq!(
        (&from["digest"], &from["stated_digest"], &from["rows"]),
        (&Value::Null, &Value::Null, &json!(30))
    );
    assert!(!String::from_utf8(world.read("b.jsonl.manifest.json")).unwrap().contains(&digest));
    convert(&world, &["a.parquet", "-o", "c.jsonl", "--manifest", "--where", ".persona"]);
    assert_eq!(record(&world, "c.jsonl")["converted_from"]["digest"], digest);
}

#[test]
fn nested_source_says_that_its_json_is_spelled_anew() {
    let row = |number: u8, input: &str| {
        format!(
            r#"{{"id":"00000000-0000-4000-8000-0000000000{number:02}","input":{input},"persona":"p{number}","tags":{{"s":"x","m":[1,2]}}}}"#
        )
    };
    let world = world(vec![
        row(1, r#"{"a":1e5,"b":null,"c":"\u0041","d":"t"}"#),
        row(2, r#"{"a":2.50,"b":true,"c":null,"d":"u"}"#),
    ]);
    key(&world);
    let text = export(&world, &["-o", "text.parquet", "--manifest"])["digest"].clone();
    for source in ["nested.parquet", "nested/"] {
        let nested = export(&world, &["-o", source, "--json-columns", "nested"])["digest"].clone();
        assert_eq!(text, nested);
        let summary = convert(&world, &[source, "-o", "b.jsonl", "--manifest", "--overwrite"]);
        let from = record(&world, "b.jsonl")["converted_from"].clone();
        assert_eq!(from["stated_digest"], nested, "{source}");
        assert_eq!(
            (&from["digest"], &summary["digest"]),
            (&summary["digest"], &summary["source_digest"])
        );
        assert_ne!(from["digest"], nested);
    }
    convert(&world, &["text.parquet", "-o", "c.jsonl", "--manifest"]);
    assert_eq!(record(&world, "c.jsonl")["converted_from"]["stated_digest"], Value::Null);
    // What does not depend on the spelling is that of the text.
    let hash = |paths| ["--pseudonymise", paths, "--pseudonym-key-file", "key"];
    for how in [
        &hash(".persona, .input.d, .tags.m, .input.c")[..],
        &["--sample", "0.5", "--split-by", ".id"],
    ] {
        let lines = |source: &str| {
            run(&world, &[&[source, "-o", "-", "-q", "--columns", "id,persona,tags"], how].concat())
                .ok()
                .stdout
        };
        assert_eq!(lines("text.parquet"), lines("nested.parquet"), "{how:?}");
    }
    let mut told = String::new();
    for how in [&["--sample", "0.5"][..], &hash(".input"), &hash(".input.a"), &hash(".input[]")] {
        told += &run(&world, &[&["nested/", "-o", "d.jsonl"], how].concat()).told(&world);
        run(&world, &[&["text.parquet", "-o", "-"], how].concat()).ok();
    }
    insta::assert_snapshot!(told, @r#"
    exit 2
    error: --sample chooses rows by their inputs, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so other rows would be chosen than from the text: give --split-by an expression of texts, such as .id
    exit 2
    error: --pseudonymise ".input" leads to values with objects or decimal numbers, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so their pseudonyms would differ from those of the text: name the texts in them, or mask the path
    exit 2
    error: --pseudonymise ".input.a" leads to values with objects or decimal numbers, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so their pseudonyms would differ from those of the text: name the texts in them, or mask the path
    exit 2
    error: --pseudonymise ".input[]" leads to values with objects or decimal numbers, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so their pseudonyms would differ from those of the text: name the texts in them, or mask the path
    "#);
}
