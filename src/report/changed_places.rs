//! At which places the values of changed rows differ, in how many rows, and which change is the most frequent there. Looks at
//! the first changed rows only. Its memory is bounded.

use std::collections::HashMap;

use twox_hash::XxHash3_128;

use super::{
    changed_row::{COMPARED_BYTES, ChangedRow},
    json_view::JsonView,
    value_changes::{ValueChange, value_changes},
};
use crate::{
    batch::Column,
    diff::{DifferenceKind, is_same_value},
};

/// Changed rows that are looked at: 10,000, which takes less than a second for rows of 1 KB.
pub(super) const MOST_ROWS: u64 = 10_000;
/// Bytes of values that are looked at: 64 MiB.
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
    pub(super) column: Column,
    /// The place in the column, such as `.messages[].content`; empty for the whole value.
    pub(super) place: &'a str,
    /// Number of rows whose values differ there.
    pub(super) rows: u64,
    pub(super) change: Option<&'a EqualChange>,
}

impl ChangedPlaces {
    /// Looks at a changed row, unless enough rows were looked at.
    pub(super) fn add(&mut self, row: &ChangedRow) {
        if row.kind != DifferenceKind::Changed || self.rows >= MOST_ROWS || self.bytes >= MOST_BYTES
        {
            return;
        }
        self.rows += 1;
        for (column, before, after) in &row.values {
            let texts = [before.as_deref().unwrap_or("null"), after.as_deref().unwrap_or("null")];
            if is_same_value(texts[0], texts[1]) {
                continue;
            }
            let cut = texts.map(|text| &text[..text.floor_char_boundary(COMPARED_BYTES)]);
            self.bytes += cut[0].len() + cut[1].len();
            let (before, after) = (JsonView::of(cut[0]), JsonView::of(cut[1]));
            for change in value_changes(&before, &after, cut.map(JsonView::is_beginning)) {
                self.add_change(*column, &change);
            }
        }
    }

    fn add_change(&mut self, column: Column, change: &ValueChange<'_>) {
        let key = (column, change.any_place());
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&key) {
            self.has_more_places = true;
            return;
        }
        let (number, place) = (self.rows, self.places.entry(key).or_default());
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
    }

    /// Returns the places, those with the most rows first.
    pub(super) fn places(&self) -> Vec<ChangedPlace<'_>> {
        let places = self.places.iter().map(|((column, place), tally)| {
            let order = |(hash, it): &(&u128, &EqualChange)| (it.rows, **hash);
            let change = tally.changes.iter().max_by_key(order).map(|(_, it)| it);
            ChangedPlace { column: *column, place, rows: tally.rows, change }
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

    fn row(before: &str, after: &str) -> ChangedRow {
        let values = vec![(Column::Input, Some(before.to_owned()), Some(after.to_owned()))];
        ChangedRow { kind: DifferenceKind::Changed, key: None, values }
    }

    fn seen(changed: &ChangedPlaces) -> Vec<(String, u64, u64)> {
        let places = changed.places().into_iter();
        places.map(|it| (it.place.to_owned(), it.rows, it.change.map_or(0, |it| it.rows))).collect()
    }

    #[test]
    fn equal_changes_count_each_row_once() {
        let mut changed = ChangedPlaces::default();
        // Two turns of a row change in the same way, and the number of the turn does not matter.
        changed.add(&row(r#"{"m":[{"c":"a"},{"c":"a"}]}"#, r#"{"m":[{"c":"b"},{"c":"b"}]}"#));
        changed.add(&row(r#"{"m":[{"c":"x"},{"c":"a"}]}"#, r#"{"m":[{"c":"x"},{"c":"b"}]}"#));
        changed.add(&row(r#"{"m":[{"c":"a"}],"t":1}"#, r#"{"m":[{"c":"z"}]}"#));
        assert_eq!(seen(&changed), [(".m[].c".to_owned(), 3, 2), (".t".to_owned(), 1, 1)]);
        let places = changed.places();
        let change = places[1].change.unwrap();
        assert_eq!((change.before.as_deref(), change.after.as_deref()), (Some("1"), None));
    }

    #[test]
    fn other_spellings_and_other_kinds_do_not_count() {
        let mut changed = ChangedPlaces::default();
        changed.add(&row(r#"{"a":1}"#, r#"{"a":1.0}"#));
        changed.add(&ChangedRow { kind: DifferenceKind::Added, ..row("1", "2") });
        assert_eq!((changed.rows, seen(&changed)), (1, Vec::new()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut changed = ChangedPlaces::default();
        for number in 0..MOST_ROWS + 10 {
            let of = |value| format!(r#"{{"k{}":{value},"s":"{number}{value}"}}"#, number % 300);
            changed.add(&row(&of(1), &of(2)));
        }
        assert_eq!((changed.rows, changed.places.len()), (MOST_ROWS, MOST_PLACES));
        assert!(changed.has_more_places && changed.changes <= MOST_CHANGES);
        let long = format!("\"{}\"", "x".repeat(100_000));
        let mut changed = ChangedPlaces::default();
        (0..3000).for_each(|_| changed.add(&row(&long, "1")));
        assert!((2047..2060).contains(&changed.rows), "{}", changed.rows);
        let kept = changed.places()[0].change.and_then(|it| it.before.clone()).unwrap();
        assert_eq!(kept.chars().count(), LONGEST + " (32,646 more characters)".len() + 1);
    }
}
