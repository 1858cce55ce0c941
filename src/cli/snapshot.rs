//! `snapshot`: runs the jobs of the configuration file once, immediately.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    Config, Error, Event, Failure, Job, JobResult, Location, Result, RunOptions, SnapshotResult,
    Status, Stop, StorageOptions,
    config::with_keys,
    error::{causes, human},
    job_history, run_jobs,
    schedule::textfile,
    text::{counted, grouped},
};
use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::{
    export::replaced_rows,
    global::Global,
    lines::Lines,
    missing::missing_values,
    progress::{Screen, Shown},
    signals::{Stopped, stopped},
    storage::Storage,
    values,
};

/// Take snapshots now, once: run all jobs of the configuration file, or only the named ones
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overmind-export snapshot
  overmind-export snapshot triage-eval support-agent --jobs 2")]
pub(super) struct SnapshotArgs {
    /// Names of jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Number of jobs to run at the same time; they share the requests in flight
    #[arg(long = "jobs", value_name = "N", default_value_t = 4, value_parser = values::positive::<usize>)]
    side_by_side: usize,
    /// Write the last run and the last success of every job to this file, for the textfile collector of
    /// Prometheus' node_exporter
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    metrics_file: Option<PathBuf>,
    /// Print a summary as one JSON object to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: Storage,
}

/// The output of `--json`.
#[derive(Serialize)]
struct JobsSummary<'a> {
    exit_code: u8,
    jobs: &'a [JobResult],
}

impl SnapshotArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let config = global.required_config()?;
        let jobs = jobs_of(&config, &self.jobs)?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let client = global.client_of(Some(&config))?;
        tell_new_roots(&jobs, screen);
        let running = Running::new(screen);
        let options = RunOptions {
            jobs: self.side_by_side,
            storage: storage.clone(),
            observer: Some(running.observer()),
            ..RunOptions::default()
        };
        let stop = Stop::default();
        let results = super::block_on(async {
            let asked = stop.clone();
            let signals = tokio::spawn(async move {
                let Stopped { name, number } = stopped().await;
                asked.request(name, number);
            });
            let results = run_jobs(&client, &jobs, &options, &stop).await;
            signals.abort();
            Ok(results)
        })?;
        let ended = ended(&results, &stop);
        let written = match &self.metrics_file {
            Some(path) => write_metrics(path, &config, &results, &storage),
            None => Ok(()),
        };
        if let (Some(_), Err(error)) = (&ended, &written) {
            // The failed run determines the exit code.
            screen.print_failure("", &Failure::new(error));
        }
        if self.json {
            let exit_code = ended.as_ref().map_or(0, Error::exit_code);
            super::ignore_closed_stdout(super::print_json(&JobsSummary {
                exit_code,
                jobs: &results,
            }))?;
        }
        ended.map_or(written, Err)
    }
}

/// Returns the named jobs, or all jobs if none is named.
///
/// # Errors
///
/// `Configuration` if the file has no jobs, `Invalid` if a name is unknown.
pub(super) fn jobs_of(config: &Config, names: &[String]) -> Result<Vec<Job>> {
    let jobs = config.jobs_named(names)?;
    if jobs.is_empty() {
        let path = config.path.display();
        return Err(Error::Configuration(format!("{path} has no jobs: add a [[job]]")));
    }
    Ok(jobs)
}

/// Writes the metrics of all jobs, also of those that did not run now, because the file replaces the former one.
fn write_metrics(
    path: &Path,
    config: &Config,
    results: &[JobResult],
    storage: &StorageOptions,
) -> Result<()> {
    let runs = |job: &Job| {
        let mut runs = job_history(job, storage).unwrap_or_else(|error| {
            let causes = causes(&error).join(": ");
            tracing::warn!(job = job.name, %error, causes, "cannot read the history: its metrics lack earlier runs");
            Vec::new()
        });
        // The history lacks a run that could not take the job's lock.
        runs.extend(results.iter().find(|result| result.job == job.name).cloned());
        (job.name.clone(), runs)
    };
    let jobs: Vec<_> = config.jobs.iter().map(runs).collect();
    Location::from(path).write(textfile(&jobs).as_bytes())
}

/// Names the roots that the first run of these jobs will create from relative paths. People may expect them below
/// the current directory.
fn tell_new_roots(jobs: &[Job], screen: &Screen) {
    let relative = jobs.iter().filter_map(|job| Some((job.relative_root.as_ref()?, &job.root)));
    let mut roots: Vec<_> = relative.filter(|(_, root)| !root.exists()).collect();
    roots.dedup();
    for (written, root) in roots {
        let root = root.display();
        let line = format_args!("root = {written:?} is relative to the configuration file: {root}");
        screen.say(Lines::one(line));
    }
}

