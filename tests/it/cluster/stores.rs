//! Many workers and a prefix of an object store. No part is visible before the commit.

mod begun;

use std::{
    collections::BTreeMap,
    process::{Child, Stdio},
};

use overmind_export::demo::Options;
use serde_json::Value;

use super::{PLAN, ROWS};
use crate::{
    stores::server::{Fate, Store},
    support::{ID, Ran, World, side_by_side},
    tree::content,
};

const OUTPUT: &str = "s3://bucket/rows/";

struct Lake {
    world: World,
    store: Store,
}

impl Lake {
    fn new() -> Self {
        Self { world: World::generated(Options::default(), ROWS), store: Store::start() }
    }

    fn step(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.store.command(&self.world).args(arguments))
    }

    fn begin(&self, ranges: u32, more: &[&str]) -> Ran {
        let (id, ranges) = (ID.to_string(), ranges.to_string());
        let begin = ["begin", &id, "-o", OUTPUT, "--ranges", &ranges];
        self.step(&[&begin[..], &PLAN, more].concat())
    }

    fn part(&self, range: &str) -> Ran {
        self.step(&["part", "-o", OUTPUT, "--range", range])
    }

    /// Writes all ranges.
    fn write_parts(&self, ranges: u32) {
        for range in 1..=ranges {
            self.part(&format!("{range}/{ranges}")).ok();
        }
    }

    fn commit(&self) -> Ran {
        self.step(&["commit", "-o", OUTPUT])
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.store.command(&self.world);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Kills a step when it sends the n-th request of this kind. That request is not served.
    fn kill_at(&self, arguments: &[&str], request: &str, nth: u32) {
        self.store.rule(request, Fate::HeldAt(nth));
        let mut run = self.start(arguments);
        self.store.wait_until_held();
        run.kill().unwrap();
        run.wait().unwrap();
        self.store.no_rules();
    }

    /// The bytes of the visible parts in the order of their names, and the names of everything else.
    fn objects(&self) -> (Vec<Vec<u8>>, Vec<String>) {
        let objects: BTreeMap<String, Vec<u8>> = self.store.objects();
        let (parts, others): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|(key, _)| key.starts_with("rows/part-"));
        let names = others.into_iter().map(|(key, _)| key).collect();
        (parts.into_iter().map(|(_, bytes)| bytes).collect(), names)
    }

    /// The bytes of the parts of a single machine, and the digest of all rows.
    fn truth(&self) -> (Vec<Vec<u8>>, String) {
        self.world.export(&[&["-o", "alone"], &PLAN[..]].concat()).ok();
        let files = content(&self.world.path("alone")).into_iter();
        let parts = files.filter(|(name, _)| name.starts_with("part-"));
        let record: Value =
            serde_json::from_slice(&self.world.read("alone.manifest.json")).unwrap();
        let digest = record["digest"].as_str().unwrap().to_owned();
        (parts.filter_map(|(_, bytes)| bytes).collect(), digest)
    }

    /// Asserts that the export is published with the bytes of a single machine, and that nothing else is left.
    #[track_caller]
    fn is_published(&self) {
        let (parts, others) = self.objects();
        assert_eq!(others, ["rows.manifest.json"]);
        let record: Value =
            serde_json::from_slice(&self.store.objects()["rows.manifest.json"]).unwrap();
        let (expected, digest) = self.truth();
        assert!(parts == expected, "the parts differ from those of one machine");
        assert_eq!(record["digest"], digest.as_str());
        assert_eq!(self.store.open_uploads(), 0);
        self.step(&["verify", OUTPUT]).ok();
    }
}

#[test]
fn workers_write_the_bytes_of_one_machine() {
    let lake = Lake::new();
    lake.begin(3, &[]).ok();
    lake.begin(3, &[]).ok();
    for range in ["3/3", "1/3", "3/3", "2/3"] {
        lake.part(range).ok();
        assert!(lake.objects().0.is_empty(), "a part is visible before the commit");
    }
    lake.commit().ok();
    lake.is_published();
    let again = lake.commit().ok();
    assert!(again.stderr.contains("was committed before, at "), "{again:?}");
    assert_eq!(lake.part("1/3").code, Some(75));
}

