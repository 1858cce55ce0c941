//! What changed between two exports: rows added, removed, changed, and in which columns.
//!
//! ```text
//!  side ──► rows ──► table ──► differences ──► file
//!  batches  hashes   64 bytes  read again,     as a file
//!                    a row     values
//! ```
//!
//! Rows are read twice. First for hashes, of which 64 bytes a row are held and which decide
//! everything; then, if anybody wants to see differences, for the values of rows that differ.
//! Memory does not grow with their size or number. Never changes what it compares.

mod file;
mod replay;
mod rows;
mod side;
mod spill;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    ops::ControlFlow,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, atomic::AtomicBool},
};

use serde::Serialize;

pub use self::file::DiffFile;
use self::{
    replay::{Replay, WantedRows},
    rows::Compared,
    side::Side,
    spill::RowSpill,
    table::{DiffTally, Table},
};
use crate::{
    batch::Column,
    error::{Error, Result},
    location::Location,
    readback::ReadOptions,
};

/// The column by which rows of two exports are told to be the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiffBy {
    /// The datapoint's id: for exports of one dataset version, or versions that keep their ids.
    #[default]
    Id,
    /// The datapoint's `order`: for dataset versions whose datapoints have new ids.
    Order,
    /// The datapoint's input: for versions that were put into another order as well.
    Input,
}

impl DiffBy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Id, Self::Order, Self::Input];

    /// The column.
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

/// How [`diff`] compares.
///
/// ```
/// use overmind_export::{DiffBy, DiffOptions};
/// let options = DiffOptions { by: DiffBy::Order, ..DiffOptions::default() };
/// assert_eq!(options.temp_dir, None);
/// ```
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// What tells rows apart; default [`DiffBy::Id`].
    pub by: DiffBy,
    /// Where the values of changed rows wait for their other side, in an unnamed file; default the
    /// system's temporary directory.
    pub temp_dir: Option<PathBuf>,
    /// Set it from another thread to end the comparison soon, with [`Error::Interrupted`].
    pub stop: Arc<AtomicBool>,
    /// Bytes of the [largest value](ReadOptions::max_value_bytes) to accept.
    pub max_value_bytes: usize,
}

impl Default for DiffOptions {
    fn default() -> Self {
        let max_value_bytes = ReadOptions::MAX_VALUE_BYTES;
        Self { by: DiffBy::default(), temp_dir: None, stop: Arc::default(), max_value_bytes }
    }
}

/// What [`diff`] counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiffSummary {
    /// Rows of the second export that the first does not have.
    pub added: u64,
    /// Rows of the first that the second does not have.
    pub removed: u64,
    /// Rows that both have and that are not equal.
    pub changed: u64,
    /// Rows that are equal.
    pub unchanged: u64,
    /// The columns that were compared, each with the number of changed rows that differ in it.
    pub columns: BTreeMap<Column, u64>,
    /// What told rows apart.
    pub by: DiffBy,
    /// Keys that both exports have.
    pub shared_keys: u64,
    /// The first export.
    pub before: DiffSide,
    /// The second.
    pub after: DiffSide,
}

impl DiffSummary {
    /// Whether no row was added, removed or changed.
    pub fn is_equal(&self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }
}

/// One of the two exports that were compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiffSide {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Rows whose key another of its rows has too.
    pub repeated_keys: u64,
    /// Rows without a key: it is null.
    pub without_key: u64,
    /// Columns that the other one does not have, and that were not compared.
    pub only_here: Vec<Column>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// The second export has it and the first does not.
    Added,
    /// The first has it and the second does not.
    Removed,
    /// Both have it, and its columns differ.
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

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// How.
    pub kind: DifferenceKind,
    /// Its key: the id, the order in decimal, or the JSON text of the input; none for null.
    pub key: Option<String>,
    /// The row as the first export has it; none when it was added.
    pub before: Option<DifferenceRow>,
    /// The row as the second export has it; none when it was removed.
    pub after: Option<DifferenceRow>,
}

/// One side of a [`Difference`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DifferenceRow {
    /// Its id, where the export has that column.
    pub id: Option<String>,
    /// Its values as JSON texts, `null` among them: of a changed row those of the columns that
    /// differ, else of all columns that the export has.
    pub values: Vec<(Column, String)>,
}

/// Two exports that were compared, and how to see what differs.
#[derive(Debug)]
pub struct Diff {
    summary: DiffSummary,
    before: Side,
    after: Side,
    tables: [Table; 2],
    compared: Compared,
    temp_dir: PathBuf,
}

