//! Valid and invalid inputs of a comparison.

use std::{fs, path::Path};

use overmind_export::demo::Options;

use super::{Exports, row};
use crate::{
    support::{Ran, World},
    tree::record,
};

fn diff(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(world.command().arg("diff").args(arguments))
}

#[test]
fn same_rows_are_equal_across_formats_and_parts() {
    let rows = crate::rows::hard();
    // Without the largest row, which would make this test slow.
    let rows: Vec<_> = rows.into_iter().filter(|row| row.wire.len() < 1 << 20).collect();
    let count = rows.len();
    let world = World::with_rows(Options::default(), crate::rows::wire(&rows));
    let names = [
        "a.parquet",
        "a.arrow",
        "a.jsonl",
        "a.jsonl.gz",
        "a.csv",
        "a.jsonl.zst",
        "parts/",
        "lines/",
        "a.csv.gz",
    ];
    for name in names {
        let mut arguments = vec!["-o", name, "-q", "--page-size", "10"];
        match name {
            "parts/" => arguments.extend(["--rows-per-file", "10"]),
            "lines/" => arguments.extend(["--rows-per-file", "20", "--format", "jsonl"]),
            _ => {}
        }
        world.export(&arguments).ok();
    }
    for (index, name) in names.iter().enumerate() {
        let other = names[(index + 1) % names.len()];
        let ran = diff(&world, &[name, other]);
        assert_eq!(ran.code, Some(0), "{name} {other}: {ran:?}");
        assert!(ran.stdout.ends_with(&format!("equal: {count} rows\n")), "{ran:?}");
    }
    // Every value is compared: one changed token is a difference.
    let lines = String::from_utf8(world.read("a.jsonl")).unwrap();
    fs::write(world.path("b.jsonl"), lines.replacen("1.50", "1.5", 1)).unwrap();
    let ran = diff(&world, &["parts", "b.jsonl", "--show", "0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("\n0 added · 0 removed · 1 changed · "), "{ran:?}");
}

#[test]
fn directory_is_equal_to_itself() {
    let world = World::generated(Options::default(), 1000);
    world.export(&["-o", "out/", "--rows-per-file", "300"]).ok();
    for by in ["id", "order", "input"] {
        let ran = diff(&world, &["out", "out/", "--by", by]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("equal: 1,000 rows\n"), "{ran:?}");
    }
}

#[test]
fn empty_exports_are_equal_in_every_format() {
    // Compared with other exports, all rows are added or removed.
    let world = World::generated(Options::default(), 0);
    let empty = ["e.parquet", "e.arrow", "e.jsonl", "e.jsonl.gz", "e/"];
    for name in empty {
        world.export(&["-o", name]).ok();
    }
    fs::write(world.path("one.jsonl"), row(1, "0", "1", "null", "null") + "\n").unwrap();
    for (index, name) in empty.iter().enumerate() {
        let ran = diff(&world, &[name, empty[(index + 1) % empty.len()]]).ok();
        assert!(ran.stdout.ends_with("equal: 0 rows\n"), "{ran:?}");
        let ran = diff(&world, &[name, "one.jsonl", "--show", "0"]);
        assert_eq!(ran.code, Some(1));
        assert!(
            ran.stdout.ends_with("\n1 added · 0 removed · 0 changed · 0 unchanged\n"),
            "{ran:?}"
        );
        let ran = diff(&world, &["one.jsonl", name, "--by", "order", "--show", "0"]);
        assert!(
            ran.stdout.ends_with("\n0 added · 1 removed · 0 changed · 0 unchanged\n"),
            "{ran:?}"
        );
    }
}

#[test]
fn only_shared_columns_are_compared() {
    let exports = Exports::of(
        &[r#"{"id":"a","order":1,"tags":[1]}"#],
        &[r#"{"id":"a","input":2,"tags":[1]}"#],
    );
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl"]), @"
    exit 0
    old.jsonl → new.jsonl, by id
    equal: 1 row
    not compared: order (only in old.jsonl)
    not compared: input (only in new.jsonl)
    ");
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--by", "order"]), @"
    exit 2
    error: new.jsonl has no column order to identify its rows by, only id, input, tags
    ");
    exports.write("ids.jsonl", &[r#"{"id":"a"}"#]);
    insta::assert_snapshot!(exports.told(&["ids.jsonl", "new.jsonl"]), @"
    exit 0
    ids.jsonl → new.jsonl, by id
    equal in id: 1 row
    note: only id was compared: the two exports have no other column in common
    not compared: input, tags (only in new.jsonl)
    ");
    exports.write("no-ids.jsonl", &[r#"{"order":1}"#]);
    assert_eq!(exports.diff(&["old.jsonl", "no-ids.jsonl", "--by", "order"]).code, Some(0));
}

#[test]
fn damage_is_an_error_not_a_difference() {
    type Damage = fn(&Path);
    let table: [(Damage, &str); 8] = [
        (
            |out| fs::remove_file(record(out)).unwrap(),
            "out: it has no record: there is no out.manifest.json",
        ),
        (
            |out| fs::write(record(out), "{}").unwrap(),
            "out.manifest.json: it is not a manifest: missing field",
        ),
        (
            |out| fs::remove_file(out.join("part-00002.jsonl")).unwrap(),
            "out: part-00002.jsonl is missing",
        ),
        (|out| edit(out, "part-00001.jsonl", "\n", ""), "out/part-00001.jsonl: bytes "),
        (
            |out| edit(out, "part-00001.jsonl", "\"persona\":", "\"persoma\":"),
            "out/part-00001.jsonl: line 1: it has \"persoma\", which its record does not list",
        ),
        (|out| edit(out, "part-00001.jsonl", "the", "teh"), "out/part-00001.jsonl: SHA-256 "),
        (
            |out| edit(out, "../out.manifest.json", "\"rows\": 1000", "\"rows\": 1001"),
            "out: its parts have 1,000 rows, recorded 1,001",
        ),
        (
            |out| edit(out, "../out.manifest.json", "part-00001", "../passwd"),
            "which is not a file's name",
        ),
    ];
    for (damage, problem) in table {
        let world = World::generated(Options::default(), 1000);
        world.export(&["-o", "out/", "--format", "jsonl", "--rows-per-file", "300"]).ok();
        world.export(&["-o", "whole.parquet"]).ok();
        damage(&world.path("out"));
        for arguments in [["out", "whole.parquet"], ["whole.parquet", "out"]] {
            let ran = diff(&world, &[&arguments[..], &["-o", "d.jsonl"]].concat());
            assert_eq!(ran.code, Some(65), "{problem}: {ran:?}");
            assert!(ran.stderr.contains(problem), "{problem}: {ran:?}");
            assert_eq!(ran.stdout, "", "{problem}");
            let entries = world.entries();
            let names: Vec<_> = entries.iter().filter(|name| !name.ends_with(".json")).collect();
            assert_eq!(names, ["out", "whole.parquet"], "{problem}");
        }
    }
}

fn edit(out: &Path, name: &str, from: &str, to: &str) {
    let path = out.join(name);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn damaged_single_file_is_an_error() {
    let world = World::generated(Options::default(), 500);
    for name in ["a.parquet", "a.arrow", "a.jsonl.gz", "a.jsonl"] {
        world.export(&["-o", name, "--manifest"]).ok();
        let whole = world.read(name);
        let mut flipped = whole.clone();
        flipped[3000] ^= 1;
        for bytes in [&flipped[..], &whole[..whole.len() - 1], &whole[..100]] {
            fs::write(world.path(name), bytes).unwrap();
            let ran = diff(&world, &[name, "a.parquet"]);
            assert_eq!(ran.code, Some(65), "{name}: {ran:?}");
            assert!(ran.stderr.starts_with(&format!("error: {name}: ")), "{ran:?}");
        }
        fs::write(world.path(name), whole).unwrap();
    }
}

#[test]
fn invalid_files_are_refused_by_name() {
    // Files with wrong columns or values, a missing file, and a file with an unknown extension.
    let exports = Exports::of(&[r#"{"id":"a","order":1}"#], &[r#"{"id":"a","order":1}"#]);
    let table: [(&str, &[&str]); 6] = [
        ("unknown.jsonl", &[r#"{"id":"a","extra":1}"#]),
        ("uneven.jsonl", &[r#"{"id":"a","order":1}"#, r#"{"id":"b"}"#]),
        ("nothing.jsonl", &["{}"]),
        ("null-id.jsonl", &[r#"{"id":null}"#]),
        ("no-json.jsonl", &["id,order"]),
        ("no-number.jsonl", &[r#"{"id":"a","order":"1"}"#]),
    ];
    let mut told = String::new();
    for (name, lines) in table {
        exports.write(name, lines);
        told += &exports.told(&["old.jsonl", name]);
    }
    insta::assert_snapshot!(told, @r#"
    exit 65
    error: unknown.jsonl: it has a column "extra", which no export has
    exit 65
    error: uneven.jsonl: line 2: it does not have the column "order" of the lines before
    exit 65
    error: nothing.jsonl: line 1: it has no column
    exit 65
    error: null-id.jsonl: it cannot be read: Invalid argument error: Column 'id' is declared as non-nullable but contains null values
    exit 65
    error: no-json.jsonl: line 1: it is not JSON: an error at byte 1
    exit 65
    error: no-number.jsonl: line 1: its order "\"1\"" is not a whole number
    "#);
    insta::assert_snapshot!(exports.told(&["old.jsonl", "nowhere"]), @"
    exit 74
    error: cannot read nowhere
      cause: No such file or directory (os error 2)
    ");
    exports.write("old.tsv", &["id"]);
    insta::assert_snapshot!(exports.told(&["old.jsonl", "old.tsv"]), @"
    exit 65
    error: old.tsv: it cannot be read: its extension is unknown; exports end in .parquet, .arrow, .jsonl or .csv
    ");
}

#[test]
fn single_part_can_be_compared() {
    let world = World::generated(Options::default(), 600);
    world.export(&["-o", "out/", "--rows-per-file", "300"]).ok();
    let ran = diff(&world, &["out", "out/part-00001.parquet", "--show", "0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("\n0 added · 300 removed · 0 changed · 300 unchanged\n"),
        "{ran:?}"
    );
}
