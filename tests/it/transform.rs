//! `--where` and `--sample`: which rows are written, and what the record, `verify` and a resumed run make of it.

use std::{fs, process::Command, time::Duration};

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};
use serde_json::Value;

use crate::{
    support::{ID, Ran, World, entries},
    tree::content,
};

/// Rows with every kind of value that must not change: big numbers, repeated keys, escapes, white space.
fn rows(count: u64) -> Vec<String> {
    let row = |index: u64| {
        let topic = ["billing", "search", "login"][(index % 3) as usize];
        let role = if index.is_multiple_of(4) { "user" } else { "assistant" };
        let persona =
            if index.is_multiple_of(5) { "null".to_owned() } else { format!(r#""angry {index}""#) };
        let trace =
            if index.is_multiple_of(7) { r#","source_trace_id":"t","bad":"\ud800""# } else { "" };
        format!(
            r#"{{"id":"00000000-0000-4000-8000-{index:012}","order":{index},"input":{{ "messages": [
            {{"role":"user","content":"q{index}"}}, {{"role":"{role}","content":"{}"}}], "n": 1e400 }},
            "expected_output":{{"a":1,"a":12345678901234567890.10}},"persona":{persona},
            "tags":{{"topic":"{topic}","passed":{},"score":0.{}}}{trace}}}"#,
            "x".repeat((index % 50) as usize * 10),
            index.is_multiple_of(2),
            index % 10,
        )
    };
    (0..count).map(row).collect()
}

fn world(count: u64) -> World {
    World::with_rows(Options::default(), rows(count))
}

fn record(world: &World, name: &str) -> Value {
    serde_json::from_slice(&world.read(&format!("{name}.manifest.json"))).unwrap()
}

/// The lines of a whole export whose row index has this property.
fn lines_where(world: &World, keep: impl Fn(u64) -> bool) -> String {
    world.export(&["-o", "all.jsonl", "--overwrite"]).ok();
    let all = String::from_utf8(world.read("all.jsonl")).unwrap();
    let kept = all.lines().enumerate().filter(|(index, _)| keep(*index as u64));
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

const BILLING: [&str; 4] =
    ["--where", r#".tags.topic == "billing""#, "--where", ".tags.passed == false"];

fn is_failed_billing(index: u64) -> bool {
    index.is_multiple_of(3) && !index.is_multiple_of(2)
}

#[test]
fn kept_rows_are_written_token_for_token() {
    let world = world(1000);
    let expected = lines_where(&world, is_failed_billing);
    let ran = world.export(&[&["-o", "some.jsonl", "--manifest"], &BILLING[..]].concat()).ok();
    assert!(ran.stderr.contains("167 of 1,000 rows read in 1 file"), "{}", ran.stderr);
    assert!(ran.stderr.contains("complete: every row read once"), "{}", ran.stderr);
    assert!(world.read("some.jsonl") == expected.as_bytes());
    let stdout = world.export(&[&["-o", "-"], &BILLING[..]].concat()).ok().stdout;
    assert!(stdout == expected);
    let whole = record(&world, "some.jsonl");
    assert_eq!(whole["transform"]["where"][1], ".tags.passed == false");
    let counts = ["count", "rows_read", "rows"].map(|name| whole[name].as_u64().unwrap());
    assert_eq!((counts, &whole["completeness"]), ([1000, 1000, 167], &"proven".into()));
    // The content is the same in every format, and in a directory of parts.
    for output in ["p.parquet", "a.arrow", "z.jsonl.zst", "parts/"] {
        let name = output.trim_end_matches('/');
        let part_rows: &[&str] =
            if name == output { &["--manifest"] } else { &["--rows-per-file", "40"] };
        world.export(&[&["-o", output], part_rows, &BILLING[..]].concat()).ok();
        assert_eq!(record(&world, name)["digest"], whole["digest"], "{output}");
    }
    let paths = ["some.jsonl", "p.parquet", "a.arrow", "z.jsonl.zst", "parts"];
    let verified = Ran::of(world.command().arg("verify").args(paths)).ok();
    assert_eq!(verified.stdout.matches("ok").count(), 5, "{}", verified.stdout);
    let parts = record(&world, "parts");
    assert!(parts["parts"].as_array().unwrap().len() > 3);
    assert_eq!(parts["ranges"][0]["rows_read"], 1000);
    assert_eq!(parts["ranges"][0]["rows"], 167);
    let diff = world.command().args(["diff", "parts", "p.parquet"]).output().unwrap();
    assert_eq!(diff.status.code(), Some(0), "{diff:?}");
    // Without its record, a file still says what it is.
    fs::remove_file(world.path("p.parquet.manifest.json")).unwrap();
    let alone = Ran::of(world.command().args(["verify", "p.parquet", "--json"])).ok();
    assert!(alone.stdout.contains("proven"), "{}", alone.stdout);
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let world = world(2000);
    for output in ["rows.parquet", "rows.arrow", "rows.jsonl.gz"] {
        let export = |threads| {
            let more =
                ["-o", output, "--overwrite", "--sample", "0.5", "--encode-threads", threads];
            world.export(&[&more, &BILLING[..2]].concat()).ok();
            world.read(output)
        };
        assert!(export("1") == export("16"), "{output}");
    }
}

#[test]
fn no_kept_row_gives_an_empty_export() {
    let world = world(100);
    let ran = world.export(&["-o", "none.parquet", "--where", "false", "--json"]).ok();
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&summary["rows"], &summary["rows_read"]), (&0.into(), &100.into()));
    Ran::of(world.command().args(["verify", "none.parquet"])).ok();
}

