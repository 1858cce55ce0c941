//! What the language computes: operators, functions and folds on the own values.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        budget::STACK,
        expression::{EvaluationFailure, Expression},
    },
    EMPTY, ROW, failure, is_true,
};
use crate::client::Row;

#[test]
fn operators_and_functions_work_as_in_jq() {
    for text in [
        // Like jq: each combination of the outputs is a result, and no output gives none.
        r#"["abc" | sub("b"; "x", "y")] == ["axc", "ayc"]"#,
        r#"[("abc" | sub("b"; empty)), ("abc" | sub("q"; empty))] == ["abc", "abc"]"#,
        r#""abc" | sub("b"; "x", "y") == "axc""#,
        "[1, nan, null, 3, nan] | sort | length == 5 and .[-1] == 3",
        "[[nan, nan] | sort_by(.), group_by(.), unique, [min, max] | length] == [2, 2, 2, 2]",
        "(nan < nan) and (nan | isnan) and ([nan] == [nan] | not)",
        r#"(["01", "-007.50", ".5", "1.", "+1.5", "1E+3"] | map(tonumber) == [1, -7.5, 0.5, 1, 1.5, 1000]) and ("1.50" | tonumber | tojson) == "1.50" and ("-0.0" | tonumber | -. | tojson) == "0.0""#,
        r#"[1.50, 1e3] | tojson == "[1.50,1e3]""#,
        "{a: {b: 1, c: 2}, d: 3} * {a: {b: 4, e: 5}} == {a: {b: 4, c: 2, e: 5}, d: 3}",
        "[1, 2, 3] - [2] == [1, 3] and (\"a,b\" / \",\") == [\"a\", \"b\"] and (\"ab\" / \"\") == [\"a\", \"b\"]",
        "\"ab\" * 3 == \"ababab\" and \"ab\" * 0 == \"\" and \"ab\" * -1 == null and 7 % 3 == 1 and -(2) == -2",
        "\"äöü\" | .[1:] == \"öü\" and .[:-1] == \"äö\" and .[-1:] == \"ü\" and .[5:] == \"\" and length == 3",
        "[1, 2, 3, 4] | .[1:3] == [2, 3] and .[-1] == 4 and .[9] == null and (.[1:3] = [9]) == [1, 9, 4]",
        "\"äbc\" | [try (.[1:2] |= 1) catch true] == [true] and indices(\"c\") == [2] and ascii_upcase == \"äBC\"",
        "[1, 2, 1, 2] | indices(1) == [0, 2] and indices([1, 2]) == [0, 2] and .[[1, 2]] == [0, 2]",
        "[1, 3, 5] | bsearch(3) == 1 and bsearch(4) == -3 and contains([5]) and (contains([2]) | not)",
        "{a: 1} | has(\"a\") and (has(\"b\") | not) and (.b |= 2) == {a: 1, b: 2} and del(.a) == {}",
        "[null, -3, 1.5, \"ab\", [1], {a: 1}] | map(length) == [0, 3, 1.5, 2, 1, 1]",
        "[{b: 1}, {a: 2}, [], \"\", 1, false, null] | sort == [null, false, 1, \"\", [], {a: 2}, {b: 1}]",
        "[[\"a\", null, 1, true] | join(\",\"), ([] | join(\",\"))] == [\"a,,1,true\", \"\"]",
        "@sh \"x \\(\"it's\")\" == \"x 'it'\\\\''s'\"",
        "[{a: 1, b: 2} | paths] == [[\"a\"], [\"b\"]] and ({a: [1]} | [getpath([\"a\", 0], [\"x\"])]) == [1, null]",
        "{a: [1, {b: 2}]} | (.a[1].b += 5 | .a[1].b) == 7 and ([.. | numbers] == [1, 2])",
        "[limit(2; .tags.list[])] == [1, 2] and ([.tags.list[] as $x | $x * $x] | add) == 14",
    ] {
        assert!(matches!(is_true(text, ROW), Ok(true)), "{text}: {:?}", is_true(text, ROW));
    }
}

#[test]
fn texts_are_parsed_as_json_and_nothing_else() {
    for text in [
        "# x\n1",
        "1 # x",
        "NaN",
        "Infinity",
        "-Infinity",
        "+1.5",
        "01",
        ".5",
        "1.",
        "b\"\"",
        "{1:2}",
        "[1,]",
        "[1 2]",
        "{\"a\":1,}",
        "'a'",
        "",
        "1 2",
        "nan",
        "tru",
        "\"\\x41\"",
        "\"\n\"",
    ] {
        let text = serde_json::to_string(text).unwrap();
        let tags: &'static str = format!("{{\"text\":{text}}}").leak();
        // A number can have other forms in a text than in JSON.
        let is_number = ["+1.5", "01", ".5", "1."].iter().any(|it| text == format!("{it:?}"));
        let functions: &[_] = if is_number { &["fromjson"] } else { &["fromjson", "tonumber"] };
        for function in functions {
            let why =
                failure(&format!(".tags.text | {function}"), Row { tags: Some(tags), ..EMPTY });
            assert!(why.contains("cannot parse"), "{text}: {why}");
        }
    }
    let round = r#" {"a" : [ 1 , -2.50, 1e400 ,true,false,null , "\u00e9\n\"\\" , {} ,[] ], "b":{"c":"","c":"x"}} "#;
    let row = Row { tags: Some(round), ..EMPTY };
    let printed = r#"{"a":[1,-2.50,1e400,true,false,null,"é\n\"\\",{},[]],"b":{"c":"x"}}"#;
    assert!(
        is_true(&format!(".tags | tojson == {}", serde_json::to_string(printed).unwrap()), row)
            .unwrap()
    );
    assert!(is_true(".tags | tojson | fromjson == . or true", row).unwrap());
}

