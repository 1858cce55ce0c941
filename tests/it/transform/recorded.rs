//! Records that do not describe the rows of their export.

use std::fs;

use overmind_export::{Batches, Location, ReadOptions};
use serde_json::{Value, json};

use super::{BILLING, record, world};
use crate::support::{Ran, World};

/// Changes the record of an export.
fn change(world: &World, name: &str, change: impl Fn(&mut Value)) -> String {
    let path = world.path(&format!("{name}.manifest.json"));
    let before = fs::read(&path).unwrap();
    let mut record = record(world, name);
    change(&mut record);
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    let ran = Ran::of(world.command().args(["verify", name]));
    assert_eq!(ran.code, Some(65), "{name}: {ran:?}");
    // Readers of an export refuse such a record, too.
    let location = Location::from(world.path(name).as_path());
    let mut options = ReadOptions::default();
    options.record = Some(Location::from(path.as_path()));
    let opened = Batches::open_with(&location, &options);
    assert!(opened.and_then(|batches| batches.collect::<Result<Vec<_>, _>>()).is_err(), "{name}");
    fs::write(&path, before).unwrap();
    Ran::of(world.command().args(["verify", name])).ok();
    ran.stdout
}

#[test]
fn filtered_export_needs_its_transformation() {
    let world = world(300);
    for name in ["rows.jsonl", "rows.parquet", "rows"] {
        let manifest: &[&str] = if name == "rows" { &[] } else { &["--manifest"] };
        world.export(&[&["-o", name], manifest, &BILLING[..]].concat()).ok();
        let without = change(&world, name, |record| drop(record["transform"].take()));
        let says = "it has 50 of 300 rows read, and no transformation is recorded";
        assert!(without.contains(says), "{without}");
        if name != "rows.jsonl" {
            let other =
                change(&world, name, |record| record["transform"]["where"][0] = json!(".id"));
            assert!(other.contains("its own transformation is not the recorded one"), "{other}");
        }
        let failed = change(&world, name, |record| record["parts"][0]["failed"] = json!(251));
        assert!(failed.contains("it has 50 of 300 rows read and 251 rows failed"), "{failed}");
    }
}
