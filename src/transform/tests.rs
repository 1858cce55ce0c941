//! The fence around the language: what is refused, what is stopped, what an expression reads, what it prints.

mod hostile;
mod language;

use std::{sync::atomic::AtomicBool, thread};

use proptest::prelude::*;
use uuid::Uuid;

use super::{
    budget::STACK,
    columns::FieldsRead,
    expression::{EvaluationFailure, Expression},
    fence,
};
use crate::client::Row;

pub(super) const EMPTY: Row<'static> = Row {
    id: Uuid::nil(),
    order: Some(7),
    input: None,
    expected_output: None,
    persona: Some("ann"),
    tags: None,
    additional_properties: None,
    has_id: true,
    compact: false,
};

/// A row whose values the tests can read.
pub(super) const ROW: Row<'static> = Row {
    input: Some(
        r#"{"messages":[{"role":"user","content":"why?"},{"role":"bot","content":"so"}],"n":3}"#,
    ),
    tags: Some(r#"{"topic":"billing","big":123456789012345678901234567890,"list":[1,2,3]}"#),
    additional_properties: Some(r#"{"source":"x"}"#),
    ..EMPTY
};

pub(super) fn is_true(text: &str, row: Row<'static>) -> Result<bool, EvaluationFailure> {
    let expression = Expression::compile("where", text).unwrap();
    let evaluate = move || expression.is_true(&row, &AtomicBool::new(false));
    thread::Builder::new().stack_size(STACK).spawn(evaluate).unwrap().join().unwrap()
}

#[track_caller]
pub(super) fn failure(text: &str, row: Row<'static>) -> String {
    match is_true(text, row) {
        Err(EvaluationFailure::Row(why)) => why,
        Err(EvaluationFailure::Stack) => "stack".to_owned(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn conditions_see_the_row_as_one_object() {
    for text in [
        ".order == 7",
        r#".id == "00000000-0000-0000-0000-000000000000""#,
        r#".persona | startswith("a")"#,
        ".expected_output == null",
        r#".tags.topic == "billing""#,
        r#".input.messages | any(.role == "bot")"#,
        r#"[.input.messages[] | select(.role == "user")] | last | .content == "why?""#,
        r#".source == "x""#,
        ".missing == null",
        "false, true",
        r#".persona as $p | {"ann": 1} | has($p)"#,
        r#".tags.list | add == 6 and (map(. * 2) == [2, 4, 6])"#,
        r#".tags.list | map(tostring) | join("-") == "1-2-3""#,
        r#""\(.persona): \(.tags.list)" == "ann: [1,2,3]""#,
        r#".persona | test("^A"; "i")"#,
        r#"[.persona | match("n"; "g").offset] == [1, 2]"#,
        r#".persona | sub("n+"; "x") == "ax""#,
        r#".persona | capture("(?<first>.)(?<rest>.*)") == {first: "a", rest: "nn"}"#,
        r#"[.persona | splits("n")] == ["a", "", ""]"#,
        r#".tags.big | tojson == "123456789012345678901234567890""#,
        r#""a b  c" | gsub("\\s+"; "-") == "a-b-c" and sub("(?<x>[a-z])"; .x + "!") == "a! b  c""#,
        "[{key: \"a\", value: 1}] | from_entries == {a: 1} and ([] | from_entries == {}) and add(1, 2) == 3",
        "def last_of(f): [f] | last; last_of(.tags.list[]) == 3",
        "reduce .tags.list[] as $x (0; . + $x) == 6",
        ".tags.list += [4] | .tags.list | length == 4",
        "[.tags | .. | numbers] | length == 4",
        r#".tags | walk(if type == "number" then . + 1 end) | .list == [2, 3, 4]"#,
        "[limit(3; repeat(1))] == [1, 1, 1]",
        "[range(0; 10; 3)] == [0, 3, 6, 9]",
        r#""[1,2]" | fromjson | length == 2"#,
        r#".tags | to_entries | map(.key) == ["topic", "big", "list"]"#,
        r#"try error("x") catch . == "x""#,
        r#"[.tags.list, .tags.list] | [.[][]] | length == 6"#,
        r#".tags | [paths] | length == 6"#,
        r#".tags.list | [combinations(2)?] | length >= 0"#,
        r#"@json "x\(.tags.list)" == "x[1,2,3]""#,
        r#".tags.topic | IN("search", "billing")"#,
        r#"IN(.tags.list[]; 3, 4) and (.tags.topic | IN("x") | not)"#,
        r#".tags.list | (group_by(. % 2), sort, unique, min, max, transpose?) | true"#,
    ] {
        assert!(is_true(text, ROW).unwrap(), "{text}");
    }
    for text in
        ["empty", "null", "false", ".tags.topic == 1", ".persona | test(\"b\")", ".tags.nothing"]
    {
        assert!(!is_true(text, ROW).unwrap(), "{text}");
    }
}

#[test]
fn wrong_expressions_are_marked() {
    let report = |text: &str| {
        let error = Expression::compile_all("where", &[text.to_owned()]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let report = error.report().to_string();
        report.lines().take(3).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(
        [
            "",
            ".persona ==",
            ".persona = = 1",
            "[.a",
            "\"abc",
            ".a | foo",
            "map",
            "$x",
            ".a | now",
            "$ENV.HOME",
            "env",
            "input",
            "debug",
            "import \"x\" as $x; .",
            "def f: f; f",
            "def f(g): def h: f(g); h; .a | f(.)",
            ".a & .b",
            "if . then 1",
            "1 2",
            "error_empty",
            "label $x | break $y",
            ".a\n| ü\n| nope",
            ".additional_properties.x",
            "halt_error",
            "tobytes",
            "\"\\(now)\"",
            "explode",
            "select(.a && .b)",
            ".a || .b",
            "(.a == 'x')",
            ".a | !",
            "[(.a]",
            "\"\\a\"",
            "\"a\\(.x & 1)\"",
            "if .a == 1 the 2 end",
            ".tags.topic = \"billing\"",
            "(.tags.topic |= 1)",
            ".a == 1 and (.b = 2)",
            ".tags | map(.x += 1) | .y //= 2",
            "[.input.messages[] | select(.role == \"x\")]",
            "{a: .b}",
            "\"x\"",
            "1",
            ".tags[\"主题\"] | \u{301}",
            ".tags[\"e\u{301}\"] | foo",
            ".tags[\"主题 👩\u{200d}👧\"] | foo",
            "\"additional_properties\" == .additional_properties",
            ".",
            " \n ",
            ".a ==\n",
            "(.a\n",
            ".a == \"x\" or \"y\"",
            "1 and .a",
            "select(.tags.a = \"x\")",
            "any(.tags[]; .role = \"bot\")",
            ".tags | all(.x |= 1)",
            ".tags | map(select(if {a: 1} then .x = 1 end))",
            "if \"x\" then .a == 1 else false end",
            "if .a then \"x\" else [.b] end",
            ".tags.a // \"none\"",
            "[] | not",
            "[.input[] | while([.x]; .y)] | length > 1",
            ".a = . and .b",
            ". = 1",
            "0 < .order < 9",
            ".a and .b as $x | $x",
            ".persona | test(\"(a\")",
            ".persona | test(\"a\"; \"iq\")",
            ".persona | sub(\"\\\\d{2\"; \"\") == \"\"",
            ".persona | [match(\"a$b\"; \"g\")] | length > 1",
        ]
        .map(|text| format!("{text:?}\n{}", report(text)))
        .join("\n\n")
    );
    let long = format!("1{}", " + 1".repeat(5000));
    let error = Expression::compile_all("where", &[long]).unwrap_err().to_string();
    assert!(error.ends_with("it has 20,001 bytes, and the limit is 16 KiB"), "{error}");
}

#[test]
fn conditions_may_assign_inside() {
    for text in [
        ".tags | map(.x = 1) | length > 0",
        ".tags as $t | ($t | .topic = 1) == $t",
        "select(.tags) | true",
        "[.tags.list[] | select(. > 1)] | length > 0",
        "{a: .id}.a == \"x\"",
        ".a >= 1 and .b <= 2 and .c != 3",
    ] {
        assert!(Expression::compile_all("where", &[text.to_owned()]).is_ok(), "{text}");
    }
}

#[test]
fn guide_lists_the_functions() {
    let page = include_str!("../guide/shaping.md");
    let (_, rest) = page.split_once("### Functions\n").unwrap();
    let (list, _) = rest.split_once("\n### ").unwrap();
    let names = list.trim().rsplit("\n\n").next().unwrap().split_whitespace();
    let mut listed: Vec<_> = names.map(|name| name.trim_matches(['`', ','])).collect();
    let mut callable = fence::callable().to_vec();
    listed.sort_unstable();
    callable.sort_unstable();
    assert_eq!(listed, callable);
}

#[test]
fn nested_expressions_do_not_overflow_the_stack() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("-", ""), ("{a:", "}"), ("try ", ""), ("1|", "1"), ("1,", "1")]
    {
        let text = format!("{}1{}", open.repeat(4000), close.repeat(4000));
        drop(Expression::compile("where", &text));
    }
    drop(Expression::compile("where", &"def f:".repeat(2700)));
    drop(Expression::compile("where", &"\"\\(".repeat(5000)));
}

#[test]
fn deep_values_are_refused_or_handled() {
    let deep: &'static str = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)).leak();
    let row = Row { input: Some(deep), ..EMPTY };
    assert!(is_true(".order == 7", row).unwrap());
    assert!(failure(".input | length", row).contains("nested deeper than 10,000 levels"));
    let deep: &'static str = format!("{}{}", "[".repeat(9_999), "]".repeat(9_999)).leak();
    let row = Row { input: Some(deep), ..EMPTY };
    assert!(
        is_true(
            "(.input | tojson | length) == 19998 and .input == (.input | tojson | fromjson)",
            row
        )
        .unwrap()
    );
    // Iteration over nested values takes a time that grows with the square of the depth.
    let deep: &'static str = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000)).leak();
    let row = Row { input: Some(deep), ..EMPTY };
    assert!(is_true("[.input | ..] | length == 1000", row).unwrap());
    assert!(is_true(".input | flatten | length == 0", row).unwrap());
}

#[test]
fn fields_that_are_not_named_are_not_parsed() {
    let bad = Row {
        input: Some(r#"{"text":"\ud800"}"#),
        tags: Some(r#"{"topic":"a"}"#),
        additional_properties: Some(r#"{"\ud800":1,"x":"\udc00","good":[1]}"#),
        ..EMPTY
    };
    assert!(is_true(r#".tags.topic == "a" and .good == [1]"#, bad).unwrap());
    assert!(failure(".input", bad).starts_with("in the field input: cannot parse the value"));
    assert!(failure(".x", bad).starts_with("in the field x: "));
    assert!(failure(". as $row | $row.tags", bad).contains("in the field input"));
}

#[test]
fn fields_read_follow_from_the_syntax() {
    let read = |text: &str| match Expression::compile("where", text).unwrap().fields() {
        FieldsRead::All => "all".to_owned(),
        FieldsRead::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(" "),
    };
    for (text, fields) in [
        (".persona == \"x\"", "persona"),
        (".tags.topic? // .input[0]", "input tags"),
        ("select(.persona) | .tags", "persona tags"),
        (".[\"per\\u0073ona\"]", "persona"),
        (".\"id\"", "id"),
        ("{persona, x: .tags, (.id): 1}", "id persona tags"),
        ("\"\\(.persona) \\(.order)\"", "order persona"),
        ("if .order > 3 then .tags.a else .input.b end", "input order tags"),
        (".input | map(.tags)", "input"),
        (".input as $x | .tags | $x", "input tags"),
        (".input as {a: $x} | $x == .id", "id input"),
        ("reduce .tags[] as $x (.order; . + $x)", "order tags"),
        ("any(.tags[]; .x)", "tags"),
        (".tags | .[.x]", "tags"),
        (".tags[.order]", "order tags"),
        ("(.tags, .input).x", "input tags"),
        ("(.).persona", "persona"),
        ("(., .tags).persona", "persona tags"),
        ("not", ""),
        ("1", ""),
        (".", ""),
        (".source_trace_id", "source_trace_id"),
        ("first(.tags[], .input)", "input tags"),
        (".tags | def f: .persona; f", "tags"),
        (". == 1", "all"),
        ("[.]", "all"),
        ("{a: .}", "all"),
        (". as $x | 1", "all"),
        (".[]", "all"),
        ("..", "all"),
        ("keys", "all"),
        ("map(.)", "all"),
        ("reduce range(.order) as $x (0; . + 1)", "order"),
        ("has(\"id\")", "all"),
        (".[.id]", "all"),
        ("tojson", "all"),
        (".persona = 1", "all"),
        ("del(.input)", "all"),
        ("to_entries", "all"),
        ("def f: .persona; f", "all"),
        ("def select(f): .tags; select(.persona)", "all"),
        ("def not: .tags; not", "all"),
        ("label $x | ., break $x | .persona", "persona"),
        ("foreach .tags[] as $x (.; .)", "tags"),
        ("reduce .tags[] as $x (.; .persona)", "persona tags"),
        ("getpath([\"id\"])", "all"),
        (".tags as [$a, {b: $c}] | $a", "tags"),
        (". as {tags: $t} | $t", "all"),
    ] {
        assert_eq!(read(text), fields, "{text}");
    }
}

#[test]
fn values_without_json_are_refused() {
    for (text, why) in [
        (".tags | [1e400 + 0] | tojson", "the number Infinity is not JSON"),
        ("nan | tostring", "the number NaN is not JSON"),
        ("{a: [nan]} | tojson", "the number NaN is not JSON"),
        ("{(1): 2}", "the key of an object must be a string, not a number"),
    ] {
        assert!(failure(text, ROW).contains(why), "{text}: {}", failure(text, ROW));
    }
    let row = Row { tags: Some("[1e400,1.50,-0.0,12345678901234567890123]"), ..EMPTY };
    let printed = r#".tags | tojson == "[1e400,1.50,-0.0,12345678901234567890123]""#;
    assert!(is_true(printed, row).unwrap());
}

#[test]
fn errors_are_short() {
    let long: &'static str = format!("\"{}\"", "x".repeat(1_000_000)).leak();
    let row = Row { input: Some(long), ..EMPTY };
    let why = failure(".input | .a", row);
    assert_eq!(why, format!("cannot index \"{}… with \"a\"", "x".repeat(39)));
    let why = failure("error(\"y\" * 1000)", row);
    assert_eq!(why, format!("{}…", "y".repeat(160)));
    assert_eq!(failure("error(\"my own\")", row), "my own");
    assert_eq!(failure("error({a: 1})", row), "{\"a\":1}");
}

/// Expressions of every form, over the fields of [`ROW`]. Many of them fail on it.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        ".",
        ".persona",
        ".tags",
        ".tags.list",
        ".input",
        ".order",
        ".id",
        ".source",
        ".missing",
        "..",
        "1",
        "null",
        "\"tags\"",
        "0",
        "empty",
        "not",
        "keys",
        "length",
        "$x",
        "$__loc__",
        "type",
        ".[]?",
        "range(2)",
        "error",
        "f",
        "true",
        "tojson",
        "to_entries",
        "add",
        "first",
        "values",
        "{persona}",
        "{$x}",
        "has(\"id\")",
        "select(.order)",
        "{\"id\"}",
        ".[\"persona\"]",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 24, 3, |inner| {
        let form = prop::sample::select(vec![
            "(A | B)",
            "(A, B)",
            "[A]",
            "{a: A, b: B}",
            "select(A)",
            "if A then B else C end",
            "if A then B end",
            "(A as $x | B)",
            "(A as [$x, $y] | B)",
            "(A as {tags: $x} | B)",
            "reduce A as $x (B; C)",
            "foreach A as $x (B; C)",
            "foreach A as $x (B; C; .tags)",
            "first(A)",
            "last(A)",
            "any(A; B)",
            "all(A; B)",
            "(A).tags",
            "(A)[B]",
            "(A)[B]?",
            "(A)[B:C]?",
            "(A // B)",
            "(A == B)",
            "(A and B)",
            "(A + B)",
            "-(A)",
            "map(A)?",
            "(def f: A; B)",
            "(def f(g): g | A; f(B))",
            "(def select(f): A; B)",
            "(try A catch B)",
            "(A)?",
            "(label $l | A, break $l, B)",
            "limit(2; A)",
            "skip(1; A)",
            "nth(A; B)",
            "isempty(A)",
            "(A |= B)",
            "(A += B)",
            "(A = B)",
            "del(A)?",
            "[path(A)]?",
            "\"s\\(A)\"",
            "with_entries(A)?",
            "to_entries[A]?",
            "{(A): B}?",
            "getpath(A)?",
            "walk(A)?",
            "sort_by(A)?",
            "range(A; B)?",
            "(A | .tags | B)",
            "[limit(3; repeat(A))]",
        ]);
        (form, [inner.clone(), inner.clone(), inner]).prop_map(|(form, parts)| {
            let part = |c: char| parts.get((c as usize).checked_sub('A' as usize)?);
            form.chars().map(|c| part(c).map_or_else(|| c.to_string(), String::clone)).collect()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// The analysis of the fields that are read must not change a result.
    #[test]
    fn unread_fields_do_not_change_a_result(text in expressions()) {
        let text = format!("null as $x | def f: .tags; {text}");
        let Ok(named) = Expression::compile("where", &text) else { return Ok(()) };
        let all = Expression::compile("where", &text).unwrap().reading_all();
        let run = || {
            let stop = AtomicBool::new(false);
            [&named, &all].map(|expression| format!("{:?}", expression.is_true(&ROW, &stop)))
        };
        let [named, all] = thread::scope(|scope| {
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run).unwrap().join().unwrap()
        });
        prop_assert_eq!(named, all);
    }
}
