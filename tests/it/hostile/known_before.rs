//! Problems with the output that are found before the first page.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};

use super::{SOON, as_other, shared, waiting, world};
use crate::{
    publish::with_mount,
    support::{ID, Ran, World},
    tree::tree,
};

#[test]
fn name_too_long_for_derived_names_is_refused() {
    let world = world();
    for (length, more) in [(233, Some("--manifest")), (246, Some("--manifest")), (247, None)] {
        let name = format!("{}.parquet", "x".repeat(length - 8));
        let ran = world.export(&[&["-o", &name], more.as_slice()].concat());
        assert_eq!(ran.code, Some(73), "{length}: {ran:?}");
        assert!(ran.stderr.contains("its name is too long: the export also needs"), "{ran:?}");
        assert!(ran.stderr.ends_with("hint: give a shorter name\n"), "{ran:?}");
    }
    assert_eq!(world.server.stats().requests, 0);
    assert_eq!(world.entries(), [""; 0]);
    let name = format!("{}.parquet", "x".repeat(224));
    world.export(&["-o", &name, "--manifest"]).ok();
    assert_eq!(world.entries(), [name.clone(), format!("{name}.manifest.json")]);
}

#[test]
fn preflight_leaves_nothing_behind() {
    // Page 1 is not found, so the run ends after the preflight.
    let world = world();
    world.server.set_faults(Faults::none().on(1, FaultAttempt::Always, Fault::status(404)));
    for output in ["rows", "rows.parquet"] {
        for more in [&[][..], &["--overwrite"], &["--manifest"]] {
            let ran = world.export(&[&["-o", output], more].concat());
            assert_eq!(ran.code, Some(66), "{ran:?}");
        }
    }
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn dry_run_writes_nothing() {
    let world = world();
    fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    world.export(&["-o", "rows", "--dry-run"]).ok();
}

#[test]
fn unwritable_temp_dir_ends_the_run_early() {
    let world = World::generated(Options::default(), 300_000);
    fs::write(world.path("file"), "").unwrap();
    let ran = world.export(&["-o", "rows", "--temp-dir", "file/deeper"]);
    assert_eq!(
        ran.told(&world),
        "exit 74\nerror: cannot keep ids in file/deeper\n  cause: Not a directory (os error 20)\n  \
         hint: give a folder that this user can write to with --temp-dir\n"
    );
    assert!(world.server.stats().requests < 40);
    assert_eq!(world.entries(), ["file"]);
}

#[cfg(target_os = "linux")]
#[test]
fn too_few_inodes_are_found_before_page_1() {
    let world = world();
    fs::create_dir(world.path("disk")).unwrap();
    let mount = "mount -t tmpfs -o nr_inodes=2 none disk";
    let Some(ran) = with_mount(&world, mount, "-o disk/rows.parquet --manifest") else { return };
    assert_eq!(
        ran.told(&world),
        "exit 73\nerror: disk/rows.parquet: cannot be made\n  cause: No space left on device (os error \
         28)\n  hint: make room, or write somewhere else\n"
    );
    assert_eq!(world.server.stats().requests, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn low_disk_space_causes_a_warning() {
    let world = World::generated(Options::default(), 30_000);
    fs::create_dir(world.path("disk")).unwrap();
    let mount = "mount -t tmpfs -o size=1m none disk";
    let Some(ran) = with_mount(&world, mount, "-o disk/rows.jsonl") else { return };
    assert!(ran.stderr.contains("the output may take about "), "{ran:?}");
    assert!(ran.stderr.contains(" are free there"), "{ran:?}");
    assert_eq!(ran.code, Some(74), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn mounted_file_is_refused() {
    let world = world();
    for name in ["rows.parquet", "elsewhere"] {
        fs::write(world.path(name), "mine").unwrap();
    }
    let mount = "mount --bind elsewhere rows.parquet";
    let Some(ran) = with_mount(&world, mount, "-o rows.parquet --overwrite") else { return };
    assert_eq!(
        ran.told(&world),
        "exit 73\nerror: rows.parquet: is a mount point, so it cannot be replaced in one step\n  \
         hint: mount its folder instead, or write to another path and copy the finished file\n"
    );
    assert_eq!(world.server.stats().requests, 0);
}

/// An attribute that `chattr` has set on a folder or a file. Dropping this value clears the attribute.
#[cfg(target_os = "linux")]
struct Attribute(&'static str, PathBuf);

#[cfg(target_os = "linux")]
impl Attribute {
    fn set(name: &'static str, path: PathBuf) -> Option<Self> {
        let set = Command::new("chattr").arg(format!("+{name}")).arg(&path).output();
        if !set.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: chattr failed: it needs root and a file system with attributes");
            return None;
        }
        Some(Self(name, path))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Attribute {
    fn drop(&mut self) {
        drop(Command::new("chattr").arg(format!("-{}", self.0)).arg(&self.1).status());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn append_only_folder_is_refused() {
    for output in ["folder/rows", "folder/rows.parquet"] {
        let world = world();
        fs::create_dir(world.path("folder")).unwrap();
        let Some(_attribute) = Attribute::set("a", world.path("folder")) else { return };
        let ran = world.export(&["-o", output]);
        let told = format!(
            "exit 73\nerror: {output}: cannot be made\n  cause: the folder is append-only (chattr +a): \
             nothing in it can be renamed or removed\n  hint: choose a folder that you may write to\n"
        );
        assert_eq!(ran.told(&world), told);
        assert_eq!(world.server.stats().requests, 0);
        assert_eq!(fs::read_dir(world.path("folder")).unwrap().count(), 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn immutable_output_is_refused() {
    let attribute = "cannot be replaced\n  cause: Operation not permitted (os error 1)\n  hint: give \
                     another path, or look at its attributes with lsattr\n";
    let moved = "is a folder that this user cannot write to, so it cannot be moved away\n  hint: give \
                 another path\n";
    for (output, fixed, words) in [
        ("rows", "rows", moved),
        ("rows.parquet", "rows.parquet", attribute),
        ("rows.parquet", "rows.parquet.manifest.json", attribute),
    ] {
        let world = world();
        let more = if output == "rows" { None } else { Some("--manifest") };
        world.export(&[&["-o", output], more.as_slice()].concat()).ok();
        let Some(_attribute) = Attribute::set("i", world.path(fixed)) else { return };
        let (before, requests) = (tree(world.folder.path()), world.server.stats().requests);
        let ran = world.export(&["-o", output, "--overwrite"]);
        let told = format!("exit 73\nerror: {fixed}: {words}");
        assert_eq!(ran.told(&world), told);
        assert_eq!(world.server.stats().requests, requests);
        assert!(tree(world.folder.path()) == before);
    }
}

#[test]
fn other_users_file_in_shared_folder_is_refused() {
    let world = world();
    let shared = shared(&world, 0o1777);
    for name in ["rows.parquet", ".left.parquet.partial"] {
        fs::write(shared.join(name), "theirs").unwrap();
    }
    let before = tree(&shared);
    let table = [
        (
            "shared/rows.parquet",
            "shared/rows.parquet: belongs to another user, and only that user may replace it in this \
             folder",
        ),
        (
            "shared/left.parquet",
            "shared/left.parquet: its staging shared/.left.parquet.partial belongs to another user \
             (user id 0)",
        ),
    ];
    for (output, words) in table {
        let Some(run) = as_other(&world, &["-o", output, "--overwrite"]) else { return };
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: {words}\n")), "{ran:?}");
    }
    assert_eq!(world.server.stats().requests, 0);
    assert!(tree(&shared) == before);
}

#[test]
fn failed_publication_says_where_the_rows_are() {
    let late = Fault::Delay(Duration::from_secs(1));
    for (output, words) in [
        (
            "shared/rows",
            "hint: the export is complete in shared/.rows.partial: repair the cause and run the same \
             command again, which sends no request; or move data to shared/rows and record.json to \
             shared/rows.manifest.json by hand\n",
        ),
        (
            "shared/rows.parquet",
            "hint: all rows are in shared/.rows.parquet.partial: rename that to shared/rows.parquet by \
             hand\n",
        ),
    ] {
        let faults = Faults::none().on(3, FaultAttempt::First(1), late.clone());
        let world = World::generated(Options { faults, ..Options::default() }, 230);
        let shared = shared(&world, 0o777);
        let Some(run) = as_other(&world, &["-o", output]) else { return };
        assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 3) == 1));
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o555)).unwrap();
        let ran = Ran::from(run.wait_with_output().unwrap());
        let told = format!(
            "error: cannot publish {output}\n  cause: Permission denied (os error 13)\n  {words}"
        );
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(74), told.as_str()));

        // Finish by hand, as the hint describes.
        let rename = |from: &str, to: &str| fs::rename(shared.join(from), shared.join(to)).unwrap();
        if output == "shared/rows" {
            rename(".rows.partial/data", "rows");
            rename(".rows.partial/record.json", "rows.manifest.json");
        } else {
            rename(".rows.parquet.partial", "rows.parquet");
        }
        Ran::of(world.command().args(["verify", output])).ok();
    }
}

#[test]
fn output_name_cannot_control_the_terminal() {
    let output = "\u{1b}[2J\u{202e}\nerror: forged.jsonl";
    let (world, run) = waiting(2, Duration::from_secs(2), &["-o", output]);
    // Another file takes the name during the run. The hint then contains the output's name.
    fs::write(world.path(output), "mine").unwrap();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(74), "{ran:?}");
    assert!(ran.stderr.contains("hint: all rows are in "), "{ran:?}");
    assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']), "{ran:?}");
    assert!(!ran.stderr.lines().any(|line| line.starts_with("error: forged")), "{ran:?}");
}

#[test]
fn unreadable_part_is_not_reported_as_damaged() {
    let world = world();
    world.export(&["-o", "rows", "--rows-per-file", "100"]).ok();
    shared(&world, 0o755);
    let part = world.path("rows/part-00001.parquet");
    fs::set_permissions(&part, fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read every file, so another user runs the command.
    let mut command = Command::new(env!("CARGO_BIN_EXE_overmind-export"));
    if rustix::process::geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, super::OTHER);
    }
    command.env_clear().current_dir(world.folder.path()).args(["verify", "rows"]);
    let Ok(output) = command.output() else {
        return eprintln!("SKIPPED: another user cannot run the command here");
    };
    insta::assert_snapshot!(Ran::from(output).told(&world), @"
    exit 74
    rows: cannot open rows/part-00001.parquet: Permission denied (os error 13)
    error: 1 of 1 export could not be read
      hint: each line above gives the reason and the next step
    ");
}
