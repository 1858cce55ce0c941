//! Nightly snapshots with a root in a store. The layout and the rules are those of folders, without links.

use std::time::{Duration, Instant};

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults};
use serde_json::Value;

use super::server::{Fate, SECRET, Store};
use crate::{
    snapshots::Nightly,
    support::{ID, Ran},
};

const SOON: Duration = Duration::from_secs(30);

/// A store, and a job with its root in the store.
pub(super) fn nightly(lines: &str) -> (Store, Nightly) {
    let store = Store::start();
    let url = store.url();
    let jobs = format!(
        "storage = {{ endpoint = \"{url}\", region = \"us-east-1\", access_key_id = \"AKIATEST\", \
         secret_access_key = \"{SECRET}\" }}\n\
         [[job]]\nname = \"nightly\"\nroot = \"s3://bucket/nights\"\ndataset = \"{ID}\"\n\
         page_size = 25\nrows_per_file = 100\n{lines}\n"
    );
    let nightly = Nightly::new(vec![Dataset::generated(1000, 7).with_id(ID)], &jobs);
    (store, nightly)
}

/// The first component of each key below the folder of the job, without repetitions.
fn names(store: &Store) -> Vec<String> {
    let keys = store.keys();
    let below = keys.iter().filter_map(|key| key.strip_prefix("nights/nightly/"));
    let mut names: Vec<String> =
        below.map(|key| key.split('/').next().unwrap_or_default().to_owned()).collect();
    names.dedup();
    names
}

/// The control folder of a snapshot.
fn control(snapshot: &str) -> String {
    format!("nights/.overmind/nightly/_{snapshot}.partial")
}

/// The names of the snapshots with a control folder, sorted.
fn staged(store: &Store) -> Vec<String> {
    let keys = store.keys();
    let below = keys.iter().filter_map(|key| key.strip_prefix("nights/.overmind/nightly/_"));
    let mut names: Vec<String> =
        below.filter_map(|key| Some(key.split_once(".partial/")?.0.to_owned())).collect();
    names.dedup();
    names
}

pub(super) fn json(store: &Store, name: &str) -> Vec<Value> {
    let bytes = &store.objects()[&format!("nights/.overmind/nightly/{name}")];
    serde_json::Deserializer::from_slice(bytes).into_iter().map(Result::unwrap).collect()
}

#[test]
fn snapshots_in_a_store_follow_the_folder_rules() {
    let (store, nightly) = nightly("keep = { last = 1 }");
    for time in ["2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z"] {
        let results = nightly.at(time);
        assert_eq!(results[0].exit_code, 0, "{results:?}");
    }
    let with = |stamp: &str| [format!("snapshot={stamp}")];
    assert_eq!(names(&store), with("20261123T020000Z"));
    let latest = &json(&store, "latest.json")[0];
    assert_eq!(latest["path"], "nightly/snapshot=20261123T020000Z");
    assert_eq!(latest["snapshot"], "20261123T020000Z");
    assert_eq!(latest["as_of"], "2026-11-24T02:00:00Z");

    nightly.world.server.replace(vec![Dataset::generated(1025, 7).with_id(ID)]);
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(results[0].pruned, ["snapshot=20261123T020000Z"]);
    assert_eq!(names(&store), with("20261125T020000Z"));
    let history = json(&store, "history.jsonl");
    let statuses: Vec<&Value> = history.iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["stored", "unchanged", "stored"]);
    let path = "s3://bucket/nights/nightly/snapshot=20261125T020000Z";
    Ran::of(store.command(&nightly.world).args(["verify", path])).ok();
    let ran = nightly.run(&["snapshots"]).ok();
    insta::assert_snapshot!(ran.told(&nightly.world), @"
    exit 0
     JOB      SNAPSHOT          DATASET    ROWS       BYTES  COMPLETE  UNCHANGED AS OF
     nightly  20261125T020000Z  182bd5e5  1,025  345.86 KiB  yes       -
    ");
}

