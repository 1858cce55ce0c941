//! The threads of a transformation: blocks of rows in, decisions about their rows and the values of computed columns
//! out, in the order of the blocks.
//!
//! The threads are the stage's own, and not those of the encoders. Encoders get record batches, whose cuts depend only
//! on the rows that are kept, so the decision comes before. An evaluation that does not end can also block its thread
//! forever, and nothing may wait for such a thread: the stage leaves it alone and returns an error. One more thread
//! watches the time of the evaluations.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    budget::STACK,
    dedupe::HashKey,
    edits::NotJson,
    expression::EvaluationFailure,
    row_block::{RowBlock, StageLimits},
    shaped::Shaped,
    shaper::{ShapedRow, Shaper},
};
use crate::{
    batch::ComputedValue,
    error::{Error, Result, panics::caught},
};

/// Most bytes of the computed values of a block, and of what replacements add to its rows: 256 MiB.
const MOST_COMPUTED: usize = 256 << 20;

/// Bytes of computed values in the blocks that nobody has taken yet, above which only the oldest block goes on: 64 MiB.
const MOST_UNTAKEN: usize = 64 << 20;
/// Bytes of computed values that a thread counts together: 64 KiB.
const COUNTED_TOGETHER: usize = 64 << 10;

/// How long an evaluation may continue after it was asked to stop: 1 s. Only a single long operation does not see the
/// request.
const GRACE: Duration = Duration::from_secs(1);
/// How often the times of the running evaluations are looked at, and how often a waiting caller is asked whether it
/// still waits.
const POLL: Duration = Duration::from_millis(50);

/// A running transformation.
pub(crate) struct Stage<B> {
    shared: Arc<StageShared<B>>,
    done: mpsc::Receiver<StageResult<B>>,
    /// Results that wait for an earlier one, by number of their block in the stage.
    early: BTreeMap<u64, Result<Shaped<B>>>,
    /// Number of blocks that were taken.
    taken: u64,
    /// Sizes of the blocks in the stage, the oldest first.
    sizes: VecDeque<usize>,
    /// Number of blocks that can be in the stage.
    most: usize,
    /// Bytes of blocks that can be in the stage.
    most_bytes: usize,
}

type StageResult<B> = (u64, Result<Shaped<B>>);

struct StageShared<B> {
    shaper: Arc<Shaper>,
    /// Whether rows are only explained.
    explains: bool,
    hash_key: HashKey,
    queue: Mutex<StageQueue<B>>,
    /// Wakes a thread: a block was submitted, or the stage is closed.
    filled: Condvar,
    /// Wakes the threads that wait until a block is taken: one was taken, or the stage is closed.
    taken: Condvar,
    /// Wakes the watching thread: the stage is closed.
    ended: Condvar,
    /// Nobody needs a result any more. Unlike the request of a slot, it is never taken back.
    is_closed: AtomicBool,
    /// The evaluations, one for each thread.
    slots: Vec<EvaluationSlot>,
}

struct StageQueue<B> {
    submitted: u64,
    /// Number of blocks that were taken.
    taken: u64,
    /// Bytes of computed values in the blocks that were not taken.
    computed: usize,
    #[cfg(test)]
    most_computed: usize,
    blocks: VecDeque<(u64, B)>,
}

/// The evaluation of a thread, as the watching thread sees it.
#[derive(Default)]
struct EvaluationSlot {
    running: Mutex<Option<Evaluation>>,
    stop: AtomicBool,
}

/// A row that is being evaluated.
#[derive(Debug, Clone, Copy)]
struct Evaluation {
    /// Number of the block in the stage.
    block: u64,
    /// Number of the block, of the row in it, and id of the row.
    place: (u64, u64, Uuid),
    /// Number of the expression.
    expression: usize,
    begun: Instant,
    /// Time that the watching thread has seen the evaluation run.
    seen: Duration,
    /// Whether the error of this evaluation was sent in its place.
    is_left: bool,
}

impl<B: RowBlock> Stage<B> {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread.
    pub(crate) fn start(shaper: Arc<Shaper>, limits: StageLimits) -> Result<Self> {
        Self::started(shaper, limits, false)
    }

