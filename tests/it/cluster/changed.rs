//! Records and plans that were changed, and places that other programs have taken. Nothing of it is published.

use std::{fs, path::PathBuf};

use super::{assert_commits, begin, commit, part, step, world, write_parts};
use crate::support::{Ran, World, resealed};

fn record_of(world: &World, range: u32) -> PathBuf {
    world.path(&format!(".many.partial/ranges/range-0000{range}-0.json"))
}

/// Changes the text of a file. Panics if the change changes nothing.
fn change(path: &PathBuf, from: &str, to: &str) {
    let before = fs::read_to_string(path).unwrap();
    let after = before.replacen(from, to, 1);
    assert_ne!(before, after, "{from}");
    fs::write(path, after).unwrap();
}

/// A name, options of `begin`, and what happens to the record of a range.
type DamageCase = (&'static str, &'static [&'static str], &'static dyn Fn(&PathBuf));

#[test]
fn changed_record_of_a_range_is_refused() {
    const DIGITS: &str = "xxh3-128-poly:";
    let table: [DamageCase; 6] = [
        ("digest", &[], &|record| {
            let text = fs::read_to_string(record).unwrap();
            let at = text.find(DIGITS).unwrap() + DIGITS.len();
            change(record, &text[at..at + 32], &"0".repeat(32));
        }),
        ("rows", &["--where", ".order % 3 != 0"], &|record| {
            change(record, "\"rows\":1", "\"rows\":2");
        }),
        (
            "failed",
            &["--where", ".order < 5 or (.input | tonumber > 0)", "--on-error", "skip"],
            &|record| change(record, "\"failed\":", "\"failed\":1,\"was\":"),
        ),
        ("split", &["--split", "train=0.5,test=0.5"], &|record| {
            change(record, "\"split\":\"train\"", "\"split\":\"test\"");
        }),
        ("order", &[], &|record| change(record, "\"first_order\":0", "\"first_order\":1")),
        ("bytes", &[], &|record| {
            // Like a flipped bit on a disk.
            let mut bytes = fs::read(record).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(record, bytes).unwrap();
        }),
    ];
    for (field, more, damage) in table {
        println!("{field}");
        let world = world();
        begin(&world, "many", 2, more).ok();
        write_parts(&world, 2);
        damage(&record_of(&world, 1));
        let ran = commit(&world, "many");
        assert_eq!(ran.code, Some(65), "{field}: {ran:?}");
        assert!(ran.stderr.contains("many: the export is not complete: range 1 of 2: "), "{ran:?}");
        assert!(ran.stderr.contains(" cannot be used: its record was changed\n"), "{ran:?}");
        assert!(ran.stderr.contains(" part` again for 1/2, then commit"), "{field}: {ran:?}");
        let status = step(&world, &["status", "-o", "many"]).ok().stdout;
        assert!(status.contains("unusable"), "{status}");
        assert!(!part(&world, "many", "1/2").ok().stderr.contains("finished before"));
        assert!(part(&world, "many", "2/2").ok().stderr.contains("finished before"));
        assert_commits(&world, more);
        Ran::of(world.command().args(["verify", "many"])).ok();
    }
}

#[test]
fn damaged_plan_is_given_up() {
    let world = world();
    world.export(&["-o", "many", "--limit", "10"]).ok();
    begin(&world, "many", 2, &["--overwrite"]).ok();
    part(&world, "many", "1/2").ok();
    let before = world.read("many.manifest.json");
    change(&world.path(".many.partial/plan.json"), "\"count\":1000", "\"count\":1001");
    for step in [part(&world, "many", "2/2"), commit(&world, "many")] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(step.told(&world), @"
            exit 65
            error: many: its plan for many workers was changed, or this version cannot read it
              hint: `overmind-export abort` removes it with everything that workers have staged; then begin again
            ");
        }
    }
    assert_eq!(step(&world, &["status", "-o", "many"]).code, Some(65));
    insta::assert_snapshot!(begin(&world, "many", 2, &["--overwrite"]).told(&world), @"
    exit 73
    error: many: another plan was begun there: it was changed, or this version cannot read it
      hint: give --restart to remove its parts and begin this one
    ");
    step(&world, &["abort", "-o", "many"]).ok();
    assert_eq!(world.entries(), ["many", "many.manifest.json"]);
    assert!(world.read("many.manifest.json") == before);
    Ran::of(world.command().args(["verify", "many"])).ok();
}

/// A file that is not a regular one ends every step in the same way.
#[test]
#[cfg(unix)]
fn links_and_pipes_end_every_step_alike() {
    let link = |path: &PathBuf| std::os::unix::fs::symlink("/etc/hostname", path).unwrap();
    let pipe = |path: &PathBuf| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    for make in [&link as &dyn Fn(&PathBuf), &pipe] {
        for name in ["plan.json", "ranges"] {
            let world = world();
            begin(&world, "many", 2, &[]).ok();
            let path = world.path(&format!(".many.partial/{name}"));
            fs::rename(&path, world.path("aside")).unwrap();
            make(&path);
            let steps = [
                &["part", "-o", "many", "--range", "1/2"][..],
                &["commit", "-o", "many"],
                &["status", "-o", "many"],
            ];
            for arguments in steps {
                let ran = step(&world, arguments);
                assert_eq!(ran.code, Some(73), "{name} {arguments:?}: {ran:?}");
            }
            assert!(path.symlink_metadata().is_ok());
            // Only what is in the staging is removed.
            step(&world, &["abort", "-o", "many"]).ok();
            assert_eq!(world.entries(), ["aside"]);
        }
    }
}

#[test]
fn status_writes_nothing() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    part(&world, "many", "1/2").ok();
    // A file that is made and removed again changes the time of its folder.
    let times = || {
        [".", ".many.partial", ".many.partial/ranges"]
            .map(|name| fs::metadata(world.path(name)).unwrap().modified().unwrap())
    };
    let before = times();
    step(&world, &["status", "-o", "many"]).ok();
    assert_eq!(times(), before);
}

#[test]
fn resealed_record_of_another_range_is_not_used() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    part(&world, "many", "1/2").ok();
    let text = fs::read_to_string(record_of(&world, 1)).unwrap();
    let text = resealed(&text.replacen("\"range\":1", "\"range\":2", 1));
    fs::write(record_of(&world, 2), text).unwrap();
    let ran = commit(&world, "many");
    assert!(ran.stderr.contains("range 2 of 2: pages 21 to 40 cannot be used: "), "{ran:?}");
    part(&world, "many", "2/2").ok();
    commit(&world, "many").ok();
}
