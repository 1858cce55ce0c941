//! `latest`: prints the path of the newest snapshot of a job. It sends no request to the API.

use crate::{Error, Result, damaged_snapshots, latest_snapshots};
use clap::Args;

use super::{global::Global, lines::Lines, progress::Screen, snapshots::damage, storage::Storage};

/// Print the path of a job's newest snapshot
#[derive(Debug, Args)]
#[command(after_help = "\
With select = \"all\" it prints one line for each dataset.

Example:
  duckdb -c \"from read_parquet('$(overmind-export latest nightly)/*.parquet')\"")]
pub(super) struct LatestArgs {
    /// Name of the job
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    storage: Storage,
}

impl LatestArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let config = global.required_config()?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let names = [self.job];
        for job in super::snapshot::jobs_of(&config, &names)? {
            let paths = latest_snapshots(&job, &storage)?;
            for damaged in damaged_snapshots(&job, &storage)? {
                screen.say(Lines::one(damage(&job.name, &damaged)));
            }
            if paths.is_empty() {
                return Err(Error::NoSnapshot { job: job.name });
            }
            for path in paths {
                super::print(&Lines::one(path))?;
            }
        }
        Ok(())
    }
}