#[test]
fn interrupted_run_resumes_with_the_same_expressions() {
    const ARGUMENTS: [&str; 10] = [
        "-o",
        "rows",
        "--page-size",
        "25",
        "--rows-per-file",
        "20",
        "--concurrency",
        "1",
        "--max-retries",
        "0",
    ];
    let where_ =
        [&ARGUMENTS[..], &BILLING[..2], &["--where", ".tags.x.y", "--on-error", "skip"]].concat();
    let mut data = rows(2000);
    // Rows on which the expression fails are counted in their part.
    for (index, line) in data.iter_mut().enumerate() {
        let x = if [3, 60, 1500].contains(&index) { "1" } else { r#"{"y":1}"# };
        *line = line.replace(r#""score""#, &format!(r#""x":{x},"score""#));
    }
    let truth = World::with_rows(Options::default(), data.clone());
    let ran = truth.export(&where_).ok();
    assert!(
        ran.stderr.contains("left out, because an expression failed: 3 rows"),
        "{}",
        ran.stderr
    );
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, data);
    assert_eq!(world.export(&where_).code, Some(69));
    world.server.set_faults(Faults::none());
    world.export(&where_).ok();
    assert!(content(&world.path("rows")) == content(&truth.path("rows")));
    Ran::of(world.command().args(["verify", "rows"])).ok();
}

#[test]
fn kept_parts_are_not_fetched_again() {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, rows(2000));
    let arguments = [
        "-o",
        "rows",
        "--page-size",
        "25",
        "--rows-per-file",
        "20",
        "--concurrency",
        "1",
        "--max-retries",
        "0",
    ];
    let run = |condition: &str| world.export(&[&arguments[..], &["--where", condition]].concat());
    assert_eq!(run(".tags.topic == \"billing\"").code, Some(69));
    world.server.set_faults(Faults::none());
    let before = world.server.stats().requests;
    let resumed = run(".tags.topic == \"billing\"").ok();
    assert!(resumed.stderr.contains("resuming: "), "{}", resumed.stderr);
    assert!(world.server.stats().requests - before < 60, "{}", resumed.stderr);
    assert_eq!(entries(world.folder.path()), ["rows", "rows.manifest.json"]);

    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    world.server.set_faults(faults);
    let overwrite = |condition: &str| {
        world.export(&[&arguments[..], &["--overwrite", "--where", condition]].concat())
    };
    assert_eq!(overwrite(".order < 1000").code, Some(69));
    world.server.set_faults(Faults::none());
    // Other expressions would give other rows.
    let other = overwrite(".order < 1001");
    assert_eq!(other.code, Some(73));
    assert!(
        other.stderr.contains("cannot be resumed: its setting transform was "),
        "{}",
        other.stderr
    );
    assert!(other.stderr.contains("give --restart"), "{}", other.stderr);
    overwrite(".order < 1000").ok();
    assert_eq!(record(&world, "rows")["rows"], 1000);
}

#[test]
fn proof_counts_rows_that_are_not_kept() {
    // Page 6 comes late, so that the dataset is another one when the last pages are read.
    let slow = Fault::Delay(Duration::from_secs(1));
    let faults = Faults::none().on(6, FaultAttempt::First(1), slow);
    let world = World::with_rows(Options { faults, ..Options::default() }, rows(230));
    let arguments = ["-o", "rows.jsonl", "--page-size", "25", "--concurrency", "1"];
    let run = world.start(&[&arguments[..], &["--max-passes", "1", "--where", "false"]].concat());
    assert!(world.server.wait_until(Duration::from_secs(30), |stats| stats.attempts(ID, 6) == 1));
    world.server.replace(vec![Dataset::from_rows("rows", rows(260)).with_id(ID)]);
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("the dataset changed during the export"), "{}", ran.stderr);
    assert_eq!(world.entries(), Vec::<String>::new());
}

