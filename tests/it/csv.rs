//! CSV: its layout, cells that are protected from spreadsheets, and reading it back.

use std::fs;

use arrow_array::{Array, cast::AsArray};
use overmind_export::{
    Batches, Column, Error, Location, ReadOptions,
    demo::{Fault, FaultAttempt, Faults, Options},
};
use serde_json::{Value, json};

use crate::{
    read::Table,
    rows,
    support::{ID, Ran, World, command},
};

const HEADER: &str = "id,order,input,expected_output,persona,tags,additional_properties\r\n";
const SAFE_HEADER: &str = "\"id\",\"order\",\"input\",\"expected_output\",\"persona\",\"tags\",\"additional_properties\"\r\n";

/// The id of a row, for a format string of JSON.
fn id(number: u64) -> String {
    rows::id(number).to_string()
}

/// An API with a row for each persona, which is JSON.
fn personas(texts: &[&str]) -> World {
    let row = |(number, text): (usize, &&str)| {
        format!(r#"{{"id":"{}","persona":{text}}}"#, id(number as u64))
    };
    World::with_rows(Options::default(), texts.iter().enumerate().map(row).collect())
}

fn run(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(command(world.folder.path()).args(arguments))
}

#[test]
fn csv_has_the_documented_layout() {
    let (a, b, c) = (id(1), id(2), id(3));
    let world = World::with_rows(
        Options::default(),
        vec![
            format!(
                r#"{{"id":"{a}","order":1,"input":{{"a": "x, y"}},"persona":"","tags":["t"]}}"#
            ),
            format!(
                r#"{{"id":"{b}","order":-5,"input":null,"persona":" a\r\nb \"c\" ü ","x":0.70}}"#
            ),
            format!(r#"{{"id":"{c}","input":"","expected_output":-5}}"#),
        ],
    );
    let expected = format!(
        "{HEADER}\
         {a},1,\"{{\"\"a\"\":\"\"x, y\"\"}}\",,\"\",\"[\"\"t\"\"]\",\r\n\
         {b},-5,,,\" a\r\nb \"\"c\"\" ü \",,\"{{\"\"x\"\":0.70}}\"\r\n\
         {c},,\"\"\"\"\"\",-5,,,\r\n"
    );
    world.export(&["-o", "rows.csv"]).ok();
    assert_eq!(String::from_utf8(world.read("rows.csv")).unwrap(), expected);
    world.export(&["-o", "bom.csv", "--csv-bom"]).ok();
    assert_eq!(String::from_utf8(world.read("bom.csv")).unwrap(), format!("\u{feff}{expected}"));
    let piped = world.export(&["-q", "-o", "-", "--format", "csv"]).ok();
    assert_eq!(piped.stdout, expected);
    // A number stays a number in a file with protected cells.
    let piped = world.export(&["-q", "-o", "-", "--format", "csv", "--csv-safe"]).ok();
    assert_eq!(piped.stdout, expected.replace(HEADER, SAFE_HEADER));
}

#[test]
fn csv_reads_back_exactly() {
    let rows: Vec<_> = rows::hard().into_iter().filter(|it| it.wire.len() < 1 << 20).collect();
    let world = World::with_rows(Options::default(), rows::wire(&rows));
    let digest = |arguments: &[&str]| {
        let ran = world.export(&[&["--json", "-q"], arguments].concat()).ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["digest"].clone()
    };
    let expected = digest(&["-o", "rows.jsonl"]);
    digest(&["-o", "rows.parquet"]);
    for (name, arguments) in [
        ("rows.csv", &["--manifest"][..]),
        ("bom.csv", &["--manifest", "--csv-bom"]),
        ("rows.csv.gz", &[]),
        ("rows.csv.zst", &["--csv-bom"]),
        ("parts/", &["--format", "csv", "--rows-per-file", "10", "--csv-bom"]),
        ("packed/", &["--format", "csv", "--rows-per-file", "10", "--compression", "zstd"]),
    ] {
        let export = [&["-o", name, "--page-size", "5"], arguments].concat();
        assert_eq!(digest(&export), expected, "{name}");
        run(&world, &["diff", name, "rows.parquet"]).ok();
        run(&world, &["diff", "rows.jsonl", name]).ok();
        let recorded = arguments.contains(&"--manifest") || name.ends_with('/');
        let verified = run(&world, &["verify", name]);
        assert_eq!(verified.code, Some(if recorded { 0 } else { 2 }), "{name}: {verified:?}");
        for options in [&["-n", "90"][..], &["-n", "90", "--json"], &["--columns", "id,tags"]] {
            let shown = |name: &str| {
                let ran = run(&world, &[&["preview", name], options].concat()).ok();
                // The last line of a table may name the number of rows in the manifest.
                let is_row = |line: &&str| !line.ends_with(" rows");
                ran.stdout.lines().filter(is_row).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(shown(name), shown("rows.jsonl"), "{name} {options:?}");
        }
    }
    let manifest: Value = serde_json::from_slice(&world.read("bom.csv.manifest.json")).unwrap();
    assert_eq!((&manifest["csv_bom"], &manifest["csv_safe"]), (&json!(true), &json!(false)));
    let manifest: Value = serde_json::from_slice(&world.read("parts.manifest.json")).unwrap();
    assert_eq!((&manifest["format"], &manifest["json_columns"]), (&json!("csv"), &Value::Null));
}

#[test]
fn null_of_a_single_column_is_an_empty_line() {
    let world = personas(&["null", "\"\"", "null", "\"a\"", "null"]);
    world.export(&["-o", "rows.csv", "--columns", "persona", "--manifest"]).ok();
    assert_eq!(world.read("rows.csv"), b"persona\r\n\r\n\"\"\r\n\r\na\r\n\r\n");
    let batches = Batches::open(&world.path("rows.csv").into()).unwrap();
    assert_eq!(batches.columns(), Some(&[Column::Persona.into()][..]));
    let read: Vec<Option<String>> = batches
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let texts = batch.column(0).as_string::<i32>().iter();
            texts.map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(read, [None, Some(String::new()), None, Some("a".to_owned()), None]);
    run(&world, &["verify", "rows.csv"]).ok();
}

#[test]
fn formulas_are_protected() {
    let world = personas(&[
        r#""=1+1""#,
        r#""+1""#,
        r#""-2+3+cmd|' /C calc'!A0""#,
        r#""@SUM(A1)""#,
        r#""\t=1""#,
        r#""\r=1""#,
        r#"" =HYPERLINK(\"http://example.org\",\"a, b\")""#,
        r#""-5""#,
        r#""a=b""#,
        r#""""#,
        "null",
    ]);
    world.export(&["-o", "safe.csv", "--csv-safe", "--columns", "id,persona"]).ok();
    let text = String::from_utf8(world.read("safe.csv")).unwrap();
    let cells: Vec<&str> =
        text.split("\r\n").filter_map(|line| Some(line.split_once(',')?.1)).collect();
    let expected = [
        "\"persona\"",
        "'=1+1",
        "'+1",
        "'-2+3+cmd|' /C calc'!A0",
        "'@SUM(A1)",
        "'\t=1",
        "\"'\r=1\"",
        "\"' =HYPERLINK(\"\"http://example.org\"\",\"\"a, b\"\")\"",
        "-5",
        "a=b",
        "\"\"",
        "",
    ];
    assert_eq!(cells, expected);
}

#[test]
fn protected_cells_are_not_read_back() {
    let world = personas(&["\"=1\"", "\"a\\nb\"", "null"]);
    let safe = ["--csv-safe", "--csv-bom"];
    world.export(&[&["-o", "safe.csv", "--manifest"], &safe[..]].concat()).ok();
    world.export(&[&["-o", "bare.csv.gz"], &safe[..]].concat()).ok();
    world.export(&[&["-o", "parts/", "--format", "csv"], &safe[..]].concat()).ok();
    world.export(&["-o", "rows.csv"]).ok();
    for name in ["safe.csv", "bare.csv.gz", "parts"] {
        let error = Batches::open(&world.path(name).into())
            .and_then(|batches| batches.collect::<Result<Vec<_>, _>>());
        assert!(matches!(error, Err(Error::ChangedCells { .. })), "{name}: {error:?}");
    }
    let told = |arguments: &[&str]| run(&world, arguments).told(&world);
    insta::assert_snapshot!(told(&["diff", "rows.csv", "safe.csv"]), @"
    exit 65
    error: safe.csv: its header is in quotes, so its cells are protected from spreadsheets (--csv-safe) and are not the values of the rows
      hint: use an export without --csv-safe; `overmind-export verify` compares the SHA-256 of this one, if it has a record
    ");
    insta::assert_snapshot!(told(&["preview", "parts"]), @"
    exit 65
    error: parts/part-00000.csv: its header is in quotes, so its cells are protected from spreadsheets (--csv-safe) and are not the values of the rows
      hint: use an export without --csv-safe; `overmind-export verify` compares the SHA-256 of this one, if it has a record
    ");
    insta::assert_snapshot!(told(&["verify", "safe.csv", "parts", "bare.csv.gz"]), @"
    exit 2
    safe.csv: ok, 3 rows; every byte was checked (SHA-256)
    parts: ok, 3 rows; every byte was checked (SHA-256)
    bare.csv.gz: its cells are protected (--csv-safe), and it has no record to compare it with: bare.csv.gz.manifest.json does not exist; export with --manifest to write one
    error: 1 of 3 paths could not be checked
      hint: each line above gives the reason and the next step
    ");
    let manifest: Value = serde_json::from_slice(&world.read("safe.csv.manifest.json")).unwrap();
    assert_eq!((&manifest["csv_bom"], &manifest["csv_safe"]), (&json!(true), &json!(true)));

    let text = String::from_utf8(world.read("safe.csv")).unwrap();
    fs::write(world.path("safe.csv"), text.replace("'=1", "'=2")).unwrap();
    let changed = run(&world, &["verify", "safe.csv"]);
    assert_eq!(changed.code, Some(65));
    assert!(changed.stdout.starts_with("safe.csv: SHA-256 "), "{changed:?}");
    let without_last = text.rsplitn(3, "\r\n").last().unwrap().to_owned() + "\r\n";
    fs::write(world.path("safe.csv"), without_last).unwrap();
    let shorter = run(&world, &["verify", "safe.csv"]);
    assert!(shorter.stdout.contains("\nsafe.csv: rows 2, recorded 3"), "{shorter:?}");
}

#[test]
fn changed_csv_is_not_read_as_recorded() {
    let world = World::generated(Options::default(), 300);
    world.export(&["-o", "out/", "--format", "csv", "--rows-per-file", "100"]).ok();
    let path = world.path("out/part-00001.csv");
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) = text.split_at(text.len() / 2);
    let end = end.replacen('e', "f", 1);
    fs::write(&path, format!("{start}{end}")).unwrap();
    let read = Batches::open(&world.path("out").into()).unwrap().collect::<Result<Vec<_>, _>>();
    assert!(read.unwrap_err().to_string().contains("SHA-256"));
    let verified = run(&world, &["verify", "out"]);
    assert_eq!(verified.code, Some(65));
    assert!(verified.stdout.contains("part-00001.csv: digest "), "{verified:?}");
}

#[test]
fn line_feeds_and_other_columns_are_read() {
    let world = World::generated(Options::default(), 1);
    let text = "\u{feff}persona,id,more,order\na,1,x,7\n\"b\nc\",2,,\n\"\",3,\"y\",-9";
    fs::write(world.path("hand.csv"), text).unwrap();
    insta::assert_snapshot!(run(&world, &["preview", "hand.csv", "--json"]).told(&world), @r#"
    exit 0
    {"persona":"a","id":"1","more":"x","order":7}
    {"persona":"b\nc","id":"2","more":null,"order":null}
    {"persona":"","id":"3","more":"y","order":-9}
    "#);
    insta::assert_snapshot!(run(&world, &["diff", "hand.csv", "hand.csv"]).told(&world), @r#"
    exit 65
    error: hand.csv: it has a column "more", which no export has
    "#);
    fs::write(world.path("bare.csv"), "id,order\n").unwrap();
    insta::assert_snapshot!(run(&world, &["diff", "bare.csv", "bare.csv"]).told(&world), @"
    exit 0
    bare.csv → bare.csv, by id
    equal: 0 rows
    ");
    fs::write(world.path("other.csv"), "city,price\nKöln,1\n").unwrap();
    insta::assert_snapshot!(run(&world, &["verify", "other.csv"]).told(&world), @r#"
    exit 2
    other.csv: not an export: it has a column "city", which no export has
    error: 1 of 1 path could not be checked
      hint: each line above gives the reason and the next step
    "#);
}

#[test]
fn malformed_csv_is_refused() {
    let world = World::generated(Options::default(), 1);
    let told: Vec<String> = [
        "",
        "id,order\r\n1",
        "id,order\r\n1,2,3\r\n",
        "id,order\r\n1,2\r\n\r\n",
        "id,order\r\n1,x\r\n",
        "id,order\r\n1,\"\"\r\n",
        "id,order\r\n,1\r\n",
        "id,persona\r\n1,a\"b\r\n1,a\"b\r\n",
        "id,persona\r\n1,\"a\"b\r\n",
        "id,persona\r\n1,a\rb\r\n",
        "id,persona\r\n1,\"a\r\n2,b\r\n",
        "id,id\r\n1,2\r\n",
        "\"id\",\"order\"\r\n1,2\r\n",
    ]
    .iter()
    .map(|text| {
        fs::write(world.path("bad.csv"), text).unwrap();
        let ran = run(&world, &["preview", "bad.csv"]);
        assert_eq!(ran.code, Some(65), "{text:?}: {ran:?}");
        format!("{text:?}\n  {}\n", ran.stderr.lines().next().unwrap())
    })
    .collect();
    insta::assert_snapshot!(told.concat(), @r#"
    ""
      error: bad.csv: it cannot be read: it has no header
    "id,order\r\n1"
      error: bad.csv: it cannot be read: row 1 has 1 cell, and the header has 2
    "id,order\r\n1,2,3\r\n"
      error: bad.csv: it cannot be read: row 1 has 3 cells, and the header has 2
    "id,order\r\n1,2\r\n\r\n"
      error: bad.csv: it cannot be read: row 2 has 1 cell, and the header has 2
    "id,order\r\n1,x\r\n"
      error: bad.csv: it cannot be read: row 1: its order is not a whole number
    "id,order\r\n1,\"\"\r\n"
      error: bad.csv: it cannot be read: row 1: its order is not a whole number
    "id,order\r\n,1\r\n"
      error: bad.csv: it cannot be read: Invalid argument error: Column 'id' is declared as non-nullable but contains null values
    "id,persona\r\n1,a\"b\r\n1,a\"b\r\n"
      error: bad.csv: it cannot be read: row 1 is not CSV as in RFC 4180: a quote or a carriage return is in a cell without quotes around it, or a quote in a cell is not doubled
    "id,persona\r\n1,\"a\"b\r\n"
      error: bad.csv: it cannot be read: row 1 is not CSV as in RFC 4180: a quote or a carriage return is in a cell without quotes around it, or a quote in a cell is not doubled
    "id,persona\r\n1,a\rb\r\n"
      error: bad.csv: it cannot be read: row 1 is not CSV as in RFC 4180: a quote or a carriage return is in a cell without quotes around it, or a quote in a cell is not doubled
    "id,persona\r\n1,\"a\r\n2,b\r\n"
      error: bad.csv: it cannot be read: it ends inside a cell in quotes, in row 1
    "id,id\r\n1,2\r\n"
      error: bad.csv: it has the column id twice
    "\"id\",\"order\"\r\n1,2\r\n"
      error: bad.csv: its header is in quotes, so its cells are protected from spreadsheets (--csv-safe) and are not the values of the rows
    "#);
    fs::write(world.path("bad.csv"), b"id\r\n\xff\r\n").unwrap();
    let ran = run(&world, &["preview", "bad.csv"]);
    assert!(
        ran.stderr.starts_with("error: bad.csv: it cannot be read: row 1 is not UTF-8"),
        "{ran:?}"
    );
}

#[test]
fn large_cells_are_read_up_to_the_limit() {
    // Every byte of the value is a quote: the cell is twice as long as the value.
    let quotes = "\\\"".repeat(6 << 19);
    let world = World::with_rows(
        Options::default(),
        vec![format!(r#"{{"id":"{ID}","persona":"{quotes}"}}"#)],
    );
    world.export(&["-o", "rows.csv"]).ok();
    let read = |limit| {
        let mut options = ReadOptions::default();
        options.max_value_bytes = limit;
        let batches =
            Batches::open_with(&Location::from(world.path("rows.csv")), &options).unwrap();
        batches.collect::<Result<Vec<_>, _>>()
    };
    let batches = read(3 << 20).unwrap();
    let persona = batches[0].column_by_name("persona").unwrap();
    assert_eq!(persona.as_string::<i32>().value(0).len(), 3 << 20);
    assert!(persona.is_valid(0));
    let error = read((3 << 20) - 1).unwrap_err();
    assert!(matches!(error, Error::ValueTooLarge { .. }), "{error:?}");
    let error = read(1 << 20).unwrap_err();
    assert!(error.to_string().contains("row 1 has more than 6,291,456 bytes"), "{error}");
}

#[test]
fn another_form_of_csv_is_not_resumed() {
    let world = World::generated(Options::default(), 500);
    let export = |options: &[&str]| {
        let arguments = ["-o", "out/", "--format", "csv", "--rows-per-file", "100"];
        let network = ["--concurrency", "1", "--max-retries", "0"];
        world.export(&[&arguments[..], &network, options].concat())
    };
    world.server.set_faults(Faults::none().on(4, FaultAttempt::Always, Fault::status(503)));
    assert_eq!(export(&[]).code, Some(69));
    world.server.set_faults(Faults::none());
    for option in ["--csv-bom", "--csv-safe"] {
        let ran = export(&[option]);
        assert_eq!(ran.code, Some(73), "{ran:?}");
        let message = format!("{option} was not given, now it is given");
        assert!(ran.stderr.contains(&message), "{ran:?}");
    }
    export(&[]).ok();
    assert_eq!(Table::read("part-00000.csv", world.read("out/part-00000.csv")).rows.len(), 100);
}
