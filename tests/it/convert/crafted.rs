//! Files that state of themselves what is not true: a statement of the writer of the rows vouches for nothing.

use std::{fs::File, sync::Arc};

use overmind_export::{
    Column, Encoding, Format, OutputColumn,
    arrow_array::{ArrayRef, RecordBatch, StringArray},
    digest,
};
use serde_json::{Value, json};

use super::{convert, record, run, world};
use crate::support::World;

/// The id of a row.
fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Writes a file with these columns, whose own facts have the digest of its rows, and these members instead of others.
fn craft(world: &World, name: &str, columns: &[(Column, Vec<String>)], changed: &Value) {
    let types: Vec<_> = columns.iter().map(|(column, _)| OutputColumn::from(*column)).collect();
    let arrays =
        columns.iter().map(|(_, texts)| Arc::new(StringArray::from(texts.clone())) as ArrayRef);
    let batch = RecordBatch::try_new(OutputColumn::schema(&types), arrays.collect()).unwrap();
    let rows = batch.num_rows();
    let mut facts = json!({
        "format_version": 2,
        "tool": "another program",
        "completeness": "proven",
        "count": rows,
        "first_row": 0,
        "rows_read": rows,
        "rows": rows,
        "digest": digest(&batch).unwrap().to_string(),
    });
    for (key, value) in changed.as_object().unwrap() {
        facts[key] = value.clone();
    }
    let format = if name.ends_with(".arrow") { Format::Arrow } else { Format::Parquet };
    let output = Box::new(File::create(world.path(name)).unwrap());
    let mut sink = Encoding::from(format).sink(batch.schema(), output, 1).unwrap();
    sink.write(batch).unwrap();
    sink.finish(Some(&facts.to_string())).unwrap();
}

fn inputs(inputs: &[&str]) -> Vec<(Column, Vec<String>)> {
    let ids = (0..inputs.len()).map(id).collect();
    vec![(Column::Id, ids), (Column::Input, inputs.iter().map(|&it| it.to_owned()).collect())]
}

