//! `diff` counts the changed rows that differ only in the spelling of their JSON, and leaves them out on request.

use std::fs;

use serde_json::Value;

use super::{Exports, row};
use crate::support::{Ran, command};

/// Spellings of one value.
fn respelled() -> Vec<(String, String)> {
    let long = "1234567890".repeat(10);
    let pairs = [
        (
            r#"{"score":1,"word":"é","list":[1,{"b":2,"a":3}]}"#,
            r#"{"list":[1.0,{"a":3,"b":2e0}],"word":"\u00e9","score":10e-1}"#,
        ),
        ("1e2", "100"),
        ("1e400", "10e399"),
        ("0.1", "0.10"),
        ("-0", "0.0"),
        ("9223372036854775808", "9223372036854775808.0"),
        (&long, &format!("{long}.0")),
        (r#""a/😀""#, r#""\u0061\/\ud83d\uDE00""#),
        (r#"[{"a":null,"b":1}]"#, r#"[{"b":1}]"#),
    ];
    pairs.map(|(one, other)| (one.to_owned(), other.to_owned())).to_vec()
}

/// Different values that look alike.
fn different() -> Vec<(String, String)> {
    let long = "1234567890".repeat(10);
    let pairs = [
        ("1", "1.0000000000000000001"),
        ("1e400", "1e401"),
        ("9223372036854775808", "9223372036854775807"),
        (&long, &format!("{}1", &long[..99])),
        ("1", "\"1\""),
        ("[null]", "[]"),
        (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
        (r#"{"a":1,"a":null}"#, r#"{"a":1}"#),
        (r#""\ud800""#, r#""\udfff""#),
    ];
    pairs.map(|(one, other)| (one.to_owned(), other.to_owned())).to_vec()
}

/// Rows with these inputs: those before, and those after.
fn sides(pairs: &[(String, String)]) -> [Vec<String>; 2] {
    let side = |input: fn(&(String, String)) -> &String| {
        let rows = (0..)
            .zip(pairs)
            .map(|(index, pair)| row(index, &index.to_string(), input(pair), "1.50", "\"calm\""));
        rows.collect()
    };
    [side(|pair| &pair.0), side(|pair| &pair.1)]
}

impl Exports {
    fn summary(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let Ran { code, stdout, stderr } = self.diff(&[arguments, &["--json"]].concat());
        assert_eq!(stderr, "");
        (code, serde_json::from_str(&stdout).unwrap())
    }

    /// The exit code and the numbers of changed, respelled and unchanged rows.
    fn counts(&self, arguments: &[&str]) -> (Option<i32>, [u64; 3]) {
        let (code, summary) = self.summary(arguments);
        (code, ["changed", "respelled", "unchanged"].map(|name| summary[name].as_u64().unwrap()))
    }

    fn convert(&self, arguments: &[&str]) {
        Ran::of(command(self.path()).args(["convert", "-q"]).args(arguments)).ok();
    }
}

#[test]
fn respelled_rows_are_counted_and_left_out_on_request() {
    let [old, mut new] = sides(&[respelled(), different()].concat());
    // A row that differs in another column, too, is not only respelled. Neither is one that differs in that alone.
    new[0] = new[0].replace("calm", "angry");
    new[4] = new[4].replace("1.50", "1.5");
    let exports = Exports::of(&old, &new);
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--show", "0"]), @"
    exit 1
    old.jsonl → new.jsonl, by id
    0 added · 0 removed · 18 changed · 0 unchanged
    changed: input in 18, expected_output in 1, persona in 1
    note: 8 of 18 changed rows differ only in the spelling of their JSON: --ignore-spelling leaves them out
    ");
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--show", "1", "--ignore-spelling"]), @r#"
    exit 1
    old.jsonl → new.jsonl, by id, spelling of JSON ignored
    0 added · 0 removed · 10 changed · 8 unchanged
    changed: input in 9, persona in 1

    changed 00000000-0000-4000-8000-000000000000
      persona: "calm" → "angry"
    "#);
    // The values are shown as they are spelled.
    exports.diff(&["old.jsonl", "new.jsonl", "--ignore-spelling", "-o", "real.jsonl"]);
    exports.diff(&["old.jsonl", "new.jsonl", "-o", "all.jsonl"]);
    let lines = |name: &str| fs::read_to_string(exports.path().join(name)).unwrap();
    assert_eq!((lines("real.jsonl").lines().count(), lines("all.jsonl").lines().count()), (10, 18));
    assert!(lines("real.jsonl").contains(r#""after":{"input":1.0000000000000000001}"#));
    assert!(lines("all.jsonl").contains(r#""after":{"input":0.10}"#));
}

#[test]
fn other_spelling_is_still_a_difference() {
    let exports =
        Exports::of(&[row(1, "0", "1", "1e2", "null")], &[row(1, "0", "1.0", "100", "null")]);
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl"]), @"
    exit 1
    old.jsonl → new.jsonl, by id
    0 added · 0 removed · 1 changed · 0 unchanged
    changed: input in 1, expected_output in 1
    note: 1 of 1 changed row differs only in the spelling of its JSON: --ignore-spelling leaves it out

    changed 00000000-0000-4000-8000-000000000001
      input: 1 → 1.0
      expected_output: 1e2 → 100
    ");
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--ignore-spelling"]), @"
    exit 0
    old.jsonl → new.jsonl, by id, spelling of JSON ignored
    equal: 1 row
    ");
}

#[test]
fn spelling_is_compared_across_all_formats() {
    let (same, other) = (respelled(), different());
    let (respelled, changed) = (same.len() as u64, (same.len() + other.len()) as u64);
    let [old, new] = sides(&[same, other].concat());
    let exports = Exports::of(&old, &new);
    let formats = ["parquet", "arrow", "jsonl.gz", "csv"];
    for side in ["old", "new"] {
        for format in formats {
            exports.convert(&[&format!("{side}.jsonl"), "-o", &format!("{side}.{format}")]);
        }
    }
    for (index, format) in formats.iter().enumerate() {
        let other = formats[(index + 1) % formats.len()];
        for names in [
            [format!("old.{format}"), format!("new.{other}")],
            [format!("new.{format}"), format!("old.{other}")],
        ] {
            let [a, b] = names.each_ref().map(String::as_str);
            let counts = [changed, respelled, 0];
            assert_eq!(exports.counts(&[a, b]), (Some(1), counts), "{names:?}");
            let counts = [changed - respelled, 0, respelled];
            assert_eq!(
                exports.counts(&[a, b, "--ignore-spelling"]),
                (Some(1), counts),
                "{names:?}"
            );
        }
    }
}

#[test]
fn nested_columns_differ_only_in_spelling() {
    let input = |n: u32| {
        format!(r#"{{"z":{n}e0,"words":["\u00e9\/",null],"a":{{"none":null,"x":{n}.50}}}}"#)
    };
    let rows: Vec<_> =
        (0..20).map(|n| row(n, &n.to_string(), &input(n), "[1.50]", "null")).collect();
    let exports = Exports::of(&rows, &rows);
    exports.convert(&["old.jsonl", "-o", "nested.parquet", "--json-columns", "nested"]);
    assert_eq!(exports.counts(&["old.jsonl", "nested.parquet"]), (Some(1), [20, 20, 0]));
    assert_eq!(exports.diff(&["nested.parquet", "old.jsonl", "--ignore-spelling"]).code, Some(0));
}

#[test]
fn respelled_keys_are_paired_on_request() {
    let exports = Exports::of(
        &[row(1, "0", r#"{"a":1,"b":2}"#, "1", "null"), row(2, "1", "[3]", "2", "null")],
        &[row(8, "0", r#"{"b":2,"a":1.0}"#, "1", "null"), row(9, "1", "[3e0]", "2.5", "null")],
    );
    let by_input = ["old.jsonl", "new.jsonl", "--by", "input"];
    let (_, summary) = exports.summary(&by_input);
    assert_eq!((&summary["added"], &summary["respelled"]), (&2.into(), &0.into()));
    let ran = exports.counts(&[&by_input[..], &["--ignore-spelling"]].concat());
    assert_eq!(ran, (Some(1), [1, 0, 1]));
}

#[test]
fn equal_rows_with_one_key_are_counted_once() {
    let one = row(1, "0", "1", "null", "null");
    let new = [one.clone(), row(1, "0", "1.0", "null", "null")];
    // Of two equal rows, one is paired with an equal row, and one with a respelled row.
    let exports = Exports::of(&[one.clone(), one], &new);
    assert_eq!(exports.counts(&["old.jsonl", "new.jsonl"]), (Some(1), [1, 1, 1]));
    assert_eq!(exports.counts(&["new.jsonl", "old.jsonl"]), (Some(1), [1, 1, 1]));
}

#[test]
fn null_and_missing_are_the_same_without_spelling() {
    let exports = Exports::of(
        &[row(1, "0", r#"{"a":null}"#, "null", "null"), row(2, "1", "1", "null", "null")],
        &[row(1, "0", "{}", "null", "null"), row(2, "1", "1", "0", "null")],
    );
    assert_eq!(exports.counts(&["old.jsonl", "new.jsonl"]), (Some(1), [2, 1, 0]));
    assert_eq!(exports.counts(&["new.jsonl", "old.jsonl", "--ignore-spelling"]).1, [1, 0, 1]);
}

#[test]
fn large_values_are_compared_by_value() {
    let items: Vec<_> = (0..300_000).map(|n| format!(r#"{{"a":{n},"b":0.50}}"#)).collect();
    let other: Vec<_> = (0..300_000).map(|n| format!(r#"{{"b":0.5,"a":{n}.0}}"#)).collect();
    let text = |items: &[String]| row(1, "0", &format!("[{}]", items.join(",")), "null", "null");
    let exports = Exports::of(&[text(&items)], &[text(&other)]);
    assert_eq!(exports.counts(&["old.jsonl", "new.jsonl"]), (Some(1), [1, 1, 0]));
    exports.write("new.jsonl", &[text(&other).replace("\"a\":299999.0", "\"a\":299999.5")]);
    assert_eq!(exports.counts(&["old.jsonl", "new.jsonl"]), (Some(1), [1, 0, 0]));
    assert_eq!(
        exports.counts(&["new.jsonl", "old.jsonl", "--ignore-spelling"]),
        (Some(1), [1, 0, 0])
    );
}
