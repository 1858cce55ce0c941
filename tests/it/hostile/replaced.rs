//! Outputs that `--overwrite` may replace, and outputs that are not regular files.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
};

use super::{fifo, give_away, world};
use crate::{
    support::{ID, Ran, World},
    tree::{content, tree},
};

/// Exports two parts, then changes the manifest with `edit`.
fn export(edit: impl Fn(&mut serde_json::Value)) -> World {
    let world = world();
    world.export(&["-o", "rows", "--page-size", "25", "--rows-per-file", "150"]).ok();
    let mut manifest = serde_json::from_slice(&world.read("rows.manifest.json")).unwrap();
    edit(&mut manifest);
    fs::write(world.path("rows.manifest.json"), manifest.to_string()).unwrap();
    world
}

fn list(path: &'static str, bytes: u64) -> impl Fn(&mut serde_json::Value) {
    move |manifest| {
        let parts = manifest["parts"].as_array_mut().unwrap();
        let mut part = parts[0].clone();
        part["path"] = path.into();
        part["bytes"] = bytes.into();
        parts.push(part);
    }
}

#[track_caller]
fn refused(world: &World, words: &str) {
    let before = tree(world.folder.path());
    let requests = world.server.stats().requests;
    let ran = world.export(&["-o", "rows", "--overwrite"]);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.starts_with(&format!("error: rows: holds {words}\n")), "{ran:?}");
    assert_eq!(world.server.stats().requests, requests, "an unnecessary request was sent");
    assert!(tree(world.folder.path()) == before);
}

#[test]
fn foreign_entry_listed_in_manifest_is_kept() {
    let world = export(list("notes.txt", 4));
    fs::write(world.path("rows/notes.txt"), "mine").unwrap();
    refused(&world, "\"notes.txt\", which is not named like a part");

    let world = export(list("thesis", 0));
    fs::create_dir(world.path("rows/thesis")).unwrap();
    fs::write(world.path("rows/thesis/chapter.tex"), "mine").unwrap();
    refused(&world, "\"thesis\", which is a directory");

    let world = export(list("part-00002.parquet", 0));
    fs::create_dir(world.path("rows/part-00002.parquet")).unwrap();
    fs::write(world.path("rows/part-00002.parquet/letter"), "mine").unwrap();
    refused(&world, "\"part-00002.parquet\", which is a directory");

    let world = export(list("part-00002.parquet", 5));
    fs::write(world.path("rows/part-00002.parquet"), "mine").unwrap();
    refused(&world, "\"part-00002.parquet\", which has 4 bytes, but its manifest records 5");

    let world = export(list("part-00002.parquet", 4));
    fs::write(world.path("mine"), "mine").unwrap();
    symlink("../mine", world.path("rows/part-00002.parquet")).unwrap();
    refused(&world, "\"part-00002.parquet\", which is a link");
}

#[test]
fn desktop_metadata_files_do_not_stop_overwrite() {
    let world = export(|_| ());
    for name in [".DS_Store", "Thumbs.db", "desktop.ini"] {
        fs::write(world.path("rows").join(name), "x").unwrap();
    }
    world.export(&["-o", "rows", "--page-size", "25", "--overwrite"]).ok();
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
    let alone = super::world();
    alone.export(&["-o", "rows", "--page-size", "25"]).ok();
    assert!(content(&world.path("rows")) == content(&alone.path("rows")));
}

#[test]
fn reserved_names_must_be_regular_files() {
    for name in ["_SUCCESS", ".DS_Store", "Thumbs.db"] {
        for is_fifo in [false, true] {
            let world = export(|_| ());
            let path = world.path("rows").join(name);
            let kind = if is_fifo { "FIFO" } else { "directory" };
            if is_fifo {
                fifo(&path);
            } else {
                fs::create_dir(&path).unwrap();
            }
            let ran = world.export(&["-o", "rows", "--overwrite"]);
            assert_eq!(ran.code, Some(73), "{ran:?}");
            let told = format!("error: rows: holds {name:?}, which is a {kind}\n");
            assert!(ran.stderr.starts_with(&told), "{ran:?}");
            let ran = Ran::of(world.command().args(["verify", "rows"]));
            assert_eq!(ran.code, Some(65), "{ran:?}");
            let told = format!("{name} is not in the manifest");
            assert!(ran.stdout.contains(&told), "{ran:?}");
        }
    }
}

