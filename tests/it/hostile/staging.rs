//! Staging that another user created, and staging that a run lost to another run.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use overmind_export::demo::{Fault, FaultAttempt, Faults};

use super::{SOON, fifo, give_away, signal, waiting, world};
use crate::{
    support::{ID, Ran, World},
    tree::{content, tree},
};

pub(super) const PARTS: [&str; 6] = ["-o", "rows", "--page-size", "25", "--rows-per-file", "50"];

/// A folder of this user with files that no export may change.
pub(super) fn victim(world: &World) -> PathBuf {
    let victim = world.path("victim");
    fs::create_dir(&victim).unwrap();
    for name in ["part-00000.parquet", "lock", "letter.txt"] {
        fs::write(victim.join(name), "mine").unwrap();
    }
    victim
}

#[test]
fn other_users_staging_is_refused() {
    for (output, staging) in [("rows", ".rows.partial"), ("rows.parquet", ".rows.parquet.partial")]
    {
        let world = world();
        if output == "rows" {
            fs::create_dir_all(world.path(".rows.partial/data")).unwrap();
        } else {
            fs::write(world.path(staging), "").unwrap();
        }
        if !give_away(&world.path(staging)) {
            return;
        }
        let before = tree(world.folder.path());
        for more in [&[][..], &["--overwrite"], &["--restart"]] {
            let ran = world.export(&[&["-o", output], more].concat());
            let told = format!(
                "exit 73\nerror: {output}: its staging {staging} belongs to another user (user id \
                 65534)\n  hint: only staging of the same user is resumed: find out where it comes \
                 from, remove it, or write somewhere else\n"
            );
            assert_eq!(ran.told(&world).replace("./", ""), told);
        }
        assert_eq!(world.server.stats().requests, 0);
        assert!(tree(world.folder.path()) == before);
    }
}

#[test]
fn link_inside_staging_is_refused() {
    for name in ["data", "ids", "old", "journal.jsonl", "lock", "data/part-00000.parquet", "ids/0"]
    {
        let world = world();
        let victim = victim(&world);
        let before = tree(&victim);
        let planted = world.path(".rows.partial").join(name);
        fs::create_dir_all(planted.parent().unwrap()).unwrap();
        let to = match name {
            "data" | "ids" | "old" => victim.clone(),
            _ => victim.join("letter.txt"),
        };
        symlink(to, &planted).unwrap();
        let ran = world.export(&PARTS);
        assert_eq!(ran.code, Some(73), "{name}: {ran:?}");
        let told = format!("its staging .rows.partial/{name} is a link, not a regular file\n");
        assert!(ran.stderr.replace("./", "").contains(&told), "{name}: {ran:?}");
        assert!(tree(&victim) == before && planted.is_symlink(), "{name}");
    }
}

#[test]
fn staging_that_is_a_link_is_refused() {
    for output in ["rows", "rows.parquet", "rows.jsonl"] {
        let world = world();
        let victim = victim(&world);
        let before = tree(&victim);
        let (staging, to, more) = match output {
            "rows" => (".rows.partial", victim.clone(), None),
            "rows.parquet" => (".rows.parquet.partial", victim.join("letter.txt"), None),
            _ => {
                let name = ".rows.jsonl.manifest.json.partial";
                (name, victim.join("letter.txt"), Some("--manifest"))
            }
        };
        symlink(to, world.path(staging)).unwrap();
        let ran = world.export(&[&["-o", output], more.as_slice()].concat());
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains(&format!("{staging} is a link, not a ")), "{ran:?}");
        assert_eq!(world.server.stats().requests, 0);
        assert!(tree(&victim) == before);
    }
}

#[test]
fn fifo_in_staging_is_refused_without_waiting() {
    for (name, output) in [
        (".rows.partial", "rows"),
        (".rows.partial/lock", "rows"),
        (".rows.partial/journal.jsonl", "rows"),
        (".rows.partial/data/part-00000.parquet", "rows"),
        (".rows.parquet.partial", "rows.parquet"),
    ] {
        let world = world();
        fs::create_dir_all(world.path(name).parent().unwrap()).unwrap();
        fifo(&world.path(name));
        let ran = world.export(&["-o", output]);
        assert_eq!(ran.code, Some(73), "{name}: {ran:?}");
        assert!(ran.stderr.contains(" is a FIFO, not a "), "{name}: {ran:?}");
    }
}

#[test]
fn staging_writable_by_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    fs::create_dir(world.path(".rows.partial")).unwrap();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(world.path(".rows.partial"), open).unwrap();
    let ran = world.export(&PARTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("can be written by other users"), "{ran:?}");
}

#[test]
fn only_the_staging_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (world, mut run) = waiting(7, Duration::from_secs(100), &PARTS);
    assert_eq!(mode(world.path(".rows.partial")), 0o700);
    run.kill().unwrap();
    run.wait().unwrap();
    world.export(&PARTS).ok();
    fs::create_dir(world.path("usual")).unwrap();
    fs::write(world.path("usual/file"), "").unwrap();
    assert_eq!(mode(world.path("rows")), mode(world.path("usual")));
    assert_eq!(mode(world.path("rows/part-00000.parquet")), mode(world.path("usual/file")));
}

