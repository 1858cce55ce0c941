//! Equal rows: which of them stay, at any number of threads, after an interruption, and in the record.

use std::{collections::HashSet, fs, hash::Hash};

use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use serde_json::{Value, json};

use super::{lines_where, record, rows, world};
use crate::{
    support::{Ran, World},
    tree::content,
};

/// Whether a row is the first one with its key.
fn is_first<K: Hash + Eq>(key: impl Fn(u64) -> K) -> impl Fn(u64) -> bool {
    move |index| (0..index).all(|earlier| key(earlier) != key(index))
}

#[test]
fn first_of_equal_rows_stays_as_it_is() {
    let world = world(300);
    let key = |index: u64| (index % 3, index % 2);
    // The order of keys does not matter.
    let dedupe = "if .order % 2 == 0 then {t: .tags.topic, p: .tags.passed} else {p: .tags.passed, t: .tags.topic} end";
    let ran = world.export(&["-o", "rows.jsonl", "--manifest", "--dedupe", dedupe]).ok();
    assert!(
        ran.stderr.contains("left out, because they equal an earlier row: 294 rows\n"),
        "{}",
        ran.stderr
    );
    assert!(world.read("rows.jsonl") == lines_where(&world, is_first(key)).as_bytes());
    let whole = record(&world, "rows.jsonl");
    assert_eq!(whole["transform"]["dedupe"], dedupe);
    let numbers = ["rows_read", "rows", "duplicates"].map(|name| &whole["parts"][0][name]);
    assert_eq!(numbers, [300, 6, 294]);
    for (name, threads) in [("a.parquet", "1"), ("b.parquet", "16"), ("parts/", "2")] {
        let arguments = ["-o", name, "--dedupe", dedupe, "--encode-threads", threads, "--json"];
        let ran = world.export(&arguments).ok();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            (&summary["digest"], &summary["duplicate_rows"]),
            (&whole["digest"], &json!(294))
        );
        let name = name.trim_end_matches('/');
        let verified = Ran::of(world.command().args(["verify", name])).ok();
        assert!(verified.stdout.contains("ok, 6 rows of 300 read"), "{}", verified.stdout);
    }
    assert_eq!(world.read("a.parquet"), world.read("b.parquet"));
}