#[test]
fn missing_ranges_are_named() {
    let lake = Lake::new();
    lake.begin(4, &[]).ok();
    lake.part("2/4").ok();
    let ran = lake.commit();
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("range 1 of 4: pages 1 to 8 are missing"), "{}", ran.stderr);
    let status = lake.step(&["status", "-o", OUTPUT]).ok();
    assert!(status.stdout.starts_with("1 of 4 ranges finished"), "{}", status.stdout);
    for range in ["1/4", "3/4", "4/4"] {
        lake.part(range).ok();
    }
    lake.commit().ok();
    lake.is_published();
}

#[test]
fn worker_killed_at_any_step_is_repeated() {
    let table = [
        ("PUT /bucket/_rows.partial/run-", 1),
        ("POST /bucket/rows/part-", 1),
        ("PUT /bucket/rows/part-", 2),
        ("PUT /bucket/_rows.partial/ids-", 1),
        ("PUT /bucket/_rows.partial/part-", 2),
        ("DELETE /bucket/_rows.partial/upload-", 1),
        ("PUT /bucket/_rows.partial/range-", 1),
    ];
    side_by_side(table, |(request, nth)| {
        let lake = Lake::new();
        lake.begin(2, &[]).ok();
        lake.part("1/2").ok();
        lake.kill_at(&["part", "-o", OUTPUT, "--range", "2/2"], request, nth);
        assert_eq!(lake.commit().code, Some(65), "{request}");
        lake.part("2/2").ok();
        lake.commit().ok();
        lake.is_published();
    });
}

#[test]
fn commit_killed_at_any_step_is_finished_by_the_next() {
    let table = [
        ("PUT /bucket/_rows.partial/lock-", 1),
        ("PUT /bucket/_rows.partial/commit-", 1),
        ("POST /bucket/rows/part-", 1),
        ("POST /bucket/rows/part-", 7),
        ("PUT /bucket/rows.manifest.json", 1),
        ("DELETE /bucket/_rows.partial/plan.state", 1),
        ("DELETE /bucket/_rows.partial/range-", 1),
        ("DELETE /bucket/_rows.partial/commit-", 1),
    ];
    side_by_side(table, |(request, nth)| {
        let lake = Lake::new();
        lake.begin(2, &[]).ok();
        lake.write_parts(2);
        lake.kill_at(&["commit", "-o", OUTPUT], request, nth);
        let ran = lake.commit();
        assert_eq!(ran.code, Some(0), "{request}: {ran:?}");
        lake.is_published();
    });
}

#[test]
fn straggler_makes_nothing_visible() {
    for end in ["commit", "abort"] {
        let lake = Lake::new();
        lake.begin(2, &[]).ok();
        lake.part("1/2").ok();
        // A worker that is held before it begins its second part.
        lake.store.rule("POST /bucket/rows/part-", Fate::HeldAt(2));
        let late = lake.start(&["part", "-o", OUTPUT, "--range", "2/2"]);
        lake.store.wait_until_held();
        lake.store.no_rules();
        lake.part("2/2").ok();
        lake.step(&[end, "-o", OUTPUT]).ok();
        lake.store.let_go();
        let ran = Ran::from(late.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(75), "{end}: {ran:?}");
        assert_eq!(lake.store.open_uploads(), 0, "{end}");
        match end {
            "commit" => lake.is_published(),
            _ => assert_eq!(lake.objects(), (Vec::new(), Vec::new())),
        }
    }
}

