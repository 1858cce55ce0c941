//! Compares two exports: finds added, removed and changed rows, and the columns that changed.
//!
//! ```text
//!  side ──► rows ──► table ──► differences ──► file
//!  batches  hashes   64 bytes  second pass:    output
//!                    per row   values          file
//! ```
//!
//! Rows are read in up to three passes. The first pass computes hashes, at most 64 bytes per row in memory; the hashes
//! decide which rows differ. If both sides are proven to have distinct ids, it reads both in step, and equal rows at about
//! the same place need no memory. If rows changed in JSON columns only, their values are compared, whatever their spelling:
//! in the first pass if they are at about the same place, otherwise in another pass, which keeps their hashes in the same
//! memory. The last pass reads the values of the rows that
//! differ, if the caller wants them. Its memory does not grow with the number of differences: it keeps one row of each
//! export, and spills the values of changed rows to disk. This module never changes the exports.

mod entries;
mod file;
mod gather;
mod json_value;
mod lockstep;
mod replay;
mod rows;
mod side;
#[cfg(feature = "report")]
mod some;
mod spelling;
mod spill;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, atomic::AtomicBool},
};

use serde::Serialize;

pub use self::file::DiffFile;
pub(crate) use self::json_value::is_same_value;
use self::{
    gather::gather,
    replay::{Replay, WantedRows},
    rows::Compared,
    side::Side,
    spelling::count_respelled,
    spill::RowSpill,
    table::{DiffTally, Table},
};
use crate::{
    batch::Column,
    error::{Error, Result},
    location::Location,
    readback::ReadOptions,
};

/// The key: the column that identifies a row in both exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiffBy {
    /// The datapoint's id. For exports of one dataset version, or of versions that keep the ids.
    #[default]
    Id,
    /// The datapoint's `order`. For dataset versions whose datapoints have new ids.
    Order,
    /// The datapoint's input. For dataset versions with new ids and a new order.
    Input,
}

impl DiffBy {
    /// All variants.
    pub const ALL: [Self; 3] = [Self::Id, Self::Order, Self::Input];

    /// Returns the column of the key.
    pub fn column(self) -> Column {
        match self {
            Self::Id => Column::Id,
            Self::Order => Column::Order,
            Self::Input => Column::Input,
        }
    }
}

impl fmt::Display for DiffBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column().fmt(f)
    }
}

impl FromStr for DiffBy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|by| by.column().name() == text)
            .ok_or_else(|| Error::invalid("key", text, "use id, order or input"))
    }
}

/// Options for [`diff`].
///
/// ```
/// use overmind_export::{DiffBy, DiffOptions};
/// let options = DiffOptions { by: DiffBy::Order, ..DiffOptions::default() };
/// assert_eq!(options.temp_dir, None);
/// ```
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// The key that identifies rows; default [`DiffBy::Id`].
    pub by: DiffBy,
    /// Directory for an unnamed temporary file. It stores the first export's values of changed rows until the
    /// second export is read. Default: the system's temporary directory.
    pub temp_dir: Option<PathBuf>,
    /// Cancellation flag. Set it from another thread to end the comparison soon with [`Error::Interrupted`].
    pub stop: Arc<AtomicBool>,
    /// Size limit of one value in bytes; see [`ReadOptions::max_value_bytes`].
    pub max_value_bytes: usize,
    /// Path of the first export's record; default: next to the export.
    pub record_a: Option<Location>,
    /// Path of the second export's record; default: next to the export.
    pub record_b: Option<Location>,
    /// Whether rows that differ only in the spelling of their JSON are equal; default `false`. What equal means is
    /// explained at [`DiffSummary::respelled`]. Also pairs rows whose keys differ only in their spelling.
    pub ignore_spelling: bool,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            by: DiffBy::default(),
            temp_dir: None,
            stop: Arc::default(),
            max_value_bytes: ReadOptions::MAX_VALUE_BYTES,
            record_a: None,
            record_b: None,
            ignore_spelling: false,
        }
    }
}

