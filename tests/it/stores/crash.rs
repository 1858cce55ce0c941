//! Runs that are killed at each step of an export to a store. The tests check the remaining objects, the
//! output of `verify`, and the next run.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Stdio},
};

use overmind_export::demo::{Dataset, Options};
use serde_json::Value;

use super::server::{Fate, Store};
use crate::support::{ID, Ran, World};

/// 12 pages of 25 rows, 3 parts of 100 rows.
pub(super) const ROWS: u64 = 300;
pub(super) const OUTPUT: &str = "s3://bucket/rows/";
pub(super) const ARGUMENTS: [&str; 6] =
    ["-o", OUTPUT, "--page-size", "25", "--rows-per-file", "100"];

pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { world: World::generated(Options::default(), ROWS), store: Store::start() }
    }

    pub(crate) fn export(&self, arguments: &[&str]) -> Ran {
        let mut command = self.store.command(&self.world);
        Ran::of(command.args(["export", &ID.to_string()]).args(arguments))
    }

    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.store.command(&self.world);
        command.args(["export", &ID.to_string()]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Kills a run with SIGKILL when it sends the n-th request of this kind. That request is not served.
    pub(crate) fn kill_at(&self, arguments: &[&str], request: &str, nth: u32) {
        self.store.rule(request, Fate::HeldAt(nth));
        let mut run = self.start(arguments);
        self.store.wait_until_held();
        run.kill().unwrap();
        run.wait().unwrap();
        self.store.no_rules();
    }

    fn verify(&self) -> Ran {
        Ran::of(self.store.command(&self.world).args(["verify", OUTPUT]))
    }

    /// The names below the prefix, without the tokens of the runs. All control objects count as one name.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for key in self.store.keys() {
            let name = key.strip_prefix("rows/").unwrap_or(&key);
            let name = match name.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None if name.starts_with("part-") => name[..10].to_owned(),
                None => name.to_owned(),
            };
            if !(name.ends_with('/') && names.contains(&name)) {
                names.push(name);
            }
        }
        names
    }

    /// Number of rows in the manifest, or `None` without one. Panics if a listed part is missing or has
    /// another size.
    pub(super) fn rows_by_manifest(&self) -> Option<u64> {
        let objects = self.store.objects();
        let manifest: Value = serde_json::from_slice(objects.get("rows.manifest.json")?).unwrap();
        for part in manifest["parts"].as_array().unwrap() {
            let name = format!("rows/{}", part["path"].as_str().unwrap());
            let object = objects.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(part["bytes"], object.len(), "{name}");
        }
        manifest["rows"].as_u64()
    }

    pub(super) fn parts(&self) -> BTreeMap<String, Vec<u8>> {
        let objects = self.store.objects().into_iter();
        let parts = objects.filter(|(key, _)| key.starts_with("rows/part-"));
        parts.map(|(key, bytes)| (key["rows/".len()..][..10].to_owned(), bytes)).collect()
    }
}

/// The names and the contents of the control objects of two runs: one was killed during its uploads, the other
/// during its publication.
pub(crate) fn control_objects() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for request in ["PUT /bucket/rows/part-00001-", "PUT /bucket/rows.manifest.json"] {
        let place = Place::new();
        place.kill_at(&ARGUMENTS, request, 1);
        let objects = place.store.objects().into_iter();
        found.extend(objects.filter_map(|(key, bytes)| {
            let name = key.strip_prefix("_rows.partial/")?;
            (!name.starts_with("ids-")).then(|| (name.to_owned(), bytes))
        }));
    }
    found
}

/// A point at which a run is killed, and the expected consequences.
struct Point {
    name: &'static str,
    /// The request that is not served: a part of its line, and its number among such requests, from 1.
    request: (&'static str, u32),
    names: &'static [&'static str],
    rows: Option<u64>,
    /// The beginning of each line that `verify` prints.
    problems: &'static [&'static str],
    /// Number of pages that the next run requests.
    fetched: u64,
}

