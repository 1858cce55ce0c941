//! Finished parts, their records, and objects that another program removes or replaces before publication.

use std::fs;

use super::{
    crash::{ARGUMENTS, OUTPUT, Place, is_complete, is_whole},
    server::Fate,
    uploads::large,
};
use crate::support::Ran;

#[test]
fn removed_pending_record_is_not_published() {
    let place = Place::new();
    place.store.rule("PUT /bucket/rows/part-00002-", Fate::HeldAt(1));
    let run = place.start(&ARGUMENTS);
    place.store.wait_until_held();
    let keys = place.store.keys();
    let record = keys.iter().find(|key| key.starts_with("_rows.partial/part-00000-")).unwrap();
    fs::remove_file(place.store.path(record)).unwrap();
    place.store.no_rules();
    place.store.let_go();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.starts_with(&format!("error: {OUTPUT}part-00000-")), "{ran:?}");
    assert!(ran.stderr.contains("another program removed its control object"), "{ran:?}");
    assert!(place.store.keys().iter().all(|key| key.starts_with("_rows.partial/")));
    place.export(&ARGUMENTS).ok();
    // The id of the upload is lost with its record.
    is_complete(&place);
}

#[test]
fn completed_parts_are_checked_before_the_record() {
    // Another program replaces a part between its completion and the record.
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows.manifest.json", 1);
    let keys = place.store.keys();
    let part = keys.iter().find(|key| key.starts_with("rows/part-00001-")).unwrap();
    place.store.put(part, b"short");
    place.store.rule(&format!("POST /bucket/{part}"), Fate::Refused(404, "NoSuchUpload"));
    let ran = place.export(&ARGUMENTS).ok();
    assert!(ran.stderr.contains("no longer has all of its uploads: it is undone"), "{ran:?}");
    is_whole(&place);
}

#[test]
fn object_replaced_after_completion_is_reported() {
    let place = large();
    let arguments = ["-o", "s3://bucket/rows/x.jsonl", "--page-size", "10", "--manifest"];
    // Four HEAD requests come before the first page, for the object and its manifest. Two come before the
    // completion. The seventh is the first one after it.
    place.store.rule("HEAD /bucket/rows/x.jsonl", Fate::HeldAt(7));
    let run = place.start(&arguments);
    place.store.wait_until_held();
    let key = "rows/x.jsonl";
    let mut bytes = fs::read(place.store.path(key)).unwrap();
    bytes[5000] ^= 1;
    place.store.put(key, &bytes);
    place.store.let_go();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("was replaced or removed during the export"), "{ran:?}");
    assert_eq!(place.store.keys(), [key]);
}
