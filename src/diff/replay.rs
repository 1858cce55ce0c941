//! The second pass: reads both sides again for the values of the rows that differ. Keeps one row of each side in
//! memory.

use std::ops::ControlFlow;

use super::{
    DiffSummary, Difference, DifferenceKind, DifferenceRow,
    entries::entries_of,
    rows::{Compared, RowValue, Rows},
    side::{ScannedBatch, Side},
    spill::{RowSpill, SpillReader},
    table::{ColumnSet, Table, TableEntry},
};
use crate::{batch::Column, error::Result, readback::bytes_of};

/// Number of differences of each kind to show.
pub(super) struct WantedRows {
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) changed: u64,
    /// Whether all differences are wanted. Then both sides are read completely and checked.
    pub(super) all: bool,
    /// Further changed rows: all that differ in one of these columns.
    pub(super) rare: RareColumns,
    /// Whether the later row of a changed row has all columns, and not only those that differ.
    pub(super) whole: bool,
}

impl WantedRows {
    /// The first `limit` differences of each kind, or all.
    pub(super) fn of(summary: &DiffSummary, limit: Option<u64>) -> Self {
        let wanted = |count: u64| limit.map_or(count, |limit| limit.min(count));
        Self {
            added: wanted(summary.added),
            removed: wanted(summary.removed),
            changed: wanted(summary.changed),
            all: limit.is_none(),
            rare: RareColumns::default(),
            whole: false,
        }
    }
}

/// Compared columns that differ in few rows, with the number of these rows that are still to come.
#[derive(Default)]
pub(super) struct RareColumns(pub(super) Vec<(usize, u64)>);

impl RareColumns {
    /// Counts a changed row. Returns whether one of the columns is among those that differ.
    fn take(&mut self, differing: ColumnSet) -> bool {
        let mut is_rare = false;
        for index in differing.indices() {
            for (_, left) in self.0.iter_mut().filter(|(rare, _)| *rare == index) {
                *left = left.saturating_sub(1);
                is_rare = true;
            }
        }
        is_rare
    }

    fn are_complete(&self) -> bool {
        self.0.iter().all(|(_, left)| *left == 0)
    }
}

pub(super) struct Replay<Visit> {
    pub(super) compared: Compared,
    pub(super) wanted: WantedRows,
    pub(super) first: Table,
    pub(super) second: Table,
    pub(super) visit: Visit,
}

/// A row of a batch, by its index.
struct At<'a> {
    rows: &'a Rows<'a>,
    row: usize,
    entry: &'a TableEntry,
}

impl<Visit: FnMut(Difference) -> Result<()>> Replay<Visit> {
    /// Reads the first side: shows removed rows and spills the values of changed rows.
    pub(super) fn first_side(&mut self, side: &Side, mut spill: RowSpill) -> Result<SpillReader> {
        let (mut removed, mut changed, mut spilled) = (0, 0, 0);
        let some = self.wanted.removed + self.wanted.changed > 0;
        self.scan(some, side, |replay, at| {
            let Some(found) = replay.first.take(at.entry) else { return Ok(false) };
            match found.kind {
                DifferenceKind::Removed if removed < replay.wanted.removed => {
                    removed += 1;
                    replay.show(found.kind, at, Some(at.whole()), None)?;
                }
                DifferenceKind::Changed => {
                    let (is_rare, is_early) =
                        (replay.wanted.rare.take(found.columns), changed < replay.wanted.changed);
                    changed += u64::from(is_early);
                    if !is_rare && !is_early {
                        return Ok(false);
                    }
                    spilled += 1;
                    let row = at.changed(&replay.compared, found.columns);
                    let values = row.values.iter().map(|(_, value)| Some(value.as_str()));
                    let offset = spill.write([row.id.as_deref()].into_iter().chain(values))?;
                    replay.first.store_offset(found, offset);
                }
                _ => {}
            }
            let are_seen = changed == replay.wanted.changed && replay.wanted.rare.are_complete();
            Ok(removed == replay.wanted.removed && are_seen)
        })?;
        let are_seen = changed == self.wanted.changed && self.wanted.rare.are_complete();
        if removed != self.wanted.removed || !are_seen {
            return Err(side.changed());
        }
        // The second side has as many of them.
        self.wanted.changed = spilled;
        spill.into_reader()
    }

