//! Multipart uploads of large objects. A failed run aborts its uploads. The next run aborts the uploads of a
//! killed run.

use std::fs;

use overmind_export::demo::Options;
use serde_json::Value;

use super::{
    crash::{ARGUMENTS, Place, is_whole},
    server::{Fate, Store},
};
use crate::support::{Ran, World};

const OBJECT: &[&str] = &["-o", "s3://bucket/rows/x.jsonl", "--page-size", "10"];
const PREFIX: &[&str] = &["-o", "s3://bucket/rows/", "--page-size", "10", "--format", "jsonl"];

#[test]
fn upload_record_stays_until_upload_is_aborted() {
    // The store refuses a block, and it also refuses to abort the upload. The next run aborts it.
    for arguments in [OBJECT, PREFIX] {
        let place = large();
        place.store.rule("partNumber=3", Fate::Refused(403, "AccessDenied"));
        place.store.rule("DELETE /bucket/rows/x.jsonl?", Fate::Refused(403, "AccessDenied"));
        place.store.rule("DELETE /bucket/rows/part-", Fate::Refused(403, "AccessDenied"));
        let ran = place.export(arguments);
        assert_eq!(ran.code, Some(74), "{ran:?}");
        assert!(ran.stderr.contains("stays open (upload id "), "{ran:?}");
        assert_eq!(place.store.open_uploads(), 1);
        let keys = place.store.keys();
        assert!(keys.len() == 1 && keys[0].contains("/upload-"), "{keys:?}");
        place.store.no_rules();
        place.export(arguments).ok();
        assert_eq!(place.store.open_uploads(), 0);
        assert!(!place.store.keys().iter().any(|key| key.contains("/upload-")));
    }
}

/// 400 rows of 100 kB of random text: 40 pages of 10 rows and 1 MB each.
pub(super) fn large() -> Place {
    let mut random = fastrand::Rng::with_seed(5);
    let row = |number: u64| {
        let noise: String =
            std::iter::repeat_with(|| random.alphanumeric()).take(100_000).collect();
        format!(r#"{{"id":"00000000-0000-4000-8000-{number:012}","input":"{noise}"}}"#)
    };
    let rows: Vec<String> = (0..400).map(row).collect();
    Place { world: World::with_rows(Options::default(), rows), store: Store::start() }
}

#[test]
fn large_objects_are_uploaded_in_blocks() {
    // The object becomes visible as a whole, with the same bytes as a local file.
    let place = large();
    let local = place.export(&["-o", "rows.jsonl", "--page-size", "10", "--json"]).ok();
    let remote =
        place.export(&["-o", "s3://bucket/rows.jsonl", "--page-size", "10", "--json"]).ok();
    assert!(fs::read(place.store.path("rows.jsonl")).unwrap() == place.world.read("rows.jsonl"));
    let digest = |ran: &Ran| serde_json::from_str::<Value>(&ran.stdout).unwrap()["digest"].clone();
    assert_eq!(digest(&local), digest(&remote));
    assert_eq!(place.store.seen("partNumber="), 5);
    assert_eq!(place.store.keys(), ["rows.jsonl"]);
    assert_eq!(place.store.open_uploads(), 0);
    let verify =
        Ran::of(place.store.command(&place.world).args(["verify", "s3://bucket/rows.jsonl"]));
    assert!(verify.stdout.contains("export with --manifest"), "{verify:?}");
}

#[test]
fn open_uploads_of_a_killed_run_are_aborted() {
    for arguments in [OBJECT, PREFIX] {
        let place = large();
        place.kill_at(arguments, "partNumber=3", 1);
        assert_eq!(place.store.open_uploads(), 1);
        let data = |key: &String| key.ends_with(".jsonl");
        assert!(!place.store.keys().iter().any(data), "an incomplete object is visible");
        place.export(arguments).ok();
        assert_eq!(place.store.open_uploads(), 0);
        let left: Vec<_> = place.store.keys();
        assert!(left.iter().all(|key| !key.contains("upload-")), "{left:?}");
    }
    // A run that fails aborts its own uploads. Here the store refuses a block permanently.
    for arguments in [OBJECT, PREFIX] {
        let place = large();
        place.store.rule("partNumber=3", Fate::Refused(403, "AccessDenied"));
        let ran = place.export(arguments);
        assert_eq!(ran.code, Some(74), "{ran:?}");
        assert!(ran.stderr.contains("cause: AccessDenied: as scripted"), "{ran:?}");
        assert_eq!(place.store.open_uploads(), 0);
        assert_eq!(place.store.keys(), Vec::<String>::new());
    }
}

#[test]
fn record_of_a_part_never_outlives_its_upload() {
    // The run fails while it records part 1: the record exists, whatever the store has answered.
    let table = [
        ("PUT /bucket/_rows.partial/part-00001-", Fate::AnswersLost, 10),
        ("DELETE /bucket/_rows.partial/upload-part-00001-", Fate::Refused(403, "AccessDenied"), 6),
    ];
    for (request, fate, fetched) in table {
        println!("{request}");
        let place = Place::new();
        place.store.rule(request, fate);
        let ran = place.export(&ARGUMENTS);
        assert_eq!(ran.code, Some(74), "{ran:?}");
        place.store.no_rules();
        let before = place.world.server.stats().requests;
        place.export(&ARGUMENTS).ok();
        assert_eq!(place.world.server.stats().requests - before, fetched);
        is_whole(&place);
    }
}
