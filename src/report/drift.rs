//! What the snapshots of a job hold over time: shares of personas, labels and types, and what changed from one to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::{
    ReportOptions,
    changes::ChangesSeen,
    masked::MaskedValues,
    not_delivered,
    read::{ReadPlan, read},
    sample::SampleSize,
    shares::{DriftGroup, SharedCounts, SharedValue},
    source::ReportSource,
    values::require_masked,
};
use crate::{
    batch::Column,
    diff::{DiffOptions, DiffSummary, diff_counting},
    error::{Error, Result},
    location::Location,
    readback::ReadOptions,
    text::did_you_mean,
    transform::{Shaper, Transform},
};

/// Values of a column that are shown: those that jumped come first, and then the most common ones.
const MOST_SHOWN: usize = 8;
/// Most values that jumped that are shown: 40. The page says how many more there are.
const MOST_JUMPED: usize = 40;
/// A share that moves by at least this from one snapshot to the next is worth a look: 5 points.
const JUMP: f64 = 0.05;
/// Changed rows are many if they are at least this part of the rows before: one in 20. Whole numbers keep an exact twentieth
/// exact.
const MANY_CHANGED: u64 = 20;
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
    /// Number of rows with each value.
    pub(super) shared: SharedCounts,
    /// Path or URL of the snapshot; empty if it is not known.
    pub(super) location: String,
    /// Number of rows in which each path of the mask has replaced a value.
    replaced: Vec<u64>,
    /// The names of its columns, also of those that the report leaves out.
    all_columns: Vec<String>,
}

/// How many rows of a snapshot differ from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotChange {
    /// Number of rows of the snapshot before.
    pub before: u64,
    /// Number of new rows.
    pub added: u64,
    /// Number of rows that are gone.
    pub removed: u64,
    /// Number of rows with other values.
    pub changed: u64,
    /// Number of changed rows that differ only in the spelling of their JSON. `None` if they were not counted, because fewer
    /// than 5 % of the rows changed.
    pub respelled: Option<u64>,
    /// The columns that differ, each with the number of changed rows that differ in it. Without dropped columns.
    pub columns: BTreeMap<Column, u64>,
}

impl SnapshotChange {
    fn of(summary: &DiffSummary, drop: &[String]) -> Self {
        let DiffSummary { added, removed, changed, respelled, .. } = *summary;
        let is_shown = |(column, rows): &(&Column, &u64)| {
            **rows > 0 && !drop.iter().any(|name| name == column.name())
        };
        let columns = summary.columns.iter().filter(is_shown);
        let columns = columns.map(|(column, rows)| (*column, *rows)).collect();
        let before = summary.before.rows;
        let respelled = is_many(changed, before).then_some(respelled);
        Self { before, added, removed, changed, respelled, columns }
    }

    /// Returns the number of changed rows whose values differ, whatever their spelling, if there are many.
    pub(super) fn many_changed(&self) -> Option<u64> {
        let changed = self.changed - self.respelled.unwrap_or(0).min(self.changed);
        is_many(changed, self.before).then_some(changed)
    }
}

fn is_many(changed: u64, before: u64) -> bool {
    changed > 0 && changed.saturating_mul(MANY_CHANGED) >= before
}

/// The shares of the values of a group over time.
pub(super) struct DriftTable {
    pub(super) group: DriftGroup,
    /// Whether the shares of each snapshot are known. Those of an empty one, and of masked or missing values, are not.
    pub(super) known: Vec<bool>,
    /// Whether the shares are estimates.
    pub(super) is_estimate: bool,
    /// The values with a jump, the largest jump first, and then the most common other values.
    pub(super) lines: Vec<DriftLine>,
    /// Number of values that are not in the lines, and how many of them jumped.
    pub(super) others: usize,
    pub(super) others_jumped: usize,
}

/// The shares of a value over time.
pub(super) struct DriftLine {
    pub(super) value: String,
    /// One for each snapshot; 0 if it is not known.
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
    /// Whether the shares are estimates.
    pub(super) is_estimate: bool,
}

impl ShareJump {
    /// How far the share moved, up or down.
    pub(super) fn size(self) -> f64 {
        (self.after - self.before).abs()
    }
}

