//! Every encoding preserves every value token by token. One table of encodings, one set of hard rows.

use std::{collections::BTreeMap, io::Cursor};

use arrow_ipc::reader::FileReader;
use bytes::Bytes;
use overmind_export::{Column, demo::Options};
use parquet::{
    basic::{Compression, LogicalType, Repetition, Type},
    file::{
        metadata::{KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
        statistics::Statistics,
    },
};
use serde_json::{Value, json};

use crate::{
    read::{Table, gunzip, unzstd},
    rows::{self, Source},
    support::{ID, KEY, World},
};

/// The exported files: the name, and further arguments.
const FILES: &[(&str, &[&str])] = &[
    ("none.parquet", &["--compression", "none"]),
    ("snappy.parquet", &["--compression", "snappy"]),
    ("lz4.parquet", &["--compression", "lz4"]),
    ("zstd.parquet", &[]),
    ("zstd-9.parquet", &["--compression", "zstd:9"]),
    ("plain.parquet", &["--parquet-encoding", "plain"]),
    ("none.arrow", &["--compression", "none"]),
    ("lz4.arrow", &["--compression", "lz4"]),
    ("zstd.arrow", &[]),
    ("none.jsonl", &[]),
    ("text.jsonl", &["--json-columns", "text"]),
    ("gzip.jsonl.gz", &[]),
    ("zstd.jsonl.zst", &[]),
    ("none.csv", &[]),
    ("bom.csv", &["--csv-bom"]),
    ("gzip.csv.gz", &[]),
    ("zstd.csv.zst", &[]),
];

/// The exports to standard output: format and codec.
const STREAMS: &[(&str, &str)] = &[
    ("arrow", "none"),
    ("arrow", "lz4"),
    ("arrow", "zstd"),
    ("jsonl", "none"),
    ("jsonl", "gzip"),
    ("jsonl", "zstd"),
    ("csv", "none"),
    ("csv", "gzip"),
    ("csv", "zstd"),
];

fn serve(rows: &[Source]) -> World {
    World::with_rows(Options::default(), rows::wire(rows))
}

fn export_file(world: &World, name: &str, arguments: &[&str]) -> Vec<u8> {
    world.export(&[&["-o", name, "-q"], arguments].concat()).ok();
    world.read(name)
}

fn export_stream(world: &World, format: &str, codec: &str) -> Vec<u8> {
    let id = ID.to_string();
    let arguments = ["export", &id, "-q", "-o", "-", "--format", format, "--compression", codec];
    let output = world.command().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn read_stream(format: &str, codec: &str, bytes: Vec<u8>) -> Table {
    let bytes = match (format, codec) {
        ("arrow", _) => return Table::of_arrow_stream(&bytes),
        (_, "gzip") => gunzip(&bytes),
        (_, "zstd") => unzstd(&bytes),
        _ => bytes,
    };
    if format == "csv" { Table::of_csv(&bytes) } else { Table::of_json_lines(&bytes) }
}

fn assert_files_hold_the_hard_rows(format: &str) {
    let rows = rows::hard();
    let (world, expected) = (serve(&rows), Table::of(&rows, &Column::ALL));
    for (name, arguments) in FILES.iter().filter(|(name, _)| name.contains(format)) {
        Table::read(name, export_file(&world, name, arguments)).assert_equals(&expected, name);
    }
}

#[test]
fn parquet_codecs_preserve_every_token() {
    assert_files_hold_the_hard_rows(".parquet");
}

#[test]
fn arrow_codecs_preserve_every_token() {
    assert_files_hold_the_hard_rows(".arrow");
}

#[test]
fn json_lines_codecs_preserve_every_token() {
    assert_files_hold_the_hard_rows(".jsonl");
}

#[test]
fn csv_codecs_preserve_every_token() {
    assert_files_hold_the_hard_rows(".csv");
}

#[test]
fn standard_output_preserves_every_token() {
    let rows = rows::hard();
    let (world, expected) = (serve(&rows), Table::of(&rows, &Column::ALL));
    for (format, codec) in STREAMS {
        let table = read_stream(format, codec, export_stream(&world, format, codec));
        table.assert_equals(&expected, &format!("{format} {codec}"));
    }
}

#[test]
fn empty_dataset_gives_a_file_with_the_full_schema() {
    let (world, expected) = (serve(&[]), Table::of(&[], &Column::ALL));
    for (name, arguments) in FILES {
        let table = Table::read(name, export_file(&world, name, arguments));
        table.assert_equals(&expected, name);
        assert_eq!(table.columns.is_empty(), name.contains(".jsonl"), "{name}");
    }
    for (format, codec) in STREAMS {
        let table = read_stream(format, codec, export_stream(&world, format, codec));
        table.assert_equals(&expected, &format!("{format} {codec}"));
    }
}

#[test]
fn lone_surrogate_in_persona_fails_naming_the_row() {
    let mut rows = rows::wire(&rows::small(5));
    rows[3] = format!(r#"{{"id":"{}","input":"\ud800","persona":"a \ud800"}}"#, rows::id(3));
    let world = World::with_rows(Options::default(), rows);
    let ran = world.export(&["-q", "-o", "rows.parquet", "--max-retries", "0"]);
    insta::assert_snapshot!(ran.told(&world), @r#"
    exit 65
    error: the answer for page 1 is not valid
      cause: row 3, field "persona": a lone surrogate escape is not a character
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn requested_codec_is_used() {
    let rows = rows::small(500);
    let world = serve(&rows);
    let file = |wanted: &str| {
        let (name, arguments) = FILES.iter().find(|(name, _)| *name == wanted).unwrap();
        export_file(&world, name, arguments)
    };
    for (name, expected) in [
        ("none.parquet", Compression::UNCOMPRESSED),
        ("snappy.parquet", Compression::SNAPPY),
        ("lz4.parquet", Compression::LZ4_RAW),
        ("zstd.parquet", Compression::ZSTD(Default::default())),
    ] {
        let metadata = parquet_metadata(file(name));
        for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
            assert_eq!(column.compression(), expected, "{name}");
        }
    }
    assert_ne!(world.read("zstd.parquet"), file("zstd-9.parquet"));

    let (zstd, lz4) = ([0x28, 0xb5, 0x2f, 0xfd], [0x04, 0x22, 0x4d, 0x18]);
    let holds = |bytes: &[u8], magic: [u8; 4]| bytes.windows(4).any(|window| window == magic);
    for (name, has_zstd, has_lz4) in
        [("none.arrow", false, false), ("lz4.arrow", false, true), ("zstd.arrow", true, false)]
    {
        let bytes = file(name);
        assert_eq!((holds(&bytes, zstd), holds(&bytes, lz4)), (has_zstd, has_lz4), "{name}");
    }
}

#[test]
fn parquet_has_the_documented_layout() {
    // String columns, row groups, statistics and a page index. The file does not claim that it is sorted.
    let rows = rows::small(25_000);
    let world = serve(&rows);
    let metadata = parquet_metadata(export_file(&world, "rows.parquet", &[]));

    let schema = metadata.file_metadata().schema_descr();
    for (column, expected) in schema.columns().iter().zip(Column::ALL) {
        assert_eq!(column.name(), expected.name());
        let is_order = expected == Column::Order;
        let physical = if is_order { Type::INT64 } else { Type::BYTE_ARRAY };
        assert_eq!(column.physical_type(), physical, "{expected}");
        // Readers disagree about the JSON and UUID types, but all support strings.
        let logical = (!is_order).then_some(LogicalType::String);
        assert_eq!(column.logical_type_ref(), logical.as_ref(), "{expected}");
        let repetition = match expected {
            Column::Id => Repetition::REQUIRED,
            _ => Repetition::OPTIONAL,
        };
        assert_eq!(column.self_type().get_basic_info().repetition(), repetition, "{expected}");
    }

    let sizes: Vec<_> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(sizes, [10_000, 10_000, 5_000]);
    let mut first = 0;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        assert_eq!(group.sorting_columns(), None);
        for column in group.columns() {
            let name = column.column_path().string();
            let statistics = column.statistics().unwrap_or_else(|| panic!("{name}"));
            let nulls = match name.as_str() {
                "expected_output" | "additional_properties" => group.num_rows() as u64,
                _ => 0,
            };
            assert_eq!(statistics.null_count_opt(), Some(nulls), "{name}");
            // The minimum and maximum of ids and JSON texts do not help a reader to find a page.
            let is_ordered = !matches!(name.as_str(), "id" | "input" | "expected_output");
            assert_eq!(column.column_index_range().is_some(), is_ordered, "{name}");
            assert!(column.offset_index_range().is_some(), "{name}");
        }
        let Some(Statistics::Int64(orders)) = group.column(1).statistics() else {
            panic!("order has no statistics")
        };
        assert_eq!(orders.min_opt(), Some(&first));
        first += group.num_rows();
        assert_eq!(orders.max_opt(), Some(&(first - 1)));
        let pages = metadata.page_index_for_row_group(index);
        assert!(pages.offset_index(0).is_some() && pages.column_index(1).is_some());
    }
}

#[test]
fn row_groups_are_also_limited_in_bytes() {
    let row = |number, length| {
        let (id, text) = (rows::id(number), "x".repeat(length));
        format!(r#"{{"id":"{id}","input":"{text}"}}"#)
    };
    let rows = (0..10).map(|number| row(number, 5_000_000)).collect();
    let world = World::with_rows(Options::default(), rows);
    let metadata = parquet_metadata(export_file(&world, "rows.parquet", &["--page-size", "3"]));
    let sizes: Vec<_> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(sizes, [4, 4, 2]);
}

#[test]
fn file_metadata_describes_only_the_export() {
    let rows = rows::small(120);
    let world = serve(&rows);
    let arguments = ["--json", "-q", "--source", "seed", "--ordering", "order", "--limit", "110"];
    for name in ["rows.parquet", "rows.arrow"] {
        let ran = world.export(&[&["-o", name], &arguments[..]].concat()).ok();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        let expected = json!({
            "tool": concat!("overmind-export ", env!("CARGO_PKG_VERSION")),
            "dataset": ID,
            "query": { "source": "seed", "ordering": "order" },
            "completeness": "partial",
            "count": 120,
            "first_row": 0,
            "format_version": 2,
            "rows": 110,
            "rows_read": 110,
            "digest": summary["digest"],
        });
        assert!(summary["digest"].as_str().unwrap().starts_with("xxh3-128-poly:"));
        let mut metadata = own_metadata(name, world.read(name));
        let facts: Value =
            serde_json::from_str(&metadata.remove("overmind_export").unwrap()).unwrap();
        assert_eq!(facts, expected, "{name}");
        // The checksum of the file's bytes.
        let checksum = metadata.remove("overmind_export:xxh3").unwrap();
        assert!(checksum.starts_with("xxh3:") && !checksum.ends_with(":0000000000000000"));
        // The Arrow schema for readers of Parquet.
        metadata.remove("ARROW:schema");
        assert_eq!(metadata, BTreeMap::new(), "{name}");
    }
    let metadata = parquet_metadata(world.read("rows.parquet"));
    let created_by = metadata.file_metadata().created_by();
    assert_eq!(created_by, Some(concat!("overmind-export ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn data_files_contain_no_host_time_or_key() {
    let rows = rows::small(300);
    let (world, other) = (serve(&rows), serve(&rows));
    let today = chrono::Utc::now().format("%Y-%m-%d").to_string();
    let address = world.server.addr().to_string();
    let folder = world.folder.path().to_str().unwrap().to_owned();
    for (name, arguments) in FILES {
        let bytes = export_file(&world, name, arguments);
        for secret in [KEY, &address, &folder, &today, "127.0.0.1"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{name} contains {secret}");
        }
        // Another port, folder, key and time zone give the same bytes.
        let id = ID.to_string();
        let output = other
            .command()
            .env("OVERMIND_LAB_API_KEY", "ovr_another")
            .env("TZ", "Asia/Tokyo")
            .args(["export", &id, "-q", "-o", name])
            .args(*arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(other.read(name) == bytes, "{name} differs");
    }
    // The gzip header contains no time, no file name and no comment.
    assert_eq!(world.read("gzip.jsonl.gz")[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
}

fn parquet_metadata(bytes: Vec<u8>) -> ParquetMetaData {
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&Bytes::from(bytes))
        .unwrap()
}

fn own_metadata(name: &str, bytes: Vec<u8>) -> BTreeMap<String, String> {
    if name.ends_with(".arrow") {
        let reader = FileReader::try_new(Cursor::new(bytes), None).unwrap();
        assert!(reader.schema().metadata().is_empty());
        return reader.custom_metadata().clone().into_iter().collect();
    }
    let metadata = parquet_metadata(bytes);
    let pairs = metadata.file_metadata().key_value_metadata().unwrap();
    pairs
        .iter()
        .map(|KeyValue { key, value }| (key.clone(), value.clone().unwrap_or_default()))
        .collect()
}
