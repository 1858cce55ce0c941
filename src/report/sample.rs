//! The rows that a report shows: the first ones, some at random, the longest, and some that equal an earlier row. The
//! choice depends only on the rows, their numbers and the seed.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use twox_hash::XxHash3_64;

use super::{
    profile::{figures::Extremes, numbers::float_text},
    values::{CellValue, RowValues},
};
use crate::batch::timestamp_text;

/// Bytes of a value that are shown: 32 KiB. The page says how much is left out.
pub(super) const SHOWN_BYTES: usize = 32 << 10;
/// Rows with something new that a thread keeps.
const MOST_ODD: usize = 64;
/// Bytes of the values of all rows that are shown: 64 MiB. Each row has an equal part of them: 320 KiB if 200 rows are
/// shown, and 6.5 KiB if 10,000 are.
const SHOWN_OF_ALL: usize = 64 << 20;
/// Most rows of a report.
pub(super) const MOST_ROWS: usize = 10_000;

/// Why a row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShownWhy {
    First,
    Random,
    Longest,
    Shortest,
    Duplicate,
    /// It is an example of what is worth a look.
    Odd,
}

impl ShownWhy {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Random => "random",
            Self::Longest => "longest",
            Self::Shortest => "shortest",
            Self::Duplicate => "duplicate",
            Self::Odd => "worth a look",
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
    /// Whether a shown row before it has the same id.
    pub(super) repeats_id: bool,
    /// The first row with the same input, if this one repeats it.
    pub(super) repeats: Option<RepeatedInput>,
}

/// A row that had the same input before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RepeatedInput {
    /// Number of that row, from 1.
    pub(super) row: u64,
    /// Whether the expected outputs differ.
    pub(super) differs: bool,
}

impl ShownRow {
    pub(super) fn new(number: u64, row: &RowValues<'_, '_>) -> Self {
        let values: Vec<Option<CellValue<'_>>> = row.shown().collect();
        let texts = values.iter().map(|value| match value {
            Some(CellValue::Text(text)) => text.len(),
            _ => 0,
        });
        let most = longest_of(texts.collect(), row.row_bytes());
        let cells = values.into_iter().map(|value| ShownCell::of(value, most)).collect();
        Self {
            number,
            id: row.id().to_owned(),
            cells,
            why: Vec::new(),
            repeats_id: false,
            repeats: None,
        }
    }
}

/// Returns how many bytes of each value are shown so that values of these sizes have at most `all` bytes. Short values leave
/// their room to the longer ones.
fn longest_of(mut sizes: Vec<usize>, all: usize) -> usize {
    sizes.sort_unstable();
    let (mut left, count) = (all, sizes.len());
    for (place, size) in sizes.into_iter().enumerate() {
        let each = left / (count - place);
        if size > each {
            return each.min(SHOWN_BYTES);
        }
        left -= size;
    }
    SHOWN_BYTES
}

