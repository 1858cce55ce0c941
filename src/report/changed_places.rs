//! At which places the values of changed rows differ, in how many rows, and which change is the most frequent there. Looks at
//! the first changed rows only, and at all rows of columns that differ in few rows. Its memory is bounded.

use std::collections::{BTreeMap, HashMap};

use twox_hash::XxHash3_128;

use super::{
    changed_row::{ChangedRow, ChangedValue},
    json_view::JsonView,
    value_changes::{ValueChange, value_changes},
};
use crate::{batch::Column, diff::DifferenceKind};

/// The first changed rows, which are looked at: 10,000, which takes less than a second for rows of 1 KB.
pub(super) const MOST_ROWS: u64 = 10_000;
/// If at most 1,000 rows differ in a column, all of them are looked at: a bulk change elsewhere must not hide them.
pub(super) const RARE_ROWS: u64 = 1000;
/// Bytes of values that are looked at, of rows that do not differ in such a column: 64 MiB.
const MOST_BYTES: usize = 64 << 20;
/// Places that are kept.
const MOST_PLACES: usize = 256;
/// Different changes that are kept, of all places. With their texts, they take 8 MiB.
const MOST_CHANGES: usize = 16_384;
/// Longest text of a change, in characters.
const LONGEST: usize = 120;

/// The places at which the values of changed rows differ.
#[derive(Debug, Clone, Default)]
pub(super) struct ChangedPlaces {
    /// Number of changed rows that were looked at.
    pub(super) rows: u64,
    bytes: usize,
    /// For each column, the number of these rows that differ only in the spelling of its JSON.
    pub(super) respelled: BTreeMap<Column, u64>,
    places: HashMap<(Column, String), PlaceTally>,
    /// Number of different changes that are kept.
    changes: usize,
    /// Whether there are more places than are kept.
    pub(super) has_more_places: bool,
    /// Whether there are more different changes than are kept.
    pub(super) has_more_changes: bool,
}

#[derive(Debug, Clone, Default)]
struct PlaceTally {
    /// The number of the place, in the order of their first rows.
    index: usize,
    rows: u64,
    /// Number of the last row that counted.
    last_row: u64,
    changes: HashMap<u128, EqualChange>,
}

/// Rows with the same values before and after at a place.
#[derive(Debug, Clone)]
pub(super) struct EqualChange {
    /// The values, shortened; `None` if there is none.
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) rows: u64,
    /// Number of the last row that counted.
    last_row: u64,
}

/// A place, and its most frequent change.
#[derive(Debug, Clone)]
pub(super) struct ChangedPlace<'a> {
    /// The number of the place, in the order of their first rows.
    pub(super) index: usize,
    pub(super) column: Column,
    /// The place in the column, such as `.messages[].content`; empty for the whole value.
    pub(super) place: &'a str,
    /// Number of rows whose values differ there.
    pub(super) rows: u64,
    pub(super) change: Option<&'a EqualChange>,
}

