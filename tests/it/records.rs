//! Readers refuse a record that belongs to other files.

use std::{fs, path::Path};

use overmind_export::{
    Batches, Location, Result,
    demo::{Dataset, Options},
};
use uuid::Uuid;

use crate::support::{ID, Ran, World};

/// The error of each reader of `out`, which must be the same, without its prefix. Empty if there is none.
fn refusal(world: &World) -> String {
    let mut told = Vec::new();
    for arguments in
        [&["preview", "out"][..], &["preview", "out", "--json"], &["diff", "out", "out"]]
    {
        let ran = Ran::of(world.command().args(arguments));
        let code = if ran.stderr.is_empty() { 0 } else { 65 };
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(code == 0 || ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
        told.push(ran.stderr.trim_start_matches("error: ").trim_end().to_owned());
    }
    let read = read(&world.path("out")).err();
    let prefix = format!("{}/", world.folder.path().display());
    told.push(read.map_or_else(String::new, |error| error.one_line().replace(&prefix, "")));
    told.dedup();
    assert_eq!(told.len(), 1, "{told:#?}");
    told.concat()
}

/// Reads all rows.
fn read(path: &Path) -> Result<usize> {
    Batches::open(&Location::from(path))?.map(|batch| batch.map(|it| it.num_rows())).sum()
}

/// Exports a dataset with this id and number of rows to `out`, in parts of 300 rows. Returns the record.
fn exported(world: &World, extension: &str, (id, rows): (Uuid, u64)) -> Vec<u8> {
    world.server.replace(vec![Dataset::generated(rows, 7).with_id(id)]);
    let (format, compression) = match extension {
        "jsonl" => ("jsonl", "none"),
        "jsonl.gz" => ("jsonl", "gzip"),
        format => (format, "zstd"),
    };
    let format = ["--format", format.trim_end_matches(".zst"), "--compression", compression];
    let arguments = ["-o", "out/", "--rows-per-file", "300", "--overwrite"];
    Ran::of(world.command().args(["export", &id.to_string()]).args(arguments).args(format)).ok();
    world.read("out.manifest.json")
}

/// A run can be killed between the rename of the parts and that of the record.
#[test]
fn record_of_the_replaced_parts_is_refused() {
    for format in ["parquet", "arrow", "jsonl", "jsonl.gz"] {
        let world = World::generated(Options::default(), 0);
        let [few, many] = [600, 1000].map(|rows| exported(&world, format, (ID, rows)));
        assert_eq!(refusal(&world), "");
        fs::write(world.path("out.manifest.json"), &few).unwrap();
        let told = refusal(&world);
        let unlisted = format!("out: part-00002.{format} is not in out.manifest.json");
        // Facts of another length change the size of a Parquet or Arrow file.
        let size = format!("out/part-00000.{format}: bytes ");
        assert!(told == unlisted || told.starts_with(&size), "{told}");
        // The first export had more parts than the second.
        fs::write(world.path("out.manifest.json"), &many).unwrap();
        exported(&world, format, (ID, 600));
        fs::write(world.path("out.manifest.json"), &many).unwrap();
        let told = refusal(&world);
        let missing = format!("out: part-00002.{format} is missing");
        assert!(told == missing || told.starts_with(&size), "{told}");
    }
}

#[test]
fn record_of_another_dataset_is_refused() {
    let other = Uuid::from_u128(ID.as_u128() + 1);
    let world = World::generated(Options::default(), 0);
    for format in ["parquet", "arrow"] {
        let [record, _] = [other, ID].map(|id| exported(&world, format, (id, 600)));
        fs::write(world.path("out.manifest.json"), record).unwrap();
        let told = format!("out/part-00000.{format}: its own dataset is {ID}, recorded {other}");
        assert_eq!(refusal(&world), told);
    }
    // The same rows: JSON Lines do not say which dataset they are from.
    let [record, _] = [other, ID].map(|id| exported(&world, "jsonl", (id, 600)));
    fs::write(world.path("out.manifest.json"), record).unwrap();
    assert_eq!(refusal(&world), "");
}

#[test]
fn record_of_another_row_count_is_refused() {
    let world = World::generated(Options::default(), 0);
    for format in ["parquet", "arrow"] {
        let [record, _] = [600, 700].map(|rows| exported(&world, format, (ID, rows)));
        fs::write(world.path("out.manifest.json"), record).unwrap();
        fs::remove_file(world.path(&format!("out/part-00002.{format}"))).unwrap();
        let told = format!(
            "out/part-00000.{format}: its own number of rows of the dataset is 700, recorded 600"
        );
        assert_eq!(refusal(&world), told);
    }
}

#[test]
fn json_lines_are_compared_by_their_sha256() {
    let world = World::generated(Options::default(), 0);
    for format in ["jsonl", "jsonl.gz", "jsonl.zst"] {
        let record = String::from_utf8(exported(&world, format, (ID, 300))).unwrap();
        let at = record.find("\"sha256\": \"").unwrap() + "\"sha256\": \"".len();
        let edited = format!("{}{}{}", &record[..at], "0".repeat(64), &record[at + 64..]);
        fs::write(world.path("out.manifest.json"), edited).unwrap();
        let told = refusal(&world);
        let path = format!("out/part-00000.{format}: SHA-256 ");
        assert!(told.starts_with(&path) && told.ends_with(&"0".repeat(64)), "{told}");
    }
}

/// A preview of few rows does not read a large file to its end. All rows do.
#[test]
fn large_json_lines_are_compared_once_read() {
    let world = World::generated(Options::default(), 3000);
    world.export(&["-o", "out/", "--format", "jsonl"]).ok();
    let path = world.path("out/part-00000.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let at = text.rfind("the").unwrap();
    fs::write(&path, format!("{}teh{}", &text[..at], &text[at + 3..])).unwrap();
    Ran::of(world.command().args(["preview", "out"])).ok();
    let told = read(&world.path("out")).unwrap_err().one_line();
    assert!(told.contains("out/part-00000.jsonl: SHA-256 "), "{told}");
    // One byte more is noticed at once.
    fs::write(&path, format!("{text}\n")).unwrap();
    assert!(refusal(&world).starts_with("out/part-00000.jsonl: bytes "));
}

#[test]
fn old_record_next_to_the_directory_is_explained() {
    let world = World::generated(Options::default(), 600);
    world.export(&["-o", "out/"]).ok();
    world.server.replace(vec![Dataset::generated(1000, 7).with_id(ID)]);
    let elsewhere = ["-o", "out/", "--record", "r.json", "--rows-per-file", "600"];
    fs::remove_dir_all(world.path("out")).unwrap();
    world.export(&elsewhere).ok();
    let verify = |arguments: &[&str]| Ran::of(world.command().arg("verify").args(arguments));
    let ran = verify(&["out"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [unlisted, bytes, explained] = lines[..] else { panic!("{ran:?}") };
    assert_eq!(unlisted, "out: part-00001.parquet is not in the manifest");
    assert!(bytes.starts_with("out: part-00000.parquet: bytes "), "{bytes}");
    let told = "out: out.manifest.json does not describe these parts; if their record is elsewhere, name it with --record";
    assert_eq!(explained, told);
    verify(&["out", "--record", "r.json"]).ok();
    // A changed byte is damage, not another export.
    let record = world.read("r.json");
    fs::write(world.path("out.manifest.json"), record).unwrap();
    let path = world.path("out/part-00000.parquet");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran = verify(&["out"]);
    assert!(ran.code == Some(65) && !ran.stdout.contains("--record"), "{ran:?}");
    // Without any record next to it.
    fs::remove_file(world.path("out.manifest.json")).unwrap();
    insta::assert_snapshot!(world.export(&["-o", "out/", "--overwrite"]).told(&world), @"
    exit 73
    error: out/: is not an export: it has no valid record
      hint: only an empty directory or an earlier export is replaced; if the record is elsewhere, name it with --record
    ");
}

#[test]
fn diff_takes_the_records_of_both_sides() {
    let world = World::generated(Options::default(), 600);
    world.export(&["-o", "a/", "--record", "a.json", "--rows-per-file", "300"]).ok();
    world.export(&["-o", "b/", "--record", "b.json", "--format", "jsonl"]).ok();
    world.export(&["-o", "c.jsonl", "--manifest"]).ok();
    fs::rename(world.path("c.jsonl.manifest.json"), world.path("c.json")).unwrap();
    let diff = |arguments: &[&str]| Ran::of(world.command().arg("diff").args(arguments));
    diff(&["a", "b", "--record-a", "a.json", "--record-b", "b.json"]).ok();
    diff(&["b", "c.jsonl", "--record-a", "b.json", "--record-b", "c.json"]).ok();
    let mut told = diff(&["a", "b", "--record-a", "a.json"]).told(&world);
    told += &diff(&["a", "b", "--record-a", "b.json", "--record-b", "b.json"]).told(&world);
    told += &diff(&["a", "c.jsonl", "--record-a", "a.json", "--record-b", "d.json"]).told(&world);
    insta::assert_snapshot!(told, @"
    exit 65
    error: b: it has no record: there is no b.manifest.json; copy it along with the folder, or give one file, such as part-00000.jsonl; if its record is elsewhere, name it with --record-b
    exit 65
    error: a: part-00000.jsonl is missing
    exit 65
    error: c.jsonl: it has no record: there is no d.json
    ");
}

#[test]
fn record_of_a_single_file_can_be_elsewhere() {
    let world = World::generated(Options::default(), 600);
    world.export(&["-o", "a.jsonl", "--manifest"]).ok();
    world.export(&["-o", "b.jsonl", "--manifest", "--limit", "10"]).ok();
    fs::rename(world.path("a.jsonl.manifest.json"), world.path("a.json")).unwrap();
    fs::write(world.path("foreign.json"), "[]").unwrap();
    let run = |command: &str, record: &str| {
        let arguments = [command, "a.jsonl", "--record", record];
        Ran::of(world.command().args(arguments).args(match command {
            "preview" => &["-n", "1", "--columns", "order"][..],
            _ => &[],
        }))
    };
    let mut told = String::new();
    for record in ["a.json", "b.jsonl.manifest.json", "missing.json", "foreign.json"] {
        told += &run("verify", record).told(&world);
        told += &run("preview", record).told(&world);
    }
    insta::assert_snapshot!(told, @"
    exit 0
    a.jsonl: ok, 600 rows; every byte was checked (SHA-256)
    exit 0
     ORDER
         0
    1 of 600 rows
    exit 65
    a.jsonl: bytes 608,849, recorded 12,906
    a.jsonl: rows 600, recorded 10
    a.jsonl: digest xxh3-128-poly:74afebb307f921702297b03acc977be7, recorded xxh3-128-poly:702482df2acdf9a20a3985521e02bab3
    error: 1 of 1 export is damaged
      hint: the lines above name the damage: export again
    exit 65
    error: a.jsonl: bytes 608,849, recorded 12,906
    exit 65
    a.jsonl: missing.json is missing
    error: 1 of 1 export is damaged
      hint: the lines above name the damage: export again
    exit 65
    error: a.jsonl: it has no record: there is no missing.json
    exit 65
    a.jsonl: foreign.json was written by another program
    error: 1 of 1 export is damaged
      hint: the lines above name the damage: export again
    exit 65
    error: foreign.json: it is not a manifest: invalid length 0, expected struct Manifest with 31 elements at line 1 column 2
    ");
}
