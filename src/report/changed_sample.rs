//! The changed rows that a page shows. Each place where values changed has a row, if there is room: a bulk change does not
//! hide the others. The choice depends only on the rows and their order, and its memory is bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{changed_places::ChangedPlaces, changed_row::ChangedRow};
use crate::batch::Column;

/// Texts of the kept rows before the first choice among them, in bytes: 32 MiB.
const MOST_BYTES: usize = 32 << 20;
/// Rows that are kept for each row that is shown, and at least, so that choices are few.
const KEPT: usize = 4;
const LEAST_KEPT: usize = 256;
/// Rows of a place in an expected output for one row of each other place.
const EXPECTED_OUTPUTS: usize = 4;

/// Changed rows, of which some are shown.
#[derive(Debug)]
pub(super) struct ChangedSample {
    /// Number of rows to show.
    most: usize,
    kept: Vec<PlacedChange>,
    bytes: usize,
    /// Bytes from which on there is a choice.
    full: usize,
}

/// A changed row with the numbers of its places.
#[derive(Debug, Clone)]
pub(super) struct PlacedChange {
    pub(super) row: ChangedRow,
    pub(super) places: Vec<usize>,
}

/// What the rows of a group have in common: of all their places, this one is the most important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupKey {
    /// The rank of the place, and its number.
    Place(usize, usize),
    /// They differ in what the report does not compare.
    Unseen,
    /// They differ only in the spelling of their JSON.
    Respelled,
}

/// Changed rows that are shown together, in the order of the later export.
#[derive(Debug, Clone)]
pub(super) struct ChangedGroup {
    /// The column and the place in it.
    pub(super) place: Option<(Column, String)>,
    pub(super) key: GroupKey,
    pub(super) rows: Vec<PlacedChange>,
}

impl ChangedSample {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Vec::new(), bytes: 0, full: MOST_BYTES }
    }

    /// Offers a changed row with the numbers of its places.
    pub(super) fn offer(&mut self, row: ChangedRow, places: Vec<usize>, seen: &ChangedPlaces) {
        if self.most == 0 {
            return;
        }
        self.bytes += row.bytes();
        self.kept.push(PlacedChange { row, places });
        if self.kept.len() > self.room() || self.bytes > self.full {
            self.choose(seen);
            self.full = MOST_BYTES.max(2 * self.bytes);
        }
    }

    /// Number of rows that are kept before there is a choice among them.
    fn room(&self) -> usize {
        LEAST_KEPT.max(KEPT * self.most)
    }

    /// Returns the chosen rows. Rows of expected outputs come first, then those of the rarest places.
    pub(super) fn finish(mut self, seen: &ChangedPlaces) -> Vec<ChangedGroup> {
        self.choose(seen);
        let ranks = ranks(seen);
        let mut groups = BTreeMap::<GroupKey, Vec<PlacedChange>>::new();
        for row in self.kept {
            groups.entry(row.group(&ranks)).or_default().push(row);
        }
        let names: BTreeMap<usize, _> = seen
            .places()
            .into_iter()
            .map(|it| (it.index, (it.column, it.place.to_owned())))
            .collect();
        let named = |(key, rows)| {
            let place = match key {
                GroupKey::Place(_, index) => names.get(&index).cloned(),
                _ => None,
            };
            ChangedGroup { place, key, rows }
        };
        groups.into_iter().map(named).collect()
    }

    /// Keeps as many rows as are shown. In each round, each group gives one row.
    fn choose(&mut self, seen: &ChangedPlaces) {
        if self.kept.len() > self.most {
            let ranks = ranks(seen);
            let outputs = seen.tallies().filter(|(_, column, _)| *column == Column::ExpectedOutput);
            let outputs: BTreeSet<_> = outputs.map(|(index, ..)| index).collect();
            let mut groups = BTreeMap::<GroupKey, VecDeque<usize>>::new();
            for (number, row) in self.kept.iter().enumerate() {
                groups.entry(row.group(&ranks)).or_default().push_back(number);
            }
            let respelled = groups.remove(&GroupKey::Respelled).unwrap_or_default();
            let mut chosen = Vec::with_capacity(self.most);
            while chosen.len() < self.most && !groups.is_empty() {
                for (key, numbers) in &mut groups {
                    let count = match key {
                        GroupKey::Place(_, index) if outputs.contains(index) => EXPECTED_OUTPUTS,
                        _ => 1,
                    };
                    chosen.extend(numbers.drain(..count.min(numbers.len())));
                }
                groups.retain(|_, numbers| !numbers.is_empty());
            }
            chosen.extend(respelled);
            chosen.truncate(self.most);
            chosen.sort_unstable();
            let mut chosen = chosen.into_iter().peekable();
            let mut number = 0;
            self.kept.retain(|_| {
                number += 1;
                chosen.next_if_eq(&(number - 1)).is_some()
            });
        }
        self.bytes = self.kept.iter().map(|it| it.row.bytes()).sum();
    }
}