/// Returns the error of the whole run if at least one job failed.
fn ended(results: &[JobResult], stop: &Stop) -> Option<Error> {
    let mut failed = results.iter().filter(|result| result.status == Status::Failed);
    let first = failed.next()?;
    let failed = 1 + failed.count() as u64;
    if let Some((signal, number)) = stop.signal() {
        let hint = Some("run the same command again to resume where it stopped");
        return Some(Error::Interrupted { signal, number, hint });
    }
    let (of, exit_code) = (results.len() as u64, first.exit_code);
    Some(Error::Jobs { failed, of, exit_code })
}

/// Shows the progress of the running exports, and prints the result of each job.
pub(super) struct Running {
    screen: Screen,
    shown: Arc<Mutex<HashMap<String, Shown>>>,
}

impl Running {
    pub(super) fn new(screen: &Screen) -> Self {
        Self { screen: screen.clone(), shown: Arc::default() }
    }

    pub(super) fn observer(self) -> crate::Observer {
        Arc::new(move |event| {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Began { job, client, progress } => {
                    let now = self.screen.show_as(&job.name, client.clone(), progress);
                    if let Some(before) = shown.insert(job.name.clone(), now) {
                        before.end();
                    }
                }
                Event::Ended(result) => {
                    if let Some(shown) = shown.remove(&result.job) {
                        shown.end();
                    }
                    self.tell(result);
                }
            }
        })
    }

    fn tell(&self, result: &JobResult) {
        let job = &result.job;
        for snapshot in &result.snapshots {
            match &snapshot.error {
                Some(error) => self.screen.print_failure(job, error),
                None => self.screen.say(stored(snapshot, result)),
            }
        }
        if let Some(error) = &result.error {
            self.screen.print_failure(job, error);
        }
        if !result.pruned.is_empty() {
            let gone = result.pruned.join(" ");
            let count = grouped(result.pruned.len() as u64);
            self.screen.say(Lines::one(format_args!("{job}: removed {count}: {gone}")));
        }
    }
}

fn stored(snapshot: &SnapshotResult, result: &JobResult) -> Lines {
    let job = &result.job;
    let path = snapshot.path.as_deref().unwrap_or_default();
    let (mut rows, bytes) = (counted(snapshot.rows, "row"), HumanBytes(snapshot.bytes));
    let mut claim = "complete: every row once";
    if let Some(read) = snapshot.rows_read.filter(|read| *read != snapshot.rows) {
        rows = format!("{rows} of {} read", grouped(read));
        claim = "complete: every row read once";
    }
    let what = match snapshot.unchanged_by.as_deref() {
        None => {
            let time = human(Duration::try_from_secs_f64(result.seconds).unwrap_or_default());
            format!("{rows} ({bytes}) · {time} · {claim}")
        }
        Some(by) => format!("unchanged, same {by}: {rows} ({bytes})"),
    };
    let lines = Lines::one(format_args!("{job}: {what}"));
    let lines = match snapshot.unchanged_by {
        None => of_transform(lines, snapshot),
        Some(_) => lines,
    };
    rescued(lines.and(format_args!("  {path}")), snapshot, job)
}

/// Adds lines about what the transformation did to the rows of a new snapshot.
fn of_transform(lines: Lines, snapshot: &SnapshotResult) -> Lines {
    let lines = match snapshot.failed_rows {
        0 => lines,
        failed => lines.and(format_args!("  an expression failed on {}", counted(failed, "row"))),
    };
    let lines = match snapshot.duplicate_rows {
        0 => lines,
        more => {
            let rows = counted(more, "row");
            lines.and(format_args!("  left out, because they equal an earlier row: {rows}"))
        }
    };
    let lines = replaced_rows(lines, &snapshot.replaced_rows, snapshot.transform.as_ref());
    missing_values(lines, &snapshot.missing, ("no row", snapshot.rows), with_keys)
}

/// Adds a warning about values that do not fit the pinned schema, if there are any.
fn rescued(lines: Lines, snapshot: &SnapshotResult, job: &str) -> Lines {
    let SnapshotResult { rescued_rows, rescued_paths, .. } = snapshot;
    if *rescued_rows == 0 {
        return lines;
    }
    let rows = counted(*rescued_rows, "row");
    lines
        .and(format_args!(
            "  warning: values that do not fit the pinned schema are in the column _rescued: {rows}, {}",
            first_paths(rescued_paths)
        ))
        .and(format_args!("  hint: `overmind-export schema --accept {job}` widens the schema"))
}

/// Names the first paths of rescued values.
pub(super) fn first_paths(paths: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = paths.iter().take(SHOWN).map(String::as_str).collect();
    let more = if paths.len() > SHOWN { ", …" } else { "" };
    format!("such as {}{more}", shown.join(", "))
}
