//! Every format into every format and layout: equal rows, and the bytes that an export writes.

use std::fs;

use super::{FILES, convert, export, hostile, record, run, verified, world};
use crate::{
    read::Table,
    rows,
    support::{Ran, entries},
    tree::content,
};

#[test]
fn every_format_gives_the_bytes_of_an_export() {
    let world = world(hostile());
    let digest = export(&world, &["-o", "rows.parquet"])["digest"].clone();
    for file in FILES {
        export(&world, &["-o", file, "--manifest", "--overwrite"]);
    }
    // Together, each format in each form, and each format from each.
    for source in ["rows.parquet", "rows.arrow", "rows.jsonl.gz", "rows.csv.zst"] {
        for file in ["rows.parquet", "rows.arrow", "rows.jsonl.zst", "rows.csv.gz"] {
            let output = format!("from-{source}-{file}");
            let summary = convert(&world, &[source, "-o", &output]);
            assert_eq!((&summary["digest"], &summary["source_digest"]), (&digest, &digest));
            assert_eq!(summary["completeness"], "proven", "{source} to {file}");
            assert!(world.read(&output) == world.read(file), "{source} to {file}");
            fs::remove_file(world.path(&output)).unwrap();
        }
    }
    for (source, file) in FILES.into_iter().zip(FILES.into_iter().rev()) {
        convert(&world, &[source, "-o", &format!("to-{file}")]);
        assert!(world.read(&format!("to-{file}")) == world.read(file), "{source} to {file}");
    }
}

#[test]
fn parts_end_at_rows_and_tile_the_source() {
    let world = world(hostile());
    let source = export(&world, &["-o", "source/", "--rows-per-file", "400"]);
    for format in ["parquet", "arrow", "jsonl", "csv"] {
        let out = format!("{format}/");
        let how = ["--format", format, "--rows-per-file", "333", "--success-file"];
        let summary = convert(&world, &[&["source/", "-o", &out], &how[..]].concat());
        let rows = summary["rows"].as_u64().unwrap();
        assert_eq!(
            (&summary["digest"], rows),
            (&source["digest"], source["rows"].as_u64().unwrap())
        );
        let record = record(&world, format);
        let parts = record["parts"].as_array().unwrap();
        let of_parts: Vec<u64> = parts.iter().map(|it| it["rows"].as_u64().unwrap()).collect();
        let (last, full) = of_parts.split_last().unwrap();
        assert!(full.iter().all(|rows| *rows == 333) && *last == rows % 333, "{of_parts:?}");
        assert_eq!(entries(&world.path(format))[0], "_SUCCESS");
        assert!(verified(&world, &out).contains("ok, "), "{format}");
        let diff = Ran::of(world.command().args(["diff", "source/", &out])).ok();
        assert!(
            diff.stdout.contains("equal") || diff.stdout.contains("0 added"),
            "{}",
            diff.stdout
        );
        // And back into one file, whose bytes are those of an export.
        export(&world, &["-o", "direct.parquet", "--overwrite"]);
        convert(&world, &[&out, "-o", "back.parquet", "--overwrite"]);
        assert!(world.read("back.parquet") == world.read("direct.parquet"), "{format}");
    }
}

#[test]
fn bytes_do_not_depend_on_threads_or_source_cuts() {
    let world = world(rows::wire(&rows::small(25_000)));
    export(&world, &["-o", "source.parquet"]);
    export(&world, &["-o", "parts/", "--format", "jsonl", "--rows-per-file", "1700"]);
    for format in ["parquet", "arrow", "jsonl.gz", "csv.zst"] {
        for layout in ["file", "directory"] {
            let mut first = None;
            for (source, threads) in
                [("source.parquet", "1"), ("source.parquet", "16"), ("parts/", "3")]
            {
                let name = format!("{layout}-{threads}.{format}");
                let short = format.split('.').next().unwrap();
                let how = ["--encode-threads", threads, "--overwrite"];
                let (out, files) = match layout {
                    "file" => (name.clone(), vec![]),
                    _ => (format!("{name}/"), vec!["--format", short, "--rows-per-file", "9000"]),
                };
                convert(&world, &[&[source, "-o", &out], &how[..], &files].concat());
                let path = world.path(&name);
                let bytes = if layout == "file" {
                    vec![(name, fs::read(path).unwrap())]
                } else {
                    parts(&world, &name)
                };
                let bytes: Vec<_> = bytes.into_iter().map(|(_, bytes)| bytes).collect();
                assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{out} {source}");
            }
        }
    }
}

