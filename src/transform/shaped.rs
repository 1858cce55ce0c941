//! What a transformation makes of a block of rows.

use arrow_array::ArrayRef;

use super::{edits::EditedRow, explain::Explanation};

/// A block, and which of its rows are kept.
#[derive(Debug)]
pub(crate) struct Shaped<B> {
    pub(crate) block: B,
    /// One value for each row.
    pub(crate) kept: Vec<bool>,
    /// The number of the split of each row that is kept.
    pub(crate) splits: Vec<usize>,
    /// The indices of the rows on which an expression failed.
    pub(crate) failed: Vec<usize>,
    /// The computed columns, each with one value for each row that is kept, or with the lines of all of them.
    pub(crate) columns: Vec<ArrayRef>,
    /// Number of lines of each row, if rows are mapped to lines; otherwise empty.
    pub(crate) lines: Vec<usize>,
    /// For each row that is kept, the row with its replacements, if there are any. Empty without replacements.
    pub(crate) edited: Vec<Option<Box<EditedRow>>>,
    /// For each split, and once without splits: for each path of the replacements, the number of rows in which it has
    /// replaced a value.
    pub(crate) replaced: Vec<Vec<u64>>,
    /// What no row of the block has given to the expressions, such as `dedupe: .inptu` for a field, or `dedupe` for a result
    /// that is not null.
    pub(crate) missing: Vec<String>,
    /// Whether rows are compared.
    pub(crate) compares: bool,
    /// For each row that is kept, the hash by which it is compared with earlier rows, or
    /// [`NOT_COMPARED`](super::dedupe::NOT_COMPARED). Empty if rows are not compared.
    pub(crate) hashes: Vec<u128>,
    /// For each row that is kept, whether it is left out after all, because it equals an earlier row. Empty until
    /// [`leave_out`](Self::leave_out).
    pub(crate) duplicates: Vec<bool>,
    /// Bytes of the computed values and of what is added to rows.
    pub(super) computed: usize,
    /// What becomes of each row, if the stage only explains it. No row is kept then.
    pub(crate) explanations: Vec<Explanation>,
}

impl<B> Shaped<B> {
    /// Leaves out rows that equal an earlier row: there is one value for each row that is kept.
    pub(crate) fn leave_out(&mut self, duplicates: Vec<bool>) {
        let rows = self.edited.iter().zip(&self.splits).zip(&duplicates);
        for ((edited, split), _) in rows.filter(|(_, is_duplicate)| **is_duplicate) {
            let Some(replaced) = self.replaced.get_mut(*split) else { continue };
            for path in edited.iter().flat_map(|it| it.paths().iter()) {
                if let Some(rows) = replaced.get_mut(path) {
                    *rows = rows.saturating_sub(1);
                }
            }
        }
        self.duplicates = duplicates;
    }

    /// Returns the number of rows that were left out because they equal an earlier row.
    pub(crate) fn duplicate_rows(&self) -> u64 {
        self.duplicates.iter().filter(|is_duplicate| **is_duplicate).count() as u64
    }
}
