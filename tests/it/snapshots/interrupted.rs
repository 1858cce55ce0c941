//! Runs that are killed, stopped or blocked by each other, and the runs after them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use overmind_export::{
    JobResult, Stop,
    demo::{Dataset, Fault, FaultAttempt, Faults, Options},
};
use serde_json::Value;

use super::{Nightly, result, run_until, version, version_id};
use crate::support::{ID, Ran};

const SOON: Duration = Duration::from_secs(30);
const LINES: &str = "page_size = 25\nrows_per_file = 100\nunchanged = \"never\"";
/// Keeps the prefetch small.
const SLOWLY: [&str; 2] = ["--concurrency", "1"];

/// A job of 40 pages in parts of four pages. Page 30 takes 100 seconds.
fn stuck(lines: &str) -> Nightly {
    stuck_choosing(&format!("dataset = \"{ID}\""), lines)
}

/// Like [`stuck`]. `choice` is the line that selects the dataset.
fn stuck_choosing(choice: &str, lines: &str) -> Nightly {
    let faults =
        Faults::none().on(30, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    let options = Options { faults, ..Options::default() };
    let dataset = Dataset::generated(1000, 7).with_id(ID);
    let jobs = format!("[[job]]\nname = \"nightly\"\n{choice}\n{LINES}\n{lines}\n");
    Nightly::with(options, vec![dataset], &jobs)
}

/// The staging of the interrupted run.
fn staging(nightly: &Nightly) -> Option<PathBuf> {
    let mut entries = fs::read_dir(nightly.hidden("nightly")).ok()?.map(|it| it.unwrap().path());
    entries.find(|path| path.to_str().unwrap().ends_with(".partial"))
}

/// Runs such a job, kills it at page 30 and returns the stamp of the interrupted run.
fn killed(nightly: Nightly) -> (Nightly, String) {
    let mut run = nightly.start(&SLOWLY);
    assert!(nightly.world.server.wait_until(SOON, |stats| stats.attempts(ID, 30) == 1));
    // The earlier pages have arrived. Wait until parts of them are finished.
    let journaled = || {
        let journal = staging(&nightly).unwrap_or_default().join("journal.jsonl");
        fs::read_to_string(journal).unwrap_or_default().matches('\n').count()
    };
    let begun = Instant::now();
    while journaled() < 3 {
        assert!(begun.elapsed() < SOON, "no part was finished");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    nightly.world.server.set_faults(Faults::none());
    assert_eq!(nightly.names("nightly"), [""; 0]);
    let names = nightly.hidden_names("nightly");
    let [lock, partial] = &names[..] else { panic!("{names:?}") };
    assert_eq!(lock, ".lock");
    let stamp = partial.strip_prefix(".snapshot=").and_then(|it| it.strip_suffix(".partial"));
    (nightly, stamp.unwrap().to_owned())
}

/// Sends a signal and waits for the end of the run.
pub(super) fn end_with(signal: &str, run: std::process::Child) -> Ran {
    let pid = run.id().to_string();
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    Ran::from(run.wait_with_output().unwrap())
}

#[test]
fn killed_snapshot_resumes_under_its_own_stamp() {
    let (nightly, stamp) = killed(stuck(""));
    let ran = nightly.run(&["snapshots", "--json"]).ok();
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (listed["snapshot"].as_str(), listed["complete"].as_bool()),
        (Some(&*stamp), Some(false))
    );

    let before = nightly.datapoints();
    let ran = nightly.snapshot(&["--json"]).ok();
    let kept = ran.stderr.strip_prefix("nightly: resuming: ").expect(&ran.stderr);
    let kept: u32 = kept.split(' ').next().unwrap().parse().unwrap();
    // The run fetches page 1 and the last kept page for the comparison, and all pages that are in no part.
    assert_eq!(nightly.datapoints() - before, 2 + 40 - 4 * kept);
    let told = result(&ran);
    assert_eq!(told["snapshots"][0]["snapshot"], stamp.as_str());
    assert_eq!(nightly.stamps("nightly"), [stamp.as_str()]);
    let name = format!("snapshot={stamp}");
    assert_eq!(nightly.names("nightly"), [name.as_str()]);
    let names = ["history.jsonl", "latest.json", &format!("{name}.manifest.json")];
    assert_eq!(nightly.hidden_names("nightly"), names);
    let path = nightly.newest("nightly");
    Ran::of(nightly.world.command().arg("verify").arg(path)).ok();
    // The next run has its own stamp again.
    nightly.snapshot(&[]).ok();
    assert_eq!(nightly.stamps("nightly").len(), 2);
}

#[test]
fn unusable_interrupted_run_is_dropped() {
    type Change<'a> = (&'a str, fn(&Nightly));
    let table: [Change<'_>; 4] = [
        ("another plan", |it| {
            let path = it.world.path("snapshots.toml");
            let text = fs::read_to_string(&path).unwrap() + "columns = [\"id\"]\n";
            fs::write(path, text).unwrap();
        }),
        ("another count", |it| {
            it.world.server.replace(vec![Dataset::generated(1025, 7).with_id(ID)]);
        }),
        ("the same count, but other metadata", |it| {
            let other = Dataset::generated(1000, 8).with_id(ID).with_metadata("{\"edition\":2}");
            it.world.server.replace(vec![other]);
        }),
        ("no journal", |it| {
            fs::remove_file(staging(it).unwrap().join("journal.jsonl")).unwrap();
        }),
    ];
    for (what, change) in table {
        // With `select`, the run reads the list of datasets and sees the metadata.
        let (nightly, stamp) = killed(stuck_choosing("select = \"latest\"", ""));
        change(&nightly);
        let ran = nightly.snapshot(&["--json"]).ok();
        let names = nightly.hidden_names("nightly");
        assert_eq!((nightly.names("nightly").len(), names.len()), (1, 3), "{what}: {names:?}");
        // A run in the same second as the kill gets a stamp one second later.
        assert_ne!(result(&ran)["snapshots"][0]["snapshot"], stamp.as_str(), "{what}");
    }
}

