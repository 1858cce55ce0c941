//! Runs that are killed at each step of an export to a store: what is there then, what `verify` says,
//! and what the next run does.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Stdio},
};

use overmind_export::demo::{Dataset, Options};
use serde_json::Value;

use super::server::{Fate, Store};
use crate::support::{ID, Ran, World};

/// Twelve pages, three parts.
const ROWS: u64 = 300;
pub(super) const OUTPUT: &str = "s3://bucket/rows/";
pub(super) const ARGUMENTS: [&str; 6] =
    ["-o", OUTPUT, "--page-size", "25", "--rows-per-file", "100"];

pub(super) struct Place {
    pub(super) world: World,
    pub(super) store: Store,
}

impl Place {
    pub(super) fn new() -> Self {
        Self { world: World::generated(Options::default(), ROWS), store: Store::start() }
    }

    pub(super) fn export(&self, arguments: &[&str]) -> Ran {
        let mut command = self.store.command(&self.world);
        Ran::of(command.args(["export", &ID.to_string()]).args(arguments))
    }

    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.store.command(&self.world);
        command.args(["export", &ID.to_string()]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Kills a run with SIGKILL when a request would be the n-th of its kind; it is not served.
    pub(super) fn kill_at(&self, arguments: &[&str], request: &str, nth: u32) {
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

    /// The names at the prefix, control objects as one, without the runs' tokens.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for key in self.store.keys() {
            let name = key.strip_prefix("rows/").unwrap();
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

    /// The rows that a reader finds who goes by the manifest; each part must be what it says.
    fn rows_by_manifest(&self) -> Option<u64> {
        let objects = self.store.objects();
        let manifest: Value = serde_json::from_slice(objects.get("rows/_manifest.json")?).unwrap();
        for part in manifest["parts"].as_array().unwrap() {
            let name = format!("rows/{}", part["path"].as_str().unwrap());
            let object = objects.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(part["bytes"], object.len(), "{name}");
        }
        manifest["rows"].as_u64()
    }

    fn parts(&self) -> BTreeMap<String, Vec<u8>> {
        let objects = self.store.objects().into_iter();
        let parts = objects.filter(|(key, _)| key.starts_with("rows/part-"));
        parts.map(|(key, bytes)| (key["rows/".len()..][..10].to_owned(), bytes)).collect()
    }
}

/// A point at which a run is killed, and all that follows from it.
struct Point {
    name: &'static str,
    /// The first (or n-th) request of this kind is not served.
    request: (&'static str, u32),
    names: &'static [&'static str],
    rows: Option<u64>,
    /// All that `verify` says, line by line, in part.
    problems: &'static [&'static str],
    /// Pages that the next run asks for.
    fetched: u64,
}

const CONTROL: &str = "_overmind is there: a run is at work, or was interrupted";

#[test]
fn a_first_export_that_is_killed_at_any_step_is_continued() {
    let three = &["_overmind/", "part-00000", "part-00001", "part-00002"];
    let table = [
        Point {
            name: "before the first part",
            request: ("PUT /bucket/rows/part-00000-", 1),
            names: &["_overmind/"],
            rows: None,
            problems: &["_manifest.json is missing", CONTROL],
            fetched: 12,
        },
        Point {
            name: "between parts",
            request: ("PUT /bucket/rows/part-00001-", 1),
            names: &["_overmind/", "part-00000"],
            rows: None,
            problems: &["_manifest.json is missing", CONTROL],
            fetched: 10,
        },
        Point {
            name: "after a part that is not written down",
            request: ("PUT /bucket/rows/_overmind/part-00001-", 1),
            names: &["_overmind/", "part-00000", "part-00001"],
            rows: None,
            problems: &["_manifest.json is missing", CONTROL],
            fetched: 10,
        },
        Point {
            name: "before the manifest",
            request: ("PUT /bucket/rows/_manifest.json", 1),
            names: three,
            rows: None,
            problems: &["_manifest.json is missing", CONTROL],
            fetched: 2,
        },
        Point {
            name: "before _SUCCESS",
            request: ("PUT /bucket/rows/_SUCCESS", 1),
            names: &["_manifest.json", "_overmind/", "part-00000", "part-00001", "part-00002"],
            rows: Some(ROWS),
            problems: &["_SUCCESS is missing", CONTROL],
            fetched: 2,
        },
    ];
    let calm = Place::new();
    calm.export(&ARGUMENTS).ok();
    for point in table {
        println!("{}", point.name);
        let place = Place::new();
        place.kill_at(&ARGUMENTS, point.request.0, point.request.1);
        assert_eq!(place.names(), point.names, "{}", point.name);
        assert_eq!(place.rows_by_manifest(), point.rows, "{}", point.name);
        let said = place.verify();
        assert_eq!(said.code, Some(65), "{said:?}");
        tells(&said, point.problems);

        // Besides what is missing, page 1 and the last kept page: they show whether the rows moved.
        let before = place.world.server.stats().requests;
        place.export(&ARGUMENTS).ok();
        let fetched = place.world.server.stats().requests - before;
        assert_eq!(fetched, point.fetched, "{}", point.name);
        is_whole(&place);
        assert!(place.parts() == calm.parts(), "{}", point.name);
    }
}

#[track_caller]
fn tells(said: &Ran, problems: &[&str]) {
    let lines: Vec<_> = said.stdout.lines().collect();
    assert_eq!(lines.len(), problems.len(), "{said:?}");
    for (line, problem) in lines.iter().zip(problems) {
        assert!(line.starts_with(&format!("{OUTPUT}: {problem}")), "{line}\nnot {problem}");
    }
}

#[track_caller]
pub(super) fn is_whole(place: &Place) {
    let parts = ["part-00000", "part-00001", "part-00002"];
    assert_eq!(place.names(), [&["_SUCCESS", "_manifest.json"][..], &parts].concat());
    let told = place.verify().ok().stdout;
    assert!(told.starts_with(&format!("{OUTPUT}: ok, 300 rows; every byte")), "{told}");
    assert_eq!(place.store.open_uploads(), 0);
}

#[test]
fn an_export_that_is_killed_after_success_is_there_and_only_needs_tidying_up() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "DELETE /bucket/rows/_overmind/", 7);
    assert_eq!(place.rows_by_manifest(), Some(ROWS));
    tells(&place.verify(), &[CONTROL]);
    let ran = place.export(&ARGUMENTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    place.export(&[&ARGUMENTS[..], &["--overwrite"]].concat()).ok();
    is_whole(&place);
}

