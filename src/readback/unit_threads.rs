//! Decodes several units of a file at the same time, and returns what a function makes of their batches in the order of
//! the rows.
//!
//! ```text
//! unit 1 ─► thread ─► map ─► queue ─┐
//! unit 2 ─► thread ─► map ─► queue ─┼─► next()
//! unit 3 ─► (when a thread is free) ┘
//! ```
//!
//! Memory is bounded in bytes: by the results that wait, and by the units that are being decoded. The unit and the result
//! that the caller waits for are exempt, so that it always goes on.

use std::{collections::VecDeque, sync::Arc};

use arrow_array::RecordBatch;

use super::{
    ahead::ReadAhead,
    guarded,
    units::{CheckedUnit, DeclaredRows, ReadUnits},
    watched::Watched,
};
use crate::{
    error::{Result, panics::caught},
    tasks::Worker,
};

/// Memory of the units that are decoded ahead, in bytes: 64 MiB. A row group of common rows needs 10 MiB.
const DECODING_BYTES: u64 = 64 << 20;
/// Units ahead of the caller for each thread: one that is decoded, one that waits.
const UNITS_AHEAD: usize = 2;

/// Makes a result of a batch, and says how many bytes of memory it takes.
pub(super) type MapBatch<T> = dyn Fn(RecordBatch) -> Result<(T, usize)> + Send + Sync;

/// The results of all batches of a file, in order. Its threads end soon after it is dropped.
pub(super) struct UnitThreads<T> {
    shared: Arc<UnitQueues<T>>,
    declared: DeclaredRows,
    started: bool,
    threads: usize,
}

struct UnitQueues<T> {
    units: Arc<dyn ReadUnits>,
    map: Box<MapBatch<T>>,
    /// Results that wait for the caller, in bytes.
    waiting_bytes: usize,
    state: Watched<QueueState<T>>,
}

struct QueueState<T> {
    /// The unit whose results the caller takes.
    current: usize,
    /// The next unit for a free thread.
    next: usize,
    /// The units from `current` to `next`.
    queues: VecDeque<UnitQueue<T>>,
    /// Bytes of the results in the queues.
    waiting: usize,
    /// Bytes of the units that are being decoded.
    decoding: u64,
    stopped: bool,
}

struct UnitQueue<T> {
    results: VecDeque<Result<MappedBatch<T>>>,
    ended: bool,
}

struct MappedBatch<T> {
    result: T,
    rows: u64,
    bytes: usize,
}

impl<T: Send + 'static> UnitThreads<T> {
    /// Prepares the threads. They start when the first result is wanted.
    pub(super) fn new(
        units: Arc<dyn ReadUnits>,
        ahead: ReadAhead,
        map: impl Fn(RecordBatch) -> Result<(T, usize)> + Send + Sync + 'static,
    ) -> Self {
        let declared = DeclaredRows::of(&*units);
        let threads = ahead.threads.min(units.count());
        let state = QueueState {
            current: 0,
            next: 0,
            queues: VecDeque::new(),
            waiting: 0,
            decoding: 0,
            stopped: false,
        };
        let state = Watched::new(state);
        let (map, waiting_bytes) = (Box::new(map), ahead.bytes);
        let shared = Arc::new(UnitQueues { units, map, waiting_bytes, state });
        Self { shared, declared, started: false, threads }
    }

    fn start(&mut self) -> Result<()> {
        self.started = true;
        for started in 0..self.threads {
            let (shared, ahead) = (self.shared.clone(), self.threads * UNITS_AHEAD);
            let thread = Worker::start("decode", "the decoder", move || shared.work(ahead));
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
            if state.current >= self.shared.units.count() || state.stopped {
                return self.declared.missing(self.shared.units.path()).map_or(Ok(None), Err);
            }
            if let Some(queue) = state.queues.front_mut() {
                if let Some(result) = queue.results.pop_front() {
                    let MappedBatch { result, rows, bytes } = result?;
                    state.waiting -= bytes;
                    self.shared.state.wake();
                    self.declared.take(rows, self.shared.units.path())?;
                    return Ok(Some(result));
                }
                if queue.ended {
                    state.queues.pop_front();
                    state.current += 1;
                    self.shared.state.wake();
                    continue;
                }
            }
            state = self.shared.state.wait(state);
        }
    }
}