#[test]
fn first_export_killed_before_commit_is_resumed() {
    // No part is visible, although all of them may be uploaded.
    let table = [
        ("before the first part", ("POST /bucket/rows/part-00000-", 1), 12),
        ("during an upload", ("PUT /bucket/rows/part-00001-", 1), 10),
        ("before a part's record", ("PUT /bucket/_rows.partial/part-00001-", 1), 10),
        ("after a part's record", ("DELETE /bucket/_rows.partial/upload-part-00001-", 1), 6),
        ("before the commit", ("PUT /bucket/_rows.partial/commit-", 1), 2),
    ];
    let calm = Place::new();
    calm.export(&ARGUMENTS).ok();
    for (name, request, expected) in table {
        println!("{name}");
        let place = Place::new();
        place.kill_at(&ARGUMENTS, request.0, request.1);
        assert_eq!(place.names(), ["_rows.partial/"], "{name}");
        let said = place.verify();
        assert_eq!(said.code, Some(74), "{said:?}");
        assert!(said.stderr.contains("no object and no prefix with this name exists"), "{said:?}");
        assert!(said.stderr.contains("hint: an export to this place is in progress"), "{said:?}");

        // The next run fetches the missing pages, and again page 1 and the last kept page. Those two
        // show whether the rows changed.
        let before = place.world.server.stats().requests;
        place.export(&ARGUMENTS).ok();
        let fetched = place.world.server.stats().requests - before;
        assert_eq!(fetched, expected, "{name}");
        is_whole(&place);
        assert!(place.parts() == calm.parts(), "{name}");
    }
}

#[test]
fn killed_export_of_chosen_rows_is_resumed() {
    let arguments =
        ["-o", OUTPUT, "--page-size", "25", "--rows-per-file", "30", "--where", ".order % 3 == 0"];
    let calm = Place::new();
    calm.export(&arguments).ok();
    assert_eq!(calm.rows_by_manifest(), Some(100));
    let place = Place::new();
    place.kill_at(&arguments, "DELETE /bucket/_rows.partial/upload-part-00001-", 1);
    let before = place.world.server.stats().requests;
    let resumed = place.export(&arguments).ok();
    assert!(resumed.stderr.contains("resuming: "), "{resumed:?}");
    assert!(place.world.server.stats().requests - before < 12);
    assert!(place.parts() == calm.parts());
    place.verify().ok();
}

#[test]
fn first_export_killed_before_its_record() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows.manifest.json", 1);
    tells(&place.verify(), &["rows.manifest.json is missing", "_rows.partial exists: a run is in"]);
    let ran = place.export(&ARGUMENTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("has finished the publication of an interrupted run"), "{ran:?}");
    is_whole(&place);
}

#[track_caller]
fn tells(said: &Ran, problems: &[&str]) {
    assert_eq!(said.code, Some(65), "{said:?}");
    let lines: Vec<_> = said.stdout.lines().collect();
    assert_eq!(lines.len(), problems.len(), "{said:?}");
    for (line, problem) in lines.iter().zip(problems) {
        assert!(line.starts_with(&format!("{OUTPUT}: {problem}")), "{line}\nnot {problem}");
    }
}

#[track_caller]
pub(super) fn is_whole(place: &Place) {
    is_complete(place);
    assert_eq!(place.store.open_uploads(), 0);
}

/// Like [`is_whole`], but uploads may be open.
#[track_caller]
pub(super) fn is_complete(place: &Place) {
    let parts = ["part-00000", "part-00001", "part-00002"];
    assert_eq!(place.names(), [&["rows.manifest.json"][..], &parts].concat());
    let told = place.verify().ok().stdout;
    assert!(told.starts_with(&format!("{OUTPUT}: ok, 300 rows; every byte")), "{told}");
}

