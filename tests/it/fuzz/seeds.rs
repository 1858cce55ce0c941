//! Writes the first inputs of the fuzzers. Run it again when a format changes:
//!
//! ```sh
//! cargo test --test it write_seeds -- --ignored
//! ```

use std::{fs, io::Write, path::Path, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, LargeStringArray, RecordBatch,
    StringArray, StringViewArray,
};
use flate2::{Compression, write::GzEncoder};
use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};
use parquet::arrow::ArrowWriter;
use serde_json::value::RawValue;

use super::project;
use crate::{
    snapshots::Nightly,
    support::{ID, KEY, World},
};

/// Rows of real evaluation sets. They are next to the clone, if at all.
const CORPORA: [&str; 2] = ["../shared/corpora/gsm8k.jsonl", "../shared/corpora/bfcl-core.jsonl"];

/// Writes inputs of a target with names that end in their number.
fn put<T: AsRef<[u8]>>(target: &str, name: &str, inputs: impl IntoIterator<Item = T>) {
    let folder = project().join("corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    for (number, input) in inputs.into_iter().enumerate() {
        fs::write(folder.join(format!("{name}-{number:02}")), input).unwrap();
    }
}

/// Writes a text as several inputs: those between lines of `---`.
fn put_all(target: &str, name: &str, text: &str) {
    put(target, name, text.split("\n---\n"));
}

/// Short rows: generated ones in several languages, and those of the evaluation sets.
fn rows() -> Vec<String> {
    let world = World::generated(Options::default(), 40);
    world.export(&["-o", "rows.jsonl"]).ok();
    let text = String::from_utf8(world.read("rows.jsonl")).unwrap();
    let short = |lines: &str, count: usize| -> Vec<String> {
        let mut lines: Vec<&str> = lines.lines().filter(|line| line.len() < 900).collect();
        // Those with most characters of other scripts first.
        lines.sort_by_key(|line| std::cmp::Reverse(line.len() - line.chars().count()));
        lines.into_iter().take(count).map(str::to_owned).collect()
    };
    let real = CORPORA.map(|path| fs::read_to_string(path).unwrap_or_default());
    let real = real.iter().flat_map(|text| short(text, 3));
    short(&text, 6).into_iter().chain(real).collect()
}