/// The counts of a comparison with [`diff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiffSummary {
    /// Number of rows that only the second export has.
    pub added: u64,
    /// Number of rows that only the first export has.
    pub removed: u64,
    /// Number of rows that both exports have with different values.
    pub changed: u64,
    /// Number of changed rows that differ only in the spelling of their JSON; 0 if it is
    /// [ignored](DiffOptions::ignore_spelling), because no changed row is left that does.
    ///
    /// Two texts are spellings of one value if they differ only in white space, in escapes such as `\u00e9` for `é`, in
    /// the order of an object's keys, in members that are null or missing, or in how a number is written: `1`, `1.0` and
    /// `1e0` are one value. Numbers are compared exactly, with all their digits. Repeated keys of an object keep their
    /// order, and none is left out.
    pub respelled: u64,
    /// Number of equal rows.
    pub unchanged: u64,
    /// The compared columns, each with the number of changed rows that differ in it.
    pub columns: BTreeMap<Column, u64>,
    /// The key that identified rows.
    pub by: DiffBy,
    /// Whether the spelling of JSON was [ignored](DiffOptions::ignore_spelling).
    pub ignore_spelling: bool,
    /// Number of keys that both exports have.
    pub shared_keys: u64,
    /// Facts about the first export.
    pub before: DiffSide,
    /// Facts about the second export.
    pub after: DiffSide,
}

impl DiffSummary {
    /// Returns whether no row was added, removed or changed.
    pub fn is_equal(&self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }
}

/// Facts about one of the two compared exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiffSide {
    /// Path or URL of the export.
    #[serde(serialize_with = "crate::text::lossy_path")]
    pub path: PathBuf,
    /// Number of its rows.
    pub rows: u64,
    /// Number of rows whose key occurs more than once in this export.
    pub repeated_keys: u64,
    /// Number of rows whose key is null.
    pub without_key: u64,
    /// Columns that only this export has. They were not compared.
    pub only_here: Vec<Column>,
    /// The computed columns of this export. They were not compared.
    pub computed: Vec<String>,
}

/// The kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// Only the second export has the row.
    Added,
    /// Only the first export has the row.
    Removed,
    /// Both exports have the row, with different values.
    Changed,
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        })
    }
}

/// A row that differs between the two exports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Whether the row was added, removed or changed.
    pub kind: DifferenceKind,
    /// The row's key: the id, the order in decimal, or the JSON text of the input. `None` for null.
    pub key: Option<String>,
    /// The row in the first export; `None` for an added row.
    pub before: Option<DifferenceRow>,
    /// The row in the second export; `None` for a removed row.
    pub after: Option<DifferenceRow>,
}

/// The row of a [`Difference`] in one of the exports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DifferenceRow {
    /// The row's id, if the export has that column.
    pub id: Option<String>,
    /// Values as JSON texts, including `null`. A changed row has the columns that differ; an added or removed row
    /// has all columns of the export.
    pub values: Vec<(Column, String)>,
}

/// The result of a comparison: the counts, and access to the differences.
#[derive(Debug)]
pub struct Diff {
    summary: DiffSummary,
    before: Side,
    after: Side,
    tables: [Table; 2],
    compared: Compared,
    temp_dir: PathBuf,
}

