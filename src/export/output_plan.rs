//! The plan of an output: where and how rows are written. An export and a conversion have the same.

use std::path::{Path, PathBuf};

use crate::{
    destination::{OutputRequest, PlanUse},
    error::{Error, Result},
    location::{Location, StorageOptions, Target},
    net::urls::quotable,
    output,
    record::layout::PartLayout,
    sink::{Compression, Encoding, Format, JsonColumns, ParquetEncoding},
    tasks::cores,
};

/// Default number of rows in a part of a directory.
pub(crate) const ROWS_PER_FILE: u64 = 250_000;
/// Maximum bytes of values in a part: 512 MiB. This bounds a part when rows are large.
pub(crate) const BYTES_PER_FILE: u64 = 512 << 20;

/// The options of an output, as a caller gives them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputChoice<'a> {
    pub(crate) output: &'a Path,
    pub(crate) storage: &'a StorageOptions,
    pub(crate) format: Option<Format>,
    pub(crate) compression: Option<Compression>,
    pub(crate) parquet_encoding: Option<ParquetEncoding>,
    pub(crate) json_columns: Option<JsonColumns>,
    pub(crate) csv_bom: bool,
    pub(crate) csv_safe: bool,
    pub(crate) rows_per_file: Option<u64>,
    pub(crate) encode_threads: Option<usize>,
    pub(crate) overwrite: bool,
    pub(crate) manifest: bool,
    pub(crate) record: Option<&'a Path>,
    pub(crate) success_file: bool,
    pub(crate) temp_dir: Option<&'a Path>,
}

/// A checked output.
#[derive(Debug, Clone)]
pub(crate) struct OutputPlan {
    pub(crate) target: Target,
    /// The place that the user chose for the record.
    pub(crate) record: Option<Location>,
    pub(crate) encoding: Encoding,
    pub(crate) rows_per_file: u64,
    pub(crate) encode_threads: usize,
    pub(crate) overwrite: bool,
    /// Whether to write a manifest next to a single file.
    pub(crate) sidecar: bool,
    pub(crate) success_file: bool,
    pub(crate) temp_dir: PathBuf,
}

impl OutputChoice<'_> {
    /// Checks the options. Looks at the output's path, and sends nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Usage`], with the wrong value, if an option is not valid by itself or
    /// together with others.
    pub(crate) fn plan(&self) -> Result<OutputPlan> {
        let target = output::target(self.output, self.storage)?;
        let encoding = self.encoding(&target)?;
        let rows_per_file = match self.rows_per_file.unwrap_or(ROWS_PER_FILE) {
            0 => {
                let why = "it must be at least 1";
                return Err(Error::invalid("number of rows per file", "0", why));
            }
            rows => rows,
        };
        let encode_threads = self.encode_threads.map_or_else(|| Ok(cores()), checked_threads)?;
        if self.rows_per_file.is_some() && !matches!(target, Target::Directory(_)) {
            return Err(Error::Usage(format!(
                "`rows_per_file` needs a directory of parts, but {target} is not one: give a path that \
                 ends in a slash"
            )));
        }
        if self.manifest && target == Target::Stdout {
            return Err(Error::Usage(
                "`manifest` needs an output file: the manifest is written next to it".to_owned(),
            ));
        }
        Ok(OutputPlan {
            record: self.record_place(&target)?,
            target,
            encoding,
            rows_per_file,
            encode_threads,
            overwrite: self.overwrite,
            sidecar: self.manifest,
            success_file: self.success_file,
            temp_dir: self.temp_dir.map_or_else(std::env::temp_dir, Path::to_owned),
        })
    }

    /// Checks the options for the record of a directory. Returns the place that the user chose.
    fn record_place(&self, target: &Target) -> Result<Option<Location>> {
        let Target::Directory(directory) = target else {
            return match (self.record, self.success_file) {
                (Some(_), _) => Err(Error::Usage(format!(
                    "`record` is the place for the record of a directory of parts, but {target} is not one: for \
                     a single file give `manifest`"
                ))),
                (None, true) => Err(Error::Usage(format!(
                    "`success_file` marks a directory of parts, but {target} is not one"
                ))),
                (None, false) => Ok(None),
            };
        };
        let Some(record) = self.record else { return Ok(None) };
        let text = record.to_string_lossy();
        let wrong = |why: &str| Err(Error::invalid("record", quotable(&text), why));
        let place = match text.contains("://") {
            true => Location::parse(&text, self.storage)?,
            false => Location::from(record),
        };
        if place.as_local().is_some() != directory.as_local().is_some() {
            return wrong(
                "it must be where the output is: both on this machine, or both in a store",
            );
        }
        if place.name().is_empty() || text.ends_with('/') {
            return wrong("give the name of a file");
        }
        // The destination compares the folders themselves, which links can hide. Here, the directory may be missing.
        if let (Some(path), Some(directory)) = (place.as_local(), directory.as_local())
            && let (Ok(path), Ok(directory)) =
                (std::path::absolute(path), std::path::absolute(directory))
            && path.starts_with(directory)
        {
            return wrong("a local directory holds only parts: give a path outside it");
        }
        Ok(Some(place))
    }

    fn encoding(&self, target: &Target) -> Result<Encoding> {
        let mut encoding = output::encoding(target, self.format, self.compression)?;
        if let Some(parquet) = self.parquet_encoding {
            encoding = encoding.with_parquet_encoding(parquet)?;
        }
        if let Some(json) = self.json_columns {
            encoding = encoding.with_json_columns(json)?;
        }
        if self.csv_bom {
            encoding = encoding.with_csv_bom(true)?;
        }
        if self.csv_safe {
            encoding = encoding.with_csv_safe(true)?;
        }
        Ok(encoding)
    }
}

impl OutputPlan {
    /// Whether the output has a manifest.
    pub(crate) fn has_manifest(&self) -> bool {
        self.sidecar || matches!(self.target, Target::Directory(_))
    }

    /// Returns the options for the destination.
    pub(crate) fn wanted(&self) -> OutputRequest {
        OutputRequest {
            target: self.target.clone(),
            overwrite: self.overwrite,
            sidecar: self.sidecar,
            record: self.record.clone(),
            staging: None,
            success_file: self.success_file,
            layout: PartLayout::default(),
            in_drafts: false,
            plan_use: PlanUse::Refuse,
            temp_dir: self.temp_dir.clone(),
        }
    }
}

/// Refuses a number of threads that is too small or too large.
pub(crate) fn checked_threads(threads: usize) -> Result<usize> {
    match threads {
        1..=256 => Ok(threads),
        _ => Err(Error::invalid("number of encode threads", threads.to_string(), "use 1 to 256")),
    }
}
