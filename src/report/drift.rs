//! What the snapshots of a job hold over time: shares of personas, labels and types, and what changed from one to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::{
    ReportOptions,
    changes::ChangesSeen,
    not_delivered,
    profile::{Profile, ValueProfile, figures::CommonValues},
    read::{ReadPlan, read},
    sample::SampleSize,
    source::ReportSource,
    values::require_masked,
};
use crate::{
    batch::Column,
    diff::{DiffOptions, DiffSummary, diff_once},
    error::{Error, Result},
    location::Location,
    readback::ReadOptions,
    transform::{Shaper, Transform},
};

/// Values of a column that are counted in each snapshot. The share of any other value is below one part in 512.
const MOST_COUNTED: usize = 512;
/// Values of a column that are shown: those that jumped come first, and then the most common ones.
const MOST_SHOWN: usize = 8;
/// Most values that jumped that are shown: 40. The page says how many more there are.
const MOST_JUMPED: usize = 40;
/// A share that moves by at least this from one snapshot to the next is worth a look: 5 points.
const JUMP: f64 = 0.05;
/// A difference of shares can be smaller by this than its decimal.
const ROUNDING: f64 = 1e-9;

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
    pub(super) counts: BTreeMap<DriftGroup, BTreeMap<String, u64>>,
    /// Number of rows in which each path of the mask has replaced a value.
    replaced: Vec<u64>,
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

impl SnapshotChange {
    fn of(summary: &DiffSummary) -> Self {
        let DiffSummary { added, removed, changed, .. } = *summary;
        Self { added, removed, changed }
    }
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

/// The shares of the values of a group over time.
pub(super) struct DriftTable {
    pub(super) group: DriftGroup,
    /// The values with a jump, the largest jump first, and then the most common other values.
    pub(super) lines: Vec<DriftLine>,
    /// Number of values that are not in the lines, and how many of them jumped.
    pub(super) others: usize,
    pub(super) others_jumped: usize,
}

/// The shares of a value over time.
pub(super) struct DriftLine {
    pub(super) value: String,
    /// One for each snapshot.
    pub(super) shares: Vec<f64>,
    /// All jumps in the order of the snapshots.
    pub(super) jumps: Vec<ShareJump>,
}

/// A share that moved much from one snapshot to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ShareJump {
    /// The place of the later snapshot.
    pub(super) place: usize,
    pub(super) before: f64,
    pub(super) after: f64,
}

impl ShareJump {
    /// How far the share moved, up or down.
    pub(super) fn size(self) -> f64 {
        (self.after - self.before).abs()
    }
}

impl DriftLine {
    fn of(data: &[SnapshotData], group: &DriftGroup, value: &str) -> Self {
        let share = |it: &SnapshotData| {
            let count = it.counts.get(group).and_then(|counts| counts.get(value));
            if it.rows == 0 { 0.0 } else { count.copied().unwrap_or(0) as f64 / it.rows as f64 }
        };
        let shares: Vec<f64> = data.iter().map(share).collect();
        let moves = shares.windows(2).enumerate().filter_map(|(place, pair)| match *pair {
            [before, after] => Some(ShareJump { place: place + 1, before, after }),
            _ => None,
        });
        // A snapshot without rows has no shares.
        let has_rows = |place: usize| data.get(place).is_some_and(|it| it.rows > 0);
        let jumps = moves.filter(|it| {
            it.size() + ROUNDING >= JUMP && has_rows(it.place) && has_rows(it.place - 1)
        });
        let jumps = jumps.collect();
        Self { value: value.to_owned(), shares, jumps }
    }

    /// The size of its largest jump; zero without a jump.
    pub(super) fn largest(&self) -> f64 {
        self.jumps.iter().map(|jump| jump.size()).fold(0.0, f64::max)
    }
}

