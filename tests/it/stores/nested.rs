//! Exports to a store with nested columns, whose parts are written after all rows are known.

use super::crash::{ARGUMENTS, OUTPUT, Place, ROWS};
use crate::support::Ran;

const NAMES: [&str; 4] = ["rows.manifest.json", "part-00000", "part-00001", "part-00002"];
const NESTED: [&str; 2] = ["--json-columns", "nested"];

#[test]
fn nested_parts_are_published() {
    let place = Place::new();
    place.export(&[&ARGUMENTS[..], &NESTED].concat()).ok();
    assert_eq!(place.names(), NAMES);
    assert_eq!(place.rows_by_manifest(), Some(ROWS));
    let verify =
        |path: &str| Ran::of(place.store.command(&place.world).args(["verify", path])).ok();
    verify(OUTPUT);
    let object = "s3://bucket/one.arrow";
    place.export(&["-o", object, NESTED[0], NESTED[1]]).ok();
    verify(object);
}

#[test]
fn killed_run_leaves_nothing_to_the_next() {
    for request in ["PUT /bucket/rows/part-00002-", "PUT /bucket/rows.manifest.json"] {
        let place = Place::new();
        let arguments = [&ARGUMENTS[..], &NESTED].concat();
        place.kill_at(&arguments, request, 1);
        assert_eq!(place.rows_by_manifest(), None);
        let ran = place.export(&arguments);
        // The publication had begun, and the next run has finished it.
        assert!(ran.code == Some(0) || request.ends_with("json"), "{ran:?}");
        assert!(!ran.stderr.contains("resuming: "), "{}", ran.stderr);
        assert_eq!(place.rows_by_manifest(), Some(ROWS));
        assert_eq!(place.names(), NAMES);
    }
}
