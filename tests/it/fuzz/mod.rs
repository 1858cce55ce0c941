//! Replays the corpora of the fuzzers: every committed input, through its target, with limited memory.

mod seeds;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use overmind_export::fuzzing::TARGETS;

use crate::support::{Ran, side_by_side};

const TARGET: &str = "OVERMIND_EXPORT_TEST_TARGET";

/// The project of the fuzzers.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The paths in a folder of the project, sorted.
fn paths(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(project().join(folder)).unwrap_or_else(|_| panic!("no {folder}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn stems(paths: &[PathBuf]) -> BTreeSet<String> {
    paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "another test starts it in a child process, to limit its memory"]
fn one_corpus() {
    let Ok(name) = env::var(TARGET) else { return };
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    for path in paths(&format!("corpus/{name}")) {
        println!("replaying {}", path.display());
        target(&fs::read(path).unwrap());
    }
}

#[test]
fn corpora_hold_the_invariants() {
    side_by_side(TARGETS.iter(), |(name, _)| {
        assert!(!paths(&format!("corpus/{name}")).is_empty(), "{name} has no corpus");
        // The memory that the process may address. An input that declares gigabytes must not get them.
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 1000000; exec \"$0\" \"$@\""]);
        limited.arg(env::current_exe().unwrap());
        limited.args(["--exact", "fuzz::one_corpus", "--ignored", "--nocapture"]);
        let ran = Ran::of(limited.env(TARGET, name));
        assert!(ran.code == Some(0) && ran.stdout.contains("1 passed"), "{name}: {ran:?}");
    });
}

#[test]
fn each_target_has_a_program() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs = paths("targets");
    let manifest = fs::read_to_string(project().join("Cargo.toml")).unwrap();
    for path in &programs {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("target!(\"{name}\");")), "{name}");
        let path = format!("name = \"{name}\"\npath = \"targets/{name}.rs\"");
        assert!(manifest.contains(&path), "{name}");
    }
    let (programs, corpora) = (stems(&programs), stems(&paths("corpus")));
    // Without object stores, one target is left out.
    let all = |found: &BTreeSet<String>| match cfg!(feature = "clouds") {
        true => *found == known,
        false => found.is_superset(&known),
    };
    assert!(all(&programs) && all(&corpora), "{known:?}, {programs:?}, {corpora:?}");
}