#[test]
fn ordinary_folds_grow_in_place() {
    let start = Instant::now();
    for text in [
        "reduce range(20000) as $i ([]; . + [$i]) | length == 20000",
        "reduce range(20000) as $i ({}; . + {\"\\($i)\": $i}) | length == 20000",
        "(\"x\" * 4096) as $text | reduce range(500) as $i (\"\"; . + $text) | length == 2048000",
        "[range(20000) | tostring] | map({key: ., value: 1}) | from_entries | length == 20000",
        "[range(20000) | tostring] | (join(\",\") | length) > 80000 and (add | length) > 80000",
        "\"a\" * 20000 | gsub(\"a\"; \"bc\") | length == 40000",
        "[range(20000) | {a: .}] | (.[].a += 1) | length == 20000",
        "[range(20000) | [.]] | ([..] | length) == 40001 and (.[] |= .[0] | add) == 199990000",
        "[range(20000) | {key: tostring, value: 1}] | from_entries | del(.[]) | length == 0",
        "null | [limit(3000; recurse([.]))] | last | [..] | length == 3000",
        "[range(2000)] | reduce range(2000) as $i (.; .[$i] += 1) | add == 2001000",
    ] {
        assert!(matches!(is_true(text, ROW), Ok(true)), "{text}: {:?}", is_true(text, ROW));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// Compares the results of an expression for fields with the printed ones of jq 1.8.1, or with `error`.
fn wrong_results(expression: &str, expected: &[(&'static str, &'static str)]) -> Vec<String> {
    let compiled = Expression::compile("where", &format!(".input | {expression}"));
    let compiled = compiled.unwrap_or_else(|error| panic!("{expression}: {error}"));
    let wrong = expected.iter().filter_map(|(input, expected)| {
        let found = match compiled.printed(&Row { input: Some(input), ..EMPTY }) {
            Ok(printed) => printed.join(" ; "),
            Err(EvaluationFailure::Row(_)) => "error".to_owned(),
            Err(other) => panic!("{expression}: {other:?}"),
        };
        (found != *expected).then(|| format!("{input} | {expression}: {found}, not {expected}"))
    });
    wrong.collect()
}

#[test]
fn results_are_those_of_jq() {
    let compare = || {
        let (values, rows) = include_str!("each_value.tsv").split_once('\n').unwrap();
        let values: Vec<_> = values.split('\t').skip(1).collect();
        let each = rows.lines().flat_map(|row| {
            let (expression, expected) = row.split_once('\t').unwrap();
            let expected: Vec<_> = values.iter().copied().zip(expected.split('\t')).collect();
            assert_eq!(expected.len(), values.len(), "{expression}");
            wrong_results(expression, &expected)
        });
        let cases = include_str!("cases.tsv").lines().skip(1).flat_map(|row| {
            let mut cells = row.split('\t');
            let mut cell = || cells.next().unwrap();
            let (input, expression, expected) = (cell(), cell(), cell());
            wrong_results(expression, &[(input, expected)])
        });
        let wrong: Vec<_> = each.chain(cases).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, compare).unwrap().join().unwrap();
    });
}

/// What no other test of an error has: the row ends with it, and `try` catches it.
#[test]
fn errors_of_jq_are_errors() {
    for (text, why) in [
        ("1 / 0", "cannot divide 1 by zero"),
        ("[.tags.list[] % 0.5]", "cannot divide 1 by zero for the remainder"),
        ("{} | has(0)", "cannot index {} with 0"),
        ("\"a\" | contains([])", "are not of the same type"),
        ("[1] | .[-3] = 1", "before the start of the array"),
        ("[1] | .[nan] = 1", "NaN is not an index"),
        ("\"abc\" | .[1:] = \"x\"", "cannot index \"abc\""),
        ("[range(\"a\"; 3)]", "bound of a range"),
        ("[limit(-1; 1, 2)]", "limit needs a number from 0 on"),
        ("[1, 2] | flatten(-1)", "a number from 0 on"),
        ("[{key: 1}] | from_entries", "the key of an entry must be a string, not 1"),
        ("@sh \"\\({})\"", "cannot be quoted for a shell"),
        ("[.persona | test(\"[\" + \"a\")]", "is not a regex"),
        ("[\"a\" | test(\"a\"; \"gn\" + \"\")]", "the flag n"),
    ] {
        let found = failure(text, ROW);
        assert!(found.contains(why), "{text}: {found}");
        let caught = format!("try ({text}) catch \"caught\" | . == \"caught\"");
        assert!(matches!(is_true(&caught, ROW), Ok(true)), "{caught}");
    }
}
