//! What a job writes, by its keys: the format, its form, the rows and the columns. Another output is stored anew.

use std::fs;

use overmind_export::{Manifest, Status, verify};
use serde_json::Value;

use super::Nightly;
use crate::support::entries;

#[test]
fn job_chooses_the_form_of_json_columns() {
    let nightly = Nightly::one(250, "format = \"jsonl\" # form");
    nightly.at("2026-11-23T02:00:00Z");
    let line = |nightly: &Nightly| -> Value {
        let bytes = fs::read(nightly.newest("nightly").join("part-00000.jsonl")).unwrap();
        serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next().unwrap()).unwrap()
    };
    let input = line(&nightly)["input"].clone();
    assert!(input.is_object());
    // The same data in another form is a change.
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap().replace("# form", "\njson_columns = \"text\"");
    fs::write(path, text).unwrap();
    nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(nightly.stamps("nightly"), ["20261123T020000Z", "20261124T020000Z"]);
    let text = line(&nightly)["input"].clone();
    assert_eq!(serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap(), input);
    // And the next night it is unchanged.
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(results[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
}

#[test]
fn job_writes_nested_columns() {
    let nightly = Nightly::one(250, "# form");
    nightly.at("2026-11-23T02:00:00Z");
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap().replace("# form", "json_columns = \"nested\"");
    fs::write(path, text).unwrap();
    nightly.at("2026-11-24T02:00:00Z");
    let record = nightly.record("nightly", "20261124T020000Z");
    let manifest = Manifest::read(&record).unwrap();
    assert!(manifest.nested.unwrap().iter().any(|field| field.name == "input"));
    assert!(verify(&nightly.newest("nightly").as_path().into()).unwrap().is_ok());
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(results[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
}

#[test]
fn job_writes_csv_for_spreadsheets() {
    let nightly =
        Nightly::one(250, "format = \"csv\"\ncompression = \"gzip\"\ncsv_bom = true # form");
    let settings = |nightly: &Nightly| {
        assert!(nightly.newest("nightly").join("part-00000.csv.gz").exists());
        let stamps = nightly.stamps("nightly");
        let record = nightly.record("nightly", stamps.last().unwrap());
        let manifest: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        (manifest["csv_bom"].clone(), manifest["csv_safe"].clone())
    };
    nightly.at("2026-11-23T02:00:00Z");
    assert_eq!(settings(&nightly), (true.into(), false.into()));
    // The same data in another form is a change.
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap().replace("# form", "\ncsv_safe = true");
    fs::write(path, text).unwrap();
    nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(nightly.stamps("nightly"), ["20261123T020000Z", "20261124T020000Z"]);
    assert_eq!(settings(&nightly), (true.into(), true.into()));
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(results[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
}

#[test]
fn job_chooses_rows_and_computes_columns() {
    let keys = "where = \".order % 2 == 0\"\ncolumn = [\"twice:int=.order * 2\"]\n\
                columns = [\"id\", \"twice\"] # end";
    let nightly = Nightly::one(250, keys);
    let [told] = &nightly.at("2026-11-23T02:00:00Z")[..] else { panic!("one job") };
    assert_eq!((told.rows, told.rows_read, told.exit_code), (125, Some(250), 0));
    assert_eq!(told.snapshots[0].rows_read, Some(250));
    assert_eq!(nightly.latest("nightly")["rows_read"], 250);
    assert_eq!(nightly.history("nightly")[0]["snapshots"][0]["rows_read"], 250);
    let manifest = |stamp: &str| Manifest::read(&nightly.record("nightly", stamp)).unwrap();
    let first = manifest("20261123T020000Z");
    assert_eq!((first.rows_read, first.rows), (250, 125));
    let names: Vec<&str> = first.columns.iter().map(|column| column.name()).collect();
    assert_eq!(names, ["id", "twice"]);
    assert!(verify(&nightly.newest("nightly").as_path().into()).unwrap().is_ok());
    let again = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(again[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
    // Another expression is a change, also if the dataset is the same.
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap().replace("% 2 == 0", "% 2 == 1");
    fs::write(path, text).unwrap();
    nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(nightly.stamps("nightly"), ["20261123T020000Z", "20261125T020000Z"]);
    assert_ne!(manifest("20261125T020000Z").digest, first.digest);
}

#[test]
fn changed_columns_and_sample_are_new_snapshots() {
    let nightly = Nightly::one(250, "column = \"a:int=.order\"\nsample = 0.5 # end");
    nightly.at("2026-11-20T02:00:00Z");
    let mut before = "column = \"a:int=.order\"\nsample = 0.5".to_owned();
    for (day, keys) in [
        (21, "column = \"a:int=.order + 1\"\nsample = 0.5"),
        (22, "column = \"a:float=.order + 1\"\nsample = 0.5"),
        (23, "column = \"a:float=.order + 1\"\nsample = 0.4"),
        (24, "column = \"a:float=.order + 1\"\nsample = 0.4\nseed = 1"),
    ] {
        let path = nightly.world.path("snapshots.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace(&before, keys)).unwrap();
        keys.clone_into(&mut before);
        let results = nightly.at(&format!("2026-11-{day}T02:00:00Z"));
        assert_eq!(results[0].snapshots[0].status, Status::Stored, "{keys}");
    }
}

#[test]
fn failed_rows_of_a_job_are_told() {
    let keys = "where = \"if .order < 7 then error else true end\"\non_error = \"skip\"";
    let nightly = Nightly::one(250, keys);
    let ran = nightly.snapshot(&[]).ok();
    assert!(ran.stderr.contains("243 rows of 250 read ("), "{}", ran.stderr);
    assert!(ran.stderr.contains("complete: every row read once"), "{}", ran.stderr);
    assert!(ran.stderr.contains("  an expression failed on 7 rows\n"), "{}", ran.stderr);
    assert_eq!(nightly.history("nightly")[0]["failed_rows"], 7);
}

#[test]
fn job_result_has_duplicates_replacements_splits() {
    let keys = "dedupe = \".order % 100\"\nmask = \".persona\"\nsplit = \"train=0.5,test=0.5\"\nsplit_by = \".id\"";
    let nightly = Nightly::one(250, keys);
    let ran = nightly.snapshot(&[]).ok();
    let left_out = "  left out, because they equal an earlier row: 150 rows\n";
    assert!(ran.stderr.contains(left_out), "{}", ran.stderr);
    let told = &nightly.history("nightly")[0];
    let own = &told["snapshots"][0];
    let path = nightly.world.path("snaps/.overmind/nightly/latest.json");
    let latest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let rows = |split: &Value| split["rows"].as_u64().unwrap();
    for found in [told, own, &latest] {
        assert_eq!((&found["rows"], &found["duplicate_rows"]), (&100.into(), &150.into()));
        let replaced = found["replaced_rows"][0].as_u64().unwrap();
        assert!(0 < replaced && replaced <= 100, "{found}");
    }
    for found in [own, &latest] {
        let [train, test] = found["splits"].as_array().unwrap().as_slice() else {
            panic!("{found}")
        };
        assert_eq!((&train["name"], &test["name"]), (&"train".into(), &"test".into()));
        assert_eq!(rows(train) + rows(test), 100);
    }
}

#[test]
fn job_stores_splits_and_deletes_them() {
    let keys = "split = \"train=0.7,test=0.3\"\nsplit_by = \".id\"\nrows_per_file = 100\n\
                keep = { last = 2 } # end";
    let nightly = Nightly::one(250, keys);
    nightly.at("2026-11-23T02:00:00Z");
    let first = nightly.newest("nightly");
    assert_eq!(entries(&first), ["test", "train"]);
    let manifest = Manifest::read(&nightly.record("nightly", "20261123T020000Z")).unwrap();
    let names: Vec<_> = manifest.splits.iter().map(|split| split.name.as_str()).collect();
    assert_eq!(names, ["train", "test"]);
    assert_eq!(manifest.splits.iter().map(|split| split.rows).sum::<u64>(), 250);
    // A reader that was given the folder of a split finds the record of the snapshot.
    for path in [&first, &first.join("train"), &first.join("test")] {
        let verified = verify(&path.as_path().into()).unwrap();
        assert!(verified.is_ok() && verified.rows > 50, "{verified:?}");
    }
    let again = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(again[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
    // Other splits are a change.
    for (day, splits) in [(25, "train=0.8,test=0.2"), (26, "a=0.5,b=0.5")] {
        let path = nightly.world.path("snapshots.toml");
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("split = \"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        fs::write(&path, format!("{before}split = \"{splits}\"{after}")).unwrap();
        let results = nightly.at(&format!("2026-11-{day}T02:00:00Z"));
        assert_eq!(results[0].snapshots[0].status, Status::Stored, "{splits}");
    }
    // Retention has deleted the first one with its folders, and keeps a file that is not part of a snapshot.
    assert_eq!(nightly.stamps("nightly"), ["20261125T020000Z", "20261126T020000Z"]);
    assert!(!first.exists());
    let second = nightly.job("nightly").join("snapshot=20261125T020000Z");
    fs::write(second.join("test/notes.txt"), "mine").unwrap();
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap().replace("last = 2", "last = 1");
    fs::write(&path, text).unwrap();
    let ran = nightly.run(&["prune", "--dry-run"]).ok();
    assert!(ran.stdout.contains("is left  holds \"test/notes.txt\""), "{ran:?}");
    nightly.run(&["prune"]).ok();
    assert_eq!(entries(&second), ["test", "train"]);
}
