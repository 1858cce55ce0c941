//! The rows that a report shows: the first ones, some at random, the longest, and some that equal an earlier row. The
//! choice depends only on the rows, their numbers and the seed.

use std::collections::BTreeMap;

use twox_hash::XxHash3_64;

use super::values::{CellValue, RowValues};
use crate::batch::timestamp_text;

/// Bytes of a value that are shown: 32 KiB. The page says how much is left out.
pub(super) const SHOWN_BYTES: usize = 32 << 10;
/// Most rows of a report.
pub(super) const MOST_ROWS: usize = 10_000;

/// Why a row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShownWhy {
    First,
    Random,
    Longest,
    Duplicate,
}

impl ShownWhy {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Random => "random",
            Self::Longest => "longest",
            Self::Duplicate => "duplicate",
        }
    }
}

/// A value of a shown row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShownCell {
    /// The text of the value, or the beginning of it; `None` for null.
    pub(super) text: Option<String>,
    /// Bytes of the value that are left out.
    pub(super) left_out: usize,
}

/// A row to show.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShownRow {
    /// Number of the row, from 1.
    pub(super) number: u64,
    pub(super) id: String,
    /// One for each column that the report shows.
    pub(super) cells: Vec<ShownCell>,
    pub(super) why: Vec<ShownWhy>,
}

impl ShownRow {
    pub(super) fn new(number: u64, row: &RowValues<'_, '_>) -> Self {
        let cells = row.shown().map(ShownCell::of).collect();
        Self { number, id: row.id().to_owned(), cells, why: Vec::new() }
    }
}

impl ShownCell {
    fn of(value: Option<CellValue<'_>>) -> Self {
        let text = match value {
            None => return Self { text: None, left_out: 0 },
            Some(CellValue::Text(text)) => {
                let shown = text.get(..text.floor_char_boundary(SHOWN_BYTES)).unwrap_or(&text);
                return Self { text: Some(shown.to_owned()), left_out: text.len() - shown.len() };
            }
            Some(CellValue::Int(int)) => int.to_string(),
            Some(CellValue::Float(float)) => float.to_string(),
            Some(CellValue::Bool(value)) => value.to_string(),
            Some(CellValue::Timestamp(at)) => timestamp_text(at),
        };
        Self { text: Some(text), left_out: 0 }
    }
}

/// How many rows of each kind to show.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleSize {
    pub(super) all: usize,
    pub(super) seed: u64,
}

impl SampleSize {
    fn first(self) -> usize {
        self.all.div_ceil(5)
    }

    fn longest(self) -> usize {
        self.all / 10
    }

    pub(super) fn duplicates(self) -> usize {
        self.all / 10
    }

    fn random(self) -> usize {
        self.all - self.first() - self.longest() - self.duplicates()
    }
}

/// The chosen rows of those that were offered.
#[derive(Debug)]
pub(super) struct RowSample {
    size: SampleSize,
    first: BTreeMap<u64, ShownRow>,
    /// By a hash of the row's number and the seed, the smallest first.
    random: BTreeMap<(u64, u64), ShownRow>,
    /// By the largest size and the number.
    longest: BTreeMap<(std::cmp::Reverse<usize>, u64), ShownRow>,
}

impl RowSample {
    pub(super) fn new(size: SampleSize) -> Self {
        let (first, random, longest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { size, first, random, longest }
    }

    /// Offers a row with this number and this size in bytes.
    pub(super) fn offer(&mut self, number: u64, row: &RowValues<'_, '_>, bytes: usize) {
        if self.size.all == 0 {
            return;
        }
        let shown = || ShownRow::new(number, row);
        // If there are no more rows than are shown, all of them are.
        if number <= self.size.all as u64 {
            self.first.insert(number, shown());
        }
        let key = (hash(number, self.size.seed), number);
        keep(&mut self.random, key, self.size.random(), shown);
        keep(&mut self.longest, (std::cmp::Reverse(bytes), number), self.size.longest(), shown);
    }

    pub(super) fn join(&mut self, other: Self) {
        self.first.extend(other.first);
        for (key, row) in other.random {
            keep(&mut self.random, key, self.size.random(), || row);
        }
        for (key, row) in other.longest {
            keep(&mut self.longest, key, self.size.longest(), || row);
        }
    }

    /// Returns the chosen rows of `rows` rows in their order, together with these duplicates.
    pub(super) fn finish(self, rows: u64, duplicates: Vec<ShownRow>) -> Vec<ShownRow> {
        let mut chosen = BTreeMap::<u64, ShownRow>::new();
        let first = match rows <= self.size.all as u64 {
            true => self.size.all,
            false => self.size.first(),
        };
        let groups: [(ShownWhy, Vec<ShownRow>); 4] = [
            (ShownWhy::First, self.first.into_values().take(first).collect()),
            (ShownWhy::Random, self.random.into_values().collect()),
            (ShownWhy::Longest, self.longest.into_values().collect()),
            (ShownWhy::Duplicate, duplicates),
        ];
        for (why, rows) in groups {
            for row in rows {
                chosen.entry(row.number).or_insert(row).why.push(why);
            }
        }
        chosen.into_values().collect()
    }
}

/// Keeps a row if its key is among the smallest.
fn keep<K: Ord + Copy>(
    rows: &mut BTreeMap<K, ShownRow>,
    key: K,
    most: usize,
    row: impl FnOnce() -> ShownRow,
) {
    let is_among = rows.len() < most || rows.last_key_value().is_some_and(|(last, _)| key < *last);
    if most > 0 && is_among {
        rows.insert(key, row());
        if rows.len() > most {
            rows.pop_last();
        }
    }
}

fn hash(number: u64, seed: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, &number.to_le_bytes())
}
