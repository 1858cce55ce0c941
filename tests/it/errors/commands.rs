//! The output of successful commands, on standard output and standard error.

use std::collections::BTreeSet;

use overmind_export::demo::{
    Background, Dataset, Fault, FaultAttempt::Always, FaultPage, Faults, Options,
    serve_in_background,
};
use serde_json::Value;

use super::{session, steady};
use crate::support::{ID, Ran, World, command};

const TEXT: &str =
    "Where is my order? I have waited for two weeks and nobody answers the telephone.";

fn world() -> World {
    let row = |order: u128| {
        let id = uuid::Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 + (order << 96));
        format!(
            r#"{{"id":"{id}","order":{order},"input":{{"text":"{TEXT}\u001b[2J"}},"expected_output":[1.50,null],"persona":"größe 🙂","tags":null,"extra":{{"a":1}}}}"#
        )
    };
    World::with_rows(Options::default(), (0..250).map(row).collect())
}

#[test]
fn summary_goes_to_standard_error() {
    let told = session(
        &world(),
        &[
            "export ID -o rows.jsonl",
            "export ID -o parts/ --rows-per-file 100 --format jsonl",
            "export ID -o first.jsonl --limit 7 --columns id,order",
            "export ID -o middle.jsonl --pages 2",
            "export ID -o quiet.jsonl --quiet",
            "export ID -o never.jsonl --progress never",
        ],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl
    exit 0
    250 rows in 1 file (67.28 KiB) · T s · N rows/s · complete: every row once
      rows.jsonl

    $ overmind-export export ID -o parts/ --rows-per-file 100 --format jsonl
    exit 0
    250 rows in 3 files (67.28 KiB) · T s · N rows/s · complete: every row once
      parts/

    $ overmind-export export ID -o first.jsonl --limit 7 --columns id,order
    exit 0
    7 rows in 1 file (392 B) · T s · N rows/s · a part of the dataset
      first.jsonl

    $ overmind-export export ID -o middle.jsonl --pages 2
    exit 0
    100 rows in 1 file (26.95 KiB) · T s · N rows/s · a part of the dataset
      middle.jsonl

    $ overmind-export export ID -o quiet.jsonl --quiet
    exit 0

    $ overmind-export export ID -o never.jsonl --progress never
    exit 0
    250 rows in 1 file (67.28 KiB) · T s · N rows/s · complete: every row once
      never.jsonl
    ");
}

#[test]
fn json_summary_is_one_object_on_standard_output() {
    let world = world();
    let ran = world.export(&["-o", "rows.jsonl", "--json", "-q"]).ok();
    assert_eq!((ran.stderr.as_str(), ran.stdout.lines().count()), ("", 1));
    let mut summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(summary["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{summary}");
    summary["seconds"] = Value::Null;
    insta::assert_snapshot!(serde_json::to_string_pretty(&summary).unwrap(), @r#"
    {
      "bytes": 68890,
      "completeness": "proven",
      "count": 250,
      "dataset": "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e",
      "digest": "xxh3-128-poly:2e6fb2cde0fcbe823abe5903291b6fa8",
      "duplicate_rows": 0,
      "failed_rows": 0,
      "files": 1,
      "kept_rows": 0,
      "output": "rows.jsonl",
      "pages": 3,
      "received_bytes": 62954,
      "requests": 3,
      "rescued_rows": 0,
      "retries": 0,
      "rows": 250,
      "rows_read": 250,
      "seconds": null
    }
    "#);
}

#[test]
fn dry_run_requests_one_page_and_writes_nothing() {
    let world = world();
    let lines = [
        "export ID -o rows.parquet --dry-run",
        "export ID -o rows.parquet --dry-run --limit 120",
        "export ID -o rows.parquet --dry-run --pages 2- --page-size 40",
        "export ID -o rows.parquet --dry-run --pages 3-",
        "export ID -o - --dry-run --limit 1",
        "export ID -o parts/ --dry-run --json",
    ];
    insta::assert_snapshot!(session(&world, &lines), @r#"
    $ overmind-export export ID -o rows.parquet --dry-run
    exit 0
    would export 250 of 250 rows in 3 requests of 100 rows to rows.parquet

    $ overmind-export export ID -o rows.parquet --dry-run --limit 120
    exit 0
    would export 120 of 250 rows in 2 requests of 100 rows to rows.parquet

    $ overmind-export export ID -o rows.parquet --dry-run --pages 2- --page-size 40
    exit 0
    would export 210 of 250 rows in 6 requests of 40 rows to rows.parquet

    $ overmind-export export ID -o rows.parquet --dry-run --pages 3-
    exit 0
    would export 50 of 250 rows in 1 request of 100 rows to rows.parquet

    $ overmind-export export ID -o - --dry-run --limit 1
    exit 0
    would export 1 of 250 rows in 1 request of 100 rows to standard output

    $ overmind-export export ID -o parts/ --dry-run --json
    exit 0
    {"dataset":"ID","output":"parts/","count":250,"rows":250,"rows_per_page":100,"kept_rows":0,"requests":3}
    "#);
    assert_eq!(world.server.stats().requests, lines.len() as u64);
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn preview_fits_and_cannot_control_the_terminal() {
    let told = session(
        &world(),
        &[
            "preview ID --rows 2",
            "preview ID --rows 1 --columns persona,order",
            "preview ID --rows 2 --columns id,expected_output --json",
        ],
    );
    insta::assert_snapshot!(told, @r#"
    $ overmind-export preview ID --rows 2
    exit 0
     ID        ORDER  INPUT                             EXPECTED_OUTPUT  PERSONA   ADDITIONAL_PROPERTIES
     aaaa0000      0  {"text":"Where is my order? I     [1.50,null]      größe 🙂  {"extra":{"a":1}}
                      have waited for two weeks and
                      nobody answers the …
     aaaa0001      1  {"text":"Where is my order? I     [1.50,null]      größe 🙂  {"extra":{"a":1}}
                      have waited for two weeks and
                      nobody answers the …
    2 of 250 rows

    $ overmind-export preview ID --rows 1 --columns persona,order
    exit 0
     PERSONA   ORDER
     größe 🙂      0
    1 of 250 rows

    $ overmind-export preview ID --rows 2 --columns id,expected_output --json
    exit 0
    {"id":"aaaa0000-0000-4000-8000-000000000000","expected_output":[1.50,null]}
    {"id":"aaaa0001-0000-4000-8000-000000000000","expected_output":[1.50,null]}
    "#);
}

#[test]
fn empty_dataset_is_exported_and_previewed() {
    let world = World::with_rows(Options::default(), Vec::new());
    let told = session(
        &world,
        &["export ID -o rows.jsonl", "preview ID", "preview ID --json", "export ID -o a --dry-run"],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl
    exit 0
    0 rows in 1 file (0 B) · T s · N rows/s · complete: every row once
      rows.jsonl

    $ overmind-export preview ID
    exit 0
     ID  ORDER
    0 of 0 rows

    $ overmind-export preview ID --json
    exit 0

    $ overmind-export export ID -o a --dry-run
    exit 0
    would export 0 of 0 rows in 1 request of 0 rows to a
    ");
    assert_eq!(world.read("rows.jsonl"), b"");
}

/// A world whose API serves these datasets.
fn datasets(datasets: Vec<Dataset>) -> World {
    let server: Background = serve_in_background(Options::default(), datasets).unwrap();
    World { server, folder: tempfile::TempDir::new().unwrap() }
}

#[test]
fn datasets_are_listed_as_table_or_json() {
    let world = datasets(vec![
        Dataset::generated(1_234_567, 7).with_version(12),
        Dataset::from_rows("rows", Vec::new())
            .with_id(uuid::Uuid::nil())
            .with_name("refunds of a customer who writes long names for datasets\u{1b}[31m")
            .with_metadata(r#"{"big": 123456789012345678901234567890}"#),
    ]);
    let told = session(
        &world,
        &[
            "datasets",
            "datasets --json",
            "datasets --source synthetic",
            "datasets --source augmented",
            "datasets --source augmented --json",
        ],
    );
    insta::assert_snapshot!(told, @r#"
    $ overmind-export datasets
    exit 0
     ID                                    NAME                            VERSION  SOURCE          ROWS
     2c23eef4-9ecc-42bb-b3e8-15a03dc2f258  support-chat-1234567                 12  synthetic  1,234,567
     00000000-0000-0000-0000-000000000000  refunds of a customer who wri…        1  seed               0
    not shown in 100 columns: created

    $ overmind-export datasets --json
    exit 0
    {"id":"2c23eef4-9ecc-42bb-b3e8-15a03dc2f258","name":"support-chat-1234567","version":12,"source":"synthetic","num_datapoints":1234567,"created_at":"2026-01-15T09:30:00.000000Z","agent":"19f20a9b-b461-40b6-99fc-5989a0921717","generator_model":"demo-writer-1","metadata":{},"policy_hash":null}
    {"id":"00000000-0000-0000-0000-000000000000","name":"refunds of a customer who writes long names for datasets\u001b[31m","version":1,"source":"seed","num_datapoints":0,"created_at":"2026-01-15T09:30:00.000000Z","agent":null,"generator_model":null,"metadata":{"big": 123456789012345678901234567890},"policy_hash":null}

    $ overmind-export datasets --source synthetic
    exit 0
     ID                                    NAME                  VERSION  SOURCE          ROWS
     2c23eef4-9ecc-42bb-b3e8-15a03dc2f258  support-chat-1234567       12  synthetic  1,234,567
    not shown in 100 columns: created

    $ overmind-export datasets --source augmented
    exit 0
    no datasets

    $ overmind-export datasets --source augmented --json
    exit 0
    "#);
}

#[test]
fn dataset_list_is_read_to_the_end() {
    let dataset =
        |number| Dataset::from_rows("rows", Vec::new()).with_id(uuid::Uuid::from_u128(number));
    let world = datasets((0..60).map(dataset).collect());
    let ran = Ran::of(world.command().args(["datasets", "--json"])).ok();
    let ids: BTreeSet<_> = ran.stdout.lines().map(|line| line[..45].to_owned()).collect();
    assert_eq!(ids.len(), 60);
    assert_eq!(world.server.stats().requests, 3);
}

#[test]
fn datasets_404_is_reported_as_wrong_base_url() {
    let world = World::generated(Options::default(), 3);
    world.server.set_faults(Faults::none().on(FaultPage::List, Always, Fault::status(404)));
    insta::assert_snapshot!(session(&world, &["datasets"]), @"
    $ overmind-export datasets
    exit 78
    error: there is no datasets API at the base URL
      cause: GET http://API/api/datasets/ answered 404 Not Found: No Dataset matches the given query.
      hint: check the base URL; it comes from --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL
    ");
}

#[test]
fn completions_need_no_key_and_name_all_commands() {
    let folder = tempfile::TempDir::new().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = Ran::of(command(folder.path()).args(["completions", shell])).ok();
        for name in ["export", "datasets", "preview", "demo", "rows-per-file"] {
            assert!(ran.stdout.contains(name), "the completions for {shell} do not contain {name}");
        }
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn help_goes_to_standard_output_and_fits() {
    let folder = tempfile::TempDir::new().unwrap();
    let help = |arguments: &[&str]| Ran::of(command(folder.path()).args(arguments)).ok();
    let all = help(&["--help"]);
    for text in ["Exit codes: 0 done", "OVERMIND_LAB_API_KEY", "overmind-export demo"] {
        assert!(all.stdout.contains(text), "{}", all.stdout);
    }
    let commands = all.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<String> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(commands.len() >= 6, "{commands:?}");
    for name in &commands {
        let ran = help(&["help", name]);
        assert_eq!(ran.stderr, "");
        for line in ran.stdout.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
    }
    let none = Ran::of(&mut command(folder.path()));
    assert_eq!((none.code, none.stdout.as_str()), (Some(2), ""));
    assert!(none.stderr.contains("Usage: overmind-export"), "{}", none.stderr);
}

#[test]
fn demo_exports_previews_and_shows_how_to_open() {
    let folder = tempfile::TempDir::new().unwrap();
    let ran = Ran::of(command(folder.path()).args(["demo", "--rows", "120"])).ok();
    let (address, _) =
        ran.stderr.split_once("http://127.0.0.1:").unwrap().1.split_once('.').unwrap();
    let told = format!("{}{}", ran.stderr, ran.stdout).replace(address, "PORT");
    let told: String = told.lines().map(|line| steady(line) + "\n").collect();
    insta::assert_snapshot!(told, @r#"
    An embedded API serves 120 generated datapoints on http://127.0.0.1:PORT.

    $ overmind-export export ea168d6e-076c-43a1-b272-dddfe8d574e3 -o overmind-demo/datapoints.parquet
    120 rows in 1 file (38.92 KiB) · T s · N rows/s · complete: every row once
      overmind-demo/datapoints.parquet

    $ overmind-export preview overmind-demo/datapoints.parquet
     ID        ORDER  INPUT                EXPECTED_OUTPUT      PERSONA              TAGS
     64bf61b5      0  {"messages":[{       {"answer":"Je        -                    -
                      "role":"system",     paiement de que ma
                      "content":"You are…  facture …
     7716da39      1  {"messages":[{       "カードをとからを…   -                    ["billing",
                      "role":"system",                                               "refusal",
                      "content":"Classif…                                            "billing"]
     1b9730bf      2  {"messages":[{       {"answer":"Ich       frustrated_customer  ["delivery"]
                      "role":"user",       meine ist
                      "content":"Von …     Datenschutzerkläru…
     e880a903      3  {"messages":[{       {"answer":           frustrated_customer  {"topic":"refusal",
                      "role":"system",     "Gewährleistung die                       "difficulty":5}
                      "content": …         ist die ich die? …
     435eb231      4  {"messages":[{       "Habe nach ich den   -                    ["retrieval"]
                      "role":"system",     Größe für eine die
                      "content":"Answer …  möchte das Rechnun…
    5 of 120 rows

    Open it:
      duckdb -c "from 'overmind-demo/datapoints.parquet' limit 5"
      python -c "import pandas; print(pandas.read_parquet('overmind-demo/datapoints.parquet'))"
      python -c "import polars; print(polars.read_parquet('overmind-demo/datapoints.parquet'))"
    "#);
    assert!(folder.path().join("overmind-demo/datapoints.parquet").exists());
}

#[test]
fn logs_go_to_standard_error_in_chosen_format() {
    let world = world();
    let text = world.export(&["-o", "a.jsonl", "-vv"]).ok();
    assert!(text.stderr.contains(" DEBUG request url=http://127.0.0.1:"), "{}", text.stderr);
    let json = world.export(&["-o", "b.jsonl", "-vv", "--log-format", "json", "-q"]).ok();
    assert_eq!(json.stderr, "");
    let json =
        world.export(&["-o", "c.jsonl", "-vv", "--log-format", "json", "--progress", "never"]);
    let logs = json.ok().stderr;
    let logs: Vec<Value> =
        logs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(logs.iter().any(|log| log["fields"]["message"] == "request"), "{logs:?}");
}

#[test]
fn wrong_arguments_are_quoted_harmlessly() {
    let world = World::generated(Options::default(), 1);
    let evil = "\u{202e}x\u{1b}[2J\u{9b}\nerror: forged";
    for arguments in [
        vec![evil],
        vec!["export", evil],
        vec!["export", "--format", evil],
        vec!["datasets", evil],
        vec!["preview", &ID.to_string(), "-n", evil],
    ] {
        let ran = Ran::of(world.command().env("CLICOLOR_FORCE", "1").args(&arguments));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(!ran.stderr.contains(['\u{202e}', '\u{9b}']), "{ran:?}");
        assert!(!ran.stderr.contains("\u{1b}[2J"), "{ran:?}");
        assert!(!ran.stderr.lines().any(|line| line.starts_with("error: forged")), "{ran:?}");
    }
}
