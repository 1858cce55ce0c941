//! Retention: which snapshots it removes, and which files it never touches.

use std::{fs, path::PathBuf};

use overmind_export::demo::{Fault, FaultAttempt, FaultPage, Faults};
use serde_json::Value;

use super::Nightly;
use crate::support::World;

const NEVER: &str = "unchanged = \"never\"\ntimezone = \"America/New_York\"\n";

/// Five snapshots: four nights at 02:00 in New York and one noon. The clocks go back in the third night.
/// Afterwards `keep` is added to the job.
pub(super) fn five(keep: &str) -> Nightly {
    let nightly = Nightly::one(10, NEVER);
    for time in [
        "2026-10-30T06:00:00Z",
        "2026-10-31T06:00:00Z",
        "2026-11-01T07:00:00Z",
        "2026-11-01T17:00:00Z",
        "2026-11-02T07:00:00Z",
    ] {
        assert_eq!(nightly.at(time)[0].exit_code, 0);
    }
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}{keep}\n")).unwrap();
    nightly
}

#[test]
fn dry_run_explains_each_verdict_and_removes_none() {
    let nightly = five("keep = { last = 1, daily = 2, monthly = 2 }");
    let before = nightly.names("nightly");
    let job = nightly.job("nightly");
    fs::write(job.join("snapshot=20261030T060000Z/notes.txt"), "mine").unwrap();
    fs::create_dir(job.join("snapshot=20260101T000000Z")).unwrap();
    let requests = nightly.world.server.stats().requests;
    let ran = nightly.run(&["prune", "--dry-run"]).ok();
    insta::assert_snapshot!(ran.told(&nightly.world), @r#"
    exit 0
     JOB      SNAPSHOT                   ACTION   WHY
     nightly  snapshot=20260101T000000Z  is left  is not complete
     nightly  snapshot=20261030T060000Z  is left  holds "notes.txt", which its manifest does not list
     nightly  snapshot=20261031T060000Z  stays    monthly 2
     nightly  snapshot=20261101T070000Z  goes     no count keeps it
     nightly  snapshot=20261101T170000Z  stays    daily 2
     nightly  snapshot=20261102T070000Z  stays    last 1; daily 1; monthly 1
    "#);
    assert_eq!(nightly.world.server.stats().requests, requests);
    fs::remove_dir(job.join("snapshot=20260101T000000Z")).unwrap();
    assert_eq!(nightly.names("nightly"), before);
    let ran = nightly.run(&["prune", "--dry-run", "--json"]).ok();
    let first: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["path"], "snapshot=20261030T060000Z");
    assert_eq!(first["action"], "leave");
}

#[test]
fn successful_run_removes_expired_snapshots() {
    let nightly = five("keep = { last = 1, daily = 2 }");
    let results = nightly.at("2026-11-03T07:00:00Z");
    let gone = ["20261030T060000Z", "20261031T060000Z", "20261101T070000Z", "20261101T170000Z"];
    assert_eq!(results[0].pruned, gone.map(|stamp| format!("snapshot={stamp}")));
    assert_eq!(nightly.stamps("nightly"), ["20261102T070000Z", "20261103T070000Z"]);
    let record = |stamp| format!("snapshot={stamp}.manifest.json");
    let [second, third] = ["20261102T070000Z", "20261103T070000Z"].map(record);
    assert_eq!(nightly.hidden_names("nightly"), ["history.jsonl", "latest.json", &second, &third]);
}

#[test]
fn unchanged_run_removes_expired_snapshots() {
    let nightly = five("keep = { last = 2 }");
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap().replace("\"never\"", "\"content\"");
    fs::write(path, text).unwrap();
    assert_eq!(nightly.at("2026-11-03T07:00:00Z")[0].pruned.len(), 3);
    assert_eq!(nightly.stamps("nightly"), ["20261101T170000Z", "20261102T070000Z"]);
}

#[test]
fn failed_run_removes_nothing() {
    let nightly = five("keep = { last = 1 }");
    nightly.world.server.set_faults(Faults::none().on(
        FaultPage::Any,
        FaultAttempt::Always,
        Fault::status(500),
    ));
    let results = nightly.at("2026-11-03T07:00:00Z");
    assert_eq!((results[0].exit_code, results[0].pruned.len()), (69, 0));
    assert_eq!(nightly.stamps("nightly").len(), 5);
}