#[test]
fn unchanged_data_drops_the_interrupted_run() {
    let nightly = Nightly::one(100, "");
    nightly.at("2026-11-23T02:00:00Z");
    let partial = nightly.hidden("nightly").join(".snapshot=20261124T020000Z.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("journal.jsonl"), "").unwrap();
    nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(nightly.names("nightly"), ["snapshot=20261123T020000Z"]);
    assert_eq!(nightly.hidden_names("nightly").len(), 3);
}

#[test]
fn temporary_files_of_killed_runs_are_removed() {
    let nightly = Nightly::one(100, "");
    nightly.at("2026-11-23T02:00:00Z");
    let (job, hidden) = (nightly.job("nightly"), nightly.hidden("nightly"));
    let (names, hidden_names) = (nightly.names("nightly"), nightly.hidden_names("nightly"));
    fs::create_dir_all(hidden.join(".overmind-0badcafe/second")).unwrap();
    fs::write(hidden.join(".overmind-0badcafe/lock"), ".").unwrap();
    fs::create_dir(job.join(".overmind-0badcafe.new")).unwrap();
    fs::write(job.join(".overmind-0badcafe.new/part"), "").unwrap();
    fs::write(job.join(".overmind-0badcafe.partial"), ".").unwrap();
    fs::write(hidden.join(".latest.json.0badcafe.new"), "{").unwrap();
    // Files of other programs stay.
    let others = [".latest.json.bak", ".overmind-0badcafe.txt", ".overmind-notes"];
    for name in others {
        fs::write(hidden.join(name), "mine").unwrap();
    }
    nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(nightly.names("nightly"), names);
    let others = others.map(str::to_owned).into_iter();
    assert_eq!(nightly.hidden_names("nightly"), others.chain(hidden_names).collect::<Vec<_>>());
}

#[test]
fn signal_ends_all_jobs_and_the_next_run_resumes() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let more = format!("[[job]]\nname = \"other\"\ndataset = \"{ID}\"\n{LINES}\n");
        let nightly = stuck(&more);
        let run = nightly.start(&[&SLOWLY[..], &["--json", "--jobs", "1"]].concat());
        assert!(nightly.world.server.wait_until(SOON, |stats| stats.attempts(ID, 30) == 1));
        let ran = end_with(signal, run);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains("run the same command again to resume"), "{}", ran.stderr);
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(summary["exit_code"], code);
        assert_eq!(summary["jobs"][1]["exit_code"], code);
        let stamp = summary["jobs"][0]["snapshots"][0]["snapshot"].as_str().unwrap();
        // The job that had not started has left nothing.
        assert!(!nightly.job("other").exists());
        assert_eq!(nightly.history("nightly")[0]["exit_code"], code);

        nightly.world.server.set_faults(Faults::none());
        nightly.snapshot(&[]).ok();
        assert_eq!(nightly.stamps("nightly"), [stamp]);
    }
}

/// Runs the jobs and requests a stop as soon as `holds` returns true.
fn stopped_when(nightly: &Nightly, holds: impl Fn() -> bool) -> Vec<JobResult> {
    let (jobs, url, stop) = (nightly.config().jobs, nightly.world.server.url(), Stop::default());
    std::thread::scope(|scope| {
        let run = scope.spawn(|| run_until(&jobs, &url, nightly.clock.clone(), &stop));
        while !holds() && !run.is_finished() {
            std::thread::yield_now();
        }
        stop.request("SIGTERM", 15);
        run.join().unwrap()
    })
}

/// Attempts to stop a run in the middle. On a busy machine, a run can end before the stop arrives.
const ATTEMPTS: u32 = 25;

