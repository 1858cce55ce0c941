//! What a stage gets: blocks of rows, and how many of them it can hold.

use super::{dedupe::HashKey, edits::NotJson, places::PathSet, shaper::Shaper};
use crate::client::Row;

/// Rows that are transformed together.
pub(crate) trait RowBlock: Send + 'static {
    /// Number of the block, for errors.
    fn number(&self) -> u64;
    /// Number of the first row among those of the blocks with this number, for errors.
    fn first_row(&self) -> u64 {
        1
    }
    /// The memory of the block, in bytes.
    fn size(&self) -> usize;
    /// The rows, in order.
    fn rows(&self) -> impl Iterator<Item = Row<'_>>;
    /// Makes the replacements of a transformation in what the block has in addition to the fields of its rows.
    ///
    /// # Errors
    /// A value that is not JSON.
    fn replace(&mut self, _shaper: &Shaper) -> Result<(), NotJson> {
        Ok(())
    }
    /// The paths that led to a value in [`replace`](Self::replace), in the row with this index.
    fn replaced(&self, _row: usize) -> PathSet {
        PathSet::default()
    }
}

/// The largest content of a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StageLimits {
    /// Number of threads, or fewer if the system allows no more.
    pub(crate) threads: usize,
    /// Bytes of blocks. A single block may be larger.
    pub(crate) bytes: usize,
    /// The key of the hashes by which rows are compared; default a new one, or one that the key of pseudonyms decides.
    pub(crate) hash_key: Option<HashKey>,
}