#[test]
fn only_snapshots_of_the_job_are_removed() {
    let nightly = five("keep = { last = 1 }");
    let job = nightly.job("nightly");
    let of = |stamp: &str| job.join(format!("snapshot={stamp}"));
    // A foreign file in a snapshot.
    fs::write(of("20261030T060000Z").join("notes.txt"), "mine").unwrap();
    // An export that belongs to no job, and a snapshot of another job.
    let world: &World = &nightly.world;
    let other = of("20260101T000000Z").display().to_string();
    let path = nightly.record("nightly", "20260101T000000Z").display().to_string();
    world.export(&["-o", &other, "--record", &path]).ok();
    let path = nightly.record("nightly", "20261031T060000Z");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"nightly\"", "\"other\"")).unwrap();
    // A snapshot under another stamp, one without its record, an invalid record, a file and an invalid stamp.
    let record = |stamp| nightly.record("nightly", stamp);
    fs::rename(of("20261101T070000Z"), of("20260201T000000Z")).unwrap();
    fs::rename(record("20261101T070000Z"), record("20260201T000000Z")).unwrap();
    fs::remove_file(record("20261101T170000Z")).unwrap();
    fs::create_dir(of("20260301T000000Z")).unwrap();
    fs::write(record("20260301T000000Z"), "{}").unwrap();
    fs::write(of("20260401T000000Z"), "a file").unwrap();
    fs::create_dir(job.join("snapshot=mine")).unwrap();
    let before = nightly.names("nightly");

    let results = nightly.at("2026-11-03T07:00:00Z");
    // Only the snapshot of the previous night is removed.
    assert_eq!(results[0].pruned, ["snapshot=20261102T070000Z"]);
    let mut after: Vec<String> = nightly.names("nightly");
    after.retain(|name| name != "snapshot=20261103T070000Z");
    let expected: Vec<String> =
        before.into_iter().filter(|name| name != "snapshot=20261102T070000Z").collect();
    assert_eq!(after, expected);
    assert_eq!(fs::read(of("20261030T060000Z").join("notes.txt")).unwrap(), b"mine");
    let ran = nightly.run(&["snapshots"]).ok();
    insta::assert_snapshot!(ran.told(&nightly.world), @r#"
    exit 0
     JOB      SNAPSHOT          DATASET   ROWS     BYTES  COMPLETE                       UNCHANGED AS OF
     nightly  20260101T000000Z  -            -         -  no: it is an export, but not   -
                                                          a snapshot of a job
     nightly  20260201T000000Z  -            -         -  no: it is the snapshot         -
                                                          20261101T070000Z under
                                                          another name
     nightly  20260301T000000Z  -            -         -  no: it has a damaged           -
                                                          manifest: it is not a
                                                          manifest: missing field …
     nightly  20260401T000000Z  -            -         -  no: it is not a folder         -
     nightly  20261030T060000Z  182bd5e5    10  8.03 KiB  yes                            -
     nightly  20261031T060000Z  -            -         -  no: it is a snapshot of job    -
                                                          "other"
     nightly  20261101T170000Z  -            -         -  no: interrupted                -
     nightly  20261103T070000Z  182bd5e5    10  8.03 KiB  yes                            -
    "#);
}

/// Creates the state after a run was killed while it removed the first snapshot. Returns the moved folder.
fn begin_removal(nightly: &Nightly) -> PathBuf {
    let name = "snapshot=20261030T060000Z";
    let hidden = nightly.hidden("nightly");
    let record = nightly.record("nightly", "20261030T060000Z");
    fs::rename(record, hidden.join(format!("{name}.removed.json"))).unwrap();
    let aside = hidden.join(format!(".{name}.removed"));
    fs::rename(nightly.job("nightly").join(name), &aside).unwrap();
    aside
}

#[test]
fn next_run_finishes_a_killed_removal() {
    // The list of snapshots does not show a snapshot whose removal has begun.
    let nightly = five("");
    let aside = begin_removal(&nightly);
    let ran = nightly.run(&["snapshots", "--json"]).ok();
    assert_eq!(ran.stdout.lines().count(), 4);
    nightly.at("2026-11-03T07:00:00Z");
    assert!(!aside.exists());
    assert_eq!(nightly.stamps("nightly").len(), 5);
}