#[test]
fn stop_between_two_datasets_is_not_a_success() {
    let jobs = "[[job]]\nname = \"all\"\nselect = \"all\"\n";
    let nightly = Nightly::new((1..=8).map(|it| version(it, it as u64)).collect(), jobs);
    nightly.at("2026-10-23T02:00:00Z");
    let latest = nightly.hidden("all").join(format!("dataset={}/latest.json", version_id(1)));
    for day in 1..=ATTEMPTS {
        nightly.set(&format!("2026-11-{day:02}T02:00:00Z"));
        let before = fs::read(&latest).unwrap();
        let results = stopped_when(&nightly, || fs::read(&latest).is_ok_and(|text| text != before));
        let result = &results[0];
        assert!(result.snapshots.iter().all(|it| it.error.is_none()), "{result:?}");
        if (1..8).contains(&result.snapshots.len()) {
            assert_eq!(result.exit_code, 143, "{result:?}");
            assert!(result.was_interrupted());
            assert_eq!(nightly.history("all").last().unwrap()["exit_code"], 143);
            return;
        }
    }
    panic!("no run was stopped between two datasets");
}

#[test]
fn retention_ends_at_a_stop_request() {
    let nightly = Nightly::one(10, "# keep = { last = 1 }");
    for rows in 1..9 {
        nightly.world.server.replace(vec![Dataset::generated(rows, 7).with_id(ID)]);
        nightly.at(&format!("2026-10-2{rows}T02:00:00Z"));
    }
    let path = nightly.world.path("snapshots.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("# keep", "keep")).unwrap();
    let (job, saved) = (nightly.world.path("snaps"), nightly.world.path("saved"));
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    copy(&job, &saved);
    for day in 1..=ATTEMPTS {
        nightly.set(&format!("2026-11-{day:02}T02:00:00Z"));
        let results = stopped_when(&nightly, || nightly.stamps("nightly").len() < 8);
        let left = nightly.stamps("nightly").len();
        if left > 1 {
            assert_eq!((results[0].exit_code, results[0].pruned.len()), (0, 8 - left));
            // The next run removes the rest.
            assert_eq!(nightly.at("2026-11-26T02:00:00Z")[0].pruned.len(), left - 1);
            return;
        }
        fs::remove_dir_all(&job).unwrap();
        copy(&saved, &job);
    }
    panic!("no run was stopped during retention");
}

#[test]
fn stuck_job_does_not_block_other_jobs() {
    let job = |number| {
        let id = version_id(number);
        format!("[[job]]\nname = \"job-{number}\"\ndataset = \"{id}\"\n{LINES}\n")
    };
    // Only the first dataset has a second page.
    let faults = Faults::none().on(2, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    let options = Options { faults, ..Options::default() };
    let datasets = vec![version(1, 1000), version(2, 10), version(3, 10)];
    let nightly = Nightly::with(options, datasets, &[1, 2, 3].map(job).concat());
    let mut run = nightly.start(&["--json", "--jobs", "2"]);
    let (history, begun) = (nightly.hidden("job-3").join("history.jsonl"), Instant::now());
    while !fs::read_to_string(&history).is_ok_and(|text| text.ends_with('\n')) {
        if begun.elapsed() >= SOON {
            run.kill().unwrap();
            panic!("the third job did not finish");
        }
        std::thread::yield_now();
    }
    let ran = end_with("TERM", run);
    assert_eq!(ran.code, Some(143), "{ran:?}");
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let jobs = summary["jobs"].as_array().unwrap();
    let told: Vec<_> = jobs.iter().map(|it| [&it["job"], &it["status"]]).collect();
    // The jobs are listed in the order of the file, not in the order in which they end.
    assert_eq!(told, [["job-1", "failed"], ["job-2", "stored"], ["job-3", "stored"]]);
}

#[test]
fn two_processes_do_not_run_one_job() {
    let nightly = stuck("");
    let run = nightly.start(&SLOWLY);
    assert!(nightly.world.server.wait_until(SOON, |stats| stats.attempts(ID, 30) == 1));
    let requests = nightly.world.server.stats().requests;
    let ran = nightly.snapshot(&["--json"]);
    assert_eq!(ran.code, Some(75), "{ran:?}");
    assert_eq!(result(&ran)["error"]["exit_code"], 75);
    assert_eq!(nightly.world.server.stats().requests, requests);
    // The refused run leaves a line, and the active run adds its own.
    let codes = || {
        let history = nightly.history("nightly").into_iter();
        history.map(|run| run["exit_code"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(codes(), [75]);
    assert_eq!(nightly.history("nightly")[0], result(&ran));
    assert_eq!(end_with("TERM", run).code, Some(143));
    assert_eq!(codes(), [75, 143]);
    nightly.world.server.set_faults(Faults::none());
    nightly.snapshot(&[]).ok();
}
