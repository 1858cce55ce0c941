//! The totals of the rows of an export's files: their number, their distinct ids, and their digest.

use arrow_array::{RecordBatch, cast::AsArray};
use uuid::Uuid;

use super::{ReadOptions, Reader};
use crate::{
    batch::Column,
    error::{Error, Result},
    proof::{DEFAULT_LIMIT_BYTES, Digest, IdSet},
    record::facts::digest,
    text::grouped,
};

/// What is counted of a batch.
struct CountedBatch {
    rows: u64,
    digest: Digest,
    ids: Option<Vec<Uuid>>,
}

impl CountedBatch {
    /// Counts a batch, and returns the size of the counts in memory, in bytes.
    fn of(batch: &RecordBatch) -> Result<(Self, usize)> {
        let ids = batch.column_by_name(Column::Id.name());
        let ids = ids.and_then(|ids| ids.as_string_opt::<i32>());
        // The digest detects a text that is not a UUID: count it as the nil UUID here.
        let parsed = |id| Uuid::try_parse(id).unwrap_or_default();
        let ids: Option<Vec<Uuid>> = ids.map(|ids| ids.iter().flatten().map(parsed).collect());
        let bytes = size_of::<Self>() + ids.as_ref().map_or(0, |ids| size_of_val(ids.as_slice()));
        Ok((Self { rows: batch.num_rows() as u64, digest: digest(batch)?, ids }, bytes))
    }
}

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
        for counted in reader.batches.mapped(options, |batch| CountedBatch::of(&batch)) {
            let counted = counted?;
            options.go_on()?;
            whole.join(counted.digest, counted.rows);
            rows += counted.rows;
            self.has_ids |= counted.ids.is_some();
            for id in counted.ids.into_iter().flatten() {
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
