//! `check`: finds mistakes of the configuration file, and with `--connect` those of its surroundings. Runs no job.

use std::{fs, os::unix::fs::PermissionsExt};

use overmind_export::demo::{Dataset, Fault, FaultAttempt, FaultPage, Faults};
use serde_json::Value;

use super::{AGENT, Nightly, version, version_id};
use crate::support::{ID, Ran};

/// A job with one dataset, a job that selects the latest, and a job that selects all.
fn three_jobs() -> Nightly {
    let dataset = Dataset::generated(1234, 7).with_id(ID).with_name("triage");
    let jobs = format!(
        "[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\nschedule = \"0 2 * * *\"\n\
         [[job]]\nname = \"chat\"\nagent = \"{AGENT}\"\n\
         [[job]]\nname = \"all\"\nselect = \"all\"\nroot = \"deeper/in\"\n"
    );
    Nightly::new(vec![dataset, version(1, 1000), version(2, 20)], &jobs)
}

fn told(nightly: &Nightly, arguments: &[&str]) -> String {
    nightly.run(&[&["check"], arguments].concat()).told(&nightly.world)
}

#[test]
fn check_of_the_file_sends_nothing() {
    let nightly = three_jobs();
    insta::assert_snapshot!(told(&nightly, &[]), @"
    exit 0
    nightly: dataset 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e
      FOLDER/snaps/nightly
    chat: the latest dataset that matches its filters
      FOLDER/snaps/chat
    all: all datasets that match its filters
      FOLDER/deeper/in/all
    FOLDER/snapshots.toml is valid: 3 jobs
    ");
    // The file can be checked where the key is unknown.
    let mut command = nightly.world.command();
    command.env_remove("OVERMIND_LAB_API_KEY").args(["check", "--config", "snapshots.toml"]);
    Ran::of(&mut command).ok();
    assert_eq!(nightly.world.server.stats().connections, 0);
    assert_eq!(nightly.world.entries(), ["snapshots.toml"]);
}

#[test]
fn connected_check_names_datasets_and_stores_nothing() {
    let nightly = three_jobs();
    insta::assert_snapshot!(told(&nightly, &["--connect"]), @r#"
    exit 0
    nightly: dataset 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e ("triage"), 1,234 rows
      FOLDER/snaps/nightly
    chat: dataset a0000000-0000-4000-8000-000000000002 ("support-chat"), 20 rows
      FOLDER/snaps/chat
    all: 3 datasets, 2,254 rows
      FOLDER/deeper/in/all
    FOLDER/snapshots.toml is valid: 3 jobs
    "#);
    assert_eq!(nightly.world.entries(), ["snapshots.toml"]);
    let json = nightly.run(&["check", "chat", "--connect", "--json"]).ok().stdout;
    let line: Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({
        "job": "chat",
        "destination": nightly.job("chat"),
        "datasets": [
            {"dataset": version_id(2), "name": "support-chat", "version": 2, "rows": 20}
        ],
        "error": null,
    });
    assert_eq!(line, expected);
    // It leaves the folders of existing snapshots as they are, too.
    nightly.at("2026-11-23T02:00:00Z");
    let before = nightly.hidden_names("nightly");
    nightly.run(&["check", "--connect"]).ok();
    assert_eq!(nightly.hidden_names("nightly"), before);
}

#[test]
fn each_failed_check_is_reported() {
    let jobs = format!(
        "[[job]]\nname = \"gone\"\ndataset = \"{}\"\n\
         [[job]]\nname = \"good\"\ndataset = \"{ID}\"\n\
         [[job]]\nname = \"blocked\"\ndataset = \"{ID}\"\nroot = \"file/x\"\n\
         [[job]]\nname = \"tells\"\ndataset = \"{ID}\"\non_result = [\"./tell\"]\n\
         [[job]]\nname = \"never\"\ndataset = \"{ID}\"\nmax_passes = 0\n",
        version_id(99),
    );
    let nightly = Nightly::new(vec![Dataset::generated(10, 7).with_id(ID)], &jobs);
    fs::write(nightly.world.path("file"), "").unwrap();
    fs::write(nightly.world.path("tell"), "#!/bin/sh\n").unwrap();
    insta::assert_snapshot!(told(&nightly, &["--connect"]), @r#"
    exit 66
    good: dataset 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e ("support-chat-10"), 10 rows
      FOLDER/snaps/good
    error: gone: no such dataset, or a filter excludes it
      cause: GET http://API/api/datasets/a0000000-0000-4000-8000-000000000063/datapoints/?page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
      hint: check the id and that the key belongs to its project: `overmind-export datasets` lists the datasets that the key can see
    error: blocked: FOLDER/file/x/blocked: cannot be made
      cause: Not a directory (os error 20)
    error: tells: on_result of job "tells": FOLDER/./tell: is not executable: run chmod +x on it
    error: never: "0" is not a valid number of passes: it must be at least 1
    error: 4 of 5 jobs failed
    "#);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(nightly.world.path("tell"), mode).unwrap();
    nightly.run(&["check", "tells", "good", "--connect"]).ok();
    let json = nightly.run(&["check", "gone", "--connect", "--json"]);
    assert_eq!(json.code, Some(66));
    let line: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(line["error"]["exit_code"], 66);
}

#[test]
fn check_finds_a_refused_key_and_a_missing_one() {
    let nightly = Nightly::one(10, "");
    let faults = Faults::none().on(FaultPage::List, FaultAttempt::Always, Fault::status(401));
    nightly.world.server.set_faults(faults);
    let refused = told(&nightly, &["--connect"]);
    assert!(refused.starts_with("exit 77\n"), "{refused}");
    assert!(refused.contains("error: nightly: the API refuses the key\n"), "{refused}");
    let mut command = nightly.world.command();
    command.env_remove("OVERMIND_LAB_API_KEY");
    let ran = Ran::of(command.args(["check", "--connect", "--config", "snapshots.toml"]));
    assert_eq!(ran.code, Some(77), "{ran:?}");
}

#[test]
fn check_names_the_line_of_a_mistake() {
    let nightly = Nightly::one(10, "");
    let path = nightly.world.path("snapshots.toml");
    let right = fs::read_to_string(&path).unwrap();
    fs::write(path, right.replace("[defaults]", "[defualts]")).unwrap();
    insta::assert_snapshot!(told(&nightly, &[]), @"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 1: unknown table [defualts]: did you mean [defaults]?
    ");
    fs::write(nightly.world.path("snapshots.toml"), format!("{right}[api]\nbase_url = \"x\"\n"))
        .unwrap();
    let mut command = nightly.world.command();
    command.env_remove("OVERMIND_LAB_BASE_URL").args(["check", "--config", "snapshots.toml"]);
    assert_eq!(Ran::of(&mut command).code, Some(78));
}
