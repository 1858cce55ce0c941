//! Some differences, such that a bulk change does not hide the others.

use super::{
    Diff, Difference,
    replay::{RareColumns, WantedRows},
};
use crate::error::Result;

impl Diff {
    /// Visits at most `limit` rows of each kind, like [`differences`](Self::differences), and further changed rows: all that
    /// differ in a column in which at most `rare` rows differ. The later row of a changed row has all its columns.
    pub(crate) fn some_differences(
        self,
        limit: u64,
        rare: u64,
        visit: impl FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        let columns = self.compared.columns.iter().enumerate();
        let columns = columns.map(|(index, column)| (index, self.summary.columns[column]));
        let rare = columns.filter(|(_, rows)| *rows <= rare && limit > 0).collect();
        let wanted = WantedRows {
            rare: RareColumns(rare),
            whole: true,
            ..WantedRows::of(&self.summary, Some(limit))
        };
        self.replay(wanted, visit)
    }
}