#[test]
fn value_that_is_not_json_never_gets_past_a_mask() {
    let world = world(Vec::new());
    let mut told = String::new();
    for (name, input, path) in [
        ("a.parquet", r#"{"email":"SECRET"é1}"#, ".input.email"),
        ("b.arrow", r#"{"email":"a"} {"email":"SECRET"}"#, ".input.email"),
        ("c.parquet", "SECRET", ".input[0]"),
    ] {
        craft(&world, name, &inputs(&["1", input, "[2]"]), &json!({}));
        for how in [&["--mask", path][..], &[]] {
            for out in ["out.parquet", "out/"] {
                let ran = run(&world, &[&[name, "-o", out], how].concat());
                assert_eq!(ran.code, Some(65), "{name} {how:?} {}", ran.stderr);
                if out == "out/" && !how.is_empty() {
                    told += &ran.told(&world);
                }
            }
        }
    }
    insta::assert_snapshot!(told, @r#"
    exit 65
    error: a.parquet: row 2: its input "{\"email\":\"SECRET\"é1}" is not JSON: an error at byte 18
    exit 65
    error: b.arrow: row 2: its input "{\"email\":\"a\"} {\"email\":\"SECRET\"}" is not JSON: an error at byte 15
    exit 65
    error: c.parquet: row 2: its input "SECRET" is not JSON: an error at byte 1
    "#);
    assert_eq!(world.entries(), ["a.parquet", "b.arrow", "c.parquet"]);
}

#[test]
fn facts_without_an_explanation_are_refused() {
    let world = world(Vec::new());
    let rows = inputs(&["1", "2", "3"]);
    let mut told = String::new();
    for changed in [
        json!({ "rows_read": 5, "count": 5 }),
        json!({ "rows_read": 2 }),
        json!({ "rows_read": 9, "count": 9, "transform": { "mask": [".persona"] } }),
    ] {
        craft(&world, "a.parquet", &rows, &changed);
        told += &run(&world, &["a.parquet", "-o", "out.jsonl"]).told(&world);
    }
    insta::assert_snapshot!(told, @"
    exit 65
    error: a.parquet: it has 3 of 5 rows read, and no transformation is recorded
    exit 65
    error: a.parquet: it has 3 of 2 rows read, and no transformation is recorded
    exit 65
    error: a.parquet: it has 3 of 9 rows read
    ");
    // Without a count, or with another one, nobody knows the other rows.
    for (count, completeness) in [
        (json!(3), "proven"),
        (Value::Null, "partial"),
        (json!(4), "partial"),
        (json!(2), "partial"),
    ] {
        craft(&world, "a.parquet", &rows, &json!({ "count": count }));
        let summary =
            convert(&world, &["a.parquet", "-o", "out.jsonl", "--manifest", "--overwrite"]);
        assert_eq!(summary["completeness"], completeness, "{count}");
        assert_eq!(record(&world, "out.jsonl")["completeness"], completeness, "{count}");
    }
}

#[test]
fn ids_and_unknown_fields_have_the_form_of_an_export() {
    let world = world(Vec::new());
    let mut told = String::new();
    let ids = |second: &str| vec![(Column::Id, vec![id(0), second.to_owned()])];
    let plain = id(1).replace('-', "");
    for second in [
        &plain,
        &format!("{{{}}}", id(1)),
        &format!("urn:uuid:{}", id(1)),
        &id(0xA).replace("0010", "000A"),
        &id(0),
    ] {
        craft(&world, "a.parquet", &ids(second), &json!({}));
        told += &run(&world, &["a.parquet", "-o", "out.jsonl"]).told(&world);
    }
    let others = |text: &str| {
        vec![(Column::Id, vec![id(0)]), (Column::AdditionalProperties, vec![text.to_owned()])]
    };
    for text in ["[{\"a\":1}]", "\"{}\"", "1"] {
        craft(&world, "a.parquet", &others(text), &json!({}));
        told += &run(&world, &["a.parquet", "-o", "out.jsonl"]).told(&world);
    }
    insta::assert_snapshot!(told, @r#"
    exit 65
    error: a.parquet: row 2: its id "00000000000040008000000000000001" is not written as 00000000-0000-4000-8000-000000000001
    exit 65
    error: a.parquet: row 2: its id "{00000000-0000-4000-8000-000000000001}" is not written as 00000000-0000-4000-8000-000000000001
    exit 65
    error: a.parquet: row 2: its id "urn:uuid:00000000-0000-4000-8000-000000000001" is not written as 00000000-0000-4000-8000-000000000001
    exit 65
    error: a.parquet: row 2: its id "00000000-0000-4000-8000-00000000000A" is not written as 00000000-0000-4000-8000-00000000000a
    exit 65
    error: a.parquet: its 2 rows have only 1 distinct ids
    exit 65
    error: a.parquet: row 1: its additional_properties "[{\"a\":1}]" is not an object
    exit 65
    error: a.parquet: row 1: its additional_properties "\"{}\"" is not an object
    exit 65
    error: a.parquet: row 1: its additional_properties "1" is not an object
    "#);
    craft(&world, "b.parquet", &others("{\"a\":1}"), &json!({}));
    convert(&world, &["b.parquet", "-o", "out.jsonl"]);
}

#[test]
fn rows_without_an_id_have_null_as_their_id() {
    let world = world(Vec::new());
    let texts = ["1", "2"].map(str::to_owned).to_vec();
    craft(&world, "a.parquet", &[(Column::Input, texts)], &json!({}));
    let how = ["--column", "x:json=.", "--where", ".input | . < 2"];
    let ran = run(&world, &[&["a.parquet", "-o", "-", "-q"], &how[..]].concat()).ok();
    let row =
        r#"{"id":null,"order":null,"input":1,"expected_output":null,"persona":null,"tags":null}"#;
    assert_eq!(ran.stdout, format!("{{\"input\":1,\"x\":{row}}}\n"));
    // An expression that names the id is refused, and an error names no id.
    assert_eq!(run(&world, &["a.parquet", "-o", "-", "--where", ".id"]).code, Some(2));
    let failed = run(&world, &["a.parquet", "-o", "out.jsonl", "--where", ".input.x"]);
    assert!(
        failed.stderr.starts_with("error: row 1: --where \".input.x\" failed"),
        "{}",
        failed.stderr
    );
}

#[test]
fn json_that_no_export_writes_is_no_recorded_row() {
    let world = world(Vec::new());
    let texts: Vec<_> = (0..50).map(|number| format!("{{ \"a\": {number} }}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    craft(&world, "a.parquet", &inputs(&texts), &json!({}));
    let whole = run(&world, &["a.parquet", "-o", "out/"]);
    assert_eq!(whole.code, Some(65));
    assert!(whole.stderr.contains("its JSON is not as an export writes it"), "{}", whole.stderr);
    // The digest in the message is that of the rows in the order of the source.
    let split = ["a.parquet", "-o", "out/", "--split", "a=0.5,b=0.3,c=0.2"];
    assert_eq!(run(&world, &split).stderr, whole.stderr);
    convert(&world, &[&split[..], &["--where", "true"]].concat());
}
