//! `prune`: deletes expired snapshots without a run. It sends no request to the API.

use crate::{
    Error, Job, PruneResult, Result, RetentionAction, RetentionDecision, Stop, StorageOptions,
    plan_retention, prune_job, tasks, text::counted,
};
use clap::Args;
use indicatif::HumanBytes;

use super::{
    global::Global,
    lines::Lines,
    progress::Screen,
    signals::{Stopped, stopped},
    storage::Storage,
    table::{Fit, TableColumn, render},
};

/// Delete the snapshots that `keep` no longer covers, without taking new ones
#[derive(Debug, Args)]
#[command(after_help = "\
It needs no API key and no free space, so it helps when the disk is full.

Examples:
  overmind-export prune --dry-run
  overmind-export prune triage-eval")]
pub(super) struct PruneArgs {
    /// Names of jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Print which snapshots would be deleted and why the others stay; delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object per line to standard output: for each job, or with --dry-run for each
    /// snapshot
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: Storage,
}

const COLUMNS: [TableColumn; 4] = [
    TableColumn::new("job", Fit::Whole),
    TableColumn::new("snapshot", Fit::Whole),
    TableColumn::new("action", Fit::Whole),
    TableColumn::new("why", Fit::Wrap).left_out(1),
];

impl PruneArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let config = global.required_config()?;
        let jobs = super::snapshot::jobs_of(&config, &self.jobs)?;
        let storage = self.storage.options_with(global, Some(&config))?;
        if self.dry_run {
            return self.show_retention(&jobs, &storage);
        }
        let stop = Stop::default();
        let results = super::block_on(prune(jobs, storage, &stop))?;
        for result in &results {
            if self.json {
                super::ignore_closed_stdout(super::print_json(result))?;
            }
            if !result.pruned.is_empty() || result.error.is_none() {
                screen.say(told(result));
            }
            if let Some(error) = &result.error {
                screen.print_failure(&result.job, error);
            }
        }
        if let Some((signal, number)) = stop.signal() {
            let hint = Some("run the same command again to delete the others");
            return Err(Error::Interrupted { signal, number, hint });
        }
        let errors: Vec<_> = results.iter().filter_map(|result| result.error.as_ref()).collect();
        match errors.first() {
            None => Ok(()),
            Some(first) => Err(Error::Jobs {
                failed: errors.len() as u64,
                of: results.len() as u64,
                exit_code: first.exit_code,
            }),
        }
    }

    fn show_retention(&self, jobs: &[Job], storage: &StorageOptions) -> Result<()> {
        let mut decisions = Vec::new();
        for job in jobs {
            decisions.extend(plan_retention(job, storage)?);
        }
        if self.json {
            return decisions.iter().try_for_each(super::print_json);
        }
        if decisions.is_empty() {
            return super::print(&Lines::one("no snapshots"));
        }
        super::print(&render(&COLUMNS, decisions.iter().map(row)))
    }
}

/// Prunes one job after another, until a signal requests a stop.
async fn prune(jobs: Vec<Job>, storage: StorageOptions, stop: &Stop) -> Result<Vec<PruneResult>> {
    let asked = stop.clone();
    let signals = tokio::spawn(async move {
        let Stopped { name, number } = stopped().await;
        asked.request(name, number);
    });
    let stop = stop.clone();
    let results = tasks::blocking("deleting snapshots", move || {
        let jobs = jobs.iter().take_while(|_| !stop.is_requested());
        jobs.map(|job| prune_job(job, &storage, &stop)).collect()
    })
    .await;
    signals.abort();
    results
}

fn told(result: &PruneResult) -> Lines {
    let job = &result.job;
    if result.pruned.is_empty() {
        return Lines::one(format_args!("{job}: removed nothing"));
    }
    let count = counted(result.pruned.len() as u64, "snapshot");
    let (bytes, gone) = (HumanBytes(result.bytes), result.pruned.join(" "));
    Lines::one(format_args!("{job}: removed {count} ({bytes}): {gone}"))
}

fn row(decision: &RetentionDecision) -> Vec<String> {
    let action = match decision.action {
        RetentionAction::Keep => "stays",
        RetentionAction::Remove => "goes",
        RetentionAction::Leave => "is left",
    };
    vec![decision.job.clone(), decision.path.clone(), action.to_owned(), decision.why.clone()]
}
