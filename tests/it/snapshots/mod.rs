//! Nightly snapshots: the command with a configuration file, and runs in this process with a fake clock.

#[cfg(unix)]
mod bad_files;
mod changed;
#[cfg(unix)]
mod configuration;
mod damaged;
mod history;
mod interrupted;
mod keys;
mod latest;
mod long;
mod messages;
mod metrics_file;
mod mixed_jobs;
pub(crate) mod nights;
mod outputs;
mod pages;
mod pinned;
mod prune;
mod quoted;
mod retention;
mod runs;
mod stale;
mod weeks;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
};

use overmind_export::{
    Client, Clock, Config, Job, JobResult, RunOptions, Stop,
    chrono::{DateTime, Utc},
    demo::{Dataset, Options},
    run_jobs,
};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{ID, KEY, Ran, World};

/// An agent with several datasets.
const AGENT: Uuid = Uuid::from_u128(0x0d3f_0b52_7d5c_4c39_9a49_1f6a_5d3a_8f01);

/// The dataset id of a version.
fn version_id(version: u128) -> Uuid {
    Uuid::from_u128(0xa000_0000_0000_4000_8000_0000_0000_0000 + version)
}

/// A version of the dataset `support-chat` of [`AGENT`], with this number of rows.
fn version(version: u128, rows: u64) -> Dataset {
    Dataset::generated(rows, version as u64)
        .with_id(version_id(version))
        .with_agent(AGENT)
        .with_name("support-chat")
        .with_version(version as i64)
}

/// An API, a folder with a configuration file, and a fake clock.
pub(crate) struct Nightly {
    pub(crate) world: World,
    clock: Arc<Hands>,
}

/// A fake clock. It returns the time that a test has set.
#[derive(Debug)]
pub(crate) struct Hands(Mutex<DateTime<Utc>>);

impl Clock for Hands {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

impl Nightly {
    /// Writes a configuration file with `root = "snaps"` as default and with these jobs.
    pub(crate) fn new(datasets: Vec<Dataset>, jobs: &str) -> Self {
        Self::with(Options::default(), datasets, jobs)
    }

    /// Like [`Nightly::new`], with these options of the API.
    pub(crate) fn with(options: Options, datasets: Vec<Dataset>, jobs: &str) -> Self {
        let world = World::generated(options, 1);
        world.server.replace(datasets);
        let text = format!("[defaults]\nroot = \"snaps\"\n{jobs}");
        fs::write(world.path("snapshots.toml"), text).unwrap();
        let clock = Arc::new(Hands(Mutex::new(DateTime::UNIX_EPOCH)));
        Self { world, clock }
    }

    /// One job, `nightly`, that stores the dataset [`ID`]. `lines` are further lines of its table.
    fn one(rows: u64, lines: &str) -> Self {
        let dataset = Dataset::generated(rows, 7).with_id(ID);
        Self::new(
            vec![dataset],
            &format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n{lines}\n"),
        )
    }

    /// Runs a subcommand with the configuration file.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.world.command().args(arguments).args(["--config", "snapshots.toml"]))
    }

    pub(crate) fn snapshot(&self, arguments: &[&str]) -> Ran {
        self.run(&[&["snapshot"], arguments].concat())
    }

    /// Starts `snapshot` with these arguments, without waiting for its end.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.world.command();
        command.args(["snapshot", "--config", "snapshots.toml"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn config(&self) -> Config {
        Config::read(&self.world.path("snapshots.toml")).unwrap()
    }

    fn set(&self, time: &str) {
        *self.clock.0.lock().unwrap() = time.parse().unwrap();
    }

    /// Runs all jobs at this time.
    pub(crate) fn at(&self, time: &str) -> Vec<JobResult> {
        self.job_at(&[], time)
    }

    /// Runs these jobs at this time.
    fn job_at(&self, names: &[&str], time: &str) -> Vec<JobResult> {
        self.set(time);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let jobs = self.config().jobs_named(&names).unwrap();
        run(&jobs, &self.world.server.url(), self.clock.clone())
    }

    fn job(&self, name: &str) -> PathBuf {
        self.world.path("snaps").join(name)
    }

    /// The folder of a job for everything but its snapshots.
    fn hidden(&self, name: &str) -> PathBuf {
        self.world.path("snaps/.overmind").join(name)
    }

    /// The folder of the newest snapshot, as `latest.json` names it.
    fn newest(&self, job: &str) -> PathBuf {
        self.world.path("snaps").join(self.latest(job)["path"].as_str().unwrap())
    }

    /// The record of the snapshot with this stamp.
    fn record(&self, job: &str, stamp: &str) -> PathBuf {
        self.hidden(job).join(format!("snapshot={stamp}.manifest.json"))
    }

    /// The sorted names in the folder for everything but the snapshots.
    fn hidden_names(&self, job: &str) -> Vec<String> {
        crate::support::entries(&self.hidden(job))
    }

    /// The sorted names in a job's folder, hidden entries included.
    fn names(&self, job: &str) -> Vec<String> {
        crate::support::entries(&self.job(job))
    }

    /// The stamps of the existing snapshots.
    fn stamps(&self, job: &str) -> Vec<String> {
        let names = self.names(job).into_iter();
        names.filter_map(|name| Some(name.strip_prefix("snapshot=")?.to_owned())).collect()
    }

    fn latest(&self, job: &str) -> Value {
        serde_json::from_slice(&fs::read(self.hidden(job).join("latest.json")).unwrap()).unwrap()
    }

    fn history(&self, job: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.hidden(job).join("history.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Gives each run in the history of a job the same duration, for texts.
    pub(crate) fn set_durations(&self, job: &str) {
        let mut text = String::new();
        for mut run in self.history(job) {
            run["seconds"] = 1.5.into();
            text += &format!("{run}\n");
        }
        fs::write(self.hidden(job).join("history.jsonl"), text).unwrap();
    }

    /// Number of requests for datapoints so far.
    pub(crate) fn datapoints(&self) -> u32 {
        let stats = self.world.server.stats();
        stats.attempts.iter().filter(|((id, _), _)| id.is_some()).map(|(_, count)| count).sum()
    }
}

/// The result of the only job of `snapshot --json`.
fn result(ran: &Ran) -> Value {
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    summary["jobs"][0].clone()
}

/// Runs jobs in this process.
fn run(jobs: &[Job], url: &str, clock: Arc<Hands>) -> Vec<JobResult> {
    run_until(jobs, url, clock, &Stop::default())
}

/// Like [`run`], but a stop can be requested.
fn run_until(jobs: &[Job], url: &str, clock: Arc<Hands>, stop: &Stop) -> Vec<JobResult> {
    let client = Client::builder().base_url(url).api_key(KEY).max_retries(1).build().unwrap();
    let mut options = RunOptions::default();
    options.clock = clock;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run_jobs(&client, jobs, &options, stop))
}
