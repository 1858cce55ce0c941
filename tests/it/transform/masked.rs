//! Masked values: which bytes change, what the record and later steps make of them, and paths that match nothing.

use std::fs;

use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use serde_json::{Value, json};

use super::{record, rows, world};
use crate::{
    support::{Ran, World, entries},
    tree::content,
};

const MASK: [&str; 4] = [
    "--mask",
    ".persona, .input.messages[].content",
    "--mask",
    ".expected_output.a,.source_trace_id",
];

#[test]
fn only_the_bytes_of_masked_values_change() {
    let world = world(300);
    world.export(&["-o", "all.jsonl"]).ok();
    world.export(&[&["-o", "rows.jsonl", "--manifest"], &MASK[..]].concat()).ok();
    let before = String::from_utf8(world.read("all.jsonl")).unwrap();
    let found = String::from_utf8(world.read("rows.jsonl")).unwrap();
    let expected: String = before
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let mut line = line.replace(&format!("\"angry {index}\""), "null");
            let texts = [format!("q{index}"), "x".repeat(index % 50 * 10)];
            for text in texts {
                line = line.replace(&format!("\"content\":\"{text}\""), "\"content\":null");
            }
            let line = line.replace(r#""a":1,"a":12345678901234567890.10"#, r#""a":null,"a":null"#);
            line.replace(r#""source_trace_id":"t""#, r#""source_trace_id":null"#) + "\n"
        })
        .collect();
    assert!(found == expected, "{found}");
    assert!(found.contains(r#""bad":"\ud800""#) && found.contains("1e400"));
    let record = record(&world, "rows.jsonl");
    let paths = [".persona", ".input.messages[].content", ".expected_output.a", ".source_trace_id"];
    assert_eq!(record["transform"], json!({ "mask": paths }));
    assert_eq!(record["parts"][0]["replaced"], json!([240, 300, 300, 43]));
    for (name, more) in
        [("rows.parquet", "--manifest"), ("c.csv", "--manifest"), ("parts/", "--rows-per-file=70")]
    {
        let ran = world.export(&[&["-o", name, more, "--json"], &MASK[..]].concat()).ok();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(summary["digest"], record["digest"], "{name}");
        assert_eq!(summary["replaced_rows"], json!([240, 300, 300, 43]), "{name}");
        Ran::of(world.command().args(["verify", name.trim_end_matches('/')])).ok();
    }
}

#[test]
fn conditions_see_values_and_columns_see_the_mask() {
    let world = world(30);
    let ran = world.export(&[
        "-o",
        "-",
        "--where",
        r#".persona == "angry 7""#,
        "--mask",
        ".persona,.input.messages[0]",
        "--column",
        "who=.persona // \"nobody\"",
        "--column",
        "first:json=[.input.messages[].role]",
        "--columns",
        "persona,who,first,input",
    ]);
    let expected = r#"{"persona":null,"who":"nobody","first":[null,"assistant"],"input":{"messages":[null,{"role":"assistant","content":""#;
    assert!(ran.ok().stdout.starts_with(expected));
}

#[test]
fn path_that_matches_nothing_publishes_nothing() {
    let world = world(300);
    for output in ["rows.parquet", "rows/"] {
        let wrong = world.export(
            &["-o", output, "--mask", ".persona,.tags.topics", "--rows-per-file=50"]
                [..if output == "rows/" { 5 } else { 4 }],
        );
        assert_eq!(wrong.code, Some(65), "{}", wrong.stderr);
        let says = "error: --mask \".tags.topics\" matches no value in 300 rows: did you mean .tags.topic?\n  \
                    hint: nothing was published: ";
        assert!(wrong.stderr.contains(says), "{}", wrong.stderr);
        // The next run need not know the parts of this one.
        assert_eq!(world.entries(), Vec::<String>::new());
        assert_eq!(entries(world.folder.path()), Vec::<String>::new());
        world.export(&["-o", output, "--mask", ".persona,.tags.topic"]).ok();
        fs::remove_file(world.path("rows.parquet")).unwrap_or_default();
    }
    let wrong = world.export(&["-o", "-", "--mask", ".tags.topics"]);
    assert_eq!(wrong.code, Some(65));
    assert!(wrong.stderr.contains("hint: rows were already delivered"), "{}", wrong.stderr);
    // Of the first row, whose persona is null.
    let wrong = world.export(&["-o", "one.jsonl", "--mask", ".persona", "--limit", "1"]);
    assert!(wrong.stderr.contains("matches no value in 1 row\n"), "{}", wrong.stderr);
    // Without a row, there is nothing that could have stayed.
    world.export(&["-o", "none.jsonl", "--mask", ".nothing", "--where", ".order < 0"]).ok();
}

#[test]
fn resumed_run_knows_the_matches_of_kept_parts() {
    // The only value at the second path is in the first part.
    let mut data = rows(300);
    data[3] = data[3].replace(r#""score""#, r#""user":{"email":"a@b.example"},"score""#);
    let arguments = "-o rows/ --page-size 10 --rows-per-file 20 --max-retries 0 --concurrency 1";
    let arguments: Vec<_> =
        arguments.split(' ').chain(["--mask", ".persona,.tags.user.email"]).collect();
    let run = |threads: &str, is_interrupted: bool| {
        let faults = Faults::none().on(20, FaultAttempt::Always, Fault::status(503));
        let faults = if is_interrupted { faults } else { Faults::none() };
        let world = World::with_rows(Options { faults, ..Options::default() }, data.clone());
        let arguments = [&arguments[..], &["--encode-threads", threads]].concat();
        if is_interrupted {
            assert_eq!(world.export(&arguments).code, Some(69));
            world.server.set_faults(Faults::none());
            let other = [&arguments[..], &["--mask", ".tags.topic"]].concat();
            let other = world.export(&other);
            assert_eq!(other.code, Some(73), "{}", other.stderr);
            let resumed = world.export(&arguments).ok();
            assert!(resumed.stderr.contains("resuming: "), "{}", resumed.stderr);
            assert!(
                resumed.stderr.contains("masked: .persona in 240 rows, .tags.user.email in 1 row")
            );
        } else {
            world.export(&arguments).ok();
        }
        assert_eq!(record(&world, "rows")["parts"][0]["replaced"][1], 1);
        content(&world.path("rows"))
    };
    let truth = run("1", false);
    assert!(run("16", false) == truth);
    assert!(run("2", true) == truth);
}

#[test]
fn wrong_paths_are_refused_before_the_first_request() {
    let world = world(1);
    for (paths, why) in [
        (
            ".tags | .email",
            "only paths are allowed here: names, [] and [N]\n    .tags | .email\n          ^\n",
        ),
        (".id", "the id of a row is never replaced"),
        (".order", "the order of a row is never replaced"),
        (".persona.name", "the persona is a string"),
        ("", "a path is missing"),
        (".a,.a", "this path is given twice"),
    ] {
        let ran = world.export(&["-o", "a.jsonl", "--mask", paths]);
        assert_eq!(ran.code, Some(2), "{paths}: {}", ran.stderr);
        let begin = format!("error: --mask {paths:?} is not a valid path: {why}");
        assert!(ran.stderr.contains(&begin), "{paths}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint: a path is made of names"), "{paths}: {}", ran.stderr);
    }
    assert_eq!(world.server.stats().requests, 0);
}

#[test]
fn record_without_its_paths_is_found() {
    let world = world(30);
    world.export(&["-o", "rows", "--mask", ".persona"]).ok();
    let path = world.path("rows.manifest.json");
    let before = fs::read_to_string(&path).unwrap();
    for (from, to, why) in [
        ("24", "31", "31 with replaced values"),
        ("24\n", "24, 1\n", "it counts the replacements of 2 paths, recorded 1"),
    ] {
        let changed = before.replacen(
            &format!("\"replaced\": [\n        {from}"),
            &format!("\"replaced\": [\n        {to}"),
            1,
        );
        assert_ne!(changed, before);
        fs::write(&path, changed).unwrap();
        let ran = Ran::of(world.command().args(["verify", "rows"]));
        assert_eq!(ran.code, Some(65), "{}", ran.stdout);
        assert!(ran.stdout.contains(why), "{}", ran.stdout);
    }
}

#[test]
fn map_sees_the_masked_row() {
    let world = world(30);
    let arguments = ["-o", "rows.jsonl", "--manifest", "--mask", ".persona,.tags.topic"];
    let map = ["--map", "select(.order == 4) | (.persona, .tags.topic, .order)"];
    world.export(&[&arguments[..], &map].concat()).ok();
    assert_eq!(world.read("rows.jsonl"), b"null\nnull\n4\n");
    // More rows have masked values than lines were written.
    assert_eq!(record(&world, "rows.jsonl")["parts"][0]["replaced"], json!([24, 30]));
    Ran::of(world.command().args(["verify", "rows.jsonl"])).ok();
}

#[test]
fn dry_run_names_splits_and_masks() {
    let world = world(300);
    let split = ["-o", "out/", "--split", "train=0.9,test=0.1", "--mask", ".persona", "--dry-run"];
    let exported = world.export(&split).told(&world);
    world.export(&["-o", "a.parquet"]).ok();
    let convert = ["convert", "a.parquet", "-o", "b.csv", "--mask", ".persona, .tags", "--dry-run"];
    let converted = Ran::of(world.command().args(convert)).told(&world);
    insta::assert_snapshot!(exported + &converted, @r"
    exit 0
    would read 300 of 300 rows in 3 requests of 100 rows to out/
      splits: train 0.9, test 0.1
      masked: .persona
    exit 0
    would read 300 rows of a.parquet to b.csv
      masked: .persona, .tags
    ");
}