/// Compares two exports: each a directory with its manifest or a single file, in any format, on disk or in an
/// object store.
///
/// Rows with the same key are the same row. If a key occurs more than once in an export, equal rows are paired
/// first. If then one row is left on each side, it is a changed row. All other rows that are left are removed
/// and added rows. Rows with a null key are paired with equal rows only.
///
/// Columns that only one export has are not compared. `id` is not compared when another column is the key. The
/// order of the rows is not compared.
///
/// Needs at most 64 bytes of memory for each row of both exports. If both are proven to have distinct ids, and most rows are
/// in the same order, only rows that differ need this memory. Reads both exports completely. Reads them again if changed
/// rows that differ in JSON columns only are in another order, or in exports that are not proven, to count those that were
/// [respelled](DiffSummary::respelled). Blocks until then: in async code,
/// call it on a thread for blocking work.
///
/// # Errors
/// [`Error::Damaged`] when an export is incomplete, cannot be read, or does not match its record.
/// [`Error::Usage`] when an export does not have the key's column, or when there is not enough memory for its
/// rows. [`Error::ValueTooLarge`] when a value exceeds [`DiffOptions::max_value_bytes`]. [`Error::Io`] or
/// [`Error::Store`] when a location cannot be accessed. [`Error::Interrupted`] when [`DiffOptions::stop`] is set.
///
/// ```
/// use std::fs;
/// use overmind_export::{Column, DiffOptions, diff};
///
/// let folder = tempfile::tempdir()?;
/// let (monday, tuesday) = (folder.path().join("mon.jsonl"), folder.path().join("tue.jsonl"));
/// fs::write(&monday, "{\"id\":\"a\",\"input\":1}\n{\"id\":\"b\",\"input\":2}\n")?;
/// fs::write(&tuesday, "{\"id\":\"b\",\"input\":[2]}\n{\"id\":\"a\",\"input\":1}\n")?;
///
/// let found = diff(&monday.into(), &tuesday.into(), DiffOptions::default())?;
/// assert_eq!((found.summary().changed, found.summary().unchanged), (1, 1));
/// assert_eq!(found.summary().columns[&Column::Input], 1);
/// found.differences(None, |difference| {
///     let (before, after) = (difference.before.unwrap(), difference.after.unwrap());
///     assert_eq!(before.values, [(Column::Input, "2".to_owned())]);
///     assert_eq!(after.values, [(Column::Input, "[2]".to_owned())]);
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn diff(before: &Location, after: &Location, options: DiffOptions) -> Result<Diff> {
    diff_without(before, after, options, &[])
}

/// Compares two exports like [`diff`]. Each may have columns of the names in `drop` that no export has. Other columns of
/// these names, without the key, are not read from files that state no digest of their rows.
pub(crate) fn diff_without(
    before: &Location,
    after: &Location,
    options: DiffOptions,
    drop: &[String],
) -> Result<Diff> {
    diff_counting(before, after, options, drop, |_| true)
}

/// Does the same. Rows are read again to count respelled ones only if `counts_respelled` says so about the other counts; else
/// no row counts as respelled.
pub(crate) fn diff_counting(
    before: &Location,
    after: &Location,
    options: DiffOptions,
    drop: &[String],
    counts_respelled: impl FnOnce(&DiffSummary) -> bool,
) -> Result<Diff> {
    let (mut found, json) = compare(before, after, options, drop)?;
    if counts_respelled(&found.summary) {
        found.summary.respelled = json.respelled(&mut found)?;
    }
    Ok(found)
}

/// The changed rows that differ only in JSON columns. There are none if the spelling is ignored.
struct JsonChanges {
    rows: u64,
    /// Number of them whose values were compared while they were read, and of these the respelled ones.
    judged: u64,
    respelled: u64,
}

impl JsonChanges {
    /// Returns the number of respelled rows. Reads the rows again unless all of them were judged.
    fn respelled(&self, found: &mut Diff) -> Result<u64> {
        if self.rows == self.judged {
            return Ok(self.respelled);
        }
        let sides = [&found.before, &found.after];
        count_respelled(sides, &mut found.tables, &found.compared, self.rows)
    }
}

/// Compares two exports.
fn compare(
    before: &Location,
    after: &Location,
    options: DiffOptions,
    drop: &[String],
) -> Result<(Diff, JsonChanges)> {
    let max_value_bytes = options.max_value_bytes;
    let key = options.by.column().name();
    let open = |place, record: &Option<Location>, option| {
        let stop = options.stop.clone();
        let unused = drop.iter().filter(|name| *name != key).cloned().collect();
        let mut reading = ReadOptions { max_value_bytes, stop, unused, ..ReadOptions::default() };
        (reading.record, reading.record_option) = (record.clone(), Some(option));
        reading.keeps_views = true;
        Side::open(place, reading, drop)
    };
    let before = open(before, &options.record_a, "record_a")?;
    let after = open(after, &options.record_b, "record_b")?;
    let compared = compared(&before, &after, &options)?;
    let mut tables = [Table::default(), Table::default()];
    let gathered = gather([&before, &after], &compared, &mut tables)?;
    let [table, other] = &mut tables;
    let mut tally = table::compare(table, other, compared.json_columns());
    tally.unchanged += gathered.equal;
    tally.shared_keys += gathered.equal;
    let summary = summary(tally, options.by, &compared, [&before, &after], gathered.rows);
    let temp_dir = options.temp_dir.unwrap_or_else(std::env::temp_dir);
    let rows = if options.ignore_spelling { 0 } else { tally.only_json };
    let json = JsonChanges { rows, judged: gathered.judged, respelled: gathered.respelled };
    Ok((Diff { summary, before, after, tables, compared, temp_dir }, json))
}

