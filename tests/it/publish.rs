//! Publication is all or nothing, allows one run at a time and never touches foreign files.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    process::Command,
    time::Duration,
};

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};
use serde_json::Value;

use crate::{
    support::{ID, Ran, World},
    tree::{content, tree},
};

const SOON: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(200);

/// The names in the folder, without the record of a directory.
fn left(world: &World) -> Vec<String> {
    let mut names = world.entries();
    names.retain(|name| name != "rows.manifest.json");
    names
}

fn world() -> World {
    World::generated(Options::default(), 230)
}

/// A world whose page 3 takes 100 seconds.
fn stuck() -> World {
    let faults = Faults::none().on(3, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    World::generated(Options { faults, ..Options::default() }, 230)
}

#[test]
fn second_run_on_the_same_target_fails_at_once() {
    for output in ["rows", "rows/", "rows.parquet"] {
        let world = stuck();
        // With one request at a time, the first run sends no request after page 3.
        let arguments = ["-o", output, "--page-size", "25", "--concurrency", "1"];
        let mut run = world.start(&arguments);
        assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 3) == 1));
        // Wait until pages 1 and 2 are written. No later page arrives.
        assert!(!world.server.wait_until(MOMENT, |stats| stats.attempts(ID, 4) > 0));
        let requests = world.server.stats().requests;
        let before = tree(world.folder.path());
        for more in [&["--overwrite"][..], &["--restart"], &[]] {
            let ran = world.export(&[&arguments, more].concat());
            let told = format!(
                "exit 75\nerror: another run is writing {output}\n  hint: wait for the other run to \
                 end, or write somewhere else\n"
            );
            assert_eq!(ran.told(&world), told);
        }
        assert_eq!(world.server.stats().requests, requests, "an unexpected request");
        assert_eq!(tree(world.folder.path()), before);

        // The lock of a killed process does not block the next run.
        run.kill().unwrap();
        run.wait().unwrap();
        world.server.set_faults(Faults::none());
        world.export(&arguments).ok();
        assert_eq!(left(&world), [output.trim_end_matches('/')]);
    }
}

#[test]
fn simultaneous_runs_leave_one_whole_export() {
    for output in ["rows", "rows.parquet"] {
        let world = world();
        let arguments = ["-o", output, "--page-size", "25"];
        let runs = [0; 4].map(|_| world.start(&arguments));
        let ran = runs.map(|run| Ran::from(run.wait_with_output().unwrap()));
        let codes: Vec<_> = ran.iter().map(|ran| ran.code.unwrap()).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{ran:#?}");
        assert!(codes.iter().all(|code| [0, 73, 75].contains(code)), "{ran:#?}");
        assert_eq!(left(&world), [output], "{ran:#?}");
        let alone = self::world();
        alone.export(&arguments).ok();
        assert!(content(&world.path(output)) == content(&alone.path(output)));
    }
}

#[test]
fn existing_targets_stay_without_overwrite() {
    let world = world();
    world.export(&["-o", "rows"]).ok();
    world.export(&["-o", "rows.parquet", "--manifest"]).ok();
    let before = tree(world.folder.path());
    let requests = world.server.stats().requests;
    for output in ["rows", "rows/", "rows.parquet"] {
        let ran = world.export(&["-o", output]);
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains("hint: give --overwrite to replace"), "{ran:?}");
    }
    // The file of this manifest was removed, but the manifest may belong to a copy of the file.
    fs::remove_file(world.path("rows.parquet")).unwrap();
    let ran = world.export(&["-o", "rows.parquet", "--manifest"]);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("rows.parquet.manifest.json: exists already"), "{ran:?}");
    assert_eq!(world.server.stats().requests, requests, "an unexpected request");
    let mut expected = before;
    expected.remove("rows.parquet");
    assert!(tree(world.folder.path()) == expected);
}

#[test]
fn new_file_never_keeps_an_old_manifest() {
    let world = world();
    world.export(&["-o", "rows.jsonl", "--manifest"]).ok();
    world.server.replace(vec![Dataset::generated(300, 8).with_id(ID)]);
    world.export(&["-o", "rows.jsonl", "--manifest", "--overwrite"]).ok();
    let manifest: Value = serde_json::from_slice(&world.read("rows.jsonl.manifest.json")).unwrap();
    assert_eq!(manifest["rows"], 300);
    world.export(&["-o", "rows.jsonl", "--overwrite"]).ok();
    assert_eq!(world.entries(), ["rows.jsonl"]);
}

