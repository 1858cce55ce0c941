//! Standard output and standard error: closed, as JSON, and with the signals that a shell ignores.

use std::{
    fs::File,
    process::{Command, Stdio},
    time::Duration,
};

use overmind_export::demo::{Fault, FaultAttempt::*, Faults, Options};
use serde_json::Value;

use crate::support::{ID, Ran, World};

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Runs a shell script in which `EXPORT` is the command and `ID` the dataset.
fn shell(world: &World, script: &str) -> Command {
    let plain = world.command();
    let mut shell = Command::new("sh");
    shell.env_clear().current_dir(world.folder.path());
    shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let script = script.replace("EXPORT", "\"$0\"").replace("ID", &ID.to_string());
    shell.arg("-c").arg(script).arg(plain.get_program());
    shell
}

#[test]
fn closed_standard_output_is_an_error() {
    let world = World::generated(Options::default(), 300);
    world.export(&["-o", "rows.jsonl"]).ok();
    world.export(&["-o", "some.jsonl", "--limit", "5"]).ok();
    let closed = |line: &str| Ran::of(&mut shell(&world, &format!("EXPORT {line}")));
    let requests = world.server.stats().requests;
    let first = closed("export ID -o - >&-");
    insta::assert_snapshot!(first.told(&world), @"
    exit 74
    error: cannot write standard output
      cause: Bad file descriptor (os error 9)
      hint: standard output is closed: redirect it to a file, a pipe or /dev/null
    ");
    // No request was sent.
    assert_eq!(world.server.stats().requests, requests);
    for line in [
        "export ID -o - --format arrow >&-",
        "export ID -o - >&- <&-",
        "export ID -o - 1</dev/null",
        "export ID -o x.jsonl --dry-run >&-",
        "diff rows.jsonl some.jsonl -o - >&-",
        "diff rows.jsonl some.jsonl >&-",
        "verify rows.jsonl >&-",
        "preview rows.jsonl >&-",
        "preview rows.jsonl --json >&-",
        "preview ID --json >&-",
        "datasets >&-",
        "datasets --json >&-",
        "completions bash >&-",
        "man >&-",
        "--version >&-",
        "export --help >&-",
    ] {
        assert_eq!(closed(line).told(&world), first.told(&world), "{line}");
    }
    // A summary that cannot be printed does not undo the export.
    assert_eq!(closed("export ID -o y.jsonl --json >&-").code, Some(74));
    assert_eq!(world.read("y.jsonl"), world.read("rows.jsonl"));
    // These are open.
    for open in [">/dev/null", "1<>/dev/null", ">file"] {
        assert_eq!(closed(&format!("export ID -o - {open}")).code, Some(0), "{open}");
    }
    assert_eq!(world.read("file"), world.read("rows.jsonl"));
    // This command writes nothing to standard output.
    assert_eq!(closed("export ID -o z.jsonl >&-").code, Some(0));
}

#[test]
fn signals_that_the_shell_ignores_stay_ignored() {
    for signal in ["INT", "TERM", "HUP"] {
        let faults = Faults::none().on(3, First(1), Fault::Delay(Duration::from_millis(500)));
        let world = World::generated(Options { faults, ..Options::default() }, 300);
        let script = format!("trap '' {signal}; exec EXPORT export ID -o rows.jsonl");
        let mut command = shell(&world, &script);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        assert!(world.server.wait_until(TIME_LIMIT, |stats| stats.attempts(ID, 3) > 0));
        let mut kill = Command::new("kill");
        kill.args([&format!("-{signal}"), &child.id().to_string()]);
        assert!(kill.status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert_eq!(world.entries(), ["rows.jsonl"]);
    }
}

/// Returns the JSON objects on standard error, without their timestamps.
#[track_caller]
fn objects(ran: &Ran) -> Vec<Value> {
    let object = |line: &str| {
        let mut object: Value = serde_json::from_str(line).expect(line);
        let time = object.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{line}");
        object
    };
    ran.stderr.lines().map(object).collect()
}

#[test]
fn json_log_holds_errors_and_summaries() {
    let faults = Faults::none().on(2, First(1), Fault::status(429));
    let world = World::generated(Options { faults, ..Options::default() }, 300);
    let run = |line: &str| {
        let line = line.replace("ID", &ID.to_string());
        let ran = Ran::of(world.command().args(line.split(' ')).args(["--log-format", "json"]));
        let objects: String = objects(&ran).iter().map(|it| format!("{it}\n")).collect();
        format!("$ {line}\nexit {}\n{}{objects}", ran.code.unwrap(), ran.stdout)
    };
    let told = run("export ID -o rows.jsonl");
    let told = told.split(" · ").enumerate();
    // The second and the third text are the time and the rate.
    let told: Vec<_> = told.filter(|(at, _)| !matches!(at, 1 | 2)).map(|(_, text)| text).collect();
    insta::assert_snapshot!(told.join(" · "), @r#"
    $ export 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e -o rows.jsonl
    exit 0
    {"fields":{"message":"1 failed attempt: 429 (too many requests)"},"level":"INFO","target":"overmind_export"}
    {"fields":{"message":"300 rows in 1 file (293.60 KiB) · complete: every row once\n  rows.jsonl"},"level":"INFO","target":"overmind_export"}
    "#);
    let told = ["export ID -o rows.jsonl", "export ID", "verify no.jsonl nor.jsonl"].map(run);
    insta::assert_snapshot!(told.join("\n").replace(&ID.to_string(), "ID"), @r#"
    $ export ID -o rows.jsonl
    exit 73
    {"fields":{"causes":[],"exit_code":73,"hint":"give --overwrite to replace it, or another path","message":"rows.jsonl: exists already"},"level":"ERROR","target":"overmind_export"}

    $ export ID
    exit 2
    {"fields":{"message":"error: the following required arguments were not provided:\n  --output <PATH>\n\nUsage: overmind-export export --output <PATH> --log-format <FORMAT> <DATASET_ID>\n\nFor more information, try '--help'."},"level":"ERROR","target":"overmind_export"}

    $ verify no.jsonl nor.jsonl
    exit 74
    {"fields":{"causes":["No such file or directory (os error 2)"],"exit_code":74,"hint":null,"message":"cannot read nor.jsonl"},"level":"ERROR","target":"overmind_export"}
    {"fields":{"causes":["No such file or directory (os error 2)"],"exit_code":74,"hint":null,"message":"cannot read no.jsonl"},"level":"ERROR","target":"overmind_export"}
    "#);
}

#[test]
fn rate_limited_answers_are_one_line() {
    let faults = Faults::none().on(2..=9, First(2), Fault::status(429));
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    let ran = world.export(&["-o", "rows.jsonl"]).ok();
    let line = "16 failed attempts: 429 (too many requests)\n1,000 rows in 1 file (";
    assert!(ran.stderr.contains(line), "{ran:?}");
    assert!(!ran.stderr.contains("WARN"), "{ran:?}");
}

#[test]
fn many_failures_are_counted() {
    let faults = Faults::none().on(2..=8, First(1), Fault::status(503)).on(
        9,
        First(1),
        Fault::ResetBeforeHeaders,
    );
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    let ran = world.export(&["-o", "rows.jsonl"]).ok();
    assert_eq!(ran.stderr.matches(" WARN attempt failed ").count(), 6, "{ran:?}");
    assert!(ran.stderr.contains("\n8 failed attempts: 1 × no answer, 7 × 503\n"), "{ran:?}");
}

#[test]
fn long_pause_is_logged_at_once() {
    let busy = Fault::status(429).header("Retry-After", "2");
    let faults = Faults::none().on(1, First(1), busy);
    let world = World::generated(Options { faults, ..Options::default() }, 10);
    let ran = world.export(&["-o", "rows.jsonl"]).ok();
    assert_eq!(ran.stderr.matches(" WARN attempt failed ").count(), 1, "{ran:?}");
}

#[test]
fn resumed_export_counts_only_fetched_rows() {
    let faults = Faults::none().on(9, Always, Fault::status(403));
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    let arguments = ["-o", "parts/", "--rows-per-file", "100", "--concurrency", "1", "--json"];
    assert_eq!(world.export(&arguments).code, Some(77));
    let delayed = Faults::none().on(10, First(1), Fault::Delay(Duration::from_millis(300)));
    world.server.set_faults(delayed);
    let ran = world.export(&arguments).ok();
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    // The failed run keeps every part that it had finished: on a slow machine, the last one may not be among them.
    let kept = summary["kept_rows"].as_u64().unwrap();
    assert_eq!(summary["rows"], 1000);
    assert!([600, 700, 800].contains(&kept), "{kept}");
    let rate = ran.stderr.split(" · ").find_map(|it| it.strip_suffix(" rows/s")).unwrap();
    let rate: f64 = rate.replace(',', "").parse().unwrap();
    let exact = (1000 - kept) as f64 / summary["seconds"].as_f64().unwrap();
    assert!((exact - rate).abs() <= 1.0, "{ran:?}");
    drop(File::open(world.path("parts")).unwrap());
}
