//! For small random exports, `diff` gives the same result as a simple model that keeps all rows in maps.

use std::{collections::BTreeMap, fs, path::Path};

use overmind_export::{Column, DiffBy, DiffOptions, Difference, DifferenceKind, diff};
use proptest::prelude::*;

const COLUMNS: [Column; 4] = [Column::Id, Column::Order, Column::Input, Column::Persona];

/// A row: JSON texts in the order of [`COLUMNS`].
type Row = [String; 4];

/// Random rows. They have few distinct values, so that keys repeat within a side and across both sides.
fn row() -> impl Strategy<Value = Row> {
    let order = prop_oneof![Just("null".to_owned()), (0..4_u8).prop_map(|it| it.to_string())];
    let spelled = (0..3_u8, prop::sample::select(vec!["", ".0"]));
    let spelled = spelled.prop_map(|(it, zero)| format!("[{it}{zero}]"));
    let input = prop_oneof![Just("null".to_owned()), spelled];
    let persona = prop::sample::select(vec!["null", "\"a\"", "\"null\""]);
    ((0..6_u8).prop_map(|it| format!("\"{it}\"")), order, input, persona.prop_map(str::to_owned))
        .prop_map(<[String; 4]>::from)
}

fn write(path: &Path, rows: &[Row]) {
    let line = |row: &Row| {
        let fields = COLUMNS.iter().zip(row).map(|(name, value)| format!("\"{name}\":{value}"));
        format!("{{{}}}\n", fields.collect::<Vec<_>>().join(","))
    };
    fs::write(path, rows.iter().map(line).collect::<String>()).unwrap();
}

/// A difference: its kind, its key, and the compared values before and after. Lists of them are sorted for the
/// comparison, because the model has no order of rows.
type Seen = (DifferenceKind, String, Option<Vec<String>>, Option<Vec<String>>);

/// Compares two exports in memory. Returns the number of unchanged rows and the sorted differences.
fn model(old: &[Row], new: &[Row], by: DiffBy) -> (u64, Vec<Seen>) {
    let place = COLUMNS.iter().position(|it| *it == by.column()).unwrap();
    let compared = |row: &Row| -> Vec<String> {
        (1..COLUMNS.len()).filter(|it| *it != place).map(|it| row[it].clone()).collect()
    };
    let mut keys: BTreeMap<String, [Vec<Vec<String>>; 2]> = BTreeMap::new();
    for (side, rows) in [old, new].into_iter().enumerate() {
        for row in rows {
            keys.entry(row[place].clone()).or_default()[side].push(compared(row));
        }
    }
    let (mut unchanged, mut seen) = (0, Vec::new());
    for (key, [mut before, after]) in keys {
        let mut left = Vec::new();
        for row in after {
            match before.iter().position(|it| *it == row) {
                Some(equal) => {
                    before.remove(equal);
                    unchanged += 1;
                }
                None => left.push(row),
            }
        }
        match (&before[..], &left[..]) {
            ([one], [other]) if key != "null" => {
                let differs: Vec<_> = (0..one.len()).filter(|it| one[*it] != other[*it]).collect();
                let pick = |row: &[String]| differs.iter().map(|it| row[*it].clone()).collect();
                seen.push((DifferenceKind::Changed, key, Some(pick(one)), Some(pick(other))));
            }
            _ => {
                let removed =
                    before.into_iter().map(|row| (DifferenceKind::Removed, Some(row), None));
                let added = left.into_iter().map(|row| (DifferenceKind::Added, None, Some(row)));
                seen.extend(removed.chain(added).map(|(kind, a, b)| (kind, key.clone(), a, b)));
            }
        }
    }
    seen.sort();
    (unchanged, seen)
}

