//! A table of row hashes: one entry of 64 bytes per row, without values.
//!
//! The tables of both sides are sorted by key and merged. If several rows share a key, equal rows are paired
//! first. If then one row is left on each side, it is a changed row. All other rows that are left are removed and
//! added rows, because no data shows which belong together. A row without a key is paired with an equal row only.
//! The order in which rows are added has no effect.

use std::{cmp::Ordering, thread};

use twox_hash::XxHash3_128;

use super::DifferenceKind;

/// Maximum number of compared columns: all 7 columns except `id`. Another key column is not compared either.
pub(super) const COMPARED: usize = 6;

/// The hash that marks a row without a key. A key with this hash gets another hash.
pub(super) const NO_KEY: u128 = 0;

/// The entry of a row.
///
/// Before the comparison, `words` are the hashes of the compared columns. After it, only differences are left, and
/// `words` contain the data to find them again in the second pass: see the constants below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableEntry {
    key: u128,
    words: [u64; COMPARED],
}

const _: () = assert!(size_of::<TableEntry>() == 64);

/// Indices into the words of a difference.
const ROW: [usize; 2] = [0, 1];
const KIND: usize = 2;
const CHANGED: usize = 3;
const OFFSET: usize = 4;
const TAKEN: usize = 5;
/// The hash of a changed row's values, until the rows are read for the caller.
const VALUE: [usize; 2] = [OFFSET, TAKEN];

impl TableEntry {
    pub(super) fn new(key: u128, columns: [u64; COMPARED]) -> Self {
        Self { key, words: columns }
    }

    pub(super) fn key(&self) -> u128 {
        self.key
    }

    /// Returns one hash over all compared columns.
    fn row_hash(&self) -> u128 {
        let mut bytes = [0; COMPARED * size_of::<u64>()];
        for (to, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(self.words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        XxHash3_128::oneshot(&bytes)
    }

    fn into_difference(self, kind: DifferenceKind) -> Self {
        let row = self.row_hash();
        let mut words = [0; COMPARED];
        (words[ROW[0]], words[ROW[1]]) = ((row >> 64) as u64, row as u64);
        words[KIND] = kind as u64;
        Self { key: self.key, words }
    }

    fn into_change(self, columns: ColumnSet) -> Self {
        let mut entry = self.into_difference(DifferenceKind::Changed);
        entry.words[CHANGED] = columns.0;
        entry
    }

    /// Returns the sort key of a difference: key hash and row hash.
    fn place(&self) -> (u128, u128) {
        (self.key, self.two_words(ROW))
    }

    fn two_words(&self, [high, low]: [usize; 2]) -> u128 {
        u128::from(self.words[high]) << 64 | u128::from(self.words[low])
    }
}

/// A set of compared columns, as a bit set of their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ColumnSet(u64);

impl ColumnSet {
    /// Takes whether each compared column is in the set.
    pub(super) fn of(columns: impl Iterator<Item = bool>) -> Self {
        Self(columns.enumerate().fold(0, |bits, (index, is_in)| bits | u64::from(is_in) << index))
    }

    /// Whether all these columns are among others.
    pub(super) fn is_within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    pub(super) fn that_differ(before: &TableEntry, after: &TableEntry) -> Self {
        let differs = |&index: &usize| before.words[index] != after.words[index];
        Self((0..COMPARED).filter(differs).fold(0, |bits, index| bits | 1 << index))
    }

    pub(super) fn indices(self) -> impl Iterator<Item = usize> {
        (0..COMPARED).filter(move |index| self.0 >> index & 1 == 1)
    }
}

/// The counts of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DiffTally {
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) changed: u64,
    pub(super) unchanged: u64,
    /// For each compared column, the number of changed rows that differ in it.
    pub(super) columns: [u64; COMPARED],
    /// Number of changed rows that differ only in JSON columns.
    pub(super) only_json: u64,
    /// Number of keys that both sides have.
    pub(super) shared_keys: u64,
    /// For each side, the number of rows whose key occurs more than once on that side.
    pub(super) repeated: [u64; 2],
    /// For each side, the number of rows without a key.
    pub(super) without_key: [u64; 2],
}

