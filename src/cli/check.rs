//! `check`: checks the configuration file without running a job.

use std::path::Path;

use crate::{
    CheckedJob, Client, Error, Failure, Job, Result, Selection, StorageOptions, check_job,
    schedule::OnResult, text::counted,
};
use clap::Args;
use serde::Serialize;

use super::{
    global::Global, lines::Lines, progress::Screen, storage::Storage, table::terminal_width,
};

/// Check the configuration file, without running a job
#[derive(Debug, Args)]
#[command(after_help = "\
It ends with 78 at the first mistake in the file. If a job fails another check, the others are
checked all the same.

Examples:
  overmind-export check --config snapshots.toml
  overmind-export check --connect")]
pub(super) struct CheckArgs {
    /// Names of jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Also ask the API for the datasets and a page of each job, and write and remove a small file in each
    /// destination
    #[arg(long)]
    connect: bool,
    /// Print one JSON object per line instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: Storage,
}

/// A line of `--json`.
#[derive(Serialize)]
struct CheckLine<'a> {
    job: &'a str,
    destination: Option<&'a str>,
    datasets: &'a [crate::CheckedDataset],
    error: Option<&'a Failure>,
}

impl CheckArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let config = global.required_config()?;
        let jobs = super::snapshot::jobs_of(&config, &self.jobs)?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let client = match global.client_of(Some(&config)) {
            Ok(client) => Some(client).filter(|_| self.connect),
            // Perhaps the key and the system's certificates exist only where the jobs run.
            Err(Error::NoKey | Error::NoRoots) if !self.connect => None,
            Err(error) => return Err(error),
        };
        let folder = config.path.parent().unwrap_or(Path::new("/"));
        let (mut failed, mut exit_code) = (0, 0);
        super::block_on(async {
            for job in &jobs {
                let checked = check(client.as_ref(), job, folder, &storage).await;
                if let Err(failure) = &checked {
                    if failed == 0 {
                        exit_code = failure.exit_code;
                    }
                    failed += 1;
                    screen.print_failure(&job.name, failure);
                }
                self.print(job, checked.as_ref())?;
            }
            Ok(())
        })?;
        if failed > 0 {
            return Err(Error::Jobs { failed, of: jobs.len() as u64, exit_code });
        }
        if !self.json {
            let (path, jobs) = (config.path.display(), counted(jobs.len() as u64, "job"));
            let line = Lines::one(format_args!("{path} is valid: {jobs}"));
            super::print(&line.wrapped(terminal_width()))?;
        }
        Ok(())
    }

    fn print(&self, job: &Job, checked: Result<&CheckedJob, &Failure>) -> Result<()> {
        if self.json {
            return super::print_json(&CheckLine {
                job: &job.name,
                destination: checked.ok().map(|checked| &*checked.destination),
                datasets: checked.map(|checked| &checked.datasets[..]).unwrap_or_default(),
                error: checked.err(),
            });
        }
        let Ok(checked) = checked else { return Ok(()) };
        let lines = Lines::one(format_args!("{}: {}", job.name, selected(job, checked)));
        let lines = lines.and(format_args!("  {}", checked.destination));
        super::print(&lines.wrapped(terminal_width()))
    }
}

/// Checks a job and its program.
async fn check(
    client: Option<&Client>,
    job: &Job,
    folder: &Path,
    storage: &StorageOptions,
) -> Result<CheckedJob, Failure> {
    let program = OnResult::of(job, folder).map(drop);
    let checked = match program {
        Ok(()) => check_job(client, job, storage).await,
        Err(error) => Err(error),
    };
    checked.map_err(|error| Failure::of_job(&error))
}

/// Describes the datasets of a job: with their rows, if the API was asked.
fn selected(job: &Job, checked: &CheckedJob) -> String {
    match (&checked.datasets[..], &job.selection) {
        ([], Selection::Dataset(id)) => format!("dataset {id}"),
        ([], Selection::Latest(_)) => "the latest dataset that matches its filters".to_owned(),
        ([], Selection::All(_)) => "all datasets that match its filters".to_owned(),
        ([one], _) => {
            let name = one.name.as_ref().map(|name| format!(" ({name:?})")).unwrap_or_default();
            let rows = counted(one.rows.unwrap_or_default(), "row");
            format!("dataset {}{name}, {rows}", one.dataset)
        }
        (several, _) => {
            let rows = several.iter().filter_map(|dataset| dataset.rows).sum();
            format!("{}, {}", counted(several.len() as u64, "dataset"), counted(rows, "row"))
        }
    }
}
