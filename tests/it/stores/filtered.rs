//! Exports to a store that write only some of the rows.

use super::crash::{OUTPUT, Place};
use crate::support::Ran;

#[test]
fn parts_without_rows_are_published() {
    // 300 rows, of which only one in the last part is kept.
    let place = Place::new();
    let condition = ["--where", ".order == 290"];
    let arguments = ["-o", OUTPUT, "--page-size", "10", "--rows-per-file", "20"];
    for format in ["parquet", "arrow", "jsonl"] {
        let more = ["--format", format, "--overwrite"];
        place.export(&[&arguments[..], &condition, &more].concat()).ok();
        assert_eq!(place.rows_by_manifest(), Some(1), "{format}");
        assert_eq!(place.parts().len(), 4, "{format}");
        let verify = Ran::of(place.store.command(&place.world).args(["verify", OUTPUT])).ok();
        assert!(verify.stdout.contains("ok, 1 row of 300 read"), "{}", verify.stdout);
    }
}

#[test]
fn parts_without_rows_are_resumed() {
    let place = Place::new();
    let arguments =
        ["-o", OUTPUT, "--page-size", "10", "--rows-per-file", "20", "--where", "false"];
    place.kill_at(&arguments, "PUT /bucket/rows/part-00002-", 1);
    let ran = place.export(&arguments).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("0 rows of 300 read, in 4 files"), "{}", ran.stderr);
    assert_eq!(place.rows_by_manifest(), Some(0));
}

#[test]
fn hashes_of_rows_survive_a_kill() {
    let place = Place::new();
    let dedupe = ["--dedupe", ".order % 7"];
    let arguments = ["-o", OUTPUT, "--page-size", "10", "--rows-per-file", "20"];
    let arguments = [&arguments[..], &dedupe].concat();
    place.kill_at(&arguments, "PUT /bucket/rows/part-00002-", 1);
    let ran = place.export(&arguments).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    // The first part has the first rows of all keys.
    assert_eq!(place.rows_by_manifest(), Some(7));
    Ran::of(place.store.command(&place.world).args(["verify", OUTPUT])).ok();
}
