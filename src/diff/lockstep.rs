//! Reads both sides at the same time, and compares rows that are at about the same place in both.
//!
//! Two exports of one dataset have most of their rows in the same order. Equal rows need no entry in a table, and the values
//! of changed rows are at hand when they are compared: no other pass has to read them again. All other rows go into the
//! tables, which find rows that are far apart. So the order of the rows decides about time and memory, and not about the
//! result.
//!
//! The ids of each side must be distinct. Otherwise, the counts of repeated keys would miss rows that are in no table.

use std::{collections::VecDeque, rc::Rc};

use super::{
    entries::Gathered,
    rows::Compared,
    side::{ScannedBatch, Side},
    table::{ColumnSet, NO_KEY, Table, TableEntry},
};
use crate::{
    error::Result,
    proof::Digest,
    readback::{ReadAhead, bytes_of},
    tasks::cores,
};

/// Number of rows in which a row's counterpart is searched: 1,024. Each side keeps this number of rows in memory, with their
/// values.
const REACH: usize = 1024;
/// Size of these rows of a side, in bytes: 4 MiB. Of large rows, a side keeps fewer.
const WAITING_BYTES: usize = 4 << 20;
/// Bytes of the batches that each thread decodes ahead: 12 MiB, a row group of common rows.
const AHEAD_BYTES: usize = 12 << 20;
/// Shortest search: 16 rows. Each search that finds nothing halves the next one.
const SHORT_REACH: usize = 16;

/// A row that waits for the other row of its pair.
struct WaitingRow {
    /// The hash of its key.
    key: u128,
    batch: Rc<ScannedBatch>,
    /// Its number in the batch.
    row: usize,
    /// Its share of the bytes of the batch.
    bytes: usize,
}

impl WaitingRow {
    /// Returns the digest of the row, if one is recorded for its file.
    fn digest(&self) -> Option<Digest> {
        self.batch.digests.get(self.row).copied()
    }

    fn entry(&self, compared: &Compared) -> Result<TableEntry> {
        Ok(self.batch.rows()?.entry(compared, self.row))
    }
}

/// The rows of a side: those that wait, and those to come.
struct LockstepSide<'a, Results> {
    compared: &'a Compared,
    waiting: VecDeque<WaitingRow>,
    waiting_bytes: usize,
    results: Results,
    rows: u64,
}

impl<Results> LockstepSide<'_, Results>
where
    Results: Iterator<Item = Result<(Vec<u128>, ScannedBatch, usize)>>,
{
    /// Reads rows until enough of them wait, or none are left.
    fn fill(&mut self) -> Result<()> {
        while self.waiting.len() < REACH
            && (self.waiting_bytes < WAITING_BYTES || self.waiting.is_empty())
        {
            let Some((keys, batch, bytes)) = self.results.next().transpose()? else { break };
            self.rows += keys.len() as u64;
            let (batch, bytes) = (Rc::new(batch), bytes / keys.len().max(1));
            self.waiting_bytes += bytes * keys.len();
            let rows = keys.into_iter().enumerate();
            self.waiting.extend(rows.map(|(row, key)| WaitingRow {
                key,
                batch: batch.clone(),
                row,
                bytes,
            }));
        }
        Ok(())
    }

    /// Moves the first rows that wait into the table.
    fn give_up(&mut self, rows: usize, table: &mut Table) -> Result<()> {
        let mut left = rows.min(self.waiting.len());
        while let Some(first) = self.waiting.front().filter(|_| left > 0) {
            let batch = first.batch.clone();
            let values = batch.rows()?;
            // All of them in this batch.
            while let Some(row) = self.waiting.front().filter(|_| left > 0)
                && Rc::ptr_eq(&row.batch, &batch)
            {
                table.extend(&[values.entry(self.compared, row.row)]);
                self.settle();
                left -= 1;
            }
        }
        Ok(())
    }

    /// Removes the first row that waits.
    fn settle(&mut self) {
        self.waiting_bytes -= self.waiting.pop_front().map_or(0, |row| row.bytes);
    }

    /// Moves all rows that wait or are to come into the table.
    fn give_up_all(&mut self, table: &mut Table) -> Result<()> {
        while !self.waiting.is_empty() {
            self.give_up(usize::MAX, table)?;
            self.fill()?;
        }
        Ok(())
    }
}

