//! The first pass: reads both sides and fills their tables.

use std::ops::ControlFlow;

use super::{
    lockstep,
    rows::Compared,
    side::{ScannedBatch, Side},
    table::{Table, TableEntry},
};
use crate::{
    batch::Column,
    error::{Error, Result},
    text::grouped,
};

/// What was counted, besides the rows in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Gathered {
    /// Number of rows of each side.
    pub(super) rows: [u64; 2],
    /// Number of equal rows that both sides have, and that are in no table.
    pub(super) equal: u64,
    /// Number of rows that differ only in JSON columns and whose values were compared, and of these the equal ones.
    pub(super) judged: u64,
    pub(super) respelled: u64,
}

/// Reads both sides. If both have distinct ids, rows at about the same place in both are compared at once.
pub(super) fn gather(
    sides: [&Side; 2],
    compared: &Compared,
    tables: &mut [Table; 2],
) -> Result<Gathered> {
    if compared.key == Column::Id && sides.iter().all(|side| side.has_distinct_ids()) {
        return lockstep::gather(sides, compared, tables);
    }
    let mut gathered = Gathered::default();
    for ((side, table), rows) in sides.into_iter().zip(tables).zip(&mut gathered.rows) {
        *rows = gather_one(side, compared, table)?;
    }
    Ok(gathered)
}

/// Reads a side into its table. Returns the number of rows.
pub(super) fn gather_one(side: &Side, compared: &Compared, table: &mut Table) -> Result<u64> {
    if let Some(rows) = side.rows()
        && !table.reserve(rows)
    {
        let (rows, path) = (grouped(rows), side.place());
        return Err(Error::Usage(format!("not enough memory for the {rows} rows of {path}")));
    }
    let mut count = 0;
    let entries = entries_of(compared);
    side.scan(
        move |batch| entries(&batch),
        |entries| {
            count += entries.len() as u64;
            table.extend(&entries);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(count)
}

/// Returns a function that computes the entries of a batch, and their size in bytes.
pub(super) fn entries_of(
    compared: &Compared,
) -> impl Fn(&ScannedBatch) -> Result<(Vec<TableEntry>, usize)> + Clone + Send + Sync + 'static {
    let compared = compared.clone();
    move |batch| {
        let rows = batch.rows()?;
        let entries: Vec<_> = (0..rows.len()).map(|row| rows.entry(&compared, row)).collect();
        let bytes = size_of_val(entries.as_slice());
        Ok((entries, bytes))
    }
}
