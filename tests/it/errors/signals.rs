//! Runs that receive SIGINT or SIGTERM: the exit code, and the hint about resuming.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use overmind_export::demo::{Fault, FaultAttempt::*, Faults, Options};

use super::tell;
use crate::support::{ID, World};

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A world whose API never answers requests for page 8.
fn world() -> World {
    let faults = Faults::none().on(8, Always, Fault::Delay(2 * TIME_LIMIT));
    World::generated(Options { faults, ..Options::default() }, 1000)
}

/// The output of an export that receives this signal while it waits for page 8.
fn stopped(world: &World, signal: &str, arguments: &str) -> String {
    let mut command = world.command();
    command.args(["export", &ID.to_string(), "--concurrency", "1"]).args(arguments.split(' '));
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(world.server.wait_until(TIME_LIMIT, |stats| stats.attempts(ID, 8) > 0));
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    tell(world, &child.wait_with_output().unwrap().into())
}

#[test]
fn interrupted_file_export_leaves_nothing() {
    let world = world();
    insta::assert_snapshot!(stopped(&world, "-INT", "-o rows.jsonl"), @"
    exit 130
    error: interrupted by SIGINT
      hint: nothing was written: run the same command again, or export to a directory (a path that ends in a slash), which can be resumed
    ");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn terminated_run_without_parts_leaves_nothing() {
    let world = world();
    insta::assert_snapshot!(stopped(&world, "-TERM", "-o parts/"), @"
    exit 143
    error: interrupted by SIGTERM
      hint: no new part was finished: run the same command again
    ");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn terminated_run_with_parts_is_resumed() {
    let world = world();
    let arguments = "-o parts/ --rows-per-file 100";
    insta::assert_snapshot!(stopped(&world, "-TERM", arguments), @"
    exit 143
    error: interrupted by SIGTERM
      hint: run the same command again to resume where it stopped
    ");
    assert_eq!(world.entries(), [".parts.partial"]);
    world.server.set_faults(Faults::none());
    let ran = world.export(&arguments.split(' ').collect::<Vec<_>>()).ok();
    assert!(ran.stderr.starts_with("resuming: "), "{}", ran.stderr);
    assert_eq!(world.entries(), ["parts", "parts.manifest.json"]);
}

#[test]
fn interrupted_standard_output_is_incomplete() {
    insta::assert_snapshot!(stopped(&world(), "-INT", "-o -"), @"
    exit 130
    error: interrupted by SIGINT
      hint: the output is not complete: run the same command again
    ");
}
