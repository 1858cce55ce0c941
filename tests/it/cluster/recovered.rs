//! Ways out of a staging that was damaged: each state has a command that leads out of it.

use std::{fs, path::Path, time::Duration};

use super::{
    assert_commits, assert_completes, assert_is_of_one_machine, begin, commit, finished,
    interrupted::{begun_commit, waiting_commit},
    part, step, world, write_parts,
};
use crate::support::{Ran, World};

/// A commit that ended after it had made the directory visible, without its record in `records`.
fn renamed_without_record() -> World {
    let world = world();
    fs::create_dir(world.path("records")).unwrap();
    begin(&world, "many", 2, &["--record", "records/r.json"]).ok();
    write_parts(&world, 2);
    let run = waiting_commit(&world, Duration::from_secs(3));
    fs::remove_dir(world.path("records")).unwrap();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(74), "{ran:?}");
    fs::create_dir(world.path("records")).unwrap();
    assert!(world.path("many/part-00000.parquet").exists());
    world
}

/// The same, and then one of its parts was changed.
fn changed_after_rename() -> World {
    let world = renamed_without_record();
    fs::write(world.path("many/part-00000.parquet"), "changed").unwrap();
    world
}

fn abort(world: &World) -> Ran {
    step(world, &["abort", "-o", "many"])
}

#[test]
fn changed_visible_part_is_written_again() {
    for is_lost in [false, true] {
        let world = changed_after_rename();
        if is_lost {
            fs::remove_file(world.path("many/part-00000.parquet")).unwrap();
        }
        let ran = commit(&world, "many");
        assert_eq!(ran.code, Some(65), "{ran:?}");
        let words = "range 1 of 2: pages 1 to 20 cannot be used: its part part-00000.parquet";
        assert!(ran.stderr.contains(words), "{ran:?}");
        assert!(ran.stderr.contains(" part` again for 1/2, then commit"), "{ran:?}");
        assert_eq!(world.entries(), [".many.partial", "records"]);
        part(&world, "many", "1/2").ok();
        commit(&world, "many").ok();
        fs::rename(world.path("records/r.json"), world.path("many.manifest.json")).unwrap();
        assert_is_of_one_machine(&world, &[]);
    }
}

#[test]
fn abort_removes_visible_parts_of_a_commit() {
    let world = changed_after_rename();
    abort(&world).ok();
    assert_eq!(world.entries(), ["records"]);
}

#[test]
fn changed_part_after_the_record_is_left_to_verify() {
    for end in ["commit", "abort"] {
        let world = renamed_without_record();
        // The commit was killed just after it had renamed its record.
        fs::copy(world.path(".many.partial/record.json"), world.path("records/r.json")).unwrap();
        fs::write(world.path("many/part-00000.parquet"), "changed").unwrap();
        let ran = step(&world, &[end, "-o", "many"]);
        if end == "commit" {
            ran.ok();
        } else {
            insta::assert_snapshot!(ran.told(&world), @"
            exit 73
            error: many: is complete: this run has finished the publication of an interrupted run
              hint: a commit had begun to publish it, and now it is complete
            ");
        }
        // The export was complete. The change is one of a published export.
        assert_eq!(world.entries(), ["many", "records"]);
        fs::rename(world.path("records/r.json"), world.path("many.manifest.json")).unwrap();
        let verified = step(&world, &["verify", "many"]);
        assert_eq!(verified.code, Some(65), "{verified:?}");
    }
}

#[test]
fn file_added_to_visible_parts_is_named() {
    let world = changed_after_rename();
    fs::write(world.path("many/notes.txt"), "mine").unwrap();
    for ran in [commit(&world, "many"), abort(&world)] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.told(&world), @r#"
            exit 73
            error: many: an interrupted commit has made it visible. Since then, parts were changed or removed, and "notes.txt" was added
              hint: move the directory away: then `overmind-export commit` names the ranges to write again, and `overmind-export abort` gives the export up
            "#);
        }
    }
    // The hint leads out of it.
    fs::rename(world.path("many"), world.path("aside")).unwrap();
    let ran = commit(&world, "many");
    assert!(ran.stderr.contains("again for 1/2 to 2/2, then commit"), "{ran:?}");
    abort(&world).ok();
    assert_eq!(world.entries(), ["aside", "records"]);
}