#[test]
fn other_users_forged_journal_is_refused() {
    // The staging of an interrupted run is valid, but it belongs to another user.
    let (world, mut run) = waiting(7, Duration::from_secs(100), &PARTS);
    run.kill().unwrap();
    run.wait().unwrap();
    if !give_away(&world.path(".rows.partial")) {
        return;
    }
    let before = tree(&world.path(".rows.partial"));
    let ran = world.export(&PARTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(tree(&world.path(".rows.partial")) == before);
    assert_eq!(world.entries(), [".rows.partial"]);
}

#[test]
fn link_planted_during_a_run_is_not_followed() {
    let (world, run) = waiting(2, Duration::from_secs(1), &PARTS);
    let victim = victim(&world);
    let before = tree(&victim);
    let data = world.path(".rows.partial/data");
    symlink(victim.join("letter.txt"), data.join("part-00001.parquet")).unwrap();
    Ran::from(run.wait_with_output().unwrap()).ok();
    assert!(tree(&victim) == before);
    assert!(!world.path("rows/part-00001.parquet").is_symlink());
    let alone = super::world();
    alone.export(&PARTS).ok();
    assert!(content(&world.path("rows")) == content(&alone.path("rows")));
}

#[test]
fn run_that_lost_its_staging_publishes_nothing() {
    for (output, staging) in [("rows", ".rows.partial"), ("rows.parquet", ".rows.parquet.partial")]
    {
        let plain = ["-o", output, "--page-size", "25", "--timeout", "100s"];
        // One request at a time: when page 7 is requested, all earlier pages have been received.
        let first = ["-o", output, "--page-size", "25", "--timeout", "2s", "--concurrency", "1"];
        let parts = ["--rows-per-file", "50"];
        let first = [&first[..], if output == "rows" { &parts } else { &[] }].concat();
        let (world, first) = waiting(7, Duration::from_secs(100), &first);
        signal("STOP", &first);
        // A user believes that the stopped run is dead, removes its staging and starts another run.
        if output == "rows" {
            fs::remove_dir_all(world.path(staging)).unwrap();
        } else {
            fs::remove_file(world.path(staging)).unwrap();
        }
        let late = Fault::Delay(Duration::from_secs(100));
        world.server.set_faults(Faults::none().on(6, FaultAttempt::Always, late));
        let asked = world.server.stats().attempts(ID, 6);
        let mut second = world.start(&plain);
        assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 6) > asked));
        signal("CONT", &first);
        let ran = Ran::from(first.wait_with_output().unwrap());
        let told = format!(
            "error: {output}: the lock was lost: its staging was removed or replaced during the \
             run\n  hint: nothing was published: run the same command again when no other \
             run is active\n"
        );
        assert_eq!(ran.code, Some(75), "{ran:?}");
        assert!(ran.stderr.ends_with(&told), "{ran:?}");
        assert_eq!(world.entries(), [staging], "the staging of the second run must stay");
        second.kill().unwrap();
        second.wait().unwrap();
    }
}

/// Starts a run with parts of 50 rows, and applies `change` to its staging while page 9 is delayed. Returns
/// the finished run.
fn disturbed(more: &[&str], change: impl Fn(&Path)) -> (World, Ran) {
    let (world, run) = waiting(9, Duration::from_secs(2), &[&PARTS[..], more].concat());
    change(&world.path(".rows.partial"));
    let ran = Ran::from(run.wait_with_output().unwrap());
    (world, ran)
}

#[test]
fn replaced_data_folder_is_not_published() {
    type Change = fn(&Path);
    let changes: [Change; 4] = [
        |staging| {
            fs::rename(staging.join("data"), staging.join("x")).unwrap();
            fs::create_dir(staging.join("data")).unwrap();
        },
        |staging| {
            fs::rename(staging.join("data"), staging.join("x")).unwrap();
            symlink(staging.join("x"), staging.join("data")).unwrap();
        },
        |staging| fs::rename(staging.join("data"), staging.join("x")).unwrap(),
        |staging| {
            fs::rename(staging.join("ids"), staging.join("x")).unwrap();
            fs::create_dir(staging.join("ids")).unwrap();
        },
    ];
    for change in changes {
        for more in [&[][..], &["--overwrite"]] {
            let (world, ran) = disturbed(more, change);
            assert_eq!(ran.code, Some(75), "{ran:?}");
            assert!(ran.stderr.contains("rows: the lock was lost: its staging was "), "{ran:?}");
            assert_eq!(world.entries(), [".rows.partial"]);
            assert!(world.path(".rows.partial/x").exists());
        }
    }
}

#[test]
fn replaced_staged_manifest_is_not_published() {
    let arguments = ["-o", "rows.parquet", "--page-size", "25", "--overwrite", "--manifest"];
    for is_forged in [true, false] {
        let (world, run) = waiting(9, Duration::from_secs(2), &arguments);
        let forged = b"{\"format_version\": 1, \"rows\": 7}";
        fs::write(world.path("rows.parquet"), "old").unwrap();
        let staged = world.path(".rows.parquet.manifest.json.partial");
        fs::remove_file(&staged).unwrap();
        if is_forged {
            fs::write(&staged, forged).unwrap();
        }
        let ran = Ran::from(run.wait_with_output().unwrap());
        if is_forged {
            assert_eq!(ran.code, Some(75), "{ran:?}");
            assert_eq!(world.read("rows.parquet"), b"old");
            assert_eq!(fs::read(staged).unwrap(), forged);
            assert!(!world.path("rows.parquet.manifest.json").exists());
        } else {
            // The run had not written the manifest yet, so it loses nothing.
            ran.ok();
            Ran::of(world.command().args(["verify", "rows.parquet"])).ok();
            assert_eq!(world.entries(), ["rows.parquet", "rows.parquet.manifest.json"]);
        }
    }
}
