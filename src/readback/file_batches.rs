//! The batches of an opened file: decoded on the thread of the caller, or ahead of it on others.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{
    ReadOptions,
    ahead::{ReadAhead, bytes_of},
    block_threads::{BlockThreads, ReadBlocks},
    line_block::LineBlock,
    unit_threads::UnitThreads,
    units::{ReadUnits, SequentialUnits},
};
use crate::{error::Result, tasks::cores};

/// The batches of a file, before they are decoded.
pub(crate) enum FileBatches {
    /// Parquet and Arrow files have units that threads can decode at the same time.
    Units(Arc<dyn ReadUnits>),
    /// Lines of JSON are read one after the other, in blocks that threads can parse at the same time.
    Blocks(Box<ReadBlocks>),
    /// Lines of CSV are read one after the other.
    Lines(Box<dyn Iterator<Item = Result<RecordBatch>>>),
}

impl FileBatches {
    /// Returns the first batch of lines. `None` for a file without rows, and for a file whose columns are known
    /// without its rows.
    pub(crate) fn first_lines(&mut self) -> Option<Result<RecordBatch>> {
        match self {
            Self::Units(_) => None,
            Self::Blocks(blocks) => blocks.next().map(|block| block.and_then(LineBlock::parse)),
            Self::Lines(batches) => batches.next(),
        }
    }

    /// Decodes the batches in order, on this thread.
    pub(crate) fn in_order(self) -> Box<dyn Iterator<Item = Result<RecordBatch>>> {
        match self {
            Self::Units(units) => Box::new(SequentialUnits::new(units)),
            Self::Blocks(blocks) => {
                let batches = blocks.map(|block| block.and_then(LineBlock::parse));
                // A block that cannot be parsed ends the batches.
                Box::new(batches.scan(false, |has_failed, batch| {
                    let is_after = std::mem::replace(has_failed, *has_failed || batch.is_err());
                    (!is_after).then_some(batch)
                }))
            }
            Self::Lines(batches) => batches,
        }
    }

    /// Decodes the batches in order, several of them ahead of the caller on other threads.
    pub(crate) fn ahead(
        self,
        options: &ReadOptions,
    ) -> Box<dyn Iterator<Item = Result<RecordBatch>>> {
        self.mapped(options, |batch| {
            let bytes = bytes_of(&batch);
            Ok((batch, bytes))
        })
    }

    /// Decodes the batches ahead of the caller, and calls `map` for each of them on the same thread. `map` also returns
    /// the size of its result in memory, in bytes. The results have the order of the batches.
    pub(crate) fn mapped<T: Send + 'static>(
        self,
        options: &ReadOptions,
        map: impl Fn(RecordBatch) -> Result<(T, usize)> + Send + Sync + 'static,
    ) -> Box<dyn Iterator<Item = Result<T>>> {
        let threads = options.decode_threads.unwrap_or_else(cores);
        let units = match &self {
            Self::Units(units) => units.count(),
            _ => usize::MAX,
        };
        match threads.min(units) {
            0 | 1 => self.mapped_here(map),
            _ => self.mapped_ahead(ReadAhead { threads, ..ReadAhead::default() }, map),
        }
    }

    /// Decodes the batches and calls `map` on this thread.
    fn mapped_here<T: Send + 'static>(
        self,
        map: impl Fn(RecordBatch) -> Result<(T, usize)> + Send + Sync + 'static,
    ) -> Box<dyn Iterator<Item = Result<T>>> {
        let batches = self.in_order();
        Box::new(batches.map(move |batch| batch.and_then(&map).map(|(result, _)| result)))
    }

    /// Decodes the batches like [`mapped`](Self::mapped), on this number of other threads. Lines of CSV are always read on
    /// this thread.
    pub(crate) fn mapped_ahead<T: Send + 'static>(
        self,
        ahead: ReadAhead,
        map: impl Fn(RecordBatch) -> Result<(T, usize)> + Send + Sync + 'static,
    ) -> Box<dyn Iterator<Item = Result<T>>> {
        let batches = match self {
            Self::Units(units) => {
                let threads = ahead.threads.min(units.at_once());
                let ahead = ReadAhead { threads, ..ahead };
                return Box::new(UnitThreads::new(units, ahead, map));
            }
            Self::Blocks(blocks) => return Box::new(BlockThreads::new(blocks, ahead, map)),
            batches => batches.in_order(),
        };
        Box::new(batches.map(move |batch| batch.and_then(&map).map(|(result, _)| result)))
    }
}
