//! `snapshots`: lists the snapshots found in the roots of the jobs, and says whether the jobs are healthy. It sends no
//! request to the API.

use crate::{
    Clock, DamagedSnapshot, Job, ListedSnapshot, Result, StorageOptions, SystemClock,
    UnnamedFolder,
    error::harmless,
    list_snapshots,
    schedule::{EmptySnapshot, JobHealth, RunWithRows, job_health},
    snapshots::unreadable_text,
    text::{counted, grouped},
    unnamed_folders,
};
use clap::Args;
use indicatif::HumanBytes;

use super::{
    flags::with_flags,
    global::Global,
    lines::{self, Lines},
    progress::Screen,
    storage::Storage,
    table::{Fit, TableColumn, minute, render, terminal_width},
};

const COLUMNS: [TableColumn; 7] = [
    TableColumn::new("job", Fit::Whole),
    TableColumn::new("snapshot", Fit::Whole),
    TableColumn::new("dataset", Fit::Whole).left_out(3),
    TableColumn::new("rows", Fit::Number).left_out(4),
    TableColumn::new("bytes", Fit::Number).left_out(1),
    TableColumn::new("complete", Fit::Wrap),
    TableColumn::new("unchanged as of", Fit::Whole).left_out(2),
];

/// What to do about a job that keeps no rows.
const LOOK: &str = ": look at its `where`, and at the fields that it reads";

/// List the existing snapshots, and the last failure of each job
#[derive(Debug, Args)]
#[command(after_help = "\
A job is stale if it never succeeded, or if the second run after its last success should have ended.

Example:
  overmind-export snapshots --check || echo 'look at the snapshots'")]
pub(super) struct SnapshotsArgs {
    /// Names of jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Print whether each job is healthy instead, and exit with 1 if the last run of a job failed, or if
    /// a job is stale, or its newest snapshot is damaged or lost all rows
    #[arg(long)]
    check: bool,
    /// Print one JSON object per line instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: Storage,
}

impl SnapshotsArgs {
    /// Returns the exit code.
    pub(super) fn run(&self, global: &Global, screen: &Screen) -> Result<u8> {
        let config = global.required_config()?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let jobs = super::snapshot::jobs_of(&config, &self.jobs)?;
        if self.check {
            return self.check(&jobs, &storage);
        }
        let mut all = Vec::new();
        for job in &jobs {
            all.extend(list_snapshots(job, &storage)?);
        }
        // A command for one job does not look at the others.
        let unnamed = match self.jobs.is_empty() {
            true => unnamed_folders(&config, &storage)?,
            false => Vec::new(),
        };
        if self.json {
            all.iter().try_for_each(super::print_json)?;
            // Each line of the output is a snapshot.
            screen.say(unnamed.iter().map(unnamed_line).collect());
            return Ok(0);
        }
        let mut lines = match all.is_empty() {
            true => Lines::one("no snapshots"),
            false => render(&COLUMNS, all.iter().map(row)),
        };
        let health = health_of(&jobs, &storage)?;
        let mut notes: Lines = health.iter().filter_map(failure).collect();
        notes.extend(jobs.iter().filter_map(|job| other_dataset(&job.name, &all)).collect());
        notes.extend(unnamed.iter().map(unnamed_line).collect());
        lines.extend(notes.wrapped(terminal_width()));
        super::print(&lines)?;
        Ok(0)
    }

    fn check(&self, jobs: &[Job], storage: &StorageOptions) -> Result<u8> {
        let all = health_of(jobs, storage)?;
        // The exit code is the result, also if nobody reads the text.
        super::ignore_closed_stdout(match self.json {
            true => all.iter().try_for_each(super::print_json),
            false => {
                let lines: Lines = all.iter().flat_map(state).collect();
                super::print(&lines.wrapped(terminal_width()))
            }
        })?;
        Ok(all.iter().any(JobHealth::is_bad).into())
    }
}

fn health_of(jobs: &[Job], storage: &StorageOptions) -> Result<Vec<JobHealth>> {
    let now = SystemClock.now();
    jobs.iter().map(|job| job_health(job, storage, now)).collect()
}

