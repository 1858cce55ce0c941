//! `export`: writes a dataset to a file, a directory of parts, or standard output.

use std::{path::PathBuf, time::Duration};

use crate::{
    Client, Compression, DryRun, Error, Export, ExportOptions, ExportPlan, Format, JsonColumns,
    PageRange, ParquetEncoding, Result, Summary, Target, Transform, TransformRecord,
    error::human,
    text::{counted, grouped},
    transform::SplitsText,
};
use clap::Args;
use uuid::Uuid;

use super::{
    global::Global, lines::Lines, progress::Screen, query::FilterArguments, storage::Storage,
    transform::TransformArguments, values,
};

/// Export a dataset to a file, a directory of parts, or standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overmind-export export ID -o rows.parquet
  overmind-export export ID -o today/ --rows-per-file 100000
  overmind-export export ID -o s3://bucket/datasets/today/
  overmind-export export ID -o - | jq -r .persona | sort | uniq -c")]
pub(super) struct ExportArgs {
    /// Id of the dataset
    #[arg(value_name = "DATASET_ID", value_parser = values::dataset_id)]
    dataset: Uuid,
    /// A file (.parquet, .arrow, .jsonl, .csv; .jsonl.gz, .csv.zst and the like), a directory (NAME/ or NAME),
    /// the URL of either (s3://, gs://, az://, abfss://), or - for standard output
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    output: PathBuf,
    /// parquet, arrow, jsonl or csv [default: from the extension; parquet for a directory, jsonl for -]
    #[arg(long, value_name = "FORMAT", value_parser = values::value::<Format>, help_heading = "Output")]
    format: Option<Format>,
    /// none, snappy, lz4, gzip, zstd or zstd:LEVEL; not all work with each format [default: zstd:3 for
    /// parquet, zstd:1 for arrow, none for jsonl, csv and -]
    #[arg(long, value_name = "CODEC", value_parser = values::value::<Compression>, help_heading = "Output")]
    compression: Option<Compression>,
    /// Encoding of Parquet: delta-length, or plain for fastparquet, Velox and Spark before 3.3 [default:
    /// delta-length]
    #[arg(long, value_name = "ENCODING", value_parser = values::value::<ParquetEncoding>, help_heading = "Output")]
    parquet_encoding: Option<ParquetEncoding>,
    /// JSON columns of JSON Lines: json for the values themselves, text for strings of JSON text, which no
    /// reader changes [default: json]
    #[arg(long, value_name = "FORM", value_parser = values::value::<JsonColumns>, help_heading = "Output")]
    json_columns: Option<JsonColumns>,
    /// Begin CSV with a byte order mark, so that spreadsheets read it as UTF-8
    #[arg(long, help_heading = "Output")]
    csv_bom: bool,
    /// Put a ' before cells of CSV that a spreadsheet would run as a formula; such a file cannot be read back
    #[arg(long, help_heading = "Output")]
    csv_safe: bool,
    /// Rows in each part of a directory [default: 250000]
    #[arg(long, value_name = "N", value_parser = values::positive::<u64>, help_heading = "Output")]
    rows_per_file: Option<u64>,
    /// Replace an existing file or an earlier export
    #[arg(long, help_heading = "Output")]
    overwrite: bool,
    /// Discard the files of an interrupted run instead of resuming it
    #[arg(long, help_heading = "Output")]
    restart: bool,
    /// Write a manifest next to a single file; a directory always has one
    #[arg(long, help_heading = "Output")]
    manifest: bool,
    /// Write the record of a directory to this path instead of next to the directory
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    record: Option<PathBuf>,
    /// Write an empty file _SUCCESS into a directory; some programs read it as data
    #[arg(long, help_heading = "Output")]
    success_file: bool,
    /// Write a dataset card, README.md, into a directory: its parts are in data/, and Hugging Face's load_dataset reads
    /// the directory
    #[arg(long, help_heading = "Output")]
    dataset_card: bool,
    /// Print what would be exported; write nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
    /// Print a summary as one JSON object to standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Rows to request per page; the API allows at most 100
    #[arg(long, value_name = "N", value_parser = values::positive::<u32>, default_value_t = 100, help_heading = "Rows")]
    page_size: u32,
    /// Export only these pages, such as 3-7, 3- or 3
    #[arg(long, value_name = "A-B", value_parser = values::value::<PageRange>, default_value_t = PageRange::ALL, hide_default_value = true, help_heading = "Rows")]
    pages: PageRange,
    /// Read only the first N rows
    #[arg(long, value_name = "N", value_parser = values::positive::<u64>, help_heading = "Rows")]
    limit: Option<u64>,
    /// Read the whole dataset at most N times: it is read again if it changed during the export
    #[arg(long, value_name = "N", value_parser = values::positive::<u32>, default_value_t = 3, help_heading = "Rows")]
    max_passes: u32,
    /// Former form of --max-passes: the number of passes after the first
    #[arg(long, value_name = "N", value_parser = values::whole::<u32>, hide = true, conflicts_with = "max_passes")]
    sweeps: Option<u32>,
    /// Number of encoder threads; the output has the same bytes with any number [default: one per core,
    /// at most 16]
    #[arg(long, value_name = "N", value_parser = values::whole::<usize>, help_heading = "Resources")]
    encode_threads: Option<usize>,
    /// How many bytes of pages to prefetch for the encoder
    #[arg(long, value_name = "BYTES", default_value = "8MiB", value_parser = values::bytes, help_heading = "Resources")]
    prefetch_bytes: usize,
    /// Directory to sort ids in when they exceed 4 MiB [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", help_heading = "Resources", value_parser = super::path())]
    temp_dir: Option<PathBuf>,
    /// Write a folder of files for each split, such as train=0.9,test=0.1, into a directory; rows with equal inputs
    /// are in one split
    #[arg(long, value_name = "NAME=FRACTION,...", value_parser = values::value::<SplitsText>, help_heading = "Rows")]
    split: Option<SplitsText>,
    #[command(flatten)]
    transform: TransformArguments,
    #[command(flatten)]
    filters: FilterArguments,
    #[command(flatten)]
    storage: Storage,
}

