//! The places of control objects, and two runs to one prefix that keep them at different places.

use super::{
    crash::{ARGUMENTS, OUTPUT, Place, is_whole},
    messages::told,
    server::Fate,
};
use crate::support::Ran;

const INSIDE: &str = "s3://bucket/rows/_record.json";

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ARGUMENTS[..], more].concat()
}

#[test]
fn state_is_next_to_a_prefix_or_inside() {
    // A run is killed, and the next one resumes it. The state of a job's snapshot is tested with its job.
    let table: [(&str, Option<&str>, &str); 5] = [
        ("rows/", None, "_rows.partial/"),
        ("a/b.c/", None, "a/_b.c.partial/"),
        ("rows/", Some("rows/_record.json"), "rows/_overmind/"),
        ("rows/", Some("records/rows.json"), "rows/_overmind/"),
        ("", None, "_overmind/"),
    ];
    for (prefix, record, control) in table {
        println!("{prefix} {record:?}");
        let place = Place::new();
        let output = format!("s3://bucket/{prefix}");
        let record = record.map(|record| format!("s3://bucket/{record}"));
        let mut arguments = [&["-o", &*output], &ARGUMENTS[2..]].concat();
        arguments.extend(record.iter().flat_map(|record| ["--record", &**record]));
        place.kill_at(&arguments, &format!("PUT /bucket/{prefix}part-00002-"), 1);
        let keys = place.store.keys();
        assert!(keys.iter().all(|key| key.starts_with(control)), "{keys:?}");
        assert!(keys.contains(&format!("{control}header.state")), "{keys:?}");
        let ran = place.export(&arguments).ok();
        assert!(ran.stderr.contains("resuming: 2 finished parts kept"), "{ran:?}");
        let keys = place.store.keys();
        assert!(keys.len() == 4 && place.store.open_uploads() == 0, "{keys:?}");
    }
}

#[test]
fn plain_run_refuses_a_state_inside() {
    let place = Place::new();
    let record = with(&["--record", INSIDE]);
    place.store.rule("PUT /bucket/rows/part-00002-", Fate::HeldAt(1));
    let mut run = place.start(&record);
    place.store.wait_until_held();
    let (requests, before) = (place.world.server.stats().requests, place.store.keys());
    let told = place.export(&ARGUMENTS).told(&place.world);
    for more in ["--overwrite", "--restart", "--dry-run"] {
        assert_eq!(place.export(&with(&[more])).told(&place.world), told, "{more}");
    }
    insta::assert_snapshot!(told, @r#"
    exit 73
    error: s3://bucket/rows/: holds "_overmind", the state of a run that was given --record
      hint: give the same --record to resume that run; if it is active, wait for it or end it
    "#);
    run.kill().unwrap();
    run.wait().unwrap();
    place.store.no_rules();
    assert_eq!(place.export(&ARGUMENTS).code, Some(73));
    assert_eq!(place.world.server.stats().requests, requests);
    assert_eq!(place.store.keys(), before);
    place.export(&record).ok();
    assert_eq!((place.store.keys().len(), place.store.open_uploads()), (4, 0));
}

#[test]
fn plain_run_finds_a_state_inside_before_its_commit() {
    // A run with another record began after this one, and may not look next to the prefix.
    let place = Place::new();
    place.store.rule("PUT /bucket/rows/part-00002-", Fate::HeldAt(1));
    let run = place.start(&ARGUMENTS);
    place.store.wait_until_held();
    place.store.put("rows/_overmind/lock-00001.state", b"{}");
    place.store.let_go();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("holds \"_overmind\", the state of a run that"), "{ran:?}");
    assert_eq!(place.names(), ["_rows.partial/", "_overmind/"]);
    std::fs::remove_dir_all(place.store.path("rows/_overmind")).unwrap();
    let before = place.world.server.stats().requests;
    place.export(&ARGUMENTS).ok();
    assert_eq!(place.world.server.stats().requests - before, 2);
    is_whole(&place);
}

#[test]
fn run_with_record_finds_a_run_next_to_the_prefix() {
    let place = Place::new();
    let record = with(&["--record", INSIDE]);
    place.store.rule("PUT /bucket/rows/part-00002-", Fate::HeldAt(1));
    let mut run = place.start(&ARGUMENTS);
    place.store.wait_until_held();
    let requests = place.world.server.stats().requests;
    for more in ["--quiet", "--overwrite", "--dry-run"] {
        let ran = place.export(&[&record[..], &[more]].concat());
        assert_eq!(ran.code, Some(75), "{ran:?}");
        let told = format!("error: another run is writing {OUTPUT}\n");
        assert!(ran.stderr.starts_with(&told), "{ran:?}");
    }
    assert_eq!(place.world.server.stats().requests, requests);
    run.kill().unwrap();
    run.wait().unwrap();
    place.store.no_rules();
    // A killed run that has not begun to publish does not block this one. The state of the killed run stays.
    place.export(&record).ok();
    let before = place.store.objects();
    assert_eq!(place.export(&ARGUMENTS).code, Some(73));
    assert_eq!(place.export(&with(&["--overwrite"])).code, Some(73));
    assert!(place.store.objects() == before);
}

#[test]
fn run_with_record_needs_only_its_prefix() {
    let place = Place::new();
    place.store.rule("_rows.partial", Fate::Refused(403, "AccessDenied"));
    place.store.rule("PUT /bucket/rows.manifest.json", Fate::Refused(403, "AccessDenied"));
    place.export(&with(&["--record", INSIDE])).ok();
    let keys = place.store.keys();
    assert!(keys.len() == 4 && keys.iter().all(|key| key.starts_with("rows/")), "{keys:?}");
}

#[test]
fn state_next_to_a_prefix_needs_permission() {
    let place = Place::new();
    place.store.rule("_rows.partial", Fate::Refused(403, "AccessDenied"));
    let line = format!("export ID -o {OUTPUT}");
    insta::assert_snapshot!(told(&place.world, &place.store, &line, &[]), @"
    exit 73
    error: s3://bucket/_rows.partial: cannot be used
      cause: AccessDenied: as scripted
      hint: a run keeps its state there until it ends: allow it to list, read, write and delete there, or give a place for the record below the prefix with --record: then the state is there, too
    ");
    assert_eq!(place.store.keys(), [""; 0]);
}

#[test]
fn object_leaves_the_state_of_a_prefix_alone() {
    // Both have the same control folder if their names are equal.
    let place = Place::new();
    let prefix = [&["-o", "s3://bucket/x.parquet/"], &ARGUMENTS[2..]].concat();
    place.kill_at(&prefix, "PUT /bucket/x.parquet/part-00002-", 1);
    let state = || {
        let mut keys = place.store.keys();
        keys.retain(|key| key.contains(".partial/") && !key.contains("/l"));
        keys
    };
    let (before, uploads) = (state(), place.store.open_uploads());
    assert!(before.len() > 2 && uploads > 1, "{before:?}");
    place.export(&["-o", "s3://bucket/x.parquet"]).ok();
    assert_eq!((state(), place.store.open_uploads()), (before, uploads));
    assert_eq!(place.store.keys().iter().filter(|key| key.contains("/l")).count(), 0);
}