impl DriftLine {
    fn of(data: &[SnapshotData], group: &DriftGroup, value: &SharedValue) -> Self {
        let shares: Vec<Option<f64>> = data.iter().map(|it| it.share(group, value)).collect();
        let errors: Vec<f64> = data.iter().map(|it| it.share_error(group)).collect();
        let moves = shares.windows(2).zip(errors.windows(2)).enumerate();
        let jumps = moves.filter_map(|(place, (shares, errors))| match (shares, errors) {
            (&[Some(before), Some(after)], &[old, new]) => {
                let is_estimate = old + new > 0.0;
                let jump = ShareJump { place: place + 1, before, after, is_estimate };
                // An estimate that can be wrong by this much is no jump.
                (jump.size() - old - new + ROUNDING >= JUMP).then_some(jump)
            }
            _ => None,
        });
        let jumps = jumps.collect();
        let shares = shares.into_iter().map(Option::unwrap_or_default).collect();
        Self { value: value.name(group), shares, jumps }
    }

    /// Whether its largest jump is a rise.
    pub(super) fn rises(&self) -> bool {
        let largest = self.jumps.iter().max_by(|a, b| a.size().total_cmp(&b.size()));
        largest.is_some_and(|jump| jump.after > jump.before)
    }

    /// The size of its largest jump; zero without a jump.
    pub(super) fn largest(&self) -> f64 {
        self.jumps.iter().map(|jump| jump.size()).fold(0.0, f64::max)
    }
}

impl SnapshotData {
    /// The share of a value; `None` if it is not known.
    fn share(&self, group: &DriftGroup, value: &SharedValue) -> Option<f64> {
        let rows = self.shared.rows_with(group, value, self.rows)?;
        // A snapshot without rows has no shares.
        (self.rows > 0).then(|| rows as f64 / self.rows as f64)
    }

    /// How far the share of a value can be too large.
    fn share_error(&self, group: &DriftGroup) -> f64 {
        self.shared.error(group) as f64 / self.rows.max(1) as f64
    }

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
            let has_many = |it: &DiffSummary| is_many(it.changed, it.before.rows);
            let found = diff_counting(before, taken.1, comparing, &[], has_many)?;
            Ok::<_, Error>(SnapshotChange::of(found.summary(), &options.drop))
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
        let mut data = Self::profile(taken, mask, options)?;
        let changes = Self::changes(before, taken.1, options)?;
        data.change = Some(SnapshotChange::of(&changes.summary, &options.drop));
        Ok((data, changes))
    }

    /// Compares two snapshots, and returns some of the rows that differ.
    pub(super) fn changes(
        before: &Location,
        after: &Location,
        options: &ReportOptions,
    ) -> Result<ChangesSeen> {
        let mut options = options.clone();
        options.read.record = None;
        ChangesSeen::read(before, after, &options, Self::mask(&options)?.as_deref())
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
            // Not each snapshot has each column that the report leaves out.
            unread: options.drop.clone(),
            mask: mask.clone(),
            temp_dir: options.temp_dir.clone().unwrap_or_else(std::env::temp_dir),
        };
        let seen = read(&source, &plan)?;
        let mask = mask.as_ref().map(|it| it.recorded().mask.clone()).unwrap_or_default();
        let masked = MaskedValues::of(&source.facts, &mask);
        let shared = SharedCounts::of(&seen.profile, masked, options.rows > 0);
        let (rows, replaced) = (seen.profile.rows, seen.profile.replaced);
        let columns = source.usual_columns();
        let all_columns = columns.iter().map(|column| column.name().to_owned()).collect();
        let (change, location) = (None, String::new());
        Ok(Self { taken_at, rows, change, shared, location, replaced, all_columns })
    }

    /// Refuses a path of the mask that leads to no value in any of these snapshots: it is probably misspelled, so the
    /// values that it should hide would be shown. Refuses a dropped column that none of them has, too.
    ///
    /// # Errors
    /// [`Error::UnmatchedPath`] for the first such path, and [`Error::Usage`] for the first such column.
    pub(super) fn require_found<'a>(
        all: impl Iterator<Item = &'a Self> + Clone,
        options: &ReportOptions,
    ) -> Result<()> {
        let columns = || all.clone().flat_map(|it| &it.all_columns).map(String::as_str);
        let is_missing = |name: &&String| !columns().any(|column| column == name.as_str());
        if all.clone().next().is_some()
            && let Some(name) = options.drop.iter().find(is_missing)
        {
            let meant = did_you_mean(name, columns());
            return Err(Error::Usage(format!("no snapshot has a column {name}{meant}")));
        }
        let Some(mask) = Self::mask(options)? else { return Ok(()) };
        let mut replaced = Vec::<u64>::new();
        let mut rows = 0_u64;
        for snapshot in all {
            replaced.resize(snapshot.replaced.len().max(replaced.len()), 0);
            for (sum, more) in replaced.iter_mut().zip(&snapshot.replaced) {
                *sum = sum.saturating_add(*more);
            }
            rows = rows.saturating_add(snapshot.rows);
        }
        if replaced.is_empty() {
            return Ok(());
        }
        mask.check_replaced(rows, &replaced, &[]).map_err(not_delivered)
    }
}

