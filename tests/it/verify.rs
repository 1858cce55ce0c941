//! `verify` names every problem of an export and nothing else.

use std::{fs, path::Path};

use overmind_export::demo::Options;

use crate::{
    support::{Ran, World},
    tree::record,
};

/// An export of 1,000 rows in four parts, in `out`.
fn exported(format: &str) -> World {
    let world = World::generated(Options::default(), 1000);
    world.export(&["-o", "out/", "--format", format, "--rows-per-file", "300"]).ok();
    world
}

fn verify(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(world.command().arg("verify").args(arguments))
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn untouched_export_is_ok_in_every_format() {
    for format in ["parquet", "arrow", "jsonl", "csv"] {
        let world = exported(format);
        let ran = verify(&world, &["out"]).ok();
        let how = if matches!(format, "jsonl" | "csv") { "SHA-256" } else { "SHA-256, XXH3" };
        let told = format!("out: ok, 1,000 rows; every byte was checked ({how})\n");
        assert_eq!(ran.stdout, told);
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn footers_that_contradict_the_record_are_named() {
    let world = exported("parquet");
    let path = record(&world.path("out"));
    let text = fs::read_to_string(&path).unwrap();
    let table = [
        (
            r#""completeness": "proven""#,
            r#""completeness": "partial""#,
            "completeness is proven, recorded partial",
        ),
        (
            r#""query": {}"#,
            r#""query": {"ordering": "order"}"#,
            "filters and order are not the recorded ones",
        ),
    ];
    for (own, forged, told) in table {
        assert!(text.contains(own), "{text}");
        fs::write(&path, text.replace(own, forged)).unwrap();
        let ran = verify(&world, &["out"]);
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.stdout.contains(&format!("part-00000.parquet: its own {told}")), "{ran:?}");
    }
}

#[test]
fn each_kind_of_damage_is_named() {
    type Damage = fn(&Path);
    let table: [(Damage, &str); 9] = [
        (
            |out| fs::remove_file(out.join("part-00002.parquet")).unwrap(),
            "part-00002.parquet is missing",
        ),
        (
            |out| drop(fs::copy(out.join("part-00000.parquet"), out.join("part-00004.parquet"))),
            "part-00004.parquet is not in the manifest",
        ),
        (|out| flip_byte(&out.join("part-00001.parquet"), 5000), "part-00001.parquet: SHA-256 "),
        (
            |out| {
                let path = out.join("part-00001.parquet");
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            },
            "part-00001.parquet: bytes ",
        ),
        (
            |out| edit(out, "\"rows\": 1000", "\"rows\": 999"),
            "out.manifest.json: rows 1,000, recorded 999",
        ),
        (
            |out| edit(out, "\"count\": 1000", "\"count\": 1001"),
            "out.manifest.json: rows of the dataset 1,000, recorded 1,001",
        ),
        (
            |out| edit(out, "\"rows_read\": 300", "\"rows_read\": 299"),
            "part-00000.parquet: its own number of rows read is 300, recorded 299",
        ),
        (
            |out| edit(out, "\"format_version\": 2", "\"format_version\": 1"),
            "out.manifest.json: an earlier version of this program wrote it, in a layout that is no longer read: \
             export the dataset again",
        ),
        (|out| edit(out, "part-00000.parquet", "../../etc/passwd"), "which is not a file's name"),
    ];
    for (damage, problem) in table {
        let world = exported("parquet");
        damage(&world.path("out"));
        let ran = verify(&world, &["out"]);
        assert_eq!(ran.code, Some(65), "{problem}: {ran:?}");
        assert!(ran.stdout.contains(problem), "{problem}: {ran:?}");
        assert!(ran.stderr.starts_with("error: 1 of 1 export is damaged\n"), "{ran:?}");
    }
}

#[test]
fn only_the_missing_part_is_named() {
    let world = World::generated(Options::default(), 1000);
    world.export(&["-o", "out/", "--rows-per-file", "200"]).ok();
    for name in [".DS_Store", "Thumbs.db", "desktop.ini"] {
        fs::write(world.path("out").join(name), "a desktop's").unwrap();
    }
    verify(&world, &["out"]).ok();
    fs::remove_file(world.path("out/part-00002.parquet")).unwrap();
    let ran = verify(&world, &["out"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(65), "out: part-00002.parquet is missing\n"));
    fs::remove_file(world.path("out.manifest.json")).unwrap();
    let ran = verify(&world, &["out"]);
    let told = "out: out.manifest.json is missing, and there are parts of an export; if their record is elsewhere, name \
                it with --record\n";
    assert_eq!((ran.code, &*ran.stdout), (Some(65), told));
}

fn edit(out: &Path, from: &str, to: &str) {
    let path = record(out);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn swapped_whole_parts_are_noticed() {
    let world = exported("jsonl");
    let path = |name: &str| world.path("out").join(name);
    fs::rename(path("part-00000.jsonl"), path("x")).unwrap();
    fs::rename(path("part-00001.jsonl"), path("part-00000.jsonl")).unwrap();
    fs::rename(path("x"), path("part-00001.jsonl")).unwrap();
    let ran = verify(&world, &["out"]);
    assert_eq!(ran.code, Some(65));
    assert!(ran.stdout.contains("part-00000.jsonl: digest "), "{ran:?}");
}

#[test]
fn single_file_is_checked_by_footer_or_manifest() {
    let world = World::generated(Options::default(), 500);
    for name in ["a.parquet", "a.arrow"] {
        world.export(&["-o", name]).ok();
        let told = format!("{name}: ok, 500 rows; every byte was checked (XXH3)\n");
        assert_eq!(verify(&world, &[name]).ok().stdout, told);
        flip_byte(&world.path(name), 3000);
        assert_eq!(verify(&world, &[name]).code, Some(65), "{name}");
    }
    world.export(&["-o", "b.jsonl"]).ok();
    let ran = verify(&world, &["b.jsonl"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stdout.contains("export with --manifest"), "{ran:?}");
    world.export(&["-o", "b.jsonl", "--manifest", "--overwrite"]).ok();
    verify(&world, &["b.jsonl"]).ok();
    let text = fs::read_to_string(world.path("b.jsonl")).unwrap();
    let without_last: Vec<&str> = text.lines().take(499).collect();
    fs::write(world.path("b.jsonl"), without_last.join("\n") + "\n").unwrap();
    let ran = verify(&world, &["b.jsonl"]);
    assert_eq!(ran.code, Some(65));
    assert!(ran.stdout.contains("b.jsonl: rows 499, recorded 500"), "{ran:?}");
}

#[test]
fn json_lists_the_result_for_every_path() {
    let world = exported("parquet");
    fs::write(world.path("out/x"), "").unwrap();
    world.export(&["-o", "one.parquet"]).ok();
    let ran = verify(&world, &["out", "one.parquet", "--json"]);
    assert_eq!(ran.code, Some(65));
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["problems"], serde_json::json!(["x is not in the manifest"]));
    assert_eq!(lines[1]["problems"], serde_json::json!([]));
    assert_eq!((&lines[1]["rows"], &lines[1]["completeness"]), (&1000.into(), &"proven".into()));
}

#[test]
fn missing_path_is_a_read_error() {
    let world = World::generated(Options::default(), 1);
    let ran = verify(&world, &["nothing"]);
    assert_eq!(ran.code, Some(74));
    assert!(ran.stderr.starts_with("error: cannot read nothing\n  cause: No such file"), "{ran:?}");
}

#[test]
fn unreadable_path_does_not_stop_the_others() {
    let world = exported("parquet");
    world.export(&["-o", "one.parquet"]).ok();
    let ran = verify(&world, &["nothing", "out", "nowhere", "one.parquet"]);
    assert_eq!(ran.code, Some(74), "{ran:?}");
    let ok =
        |path: &str, how: &str| format!("{path}: ok, 1,000 rows; every byte was checked ({how})\n");
    let told = ok("out", "SHA-256, XXH3") + &ok("one.parquet", "XXH3");
    assert_eq!(ran.stdout, told);
    for path in ["nothing", "nowhere"] {
        assert!(ran.stderr.contains(&format!("error: cannot read {path}\n")), "{ran:?}");
    }
    // The exit code of damage (65) takes precedence over the exit code of an unreadable path (74).
    fs::write(world.path("out/x"), "").unwrap();
    let ran = verify(&world, &["nothing", "out", "one.parquet"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    let told = "out: x is not in the manifest\n".to_owned() + &ok("one.parquet", "XXH3");
    assert_eq!(ran.stdout, told);
    assert!(ran.stderr.starts_with("error: cannot read nothing\n"), "{ran:?}");
    assert!(ran.stderr.contains("error: 1 of 3 exports are damaged"), "{ran:?}");
}

#[test]
fn sha256sum_agrees_with_the_manifest() {
    let world = exported("arrow");
    let manifest: serde_json::Value =
        serde_json::from_slice(&world.read("out.manifest.json")).unwrap();
    let list: String = manifest["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            format!("{}  {}\n", part["sha256"].as_str().unwrap(), part["path"].as_str().unwrap())
        })
        .collect();
    fs::write(world.path("sums"), list).unwrap();
    let mut command = std::process::Command::new("sha256sum");
    command.args(["-c", "../sums"]).current_dir(world.path("out"));
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn foreign_manifests_are_not_taken_for_ours() {
    let world = World::generated(Options::default(), 500);
    let foreign = r#"{"my":"json"}"#;
    for name in ["b8.parquet", "b8.arrow", "b8.jsonl"] {
        world.export(&["-o", name]).ok();
        fs::write(world.path(&format!("{name}.manifest.json")), foreign).unwrap();
    }
    for name in ["b8.parquet", "b8.arrow"] {
        let told = format!("{name}: ok, 500 rows; every byte was checked (XXH3)\n");
        assert_eq!(verify(&world, &[name]).ok().stdout, told);
    }
    flip_byte(&world.path("b8.parquet"), 3000);
    assert_eq!(verify(&world, &["b8.parquet"]).code, Some(65));
    fs::create_dir(world.path("site")).unwrap();
    fs::write(world.path("site/_manifest.json"), r#"{"hello":1}"#).unwrap();
    insta::assert_snapshot!(verify(&world, &["b8.jsonl", "site"]).told(&world), @"
    exit 2
    b8.jsonl: it can be read to its end, but has no record to compare it with: b8.jsonl.manifest.json was written by another program; export with --manifest to write one
    site: not an export: _manifest.json was written by another program; give the folder of an export, or a single exported file
    error: 2 of 2 paths could not be checked
      hint: each line above gives the reason and the next step
    ");
    // Parts are an export's, whatever has replaced its manifest.
    world.export(&["-o", "out/"]).ok();
    fs::write(world.path("out.manifest.json"), foreign).unwrap();
    insta::assert_snapshot!(verify(&world, &["out"]).told(&world), @"
    exit 65
    out: out.manifest.json was written by another program, and there are parts of an export; if their record is elsewhere, name it with --record
    error: 1 of 1 export is damaged
      hint: the lines above name the damage: export again
    ");
    // Ours that is cut short is damaged.
    world.export(&["-o", "own.jsonl", "--manifest"]).ok();
    let manifest = world.read("own.jsonl.manifest.json");
    fs::write(world.path("own.jsonl.manifest.json"), &manifest[..manifest.len() / 2]).unwrap();
    let ran = verify(&world, &["own.jsonl"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stdout.contains("it is not a manifest"), "{ran:?}");
}

#[test]
fn record_is_found_from_every_name_of_the_directory() {
    let world = exported("parquet");
    std::os::unix::fs::symlink("out", world.path("link")).unwrap();
    for (folder, path) in
        [(".", "out"), (".", "./out/"), (".", "link"), (".", "link/"), ("out", ".")]
    {
        let mut command = world.command();
        command.current_dir(world.path(folder)).args(["verify", path]);
        let ran = Ran::of(&mut command).ok();
        assert!(ran.stdout.contains(": ok, 1,000 rows;"), "{path}: {ran:?}");
    }
    // A directory that was moved without its record still has its parts.
    fs::rename(world.path("out"), world.path("moved")).unwrap();
    let ran = verify(&world, &["moved"]);
    let told = "moved: moved.manifest.json is missing, and there are parts of an export; if their record is \
                elsewhere, name it with --record\n";
    assert_eq!((ran.code, &*ran.stdout), (Some(65), told));
    verify(&world, &["moved", "--record", "out.manifest.json"]).ok();
    verify(&world, &["moved/part-00000.parquet", "moved/part-00003.parquet"]).ok();
}

#[test]
#[cfg(unix)]
fn record_inside_the_output_is_refused() {
    let world = World::generated(Options::default(), 100);
    fs::create_dir_all(world.path("out")).unwrap();
    fs::create_dir(world.path("b")).unwrap();
    std::os::unix::fs::symlink("out", world.path("link")).unwrap();
    let mut told = String::new();
    for (output, record) in [
        ("new", "new"),
        ("new", "./new/r.json"),
        ("out", "./out/deeper/r.json"),
        ("out", "b/../out/r.json"),
        ("out", "link/r.json"),
        ("out", "link"),
        ("link/", "out"),
        ("new", "b/../new"),
        ("new", ".new.partial"),
    ] {
        told += &world.export(&["-o", &format!("{output}/"), "--record", record]).told(&world);
    }
    insta::assert_snapshot!(told, @r#"
    exit 2
    error: "new" is not a valid record: a local directory holds only parts: give a path outside it
    exit 2
    error: "./new/r.json" is not a valid record: a local directory holds only parts: give a path outside it
    exit 2
    error: "./out/deeper/r.json" is not a valid record: a local directory holds only parts: give a path outside it
    exit 73
    error: b/../out/r.json: is the output or its staging, or inside one of them
      hint: a directory holds only parts: give a path outside it with --record
    exit 73
    error: link/r.json: is the output or its staging, or inside one of them
      hint: a directory holds only parts: give a path outside it with --record
    exit 73
    error: link: is the output or its staging, or inside one of them
      hint: a directory holds only parts: give a path outside it with --record
    exit 73
    error: out: is the output or its staging, or inside one of them
      hint: a directory holds only parts: give a path outside it with --record
    exit 73
    error: b/../new: is the output or its staging, or inside one of them
      hint: a directory holds only parts: give a path outside it with --record
    exit 73
    error: .new.partial: is the output or its staging, or inside one of them
      hint: a directory holds only parts: give a path outside it with --record
    "#);
    assert_eq!(world.server.stats().requests, 0);
    assert_eq!(world.entries(), ["b", "link", "out"]);
    assert_eq!(fs::read_dir(world.path("out")).unwrap().count(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn long_record_name_on_another_file_system_works() {
    use std::os::unix::fs::MetadataExt;
    let world = World::generated(Options::default(), 100);
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return println!("skipped: no second file system");
    };
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(other.path()) == device(world.folder.path()) {
        return println!("skipped: /dev/shm is on the same file system");
    }
    // The longest name that a file can have. No name that the run derives may be longer.
    let record = other.path().join(format!("{}.json", "r".repeat(250)));
    let record = record.to_str().unwrap();
    world.export(&["-o", "out/", "--record", record]).ok();
    verify(&world, &["out", "--record", record]).ok();
    assert_eq!(world.entries(), ["out"]);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn record_goes_where_it_was_asked_for() {
    let world = World::generated(Options::default(), 1000);
    fs::create_dir(world.path("records")).unwrap();
    let arguments = ["-o", "out/", "--record", "records/out.json", "--rows-per-file", "300"];
    world.export(&arguments).ok();
    assert_eq!(world.entries(), ["out", "records"]);
    verify(&world, &["out", "--record", "records/out.json"]).ok();
    let preview = ["preview", "out", "--record", "records/out.json", "-n", "1"];
    Ran::of(world.command().args(preview)).ok();
    // The record may belong to another directory.
    let again = ["-o", "other/", "--record", "records/out.json"];
    let mut told = world.export(&again).told(&world);
    world.export(&[&arguments[..], &["--overwrite"]].concat()).ok();
    told += &world.export(&["-o", "in/", "--record", "in/record.json"]).told(&world);
    told += &world.export(&["-o", "a.parquet", "--record", "a.json"]).told(&world);
    told += &world.export(&["-o", "a.parquet", "--success-file"]).told(&world);
    told += &world.export(&["-o", "in/", "--record", "s3://bucket/a.json"]).told(&world);
    insta::assert_snapshot!(told, @r#"
    exit 73
    error: records/out.json: exists already
      hint: give --overwrite to replace an export, or another --record
    exit 2
    error: "in/record.json" is not a valid record: a local directory holds only parts: give a path outside it
    exit 2
    error: --record is the place for the record of a directory of parts, but a.parquet is not one: for a single file give --manifest
    exit 2
    error: --success-file marks a directory of parts, but a.parquet is not one
    exit 2
    error: "s3://bucket/a.json" is not a valid record: it must be where the output is: both on this machine, or both in a store
    "#);
}

#[test]
fn success_file_is_part_of_an_export() {
    let world = World::generated(Options::default(), 10);
    world.export(&["-o", "out/", "--success-file"]).ok();
    let names = crate::support::entries(&world.path("out"));
    assert_eq!(names, ["_SUCCESS", "part-00000.parquet"]);
    verify(&world, &["out"]).ok();
    fs::remove_file(world.path("out/_SUCCESS")).unwrap();
    verify(&world, &["out"]).ok();
    world.export(&["-o", "out/", "--overwrite"]).ok();
}