/// Compares two exports, each a directory with its manifest or a single file, in any two formats, on
/// disk or in an object store.
///
/// Rows with the same key are one row. Where several rows of a side share a key, equal rows are
/// paired first; when one is left on each side it is that row, changed, and any others are removed
/// and added. Rows whose key is null are paired with equal rows only. Columns that one side lacks are
/// not compared, and neither is `id` when rows are told apart by another column. The order of the
/// rows alone is no difference.
///
/// It holds 64 bytes for each row of both, and reads both to their end. Blocks until then: in async
/// code, use a thread for blocking work.
///
/// # Errors
/// [`Error::Damaged`] when an export is incomplete, cannot be read, or is not what was recorded when
/// it was written; [`Error::Usage`] when one lacks the key's column; [`Error::Io`] or [`Error::Store`]
/// when a place cannot be looked at.
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
    let reading =
        ReadOptions { max_value_bytes: options.max_value_bytes, ..ReadOptions::default() };
    let open = |place| Side::open(place, options.stop.clone(), reading.clone());
    let (before, after) = (open(before)?, open(after)?);
    let compared = compared(&before, &after, options.by)?;
    let mut tables = [Table::default(), Table::default()];
    let mut rows = [0; 2];
    for ((side, table), rows) in [&before, &after].into_iter().zip(&mut tables).zip(&mut rows) {
        *rows = gather(side, &compared, table)?;
    }
    let [table, other] = &mut tables;
    let tally = table::compare(table, other);
    let summary = summary(tally, options.by, &compared, [&before, &after], rows);
    let temp_dir = options.temp_dir.unwrap_or_else(std::env::temp_dir);
    Ok(Diff { summary, before, after, tables, compared, temp_dir })
}

/// Which columns both have; what an empty JSON Lines file has cannot be known, and does not matter.
fn compared(before: &Side, after: &Side, by: DiffBy) -> Result<Compared> {
    let key = by.column();
    for side in [before, after] {
        if let Some(columns) = side.columns().filter(|columns| !columns.contains(&key)) {
            let (place, columns) = (side.place(), names(columns));
            return Err(Error::Usage(format!(
                "{place} has no column {key} to tell its rows apart by, only {columns}"
            )));
        }
    }
    let has = |side: &Side, column: &Column| side.columns().is_none_or(|it| it.contains(column));
    let columns = Column::ALL.into_iter().filter(|column| {
        ![key, Column::Id].contains(column) && has(before, column) && has(after, column)
    });
    Ok(Compared { key, columns: columns.collect() })
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ")
}

fn gather(side: &Side, compared: &Compared, table: &mut Table) -> Result<u64> {
    if let Some(rows) = side.rows()
        && !table.reserve(rows)
    {
        let path = side.place();
        return Err(Error::Usage(format!("there is no memory for the {rows} rows of {path}")));
    }
    let mut count = 0;
    side.scan(|rows| {
        for row in 0..rows.len() {
            table.push(rows.entry(compared, row));
        }
        count += rows.len() as u64;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
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
        }
    };
    DiffSummary {
        added: tally.added,
        removed: tally.removed,
        changed: tally.changed,
        unchanged: tally.unchanged,
        columns: compared.columns.iter().copied().zip(tally.columns).collect(),
        by,
        shared_keys: tally.shared_keys,
        before: described(0),
        after: described(1),
    }
}

impl Diff {
    /// What was counted.
    pub fn summary(&self) -> &DiffSummary {
        &self.summary
    }

    /// Reads both exports again and shows what differs: removed rows in the first one's order, then
    /// added and changed rows in the second one's. With a limit, so many of each kind.
    ///
    /// Values of changed rows wait on disk, in the [temporary directory](DiffOptions::temp_dir). Blocks.
    ///
    /// # Errors
    /// What `visit` returns; as [`diff`]; and [`Error::Damaged`] when an export is not any more what
    /// it was when it was compared.
    pub fn differences(
        self,
        limit: Option<u64>,
        visit: impl FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        let Self { summary, before, after, tables, compared, temp_dir } = self;
        let wanted = |count: u64| limit.map_or(count, |limit| limit.min(count));
        let wanted = WantedRows {
            added: wanted(summary.added),
            removed: wanted(summary.removed),
            changed: wanted(summary.changed),
            all: limit.is_none(),
        };
        let [first, second] = tables;
        let mut replay = Replay { compared, wanted, first, second, visit };
        let waiting = replay.first_side(&before, RowSpill::new(temp_dir))?;
        replay.second_side(&after, waiting)
    }
}