#[test]
fn reader_sees_a_whole_export_during_overwrite() {
    let world = world();
    let arguments = ["-o", "rows", "--page-size", "25", "--rows-per-file", "50", "--overwrite"];
    world.export(&arguments).ok();
    let mut seen = BTreeSet::new();
    for rows in [330, 430, 530] {
        world.server.replace(vec![Dataset::generated(rows, 8).with_id(ID)]);
        let mut run = world.start(&arguments);
        // The loop ends with the run. The bound only guards against an endless loop.
        for _ in 0..10_000_000 {
            assert!(world.path("rows/part-00000.parquet").exists(), "an incomplete export");
            let manifest: Value =
                serde_json::from_slice(&world.read("rows.manifest.json")).unwrap();
            seen.insert(manifest["rows"].as_u64().unwrap());
            if run.try_wait().unwrap().is_some() {
                break;
            }
        }
        Ran::from(run.wait_with_output().unwrap()).ok();
        assert_eq!(left(&world), ["rows"]);
        let alone = World::with(Options::default(), Dataset::generated(rows, 8).with_id(ID));
        alone.export(&arguments).ok();
        assert!(content(&world.path("rows")) == content(&alone.path("rows")));
    }
    assert_eq!(seen, BTreeSet::from([230, 330, 430, 530]));
}

#[test]
fn overwrite_refuses_foreign_directories() {
    let world = world();
    world.export(&["-o", "export", "--page-size", "25", "--rows-per-file", "50"]).ok();
    let file = |path: &str, text: &str| {
        fs::create_dir_all(world.path(path).parent().unwrap()).unwrap();
        fs::write(world.path(path), text).unwrap();
    };
    file("documents/letter.txt", "Dear Sir");
    file("documents/pictures/cat.jpg", "meow");
    file("other/letter.txt", "Dear Madam");
    file("other.manifest.json", "{\"entries\":[]}");
    file("foreign/_manifest.json", "not even JSON");
    file("new.manifest.json", "mine");
    file("export/notes.txt", "mine");
    fs::create_dir(world.path("nested")).unwrap();
    fs::create_dir(world.path("nested/empty")).unwrap();
    file("plain", "a file");
    let before = tree(world.folder.path());
    let table = [
        ("documents", "is not an export: it has no valid record"),
        ("documents/", "is not an export: it has no valid record"),
        ("other", "other.manifest.json: is not the record of an export"),
        ("foreign", "is not an export: it has no valid record"),
        ("nested", "is not an export: it has no valid record"),
        ("new", "new.manifest.json: is not the record of an export"),
        ("export", "holds \"notes.txt\", which its manifest does not list"),
        ("plain/", "is not a directory"),
        (".", "give the name of the directory itself"),
        ("documents/..", "give the name of the directory itself"),
    ];
    let requests = world.server.stats().requests;
    for (output, words) in table {
        let ran = world.export(&["-o", output, "--overwrite", "--restart"]);
        assert_eq!(
            ran.code,
            Some(if words.starts_with("give the name") { 2 } else { 73 }),
            "{ran:?}"
        );
        assert!(ran.stderr.contains(words), "{output}: {}", ran.stderr);
        assert!(tree(world.folder.path()) == before, "{output}: something changed");
    }
    assert_eq!(world.server.stats().requests, requests, "an unexpected request");
}

#[test]
fn file_added_during_an_overwrite_stays() {
    let world = world();
    let arguments = ["-o", "rows", "--page-size", "25", "--overwrite"];
    world.export(&arguments).ok();
    let late = Fault::Delay(Duration::from_secs(1));
    world.server.set_faults(Faults::none().on(10, FaultAttempt::First(1), late));
    let run = world.start(&arguments);
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 10) == 1));
    fs::write(world.path("rows/notes.txt"), "mine").unwrap();
    let before = tree(&world.path("rows"));
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("holds \"notes.txt\""), "{ran:?}");
    assert!(tree(&world.path("rows")) == before);
}

