//! What changed between two exports, with some of the rows that differ.

use std::sync::{Arc, atomic::AtomicBool};

use uuid::Uuid;

use super::{
    ReportOptions, Shaper,
    changed_places::{ChangedPlaces, MOST_ROWS, RARE_ROWS},
    changed_row::ChangedRow,
    changed_sample::{ChangedGroup, ChangedSample},
    masked::masked_paths,
    source::{ExportFacts, ReportSource},
};
use crate::{
    diff::{DiffOptions, DiffSummary, DifferenceKind, diff_without},
    error::{Error, Result},
    location::Location,
    readback::ReadOptions,
};

/// The comparison of two exports.
#[derive(Debug, Clone)]
pub(super) struct ChangesSeen {
    /// Name of the first export.
    pub(super) before: String,
    pub(super) summary: DiffSummary,
    /// The datasets of both exports if they differ.
    pub(super) datasets: Option<(Uuid, Uuid)>,
    /// The paths that only one of the exports has masked, and whether it is the later one.
    pub(super) masked: Vec<(String, bool)>,
    /// Some of the changed rows.
    pub(super) changed: Vec<ChangedGroup>,
    /// Some of the added and of the removed rows.
    pub(super) added: Vec<ChangedRow>,
    pub(super) removed: Vec<ChangedRow>,
    /// Where the values of changed rows differ.
    pub(super) places: ChangedPlaces,
    /// Whether the page shows values.
    pub(super) shows_values: bool,
    /// Whether nobody waits for the page any more.
    pub(super) stop: Arc<AtomicBool>,
}

impl ChangesSeen {
    /// Compares two exports. Reads both, and rows that differ again.
    pub(super) fn read(
        before: &Location,
        after: &Location,
        options: &ReportOptions,
        mask: Option<&Shaper>,
    ) -> Result<Self> {
        let comparing = DiffOptions {
            by: options.by,
            temp_dir: options.temp_dir.clone(),
            stop: options.read.stop.clone(),
            max_value_bytes: options.read.max_value_bytes,
            record_b: options.read.record.clone(),
            ignore_spelling: options.ignore_spelling,
            ..DiffOptions::default()
        };
        let found = diff_without(before, after, comparing, &options.drop)?;
        let summary = found.summary().clone();
        let (mut added, mut removed, mut places) =
            (Vec::new(), Vec::new(), ChangedPlaces::default());
        let counts = [summary.changed, summary.added, summary.removed];
        let [most_changed, most_added, most_removed] = shares_of(options.rows as u64, counts);
        let mut changed = ChangedSample::new(most_changed as usize);
        let looked_at = if summary.changed > 0 { MOST_ROWS } else { 0 };
        let wanted = [looked_at, most_changed, most_added, most_removed].into_iter().max();
        let is_rare = |row: &ChangedRow| {
            row.values
                .iter()
                .any(|it| summary.columns.get(&it.column).is_some_and(|rows| *rows <= RARE_ROWS))
        };
        found.some_differences(wanted.unwrap_or(0), RARE_ROWS, |difference| {
            options.read.go_on()?;
            let is_full = match difference.kind {
                DifferenceKind::Changed => false,
                DifferenceKind::Added => added.len() as u64 >= most_added,
                DifferenceKind::Removed => removed.len() as u64 >= most_removed,
            };
            if is_full {
                return Ok(());
            }
            let row = ChangedRow::of(difference, options.by.column(), &options.drop, mask);
            let damaged = |_| {
                let why = "a masked value is not JSON".to_owned();
                Error::Damaged { path: after.to_path(), why }
            };
            let row = row.map_err(damaged)?;
            match row.kind {
                DifferenceKind::Added => added.push(row),
                DifferenceKind::Removed => removed.push(row),
                DifferenceKind::Changed => {
                    if let Some(found) = places.add(&row, is_rare(&row)) {
                        changed.offer(row, found, &places);
                    }
                }
            }
            Ok(())
        })?;
        let changed = changed.finish(&places);
        let facts = |place: &Location, record: Option<Location>| {
            let reading = ReadOptions { record, ..options.reading(mask) };
            Ok::<_, Error>(ReportSource::open(place, &reading)?.facts)
        };
        let (old, new) = (facts(before, None)?, facts(after, options.read.record.clone())?);
        let datasets = old.dataset.zip(new.dataset).filter(|(old, new)| old != new);
        let masked = masked_in_one(&old, &new);
        let (before, shows_values) = (old.title(before), options.rows > 0);
        Ok(Self {
            before,
            summary,
            datasets,
            masked,
            changed,
            added,
            removed,
            places,
            shows_values,
            stop: options.read.stop.clone(),
        })
    }
}

/// Shares rows among kinds with these counts: each gets an equal part, and what one does not need goes to the others.
fn shares_of<const KINDS: usize>(mut rows: u64, counts: [u64; KINDS]) -> [u64; KINDS] {
    let (mut shares, mut places) = ([0; KINDS], std::array::from_fn::<_, KINDS, _>(|place| place));
    places.sort_by_key(|place| counts[*place]);
    for (done, place) in places.into_iter().enumerate() {
        let share = rows.div_ceil((KINDS - done) as u64).min(counts[place]);
        (shares[place], rows) = (share, rows - share);
    }
    shares
}

/// Returns the paths that only one of two exports has masked, and whether it is the second one.
fn masked_in_one(before: &ExportFacts, after: &ExportFacts) -> Vec<(String, bool)> {
    let (before, after) = (masked_paths(before), masked_paths(after));
    let only = |own: &[String], other: &[String]| {
        own.iter().filter(|path| !other.contains(path)).cloned().collect::<Vec<_>>()
    };
    let earlier = only(&before, &after).into_iter().map(|path| (path, false));
    earlier.chain(only(&after, &before).into_iter().map(|path| (path, true))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_shares_go_to_the_other_kinds() {
        assert_eq!(shares_of(200, [1002, 25, 14]), [161, 25, 14]);
        assert_eq!(shares_of(200, [1002, 500, 14]), [93, 93, 14]);
        assert_eq!(shares_of(10, [9, 9, 9]), [4, 3, 3]);
        assert_eq!(shares_of(200, [5, 0, 0]), [5, 0, 0]);
        assert_eq!(shares_of(0, [5, 5, 5]), [0, 0, 0]);
    }
}