#[test]
fn conditions_come_before_and_changes_after() {
    let world = world(300);
    let kept = |index: u64| {
        index >= 7 && is_first(|index| if index < 7 { 99 + index } else { index % 5 })(index)
    };
    let arguments = ["-o", "-", "--where", ".order >= 7", "--dedupe", ".order % 5"];
    let change = [
        "--mask",
        ".persona,.tags.topic",
        "--column",
        "n:int=.order * 2",
        "--columns",
        "order,n,persona",
    ];
    let ran = world.export(&[&arguments[..], &change].concat()).ok();
    let expected: Vec<String> = (0..300)
        .filter(|index| kept(*index))
        .map(|index| format!(r#"{{"order":{index},"n":{},"persona":null}}"#, index * 2))
        .collect();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
    // The key is that of the row before the mask, in which all personas are different. Row 10 has none.
    let ran = world.export(&[
        "-o",
        "m.jsonl",
        "--manifest",
        "--mask",
        ".persona",
        "--dedupe",
        ".persona",
    ]);
    ran.ok();
    assert_eq!(record(&world, "m.jsonl")["parts"][0]["replaced"], json!([240]));
    assert_eq!(record(&world, "m.jsonl")["rows"], 241);
    // A path whose only values are in rows that are left out matches nothing.
    let late = ["-o", "l.jsonl", "--dedupe", ".tags.topic", "--mask", ".source_trace_id"];
    world.export(&late).ok();
    let late = world.export(&[&late[..], &["--where", ".order != 0", "--overwrite"]].concat());
    assert_eq!(late.code, Some(65), "{}", late.stderr);
    assert!(late.stderr.contains("matches no value in 3 rows"), "{}", late.stderr);
    // A map of a row that is left out has no lines.
    let map =
        ["-o", "-", "--dedupe", ".order % 2", "--map", ".order, .order + 100", "--limit", "9"];
    assert_eq!(world.export(&map).ok().stdout, "0\n100\n1\n101\n");
}

#[test]
fn hashes_survive_an_interruption() {
    let key = |index: u64| index % 97 * (index % 2);
    let arguments = "-o rows/ --page-size 10 --rows-per-file 20 --max-retries 0 --concurrency 1";
    let dedupe = ["--dedupe", ".order % 97 * (.order % 2)"];
    let arguments: Vec<_> = arguments.split(' ').chain(dedupe).collect();
    let run = |threads: &str, is_interrupted: bool| {
        let faults = Faults::none().on(20, FaultAttempt::Always, Fault::status(503));
        let faults = if is_interrupted { faults } else { Faults::none() };
        let world = World::with_rows(Options { faults, ..Options::default() }, rows(300));
        let arguments = [&arguments[..], &["--encode-threads", threads]].concat();
        if is_interrupted {
            assert_eq!(world.export(&arguments).code, Some(69));
            world.server.set_faults(Faults::none());
            let other = [&arguments[..arguments.len() - 3], &[".order"]].concat();
            assert_eq!(world.export(&other).code, Some(73));
        }
        let ran = world.export(&arguments).ok();
        assert_eq!(ran.stderr.contains("resuming: "), is_interrupted, "{}", ran.stderr);
        Ran::of(world.command().args(["verify", "rows"])).ok();
        let first = (0..300).filter(|index| is_first(key)(*index)).count();
        assert_eq!(record(&world, "rows")["rows"], first);
        content(&world.path("rows"))
    };
    let truth = run("1", false);
    assert!(run("16", false) == truth);
    assert!(run("2", true) == truth);
}

#[test]
fn failed_keys_end_the_run_or_are_counted() {
    let world = world(30);
    let dedupe = ["--dedupe", "if .order % 10 == 3 then .order.x else .order end"];
    let failed = world.export(&[&["-o", "a.jsonl"], &dedupe[..]].concat());
    assert_eq!(failed.code, Some(65));
    assert!(failed.stderr.contains("page 1, row 4 (id 00000000-"), "{}", failed.stderr);
    assert!(failed.stderr.contains("): --dedupe \"if .order "), "{}", failed.stderr);
    let several = world.export(&["-o", "a.jsonl", "--dedupe", ".input.messages[].role"]);
    assert!(
        several.stderr.contains("several outputs: collect them with [...]"),
        "{}",
        several.stderr
    );
    // Three rows fail. Nothing says that they are equal, so all of them stay with null.
    for (action, rows, duplicates) in [("skip", 27, 0), ("null", 30, 0)] {
        let more = ["-o", "a.jsonl", "--manifest", "--overwrite", "--on-error", action, "--json"];
        let ran = world.export(&[&more, &dedupe[..]].concat()).ok();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        let numbers = ["rows", "failed_rows", "duplicate_rows"].map(|name| summary[name].as_u64());
        assert_eq!(numbers, [Some(rows), Some(3), Some(duplicates)], "{action}");
        Ran::of(world.command().args(["verify", "a.jsonl"])).ok();
    }
    let wrong = world.export(&["-o", "b.jsonl", "--dedupe", ".input |"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn record_explains_the_rows_that_are_left_out() {
    let world = world(30);
    world.export(&["-o", "rows", "--dedupe", ".tags.topic"]).ok();
    let path = world.path("rows.manifest.json");
    let before = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"dedupe\": \".tags.topic\"", "\"where\": [\".tags\"]"),
        ("\"duplicates\": 27", "\"duplicates\": 28"),
    ] {
        let changed = before.replacen(from, to, 1);
        assert_ne!(changed, before);
        fs::write(&path, changed).unwrap();
        let ran = Ran::of(world.command().args(["verify", "rows"]));
        assert_eq!(ran.code, Some(65), "{}", ran.stdout);
        assert!(ran.stdout.contains("equal to an earlier one"), "{}", ran.stdout);
    }
    let ran = Ran::of(world.command().args([
        "preview",
        "--explain",
        "-n",
        "4",
        &crate::support::ID.to_string(),
        "--dedupe",
        ".tags.topic",
    ]))
    .ok();
    assert_eq!(
        ran.stdout.matches("--dedupe \".tags.topic\" is that of an earlier row").count(),
        1,
        "{}",
        ran.stdout
    );
    let distinct: HashSet<_> = ran.stdout.lines().collect();
    assert!(distinct.len() >= 4, "{}", ran.stdout);
}
