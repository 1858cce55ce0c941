//! The promises of every destination: one test suite for local paths and S3.

use std::{
    collections::BTreeMap,
    process::Child,
    time::{Duration, Instant},
};

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};
use serde_json::Value;

use super::server::{BUCKET, Store};
use crate::{
    support::{ID, Ran, World, side_by_side},
    tree::tree,
};

const SOON: Duration = Duration::from_secs(30);
/// 20 pages of 25 rows. A directory has 5 parts of 100 rows.
const ROWS: u64 = 500;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    LocalDirectory,
    LocalFile,
    S3Prefix,
    S3Object,
}

use Kind::{LocalDirectory, LocalFile, S3Object, S3Prefix};

const KINDS: [Kind; 4] = [LocalDirectory, LocalFile, S3Prefix, S3Object];

impl Kind {
    fn is_directory(self) -> bool {
        matches!(self, LocalDirectory | S3Prefix)
    }
}

/// A destination of one kind, an API, and a store. Local destinations do not use the store.
struct Place {
    kind: Kind,
    world: World,
    store: Store,
}

/// Objects or files by name. Parts are named by their number only, because names in a store contain a token
/// of the run.
type Content = BTreeMap<String, Vec<u8>>;

impl Place {
    fn new(kind: Kind, faults: Faults) -> Self {
        let world = World::generated(Options { faults, ..Options::default() }, ROWS);
        Self { kind, world, store: Store::start() }
    }

