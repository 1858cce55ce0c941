//! Commits that replace an export, were killed, and cannot be finished. The replaced export comes back.

use std::{fs, path::PathBuf};

use super::{assert_completes, begin, commit, step, world, write_parts};
use crate::{
    process::faults,
    support::{Ran, World},
    tree::content,
};

/// A commit that was killed after it had swapped the new parts with the old ones, and before it published its record. `None`
/// if this system cannot kill it there.
fn swapped() -> Option<World> {
    let faults = faults()?;
    for syncs in 0.. {
        let world = world();
        world.export(&["-o", "many", "--limit", "10"]).ok();
        begin(&world, "many", 2, &["--overwrite"]).ok();
        write_parts(&world, 2);
        let mut commit = world.command();
        commit.env("LD_PRELOAD", faults).env("FAULT_KILL", syncs.to_string());
        let ran = Ran::of(commit.args(["commit", "-o", "many"]));
        assert_eq!(ran.code, None, "no kill came between the swap and the record: {ran:?}");
        if world.path("many/part-00009.parquet").exists() {
            return Some(world);
        }
    }
    None
}

/// The first of the new parts.
fn visible_part(world: &World) -> PathBuf {
    world.path("many/part-00000.parquet")
}

/// Asserts that the replaced export is at its place, and intact.
#[track_caller]
fn assert_is_old(world: &World) {
    let names: Vec<_> = content(&world.path("many")).into_keys().collect();
    assert_eq!(names, ["part-00000.parquet", "the record"]);
    step(world, &["verify", "many"]).ok();
}

#[test]
fn replaced_export_comes_back_for_a_changed_part() {
    let Some(world) = swapped() else { return };
    fs::write(visible_part(&world), "changed").unwrap();
    insta::assert_snapshot!(commit(&world, "many").told(&world), @"
    exit 65
    error: many: the export is not complete: range 1 of 2: pages 1 to 20 cannot be used: its part part-00000.parquet has another size than when it was written
      hint: nothing was published, and all other ranges are kept: run `overmind-export part` again for 1/2, then commit
    ");
    assert_is_old(&world);
    assert_completes(&world, 2, &[]);

    let Some(world) = swapped() else { return };
    fs::write(visible_part(&world), "changed").unwrap();
    step(&world, &["abort", "-o", "many"]).ok();
    assert_is_old(&world);
    assert_eq!(world.entries(), ["many", "many.manifest.json"]);
}

#[test]
fn replaced_export_comes_back_for_moved_parts() {
    for end in ["commit", "abort"] {
        let Some(world) = swapped() else { return };
        fs::write(visible_part(&world), "changed").unwrap();
        fs::write(world.path("many/notes.txt"), "mine").unwrap();
        let ran = step(&world, &[end, "-o", "many"]);
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains("hint: move the directory away: "), "{ran:?}");
        fs::rename(world.path("many"), world.path("aside")).unwrap();
        let ran = step(&world, &[end, "-o", "many"]);
        assert_eq!(ran.code, Some(if end == "commit" { 65 } else { 0 }), "{ran:?}");
        assert_is_old(&world);
        if end == "commit" {
            assert!(ran.stderr.contains("again for 1/2 to 2/2, then commit"), "{ran:?}");
            assert_completes(&world, 2, &[]);
        }
    }
}

#[test]
fn killed_replacement_is_finished_by_both_steps() {
    for (end, code) in [("commit", 0), ("abort", 73)] {
        let Some(world) = swapped() else { return };
        let ran = step(&world, &[end, "-o", "many"]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        super::assert_is_of_one_machine(&world, &[]);
        assert_eq!(world.entries(), ["alone", "alone.manifest.json", "many", "many.manifest.json"]);
    }
}
