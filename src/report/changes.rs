//! What changed between two exports, with some of the rows that differ. The mask of the report is applied to them.

use uuid::Uuid;

use super::{
    ReportOptions, Shaper,
    changed_places::{ChangedPlaces, MOST_ROWS},
    masked::masked_paths,
    source::{ExportFacts, ReportSource},
};
use crate::{
    batch::Column,
    client::Row,
    diff::{DiffOptions, DiffSummary, Difference, DifferenceKind, DifferenceRow, diff_without},
    error::{Error, Result},
    location::Location,
    readback::ReadOptions,
    transform::NotJson,
};

/// Bytes of a value that are compared: 32 KiB. The page says if there is more.
pub(super) const COMPARED_BYTES: usize = 32 << 10;

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
}

/// A row that differs.
#[derive(Debug, Clone)]
pub(super) struct ChangedRow {
    pub(super) kind: DifferenceKind,
    pub(super) key: Option<String>,
    /// The columns that the report shows and that differ, each with its JSON text before and after.
    pub(super) values: Vec<(Column, Option<String>, Option<String>)>,
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
                let shown = &mut shown[difference.kind as usize];
                *shown += 1;
                let is_shown = *shown <= each;
                if difference.kind != DifferenceKind::Changed && !is_shown {
                    return Ok(());
                }
                let row = ChangedRow::of(difference, &options.drop, mask);
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
        Ok(Self { before, summary, datasets, masked, rows, places, shows_values })
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

impl ChangedRow {
    fn of(difference: Difference, drop: &[String], mask: Option<&Shaper>) -> Result<Self, NotJson> {
        let Difference { kind, key, before, after } = difference;
        let is_shown = |column: &Column| !drop.iter().any(|name| name == column.name());
        let masked =
            |row: &Option<DifferenceRow>| row.as_ref().map(|row| masked(row, mask)).transpose();
        let (before, after) = (masked(&before)?, masked(&after)?);
        let columns = Column::ALL.into_iter().filter(is_shown).filter_map(|column| {
            let of = |row: &Option<Vec<(Column, String)>>| {
                let value = row.iter().flatten().find(|(it, _)| *it == column);
                value.map(|(_, text)| text.clone())
            };
            let (before, after) = (of(&before), of(&after));
            // A mask can make values equal.
            (before != after).then_some((column, before, after))
        });
        let values = columns.collect();
        Ok(Self { kind, key: key.filter(|_| is_shown(&Column::Id)), values })
    }
}

/// Returns the values of a row with the replacements of the mask.
fn masked(row: &DifferenceRow, mask: Option<&Shaper>) -> Result<Vec<(Column, String)>, NotJson> {
    let Some(mask) = mask else { return Ok(row.values.clone()) };
    let of = |column: Column| {
        let value = row.values.iter().find(|(it, _)| *it == column).map(|(_, text)| text.as_str());
        value.filter(|text| *text != "null")
    };
    let persona = of(Column::Persona).and_then(|text| serde_json::from_str::<String>(text).ok());
    let fields = Row {
        id: Uuid::nil(),
        order: None,
        input: of(Column::Input),
        expected_output: of(Column::ExpectedOutput),
        persona: persona.as_deref(),
        tags: of(Column::Tags),
        additional_properties: of(Column::AdditionalProperties),
        has_id: true,
        compact: false,
    };
    let edited = mask.replace_in(&fields)?;
    let fields = edited.as_ref().map_or(fields, |edited| edited.of(fields));
    let values = row.values.iter().map(|(column, text)| {
        let text = match column {
            Column::Id | Column::Order => Some(text.clone()),
            Column::Input => fields.input.map(str::to_owned),
            Column::ExpectedOutput => fields.expected_output.map(str::to_owned),
            Column::Persona => fields.persona.map(|it| serde_json::json!(it).to_string()),
            Column::Tags => fields.tags.map(str::to_owned),
            Column::AdditionalProperties => fields.additional_properties.map(str::to_owned),
        };
        (*column, text.unwrap_or_else(|| "null".to_owned()))
    });
    Ok(values.collect())
}
