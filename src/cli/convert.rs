//! `convert`: writes an export in another format, layout or place.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use crate::{
    Completeness, Convert, ConvertDryRun, ConvertOptions, ConvertPlan, ConvertSummary, Result,
    error::human,
    text::{counted, grouped},
};
use clap::Args;

use super::{
    export::{
        empty_card, failed_rows, missing_rows, planned, replaced_rows, rescued_rows, split_rows,
        written_rows,
    },
    flags::with_flags,
    global::Global,
    lines::Lines,
    missing::missing_values,
    nesting::NestingArguments,
    output::{self, OutputArguments},
    progress::Screen,
    storage::Storage,
    transform::TransformArguments,
    value_limit::ValueLimit,
};

/// Convert an export to another format, layout or place, without the API
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overmind-export convert rows.parquet -o rows.csv.gz
  overmind-export convert out/ -o s3://bucket/parts/ --rows-per-file 10000
  overmind-export convert rows.jsonl -o billing.parquet --where '.tags.topic? == \"billing\"'
  overmind-export convert rows.parquet -o data/ --split train=0.9,test=0.1
  overmind-export convert out/ -o - --columns id,input | head")]
pub(super) struct ConvertArgs {
    /// A directory of parts or a single file (Parquet, Arrow IPC, JSON Lines or CSV): a path, or a URL such as
    /// s3://bucket/prefix/
    #[arg(value_name = "PATH", value_parser = super::path())]
    source: PathBuf,
    /// Where the record of the source is, if it was written with --record
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    source_record: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    nesting: NestingArguments,
    #[command(flatten)]
    transform: TransformArguments,
    #[command(flatten)]
    value_limit: ValueLimit,
    #[command(flatten)]
    storage: Storage,
}

impl ConvertArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let (json, dry_run) = (self.output.json, self.output.dry_run);
        let record = self.output.record.as_deref().map_or(OsStr::new(""), |path| path.as_os_str());
        let places = [self.source.as_os_str(), self.output.output.as_os_str(), record];
        let storage = self.storage.options(global, &places)?;
        let (json_columns, nesting) = self.nesting.clone().options()?;
        let options = ConvertOptions { storage, json_columns, nesting, ..self.into() };
        let plan = ConvertPlan::new(options)?;
        output::require_target(plan.target(), json, dry_run)?;
        let job = Convert::new(plan);
        if dry_run {
            let would = super::block_on(async { job.dry_run().await })?;
            return match json {
                true => super::print_json(&would),
                false => {
                    let lines = Lines::one(announce(&would));
                    super::print(&planned(lines, would.transform.as_ref()))
                }
            };
        }
        let summary = super::block_on(async {
            let shown = screen.show_reading(job.progress());
            let result = job.run_until(super::signals::interrupted()).await;
            shown.end();
            result
        })?;
        screen.say(report(&summary));
        if json {
            super::print_json(&summary)?;
        }
        Ok(())
    }
}

impl From<ConvertArgs> for ConvertOptions {
    fn from(typed: ConvertArgs) -> Self {
        let (columns, drop) = typed.transform.output();
        let output = typed.output;
        let mut options = Self::new(typed.source, output.output);
        options.source_record = typed.source_record;
        options.format = output.format;
        options.compression = output.compression;
        options.parquet_encoding = output.parquet_encoding;
        options.csv_bom = output.csv_bom;
        options.csv_safe = output.csv_safe;
        options.columns = columns;
        options.drop = drop;
        options.transform = typed.transform.into();
        options.rows_per_file = output.rows_per_file;
        options.overwrite = output.overwrite;
        options.restart = output.restart;
        options.manifest = output.manifest;
        options.record = output.record;
        options.success_file = output.success_file;
        options.dataset_card = output.dataset_card;
        options.encode_threads = output.encode_threads;
        options.max_value_bytes = typed.value_limit.max_value_bytes;
        options.temp_dir = output.temp_dir;
        options
    }
}

fn report(summary: &ConvertSummary) -> Lines {
    let seconds = summary.seconds.max(0.001);
    let claim = match (summary.completeness, summary.dataset) {
        (Completeness::Proven, _) if summary.transform.is_some() => {
            // The source can have only some of these rows.
            match summary.count == Some(summary.rows_read) {
                true => "made of all rows of the dataset",
                false => "made of all rows of its source, which is proven",
            }
        }
        (Completeness::Proven, _) => "as complete as its source, which is proven",
        (Completeness::Partial, Some(_)) => "a part of the dataset, like its source",
        (Completeness::Partial, None) => "of unknown completeness, like its source",
    };
    let rows = written_rows(summary.rows, summary.rows_read, summary.transform.as_ref());
    let lines = Lines::one(format_args!(
        "{rows} in {} ({}) · {} · {} rows/s · {claim}",
        counted(summary.files, "file"),
        indicatif::HumanBytes(summary.bytes),
        human(Duration::from_secs_f64(seconds)),
        grouped((summary.rows_read as f64 / seconds) as u64),
    ))
    .and(format_args!("  {}", summary.output));
    let lines = split_rows(lines, &summary.splits);
    let lines = replaced_rows(lines, &summary.replaced_rows, summary.transform.as_ref());
    let (rows, read) = (summary.rows, summary.rows_read);
    let lines = missing_rows(lines, summary.duplicate_rows, rows, read);
    let lines = empty_card(lines, summary.has_empty_card);
    let named = |text: &str| with_flags(text).into_owned();
    let lines = missing_values(lines, &summary.missing, ("no row", rows), named);
    let lines = failed_rows(lines, summary.failed_rows, summary.transform.as_ref());
    rescued_rows(lines, summary.rescued_rows, &summary.rescued_paths)
}

fn announce(would: &ConvertDryRun) -> String {
    let rows = would.rows.map_or_else(|| "the rows".to_owned(), |rows| counted(rows, "row"));
    let verb = if would.transform.is_some() { "read" } else { "convert" };
    format!("would {verb} {rows} of {} to {}", would.source, would.output)
}