impl PlacedChange {
    fn group(&self, ranks: &BTreeMap<usize, usize>) -> GroupKey {
        let places = self.places.iter().filter_map(|index| Some((*ranks.get(index)?, *index)));
        match places.min() {
            Some((rank, index)) => GroupKey::Place(rank, index),
            None if self.row.is_respelled() => GroupKey::Respelled,
            None => GroupKey::Unseen,
        }
    }
}

/// Returns the ranks of places by their numbers: expected outputs first, then the rarest ones.
fn ranks(seen: &ChangedPlaces) -> BTreeMap<usize, usize> {
    let mut places: Vec<_> = seen.tallies().collect();
    places.sort_unstable_by_key(|(index, column, rows)| {
        (*column != Column::ExpectedOutput, *rows, *index)
    });
    places.iter().enumerate().map(|(rank, (index, ..))| (*index, rank)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers rows with these values before and after. Returns the places of the groups with the values after.
    fn chosen(
        most: usize,
        rows: impl Iterator<Item = (String, String)>,
    ) -> Vec<(String, Vec<String>)> {
        let (mut sample, mut seen) = (ChangedSample::new(most), ChangedPlaces::default());
        for (before, after) in rows {
            let row = ChangedRow::changed(&before, &after);
            let places = seen.add(&row, false).unwrap();
            sample.offer(row, places, &seen);
            assert!(sample.kept.len() <= sample.room());
        }
        let groups = sample.finish(&seen).into_iter();
        let values = |it: ChangedGroup| {
            it.rows.into_iter().map(|it| it.row.values[0].after.clone().unwrap()).collect()
        };
        groups
            .map(|it| {
                (it.place.clone().map_or(format!("{:?}", it.key), |(_, place)| place), values(it))
            })
            .collect()
    }

    fn pair(before: &str, after: &str) -> (String, String) {
        (before.to_owned(), after.to_owned())
    }

    #[test]
    fn rare_places_come_first_and_spelling_last() {
        let rows = (0..1000).map(|number| match number {
            500 => pair(r#"{"c":1}"#, r#"{"c":2}"#),
            n if n % 100 == 7 => pair(r#"{"b":1}"#, &format!(r#"{{"b":"{n}"}}"#)),
            n if n % 2 == 0 => pair("1", "1.0"),
            n => pair(r#"{"a":1}"#, &format!(r#"{{"a":"{n}"}}"#)),
        });
        let of = |key: &str, numbers: &[u32]| -> Vec<String> {
            numbers.iter().map(|it| format!(r#"{{"{key}":"{it}"}}"#)).collect()
        };
        assert_eq!(
            chosen(5, rows),
            [
                (".c".to_owned(), vec![r#"{"c":2}"#.to_owned()]),
                (".b".to_owned(), of("b", &[7, 107])),
                (".a".to_owned(), of("a", &[1, 3])),
            ]
        );
    }

    #[test]
    fn respelled_rows_fill_the_room_that_is_left() {
        let rows = [pair("1", "1.0"), pair("2", "2.0"), pair("1", "3"), pair("4", "4.0")];
        let shown = chosen(3, rows.clone().into_iter());
        assert_eq!(shown[0], (String::new(), vec!["3".to_owned()]));
        assert_eq!(shown[1].1, ["1.0", "2.0"]);
        assert_eq!(chosen(9, rows.into_iter()).iter().map(|it| it.1.len()).sum::<usize>(), 4);
    }
}