impl ChangedPlaces {
    /// Looks at a changed row, unless enough rows were looked at. Returns the numbers of its places. `is_rare` says that the
    /// row differs in a column in which few rows differ.
    pub(super) fn add(&mut self, row: &ChangedRow, is_rare: bool) -> Option<Vec<usize>> {
        let is_full = self.rows >= MOST_ROWS || self.bytes >= MOST_BYTES;
        if row.kind != DifferenceKind::Changed || is_full && !is_rare {
            return None;
        }
        self.rows += 1;
        let mut places = Vec::new();
        for ChangedValue { column, before, after, is_respelled, .. } in &row.values {
            if *is_respelled {
                *self.respelled.entry(*column).or_default() += 1;
                continue;
            }
            let texts = [before, after].map(|text| text.as_deref().unwrap_or("null"));
            self.bytes += texts[0].len() + texts[1].len();
            let (before, after) = (JsonView::of(texts[0]), JsonView::of(texts[1]));
            for change in value_changes(&before, &after, texts.map(JsonView::is_beginning)) {
                places.extend(self.add_change(*column, &change));
            }
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// Returns the number of the place, if there is room for it.
    fn add_change(&mut self, column: Column, change: &ValueChange<'_>) -> Option<usize> {
        let key = (column, change.any_place());
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&key) {
            self.has_more_places = true;
            return None;
        }
        let (number, index) = (self.rows, self.places.len());
        let new = || PlaceTally { index, ..PlaceTally::default() };
        let place = self.places.entry(key).or_insert_with(new);
        let index = place.index;
        place.rows += u64::from(place.last_row != number);
        place.last_row = number;
        let [before, after] = [change.before, change.after].map(|it| it.map(JsonView::laid_out));
        let is_there = |text: &Option<String>| u8::from(text.is_some());
        let mut bytes = vec![is_there(&before), is_there(&after)];
        for text in [&before, &after].into_iter().flatten() {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        let hash = XxHash3_128::oneshot(&bytes);
        if let Some(equal) = place.changes.get_mut(&hash) {
            equal.rows += u64::from(equal.last_row != number);
            equal.last_row = number;
        } else if self.changes < MOST_CHANGES {
            self.changes += 1;
            let [before, after] = change.shown(LONGEST);
            place.changes.insert(hash, EqualChange { before, after, rows: 1, last_row: number });
        } else {
            self.has_more_changes = true;
        }
        Some(index)
    }

    /// Returns the number, the column and the rows of each place, in any order.
    pub(super) fn tallies(&self) -> impl Iterator<Item = (usize, Column, u64)> {
        self.places.iter().map(|((column, _), tally)| (tally.index, *column, tally.rows))
    }

    /// Returns the places, those with the most rows first.
    pub(super) fn places(&self) -> Vec<ChangedPlace<'_>> {
        let places = self.places.iter().map(|((column, place), tally)| {
            let order = |(hash, it): &(&u128, &EqualChange)| (it.rows, **hash);
            let change = tally.changes.iter().max_by_key(order).map(|(_, it)| it);
            ChangedPlace { index: tally.index, column: *column, place, rows: tally.rows, change }
        });
        let mut places: Vec<_> = places.collect();
        places.sort_by(|one, other| {
            let key = |it: &ChangedPlace<'_>| (std::cmp::Reverse(it.rows), it.column);
            key(one).cmp(&key(other)).then_with(|| one.place.cmp(other.place))
        });
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(changed: &mut ChangedPlaces, before: &str, after: &str) -> Option<Vec<usize>> {
        changed.add(&ChangedRow::changed(before, after), false)
    }

    fn seen(changed: &ChangedPlaces) -> Vec<(String, u64, u64)> {
        let places = changed.places().into_iter();
        places.map(|it| (it.place.to_owned(), it.rows, it.change.map_or(0, |it| it.rows))).collect()
    }

    #[test]
    fn equal_changes_count_each_row_once() {
        let mut changed = ChangedPlaces::default();
        // Two turns of a row change in the same way, and the number of the turn does not matter.
        let first =
            add(&mut changed, r#"{"m":[{"c":"a"},{"c":"a"}]}"#, r#"{"m":[{"c":"b"},{"c":"b"}]}"#);
        add(&mut changed, r#"{"m":[{"c":"x"},{"c":"a"}]}"#, r#"{"m":[{"c":"x"},{"c":"b"}]}"#);
        let last = add(&mut changed, r#"{"m":[{"c":"a"}],"t":1}"#, r#"{"m":[{"c":"z"}]}"#);
        assert_eq!((first, last), (Some(vec![0]), Some(vec![0, 1])));
        assert_eq!(seen(&changed), [(".m[].c".to_owned(), 3, 2), (".t".to_owned(), 1, 1)]);
        let places = changed.places();
        let change = places[1].change.unwrap();
        assert_eq!((change.before.as_deref(), change.after.as_deref()), (Some("1"), None));
    }

    #[test]
    fn other_spellings_and_other_kinds_do_not_count() {
        let mut changed = ChangedPlaces::default();
        add(&mut changed, r#"{"a":1}"#, r#"{"a":1.0}"#);
        let mut added = ChangedRow::changed("1", "2");
        added.kind = DifferenceKind::Added;
        assert_eq!(changed.add(&added, true), None);
        assert_eq!((changed.rows, seen(&changed)), (1, Vec::new()));
        assert_eq!(changed.respelled, BTreeMap::from([(Column::Input, 1)]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut changed = ChangedPlaces::default();
        for number in 0..MOST_ROWS + 10 {
            let of = |value| format!(r#"{{"k{}":{value},"s":"{number}{value}"}}"#, number % 300);
            add(&mut changed, &of(1), &of(2));
        }
        assert_eq!((changed.rows, changed.places.len()), (MOST_ROWS, MOST_PLACES));
        assert!(changed.has_more_places && changed.changes <= MOST_CHANGES);
        let long = format!("\"{}\"", "x".repeat(100_000));
        let mut changed = ChangedPlaces::default();
        let looked_at = (0..3000).filter(|_| add(&mut changed, &long, "1").is_some()).count();
        assert!((2047..2060).contains(&looked_at), "{looked_at}");
        // A bulk change does not hide a row of a column that changed in few rows.
        assert!(changed.add(&ChangedRow::changed("1", "2"), true).is_some());
        let kept = changed.places()[0].change.and_then(|it| it.before.clone()).unwrap();
        assert_eq!(kept.chars().count(), LONGEST + " (32,646 more characters)".len() + 1);
    }
}
