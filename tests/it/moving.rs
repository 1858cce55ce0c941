//! Datasets that change during the export, and servers that ignore an ordering. Each export is proven
//! complete or fails.

use std::time::Duration;

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    support::{ID, Ran, World},
    tree::content,
};

/// Time limit for a request to reach the server on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn faults(page: u64, attempt: FaultAttempt, fault: Fault) -> Options {
    Options { faults: Faults::none().on(page, attempt, fault), ..Options::default() }
}

fn manifest(world: &World, path: &str) -> Value {
    serde_json::from_slice(&world.read(path)).unwrap()
}

/// Returns 230 rows with shuffled ids. `order` maps the number of a row to its field `order`; `None` means null.
fn rows(order: impl Fn(u64) -> Option<u64>) -> Vec<String> {
    let row = |number: u64| {
        let order = order(number).map_or("null".to_owned(), |order| order.to_string());
        let id = Uuid::from_u128(u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 << 60));
        format!(r#"{{"id":"{id}","order":{order}}}"#)
    };
    (0..230).map(row).collect()
}

#[test]
fn change_in_the_first_pass_exports_the_new_version() {
    // The first pass sees the change; the second pass finds a stable dataset. The delay of page 6 leaves
    // time to replace the dataset before the later pages are read.
    let slow = Fault::Delay(Duration::from_secs(1));
    let world = World::generated(faults(6, FaultAttempt::First(1), slow), 230);
    let arguments = ["-o", "rows", "--rows-per-file", "50", "--page-size", "25"];
    let run = world.start(&[&arguments, &["--concurrency", "1"][..]].concat());
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 6) == 1));
    world.server.replace(vec![Dataset::generated(260, 8).with_id(ID)]);
    let ran = Ran::from(run.wait_with_output().unwrap()).ok();
    assert!(
        ran.stderr.contains(
            "the dataset changed during the export: count changed from 230 to 260 (page 7); starting \
             again from page 1"
        ),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("resuming"), "kept parts of the old version: {}", ran.stderr);
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
    let again = World::with(Options::default(), Dataset::generated(260, 8).with_id(ID));
    again.export(&arguments).ok();
    assert!(content(&world.path("rows")) == content(&again.path("rows")));
}

#[test]
fn shifted_rows_are_noticed_and_read_again() {
    // The count stays the same, so only the ids show the change.
    let world = World::generated(faults(5, FaultAttempt::First(1), Fault::ShiftRows(1)), 230);
    let ran = world.export(&["-o", "rows.jsonl", "--page-size", "25"]).ok();
    assert!(ran.stderr.contains("1 id came twice"), "{}", ran.stderr);
    let calm = World::generated(Options::default(), 230);
    calm.export(&["-o", "rows.jsonl", "--page-size", "25"]).ok();
    assert_eq!(world.read("rows.jsonl"), calm.read("rows.jsonl"));
}

