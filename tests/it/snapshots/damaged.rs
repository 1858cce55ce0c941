//! Damaged manifests of the newest snapshot, and damaged lines of a history.

use std::fs;

use serde_json::Value;

use super::Nightly;

const NEWEST: &str = "20261124T020000Z";

/// A job without a schedule and with two snapshots.
fn two_nights() -> Nightly {
    let nightly = Nightly::one(10, "unchanged = \"never\"");
    nightly.at("2026-11-23T02:00:00Z");
    nightly.at("2026-11-24T02:00:00Z");
    nightly
}

fn page(nightly: &Nightly) -> String {
    nightly.run(&["report", "snaps", "-q", "-o", "-"]).stdout
}

#[test]
fn damaged_newest_manifest_is_named() {
    let nightly = two_nights();
    nightly.run(&["snapshots", "--check"]).ok();
    fs::write(nightly.record("nightly", NEWEST), "{").unwrap();
    let mut told = nightly.run(&["snapshots", "--check"]).told(&nightly.world);
    let latest = nightly.run(&["latest", "nightly"]);
    assert!(latest.stdout.ends_with("snapshot=20261123T020000Z\n"), "{latest:?}");
    told += &latest.told(&nightly.world);
    fs::remove_file(nightly.record("nightly", "20261123T020000Z")).unwrap();
    told += &nightly.run(&["latest", "nightly"]).told(&nightly.world);
    insta::assert_snapshot!(told, @r#"
    exit 1
    nightly: a snapshot newer than the complete ones is damaged: FOLDER/snaps/nightly/snapshot=20261124T020000Z has a damaged manifest: it is not a manifest: EOF while parsing an object at line 1 column 1: restore its manifest, or move it away
    exit 0
    FOLDER/snaps/nightly/snapshot=20261123T020000Z
    nightly: a snapshot newer than the complete ones is damaged: FOLDER/snaps/nightly/snapshot=20261124T020000Z has a damaged manifest: it is not a manifest: EOF while parsing an object at line 1 column 1: restore its manifest, or move it away
    exit 66
    nightly: a snapshot newer than the complete ones is damaged: FOLDER/snaps/nightly/snapshot=20261124T020000Z has a damaged manifest: it is not a manifest: EOF while parsing an object at line 1 column 1: restore its manifest, or move it away
    nightly: a snapshot newer than the complete ones is damaged: FOLDER/snaps/nightly/snapshot=20261123T020000Z has no manifest: restore its manifest, or move it away
    error: job "nightly" has no snapshot yet
      hint: `overmind-export snapshot` takes one
    "#);
    let page = page(&nightly);
    assert!(page.contains("<strong>Damaged</strong>: nightly."), "{page}");
    assert!(
        page.contains("<code>nightly/snapshot=20261124T020000Z</code> has a damaged manifest: ")
    );
    assert!(!page.contains("All well"));
}

#[test]
fn missing_newest_manifest_fails_the_check() {
    let nightly = two_nights();
    fs::remove_file(nightly.record("nightly", NEWEST)).unwrap();
    let ran = nightly.run(&["snapshots", "--check", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let health: Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    assert_eq!(health["damaged"][0]["snapshot"], NEWEST);
    assert_eq!(health["damaged"][0]["why"], "has no manifest");
    assert!(
        page(&nightly).contains("<code>nightly/snapshot=20261124T020000Z</code> has no manifest.")
    );
    // A newer complete snapshot is the newest one.
    nightly.at("2026-11-25T02:00:00Z");
    nightly.run(&["snapshots", "--check"]).ok();
}

#[test]
fn changing_snapshot_does_not_fail_the_check() {
    let nightly = two_nights();
    let record = nightly.record("nightly", NEWEST);
    let bytes = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    // The state between the two renames of a publication: the staging is still there.
    let staging = nightly.hidden("nightly").join(format!(".snapshot={NEWEST}.partial"));
    fs::create_dir(&staging).unwrap();
    nightly.run(&["snapshots", "--check"]).ok();
    fs::remove_dir(&staging).unwrap();
    // The state of a deletion that has begun.
    let mark = nightly.hidden("nightly").join(format!("snapshot={NEWEST}.removed.json"));
    fs::write(mark, bytes).unwrap();
    let ran = nightly.run(&["snapshots", "--check"]).ok();
    assert!(!ran.stdout.contains("damaged"), "{ran:?}");
    assert!(!page(&nightly).contains("damaged"));
}

#[test]
fn unreadable_history_lines_are_counted() {
    let nightly = two_nights();
    nightly.set_durations("nightly");
    let path = nightly.hidden("nightly").join("history.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    // A run may be writing the last line.
    fs::write(&path, format!("{whole}{{\"job\":")).unwrap();
    assert_eq!(nightly.run(&["history", "--json"]).ok().stderr, "");
    let (first, second) = whole.split_once('\n').unwrap();
    fs::write(&path, format!("{}\n\n{second}", &first[1..])).unwrap();
    let table = nightly.run(&["history"]);
    let json = nightly.run(&["history", "--json"]).ok();
    assert_eq!(json.stdout.lines().count(), 1, "{json:?}");
    assert_eq!(json.stderr, "nightly: 1 line of history.jsonl cannot be read\n");
    let check = nightly.run(&["snapshots", "--check"]);
    insta::assert_snapshot!(table.told(&nightly.world) + &check.told(&nightly.world), @r"
    exit 0
     JOB      STARTED           RESULT  ROWS     BYTES   TIME  DETAILS
     nightly  2026-11-24 02:00  stored    10  8.03 KiB  1.5 s  snapshot 20261124T020000Z
    nightly: 1 line of history.jsonl cannot be read
    exit 0
    nightly: ok, last success 2026-11-24 02:00 UTC
    nightly: 1 line of history.jsonl cannot be read
    ");
    let page = page(&nightly);
    let told = "<strong>1 line of history.jsonl cannot be read</strong>.";
    assert!(page.contains(told) && !page.contains("All well"), "{page}");
}

#[test]
fn damaged_night_does_not_stop_the_page() {
    let nightly = two_nights();
    nightly.at("2026-11-25T02:00:00Z");
    let folder = nightly.job("nightly").join(format!("snapshot={NEWEST}"));
    let part = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
    let part = part.into_iter().find(|it| it.to_string_lossy().contains("part-")).unwrap();
    let bytes = fs::read(&part).unwrap();
    let mut told = String::new();
    for damage in [Some(&bytes[..bytes.len() / 2]), None] {
        match damage {
            Some(bytes) => fs::write(&part, bytes).unwrap(),
            None => fs::remove_file(&part).unwrap(),
        }
        let ran = nightly.run(&["report", "snaps", "-o", "nights.html", "--overwrite", "-q"]);
        told += &ran.told(&nightly.world);
        assert_eq!(ran.code, Some(65), "{ran:?}");
        let page = String::from_utf8(nightly.world.read("nights.html")).unwrap();
        assert!(page.contains("<strong>Damaged</strong>: nightly."), "{page}");
        assert!(
            page.contains("The snapshot of <time datetime=\"2026-11-24T02:00:00Z\">"),
            "{page}"
        );
        // The nights before and after it are compared.
        assert!(page.contains("Rows added") && page.contains("The last change"), "{page}");
    }
    insta::assert_snapshot!(told, @r"
    exit 65
    error: nightly: snaps/nightly/snapshot=20261124T020000Z/part-00000.parquet: bytes 4,113, recorded 8,226
    error: snaps: 1 snapshot could not be read, and the page shows the others: restore the files, or move the snapshot away
    exit 65
    error: nightly: snaps/nightly/snapshot=20261124T020000Z: part-00000.parquet is missing
    error: snaps: 1 snapshot could not be read, and the page shows the others: restore the files, or move the snapshot away
    ");
}

#[test]
fn unreadable_job_does_not_stop_the_page() {
    let nightly = two_nights();
    let history = nightly.world.path("snaps/.overmind/broken/history.jsonl");
    fs::create_dir_all(&history).unwrap();
    fs::create_dir_all(nightly.job("broken")).unwrap();
    let ran = nightly.run(&["report", "snaps", "-o", "nights.html", "-q"]);
    insta::assert_snapshot!(ran.told(&nightly.world), @r"
    exit 74
    error: broken: cannot read snaps/.overmind/broken/history.jsonl
      cause: it is a directory, not a regular file
    error: 1 of 2 jobs failed
    ");
    let page = String::from_utf8(nightly.world.read("nights.html")).unwrap();
    assert!(page.contains("<strong>Failing</strong>: broken."), "{page}");
    assert!(page.contains("<strong>Its runs cannot be read: </strong>"), "{page}");
    assert!(page.contains("The last change"), "{page}");
    // Of no job is anything known: no page.
    let alone = nightly.run(&["report", "snaps/broken", "-o", "alone.html", "-q"]);
    insta::assert_snapshot!(alone.told(&nightly.world), @r"
    exit 74
    error: cannot read snaps/.overmind/broken/history.jsonl
      cause: it is a directory, not a regular file
    ");
    assert!(!nightly.world.path("alone.html").exists());
}