fn parts(world: &crate::support::World, name: &str) -> Vec<(String, Vec<u8>)> {
    let part = |part: String| (part.clone(), world.read(&format!("{name}/{part}")));
    entries(&world.path(name)).into_iter().map(part).collect()
}

#[test]
fn standard_output_gets_the_rows() {
    let world = world(hostile());
    export(&world, &["-o", "rows.jsonl"]);
    export(&world, &["-o", "rows.parquet"]);
    let lines = run(&world, &["rows.parquet", "-o", "-"]).ok();
    assert!(lines.stdout.into_bytes() == world.read("rows.jsonl"));
    assert!(lines.stderr.contains("standard output"), "{}", lines.stderr);
    let mut command = world.command();
    let arrow = command.args(["convert", "rows.jsonl", "-o", "-", "--format", "arrow"]);
    let table = Table::of_arrow_stream(&arrow.output().unwrap().stdout);
    table.assert_equals(&Table::read("rows.jsonl", world.read("rows.jsonl")), "arrow stream");
}

#[test]
fn empty_export_stays_complete() {
    let world = world(Vec::new());
    for (index, file) in FILES.into_iter().enumerate() {
        export(&world, &["-o", file, "--manifest"]);
        let next = FILES[(index + 1) % FILES.len()];
        let summary = convert(&world, &[file, "-o", &format!("empty-{next}"), "--manifest"]);
        assert_eq!((&summary["rows"], &summary["completeness"]), (&0.into(), &"proven".into()));
        verified(&world, &format!("empty-{next}"));
        convert(&world, &[file, "-o", &format!("{index}/")]);
        assert_eq!(entries(&world.path(&index.to_string())), ["part-00000.parquet"]);
    }
}

#[test]
fn output_options_are_those_of_an_export() {
    let world = world(hostile());
    export(&world, &["-o", "source/"]);
    for (file, options) in [
        ("a.parquet", &["--parquet-encoding", "plain", "--compression", "snappy"][..]),
        ("b.jsonl", &["--json-columns", "text"]),
        ("c.csv", &["--csv-bom"]),
        ("d.csv", &["--csv-safe"]),
        ("e.arrow", &["--compression", "lz4"]),
        ("f.parquet", &["--columns", "tags,id"]),
        ("g.jsonl.gz", &["--drop", "input,order"]),
    ] {
        export(&world, &[&["-o", file, "--manifest"], options].concat());
        let out = format!("converted-{file}");
        convert(&world, &[&["source/", "-o", &out, "--manifest"], options].concat());
        assert!(world.read(&out) == world.read(file), "{file}");
        assert!(verified(&world, &out).contains("ok, "), "{file}");
    }
}

#[test]
fn earlier_output_is_replaced_only_on_request() {
    let world = world(hostile());
    export(&world, &["-o", "source/"]);
    convert(&world, &["source/", "-o", "out/", "--columns", "id"]);
    let before = content(&world.path("out"));
    let refused = run(&world, &["source/", "-o", "out/"]);
    assert_eq!(refused.code, Some(73), "{}", refused.stderr);
    assert!(content(&world.path("out")) == before);
    convert(&world, &["source/", "-o", "out/", "--overwrite"]);
    assert!(verified(&world, "out/").contains("ok, "));
    assert!(content(&world.path("out")) != before);
}
