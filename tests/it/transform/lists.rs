//! Computed columns of lists: their values in every format, what reads them back, and what is refused.

use std::fs;

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type};
use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use overmind_export::{Batches, ColumnType, ListItem, ReadOptions};
use serde_json::{Value, json};

use super::{record, rows, world};
use crate::{
    support::{ID, Ran, World},
    tree::content,
};

/// A column of each list type, with null lists, empty lists and null elements.
const COLUMNS: [&str; 12] = [
    "--column",
    "said:string[]=if .order % 10 == 1 then null else [.input.messages[].content, .persona] end",
    "--column",
    "upto:int[]=[range(.order % 4)]",
    "--column",
    "parts:float[]=[.order / 3, null]",
    "--column",
    "flags:bool[]=if .tags.passed then [true, null, false] else empty end",
    "--column",
    r#"times:timestamp[]=["2026-01-01T00:\(.order % 50 + 10):00.25+01:00", null]"#,
    "--column",
    "messages:json[]=.input.messages + [.tags.topic, null, .order]",
];
const ONLY_ID: [&str; 2] =
    ["--drop", "order,input,expected_output,persona,tags,additional_properties"];

fn batches(world: &World, name: &str) -> Vec<RecordBatch> {
    let mut options = ReadOptions::default();
    let record = world.path(&format!("{name}.manifest.json"));
    options.record = record.exists().then(|| record.as_path().into());
    let found = Batches::open_with(&world.path(name).as_path().into(), &options).unwrap();
    found.map(Result::unwrap).collect()
}

/// The lists of each row.
fn values(batches: &[RecordBatch]) -> Vec<String> {
    let lists = |batch: &RecordBatch, row| {
        let columns = batch.columns().iter().filter(|column| column.as_list_opt::<i32>().is_some());
        columns.map(|column| format!("{:?}", column.slice(row, 1))).collect()
    };
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    rows.map(|(batch, row)| lists(batch, row)).collect()
}

/// The columns of a row, as JSON Lines have them.
fn expected(index: u64) -> Value {
    let last = "x".repeat((index % 50) as usize * 10);
    let persona = (!index.is_multiple_of(5)).then(|| format!("angry {index}"));
    let said = json!([format!("q{index}"), last, persona]);
    let role = if index.is_multiple_of(4) { "user" } else { "assistant" };
    let topic = ["billing", "search", "login"][(index % 3) as usize];
    json!({
        "id": format!("00000000-0000-4000-8000-{index:012}"),
        "said": (index % 10 != 1).then_some(said),
        "upto": (0..index % 4).collect::<Vec<_>>(),
        "parts": [index as f64 / 3.0, null],
        "flags": index.is_multiple_of(2).then(|| json!([true, null, false])),
        "times": [format!("2025-12-31T23:{:02}:00.250000Z", index % 50 + 10), null],
        "messages": [
            {"role": "user", "content": format!("q{index}")},
            {"role": role, "content": last},
            topic,
            null,
            index,
        ],
    })
}

