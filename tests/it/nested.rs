//! Exports with nested JSON columns: their values, their types, and their bytes.

mod rules;
mod schema;
mod split;

use std::{collections::BTreeSet, fs, time::Duration};

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::DataType;
use bytes::Bytes;
use overmind_export::{
    Batches, Location,
    demo::{Fault, FaultAttempt, Faults, Options},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::{
    rows,
    support::{ID, Ran, World, command, wait_until},
    tree::content,
};

const NESTED: [&str; 2] = ["--json-columns", "nested"];
const JSON: [&str; 4] = ["input", "expected_output", "tags", "additional_properties"];

/// Rows of one shape, with members that are missing, null or empty, and a part that no type holds.
fn conversations(count: u64) -> Vec<String> {
    let row = |number: u64| {
        let content =
            format!("turn {number}: größe \\n \\\"{}\\\"", "x".repeat(number as usize % 50));
        let message = format!(
            r#"{{"role":"user","tokens":{number},"score":{number}.50,"gone":null,"content":"{content}"}}"#
        );
        let messages = vec![message; number as usize % 4].join(",");
        let mixed = if number.is_multiple_of(2) { "1e400" } else { r#""text""# };
        let tags = match number % 3 {
            0 => "null".to_owned(),
            1 => "{}".to_owned(),
            _ => format!(r#"{{"topic":"t{}","flags":[true,null,false]}}"#, number % 5),
        };
        format!(
            r#"{{"id":"{}","order":{number},"input":{{"messages":[{messages}],"mixed":{mixed}}},"tags":{tags},"trace":{{"n":{number}}}}}"#,
            rows::id(number),
        )
    };
    (0..count).map(row).collect()
}

fn world(rows: Vec<String>) -> World {
    World::with_rows(Options::default(), rows)
}

#[track_caller]
fn export(world: &World, arguments: &[&str]) -> Value {
    let ran = world.export(&[&["--json", "-q"], arguments].concat()).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

fn run(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(command(world.folder.path()).args(arguments))
}

fn manifest(world: &World, name: &str) -> Value {
    serde_json::from_slice(&world.read(&format!("{name}.manifest.json"))).unwrap()
}

/// The rows of an export as the library reads them: for each row the texts of its JSON columns.
fn read(world: &World, name: &str) -> Vec<Vec<Option<String>>> {
    let mut found = Vec::new();
    for batch in Batches::open(&Location::from(world.path(name))).unwrap() {
        let batch = batch.unwrap();
        let columns: Vec<_> = JSON
            .iter()
            .filter_map(|name| batch.column_by_name(name))
            .map(|array| array.as_string::<i32>().clone())
            .collect();
        found.extend((0..batch.num_rows()).map(|row| {
            let value = |array: &arrow_array::StringArray| {
                array.is_valid(row).then(|| array.value(row).to_owned())
            };
            columns.iter().map(value).collect()
        }));
    }
    found
}

/// A value in which null and missing members are the same.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        Value::Array(items) => items.iter().map(plain).collect(),
        value => value.clone(),
    }
}

#[test]
fn values_equal_those_of_the_text_form() {
    let world = world(conversations(300));
    let digest = export(&world, &["-o", "text.parquet"])["digest"].clone();
    let texts = read(&world, "text.parquet");
    for (name, more) in [
        ("rows.parquet", &[][..]),
        ("plain.parquet", &["--manifest", "--parquet-encoding", "plain"]),
        ("rows.arrow", &["--manifest", "--compression", "none"]),
        ("parts/", &["--rows-per-file", "70", "--page-size", "7"]),
        ("ipc/", &["--format", "arrow", "--rows-per-file", "100"]),
    ] {
        let done = export(&world, &[&["-o", name], &NESTED[..], more].concat());
        assert_eq!(done["digest"], digest, "{name}");
        let nested = read(&world, name.trim_end_matches('/'));
        assert_eq!(nested.len(), texts.len());
        let mut typed = 0;
        for (row, expected) in nested.iter().zip(&texts) {
            for (text, expected) in row.iter().zip(expected) {
                typed += usize::from(text != expected);
                // This crate's parser does not know 1e400, which stays a token of its text.
                let value = |text: &Option<String>| {
                    text.as_ref().map(|text| {
                        let text = text.replace("1e400", "\"1e400\"");
                        plain(&serde_json::from_str(&text).unwrap())
                    })
                };
                assert_eq!(value(text), value(expected), "{name}");
            }
        }
        assert!(typed > 0, "no value was typed");
        let verified = run(&world, &["verify", name]).ok();
        assert!(verified.stdout.contains("ok, 300 rows"), "{verified:?}");
        run(&world, &["preview", name, "-n", "3"]).ok();
        run(&world, &["diff", name, "rows.parquet"]).ok();
    }
}

fn batches(bytes: Vec<u8>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

#[test]
fn files_have_structs_and_lists() {
    let world = world(conversations(40));
    export(&world, &[&["-o", "rows.parquet", "--manifest"], &NESTED[..]].concat());
    let batch = &batches(world.read("rows.parquet"))[0];
    let input = batch.column_by_name("input").unwrap().as_struct();
    let messages = input.column_by_name("messages").unwrap().as_list::<i32>();
    let first = messages.value(7);
    let content = first.as_struct().column_by_name("content").unwrap().as_string::<i32>();
    assert_eq!(content.value(0), "turn 7: größe \n \"xxxxxxx\"");
    let schema = batch.schema();
    let DataType::Struct(fields) = schema.field_with_name("input").unwrap().data_type() else {
        unreachable!()
    };
    let mixed = fields.iter().find(|field| field.name() == "mixed").unwrap();
    assert_eq!(mixed.metadata()["overmind_export:json"], "true");
    assert_eq!(mixed.metadata()["overmind_export:why"], "row 2: number and string");
    let expected = json!([
        {"name": "input", "type": "struct", "fields": [
            {"name": "messages", "type": "list", "item": {"type": "struct", "fields": [
                {"name": "role", "type": "string"},
                {"name": "tokens", "type": "int"},
                {"name": "score", "type": "float"},
                {"name": "gone", "type": "json", "why": "no value"},
                {"name": "content", "type": "string"},
            ]}},
            {"name": "mixed", "type": "json", "why": "number and string", "row": 2},
        ]},
        {"name": "expected_output", "type": "json", "why": "no value"},
        {"name": "tags", "type": "struct", "fields": [
            {"name": "topic", "type": "string"},
            {"name": "flags", "type": "list", "item": {"type": "bool"}},
        ]},
        {"name": "additional_properties", "type": "struct", "fields": [
            {"name": "trace", "type": "struct", "fields": [{"name": "n", "type": "int"}]},
        ]},
    ]);
    assert_eq!(manifest(&world, "rows.parquet")["nested"], expected);
}

#[test]
fn hard_values_keep_their_tokens() {
    let rows: Vec<_> = rows::hard().into_iter().filter(|row| row.wire.len() < 1 << 20).collect();
    let world = world(rows::wire(&rows));
    for name in ["rows.parquet", "rows.arrow"] {
        export(&world, &[&["-o", name], &NESTED[..]].concat());
        for (row, source) in read(&world, name).iter().zip(&rows) {
            // Every column mixes kinds, so it stays text.
            for (text, place) in row.iter().zip([2, 3, 5]) {
                assert_eq!(*text, source.columns[place], "{name}");
            }
        }
        run(&world, &["verify", name]).ok();
    }
}

#[test]
fn rules_choose_columns_and_paths() {
    let world = world(conversations(30));
    let types = |more: &[&str]| {
        export(&world, &[&["-o", "a.arrow", "--manifest", "--overwrite"], more].concat());
        manifest(&world, "a.arrow")["nested"].clone()
    };
    let kind = |types: &Value, path: &str| types.pointer(path).unwrap()["type"].clone();
    let text =
        types(&[&NESTED[..], &["--text", ".input.messages[]", "--text", ".tags.topic"]].concat());
    assert_eq!(kind(&text, "/0/fields/0"), "list");
    assert_eq!(kind(&text, "/0/fields/0/item"), "json");
    assert_eq!(kind(&text, "/2/fields/0"), "json");
    let one = types(&["--json-columns", "tags=nested"]);
    assert_eq!((kind(&one, "/0"), kind(&one, "/2")), (json!("json"), json!("struct")));
    let but_one = types(&["--json-columns", "nested,input=text"]);
    assert_eq!((kind(&but_one, "/0"), kind(&but_one, "/2")), (json!("json"), json!("struct")));
    // Thirteen columns, of which the elements of a list have five.
    let few = types(&[&NESTED[..], &["--max-columns", "9"]].concat());
    assert_eq!(kind(&few, "/0/fields/0/item"), "json");
    assert_eq!(few.pointer("/0/fields/0/item/why").unwrap(), "more columns than `max_columns`");
    assert_eq!(kind(&few, "/2"), "struct");
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let world = world(conversations(2500));
    for format in ["parquet", "arrow"] {
        let export = |name: &str, more: &[&str]| {
            let output = ["-o", name, "--format", format, "--rows-per-file", "600"];
            export(&world, &[&output[..], &NESTED, more].concat());
            content(&world.path(name))
        };
        let one = export(&format!("{format}-1"), &["--encode-threads", "1", "--concurrency", "1"]);
        let many = export(&format!("{format}-16"), &["--encode-threads", "16"]);
        assert!(one == many, "{format}");
    }
}

#[test]
fn row_groups_are_read_back() {
    let world = world(conversations(11_000));
    let export = |name: &str, threads: &str| {
        export(&world, &[&["-o", name, "--encode-threads", threads], &NESTED[..]].concat());
        world.read(name)
    };
    let bytes = export("one.parquet", "1");
    assert!(bytes == export("many.parquet", "16"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
    assert!(reader.metadata().num_row_groups() > 1);
    let verified = run(&world, &["verify", "one.parquet"]).ok();
    assert!(verified.stdout.contains("ok, 11,000 rows"), "{verified:?}");
}

#[test]
fn empty_dataset_has_text_columns() {
    let world = world(Vec::new());
    for name in ["rows.parquet", "out/"] {
        export(&world, &[&["-o", name], &NESTED[..]].concat());
        let verified = run(&world, &["verify", name]).ok();
        assert!(verified.stdout.contains("ok, 0 rows"), "{verified:?}");
    }
}

#[test]
fn arrow_stream_has_nested_columns() {
    let world = world(conversations(50));
    let id = ID.to_string();
    let arguments = ["export", &id, "-q", "-o", "-", "--format", "arrow"];
    let output = world.command().args(arguments).args(NESTED).output().unwrap();
    assert!(output.status.success());
    let reader = arrow_ipc::reader::StreamReader::try_new(&*output.stdout, None).unwrap();
    assert!(reader.schema().field_with_name("input").unwrap().data_type().is_nested());
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 50);
}

/// Ten parts of eight pages. The prefetch is small compared with a part.
const PARTS: [&str; 8] =
    ["-o", "rows", "--page-size", "25", "--rows-per-file", "200", "--prefetch-bytes", "16KiB"];

#[test]
fn killed_runs_continue_to_the_same_bytes() {
    let truth = {
        let world = world(conversations(2000));
        export(&world, &[&PARTS[..], &NESTED].concat());
        content(&world.path("rows"))
    };
    let slow = Options { latency: Duration::from_millis(2), ..Options::default() };
    let arguments = [&PARTS[..], &NESTED].concat();
    let mut moments = BTreeSet::new();
    for requests in [3, 40, 75, 80] {
        let world = World::with_rows(slow.clone(), conversations(2000));
        let mut child = world.start(&arguments);
        let soon = Duration::from_secs(30);
        assert!(world.server.wait_until(soon, |stats| stats.requests >= requests));
        if requests == 80 {
            // The second pass has begun, or all is done.
            let data = world.path(".rows.partial/data/part-00000.parquet");
            wait_until(|| data.exists() || world.path("rows").exists());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let drafts = fs::read_dir(world.path(".rows.partial/drafts")).map_or(0, Iterator::count);
        let ran = world.export(&arguments);
        if !world.path("rows.manifest.json").exists() {
            ran.ok();
        } else if ran.code != Some(0) {
            // The kill came after the publication.
            assert_eq!(ran.code, Some(73), "{ran:?}");
        } else if drafts > 1 {
            assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
            moments.insert(requests);
        }
        assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
        assert!(content(&world.path("rows")) == truth, "{requests} requests: differs");
    }
    assert!(!moments.is_empty(), "no run had parts to keep");
}

#[test]
fn changed_drafts_are_fetched_again() {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let options = Options { faults, ..Options::default() };
    let world = World::with_rows(options, conversations(2000));
    let arguments = [&PARTS[..], &["--concurrency", "1", "--max-retries", "0"], &NESTED].concat();
    assert_eq!(world.export(&arguments).code, Some(69));
    world.server.set_faults(Faults::none());
    let draft = world.path(".rows.partial/drafts/part-00001.parquet");
    let mut bytes = fs::read(&draft).unwrap();
    bytes[100] ^= 1;
    fs::write(&draft, bytes).unwrap();
    let ran = world.export(&arguments).ok();
    assert!(ran.stderr.contains("resuming: 1 finished part kept"), "{}", ran.stderr);
    run(&world, &["verify", "rows"]).ok();
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
}

#[test]
fn another_form_is_not_resumed() {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, conversations(2000));
    let network = ["--concurrency", "1", "--max-retries", "0"];
    let with = |more: &[&str]| world.export(&[&PARTS[..], &network, more].concat());
    assert_eq!(with(&NESTED).code, Some(69));
    for (more, why) in [
        (&[][..], r#"--json-columns was "nested", now it is not given"#),
        (&["--json-columns", "nested,tags=text"], "the options of nested columns are others now"),
    ] {
        let ran = with(more);
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    world.server.set_faults(Faults::none());
    let ran = with(&["--restart"]).ok();
    assert!(!ran.stderr.contains("resuming"), "{}", ran.stderr);
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
    assert!(manifest(&world, "rows")["nested"].is_null());
}
