//! The entries of batches, and what the first pass counts.

use super::{rows::Compared, side::ScannedBatch, table::TableEntry};
use crate::error::Result;

/// What was counted, besides the rows in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Gathered {
    /// Number of rows of each side.
    pub(super) rows: [u64; 2],
    /// Number of equal rows that both sides have, and that are in no table.
    pub(super) equal: u64,
    /// Number of rows that differ only in JSON columns and whose values were compared, and of these the equal ones.
    pub(super) judged: u64,
    pub(super) respelled: u64,
}

/// Returns a function that computes the entries of a batch, and their size in bytes.
pub(super) fn entries_of(
    compared: &Compared,
) -> impl Fn(&ScannedBatch) -> Result<(Vec<TableEntry>, usize)> + Clone + Send + Sync + 'static {
    let compared = compared.clone();
    move |batch| {
        let rows = batch.rows()?;
        let entries: Vec<_> = (0..rows.len()).map(|row| rows.entry(&compared, row)).collect();
        let bytes = size_of_val(entries.as_slice());
        Ok((entries, bytes))
    }
}
