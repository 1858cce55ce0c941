//! The units of a file that can be decoded independently of each other: the row groups of a Parquet file, the batches of
//! an Arrow file. Reads them one after the other; `unit_threads.rs` reads several at the same time.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{damaged, guarded};
use crate::{
    error::{Error, Result},
    location::Location,
    text::grouped,
};

/// The batches of one unit.
pub(super) type UnitBatches = Box<dyn Iterator<Item = Result<RecordBatch>>>;

/// An opened file, by units. Threads share it.
pub(crate) trait ReadUnits: Send + Sync {
    /// The place of the file.
    fn path(&self) -> &Location;

    /// Number of units.
    fn count(&self) -> usize;

    /// Number of rows that the file declares, if it declares one.
    fn rows(&self) -> Option<u64>;

    /// Number of units that can be read at the same time without reading bytes twice.
    fn at_once(&self) -> usize;

    /// Checks a unit against the limits, before any of its values is decoded.
    fn check(&self, unit: usize) -> Result<CheckedUnit>;

    /// Decodes a unit that was checked.
    fn batches(self: Arc<Self>, unit: usize, checked: CheckedUnit) -> Result<UnitBatches>;
}

/// What is known of a unit before it is decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckedUnit {
    /// Memory that decoding needs, in bytes.
    pub(super) bytes: u64,
    /// Number of rows to decode at once.
    pub(super) rows: usize,
}

/// Compares the rows that were read with the number that the file declares.
#[derive(Debug)]
pub(super) struct DeclaredRows {
    left: Option<u64>,
}

impl DeclaredRows {
    pub(super) fn of(units: &dyn ReadUnits) -> Self {
        Self { left: units.rows() }
    }

    /// Compares nothing.
    pub(super) fn none() -> Self {
        Self { left: None }
    }

    pub(super) fn take(&mut self, rows: u64, path: &Location) -> Result<()> {
        if let Some(left) = &mut self.left {
            let more = || damaged(path, "it has more rows than its footer declares".into());
            *left = left.checked_sub(rows).ok_or_else(more)?;
        }
        Ok(())
    }

    /// Returns the error of a file that ended too early.
    pub(super) fn missing(&mut self, path: &Location) -> Option<Error> {
        let left = self.left.take().filter(|left| *left > 0)?;
        Some(damaged(path, format!("{} of its rows are missing", grouped(left)).into()))
    }
}

/// Decodes one unit after the other, when the caller wants the next batch.
pub(super) struct SequentialUnits {
    units: Arc<dyn ReadUnits>,
    declared: DeclaredRows,
    next: usize,
    open: Option<UnitBatches>,
}

impl SequentialUnits {
    pub(super) fn new(units: Arc<dyn ReadUnits>) -> Self {
        let declared = DeclaredRows::of(&*units);
        Self { units, declared, next: 0, open: None }
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                let batch = batch?;
                self.declared.take(batch.num_rows() as u64, self.units.path())?;
                return Ok(Some(batch));
            }
            self.open = None;
            if self.next >= self.units.count() {
                return self.declared.missing(self.units.path()).map_or(Ok(None), Err);
            }
            let checked = self.units.check(self.next)?;
            self.open = Some(self.units.clone().batches(self.next, checked)?);
            self.next += 1;
        }
    }
}

impl Iterator for SequentialUnits {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.units.path().clone();
        let batch = guarded(&path, || self.batch());
        if batch.is_err() {
            // After an error the iterator returns no more batches.
            (self.open, self.next, self.declared) = (None, usize::MAX, DeclaredRows::none());
        }
        batch.transpose()
    }
}
