//! The key appears in no message, no log line at any level and no file, whatever the outcome of a run.

use std::{fs, path::Path};

use overmind_export::demo::{Fault, FaultAttempt::*, FaultPage, Faults, Options};

use super::nobody;
use crate::support::{ID, KEY, Ran, World};

/// Returns whether any file below a folder contains the key.
fn holds_key(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let has = |bytes: Vec<u8>| bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        if path.is_dir() { holds_key(&path) } else { has(fs::read(path).unwrap()) }
    })
}

/// Runs the command at the highest log level, in both log formats. Panics if the key appears anywhere.
#[track_caller]
fn keeps_the_secret(world: &World, expected: i32, line: &str, variables: &[(&str, &str)]) {
    for format in ["text", "json"] {
        let mut command = world.command();
        let line = line.replace("ID", &ID.to_string()).replace("FORMAT", format);
        command.args(line.split_whitespace()).args(["-vvv", "--log-format", format]);
        let ran = Ran::of(command.envs(variables.iter().copied()));
        assert_eq!(ran.code, Some(expected), "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains("TRACE"), "{line}: nothing was logged");
        for (name, text) in [("standard error", &ran.stderr), ("standard output", &ran.stdout)] {
            let around = text.lines().find(|line| line.contains(KEY));
            assert_eq!(around, None, "{line}: {name}");
        }
        assert!(!holds_key(world.folder.path()), "{line}: a file contains the key");
    }
}

fn with(faults: Faults) -> World {
    World::generated(Options { faults, ..Options::default() }, 1000)
}

#[test]
fn successful_run_keeps_the_secret() {
    let world = with(Faults::none().on(2, Nth(1), Fault::status(503)));
    let lines = [
        "export ID -o FORMAT.parquet --manifest",
        "export ID -o FORMAT.arrow",
        "export ID -o FORMAT.jsonl --json",
        "export ID -o FORMAT/ --rows-per-file 300",
        "export ID -o -",
        "export ID -o FORMAT.dry.jsonl --dry-run",
        "preview ID",
        "datasets --json",
    ];
    for line in lines {
        keeps_the_secret(&world, 0, line, &[]);
    }
}

#[test]
fn failed_run_keeps_the_secret() {
    let other = World::generated(Options::default(), 3);
    let elsewhere = format!("{}/api/datasets/", other.server.url());
    let echo = format!(r#"{{"detail":"{KEY} is not a key.","code":"bad {KEY}"}}"#);
    let table = [
        (77, Fault::status(401)),
        (77, Fault::status(401).body(&echo)),
        (66, Fault::status(404)),
        (2, Fault::status(400).body(&format!(r#"{{"source":["{KEY}?"]}}"#))),
        (78, Fault::redirect(&elsewhere)),
        (78, Fault::redirect(&format!("{elsewhere}?key={KEY}"))),
        (69, Fault::status(500)),
        (69, Fault::status(503).body(&echo)),
        (69, Fault::ResetBeforeHeaders),
        (65, Fault::Html),
        (65, Fault::TruncatedJson),
        (65, Fault::field(3, "order", "[]")),
        // Malformed pages that contain the key, and refusals that contain it escaped or nested.
        (65, Fault::field(3, "order", &format!("\"{KEY}\""))),
        (65, Fault::status(200).body(&format!("\"{KEY} is unknown\""))),
        (65, Fault::status(200).body(&format!("<p>whose key is this one? {KEY}"))),
        (65, Fault::status(200).body(&format!("<p>{}{KEY}", "x".repeat(385)))),
        (65, Fault::status(200).body(&page_with("count", KEY))),
        (65, Fault::status(200).body(&page_with("results", KEY))),
        (77, Fault::status(401).body(r#"{"detail":"\u006fvr_canary_5f3c9b"}"#)),
        (2, Fault::status(400).body(&format!(r#"{{"{KEY}":["{KEY}",{{"{KEY}":1}}]}}"#))),
    ];
    for (code, fault) in table {
        let world = with(Faults::none().on(1, Always, fault));
        keeps_the_secret(&world, code, "export ID -o rows.jsonl --max-retries 0", &[]);
        assert_eq!(world.entries(), [""; 0]);
    }
    assert_eq!(other.server.stats().connections, 0);
}

/// A page in which the value of `field` is this string.
fn page_with(field: &str, text: &str) -> String {
    let fields = [("count", "1"), ("next", "null"), ("results", "[]")];
    let fields = fields.map(|(name, json)| match name == field {
        true => format!(r#""{name}":"{text}""#),
        false => format!(r#""{name}":{json}"#),
    });
    format!("{{{}}}", fields.join(","))
}

#[test]
fn content_type_with_key_keeps_the_secret() {
    let faults = Faults::none().on(1, Always, Fault::TruncatedJson);
    let world = with(faults.on(1, Always, Fault::ContentType(format!("text/{KEY}"))));
    keeps_the_secret(&world, 65, "export ID -o rows.jsonl --max-retries 0", &[]);
}

#[test]
fn swapped_variables_keep_the_secret() {
    let world = with(Faults::none());
    for url in [KEY.to_owned(), format!("https//{KEY}"), format!("http://{KEY}")] {
        let mut command = world.command();
        command.env("OVERMIND_LAB_API_KEY", world.server.url()).args(["datasets", "-vvv"]);
        let ran = Ran::of(command.env("OVERMIND_LAB_BASE_URL", &url));
        assert_eq!(ran.code, Some(78), "{url}: {}", ran.stderr);
        assert!(ran.stderr.contains("[key]") && !ran.stderr.contains("canary"), "{}", ran.stderr);
    }
}

#[test]
fn kept_parts_keep_the_secret() {
    let world = with(Faults::none().on(9, Always, Fault::status(403)));
    let line = "export ID -o FORMAT/ --rows-per-file 100 --concurrency 1";
    keeps_the_secret(&world, 77, line, &[]);
    assert_eq!(world.entries(), [".json.partial", ".text.partial"]);
}

#[test]
fn failed_dataset_list_keeps_the_secret() {
    let world = with(Faults::none().on(FaultPage::List, Always, Fault::status(401)));
    keeps_the_secret(&world, 77, "datasets", &[]);
    for field in ["count", "results"] {
        let fault = Fault::status(200).body(&page_with(field, KEY));
        let world = with(Faults::none().on(FaultPage::List, Always, fault));
        keeps_the_secret(&world, 65, "datasets --max-retries 0", &[]);
    }
}

#[test]
fn failed_connection_keeps_the_secret() {
    let world = with(Faults::none());
    let nobody = nobody();
    let line = "export ID -o rows.jsonl --max-retries 0 --allow-http";
    let plain = format!("http://{nobody}");
    keeps_the_secret(&world, 69, line, &[("OVERMIND_LAB_BASE_URL", &plain)]);
    let secure = format!("https://{}", world.server.addr());
    keeps_the_secret(&world, 78, line, &[("OVERMIND_LAB_BASE_URL", &secure)]);
    let proxied = [("OVERMIND_LAB_BASE_URL", "http://api.example.test"), ("HTTP_PROXY", &plain)];
    keeps_the_secret(&world, 69, line, &proxied);
}
