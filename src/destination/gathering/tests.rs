//! A commit of many workers' parts that crashes at any step, and the commit after it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::{
    destination::{
        BegunOutput, Destination, OutputRequest, PlanUse, RangeStart, WantedRange, abort_plan,
        finish_begun,
        publication::tests::STEPS_BEFORE_CRASH,
        tests::{empty_export, request, write_part, write_range},
    },
    location::Location,
    record::{layout::PartLayout, manifest::Manifest},
};

const PLAN_TEXT: &[u8] = b"the plan";

struct Shared(TempDir);

impl Shared {
    /// A plan of two ranges, both of which are finished.
    fn finished() -> Self {
        let shared = Self(tempfile::tempdir().unwrap());
        shared.begin();
        for range in [2, 1] {
            assert!(shared.write(range));
        }
        shared
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("rows")
    }

    fn wanted(&self) -> OutputRequest {
        OutputRequest { plan_use: PlanUse::Allow, ..request(&self.target(), true) }
    }

    fn begin(&self) {
        let destination = Destination::probe(&self.wanted(), false).unwrap();
        let start = PlanStart { restart: false, difference: &|_| None };
        assert_eq!(destination.begin_plan(PLAN_TEXT, &start).unwrap(), PLAN_TEXT);
    }

    fn start(&self, range: u32) -> Result<RangeStart> {
        let begun = BegunOutput::find(&Location::from(self.target())).unwrap().unwrap();
        let layout = PartLayout::default();
        let pages = (u64::from(range), u64::from(range));
        let wanted = WantedRange { plan: "p".to_owned(), range, pages, rows: 1, layout };
        begun.start(&wanted, &std::env::temp_dir())
    }