#[test]
fn commit_names_no_option_that_it_lacks() {
    let world = finished();
    fs::create_dir(world.path("many")).unwrap();
    fs::write(world.path("many/notes.txt"), "mine").unwrap();
    insta::assert_snapshot!(commit(&world, "many").told(&world), @"
    exit 73
    error: many: exists already and is not empty
      hint: move it away and run `overmind-export commit` again; or give the export up with `overmind-export abort`, and begin again with --overwrite
    ");
    fs::rename(world.path("many"), world.path("aside")).unwrap();
    commit(&world, "many").ok();
}

#[test]
fn abort_says_what_it_removed() {
    let world = finished();
    let json = step(&world, &["abort", "-o", "many", "--json", "-q"]).ok();
    assert!(json.stderr.is_empty(), "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["ranges"], &json["files"]), (&2.into(), &10.into()));
    assert!(json["plan"].is_string() && json["bytes"].as_u64() > Some(0), "{json}");
    let world = finished();
    let told = abort(&world).ok().stderr;
    assert!(told.starts_with("many: plan "), "{told}");
    assert!(told.contains(" was removed, with 2 finished ranges: 10 files in "), "{told}");
}

#[test]
fn abort_without_a_plan_removes_moved_parts() {
    let world = begun_commit();
    // The commit was killed before it announced its publication, and the plan was lost.
    let journal = world.path(".many.partial/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, &text[..=text.find('\n').unwrap()]).unwrap();
    fs::remove_file(world.path(".many.partial/plan.json")).unwrap();
    let told = abort(&world).ok().stderr;
    let words = "many: everything that was staged for it was removed; its plan could not be read";
    assert_eq!(told.trim_end(), words);
    assert!(world.entries().is_empty(), "{:?}", world.entries());
    assert_eq!(abort(&world).code, Some(66));
}

#[test]
fn export_after_a_lost_plan_is_not_aborted() {
    use overmind_export::demo::{Fault, FaultAttempt, Faults};
    let world = begun_commit();
    fs::remove_file(world.path(".many.partial/plan.json")).unwrap();
    fs::write(world.path(".many.partial/journal.jsonl"), "").unwrap();
    world.server.set_faults(Faults::none().on(30, FaultAttempt::Always, Fault::status(503)));
    let arguments = [&["-o", "many", "--max-retries", "0"], &super::PLAN[..]].concat();
    assert_eq!(world.export(&arguments).code, Some(69));
    abort(&world).ok();
    assert!(world.path(".many.partial/data/part-00000.parquet").exists());
    world.server.set_faults(Faults::none());
    assert!(world.export(&arguments).ok().stderr.contains("kept"));
}

/// Makes something that is not a regular file.
type Oddity = dyn Fn(&Path);

fn each_oddity(test: impl Fn(&Oddity)) {
    test(&|path| fs::create_dir(path).unwrap());
    #[cfg(unix)]
    {
        test(&|path| std::os::unix::fs::symlink("/etc/hostname", path).unwrap());
        test(&|path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        });
    }
}

#[test]
fn odd_files_of_old_attempts_block_nothing() {
    each_oddity(|make| {
        for end in ["commit", "abort", "restart"] {
            let world = finished();
            let old = world.path(".many.partial/ranges/00002-0a1b2c3d");
            fs::create_dir(&old).unwrap();
            make(&old.join("part-00000.parquet"));
            assert!(part(&world, "many", "2/2").ok().stderr.contains("finished before"));
            match end {
                "commit" => drop(commit(&world, "many").ok()),
                "abort" => drop(abort(&world).ok()),
                _ => drop(begin(&world, "many", 2, &["--restart"]).ok()),
            }
            assert!(!old.exists(), "{end}");
            if end == "commit" {
                assert_is_of_one_machine(&world, &[]);
            }
        }
    });
}

#[test]
fn odd_plan_is_removed() {
    each_oddity(|make| {
        let world = finished();
        let plan = world.path(".many.partial/plan.json");
        fs::remove_file(&plan).unwrap();
        make(&plan);
        assert_eq!(commit(&world, "many").code, Some(73));
        abort(&world).ok();
        assert!(world.entries().is_empty(), "{:?}", world.entries());
        let world = finished();
        let plan = world.path(".many.partial/plan.json");
        fs::remove_file(&plan).unwrap();
        make(&plan);
        begin(&world, "many", 2, &["--restart"]).ok();
        assert_eq!(commit(&world, "many").code, Some(65));
    });
}

/// A link to a recorded part, or another name of it, is not published.
#[test]
#[cfg(unix)]
fn linked_part_is_written_again() {
    for is_hard in [false, true] {
        let world = finished();
        let ranges = world.path(".many.partial/ranges");
        let own = fs::read_dir(&ranges).unwrap().map(|it| it.unwrap().path());
        let own = own.filter(|it| it.is_dir()).map(|it| it.join("part-00000.parquet"));
        let (own, aside) = (own.into_iter().next().unwrap(), world.path("aside"));
        if is_hard {
            fs::hard_link(&own, &aside).unwrap();
        } else {
            fs::rename(&own, &aside).unwrap();
            std::os::unix::fs::symlink(&aside, &own).unwrap();
        }
        let ran = commit(&world, "many");
        assert_eq!(ran.code, Some(65), "{ran:?}");
        let why = if is_hard { "is a hard link" } else { "has another size" };
        assert!(ran.stderr.contains(&format!("its part part-00000.parquet {why}")), "{ran:?}");
        assert_completes(&world, 2, &[]);
    }
}

#[test]
fn lost_folder_of_ranges_is_made_again() {
    for is_committed in [false, true] {
        let world = finished();
        fs::remove_dir_all(world.path(".many.partial/ranges")).unwrap();
        let status = step(&world, &["status", "-o", "many"]).ok().stdout;
        assert!(status.starts_with("0 of 2 ranges finished"), "{status}");
        if is_committed {
            let ran = commit(&world, "many");
            assert_eq!(ran.code, Some(65), "{ran:?}");
        }
        assert_completes(&world, 2, &[]);
    }
}

#[test]
fn odd_record_hides_no_other_range() {
    let is_named = |make: &Oddity| {
        let world = finished();
        let record = world.path(".many.partial/ranges/range-00001-0.json");
        fs::remove_file(&record).unwrap();
        make(&record);
        let status = step(&world, &["status", "-o", "many"]).ok().stdout;
        assert!(status.starts_with("1 of 2 ranges finished"), "{status}");
        assert!(status.contains("unusable"), "{status}");
        let ran = commit(&world, "many");
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.stderr.contains("again for 1/2, then commit"), "{ran:?}");
        part(&world, "many", "1/2").ok();
        assert_commits(&world, &[]);
    };
    each_oddity(is_named);
    // A sparse file.
    is_named(&|path| fs::File::create(path).unwrap().set_len(300 << 20).unwrap());
}

#[test]
fn status_finds_lost_parts_of_a_begun_commit() {
    for is_visible in [false, true] {
        let world = begun_commit();
        let mut data = world.path(".many.partial/data");
        if is_visible {
            fs::rename(&data, world.path("many")).unwrap();
            data = world.path("many");
        }
        let status = || step(&world, &["status", "-o", "many"]).ok().stdout;
        assert!(status().starts_with("2 of 2 ranges finished"), "{}", status());
        fs::remove_file(data.join("part-00000.parquet")).unwrap();
        assert!(status().starts_with("1 of 2 ranges finished"), "{}", status());
        assert!(status().contains("no longer there"), "{}", status());
    }
}
