//! Paths that are not UTF-8, in every command that takes a path.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use overmind_export::demo::Options;

use crate::support::{ID, Ran, World};

/// A name that is not UTF-8, with this ending.
fn odd(ending: &str) -> OsString {
    let mut name = OsStr::from_bytes(b"\xffodd").to_owned();
    name.push(ending);
    name
}

/// A command whose `{}` are replaced by an odd name with the ending that follows.
fn run(world: &World, line: &str) -> Ran {
    let argument = |word: &str| match word.strip_prefix("{}") {
        Some(ending) => odd(ending),
        None => word.replace("ID", &ID.to_string()).into(),
    };
    Ran::of(world.command().args(line.split(' ').map(argument)))
}

#[test]
fn every_command_takes_paths_that_are_not_utf8() {
    let world = World::generated(Options::default(), 300);
    let folder = |name: OsString| -> PathBuf { world.folder.path().join(name) };
    if fs::create_dir(folder(odd(".try"))).is_err() {
        return println!("skipped: this file system takes UTF-8 only");
    }
    fs::write(folder(odd(".key")), "a key").unwrap();
    for line in [
        "export ID -o {}.parquet --api-key-file {}.key --temp-dir {}.try",
        "export ID -o {}.parquet --overwrite",
        "export ID -o {}.jsonl",
        "export ID -o {}/ --format jsonl --rows-per-file 100",
        "export ID -o {}/ --overwrite",
        "verify {}.parquet {}/",
        "verify --json {}.parquet",
        "preview {}.jsonl",
        "preview {}/ --json",
        "diff {}.parquet {}/",
        "diff --json {}.jsonl {}.parquet",
        "diff {}.jsonl {}/ -o {}.changes.jsonl",
        "man --dir {}.pages",
    ] {
        let ran = run(&world, line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    }
    assert!(folder(odd(".pages")).join("overmind-export.1").is_file());
    assert!(folder(odd("")).join("part-00000.parquet").is_file());
}

#[test]
fn configuration_in_a_folder_that_is_not_utf8() {
    let world = World::generated(Options::default(), 300);
    let folder = world.folder.path().join(odd(""));
    if fs::create_dir(&folder).is_err() {
        return println!("skipped: this file system takes UTF-8 only");
    }
    let text = format!("[[job]]\nname = \"nightly\"\nroot = \"snaps\"\ndataset = \"{ID}\"\n");
    fs::write(folder.join("snapshots.toml"), text).unwrap();
    for line in ["snapshot", "snapshot", "snapshots", "history", "prune --dry-run", "prune"] {
        run(&world, &format!("{line} --config {{}}/snapshots.toml")).ok();
    }
    assert!(folder.join("snaps/nightly").is_dir());
}

#[test]
fn tilde_and_single_slash_are_explained() {
    let world = World::generated(Options::default(), 10);
    let mut told = String::new();
    for line in [
        "export ID -o ~/rows.parquet",
        "export ID -o s3:/bucket/today/",
        "export ID -o rows.jsonl --api-key-file ~/key",
        "export ID -o rows.jsonl --config ~/snapshots.toml",
        "verify ~/rows.parquet",
        "preview ~",
        "preview gs:bucket/rows.parquet",
        "diff a.jsonl ~/b.jsonl",
        "diff a.jsonl b.jsonl -o ~/c.jsonl",
        "man --dir ~/pages",
    ] {
        let line_of = line.replace("ID", &ID.to_string());
        let mut command = world.command();
        command.args(line_of.split(' ')).env("HOME", "/home/ada");
        told += &format!("$ {line}\n{}", Ran::of(&mut command).told(&world));
    }
    insta::assert_snapshot!(told, @r#"
    $ export ID -o ~/rows.parquet
    exit 2
    error: "~/rows.parquet" is not a valid location: only a shell expands ~, and only outside of quotes: write /home/ada/rows.parquet
    $ export ID -o s3:/bucket/today/
    exit 2
    error: "s3:/bucket/today/" is not a valid location: a URL has two slashes after its scheme: write s3://bucket/today/
    $ export ID -o rows.jsonl --api-key-file ~/key
    exit 2
    error: invalid value '~/key' for '--api-key-file <FILE>': only a shell expands ~, and only outside of quotes: write /home/ada/key

    For more information, try '--help'.
    $ export ID -o rows.jsonl --config ~/snapshots.toml
    exit 2
    error: invalid value '~/snapshots.toml' for '--config <FILE>': only a shell expands ~, and only outside of quotes: write /home/ada/snapshots.toml

    For more information, try '--help'.
    $ verify ~/rows.parquet
    exit 2
    error: "~/rows.parquet" is not a valid location: only a shell expands ~, and only outside of quotes: write /home/ada/rows.parquet
    $ preview ~
    exit 2
    error: "~" is not a valid location: only a shell expands ~, and only outside of quotes: write /home/ada
    $ preview gs:bucket/rows.parquet
    exit 2
    error: "gs:bucket/rows.parquet" is not a valid location: a URL has two slashes after its scheme: write gs://bucket/rows.parquet
    $ diff a.jsonl ~/b.jsonl
    exit 2
    error: "~/b.jsonl" is not a valid location: only a shell expands ~, and only outside of quotes: write /home/ada/b.jsonl
    $ diff a.jsonl b.jsonl -o ~/c.jsonl
    exit 2
    error: "~/c.jsonl" is not a valid location: only a shell expands ~, and only outside of quotes: write /home/ada/c.jsonl
    $ man --dir ~/pages
    exit 2
    error: invalid value '~/pages' for '--dir <DIR>': only a shell expands ~, and only outside of quotes: write /home/ada/pages

    For more information, try '--help'.
    "#);
    assert_eq!(world.entries(), [""; 0]);
    assert_eq!(world.server.stats().connections, 0);
    for (key, section) in [("root", "[defaults]"), ("temp_dir", "[defaults]"), ("ca_cert", "[api]")]
    {
        fs::write(world.path("x.toml"), format!("{section}\n{key} = \"~/x\"\n")).unwrap();
        let mut command = world.command();
        command.args(["snapshots", "--config", "x.toml"]).env("HOME", "/home/ada");
        let ran = Ran::of(&mut command);
        assert_eq!(ran.code, Some(78), "{ran:?}");
        assert!(ran.stderr.contains("outside of quotes: write /home/ada/x\n"), "{ran:?}");
    }
}
