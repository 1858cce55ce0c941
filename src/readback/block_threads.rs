//! Parses several blocks of lines at the same time, and returns what a function makes of their batches in the order of
//! the lines.
//!
//! ```text
//!                ┌─► thread: parse ─► map ─┐
//! read a block ──┼─► thread: parse ─► map ─┼─► next()
//! (one at a time)└─► thread: parse ─► map ─┘
//! ```
//!
//! A thread reads a block while no other thread reads, and parses it while others read on. Memory is bounded in bytes:
//! no block is read while those that the caller has not taken are too large. The block that the caller waits for is
//! exempt.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::{ahead::ReadAhead, line_block::LineBlock, unit_threads::MapBatch, watched::Watched};
use crate::{
    error::{Result, panics::caught},
    tasks::Worker,
};

/// Blocks ahead of the caller for each thread: one that is parsed, one that waits.
const BLOCKS_AHEAD: usize = 2;

/// What the threads do, in errors.
const PARSER: &str = "the parser";

/// Reads blocks in the order of the lines. It returns nothing after an error.
pub(super) type ReadBlocks = dyn Iterator<Item = Result<LineBlock>> + Send;

/// The results of all blocks of a file, in order. Its threads end soon after it is dropped.
pub(super) struct BlockThreads<T> {
    shared: Arc<BlockQueue<T>>,
    started: bool,
    threads: usize,
}

struct BlockQueue<T> {
    blocks: Mutex<Box<ReadBlocks>>,
    map: Box<MapBatch<T>>,
    /// Number of blocks ahead of the caller, and bytes of blocks and results that the caller has not taken.
    ahead: usize,
    ahead_bytes: usize,
    state: Watched<BlockState<T>>,
}

struct BlockState<T> {
    /// Number of the blocks that the caller has taken.
    taken: usize,
    /// The blocks that were read and not taken. A block has no result while it is parsed.
    results: VecDeque<BlockResult<T>>,
    /// Bytes of these blocks and results.
    bytes: usize,
    /// Whether the last block was read.
    ended: bool,
    stopped: bool,
}

struct BlockResult<T> {
    result: Option<Result<T>>,
    bytes: usize,
}

impl<T: Send + 'static> BlockThreads<T> {
    /// Prepares the threads. They start when the first result is wanted.
    pub(super) fn new(
        blocks: Box<ReadBlocks>,
        ahead: ReadAhead,
        map: impl Fn(arrow_array::RecordBatch) -> Result<(T, usize)> + Send + Sync + 'static,
    ) -> Self {
        let state = BlockState {
            taken: 0,
            results: VecDeque::new(),
            bytes: 0,
            ended: false,
            stopped: false,
        };
        let shared = BlockQueue {
            blocks: Mutex::new(blocks),
            map: Box::new(map),
            ahead: ahead.threads * BLOCKS_AHEAD,
            ahead_bytes: ahead.bytes,
            state: Watched::new(state),
        };
        Self { shared: Arc::new(shared), started: false, threads: ahead.threads }
    }

    fn start(&mut self) -> Result<()> {
        self.started = true;
        for started in 0..self.threads {
            let shared = self.shared.clone();
            let thread = Worker::start("parse", PARSER, move || shared.work());
            // Fewer threads are only slower.
            if let Err(error) = thread
                && started == 0
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Option<T>> {
        if !self.started {
            self.start()?;
        }
        let mut state = self.shared.state.lock();
        loop {
            match state.results.pop_front() {
                Some(BlockResult { result: Some(result), bytes }) => {
                    state.taken += 1;
                    state.bytes -= bytes;
                    self.shared.state.wake();
                    return result.map(Some);
                }
                Some(parsing) => state.results.push_front(parsing),
                None if state.ended || state.stopped => return Ok(None),
                None => {}
            }
            state = self.shared.state.wait(state);
        }
    }
}

impl<T: Send + 'static> Iterator for BlockThreads<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.is_err() {
            // After an error the iterator returns no more results.
            self.shared.stop();
        }
        taken.transpose()
    }
}

impl<T> Drop for BlockThreads<T> {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl<T> BlockQueue<T> {
    fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.results.clear();
        self.state.wake();
    }

    /// Reads and parses blocks until none is left.
    fn work(&self) {
        while let Some((number, block)) = self.read() {
            let parsed = caught(PARSER, || block.parse().and_then(&self.map));
            let mut state = self.state.lock();
            if let Some(own) = state.block(number) {
                let (result, bytes) = match parsed {
                    Ok((result, bytes)) => (Ok(result), bytes),
                    Err(error) => (Err(error), 0),
                };
                let before = std::mem::replace(&mut own.bytes, bytes);
                own.result = Some(result);
                state.bytes = state.bytes - before + bytes;
            }
            self.state.wake();
        }
    }

    /// Waits for its turn and for room, and reads the next block. Returns it with its number.
    fn read(&self) -> Option<(usize, LineBlock)> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state.lock();
        while !state.stopped && !state.results.is_empty() && !self.has_room(&state) {
            state = self.state.wait(state);
        }
        if state.stopped || state.ended {
            return None;
        }
        drop(state);
        let block = caught(PARSER, || blocks.next().transpose());
        let mut state = self.state.lock();
        if state.stopped {
            return None;
        }
        let (result, block) = match block {
            Ok(Some(block)) => (None, Some(block)),
            Ok(None) => {
                state.ended = true;
                self.state.wake();
                return None;
            }
            Err(error) => {
                state.ended = true;
                (Some(Err(error)), None)
            }
        };
        let bytes = block.as_ref().map_or(0, LineBlock::bytes);
        state.bytes += bytes;
        state.results.push_back(BlockResult { result, bytes });
        let number = state.taken + state.results.len() - 1;
        self.state.wake();
        Some((number, block?))
    }

    fn has_room(&self, state: &BlockState<T>) -> bool {
        state.results.len() < self.ahead && state.bytes < self.ahead_bytes
    }
}

impl<T> BlockState<T> {
    /// Returns the block with this number, unless the caller wants no more results.
    fn block(&mut self, number: usize) -> Option<&mut BlockResult<T>> {
        self.results.get_mut(number.checked_sub(self.taken)?)
    }
}

#[cfg(test)]
mod tests;