#[test]
fn record_readers_see_the_old_or_new_export() {
    // An overwriting run is killed at each step. A reader that follows the record never sees a mixture.
    let old = &["_rows.partial/", "rows.manifest.json", "part-00000", "part-00001"];
    let both = &[
        "_rows.partial/",
        "rows.manifest.json",
        "part-00000",
        "part-00000",
        "part-00001",
        "part-00001",
        "part-00002",
    ];
    let table = [
        Point {
            name: "between parts",
            request: ("PUT /bucket/rows/part-00001-", 1),
            names: old,
            rows: Some(200),
            problems: &[],
            fetched: 10,
        },
        Point {
            name: "before the commit",
            request: ("PUT /bucket/_rows.partial/commit-", 1),
            names: old,
            rows: Some(200),
            problems: &[],
            fetched: 2,
        },
        Point {
            name: "before the record",
            request: ("PUT /bucket/rows.manifest.json", 1),
            names: both,
            rows: Some(200),
            problems: &["part-00000-", "part-00001-", "part-00002-", "_rows.partial exists"],
            fetched: 12,
        },
        Point {
            name: "before the old parts are removed",
            request: ("DELETE /bucket/rows/_SUCCESS", 1),
            names: both,
            rows: Some(ROWS),
            problems: &["part-00000-", "part-00001-", "_rows.partial exists"],
            fetched: 12,
        },
        Point {
            name: "after the old parts are removed",
            request: ("DELETE /bucket/_rows.partial/header.state", 1),
            names: &[
                "_rows.partial/",
                "rows.manifest.json",
                "part-00000",
                "part-00001",
                "part-00002",
            ],
            rows: Some(ROWS),
            problems: &[],
            fetched: 12,
        },
    ];
    for point in table {
        println!("{}", point.name);
        let place = Place::new();
        place.world.server.replace(vec![Dataset::generated(200, 8).with_id(ID)]);
        place.export(&ARGUMENTS).ok();
        place.world.server.replace(vec![Dataset::generated(ROWS, 7).with_id(ID)]);
        let arguments = [&ARGUMENTS[..], &["--overwrite"]].concat();
        place.kill_at(&arguments, point.request.0, point.request.1);
        assert_eq!(place.names(), point.names, "{}", point.name);
        assert_eq!(place.rows_by_manifest(), point.rows, "{}", point.name);
        let said = place.verify();
        match point.problems {
            [] => drop(said.ok()),
            problems => tells(&said, problems),
        }

        let before = place.world.server.stats().requests;
        place.export(&arguments).ok();
        let fetched = place.world.server.stats().requests - before;
        assert_eq!(fetched, point.fetched, "{}", point.name);
        is_whole(&place);
    }
}

#[test]
fn killed_overwrite_leaves_the_old_export() {
    // A later run without --overwrite is refused, and the old export stays readable.
    let place = Place::new();
    place.export(&ARGUMENTS).ok();
    let overwrite = [&ARGUMENTS[..], &["--overwrite"]].concat();
    place.kill_at(&overwrite, "PUT /bucket/rows/part-00001-", 1);
    let ran = place.export(&ARGUMENTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert_eq!(place.rows_by_manifest(), Some(ROWS));
    // A run with another plan drops the leftovers of the killed run. It removes the old export only after
    // the new one is published.
    place.export(&[&overwrite[..], &["--restart", "--columns", "id,order"]].concat()).ok();
    is_whole(&place);
}

#[test]
fn killed_published_run_does_not_block_other_plan() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "DELETE /bucket/_rows.partial/header.state", 1);
    place.world.server.replace(vec![Dataset::generated(ROWS, 8).with_id(ID)]);
    place.export(&[&ARGUMENTS[..], &["--overwrite", "--columns", "id"]].concat()).ok();
    is_whole(&place);
}

#[test]
fn published_parts_are_not_kept_for_changed_rows() {
    let overwrite = [&ARGUMENTS[..], &["--overwrite"]].concat();
    // The plan and the number of rows stay the same, but the rows are different.
    for (again, request) in [
        (false, "DELETE /bucket/_rows.partial/header.state"),
        (true, "DELETE /bucket/_rows.partial/part-"),
        (true, "DELETE /bucket/rows/part-"),
    ] {
        println!("{again} {request}");
        let place = Place::new();
        if again {
            place.export(&ARGUMENTS).ok();
        }
        place.kill_at(if again { &overwrite } else { &ARGUMENTS }, request, 1);
        let rows = Dataset::generated(ROWS, 8).with_id(ID);
        place.world.server.replace(vec![rows]);
        let before = place.world.server.stats().requests;
        place.export(&overwrite).ok();
        assert_eq!(place.world.server.stats().requests - before, 12);
        is_whole(&place);
        let today = Place::new();
        today.world.server.replace(vec![Dataset::generated(ROWS, 8).with_id(ID)]);
        today.export(&ARGUMENTS).ok();
        assert!(place.parts() == today.parts());
    }
}

