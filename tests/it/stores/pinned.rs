//! Snapshots with nested columns in a store: the pinned schema is an object next to the record.

use overmind_export::demo::Dataset;
use serde_json::Value;

use super::{
    server::{Fate, Store},
    snapshots::{json, nightly},
};
use crate::{
    rows,
    snapshots::Nightly,
    support::{ID, Ran},
};

const NESTED: &str = "json_columns = \"nested\"";
const SCHEMA: &str = "nights/.overmind/nightly/schema.json";

/// Rows of which one has another value than the others.
fn odd(count: u64, value: &str) -> Dataset {
    let row = |number: u64| {
        let n = if number == 7 { value.to_owned() } else { number.to_string() };
        format!(r#"{{"id":"{}","order":{number},"input":{{"n":{n}}}}}"#, rows::id(number))
    };
    Dataset::from_rows("rows", (0..count).map(row).collect()).with_id(ID)
}

fn verified(store: &Store, nightly: &Nightly, stamp: &str) {
    let path = format!("s3://bucket/nights/nightly/snapshot={stamp}");
    Ran::of(store.command(&nightly.world).args(["verify", &path])).ok();
}

#[test]
fn schema_is_pinned_and_accepted_in_a_store() {
    let (store, nightly) = nightly(NESTED);
    nightly.world.server.replace(vec![odd(300, "7")]);
    nightly.at("2026-11-23T02:00:00Z");
    let pinned = store.objects()[SCHEMA].clone();
    nightly.world.server.replace(vec![odd(301, "\"seven\"")]);
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!((results[0].exit_code, results[0].rescued_rows), (0, 1), "{results:?}");
    assert_eq!(store.objects()[SCHEMA], pinned);
    assert_eq!(json(&store, "latest.json")[0]["rescued_rows"], 1);
    let ran = nightly.run(&["schema", "--accept", "nightly"]).ok();
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["differences"][0]["path"], ".input.n");
    assert_ne!(store.objects()[SCHEMA], pinned);
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!((results[0].rows, results[0].rescued_rows), (301, 0), "{results:?}");
    for stamp in ["20261123T020000Z", "20261124T020000Z", "20261125T020000Z"] {
        verified(&store, &nightly, stamp);
    }
    let results = nightly.at("2026-11-26T02:00:00Z");
    assert_eq!(results[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
}

#[test]
fn killed_first_run_has_its_types_in_the_record() {
    let [control, record] = ["_snapshot", "snapshot"]
        .map(|name| format!("PUT /bucket/nights/.overmind/nightly/{name}"));
    let schema = format!("PUT /bucket/{SCHEMA}");
    // When the record is written, the publication has begun, and the next run finishes it.
    for (request, is_stored) in [(control, false), (record, true), (schema, true)] {
        let (store, nightly) = nightly(NESTED);
        nightly.world.server.replace(vec![odd(300, "7")]);
        store.rule(&request, Fate::HeldAt(1));
        let mut run = nightly.start(&[]);
        store.wait_until_held();
        run.kill().unwrap();
        run.wait().unwrap();
        store.no_rules();
        assert!(!store.keys().contains(&SCHEMA.to_owned()), "{:?}", store.keys());
        // The rows of the next night would have another type.
        nightly.world.server.replace(vec![odd(301, "\"seven\"")]);
        let ran = nightly.snapshot(&["--json"]).ok();
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        let expected = if is_stored { 1 } else { 0 };
        assert_eq!(told["jobs"][0]["rescued_rows"], expected, "{told}");
        let pinned: Value = serde_json::from_slice(&store.objects()[SCHEMA]).unwrap();
        let kind = pinned["nested"][0]["fields"][0]["type"].as_str();
        assert_eq!(kind, Some(if is_stored { "int" } else { "json" }));
    }
}
