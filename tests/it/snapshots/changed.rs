//! A job whose dataset or name changes keeps its old snapshots, and `snapshots` reports them.

use std::fs;

use overmind_export::{Status, demo::Dataset};

use super::{Nightly, version, version_id};
use crate::support::ID;

/// Replaces a text in the configuration file.
fn edit(nightly: &Nightly, from: &str, to: &str) {
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn retention_leaves_the_dataset_named_before() {
    let nightly = Nightly::one(10, "unchanged = \"content\"\nkeep = { last = 1 }");
    nightly.at("2026-11-22T02:00:00Z");
    edit(&nightly, &ID.to_string(), &version_id(1).to_string());
    // Equal rows of another dataset are a new snapshot.
    let rows = |rows| Dataset::generated(rows, 7).with_id(version_id(1));
    nightly.world.server.replace(vec![rows(10)]);
    assert_eq!(nightly.at("2026-11-23T02:00:00Z")[0].status, Status::Stored);
    assert_eq!(nightly.at("2026-11-24T02:00:00Z")[0].status, Status::Unchanged);
    nightly.world.server.replace(vec![rows(20)]);
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(results[0].pruned, ["snapshot=20261123T020000Z"]);
    assert_eq!(nightly.stamps("nightly"), ["20261122T020000Z", "20261125T020000Z"]);
    let list = nightly.run(&["snapshots"]).ok().told(&nightly.world);
    let decisions = nightly.run(&["prune", "--dry-run"]).ok().told(&nightly.world);
    insta::assert_snapshot!(list + &decisions, @"
    exit 0
     JOB      SNAPSHOT          DATASET   ROWS      BYTES  COMPLETE  UNCHANGED AS OF
     nightly  20261122T020000Z  182bd5e5    10   8.03 KiB  yes       -
     nightly  20261125T020000Z  a0000000    20  11.46 KiB  yes       -
    nightly: 1 snapshot of another dataset than the job names now: retention leaves it
    exit 0
     JOB      SNAPSHOT                   ACTION   WHY
     nightly  snapshot=20261122T020000Z  is left  is of dataset 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e,
                                                  not of the job's
     nightly  snapshot=20261125T020000Z  stays    last 1
    ");
    // The job names the old dataset again.
    edit(&nightly, &version_id(1).to_string(), &ID.to_string());
    assert_eq!(nightly.run(&["prune"]).ok().stderr, "nightly: removed nothing\n");
    assert_eq!(nightly.stamps("nightly").len(), 2);
}

#[test]
fn latest_version_replaces_the_older_ones() {
    // Each version is a dataset of its own, so retention must count all of them.
    let jobs = "[[job]]\nname = \"chat\"\nselect = \"latest\"\nkeep = { last = 1 }\n";
    let nightly = Nightly::new(vec![version(1, 10)], jobs);
    nightly.at("2026-11-23T02:00:00Z");
    nightly.world.server.replace(vec![version(1, 10), version(2, 20)]);
    nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(nightly.stamps("chat"), ["20261124T020000Z"]);
}

#[test]
fn folders_of_unnamed_jobs_are_reported() {
    let all = "[[job]]\nname = \"all\"\nselect = \"all\"\n";
    let one = format!("[[job]]\nname = \"one\"\ndataset = \"{}\"\n", version_id(1));
    let nightly = Nightly::new(vec![version(1, 10), version(2, 20)], &format!("{all}{one}"));
    nightly.at("2026-11-23T02:00:00Z");
    edit(&nightly, "\"all\"\nselect", "\"every\"\nselect");
    edit(&nightly, "\"one\"", "\"first\"");
    // Other folders are not reported.
    for folder in ["mine", ".overmind/mine", ".overmind/empty"] {
        fs::create_dir_all(nightly.world.path("snaps").join(folder)).unwrap();
    }
    fs::write(nightly.world.path("snaps/.overmind/notes.txt"), "mine").unwrap();
    let before = nightly.run(&["snapshots"]).ok().told(&nightly.world);
    nightly.job_at(&["first"], "2026-11-24T02:00:00Z");
    let after = nightly.run(&["snapshots"]).ok().told(&nightly.world);
    let named = nightly.run(&["snapshots", "first"]).ok().told(&nightly.world);
    let json = nightly.run(&["snapshots", "--json"]).ok();
    insta::assert_snapshot!(before + &after + &named, @r#"
    exit 0
    no snapshots
    FOLDER/snaps/all: 2 snapshots of a job "all" that the configuration does not name
    FOLDER/snaps/one: 1 snapshot of a job "one" that the configuration does not name
    exit 0
     JOB    SNAPSHOT          DATASET   ROWS     BYTES  COMPLETE  UNCHANGED AS OF
     first  20261124T020000Z  a0000000    10  6.65 KiB  yes       -
    FOLDER/snaps/all: 2 snapshots of a job "all" that the configuration does not name
    FOLDER/snaps/one: 1 snapshot of a job "one" that the configuration does not name
    exit 0
     JOB    SNAPSHOT          DATASET   ROWS     BYTES  COMPLETE  UNCHANGED AS OF
     first  20261124T020000Z  a0000000    10  6.65 KiB  yes       -
    "#);
    assert_eq!(json.stdout.lines().count(), 1);
    assert_eq!(json.stderr.lines().count(), 2);
}