impl ShownCell {
    /// Keeps the beginning of a text, of at most this number of bytes.
    fn of(value: Option<CellValue<'_>>, most: usize) -> Self {
        let text = match value {
            None => return Self { text: None, left_out: 0 },
            Some(CellValue::Text(text)) => {
                let shown = text.get(..text.floor_char_boundary(most)).unwrap_or(&text);
                return Self { text: Some(shown.to_owned()), left_out: text.len() - shown.len() };
            }
            Some(CellValue::Int(int)) => int.to_string(),
            Some(CellValue::Float(float)) => float_text(float),
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
    /// Bytes of the values of a row that are shown.
    pub(super) fn row_bytes(self) -> usize {
        SHOWN_OF_ALL / self.all.max(1)
    }

    fn first(self) -> usize {
        self.all.div_ceil(5)
    }

    fn longest(self) -> usize {
        self.all / 10
    }

    pub(super) fn duplicates(self) -> usize {
        self.all / 10
    }

    /// Rows with the shortest and longest values, and examples of what is odd.
    fn named(self) -> usize {
        self.all / 5
    }
}

/// The chosen rows of those that were offered.
#[derive(Debug)]
pub(super) struct RowSample {
    size: SampleSize,
    first: BTreeMap<u64, ShownRow>,
    /// By a hash of the row's number and the seed, the smallest first. As many as all rows that are shown, because rows of
    /// several kinds leave room for others.
    random: BTreeMap<(u64, u64), ShownRow>,
    /// By the largest size and the number.
    longest: BTreeMap<(std::cmp::Reverse<usize>, u64), ShownRow>,
    /// For each column, the row with the shortest and the one with the longest value.
    extremes: BTreeMap<(usize, bool), ShownRow>,
    /// The last rows with something that is new at its place.
    odd: VecDeque<ShownRow>,
    /// Extreme and odd rows of the samples that were joined.
    named: BTreeMap<u64, ShownRow>,
}

impl RowSample {
    pub(super) fn new(size: SampleSize) -> Self {
        let (first, random, longest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (extremes, odd, named) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
        Self { size, first, random, longest, extremes, odd, named }
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
        keep(&mut self.random, key, self.size.all, shown);
        keep(&mut self.longest, (std::cmp::Reverse(bytes), number), self.size.longest(), shown);
    }

    /// Offers a row with an extreme value in a column.
    pub(super) fn offer_extreme(
        &mut self,
        number: u64,
        row: &RowValues<'_, '_>,
        (column, extremes): (usize, Extremes),
    ) {
        for (is_longest, is_extreme) in [(false, extremes.is_shortest), (true, extremes.is_longest)]
        {
            if is_extreme && self.size.named() > 0 {
                self.extremes.insert((column, is_longest), ShownRow::new(number, row));
            }
        }
    }

    /// Offers a row with something that is new at its place. Only the last ones are kept: what comes late is rare.
    pub(super) fn offer_odd(&mut self, number: u64, row: &RowValues<'_, '_>) {
        if self.size.named() == 0 {
            return;
        }
        if self.odd.len() >= MOST_ODD {
            self.odd.pop_front();
        }
        self.odd.push_back(ShownRow::new(number, row));
    }

    /// Returns all rows that figures can name.
    fn take_named(&mut self) -> BTreeMap<u64, ShownRow> {
        let extremes = std::mem::take(&mut self.extremes).into_values();
        let rows = extremes.chain(std::mem::take(&mut self.odd)).map(|row| (row.number, row));
        let mut named = std::mem::take(&mut self.named);
        named.extend(rows);
        named
    }

    pub(super) fn join(&mut self, mut other: Self) {
        self.named = self.take_named();
        self.named.extend(other.take_named());
        self.first.extend(other.first);
        for (key, row) in other.random {
            keep(&mut self.random, key, self.size.all, || row);
        }
        for (key, row) in other.longest {
            keep(&mut self.longest, key, self.size.longest(), || row);
        }
    }

    /// Returns the chosen rows of `rows` rows in their order, together with these duplicates, and those of the wanted
    /// rows that are among the others or were offered.
    pub(super) fn finish(
        mut self,
        rows: u64,
        (duplicates, others): (Vec<ShownRow>, Vec<ShownRow>),
        wanted: &BTreeMap<u64, BTreeSet<ShownWhy>>,
    ) -> Vec<ShownRow> {
        let mut named = self.take_named();
        named.extend(others.into_iter().map(|row| (row.number, row)));
        let mut chosen = BTreeMap::<u64, ShownRow>::new();
        let first = match rows <= self.size.all as u64 {
            true => self.size.all,
            false => self.size.first(),
        };
        let groups: [(ShownWhy, Vec<ShownRow>); 3] = [
            (ShownWhy::First, self.first.into_values().take(first).collect()),
            (ShownWhy::Longest, self.longest.into_values().collect()),
            (ShownWhy::Duplicate, duplicates),
        ];
        for (why, rows) in groups {
            for row in rows {
                let repeats = row.repeats;
                let chosen = chosen.entry(row.number).or_insert(row);
                chosen.why.push(why);
                chosen.repeats = chosen.repeats.or(repeats);
            }
        }
        let rest = self.random.into_values();
        let mut room = self.size.named();
        // Examples of what is odd come first: their number is bounded by that of the rows that were kept.
        let is_odd = |why: &BTreeSet<ShownWhy>| why.contains(&ShownWhy::Odd);
        let (odd, others): (Vec<_>, Vec<_>) = wanted.iter().partition(|(_, why)| is_odd(why));
        for (number, whys) in odd.into_iter().chain(others) {
            let is_new = !chosen.contains_key(number);
            let row = match chosen.remove(number) {
                Some(row) => Some(row),
                None if room > 0 => named.remove(number),
                None => None,
            };
            if let Some(mut row) = row {
                room -= usize::from(is_new);
                row.why.extend(
                    whys.iter().filter(|why| !row.why.contains(why)).copied().collect::<Vec<_>>(),
                );
                chosen.insert(*number, row);
            }
        }
        for row in rest {
            if chosen.len() >= self.size.all {
                break;
            }
            chosen.entry(row.number).or_insert(row).why.push(ShownWhy::Random);
        }
        let mut ids = HashSet::new();
        for row in chosen.values_mut() {
            row.repeats_id = !ids.insert(row.id.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_leave_room_to_long_ones() {
        let of = |sizes: &[usize], all| longest_of(sizes.to_vec(), all);
        assert_eq!(of(&[10, 20, 30], 60), SHOWN_BYTES);
        assert_eq!(of(&[0, 10, 5000, 90_000], 8010), 4000);
        assert_eq!(of(&[1 << 20, 1 << 20], 1 << 20), SHOWN_BYTES);
        assert_eq!(of(&[], 0), SHOWN_BYTES);
        assert!(SampleSize { all: 200, seed: 0 }.row_bytes() > 7 * SHOWN_BYTES);
    }
}
