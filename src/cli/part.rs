//! `part`: writes one range of an export by many workers.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgGroup, Args};

use super::{global::Global, lines::Lines, planned::PlannedArguments, progress::Screen, values};
use crate::{
    Client, Error, Result,
    cluster::{RangeOutcome, RangeSummary, RangeWorker},
    error::human,
    text::counted,
};

/// Write one range of an export that was begun: anywhere, any number of times, in any order
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["range", "range_index"]),
    after_help = "\
Examples:
  overmind-export part -o s3://lake/eval/ --range 3/16
  overmind-export part -o s3://lake/eval/ --range-index $JOB_COMPLETION_INDEX
  overmind-export part -o s3://lake/eval/ --range 3/16 --rate-limit 20/s --share 16"
)]
pub(super) struct PartArgs {
    #[command(flatten)]
    planned: PlannedArguments,
    /// The range, which counts from 1, and the number of ranges, such as 3/16
    #[arg(long, value_name = "N/OF", value_parser = values::value::<RangeText>, help_heading = "Rows")]
    range: Option<RangeText>,
    /// The range, which counts from 0, such as JOB_COMPLETION_INDEX of a Kubernetes Indexed Job
    #[arg(long, value_name = "N", value_parser = values::whole::<u32>, help_heading = "Rows")]
    range_index: Option<u32>,
    /// Take only this share of --rate-limit: it is divided by the number of workers that run at the same time
    #[arg(long, value_name = "WORKERS", value_parser = values::positive::<u32>, help_heading = "Connection")]
    share: Option<u32>,
    /// Print a summary as one JSON object to standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// How many bytes of pages to prefetch for the encoder
    #[arg(long, value_name = "BYTES", default_value = "8MiB", value_parser = values::bytes, help_heading = "Resources")]
    prefetch_bytes: usize,
    /// Number of encoder threads; the output has the same bytes with any number [default: one per core,
    /// at most 16]
    #[arg(long, value_name = "N", value_parser = values::whole::<usize>, help_heading = "Resources")]
    encode_threads: Option<usize>,
    /// Directory to sort ids in when they exceed 4 MiB [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", help_heading = "Resources", value_parser = super::path())]
    temp_dir: Option<PathBuf>,
}

/// A range and the number of ranges: `3/16`.
#[derive(Debug, Clone, Copy)]
struct RangeText {
    range: u32,
    of: u32,
}

impl FromStr for RangeText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(range, of)| {
            let range = range.parse().ok()?;
            let of = of.parse().ok()?;
            (1..=of).contains(&range).then_some(Self { range, of })
        });
        let why = "give its number, from 1, and the number of ranges, such as 3/16";
        numbers.ok_or_else(|| Error::invalid("range", text, why))
    }
}

impl PartArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let config = global.config()?;
        let mut output = self.planned.output(global, config.as_ref())?;
        if let Some(folder) = &self.temp_dir {
            output = output.temp_dir(folder);
        }
        let client = global.client_sharing(config.as_ref(), self.share)?;
        let worker = match (self.range, self.range_index) {
            (Some(RangeText { range, of }), _) => {
                RangeWorker::new(client.clone(), output, range, of)
            }
            (None, index) => {
                RangeWorker::with_index(client.clone(), output, index.unwrap_or_default())
            }
        };
        let mut worker = worker?.prefetch_bytes(self.prefetch_bytes);
        if let Some(threads) = self.encode_threads {
            worker = worker.encode_threads(threads);
        }
        let summary = super::block_on(run(client, worker, screen))?;
        if self.json { super::print_json(&summary) } else { Ok(()) }
    }
}

async fn run(client: Client, worker: RangeWorker, screen: &Screen) -> Result<RangeSummary> {
    let shown = screen.show(client, worker.progress());
    let result = worker.run_until(super::signals::interrupted()).await;
    shown.end();
    let summary = result?;
    screen.say(report(&summary));
    Ok(summary)
}

fn report(summary: &RangeSummary) -> Lines {
    let of = format!("range {} of {}", summary.range, summary.ranges);
    let rows = counted(summary.rows_read, "row");
    let time = human(Duration::from_secs_f64(summary.seconds.max(0.001)));
    match summary.outcome {
        RangeOutcome::Written => Lines::one(format_args!(
            "{of}: {rows} read, {} in {} staged · {time}",
            counted(summary.files, "file"),
            indicatif::HumanBytes(summary.bytes),
        )),
        RangeOutcome::AlreadyDone => Lines::one(format_args!("{of}: it was finished before")),
        RangeOutcome::Overtaken => Lines::one(format_args!(
            "{of}: {rows} read · {time} · another worker finished it first, so these parts were removed"
        )),
        RangeOutcome::Empty => Lines::one(format_args!("{of}: it has no pages")),
    }
}
