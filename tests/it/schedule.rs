//! `schedule` as a process: the list, the runs, the `on_result` program and the signals.
//! No test waits for a scheduled time: a missed run starts immediately.

mod process;
mod served;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use chrono::{DateTime, FixedOffset, Timelike, Utc};
use chrono_tz::Tz;
use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use serde_json::{Value, json};

use crate::support::{ID, KEY, Ran, World, command};

/// Time limit of waits. A successful test never reaches it, even on a slow machine.
const SOON: Duration = Duration::from_secs(60);
const ROWS: u64 = 500;

/// A configuration file with one job for [`ID`] and these further keys.
fn configuration(keys: &str) -> String {
    format!(
        "[defaults]\nroot = \"snapshots\"\n\n[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n\
         schedule = \"0 2 * * *\"\n{keys}"
    )
}

/// A world with a configuration file whose job last ran long ago. The job is due now.
fn overdue(options: Options, rows: u64, keys: &str) -> World {
    let world = World::generated(options, rows);
    fs::write(world.path("snapshots.toml"), configuration(keys)).unwrap();
    let folder = world.path("snapshots/.overmind/nightly");
    fs::create_dir_all(&folder).unwrap();
    let ran = json!({
        "job": "nightly", "status": "stored", "started_at": "2026-01-01T02:00:00Z",
        "finished_at": "2026-01-01T02:00:09Z", "seconds": 9.0, "rows": 1, "bytes": 1,
        "requests": 1, "retries": 0, "snapshots": [], "pruned": [], "error": null, "exit_code": 0,
    });
    fs::write(folder.join("history.jsonl"), format!("{ran}\n")).unwrap();
    world
}

