//! `diff` counts, shows and writes differences. It never reports damage as a difference.

mod inputs;
mod lockstep;
mod model;
mod output;
mod spelling;

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::support::{Ran, command};

/// A temporary folder with handwritten exports.
struct Exports(TempDir);

impl Exports {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Two JSON Lines files, `old.jsonl` and `new.jsonl`, with these lines.
    fn of(old: &[impl AsRef<str>], new: &[impl AsRef<str>]) -> Self {
        let exports = Self::new();
        exports.write("old.jsonl", old);
        exports.write("new.jsonl", new);
        exports
    }

    fn write(&self, name: &str, lines: &[impl AsRef<str>]) {
        let text: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
        fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn diff(&self, arguments: &[&str]) -> Ran {
        Ran::of(command(self.path()).arg("diff").args(arguments))
    }

    /// The exit code, standard output and standard error of `diff` as one text.
    fn told(&self, arguments: &[&str]) -> String {
        let Ran { code, stdout, stderr } = self.diff(arguments);
        format!("exit {}\n{stdout}{stderr}", code.unwrap_or(-1))
    }
}

/// A row with every column, as JSON text.
fn row(id: u32, order: &str, input: &str, output: &str, persona: &str) -> String {
    format!(
        r#"{{"id":"00000000-0000-4000-8000-{id:012}","order":{order},"input":{input},"expected_output":{output},"persona":{persona},"tags":null,"additional_properties":null}}"#
    )
}

/// Two exports of four rows each: one row is added, one removed, two changed, one equal.
fn support_chat() -> Exports {
    let question =
        |words: &str| format!(r#"{{"messages":[{{"role":"user","content":"{words}"}}]}}"#);
    let long =
        "I ordered a lamp two weeks ago and it has not come, and nobody answers my letters. ";
    let lamp = question(&long.repeat(3));
    let old = [
        row(1, "0", &question("Where is my order?"), "\"On its way.\"", "\"calm\""),
        row(2, "1", &lamp, &format!("\"{long}We are sorry.\""), "\"angry\""),
        row(3, "2", &question("Can I pay later?"), "[1.50]", "null"),
        row(4, "3", &question("Goodbye"), "null", "null"),
    ];
    let new = [
        row(5, "4", &question("Do you ship to Ghent?"), "{\"answer\":true}", "\"curious\""),
        row(1, "0", &question("Where is my order?"), "\"On its way.\"", "\"calm\""),
        row(3, "2", &question("Can I pay later?"), "[1.5]", "\"curious\""),
        row(2, "1", &lamp, &format!("\"{long}We are very sorry.\""), "\"angry\""),
    ];
    Exports::of(&old, &new)
}

#[test]
fn output_shows_counts_then_examples() {
    // A long value is shortened to the part around the first difference.
    let exports = support_chat();
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl"]), @r#"
    exit 1
    old.jsonl → new.jsonl, by id
    1 added · 1 removed · 2 changed · 1 unchanged
    changed: expected_output in 2, persona in 1

    removed 00000000-0000-4000-8000-000000000004
      order: 3
      input: {"messages":[{"role":"user","content":"Goodbye"}]}

    added 00000000-0000-4000-8000-000000000005
      order: 4
      input: {"messages":[{"role":"user","content":"Do you ship to Ghent?"}]}
      expected_output: {"answer":true}
      persona: "curious"

    changed 00000000-0000-4000-8000-000000000003
      expected_output: [1.50] → [1.5]
      persona: null → "curious"

    changed 00000000-0000-4000-8000-000000000002
      expected_output: …ers. We are sorry." → …ers. We are very sorry."
    "#);
}

#[test]
fn equal_exports_print_two_lines_or_none_if_quiet() {
    // -q prints nothing for different exports either.
    let exports = support_chat();
    insta::assert_snapshot!(exports.told(&["old.jsonl", "old.jsonl"]), @"
    exit 0
    old.jsonl → old.jsonl, by id
    equal: 4 rows
    ");
    assert_eq!(exports.told(&["old.jsonl", "old.jsonl", "-q"]), "exit 0\n");
    assert_eq!(exports.told(&["old.jsonl", "new.jsonl", "-q"]), "exit 1\n");
}

#[test]
fn show_limits_the_examples_of_each_kind() {
    let exports = support_chat();
    let none = exports.diff(&["old.jsonl", "new.jsonl", "--show", "0"]);
    assert_eq!(none.stdout.lines().count(), 3, "{none:?}");
    let one = exports.diff(&["old.jsonl", "new.jsonl", "--show", "1"]).stdout;
    let count = |kind: &str| one.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!([count("added "), count("removed "), count("changed 0")], [1, 1, 1], "{one}");
}

#[test]
fn json_has_all_counts_and_compared_columns() {
    let exports = support_chat();
    let ran = exports.diff(&["old.jsonl", "new.jsonl", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    insta::assert_snapshot!(ran.stdout, @r#"{"added":1,"removed":1,"changed":2,"respelled":0,"unchanged":1,"columns":{"order":0,"input":0,"expected_output":2,"persona":1,"tags":0,"additional_properties":0},"by":"id","ignore_spelling":false,"shared_keys":3,"before":{"path":"old.jsonl","rows":4,"repeated_keys":0,"without_key":0,"only_here":[],"computed":[]},"after":{"path":"new.jsonl","rows":4,"repeated_keys":0,"without_key":0,"only_here":[],"computed":[]}}"#);
}

#[test]
fn row_order_is_not_a_difference() {
    let (one, two) = (row(1, "0", "1", "null", "null"), row(2, "1", "2", "null", "null"));
    let exports = Exports::of(&[&one, &two], &[&two, &one]);
    for by in ["id", "order", "input"] {
        assert_eq!(exports.diff(&["old.jsonl", "new.jsonl", "--by", by]).code, Some(0), "{by}");
    }
}

#[test]
fn json_is_compared_token_by_token() {
    // White space between tokens is not a difference.
    let row = |input: &str| format!(r#"{{"id":"a","input":{input}}}"#);
    let compact = row(r#"{"a b":[1.50,"x  y"],"c":null}"#);
    let spaced = row("{ \"a b\" : [ 1.50,\t\"x  y\" ] , \"c\" : null }");
    assert_eq!(
        Exports::of(&[&compact], &[&spaced]).diff(&["old.jsonl", "new.jsonl"]).code,
        Some(0)
    );
    for other in [
        r#"{"a b":[1.5,"x  y"],"c":null}"#,
        r#"{"a b":[1.50,"x y"],"c":null}"#,
        r#"{"c":null,"a b":[1.50,"x  y"]}"#,
        r#"{"a b":[1.50,"x  y"],"c":null,"c":null}"#,
        r#"{"\u0061 b":[1.50,"x  y"],"c":null}"#,
    ] {
        let exports = Exports::of(&[&compact], &[&row(other)]);
        assert_eq!(exports.diff(&["old.jsonl", "new.jsonl"]).code, Some(1), "{other}");
    }
}

#[test]
fn new_ids_give_a_hint_to_compare_by_another_key() {
    let exports = Exports::of(
        &[&row(1, "0", "1", "1", "null"), &row(2, "1", "2", "2", "null")],
        &[&row(8, "1", "2", "22", "null"), &row(9, "0", "1", "1", "null")],
    );
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--show", "0"]), @"
    exit 1
    old.jsonl → new.jsonl, by id
    2 added · 2 removed · 0 changed · 0 unchanged
    note: the two exports share no id
    hint: a new dataset version may give every datapoint a new id: compare rows with --by order or --by input instead
    ");
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--by", "order"]), @"
    exit 1
    old.jsonl → new.jsonl, by order
    0 added · 0 removed · 1 changed · 1 unchanged
    changed: expected_output in 1

    changed 1
      expected_output: 2 → 22
    ");
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--by", "input"]), @"
    exit 1
    old.jsonl → new.jsonl, by input
    0 added · 0 removed · 1 changed · 1 unchanged
    changed: expected_output in 1

    changed 2
      expected_output: 2 → 22
    ");
}

#[test]
fn rows_with_a_shared_key_are_paired_if_equal() {
    // If exactly one row per side remains, it counts as changed.
    let rows = |inputs: &[(u32, &str)]| -> Vec<String> {
        inputs.iter().map(|(id, output)| row(*id, "7", "1", output, "null")).collect()
    };
    let counts = |old: &[(u32, &str)], new: &[(u32, &str)]| {
        let exports = Exports::of(&rows(old), &rows(new));
        let ran = exports.diff(&["old.jsonl", "new.jsonl", "--by", "order", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let counts = ["added", "removed", "changed", "unchanged"].map(|name| number(&json[name]));
        let repeated = ["before", "after"].map(|side| number(&json[side]["repeated_keys"]));
        (counts, repeated)
    };
    // One row is equal, so the other row must have changed.
    assert_eq!(counts(&[(1, "1"), (2, "2")], &[(3, "3"), (4, "1")]), ([0, 0, 1, 1], [2, 2]));
    // The pairing is ambiguous, so the rows count as removed and added.
    assert_eq!(counts(&[(1, "1"), (2, "2")], &[(3, "3"), (4, "4")]), ([2, 2, 0, 0], [2, 2]));
    assert_eq!(counts(&[(1, "1")], &[(3, "3"), (4, "4")]), ([2, 1, 0, 0], [0, 2]));
    // Each side can pair an equal row only once.
    assert_eq!(counts(&[(1, "1"), (2, "1"), (3, "1")], &[(4, "1")]), ([0, 2, 0, 1], [3, 0]));
}

#[test]
fn repeated_and_missing_keys_are_reported() {
    let exports = Exports::of(
        &[
            &row(1, "null", "1", "1", "null"),
            &row(2, "null", "2", "2", "null"),
            &row(3, "5", "3", "3", "null"),
            &row(4, "5", "4", "4", "null"),
        ],
        &[
            &row(5, "null", "2", "2", "null"),
            &row(6, "null", "1", "11", "null"),
            &row(7, "5", "3", "33", "null"),
            &row(8, "5", "4", "4", "null"),
        ],
    );
    insta::assert_snapshot!(exports.told(&["old.jsonl", "new.jsonl", "--by", "order"]), @r#"
    exit 1
    old.jsonl → new.jsonl, by order
    1 added · 1 removed · 1 changed · 2 unchanged
    changed: expected_output in 1
    note: 2 rows of old.jsonl without order: paired only with equal rows
    note: 2 rows of old.jsonl with a repeated order: equal rows are paired first; if one row is left on each side, it counts as changed
    note: 2 rows of new.jsonl without order: paired only with equal rows
    note: 2 rows of new.jsonl with a repeated order: equal rows are paired first; if one row is left on each side, it counts as changed

    removed (no order)
      id: "00000000-0000-4000-8000-000000000001"
      input: 1
      expected_output: 1

    added (no order)
      id: "00000000-0000-4000-8000-000000000006"
      input: 1
      expected_output: 11

    changed 5
      expected_output: 3 → 33
    "#);
}