    /// Starts the threads of a stage that only explains what becomes of rows.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread.
    pub(crate) fn explaining(shaper: Arc<Shaper>, limits: StageLimits) -> Result<Self> {
        Self::started(shaper, limits, true)
    }

    fn started(shaper: Arc<Shaper>, limits: StageLimits, explains: bool) -> Result<Self> {
        let has_expressions = shaper.has_expressions();
        let hash_key = limits.hash_key.or(shaper.hash_key()).map_or_else(HashKey::random, Ok)?;
        let shared = Arc::new(StageShared {
            shaper,
            explains,
            hash_key,
            queue: Mutex::new(StageQueue {
                submitted: 0,
                taken: 0,
                computed: 0,
                #[cfg(test)]
                most_computed: 0,
                blocks: VecDeque::new(),
            }),
            filled: Condvar::new(),
            taken: Condvar::new(),
            ended: Condvar::new(),
            is_closed: AtomicBool::new(false),
            slots: (0..limits.threads.max(1)).map(|_| EvaluationSlot::default()).collect(),
        });
        let (sender, done) = mpsc::channel();
        // If a thread cannot start, dropping this value ends the others.
        let mut stage = Self {
            shared: shared.clone(),
            done,
            early: BTreeMap::new(),
            taken: 0,
            sizes: VecDeque::new(),
            most: 0,
            most_bytes: limits.bytes,
        };
        for slot in 0..shared.slots.len() {
            let (shared, sender) = (shared.clone(), sender.clone());
            let mut thread = thread::Builder::new().name("transform".to_owned());
            if has_expressions {
                thread = thread.stack_size(STACK);
            }
            match thread.spawn(move || shared.serve(slot, &sender)) {
                // A running block and a waiting one for each thread.
                Ok(_) => stage.most += 2,
                // Fewer threads give the same rows.
                Err(_) if slot > 0 => break,
                Err(error) => return Err(Error::no_thread(error)),
            }
        }
        if has_expressions {
            let thread = thread::Builder::new().name("transform-watch".to_owned());
            thread.spawn(move || shared.watch(&sender)).map_err(Error::no_thread)?;
        }
        Ok(stage)
    }

    /// Whether every submitted block has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Whether a block can be submitted before the next result is taken. An empty stage has room for a block of any
    /// size.
    pub(crate) fn has_room(&self, block: &B) -> bool {
        let held = self.sizes.iter().fold(block.size(), |sum, size| sum.saturating_add(*size));
        self.is_empty() || self.sizes.len() < self.most && held <= self.most_bytes
    }

    /// Submits the next block.
    pub(crate) fn submit(&mut self, block: B) {
        self.sizes.push_back(block.size());
        let mut queue = self.shared.queue();
        let number = queue.submitted;
        queue.submitted += 1;
        queue.blocks.push_back((number, block));
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits for the oldest block. `None` if every submitted block has been taken, or if `is_stopped` returns true
    /// before the block is finished.
    ///
    /// # Errors
    /// [`Error::Row`] for the first row that failed, or that did not end in time.
    pub(crate) fn take(&mut self, is_stopped: impl Fn() -> bool) -> Result<Option<Shaped<B>>> {
        while !self.is_empty() {
            if let Some(done) = self.early.remove(&self.taken) {
                self.taken += 1;
                self.sizes.pop_front();
                let computed = done.as_ref().map_or(0, |shaped| shaped.computed);
                self.shared.forget(self.taken, computed);
                return done.map(Some);
            }
            match self.done.recv_timeout(if is_stopped() { Duration::ZERO } else { POLL }) {
                // A block can be finished after its error was sent in its place: the first result counts.
                Ok((block, done)) => drop(self.early.entry(block).or_insert(done)),
                Err(RecvTimeoutError::Timeout) if is_stopped() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Internal("a transformation stopped".to_owned()));
                }
            }
        }
        Ok(None)
    }
}

impl<B> Drop for Stage<B> {
    /// Lets the threads end. Does not wait for them: one may be in an evaluation that never ends.
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        self.shared.is_closed.store(true, Relaxed);
        queue.blocks.clear();
        drop(queue);
        self.shared.filled.notify_all();
        self.shared.taken.notify_all();
        self.shared.ended.notify_all();
        for slot in &self.shared.slots {
            // A thread that begins a row has either seen that the stage is closed, or is stopped here.
            let _running = slot.running();
            slot.stop.store(true, Relaxed);
        }
    }
}