#[test]
fn changes_in_every_pass_fail_and_leave_nothing() {
    let world = World::generated(faults(9, FaultAttempt::Always, Fault::Count(231)), 230);
    let arguments = ["-o", "rows/", "--rows-per-file", "50", "--page-size", "25"];
    let ran = world.export(&[&arguments[..], &["--max-passes", "3", "-q"]].concat());
    insta::assert_snapshot!(ran.told(&world), @r"
    exit 65
    error: the dataset changed during the export: count changed from 230 to 231 (page 9)
      hint: nothing was published; export again when the dataset no longer changes, or give --ordering id if the API's default order is not stable
    ");
    assert_eq!(world.server.stats().attempts(ID, 1), 3, "each pass begins with page 1");
    assert_eq!(world.entries(), Vec::<String>::new());

    // `--sweeps 0` is the old, hidden form of `--max-passes 1`.
    let ran = world.export(&[&arguments[..], &["--sweeps", "0"]].concat());
    assert_eq!(ran.code, Some(65));
    assert_eq!(world.server.stats().attempts(ID, 1), 4);
}

#[test]
fn change_during_a_stdout_export_fails_at_once() {
    let world = World::generated(faults(9, FaultAttempt::First(1), Fault::Count(231)), 230);
    let ran = world.export(&["-o", "-", "--page-size", "25"]);
    assert_eq!(ran.code, Some(65), "{}", ran.stderr);
    assert!(ran.stderr.contains("count changed from 230 to 231 (page 9)"), "{}", ran.stderr);
    assert_eq!(world.server.stats().attempts(ID, 1), 1, "a second pass after delivered rows");
    assert!(ran.stdout.lines().count() < 230);
    let hint = "hint: the delivered rows are not the whole dataset; export again when ";
    assert!(ran.stderr.contains(hint), "{}", ran.stderr);
}

#[test]
fn ignored_ordering_fails_at_once() {
    let options = || Options { ignore_ordering: true, ..Options::default() };
    // Row 120 is out of order. Some parts are finished by then.
    let swapped = |number| Some(if number == 120 { 500 } else { number });
    let table = [
        ("order", rows(swapped)),
        ("-order", rows(swapped)),
        ("id", rows(Some)),
        ("-id", rows(Some)),
        ("order", rows(|number| (20..200).contains(&number).then_some(number))),
    ];
    for (ordering, rows) in table {
        let world = World::with_rows(options(), rows);
        // One argument, because a descending ordering begins with a hyphen.
        let ordering = format!("--ordering={ordering}");
        let arguments = ["-o", "rows/", "--rows-per-file", "25", "--page-size", "25", &ordering];
        let ran = world.export(&arguments);
        assert_eq!(ran.code, Some(65), "{ordering}: {ran:?}");
        let words = "error: the API does not apply the ordering: page ";
        assert!(ran.stderr.contains(words), "{ordering}: {}", ran.stderr);
        assert_eq!(world.server.stats().attempts(ID, 1), 1, "{ordering}: a second pass");
        assert_eq!(world.entries(), Vec::<String>::new(), "{ordering}");
    }
}

#[test]
fn ordered_rows_may_have_nulls_at_either_end() {
    let options = || Options { ignore_ordering: true, ..Options::default() };
    let table = [
        ("order", rows(Some)),
        ("order", rows(|number| (number < 200).then_some(number))),
        ("order", rows(|number| (number >= 30).then_some(number))),
        ("-order", rows(|number| (number >= 30).then_some(999 - number))),
        ("order", rows(|_| None)),
    ];
    for (ordering, rows) in table {
        let world = World::with_rows(options(), rows);
        world
            .export(&["-o", "rows.jsonl", "--page-size", "25", &format!("--ordering={ordering}")])
            .ok();
    }
    for ordering in ["--ordering=order", "--ordering=-order", "--ordering=id", "--ordering=-id"] {
        let shuffled = rows(|number| Some(number * 7919 % 230));
        let world = World::with_rows(Options::default(), shuffled);
        world.export(&["-o", "rows.jsonl", "--page-size", "25", ordering]).ok();
    }
}

#[test]
fn only_a_whole_export_is_proven() {
    let world = World::generated(Options::default(), 230);
    let table: [(&str, &[&str]); 10] = [
        ("proven", &[]),
        ("proven", &["--limit", "230"]),
        ("proven", &["--limit", "1000"]),
        ("proven", &["--pages", "1-10"]),
        ("proven", &["--pages", "1-99", "--limit", "231"]),
        ("partial", &["--limit", "60"]),
        ("partial", &["--limit", "229"]),
        ("partial", &["--pages", "2-3"]),
        ("partial", &["--pages", "1-9"]),
        ("partial", &["--pages", "1-10", "--limit", "229"]),
    ];
    for (index, (claim, arguments)) in table.into_iter().enumerate() {
        let directory = format!("rows-{index}");
        world.export(&[&["-o", &directory, "--page-size", "25"], arguments].concat()).ok();
        let found = manifest(&world, &format!("{directory}.manifest.json"));
        assert_eq!(found["completeness"], claim, "{arguments:?}");
        assert_eq!(found["count"], 230, "{arguments:?}");

        let file = format!("rows-{index}.parquet");
        let arguments = [&["-o", &file, "--page-size", "25", "--manifest"], arguments].concat();
        world.export(&arguments).ok();
        let found = manifest(&world, &format!("{file}.manifest.json"));
        assert_eq!(found["completeness"], claim, "{arguments:?}");
        let verified = Ran::of(world.command().args(["verify", "--json", &directory, &file]));
        let says = format!("\"completeness\":\"{claim}\"");
        assert_eq!(verified.ok().stdout.matches(&says).count(), 2, "{arguments:?}");
    }
}

#[test]
fn limit_that_covers_everything_needs_the_proof() {
    // Page 3 has the rows of page 4, so its own rows never come.
    let options = faults(3, FaultAttempt::Always, Fault::RepeatPage(4));
    let world = World::generated(options, 230);
    for arguments in [["--limit", "230"], ["--pages", "1-10"]] {
        let arguments = [&["-o", "rows.jsonl", "--page-size", "25"], &arguments[..]].concat();
        let ran = world.export(&arguments);
        assert_eq!(ran.code, Some(65), "{ran:?}");
    }
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn unchecked_ordering_gives_a_note() {
    let world = World::generated(Options::default(), 30);
    let note = "the order of the rows is not checked: the API ignores --ordering=-ordr if it does not know the \
                field, and only the order of id and order can be checked\n";
    let note = note.replace("--ordering=-ordr", "--ordering -ordr");
    let ran = world.export(&["-o", "rows.jsonl", "--ordering=-ordr"]).ok();
    assert!(ran.stderr.starts_with(&note), "{ran:?}");
    let id = ID.to_string();
    let run = |arguments: &[&str]| Ran::of(world.command().args(arguments)).ok().stderr;
    assert_eq!(run(&["preview", &id, "--ordering=-ordr"]), note);
    assert_eq!(run(&["preview", &id, "--ordering", "order"]), "");
    assert!(run(&["datasets", "--ordering", "nmae"]).contains("is not a known field of a dataset"));
    assert_eq!(run(&["datasets", "--ordering=-created_at"]), "");
}
