//! Reads the rows of the source on a thread of its own, and checks them.

use std::{ops::ControlFlow, path::PathBuf, sync::Arc};

use arrow_array::{Array, RecordBatch};

use super::{
    block::BatchBlock,
    checks::{DistinctIds, RowChecks, damaged, ids, with_json},
    source::{ConvertSource, DROP, SourceRows},
};
use crate::{
    batch::{Column, OutputColumn},
    error::Result,
    location::Location,
    readback::ReadOptions,
    record::facts::digest,
    text::grouped,
};

/// Reads the rows of a source.
pub(super) struct SourceReader {
    pub(super) source: Arc<ConvertSource>,
    pub(super) options: ReadOptions,
    pub(super) checks: RowChecks,
    pub(super) temp_dir: PathBuf,
}

impl SourceReader {
    /// Passes the rows to `visit` in order, until it returns [`ControlFlow::Break`]: then the result is `None`.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) when a file cannot be read or does not match its record, and when a row
    /// fails a check. [`Error::Interrupted`](crate::Error::Interrupted) when the stop flag of the options is set.
    pub(super) fn read(
        &self,
        mut visit: impl FnMut(BatchBlock) -> ControlFlow<()>,
    ) -> Result<Option<SourceRows>> {
        let mut all = SourceRows::default();
        let mut distinct = self.checks.distinct.then(|| DistinctIds::new(&self.temp_dir));
        for file in &self.source.files {
            let (place, recorded, reader) = file.open(&self.options)?;
            // Names that the source does not list are refused when it is opened.
            reader.require_columns(place)?;
            let mut of_file = SourceRows::default();
            let (columns, of_file_at) = (self.source.columns.clone(), place.clone());
            let checks_json = self.checks.json;
            let with_digest = move |batch: RecordBatch| {
                let (digest, bytes) = (digest(&batch)?, batch.get_array_memory_size());
                // The number of the row is known only later. If JSON is wrong, it is checked again for the error.
                let checked =
                    checks_json.then(|| with_json(batch.clone(), &columns, &of_file_at, 1));
                let checked = checked.and_then(Result::ok);
                Ok(((digest, checked.is_none(), checked.unwrap_or(batch)), bytes))
            };
            for batch in reader.batches.mapped(&self.options, with_digest) {
                self.options.go_on()?;
                let (digest, is_unchecked, mut batch) =
                    batch.map_err(|error| error.with_hint_of_column(DROP))?;
                let (rows, first_row) = (batch.num_rows() as u64, all.rows + of_file.rows + 1);
                require_columns(&batch, &self.source.columns, place)?;
                of_file.digest.join(digest, rows);
                if is_unchecked && checks_json {
                    batch = with_json(batch, &self.source.columns, place, first_row)?;
                }
                let block = self.block(batch, place, first_row)?;
                of_file.rows += rows;
                if let Some(distinct) = &mut distinct {
                    distinct.add(&block.ids, &self.temp_dir)?;
                }
                if visit(block).is_break() {
                    return Ok(None);
                }
            }
            if let Some(recorded) = recorded {
                recorded.check(place, of_file.rows, of_file.digest)?;
            }
            all.rows += of_file.rows;
            all.digest.join(of_file.digest, of_file.rows);
        }
        if let Some(distinct) = distinct {
            distinct.check(&self.source.place, &self.temp_dir)?;
        }
        Ok(Some(all))
    }

    fn block(&self, batch: RecordBatch, place: &Location, first_row: u64) -> Result<BatchBlock> {
        let null = batch.column_by_name(Column::Id.name()).filter(|ids| ids.null_count() > 0);
        if let Some(row) = null.and_then(|ids| (0..ids.len()).find(|row| ids.is_null(*row))) {
            let row = grouped(first_row + row as u64);
            return Err(damaged(place, format!("row {row} has no id")));
        }
        let ids = if self.checks.ids { ids(&batch, place, first_row)? } else { Vec::new() };
        Ok(BatchBlock { first_row, batch, ids, replaced: Vec::new() })
    }
}

/// Refuses a batch with other columns than those of the source.
fn require_columns(batch: &RecordBatch, columns: &[OutputColumn], place: &Location) -> Result<()> {
    let schema = batch.schema_ref();
    let found =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type().clone()));
    let expected = columns.iter().map(|it| (it.name(), it.column_type().data_type()));
    match found.eq(expected) {
        true => Ok(()),
        false => Err(damaged(place, "its rows do not all have the same columns".to_owned())),
    }
}