/// Returns the key and the columns that both exports have.
///
/// The columns of an empty JSON Lines file are unknown. They do not matter, because it has no rows.
fn compared(before: &Side, after: &Side, options: &DiffOptions) -> Result<Compared> {
    let key = options.by.column();
    for side in [before, after] {
        if let Some(columns) = side.columns().filter(|columns| !columns.contains(&key)) {
            let (place, columns) = (side.place(), names(columns));
            if columns.is_empty() {
                let found = side.computed().join(", ");
                return Err(Error::Usage(format!(
                    "{place} has no column {key} to identify its rows by: it only has the computed column {found}"
                )));
            }
            return Err(Error::Usage(format!(
                "{place} has no column {key} to identify its rows by, only {columns}"
            )));
        }
    }
    let has = |side: &Side, column: &Column| side.columns().is_none_or(|it| it.contains(column));
    let columns = Column::ALL.into_iter().filter(|column| {
        ![key, Column::Id].contains(column) && has(before, column) && has(after, column)
    });
    let ignore_spelling = options.ignore_spelling;
    Ok(Compared { key, columns: columns.collect(), ignore_spelling })
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ")
}

fn summary(
    tally: DiffTally,
    by: DiffBy,
    compared: &Compared,
    sides: [&Side; 2],
    rows: [u64; 2],
) -> DiffSummary {
    let described = |index: usize| {
        let other = sides[1 - index].columns();
        let only_here = sides[index].columns().unwrap_or_default().iter();
        DiffSide {
            path: sides[index].place().to_path(),
            rows: rows[index],
            repeated_keys: tally.repeated[index],
            without_key: tally.without_key[index],
            only_here: only_here
                .filter(|column| other.is_some_and(|other| !other.contains(column)))
                .copied()
                .collect(),
            computed: sides[index].computed().to_vec(),
        }
    };
    DiffSummary {
        added: tally.added,
        removed: tally.removed,
        changed: tally.changed,
        respelled: 0,
        unchanged: tally.unchanged,
        columns: compared.columns.iter().copied().zip(tally.columns).collect(),
        by,
        ignore_spelling: compared.ignore_spelling,
        shared_keys: tally.shared_keys,
        before: described(0),
        after: described(1),
    }
}

impl Diff {
    /// Returns the counts.
    pub fn summary(&self) -> &DiffSummary {
        &self.summary
    }

    /// Reads both exports again and calls `visit` for each difference.
    ///
    /// Removed rows come first, in the order of the first export. Added and changed rows follow, in the order of
    /// the second export. `limit` is the maximum number of differences of each kind; `None` means no limit.
    ///
    /// Values of changed rows are spilled to disk, in the [temporary directory](DiffOptions::temp_dir). Blocks.
    ///
    /// # Errors
    /// Every error of `visit`, which ends the reading. The same errors as [`diff`]. [`Error::Damaged`] when an
    /// export has changed since the comparison. [`Error::Io`] when the temporary directory cannot be used.
    pub fn differences(
        self,
        limit: Option<u64>,
        visit: impl FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        let wanted = WantedRows::of(&self.summary, limit);
        self.replay(wanted, visit)
    }

    fn replay(self, wanted: WantedRows, visit: impl FnMut(Difference) -> Result<()>) -> Result<()> {
        let Self { before, after, tables, compared, temp_dir, .. } = self;
        let [first, second] = tables;
        let mut replay = Replay { compared, wanted, first, second, visit };
        let waiting = replay.first_side(&before, RowSpill::new(temp_dir))?;
        replay.second_side(&after, waiting)
    }
}