impl ExportArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let (json, dry_run) = (self.json, self.dry_run);
        let config = global.config()?;
        let storage = self.storage.options_with(global, config.as_ref())?;
        let plan = ExportPlan::new(ExportOptions { storage, ..self.into() })?;
        if json && *plan.target() == Target::Stdout {
            return Err(Error::Usage(
                "--json and -o - both write to standard output: leave one out".to_owned(),
            ));
        }
        if *plan.target() == Target::Stdout && !dry_run {
            super::require_stdout()?;
        }
        let client = global.client_of(config.as_ref())?;
        if dry_run {
            return super::block_on(async {
                let would = Export::new(client, plan).dry_run().await?;
                if json {
                    super::print_json(&would)
                } else {
                    super::print(&Lines::one(announce(&would)))
                }
            });
        }
        let summary = super::block_on(run(client, plan, screen))?;
        if json {
            super::print_json(&summary)?;
        }
        Ok(())
    }
}

/// Runs a plan, shows its progress, stops it on a signal, and prints a summary.
pub(super) async fn run(client: Client, plan: ExportPlan, screen: &Screen) -> Result<Summary> {
    let job = Export::new(client.clone(), plan);
    let shown = screen.show(client, job.progress());
    let result = job.run_until(super::signals::interrupted()).await;
    shown.end();
    let summary = result?;
    screen.say(report(&summary));
    Ok(summary)
}

impl From<ExportArgs> for ExportOptions {
    fn from(typed: ExportArgs) -> Self {
        let (columns, drop) = typed.transform.output();
        Self {
            transform: typed.split.into_iter().fold(typed.transform.into(), Transform::split_text),
            query: typed.filters.into(),
            format: typed.format,
            compression: typed.compression,
            parquet_encoding: typed.parquet_encoding,
            json_columns: typed.json_columns,
            csv_bom: typed.csv_bom,
            csv_safe: typed.csv_safe,
            columns,
            drop,
            page_size: typed.page_size,
            pages: typed.pages,
            limit: typed.limit,
            rows_per_file: typed.rows_per_file,
            overwrite: typed.overwrite,
            restart: typed.restart,
            manifest: typed.manifest,
            record: typed.record,
            success_file: typed.success_file,
            dataset_card: typed.dataset_card,
            max_passes: typed.sweeps.map_or(typed.max_passes, |more| more.saturating_add(1)),
            encode_threads: typed.encode_threads,
            prefetch_bytes: typed.prefetch_bytes,
            temp_dir: typed.temp_dir,
            ..Self::new(typed.dataset, typed.output)
        }
    }
}

