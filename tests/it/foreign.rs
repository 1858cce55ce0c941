//! Foreign and malicious files in place of an export: each command ends with a clear answer.

use std::{fs, fs::File, path::Path, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, LargeStringArray,
    RecordBatch, StringArray, StringViewArray, StructArray,
};
use arrow_schema::{DataType, Field};
use overmind_export::demo::Options;
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    file::{metadata::KeyValue, properties::WriterProperties, reader::FileReader},
};

use crate::support::{Ran, World, command, side_by_side};

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(command(folder).args(arguments))
}

/// A column of three values. `kind` selects the type; most texts are not JSON.
fn column(kind: usize) -> ArrayRef {
    let texts = [Some("a"), None, Some("\u{1b}[2J")];
    match kind {
        0 => Arc::new(StringArray::from(texts.to_vec())),
        1 => Arc::new(LargeStringArray::from(texts.to_vec())),
        2 => Arc::new(texts.into_iter().collect::<StringViewArray>()),
        3 => Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        4 => Arc::new(Int32Array::from(vec![1, 2, 3])),
        5 => Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0])),
        6 => Arc::new(BooleanArray::from(vec![true, false, true])),
        7 => Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"", b"1"])),
        8 => {
            let field = Arc::new(Field::new("x", DataType::Int32, true));
            Arc::new(StructArray::from(vec![(field, column(4))]))
        }
        _ => Arc::new(StringArray::from(vec!["1", "{}", "\"\u{202e}x\""])),
    }
}

