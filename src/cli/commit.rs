//! `commit`: publishes an export whose ranges many workers have written.

use std::path::PathBuf;

use clap::Args;

use super::{export::report, global::Global, planned::PlannedArguments, progress::Screen};
use crate::{Client, Result, Summary, cluster::ClusterCommit};

/// Publish an export whose ranges were all written, after a proof that every row came once
#[derive(Debug, Args)]
#[command(after_help = "\
If ranges are missing, it names them, ends with 65, and keeps all others. Run part again for those, then commit.

Example:
  overmind-export commit -o s3://lake/eval/")]
pub(super) struct CommitArgs {
    #[command(flatten)]
    planned: PlannedArguments,
    /// Print a summary as one JSON object to standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Directory to sort ids in when they exceed 4 MiB [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", help_heading = "Resources", value_parser = super::path())]
    temp_dir: Option<PathBuf>,
}

impl CommitArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let config = global.config()?;
        let mut output = self.planned.output(global, config.as_ref())?;
        if let Some(folder) = &self.temp_dir {
            output = output.temp_dir(folder);
        }
        let client = global.client_of(config.as_ref())?;
        let commit = ClusterCommit::new(client.clone(), output);
        let summary = super::block_on(run(client, commit, screen))?;
        if self.json { super::print_json(&summary) } else { Ok(()) }
    }
}

async fn run(client: Client, commit: ClusterCommit, screen: &Screen) -> Result<Summary> {
    let shown = screen.show(client, commit.progress());
    let result = commit.run_until(super::signals::interrupted()).await;
    shown.end();
    let summary = result?;
    screen.say(report(&summary));
    Ok(summary)
}
