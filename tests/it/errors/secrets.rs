//! The key is in no message, no log line at any level and no file, however a run ends.

use std::{fs, path::Path};

use overmind_export::demo::{Attempt::*, Fault, Faults, Options, Page};

use super::nobody;
use crate::support::{ID, KEY, Ran, World};

/// Whether any file below a folder holds the key.
fn holds_key(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let has = |bytes: Vec<u8>| bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        if path.is_dir() { holds_key(&path) } else { has(fs::read(path).unwrap()) }
    })
}

/// Runs the command with every log line there is, in both formats.
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
        assert!(!holds_key(world.folder.path()), "{line}: a file");
    }
}

fn with(faults: Faults) -> World {
    World::generated(Options { faults, ..Options::default() }, 1000)
}

#[test]
fn a_run_that_goes_well_keeps_the_secret() {
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
fn a_run_that_fails_keeps_the_secret() {
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
    ];
    for (code, fault) in table {
        let world = with(Faults::none().on(1, Always, fault));
        keeps_the_secret(&world, code, "export ID -o rows.jsonl --max-retries 0", &[]);
        assert_eq!(world.entries(), [""; 0]);
    }
    assert_eq!(other.server.stats().connections, 0);
}

#[test]
fn parts_that_are_kept_for_the_next_run_keep_the_secret() {
    let world = with(Faults::none().on(9, Always, Fault::status(403)));
    let line = "export ID -o FORMAT/ --rows-per-file 100 --concurrency 1";
    keeps_the_secret(&world, 77, line, &[]);
    assert_eq!(world.entries(), [".json.partial", ".text.partial"]);
}

#[test]
fn a_list_of_datasets_that_fails_keeps_the_secret() {
    let world = with(Faults::none().on(Page::List, Always, Fault::status(401)));
    keeps_the_secret(&world, 77, "datasets", &[]);
}

#[test]
fn connecting_in_vain_keeps_the_secret() {
    let world = with(Faults::none());
    let nobody = nobody();
    let line = "export ID -o rows.jsonl --max-retries 0 --allow-http";
    let plain = format!("http://{nobody}");
    keeps_the_secret(&world, 69, line, &[("OVERMIND_LAB_BASE_URL", &plain)]);
    let secure = format!("https://{}", world.server.addr());
    keeps_the_secret(&world, 69, line, &[("OVERMIND_LAB_BASE_URL", &secure)]);
    let proxied = [("OVERMIND_LAB_BASE_URL", "http://api.example.test"), ("HTTP_PROXY", &plain)];
    keeps_the_secret(&world, 69, line, &proxied);
}
