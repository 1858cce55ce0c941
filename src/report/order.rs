//! What is seen of the column `order`.

use super::profile::tree::texts::Tally;

/// The values of `order`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OrderSeen {
    pub(super) count: u64,
    pub(super) range: Option<(i64, i64)>,
    /// Values that are not larger than the one before.
    pub(super) falls: Tally,
    /// Values that are larger than the one before by more than one.
    pub(super) gaps: Tally,
    /// The values around the first gap.
    pub(super) first_gap: Option<(i64, i64)>,
    last: Option<i64>,
    /// Whether rows were left out on purpose.
    is_sparse: bool,
}

impl OrderSeen {
    /// `is_sparse` says that rows were left out on purpose.
    pub(super) fn new(is_sparse: bool) -> Self {
        Self { is_sparse, ..Self::default() }
    }

    /// Adds the order of the next row. Returns whether the row is the first one with a lower order, or after a gap.
    pub(super) fn add(&mut self, order: i64, row: u64) -> bool {
        self.count += 1;
        let mut is_first = false;
        if let Some(last) = self.last {
            if order <= last {
                is_first = self.falls.add(row);
            } else if last.checked_add(1) != Some(order) && self.gaps.add(row) {
                (is_first, self.first_gap) = (true, Some((last, order)));
            }
        }
        let (low, high) = self.range.unwrap_or((order, order));
        (self.range, self.last) = (Some((low.min(order), high.max(order))), Some(order));
        is_first && !self.is_sparse
    }

    /// Whether something is wrong with the order: rows that were left out on purpose leave gaps.
    pub(super) fn is_odd(&self) -> bool {
        !self.is_sparse && self.count > 0 && !self.is_contiguous()
    }

    /// Whether the values rise by one from row to row.
    pub(super) fn is_contiguous(&self) -> bool {
        let span = self.range.map(|(low, high)| high.abs_diff(low));
        self.falls.count == 0 && span.is_some_and(|span| span.checked_add(1) == Some(self.count))
    }
}