/// A running `schedule` process and its log.
struct Service {
    child: Child,
    log: Arc<(Mutex<String>, Condvar)>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Service {
    /// Starts `schedule` with metrics on a free port and these further arguments.
    fn start(world: &World, arguments: &[&str]) -> Self {
        Self::start_as(world.command(), arguments)
    }

    /// Like [`Service::start`], with this command.
    fn start_as(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["schedule", "--config", "snapshots.toml", "--metrics", "127.0.0.1:0"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let reader = thread::spawn({
            let log = log.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    *log.0.lock().unwrap() += &(line + "\n");
                    log.1.notify_all();
                }
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    fn log(&self) -> String {
        self.log.0.lock().unwrap().clone()
    }

    /// Waits until the log contains this text and returns the log.
    #[track_caller]
    fn says(&self, text: &str) -> String {
        let (log, more) = &*self.log;
        let missing = |log: &mut String| !log.contains(text);
        let (log, waited) = more.wait_timeout_while(log.lock().unwrap(), SOON, missing).unwrap();
        assert!(!waited.timed_out(), "no {text:?} in the log:\n{log}");
        log.clone()
    }

    /// Sends a request to the metrics address and returns the response: status line, headers and body.
    fn get(&self, request: &str) -> String {
        self.get_as(request, None)
    }

    /// Does the same, with another `Host` than the address.
    fn get_as(&self, request: &str, host: Option<&str>) -> String {
        let log = self.says("serving metrics");
        let address = log.split("metrics=http://").nth(1).unwrap().split('/').next().unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        write!(socket, "{request} HTTP/1.1\r\nHost: {}\r\n\r\n", host.unwrap_or(address)).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Scrapes once, asserts that the metrics contain this line, and returns the metrics. There is no
    /// retry: the metrics must already contain every result that the log contains.
    #[track_caller]
    fn scrape(&self, line: &str) -> String {
        let metrics = self.get("GET /metrics");
        assert!(metrics.lines().any(|it| it == line), "no {line} in the metrics:\n{metrics}");
        metrics
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end of the process and asserts that its output does not contain the key.
    fn ended(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.reader.take().unwrap().join().unwrap();
        assert!(!self.log().contains(KEY) && !stdout.contains(KEY), "the output contains the key");
        Ran { code: status.code(), stdout, stderr: self.log() }
    }

    /// Stops the process with SIGTERM.
    fn stop(self) -> Ran {
        self.signal("TERM");
        let ran = self.ended();
        assert_eq!(ran.code, Some(143), "{ran:?}");
        ran
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A failed test leaves no process running.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The folders of the existing snapshots.
fn snapshots(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.path("snapshots/nightly")).unwrap().map(Result::unwrap);
    let snapshot = |name: &str| name.starts_with("snapshot=");
    let found = entries.filter(|it| snapshot(&it.file_name().to_string_lossy()));
    found.map(|it| it.path()).collect()
}

fn history(world: &World) -> Vec<Value> {
    let text = String::from_utf8(world.read("snapshots/.overmind/nightly/history.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes a shell script for `on_result`. `does` is its body.
fn program(world: &World, name: &str, does: &str) {
    let path = world.path(name);
    fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn list_shows_next_runs_in_local_time_and_utc() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{}timezone = \"America/New_York\"\njitter = \"10m\"\n[[job]]\nname = \"by-hand\"\n\
         select = \"latest\"\n",
        configuration("")
    );
    fs::write(folder.path().join("snapshots.toml"), text).unwrap();
    let list = |arguments: &[&str]| {
        let mut list = command(folder.path());
        Ran::of(list.args(["schedule", "--config", "snapshots.toml"]).args(arguments)).ok().stdout
    };
    let runs: Vec<Value> = list(&["--list", "5", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(runs.len(), 5);
    let mut before = Utc::now();
    for run in &runs {
        let time = |name: &str| run[name].as_str().unwrap().parse::<DateTime<FixedOffset>>();
        let (local, utc) = (time("local").unwrap(), time("utc").unwrap());
        assert_eq!(local, utc);
        assert!(utc > before, "{runs:#?}");
        before = utc.to_utc();
        let scheduled = time("scheduled").unwrap().with_timezone(&Tz::America__New_York);
        assert_eq!((scheduled.hour(), scheduled.minute(), scheduled.second()), (2, 0, 0));
        assert!((0..=600).contains(&(utc - scheduled.fixed_offset()).num_seconds()));
        assert_eq!(local.time(), utc.with_timezone(&Tz::America__New_York).time());
    }
    let table = list(&["--list", "2"]);
    let shown: Vec<&str> = table.lines().collect();
    let header: Vec<&str> = shown[0].split_whitespace().collect();
    assert_eq!(header, ["JOB", "LOCAL", "TIME", "TIME", "ZONE", "UTC"]);
    for (line, run) in shown[1..3].iter().zip(&runs) {
        assert!(line.contains("America/New_York"), "{table}");
        let utc = run["utc"].as_str().unwrap().replace('T', " ");
        assert!(line.ends_with(utc.trim_end_matches('Z')), "{table}");
    }
    assert!(shown[3].contains("by-hand") && shown[3].contains("no schedule"), "{table}");
}

#[test]
fn invalid_schedules_are_refused_before_the_start() {
    let world = World::generated(Options::default(), 1);
    fs::write(
        world.path("snapshots.toml"),
        configuration("[[job]]\nname = \"by-hand\"\nselect = \"latest\"\n"),
    )
    .unwrap();
    fs::write(world.path("empty.toml"), "").unwrap();
    fs::create_dir(world.path("snapshots")).unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    let told: Vec<String> = [
        vec!["schedule"],
        vec!["schedule", "--config", "empty.toml"],
        vec!["schedule", "--config", "snapshots.toml", "nightly", "by-hand"],
        vec!["schedule", "--config", "snapshots.toml", "nightli"],
        vec!["schedule", "--config", "snapshots.toml", "--list", "0"],
        vec!["schedule", "--config", "snapshots.toml", "--metrics", "localhost"],
        vec!["schedule", "--config", "snapshots.toml", "--metrics", &busy],
    ]
    .iter()
    .map(|arguments| {
        let ran = Ran::of(world.command().env("HOME", "/home/nobody").args(arguments));
        format!("$ {}\n{}", arguments.join(" "), ran.told(&world)).replace(&busy, "BUSY")
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    $ schedule
    exit 78
    error: no configuration file: there is no /home/nobody/.config/overmind-export/snapshots.toml
      hint: give one with --config; config/snapshots.toml in the sources is an example to copy

    $ schedule --config empty.toml
    exit 78
    error: no job of FOLDER/empty.toml has a schedule

    $ schedule --config snapshots.toml nightly by-hand
    exit 2
    error: "by-hand" is not a valid job: it has no schedule

    $ schedule --config snapshots.toml nightli
    exit 2
    error: "nightli" is not a valid job: FOLDER/snapshots.toml has no such job; try "nightly"

    $ schedule --config snapshots.toml --list 0
    exit 2
    error: invalid value '0' for '--list <N>': it must be at least 1

    For more information, try '--help'.

    $ schedule --config snapshots.toml --metrics localhost
    exit 2
    error: invalid value 'localhost' for '--metrics <ADDR>': give an address and a port, such as 127.0.0.1:9464, or a port that only this machine can reach

    For more information, try '--help'.

    $ schedule --config snapshots.toml --metrics BUSY
    exit 73
    error: BUSY: cannot start the metrics server
      cause: Address already in use (os error 98)
      hint: choose another --metrics address, or port 0 for any free one
    "#);
    assert_eq!(world.server.stats().requests, 0);
}

#[test]
fn missed_run_is_repeated_once_and_reported() {
    // The run is reported in the metrics and to the `on_result` program.
    let keys = "on_result = [\"./tell\", \"$HOME\"]\n";
    let world = overdue(Options::default(), ROWS, keys);
    program(&world, "tell", "cat > told.json; { echo \"$1\"; env; } > seen; echo a word; exit 3");
    let service = Service::start(&world, &[]);
    let log = service.says("on_result failed; this does not change the run's result");
    assert!(log.contains("./tell ended with exit status: 3"), "{log}");
    assert!(log.lines().any(|line| line == "a word"), "{log}");

    let metrics = service.scrape("overmind_export_runs_total{job=\"nightly\",result=\"stored\"} 1");
    for line in [
        &format!("overmind_export_rows_total{{job=\"nightly\"}} {ROWS}"),
        "overmind_export_running{job=\"nightly\"} 0",
        "overmind_export_reload_successful 1",
        "overmind_export_requests_in_flight 0",
        "overmind_export_retries_total 0",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    let ok = "overmind_export_requests_total{status=\"200\"} ";
    let requests = metrics.lines().find_map(|line| line.strip_prefix(ok)).unwrap();
    assert_eq!(requests.parse::<u64>().unwrap(), world.server.stats().requests);

    // The program gets the history line and unexpanded arguments. Its environment does not contain the key.
    let mut told: Value = serde_json::from_slice(&world.read("told.json")).unwrap();
    let mut runs = history(&world);
    assert_eq!(runs.len(), 2);
    // The durations differ slightly, because writing the history also takes time.
    for run in [&mut told, &mut runs[1]] {
        assert!(run["seconds"].take().as_f64() > Some(0.0));
    }
    assert_eq!(told, runs[1]);
    assert_eq!((&told["status"], &told["rows"]), (&json!("stored"), &json!(ROWS)));
    let seen = String::from_utf8(world.read("seen")).unwrap();
    assert!(seen.starts_with("$HOME\n") && !seen.contains(KEY), "{seen}");

    let ran = service.stop();
    assert_eq!(ran.stdout, "");
    assert_eq!(snapshots(&world).len(), 1);
    // The run is in the history now, so a second start does not repeat it.
    let service = Service::start(&world, &[]);
    service.says("next run");
    let metrics = service.scrape("overmind_export_running{job=\"nightly\"} 0");
    assert!(metrics.contains("overmind_export_last_success_timestamp_seconds{job=\"nightly\"} "));
    service.stop();
    assert_eq!(history(&world).len(), 2);
}

#[test]
fn new_job_has_metrics_before_its_first_run() {
    let world = World::generated(Options::default(), 1);
    fs::write(world.path("snapshots.toml"), configuration("")).unwrap();
    let service = Service::start(&world, &[]);
    let log = service.says("next run");
    let told = "its root is relative to the configuration file job=\"nightly\" root=";
    let told = format!("{told}{}", world.path("snapshots").display());
    assert!(log.contains(&told), "{log}");
    service.scrape("overmind_export_last_success_timestamp_seconds{job=\"nightly\"} 0");
    let metrics =
        service.scrape("overmind_export_expected_interval_seconds{job=\"nightly\"} 86400");
    assert!(metrics.contains("overmind_export_known_since_timestamp_seconds{job=\"nightly\"} "));
    service.stop();
}

#[test]
fn failed_run_is_logged_and_the_schedule_continues() {
    let faults = Faults::none().on(1, FaultAttempt::Always, Fault::status(503));
    let world = overdue(Options { faults, ..Options::default() }, ROWS, "");
    let service = Service::start(&world, &["--max-retries", "0"]);
    let log = service.says("ERROR failed job=");
    assert!(log.contains("stayed unavailable") && log.contains("hint="), "{log}");
    service.scrape("overmind_export_runs_total{job=\"nightly\",result=\"failed\"} 1");
    assert!(service.get("GET /healthz").contains("200 OK"));
    service.says("next run job=\"nightly\"");
    service.stop();
}

#[test]
fn next_start_resumes_a_run_stopped_by_sigterm() {
    let options = Options { latency: Duration::from_millis(30), ..Options::default() };
    let keys = "page_size = 25\nrows_per_file = 50\n";
    let world = overdue(options, 4000, keys);
    let service = Service::start(&world, &["--concurrency", "1", "--log-format", "json"]);
    assert!(world.server.wait_until(SOON, |stats| stats.requests >= 20));
    service.signal("TERM");
    let ran = service.ended();
    assert_eq!(ran.code, Some(143), "{ran:?}");
    assert!(ran.stderr.contains("interrupted: the next run resumes it"), "{}", ran.stderr);
    let last: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["fields"]["message"], "interrupted by SIGTERM", "{last}");
    assert_eq!(snapshots(&world), Vec::<PathBuf>::new());

    let before = world.server.stats().requests;
    let service = Service::start(&world, &[]);
    service.says(" stored ");
    service.scrape("overmind_export_runs_total{job=\"nightly\",result=\"stored\"} 1");
    service.stop();
    let after = world.server.stats().requests - before;
    assert!(after < 160, "{after} requests: the run started over");
    assert_eq!(snapshots(&world).len(), 1);
}

#[test]
fn next_start_resumes_an_interrupted_first_run() {
    let world = overdue(Options::default(), ROWS, "");
    let path = world.path("snapshots/.overmind/nightly/history.jsonl");
    let mut run = history(&world).remove(0);
    (run["status"], run["exit_code"]) = (json!("failed"), json!(143));
    fs::write(path, format!("{run}\n")).unwrap();
    let service = Service::start(&world, &[]);
    service.says(" stored ");
    service.scrape("overmind_export_runs_total{job=\"nightly\",result=\"stored\"} 1");
    service.stop();
}

#[test]
fn second_signal_does_not_wait_for_active_runs() {
    let world = overdue(Options::default(), 10, "on_result = [\"./hang\"]\n");
    program(&world, "hang", "echo hanging; exec sleep 300");
    let service = Service::start(&world, &[]);
    service.says("hanging");
    service.signal("INT");
    service.says("stopping the active runs");
    service.signal("TERM");
    let ran = service.ended();
    // The first signal determines the exit code.
    assert_eq!(ran.code, Some(130), "{ran:?}");
}

#[test]
fn sighup_applies_only_a_valid_configuration() {
    let world = World::generated(Options::default(), 1);
    let good = configuration("");
    fs::write(world.path("snapshots.toml"), &good).unwrap();
    let service = Service::start(&world, &[]);
    service.says("next run job=\"nightly\"");
    let next = |metrics: &str, job: &str| {
        metrics.contains(&format!("next_run_timestamp_seconds{{job=\"{job}\"}} "))
    };

    for (schedule, why) in [
        ("schedule = \"0 2 * *\"", "it has 4 fields"),
        ("shedule = \"0 2 * * *\"", "did you mean \"schedule\"?"),
        ("schedule = \"0 2 * * *\"\non_result = [\"./missing\"]", "on_result of job"),
    ] {
        let broken = good.replace("schedule = \"0 2 * * *\"", schedule);
        fs::write(world.path("snapshots.toml"), broken).unwrap();
        service.signal("HUP");
        let log = service.says(why);
        assert!(
            log.contains("cannot use the configuration file: the old configuration stays in use"),
            "{log}"
        );
        let metrics = service.scrape("overmind_export_reload_successful 0");
        assert!(next(&metrics, "nightly"), "{metrics}");
    }

    let other = good.replace("nightly", "weekly").replace("0 2 * * *", "0 2 * * sun");
    fs::write(world.path("snapshots.toml"), other).unwrap();
    service.signal("HUP");
    service.says("the configuration file was read again");
    service.says("next run job=\"weekly\"");
    let metrics = service.scrape("overmind_export_reload_successful 1");
    assert!(next(&metrics, "weekly") && !next(&metrics, "nightly"), "{metrics}");
    service.stop();
}
