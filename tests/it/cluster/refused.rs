//! What the steps refuse, and what they say.

use std::time::Duration;

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};

use super::{ROWS, begin, commit, part, start_part, step, world, write_parts};
use crate::support::{ID, Ran, World};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn same_plan_may_begin_again_and_another_is_refused() {
    let world = world();
    let first = begin(&world, "many", 4, &[]).ok();
    insta::assert_snapshot!(hidden(&first.told(&world)), @"
    exit 0
    1,000 rows on 40 pages in 4 ranges · plan ID
      many
      1/4: pages 1 to 8 (200 rows)
      2/4: pages 9 to 20 (300 rows)
      3/4: pages 21 to 28 (200 rows)
      4/4: pages 29 to 40 (300 rows)
    ");
    assert_eq!(begin(&world, "many", 4, &[]).ok().stdout, first.stdout);
    let others: [(u32, &[&str]); 3] = [(5, &[]), (4, &["--format", "csv"]), (4, &["--overwrite"])];
    let told: String = others
        .into_iter()
        .map(|(ranges, more)| begin(&world, "many", ranges, more).told(&world))
        .collect();
    insta::assert_snapshot!(told, @r#"
    exit 73
    error: many: another plan was begun there: it has 4 ranges, now there are 5
      hint: give --restart to remove its parts and begin this one
    exit 73
    error: many: another plan was begun there: its setting compression was "zstd:3", now it is "none"
      hint: give --restart to remove its parts and begin this one
    exit 73
    error: many: another plan was begun there: it has other options
      hint: give --restart to remove its parts and begin this one
    "#);
    let restarted = begin(&world, "many", 5, &["--restart"]).ok();
    assert_ne!(restarted.stdout, first.stdout);
}

/// Hides the random id of the plan.
fn hidden(text: &str) -> String {
    let Some((before, after)) = text.split_once("plan ") else { return text.to_owned() };
    format!("{before}plan ID{}", &after[16..])
}

#[test]
fn options_that_need_all_rows_are_refused() {
    let world = world();
    let table: [&[&str]; 4] = [
        &["--dedupe", ".input"],
        &["--json-columns", "nested"],
        &["--encode-threads", "2"],
        &["--ranges", "0"],
    ];
    let told: String = table
        .into_iter()
        .map(|more| match more[0] {
            "--ranges" => begin(&world, "many", 0, &[]).told(&world),
            _ => begin(&world, "many", 2, more).told(&world),
        })
        .collect();
    insta::assert_snapshot!(told, @"
    exit 2
    error: --dedupe compares all rows of the export, and a worker sees only its own: leave it out, and give it to `overmind-export convert`, which reads the finished export
    exit 2
    error: many workers need the types of nested columns before they begin: give --schema, which `overmind-export schema` prints
    exit 2
    error: --encode-threads and --temp-dir are options of part and commit, which do the work
    exit 2
    error: invalid value '0' for '--ranges <N>': it must be at least 1

    For more information, try '--help'.
    ");
    let file = step(&world, &["begin", &ID.to_string(), "-o", "rows.parquet", "--ranges", "2"]);
    insta::assert_snapshot!(file.told(&world), @"
    exit 2
    error: many workers write a directory of parts, but rows.parquet is not one: give a path that ends in a slash
    ");
    assert_eq!(world.server.stats().requests, 0);
    assert!(world.entries().is_empty());
}

#[test]
fn ranges_that_the_plan_lacks_are_refused() {
    let world = world();
    begin(&world, "many", 4, &[]).ok();
    let told: String = [
        &["--range", "1/5"][..],
        &["--range", "5/4"],
        &["--range", "0/4"],
        &["--range", "3"],
        &["--range-index", "4"],
        &["--range", "1/4", "--share", "4"],
        &[],
    ]
    .into_iter()
    .map(|more| step(&world, &[&["part", "-o", "many"], more].concat()).told(&world))
    .collect();
    insta::assert_snapshot!(told, @r#"
    exit 2
    error: "1/5" is not a valid range: the plan has 4 ranges, from 1/4 to 4/4
    exit 2
    error: invalid value '5/4' for '--range <N/OF>': give its number, from 1, and the number of ranges, such as 3/16

    For more information, try '--help'.
    exit 2
    error: invalid value '0/4' for '--range <N/OF>': give its number, from 1, and the number of ranges, such as 3/16

    For more information, try '--help'.
    exit 2
    error: invalid value '3' for '--range <N/OF>': give its number, from 1, and the number of ranges, such as 3/16

    For more information, try '--help'.
    exit 2
    error: "index 4" is not a valid range: the plan has 4 ranges, from 1/4 to 4/4
    exit 2
    error: --share divides a rate among workers: give --rate-limit, such as 20/s
    exit 2
    error: the following required arguments were not provided:
      <--range <N/OF>|--range-index <N>>

    Usage: overmind-export part --output <PATH> <--range <N/OF>|--range-index <N>>

    For more information, try '--help'.
    "#);
}

#[test]
fn steps_without_a_plan_end_with_66() {
    let world = world();
    let steps = [
        &["part", "-o", "many", "--range", "1/4"][..],
        &["commit", "-o", "many"],
        &["status", "-o", "many/"],
        &["abort", "-o", "many"],
    ];
    let told = || steps.map(|arguments| step(&world, arguments).told(&world)).concat();
    insta::assert_snapshot!(told(), @"
    exit 66
    error: many: no plan for many workers is there
      hint: run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there
    exit 66
    error: many: no plan for many workers is there
      hint: run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there
    exit 66
    error: many/: no plan for many workers is there
      hint: run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there
    exit 66
    error: many: no plan for many workers is there
      hint: run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there
    ");
    assert_eq!(world.server.stats().requests, 0);
    // An output that is there may be that of the plan. So it may have been committed.
    world.export(&["-o", "many", "--limit", "10"]).ok();
    insta::assert_snapshot!(told(), @"
    exit 75
    error: many: no plan for many workers is there
      hint: it was committed or aborted, or `overmind-export begin` has not run: nothing was published by this step
    exit 75
    error: many: no plan for many workers is there
      hint: it was committed or aborted, or `overmind-export begin` has not run: nothing was published by this step
    exit 75
    error: many/: no plan for many workers is there
      hint: it was committed or aborted, or `overmind-export begin` has not run: nothing was published by this step
    exit 75
    error: many: no plan for many workers is there
      hint: it was committed or aborted, or `overmind-export begin` has not run: nothing was published by this step
    ");
}

#[test]
fn misspelled_output_is_corrected() {
    let world = world();
    begin(&world, "evaluation", 2, &[]).ok();
    let told = ["evalution/", "./evaluations", "other"]
        .map(|output| step(&world, &["part", "-o", output, "--range", "1/2"]).told(&world));
    insta::assert_snapshot!(told.concat(), @"
    exit 66
    error: evalution/: no plan for many workers is there: did you mean evaluation?
      hint: run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there
    exit 66
    error: ./evaluations: no plan for many workers is there: did you mean ./evaluation?
      hint: run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there
    exit 66
    error: other: no plan for many workers is there
      hint: run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there
    ");
}

#[test]
fn ranges_without_pages_are_noted() {
    let world = world();
    let told = |ranges, more: &[&str]| {
        let ran = begin(&world, "many", ranges, &[&["--dry-run"], more].concat()).ok();
        ran.stderr
    };
    assert_eq!(told(10, &[]), "");
    insta::assert_snapshot!(told(16, &[]), @"note: 6 of 16 ranges have no pages and no work: a range begins where a part begins, and this export has only 10 such places. Give fewer --ranges, or a smaller --rows-per-file");
    insta::assert_snapshot!(told(4, &["--where", ".order > 1"]), @"note: 1 of 4 ranges has no pages and no work: a range begins where a part begins, and this export has only 3 such places. Give fewer --ranges, or a smaller --rows-per-file");
    assert_eq!(told(16, &["--quiet"]), "");
}

#[test]
fn plain_export_respects_a_plan() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    part(&world, "many", "1/2").ok();
    insta::assert_snapshot!(world.export(&["-o", "many"]).told(&world), @"
    exit 73
    error: many: many workers are exporting to it: a plan was begun there
      hint: `overmind-export commit` publishes it, `overmind-export abort` gives it up; or write somewhere else
    ");
    insta::assert_snapshot!(world.export(&["-o", "many", "--restart", "--dry-run"]).told(&world), @"
    exit 73
    error: many: many workers are exporting to it: a plan was begun there
      hint: `overmind-export commit` publishes it, `overmind-export abort` gives it up; or write somewhere else
    ");
    part(&world, "many", "2/2").ok();
    commit(&world, "many").ok();
}

#[test]
fn plan_respects_an_interrupted_export() {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    let arguments = ["-o", "many", "--page-size", "25", "--rows-per-file", "100"];
    let ran = world.export(&[&arguments, &["--max-retries", "0"][..]].concat());
    assert_eq!(ran.code, Some(69), "{ran:?}");
    insta::assert_snapshot!(begin(&world, "many", 2, &[]).told(&world), @"
    exit 73
    error: many: holds finished parts of an interrupted export
      hint: resume that export, or give --restart to remove its parts
    ");
    begin(&world, "many", 2, &["--restart"]).ok();
}

#[test]
fn changed_count_stops_a_part() {
    let world = world();
    begin(&world, "many", 4, &[]).ok();
    world.server.replace(vec![Dataset::generated(ROWS + 1, 7).with_id(ID)]);
    insta::assert_snapshot!(part(&world, "many", "2/4").told(&world), @"
    exit 65
    error: the dataset changed during the export: the plan has 1,000 rows, and page 9 says 1,001
      hint: nothing was published: run `overmind-export begin` again with --restart when the dataset no longer changes, and with --ordering id if the API's default order is not stable
    ");
    world.server.replace(vec![Dataset::generated(10, 7).with_id(ID)]);
    let ran = part(&world, "many", "4/4");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("page 29 is gone (404)"), "{}", ran.stderr);
}

#[test]
fn change_within_a_range_stops_a_part() {
    let slow = Fault::Delay(Duration::from_secs(1));
    let faults = Faults::none().on(15, FaultAttempt::First(1), slow);
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    begin(&world, "many", 4, &[]).ok();
    let run = start_part(&world, "many", "2/4");
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 15) == 1));
    world.server.replace(vec![Dataset::generated(ROWS + 1, 7).with_id(ID)]);
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("count changed from 1,000 to 1,001"), "{}", ran.stderr);
    let status = step(&world, &["status", "-o", "many"]).ok();
    assert!(status.stdout.starts_with("0 of 4 ranges finished"), "{}", status.stdout);
}

#[cfg(unix)]
pub(super) fn signal(child: &std::process::Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
#[cfg(unix)]
fn late_part_ends_with_75() {
    for end in ["commit", "abort"] {
        let slow = Fault::Delay(Duration::from_secs(1));
        let faults = Faults::none().on(16, FaultAttempt::First(1), slow);
        let world = World::generated(Options { faults, ..Options::default() }, ROWS);
        begin(&world, "many", 4, &[]).ok();
        // A straggler, which is stopped while it waits for a page of its second part.
        let late = start_part(&world, "many", "2/4");
        assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 16) == 1));
        signal(&late, "STOP");
        write_parts(&world, 4);
        step(&world, &[end, "-o", "many"]).ok();
        signal(&late, "CONT");
        let ran = Ran::from(late.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(75), "{end}: {ran:?}");
        let left = if end == "commit" { &["many", "many.manifest.json"][..] } else { &[] };
        assert_eq!(world.entries(), left);
        // Steps that come even later. An abort leaves nothing there.
        let codes = [part(&world, "many", "2/4").code, commit(&world, "many").code];
        let expected = if end == "commit" { [75, 0] } else { [66, 66] };
        assert_eq!(codes, expected.map(Some), "{end}");
    }
}
