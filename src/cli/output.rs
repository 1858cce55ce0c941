//! The options of an output, of every command that writes exports.

use std::path::PathBuf;

use clap::Args;
use uuid::Uuid;

use super::values;
use crate::{Compression, Error, ExportOptions, Format, ParquetEncoding, Result, Target};

#[derive(Debug, Args)]
pub(super) struct OutputArguments {
    /// A file (.parquet, .arrow, .jsonl, .csv; .jsonl.gz, .csv.zst and the like), a directory (NAME/ or NAME),
    /// the URL of either (s3://, gs://, az://, abfss://), or - for standard output
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    pub(super) output: PathBuf,
    /// parquet, arrow, jsonl or csv [default: from the extension; parquet for a directory, jsonl for -]
    #[arg(long, value_name = "FORMAT", value_parser = values::value::<Format>, help_heading = "Output")]
    pub(super) format: Option<Format>,
    /// none, snappy, lz4, gzip, zstd or zstd:LEVEL; not all work with each format [default: zstd:3 for
    /// parquet, zstd:1 for arrow, none for jsonl, csv and -]
    #[arg(long, value_name = "CODEC", value_parser = values::value::<Compression>, help_heading = "Output")]
    pub(super) compression: Option<Compression>,
    /// Encoding of Parquet: delta-length, or plain for fastparquet, Velox and Spark before 3.3 [default:
    /// delta-length]
    #[arg(long, value_name = "ENCODING", value_parser = values::value::<ParquetEncoding>, help_heading = "Output")]
    pub(super) parquet_encoding: Option<ParquetEncoding>,
    /// Begin CSV with a byte order mark, so that spreadsheets read it as UTF-8
    #[arg(long, help_heading = "Output")]
    pub(super) csv_bom: bool,
    /// Put a ' before cells of CSV that a spreadsheet would run as a formula; such a file cannot be read back
    #[arg(long, help_heading = "Output")]
    pub(super) csv_safe: bool,
    /// Rows in each part of a directory [default: 250000]
    #[arg(long, value_name = "N", value_parser = values::positive::<u64>, help_heading = "Output")]
    pub(super) rows_per_file: Option<u64>,
    /// Replace an existing file or an earlier export
    #[arg(long, help_heading = "Output")]
    pub(super) overwrite: bool,
    /// Discard the files of an interrupted run instead of resuming it
    #[arg(long, help_heading = "Output")]
    pub(super) restart: bool,
    /// Write a manifest next to a single file; a directory always has one
    #[arg(long, help_heading = "Output")]
    pub(super) manifest: bool,
    /// Write the record of a directory to this path instead of next to the directory
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub(super) record: Option<PathBuf>,
    /// Write an empty file _SUCCESS into a directory; some programs read it as data
    #[arg(long, help_heading = "Output")]
    pub(super) success_file: bool,
    /// Write a dataset card, README.md, into a directory: its parts are in data/, and Hugging Face's load_dataset reads
    /// the directory
    #[arg(long, help_heading = "Output")]
    pub(super) dataset_card: bool,
    /// Print what would be written; write nothing
    #[arg(long, help_heading = "Output")]
    pub(super) dry_run: bool,
    /// Print a summary as one JSON object to standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Number of encoder threads; the output has the same bytes with any number [default: one per core,
    /// at most 16]
    #[arg(long, value_name = "N", value_parser = values::whole::<usize>, help_heading = "Resources")]
    pub(super) encode_threads: Option<usize>,
    /// Directory to sort ids in when they exceed 4 MiB [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", help_heading = "Resources", value_parser = super::path())]
    pub(super) temp_dir: Option<PathBuf>,
}

impl OutputArguments {
    /// Returns the options of an export of this dataset to the output.
    pub(super) fn of_dataset(self, dataset: Uuid) -> ExportOptions {
        ExportOptions {
            format: self.format,
            compression: self.compression,
            parquet_encoding: self.parquet_encoding,
            csv_bom: self.csv_bom,
            csv_safe: self.csv_safe,
            rows_per_file: self.rows_per_file,
            overwrite: self.overwrite,
            restart: self.restart,
            manifest: self.manifest,
            record: self.record,
            success_file: self.success_file,
            dataset_card: self.dataset_card,
            encode_threads: self.encode_threads,
            temp_dir: self.temp_dir,
            ..ExportOptions::new(dataset, self.output)
        }
    }
}

/// Refuses an output that cannot be written from here.
pub(super) fn require_target(target: &Target, json: bool, dry_run: bool) -> Result<()> {
    if *target != Target::Stdout {
        return Ok(());
    }
    if json {
        let why = "--json and -o - both write to standard output: leave one out";
        return Err(Error::Usage(why.to_owned()));
    }
    if dry_run { Ok(()) } else { super::require_stdout() }
}