#[test]
fn empty_directory_and_link_are_valid_targets() {
    let world = world();
    fs::create_dir(world.path("rows")).unwrap();
    world.export(&["-o", "rows"]).ok();
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);

    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("rows", world.path("latest")).unwrap();
        world.server.replace(vec![Dataset::generated(300, 8).with_id(ID)]);
        world.export(&["-o", "latest", "--overwrite"]).ok();
        assert!(world.path("latest").is_symlink());
        let manifest: Value = serde_json::from_slice(&world.read("rows.manifest.json")).unwrap();
        assert_eq!(manifest["rows"], 300);
    }
}

#[test]
fn unfinished_cleanup_does_not_stop_the_next_run() {
    let world = world();
    let arguments = ["-o", "rows", "--page-size", "25", "--rows-per-file", "50", "--overwrite"];
    world.export(&arguments).ok();
    // The state after a kill between the publication and the cleanup: the lock, and the old parts in `data`.
    fs::create_dir(world.path(".rows.partial")).unwrap();
    fs::write(world.path(".rows.partial/lock"), "").unwrap();
    fs::create_dir(world.path(".rows.partial/ids")).unwrap();
    fs::create_dir(world.path(".rows.partial/data")).unwrap();
    fs::copy(
        world.path("rows/part-00000.parquet"),
        world.path(".rows.partial/data/part-00000.parquet"),
    )
    .unwrap();
    world.export(&[&arguments[..], &["--columns", "id"]].concat()).ok();
    assert_eq!(left(&world), ["rows"]);
}

/// Runs an export in a user and mount namespace after the command `mount`. `None` if the system does not allow
/// such namespaces.
#[cfg(target_os = "linux")]
pub(crate) fn with_mount(world: &World, mount: &str, arguments: &str) -> Option<Ran> {
    mounted(world, mount, &format!("export {ID} {arguments}"))
}

/// The same with any subcommand. `arguments` can end with further shell commands.
#[cfg(target_os = "linux")]
pub(crate) fn mounted(world: &World, mount: &str, arguments: &str) -> Option<Ran> {
    let mut unshare = Command::new("unshare");
    let can = unshare.args(["--user", "--map-root-user", "--mount", "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this system does not allow mounts in a user namespace");
        return None;
    }
    let export = world.command();
    let program = export.get_program().to_str().unwrap();
    let script = format!("{mount} && {program} {arguments}");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command.env_clear().current_dir(world.folder.path());
    command.envs(export.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(Ran::of(&mut command))
}

#[cfg(target_os = "linux")]
#[test]
fn mount_point_is_refused_before_any_request() {
    let mounts = ["mount -t tmpfs none rows", "mount --bind elsewhere rows"];
    for mount in mounts {
        let world = world();
        fs::create_dir(world.path("rows")).unwrap();
        fs::create_dir(world.path("elsewhere")).unwrap();
        let Some(ran) = with_mount(&world, mount, "-o rows") else { return };
        let told = "exit 73\nerror: rows: is a mount point, which cannot be replaced in one step\n  \
                    hint: export to a directory inside it\n";
        assert_eq!(ran.told(&world), told, "{mount}");
        assert_eq!(world.server.stats().requests, 0);
        assert_eq!(world.entries(), ["elsewhere", "rows"]);
        let Some(ran) = with_mount(&world, mount, "-o rows/inside") else { return };
        ran.ok();
    }
}

#[test]
fn lock_file_without_a_holder_does_not_block() {
    let world = world();
    fs::create_dir(world.path(".rows.partial")).unwrap();
    OpenOptions::new().create(true).append(true).open(world.path(".rows.partial/lock")).unwrap();
    fs::write(world.path(".rows.parquet.partial"), "half of something").unwrap();
    world.export(&["-o", "rows"]).ok();
    world.export(&["-o", "rows.parquet"]).ok();
    assert_eq!(left(&world), ["rows", "rows.parquet"]);
    let alone = self::world();
    alone.export(&["-o", "rows.parquet"]).ok();
    assert!(world.read("rows.parquet") == alone.read("rows.parquet"));
}
