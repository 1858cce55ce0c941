//! Runs that take, hold and release the lock of an output while another run or a signal interferes.

use std::{fs, time::Duration};

use overmind_export::demo::{Fault, FaultAttempt, Faults};
use serde_json::Value;

use super::{
    crash::{ARGUMENTS, OUTPUT, Place, is_whole},
    server::Fate,
    uploads::large,
};
use crate::support::{ID, Ran};

fn is_pending(key: &str) -> bool {
    key.contains(".partial/part-") && key.ends_with(".state")
}

/// Takes the lock over, as another run does.
fn take_over(place: &Place) {
    let keys = place.store.keys();
    let lock = keys.iter().find(|key| key.ends_with("lock-00001.state")).unwrap();
    let text = fs::read_to_string(place.store.path(lock)).unwrap();
    let mut holder: Value = serde_json::from_str(&text).unwrap();
    holder["token"] = "f0f0f0f0".into();
    fs::write(place.store.path(&lock.replace("00001", "00002")), holder.to_string()).unwrap();
}

#[test]
fn run_that_finds_a_new_export_leaves_no_lock() {
    for output in [OUTPUT, "s3://bucket/rows/rows.parquet"] {
        let place = Place::new();
        place.store.rule("PUT /bucket/", Fate::HeldAt(3));
        let arguments = ["-o", output, "--page-size", "25"];
        // The run has written its lease twice and is about to write its lock. Then another run finishes.
        let late = place.start(&arguments);
        place.store.wait_until_held();
        place.store.no_rules();
        place.export(&arguments).ok();
        place.store.let_go();
        let ran = Ran::from(late.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(73), "{ran:?}");
        let left: Vec<_> = place.store.keys();
        let control = |key: &String| key.contains("_overmind") || key.contains(".partial");
        assert!(!left.iter().any(control), "{left:?}");
    }
}

#[test]
fn run_that_lost_its_lock_publishes_nothing() {
    for output in [OUTPUT, "s3://bucket/rows/rows.parquet"] {
        let place = Place::new();
        let late = Fault::Delay(Duration::from_secs(1));
        place.world.server.set_faults(Faults::none().on(12, FaultAttempt::Always, late));
        let arguments = ["-o", output, "--page-size", "25"];
        let run = place.start(&arguments);
        let soon = Duration::from_secs(30);
        assert!(place.world.server.wait_until(soon, |stats| stats.attempts(ID, 12) == 1));
        take_over(&place);
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(75), "{ran:?}");
        let told = format!("error: {output}: the lock was lost: another run has taken it over\n");
        assert!(ran.stderr.starts_with(&told), "{ran:?}");
        let keys = place.store.keys();
        let published =
            |key: &&String| key.ends_with(".manifest.json") || *key == "rows/rows.parquet";
        assert_eq!(keys.iter().find(published), None);
        assert!(keys.iter().any(|key| key.ends_with("lock-00002.state")), "{keys:?}");
    }
}

#[test]
fn run_that_lost_its_lock_leaves_the_old_object() {
    let place = Place::new();
    let arguments = ["-o", "s3://bucket/rows/rows.parquet", "--manifest", "--page-size", "25"];
    place.export(&arguments).ok();
    let before = place.store.objects();
    let late = Fault::Delay(Duration::from_secs(1));
    place.world.server.set_faults(Faults::none().on(12, FaultAttempt::Always, late));
    let asked = place.world.server.stats().attempts(ID, 12);
    let run = place.start(&[&arguments[..], &["--overwrite"]].concat());
    let soon = Duration::from_secs(30);
    assert!(place.world.server.wait_until(soon, |stats| stats.attempts(ID, 12) > asked));
    take_over(&place);
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(75), "{ran:?}");
    let mut after = place.store.objects();
    after.retain(|key, _| !key.contains(".partial"));
    assert!(after == before, "{:?}", after.keys());
}