    /// Writes the range of one page and one row. Returns whether it counts.
    fn write(&self, range: u32) -> bool {
        match self.write_with(range, Vec::new()) {
            Ok(counts) => counts,
            Err(Error::CommitBegun { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Does the same. `missing` makes the record of the range longer.
    fn write_with(&self, range: u32, missing: Vec<String>) -> Result<bool> {
        write_range(self.start(range)?, range, missing)
    }

    /// Publishes an export of one part, which the plan replaces.
    fn publish_old(&self) {
        let mut destination = Destination::probe(&request(&self.target(), true), false).unwrap();
        let header = Header { plan: serde_json::Value::Null, count: 1, started_at: String::new() };
        destination.open(&header).unwrap();
        let part = write_part(&mut destination, "old", 1, Vec::new()).part;
        let manifest = Manifest { rows: 1, parts: vec![part], ..empty_export() };
        destination.publish(&manifest, false).unwrap();
    }

    #[track_caller]
    fn has_old(&self) {
        assert_eq!(fs::read_to_string(self.target().join("part-00000.jsonl")).unwrap(), "old");
        assert!(!self.target().join("part-00001.jsonl").exists());
        let record = fs::read(self.0.path().join("rows.manifest.json")).unwrap();
        assert_eq!(Manifest::parse(&record, &Location::from("rows")).unwrap().rows, 1);
    }

    /// Commits, and crashes at a step. A later step of the same commit does not run.
    fn commit(&self, crash: Option<usize>) -> Result<()> {
        self.commit_after(None, crash)
    }

    /// Does the same, or crashes at a step before the first move, while it undoes those of an earlier commit.
    fn commit_after(&self, undoing: Option<usize>, crash: Option<usize>) -> Result<()> {
        if finish_begun(&self.wanted())?.is_some() {
            return Ok(());
        }
        let mut destination = Destination::probe(&self.wanted(), false)?;
        let mut parts = Vec::new();
        STEPS_BEFORE_CRASH.set(undoing);
        let found = destination.gather(PLAN_TEXT);
        STEPS_BEFORE_CRASH.set(None);
        let found = found?.ranges.into_iter();
        // The last record of a range counts.
        let ranges: BTreeMap<u32, RangeRecord> =
            found.map(|found| (found.record.range, found.record)).collect();
        for mut record in ranges.into_values() {
            let checked = destination.check_range(&mut record, parts.len())?;
            destination.take_range(checked.unwrap())?;
            parts.extend(record.parts.into_iter().map(|kept| kept.part));
        }
        assert_eq!(parts.len(), 2);
        let manifest = Manifest { rows: 2, parts, ..empty_export() };
        let header = Header { plan: serde_json::Value::Null, count: 2, started_at: String::new() };
        STEPS_BEFORE_CRASH.set(crash);
        let settled = destination.settle(&header);
        let published = match settled {
            Ok(()) => destination.publish(&manifest, false),
            Err(error) => {
                destination.abandon();
                Err(error)
            }
        };
        STEPS_BEFORE_CRASH.set(None);
        published
    }

    #[track_caller]
    fn has_parts(&self) {
        let part =
            |number| fs::read_to_string(self.target().join(format!("part-0000{number}.jsonl")));
        assert_eq!((part(0).unwrap(), part(1).unwrap()), ("1".to_owned(), "2".to_owned()));
        assert!(self.0.path().join("rows.manifest.json").exists());
    }

    #[track_caller]
    fn is_published(&self) {
        self.has_parts();
        let names = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["rows", "rows.manifest.json"]);
    }
}

/// Half of the largest plan or record.
fn half() -> String {
    "x".repeat(LARGEST as usize / 2)
}

#[test]
fn too_large_record_of_a_range_is_refused() {
    let shared = Shared(tempfile::tempdir().unwrap());
    shared.begin();
    let error = shared.write_with(1, vec![half(), half()]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(": the record of range 1 has 134,2"), "{text}");
    assert!(text.ends_with(" bytes, and at most 134,217,728 are read"), "{text}");
    assert_eq!((error.exit_code(), error.hint().is_some()), (73, true));
    assert!(matches!(shared.start(1).unwrap(), RangeStart::Begun(_)), "there is a record");
    // One that is not too large is read again.
    assert!(shared.write_with(1, vec![half()]).unwrap());
    assert!(matches!(shared.start(1).unwrap(), RangeStart::Done(_)));
}

#[test]
fn too_large_plan_is_refused_and_never_read() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let begin = |plan: &[u8]| {
        let destination = Destination::probe(&shared.wanted(), false).unwrap();
        let difference = |found: &[u8]| found.is_empty().then(|| "it is empty".to_owned());
        destination.begin_plan(plan, &PlanStart { restart: false, difference: &difference })
    };
    let error = begin(&[half(), half(), "x".to_owned()].concat().into_bytes()).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("the plan has 134,217,729 bytes, and at most 134,217,728 are read"));
    assert!(BegunOutput::find(&Location::from(shared.target())).unwrap().is_none());
    shared.begin();
    let plan = shared.0.path().join(".rows.partial/plan.json");
    fs::File::create(plan).unwrap().set_len(LARGEST + 1).unwrap();
    let found = BegunOutput::find(&Location::from(shared.target())).unwrap().unwrap();
    assert_eq!(found.plan(), b"");
    assert!(begin(b"new").unwrap_err().to_string().contains("another plan was begun there"));
}

#[test]
fn next_commit_finishes_a_crashed_one() {
    let (mut steps, mut ended) = (0, 0);
    loop {
        let shared = Shared::finished();
        if shared.commit(Some(steps)).is_ok() {
            break;
        }
        if BegunOutput::find(&Location::from(shared.target())).unwrap().is_some() {
            // A worker that comes now has nothing to do, or a commit has begun.
            assert!(!shared.write(1), "after step {steps}");
        }
        match shared.commit(None) {
            Ok(()) => shared.is_published(),
            // The crashed commit had published everything, and left only an empty staging.
            Err(Error::PlanEnded { .. }) => {
                shared.has_parts();
                ended += 1;
            }
            Err(error) => panic!("after step {steps}: {error}"),
        }
        steps += 1;
    }
    assert!(steps >= 10 && ended <= 2, "{steps} steps, {ended} after the end");
}

#[test]
fn replaced_export_survives_every_crash() {
    let (mut steps, mut taken_back) = (0, 0);
    for change in ["", "changed", "moved away"] {
        for step in 0.. {
            let shared = Shared(tempfile::tempdir().unwrap());
            shared.publish_old();
            shared.begin();
            assert!(shared.write(1) && shared.write(2));
            if shared.commit(Some(step)).is_ok() {
                break;
            }
            let (target, record) = (shared.target(), shared.0.path().join("rows.manifest.json"));
            let record = Manifest::parse(&fs::read(record).unwrap(), &Location::from("rows"));
            let is_swapped = target.join("part-00001.jsonl").exists();
            let is_published = record.unwrap().rows == 2;
            match change {
                "changed" if is_swapped && !is_published => {
                    fs::write(target.join("part-00001.jsonl"), "changed").unwrap();
                    taken_back += 1;
                }
                "moved away" if is_swapped && !is_published => {
                    fs::rename(&target, shared.0.path().join("aside")).unwrap();
                    taken_back += 1;
                }
                _ => {}
            }
            println!("{change} after step {step}");
            match abort_plan(&shared.wanted(), true) {
                Ok(true) if !is_published => shared.has_old(),
                // The crashed commit had announced its publication, or had published everything.
                Err(Error::Output { .. }) | Ok(_) => shared.has_parts(),
                Err(error) => panic!("{error}"),
            }
            let mut names: Vec<_> = fs::read_dir(shared.0.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "aside")
                .collect();
            names.sort();
            assert_eq!(names, ["rows", "rows.manifest.json"], "{change} after step {step}");
            steps += 1;
        }
    }
    assert!(steps >= 30 && taken_back >= 4, "{steps} steps, {taken_back} taken back");
}

#[test]
fn undo_of_a_crashed_commit_can_crash() {
    // The first commit has moved one part or both, and is not announced.
    for moved in [1, 2] {
        for undoing in [0, 1] {
            let shared = Shared::finished();
            shared.commit(Some(moved)).unwrap_err();
            shared.commit_after(Some(undoing), None).unwrap_err();
            let begun = BegunOutput::find(&Location::from(shared.target())).unwrap().unwrap();
            assert!(begun.state(&shared.wanted()).unwrap().is_committing);
            shared.commit(None).unwrap();
            shared.is_published();
        }
    }
}

#[test]
fn first_record_of_a_range_counts() {
    let shared = Shared(tempfile::tempdir().unwrap());
    shared.begin();
    let [Ok(RangeStart::Begun(slow)), Ok(RangeStart::Begun(_killed))] =
        [shared.start(1), shared.start(1)]
    else {
        panic!("the range is not finished");
    };
    assert!(shared.write(1));
    assert!(!shared.write(1), "a finished range is written again");
    assert!(!slow.finish((1, 1), None).unwrap(), "the second record replaces the first");
    assert!(shared.write(2));
    shared.commit(None).unwrap();
    shared.is_published();
}
