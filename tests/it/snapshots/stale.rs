//! `snapshots` about the state of the jobs: the last failure, and `--check`.

use overmind_export::demo::Dataset;
use serde_json::Value;

use super::{Nightly, version_id};
use crate::support::{ID, Ran};

/// Four jobs, each named after its state in [`nights`].
fn jobs() -> String {
    let job = |name: &str, id, lines: &str| {
        format!("[[job]]\nname = \"{name}\"\ndataset = \"{id}\"\n{lines}\n")
    };
    let nightly = "schedule = \"0 2 * * *\"";
    [
        job("good", ID, ""),
        job("bad", version_id(1), ""),
        job("late", ID, nightly),
        job("new", ID, nightly),
    ]
    .concat()
}

/// One job succeeded after a failure, one failed last, one has missed its runs, and one never ran.
fn nights() -> Nightly {
    let nightly = Nightly::new(vec![Dataset::generated(10, 7).with_id(ID)], &jobs());
    nightly.world.server.replace(Vec::new());
    nightly.job_at(&["good"], "2020-11-22T02:00:00Z");
    nightly.world.server.replace(vec![
        Dataset::generated(10, 7).with_id(ID),
        Dataset::generated(10, 7).with_id(version_id(1)),
    ]);
    nightly.job_at(&["good", "bad", "late"], "2020-11-23T02:00:00Z");
    nightly.world.server.replace(Vec::new());
    nightly.job_at(&["bad"], "2020-11-24T02:00:00Z");
    nightly
}

#[test]
fn list_shows_the_last_failure_of_each_job() {
    let nightly = nights();
    let ran = nightly.run(&["snapshots"]).ok();
    insta::assert_snapshot!(ran.told(&nightly.world), @"
    exit 0
     JOB   SNAPSHOT          DATASET   ROWS     BYTES  COMPLETE  UNCHANGED AS OF
     good  20201123T020000Z  182bd5e5    10  8.03 KiB  yes       -
     bad   20201123T020000Z  a0000000    10  8.03 KiB  yes       -
     late  20201123T020000Z  182bd5e5    10  8.03 KiB  yes       -
    good: last failure, 2020-11-22 02:00 UTC (exit 66): no such dataset, or a filter excludes it: GET http://API/api/datasets/182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e/datapoints/?page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
    bad: the last run failed, 2020-11-24 02:00 UTC (exit 66): no such dataset, or a filter excludes it: GET http://API/api/datasets/a0000000-0000-4000-8000-000000000001/datapoints/?page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
    ");
}

#[test]
fn check_ends_with_1_for_stale_or_failed_jobs() {
    let nightly = nights();
    let requests = nightly.world.server.stats().requests;
    let all = nightly.run(&["snapshots", "--check"]);
    let good = nightly.run(&["snapshots", "--check", "good"]);
    insta::assert_snapshot!(all.told(&nightly.world) + &good.told(&nightly.world), @"
    exit 1
    good: ok, last success 2020-11-23 02:00 UTC
    bad: the last run failed, 2020-11-24 02:00 UTC (exit 66): no such dataset, or a filter excludes it: GET http://API/api/datasets/a0000000-0000-4000-8000-000000000001/datapoints/?page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
    late: stale: no success since 2020-11-23 02:00 UTC, and two runs were due
    new: stale: no run has succeeded yet
    exit 0
    good: ok, last success 2020-11-23 02:00 UTC
    ");
    assert_eq!(nightly.world.server.stats().requests, requests);
    let ran = nightly.run(&["snapshots", "--check", "--json", "bad", "late"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let told: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [bad, late] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&bad["failed"], &bad["stale"]), (&true.into(), &false.into()));
    assert_eq!(bad["last_success"], "2020-11-23T02:00:00Z");
    assert_eq!(bad["last_failure"]["finished_at"], "2020-11-24T02:00:00Z");
    assert_eq!(bad["last_failure"]["error"]["exit_code"], 66);
    assert_eq!((&late["failed"], &late["stale"]), (&false.into(), &true.into()));
    assert_eq!(late["stale_from"], "2020-11-25T02:00:00Z");
}

#[test]
fn next_success_makes_a_job_healthy_again() {
    // These runs have the time of the system.
    let nightly = nights();
    nightly.world.server.replace(vec![
        Dataset::generated(10, 7).with_id(ID),
        Dataset::generated(10, 7).with_id(version_id(1)),
    ]);
    nightly.snapshot(&[]).ok();
    nightly.run(&["snapshots", "--check"]).ok();
    // The exit code does not depend on a reader of the text.
    nightly.world.server.replace(Vec::new());
    nightly.snapshot(&["good"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = nightly.world.command();
    command.args(["snapshots", "--check", "--config", "snapshots.toml"]);
    assert_eq!(Ran::of(command.stdout(writer)).code, Some(1));
}

/// The job `failures`, which keeps this number of rows.
fn failures(rows: u64) -> String {
    format!("[[job]]\nname = \"failures\"\ndataset = \"{ID}\"\nwhere = \".order < {rows}\"\n")
}

#[test]
fn check_finds_jobs_that_lost_all_rows() {
    let nightly = Nightly::new(vec![Dataset::generated(100, 7).with_id(ID)], &failures(7));
    let night = |rows: u64, time: &str| {
        let config = format!("[defaults]\nroot = \"snaps\"\n{}", failures(rows));
        std::fs::write(nightly.world.path("snapshots.toml"), config).unwrap();
        nightly.at(time);
        nightly.run(&["snapshots", "--check"]).told(&nightly.world)
    };
    let told = [
        night(7, "2026-11-23T02:00:00Z"),
        night(0, "2026-11-24T02:00:00Z"),
        night(0, "2026-11-30T02:00:00Z"),
        night(0, "2026-12-01T02:00:00Z"),
        night(1, "2026-12-02T02:00:00Z"),
    ];
    let look = ": look at its `where`, and at the fields that it reads";
    let none = "the newest snapshot of support-chat-100 has none of the 100 rows that were read";
    insta::assert_snapshot!(told.concat().replace(look, " …").replace(none, "none"), @"
    exit 0
    failures: ok, last success 2026-11-23 02:00 UTC
    exit 1
    failures: empty: none, and that of 2026-11-23 02:00 UTC had 7 rows …
    exit 1
    failures: empty: none, and that of 2026-11-23 02:00 UTC had 7 rows …
    exit 0
    failures: ok, last success 2026-12-01 02:00 UTC
    failures: none …
    exit 0
    failures: ok, last success 2026-12-02 02:00 UTC
    ");
    night(0, "2026-12-03T02:00:00Z");
    let json = nightly.run(&["snapshots", "--check", "--json"]);
    assert_eq!(json.code, Some(1), "{json:?}");
    let health: Value = serde_json::from_str(&json.stdout).unwrap();
    let empty = &health["empty"][0];
    assert_eq!((&empty["dataset"], &empty["rows_read"]), (&ID.to_string().into(), &100.into()));
    let before = serde_json::json!({ "finished_at": "2026-12-02T02:00:00Z", "rows": 1 });
    assert_eq!(empty["before"], before);
}
