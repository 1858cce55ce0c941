//! Expressions that would run forever, or use up the memory or the stack, without the bounds of an evaluation.
//!
//! They run in a process of their own that may address 2 GB, so that memory that nothing counts ends it.

use std::{
    env,
    process::Command,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::super::{
    budget::{EvaluationBounds, EvaluationEnd, STACK, bounded},
    expression::{EvaluationFailure, Expression},
};
use crate::client::Row;

const MANY_STEPS: &str = "it needs too many steps";
const MANY_BYTES: &str = "it needs more than 256 MiB for values";
const DEEP: &str = "a value is nested deeper than 10,000 levels";
const KEPT: &str = "kept";

/// Expressions, and what ends each of them: a bound, an error of the row, or the end.
const CASES: &[(&str, &str)] = &[
    // Loops.
    ("until(false; .)", MANY_STEPS),
    ("[range(1e12)]", MANY_STEPS),
    ("last(range(1e12))", MANY_STEPS),
    ("[limit(1e12; repeat(1))]", MANY_STEPS),
    ("last(repeat(1))", MANY_STEPS),
    ("last(repeat(empty, 1) | empty)", MANY_STEPS),
    ("[recurse(.)]", MANY_STEPS),
    ("[recurse([.])] ", DEEP),
    ("[path(last(limit(1000000; recurse(.a?))))]", MANY_STEPS),
    ("[while(true; .)]", MANY_STEPS),
    ("reduce range(1e9) as $i (0; . + 1)", MANY_STEPS),
    ("first(range(1; infinite) | select(. < 0))", MANY_STEPS),
    ("[foreach range(1e12) as $x (0; . + 1)]", MANY_STEPS),
    ("{} | reduce range(1e9) as $i (.; .[\"\\($i)\"] = 1)", MANY_STEPS),
    // Texts, arrays and objects that double.
    ("reduce range(100) as $i (\"x\"; . + .)", MANY_BYTES),
    ("reduce range(100) as $i (\"x\"; \"\\(.)\\(.)\")", MANY_BYTES),
    ("reduce range(100) as $i ([1]; . + .)", MANY_BYTES),
    ("reduce range(100) as $i ([1]; [.[], .[]])", MANY_STEPS),
    ("reduce range(40) as $i ({a: 1}; {a: ., b: .}) | . * .", MANY_STEPS),
    ("reduce range(100) as $i (10; . * .)", "product"),
    ("reduce range(100) as $i (1; [., .]) | tojson", MANY_BYTES),
    ("reduce range(60) as $i (1; [., .]) | tostring", MANY_BYTES),
    ("reduce range(60) as $i (1; [., .]) | [..]", MANY_STEPS),
    ("reduce range(60) as $i (1; [., .]) | flatten", MANY_STEPS),
    ("reduce range(60) as $i (1; [., .]) | . == (reduce range(60) as $i (1; [., .]))", MANY_STEPS),
    ("reduce range(60) as $i (1; [., .]) | [., .] | sort", MANY_STEPS),
    ("reduce range(60) as $i (1; [., .]) | contains(.)", MANY_STEPS),
    ("reduce range(60) as $i (1; [., .]) | {(.): 1}", "must be a string, not an array"),
    ("reduce range(60) as $i (1; [., .]) | try .a catch length < 400", KEPT),
    ("reduce range(60) as $i (1; [., .]) | try path(1) catch length < 400", KEPT),
    ("reduce range(60) as $i (1; [., .]) | [.] | try ascii_downcase catch length < 400", KEPT),
    ("reduce range(60) as $i (1; [., .]) | error", "[[[[["),
    // Iterations and updates of shared values.
    (
        "reduce range(20) as $i (1; [., .]) | [.[][][][][][][][][][][][][][][][][][][][] | 1, 1]",
        MANY_STEPS,
    ),
    (
        "reduce range(40) as $i (1; [., .]) | .[][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][]? |= .",
        MANY_STEPS,
    ),
    (
        "reduce range(40) as $i (1; [., .]) | .[][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][][]? | empty",
        MANY_STEPS,
    ),
    ("reduce range(40) as $i (1; [., .]) | .. |= .", MANY_STEPS),
    ("[range(100000)] | .[] |= [range(100)] | length", MANY_STEPS),
    ("[range(10000)] as $a | [range(20000) | $a | reverse]", MANY_STEPS),
    ("[range(10000)] as $a | [range(20000) | $a | sort]", MANY_STEPS),
    ("[range(10000)] as $a | [range(20000) | $a[1:]]", MANY_BYTES),
    ("[range(10000)] as $a | [range(20000) | $a | .[0] = .]", MANY_BYTES),
    ("[range(10000)] as $a | [range(20000) | $a - [1]]", MANY_BYTES),
    (
        "[range(1000) | \"\\(.)\"] as $a | ($a | map({(.): 1}) | add) as $o | [range(20000) | $o | .x = 1]",
        MANY_BYTES,
    ),
    ("[range(10000)] as $a | [limit(2000; recurse($a[]))] | length == 2000", KEPT),
    ("(\"x\" * 20000000) as $b | [range(1000) | $b | ascii_downcase]", MANY_BYTES),
    ("(\"'\" * 20000000) as $b | [range(1000) | $b | @sh]", MANY_BYTES),
    ("(\"x\" * 20000000) as $b | [range(1000) | $b[1:]]", MANY_BYTES),
    ("(\"x\" * 20000000) as $b | [range(1000) | $b | ltrimstr(\"x\")]", MANY_BYTES),
    ("reduce range(30000) as $i (null; [.]) | [paths] | length", DEEP),
    ("reduce range(2500) as $i (null; [.]) | [paths] | length", MANY_BYTES),
    // Long results of one operation.
    ("\"x\" * 1e12", MANY_BYTES),
    ("\"x\" * 1000000000000", MANY_BYTES),
    ("\"x\" * 100000000000000000000000", MANY_BYTES),
    ("(\"x\" * 100000000) / \"\"", MANY_BYTES),
    ("[range(10)] as $l | [[$l, $l, $l, $l, $l, $l, $l, $l, $l, $l] | combinations]", MANY_STEPS),
    (
        "def a: .[], .[]; def b: a | a; def c: b | b; [1, [2]] | [c | c | c | c]",
        "cannot use 1 as iterable",
    ),
    ("\"a\" * 1000000 | gsub(\"a\"; \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\")", MANY_BYTES),
    ("\"a\" * 3000 | [gsub(\"a\"; \"b\", \"c\")] | length == 2", KEPT),
    // Depth.
    ("reduce range(1000000) as $i (null; [.])", DEEP),
    ("reduce range(1000000) as $i ({}; {a: .})", DEEP),
    ("(\"[\" * 20000) | fromjson", "cannot parse"),
    ("(\"[\" * 20000 + \"]\" * 20000) | fromjson", "nested deeper than 10,000 levels"),
    // Texts that are not JSON, and numbers.
    ("\"# \\\"\\n\" + (\"[\" * 8000000) | fromjson", "cannot parse"),
    ("\"+1.5\" | tonumber | -. | floor == -2", KEPT),
    ("reduce range(14) as $i (3; . * .) as $n | [range(100000) | $n * $n]", MANY_STEPS),
    ("reduce range(16) as $i (3; . * .) as $n | [range(100000) | $n % ($n - 1)]", MANY_STEPS),
    ("reduce range(16) as $i (3; . * .) as $n | [range(100000) | $n | tojson]", MANY_STEPS),
    ("(\"9\" * 70000) as $text | [range(1000) | $text | tonumber]", MANY_STEPS),
    // An expression does not get more steps for texts of its own.
    (
        "(\"x\" * 50000 | tojson) as $text | [range(1000000) | $text | fromjson | length]",
        MANY_BYTES,
    ),
    ("(\"1\" * 15) as $text | last(range(1000000) | $text | tonumber)", MANY_STEPS),
    // Deep and wide values.
    ("null | [limit(2000; recurse([.]))] | last | [..] | length == 2000", KEPT),
    ("null | [limit(3000; recurse([.]))] | last | [path(..)] | length", MANY_BYTES),
    ("[range(3000) | [.]] | [..] | length == 6001", KEPT),
    ("[range(2000) | [.]] | .[] |= .[0] | add == 1999000", KEPT),
    ("[range(2000) | {a: .}] | del(.[]) | length == 0", KEPT),
    ("[range(2000) | {key: \"\\(.)\", value: 1}] | from_entries | del(.[]) | length == 0", KEPT),
    ("null | .[1e12] = 1", MANY_BYTES),
    // Regular expressions.
    ("\"x\" | test(\"(x{1000})\" + \"{1000}\")", "regex"),
    ("(\"a\" * 20000) as $r | \"x\" | test($r)", "longer than 16 KiB"),
    ("(\"x\" * 100000) | match(\"()\" * 8000 + \"y\")", "at most 32 groups"),
    ("\"x\" | test(\"x\"; \"g\" * 1000)", "at most 16 flags"),
    ("[range(100000) | \"\\\\pL\" * 4000 + \"\\(.)\" | try test(.) catch 1]", MANY_BYTES),
];

/// The same, on a row with hostile fields.
const CASES_OF_THE_ROW: &[(&str, &str)] = &[
    (".tags.comment | fromjson", "cannot parse"),
    (".tags.digits | tonumber + 1 > 0", KEPT),
    (".expected_output | length", MANY_BYTES),
];

/// The same, with the bounds of every evaluation.
const LONG_CASES: &[(&str, &str)] = &[
    (".order | reduce range(20000) as $i ([]; [.] | .[0] = 1) | length == 1", KEPT),
    ("(.input | length) as $n | reduce range(5000000) as $i (null; [.])", DEEP),
];

/// The bounds of most cases: a test is many times slower than the program.
const LOW: EvaluationBounds = EvaluationBounds { steps: 100_000, bytes: 32 << 20 };

#[test]
fn hostile_expressions_end_at_their_bounds() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 2000000; exec timeout 100 \"$0\" \"$@\""]);
    limited.arg(env::current_exe().unwrap());
    limited.args(["--exact", "transform::tests::hostile::each_case", "--ignored", "--nocapture"]);
    let ran = limited.output().unwrap();
    let [stdout, stderr] =
        [ran.stdout, ran.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    println!("{stdout}");
    assert!(ran.status.success() && stdout.contains("1 passed"), "{}: {stderr}", ran.status);
}

