//! The options of an export in its plan: those that decide its bytes and its publication.
//!
//! The plan has no secret: no key, and no option of a store. Each worker has its own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::place::ClusterOutput;
use crate::{
    client::Query,
    error::{Error, Result},
    export::{ExportOptions, NestingOptions},
    nested::NestedField,
    paginator::PageRange,
    sink::{Compression, Format, JsonColumns, ParquetEncoding},
    transform::Transform,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PlannedOptions {
    dataset: Uuid,
    query: Query,
    format: Option<Format>,
    compression: Option<String>,
    parquet_encoding: Option<ParquetEncoding>,
    json_columns: Option<JsonColumns>,
    /// The form of single JSON columns.
    column_forms: Vec<(String, JsonColumns)>,
    schema: Option<Vec<NestedField>>,
    rescue: bool,
    csv_bom: bool,
    csv_safe: bool,
    columns: Option<Vec<String>>,
    drop: Vec<String>,
    page_size: u32,
    transform: Transform,
    rows_per_file: Option<u64>,
    overwrite: bool,
    record: Option<PathBuf>,
    success_file: bool,
    dataset_card: bool,
}

impl PlannedOptions {
    /// Takes the options of an export, and refuses those that many workers cannot apply.
    ///
    /// # Errors
    /// [`Error::Usage`] for `pages` and `limit`.
    pub(super) fn of(options: &ExportOptions) -> Result<Self> {
        if options.pages != PageRange::ALL || options.limit.is_some() {
            let why = "many workers export a whole dataset: leave out `pages` and `limit`";
            return Err(Error::Usage(why.to_owned()));
        }
        Ok(Self {
            dataset: options.dataset,
            query: options.query.clone(),
            format: options.format,
            compression: options.compression.map(|codec| codec.to_string()),
            parquet_encoding: options.parquet_encoding,
            json_columns: options.json_columns,
            column_forms: options.nesting.columns.clone(),
            schema: options.nesting.schema.clone(),
            rescue: options.nesting.rescue,
            csv_bom: options.csv_bom,
            csv_safe: options.csv_safe,
            columns: options.columns.clone(),
            drop: options.drop.clone(),
            page_size: options.page_size,
            transform: options.transform.clone().with_absolute_key_file()?,
            rows_per_file: options.rows_per_file,
            overwrite: options.overwrite,
            record: options.record.as_deref().map(independent).transpose()?,
            success_file: options.success_file,
            dataset_card: options.dataset_card,
        })
    }

    /// Returns the place of the record that the user chose.
    pub(super) fn record(&self) -> Option<&Path> {
        self.record.as_deref()
    }

    pub(super) fn dataset(&self) -> Uuid {
        self.dataset
    }

    /// Returns the options of the export, for this machine.
    pub(super) fn export_options(&self, output: &ClusterOutput) -> Result<ExportOptions> {
        let planned = self.clone();
        let compression = planned.compression.as_deref().map(str::parse::<Compression>);
        let nesting = NestingOptions {
            columns: planned.column_forms,
            schema: planned.schema,
            rescue: planned.rescue,
            ..NestingOptions::default()
        };
        Ok(ExportOptions {
            query: planned.query,
            storage: output.storage_options().clone(),
            format: planned.format,
            compression: compression.transpose()?,
            parquet_encoding: planned.parquet_encoding,
            json_columns: planned.json_columns,
            nesting,
            csv_bom: planned.csv_bom,
            csv_safe: planned.csv_safe,
            columns: planned.columns,
            drop: planned.drop,
            page_size: planned.page_size,
            transform: planned.transform,
            rows_per_file: planned.rows_per_file,
            overwrite: planned.overwrite,
            record: planned.record,
            success_file: planned.success_file,
            dataset_card: planned.dataset_card,
            temp_dir: output.temporary().cloned(),
            ..ExportOptions::new(planned.dataset, output.given())
        })
    }
}

/// Makes a local path independent of the working directory: the commit may have another one.
fn independent(path: &Path) -> Result<PathBuf> {
    if path.to_string_lossy().contains("://") {
        return Ok(path.to_owned());
    }
    std::path::absolute(path).map_err(Error::io("find", path))
}
