//! What the snapshots of a job hold over time: shares of personas, labels and types, and what changed from one to the next.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    ReportOptions,
    profile::{Profile, ValueProfile, figures::CommonValues},
    read::{ReadPlan, read},
    sample::SampleSize,
    source::ReportSource,
    values::require_masked,
};
use crate::{
    batch::Column,
    diff::{DiffOptions, diff},
    error::{Error, Result},
    location::Location,
    readback::ReadOptions,
    transform::{Shaper, Transform},
};

/// Most values of a column that are followed.
const MOST_FOLLOWED: usize = 8;
/// A share that moves by more from one snapshot to the next is worth a look: 5 points.
const JUMP: f64 = 0.05;

/// What a snapshot holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SnapshotData {
    /// Start of the run that took the snapshot.
    pub taken_at: DateTime<Utc>,
    /// Number of rows.
    pub rows: u64,
    /// What changed since the snapshot before; `None` for the first one.
    pub change: Option<SnapshotChange>,
    /// Number of rows with each value, by what it is a value of: `persona`, `label`, and `types of` a JSON column.
    pub(super) counts: BTreeMap<DriftGroup, Vec<(String, u64)>>,
}

/// How many rows of a snapshot differ from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotChange {
    /// Number of new rows.
    pub added: u64,
    /// Number of rows that are gone.
    pub removed: u64,
    /// Number of rows with other values.
    pub changed: u64,
}

/// What values are shares of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DriftGroup {
    Persona,
    Label,
    /// The types of the values of a JSON column.
    Types(String),
}

impl DriftGroup {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Persona => "Personas".to_owned(),
            Self::Label => "Labels".to_owned(),
            Self::Types(column) => format!("Types of {column}"),
        }
    }
}

/// The shares of a value over time.
pub(super) struct DriftLine {
    pub(super) value: String,
    /// One for each snapshot.
    pub(super) shares: Vec<f64>,
    /// The place of the snapshot with the largest move, and the move, if it is worth a look.
    pub(super) jump: Option<(usize, f64)>,
}

impl SnapshotData {
    /// Reads a snapshot, and compares it with the one before. The options say how to read, and what to mask and to leave
    /// out. Blocks.
    ///
    /// # Errors
    /// Those of [`Report::of_changes`](crate::Report::of_changes).
    pub fn read(
        (taken_at, snapshot): (DateTime<Utc>, &Location),
        before: Option<&Location>,
        options: &ReportOptions,
    ) -> Result<Self> {
        let reading = ReadOptions { columns: Vec::new(), record: None, ..options.read.clone() };
        let source = ReportSource::open(snapshot, &reading)?;
        let masking = options.mask.iter().fold(Transform::new(), |all, it| all.mask(it.as_str()));
        let temp_dir = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let mask = Shaper::compile(&masking)?.map(Arc::new);
        if let Some(mask) = &mask {
            require_masked(mask, &source.facts, &options.drop)?;
        }
        let plan = ReadPlan {
            options: reading,
            size: SampleSize { all: 0, seed: 0 },
            drop: options.drop.clone(),
            mask,
            temp_dir,
        };
        let seen = read(&source, &plan)?;
        let change = before.map(|before| {
            let comparing = DiffOptions {
                temp_dir: options.temp_dir.clone(),
                stop: options.read.stop.clone(),
                max_value_bytes: options.read.max_value_bytes,
                ..DiffOptions::default()
            };
            let found = diff(before, snapshot, comparing)?;
            let it = found.summary();
            Ok::<_, Error>(SnapshotChange {
                added: it.added,
                removed: it.removed,
                changed: it.changed,
            })
        });
        Ok(Self {
            taken_at,
            rows: seen.profile.rows,
            change: change.transpose()?,
            counts: counts(&seen.profile, options.rows > 0),
        })
    }
}

fn counts(profile: &Profile, shows_values: bool) -> BTreeMap<DriftGroup, Vec<(String, u64)>> {
    let mut counts = BTreeMap::new();
    let common = |common: &CommonValues| common.top(MOST_FOLLOWED * 4);
    for column in &profile.columns {
        let is_persona = column.api == Some(Column::Persona);
        if let ValueProfile::Json(tree) | ValueProfile::Tags(tree, _) = &column.values {
            let kinds = tree.root.kinds().map(|(kind, values)| (kind.name().to_owned(), values));
            let null = (column.nulls > 0).then(|| ("missing".to_owned(), column.nulls));
            let group = DriftGroup::Types(column.column.name().to_owned());
            counts.insert(group, kinds.chain(null).collect());
        }
        match &column.values {
            ValueProfile::Text(values) if is_persona && shows_values => {
                let null = (column.nulls > 0).then(|| ("no persona".to_owned(), column.nulls));
                let all = common(values).into_iter().chain(null).collect();
                counts.insert(DriftGroup::Persona, all);
            }
            ValueProfile::Tags(_, values) if shows_values => {
                counts.insert(DriftGroup::Label, common(values));
            }
            _ => {}
        }
    }
    counts
}

/// Returns the lines of each group: the values that are most common over all snapshots.
pub(super) fn lines(data: &[SnapshotData]) -> BTreeMap<DriftGroup, Vec<DriftLine>> {
    let mut totals = BTreeMap::<&DriftGroup, BTreeMap<&str, u64>>::new();
    for (group, values) in data.iter().flat_map(|it| &it.counts) {
        let totals = totals.entry(group).or_default();
        for (value, count) in values {
            *totals.entry(value.as_str()).or_default() += count;
        }
    }
    let of_group = |(group, totals): (&DriftGroup, BTreeMap<&str, u64>)| {
        let mut values: Vec<_> = totals.into_iter().collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        values.truncate(MOST_FOLLOWED);
        let lines = values.into_iter().map(|(value, _)| line(data, group, value));
        (group.clone(), lines.collect())
    };
    totals.into_iter().map(of_group).collect()
}

fn line(data: &[SnapshotData], group: &DriftGroup, value: &str) -> DriftLine {
    let share = |it: &SnapshotData| {
        let counts = it.counts.get(group).map(Vec::as_slice).unwrap_or_default();
        let count = counts.iter().find(|(name, _)| name == value).map_or(0, |(_, count)| *count);
        if it.rows == 0 { 0.0 } else { count as f64 / it.rows as f64 }
    };
    let shares: Vec<f64> = data.iter().map(share).collect();
    let moves = shares.windows(2).enumerate().filter_map(|(place, pair)| match pair {
        [before, after] => Some((place + 1, after - before)),
        _ => None,
    });
    let largest = moves.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    let jump = largest.filter(|(_, by)| by.abs() >= JUMP);
    DriftLine { value: value.to_owned(), shares, jump }
}
