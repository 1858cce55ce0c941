//! Builds the column chunks of a nested column: one for each column that has no columns in it.
//!
//! The levels are computed when rows are added. The pool encodes and compresses each chunk as a whole, with the column
//! writer of the `parquet` crate, when the row group ends. The bytes depend on the rows and their batches only.

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;
use parquet::{
    arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, compute_leaves},
    errors::Result as ParquetResult,
    file::writer::SerializedRowGroupWriter,
};

use super::{codec::Workspace, failed};
use crate::{
    error::Result,
    sink::{
        array_bytes,
        checksum::Sealing,
        pool::{Pool, PoolTicket},
    },
};

/// The chunks of a nested column in the open row group.
pub(super) struct NestedChunks {
    field: FieldRef,
    leaves: Vec<LeafChunk>,
    bytes: usize,
}

/// The values of a column without columns in it, and their levels.
struct LeafChunk {
    writer: ArrowColumnWriter,
    values: Vec<ArrowLeafColumn>,
}

/// Complete chunks. The pool may still be encoding them.
pub(super) struct ClosedNested(Vec<PoolTicket<ArrowColumnChunk>>);

impl NestedChunks {
    pub(super) fn new(field: FieldRef, writers: Vec<ArrowColumnWriter>) -> Self {
        let leaf = |writer| LeafChunk { writer, values: Vec::new() };
        Self { field, leaves: writers.into_iter().map(leaf).collect(), bytes: 0 }
    }

    pub(super) fn write(&mut self, array: &ArrayRef) -> ParquetResult<()> {
        self.bytes += array_bytes(array);
        for (leaf, values) in self.leaves.iter_mut().zip(compute_leaves(&self.field, array)?) {
            leaf.values.push(values);
        }
        Ok(())
    }

    pub(super) fn close(self, pool: &Pool<Workspace>) -> ClosedNested {
        let cost = self.bytes / self.leaves.len().max(1);
        let submit = |LeafChunk { mut writer, values }| {
            pool.submit(cost, move |_| {
                let written = values.iter().try_for_each(|values| writer.write(values));
                written.and_then(|()| writer.close()).map_err(failed)
            })
        };
        ClosedNested(self.leaves.into_iter().map(submit).collect())
    }
}

impl ClosedNested {
    /// Waits until the chunks are encoded, and appends them to their row group.
    pub(super) fn append(
        self,
        row_group: &mut SerializedRowGroupWriter<'_, Sealing>,
    ) -> Result<()> {
        self.0
            .into_iter()
            .try_for_each(|chunk| chunk.wait()?.append_to_row_group(row_group).map_err(failed))
    }
}