#[test]
fn only_regular_files_are_replaced() {
    let world = world();
    fifo(&world.path("fifo.jsonl"));
    let socket = UnixListener::bind(world.path("socket.jsonl")).unwrap();
    symlink("/dev/null", world.path("device.jsonl")).unwrap();
    fifo(&world.path("fifo"));
    for (output, kind) in [
        ("fifo.jsonl", "a FIFO"),
        ("socket.jsonl", "a socket"),
        ("device.jsonl", "a device"),
        ("fifo", "a FIFO"),
        ("/dev/null", "a device"),
    ] {
        for more in [&[][..], &["--overwrite"]] {
            let ran = world.export(&[&["-o", output], more].concat());
            let told = format!(
                "exit 73\nerror: {output}: is {kind}, not a regular file or a directory\n  hint: use -o - \
                 to write to standard output, and so to a pipe or a device\n"
            );
            assert_eq!(ran.told(&world), told);
        }
    }
    drop(socket);
    assert_eq!(world.server.stats().requests, 0);
    assert_eq!(world.entries(), ["device.jsonl", "fifo", "fifo.jsonl", "socket.jsonl"]);
}

#[test]
fn own_link_is_followed() {
    let world = world();
    fs::create_dir(world.path("data")).unwrap();
    fs::write(world.path("data/rows.parquet"), "old").unwrap();
    symlink("data/rows.parquet", world.path("rows.parquet")).unwrap();
    symlink("data/new.parquet", world.path("new.parquet")).unwrap();
    world.export(&["-o", "rows.parquet", "--overwrite", "--manifest"]).ok();
    world.export(&["-o", "new.parquet"]).ok();
    assert_eq!(world.entries(), ["data", "new.parquet", "rows.parquet"]);
    assert!(world.path("rows.parquet").is_symlink() && world.path("new.parquet").is_symlink());
    assert!(world.read("data/rows.parquet") == world.read("data/new.parquet"));
    assert!(world.path("data/rows.parquet.manifest.json").exists());
}

#[test]
fn other_users_link_is_not_followed() {
    for (output, to) in [("rows.parquet", "mine.parquet"), ("rows", "mine")] {
        let world = world();
        if output == "rows" {
            fs::create_dir(world.path(to)).unwrap();
        } else {
            fs::write(world.path(to), "mine").unwrap();
        }
        symlink(to, world.path(output)).unwrap();
        if !give_away(&world.path(output)) {
            return;
        }
        let ran = world.export(&["-o", output, "--overwrite"]);
        let told = format!(
            "exit 73\nerror: {output}: {output} is a link that another user made\n  hint: if you \
             trust that link, give the path of its target instead\n"
        );
        assert_eq!(ran.told(&world), told);
        assert_eq!(world.entries(), [to, output]);
    }
}

#[test]
fn foreign_sidecar_manifest_is_kept() {
    let name = "rows.parquet.manifest.json";
    let described = || {
        let world = world();
        world.export(&["-o", "rows.parquet", "--manifest"]).ok();
        world
    };
    let overwrite = ["-o", "rows.parquet", "--overwrite"];

    // A text file of the user has the manifest's name.
    let world = world();
    fs::write(world.path(name), "notes").unwrap();
    let ran = world.export(&[&overwrite[..], &["--manifest"]].concat());
    let told = format!(
        "exit 73\nerror: {name}: is not the manifest of an export\n  hint: only files of an export are \
         replaced: move it, or give another path\n"
    );
    assert_eq!(ran.told(&world), told);
    assert_eq!(world.server.stats().requests, 0);
    world.export(&overwrite).ok();
    assert_eq!(world.read(name), b"notes");

    // The manifest describes another file.
    let world = described();
    let manifest = String::from_utf8(world.read(name)).unwrap();
    let other = manifest.replace("\"rows.parquet\"", "\"other.parquet\"");
    assert!(other != manifest);
    fs::write(world.path(name), &other).unwrap();
    world.export(&overwrite).ok();
    assert_eq!(world.read(name), other.as_bytes());

    let world = described();
    world.export(&overwrite).ok();
    assert_eq!(world.entries(), ["rows.parquet"]);
}

#[cfg(target_os = "linux")]
#[test]
fn non_utf8_name_cannot_have_a_manifest() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let world = world();
    // A lossy conversion of the name `\xff.parquet` to UTF-8 gives this text.
    let text = "\u{fffd}.parquet";
    world.export(&["-o", text, "--manifest"]).ok();
    let manifest = format!("{text}.manifest.json");
    let before = world.read(&manifest);
    let export = |more: &[&str]| {
        let mut command = world.command();
        command.args(["export", &ID.to_string(), "-o"]).arg(OsStr::from_bytes(b"\xff.parquet"));
        Ran::of(command.args(more))
    };
    let requests = world.server.stats().requests;
    let ran = export(&["--overwrite", "--manifest"]);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(
        ran.stderr.contains("its name is not UTF-8, so a manifest cannot contain it"),
        "{ran:?}"
    );
    assert_eq!(world.server.stats().requests, requests);
    export(&[]).ok();
    export(&["--overwrite"]).ok();
    assert!(world.read(&manifest) == before);
}