fn write(path: &Path, batch: &RecordBatch, facts: Option<String>) {
    let facts = facts.map(|facts| vec![KeyValue::new("overmind_export".to_owned(), facts)]);
    let properties = WriterProperties::builder().set_key_value_metadata(facts);
    let properties = properties.set_compression(Compression::SNAPPY).build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn foreign_schemas_get_a_clear_answer() {
    let world = World::generated(Options::default(), 3);
    world.export(&["-o", "own.parquet"]).ok();
    let own = parquet::file::reader::SerializedFileReader::new(
        File::open(world.path("own.parquet")).unwrap(),
    );
    let metadata = own.unwrap().metadata().file_metadata().key_value_metadata().cloned();
    let facts = metadata.unwrap().into_iter().find(|pair| pair.key == "overmind_export").unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    let names = ["id", "order", "input", "tags", "persona", "other", "\u{202e}name"];
    // The first two cases were found by hand: an id of type Int64 in a file with our metadata, and an
    // `input` that is not JSON.
    let mut files = vec![(vec![("id", 3)], true), (vec![("id", 9), ("input", 0)], false)];
    for _ in 0..40 {
        let some: Vec<_> = names.iter().filter(|_| random.bool()).copied().collect();
        let some = if some.is_empty() { vec!["other"] } else { some };
        files.push((some.into_iter().map(|it| (it, random.usize(0..10))).collect(), random.bool()));
    }
    let cases = files.into_iter().enumerate();
    side_by_side(cases, |(number, (columns, with_facts))| {
        let arrays = columns.iter().map(|(name, kind)| (*name, column(*kind)));
        let batch = RecordBatch::try_from_iter_with_nullable(
            arrays.map(|(name, array)| (name, array, true)),
        );
        let name = format!("{number}.parquet");
        let batch = batch.unwrap();
        write(&world.path(&name), &batch, with_facts.then(|| facts.value.clone().unwrap()));
        for arguments in [
            &["verify", &name][..],
            &["verify", "--json", &name],
            &["preview", &name],
            &["preview", "--json", &name],
            &["preview", "--json", "--columns", "id", &name],
            &["diff", &name, "own.parquet"],
        ] {
            let ran = run(world.folder.path(), arguments);
            let told = format!("{arguments:?} {columns:?} {ran:?}");
            assert!(matches!(ran.code, Some(0..=2 | 65)), "{told}");
            assert!(!ran.stderr.contains("panicked"), "{told}");
            assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']), "{told}");
            assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']), "{told}");
            if arguments.contains(&"--json") {
                for line in ran.stdout.lines() {
                    serde_json::from_str::<serde_json::Value>(line).expect(&told);
                }
            }
        }
    });
    let told = |arguments: &[&str]| run(world.folder.path(), arguments).told(&world);
    insta::assert_snapshot!(told(&["verify", "0.parquet"]), @"
    exit 65
    0.parquet: its column id has integers of 64 bits, which no export has there
    error: 1 of 1 export is damaged
      hint: the lines above name the damage: export again
    ");
    insta::assert_snapshot!(told(&["preview", "--json", "1.parquet"]), @"
    exit 65
    error: 1.parquet: row 1: its input is not JSON, which an export requires
    ");
}

/// Three rows with a column of ids, one of inputs, and one that no export has.
fn scored(path: &Path) {
    let ids = (1..=3).map(|number| format!("00000000-0000-4000-8000-00000000000{number}"));
    let ids: ArrayRef = Arc::new(StringArray::from(ids.collect::<Vec<_>>()));
    let columns = [("id", ids), ("input", column(9)), ("score", column(5))];
    write(path, &RecordBatch::try_from_iter(columns).unwrap(), None);
}

#[test]
fn unknown_columns_of_a_file_can_be_dropped() {
    let world = World::generated(Options::default(), 3);
    let folder = world.folder.path();
    scored(&world.path("a.parquet"));
    scored(&world.path("b.parquet"));
    let ran = run(folder, &["convert", "a.parquet", "-o", "-", "-q", "--drop", "score"]).ok();
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
    assert!(!ran.stdout.contains("score"), "{ran:?}");
    let told = |arguments: &[&str]| run(folder, arguments).told(&world);
    insta::assert_snapshot!(told(&["convert", "a.parquet", "-o", "x.parquet"]), @r#"
    exit 65
    error: a.parquet: it has a column "score", which no export has
      hint: leave it out with --drop, or name the columns to write with --columns
    "#);
    let both = ["convert", "a.parquet", "-o", "x.parquet", "--columns", "id", "--drop", "score"];
    assert_eq!(run(folder, &both).code, Some(2));
    let page = run(folder, &["report", "a.parquet", "-o", "-"]).ok().stdout;
    let note = "Columns that no export has, which this report leaves out: <code>score</code>";
    assert!(page.contains(note), "{page}");
    let page = run(folder, &["report", "a.parquet", "-o", "-", "--drop", "score"]).ok().stdout;
    assert!(page.contains("Left out of this report: <code>score</code>"), "{page}");
    insta::assert_snapshot!(told(&["report", "a.parquet", "b.parquet", "-o", "-"]), @r#"
    exit 65
    error: b.parquet: it has a column "score", which no export has
      hint: leave it out with --drop
    "#);
    let both = ["report", "a.parquet", "b.parquet", "-o", "-", "--drop", "score"];
    assert!(run(folder, &both).ok().stdout.contains("The rows are equal in the columns"));
    // Only one of the two exports has the column.
    for both in [["a.parquet", "own.parquet"], ["own.parquet", "a.parquet"]] {
        world.export(&["-o", "own.parquet", "--overwrite"]).ok();
        let ran = run(folder, &["report", both[0], both[1], "-o", "-", "--drop", "score"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[test]
fn column_of_a_wrong_type_can_be_dropped() {
    let world = World::generated(Options::default(), 3);
    let folder = world.folder.path();
    let ids = (1..=3).map(|number| format!("00000000-0000-4000-8000-00000000000{number}"));
    let ids: ArrayRef = Arc::new(StringArray::from(ids.collect::<Vec<_>>()));
    let columns = [("id", ids), ("order", column(5)), ("persona", column(3)), ("tags", column(9))];
    write(&world.path("a.parquet"), &RecordBatch::try_from_iter(columns).unwrap(), None);
    let told = |arguments: &[&str]| run(folder, arguments).told(&world);
    insta::assert_snapshot!(told(&["convert", "a.parquet", "-o", "-", "-q", "--drop", "order"]), @"
    exit 65
    error: a.parquet: its column persona has integers of 64 bits, which no export has there
      hint: leave it out with --drop, or name the columns to write with --columns
    ");
    for how in [["--drop", "order,persona"], ["--columns", "id,tags"]] {
        let ran = run(folder, &[&["convert", "a.parquet", "-o", "-", "-q"], &how[..]].concat());
        let first = "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"tags\":1}\n";
        assert!(ran.stdout.starts_with(first), "{ran:?}");
    }
    // An expression reads it all the same.
    let read = ["--drop", "order,persona", "--where", ".persona != null"];
    insta::assert_snapshot!(told(&[&["convert", "a.parquet", "-o", "-"], &read[..]].concat()), @"
    exit 65
    error: a.parquet: its column persona has integers of 64 bits, which no export has there
      hint: leave it out with --drop, or name the columns to write with --columns
    ");
    insta::assert_snapshot!(told(&["convert", "a.parquet", "-o", "-", "--drop", "order,persona,tag"]), @r#"
    exit 2
    error: "tag" is not a valid column: did you mean tags? the columns are id, tags; --mask makes any other field null
    "#);
    insta::assert_snapshot!(told(&["report", "a.parquet", "-o", "-"]), @"
    exit 65
    error: a.parquet: its column order has floating-point numbers of 64 bits, which no export has there
      hint: leave it out with --drop
    ");
    let ran = run(folder, &["report", "a.parquet", "-o", "-", "--drop", "order,persona"]).ok();
    assert!(ran.stdout.contains("Left out of this report: <code>order</code>"), "{ran:?}");
    let both = ["report", "a.parquet", "a.parquet", "-o", "-", "--drop", "order,persona"];
    assert!(run(folder, &both).ok().stdout.contains("The rows are equal in the columns"));
}

/// Three lines, in which two columns have values of several types and one column is missing in a line.
const UNEVEN: &str = r#"{"id":"00000000-0000-4000-8000-000000000001","persona":{"a":1},"order":1,"input":[1]}
{"id":"00000000-0000-4000-8000-000000000002","persona":"p","order":"2","input":2,"note":null}
{"id":"00000000-0000-4000-8000-000000000003","persona":3,"order":3,"input":"3"}
"#;

#[test]
fn uneven_columns_of_lines_can_be_dropped() {
    let world = World::generated(Options::default(), 3);
    let folder = world.folder.path();
    fs::write(world.path("a.jsonl"), UNEVEN).unwrap();
    let told = |drop: &str| {
        let drop = ["--drop", drop];
        let drop = if drop[1].is_empty() { &[][..] } else { &drop[..] };
        run(folder, &[&["convert", "a.jsonl", "-o", "-", "-q"], drop].concat()).told(&world)
    };
    insta::assert_snapshot!(["", "persona", "persona,order", "persona,order,notes"].map(told).join(""), @r#"
    exit 65
    error: a.jsonl: line 1: its persona "{\"a\":1}" is not a text
      hint: leave it out with --drop, or name the columns to write with --columns
    exit 65
    error: a.jsonl: line 2: it has the column "note", which the lines before do not have
      hint: leave it out with --drop, or name the columns to write with --columns
    exit 65
    error: a.jsonl: line 2: it has the column "note", which the lines before do not have
      hint: leave it out with --drop, or name the columns to write with --columns
    exit 65
    error: a.jsonl: line 2: it has the column "note", which the lines before do not have
      hint: leave it out with --drop, or name the columns to write with --columns
    "#);
    let rows = "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"input\":[1]}\n\
                {\"id\":\"00000000-0000-4000-8000-000000000002\",\"input\":2}\n\
                {\"id\":\"00000000-0000-4000-8000-000000000003\",\"input\":\"3\"}\n";
    for how in [["--drop", "persona,order,note"], ["--columns", "id,input"]] {
        for more in [&[][..], &["--where", ".input != null"]] {
            let ran =
                run(folder, &[&["convert", "a.jsonl", "-o", "-", "-q"], &how[..], more].concat());
            assert_eq!(ran.ok().stdout, rows, "{how:?} {more:?}");
        }
    }
    let unknown = told("persona,order,note,inputs");
    insta::assert_snapshot!(unknown, @r#"
    exit 2
    error: "inputs" is not a valid column: did you mean input? the columns are id, input; --mask makes any other field null
    "#);
    let page = run(folder, &["report", "a.jsonl", "-o", "-", "--drop", "persona,order,note"]).ok();
    assert!(page.stdout.contains("Left out of this report: <code>persona</code>"), "{page:?}");
}

#[test]
fn comparison_of_ids_alone_says_so() {
    let world = World::generated(Options::default(), 3);
    let folder = world.folder.path();
    world.export(&["-o", "a.parquet", "--columns", "id,input"]).ok();
    world.export(&["-o", "b.parquet", "--columns", "id,tags"]).ok();
    let ran = run(folder, &["diff", "a.parquet", "b.parquet"]).ok();
    assert!(ran.stdout.contains("equal in id: 3 rows\n"), "{ran:?}");
    assert!(ran.stdout.contains("note: only id was compared: "), "{ran:?}");
    let page = run(folder, &["report", "a.parquet", "b.parquet", "-o", "-"]).ok().stdout;
    assert!(page.contains("<strong>Only id was compared</strong>"), "{page}");
    let ran = run(folder, &["diff", "a.parquet", "a.parquet"]).ok();
    assert!(ran.stdout.contains("equal: 3 rows\n"), "{ran:?}");
    assert!(!ran.stdout.contains("was compared"), "{ran:?}");
}

#[test]
fn unrelated_files_are_not_called_damaged() {
    let world = World::generated(Options::default(), 3);
    let folder = world.folder.path();
    world.export(&["-o", "rows.jsonl"]).ok();
    fs::write(world.path("notes.txt"), "mine").unwrap();
    fs::create_dir_all(world.path("job/snapshot=20261123T020000Z")).unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    let batch = RecordBatch::try_from_iter([("price", column(5))]).unwrap();
    write(&world.path("prices.parquet"), &batch, None);
    let told =
        run(folder, &["verify", "rows.jsonl", "notes.txt", "job", "empty", "prices.parquet"]);
    insta::assert_snapshot!(told.told(&world), @r#"
    exit 2
    rows.jsonl: it can be read to its end, but has no record to compare it with: rows.jsonl.manifest.json does not exist; export with --manifest to write one
    notes.txt: not an export: its extension is unknown; exports end in .parquet, .arrow, .jsonl or .csv
    job: not an export, but the folder of a job's snapshots: verify each of them, such as job/snapshot=20261123T020000Z
    empty: not an export: there is no empty.manifest.json; give the folder of an export, or a single exported file
    prices.parquet: not an export: it has a column "price", which no export has
    error: 5 of 5 paths could not be checked
      hint: each line above gives the reason and the next step
    "#);
}

#[cfg(unix)]
#[test]
fn special_files_are_named_without_waiting() {
    let world = World::generated(Options::default(), 900);
    let folder = world.folder.path();
    let fifo = |path: &str| {
        let made = std::process::Command::new("mkfifo").arg(world.path(path)).status();
        assert!(made.unwrap().success());
    };
    for out in ["part", "manifest"] {
        world.export(&["-o", &format!("{out}/"), "--rows-per-file", "300"]).ok();
    }
    fs::remove_file(world.path("part/part-00001.parquet")).unwrap();
    fifo("part/part-00001.parquet");
    fs::remove_file(world.path("manifest.manifest.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", world.path("manifest.manifest.json")).unwrap();
    fifo("fifo.parquet");
    world.export(&["-o", "sound.parquet"]).ok();
    let told = |arguments: &[&str]| run(folder, arguments).told(&world);
    insta::assert_snapshot!(told(&["verify", "part", "manifest", "fifo.parquet"]), @"
    exit 65
    part: part-00001.parquet cannot be read: it is a FIFO, not a regular file
    error: cannot read fifo.parquet
      cause: it is a FIFO, not a regular file
    error: cannot read manifest.manifest.json
      cause: it is a device, not a regular file
    error: 1 of 3 exports are damaged
      hint: the lines above name the damage: export again
    ");
    for path in ["part", "manifest", "fifo.parquet"] {
        for arguments in [vec!["preview", "-n", "900", path], vec!["diff", path, "sound.parquet"]] {
            let ran = run(folder, &arguments);
            assert_eq!(ran.code, Some(74), "{arguments:?} {ran:?}");
            assert!(ran.stderr.contains(", not a regular file\n"), "{arguments:?} {ran:?}");
        }
    }
}

#[test]
fn names_and_manifests_cannot_forge_output_lines() {
    let world = World::generated(Options::default(), 3);
    world.export(&["-o", "out/"]).ok();
    fs::write(world.path("out/\u{1b}[2J\nout: ok, 3 rows"), "").unwrap();
    let path = world.path("out.manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let digest = "\"digest\": \"";
    let evil = format!("{digest}\\u001b[8m\\nout: ok\\u202e");
    fs::write(path, text.replacen(digest, &evil, 1)).unwrap();
    for json in [&[][..], &["--json"]] {
        let ran = run(world.folder.path(), &[&["verify", "out"][..], json].concat());
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']), "{ran:?}");
        assert!(!ran.stdout.lines().any(|line| line.starts_with("out: ok")), "{ran:?}");
    }
    let named = world.path("\u{202e}\u{9b}x.parquet");
    let ran = run(world.folder.path(), &["preview", named.to_str().unwrap()]);
    assert!(!ran.stderr.contains(['\u{202e}', '\u{9b}']), "{ran:?}");
}