#[test]
#[ignore = "runs in the process with a limit"]
fn each_case() {
    let brackets = format!(
        r##"{{"comment":"# \"\n{}","digits":"{}"}}"##,
        "[".repeat(4_000_000),
        "9".repeat(300_000)
    );
    let text = format!("\"{}\"", "x".repeat(20_000_000));
    let arrays = format!("[{}0]", "[],".repeat(400_000));
    let row = Row {
        id: Uuid::nil(),
        order: None,
        input: Some(&text),
        expected_output: Some(&arrays),
        persona: None,
        tags: Some(&brackets),
        additional_properties: None,
        has_id: true,
        compact: false,
    };
    let empty = Row { input: None, expected_output: None, tags: None, ..row };
    let evaluate = || {
        let mut wrong = Vec::new();
        let cases = CASES.iter().map(|case| (case, empty, LOW));
        let cases = cases.chain(CASES_OF_THE_ROW.iter().map(|case| (case, row, LOW)));
        let long = LONG_CASES.iter().map(|case| (case, row, EvaluationBounds::STANDARD));
        for ((text, end), row, bounds) in cases.chain(long) {
            println!("{end}: {text}");
            let start = Instant::now();
            let expression = Expression::compile("where", text).unwrap().within(bounds);
            let found = match expression.is_true(&row, &AtomicBool::new(false)) {
                Ok(true) => "kept".to_owned(),
                Ok(false) => "left out".to_owned(),
                Err(EvaluationFailure::Row(why)) => why,
                Err(EvaluationFailure::Stack) => "stack".to_owned(),
                other => format!("{other:?}"),
            };
            let taken = start.elapsed();
            println!("    {taken:.3?}");
            // A fraction of a second in a release build.
            if !found.contains(end) || taken > Duration::from_secs(20) {
                wrong.push(format!("{text}: {found}, expected {end} ({taken:?})"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, evaluate).unwrap().join().unwrap();
    });
}

#[test]
fn panic_of_the_evaluator_is_caught() {
    let ended = bounded(EvaluationBounds::STANDARD, || panic!("index out of range"));
    assert_eq!(ended, Err::<(), _>(EvaluationEnd::Panicked("index out of range".to_owned())));
}
