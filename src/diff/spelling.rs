//! Counts the changed rows that differ only in the spelling of their JSON.
//!
//! Reads both sides again, until the rows whose differing columns are all JSON have been read. The entries of these rows
//! keep a hash of their values, so that memory does not grow.

use std::{
    mem,
    ops::ControlFlow,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    entries::entries_of,
    rows::Compared,
    side::{ScannedBatch, Side},
    table::{ColumnSet, Table},
};
use crate::error::Result;

/// Returns the number of changed rows whose values are equal. `rows` is the number of changed rows that differ only in
/// JSON columns.
pub(super) fn count_respelled(
    sides: [&Side; 2],
    tables: &mut [Table; 2],
    compared: &Compared,
    rows: u64,
) -> Result<u64> {
    if rows == 0 {
        return Ok(0);
    }
    for (side, table) in sides.into_iter().zip(tables.iter_mut()) {
        keep_values(side, table, compared, rows)?;
    }
    let [first, second] = tables;
    Ok(first.take_equal_values(second))
}

/// Stores the hashes of the values of `rows` changed rows in the table.
fn keep_values(side: &Side, table: &mut Table, compared: &Compared, rows: u64) -> Result<()> {
    // The threads that decode look rows up and hash their values. This thread stores the hashes.
    let shared = Arc::new(RwLock::new(mem::take(table)));
    let (entries, json) = (entries_of(compared), compared.json_columns());
    let (looking_up, compared) = (shared.clone(), compared.clone());
    let hashes = move |batch: ScannedBatch| {
        let (entries, _) = entries(&batch)?;
        let found: Vec<_> = {
            let table = looking_up.read().unwrap_or_else(PoisonError::into_inner);
            let entries = entries.iter().enumerate();
            let changed = entries.filter_map(|(row, entry)| Some((row, table.changed(entry)?)));
            changed.filter(|(_, found)| found.columns.is_within(json)).collect()
        };
        let rows = batch.rows()?;
        let hash = |columns: ColumnSet, row: usize| {
            rows.value_hash(columns.indices().map(|index| compared.columns[index]), row)
        };
        let hashes: Vec<_> =
            found.into_iter().map(|(row, found)| (found, hash(found.columns, row))).collect();
        let bytes = size_of_val(hashes.as_slice());
        Ok((hashes, bytes))
    };
    let mut left = rows;
    let scanned = side.scan(hashes, |hashes| {
        let mut table = shared.write().unwrap_or_else(PoisonError::into_inner);
        // Of several equal rows, one is the changed row: its hash is that of the others.
        let new = hashes.into_iter().filter(|(found, hash)| table.store_value(*found, *hash));
        left = left.saturating_sub(new.count() as u64);
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    *table = mem::take(&mut *shared.write().unwrap_or_else(PoisonError::into_inner));
    scanned?;
    if left == 0 { Ok(()) } else { Err(side.changed()) }
}