#[test]
fn lists_are_the_same_in_every_format() {
    let world = world(1100);
    world.export(&[&["-o", "rows.jsonl", "--manifest"], &ONLY_ID[..], &COLUMNS].concat()).ok();
    let text = String::from_utf8(world.read("rows.jsonl")).unwrap();
    for (index, line) in text.lines().enumerate() {
        let (found, expected) =
            (serde_json::from_str::<Value>(line).unwrap(), expected(index as u64));
        for (name, value) in expected.as_object().unwrap() {
            // The parser of this test is not exact for floating-point numbers.
            match name.as_str() {
                "parts" => {
                    let third = index as f64 / 3.0;
                    assert!(line.contains(&format!(r#""parts":[{third:?},null]"#)), "{line}");
                }
                _ => assert_eq!(&found[name], value, "row {index}"),
            }
        }
    }
    let whole = record(&world, "rows.jsonl");
    assert_eq!(whole["columns"][1], json!({"name": "said", "type": "string[]"}));
    assert_eq!(whole["transform"]["columns"][5]["type"], "json[]");
    let truth = batches(&world, "rows.jsonl");
    for output in
        ["p.parquet", "plain.parquet", "a.arrow", "z.jsonl.zst", "t.jsonl", "c.csv", "parts/"]
    {
        let name = output.trim_end_matches('/');
        let more: &[&str] = match name {
            "parts" => &["--rows-per-file", "300"],
            "t.jsonl" => &["--manifest", "--json-columns", "text"],
            "plain.parquet" => &["--manifest", "--parquet-encoding", "plain"],
            _ => &["--manifest"],
        };
        world.export(&[&["-o", output], more, &ONLY_ID, &COLUMNS].concat()).ok();
        assert_eq!(record(&world, name)["digest"], whole["digest"], "{output}");
        Ran::of(world.command().args(["verify", name])).ok();
        let found = batches(&world, name);
        assert_eq!(values(&found), values(&truth), "{output}");
        let kind = found[0].schema().field_with_name("messages").unwrap().data_type().clone();
        assert_eq!(kind, ColumnType::List(ListItem::Json).data_type());
        let upto = found[0].column_by_name("upto").unwrap().as_list::<i32>();
        assert_eq!(upto.value(3).as_primitive::<Int64Type>().values(), &[0, 1, 2]);
        assert!(found[0].column_by_name("said").unwrap().is_null(1));
    }
    let line = String::from_utf8(world.read("t.jsonl")).unwrap();
    assert!(line.contains(r#""messages":["{\"role\":\"user\",\"content\":\"q0\"}","#), "{line}");
    let cells = String::from_utf8(world.read("c.csv")).unwrap();
    let row = cells.lines().nth(1).unwrap();
    assert_eq!(
        row,
        r#"00000000-0000-4000-8000-000000000000,"[""q0"","""",null]",[],"[0.0,null]","[true,null,false]","["#
            .to_owned()
            + r#"""2025-12-31T23:10:00.250000Z"",null]","[{""role"":""user"",""content"":""q0""},{""role"":"#
            + r#"""user"",""content"":""""},""billing"",null,0]""#
    );
}

#[test]
fn lists_are_converted_without_a_change() {
    let world = world(1100);
    world.export(&[&["-o", "rows.parquet"], &COLUMNS[..]].concat()).ok();
    world.export(&[&["-o", "truth.csv", "--manifest"], &COLUMNS[..]].concat()).ok();
    let digest = record(&world, "truth.csv")["digest"].clone();
    let steps = ["rows.parquet", "b.arrow", "c.csv", "d.jsonl", "e.parquet"];
    for pair in steps.windows(2) {
        let more = ["convert", pair[0], "-o", pair[1], "--manifest"];
        Ran::of(world.command().args(more)).ok();
        assert_eq!(record(&world, pair[1])["digest"], digest, "{pair:?}");
        Ran::of(world.command().args(["verify", pair[1]])).ok();
    }
    assert!(world.read("c.csv") == world.read("truth.csv"));
    assert_eq!(values(&batches(&world, "e.parquet")), values(&batches(&world, "rows.parquet")));
    // A list of an earlier run stays a list, next to the columns of the conversion.
    let more =
        ["-o", "f.jsonl", "--manifest", "--where", ".order < 3", "--column", "more:int[]=[.order]"];
    Ran::of(world.command().args(["convert", "rows.parquet"]).args(more)).ok();
    let text = String::from_utf8(world.read("f.jsonl")).unwrap();
    assert!(text.lines().nth(2).unwrap().contains(r#""upto":[0,1],"#), "{text}");
    assert!(text.lines().nth(2).unwrap().contains(r#""more":[2]"#), "{text}");
}

#[test]
fn bytes_of_lists_do_not_depend_on_threads_or_kills() {
    for format in ["parquet", "arrow", "jsonl", "csv"] {
        let arguments = [
            &["-o", "rows", "--page-size", "25", "--rows-per-file", "100", "--format", format],
            &COLUMNS[..],
        ];
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
            let ran = world.export(&[&arguments[..], &more].concat()).ok();
            assert_eq!(ran.stderr.contains("resuming: "), is_interrupted, "{}", ran.stderr);
            Ran::of(world.command().args(["verify", "rows"])).ok();
            content(&world.path("rows"))
        };
        let truth = run("1", false);
        assert!(run("16", false) == truth, "{format}");
        assert!(run("2", true) == truth, "{format}");
    }
}

#[test]
fn lists_and_nested_columns_go_together() {
    let world = world(60);
    world
        .export(
            &[&["-o", "n.parquet", "--json-columns", "nested", "--manifest"], &COLUMNS[..]]
                .concat(),
        )
        .ok();
    world.export(&[&["-o", "p.parquet", "--manifest"], &COLUMNS[..]].concat()).ok();
    Ran::of(world.command().args(["verify", "n.parquet"])).ok();
    let (nested, plain) = (batches(&world, "n.parquet"), batches(&world, "p.parquet"));
    for name in ["said", "upto", "parts", "flags", "times", "messages"] {
        assert_eq!(nested[0].column_by_name(name), plain[0].column_by_name(name), "{name}");
    }
}

#[test]
fn preview_and_diff_know_lists() {
    let world = world(4);
    let arguments =
        ["-o", "p.parquet", "--column", "upto:int[]=[range(.order)]", "--columns", "id,upto"];
    world.export(&arguments).ok();
    let dataset = ID.to_string();
    for what in ["p.parquet", dataset.as_str()] {
        let more: &[&str] = if what == dataset { &arguments[2..] } else { &[] };
        let table = Ran::of(world.command().args(["preview", what]).args(more)).ok();
        insta::allow_duplicates! {
            insta::assert_snapshot!(table.stdout, @r"
             ID        UPTO
             00000000  []
             00000000  [0]
             00000000  [0,1]
             00000000  [0,1,2]
            4 of 4 rows
            ");
        }
        let lines =
            Ran::of(world.command().args(["preview", what, "--json", "-n3"]).args(more)).ok();
        assert!(lines.stdout.trim_end().ends_with(r#""upto":[0,1]}"#), "{}", lines.stdout);
    }
    world.export(&["-o", "p.parquet", "--column", "upto:int[]=[.order]", "--overwrite"]).ok();
    world.export(&["-o", "q.jsonl"]).ok();
    let ran = Ran::of(world.command().args(["diff", "p.parquet", "q.jsonl"])).ok();
    let note = "upto (computed by expressions in p.parquet)";
    assert!(ran.stdout.contains(note), "{}", ran.stdout);
    let explain = ["--explain", "--column", "n:int[]=[.order, if .order == 2 then 0.5 else 1 end]"];
    let ran = Ran::of(world.command().args(["preview", &dataset]).args(explain)).ok();
    let why = "in element 2 of the list, the output 0.5 is not an integer of 64 bits";
    assert!(
        ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ").contains(why),
        "{}",
        ran.stdout
    );
}

#[test]
fn outputs_that_are_no_lists_are_errors_of_rows() {
    let world = world(20);
    let column = ["--column", "n:int[]=[.order, if .order == 7 then \"x\" else 1 end]"];
    let failed = world.export(&[&["-o", "a.jsonl"], &column[..]].concat());
    assert_eq!(failed.code, Some(65));
    let why = "in element 2 of the list, the output \"x\" is a string, not an integer";
    assert!(failed.stderr.contains("page 1, row 8 (id 00000000-"), "{}", failed.stderr);
    assert!(failed.stderr.contains(why), "{}", failed.stderr);
    for (action, nulls) in [("null", 1), ("skip", 0)] {
        let more = ["-o", "a.jsonl", "--manifest", "--overwrite", "--on-error", action];
        world.export(&[&more, &column[..]].concat()).ok();
        let text = String::from_utf8(world.read("a.jsonl")).unwrap();
        assert_eq!(text.matches("\"n\":null").count(), nulls);
        Ran::of(world.command().args(["verify", "a.jsonl"])).ok();
    }
    for (column, why) in [
        ("a:string[][]=.b", "and lists of them, such as string[]"),
        ("a:[]=.b", "and lists of them, such as string[]"),
        ("persona:string[]=.b", "always of the type string: give another name"),
    ] {
        let ran = world.export(&["-o", "b.jsonl", "--column", column]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

#[test]
fn changed_elements_are_found() {
    let world = world(20);
    world.export(&["-o", "rows.jsonl", "--manifest", "--column", "n:int[]=[.order, 77]"]).ok();
    let text = String::from_utf8(world.read("rows.jsonl")).unwrap();
    // The size stays the same.
    for (changed, what) in [("[19,78]", "digest"), ("[19,\"\"]", "rows.jsonl")] {
        fs::write(world.path("rows.jsonl"), text.replace("[19,77]", changed)).unwrap();
        let ran = Ran::of(world.command().args(["verify", "rows.jsonl"]));
        assert_eq!(ran.code, Some(65));
        assert!(ran.stdout.contains(what), "{}", ran.stdout);
    }
}
