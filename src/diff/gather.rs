//! The first pass: reads both sides and fills their tables.

use std::ops::ControlFlow;

use super::{
    entries::{Gathered, entries_of},
    lockstep,
    rows::Compared,
    side::Side,
    table::Table,
};
use crate::{
    batch::Column,
    error::{Error, Result},
    text::grouped,
};

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