    fn output(&self) -> String {
        match self.kind {
            LocalDirectory => "out/".to_owned(),
            LocalFile => "rows.parquet".to_owned(),
            S3Prefix => format!("s3://{BUCKET}/some/out/"),
            S3Object => format!("s3://{BUCKET}/some/rows.parquet"),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let output = self.output();
        let mut arguments = vec!["-o", &output, "--page-size", "25", "--concurrency", "1"];
        if self.kind.is_directory() {
            arguments.extend(["--rows-per-file", "100"]);
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn export(&self, more: &[&str]) -> Ran {
        let mut command = self.store.command(&self.world);
        Ran::of(command.args(["export", &ID.to_string()]).args(self.arguments()).args(more))
    }

    fn start(&self) -> Child {
        let mut command = self.store.command(&self.world);
        command.args(["export", &ID.to_string()]).args(self.arguments());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    }

    /// A step of an export by many workers.
    fn step(&self, name: &str, more: &[&str]) -> Ran {
        let mut command = self.store.command(&self.world);
        Ran::of(command.args([name, "-o", &self.output()]).args(more))
    }

    /// Begins an export of three ranges.
    fn begin(&self, more: &[&str]) -> Ran {
        let id = ID.to_string();
        let begin = [&id, "--ranges", "3", "--page-size", "25", "--rows-per-file", "100"];
        self.step("begin", &[&begin[..], more].concat())
    }

    /// The bytes of the visible parts, in the order of their names.
    fn parts(&self) -> Vec<Vec<u8>> {
        let visible = |name: &String| name.contains("out/part-") && !name.contains(".partial");
        let all = self.everything().into_iter().filter(|(name, _)| visible(name));
        all.filter_map(|(_, bytes)| bytes).collect()
    }

    fn verify(&self) -> Ran {
        Ran::of(self.store.command(&self.world).args(["verify", &self.output()]))
    }

    /// All files and objects, including control files and control objects.
    fn everything(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut all = tree(self.world.folder.path());
        all.extend(self.store.objects().into_iter().map(|(key, bytes)| (key, Some(bytes))));
        all
    }

    fn has_finished_a_part(&self) -> bool {
        self.everything().iter().any(|(name, bytes)| match bytes {
            Some(bytes) if name.ends_with("journal.jsonl") => {
                bytes.iter().filter(|byte| **byte == b'\n').count() > 1
            }
            _ => name.contains(".partial/part-00000-"),
        })
    }

    /// All files and objects, without the values that differ from run to run. Panics if an upload is open.
    #[track_caller]
    fn content(&self) -> Content {
        assert_eq!(self.store.open_uploads(), 0);
        self.visible()
    }

    fn visible(&self) -> Content {
        let files = self.everything().into_iter().filter_map(|(name, bytes)| Some((name, bytes?)));
        files
            .map(|(name, mut bytes)| {
                let name = name.trim_start_matches("some/").trim_start_matches("out/").to_owned();
                if name == "out.manifest.json" {
                    let mut json: Value = serde_json::from_slice(&bytes).unwrap();
                    for name in ["started_at", "finished_at", "base_url"] {
                        json.as_object_mut().unwrap().remove(name).unwrap();
                    }
                    for part in json["parts"].as_array_mut().unwrap() {
                        part["path"] = anonymous(part["path"].as_str().unwrap()).into();
                    }
                    bytes = json.to_string().into_bytes();
                }
                (anonymous(&name), bytes)
            })
            .collect()
    }
}

/// `part-00000-1a2b3c4d.parquet` → `part-00000.parquet`.
fn anonymous(name: &str) -> String {
    match name.split_once('.') {
        Some((stem, extension)) if stem.starts_with("part-") => {
            format!("{}.{extension}", &stem[..10])
        }
        _ => name.to_owned(),
    }
}

/// The content after an undisturbed run.
fn truth(kind: Kind) -> Content {
    let place = Place::new(kind, Faults::none());
    place.export(&[]).ok();
    place.content()
}

fn each_kind(test: impl Fn(Kind) + Sync) {
    side_by_side(KINDS, test);
}

#[test]
fn same_rows_give_same_bytes_everywhere() {
    let directory = truth(LocalDirectory);
    let names: Vec<_> = directory.keys().map(String::as_str).collect();
    let parts = [0, 1, 2, 3, 4].map(|part| format!("part-0000{part}.parquet"));
    assert_eq!(names[0], "out.manifest.json");
    assert_eq!(names[1..], parts);
    assert!(truth(S3Prefix) == directory);
    let file = truth(LocalFile);
    assert_eq!(file.keys().collect::<Vec<_>>(), ["rows.parquet"]);
    assert!(truth(S3Object) == file);
}

#[test]
fn existing_export_is_replaced_only_on_request() {
    each_kind(|kind| {
        let place = Place::new(kind, Faults::none());
        place.export(&[]).ok();
        let (before, requests) = (place.everything(), place.world.server.stats().requests);
        let ran = place.export(&[]);
        assert_eq!(ran.code, Some(73), "{kind:?}: {ran:?}");
        assert!(ran.stderr.contains("exists already"), "{ran:?}");
        assert!(ran.stderr.contains("hint: give --overwrite"), "{ran:?}");
        assert_eq!(
            place.world.server.stats().requests,
            requests,
            "{kind:?}: an unnecessary request was sent"
        );
        assert!(place.everything() == before, "{kind:?}");

        let rows = Dataset::generated(300, 8).with_id(ID);
        place.world.server.replace(vec![rows]);
        place.export(&["--overwrite"]).ok();
        assert!(place.verify().ok().stdout.contains("ok, 300 rows; every byte"));
        let expected = if kind.is_directory() { 3 + 1 } else { 1 };
        assert_eq!(place.content().len(), expected, "{kind:?}: parts of the old export are left");
    });
}

#[test]
fn failed_run_publishes_nothing_and_next_succeeds() {
    // The next run leaves the same content as an undisturbed run.
    each_kind(|kind| {
        let faults = Faults::none().on(15, FaultAttempt::Always, Fault::status(503));
        let place = Place::new(kind, faults);
        let ran = place.export(&["--max-retries", "0"]);
        assert_eq!(ran.code, Some(69), "{kind:?}: {ran:?}");
        let everything = place.everything();
        // A finished part has a record in a prefix, or a line in the journal of a folder.
        let kept: u64 = everything
            .iter()
            .map(|(name, bytes)| match bytes {
                Some(bytes) if name.ends_with("journal.jsonl") => {
                    bytes.iter().filter(|byte| **byte == b'\n').count() as u64 - 1
                }
                _ => u64::from(name.contains(".partial/part-") && name.ends_with(".state")),
            })
            .sum();
        let names: Vec<_> = everything.into_keys().collect();
        assert!(!names.iter().any(|name| name.contains(".manifest.json")), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("out/part-")), "{names:?}");
        let pending = if kind == S3Prefix { kept } else { 0 };
        assert_eq!(place.store.open_uploads() as u64, pending, "{kind:?}");
        if !kind.is_directory() {
            assert_eq!(names, Vec::<String>::new(), "{kind:?}");
        }

        // A run that fails before its first page keeps the finished parts for the next run.
        let refused = Faults::none().on(1, FaultAttempt::Always, Fault::status(401));
        place.world.server.set_faults(refused);
        assert_eq!(place.export(&[]).code, Some(77), "{kind:?}");

        place.world.server.set_faults(Faults::none());
        let before = place.world.server.stats().requests;
        place.export(&[]).ok();
        assert!(place.content() == truth(kind), "{kind:?}");
        // Of the pages of kept parts, only page 1 and the last page are fetched again.
        let fetched = place.world.server.stats().requests - before;
        let expected = if kept > 0 { 22 - 4 * kept } else { 20 };
        assert!(fetched <= expected, "{kind:?}: {fetched} requests with {kept} kept parts");
    });
}

#[test]
fn live_run_blocks_others_and_dead_run_does_not() {
    each_kind(|kind| {
        let late = Fault::Delay(Duration::from_secs(100));
        let place = Place::new(kind, Faults::none().on(7, FaultAttempt::Always, late));
        let mut run = place.start();
        assert!(place.world.server.wait_until(SOON, |stats| stats.attempts(ID, 7) == 1));
        let requests = place.world.server.stats().requests;
        for more in [&["--overwrite"][..], &["--restart"], &[]] {
            let ran = place.export(more);
            assert_eq!(ran.code, Some(75), "{kind:?}: {ran:?}");
            let told = format!("error: another run is writing {}\n", place.output());
            assert!(ran.stderr.starts_with(&told), "{ran:?}");
        }
        assert_eq!(
            place.world.server.stats().requests,
            requests,
            "an unnecessary request was sent"
        );

        run.kill().unwrap();
        run.wait().unwrap();
        place.world.server.set_faults(Faults::none());
        place.export(&[]).ok();
        assert!(place.content() == truth(kind), "{kind:?}");
    });
}

#[test]
fn concurrent_runs_leave_one_whole_export() {
    each_kind(|kind| {
        let place = Place::new(kind, Faults::none());
        let runs = [0; 3].map(|_| place.start());
        let ran = runs.map(|run| Ran::from(run.wait_with_output().unwrap()));
        let codes: Vec<_> = ran.iter().map(|ran| ran.code.unwrap()).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{kind:?}: {ran:#?}");
        assert!(codes.iter().all(|code| [0, 73, 75].contains(code)), "{kind:?}: {ran:#?}");
        let left = place.everything().into_keys().any(|name| name.contains(".partial"));
        // A local run that finds the target already published keeps its staging.
        if !(left && kind == LocalDirectory) {
            assert!(place.content() == truth(kind), "{kind:?}");
        }
    });
}

#[cfg(unix)]
#[test]
fn signal_ends_the_run_and_it_cleans_up() {
    each_kind(|kind| {
        let late = Fault::Delay(Duration::from_secs(100));
        let place = Place::new(kind, Faults::none().on(7, FaultAttempt::Always, late));
        let run = place.start();
        assert!(place.world.server.wait_until(SOON, |stats| stats.attempts(ID, 7) == 1));
        // A part is finished when its record exists. The signal cancels unfinished parts.
        let until = Instant::now() + SOON;
        while kind.is_directory() && !place.has_finished_a_part() {
            assert!(Instant::now() < until, "no part was finished in time");
        }
        let kill = format!("kill -TERM {}", run.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(143), "{kind:?}: {ran:?}");
        assert_eq!(place.store.open_uploads() > 0, kind == S3Prefix, "{kind:?}");
        let told = if kind.is_directory() { "resume where it stopped" } else { "can be resumed" };
        assert!(ran.stderr.contains(told), "{kind:?}: {ran:?}");
        place.world.server.set_faults(Faults::none());
        place.export(&[]).ok();
        assert!(place.content() == truth(kind), "{kind:?}");
    });
}

#[test]
fn changed_dataset_leaves_nothing_of_first_pass() {
    // A short page shows that the dataset changed. The run starts again from page 1.
    each_kind(|kind| {
        let faults = Faults::none().on(15, FaultAttempt::First(1), Fault::ShortPage(3));
        let place = Place::new(kind, faults);
        let ran = place.export(&[]).ok();
        assert!(ran.stderr.contains("starting again from page 1"), "{kind:?}: {ran:?}");
        assert!(place.content() == truth(kind), "{kind:?}");
    });
}

#[test]
fn empty_dataset_is_exported_but_dry_run_is_not() {
    each_kind(|kind| {
        let place = Place::new(kind, Faults::none());
        place.export(&["--dry-run"]).ok();
        assert_eq!(place.everything(), BTreeMap::new(), "{kind:?}");
        place.world.server.replace(vec![Dataset::generated(0, 7).with_id(ID)]);
        place.export(&[]).ok();
        assert!(place.verify().ok().stdout.contains("ok, 0 rows; "), "{kind:?}");
    });
}

#[test]
fn changed_plan_is_refused_without_restart() {
    for kind in [LocalDirectory, S3Prefix] {
        let faults = Faults::none().on(15, FaultAttempt::Always, Fault::status(503));
        let place = Place::new(kind, faults);
        assert_eq!(place.export(&["--max-retries", "0"]).code, Some(69));
        place.world.server.set_faults(Faults::none());
        let ran = place.export(&["--columns", "id"]);
        assert_eq!(ran.code, Some(73), "{kind:?}: {ran:?}");
        assert!(ran.stderr.contains("cannot be resumed: --columns was"), "{ran:?}");
        place.export(&["--columns", "id", "--restart"]).ok();
        assert!(place.verify().ok().stdout.contains("ok, 500 rows; every byte"));
        assert_eq!(place.content().len(), 5 + 1, "{kind:?}: parts of the first export are left");
    }
}

#[test]
fn overwriting_a_file_removes_its_old_manifest() {
    for kind in [LocalFile, S3Object] {
        let place = Place::new(kind, Faults::none());
        place.export(&["--manifest"]).ok();
        assert!(place.content().contains_key("rows.parquet.manifest.json"), "{kind:?}");
        assert!(place.verify().ok().stdout.contains("ok, 500 rows; every byte"));
        place.export(&["--overwrite"]).ok();
        assert_eq!(place.content().into_keys().collect::<Vec<_>>(), ["rows.parquet"], "{kind:?}");
    }
}

/// Like the kill test of local directories, but with ten rounds only: a round costs a few hundred requests.
#[test]
fn killed_prefix_exports_resume_to_same_bytes() {
    let truth = truth(S3Prefix);
    side_by_side(0..10, |seed| {
        let place = Place::new(S3Prefix, Faults::none());
        let moment = fastrand::Rng::with_seed(seed).u64(1..=20);
        let mut run = place.start();
        assert!(place.world.server.wait_until(SOON, |stats| stats.requests >= moment));
        run.kill().unwrap();
        run.wait().unwrap();
        let mut names = place.everything().into_keys();
        let published =
            names.any(|name| name == "some/out.manifest.json" || name.contains("/commit-"));
        place.export(if published { &["--overwrite"] } else { &[] }).ok();
        // A kill between the beginning of an upload and its journal leaves an upload that no run knows.
        assert!(place.store.open_uploads() <= 1, "killed after {moment} requests");
        assert!(place.visible() == truth, "killed after {moment} requests: the content differs");
        place.verify().ok();
    });
}

/// The destinations that many workers can write.
const SHARED: [Kind; 2] = [LocalDirectory, S3Prefix];

#[test]
fn workers_write_the_parts_of_one_machine() {
    side_by_side(SHARED, |kind| {
        let alone = Place::new(kind, Faults::none());
        alone.export(&[]).ok();
        let place = Place::new(kind, Faults::none());
        place.begin(&[]).ok();
        for range in ["3/3", "1/3", "3/3", "2/3"] {
            place.step("part", &["--range", range]).ok();
            assert!(place.parts().is_empty(), "{kind:?}: a part is visible before the commit");
        }
        place.step("commit", &[]).ok();
        assert!(place.parts() == alone.parts(), "{kind:?}: the bytes differ");
        assert!(place.verify().ok().stdout.contains("ok, 500 rows; every byte"), "{kind:?}");
        assert_eq!(place.store.open_uploads(), 0, "{kind:?}");
        assert_eq!(place.everything().len(), 5 + 1 + usize::from(kind == LocalDirectory));
        // Steps that come later.
        assert_eq!(place.step("part", &["--range", "1/3"]).code, Some(75), "{kind:?}");
        assert_eq!(place.step("status", &[]).code, Some(75), "{kind:?}");
        place.step("commit", &[]).ok();
        assert!(place.parts() == alone.parts(), "{kind:?}");
    });
}

#[test]
fn commit_names_missing_ranges_and_keeps_the_others() {
    side_by_side(SHARED, |kind| {
        let place = Place::new(kind, Faults::none());
        place.begin(&[]).ok();
        place.step("part", &["--range", "2/3"]).ok();
        let before = place.everything();
        let ran = place.step("commit", &[]);
        assert_eq!(ran.code, Some(65), "{kind:?}: {ran:?}");
        assert!(ran.stderr.contains("again for 1/3, 3/3, then commit"), "{kind:?}: {ran:?}");
        let kept = place.everything();
        let own =
            |name: &&String| ["range", "part-", "ids-", "plan"].iter().any(|it| name.contains(it));
        let names = before.keys().filter(own).collect::<Vec<_>>();
        assert_eq!(kept.keys().filter(own).collect::<Vec<_>>(), names, "{kind:?}");
        assert!(place.parts().is_empty(), "{kind:?}");
    });
}

#[test]
fn plan_blocks_an_export_until_it_ends() {
    side_by_side(SHARED, |kind| {
        let place = Place::new(kind, Faults::none());
        place.begin(&[]).ok();
        place.begin(&[]).ok();
        assert_eq!(place.begin(&["--columns", "id"]).code, Some(73), "{kind:?}");
        place.step("part", &["--range", "1/3"]).ok();
        let ran = place.export(&["--restart"]);
        assert_eq!(ran.code, Some(73), "{kind:?}: {ran:?}");
        assert!(ran.stderr.contains("a plan was begun there"), "{kind:?}: {ran:?}");
        place.step("abort", &[]).ok();
        assert_eq!(place.everything(), BTreeMap::new(), "{kind:?}");
        assert_eq!(place.store.open_uploads(), 0, "{kind:?}");
        assert_eq!(place.step("abort", &[]).code, Some(66), "{kind:?}");
        place.export(&[]).ok();
        assert!(place.content() == truth(kind), "{kind:?}");
    });
}
