//! The totals of the rows of an export's files: their number, their distinct ids, and their digest.

use arrow_array::cast::AsArray;
use uuid::Uuid;

use super::{ReadOptions, Reader};
use crate::{
    batch::Column,
    error::{Error, Result},
    proof::{DEFAULT_LIMIT_BYTES, Digest, IdSet},
    record::facts::digest,
    text::grouped,
};

/// Rows and distinct ids of all files read so far.
pub(super) struct VerifyTally {
    rows: u64,
    ids: IdSet,
    has_ids: bool,
}

impl VerifyTally {
    pub(super) fn new() -> Self {
        let ids = IdSet::spilling(DEFAULT_LIMIT_BYTES, std::env::temp_dir());
        Self { rows: 0, ids, has_ids: false }
    }

    /// Adds the rows of a file and returns the file's own row count and digest.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the caller has set the stop flag. Every error of the reader.
    pub(super) fn add(&mut self, reader: Reader, options: &ReadOptions) -> Result<(u64, Digest)> {
        let (mut rows, mut whole) = (0, Digest::default());
        for batch in reader.batches {
            let batch = batch?;
            options.go_on()?;
            whole.join(digest(&batch)?, batch.num_rows() as u64);
            rows += batch.num_rows() as u64;
            let ids = batch.column_by_name(Column::Id.name());
            let Some(ids) = ids.and_then(|ids| ids.as_string_opt::<i32>()) else { continue };
            self.has_ids = true;
            for id in ids.iter().flatten() {
                // The digest detects a text that is not a UUID: count it as the nil UUID here.
                let id = Uuid::try_parse(id).unwrap_or_default();
                self.ids.insert(id).map_err(Error::io("sort ids in", std::env::temp_dir()))?;
            }
        }
        self.rows += rows;
        Ok((rows, whole))
    }

    pub(super) fn repeated(self) -> Result<Option<String>> {
        let distinct = self.ids.finish();
        let distinct = distinct.map_err(Error::io("sort ids in", std::env::temp_dir()))?.distinct;
        let lost = self.rows - distinct.min(self.rows);
        Ok((self.has_ids && lost > 0).then(|| {
            format!("{} rows have only {} distinct ids", grouped(self.rows), grouped(distinct))
        }))
    }
}