#[test]
fn wrong_expressions_send_no_request() {
    let world = world(10);
    let ran = world.export(&["-o", "a.jsonl", "--where", ".persona | foo"]);
    assert_eq!(
        ran.told(&world),
        "exit 2\nerror: `--where` \".persona | foo\" is not a valid expression: there is no function foo\n    \
         .persona | foo\n               ^^^\n  hint: the page Shape your data of the guide lists the functions; quote \
         the expression for the shell: 'EXPR'\n"
            .replace("`--where`", "--where")
    );
    for (arguments, part) in [
        (["--where", "now > 1"], "now is not allowed"),
        (["--sample", "1.5"], "use a number above 0 and up to 1"),
        (["--sample", "0"], "use a number above 0 and up to 1"),
        (["--on-error", "ignore"], "use fail, null or skip"),
        (["--expression-timeout", "0s"], "it must be longer than 0 seconds"),
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
    let named =
        "page 2, row 43 (id 00000000-0000-4000-8000-000000000142): --where failed: cannot index ";
    assert!(ran.stderr.contains(named), "{}", ran.stderr);
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
fn unnamed_fields_may_hold_anything() {
    // Every seventh row has a lone surrogate in an unknown field, and all have 1e400 in their input.
    let world = world(70);
    world.export(&["-o", "a.jsonl", "--where", ".source_trace_id == \"t\""]).ok();
    assert_eq!(world.read("a.jsonl").split(|byte| *byte == b'\n').count(), 11);
    let ran = world.export(&["-o", "b.jsonl", "--where", ".bad"]);
    assert!(ran.code == Some(65) && ran.stderr.contains("in the field bad: "), "{ran:?}");
}

#[test]
fn endless_expression_ends_the_run() {
    let world = world(10);
    let slow = "reduce range(200000) as $i ([range(20000)]; reverse)";
    let stuck =
        "reduce range(60) as $i (1; [., .]) as $x | reduce range(60) as $i (1; [., .]) | . == $x";
    for condition in [slow, stuck] {
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
        assert!(ran.stderr.contains("--where did not end within 0.3 s"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("panic"), "{}", ran.stderr);
    }
    let steps = world.export(&["-o", "a.jsonl", "--where", "0 | until(false; .)"]);
    assert!(steps.code == Some(65) && steps.stderr.contains("too many steps"), "{steps:?}");
    assert!(!steps.stderr.contains("panic"), "{}", steps.stderr);
    assert_eq!(world.entries(), Vec::<String>::new());
}

#[test]
fn sample_depends_only_on_inputs_and_seed() {
    let world = world(3000);
    let ids = |arguments: &[&str]| -> Vec<String> {
        let ran = world.export(&[&["-o", "-", "--columns", "id"], arguments].concat()).ok();
        ran.stdout.lines().map(str::to_owned).collect()
    };
    let tenth = ids(&["--sample", "0.1"]);
    assert!((200..400).contains(&tenth.len()), "{}", tenth.len());
    assert_eq!(ids(&["--sample", "0.1", "--page-size", "7"]), tenth);
    let larger = ids(&["--sample", "0.3"]);
    assert!(tenth.iter().all(|id| larger.contains(id)));
    assert_ne!(ids(&["--sample", "0.1", "--seed", "1"]), tenth);
    assert_eq!(ids(&["--sample", "1"]).len(), 3000);
    // Rows with the same input stay together, whatever they look like.
    let same = (0..200_u64).map(|index| {
        let input = if index.is_multiple_of(2) {
            r#"{"a":1,"b":"ü"}"#
        } else {
            r#"{ "b": "\u00fc", "a": 1 }"#
        };
        format!(r#"{{"id":"00000000-0000-4000-8000-{index:012}","input":{input}}}"#)
    });
    let world =
        World::with(Options::default(), Dataset::from_rows("same", same.collect()).with_id(ID));
    for seed in ["1", "2", "3", "4"] {
        let ran = world.export(&["-o", "-", "--sample", "0.5", "--seed", seed]).ok();
        assert!([0, 200].contains(&ran.stdout.lines().count()));
    }
}

#[test]
fn recipes_of_the_guide_work() {
    let world =
        World::with_rows(Options { latency: Duration::ZERO, ..Options::default() }, rows(1000));
    let page = include_str!("../../src/guide/shaping.md");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let recipes: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(recipes.len() >= 10);
    let program = env!("CARGO_BIN_EXE_overmind-export");
    for recipe in recipes {
        let script = recipe.replace("overmind-export", program).replace(" ID ", &format!(" {ID} "));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env_clear().current_dir(world.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("OVERMIND_LAB_BASE_URL", world.server.url());
        let ran = Ran::of(command.env("OVERMIND_LAB_API_KEY", crate::support::KEY)).ok();
        let kept = ran.stderr.lines().find_map(|line| line.split_once(" of 1,000 rows read"));
        let kept: u64 = kept.unwrap().0.trim().replace(',', "").parse().unwrap();
        assert!((1..1000).contains(&kept), "{recipe}: {}", ran.stderr);
    }
}
