//! The forms of a format: one gzip member, plain Parquet, JSON text in JSON Lines, and an export that is served again.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use bytes::Bytes;
use overmind_export::{
    Column,
    demo::{Dataset, Fault, FaultAttempt, Faults, Options},
};
use parquet::{
    basic::Encoding,
    column::page::PageReader,
    file::{
        metadata::ParquetMetaDataReader,
        reader::{FileReader, SerializedFileReader},
    },
};
use serde_json::Value;

use crate::{
    read::Table,
    rows,
    support::{ID, Ran, World, command},
};

const TEXT: [&str; 2] = ["--json-columns", "text"];
const PLAIN: [&str; 2] = ["--parquet-encoding", "plain"];

/// Rows with every hard value but the longest, which would take most of the time.
fn hard_rows() -> Vec<rows::Source> {
    rows::hard().into_iter().filter(|row| row.wire.len() < 1 << 20).collect()
}

fn hard() -> World {
    World::with_rows(Options::default(), rows::wire(&hard_rows()))
}

/// Exports and returns the digest of the content.
#[track_caller]
fn digest(world: &World, arguments: &[&str]) -> String {
    let ran = world.export(&[&["--json", "-q"], arguments].concat()).ok();
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    summary["digest"].as_str().unwrap().to_owned()
}

#[test]
fn gzip_is_read_whole_by_readers_of_one_member() {
    // Several batches, each of which has blocks of its own.
    let world = World::generated(Options::default(), 5_500);
    world.export(&["-o", "rows.jsonl.gz"]).ok();
    world.export(&["-o", "rows.jsonl"]).ok();
    let lines = world.read("rows.jsonl");
    let scripts: [(&str, &[&str]); 5] = [
        ("gzip", &["-dc", "rows.jsonl.gz"]),
        ("perl", &["-MIO::Uncompress::Gunzip=gunzip", "-e", "gunzip 'rows.jsonl.gz' => '-'"]),
        ("ruby", &["-rzlib", "-e", "print Zlib::GzipReader.open('rows.jsonl.gz').read"]),
        (
            "python3",
            &["-c", "import gzip,sys; sys.stdout.buffer.write(gzip.open('rows.jsonl.gz').read())"],
        ),
        (
            "node",
            &["-e", "process.stdout.write(zlib.gunzipSync(fs.readFileSync('rows.jsonl.gz')))"],
        ),
    ];
    let mut read = 0;
    for (program, arguments) in scripts {
        let output =
            Command::new(program).args(arguments).current_dir(world.folder.path()).output();
        // A program that is missing, or lacks its gzip module, says nothing about the file.
        let Some(output) = output.ok().filter(|output| output.status.success()) else { continue };
        assert!(output.stdout == lines, "{program} read {} bytes", output.stdout.len());
        read += 1;
    }
    assert!(read > 0, "no program was found");
    // Checks that nothing follows the first member.
    let table = Table::read("rows.jsonl.gz", world.read("rows.jsonl.gz"));
    assert_eq!(table.rows.len(), 5_500);
}

#[test]
fn gzip_through_a_pipe_is_one_member() {
    let world = World::generated(Options::default(), 2_500);
    world.export(&["-o", "rows.jsonl.gz"]).ok();
    let id = ID.to_string();
    let arguments = ["export", &id, "-q", "-o", "-", "--compression", "gzip"];
    let output = world.command().args(arguments).output().unwrap();
    assert!(output.stdout == world.read("rows.jsonl.gz"));
}

/// The encodings of all pages of a Parquet file, and those that its footer names.
fn parquet_encodings(bytes: Vec<u8>) -> BTreeSet<String> {
    let bytes = Bytes::from(bytes);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let reader = SerializedFileReader::new(bytes).unwrap();
    let mut found = BTreeSet::<String>::new();
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let pages = reader.get_row_group(index).unwrap();
        for (place, column) in group.columns().iter().enumerate() {
            found.extend(column.encodings().map(|it| it.to_string()));
            let mut pages: Box<dyn PageReader> = pages.get_column_page_reader(place).unwrap();
            while let Some(page) = pages.get_next_page().unwrap() {
                found.insert(page.encoding().to_string());
            }
        }
    }
    found
}

#[test]
fn plain_parquet_has_no_delta_encoding() {
    let world = hard();
    let delta = digest(&world, &["-o", "delta.parquet"]);
    let plain = digest(&world, &[&["-o", "plain.parquet"], &PLAIN[..]].concat());
    assert_eq!(delta, plain);
    let names = |encodings: &[Encoding]| encodings.iter().map(Encoding::to_string).collect();
    let basic: BTreeSet<String> =
        names(&[Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY]);
    let found = parquet_encodings(world.read("plain.parquet"));
    assert!(found.is_subset(&basic), "{found:?}");
    let found = parquet_encodings(world.read("delta.parquet"));
    assert!(found.contains(&Encoding::DELTA_LENGTH_BYTE_ARRAY.to_string()), "{found:?}");
    let table = Table::read("plain.parquet", world.read("plain.parquet"));
    table.assert_equals(&Table::of(&hard_rows(), &Column::ALL), "plain.parquet");
    Ran::of(command(world.folder.path()).args(["verify", "plain.parquet"])).ok();
    Ran::of(command(world.folder.path()).args(["diff", "plain.parquet", "delta.parquet"])).ok();
}

