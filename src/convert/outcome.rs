//! What a transformation makes of each row of a block, for everything that writes the rows.

use arrow_array::ArrayRef;

use super::block::BatchBlock;
use crate::{
    batch::BatchBuilder,
    client::Row,
    error::Result,
    transform::{EditedRow, Shaped},
};

/// What becomes of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowOutcome<'a> {
    /// The index of the row in its block.
    pub(super) row: usize,
    /// Number of rows of the output: none for a row that is left out, and any number for a row that is mapped to lines.
    pub(super) lines: usize,
    /// The number of the split of a row that is kept; 0 without splits.
    pub(super) split: usize,
    /// The index of the first of them among the computed values.
    pub(super) first_line: usize,
    /// It is left out because it equals an earlier row.
    pub(super) is_duplicate: bool,
    /// An expression failed on it.
    pub(super) has_failed: bool,
    /// Its replacements, if there are any.
    pub(super) edited: Option<&'a EditedRow>,
}

impl<'a> RowOutcome<'a> {
    /// Returns the row with its replacements, if there are any.
    pub(super) fn edited_row(&self, block: &'a BatchBlock) -> Option<Row<'a>> {
        self.edited.map(|edited| edited.of(block.row(self.row)))
    }

    /// Adds a line of the row to a batch. `computed` has the computed values, and the index of the line among those of
    /// the row.
    pub(super) fn push(
        &self,
        builder: &mut BatchBuilder,
        block: &BatchBlock,
        (computed, line): (&[ArrayRef], usize),
        edited: Option<&Row<'_>>,
    ) -> Result<()> {
        let batch = (block.batch.columns(), self.row);
        builder.push_from_batch(batch, (computed, self.first_line + line), edited)
    }
}

/// Returns what becomes of the rows of a block: all are kept without a transformation.
pub(super) fn outcomes<'a>(
    block: &BatchBlock,
    shaped: Option<&'a Shaped<BatchBlock>>,
) -> impl Iterator<Item = RowOutcome<'a>> + use<'a> {
    let mut failed = shaped.map_or(&[][..], |shaped| &shaped.failed).iter().peekable();
    let (mut kept, mut first_line) = (0, 0);
    (0..block.batch.num_rows()).map(move |row| {
        let is_kept = shaped.is_none_or(|shaped| shaped.kept.get(row) == Some(&true));
        let lines = shaped.and_then(|shaped| shaped.lines.get(row).copied());
        let computed = if is_kept { lines.unwrap_or(1) } else { 0 };
        let is_duplicate =
            is_kept && shaped.is_some_and(|it| it.duplicates.get(kept) == Some(&true));
        let edited = shaped.filter(|_| is_kept && !is_duplicate);
        let split = shaped.filter(|_| is_kept).and_then(|it| it.splits.get(kept).copied());
        let outcome = RowOutcome {
            row,
            lines: if is_duplicate { 0 } else { computed },
            split: split.unwrap_or_default(),
            first_line,
            is_duplicate,
            has_failed: failed.next_if_eq(&&row).is_some(),
            edited: edited.and_then(|it| it.edited.get(kept)?.as_deref()),
        };
        kept += usize::from(is_kept);
        // Rows that equal an earlier one have computed values, too.
        first_line += computed;
        outcome
    })
}
