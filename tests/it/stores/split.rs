//! Exports to a store with a folder for each split.

use std::collections::BTreeMap;

use super::crash::{OUTPUT, Place};
use crate::support::Ran;

const ARGUMENTS: [&str; 8] =
    ["-o", OUTPUT, "--page-size", "25", "--rows-per-file", "60", "--split", "train=0.7,test=0.3"];

/// The parts by their names without the tokens of the runs.
fn parts(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let objects = place.store.objects().into_iter();
    let parts = objects.filter(|(key, _)| key.starts_with("rows/"));
    let name = |key: &str| {
        let (folder, name) = key["rows/".len()..].split_once('/').unwrap_or(("", &key[5..]));
        format!("{folder}/{}", &name[..10])
    };
    parts.map(|(key, bytes)| (name(&key), bytes)).collect()
}

fn verify(place: &Place, name: &str) -> Ran {
    Ran::of(place.store.command(&place.world).args(["verify", name]))
}

fn control(place: &Place) -> Vec<String> {
    place.store.keys().into_iter().filter(|key| key.starts_with("_rows.partial/")).collect()
}

#[test]
fn killed_split_export_is_resumed() {
    let calm = Place::new();
    calm.export(&ARGUMENTS).ok();
    let whole = parts(&calm);
    assert!(whole.len() >= 6 && whole.contains_key("test/part-00002"), "{:?}", whole.keys());
    for (name, request, fetched) in [
        ("before the first part", "POST /bucket/rows/train/part-00000-", 12),
        ("between the parts of a group", "POST /bucket/rows/test/part-00001-", 11),
        ("before the record of one part", "PUT /bucket/_rows.partial/test%3Dpart-00001-", 11),
        ("before the commit", "PUT /bucket/_rows.partial/commit-", 2),
        ("during the publication", "POST /bucket/rows/test/part-00001-", 2),
        ("before the record", "PUT /bucket/rows.manifest.json", 2),
    ] {
        println!("{name}");
        let place = Place::new();
        let nth = if name == "during the publication" { 2 } else { 1 };
        place.kill_at(&ARGUMENTS, request, nth);
        assert_eq!(place.rows_by_manifest(), None, "{name}");
        let before = place.world.server.stats().requests;
        let again = place.export(&ARGUMENTS);
        let is_finished = again.stderr.contains("the publication of an interrupted run");
        assert!(again.code == Some(0) || is_finished, "{name}: {again:?}");
        assert!(place.world.server.stats().requests - before <= fetched, "{name}");
        assert!(parts(&place) == whole, "{name}");
        assert_eq!(control(&place), Vec::<String>::new(), "{name}");
        for name in [OUTPUT, "s3://bucket/rows/train/", "s3://bucket/rows/test"] {
            verify(&place, name).ok();
        }
    }
}

#[test]
fn split_export_replaces_and_is_replaced() {
    let place = Place::new();
    place.export(&ARGUMENTS).ok();
    let plain = ["-o", OUTPUT, "--overwrite"];
    place.export(&plain).ok();
    assert_eq!(parts(&place).into_keys().collect::<Vec<_>>(), ["/part-00000"]);
    place.export(&[&plain[..], &["--split", "a=0.5,b=0.5"]].concat()).ok();
    assert_eq!(parts(&place).into_keys().collect::<Vec<_>>(), ["a/part-00000", "b/part-00000"]);
    verify(&place, OUTPUT).ok();
    let refused = place.export(&ARGUMENTS);
    assert!(refused.stderr.contains("exists already and is not empty"), "{}", refused.stderr);
    // An object of another program in the folder of a split.
    place.store.put("rows/b/notes.txt", b"mine");
    let refused = place.export(&plain);
    assert_eq!(refused.code, Some(73));
    assert!(refused.stderr.contains("\"b/notes.txt\""), "{}", refused.stderr);
    assert!(verify(&place, OUTPUT).stdout.contains("b/notes.txt is not in the manifest"));
}

#[test]
fn replaced_splits_survive_a_killed_run() {
    let place = Place::new();
    place.export(&ARGUMENTS).ok();
    let other = ["-o", OUTPUT, "--overwrite", "--split", "x=0.5,y=0.5", "--page-size", "25"];
    place.kill_at(&other, "PUT /bucket/rows.manifest.json", 1);
    // The record still describes the replaced export, whose parts are there.
    assert_eq!(place.rows_by_manifest(), Some(300));
    // A run with other splits finishes the publication first, and then replaces it.
    place.export(&[&["--overwrite"], &ARGUMENTS[..]].concat()).ok();
    let folders: Vec<_> = parts(&place).into_keys().collect();
    assert!(
        folders.iter().all(|it| it.starts_with("test/") || it.starts_with("train/")),
        "{folders:?}"
    );
    assert_eq!(control(&place), Vec::<String>::new());
}