/// The entries of one side's rows.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<TableEntry>,
}

impl Table {
    /// Reserves memory for exactly this many rows. Growing by doubling could take twice the memory.
    ///
    /// Returns whether the memory is available.
    pub(super) fn reserve(&mut self, rows: u64) -> bool {
        usize::try_from(rows).is_ok_and(|rows| self.entries.try_reserve_exact(rows).is_ok())
    }

    pub(super) fn extend(&mut self, entries: &[TableEntry]) {
        // The capacity is too small only if a file does not record its row count, or records a wrong one.
        if self.entries.capacity() - self.entries.len() < entries.len() {
            self.entries.reserve_exact((self.entries.len() / 16).max(entries.len()));
        }
        self.entries.extend_from_slice(entries);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<TableEntry>()
    }

    /// Keeps the first entries, which are the differences, and sorts them for binary search.
    fn keep(&mut self, differences: usize) {
        self.entries.truncate(differences);
        self.entries.shrink_to_fit();
        self.entries.sort_unstable_by_key(TableEntry::place);
    }
}

/// Compares two sides and returns the counts. Afterwards each table contains only its differences. `json` are the
/// columns that are JSON.
pub(super) fn compare(before: &mut Table, after: &mut Table, json: ColumnSet) -> DiffTally {
    let (a, b) = (&mut before.entries, &mut after.entries);
    sort(a, b);
    let mut tally = DiffTally::default();
    let (mut kept_a, mut kept_b) = (0, 0);
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let key = match (a.get(i), b.get(j)) {
            (Some(a), Some(b)) => a.key.min(b.key),
            (Some(one), None) | (None, Some(one)) => one.key,
            (None, None) => break,
        };
        let end_i = i + same_key(&a[i..], key);
        let end_j = j + same_key(&b[j..], key);
        tally.key(key, [end_i - i, end_j - j]);
        let (first_a, first_b) = (kept_a, kept_b);
        let mut last = [None, None];
        while i < end_i || j < end_j {
            let order = match (i < end_i, j < end_j) {
                (true, true) => a[i].words.cmp(&b[j].words),
                (true, false) => Ordering::Less,
                (false, _) => Ordering::Greater,
            };
            match order {
                Ordering::Equal => {
                    tally.unchanged += 1;
                    (i, j) = (i + 1, j + 1);
                }
                Ordering::Less => {
                    last[0] = Some(a[i]);
                    a[kept_a] = a[i].into_difference(DifferenceKind::Removed);
                    (i, kept_a) = (i + 1, kept_a + 1);
                }
                Ordering::Greater => {
                    last[1] = Some(b[j]);
                    b[kept_b] = b[j].into_difference(DifferenceKind::Added);
                    (j, kept_b) = (j + 1, kept_b + 1);
                }
            }
        }
        let left = (kept_a - first_a, kept_b - first_b);
        if let ((1, 1), [Some(one), Some(other)], true) = (left, last, key != NO_KEY) {
            let columns = ColumnSet::that_differ(&one, &other);
            a[first_a] = one.into_change(columns);
            b[first_b] = other.into_change(columns);
            tally.changed += 1;
            tally.only_json += u64::from(columns.is_within(json));
            columns.indices().for_each(|index| tally.columns[index] += 1);
        } else {
            tally.removed += left.0 as u64;
            tally.added += left.1 as u64;
        }
    }
    before.keep(kept_a);
    after.keep(kept_b);
    tally
}

/// Sorts both tables at the same time.
fn sort(a: &mut [TableEntry], b: &mut [TableEntry]) {
    let started = thread::scope(|scope| {
        let thread = thread::Builder::new().name("sort".to_owned());
        let started = thread.spawn_scoped(scope, || a.sort_unstable()).is_ok();
        b.sort_unstable();
        started
    });
    if !started {
        a.sort_unstable();
    }
}

fn same_key(entries: &[TableEntry], key: u128) -> usize {
    entries.iter().take_while(|entry| entry.key == key).count()
}