/// Reads both sides. Rows that differ, or that have no counterpart nearby, are in the tables afterwards.
pub(super) fn gather(
    sides: [&Side; 2],
    compared: &Compared,
    tables: &mut [Table; 2],
) -> Result<Gathered> {
    let compared_by = compared.clone();
    let with_values = move |batch: ScannedBatch| {
        let rows = batch.rows()?;
        let keys: Vec<_> = (0..rows.len()).map(|row| rows.key(&compared_by, row)).collect();
        let bytes = size_of_val(keys.as_slice())
            + size_of_val(batch.digests.as_slice())
            + bytes_of(&batch.batch);
        Ok(((keys, batch, bytes), bytes))
    };
    // The two sides share the cores.
    let threads = cores().div_ceil(2);
    let ahead = ReadAhead { threads, bytes: AHEAD_BYTES * threads };
    let [mut first, mut second] = sides.map(|side| LockstepSide {
        compared,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        results: side.results(Some(ahead), with_values.clone()),
        rows: 0,
    });
    // With other columns, the digests of equal rows differ.
    let are_alike = sides[0].columns() == sides[1].columns()
        && sides.iter().all(|side| side.computed().is_empty());
    let (mut gathered, mut reach) = (Gathered::default(), REACH);
    let [before, after] = tables;
    loop {
        first.fill()?;
        second.fill()?;
        let (Some(one), Some(other)) = (first.waiting.front(), second.waiting.front()) else {
            break;
        };
        let (key, other_key) = (one.key, other.key);
        if key == other_key && key != NO_KEY {
            // Rows with the same digest are equal in all columns, and most rows are.
            let digest = one.digest().filter(|_| are_alike);
            if digest.is_some() && digest == other.digest() {
                gathered.equal += 1;
                first.settle();
                second.settle();
                continue;
            }
            let entries = [one.entry(compared)?, other.entry(compared)?];
            if entries[0] == entries[1] {
                gathered.equal += 1;
            } else {
                judge([one, other], &entries, compared, &mut gathered)?;
                before.extend(&entries[..1]);
                after.extend(&entries[1..]);
            }
            first.settle();
            second.settle();
            continue;
        }
        let is = |row: Option<&WaitingRow>, key| row.is_some_and(|it| it.key == key);
        let far = (1..reach).find_map(|far| {
            // Rows before the counterpart are only on its side.
            let of_second = is(second.waiting.get(far), key).then_some((0, far));
            of_second.or_else(|| is(first.waiting.get(far), other_key).then_some((far, 0)))
        });
        let far = far.filter(|_| key != NO_KEY && other_key != NO_KEY);
        // If the rows have another order, most searches find nothing. Shorter ones cost less.
        reach = if far.is_some() { REACH } else { (reach / 2).max(SHORT_REACH) };
        let (rows, others) = far.unwrap_or((1, 1));
        first.give_up(rows, before)?;
        second.give_up(others, after)?;
    }
    first.give_up_all(before)?;
    second.give_up_all(after)?;
    gathered.rows = [first.rows, second.rows];
    Ok(gathered)
}

