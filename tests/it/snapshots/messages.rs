//! The complete output of the snapshot commands.

use std::fs;

use overmind_export::demo::{Dataset, Fault, FaultAttempt, FaultPage, Faults, Options};

use super::{AGENT, Nightly, version, version_id};
use crate::support::{ID, Ran};

/// The exit code and the output, without stamps and durations.
fn told(nightly: &Nightly, ran: &Ran) -> String {
    let text = ran.told(&nightly.world);
    let steady = |word: &str| {
        let stamp = |word: &str| word.len() == 16 && word.ends_with('Z');
        match word.strip_prefix("snapshot=") {
            Some(word) if stamp(word) => "snapshot=STAMP".to_owned(),
            _ if stamp(word) => "STAMP".to_owned(),
            _ => word.to_owned(),
        }
    };
    let line = |line: &str| {
        let words: Vec<String> = line.split(' ').map(steady).collect();
        let line = words.join(" ");
        // Replaces a duration such as `· 0.1 s ·`.
        match (line.find(" · "), line.find(" s · ")) {
            (Some(from), Some(to)) if from < to => format!("{} · T{}", &line[..from], &line[to..]),
            _ => line,
        }
    };
    text.lines().map(|it| line(it) + "\n").collect()
}

#[test]
fn terminal_output_of_consecutive_nights() {
    // A first snapshot, an unchanged dataset, then a new snapshot that replaces the first one.
    let nightly = Nightly::one(1234, "keep = { last = 1 }");
    let first = told(&nightly, &nightly.snapshot(&[]));
    let second = told(&nightly, &nightly.snapshot(&[]));
    nightly.world.server.replace(vec![Dataset::generated(1300, 7).with_id(ID)]);
    let third = told(&nightly, &nightly.snapshot(&[]));
    insta::assert_snapshot!(format!("{first}{second}{third}"), @r#"
    exit 0
    root = "snaps" is relative to the configuration file: FOLDER/snaps
    nightly: 1,234 rows (305.93 KiB) · T s · complete: every row once
      snapshot=STAMP
    exit 0
    nightly: unchanged, same metadata: 1,234 rows (305.93 KiB)
      snapshot=STAMP
    exit 0
    nightly: 1,300 rows (321.67 KiB) · T s · complete: every row once
      snapshot=STAMP
    nightly: removed 1: snapshot=STAMP
    "#);
}

#[test]
fn list_of_snapshots() {
    let jobs = format!(
        "[[job]]\nname = \"chat\"\nagent = \"{AGENT}\"\n\
         [[job]]\nname = \"all\"\nselect = \"all\"\nunchanged = \"content\"\n\
         [[job]]\nname = \"new\"\ndataset = \"{ID}\"\n"
    );
    let nightly = Nightly::new(vec![version(1, 1000), version(2, 20)], &jobs);
    insta::assert_snapshot!(told(&nightly, &nightly.run(&["snapshots"])), @"
    exit 0
    no snapshots
    ");
    nightly.at("2026-11-23T02:00:00Z");
    nightly.at("2026-11-24T02:00:00Z");
    nightly.world.server.replace(vec![version(3, 33)]);
    nightly.at("2026-11-25T02:00:00Z");
    fs::create_dir_all(nightly.hidden("new").join(".snapshot=20261125T020000Z.partial")).unwrap();
    let ran = nightly.run(&["snapshots"]).ok();
    insta::assert_snapshot!(ran.told(&nightly.world), @"
    exit 0
     JOB   SNAPSHOT          DATASET    ROWS       BYTES  COMPLETE         UNCHANGED AS OF
     chat  20261123T020000Z  a0000000     20    9.62 KiB  yes              2026-11-24 02:00
     chat  20261125T020000Z  a0000000     33   13.42 KiB  yes              -
     all   20261123T020000Z  a0000000  1,000  247.44 KiB  yes              2026-11-24 02:00
     all   20261123T020000Z  a0000000     20    9.62 KiB  yes              2026-11-24 02:00
     all   20261125T020000Z  a0000000     33   13.42 KiB  yes              -
     new   20261125T020000Z  -             -           -  no: interrupted  -
    new: the last run failed, 2026-11-25 02:00 UTC (exit 66): no such dataset, or a filter excludes it: GET http://API/api/datasets/182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e/datapoints/?page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
    ");
    let ran = nightly.run(&["snapshots", "chat", "--json"]).ok();
    insta::assert_snapshot!(ran.told(&nightly.world), @r#"
    exit 0
    {"job":"chat","snapshot":"20261123T020000Z","path":"snapshot=20261123T020000Z","dataset":"a0000000-0000-4000-8000-000000000002","other_dataset":false,"version":2,"rows":20,"bytes":9849,"complete":true,"unchanged_runs":1,"unchanged_until":"2026-11-24T02:00:00Z","problem":null}
    {"job":"chat","snapshot":"20261125T020000Z","path":"snapshot=20261125T020000Z","dataset":"a0000000-0000-4000-8000-000000000003","other_dataset":false,"version":3,"rows":33,"bytes":13747,"complete":true,"unchanged_runs":0,"unchanged_until":null,"problem":null}
    "#);
}

#[test]
fn failed_jobs_are_listed_with_hints_and_counted() {
    let jobs = format!(
        "[[job]]\nname = \"gone\"\ndataset = \"{}\"\n\
         [[job]]\nname = \"nobody\"\nagent = \"{}\"\ndataset_name = \"support-*\"\n",
        version_id(99),
        version_id(98),
    );
    let nightly = Nightly::new(vec![version(1, 10)], &jobs);
    insta::assert_snapshot!(told(&nightly, &nightly.snapshot(&["-q", "--jobs", "1"])), @"
    exit 66
    error: gone: no such dataset, or a filter excludes it
      cause: GET http://API/api/datasets/a0000000-0000-4000-8000-000000000063/datapoints/?page=1&page_size=100 answered 404 Not Found: No Dataset matches the given query.
      hint: check the id and that the key belongs to its project: `overmind-export datasets` lists the datasets that the key can see
    error: nobody: no dataset matches agent=a0000000-0000-4000-8000-000000000062&dataset_name=support-*
      hint: `overmind-export datasets` takes the same filters and lists the datasets that the key can see
    error: 2 of 2 jobs failed
    ");
    let faults = Faults::none().on(FaultPage::List, FaultAttempt::Always, Fault::status(503));
    nightly.world.server.set_faults(faults);
    let ran = nightly.snapshot(&["-q", "gone", "--max-retries", "0"]);
    let text = told(&nightly, &ran).replace(" in 0.0 s", " in T s").replace(" in 0.1 s", " in T s");
    insta::assert_snapshot!(text, @"
    exit 69
    error: gone: the API at http://API stayed unavailable: 1 attempt in T s
      cause: GET http://API/api/datasets/ answered 503 Service Unavailable: Service temporarily unavailable, try again later.
      hint: check the base URL and the network; a larger timeout, retry_for or max_retries gives the API more time
    error: 1 of 1 job failed
    ");
}

#[test]
fn invalid_arguments_are_refused_before_any_request() {
    let nightly = Nightly::one(10, "");
    let mut text = String::new();
    for arguments in [
        &["snapshot", "nighty"][..],
        &["snapshots", "night"],
        &["snapshot", "--jobs", "0"],
        &["snapshot", "--config", "other.toml"],
    ] {
        let ran = match arguments.contains(&"--config") {
            true => Ran::of(nightly.world.command().args(arguments)),
            false => nightly.run(arguments),
        };
        text += &format!("$ overmind-export {}\n{}\n", arguments.join(" "), told(&nightly, &ran));
    }
    let ran = Ran::of(nightly.world.command().arg("snapshot"));
    text += &format!("$ overmind-export snapshot\n{}\n", told(&nightly, &ran));
    let home = nightly.world.path("home");
    let ran = Ran::of(nightly.world.command().arg("snapshots").env("HOME", &home));
    text += &format!("$ overmind-export snapshots\n{}\n", told(&nightly, &ran));
    fs::write(nightly.world.path("empty.toml"), "").unwrap();
    let ran = Ran::of(nightly.world.command().args(["snapshot", "--config", "empty.toml"]));
    text += &format!("$ overmind-export snapshot --config empty.toml\n{}\n", told(&nightly, &ran));
    insta::assert_snapshot!(text, @r#"
    $ overmind-export snapshot nighty
    exit 2
    error: "nighty" is not a valid job: FOLDER/snapshots.toml has no such job; try "nightly"

    $ overmind-export snapshots night
    exit 2
    error: "night" is not a valid job: FOLDER/snapshots.toml has no such job; try "nightly"

    $ overmind-export snapshot --jobs 0
    exit 2
    error: invalid value '0' for '--jobs <N>': it must be at least 1

    For more information, try '--help'.

    $ overmind-export snapshot --config other.toml
    exit 78
    error: cannot use the configuration other.toml
      cause: No such file or directory (os error 2)

    $ overmind-export snapshot
    exit 78
    error: no configuration file: there is no home directory to look in
      hint: give one with --config; config/snapshots.toml in the sources is an example to copy

    $ overmind-export snapshots
    exit 78
    error: no configuration file: there is no FOLDER/home/.config/overmind-export/snapshots.toml
      hint: give one with --config; config/snapshots.toml in the sources is an example to copy

    $ overmind-export snapshot --config empty.toml
    exit 78
    error: FOLDER/empty.toml has no jobs: add a [[job]]
    "#);
    assert_eq!(nightly.world.server.stats().requests, 0);
}

#[test]
fn invalid_file_is_reported_with_line_and_value() {
    let nightly = Nightly::new(Vec::new(), "");
    let right = fs::read_to_string(nightly.world.path("snapshots.toml")).unwrap();
    let mut text = String::new();
    for line in [
        "[[job]]\nname = \"a\"\ndatset = \"x\"",
        "[[job]]\nname = \"a\"\nselect = \"all\"\nschedule = \"0 2 * *\"",
        "[[job]]\nname = \"a\"\nselect = \"all\"\nroot = \"ftp://host/x\"",
        "[[job]]\nname = \"a\"\nselect = \"all\"\nstorage = { secret_access_key = 7 }",
        "[[job]",
        "[api]\nbase_url = \"http://example.org\"\n[[job]]\nname = \"a\"\nselect = \"all\"",
        "[api]\napi_key_file = \"missing.key\"\n[[job]]\nname = \"a\"\nselect = \"all\"",
    ] {
        fs::write(nightly.world.path("snapshots.toml"), format!("{right}{line}\n")).unwrap();
        let mut command = nightly.world.command();
        command.args(["snapshot", "--config", "snapshots.toml"]);
        command.env_remove("OVERMIND_LAB_API_KEY").env_remove("OVERMIND_LAB_BASE_URL");
        if line.contains("example.org") {
            command.env("OVERMIND_LAB_API_KEY", "x");
        }
        text += &format!("{line}\n{}\n", told(&nightly, &Ran::of(&mut command)));
    }
    insta::assert_snapshot!(text, @r#"
    [[job]]
    name = "a"
    datset = "x"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 5: unknown key "datset" in [[job]] "a": did you mean "dataset"?

    [[job]]
    name = "a"
    select = "all"
    schedule = "0 2 * *"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 6: schedule = "0 2 * *" in [[job]] "a": it has 4 fields, not the five: minute, hour, day of the month, month, day of the week

    [[job]]
    name = "a"
    select = "all"
    root = "ftp://host/x"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 3: [[job]] "a": root: "ftp://host/x" is not a valid location: the known schemes are s3, gs, az, abfs, abfss and file; anything without :// is a local path

    [[job]]
    name = "a"
    select = "all"
    storage = { secret_access_key = 7 }
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 6: storage in [[job]] "a": give texts by name, such as { region = "eu" }

    [[job]
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 3: unclosed array table, expected `]`

    [api]
    base_url = "http://example.org"
    [[job]]
    name = "a"
    select = "all"
    exit 78
    error: http://example.org/ is plain http: the API key would cross the network unencrypted
      hint: use https, or give --allow-http if you trust the network in between

    [api]
    api_key_file = "missing.key"
    [[job]]
    name = "a"
    select = "all"
    exit 78
    error: cannot use the key file FOLDER/missing.key
      cause: No such file or directory (os error 2)
    "#);
}

#[test]
fn signal_interrupts_a_slow_dataset_list() {
    let late = Fault::Delay(std::time::Duration::from_secs(100));
    let faults = Faults::none().on(FaultPage::List, FaultAttempt::Always, late);
    let jobs = "[[job]]\nname = \"all\"\nselect = \"all\"\n";
    let options = Options { faults, ..Options::default() };
    let nightly = Nightly::with(options, vec![version(1, 10)], jobs);
    let run = nightly.start(&[]);
    let soon = std::time::Duration::from_secs(30);
    assert!(nightly.world.server.wait_until(soon, |stats| stats.requests == 1));
    let ran = super::interrupted::end_with("TERM", run);
    assert_eq!(ran.code, Some(143), "{ran:?}");
    insta::assert_snapshot!(told(&nightly, &ran), @r#"
    exit 143
    root = "snaps" is relative to the configuration file: FOLDER/snaps
    error: all: interrupted by SIGTERM
    error: interrupted by SIGTERM
      hint: run the same command again to resume where it stopped
    "#);
}
