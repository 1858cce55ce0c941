//! What changed between two exports, with some of the rows that differ.

use std::sync::{Arc, atomic::AtomicBool};

use uuid::Uuid;

use super::{
    ReportOptions, Shaper,
    changed_places::{ChangedPlaces, MOST_ROWS},
    changed_row::ChangedRow,
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
    /// Some of the rows that differ.
    pub(super) rows: Vec<ChangedRow>,
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
        let (summary, mut rows) = (found.summary().clone(), Vec::new());
        let mut places = ChangedPlaces::default();
        // A third of the rows for each kind.
        let each = options.rows.div_ceil(3) as u64;
        let wanted = if summary.changed > 0 { each.max(MOST_ROWS) } else { each };
        if wanted > 0 {
            let mut shown = [0; 3];
            found.differences(Some(wanted), |difference| {
                options.read.go_on()?;
                let shown = &mut shown[difference.kind as usize];
                *shown += 1;
                let is_shown = *shown <= each;
                if difference.kind != DifferenceKind::Changed && !is_shown {
                    return Ok(());
                }
                let row = ChangedRow::of(difference, (options.by, &options.drop), mask);
                let damaged = |_| {
                    let why = "a masked value is not JSON".to_owned();
                    Error::Damaged { path: after.to_path(), why }
                };
                let row = row.map_err(damaged)?;
                places.add(&row);
                rows.extend(is_shown.then_some(row));
                Ok(())
            })?;
        }
        // What changed says more than what is new.
        rows.sort_by_key(|row| match row.kind {
            DifferenceKind::Changed => 0,
            DifferenceKind::Added => 1,
            DifferenceKind::Removed => 2,
        });
        let facts = |place: &Location, record: Option<Location>| {
            let reading = ReadOptions { record, ..options.reading(mask) };
            Ok::<_, Error>(ReportSource::open(place, &reading)?.facts)
        };
        let (old, new) = (facts(before, None)?, facts(after, options.read.record.clone())?);
        let datasets = old.dataset.zip(new.dataset).filter(|(old, new)| old != new);
        let masked = masked_in_one(&old, &new);
        let (before, shows_values) = (before.name(), options.rows > 0);
        let stop = options.read.stop.clone();
        Ok(Self { before, summary, datasets, masked, rows, places, shows_values, stop })
    }
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
