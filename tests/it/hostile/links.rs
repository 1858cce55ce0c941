//! Hard links to files of this user, and symbolic links on the path to an output.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use overmind_export::demo::Dataset;

use super::{
    give_away, shared,
    staging::{PARTS, victim},
    waiting, world,
};
use crate::{
    snapshots::Nightly,
    support::{ID, Ran},
    tree::tree,
};

#[test]
fn hard_link_in_staging_is_refused() {
    for (name, output) in [
        (".rows.parquet.partial", "rows.parquet"),
        (".rows.jsonl.manifest.json.partial", "rows.jsonl"),
        (".rows.partial/journal.jsonl", "rows"),
        (".rows.partial/lock", "rows"),
        (".rows.partial/data/part-00000.parquet", "rows"),
        (".rows.partial/ids/0", "rows"),
    ] {
        let world = world();
        let victim = victim(&world);
        let before = tree(&victim);
        let planted = world.path(name);
        fs::create_dir_all(planted.parent().unwrap()).unwrap();
        fs::hard_link(victim.join("letter.txt"), &planted).unwrap();
        for more in [&["--manifest"][..], &["--manifest", "--overwrite"]] {
            let more = if output == "rows" { &more[1..] } else { more };
            let ran = world.export(&[&["-o", output], more].concat());
            assert_eq!(ran.code, Some(73), "{name}: {ran:?}");
            let told = format!("{name} is a hard link: the file has another name, too\n  hint: ");
            assert!(ran.stderr.replace("./", "").contains(&told), "{name}: {ran:?}");
        }
        assert!(!world.path(output).exists());
        assert!(tree(&victim) == before, "{name}");
    }
}

#[test]
fn hard_linked_backup_of_staging_stays_unchanged() {
    let (world, mut run) = waiting(7, Duration::from_secs(100), &PARTS);
    run.kill().unwrap();
    run.wait().unwrap();
    let copy = |from: &str, to: &str| {
        let mut cp = Command::new("cp");
        let copied = cp.arg("-al").arg(world.path(from)).arg(world.path(to)).status();
        copied.is_ok_and(|status| status.success())
    };
    if !copy(".rows.partial", "backup") {
        eprintln!("SKIPPED: cp cannot create hard links here");
        return;
    }
    let before = tree(&world.path("backup"));
    let ran = world.export(&PARTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("remove this name, or copy it\n"), "{ran:?}");
    assert!(tree(&world.path("backup")) == before);
    fs::remove_dir_all(world.path("backup")).unwrap();
    world.export(&PARTS).ok();
}

#[test]
fn hard_link_as_history_or_lock_is_refused() {
    for name in ["history.jsonl", ".lock"] {
        let job = format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n");
        let nightly = Nightly::new(vec![Dataset::generated(100, 7).with_id(ID)], &job);
        let victim = victim(&nightly.world);
        let before = tree(&victim);
        let folder = nightly.world.path("snaps/.overmind/nightly");
        fs::create_dir_all(&folder).unwrap();
        fs::hard_link(victim.join("letter.txt"), folder.join(name)).unwrap();
        let ran = nightly.snapshot(&[]);
        assert_eq!(ran.code, Some(73), "{name}: {ran:?}");
        let told = format!("{name}: is a hard link: the file has another name, too\n");
        assert!(ran.stderr.contains(&told), "{ran:?}");
        assert!(tree(&victim) == before, "{name}");
        fs::remove_file(folder.join(name)).unwrap();
        nightly.snapshot(&[]).ok();
    }
}

#[test]
fn path_through_other_users_link_is_refused() {
    for mode in [0o1777, 0o777, 0o770, 0o1755, 0o755] {
        let world = world();
        let shared = shared(&world, mode);
        fs::write(world.path("rows.parquet"), "mine").unwrap();
        symlink("..", shared.join("dd")).unwrap();
        if !give_away(&shared.join("dd")) {
            return;
        }
        // A link of this user that leads through the other user's link.
        symlink("shared/dd", world.path("mine")).unwrap();
        for output in ["shared/dd/rows.parquet", "mine/rows.parquet"] {
            let ran = world.export(&["-o", output, "--overwrite"]);
            if mode == 0o755 {
                // Only the owner of the folder can have made or allowed the link.
                ran.ok();
                continue;
            }
            assert_eq!(
                ran.told(&world),
                format!(
                    "exit 73\nerror: {output}: shared/dd is a link that another user made\n  hint: if you \
                     trust that link, give the path of its target instead\n"
                )
            );
            assert_eq!(world.read("rows.parquet"), b"mine");
            assert_eq!(world.server.stats().requests, 0);
        }
    }
}

#[test]
fn job_folder_behind_other_users_link_is_refused() {
    let job = format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n");
    let nightly = Nightly::new(vec![Dataset::generated(100, 7).with_id(ID)], &job);
    let world = &nightly.world;
    let shared = shared(world, 0o1777);
    fs::create_dir(world.path("victim")).unwrap();
    symlink("../victim", shared.join("dd")).unwrap();
    if !give_away(&shared.join("dd")) {
        return;
    }
    let path = world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replace("\"snaps\"", "\"shared/dd/deep\"")).unwrap();
    let ran = nightly.snapshot(&[]);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("shared/dd is a link that another user made\n"), "{ran:?}");
    assert_eq!(fs::read_dir(world.path("victim")).unwrap().count(), 0);
}

#[test]
fn demo_replaces_only_its_own_files() {
    let world = world();
    let demo = || Ran::of(world.command().args(["demo", "--rows", "10"]));
    let name = "overmind-demo/datapoints.parquet";
    fs::create_dir(world.path("overmind-demo")).unwrap();
    fs::write(world.path(name), "mine").unwrap();
    let refused = |ran: Ran| {
        assert_eq!(ran.code, Some(73), "{ran:?}");
        let told = format!("error: {name}: exists, and no demo wrote it\n");
        assert!(ran.stderr.starts_with(&told), "{ran:?}");
    };
    refused(demo());
    assert_eq!(world.read(name), b"mine");
    // The demo does not replace an export of this user either.
    world.export(&["-o", name, "--overwrite"]).ok();
    let mine = world.read(name);
    refused(demo());
    assert!(world.read(name) == mine);
    fs::remove_file(world.path(name)).unwrap();
    demo().ok();
    Ran::of(world.command().args(["demo", "--rows", "20"])).ok();
}
