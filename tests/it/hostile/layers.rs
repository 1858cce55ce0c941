//! Exports and snapshots in a lower layer of an overlay file system, as in containers.

use std::fs;

use overmind_export::demo::Dataset;

use super::world;
use crate::{
    publish::{mounted, with_mount},
    snapshots::Nightly,
    support::{ID, World, entries},
};

#[test]
fn export_in_lower_layer_is_replaced_or_refused() {
    // As in a container whose image contains an export.
    let world = world();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(world.path(name)).unwrap();
    }
    world.export(&["-o", "lower/rows"]).ok();
    let requests = world.server.stats().requests;
    let mount =
        "mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work none merged";
    let Some(ran) = with_mount(&world, mount, "-o merged/rows --overwrite") else { return };
    if ran.stderr.contains("mount:") {
        eprintln!("SKIPPED: this system cannot mount an overlay: {}", ran.stderr);
        return;
    }
    if ran.code == Some(0) {
        let ran = with_mount(&world, mount, "-o merged/rows").unwrap();
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(world.path("upper/rows/part-00000.parquet").exists());
        return;
    }
    // Some kernels cannot rename a folder of a lower layer.
    assert_eq!(
        ran.told(&world),
        "exit 73\nerror: merged/rows: lies in a lower layer of an overlay file system, as in a \
         container's image, and cannot be replaced in one step there\n  cause: Invalid cross-device \
         link (os error 18)\n  hint: remove it first, give another path, or mount a volume there\n"
    );
    assert_eq!(world.server.stats().requests, requests, "an unnecessary request was sent");
    assert_eq!(fs::read_dir(world.path("upper")).unwrap().count(), 0);
}

#[test]
fn file_on_another_device_is_not_a_mount_point() {
    // The upper layer is in memory, so the layers have different device numbers.
    let world = world();
    for name in ["lower", "memory", "merged"] {
        fs::create_dir(world.path(name)).unwrap();
    }
    world.export(&["-o", "lower/rows.parquet"]).ok();
    let mount = "mount -t tmpfs none memory && mkdir memory/upper memory/work && mount -t overlay -o \
                 userxattr,xino=off,lowerdir=lower,upperdir=memory/upper,workdir=memory/work none merged";
    let Some(ran) = with_mount(&world, mount, "-o merged/rows.parquet --overwrite") else { return };
    if ran.stderr.contains("mount:") {
        eprintln!("SKIPPED: this system cannot mount an overlay: {}", ran.stderr);
        return;
    }
    ran.ok();
}

/// A job that stores a snapshot in each run. It keeps all snapshots until `keep_last` changes this.
fn nightly() -> Nightly {
    let job = format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\nunchanged = \"never\"\n");
    Nightly::new(vec![Dataset::generated(100, 7).with_id(ID)], &job)
}

fn keep_last(world: &World) {
    let path = world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}keep = {{ last = 1 }}\n")).unwrap();
}

#[test]
fn expired_snapshot_in_lower_layer_is_deleted() {
    let nightly = nightly();
    nightly.at("2026-11-23T02:00:00Z");
    keep_last(&nightly.world);
    for name in ["upper", "work"] {
        fs::create_dir(nightly.world.path(name)).unwrap();
    }
    let mount =
        "mount -t overlay -o userxattr,lowerdir=snaps,upperdir=upper,workdir=work none snaps";
    let command = "snapshot --config snapshots.toml && ls -A snaps/nightly";
    let Some(ran) = mounted(&nightly.world, mount, command) else { return };
    if ran.stderr.contains("mount:") {
        eprintln!("SKIPPED: this system cannot mount an overlay: {}", ran.stderr);
        return;
    }
    let ran = ran.ok();
    let names = ran.stdout.lines().filter(|line| line.contains("snapshot=") && !line.contains(' '));
    assert_eq!(names.count(), 1, "{ran:?}");
    assert!(!ran.stdout.contains("snapshot=20261123T020000Z\n"), "{ran:?}");
}

#[test]
fn next_run_finishes_killed_deletion_in_place() {
    let nightly = nightly();
    let first = "snapshot=20261123T020000Z";
    nightly.at("2026-11-23T02:00:00Z");
    let folder = nightly.world.path("snaps/nightly");
    // The state after a run was killed while it deleted the snapshot in place.
    let hidden = nightly.world.path("snaps/.overmind/nightly");
    let record = hidden.join(format!("{first}.manifest.json"));
    fs::rename(record, hidden.join(format!("{first}.removed.json"))).unwrap();
    nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(entries(&folder), ["snapshot=20261124T020000Z"]);
    let names = ["history.jsonl", "latest.json", "snapshot=20261124T020000Z.manifest.json"];
    assert_eq!(entries(&hidden), names);
}