fn report(summary: &Summary) -> Lines {
    use crate::Completeness;
    let seconds = summary.seconds.max(0.001);
    let claim = match summary.completeness {
        Completeness::Proven if summary.transform.is_some() => "complete: every row read once",
        Completeness::Proven => "complete: every row once",
        Completeness::Partial => "a part of the dataset",
    };
    // Rows of an interrupted run were not fetched now.
    let fetched = summary.rows_read.saturating_sub(summary.kept_rows);
    let rows = match &summary.transform {
        Some(transform) => {
            let written = if transform.map.is_some() { "line" } else { "row" };
            let (written, read) = (counted(summary.rows, written), summary.rows_read);
            match transform.map {
                Some(_) => format!("{written} from {} read,", counted(read, "row")),
                None => format!("{written} of {} read,", grouped(read)),
            }
        }
        None => counted(summary.rows, "row"),
    };
    let lines = Lines::one(format_args!(
        "{rows} in {} ({}) · {} · {} rows/s · {claim}",
        counted(summary.files, "file"),
        indicatif::HumanBytes(summary.bytes),
        human(Duration::from_secs_f64(seconds)),
        grouped((fetched as f64 / seconds) as u64),
    ))
    .and(format_args!("  {}", summary.output));
    let splits = summary.splits.iter().map(|it| format!("{} {}", it.name, grouped(it.rows)));
    let splits: Vec<_> = splits.collect();
    let lines = match splits.is_empty() {
        true => lines,
        false => lines.and(format_args!("  rows of the splits: {}", splits.join(", "))),
    };
    let mut replaced = summary.replaced_rows.iter();
    let lines = summary.transform.iter().fold(lines, |lines, transform| {
        let options = [("masked", &transform.mask), ("pseudonymised", &transform.pseudonymise)];
        options.into_iter().filter(|(_, paths)| !paths.is_empty()).fold(
            lines,
            |lines, (what, paths)| {
                let path = |(path, rows): (_, &u64)| format!("{path} in {}", counted(*rows, "row"));
                let paths: Vec<_> = paths.iter().zip(&mut replaced).map(path).collect();
                lines.and(format_args!("  {what}: {}", paths.join(", ")))
            },
        )
    });
    let lines = match summary.duplicate_rows {
        0 => lines,
        more => {
            let rows = counted(more, "row");
            lines.and(format_args!("  left out, because they equal an earlier row: {rows}"))
        }
    };
    let lines = match (summary.rows, summary.rows_read) {
        (0, 1..) => lines.and(
            "  nothing was kept: preview --explain shows why; a misspelled field is null in every row",
        ),
        _ => lines,
    };
    match summary.failed_rows {
        0 => lines,
        failed if summary.transform.as_ref().is_some_and(TransformRecord::keeps_failed_rows) => {
            let chooses = summary.transform.iter().any(|it| !it.conditions.is_empty());
            let what = if chooses { "left out, or " } else { "" };
            let has_columns = summary.transform.iter().any(|it| !it.columns.is_empty());
            let null = if has_columns { "null in a column" } else { "null as their key" };
            lines.and(format_args!(
                "  {what}with {null}, because an expression failed: {}",
                counted(failed, "row")
            ))
        }
        failed => lines.and(format_args!(
            "  left out, because an expression failed: {}",
            counted(failed, "row")
        )),
    }
}

fn announce(would: &DryRun) -> String {
    format!(
        "would {} {} of {} in {} of {} to {}",
        if would.transform.is_some() { "read" } else { "export" },
        grouped(would.rows),
        counted(would.count, "row"),
        counted(would.requests, "request"),
        counted(would.rows_per_page, "row"),
        would.output,
    )
}