#[test]
fn while_an_export_is_overwritten_who_goes_by_the_manifest_sees_the_old_one_or_the_new_one() {
    let new_parts = &["part-00000", "part-00000", "part-00001", "part-00001", "part-00002"];
    let table = [
        Point {
            name: "between parts",
            request: ("PUT /bucket/rows/part-00001-", 1),
            names: &[
                "_SUCCESS",
                "_manifest.json",
                "_overmind/",
                "part-00000",
                "part-00000",
                "part-00001",
            ],
            rows: Some(200),
            problems: &[CONTROL, "part-00000-"],
            fetched: 10,
        },
        Point {
            name: "before the manifest",
            request: ("PUT /bucket/rows/_manifest.json", 1),
            names: new_parts,
            rows: Some(200),
            problems: &[CONTROL, "part-00000-", "part-00001-", "part-00002-"],
            fetched: 2,
        },
        Point {
            name: "between the manifest and _SUCCESS",
            request: ("PUT /bucket/rows/_SUCCESS", 1),
            names: new_parts,
            rows: Some(ROWS),
            problems: &[CONTROL, "part-00000-", "part-00001-"],
            fetched: 2,
        },
        Point {
            name: "while the old parts are removed",
            request: ("DELETE /bucket/rows/part-00001-", 1),
            names: &[
                "_SUCCESS",
                "_manifest.json",
                "_overmind/",
                "part-00000",
                "part-00001",
                "part-00001",
                "part-00002",
            ],
            rows: Some(ROWS),
            problems: &[CONTROL, "part-00001-"],
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
        let names = match point.names[0] {
            "_SUCCESS" => point.names.to_vec(),
            _ => [&["_SUCCESS", "_manifest.json", "_overmind/"], point.names].concat(),
        };
        // The first removal of two may or may not have been served: they are sent side by side.
        let racing = point.request.0.starts_with("DELETE");
        if !racing {
            assert_eq!(place.names(), names, "{}", point.name);
        }
        assert_eq!(place.rows_by_manifest(), point.rows, "{}", point.name);
        let said = place.verify();
        assert_eq!(said.code, Some(65), "{}: {said:?}", point.name);
        if !racing {
            tells(&said, point.problems);
        }

        let before = place.world.server.stats().requests;
        place.export(&arguments).ok();
        let fetched = place.world.server.stats().requests - before;
        assert_eq!(fetched, point.fetched, "{}", point.name);
        is_whole(&place);
    }
}

#[test]
fn an_overwriting_run_that_is_killed_leaves_the_old_export_to_who_does_not_overwrite() {
    let place = Place::new();
    place.export(&ARGUMENTS).ok();
    let overwrite = [&ARGUMENTS[..], &["--overwrite"]].concat();
    place.kill_at(&overwrite, "PUT /bucket/rows/part-00001-", 1);
    let ran = place.export(&ARGUMENTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert_eq!(place.rows_by_manifest(), Some(ROWS));
    // Another plan drops what the killed run left, and nothing of the old export before its time.
    place.export(&[&overwrite[..], &["--restart", "--columns", "id,order"]].concat()).ok();
    is_whole(&place);
}

#[test]
fn a_published_export_whose_run_was_killed_does_not_stand_in_the_way_of_another_plan() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "DELETE /bucket/rows/_overmind/header.json", 1);
    place.world.server.replace(vec![Dataset::generated(ROWS, 8).with_id(ID)]);
    place.export(&[&ARGUMENTS[..], &["--overwrite", "--columns", "id"]].concat()).ok();
    is_whole(&place);
}

