//! What the errors of jobs call their options, defaults that a job switches off, and the keys of nested columns.

use std::fs;

use overmind_export::demo::Dataset;
use serde_json::Value;

use super::Nightly;
use crate::support::ID;

/// A file with defaults and one job of 300 rows.
fn nightly(defaults: &str, job: &str) -> Nightly {
    let dataset = Dataset::generated(300, 7).with_id(ID);
    let job = format!("{defaults}\n[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n{job}\n");
    Nightly::new(vec![dataset], &job)
}

/// The exit code and the output of a check.
fn checked(defaults: &str, job: &str) -> String {
    let nightly = nightly(defaults, job);
    nightly.run(&["check"]).told(&nightly.world)
}

#[test]
fn errors_of_a_job_name_its_keys() {
    let ran = |job| {
        let nightly = nightly("", job);
        nightly.snapshot(&[]).told(&nightly.world).replace("FOLDER", "")
    };
    let all = [
        ran("column = \"topic=.id.x\""),
        ran("where = \".id.x\"\non_error = \"fail\""),
        ran("mask = \".tags.nothing\""),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    exit 65
    root = "snaps" is relative to the configuration file: /snaps
    error: nightly: page 1, row 1 (id 64bf61b5-12ff-4be7-9c63-bcdfd37238d1): column "topic=.id.x" failed: cannot index "64bf61b5-12ff-4be7-9c63-bcdfd37238d1" with "x"
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give on_error = "skip" to leave such rows out, on_error = "null" to write null in this column
    error: 1 of 1 job failed
    exit 65
    root = "snaps" is relative to the configuration file: /snaps
    error: nightly: page 1, row 1 (id 64bf61b5-12ff-4be7-9c63-bcdfd37238d1): where ".id.x" failed: cannot index "64bf61b5-12ff-4be7-9c63-bcdfd37238d1" with "x"
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give on_error = "skip" to leave such rows out
    error: 1 of 1 job failed
    exit 65
    root = "snaps" is relative to the configuration file: /snaps
    error: nightly: mask ".tags.nothing" matches no value in 300 rows
      hint: nothing was published: check the spelling of the path, or leave it out if no row has such a value
    error: 1 of 1 job failed
    "#);
    let nightly = nightly("", "column = \"topic=.id.x\"");
    nightly.snapshot(&[]);
    let history = nightly.run(&["history"]).stdout;
    assert!(
        history.contains("column \"topic=.id.x\" failed") && !history.contains("--column"),
        "{history}"
    );
}

#[test]
fn contradicting_keys_are_named_with_their_line() {
    let all = [
        checked("", "map = \".input\""),
        checked("", "format = \"jsonl\"\njson_columns = \"text\"\nmap = \".input\""),
        checked("", "on_error = \"skip\""),
        checked("", "map = \".input\"\ncolumns = [\"id\"]\nformat = \"jsonl\""),
        checked("", "nest = [\".input.scores\"]"),
        checked("", "json_columns = \"nested\"\nnest = [\".inptu.scores\"]"),
        checked("", "json_columns = \"nested\"\ntext = [\"input\"]"),
        checked("", "json_columns = \"nested\"\nmax_columns = 2"),
        checked("", "schema = \"missing.json\""),
        checked("", "schema = \"snapshots.toml\""),
        checked("", "schema = \"missing.json\"\ntext = [\".input\"]"),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 7: map = ".input" in [[job]] "nightly": map writes JSON Lines, not Parquet: give format = "jsonl"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 9: map = ".input" in [[job]] "nightly": map writes values, not JSON text: leave out json_columns = "text"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 7: on_error = "skip" in [[job]] "nightly": on_error has no effect without where, column, map, dedupe or split_by
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 7: map = ".input" in [[job]] "nightly": map writes its own lines, so columns has no effect
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 7: nest = [".input.scores"] in [[job]] "nightly": nest is for nested columns: give json_columns = "nested"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 8: nest = [".inptu.scores"] in [[job]] "nightly": ".inptu.scores" is not a valid path of nest: the nested columns are input, expected_output, tags, additional_properties
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 8: text = "input" in [[job]] "nightly": a path looks like .input.messages[].content or .tags["a b"]
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 4: [[job]] "nightly": "2" is not a valid number of columns: the output has 7 columns, and each needs one
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 7: schema = "missing.json" in [[job]] "nightly": cannot read FOLDER/missing.json: No such file or directory (os error 2)
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 7: schema = "snapshots.toml" in [[job]] "nightly": "FOLDER/snapshots.toml" is not a valid schema: it is not JSON (an error at byte 2): give the output of `overmind-export schema`
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 7: schema = "missing.json" in [[job]] "nightly": cannot read FOLDER/missing.json: No such file or directory (os error 2)
    "#);
}

#[test]
fn job_switches_defaults_off() {
    let defaults = "where = \".persona != null\"\ncolumn = [\"topic=.tags.topic?\"]\nmask = [\".persona\"]\n\
        pseudonymise = [\".tags.user\"]\npseudonym_key_file = \"key\"\nsplit = \"a=0.5,b=0.5\"\n\
        dedupe = \".input\"\non_error = \"skip\"\ncolumns = [\"id\", \"persona\"]\nkeep = { last = 1 }\n\
        on_result = [\"false\"]\nschedule = \"@daily\"";
    let off = "where = []\ncolumn = []\nmask = []\npseudonymise = []\nsplit = \"\"\ndedupe = \"\"\ncolumns = []\n\
        keep = {}\non_result = []\nschedule = \"\"";
    let nightly = nightly(defaults, off);
    nightly.snapshot(&[]).ok();
    let newest = nightly.stamps("nightly").pop().unwrap();
    let record: Value =
        serde_json::from_slice(&fs::read(nightly.record("nightly", &newest)).unwrap()).unwrap();
    assert_eq!((&record["transform"], &record["rows"]), (&Value::Null, &300.into()));
    assert_eq!(record["columns"].as_array().unwrap().len(), 7);
    // What the job does not switch off applies.
    let nightly =
        self::nightly(defaults, &off.replace("mask = []\n", "").replace("keep = {}\n", ""));
    nightly.snapshot(&[]).ok();
    let newest = nightly.stamps("nightly").pop().unwrap();
    let record: Value =
        serde_json::from_slice(&fs::read(nightly.record("nightly", &newest)).unwrap()).unwrap();
    assert_eq!(record["transform"]["mask"][0], ".persona");
}

#[test]
fn masked_and_missing_values_are_told() {
    let nightly = nightly("", "mask = [\".persona\"]\ncolumn = [\"topic=.inptu\"]");
    let ran = nightly.snapshot(&[]).ok();
    let told: String = ran.stderr.lines().skip(2).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(told.replace(&nightly.stamps("nightly")[0], "STAMP"), @r#"
    masked: .persona in 200 rows
    no row has the field .inptu, which column topic reads: did you mean .input?
    snapshot=STAMP
    "#);
}

#[test]
fn keys_of_nested_columns_decide_the_first_schema() {
    let nested = |nightly: &Nightly| {
        let newest = nightly.stamps("nightly").pop().unwrap();
        let record = fs::read(nightly.record("nightly", &newest)).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let columns = record["nested"].as_array().unwrap().iter();
        columns.map(|it| format!("{} {}\n", it["name"], it["type"])).collect::<String>()
    };
    let text = nightly("text = [\".input\"]\nmax_columns = 900", "json_columns = \"nested\"");
    text.snapshot(&[]).ok();
    insta::assert_snapshot!(nested(&text), @r#"
    "input" "json"
    "expected_output" "json"
    "tags" "json"
    "additional_properties" "struct"
    "_rescued" "json"
    "#);
    let given = nightly("", "schema = \"types/given.json\"");
    fs::create_dir(given.world.path("types")).unwrap();
    let types = r#"{"columns":[{"name":"input","type":"json","why":"asked"},{"name":"tags","type":"json","why":"asked"}]}"#;
    fs::write(given.world.path("types/given.json"), types).unwrap();
    given.snapshot(&[]).ok();
    insta::assert_snapshot!(nested(&given), @r#"
    "input" "json"
    "expected_output" "json"
    "tags" "json"
    "additional_properties" "json"
    "_rescued" "json"
    "#);
    // The pinned schema stays, also without the file's types.
    let before = nested(&given);
    let types = r#"{"columns":[{"name":"input","type":"struct","fields":[{"name":"context","type":"json"}]}]}"#;
    fs::write(given.world.path("types/given.json"), types).unwrap();
    given.world.server.replace(vec![Dataset::generated(310, 7).with_id(ID)]);
    given.snapshot(&[]).ok();
    assert_eq!(nested(&given), before);
    // Until the new types are accepted.
    given.run(&["schema", "--accept", "nightly"]).ok();
    given.world.server.replace(vec![Dataset::generated(320, 7).with_id(ID)]);
    given.snapshot(&[]).ok();
    insta::assert_snapshot!(nested(&given), @r#"
    "input" "struct"
    "expected_output" "json"
    "tags" "json"
    "additional_properties" "struct"
    "_rescued" "json"
    "#);
}
