//! Commits that end between their first move and the publication, steps at the same time, and steps that come twice.

use std::{fs, process::Stdio, time::Duration};

use overmind_export::demo::{Fault, FaultAttempt, Faults};
use serde_json::Value;

use super::{
    PLAN, assert_commits, assert_completes, begin, commit, comparable, finished, part, step, world,
};
use crate::support::{ID, Ran, World};

const SOON: Duration = Duration::from_secs(30);

/// Starts a commit that waits for its last page.
pub(super) fn waiting_commit(world: &World, delay: Duration) -> std::process::Child {
    world.server.set_faults(Faults::none().on(40, FaultAttempt::Always, Fault::Delay(delay)));
    let before = world.server.stats().attempts(ID, 40);
    let mut command = world.command();
    command.args(["commit", "-o", "many"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().unwrap();
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 40) > before));
    world.server.set_faults(Faults::none());
    run
}

/// A commit that has moved the parts and cannot publish them.
pub(super) fn begun_commit() -> World {
    let world = finished();
    let run = waiting_commit(&world, Duration::from_secs(3));
    fs::create_dir(world.path("many")).unwrap();
    fs::write(world.path("many/notes.txt"), "mine").unwrap();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    fs::remove_dir_all(world.path("many")).unwrap();
    world
}

#[test]
fn begun_commit_is_named_and_continued() {
    let world = begun_commit();
    let status = step(&world, &["status", "-o", "many"]).ok().stdout;
    let lines: Vec<&str> = status.lines().collect();
    assert!(lines[0].starts_with("2 of 2 ranges finished"), "{status}");
    assert_eq!(
        lines[1],
        "a commit has begun to publish: if it is no longer active, `overmind-export commit` continues it"
    );
    let json = step(&world, &["status", "-o", "many", "--json"]).ok().stdout;
    assert!(json.contains("\"commit_begun\":true"), "{json}");
    let before = world.server.stats().requests;
    insta::assert_snapshot!(part(&world, "many", "1/2").told(&world), @"
    exit 75
    error: many: a commit of its plan has begun to publish
      hint: this step wrote nothing: if no commit is active, `overmind-export commit` continues the one that was interrupted
    ");
    assert_eq!(world.server.stats().requests, before);
    assert_commits(&world, &[]);
    assert_eq!(world.entries(), ["alone", "alone.manifest.json", "many", "many.manifest.json"]);
}

#[test]
fn lost_part_of_a_begun_commit_is_written_again() {
    let world = begun_commit();
    fs::remove_file(world.path(".many.partial/data/part-00000.parquet")).unwrap();
    let ran = commit(&world, "many");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("again for 1/2, then commit"), "{}", ran.stderr);
    part(&world, "many", "1/2").ok();
    assert_commits(&world, &[]);
}

#[test]
fn changed_moves_of_a_begun_commit_lose_no_range() {
    let world = begun_commit();
    let moves = world.path(".many.partial/commit.json");
    let text = fs::read_to_string(&moves).unwrap();
    fs::write(&moves, text.replacen("00001-", "00002-", 1)).unwrap();
    let ran = commit(&world, "many");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("again for 1/2 to 2/2, then commit"), "{}", ran.stderr);
    assert_completes(&world, 2, &[]);
}

#[test]
fn begun_commit_can_be_aborted() {
    let world = begun_commit();
    step(&world, &["abort", "-o", "many"]).ok();
    assert!(world.entries().is_empty(), "{:?}", world.entries());
}

#[test]
#[cfg(unix)]
fn interrupted_commit_says_what_continues_it() {
    let world = finished();
    let run = waiting_commit(&world, Duration::from_secs(60));
    super::refused::signal(&run, "INT");
    let ran = Ran::from(run.wait_with_output().unwrap());
    insta::assert_snapshot!(ran.told(&world), @"
    exit 130
    error: interrupted by SIGINT
      hint: no range is lost: `overmind-export commit` continues it
    ");
    commit(&world, "many").ok();
}

#[test]
fn begins_at_the_same_time_share_a_plan() {
    let world = world();
    let id = ID.to_string();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let mut command = world.command();
            command.args(["begin", &id, "-o", "many", "--ranges", "4"]).args(PLAN);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let runs = runs.into_iter().map(|run| Ran::from(run.wait_with_output().unwrap()).ok().stdout);
    let plans: std::collections::BTreeSet<String> = runs.collect();
    assert_eq!(plans.len(), 1, "{plans:?}");
    assert_eq!(world.entries(), [".many.partial"]);
}

#[test]
fn second_commit_says_that_it_was_committed() {
    let world = finished();
    let first = commit(&world, "many").ok();
    assert!(!first.stderr.contains("rows/s"), "{}", first.stderr);
    let (before, requests) = (comparable(&world, "many").0, world.server.stats().requests);
    let again = commit(&world, "many").ok();
    let record: Value = serde_json::from_slice(&world.read("many.manifest.json")).unwrap();
    let words = format!(
        "no plan is there: the export of plan {} was committed before, at 20",
        record["plan"].as_str().unwrap()
    );
    assert!(again.stderr.contains(&words), "{}", again.stderr);
    assert!(comparable(&world, "many").0 == before);
    assert_eq!(world.server.stats().requests, requests);
    // An export of a single machine was not committed.
    world.export(&[&["-o", "many", "--overwrite"], &PLAN[..]].concat()).ok();
    assert_eq!(commit(&world, "many").code, Some(75));
}

#[test]
fn key_file_does_not_depend_on_the_working_directory() {
    let world = world();
    fs::write(
        world.path("key"),
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    )
    .unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(world.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    }
    begin(&world, "many", 1, &["--pseudonymise", ".persona", "--pseudonym-key-file", "key"]).ok();
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for arguments in
        [&["part", "-o", "../many", "--range", "1/1"][..], &["commit", "-o", "../many"]]
    {
        Ran::of(world.command().current_dir(&elsewhere).args(arguments)).ok();
    }
}

#[test]
fn files_of_killed_preflights_are_removed() {
    let world = world();
    let make = |name: &str| {
        fs::create_dir(world.path(name)).unwrap();
        fs::write(world.path(&format!("{name}/alive")), "").unwrap();
        fs::create_dir(world.path(&format!("{name}.new"))).unwrap();
        fs::write(world.path(&format!("{name}.partial")), ".").unwrap();
    };
    make(".overmind-0a1b2c3d");
    make(".overmind-00000001");
    // A process that is active holds the lock.
    let alive = fs::File::open(world.path(".overmind-00000001/alive")).unwrap();
    alive.lock().unwrap();
    begin(&world, "many", 2, &[]).ok();
    let own = [".overmind-00000001", ".overmind-00000001.new", ".overmind-00000001.partial"];
    assert_eq!(world.entries(), [&[".many.partial"], &own[..]].concat());
    drop(alive);
    step(&world, &["abort", "-o", "many"]).ok();
    assert!(world.entries().is_empty(), "{:?}", world.entries());
}
