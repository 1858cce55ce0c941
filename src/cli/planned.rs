//! The output of an export by many workers, of the commands that continue it.

use std::path::PathBuf;

use clap::Args;

use super::{global::Global, storage::Storage};
use crate::{Config, Result, cluster::ClusterOutput};

#[derive(Debug, Args)]
pub(super) struct PlannedArguments {
    /// The directory or the URL that was given to begin
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    output: PathBuf,
    #[command(flatten)]
    storage: Storage,
}

impl PlannedArguments {
    pub(super) fn output(&self, global: &Global, config: Option<&Config>) -> Result<ClusterOutput> {
        let storage = self.storage.options_with(global, config)?;
        Ok(ClusterOutput::new(&self.output).storage(storage))
    }

    /// Does the same as [`Self::output`] for a command that sends no request to the API.
    pub(super) fn output_alone(&self, global: &Global) -> Result<ClusterOutput> {
        let storage = self.storage.options(global, &[self.output.as_os_str()])?;
        Ok(ClusterOutput::new(&self.output).storage(storage))
    }
}