/// Compares the values of two rows whose entries differ, if they differ only in JSON columns.
fn judge(
    [one, other]: [&WaitingRow; 2],
    entries: &[TableEntry; 2],
    compared: &Compared,
    gathered: &mut Gathered,
) -> Result<()> {
    let columns = ColumnSet::that_differ(&entries[0], &entries[1]);
    if compared.ignore_spelling || !columns.is_within(compared.json_columns()) {
        return Ok(());
    }
    let hash = |row: &WaitingRow| {
        let columns = columns.indices().map(|index| compared.columns[index]);
        Ok::<_, crate::Error>(row.batch.rows()?.value_hash(columns, row.row))
    };
    gathered.judged += 1;
    gathered.respelled += u64::from(hash(one)? == hash(other)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        batch::Column,
        diff::{
            gather::gather_one,
            table::{DiffTally, compare},
        },
        readback::ReadOptions,
    };

    /// What happens to a range of rows in the second version.
    #[derive(Debug, Clone)]
    enum Edit {
        Remove,
        Insert,
        Move,
        Change,
        Respell,
        Reverse,
    }

    fn edits() -> impl Strategy<Value = Vec<(Edit, usize, usize, usize)>> {
        use Edit::{Change, Insert, Move, Remove, Respell, Reverse};
        let kind = prop::sample::select(vec![Remove, Insert, Move, Change, Respell, Reverse]);
        let length = prop_oneof![4 => 1..4_usize, 2 => 1..300_usize, 1 => 1000..2500_usize];
        prop::collection::vec((kind, 0..4000_usize, length, 0..4000_usize), 0..8)
    }

    fn edited(rows: &[String], edits: &[(Edit, usize, usize, usize)]) -> Vec<String> {
        let (mut rows, mut new) = (rows.to_vec(), 1_000_000);
        for (edit, start, length, to) in edits {
            let start = (*start).min(rows.len());
            let range = start..(start + length).min(rows.len());
            match edit {
                Edit::Remove => drop(rows.drain(range)),
                Edit::Insert => {
                    let lines = (new..new + length).map(|id| line(id, "[1]"));
                    drop(rows.splice(start..start, lines));
                    new += length;
                }
                Edit::Move => {
                    let moved: Vec<_> = rows.drain(range).collect();
                    let to = (*to).min(rows.len());
                    rows.splice(to..to, moved);
                }
                Edit::Change => rows[range].iter_mut().for_each(|it| *it = it.replace("[", "[0,")),
                Edit::Respell => {
                    rows[range].iter_mut().for_each(|it| *it = it.replace("1]", "1.0]"))
                }
                Edit::Reverse => rows[range].reverse(),
            }
        }
        rows
    }

    fn line(id: usize, input: &str) -> String {
        format!("{{\"id\":\"{id}\",\"order\":{},\"input\":{input}}}\n", id % 7)
    }

    fn whole(tally: DiffTally, gathered: &Gathered) -> DiffTally {
        let (unchanged, shared) =
            (tally.unchanged + gathered.equal, tally.shared_keys + gathered.equal);
        DiffTally { unchanged, shared_keys: shared, ..tally }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn result_is_that_of_whole_tables(count in 0..4000_usize, edits in edits()) {
            let rows: Vec<_> = (0..count).map(|id| line(id, "[1]")).collect();
            let folder = tempfile::tempdir().unwrap();
            let open = |name: &str, rows: &[String]| {
                let path = folder.path().join(name);
                fs::write(&path, rows.concat()).unwrap();
                Side::open(&path.into(), ReadOptions::default(), &[]).unwrap()
            };
            let sides = [open("a.jsonl", &rows), open("b.jsonl", &edited(&rows, &edits))];
            let columns = vec![Column::Order, Column::Input];
            let compared = Compared { key: Column::Id, columns, ignore_spelling: false };
            let json = compared.json_columns();

            let [mut all, mut others] = [Table::default(), Table::default()];
            let all_rows = gather_one(&sides[0], &compared, &mut all).unwrap();
            let other_rows = gather_one(&sides[1], &compared, &mut others).unwrap();
            let expected = compare(&mut all, &mut others, json);

            let mut tables = [Table::default(), Table::default()];
            let gathered = gather(sides.each_ref(), &compared, &mut tables).unwrap();
            let kept: usize = tables.iter().map(Table::len).sum();
            let [one, other] = &mut tables;
            prop_assert_eq!(whole(compare(one, other, json), &gathered), expected);
            prop_assert_eq!(gathered.rows, [all_rows, other_rows]);
            prop_assert!(gathered.judged <= expected.only_json);
            prop_assert_eq!(kept as u64 + 2 * gathered.equal, all_rows + other_rows);

            // Rows in the same order are compared at once, if few others are between them.
            let is_in_order = |(edit, _, length, _): &(Edit, usize, usize, usize)| {
                *length < 100 && !matches!(edit, Edit::Move | Edit::Reverse)
            };
            if edits.iter().all(is_in_order) {
                prop_assert_eq!(gathered.equal, expected.unchanged);
                prop_assert_eq!(gathered.judged, expected.only_json);
            }
        }
    }
}