#[test]
fn desktop_files_are_removed_with_their_snapshot() {
    let nightly = five("keep = { last = 1 }");
    let job = nightly.job("nightly");
    for name in [".DS_Store", "Thumbs.db", "desktop.ini"] {
        fs::write(job.join("snapshot=20261030T060000Z").join(name), "x").unwrap();
        fs::write(job.join(name), "x").unwrap();
    }
    assert_eq!(nightly.at("2026-11-03T07:00:00Z")[0].pruned.len(), 5);
    assert_eq!(nightly.stamps("nightly"), ["20261103T070000Z"]);
    assert!(job.join(".DS_Store").exists());
}

#[cfg(unix)]
#[test]
fn foreign_entries_with_expected_names_stay() {
    let nightly = five("keep = { last = 1 }");
    let job = nightly.job("nightly");
    let part = |stamp: &str| job.join(format!("snapshot={stamp}/part-00000.parquet"));
    let elsewhere = nightly.world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("mine"), "mine").unwrap();
    // In place of a part: a directory, a link, other bytes. Also a listed name that is not the name of a
    // part, and a link in place of a snapshot.
    fs::remove_file(part("20261030T060000Z")).unwrap();
    fs::create_dir(part("20261030T060000Z")).unwrap();
    fs::write(part("20261030T060000Z").join("mine"), "mine").unwrap();
    fs::remove_file(part("20261031T060000Z")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("mine"), part("20261031T060000Z")).unwrap();
    fs::write(part("20261101T070000Z"), "mine").unwrap();
    let record = nightly.record("nightly", "20261101T170000Z");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("part-00000.parquet", "thesis")).unwrap();
    let thesis = part("20261101T170000Z").with_file_name("thesis");
    fs::rename(part("20261101T170000Z"), thesis).unwrap();
    let linked = job.join("snapshot=20261102T070000Z");
    fs::rename(&linked, nightly.world.path("moved")).unwrap();
    std::os::unix::fs::symlink(nightly.world.path("moved"), &linked).unwrap();
    assert_eq!(nightly.at("2026-11-03T07:00:00Z")[0].pruned, [""; 0]);
    assert!(nightly.world.path("moved/part-00000.parquet").exists());
    let ran = nightly.run(&["prune", "--dry-run", "--json"]).ok();
    let verdicts = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let whys: Vec<String> = verdicts.map(|it| it["why"].as_str().unwrap().to_owned()).collect();
    let part = r#"holds "part-00000.parquet", which"#;
    assert!(whys[2].starts_with(&format!("{part} has 4 bytes, but its manifest records ")));
    assert_eq!(
        [&whys[0], &whys[1], &whys[3], &whys[4], &whys[5]],
        [
            &*format!("{part} is a directory, not a file"),
            &*format!("{part} is a link, not a file"),
            r#"holds "thesis", which is not the name of a part"#,
            "is a link",
            "last 1",
        ]
    );
}

#[cfg(unix)]
#[test]
fn finishing_a_removal_keeps_foreign_entries() {
    let nightly = five("keep = { last = 1 }");
    let aside = begin_removal(&nightly);
    fs::create_dir_all(aside.join("part-00001.parquet/mine")).unwrap();
    fs::write(aside.join(".DS_Store"), "x").unwrap();
    assert_eq!(nightly.at("2026-11-03T07:00:00Z")[0].exit_code, 0);
    assert_eq!(crate::support::entries(&aside), ["part-00001.parquet"]);
    fs::remove_dir_all(aside.join("part-00001.parquet")).unwrap();
    assert_eq!(nightly.at("2026-11-04T07:00:00Z")[0].exit_code, 0);
    assert!(!aside.exists());
}

