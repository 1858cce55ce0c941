//! Jobs with nested columns: the first snapshot pins their types, and other values go to the column `_rescued`.

use std::{fs, path::Path, process::Command, time::Duration};

use arrow_array::{Array, cast::AsArray};
use arrow_schema::Fields;
use bytes::Bytes;
use overmind_export::{
    Batches, Manifest, ReadOptions, Status,
    demo::{Dataset, Fault, FaultAttempt, Faults, Options},
    verify,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::{AGENT, Nightly, version};
use crate::{
    rows,
    support::{ID, Ran},
};

const NESTED: &str = "json_columns = \"nested\"\npage_size = 25\nrows_per_file = 40";
const PART: &str = "part-00000.parquet";
const NIGHTS: [&str; 4] = [
    "2026-11-23T02:00:00Z",
    "2026-11-24T02:00:00Z",
    "2026-11-25T02:00:00Z",
    "2026-11-26T02:00:00Z",
];
const STAMPS: [&str; 4] =
    ["20261123T020000Z", "20261124T020000Z", "20261125T020000Z", "20261126T020000Z"];

/// A row that fits the types of the first night.
fn plain_row(number: u64) -> String {
    row(number, &format!("{number}"), r#""hi""#, "")
}

fn row(number: u64, n: &str, content: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{}","order":{number},"input":{{"n":{n},"messages":[{{"content":"x"}},{{"content":{content}}}]{more}}},"tags":["a"]}}"#,
        rows::id(number)
    )
}

/// The rows of the first night, and a few others that do not fit in their types.
fn odd_rows(count: u64) -> Vec<String> {
    let mut rows: Vec<String> = (0..count).map(plain_row).collect();
    rows[7] = row(7, "1.5", r#""hi""#, "");
    rows[50] = row(50, "9223372036854775808", r#"{"text":"hi"}"#, r#","seed":1e400"#);
    rows[51] = row(51, r#""n""#, "null", r#","N":[1],"seed":5"#);
    rows
}

fn dataset(rows: Vec<String>) -> Dataset {
    Dataset::from_rows("rows", rows).with_id(ID)
}

fn plain(count: u64) -> Dataset {
    dataset((0..count).map(plain_row).collect())
}

fn nightly(first: Dataset, lines: &str) -> Nightly {
    let job = format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n{NESTED}\n{lines}\n");
    Nightly::new(vec![first], &job)
}

/// A job after a night of plain rows and a night with odd ones.
fn two_nights() -> Nightly {
    let nightly = nightly(plain(60), "");
    nightly.at(NIGHTS[0]);
    nightly.world.server.replace(vec![dataset(odd_rows(61))]);
    let results = nightly.at(NIGHTS[1]);
    assert_eq!((results[0].status, results[0].exit_code), (Status::Stored, 0), "{results:?}");
    nightly
}

fn schema_file(nightly: &Nightly) -> Vec<u8> {
    fs::read(nightly.hidden("nightly").join("schema.json")).unwrap()
}

fn manifest(nightly: &Nightly, stamp: &str) -> Manifest {
    Manifest::read(&nightly.record("nightly", stamp)).unwrap()
}

fn arrow_fields(snapshot: &Path) -> Fields {
    let bytes = Bytes::from(fs::read(snapshot.join(PART)).unwrap());
    ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().schema().fields().clone()
}

/// The texts of some columns of a snapshot, row by row, as the library reads them.
fn texts(snapshot: &Path, columns: &[&str]) -> Vec<Vec<Option<String>>> {
    let mut options = ReadOptions::default();
    options.columns = columns.iter().map(|name| (*name).to_owned()).collect();
    let mut found = Vec::new();
    for batch in Batches::open_with(&snapshot.into(), &options).unwrap() {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let text = |name: &&str| {
                let array = batch.column_by_name(name).unwrap().as_string::<i32>().clone();
                array.is_valid(row).then(|| array.value(row).to_owned())
            };
            found.push(columns.iter().map(text).collect());
        }
    }
    found
}

/// Parses a text with a number that this crate's parser does not know.
fn parsed(text: &str) -> Value {
    serde_json::from_str(&text.replace("1e400", "\"1e400\"")).unwrap()
}

fn plain_value(mut value: Value) -> Value {
    // Null and a missing member are the same.
    if let Some(Value::Object(member)) = value.pointer_mut("/messages/1") {
        member.retain(|_, value| !value.is_null());
    }
    value
}

#[test]
fn first_snapshot_pins_the_types_of_all_nights() {
    let nightly = two_nights();
    let types = manifest(&nightly, STAMPS[0]).nested;
    let names: Vec<_> = types.iter().flatten().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["input", "expected_output", "tags", "additional_properties", "_rescued"]);
    assert_eq!(manifest(&nightly, STAMPS[1]).nested, types);
    let pinned: Value = serde_json::from_slice(&schema_file(&nightly)).unwrap();
    assert_eq!((&pinned["job"], &pinned["snapshot"]), (&json!("nightly"), &json!(STAMPS[0])));
    assert_eq!(pinned["nested"].as_array().unwrap().len(), 4);
    // Readers of both nights see one table.
    let nights = STAMPS[..2].iter().map(|stamp| format!("snapshot={stamp}"));
    let nights: Vec<_> = nights.map(|name| nightly.job("nightly").join(name)).collect();
    assert_eq!(arrow_fields(&nights[0]), arrow_fields(&nights[1]));
    assert_eq!(arrow_fields(&nights[0]).last().unwrap().name(), "_rescued");
    for night in &nights {
        assert!(verify(&night.as_path().into()).unwrap().is_ok());
    }
    assert!(texts(&nights[0], &["_rescued"]).iter().all(|row| row[0].is_none()));
    let rescued: Vec<_> =
        texts(&nights[1], &["_rescued"]).into_iter().map(|mut row| row.remove(0)).collect();
    let some: Vec<_> = rescued
        .iter()
        .enumerate()
        .filter_map(|(row, text)| Some((row, text.as_deref()?)))
        .collect();
    assert_eq!(
        some,
        [
            (7, r#"{".input.n":1.5}"#),
            (
                50,
                r#"{".input.n":9223372036854775808,".input.messages[1].content":{"text":"hi"},".input.seed":1e400}"#
            ),
            (51, r#"{".input.n":"n",".input.N":[1],".input.seed":5}"#),
        ]
    );
    // Without the column, its values are where they were.
    let inputs = texts(&nights[1], &["input", "tags"]);
    for (index, row) in odd_rows(61).iter().enumerate() {
        let row = parsed(row);
        let [Some(input), Some(tags)] = &inputs[index][..] else { panic!("{inputs:?}") };
        assert_eq!(plain_value(parsed(input)), plain_value(row["input"].clone()), "{index}");
        assert_eq!(parsed(tags), row["tags"]);
    }
}

#[test]
fn rescued_rows_are_counted_and_told() {
    let nightly = nightly(plain(60), "");
    let first = nightly.snapshot(&[]).ok();
    assert!(!first.stderr.contains("warning"), "{}", first.stderr);
    nightly.world.server.replace(vec![dataset(odd_rows(61))]);
    let ran = nightly.snapshot(&["--metrics-file", "jobs.prom"]).ok();
    let lines: Vec<&str> = ran.stderr.lines().skip(2).map(str::trim).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    warning: values that do not fit the pinned schema are in the column _rescued: 3 rows, such as .input.n, .input.messages[].content, .input.seed, …
    hint: `overmind-export schema --accept nightly` widens the schema
    ");
    let run = &nightly.history("nightly")[1];
    assert_eq!(
        (&run["rescued_rows"], &run["snapshots"][0]["rescued_rows"]),
        (&json!(3), &json!(3))
    );
    let paths = json!([".input.n", ".input.messages[].content", ".input.seed", ".input.N"]);
    assert_eq!(run["snapshots"][0]["rescued_paths"], paths);
    assert_eq!(nightly.latest("nightly")["rescued_rows"], 3);
    let stamp = nightly.stamps("nightly").pop().unwrap();
    let parts = manifest(&nightly, &stamp).parts;
    assert_eq!(parts.iter().map(|part| part.rescued).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(parts[0].rescued_paths, [".input.n"]);
    let metrics = String::from_utf8(nightly.world.read("jobs.prom")).unwrap();
    assert!(metrics.contains("overmind_export_rescued_rows{job=\"nightly\"} 3\n"), "{metrics}");
    // The next night finds the data unchanged, and still says so.
    let ran = nightly.snapshot(&[]).ok();
    assert!(ran.stderr.contains("unchanged, same metadata"), "{}", ran.stderr);
    assert!(ran.stderr.contains("in the column _rescued: 3 rows"), "{}", ran.stderr);
}

#[test]
fn accepted_schema_is_that_of_the_next_run() {
    let nightly = two_nights();
    let before = schema_file(&nightly);
    let schema = |more: &[&str]| {
        let ran = nightly.run(&[&["schema", "--accept", "nightly"], more].concat());
        (ran.code, serde_json::from_str::<Value>(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}")))
    };
    let (code, would) = schema(&["--dry-run"]);
    // `N` and `n` differ only in case, so the object as a whole stays text.
    let whole = json!([
        {"path": ".input", "before": null, "now": "json"},
        {"path": ".input.messages[].content", "before": "string", "now": null},
        {"path": ".input.n", "before": "int", "now": null},
    ]);
    assert_eq!((code, &would["differences"]), (Some(1), &whole));
    assert_eq!((&would["rescued_rows"], &would["accepted"]), (&json!(3), &json!(false)));
    assert_eq!(schema_file(&nightly), before);
    // Without that name, the types become wider where they must.
    let rows = odd_rows(61).into_iter().map(|row| row.replace(r#","N":[1]"#, "")).collect();
    nightly.world.server.replace(vec![dataset(rows).with_metadata("{\"edition\":2}")]);
    nightly.at(NIGHTS[2]);
    let (code, done) = schema(&[]);
    let expected = json!([
        {"path": ".input.messages[].content", "before": "string", "now": "json"},
        {"path": ".input.n", "before": "int", "now": "json"},
        {"path": ".input.seed", "before": null, "now": "json"},
    ]);
    assert_eq!((code, &done["differences"], &done["accepted"]), (Some(0), &expected, &json!(true)));
    let accepted = schema_file(&nightly);
    assert_ne!(accepted, before);
    // The data is the same, but not its types.
    let results = nightly.at(NIGHTS[3]);
    assert_eq!((results[0].status, results[0].rescued_rows), (Status::Stored, 0));
    let newest = nightly.newest("nightly");
    assert!(texts(&newest, &["_rescued"]).iter().all(|row| row[0].is_none()));
    assert!(verify(&newest.as_path().into()).unwrap().is_ok());
    let again = nightly.at("2026-11-27T02:00:00Z");
    assert_eq!(again[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
    // Everything fits now.
    let (code, same) = schema(&["--dry-run"]);
    assert_eq!((code, &same["differences"]), (Some(0), &json!([])));
    assert_eq!(schema(&[]).1["accepted"], json!(false));
    assert_eq!(schema_file(&nightly), accepted);
    // The values did not change, although other columns have them now.
    let night = |stamp: &str| nightly.job("nightly").join(format!("snapshot={stamp}"));
    assert_eq!(texts(&night(STAMPS[2]), &["tags"]), texts(&night(STAMPS[3]), &["tags"]));
}

#[test]
fn killed_runs_keep_snapshot_and_schema_together() {
    // Killed before the publication: neither a snapshot nor a schema.
    let faults = Faults::none().on(2, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    let options = Options { faults, ..Options::default() };
    let job = format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n{NESTED}\n");
    let nightly = Nightly::with(options, vec![plain(60)], &job);
    let mut run = nightly.start(&["--concurrency", "1"]);
    let soon = Duration::from_secs(30);
    assert!(nightly.world.server.wait_until(soon, |stats| stats.attempts(ID, 2) == 1));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!nightly.hidden("nightly").join("schema.json").exists());
    nightly.world.server.set_faults(Faults::none());
    nightly.snapshot(&[]).ok();
    let pinned = schema_file(&nightly);
    // Killed after the publication of the first snapshot: its record has the types.
    for name in ["schema.json", "latest.json"] {
        fs::remove_file(nightly.hidden("nightly").join(name)).unwrap();
    }
    nightly.world.server.replace(vec![dataset(odd_rows(61))]);
    let ran = nightly.snapshot(&[]).ok();
    assert!(ran.stderr.contains("in the column _rescued: 3 rows"), "{}", ran.stderr);
    assert_eq!(schema_file(&nightly), pinned);
    // A copy that was being written stays without effect, and is removed.
    let aside = nightly.hidden("nightly").join(".schema.json.0123abcd.new");
    fs::write(&aside, "{").unwrap();
    nightly.snapshot(&[]).ok();
    assert!(!aside.exists());
    assert_eq!(schema_file(&nightly), pinned);
}

#[test]
fn unusable_schema_files_end_the_run() {
    let nightly = two_nights();
    let path = nightly.hidden("nightly").join("schema.json");
    let good = String::from_utf8(schema_file(&nightly)).unwrap();
    let later = good.replacen("\"format_version\": 1", "\"format_version\": 7", 1);
    let other = good.replace("\"job\": \"nightly\"", "\"job\": \"else\"");
    let narrow = good.replacen("\"type\": \"int\"", "\"type\": \"date\"", 1);
    let requests = nightly.datapoints();
    for (text, why) in [
        ("{", "is not a schema of nested columns: EOF while parsing"),
        (&later, "has the layout 7, which this version does not read"),
        (&other, "is the schema of job \"else\""),
        (
            &narrow,
            "is not a schema of nested columns: unknown variant \"date\", expected one of \"string\", \"int\", \"float\", \"bool\", \"json\"",
        ),
    ] {
        fs::write(&path, text).unwrap();
        for ran in [nightly.snapshot(&[]), nightly.run(&["schema", "--accept", "nightly"])] {
            assert_eq!(ran.code, Some(73), "{ran:?}");
            assert!(ran.stderr.contains(&format!("schema.json: {why}")), "{}", ran.stderr);
            assert!(ran.stderr.contains("the next run takes the types of the newest"), "{ran:?}");
        }
    }
    fs::remove_file(&path).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let ran = nightly.snapshot(&[]);
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains("is a link, not a regular file"), "{ran:?}");
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(nightly.datapoints(), requests);
    // The record of the newest snapshot has the types, too.
    nightly.snapshot(&[]).ok();
    let nested = |text: &str| serde_json::from_str::<Value>(text).unwrap()["nested"].clone();
    assert_eq!(nested(&String::from_utf8(schema_file(&nightly)).unwrap()), nested(&good));
}

#[test]
fn schema_of_other_jobs_is_refused() {
    let more = "[[job]]\nname = \"text\"\ndataset = \"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e\"\n";
    let nightly = nightly(plain(3), more);
    let accept = |more: &[&str]| nightly.run(&[&["schema", "--accept"], more].concat());
    for (more, code, why) in [
        (&["text"][..], 2, "job \"text\" has no nested columns, so it has no schema"),
        (&["nightly"], 66, "job \"nightly\" has no snapshot yet"),
        (&["none"], 2, "\"none\" is not a valid job"),
        (&["nightly", "rows.parquet"], 2, "cannot be used with"),
        (&["nightly", "--against", "x"], 2, "cannot be used with"),
        (&["nightly", "--source", "seed"], 2, "cannot be used with"),
    ] {
        let ran = accept(more);
        assert!(ran.code == Some(code) && ran.stderr.contains(why), "{more:?} {ran:?}");
    }
    let ran = nightly.run(&["schema"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("DATASET_ID|PATH"), "{ran:?}");
    assert!(!nightly.hidden("nightly").exists());
}

#[test]
fn another_dataset_pins_its_own_types() {
    let nightly = two_nights();
    let other = Dataset::generated(30, 7).with_id(super::version_id(5));
    nightly.world.server.replace(vec![other]);
    let path = nightly.world.path("snapshots.toml");
    let id = super::version_id(5).to_string();
    fs::write(&path, fs::read_to_string(&path).unwrap().replace(&ID.to_string(), &id)).unwrap();
    let results = nightly.at(NIGHTS[2]);
    assert_eq!((results[0].status, results[0].rescued_rows), (Status::Stored, 0), "{results:?}");
    let pinned: Value = serde_json::from_slice(&schema_file(&nightly)).unwrap();
    assert_eq!((&pinned["dataset"], &pinned["snapshot"]), (&json!(id), &json!(STAMPS[2])));
}

#[test]
fn each_dataset_of_a_job_has_its_own_schema() {
    let job =
        format!("[[job]]\nname = \"every\"\nagent = \"{AGENT}\"\nselect = \"all\"\n{NESTED}\n");
    let nightly = Nightly::new(vec![version(1, 30), version(2, 40)], &job);
    nightly.at(NIGHTS[0]);
    for number in [1, 2] {
        let folder = format!("dataset={}", super::version_id(number));
        assert!(nightly.hidden("every").join(folder).join("schema.json").exists());
    }
    let ran = nightly.run(&["schema", "--accept", "every"]).ok();
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
}

#[test]
fn retention_leaves_the_schema() {
    let nightly = nightly(plain(60), "keep = { last = 1 }");
    nightly.at(NIGHTS[0]);
    let pinned = schema_file(&nightly);
    nightly.world.server.replace(vec![dataset(odd_rows(61))]);
    let results = nightly.at(NIGHTS[1]);
    assert_eq!(results[0].pruned, [format!("snapshot={}", STAMPS[0])]);
    nightly.run(&["prune"]).ok();
    assert_eq!(schema_file(&nightly), pinned);
    assert_eq!(nightly.stamps("nightly"), [STAMPS[1]]);
}

#[test]
fn interrupted_run_counts_the_rows_of_kept_parts() {
    let nightly = nightly(plain(60), "");
    nightly.at(NIGHTS[0]);
    nightly.world.server.replace(vec![dataset(odd_rows(150))]);
    let faults = Faults::none().on(6, FaultAttempt::Always, Fault::status(503));
    nightly.world.server.set_faults(faults);
    let ran = nightly.snapshot(&["--concurrency", "1", "--max-retries", "0"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    nightly.world.server.set_faults(Faults::none());
    let ran = nightly.snapshot(&[]).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("in the column _rescued: 3 rows, such as .input.n"), "{ran:?}");
    assert_eq!(nightly.history("nightly").last().unwrap()["rescued_rows"], 3);
    assert!(verify(&nightly.newest("nightly").as_path().into()).unwrap().is_ok());
}

/// Runs the recipe of the guide that alerts on a schema change.
#[test]
fn recipe_alerts_on_a_schema_change() {
    let page = include_str!("../../../src/guide/shaping.md");
    let recipe = page.lines().find(|line| line.starts_with("overmind-export schema --accept"));
    let script = recipe.unwrap().replace("triage-eval", "nightly --config snapshots.toml");
    let script = script.replace("overmind-export", env!("CARGO_BIN_EXE_overmind-export"));
    let nightly = nightly(plain(60), "");
    let alert = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(nightly.world.folder.path());
        Ran::of(&mut shell).ok().stdout.contains("new shapes")
    };
    nightly.at(NIGHTS[0]);
    assert!(!alert());
    nightly.world.server.replace(vec![dataset(odd_rows(61))]);
    nightly.at(NIGHTS[1]);
    assert!(alert());
}