#[test]
fn abort_killed_at_any_step_is_repeated() {
    let table = ["DELETE /bucket/_rows.partial/plan.state", "DELETE /bucket/_rows.partial/range-"];
    side_by_side(table, |request| {
        let lake = Lake::new();
        lake.begin(2, &[]).ok();
        lake.part("1/2").ok();
        lake.kill_at(&["abort", "-o", OUTPUT], request, 1);
        lake.step(&["abort", "-o", OUTPUT]).ok();
        assert_eq!(lake.objects(), (Vec::new(), Vec::new()), "{request}");
        assert_eq!(lake.store.open_uploads(), 0, "{request}");
    });
}

#[test]
fn changed_ids_are_written_again() {
    let lake = Lake::new();
    lake.begin(2, &[]).ok();
    lake.write_parts(2);
    let keys = lake.store.keys();
    let ids = keys.iter().find(|key| key.contains("_rows.partial/ids-0000200001-")).unwrap();
    let path = lake.store.path(ids);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![0; bytes.len()]).unwrap();
    assert_eq!(lake.commit().code, Some(65));
    assert!(lake.part("1/2").ok().stderr.contains("finished before"));
    assert!(!lake.part("2/2").ok().stderr.contains("finished before"));
    // An invalid record does not count as a finished range.
    let record = lake.store.keys().into_iter().find(|key| key.contains("/range-00002-1-")).unwrap();
    std::fs::write(lake.store.path(&record), "{").unwrap();
    assert!(!lake.part("2/2").ok().stderr.contains("finished"));
    assert!(lake.part("2/2").ok().stderr.contains("finished before"));
    lake.commit().ok();
    lake.is_published();
}

#[test]
fn two_workers_of_a_range_leave_one() {
    let lake = Lake::new();
    lake.begin(2, &[]).ok();
    lake.part("1/2").ok();
    lake.store.rule("PUT /bucket/_rows.partial/range-", Fate::HeldAt(1));
    let first = lake.start(&["part", "-o", OUTPUT, "--range", "2/2", "--json"]);
    lake.store.wait_until_held();
    lake.store.no_rules();
    lake.part("2/2").ok();
    lake.store.let_go();
    let ran = Ran::from(first.wait_with_output().unwrap()).ok();
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["outcome"], "overtaken");
    lake.commit().ok();
    lake.is_published();
}

#[test]
fn lost_part_is_named_and_written_again() {
    let lake = Lake::new();
    lake.begin(2, &[]).ok();
    lake.write_parts(2);
    let keys = lake.store.keys();
    let pending = keys.iter().find(|key| key.contains("_rows.partial/part-0000200001-")).unwrap();
    std::fs::remove_file(lake.store.path(pending)).unwrap();
    let ran = lake.commit();
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("range 2 of 2: pages 21 to 40 cannot be used"), "{}", ran.stderr);
    assert!(lake.part("1/2").ok().stderr.contains("finished before"));
    assert!(!lake.part("2/2").ok().stderr.contains("finished before"));
    lake.commit().ok();
    // Nobody knows the upload of the lost part any more.
    assert!(lake.objects().0 == lake.truth().0);
}

#[test]
fn record_inside_a_prefix_is_found_by_all_steps() {
    let lake = Lake::new();
    let record = "s3://bucket/rows/the-record.json";
    lake.begin(2, &["--record", record]).ok();
    lake.write_parts(2);
    lake.kill_at(&["commit", "-o", OUTPUT], "POST /bucket/rows/part-", 3);
    lake.commit().ok();
    let (parts, others) = lake.objects();
    assert_eq!(others, ["rows/the-record.json"]);
    assert!(parts == lake.truth().0);
}

#[test]
fn plain_export_respects_a_plan() {
    let lake = Lake::new();
    lake.begin(2, &[]).ok();
    let export = ["export", &ID.to_string(), "-o", OUTPUT];
    let ran = lake.step(&export);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("a plan was begun there"), "{}", ran.stderr);
    lake.step(&["abort", "-o", OUTPUT]).ok();
    assert_eq!(lake.objects(), (Vec::new(), Vec::new()));
    lake.step(&export).ok();
}

