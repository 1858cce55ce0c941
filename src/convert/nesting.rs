//! Finds the types of nested JSON columns: reads the source once before the rows are written, so nothing is staged.

use std::sync::{Arc, atomic::AtomicBool};

use super::{plan::ConvertPlan, transformed::TransformedBatches};
use crate::{
    batch::ColumnType,
    error::Result,
    export::lanes::{LaneBatch, infer_in_lanes},
    nested::{NestRules, NestedField},
    readback::ReadOptions,
};

/// Returns the types that hold the values of all rows of the output.
///
/// # Errors
/// The error of the source, of its transformation, or of the stop flag.
pub(super) fn types_of(
    plan: &ConvertPlan,
    rules: &NestRules,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<NestedField>> {
    let json = plan.columns().filter(|column| column.column_type() == ColumnType::Json);
    let names: Vec<&str> = json.map(|column| column.name()).collect();
    let mut rows = plan.rows.clone();
    rows.read = ReadOptions { stop: stop.clone(), ..rows.read };
    let batches = TransformedBatches::of(rows, plan.output.encode_threads, &plan.output.temp_dir);
    let states = infer_in_lanes(&names, rules, plan.output.encode_threads, |send| {
        let mut row = 0;
        for batch in batches {
            let (batch, first_row) = (batch?, row + 1);
            row += batch.num_rows() as u64;
            send(LaneBatch { batch, first_row });
        }
        Ok(())
    })?;
    let others = plan.columns().count() - names.len();
    states.types(others, rules)
}