fn body(rows: &[impl AsRef<str>]) -> String {
    let rows: Vec<&str> = rows.iter().map(AsRef::as_ref).collect();
    let (count, rows) = (rows.len(), rows.join(","));
    format!(
        r#"{{"count":{count},"next":"http://api.example/x/?page=8","previous":"?page=6","results":[{rows}]}}"#
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
#[ignore = "it writes the committed corpora"]
fn write_seeds() {
    pages();
    answers();
    texts();
    files();
    conversions();
    foreign_files();
    records();
    journals();
    #[cfg(feature = "clouds")]
    controls();
}

fn pages() {
    let rows = rows();
    put("page", "row", rows.iter().map(|row| body(&[row])));
    put("page", "rows", [body(&rows[..3]), body(&[""; 0])]);
    let odd = |fields: &str| body(&[format!(r#"{{"id":"{ID}",{fields}}}"#)]);
    let deep = format!("\"input\":{}{}", "[".repeat(70), "]".repeat(70));
    let fields = [
        r#""input":{"a":1,"a":2},"tags":123456789012345678901234567890"#,
        r#""input":1e400,"tags":"\ud800 \u0000 \/""#,
        "\"input\":[ 1 ,\t{\"b\" : [ ]} ],\n\"tags\":-0.0",
        r#""persona":"\u00fc\n","order":-9223372036854775808"#,
        r#""persona":"größe 🙏","order":null,"input":null"#,
        r#""ex\"tra":[1, 2],"\u0074ags":[],"\ud800\u0065":null"#,
        r#""order":"two""#,
        r#""order":1.0"#,
        r#""persona":"\ud800""#,
        r#""tags":1,"tags":2"#,
        r#""input":NaN,"tags":{"a":[1,-Infinity]}"#,
        &deep,
    ];
    put("page", "odd", fields.map(odd));
    let dataset = format!(
        r#"{{"id":"{ID}","name":"Überblick","version":3,"source":"production","num_datapoints":7,
        "created_at":"2026-11-23T02:00:00Z","agent":"{ID}","metadata":{{"a":[1.5]}},"policy_hash":null}}"#
    );
    put("page", "list", [body(&[dataset])]);
    put_all(
        "page",
        "broken",
        "{\"count\":1,\"next\":null,\"results\":[{\"order\":1}]}
---
{\"detail\":\"hi\"}
---
[1,null,[{\"id\":\"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e\"}]]
---
{\"count\":9223372036854775807,\"next\":null,\"results\":[]}
---
{\"count\":1,\"next\":7,\"results\":{}}
---
\u{feff}{\"count\":1,\"next\":null,\"results\":[]}
---
<html>502 Bad Gateway</html>
---
{\"count\":1,\"next\":null,\"results\":[{\"id\":\"182bd5e5-6e1a",
    );
}

fn answers() {
    let page = body(&rows()[..1]);
    let json = "content-type: application/json\n";
    let head = |status: u16, lines: &str| format!("{status}\n{json}{lines}\n\n");
    let plain = [
        head(200, "date: Wed, 21 Oct 2015 07:28:00 GMT") + &page,
        head(200, "content-encoding: br") + &page,
        head(401, "") + &format!(r#"{{"detail":"the key {KEY} is unknown","code":"{KEY}"}}"#),
        head(400, "")
            + &format!(r#"{{"search":["Too short.","{KEY}"],"{KEY}":[1,{{"a":"{KEY}"}}]}}"#),
        head(429, "retry-after: 3\nretry-after: Wed, 21 Oct 2015 07:28:07 GMT"),
        head(302, &format!("location: https://elsewhere.example/{KEY}?page=1")),
        head(404, "") + r#"{"detail":"Invalid page."}"#,
        head(200, "") + &page[..page.len() - 9],
        head(200, "")
            + &page.replace(r#""id":""#, &format!(r#""persona":"{KEY}","order":"{KEY}","id":""#)),
        format!("200\ncontent-type: text/html {KEY}\n\n<html> <b>{KEY}</b> sign in</html>"),
        format!("403\nserver: cloudflare\n\n<html>{}{KEY}", " blocked".repeat(49)),
        "304\n\n".to_owned(),
    ];
    put("answer", "plain", plain);
    let coded = |status: u16, body: &[u8]| {
        [head(status, "content-encoding: gzip").as_bytes(), body].concat()
    };
    let members = [gzip(b"{\"count\":0,\"next\":null,"), gzip(b"\"results\":[]}")].concat();
    let whole = gzip(page.as_bytes());
    let bomb = gzip(&[b' '; 1 << 17]);
    let all = [&whole[..], &members, &bomb, &whole[..whole.len() - 3]];
    put("answer", "gzip", all.map(|body| coded(200, body)));
    put("answer", "gzip-error", [coded(500, &whole[..whole.len() / 2])]);
}

fn texts() {
    put_all("headers", "wait", include_str!("headers.txt").trim_end());
    put_all("schedule", "line", include_str!("schedules.txt").trim_end());
    put_all("config", "file", include_str!("configurations.txt").trim_end());
    put("config", "sample", [include_str!("../../../config/snapshots.toml")]);
    put("arguments", "value", include_str!("arguments.txt").lines());
}

/// Exports of a few rows in each form.
fn files() {
    let rows = rows();
    let world = World::with_rows(Options::default(), rows[3..8].to_vec());
    let export = |name: &str, more: &[&str]| {
        world.export(&[&["-o", name, "--overwrite"][..], more].concat()).ok();
        world.read(name)
    };
    let codecs = ["none", "snappy", "lz4", "zstd"];
    let with = |name, more: &[&str]| {
        codecs.map(|codec| export(name, &[&["--compression", codec][..], more].concat()))
    };
    put("parquet", "export", with("rows.parquet", &[]));
    put("parquet", "plain", [export("rows.parquet", &["--parquet-encoding", "plain"])]);
    put("parquet", "columns", [export("rows.parquet", &["--columns", "id,order"])]);
    let arrow = ["none", "lz4", "zstd"].map(|it| export("rows.arrow", &["--compression", it]));
    put("arrow", "export", arrow);
    put("arrow", "columns", [export("rows.arrow", &["--columns", "input"])]);
    let json = ["json", "text"].map(|form| export("rows.jsonl", &["--json-columns", form]));
    put("json_lines", "export", &json);
    put("json_lines", "columns", [export("rows.jsonl", &["--columns", "id,tags"])]);
    put("json_lines", "compressed", ["rows.jsonl.gz", "rows.jsonl.zst"].map(|it| export(it, &[])));
    let torn = &json[0][..json[0].len() - 40];
    put("json_lines", "torn", [torn, &[torn, b"\r\n\r\n"].concat()]);
    put_all("json_lines", "odd", include_str!("lines.txt"));
    let csv = export("rows.csv", &[]);
    put("csv", "export", [&csv[..], &export("rows.csv", &["--csv-bom"])]);
    put("csv", "protected", [export("rows.csv", &["--csv-safe"])]);
    put("csv", "columns", [export("rows.csv", &["--columns", "persona"])]);
    put("csv", "compressed", ["rows.csv.gz", "rows.csv.zst"].map(|it| export(it, &[])));
    put("csv", "torn", [&csv[..csv.len() - 40], &[&csv[..], b"\r\n\n"].concat()]);
    put_all("csv", "odd", include_str!("cells.txt"));
    let empty = World::with_rows(Options::default(), Vec::new());
    for (target, name) in [
        ("parquet", "rows.parquet"),
        ("arrow", "rows.arrow"),
        ("json_lines", "rows.jsonl"),
        ("csv", "rows.csv"),
    ] {
        empty.export(&["-o", name]).ok();
        put(target, "empty", [empty.read(name)]);
    }
}

/// Files with values that are nested in some way, or that no type holds.
fn conversions() {
    let text = include_str!("nested.txt").trim_end();
    let rows: Vec<String> = text
        .split("\n---\n")
        .enumerate()
        .map(|(number, input)| {
            let id = crate::rows::id(number as u64);
            format!(r#"{{"id":"{id}","order":{number},"input":{input},"tags":[{input},null]}}"#)
        })
        .collect();
    put("convert", "value", rows.iter().map(|row| format!("{row}\n")));
    let world = World::with_rows(Options::default(), rows);
    fs::write(
        world.path("s.json"),
        r#"{"columns":[{"name":"input","type":"list","item":{"type":"int"}}]}"#,
    )
    .unwrap();
    let nested = ["--json-columns", "nested"];
    let forms: [(&str, &[&str]); 5] = [
        ("rows.parquet", &nested),
        ("rows.arrow", &nested),
        ("rows.jsonl", &["--json-columns", "text"]),
        ("rows.jsonl.zst", &[]),
        ("rows.parquet", &["--schema", "s.json", "--rescue", "--compression", "none"]),
    ];
    let files = forms.map(|(name, more)| {
        world.export(&[&["-o", name, "--overwrite"], more].concat()).ok();
        world.read(name)
    });
    put("convert", "file", files);
}

/// Files of other programs.
fn foreign_files() {
    let texts = [Some("a"), None, Some("\"ü\"")];
    let columns: [(&str, ArrayRef); 7] = [
        ("id", Arc::new(LargeStringArray::from(texts.to_vec()))),
        ("input", Arc::new(texts.into_iter().collect::<StringViewArray>())),
        ("order", Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MIN)]))),
        ("persona", Arc::new(StringArray::from(texts.to_vec()))),
        ("score", Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"", b"1"]))),
    ];
    let batch = |columns: &[(&str, ArrayRef)]| {
        let columns = columns.iter().map(|(name, array)| (*name, array.clone(), true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    for (number, batch) in [batch(&columns), batch(&columns[..4])].iter().enumerate() {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        put("parquet", &format!("foreign-{number}"), [bytes]);
        let mut bytes = Vec::new();
        let writer = arrow_ipc::writer::FileWriter::try_new(&mut bytes, &batch.schema());
        let mut writer = writer.unwrap();
        writer.write(batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        put("arrow", &format!("foreign-{number}"), [bytes]);
    }
}

fn records() {
    let world = World::with_rows(Options::default(), rows()[..3].to_vec());
    for (number, form) in ["jsonl", "arrow", "parquet"].iter().enumerate() {
        world.export(&["-o", "out", "--overwrite", "--format", form]).ok();
        let record = world.read("out.manifest.json");
        let part = fs::read_dir(world.path("out")).unwrap().next().unwrap().unwrap().path();
        let part = fs::read(part).unwrap();
        put(
            "record",
            &format!("manifest-{number}"),
            [&record[..], &[&record[..], &[0], &part].concat()],
        );
        world.export(&["-o", "out", "--overwrite", "--format", form, "--limit", "1"]).ok();
        put("record", &format!("partial-{number}"), [world.read("out.manifest.json")]);
    }
    world.export(&["-o", "rows.arrow"]).ok();
    let bytes = world.read("rows.arrow");
    let start = memchr::memmem::rfind(&bytes, b"{\"format_version\"").unwrap();
    let mut values = serde_json::Deserializer::from_slice(&bytes[start..]).into_iter::<&RawValue>();
    put("record", "facts", [values.next().unwrap().unwrap().get()]);
    let nights = Nightly::new(
        vec![Dataset::generated(3, 7).with_id(ID)],
        &format!("[[job]]\nname = \"a\"\ndataset = \"{ID}\"\n"),
    );
    nights.at("2026-11-23T02:00:00Z");
    nights.at("2026-11-24T02:00:00Z");
    nights.world.server.set_faults(Faults::none().on(1, FaultAttempt::Always, Fault::status(401)));
    nights.world.server.replace(vec![Dataset::generated(4, 8).with_id(ID)]);
    nights.at("2026-11-25T02:00:00Z");
    let hidden = |name: &str| nights.world.read(&format!("snaps/.overmind/a/{name}"));
    put("record", "latest", [hidden("latest.json")]);
    put("record", "history", [hidden("history.jsonl")]);
    put("record", "snapshot", [hidden("snapshot=20261123T020000Z.manifest.json")]);
    put(
        "record",
        "foreign",
        ["{}", "{\"format_version\":1}", "{\"format_version\":3,\"parts\":[]}"],
    );
}

fn journals() {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::generated(Options { faults, ..Options::default() }, 2000);
    let arguments = "-o rows --page-size 25 --rows-per-file 200 --concurrency 1 --max-retries 0";
    assert_eq!(world.export(&arguments.split(' ').collect::<Vec<_>>()).code, Some(69));
    let path = world.path(".rows.partial/journal.jsonl");
    let journal = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = journal.split_inclusive('\n').collect();
    let digest = "0".repeat(64);
    let publishing = format!("{{\"publishing\":{{\"record\":\"{digest}\"}}}}\n");
    let asked = format!(
        "{{\"publishing\":{{\"record\":\"{digest}\",\"replaces\":\"{digest}\",\"path\":\"/r.json\"}}}}\n"
    );
    put(
        "journal",
        "killed",
        [
            journal.clone(),
            lines[0].to_owned(),
            lines[..2].concat(),
            journal[..journal.len() - 20].to_owned(),
            format!("{}{publishing}", lines[..2].concat()),
            format!("{}{asked}{}", lines[..2].concat(), lines[1]),
            lines[..2].concat().replace("\"first_page\":1", "\"first_page\":0"),
            lines[..2].concat().replace("\"last_page\":8", "\"last_page\":18446744073709551615"),
            "{\"plan\":{},\"count\":0,\"started_at\":\"\"}\n\u{0}\u{0}\u{0}".to_owned(),
        ],
    );
}

/// The control objects of killed runs.
#[cfg(feature = "clouds")]
fn controls() {
    let objects = crate::stores::control_objects();
    let inputs = objects.iter().map(|(name, bytes)| [name.as_bytes(), b"\n", bytes].concat());
    put("control", "killed", inputs);
    put_all("control", "name", include_str!("names.txt").trim_end());
}

/// The seeds do not grow unnoticed.
#[test]
fn corpora_are_small() {
    fn size(path: &Path) -> u64 {
        let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
        let sizes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
            true => size(&entry.path()),
            false => entry.metadata().unwrap().len(),
        });
        sizes.sum()
    }
    let bytes = size(&project().join("corpus"));
    assert!(bytes < 1 << 20, "{bytes} bytes");
}
