//! The totals of the rows of an export's files: their number, their distinct ids, their digest, and the rows with
//! rescued values.

use arrow_array::{Array, RecordBatch};
use uuid::Uuid;

use super::{ReadOptions, Reader};
use crate::{
    batch::{Column, TextValues},
    error::{Error, Result},
    nested::RESCUED,
    proof::{DEFAULT_LIMIT_BYTES, Digest, IdSet},
    record::facts::digest,
    text::grouped,
};

/// What is counted of a batch.
struct CountedBatch {
    rows: u64,
    digest: Digest,
    rescued: u64,
    ids: Option<Vec<Uuid>>,
}

/// What a file has.
pub(super) struct FileTally {
    pub(super) rows: u64,
    pub(super) digest: Digest,
    /// Number of rows with a rescued value.
    pub(super) rescued: u64,
}

impl CountedBatch {
    /// Counts a batch, and returns the size of the counts in memory, in bytes. `rescues` says whether it has a column of
    /// rescued values, which are also in their own columns.
    fn of(mut batch: RecordBatch, rescues: bool) -> Result<(Self, usize)> {
        let mut rescued = 0;
        if rescues && let Ok(place) = batch.schema().index_of(RESCUED) {
            let objects = batch.remove_column(place);
            rescued = (objects.len() - objects.null_count()) as u64;
        }
        let ids = batch.column_by_name(Column::Id.name());
        let ids = ids.and_then(TextValues::of);
        // The digest detects a text that is not a UUID: count it as the nil UUID here.
        let parsed = |id| Uuid::try_parse(id).unwrap_or_default();
        let rows = 0..batch.num_rows();
        let ids: Option<Vec<Uuid>> =
            ids.map(|ids| rows.filter_map(|row| ids.get(row)).map(parsed).collect());
        let bytes = size_of::<Self>() + ids.as_ref().map_or(0, |ids| size_of_val(ids.as_slice()));
        Ok((Self { rows: batch.num_rows() as u64, digest: digest(&batch)?, rescued, ids }, bytes))
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

    /// Returns the options with which files are read: also with their rescued values.
    pub(super) fn reading(options: &ReadOptions) -> ReadOptions {
        let columns = Vec::new();
        ReadOptions { columns, with_rescued: true, keeps_views: true, ..options.clone() }
    }

    /// Adds the rows of a file, which was opened with the options of [`reading`](Self::reading). Returns what the file
    /// itself has.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the caller has set the stop flag. Every error of the reader.
    pub(super) fn add(&mut self, reader: Reader, options: &ReadOptions) -> Result<FileTally> {
        let mut whole = FileTally { rows: 0, digest: Digest::default(), rescued: 0 };
        let rescues = reader.rescues;
        for counted in reader.batches.mapped(options, move |it| CountedBatch::of(it, rescues)) {
            let counted = counted?;
            options.go_on()?;
            whole.digest.join(counted.digest, counted.rows);
            whole.rows += counted.rows;
            whole.rescued += counted.rescued;
            self.has_ids |= counted.ids.is_some();
            for id in counted.ids.into_iter().flatten() {
                self.ids.insert(id).map_err(Error::io("sort ids in", std::env::temp_dir()))?;
            }
        }
        self.rows += whole.rows;
        Ok(whole)
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
