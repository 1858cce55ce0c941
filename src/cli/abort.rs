//! `abort`: gives an export by many workers up.

use clap::Args;

use indicatif::HumanBytes;

use super::{global::Global, lines::Lines, planned::PlannedArguments, progress::Screen};
use crate::{
    Result,
    cluster::{self, AbortSummary},
    text::counted,
};

/// Give up an export that was begun, and remove everything that its workers have staged
#[derive(Debug, Args)]
#[command(after_help = "\
An export that was published before stays as it is. A part that is still running ends with 75.

Example:
  overmind-export abort -o s3://lake/eval/")]
pub(super) struct AbortArgs {
    #[command(flatten)]
    planned: PlannedArguments,
    /// Print what was removed as one JSON object to standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl AbortArgs {
    pub(super) fn run(&self, global: &Global, screen: &Screen) -> Result<()> {
        let summary = cluster::abort(&self.planned.output_alone(global)?)?;
        screen.say(report(&summary));
        if self.json { super::print_json(&summary) } else { Ok(()) }
    }
}

fn report(summary: &AbortSummary) -> Lines {
    let output = &summary.output;
    match &summary.plan {
        Some(plan) => Lines::one(format_args!(
            "{output}: plan {plan} was removed, with {}: {} in {}",
            counted(summary.ranges, "finished range"),
            counted(summary.files, "file"),
            HumanBytes(summary.bytes),
        )),
        None => Lines::one(format_args!(
            "{output}: everything that was staged for it was removed; its plan could not be read"
        )),
    }
}