impl<T: Send + 'static> Iterator for UnitThreads<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.is_err() {
            // After an error the iterator returns no more results.
            self.shared.stop();
            self.declared = DeclaredRows::none();
        }
        taken.transpose()
    }
}

impl<T> Drop for UnitThreads<T> {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl<T> UnitQueues<T> {
    fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.queues.clear();
        self.state.wake();
    }

    /// Decodes units until none is left. At most `ahead` units are begun before the caller has taken them.
    fn work(&self, ahead: usize) {
        while let Some(unit) = self.begin(ahead) {
            let decoded = caught("the decoder", || self.decode(unit));
            let mut state = self.state.lock();
            if let Some(queue) = state.queue(unit) {
                queue.results.extend(decoded.err().map(Err));
                queue.ended = true;
            }
            self.state.wake();
        }
    }

    fn begin(&self, ahead: usize) -> Option<usize> {
        let mut state = self.state.lock();
        loop {
            if state.stopped || state.next >= self.units.count() {
                return None;
            }
            if state.next < state.current + ahead {
                let unit = state.next;
                state.next += 1;
                state.queues.push_back(UnitQueue { results: VecDeque::new(), ended: false });
                return Some(unit);
            }
            state = self.state.wait(state);
        }
    }

    /// Decodes one unit into its queue.
    fn decode(&self, unit: usize) -> Result<()> {
        let path = self.units.path();
        let checked = guarded(path, || self.units.check(unit))?;
        let Some(_permit) = DecodePermit::wait(self, unit, checked) else { return Ok(()) };
        let mut batches = guarded(path, || self.units.clone().batches(unit, checked))?;
        while let Some(batch) = guarded(path, || batches.next().transpose())? {
            let rows = batch.num_rows() as u64;
            let (result, bytes) = (self.map)(batch)?;
            if !self.push(unit, MappedBatch { result, rows, bytes }) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for room, and adds a result. Returns whether the caller still wants results.
    fn push(&self, unit: usize, mapped: MappedBatch<T>) -> bool {
        let mut state = self.state.lock();
        while !state.stopped
            && !state.is_wanted(unit)
            && state.waiting.saturating_add(mapped.bytes) > self.waiting_bytes
        {
            state = self.state.wait(state);
        }
        if state.stopped {
            return false;
        }
        state.waiting += mapped.bytes;
        if let Some(queue) = state.queue(unit) {
            queue.results.push_back(Ok(mapped));
        }
        self.state.wake();
        true
    }
}

impl<T> QueueState<T> {
    /// Whether the caller waits for the next result of a unit.
    fn is_wanted(&self, unit: usize) -> bool {
        unit == self.current && self.queues.front().is_some_and(|queue| queue.results.is_empty())
    }

    fn queue(&mut self, unit: usize) -> Option<&mut UnitQueue<T>> {
        self.queues.get_mut(unit.checked_sub(self.current)?)
    }
}

/// The right to use memory for a unit.
struct DecodePermit<'a, T> {
    queues: &'a UnitQueues<T>,
    bytes: u64,
}

impl<'a, T> DecodePermit<'a, T> {
    /// Waits until there is room for the unit. `None` if the caller wants no more results.
    fn wait(queues: &'a UnitQueues<T>, unit: usize, checked: CheckedUnit) -> Option<Self> {
        let bytes = checked.bytes;
        let mut state = queues.state.lock();
        while !state.stopped
            && unit != state.current
            && state.decoding.saturating_add(bytes) > DECODING_BYTES
        {
            state = queues.state.wait(state);
        }
        if state.stopped {
            return None;
        }
        state.decoding = state.decoding.saturating_add(bytes);
        Some(Self { queues, bytes })
    }
}

impl<T> Drop for DecodePermit<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queues.state.lock();
        state.decoding = state.decoding.saturating_sub(self.bytes);
        self.queues.state.wake();
    }
}

#[cfg(test)]
mod tests;