/// Returns the lines of `--check` about a job.
fn state(health: &JobHealth) -> Vec<String> {
    let job = &health.job;
    let mut lines = Vec::new();
    if health.failed {
        lines.extend(failure(health));
    }
    match health.last_success.as_deref().map(minute) {
        None => lines.push(format!("{job}: stale: no run has succeeded yet")),
        Some(time) if health.stale => {
            lines.push(format!("{job}: stale: no success since {time} UTC, and two runs were due"));
        }
        Some(time) if !health.is_bad() => lines.push(format!("{job}: ok, last success {time} UTC")),
        Some(_) => {}
    }
    lines.extend(health.damaged.iter().map(|it| damage(job, it)));
    lines.extend(health.empty.iter().map(|it| emptiness(job, it)));
    lines.extend(unreadable_text(health.unreadable_lines).map(|text| format!("{job}: {text}")));
    lines
}

/// Returns the line about a snapshot without rows.
fn emptiness(job: &str, snapshot: &EmptySnapshot) -> String {
    let EmptySnapshot { name, rows_read, before, .. } = snapshot;
    let of_dataset = name.as_ref().map(|name| format!(" of {}", harmless(name)));
    let of_dataset = of_dataset.unwrap_or_default();
    let (has, look) = match rows_read {
        Some(0) => ("has no rows, like its dataset".to_owned(), ""),
        Some(1) => ("does not have the row that was read".to_owned(), LOOK),
        Some(read) => (format!("has none of the {} rows that were read", grouped(*read)), LOOK),
        None => ("has no rows".to_owned(), LOOK),
    };
    let newest = format!("the newest snapshot{of_dataset} {has}");
    match before {
        Some(RunWithRows { finished_at, rows, .. }) => {
            let (time, rows) = (minute(finished_at), counted(*rows, "row"));
            format!("{job}: empty: {newest}, and that of {time} UTC had {rows}{look}")
        }
        None => format!("{job}: {newest}{look}"),
    }
}

/// Returns the line about a damaged snapshot that is newer than the newest complete one.
pub(super) fn damage(job: &str, snapshot: &DamagedSnapshot) -> String {
    let DamagedSnapshot { location, why, .. } = snapshot;
    format!(
        "{job}: a snapshot newer than the complete ones is damaged: {location} {why}: restore its manifest, or move it away"
    )
}

/// Returns the line about the last failure of a job, if there was one.
fn failure(health: &JobHealth) -> Option<String> {
    let run = health.last_failure.as_ref()?;
    let what = if health.failed { "the last run failed" } else { "last failure" };
    let (job, time) = (&health.job, minute(&run.finished_at));
    let why = run.error.as_ref().map(|error| {
        let text = lines::one_line(error);
        format!(" (exit {}): {}", error.exit_code, with_flags(&text))
    });
    Some(format!("{job}: {what}, {time} UTC{}", why.unwrap_or_default()))
}

/// Returns the line about a job's snapshots of the dataset that it named before, if there are any.
fn other_dataset(job: &str, all: &[ListedSnapshot]) -> Option<String> {
    let of_job = |it: &&ListedSnapshot| it.job == job && it.other_dataset;
    let count = all.iter().filter(of_job).count() as u64;
    let them = if count == 1 { "it" } else { "them" };
    let count = (count > 0).then(|| counted(count, "snapshot"))?;
    Some(format!(
        "{job}: {count} of another dataset than the job names now: retention leaves {them}"
    ))
}

fn unnamed_line(folder: &UnnamedFolder) -> String {
    let UnnamedFolder { path, job, snapshots } = folder;
    let count = counted(*snapshots, "snapshot");
    format!("{path}: {count} of a job {job:?} that the configuration does not name")
}

fn row(snapshot: &ListedSnapshot) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    // Eight characters are enough to recognize a dataset.
    let dataset = snapshot.dataset.map(|id| id.to_string().chars().take(8).collect());
    let complete = match (&snapshot.problem, snapshot.complete) {
        (Some(problem), _) => format!("no: it {problem}"),
        (None, true) => "yes".to_owned(),
        (None, false) => "no: interrupted".to_owned(),
    };
    vec![
        snapshot.job.clone(),
        snapshot.snapshot.to_string(),
        or_dash(dataset),
        or_dash(snapshot.rows.map(grouped)),
        or_dash(snapshot.bytes.map(|bytes| HumanBytes(bytes).to_string())),
        complete,
        or_dash(snapshot.unchanged_until.as_deref().map(minute)),
    ]
}