fn seen(difference: Difference, by: DiffBy) -> Seen {
    let values = |row: overmind_export::DifferenceRow| -> Vec<String> {
        let values = row.values.into_iter();
        let values = values.filter(|(column, _)| ![Column::Id, by.column()].contains(column));
        values.map(|(_, value)| value).collect()
    };
    let key = match (difference.key, by) {
        (None, _) => "null".to_owned(),
        (Some(id), DiffBy::Id) => format!("\"{id}\""),
        (Some(key), _) => key,
    };
    (difference.kind, key, difference.before.map(values), difference.after.map(values))
}

/// Spells the input of a row, or of a difference, in one way.
fn plain(text: &str) -> String {
    text.replace(".0]", "]")
}

fn plain_seen((kind, key, before, after): Seen) -> Seen {
    let values = |values: Option<Vec<String>>| {
        values.map(|values| values.iter().map(|value| plain(value)).collect::<Vec<_>>())
    };
    (kind, plain(&key), values(before), values(after))
}

proptest! {
    #[test]
    fn diff_agrees_with_the_model(
        old in prop::collection::vec(row(), 0..14),
        mut new in prop::collection::vec(row(), 0..8),
        kept in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        limit in 0..4_u64,
    ) {
        new.extend(kept.iter().filter(|_| !old.is_empty()).map(|it| it.get(&old).clone()));
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
        write(&a, &old);
        write(&b, &new);
        let (a, b) = (a.into(), b.into());
        for by in DiffBy::ALL {
            let options = DiffOptions { by, ..DiffOptions::default() };
            let (unchanged, expected) = model(&old, &new, by);

            let found = diff(&a, &b, options.clone()).unwrap();
            let summary = found.summary().clone();
            let mut all = Vec::new();
            found.differences(None, |it| { all.push(seen(it, by)); Ok(()) }).unwrap();
            all.sort();
            prop_assert_eq!(&all, &expected);

            let count = |kind| expected.iter().filter(|it| it.0 == kind).count() as u64;
            let kinds = [DifferenceKind::Added, DifferenceKind::Removed, DifferenceKind::Changed];
            prop_assert_eq!([summary.added, summary.removed, summary.changed], kinds.map(count));
            prop_assert_eq!(summary.unchanged, unchanged);
            let is_respelled = |it: &&Seen| {
                let (_, _, before, after) = plain_seen((**it).clone());
                it.0 == DifferenceKind::Changed && before == after
            };
            prop_assert_eq!(summary.respelled, expected.iter().filter(is_respelled).count() as u64);
            prop_assert_eq!(summary.is_equal(), expected.is_empty());
            // Every row is counted exactly once.
            prop_assert_eq!(summary.removed + summary.changed + unchanged, old.len() as u64);
            prop_assert_eq!(summary.added + summary.changed + unchanged, new.len() as u64);

            // Without the spelling, the result is that of rows that are spelled in one way.
            let same = |rows: &[Row]| -> Vec<Row> {
                rows.iter().map(|row| row.each_ref().map(|value| plain(value))).collect()
            };
            let (unchanged, expected) = model(&same(&old), &same(&new), by);
            let ignoring = DiffOptions { ignore_spelling: true, ..options.clone() };
            let found = diff(&a, &b, ignoring).unwrap();
            let summary = found.summary().clone();
            prop_assert_eq!((summary.unchanged, summary.respelled), (unchanged, 0));
            let mut values = Vec::new();
            found.differences(None, |it| { values.push(plain_seen(seen(it, by))); Ok(()) }).unwrap();
            values.sort();
            prop_assert_eq!(values, expected);

            // With a limit, at most `limit` differences of each kind come, all of them from the full list.
            let mut few = Vec::new();
            let found = diff(&a, &b, options).unwrap();
            found.differences(Some(limit), |it| { few.push(seen(it, by)); Ok(()) }).unwrap();
            for kind in kinds {
                let shown = few.iter().filter(|it| it.0 == kind).count() as u64;
                prop_assert_eq!(shown, count(kind).min(limit));
            }
            for one in few {
                let at = all.iter().position(|it| *it == one);
                prop_assert!(at.is_some(), "{:?}", one);
                all.remove(at.unwrap());
            }
        }
    }
}