#[cfg(unix)]
#[test]
fn planted_control_files_are_refused() {
    let nightly = Nightly::one(10, NEVER);
    let job = nightly.hidden("nightly");
    fs::create_dir_all(&job).unwrap();
    let other = nightly.world.path("other");
    fs::write(&other, "mine").unwrap();
    let mut told = String::new();
    for name in [".lock", "history.jsonl", "latest.json"] {
        let path = job.join(name);
        std::os::unix::fs::symlink(&other, &path).unwrap();
        told += &nightly.snapshot(&[]).told(&nightly.world);
        fs::remove_file(&path).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(fifo.unwrap().success());
        told += &nightly.snapshot(&[]).told(&nightly.world);
        fs::remove_file(&path).unwrap();
    }
    let staging = job.join(".snapshot=20261030T060000Z.partial");
    std::os::unix::fs::symlink(nightly.world.path("."), &staging).unwrap();
    told += &nightly.snapshot(&[]).told(&nightly.world);
    assert_eq!(fs::read(other).unwrap(), b"mine");
    insta::assert_snapshot!(told, @"
    exit 73
    error: nightly: FOLDER/snaps/.overmind/nightly/.lock: is a link, not a regular file
      hint: move it away: runs of this job use that name
    error: 1 of 1 job failed
    exit 73
    error: nightly: FOLDER/snaps/.overmind/nightly/.lock: is a FIFO, not a regular file
      hint: move it away: runs of this job use that name
    error: 1 of 1 job failed
    exit 73
    error: nightly: FOLDER/snaps/.overmind/nightly/history.jsonl: is a link, not a regular file
      hint: move it away: runs of this job use that name
    error: 1 of 1 job failed
    exit 73
    error: nightly: FOLDER/snaps/.overmind/nightly/history.jsonl: is a FIFO, not a regular file
      hint: move it away: runs of this job use that name
    error: 1 of 1 job failed
    exit 73
    error: nightly: FOLDER/snaps/.overmind/nightly/latest.json: is a link, not a regular file
      hint: move it away: runs of this job use that name
    error: 1 of 1 job failed
    exit 73
    error: nightly: FOLDER/snaps/.overmind/nightly/latest.json: is a FIFO, not a regular file
      hint: move it away: runs of this job use that name
    error: 1 of 1 job failed
    exit 73
    error: nightly: FOLDER/snaps/.overmind/nightly/.snapshot=20261030T060000Z.partial: is a link, not a directory
      hint: move it away: runs of this job use that name
    error: 1 of 1 job failed
    ");
}

#[cfg(unix)]
#[test]
fn entries_of_another_user_are_refused() {
    let nightly = Nightly::one(10, NEVER);
    let job = nightly.job("nightly");
    assert_eq!(nightly.at("2026-10-30T06:00:00Z")[0].exit_code, 0);
    let mut told = String::new();
    let hidden = nightly.hidden("nightly");
    let stamp = "20261030T060000Z";
    for path in [
        job.join(format!("snapshot={stamp}")),
        job,
        hidden.join("history.jsonl"),
        hidden.join("latest.json"),
        nightly.record("nightly", stamp),
        hidden,
        nightly.world.path("snaps/.overmind"),
    ] {
        let uid = |uid| std::os::unix::fs::lchown(path.components().as_path(), Some(uid), None);
        if uid(65534).is_err() {
            return println!("skipped: only root can give files to another user");
        }
        let results = nightly.at("2026-10-31T06:00:00Z");
        assert_eq!(results[0].exit_code, 73, "{results:?}");
        told += &format!("{}\n", results[0].error.as_ref().unwrap());
        uid(0).unwrap();
    }
    let told = told.replace(&nightly.world.folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(told, @"
    FOLDER/snaps/nightly/snapshot=20261030T060000Z: belongs to another user (uid 65534)
      hint: move it away, or, if you trust its content, give it to this user with chown
    FOLDER/snaps/nightly: belongs to another user (uid 65534)
      hint: move it away, or, if you trust its content, give it to this user with chown
    FOLDER/snaps/.overmind/nightly/history.jsonl: belongs to another user (uid 65534)
      hint: move it away, or, if you trust its content, give it to this user with chown
    FOLDER/snaps/.overmind/nightly/latest.json: belongs to another user (uid 65534)
      hint: move it away, or, if you trust its content, give it to this user with chown
    FOLDER/snaps/.overmind/nightly/snapshot=20261030T060000Z.manifest.json: belongs to another user (uid 65534)
      hint: move it away, or, if you trust its content, give it to this user with chown
    FOLDER/snaps/.overmind/nightly: belongs to another user (uid 65534)
      hint: move it away, or, if you trust its content, give it to this user with chown
    FOLDER/snaps/.overmind: belongs to another user (uid 65534)
      hint: move it away, or, if you trust its content, give it to this user with chown
    ");
    assert_eq!(nightly.at("2026-10-31T06:00:00Z")[0].exit_code, 0);
}
