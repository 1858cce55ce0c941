//! A run that is told to stop: how it ends, and what it says about continuing.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use overmind_export::demo::{Fault, FaultAttempt::*, Faults, Options};

use super::tell;
use crate::support::{ID, World};

const PATIENCE: Duration = Duration::from_secs(60);

/// An API on which page 8 never comes.
fn world() -> World {
    let faults = Faults::none().on(8, Always, Fault::Delay(2 * PATIENCE));
    World::generated(Options { faults, ..Options::default() }, 1000)
}

/// What an export says that gets this signal while it waits for page 8.
fn stopped(world: &World, signal: &str, arguments: &str) -> String {
    let mut command = world.command();
    command.args(["export", &ID.to_string(), "--concurrency", "1"]).args(arguments.split(' '));
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(world.server.wait_until(PATIENCE, |stats| stats.attempts(ID, 8) > 0));
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    tell(world, &child.wait_with_output().unwrap().into())
}

#[test]
fn an_interrupted_file_starts_over_and_leaves_nothing() {
    let world = world();
    insta::assert_snapshot!(stopped(&world, "-INT", "-o rows.jsonl"), @"
    exit 130
    error: interrupted by SIGINT
      hint: nothing was written: run the same command again, or export to a directory (a path that ends in a slash), which can be resumed
    ");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn a_terminated_directory_without_a_finished_part_leaves_nothing() {
    let world = world();
    insta::assert_snapshot!(stopped(&world, "-TERM", "-o parts/"), @"
    exit 143
    error: interrupted by SIGTERM
      hint: no new part was finished: run the same command again
    ");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn a_terminated_directory_with_finished_parts_is_continued() {
    let world = world();
    let arguments = "-o parts/ --rows-per-file 100";
    insta::assert_snapshot!(stopped(&world, "-TERM", arguments), @"
    exit 143
    error: interrupted by SIGTERM
      hint: run the same command again to continue where it stopped
    ");
    assert_eq!(world.entries(), [".parts.partial"]);
    world.server.set_faults(Faults::none());
    let ran = world.export(&arguments.split(' ').collect::<Vec<_>>()).ok();
    assert!(ran.stderr.starts_with("resuming: "), "{}", ran.stderr);
    assert_eq!(world.entries(), ["parts"]);
}

#[test]
fn interrupted_standard_output_is_not_complete() {
    insta::assert_snapshot!(stopped(&world(), "-INT", "-o -"), @"
    exit 130
    error: interrupted by SIGINT
      hint: the output is not complete: run the same command again
    ");
}
