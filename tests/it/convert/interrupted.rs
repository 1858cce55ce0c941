//! Conversions that are stopped or killed, and the files that they leave.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use overmind_export::{
    Convert, ConvertOptions, ConvertPlan, Transform,
    demo::{Fault, FaultAttempt, Faults, Options},
};

use super::{convert, export, run, verified};
use crate::{
    support::{Ran, World, entries, wait_until},
    transform,
};

/// Takes longer for a row than any test waits.
const SLOW: &str = "[range(100000)] | map(. * 3) | sort | length == 0";

fn start(world: &World, arguments: &[&str]) -> Child {
    let mut command = world.command();
    let command = command.args(["convert", "source.parquet"]).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Whether the staging of this output is there.
fn is_staged(world: &World, out: &str) -> bool {
    world.path(&format!(".{}.partial", out.trim_end_matches('/'))).exists()
}

#[test]
fn interrupted_conversion_leaves_nothing() {
    let world = super::world(transform::rows(3000));
    export(&world, &["-o", "source.parquet"]);
    let mut told = String::new();
    for (out, name) in [("out.jsonl", "-INT"), ("out/", "-TERM")] {
        let child = start(&world, &["-o", out, "--where", SLOW]);
        wait_until(|| is_staged(&world, out));
        signal(&child, name);
        told += &Ran::from(child.wait_with_output().unwrap()).told(&world);
        assert_eq!(world.entries(), ["source.parquet"]);
    }
    insta::assert_snapshot!(told, @"
    exit 130
    error: interrupted by SIGINT
      hint: nothing was written: run the same command again
    exit 143
    error: interrupted by SIGTERM
      hint: nothing was written: run the same command again
    ");
}

#[test]
fn dropped_conversion_ends_its_threads() {
    let world = super::world(transform::rows(3000));
    export(&world, &["-o", "source.parquet"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut options = ConvertOptions::new(world.path("source.parquet"), world.path("out.jsonl"));
    options.transform = Transform::new().keep_where(SLOW);
    options.encode_threads = Some(1);
    let plan = ConvertPlan::new(options).unwrap();
    runtime.block_on(async {
        // The conversion runs on its own threads, which a paused clock does not reach.
        let staged = async {
            while !is_staged(&world, "out.jsonl") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let staged = async { tokio::time::timeout(Duration::from_secs(60), staged).await.unwrap() };
        tokio::select! {
            ended = Convert::new(plan).run() => panic!("{ended:?}"),
            () = staged => {}
        }
    });
    // The lock of the output is free again, long before all rows are through.
    wait_until(|| {
        let ran = run(&world, &["source.parquet", "-o", "out.jsonl", "--manifest"]);
        assert!(matches!(ran.code, Some(0 | 75)), "{ran:?}");
        ran.code == Some(0)
    });
    assert!(verified(&world, "out.jsonl").contains("ok, "));
}

#[test]
fn killed_conversion_begins_again() {
    let world = super::world(transform::rows(3000));
    export(&world, &["-o", "source.parquet"]);
    for out in ["out.jsonl", "out/"] {
        let mut child = start(
            &world,
            &["-o", out, "--where", SLOW, "--rows-per-file", "10"]
                [..if out == "out/" { 6 } else { 4 }],
        );
        wait_until(|| is_staged(&world, out));
        signal(&child, "-KILL");
        child.wait().unwrap();
        assert!(!world.path(out).exists());
        convert(&world, &["source.parquet", "-o", out]);
        assert!(!is_staged(&world, out));
    }
    assert!(verified(&world, "out/").contains("ok, 3,000 rows"));
}

#[test]
fn killed_conversion_with_splits_begins_again() {
    let world = super::world(transform::rows(12_000));
    export(&world, &["-o", "source.parquet"]);
    let splits = [&["--split", "a=0.5,b=0.5"][..], &["--split", "a=0.5,c=0.5"], &[]];
    for (killed, next) in splits.into_iter().zip(splits.into_iter().cycle().skip(1)) {
        // The first rows are written at once, and the last ones never.
        let slow = format!("if .order < 11000 then true else {SLOW} end");
        let parts = ["-o", "out/", "--where", &slow, "--rows-per-file", "100", "--overwrite"];
        let mut child = start(&world, &[&parts[..], killed].concat());
        let folder = if killed.is_empty() { "data" } else { "data/a" };
        let staged = world.path(".out.partial").join(folder);
        wait_until(|| std::fs::read_dir(&staged).is_ok_and(|parts| parts.count() > 5));
        signal(&child, "-KILL");
        child.wait().unwrap();
        let again = ["source.parquet", "-o", "out/", "--overwrite"];
        convert(&world, &[&again[..], next].concat());
        assert!(!is_staged(&world, "out/"));
        assert!(verified(&world, "out/").contains("ok, 12,000 rows"));
    }
}

#[test]
fn interrupted_export_is_not_discarded() {
    let faults = Faults::none().on(15, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, transform::rows(2000));
    export(&world, &["-o", "source.parquet", "--limit", "100"]);
    let parts =
        ["-o", "out/", "--rows-per-file", "200", "--max-retries", "0", "--concurrency", "1"];
    assert_eq!(world.export(&parts).code, Some(69));
    let split = ["source.parquet", "-o", "out/", "--split", "a=0.5,b=0.5"];
    assert_eq!(run(&world, &split).code, Some(73));
    let ran = run(&world, &["source.parquet", "-o", "out/"]);
    insta::assert_snapshot!(ran.told(&world), @"
    exit 73
    error: out/: an interrupted export to it can still be resumed
      hint: run that export again, give --restart to delete its parts, or give another path
    ");
    assert!(is_staged(&world, "out/"));
    world.server.set_faults(Faults::none());
    assert!(world.export(&parts).ok().stderr.contains("resuming: "));
    convert(&world, &["source.parquet", "-o", "other/"]);
    assert_eq!(entries(&world.path("other")), ["part-00000.parquet"]);
}