#[test]
fn changed_record_of_a_range_is_refused() {
    let lake = Lake::new();
    lake.begin(2, &[]).ok();
    lake.write_parts(2);
    let keys = lake.store.keys();
    let record = keys.iter().find(|key| key.contains("/range-00002-0-")).unwrap();
    let path = lake.store.path(record);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"rows\":100", "\"rows\":101", 1)).unwrap();
    let ran = lake.commit();
    assert_eq!(ran.code, Some(65), "{ran:?}");
    let problem = "range 2 of 2: pages 21 to 40 cannot be used: its record was changed";
    assert!(ran.stderr.contains(problem), "{}", ran.stderr);
    assert!(lake.part("1/2").ok().stderr.contains("finished before"));
    assert!(!lake.part("2/2").ok().stderr.contains("finished before"));
    lake.commit().ok();
    lake.is_published();
}

#[test]
fn worker_reads_only_the_records_of_its_range() {
    let lake = Lake::new();
    lake.begin(5, &[]).ok();
    lake.write_parts(5);
    let read = || lake.store.seen("GET /bucket/_rows.partial/range-");
    let before = read();
    assert!(lake.part("3/5").ok().stderr.contains("finished before"));
    assert_eq!(read() - before, 1);
}

#[test]
fn begun_commit_is_named_and_continued() {
    let lake = Lake::new();
    lake.begin(2, &[]).ok();
    lake.write_parts(2);
    lake.kill_at(&["commit", "-o", OUTPUT], "POST /bucket/rows/part-", 7);
    let status = lake.step(&["status", "-o", OUTPUT]).ok().stdout;
    assert!(status.starts_with("2 of 2 ranges finished"), "{status}");
    assert!(status.contains("a commit has begun to publish"), "{status}");
    let ran = lake.part("1/2");
    assert_eq!(ran.code, Some(75), "{ran:?}");
    assert!(ran.stderr.contains("a commit of its plan has begun to publish"), "{ran:?}");
    lake.commit().ok();
    lake.is_published();
}

#[test]
fn damaged_plan_is_given_up() {
    // A plan whose record is inside the prefix has its control objects there.
    for (record, control) in [(None, "_rows.partial"), (Some("rows/r.json"), "rows/_overmind")] {
        let lake = Lake::new();
        let record = record.map(|name| format!("s3://bucket/{name}"));
        let more = record.iter().flat_map(|url| ["--record", url]).collect::<Vec<_>>();
        let export = ["export", &ID.to_string(), "-o", OUTPUT, "--limit", "50"];
        lake.step(&[&export[..], &more].concat()).ok();
        let before = lake.objects();
        lake.begin(2, &[&more[..], &["--overwrite"]].concat()).ok();
        lake.part("1/2").ok();
        let path = lake.store.path(&format!("{control}/plan.state"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"count\":1000", "\"count\":1001", 1)).unwrap();
        for step in ["status", "commit"] {
            assert_eq!(lake.step(&[step, "-o", OUTPUT]).code, Some(65), "{control}: {step}");
        }
        lake.step(&["abort", "-o", OUTPUT]).ok();
        assert!(lake.objects() == before, "{:?}", lake.objects().1);
        assert_eq!(lake.store.open_uploads(), 0);
        assert_eq!(lake.step(&["abort", "-o", OUTPUT]).code, Some(75));
    }
}

#[test]
fn begins_at_the_same_time_share_a_plan() {
    let lake = Lake::new();
    let id = ID.to_string();
    let begin = [&["begin", &id, "-o", OUTPUT, "--ranges", "2"][..], &PLAN].concat();
    let runs = [(); 3].map(|()| lake.start(&begin));
    let plans = runs.map(|run| Ran::from(run.wait_with_output().unwrap()).ok().stdout);
    assert!(plans.iter().all(|plan| *plan == plans[0]), "{plans:?}");
}
