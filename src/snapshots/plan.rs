//! The plan for the export of a snapshot, from the settings of its job.

use super::{schema::types_of_columns, select::Chosen, series::Series};
use crate::{
    config::Job,
    error::Result,
    export::{
        NestingOptions,
        plan::{ExportOptions, ExportPlan},
    },
    location::StorageOptions,
    nested::NestedField,
    record::{manifest::SnapshotOf, stamp::Stamp},
};

/// Returns the plan for the export of a snapshot. `storage` has the settings of the job and of the run, and `pinned`
/// the types of nested columns, if they are known.
pub(super) fn plan(
    job: &Job,
    storage: StorageOptions,
    (chosen, pinned): (&Chosen, Option<&[NestedField]>),
    series: &Series,
    stamp: Stamp,
) -> Result<ExportPlan> {
    let defaults = ExportOptions::new(chosen.id, series.output(stamp));
    let mut options = ExportOptions {
        query: chosen.query.clone(),
        storage,
        format: job.format,
        compression: job.compression,
        parquet_encoding: job.parquet_encoding,
        json_columns: job.json_columns,
        nesting: NestingOptions { rescue: job.is_nested(), ..job.nesting.clone() },
        csv_bom: job.csv_bom,
        csv_safe: job.csv_safe,
        transform: job.transform.clone(),
        columns: job.columns.clone(),
        drop: job.drop.clone(),
        page_size: job.page_size.unwrap_or(defaults.page_size),
        rows_per_file: job.rows_per_file,
        dataset_card: job.dataset_card,
        max_passes: job.max_passes.unwrap_or(defaults.max_passes),
        temp_dir: job.temp_dir.clone(),
        ..defaults
    };
    if let Some(pinned) = pinned {
        let schema = Some(types_of_columns(pinned, &ExportPlan::new(options.clone())?));
        options.nesting = NestingOptions { schema, rescue: true, ..NestingOptions::default() };
    }
    let mut plan = ExportPlan::new(options)?;
    (plan.record, plan.staging) = (Some(series.record(stamp)), Some(series.staging()));
    plan.snapshot =
        Some(SnapshotOf { job: job.name.clone(), stamp, listed: chosen.listed.clone() });
    Ok(plan)
}
