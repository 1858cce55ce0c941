//! `history`: the past runs, as a table and as JSON.

use std::collections::BTreeSet;

use overmind_export::demo::Dataset;
use serde_json::Value;

use super::{Nightly, version, version_id};
use crate::support::ID;

/// Runs of two jobs: stored, unchanged, failed, and stored with retention.
fn nights() -> Nightly {
    let jobs = format!(
        "[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\nkeep = {{ last = 1 }}\n\
         [[job]]\nname = \"all\"\nselect = \"all\"\n"
    );
    let rows = |rows| Dataset::generated(rows, 7).with_id(ID);
    let nightly = Nightly::new(vec![rows(1234), version(1, 10)], &jobs);
    nightly.at("2026-11-23T02:00:00Z");
    nightly.job_at(&["nightly"], "2026-11-24T02:00:00Z");
    nightly.job_at(&["all"], "2026-11-24T03:00:00Z");
    nightly.world.server.replace(Vec::new());
    nightly.job_at(&["nightly"], "2026-11-25T02:00:00Z");
    nightly.world.server.replace(vec![rows(1300)]);
    nightly.job_at(&["nightly"], "2026-11-26T02:00:00Z");
    nightly.set_durations("nightly");
    nightly.set_durations("all");
    nightly
}

#[test]
fn history_lists_runs_of_all_jobs_by_time() {
    let nightly = nights();
    let requests = nightly.world.server.stats().requests;
    let ran = nightly.run(&["history"]).ok();
    insta::assert_snapshot!(ran.told(&nightly.world), @"
    exit 0
     JOB      STARTED           RESULT      ROWS       BYTES   TIME  DETAILS
     nightly  2026-11-23 02:00  stored     1,234  305.93 KiB  1.5 s  snapshot 20261123T020000Z
     all      2026-11-23 02:00  stored     1,244  312.59 KiB  1.5 s  2 snapshots
     nightly  2026-11-24 02:00  unchanged      -           -  1.5 s  same metadata
     all      2026-11-24 03:00  unchanged      -           -  1.5 s  2 datasets unchanged
     nightly  2026-11-25 02:00  failed         -           -  1.5 s  exit 66: no such dataset, or a
                                                                     filter excludes it: GET
                                                                     http://API/api/dataset…
     nightly  2026-11-26 02:00  stored     1,300  321.67 KiB  1.5 s  snapshot 20261126T020000Z; removed
                                                                     1
    ");
    assert_eq!(nightly.world.server.stats().requests, requests);
}

#[test]
fn dates_limit_the_listed_runs() {
    let nightly = nights();
    let starts = |arguments: &[&str]| {
        let ran = nightly.run(&[&["history", "--json", "nightly"], arguments].concat()).ok();
        let lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let starts = lines.map(|run| run["started_at"].as_str().unwrap()[8..10].parse().unwrap());
        starts.collect::<Vec<u32>>()
    };
    assert_eq!(starts(&[]), [23, 24, 25, 26]);
    assert_eq!(starts(&["--since", "2026-11-24"]), [24, 25, 26]);
    assert_eq!(starts(&["--until", "2026-11-24"]), [23, 24]);
    assert_eq!(starts(&["--since", "2026-11-24", "--until", "2026-11-24"]), [24]);
    assert_eq!(starts(&["--since", "2026-11-24T02:00:01Z"]), [25, 26]);
    assert_eq!(starts(&["--until", "2026-11-24T03:00:00+01:00"]), [23, 24]);
    let mut told = String::new();
    for arguments in [
        &["--since", "2027-01-01"][..],
        &["--since", "yesterday"],
        &["--since", "2026-11-25", "--until", "2026-11-24"],
        &["nihgtly"],
    ] {
        let ran = nightly.run(&[&["history"], arguments].concat());
        told += &format!("$ history {}\n{}\n", arguments.join(" "), ran.told(&nightly.world));
    }
    insta::assert_snapshot!(told, @r#"
    $ history --since 2027-01-01
    exit 0
    no runs

    $ history --since yesterday
    exit 2
    error: invalid value 'yesterday' for '--since <DATE>': give a date, such as 2026-11-23, or a time, such as 2026-11-23T02:00:00Z

    For more information, try '--help'.

    $ history --since 2026-11-25 --until 2026-11-24
    exit 2
    error: --since is later than --until

    $ history nihgtly
    exit 2
    error: "nihgtly" is not a valid job: FOLDER/snapshots.toml has no such job; try "nightly"
    "#);
}

#[test]
fn json_has_the_documented_lines_of_the_file() {
    // Datasets of one job that are stored, unchanged and failed give every field a value.
    let jobs = "[[job]]\nname = \"all\"\nselect = \"all\"\n";
    let nightly = Nightly::new(vec![version(1, 10)], jobs);
    nightly.at("2026-11-23T02:00:00Z");
    let bad = Dataset::from_rows("bad", vec!["{\"id\":7}".to_owned()]).with_id(version_id(2));
    nightly.world.server.replace(vec![version(1, 10), bad]);
    nightly.at("2026-11-24T02:00:00Z");
    let ran = nightly.run(&["history", "--json"]).ok();
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, nightly.history("all"));
    let mut fields = BTreeSet::new();
    lines.iter().for_each(|line| collect(line, &mut fields));
    assert!(fields.contains("unchanged_by") && fields.contains("hint"), "{fields:?}");
    let guide = include_str!("../../../src/guide/snapshots.md");
    let section = guide.split("\n## History\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let missing = fields.into_iter().filter(|field| !section.contains(&format!("`{field}`")));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}

/// Collects the names of all fields.
fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            names.extend(fields.keys().cloned());
            fields.values().for_each(|value| collect(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}