impl SnapshotData {
    /// Reads a snapshot, and compares it with the one before. The options say how to read, and what to mask and to leave
    /// out. Blocks.
    ///
    /// # Errors
    /// Those of [`Report::of_changes`](crate::Report::of_changes).
    pub fn read(
        taken: (DateTime<Utc>, &Location),
        before: Option<&Location>,
        options: &ReportOptions,
    ) -> Result<Self> {
        let mask = Self::mask(options)?;
        let mut data = Self::profile(taken, mask, options)?;
        let change = before.map(|before| {
            let comparing = DiffOptions {
                by: options.by,
                temp_dir: options.temp_dir.clone(),
                stop: options.read.stop.clone(),
                max_value_bytes: options.read.max_value_bytes,
                ignore_spelling: options.ignore_spelling,
                ..DiffOptions::default()
            };
            Ok::<_, Error>(SnapshotChange::of(&diff_once(before, taken.1, comparing)?))
        });
        data.change = change.transpose()?;
        Ok(data)
    }

    /// Does the same, and returns some of the rows that differ, too.
    pub(super) fn read_with_rows(
        taken: (DateTime<Utc>, &Location),
        before: &Location,
        options: &ReportOptions,
    ) -> Result<(Self, ChangesSeen)> {
        let mask = Self::mask(options)?;
        let mut data = Self::profile(taken, mask.clone(), options)?;
        let mut options = options.clone();
        options.read.record = None;
        let changes = ChangesSeen::read(before, taken.1, &options, mask.as_deref())?;
        data.change = Some(SnapshotChange::of(&changes.summary));
        Ok((data, changes))
    }

    fn mask(options: &ReportOptions) -> Result<Option<Arc<Shaper>>> {
        let masking = options.mask.iter().fold(Transform::new(), |all, it| all.mask(it.as_str()));
        Ok(Shaper::compile(&masking)?.map(Arc::new))
    }

    fn profile(
        (taken_at, snapshot): (DateTime<Utc>, &Location),
        mask: Option<Arc<Shaper>>,
        options: &ReportOptions,
    ) -> Result<Self> {
        let reading = ReadOptions { columns: Vec::new(), record: None, ..options.read.clone() };
        let source = ReportSource::open(snapshot, &reading)?;
        if let Some(mask) = &mask {
            require_masked(mask, &source.facts, &options.drop)?;
        }
        let plan = ReadPlan {
            size: SampleSize { all: 0, seed: 0 },
            drop: options.drop.clone(),
            unread: Vec::new(),
            mask,
            temp_dir: options.temp_dir.clone().unwrap_or_else(std::env::temp_dir),
        };
        let seen = read(&source, &plan)?;
        let counts = counts(&seen.profile, options.rows > 0);
        let (rows, replaced) = (seen.profile.rows, seen.profile.replaced);
        Ok(Self { taken_at, rows, change: None, counts, replaced })
    }

    /// Refuses a path of the mask that leads to no value in any of these snapshots: it is probably misspelled, so the
    /// values that it should hide would be shown.
    ///
    /// # Errors
    /// [`Error::UnmatchedPath`] for the first such path.
    pub(super) fn require_replaced(data: &[Self], options: &ReportOptions) -> Result<()> {
        let (Some(mask), Some((first, others))) = (Self::mask(options)?, data.split_first()) else {
            return Ok(());
        };
        let mut replaced = first.replaced.clone();
        for snapshot in others {
            replaced.iter_mut().zip(&snapshot.replaced).for_each(|(all, more)| *all += more);
        }
        let rows = data.iter().map(|snapshot| snapshot.rows).sum();
        mask.check_replaced(rows, &replaced, &[]).map_err(not_delivered)
    }
}

fn counts(profile: &Profile, shows_values: bool) -> BTreeMap<DriftGroup, BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    let common = |common: &CommonValues| common.top(MOST_COUNTED);
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
                counts.insert(DriftGroup::Label, common(values).into_iter().collect());
            }
            _ => {}
        }
    }
    counts
}

/// Returns the shares of each group over time. No value that jumped gives way to one that is common.
pub(super) fn tables(data: &[SnapshotData]) -> Vec<DriftTable> {
    let groups: BTreeSet<&DriftGroup> = data.iter().flat_map(|it| it.counts.keys()).collect();
    groups.into_iter().map(|group| table(data, group)).collect()
}

