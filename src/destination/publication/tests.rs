//! Publication that ends between two of its steps, and the run after it.

use std::{cell::Cell, fs, io::Write, path::Path};

use tempfile::TempDir;

use super::*;
use crate::{
    destination::{
        Header, OutputRequest,
        tests::{empty_export, request},
    },
    record::manifest::Part,
};

thread_local! {
    /// How many more steps succeed before the crash; `None` for no crash.
    pub(in crate::destination) static STEPS_BEFORE_CRASH: Cell<Option<usize>> = const { Cell::new(None) };
}

pub(super) fn crash_in_turn() -> Result<()> {
    match STEPS_BEFORE_CRASH.get() {
        Some(0) => Err(Error::Internal("crash".to_owned())),
        left => {
            STEPS_BEFORE_CRASH.set(left.map(|left| left - 1));
            Ok(())
        }
    }
}

fn header() -> Header {
    Header { plan: serde_json::Value::Null, count: 0, started_at: String::new() }
}

/// A folder with the target `rows`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, overwrite: bool) -> Result<Directory> {
        self.open_with(overwrite, None)
    }

    /// Opens the target, with the record at this path in the folder.
    fn open_with(&self, overwrite: bool, record: Option<&str>) -> Result<Directory> {
        let target = self.path("rows");
        let record = record.map(|record| self.path(record).into());
        let wanted = OutputRequest { record, ..request(&target, overwrite) };
        let mut directory = Directory::probe(&target, &wanted, false)?;
        directory.open(&header())?;
        Ok(directory)
    }

    /// Publishes one part with this text, and crashes at a step. Returns the export's manifest.
    fn publish(&self, text: &str, crash: Option<usize>) -> (Manifest, Result<()>) {
        self.publish_with(text, crash, None)
    }

    fn publish_with(
        &self,
        text: &str,
        crash: Option<usize>,
        record: Option<&str>,
    ) -> (Manifest, Result<()>) {
        let mut directory = self.open_with(true, record).unwrap();
        let file = directory.create(0, "jsonl").unwrap().hashed();
        file.writer().write_all(text.as_bytes()).unwrap();
        let closed = file.close().unwrap();
        let part = Part {
            path: "part-00000.jsonl".to_owned(),
            split: None,
            first_page: 1,
            last_page: 1,
            rows_read: 1,
            rows: 1,
            failed: 0,
            duplicates: 0,
            missing: Vec::new(),
            replaced: Vec::new(),
            rescued: 0,
            rescued_paths: Vec::new(),
            bytes: closed.bytes,
            sha256: closed.sha256().unwrap().to_owned(),
            digest: String::new(),
            nested_digest: None,
        };
        let manifest =
            Manifest { digest: text.to_owned(), rows: 1, parts: vec![part], ..empty_export() };
        STEPS_BEFORE_CRASH.set(crash);
        let published = directory.publish(&manifest);
        STEPS_BEFORE_CRASH.set(None);
        (manifest, published)
    }

    /// The text of the published part, and the digest in the record.
    fn published(&self) -> (Option<String>, Option<String>) {
        let part = fs::read_to_string(self.path("rows/part-00000.jsonl")).ok();
        let record = Manifest::read(&self.path("rows.manifest.json")).ok();
        (part, record.map(|record| record.digest))
    }

    fn home(&self) -> Folder {
        Folder::open(self.0.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Number of steps at which the publication can crash.
const STEPS: usize = 8;

#[test]
fn next_run_finishes_a_crashed_publication() {
    for replaces in [false, true] {
        let mut seen = Vec::new();
        for crash in 0..STEPS {
            let place = Place::new();
            if replaces {
                place.publish("old", None).1.unwrap();
            }
            let before = place.published();
            place.publish("new one", Some(crash)).1.unwrap_err();
            let (part, record) = place.published();
            // The announcement is durable after step 2, the parts are renamed after step 3.
            let (is_announced, is_renamed) = (crash >= 2, crash >= 3);
            assert_eq!(
                part,
                if is_renamed { text("new one") } else { before.0.clone() },
                "{crash}"
            );
            seen.push(record);
            // The next run does not want to overwrite anything.
            let next = place.open(false);
            let expected = if is_announced { (text("new one"), text("new one")) } else { before };
            assert_eq!(place.published(), expected, "{crash}");
            match next {
                Ok(directory) => {
                    assert!(!replaces && !is_announced, "{crash}");
                    directory.abandon();
                    assert_eq!(place.names(), [""; 0], "{crash}");
                }
                Err(error) => {
                    // Without its journal the staging is that of an interrupted run, which stays.
                    let (words, names) = match is_announced && crash < STEPS - 1 {
                        true => ("of an interrupted run", vec!["rows", "rows.manifest.json"]),
                        false => (
                            "exists already and is not empty",
                            vec![".rows.partial", "rows", "rows.manifest.json"],
                        ),
                    };
                    assert!(error.to_string().ends_with(words), "{crash}: {error}");
                    assert_eq!(place.names(), names, "{crash}");
                    assert_eq!(fs::read_dir(place.path("rows")).unwrap().count(), 1);
                }
            }
        }
        // The record is the old one or missing, until it is renamed.
        let old = if replaces { text("old") } else { None };
        let new = || text("new one");
        let (before, after) = (vec![old; 5], vec![new(); STEPS - 5]);
        assert_eq!(seen, [before, after].concat());
    }
    let place = Place::new();
    place.publish("new one", Some(STEPS)).1.unwrap();
}

#[test]
fn announced_publication_is_finished_twice_in_a_row() {
    // The second run crashes, too, at each of its steps.
    for first in 2..STEPS {
        for second in 0..STEPS {
            let place = Place::new();
            place.publish("old", None).1.unwrap();
            place.publish("new one", Some(first)).1.unwrap_err();
            STEPS_BEFORE_CRASH.set(Some(second));
            drop(place.open(false));
            STEPS_BEFORE_CRASH.set(None);
            place.open(false).unwrap_err();
            assert_eq!(place.published(), (text("new one"), text("new one")), "{first} {second}");
            let names: Vec<_> =
                place.names().into_iter().filter(|name| name != ".rows.partial").collect();
            assert_eq!(names, ["rows", "rows.manifest.json"], "{first} {second}");
        }
    }
}

#[test]
fn changed_parts_are_not_published() {
    let place = Place::new();
    place.publish("new one", Some(2)).1.unwrap_err();
    fs::write(place.path(".rows.partial/data/part-00000.jsonl"), "New one").unwrap();
    place.open(false).unwrap().abandon();
    assert_eq!(place.published(), (None, None));
    // The same with the record.
    place.publish("new one", Some(2)).1.unwrap_err();
    fs::write(place.path(".rows.partial/record.json"), "{}").unwrap();
    place.open(false).unwrap().abandon();
    assert_eq!(place.published(), (None, None));
}

#[test]
fn copied_folder_is_finished() {
    // A copy, a restored backup and a file system without inodes give the directories other inodes.
    for replaces in [false, true] {
        for crash in 2..STEPS - 1 {
            let place = Place::new();
            if replaces {
                place.publish("old", None).1.unwrap();
            }
            place.publish("new one", Some(crash)).1.unwrap_err();
            for name in ["rows", ".rows.partial/data"] {
                copy_again(&place.path(name));
            }
            place.open(false).unwrap_err();
            assert_eq!(place.published(), (text("new one"), text("new one")), "{crash}");
            assert_eq!(place.names(), ["rows", "rows.manifest.json"], "{crash}");
        }
    }
}

/// Replaces a directory of files with a copy, if it exists.
fn copy_again(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let copy = folder.with_extension("copy");
    fs::create_dir(&copy).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    fs::remove_dir_all(folder).unwrap();
    fs::rename(copy, folder).unwrap();
}

#[test]
fn parts_with_the_same_sizes_get_no_record() {
    let place = Place::new();
    place.publish("new one", Some(3)).1.unwrap_err();
    fs::write(place.path("rows/part-00000.jsonl"), "New one").unwrap();
    place.open(false).unwrap_err();
    assert_eq!(place.published(), (text("New one"), None));
}

#[test]
fn record_of_another_export_stays() {
    // Killed before the parts are renamed, and before the record is.
    for crash in 2..5 {
        let place = Place::new();
        place.publish("new one", Some(crash)).1.unwrap_err();
        let theirs = Manifest { digest: "theirs".to_owned(), ..empty_export() };
        let theirs = theirs.to_json().unwrap();
        fs::write(place.path("rows.manifest.json"), &theirs).unwrap();
        for overwrite in [false, true] {
            let why = place.open(overwrite).unwrap_err().to_string();
            let words =
                "rows.manifest.json: is the record of another export, and an interrupted run of ";
            assert!(why.contains(words), "{why}");
            assert_eq!(fs::read(place.path("rows.manifest.json")).unwrap(), theirs);
            assert_eq!(place.published().0.is_some(), crash > 2);
        }
        fs::remove_file(place.path("rows.manifest.json")).unwrap();
        place.open(false).unwrap_err();
        assert_eq!(place.published(), (text("new one"), text("new one")));
        assert_eq!(place.names(), ["rows", "rows.manifest.json"]);
    }
}

#[test]
#[cfg(unix)]
fn record_that_was_linked_is_finished() {
    // Without RENAME_NOREPLACE, the record has its aside name, too, for a moment.
    for is_linked in [false, true] {
        let place = Place::new();
        place.publish("new one", Some(4)).1.unwrap_err();
        let record = fs::read(place.path(".rows.partial/record.json")).unwrap();
        let digest = examine(&mut &*record).unwrap().sha256;
        let aside = place.path(&format!(".overmind-{}.json", &digest[..8]));
        fs::write(&aside, &record).unwrap();
        if is_linked {
            fs::hard_link(&aside, place.path("rows.manifest.json")).unwrap();
        }
        place.open(false).unwrap_err();
        assert_eq!(place.published(), (text("new one"), text("new one")));
        assert_eq!(place.names(), ["rows", "rows.manifest.json"]);
    }
}

#[test]
fn record_follows_a_renamed_folder() {
    for crash in 2..5 {
        for record in [Some("records/r.json"), None] {
            let mut place = Place::new();
            fs::create_dir(place.path("records")).unwrap();
            place.publish_with("new one", Some(crash), Some("records/r.json")).1.unwrap_err();
            // The journal has the old path of the folder.
            let moved = tempfile::tempdir().unwrap();
            fs::remove_dir(moved.path()).unwrap();
            fs::rename(place.0.path(), moved.path()).unwrap();
            place = Place(moved);
            place.open_with(false, record).unwrap_err();
            let found = Manifest::read(&place.path(record.unwrap_or("rows.manifest.json")));
            assert_eq!(found.unwrap().digest, "new one");
            assert_eq!(place.published().0, text("new one"));
        }
    }
}

#[test]
fn taken_record_can_go_elsewhere() {
    let place = Place::new();
    place.publish_with("new one", Some(4), Some("r.json")).1.unwrap_err();
    let theirs = Manifest { digest: "theirs".to_owned(), ..empty_export() };
    fs::write(place.path("r.json"), theirs.to_json().unwrap()).unwrap();
    place.open_with(true, Some("r.json")).unwrap_err();
    place.open_with(false, None).unwrap_err();
    place.open_with(false, Some("q.json")).unwrap_err();
    let digest = |name| Manifest::read(&place.path(name)).unwrap().digest;
    assert_eq!((digest("r.json"), digest("q.json")), ("theirs".to_owned(), "new one".to_owned()));
    assert_eq!(place.names(), ["q.json", "r.json", "rows"]);
}

#[test]
fn half_swapped_export_is_moved_back() {
    // Without RENAME_EXCHANGE, a swap moves the replaced export aside first. The new parts are damaged, so this
    // publication cannot be finished.
    for has_journal in [true, false] {
        for is_undone in [false, true] {
            let place = Place::new();
            place.publish("old", None).1.unwrap();
            place.publish("new one", Some(2)).1.unwrap_err();
            let staged = |name: &str| place.path(".rows.partial").join(name);
            if is_undone {
                fs::rename(staged("data"), staged("old")).unwrap();
                fs::rename(place.path("rows"), staged("data")).unwrap();
            } else {
                fs::rename(place.path("rows"), staged("old")).unwrap();
                fs::write(staged("data/part-00000.jsonl"), "New one").unwrap();
            }
            if !has_journal {
                fs::remove_file(staged("journal.jsonl")).unwrap();
            }
            let target = place.path("rows");
            let mut directory = Directory::probe(&target, &request(&target, true), false).unwrap();
            directory.resume(&header(), true).unwrap();
            assert_eq!(place.published(), (text("old"), text("old")));
            directory.abandon();
            assert_eq!(place.names(), ["rows", "rows.manifest.json"]);
        }
    }
}

#[test]
fn hints_of_a_failed_publication_can_be_followed() {
    let place = Place::new();
    place.publish("old", None).1.unwrap();
    for (overwrite, target, again) in [
        (false, "rows", "again, which sends no request"),
        (true, "rows", "again without `overwrite`, which sends no request"),
        (true, "new", "again without `overwrite`, which sends no request; or move data to "),
    ] {
        let target = place.path(target);
        let directory = Directory::at(&target, &request(&target, overwrite)).unwrap();
        place.home().make_private(".staging").unwrap();
        let maker = preflight::maker(&place.home()).unwrap();
        let staged = StagedDirectory::take(&place.home(), OsStr::new(".staging"), maker, &target);
        let staged = staged.unwrap().unwrap();
        let hint = |error: Error| match error {
            Error::Unpublished { hint, .. } => hint,
            error => panic!("{error}"),
        };
        let parts = hint(directory.unpublished(&staged, io::Error::other("")));
        let record = hint(directory.unrecorded(&staged.root, io::Error::other("")));
        assert!(parts.contains(again), "{parts}");
        assert_eq!(parts.contains("by hand"), again.contains("move"), "{parts}");
        assert_eq!(record.contains("without `overwrite`"), overwrite, "{record}");
        staged.remove(&place.home()).unwrap();
    }
}

#[test]
#[cfg(unix)]
fn record_of_a_linked_output_has_its_real_path() {
    let place = Place::new();
    fs::create_dir_all(place.path("there/real")).unwrap();
    fs::write(place.path("there/real.manifest.json"), "mine").unwrap();
    std::os::unix::fs::symlink("there/real", place.path("rows")).unwrap();
    let why = place.open(true).unwrap_err().to_string();
    assert!(why.ends_with("there/real.manifest.json: is not the record of an export"), "{why}");
}

#[test]
#[cfg(target_os = "linux")]
fn staging_on_another_file_system_is_named() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let other = tempfile::tempdir_in("/dev/shm").ok();
    let Some(other) = other.filter(|it| device(it.path()) != device(place.0.path())) else {
        return println!("skipped: no second file system");
    };
    let target = place.path("rows");
    let staging = Some(other.path().into());
    let wanted = OutputRequest { staging, ..request(&target, false) };
    let why = Directory::probe(&target, &wanted, false).unwrap_err().to_string();
    let words = format!("its staging is in {}, on another file system", other.path().display());
    assert!(why.ends_with(&words), "{why}");
    assert_eq!(place.names(), [""; 0]);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn other_directory_gets_no_record() {
    let place = Place::new();
    place.publish("new one", Some(3)).1.unwrap_err();
    // The directory may get the inode of the removed one.
    fs::remove_dir_all(place.path("rows")).unwrap();
    fs::create_dir(place.path("rows")).unwrap();
    fs::write(place.path("rows/theirs"), "x").unwrap();
    place.open(true).unwrap_err();
    assert_eq!(place.published(), (None, None));
    assert_eq!(fs::read(place.path("rows/theirs")).unwrap(), b"x");
}

#[test]
fn target_that_appeared_stays() {
    let place = Place::new();
    place.publish("new one", Some(2)).1.unwrap_err();
    fs::create_dir(place.path("rows")).unwrap();
    fs::write(place.path("rows/theirs"), "x").unwrap();
    let why = place.open(false).unwrap_err().to_string();
    assert!(why.ends_with("exists already and is not empty"), "{why}");
    assert_eq!(fs::read(place.path("rows/theirs")).unwrap(), b"x");
    // When it is gone, the next run publishes.
    fs::remove_dir_all(place.path("rows")).unwrap();
    place.open(false).unwrap_err();
    assert_eq!(place.published(), (text("new one"), text("new one")));
}

#[test]
fn record_without_its_directory_is_replaced() {
    let place = Place::new();
    place.publish("old", None).1.unwrap();
    fs::remove_dir_all(place.path("rows")).unwrap();
    place.open(false).unwrap().abandon();
    fs::write(place.path("rows.manifest.json"), "mine").unwrap();
    let why = place.open(true).unwrap_err().to_string();
    assert!(why.ends_with("rows.manifest.json: is not the record of an export"), "{why}");
    assert_eq!(fs::read(place.path("rows.manifest.json")).unwrap(), b"mine");
}

#[test]
fn late_files_in_the_target_are_kept() {
    for overwrite in [false, true] {
        let place = Place::new();
        let mut directory = place.open(overwrite).unwrap();
        fs::create_dir(place.path("rows")).unwrap();
        fs::write(place.path("rows/theirs"), "x").unwrap();
        let why = directory.publish_files(&empty_export(), false).unwrap_err().to_string();
        let expected = match overwrite {
            true => "rows: is not an export: it has no valid record",
            false => "rows: exists already and is not empty",
        };
        assert!(why.ends_with(expected), "{why}");
        assert_eq!(fs::read(place.path("rows/theirs")).unwrap(), b"x");
        assert_eq!(fs::read_dir(place.path("rows")).unwrap().count(), 1);
    }
}

#[test]
fn failed_cleanup_does_not_undo_publication() {
    let place = Place::new();
    let mut directory = place.open(false).unwrap();
    // Without its lock file, the staging seems to belong to another run.
    fs::remove_file(place.path(".rows.partial/lock")).unwrap();
    directory.publish_files(&empty_export(), false).unwrap();
    assert_eq!(place.names(), [".rows.partial", "rows", "rows.manifest.json"]);
}

#[test]
fn success_file_is_written_if_asked_for() {
    let place = Place::new();
    let target = place.path("rows");
    let wanted = OutputRequest { success_file: true, ..request(&target, false) };
    let mut directory = Directory::probe(&target, &wanted, false).unwrap();
    directory.open(&header()).unwrap();
    directory.publish(&empty_export()).unwrap();
    let is_empty = |path: &Path| fs::read(path).unwrap().is_empty();
    assert!(is_empty(&place.path("rows/_SUCCESS")));
    // It is part of the export, which can be replaced.
    place.publish("new one", None).1.unwrap();
    assert!(!place.path("rows/_SUCCESS").exists());
}
