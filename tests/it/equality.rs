//! Equal rows give equal bytes. The values do not depend on the sizes of pages and parts.

use std::collections::BTreeMap;

use overmind_export::{
    Column,
    demo::{Dataset, Options},
};
use serde_json::Value;

use crate::{
    read::Table,
    rows,
    support::{ID, World, entries},
};

const FORMATS: [&str; 4] = ["parquet", "arrow", "jsonl", "csv"];

/// Exports with `-q` and returns the summary.
#[track_caller]
fn export(world: &World, arguments: &[&str]) -> Value {
    let ran = world.export(&[&["--json", "-q"], arguments].concat()).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The names and bytes of a directory's parts, sorted by name.
fn parts(world: &World, name: &str) -> Vec<(String, Vec<u8>)> {
    let names = entries(&world.path(name)).into_iter().filter(|name| name.starts_with("part-"));
    names.map(|part| (part.clone(), world.read(&format!("{name}/{part}")))).collect()
}

/// The rows of all parts.
fn read_parts(world: &World, name: &str) -> Table {
    let tables = parts(world, name).into_iter().map(|(name, bytes)| Table::read(&name, bytes));
    tables
        .reduce(|mut all, part| {
            all.rows.extend(part.rows);
            all
        })
        .unwrap()
}

fn manifest(world: &World, name: &str) -> BTreeMap<String, Value> {
    let name = name.trim_end_matches('/');
    serde_json::from_slice(&world.read(&format!("{name}.manifest.json"))).unwrap()
}

#[test]
fn files_do_not_depend_on_concurrency_or_threads() {
    // Enough rows for several row groups, record batches and zstd jobs.
    let world = World::with_rows(Options::default(), rows::wire(&rows::small(25_000)));
    for format in ["parquet", "arrow", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "csv.zst"]
    {
        let mut first = None;
        for (concurrency, threads) in [("1", "1"), ("16", "2"), ("auto", "5"), ("16", "1")] {
            let name = format!("{concurrency}-{threads}.{format}");
            let how = ["--concurrency", concurrency, "--encode-threads", threads];
            export(&world, &[&["-o", &name], &how[..]].concat());
            let bytes = world.read(&name);
            assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{name} differs");
        }
    }
}

#[test]
fn parts_do_not_depend_on_concurrency_or_threads() {
    let world = World::generated(Options::default(), 500);
    for format in FORMATS {
        let mut first = None;
        for (concurrency, threads) in [("1", "1"), ("16", "2"), ("auto", "5")] {
            let name = format!("{concurrency}-{threads}-{format}/");
            let how = ["--concurrency", concurrency, "--encode-threads", threads];
            let what = ["--format", format, "--rows-per-file", "120", "--page-size", "50"];
            export(&world, &[&["-o", &name], &how[..], &what].concat());
            let parts = parts(&world, &name);
            assert_eq!(parts.len(), 4);
            assert!(*first.get_or_insert_with(|| parts.clone()) == parts, "{name} differs");
        }
    }
}

#[test]
fn two_runs_differ_only_in_the_manifest_times() {
    let world = World::generated(Options::default(), 500);
    for format in FORMATS {
        let run = |name: &str| {
            export(&world, &["-o", &format!("{name}.{format}")]);
            let name = format!("{name}-{format}");
            let what = ["--format", format, "--rows-per-file", "200"];
            export(&world, &[&["-o", &format!("{name}/")], &what[..]].concat());
            let mut manifest = manifest(&world, &name);
            let times = ["started_at", "finished_at"].map(|time| manifest.remove(time).unwrap());
            assert!(times.iter().all(|time| time.as_str().unwrap().ends_with('Z')));
            (parts(&world, &name), manifest, entries(&world.path(&name)))
        };
        assert!(run("first") == run("second"), "{format}");
        let file = |name: &str| world.read(&format!("{name}.{format}"));
        assert!(file("first") == file("second"), "{format}");
    }
}

#[test]
fn values_do_not_depend_on_the_page_size() {
    // The second API ignores the requested page size and always sends 13 rows.
    let ignoring = Options { ignore_page_size: true, page_size: 13, ..Options::default() };
    for options in [Options::default(), ignoring] {
        let world = World::generated(options, 311);
        let expected = generated(311);
        for format in FORMATS {
            for page_size in ["7", "25", "100", "1000"] {
                let name = format!("{page_size}.{format}");
                export(&world, &["-o", &name, "--page-size", page_size]);
                Table::read(&name, world.read(&name)).assert_equals(&expected, &name);
            }
        }
    }
}

#[test]
fn digest_does_not_depend_on_format_or_sizes() {
    let world = World::generated(Options::default(), 311);
    let digest = |summary: Value| summary["digest"].as_str().unwrap().to_owned();
    let expected = digest(export(&world, &["-o", "rows.parquet"]));
    for format in FORMATS {
        for (page_size, rows_per_file) in [("7", "60"), ("100", "1"), ("100", "1000")] {
            let name = format!("{page_size}-{rows_per_file}");
            let (file, directory) = (format!("{name}.{format}"), format!("{name}-{format}/"));
            let summary = export(&world, &["-o", &file, "--page-size", page_size]);
            assert_eq!(digest(summary), expected, "{file}");
            let what = ["--format", format, "--rows-per-file", rows_per_file];
            let arguments = [&["-o", &directory, "--page-size", page_size], &what[..]].concat();
            assert_eq!(digest(export(&world, &arguments)), expected, "{directory}");
            assert_eq!(manifest(&world, &directory)["digest"], *expected, "{directory}");
        }
    }
    // Other content gives another digest: fewer columns, fewer rows, the reverse order.
    for arguments in [&["--columns", "id"][..], &["--limit", "310"], &["--ordering", "-order"]] {
        let arguments = [&["-o", "other.jsonl", "--overwrite"], arguments].concat();
        assert_ne!(digest(export(&world, &arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn part_contains_exactly_its_whole_pages() {
    let world = World::generated(Options::default(), 500);
    let what = ["--page-size", "50", "--rows-per-file", "120", "--format"];
    for format in FORMATS {
        let name = format!("parts-{format}");
        export(&world, &[&["-o", &format!("{name}/")], &what[..], &[format]].concat());
        let manifest = manifest(&world, &name);
        let listed = manifest["parts"].as_array().unwrap();
        let pages: Vec<_> = listed
            .iter()
            .map(|part| {
                ["first_page", "last_page", "rows"].map(|field| part[field].as_u64().unwrap())
            })
            .collect();
        assert_eq!(pages, [[1, 3, 150], [4, 6, 150], [7, 9, 150], [10, 10, 50]]);

        for (part, [first, last, rows]) in listed.iter().zip(pages) {
            let path = part["path"].as_str().unwrap();
            let table = Table::read(path, world.read(&format!("{name}/{path}")));
            let mut expected = generated(500);
            expected.rows = expected.rows.split_off(((first - 1) * 50) as usize);
            expected.rows.truncate(rows as usize);
            table.assert_equals(&expected, path);

            // An export of only these pages gives the same lines.
            if format == "jsonl" {
                let range = format!("{first}-{last}");
                let arguments = ["-o", "-", "-q", "--page-size", "50", "--pages", &range];
                let lines = world.export(&arguments).ok().stdout;
                assert!(lines.into_bytes() == world.read(&format!("{name}/{path}")), "{path}");
            }
        }
    }
}

#[test]
fn columns_limit_and_pages_select_exact_rows() {
    let world = World::generated(Options::default(), 311);
    let all = &Column::ALL[..];
    let table: &[(&[&str], &[Column], std::ops::Range<usize>)] = &[
        (&["--columns", "id"], &[Column::Id], 0..311),
        (&["--columns", "tags,order,id"], &[Column::Tags, Column::Order, Column::Id], 0..311),
        (
            &["--columns", "additional_properties,persona"],
            &[Column::AdditionalProperties, Column::Persona],
            0..311,
        ),
        (&["--limit", "1"], all, 0..1),
        (&["--limit", "50"], all, 0..50),
        (&["--limit", "51"], all, 0..51),
        (&["--limit", "311"], all, 0..311),
        (&["--limit", "9000"], all, 0..311),
        (&["--pages", "1"], all, 0..50),
        (&["--pages", "2-3"], all, 50..150),
        (&["--pages", "6-"], all, 250..311),
        (&["--pages", "7"], all, 300..311),
        (&["--pages", "5-99"], all, 200..311),
        (&["--pages", "3-5", "--limit", "70"], all, 100..170),
        (&["--pages", "7", "--limit", "70"], all, 300..311),
        (&["--pages", "2", "--limit", "3", "--columns", "order"], &[Column::Order], 50..53),
    ];
    for ((arguments, columns, range), format) in table.iter().zip(FORMATS.into_iter().cycle()) {
        let expected = generated_columns(311, columns, range.clone());
        let file = format!("rows.{format}");
        let how = [&["--page-size", "50", "--overwrite"], *arguments].concat();
        let summary = export(&world, &[&["-o", &file], &how[..]].concat());
        let what = format!("{file} {arguments:?}");
        Table::read(&file, world.read(&file)).assert_equals(&expected, &what);
        let whole = range.len() == 311;
        assert_eq!(summary["completeness"], if whole { "proven" } else { "partial" }, "{what}");
        assert_eq!(summary["rows"], range.len(), "{what}");
        assert_eq!(summary["count"], 311, "{what}");

        let name = format!("parts-{format}");
        let parts = ["--format", format, "--rows-per-file", "60"];
        export(&world, &[&["-o", &format!("{name}/")], &how[..], &parts].concat());
        read_parts(&world, &name).assert_equals(&expected, &format!("{name} {arguments:?}"));
    }
}

#[test]
fn only_pages_with_wanted_rows_are_requested() {
    for (arguments, pages) in [
        (&["--limit", "101"][..], 1..=3),
        (&["--limit", "100"], 1..=2),
        (&["--pages", "4-5"], 4..=5),
        (&["--pages", "3-", "--limit", "1"], 3..=3),
    ] {
        let world = World::generated(Options::default(), 500);
        export(&world, &[&["-o", "rows.jsonl", "--page-size", "50"], arguments].concat());
        let asked: Vec<_> =
            (1..=10).filter(|page| world.server.stats().attempts(ID, *page) > 0).collect();
        assert_eq!(asked, pages.collect::<Vec<_>>(), "{arguments:?}");
    }
}

#[test]
fn empty_dataset_gives_a_complete_export() {
    let world = World::with_rows(Options::default(), Vec::new());
    for format in FORMATS {
        let summary = export(&world, &["-o", &format!("rows.{format}")]);
        let file = format!("rows.{format}");
        let table = Table::read(&file, world.read(&file));
        assert_eq!(table.rows.len(), 0);

        let name = format!("parts-{format}");
        let in_parts = export(&world, &["-o", &format!("{name}/"), "--format", format]);
        assert_eq!(in_parts["digest"], summary["digest"]);
        let part = format!("part-00000.{format}");
        assert_eq!(entries(&world.path(&name)), [part]);
        assert_eq!(read_parts(&world, &name), table);
        let manifest = manifest(&world, &name);
        for (field, expected) in [("count", 0), ("rows", 0), ("pages", 1)] {
            assert_eq!(manifest[field], expected, "{field}");
        }
        assert_eq!(manifest["completeness"], "proven");
    }
}

#[test]
fn gzip_responses_do_not_change_the_output() {
    let plain = World::generated(Options::default(), 500);
    let gzip = World::generated(Options { gzip: true, ..Options::default() }, 500);
    for format in FORMATS {
        let file = format!("rows.{format}");
        let summaries = [&plain, &gzip].map(|world| export(world, &["-o", &file]));
        assert!(plain.read(&file) == gzip.read(&file), "{file}");
        assert_eq!(summaries[0]["received_bytes"], summaries[1]["received_bytes"]);
    }
    let sent = |world: &World| world.server.stats().bytes_sent;
    assert!(2 * sent(&gzip) < sent(&plain));
}

/// The expected content of a file with all rows and columns of [`World::generated`].
fn generated(count: u64) -> Table {
    generated_columns(count, &Column::ALL, 0..count as usize)
}

/// The expected content of a file with a range of the rows of [`World::generated`], in these columns.
fn generated_columns(count: u64, columns: &[Column], range: std::ops::Range<usize>) -> Table {
    let dataset = Dataset::generated(count, 7);
    let rows: Vec<_> =
        (0..count).map(|row| rows::parsed(String::from_utf8(dataset.row(row)).unwrap())).collect();
    Table::of(&rows[range], columns)
}