#[test]
fn what_was_published_is_not_published_again_as_what_is_there_today() {
    let overwrite = [&ARGUMENTS[..], &["--overwrite"]].concat();
    // The same plan and the same number of rows, and other rows.
    for (again, request) in [
        (false, "DELETE /bucket/rows/_overmind/header.json"),
        (true, "DELETE /bucket/rows/_overmind/part-"),
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
fn what_cannot_be_tidied_up_does_not_undo_an_export() {
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
    assert!(!place.store.keys().iter().any(|key| key.contains("lock-")), "it is locked");
    place.store.no_rules();
    place.export(&overwrite).ok();
    is_whole(&place);
}

#[test]
fn what_a_killed_run_published_can_be_finished_after_one_that_finished_nothing() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows/_SUCCESS", 1);
    // It begins anew, and ends before its first part.
    place.store.rule("PUT /bucket/rows/part-", Fate::Refused(403, "AccessDenied"));
    let restart = [&ARGUMENTS[..], &["--restart"]].concat();
    let ran = place.export(&restart);
    assert_eq!(ran.code, Some(74), "{ran:?}");
    place.store.no_rules();
    place.export(&ARGUMENTS).ok();
    is_whole(&place);
}

#[test]
fn a_store_that_fails_now_and_then_is_asked_again() {
    let place = Place::new();
    place.store.rule("PUT /bucket/rows/part-00001", Fate::FailsFirst(2, 503));
    place.store.rule("PUT /bucket/rows/_manifest.json", Fate::FailsFirst(1, 500));
    place.export(&ARGUMENTS).ok();
    is_whole(&place);
    assert_eq!(place.store.seen("PUT /bucket/rows/part-00001"), 3);
}

#[test]
fn kept_parts_whose_rows_have_shifted_since_are_dropped() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows/part-00002-", 1);
    // One row of page 3 is gone, another one has come at the end: the count is the same.
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
fn what_a_kept_part_was_is_compared_before_it_is_kept() {
    type Damage<'a> = &'a dyn Fn(&Place, &str);
    let named = |place: &Place, start: &str| {
        let keys = place.store.keys();
        place.store.path(keys.iter().find(|key| key.starts_with(start)).unwrap())
    };
    let table: [(&str, u64, Damage<'_>); 4] = [
        ("nothing", 6, &|_, _| ()),
        ("a part that is gone", 10, &|place, _| {
            fs::remove_file(named(place, "rows/part-00001")).unwrap();
        }),
        ("ids that are gone", 10, &|place, _| {
            fs::remove_file(named(place, "rows/_overmind/ids-00001")).unwrap();
        }),
        ("a record that is torn", 10, &|place, _| {
            fs::write(named(place, "rows/_overmind/part-00001"), "{\"half").unwrap();
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
        is_whole(&place);
    }
}