#[test]
fn conditional_put_with_lost_answer_is_recognized() {
    // The store serves the put but answers 503. The retry fails its condition, because the object exists.
    for (output, request) in [
        (OUTPUT, "PUT /bucket/_rows.partial/lock-"),
        (OUTPUT, "PUT /bucket/rows.manifest.json"),
        ("s3://bucket/rows/rows.parquet", "PUT /bucket/rows/rows.parquet"),
    ] {
        let place = Place::new();
        place.store.rule(request, Fate::AnswerLost);
        place.export(&["-o", output, "--page-size", "25"]).ok();
        assert_eq!(place.store.seen(request), 2);
        assert!(!place.store.keys().iter().any(|key| key.contains("lock-")));
    }
}

#[test]
fn lock_of_another_machine_expires_with_its_lease() {
    // A run cannot tell whether a process on another machine is alive. It waits for the end of the lease.
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows/part-00002-", 1);
    let lock = place.store.path("_rows.partial/lock-00001.state");
    let mut holder: Value = serde_json::from_slice(&fs::read(&lock).unwrap()).unwrap();
    holder["host"] = "elsewhere".into();
    holder["lease_seconds"] = 0.5.into();
    fs::write(lock, holder.to_string()).unwrap();
    let ran = place.export(&ARGUMENTS).ok();
    let told =
        "is locked by a run on another machine: waiting for 0.5 s to see whether it is alive";
    assert!(ran.stderr.contains(told), "{ran:?}");
    assert!(ran.stderr.contains("resuming: 2 finished parts kept"), "{ran:?}");
    is_whole(&place);
}

#[cfg(unix)]
#[test]
fn hanging_store_does_not_delay_an_interrupt() {
    let prefix = ["-o", "s3://bucket/rows/", "--page-size", "10", "--format", "jsonl"];
    let object = ["-o", "s3://bucket/rows/x.jsonl", "--page-size", "10"];
    // The signal arrives during an upload, which is cancelled at once, or during a put, which is not.
    type Case<'a> = (fn() -> Place, &'a [&'a str], &'a str);
    let table: [Case<'_>; 4] = [
        (large, &object, "partNumber=2"),
        (large, &prefix, "partNumber=2"),
        (Place::new, &ARGUMENTS, "PUT /bucket/_rows.partial/part-00001-"),
        (Place::new, &ARGUMENTS, "PUT /bucket/rows.manifest.json"),
    ];
    for (place, arguments, request) in table {
        let place = place();
        place.store.rule(request, Fate::HeldAt(1));
        let run = place.start(arguments);
        place.store.wait_until_held();
        let kill = format!("kill -INT {}", run.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{ran:?}");
        // The finished parts wait for the next run. An unfinished one is aborted, or its journal stays: a store that
        // hangs does not abort.
        let recorded = |key: &&String| is_pending(key) || key.contains(".partial/upload-part-");
        let pending = place.store.keys().iter().filter(recorded).count();
        let published = place.store.seen("PUT /bucket/rows.manifest.json") > 0;
        assert!(published || place.store.open_uploads() == pending, "{request}");
        place.store.no_rules();
        let again = place.export(arguments);
        assert_eq!(again.code, Some(if published { 73 } else { 0 }), "{again:?}");
        assert_eq!(place.store.open_uploads(), 0);
    }
}

#[cfg(unix)]
#[test]
fn signal_while_locking_leaves_no_lock() {
    for (page, request) in
        [(1, "PUT /bucket/_rows.partial/lock-"), (2, "PUT /bucket/_rows.partial/run-")]
    {
        let place = Place::new();
        let late = Fault::Delay(Duration::from_secs(100));
        place.world.server.set_faults(Faults::none().on(page, FaultAttempt::Always, late));
        place.store.rule(request, Fate::HeldAt(1));
        let run = place.start(&ARGUMENTS);
        place.store.wait_until_held();
        let kill = format!("kill -INT {}", run.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        place.store.let_go();
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert_eq!(place.store.keys(), Vec::<String>::new(), "{request}");
    }
}