impl<B> StageShared<B> {
    fn queue(&self) -> MutexGuard<'_, StageQueue<B>> {
        // Blocks are evaluated without the lock, so a panic cannot leave the queue in an invalid state.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Relaxed)
    }

    /// Counts bytes of computed values of a block. While there are too many, waits until the block is the oldest: that
    /// one never waits, so the others always go on.
    fn count(&self, block: u64, bytes: usize) {
        let mut queue = self.queue();
        queue.computed = queue.computed.saturating_add(bytes);
        #[cfg(test)]
        {
            queue.most_computed = queue.most_computed.max(queue.computed);
        }
        while queue.computed > MOST_UNTAKEN && block != queue.taken && !self.is_closed() {
            queue = self.taken.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Counts a block that was taken, and its bytes no longer.
    fn forget(&self, taken: u64, computed: usize) {
        let mut queue = self.queue();
        queue.taken = taken;
        queue.computed = queue.computed.saturating_sub(computed);
        drop(queue);
        self.taken.notify_all();
    }
}

impl<B: RowBlock> StageShared<B> {
    fn serve(&self, slot: usize, done: &mpsc::Sender<StageResult<B>>) {
        let Some(slot) = self.slots.get(slot) else { return };
        while let Some((number, block)) = self.next() {
            let shaped = caught("a transformation", || self.shape(slot, number, block));
            slot.end();
            if done.send((number, shaped)).is_err() {
                return;
            }
        }
    }

    fn next(&self) -> Option<(u64, B)> {
        let mut queue = self.queue();
        loop {
            if self.is_closed() {
                return None;
            }
            if let Some(block) = queue.blocks.pop_front() {
                return Some(block);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn shape(&self, slot: &EvaluationSlot, number: u64, mut block: B) -> Result<Shaped<B>> {
        if let Err(NotJson) = block.replace(&self.shaper) {
            let place = (block.number(), block.first_row(), Uuid::nil());
            return Err(self.shaper.error(place, usize::MAX, NotJson.into()));
        }
        let (mut kept, mut splits, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut builders, mut next) = (self.shaper.builders(), ShapedRow::default());
        let no_rows = vec![0; self.shaper.replaced_paths()];
        let mut replaced = vec![no_rows; self.shaper.splits().count().max(1)];
        let (mut edited, mut computed) = (Vec::new(), 0_usize);
        let (mut lines, mut explanations) = (Vec::new(), Vec::new());
        let (mut hashes, mut counted) = (Vec::new(), 0_usize);
        for (index, row) in block.rows().enumerate() {
            if self.is_closed() {
                return Err(Error::Internal("the transformation is closed".to_owned()));
            }
            let place = (block.number(), block.first_row() + index as u64, row.id);
            if self.shaper.has_expressions() {
                slot.begin(number, place, &self.is_closed);
            }
            let begin = |expression| slot.reach(expression);
            if self.explains {
                self.shaper.look(&row, &mut next.found);
                let explained = self.shaper.explain(&row, &slot.stop, &begin, self.hash_key);
                match (explained, slot.end()) {
                    (Ok(explanation), _) => explanations.push(explanation),
                    (Err(failure), last) => return Err(self.shaper.error(place, last, failure)),
                }
                kept.push(false);
                continue;
            }
            let verdict = self.shaper.shape(&row, &slot.stop, &begin, &mut next, self.hash_key);
            let (verdict, last) = match (verdict, slot.end()) {
                (Ok(verdict), last) => (verdict, last),
                (Err(failure), last) => return Err(self.shaper.error(place, last, failure)),
            };
            kept.push(verdict.is_kept);
            if verdict.has_failed {
                failed.push(index);
            }
            if verdict.is_kept {
                computed += next.values.iter().map(ComputedValue::size).sum::<usize>();
                computed += next.edited.as_ref().map_or(0, |edited| edited.added(&row));
                if computed > MOST_COMPUTED {
                    let why = "the computed columns of a page, and what is added to its rows, have at most 256 MiB"
                        .to_owned();
                    return Err(self.shaper.error(place, last, EvaluationFailure::Row(why)));
                }
                splits.push(verdict.split);
                if computed - counted >= COUNTED_TOGETHER {
                    self.count(number, computed - counted);
                    counted = computed;
                }
                if self.shaper.maps() {
                    lines.resize(kept.len() - 1, 0);
                    lines.push(next.values.len());
                }
                // There is one value for each column, or any number for the column of lines.
                let columns = builders.len().max(1);
                for (index, value) in next.values.drain(..).enumerate() {
                    if let Some(builder) = builders.get_mut(index % columns) {
                        builder.push(value)?;
                    }
                }
                if self.shaper.compares() {
                    hashes.push(next.hash);
                }
                let in_columns = block.replaced(index);
                if !in_columns.is_empty() {
                    next.edited.get_or_insert_default().add_paths(in_columns);
                }
                if self.shaper.has_replacements() {
                    let paths = next.edited.iter().flat_map(|edited| edited.paths().iter());
                    paths.for_each(|path| replaced[verdict.split][path] += 1);
                    edited.push(next.edited.take());
                }
            }
        }
        self.count(number, computed - counted);
        let columns = builders.iter_mut().map(|builder| builder.finish()).collect::<Result<_>>()?;
        let (duplicates, missing) = (Vec::new(), self.shaper.missing(next.found, block.rows()));
        Ok(Shaped {
            block,
            kept,
            splits,
            failed,
            columns,
            lines,
            edited,
            replaced,
            missing,
            compares: self.shaper.compares(),
            hashes,
            duplicates,
            computed,
            explanations,
        })
    }

    /// Asks evaluations that take too long to stop, until the stage is closed. Sends the error of an evaluation that
    /// does not stop.
    fn watch(&self, done: &mpsc::Sender<StageResult<B>>) {
        let mut looked = Instant::now();
        let mut queue = self.queue();
        while !self.is_closed() {
            queue = match self.ended.wait_timeout(queue, POLL) {
                Ok((queue, _)) => queue,
                Err(poisoned) => poisoned.into_inner().0,
            };
            // While the process or the machine was stopped, no evaluation ran.
            let ran = looked.elapsed().min(2 * POLL);
            looked = Instant::now();
            for slot in &self.slots {
                if let Some((block, error)) = self.look(slot, ran) {
                    drop(done.send((block, Err(error))));
                }
            }
        }
    }

    /// Adds the time that an evaluation ran. Returns its error when it does not stop.
    fn look(&self, slot: &EvaluationSlot, ran: Duration) -> Option<(u64, Error)> {
        let timeout = self.shaper.timeout();
        let mut running = slot.running();
        let evaluation = running.as_mut()?;
        // The evaluation can have begun after the last look.
        evaluation.seen += ran.min(evaluation.begun.elapsed());
        if evaluation.seen >= timeout {
            // While the lock is held, the thread cannot begin another row.
            slot.stop.store(true, Relaxed);
        }
        if evaluation.is_left || evaluation.seen < timeout.saturating_add(GRACE) {
            return None;
        }
        evaluation.is_left = true;
        let Evaluation { block, place, expression, .. } = *evaluation;
        Some((block, self.shaper.error(place, expression, EvaluationFailure::Stopped)))
    }
}

impl EvaluationSlot {
    fn running(&self) -> MutexGuard<'_, Option<Evaluation>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the evaluation of a row. Takes a request to stop back, unless the stage is closed.
    fn begin(&self, block: u64, place: (u64, u64, Uuid), is_closed: &AtomicBool) {
        let mut running = self.running();
        self.stop.store(is_closed.load(Relaxed), Relaxed);
        let (begun, seen) = (Instant::now(), Duration::ZERO);
        *running = Some(Evaluation { block, place, expression: 0, begun, seen, is_left: false });
    }

    /// Sets the expression that is evaluated now.
    fn reach(&self, expression: usize) {
        if let Some(evaluation) = self.running().as_mut() {
            evaluation.expression = expression;
        }
    }

    /// Ends the evaluation of a row. Returns the number of the last expression.
    fn end(&self) -> usize {
        self.running().take().map_or(0, |evaluation| evaluation.expression)
    }
}

#[cfg(test)]
mod tests;