#[test]
fn failed_cleanup_does_not_undo_an_export() {
    let overwrite = [&ARGUMENTS[..], &["--overwrite"]].concat();
    let place = Place::new();
    place.export(&ARGUMENTS).ok();
    place.store.rule("DELETE /bucket/rows/part-", Fate::Refused(403, "AccessDenied"));
    let ran = place.export(&overwrite).ok();
    assert!(
        ran.stderr.contains("is not complete: cannot remove s3://bucket/rows/part-"),
        "{ran:?}"
    );
    assert_eq!(place.rows_by_manifest(), Some(ROWS));
    assert!(
        !place.store.keys().iter().any(|key| key.contains("lock-")),
        "the lock was not removed"
    );
    place.store.no_rules();
    place.export(&overwrite).ok();
    is_whole(&place);
}

#[test]
fn transient_store_failures_are_retried() {
    let place = Place::new();
    place.store.rule("PUT /bucket/rows/part-00001", Fate::FailsFirst(2, 503));
    place.store.rule("PUT /bucket/rows.manifest.json", Fate::FailsFirst(1, 500));
    place.export(&ARGUMENTS).ok();
    is_whole(&place);
    assert_eq!(place.store.seen("PUT /bucket/rows/part-00001"), 3);
}

#[test]
fn kept_parts_with_shifted_rows_are_dropped() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows/part-00002-", 1);
    // A row of page 3 was deleted and a row was added at the end, so the count is the same.
    let rows = Dataset::generated(ROWS + 1, 7);
    let text = |number| String::from_utf8(rows.row(number)).unwrap();
    let moved: Vec<String> = (0..=ROWS).filter(|number| *number != 60).map(text).collect();
    let moved = || vec![Dataset::from_rows("rows", moved.clone()).with_id(ID)];
    place.world.server.replace(moved());
    let ran = place.export(&ARGUMENTS).ok();
    assert!(ran.stderr.contains("page 8 no longer has the rows"), "{}", ran.stderr);
    is_whole(&place);
    let calm = Place::new();
    calm.world.server.replace(moved());
    calm.export(&ARGUMENTS).ok();
    assert!(place.parts() == calm.parts());
}

#[test]
fn damaged_kept_parts_are_fetched_again() {
    type Damage<'a> = &'a dyn Fn(&Place, &str);
    let named = |place: &Place, start: &str| {
        let keys = place.store.keys();
        place.store.path(keys.iter().find(|key| key.starts_with(start)).unwrap())
    };
    let table: [(&str, u64, Damage<'_>); 5] = [
        ("nothing", 6, &|_, _| ()),
        ("a visible part", 10, &|place, _| {
            let record = named(place, "_rows.partial/part-00001");
            let name = record.file_name().unwrap().to_string_lossy().replace(".state", ".parquet");
            place.store.put(&format!("rows/{name}"), b"late");
        }),
        ("missing ids", 10, &|place, _| {
            fs::remove_file(named(place, "_rows.partial/ids-00001")).unwrap();
        }),
        ("a flipped bit in the ids", 10, &|place, _| {
            let path = named(place, "_rows.partial/ids-00001");
            let mut bytes = fs::read(&path).unwrap();
            bytes[7] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("a truncated record", 10, &|place, _| {
            fs::write(named(place, "_rows.partial/part-00001"), "{\"half").unwrap();
        }),
    ];
    for (damage, fetched, apply) in table {
        println!("{damage}");
        let place = Place::new();
        place.kill_at(&ARGUMENTS, "PUT /bucket/rows/part-00002-", 1);
        apply(&place, damage);
        let before = place.world.server.stats().requests;
        place.export(&ARGUMENTS).ok();
        assert_eq!(place.world.server.stats().requests - before, fetched, "{damage}");
        // The id of an upload is lost with its record.
        is_complete(&place);
    }
}