    /// Reads the second side: shows added rows, and changed rows together with their spilled values.
    pub(super) fn second_side(&mut self, side: &Side, mut waiting: SpillReader) -> Result<()> {
        let (mut added, mut changed) = (0, 0);
        let some = self.wanted.added + self.wanted.changed > 0;
        self.scan(some, side, |replay, at| {
            let Some(found) = replay.second.take(at.entry) else { return Ok(false) };
            match found.kind {
                DifferenceKind::Added if added < replay.wanted.added => {
                    added += 1;
                    replay.show(found.kind, at, None, Some(at.whole()))?;
                }
                DifferenceKind::Changed => {
                    // With a limit, the values of most changed rows were not spilled.
                    let Some(offset) = replay.first.offset_of(at.entry.key()) else {
                        return Ok(false);
                    };
                    changed += 1;
                    let after = at.changed(&replay.compared, found.columns);
                    let mut texts = waiting.read(offset, 1 + after.values.len())?.into_iter();
                    let id = texts.next().flatten();
                    let names = after.values.iter().map(|(column, _)| *column);
                    let values = names.zip(texts.map(Option::unwrap_or_default)).collect();
                    let before = DifferenceRow { id, values };
                    let after = if replay.wanted.whole { at.whole() } else { after };
                    replay.show(found.kind, at, Some(before), Some(after))?;
                }
                _ => {}
            }
            Ok(added == replay.wanted.added && changed == replay.wanted.changed)
        })?;
        if added == self.wanted.added && changed == self.wanted.changed {
            Ok(())
        } else {
            Err(side.changed())
        }
    }

    /// Reads a side until `each` returns that all wanted differences were shown. Reads nothing if `some` is false.
    fn scan(
        &mut self,
        some: bool,
        side: &Side,
        mut each: impl FnMut(&mut Self, &At<'_>) -> Result<bool>,
    ) -> Result<()> {
        if !some {
            return Ok(());
        }
        let all = self.wanted.all;
        let entries = entries_of(&self.compared);
        let with_entries = move |batch: ScannedBatch| {
            let (entries, bytes) = entries(&batch)?;
            let bytes = bytes + bytes_of(&batch.batch);
            Ok(((batch, entries), bytes))
        };
        side.scan(with_entries, |(batch, entries)| {
            let rows = &batch.rows()?;
            for (row, entry) in entries.iter().enumerate() {
                if each(self, &At { rows, row, entry })? && !all {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn show(
        &mut self,
        kind: DifferenceKind,
        at: &At<'_>,
        before: Option<DifferenceRow>,
        after: Option<DifferenceRow>,
    ) -> Result<()> {
        let key = at.rows.value(self.compared.key, at.row).map(RowValue::into_text);
        (self.visit)(Difference { kind, key, before, after })
    }
}

impl At<'_> {
    fn whole(&self) -> DifferenceRow {
        self.with(self.rows.columns())
    }

    fn changed(&self, compared: &Compared, columns: ColumnSet) -> DifferenceRow {
        self.with(columns.indices().map(|index| compared.columns[index]))
    }

    fn with(&self, columns: impl Iterator<Item = Column>) -> DifferenceRow {
        let value = |column| self.rows.value(column, self.row);
        let json = |column| value(column).map_or_else(|| "null".to_owned(), RowValue::into_json);
        DifferenceRow {
            id: value(Column::Id).map(RowValue::into_text),
            values: columns.map(|column| (column, json(column))).collect(),
        }
    }
}
