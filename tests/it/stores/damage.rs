//! Finished parts and objects that another program removes, truncates or replaces before publication.

use std::fs;

use super::{
    crash::{ARGUMENTS, OUTPUT, Place, is_whole},
    server::Fate,
    uploads::large,
};
use crate::support::Ran;

/// Holds a run when it sends its third part, and calls `damage` with the key of the first part.
fn export_while(place: &Place, damage: impl FnOnce(&str)) -> Ran {
    place.store.rule("PUT /bucket/rows/part-00002-", Fate::HeldAt(1));
    let run = place.start(&ARGUMENTS);
    place.store.wait_until_held();
    let keys = place.store.keys();
    damage(keys.iter().find(|key| key.starts_with("rows/part-00000-")).unwrap());
    place.store.no_rules();
    place.store.let_go();
    Ran::from(run.wait_with_output().unwrap())
}

#[test]
fn parts_changed_during_the_run_are_not_published() {
    type Damage = fn(&Place, &str);
    let table: [(Damage, &str); 3] = [
        (|place, key| fs::remove_file(place.store.path(key)).unwrap(), "it was removed after"),
        (
            |place, key| {
                let bytes = fs::read(place.store.path(key)).unwrap();
                place.store.put(key, &bytes[..bytes.len() - 1]);
            },
            " bytes, not ",
        ),
        (
            |place, key| {
                let mut bytes = fs::read(place.store.path(key)).unwrap();
                bytes[5000] ^= 1;
                place.store.put(key, &bytes);
            },
            "it was replaced (other bytes of the same length) after",
        ),
    ];
    for (damage, why) in table {
        let place = Place::new();
        let ran = export_while(&place, |key| damage(&place, key));
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: {OUTPUT}part-00000-")), "{ran:?}");
        assert!(ran.stderr.contains(why), "{ran:?}");
        let published = |key: &String| key.contains("_manifest") || key.contains("_SUCCESS");
        assert!(!place.store.keys().iter().any(published));
        place.export(&ARGUMENTS).ok();
        is_whole(&place);
    }
}

#[test]
fn parts_with_a_new_etag_are_hashed_again() {
    let place = large();
    let arguments = ["-o", OUTPUT, "--page-size", "10", "--format", "jsonl"];
    place.store.rule("PUT /bucket/rows/_overmind/part-00000-", Fate::HeldAt(1));
    let run = place.start(&arguments);
    place.store.wait_until_held();
    let reads = place.store.seen("GET /bucket/rows/part-00000-");
    place.store.forget_e_tags();
    place.store.let_go();
    Ran::from(run.wait_with_output().unwrap()).ok();
    assert!(
        place.store.seen("GET /bucket/rows/part-00000-") > reads,
        "the part was not read again"
    );
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