#[test]
fn killed_snapshot_is_resumed_under_its_own_stamp() {
    let (store, nightly) = nightly("unchanged = \"never\"");
    let faults =
        Faults::none().on(30, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    nightly.world.server.set_faults(faults);
    let mut run = nightly.start(&["--concurrency", "1"]);
    assert!(nightly.world.server.wait_until(SOON, |stats| stats.attempts(ID, 30) == 1));
    let finished = || {
        let keys = store.keys();
        keys.iter().filter(|key| key.contains(".partial/part-") && key.ends_with(".state")).count()
    };
    let begun = Instant::now();
    while finished() < 2 {
        assert!(begun.elapsed() < SOON, "no part was finished in time");
        std::thread::yield_now();
    }
    // Another process finds the job locked, and leaves a line in its history.
    assert_eq!(nightly.snapshot(&[]).code, Some(75));
    let codes = || {
        let history = json(&store, "history.jsonl").into_iter();
        history.map(|run| run["exit_code"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(codes(), [75]);
    run.kill().unwrap();
    run.wait().unwrap();
    nightly.world.server.set_faults(Faults::none());
    // The folder of the job has no object of the killed run.
    assert_eq!(names(&store), [""; 0]);
    let staged_before = staged(&store);
    let [folder] = &staged_before[..] else { panic!("{staged_before:?}") };
    let ran = nightly.run(&["snapshots", "--json"]).ok();
    assert!(ran.stdout.contains("\"complete\":false"), "{}", ran.stdout);

    let ran = nightly.snapshot(&[]).ok();
    assert!(ran.stderr.contains("nightly: resuming: "), "{}", ran.stderr);
    assert_eq!(codes(), [75, 0]);
    assert_eq!(names(&store), [folder.as_str()]);
    assert_eq!(staged(&store), [""; 0]);
    // A kill between the beginning of an upload and its journal leaves an upload that no run knows.
    assert!(store.open_uploads() <= 1, "{} uploads are open", store.open_uploads());
    let path = format!("s3://bucket/nights/nightly/{folder}");
    Ran::of(store.command(&nightly.world).args(["verify", &path])).ok();
}

#[test]
fn killed_trial_of_the_record_leaves_no_object() {
    let (store, nightly) = nightly("");
    let trials = || store.keys().iter().filter(|key| key.contains(".manifest.json.")).count();
    // The run is killed between the trial write and its removal.
    store.rule(".manifest.json.", Fate::HeldAt(2));
    let mut run = nightly.start(&[]);
    store.wait_until_held();
    run.kill().unwrap();
    run.wait().unwrap();
    store.no_rules();
    assert_eq!(trials(), 1);
    nightly.snapshot(&[]).ok();
    assert_eq!((trials(), names(&store).len()), (0, 1), "{:?}", store.keys());
}

#[test]
fn interrupted_snapshot_of_old_rows_is_dropped() {
    let (store, nightly) = nightly("unchanged = \"never\"");
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(500));
    nightly.world.server.set_faults(faults);
    let results = nightly.at("2026-11-23T02:00:00Z");
    assert_eq!(results[0].exit_code, 69);
    assert_eq!(names(&store), [""; 0]);
    assert_eq!(staged(&store), ["snapshot=20261123T020000Z"]);
    // The dataset has other rows now.
    nightly.world.server.set_faults(Faults::none());
    nightly.world.server.replace(vec![Dataset::generated(1025, 7).with_id(ID)]);
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(results[0].exit_code, 0, "{results:?}");
    assert_eq!(names(&store), ["snapshot=20261124T020000Z"]);
    assert_eq!(staged(&store), [""; 0]);
}

#[test]
fn half_published_snapshot_is_finished_by_next_run() {
    let (store, nightly) = nightly("unchanged = \"never\"");
    let record = "PUT /bucket/nights/.overmind/nightly/snapshot=20261123T020000Z.manifest.json";
    store.rule(&record.replace('=', "%3D"), Fate::Refused(403, "AccessDenied"));
    store.rule(record, Fate::Refused(403, "AccessDenied"));
    let results = nightly.at("2026-11-23T02:00:00Z");
    assert_eq!(results[0].exit_code, 74, "{results:?}");
    store.no_rules();
    nightly.world.server.replace(vec![Dataset::generated(1025, 7).with_id(ID)]);
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(results[0].exit_code, 0, "{results:?}");
    let both = ["snapshot=20261123T020000Z", "snapshot=20261124T020000Z"];
    assert_eq!(names(&store), both);
    for name in both {
        let path = format!("s3://bucket/nights/nightly/{name}");
        Ran::of(store.command(&nightly.world).args(["verify", &path])).ok();
    }
}

#[test]
fn interrupted_removal_is_finished_by_next_run() {
    let (store, nightly) = nightly("unchanged = \"never\"\nkeep = { last = 1 }");
    nightly.at("2026-11-23T02:00:00Z");
    // The state after a killed removal: the record is renamed first, and goes last.
    let name = "snapshot=20261123T020000Z";
    let hidden = |name: &str| store.path(&format!("nights/.overmind/nightly/{name}"));
    let record = hidden(&format!("{name}.manifest.json"));
    std::fs::rename(record, hidden(&format!("{name}.removed.json"))).unwrap();
    let part = store.keys().into_iter().find(|key| key.contains("/part-00003")).unwrap();
    std::fs::remove_file(store.path(&part)).unwrap();
    let ran = nightly.run(&["snapshots", "--json"]).ok();
    assert!(ran.stdout.contains("\"complete\":false"), "{}", ran.stdout);
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(results[0].exit_code, 0, "{results:?}");
    assert_eq!(names(&store), ["snapshot=20261124T020000Z"]);
    assert!(!hidden(&format!("{name}.removed.json")).exists());
}

#[test]
fn refused_access_fails_job_and_leaks_no_secret() {
    let (store, nightly) = nightly("");
    store.rule("/bucket", Fate::Refused(403, "AccessDenied"));
    let ran = nightly.snapshot(&["-q", "--json"]);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET));
    insta::assert_snapshot!(ran.stderr, @"
    error: nightly: s3://bucket/nights/.overmind/nightly: cannot be used
      cause: AccessDenied: as scripted
      hint: check the credentials in the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*) or in the storage options, and what they allow
    error: 1 of 1 job failed
    ");
}

#[test]
fn prune_and_renamed_job_in_a_store() {
    let (store, nightly) = nightly("unchanged = \"never\"\nkeep = { last = 9 }");
    nightly.at("2026-11-23T02:00:00Z");
    nightly.at("2026-11-24T02:00:00Z");
    let path = nightly.world.path("snapshots.toml");
    let edit = |from, to| {
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(from, to)).unwrap();
    };
    edit("last = 9", "last = 1");
    let requests = nightly.world.server.stats().requests;
    let pruned = nightly.run(&["prune"]).ok().told(&nightly.world);
    assert_eq!(names(&store), ["snapshot=20261124T020000Z"]);
    edit("\"nightly\"", "\"renamed\"");
    let listed = nightly.run(&["snapshots"]).ok().told(&nightly.world);
    let unrun = nightly.run(&["prune"]).ok().told(&nightly.world);
    assert_eq!(nightly.world.server.stats().requests, requests);
    insta::assert_snapshot!(pruned + &listed + &unrun, @r#"
    exit 0
    nightly: removed 1 snapshot (332.62 KiB): snapshot=20261123T020000Z
    exit 0
    no snapshots
    s3://bucket/nights/nightly: 1 snapshot of a job "nightly" that the configuration does not name
    exit 0
    renamed: removed nothing
    "#);
}

#[test]
fn check_removes_its_objects() {
    let (store, nightly) = nightly("");
    let check = || nightly.run(&["check", "--connect"]);
    insta::assert_snapshot!(check().told(&nightly.world), @r#"
    exit 0
    nightly: dataset 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e ("support-chat-1000"), 1,000 rows
      s3://bucket/nights/nightly
    FOLDER/snapshots.toml is valid: 1 job
    "#);
    assert_eq!(store.keys(), [""; 0]);
    store.rule("PUT /bucket", Fate::Refused(403, "AccessDenied"));
    insta::assert_snapshot!(check().told(&nightly.world), @"
    exit 74
    error: nightly: cannot write s3://bucket/nights/nightly/.check
      cause: AccessDenied: as scripted
      hint: check the credentials in the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*) or in the storage options, and what they allow
    error: 1 of 1 job failed
    ");
    assert_eq!(store.keys(), [""; 0]);
}

#[test]
fn control_objects_of_killed_runs_are_removed() {
    let (store, nightly) = nightly("unchanged = \"never\"");
    let times = ["2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"];
    let names_of = |days: &[u32]| -> Vec<String> {
        days.iter().map(|day| format!("snapshot=202611{day}T020000Z")).collect()
    };
    assert_eq!(nightly.at(times[0])[0].exit_code, 0);
    // A run of the first snapshot was killed after its commit, before it released the lock. Another run was
    // killed before it wrote its plan.
    for (day, lock) in [(23, "lock-00001.state"), (24, "lock-00007.state")] {
        let control = control(&format!("snapshot=202611{day}T020000Z"));
        store.put(&format!("{control}/lease-0badcafe"), b"0");
        store.put(&format!("{control}/{lock}"), b"{}");
    }
    assert_eq!((names(&store), staged(&store)), (names_of(&[23]), names_of(&[23, 24])));
    assert_eq!(nightly.at(times[2])[0].exit_code, 0);
    assert_eq!((names(&store), staged(&store)), (names_of(&[23, 25]), Vec::new()));
    for name in names(&store) {
        let path = format!("s3://bucket/nights/nightly/{name}");
        Ran::of(store.command(&nightly.world).args(["verify", &path])).ok();
    }
    // Objects of other programs stay.
    let control = control("snapshot=20261125T020000Z");
    store.put(&format!("{control}/lease-0badcafe"), b"0");
    store.put(&format!("{control}/notes.txt"), b"mine");
    assert_eq!(nightly.at("2026-11-26T02:00:00Z")[0].exit_code, 0);
    let left = store.keys().into_iter().filter(|key| key.starts_with(&control));
    assert!(left.eq([format!("{control}/notes.txt")]), "{:?}", store.keys());
}

#[test]
fn snapshot_killed_before_its_plan_leaves_nothing() {
    let (store, nightly) = nightly("");
    store.rule(".partial/header.state", Fate::HeldAt(1));
    let mut run = nightly.start(&[]);
    store.wait_until_held();
    run.kill().unwrap();
    run.wait().unwrap();
    store.no_rules();
    assert_eq!((names(&store).len(), staged(&store).len()), (0, 1), "{:?}", store.keys());
    nightly.world.server.replace(vec![Dataset::generated(1025, 7).with_id(ID)]);
    nightly.snapshot(&[]).ok();
    assert_eq!((names(&store).len(), staged(&store).len()), (1, 0), "{:?}", store.keys());
    let ran = nightly.run(&["snapshots", "--json"]).ok();
    assert!(!ran.stdout.contains("\"complete\":false"), "{}", ran.stdout);
}