/// Returns the shares of each group over time. No value that jumped gives way to one that is common.
pub(super) fn tables(data: &[SnapshotData]) -> Vec<DriftTable> {
    let groups: BTreeSet<&DriftGroup> =
        data.iter().flat_map(|it| it.shared.counts.keys()).collect();
    let is_counted = |group: &&DriftGroup| data.iter().all(|it| it.shared.counts_all_of(group));
    groups.into_iter().filter(is_counted).map(|group| table(data, group)).collect()
}

fn table(data: &[SnapshotData], group: &DriftGroup) -> DriftTable {
    let counts = data.iter().filter_map(|it| it.shared.counts.get(group)).flatten();
    let mut totals = BTreeMap::<&SharedValue, u64>::new();
    for (value, count) in counts {
        let total = totals.entry(value).or_default();
        *total = total.saturating_add(*count);
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
    let known = data.iter().map(|it| it.share(group, &SharedValue::Missing).is_some()).collect();
    let is_estimate = data.iter().any(|it| it.shared.error(group) > 0);
    DriftTable { group: group.clone(), known, is_estimate, lines, others, others_jumped }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Snapshots of 100 rows with these counts of labels.
    fn snapshots(nights: &[&[(&str, u64)]]) -> Vec<SnapshotData> {
        let night = |counts: &&[(&str, u64)]| {
            let counts = counts.iter();
            let counts =
                counts.map(|(value, count)| (SharedValue::Value((*value).to_owned()), *count));
            let counts = BTreeMap::from([(DriftGroup::Label, counts.collect())]);
            let shared = SharedCounts::new(counts);
            let (taken_at, location) = (DateTime::UNIX_EPOCH, String::new());
            SnapshotData {
                taken_at,
                rows: 100,
                change: None,
                shared,
                location,
                replaced: Vec::new(),
                all_columns: Vec::new(),
            }
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

    #[test]
    fn persona_named_like_none_keeps_its_count() {
        let group = DriftGroup::Persona;
        let name = SharedValue::Missing.name(&group);
        let counts = [(SharedValue::Value(name), 30), (SharedValue::Missing, 50)];
        let mut data = snapshots(&[&[]]);
        data[0].shared = SharedCounts::new(BTreeMap::from([(group, BTreeMap::from(counts))]));
        let shares: Vec<f64> = tables(&data)[0].lines.iter().map(|line| line.shares[0]).collect();
        assert_eq!(shares, [0.5, 0.3]);
    }

    #[test]
    fn value_that_is_masked_once_has_no_jump() {
        let mut data = snapshots(&[&[("a", 100)], &[], &[("a", 100)]]);
        data[1].shared = SharedCounts::default();
        let tables = tables(&data);
        assert_eq!(
            (tables[0].known.as_slice(), tables[0].lines[0].jumps.len()),
            ([true, false, true].as_slice(), 0)
        );
    }

    #[test]
    fn jumps_are_larger_than_the_error_of_their_counts() {
        let jumps = |error| {
            let mut data = snapshots(&[&[("a", 90)], &[("a", 80)]]);
            data[1].shared.set_error(DriftGroup::Label, error);
            let tables = tables(&data);
            let jumps = tables[0].lines[0].jumps.iter().map(|jump| jump.is_estimate);
            (tables[0].is_estimate, jumps.collect::<Vec<_>>())
        };
        assert_eq!(jumps(0), (false, vec![false]));
        assert_eq!(jumps(5), (true, vec![true]));
        assert_eq!(jumps(6), (true, vec![]));
    }
}
