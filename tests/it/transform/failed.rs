//! Wrong expressions and options, rows on which an expression fails, and the time limit.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{record, world};
use crate::support::{ID, Ran, wait_until};

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// An evaluation that can be stopped, and takes minutes.
const SLOW: &str =
    r#"reduce range(200000) as $i ("x" * 100000; . as $text | indices("xy") | $text) | true"#;
/// An evaluation that cannot be stopped, and never ends.
const STUCK: &str =
    r#"reduce range(1) as $i ("a" * 20000000; indices("a" * 10000000 + "b")) | true"#;

#[test]
fn wrong_expressions_send_no_request() {
    let world = world(10);
    let ran = world.export(&["-o", "a.jsonl", "--where", ".persona | foo"]);
    assert_eq!(
        ran.told(&world),
        "exit 2\nerror: `--where` \".persona | foo\" is not a valid expression: there is no function foo; \
         a text has double quotes, a field a dot before it\n    \
         .persona | foo\n               ^^^\n  hint: the page Shape your data of the guide lists the functions and has \
         examples; quote the expression for the shell: 'EXPR'\n"
            .replace("`--where`", "--where")
    );
    for (arguments, part) in [
        (["--where", "now > 1"], "now is not allowed"),
        (["--sample", "1.5"], "use a number above 0 and up to 1"),
        (["--sample", "0"], "use a number above 0 and up to 1"),
        (["--sample", "half"], "give a number, such as 0.05"),
        (["--where", ".tags.topic = \"billing\""], "compare with =="),
        (["--on-error", "ignore"], "use fail, null or skip"),
        (["--expression-timeout", "0s"], "it must be longer than 0 seconds"),
        (["--on-error", "skip"], "--on-error has no effect without --where"),
        (["--expression-timeout", "1s"], "--expression-timeout has no effect without --where"),
        (["--seed", "7"], "--seed has no effect without --sample or --split"),
    ] {
        let ran = world.export(&[&["-o", "a.jsonl"], &arguments[..]].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(part), "{arguments:?}: {ran:?}");
    }
    assert_eq!(world.server.stats().requests, 0);
    assert_eq!(world.entries(), Vec::<String>::new());
}

#[test]
fn failed_row_is_named_or_skipped() {
    let world = world(300);
    let failing = ["-o", "a.jsonl", "--where", "if .order == 142 then .id.x else .order > 100 end"];
    let ran = world.export(&failing);
    assert_eq!(ran.code, Some(65));
    let named = "page 2, row 43 (id 00000000-0000-4000-8000-000000000142): --where \"if .order == 142 then ";
    assert!(ran.stderr.contains(named), "{}", ran.stderr);
    assert!(ran.stderr.contains("\" failed: cannot index \""), "{}", ran.stderr);
    assert!(ran.stderr.contains("--on-error skip"), "{}", ran.stderr);
    assert_eq!(world.entries(), Vec::<String>::new());
    for action in ["skip", "null"] {
        let more = ["--on-error", action, "--overwrite", "--json", "--manifest"];
        let ran = world.export(&[&failing[..], &more].concat()).ok();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&summary["rows"], &summary["failed_rows"]), (&198.into(), &1.into()));
        assert_eq!(record(&world, "a.jsonl")["parts"][0]["failed"], 1);
        assert_eq!(record(&world, "a.jsonl")["transform"]["on_error"], action);
    }
}

#[test]
fn endless_expression_ends_the_run() {
    let world = world(10);
    for condition in [SLOW, STUCK] {
        let ran = world.export(&[
            "-o",
            "a.jsonl",
            "--expression-timeout",
            "300ms",
            "--on-error",
            "skip",
            "--where",
            condition,
        ]);
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.stderr.contains("page 1, row "), "{}", ran.stderr);
        assert!(ran.stderr.contains("--where \"reduce range("), "{}", ran.stderr);
        assert!(ran.stderr.contains(" did not end within 0.3 s"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("panic"), "{}", ran.stderr);
    }
    let steps = world.export(&["-o", "a.jsonl", "--where", "0 | until(false; .)"]);
    assert!(steps.code == Some(65) && steps.stderr.contains("too many steps"), "{steps:?}");
    assert!(!steps.stderr.contains("panic"), "{}", steps.stderr);
    assert_eq!(world.entries(), Vec::<String>::new());
}

#[test]
fn message_shows_little_of_a_row() {
    let world = world(300);
    let long = "select(.order == 49) | .input.messages[1].content | .x";
    let ran = world.export(&["-o", "a.jsonl", "--where", long]);
    assert_eq!(ran.code, Some(65));
    let shown = ran.stderr.matches('x').count();
    assert!((35..60).contains(&shown) && ran.stderr.contains('…'), "{}", ran.stderr);
}

/// Whether a thread of the stage has used time of the processor.
#[cfg(target_os = "linux")]
fn is_evaluating(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().any(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The fields after the name begin with the state; the 12th is the time in ticks.
        let fields = stat.split_once("(transform) ").map(|(_, fields)| fields);
        fields.and_then(|fields| fields.split(' ').nth(11)).is_some_and(|ticks| ticks != "0")
    })
}

/// The first page is in the stage for longer than the test takes.
#[cfg(target_os = "linux")]
#[test]
fn signals_do_not_wait_for_evaluations() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        for condition in [SLOW, STUCK] {
            let world = world(300);
            let condition = format!("if .order == 0 then ({condition}) else true end");
            let limit = ["--expression-timeout", "1h", "--where", condition.as_str()];
            let mut command = world.command();
            command.args(["export", &ID.to_string(), "-o", "rows/", "--rows-per-file", "10"]);
            command.args(limit).stdout(Stdio::null()).stderr(Stdio::piped());
            let child = command.spawn().unwrap();
            assert!(world.server.wait_until(TIME_LIMIT, |stats| stats.attempts(ID, 3) > 0));
            wait_until(|| is_evaluating(child.id()));
            let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
            assert!(kill.unwrap().success());
            let start = Instant::now();
            let ran = Ran::from(child.wait_with_output().unwrap());
            assert_eq!(ran.code, Some(code), "{ran:?}");
            // Without a stop, the run would be given up after 5 s, and would leave its staging.
            assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
            assert_eq!(world.entries(), Vec::<String>::new());
        }
    }
}
