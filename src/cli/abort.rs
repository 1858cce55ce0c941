//! `abort`: gives an export by many workers up.

use clap::Args;

use super::{global::Global, planned::PlannedArguments};
use crate::{Result, cluster};

/// Give up an export that was begun, and remove everything that its workers have staged
#[derive(Debug, Args)]
#[command(after_help = "\
An export that was published before stays as it is. A part that is still running ends with 75.

Example:
  overmind-export abort -o s3://lake/eval/")]
pub(super) struct AbortArgs {
    #[command(flatten)]
    planned: PlannedArguments,
}

impl AbortArgs {
    pub(super) fn run(&self, global: &Global) -> Result<()> {
        cluster::abort(&self.planned.output_alone(global)?)
    }
}