#[test]
fn text_lines_hold_json_text() {
    let world = World::with_rows(
        Options::default(),
        vec![format!(r#"{{"id":"{ID}","order":1,"input":{{"a": 0.70}},"persona":"p","x":"y"}}"#)],
    );
    let line = |arguments: &[&str]| world.export(&[&["-q", "-o", "-"], arguments].concat()).ok();
    insta::assert_snapshot!(line(&TEXT).stdout, @r#"{ "id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","order":1,"input":"{\"a\":0.70}","expected_output":null,"persona":"p","tags":null,"additional_properties":"{\"x\":\"y\"}"}"#);
    insta::assert_snapshot!(line(&["--json-columns", "json"]).stdout, @r#"{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","order":1,"input":{"a":0.70},"expected_output":null,"persona":"p","tags":null,"additional_properties":{"x":"y"}}"#);
}

#[test]
fn both_forms_of_json_lines_read_alike() {
    let world = hard();
    let run = |arguments: &[&str]| Ran::of(command(world.folder.path()).args(arguments));
    let expected = digest(&world, &["-o", "rows.parquet"]);
    for (name, arguments) in [
        ("json.jsonl", &["--manifest"][..]),
        ("text.jsonl", &["--manifest", TEXT[0], TEXT[1]]),
        ("bare.jsonl", &TEXT),
        ("text.jsonl.gz", &TEXT),
        ("text.jsonl.zst", &TEXT),
        ("text/", &["--format", "jsonl", "--rows-per-file", "10", TEXT[0], TEXT[1]]),
    ] {
        let export = [&["-o", name, "--page-size", "5"], arguments].concat();
        assert_eq!(digest(&world, &export), expected, "{name}");
        run(&["diff", name, "rows.parquet"]).ok();
        run(&["diff", "json.jsonl", name]).ok();
        let verified = run(&["verify", name]);
        // Without a manifest there is nothing to compare with.
        let recorded = arguments.contains(&"--manifest") || name == "text/";
        assert_eq!(verified.code, Some(if recorded { 0 } else { 2 }), "{name}: {verified:?}");
        for options in [&["-n", "90"][..], &["-n", "90", "--json"], &["--columns", "id,tags"]] {
            let preview = |name: &str| run(&[&["preview", name], options].concat()).ok().stdout;
            // The last line of a table may name the number of rows in the manifest.
            let is_row = |line: &&str| !line.ends_with(" rows");
            let shown =
                |name| preview(name).lines().filter(is_row).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(shown(name), shown("json.jsonl"), "{name} {options:?}");
        }
    }
    let forms = |name: &str| {
        let manifest: Value = serde_json::from_slice(&world.read(name)).unwrap();
        (manifest["json_columns"].clone(), manifest["parquet_encoding"].clone())
    };
    assert_eq!(forms("json.jsonl.manifest.json"), ("value".into(), Value::Null));
    assert_eq!(forms("text.jsonl.manifest.json"), ("text".into(), Value::Null));
}

#[test]
fn large_values_of_text_lines_are_read() {
    // Every byte of the value is escaped again: the line is twice as long as the value.
    let quotes = "\\\"".repeat(6 << 19);
    let row = format!(r#"{{"id":"{ID}","input":"{quotes}"}}"#);
    let world = World::with_rows(Options::default(), vec![row]);
    world.export(&["-o", "rows.jsonl", TEXT[0], TEXT[1]]).ok();
    let run = |limit: &str| {
        let arguments = ["diff", "rows.jsonl", "rows.jsonl", "--max-value-bytes", limit];
        Ran::of(command(world.folder.path()).args(arguments))
    };
    run("7MiB").ok();
    let refused = run("5MiB");
    insta::assert_snapshot!(refused.told(&world), @"
    exit 65
    error: rows.jsonl: a value of its column input has 6,291,458 bytes, and the limit is 5,242,880
      hint: if you trust the writer of the file, raise the limit with --max-value-bytes, up to 256MiB
    ");
}

#[test]
fn another_encoding_or_form_is_not_resumed() {
    let world = World::generated(Options::default(), 500);
    for (format, option, message) in [
        ("parquet", PLAIN, r#"--parquet-encoding was "delta-length", now it is "plain""#),
        ("jsonl", TEXT, r#"--json-columns was "value", now it is "text""#),
    ] {
        let output = format!("{format}/");
        let export = |options: &[&str]| {
            let arguments = ["-o", &output, "--format", format, "--rows-per-file", "100"];
            let network = ["--concurrency", "1", "--max-retries", "0"];
            world.export(&[&arguments[..], &network, options].concat())
        };
        let fault = Faults::none().on(4, FaultAttempt::Always, Fault::status(503));
        world.server.set_faults(fault);
        assert_eq!(export(&[]).code, Some(69));
        world.server.set_faults(Faults::none());
        let ran = export(&option);
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
        export(&[option[0], option[1], "--restart"]).ok();
    }
}

#[test]
fn preview_shows_the_columns_of_a_foreign_file() {
    let world = World::generated(Options::default(), 3);
    fs::write(world.path("rows.parquet"), foreign()).unwrap();
    let told = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        Ran::of(command(world.folder.path()).args(arguments)).told(&world)
    };
    insta::assert_snapshot!(told("preview rows.parquet -n 2"), @"
    exit 0
     CITY  PRICE   ORDER  COUNT  SEEN                            LIST
     Köln  0.7     3      1      2023-11-14 22:13:20.000 +00:00  [1, null]
     -     -2E300  2      2      1970-01-01 00:00:00.000 +00:00  -
    2 of 3 rows
    ");
    insta::assert_snapshot!(told("preview rows.parquet --json"), @r#"
    exit 0
    {"city":"Köln","price":0.7,"order":3,"count":1,"seen":"2023-11-14 22:13:20.000 +00:00","list":[1,null]}
    {"city":null,"price":-2e+300,"order":2,"count":2,"seen":"1970-01-01 00:00:00.000 +00:00","list":null}
    {"city":"\u001b[2J","price":null,"order":1,"count":3,"seen":"1969-12-31 23:59:59.999 +00:00","list":[]}
    "#);
    insta::assert_snapshot!(told("preview rows.parquet --columns order"), @"
    exit 0
     ORDER
     3
     2
     1
    3 of 3 rows
    ");
    insta::assert_snapshot!(told("preview rows.parquet --columns input"), @"
    exit 2
    error: the file has no column input
    ");
}

/// A Parquet file of another program, with two row groups.
fn foreign() -> Vec<u8> {
    use arrow_array::{
        ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMillisecondArray,
        builder::{Int32Builder, ListBuilder},
    };
    use std::sync::Arc;
    let mut lists = ListBuilder::new(Int32Builder::new());
    lists.append_value([Some(1), None]);
    lists.append_null();
    lists.append_value([]);
    let columns: [(&str, ArrayRef); 6] = [
        ("city", Arc::new(StringArray::from(vec![Some("Köln"), None, Some("\u{1b}[2J")]))),
        ("price", Arc::new(Float64Array::from(vec![Some(0.7), Some(-2e300), None]))),
        ("order", Arc::new(Int64Array::from(vec![3, 2, 1]))),
        ("count", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("seen", Arc::new(TimestampMillisecondArray::from(vec![1_700_000_000_000, 0, -1]))),
        ("list", Arc::new(lists.finish())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let batch = batch.unwrap();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch.slice(0, 1)).unwrap();
    writer.flush().unwrap();
    writer.write(&batch.slice(1, 2)).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn preview_shows_and_reads_only_wanted_columns() {
    let world = World::generated(Options::default(), 300);
    world.export(&["-o", "ids.jsonl", "--columns", "id"]).ok();
    world.export(&["-o", "rows.parquet"]).ok();
    let run =
        |arguments: &[&str]| Ran::of(command(world.folder.path()).args(arguments)).told(&world);
    insta::assert_snapshot!(run(&["preview", "ids.jsonl", "-n", "2"]), @"
    exit 0
     ID
     64bf61b5
     7716da39
    the first 2 rows
    ");
    let ids = run(&["preview", "rows.parquet", "-n", "2", "--columns", "id"]);
    insta::assert_snapshot!(ids, @"
    exit 0
     ID
     64bf61b5
     7716da39
    2 of 300 rows
    ");
    // Destroy all columns but the first.
    let mut bytes = world.read("rows.parquet");
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(bytes.clone()));
    for column in &metadata.unwrap().row_group(0).columns()[1..] {
        let (start, length) = column.byte_range();
        bytes[start as usize..(start + length) as usize].fill(0xFF);
    }
    fs::write(world.path("rows.parquet"), bytes).unwrap();
    assert_eq!(run(&["preview", "rows.parquet", "-n", "2", "--columns", "id"]), ids);
    assert!(run(&["preview", "rows.parquet"]).starts_with("exit 65"));
}

/// Serves a file as `demo --serve --from` does.
fn serve_from(path: &Path) -> World {
    World::with(Options::default(), Dataset::from_jsonl(path).unwrap().with_id(ID))
}

#[test]
fn exported_json_lines_round_trip_through_demo() {
    let world = hard();
    let some = ["--columns", "id,input,additional_properties"];
    for (name, options) in [
        ("rows.jsonl", &[][..]),
        ("rows.jsonl.gz", &[]),
        ("rows.jsonl.zst", &[]),
        ("text.jsonl", &TEXT),
        ("text.jsonl.gz", &TEXT),
        ("some.jsonl", &some),
        ("some-text.jsonl", &[some[0], some[1], TEXT[0], TEXT[1]]),
    ] {
        let export = [&["-o", name], options].concat();
        let first = digest(&world, &export);
        let again = serve_from(&world.path(name));
        assert_eq!(digest(&again, &export), first, "{name}");
        assert!(again.read(name) == world.read(name), "{name}");
    }
}