impl DiffTally {
    fn key(&mut self, key: u128, rows: [usize; 2]) {
        if key == NO_KEY {
            self.without_key = rows.map(|rows| rows as u64);
            return;
        }
        self.shared_keys += u64::from(rows.iter().all(|rows| *rows > 0));
        for (repeated, rows) in self.repeated.iter_mut().zip(rows) {
            *repeated += if rows > 1 { rows as u64 } else { 0 };
        }
    }
}

/// A difference that was found by its row in the second pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundRow {
    index: usize,
    pub(super) kind: DifferenceKind,
    pub(super) columns: ColumnSet,
}

impl TableEntry {
    fn found(&self, index: usize) -> FoundRow {
        let kind = match self.words[KIND] {
            kind if kind == DifferenceKind::Added as u64 => DifferenceKind::Added,
            kind if kind == DifferenceKind::Removed as u64 => DifferenceKind::Removed,
            _ => DifferenceKind::Changed,
        };
        FoundRow { index, kind, columns: ColumnSet(self.words[CHANGED]) }
    }

    /// Removes the hash of a changed row's values, and returns it. 0 means that none was stored.
    fn take_value(&mut self) -> u128 {
        let hash = self.two_words(VALUE);
        VALUE.into_iter().for_each(|word| self.words[word] = 0);
        hash
    }
}

impl Table {
    /// Finds the difference of a row after the comparison. Returns `None` for an unchanged row.
    ///
    /// If several rows are equal, each difference is returned once.
    pub(super) fn take(&mut self, row: &TableEntry) -> Option<FoundRow> {
        let place = (row.key, row.row_hash());
        let first = self.entries.partition_point(|entry| entry.place() < place);
        let at = self.entries.get_mut(first).filter(|entry| entry.place() == place)?;
        let index = first + at.words[TAKEN] as usize;
        at.words[TAKEN] += 1;
        let found = self.entries.get(index).filter(|entry| entry.place() == place)?;
        Some(found.found(index))
    }

    /// Finds a changed row after the comparison, any number of times. Returns `None` for any other row.
    pub(super) fn changed(&self, row: &TableEntry) -> Option<FoundRow> {
        let place = (row.key, row.row_hash());
        let index = self.entries.partition_point(|entry| entry.place() < place);
        let entry = self.entries.get(index).filter(|entry| entry.place() == place)?;
        Some(entry.found(index)).filter(|found| found.kind == DifferenceKind::Changed)
    }

    /// Stores the hash of a changed row's values. Returns whether it is the first one of this row.
    pub(super) fn store_value(&mut self, found: FoundRow, hash: u128) -> bool {
        // 0 means "not stored".
        let hash = hash.max(1);
        let Some(entry) = self.entries.get_mut(found.index) else { return false };
        let is_first = entry.two_words(VALUE) == 0;
        (entry.words[VALUE[0]], entry.words[VALUE[1]]) = ((hash >> 64) as u64, hash as u64);
        is_first
    }

    /// Returns the number of changed rows whose hashes are stored in both tables and equal. Removes all these hashes.
    pub(super) fn take_equal_values(&mut self, other: &mut Self) -> u64 {
        let mut equal = 0;
        for entry in &mut self.entries {
            let hash = entry.take_value();
            // A changed row is the only difference with its key.
            let index = other.entries.partition_point(|other| other.key < entry.key);
            let other = other.entries.get_mut(index).filter(|other| other.key == entry.key);
            let is_equal = other.is_some_and(|other| other.take_value() == hash && hash != 0);
            equal += u64::from(is_equal);
        }
        equal
    }

    /// Stores the offset of a changed row's values in the spill file. The offset is never 0.
    pub(super) fn store_offset(&mut self, found: FoundRow, offset: u64) {
        if let Some(entry) = self.entries.get_mut(found.index) {
            entry.words[OFFSET] = offset;
        }
    }

    /// Returns the offset of the values of the changed row with this key, if they were spilled.
    pub(super) fn offset_of(&self, key: u128) -> Option<u64> {
        let index = self.entries.partition_point(|entry| entry.key < key);
        let entry = self.entries.get(index).filter(|entry| entry.key == key)?;
        Some(entry.words[OFFSET]).filter(|offset| *offset > 0)
    }
}