fn table(data: &[SnapshotData], group: &DriftGroup) -> DriftTable {
    let counts = data.iter().filter_map(|it| it.counts.get(group)).flatten();
    let mut totals = BTreeMap::<&str, u64>::new();
    for (value, count) in counts {
        *totals.entry(value.as_str()).or_default() += count;
    }
    let mut values: Vec<_> = totals.into_iter().collect();
    // The most common first. The sort below keeps this order among values without a jump.
    values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let mut lines: Vec<_> =
        values.into_iter().map(|(value, _)| DriftLine::of(data, group, value)).collect();
    lines.sort_by(|a, b| b.largest().total_cmp(&a.largest()));
    let jumped = lines.iter().take_while(|line| !line.jumps.is_empty()).count();
    let all = lines.len();
    lines.truncate(jumped.clamp(MOST_SHOWN, MOST_JUMPED));
    let (others, others_jumped) = (all - lines.len(), jumped.saturating_sub(lines.len()));
    DriftTable { group: group.clone(), lines, others, others_jumped }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Snapshots of 100 rows with these counts of labels.
    fn snapshots(nights: &[&[(&str, u64)]]) -> Vec<SnapshotData> {
        let night = |counts: &&[(&str, u64)]| {
            let counts = counts.iter().map(|(value, count)| ((*value).to_owned(), *count));
            let counts = BTreeMap::from([(DriftGroup::Label, counts.collect())]);
            let taken_at = DateTime::UNIX_EPOCH;
            SnapshotData { taken_at, rows: 100, change: None, counts, replaced: Vec::new() }
        };
        nights.iter().map(night).collect()
    }

    #[test]
    fn jumped_values_come_before_common_ones() {
        let names: Vec<String> = (0..30).map(|it| format!("common {it:02}")).collect();
        let night = |more: &[(&'static str, u64)]| -> Vec<(String, u64)> {
            let common = names.iter().map(|name| (name.clone(), 90));
            common.chain(more.iter().map(|(name, count)| ((*name).to_owned(), *count))).collect()
        };
        let nights = [
            night(&[]),
            night(&[("rare", 6), ("rarer", 5)]),
            night(&[("rare", 0)]),
            night(&[("rare", 9)]),
        ];
        let nights: Vec<Vec<(&str, u64)>> = nights
            .iter()
            .map(|night| night.iter().map(|(name, count)| (name.as_str(), *count)).collect())
            .collect();
        let nights: Vec<&[(&str, u64)]> = nights.iter().map(Vec::as_slice).collect();
        let tables = tables(&snapshots(&nights));
        let [table] = tables.as_slice() else { panic!("one group") };
        let shown: Vec<&str> = table.lines.iter().map(|line| line.value.as_str()).collect();
        assert_eq!(shown[..3], ["rare", "rarer", "common 00"]);
        assert_eq!((shown.len(), table.others, table.others_jumped), (8, 24, 0));
        // Every night in which it jumped, and not only the largest jump.
        let places: Vec<usize> = table.lines[0].jumps.iter().map(|jump| jump.place).collect();
        assert_eq!(places, [1, 2, 3]);
        assert!((table.lines[0].largest() - 0.09).abs() < 1e-9);
    }

    #[test]
    fn values_that_jumped_are_counted_even_if_not_shown() {
        let names: Vec<String> = (0..60).map(|it| format!("new {it:02}")).collect();
        let all: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 10)).collect();
        let tables = tables(&snapshots(&[&[], &all]));
        assert_eq!((tables[0].lines.len(), tables[0].others_jumped), (40, 20));
    }

    #[test]
    fn snapshot_without_rows_has_no_jump() {
        let mut data = snapshots(&[&[("a", 100)], &[], &[("a", 100)]]);
        data[1].rows = 0;
        assert_eq!(tables(&data)[0].lines[0].jumps, []);
    }
}
