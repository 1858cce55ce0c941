//! The threads of a transformation: blocks of rows in, decisions about their rows out, in the order of the blocks.
//!
//! The threads are the stage's own, and not those of the encoders. Encoders get record batches, whose cuts depend only
//! on the rows that are kept, so the decision comes before. An evaluation that does not end can also block its thread
//! forever, and nothing may wait for such a thread: the stage leaves it alone and returns an error. The thread that
//! takes the results watches the time. So no thread of its own is needed.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
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
    options::{ShapeFailure, Shaper, Verdict, endless},
};
use crate::{
    client::Row,
    error::{Error, Result, panics::message},
};

/// How long an evaluation may continue after it was asked to stop: 1 s. Only a single long operation does not see the
/// request.
const GRACE: Duration = Duration::from_secs(1);
/// How often the times of the running evaluations are looked at.
const POLL: Duration = Duration::from_millis(50);

/// Rows that are transformed together.
pub(crate) trait RowBlock: Send + 'static {
    /// Number of the block, for errors.
    fn number(&self) -> u64;
    /// The rows, in order.
    fn rows(&self) -> impl Iterator<Item = Row<'_>>;
}

/// A block, and which of its rows are kept.
#[derive(Debug)]
pub(crate) struct Shaped<B> {
    pub(crate) block: B,
    /// One value for each row.
    pub(crate) kept: Vec<bool>,
    /// Number of rows that are left out because an expression failed.
    pub(crate) failed: u64,
}

/// A running transformation.
pub(crate) struct Stage<B> {
    shared: Arc<StageShared<B>>,
    done: mpsc::Receiver<(u64, Result<Shaped<B>>)>,
    /// Results that wait for an earlier one, by number of their block in the stage.
    early: BTreeMap<u64, Result<Shaped<B>>>,
    submitted: u64,
    taken: u64,
    /// Number of blocks that can be in the stage.
    most: u64,
}

struct StageShared<B> {
    shaper: Arc<Shaper>,
    queue: Mutex<StageQueue<B>>,
    /// Wakes a thread: a block was submitted, or the stage is closed.
    filled: Condvar,
    /// The evaluations, one for each thread.
    slots: Vec<EvaluationSlot>,
}

struct StageQueue<B> {
    blocks: VecDeque<(u64, B)>,
    is_closed: bool,
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
    block: u64,
    row: u64,
    id: Uuid,
    since: Instant,
}

impl Evaluation {
    fn failed(self, failure: ShapeFailure) -> Error {
        let ShapeFailure { option, why, stopped } = failure;
        Error::Row { page: self.block, row: self.row, id: self.id, option, why, stopped }
    }
}

impl<B: RowBlock> Stage<B> {
    /// Starts this many threads, or fewer if the system allows no more.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread.
    pub(crate) fn start(shaper: Arc<Shaper>, threads: usize) -> Result<Self> {
        let queue = Mutex::new(StageQueue { blocks: VecDeque::new(), is_closed: false });
        let slots = (0..threads.max(1)).map(|_| EvaluationSlot::default()).collect();
        let shared = Arc::new(StageShared { shaper, queue, filled: Condvar::new(), slots });
        let (sender, done) = mpsc::channel();
        let mut running = 0;
        for slot in 0..shared.slots.len() {
            let (shared, sender) = (shared.clone(), sender.clone());
            let thread = thread::Builder::new().name("transform".to_owned()).stack_size(STACK);
            match thread.spawn(move || shared.serve(slot, &sender)) {
                Ok(_) => running += 1,
                // Fewer threads give the same rows.
                Err(_) if running > 0 => break,
                Err(error) => return Err(Error::no_thread(error)),
            }
        }
        // A running block and a waiting one for each thread.
        let most = 2 * running;
        Ok(Self { shared, done, early: BTreeMap::new(), submitted: 0, taken: 0, most })
    }

    /// Whether every submitted block has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.submitted == self.taken
    }

    /// Whether a result should be taken before the next block is submitted.
    pub(crate) fn is_full(&self) -> bool {
        self.submitted - self.taken >= self.most
    }

    /// Submits the next block.
    pub(crate) fn submit(&mut self, block: B) {
        self.shared.queue().blocks.push_back((self.submitted, block));
        self.submitted += 1;
        self.shared.filled.notify_one();
    }

    /// Waits for the oldest block; `None` if every submitted block has been taken.
    ///
    /// # Errors
    /// [`Error::Row`] for the first row that failed, or that did not end in time.
    pub(crate) fn take(&mut self) -> Result<Option<Shaped<B>>> {
        if self.is_empty() {
            return Ok(None);
        }
        loop {
            if let Some(done) = self.early.remove(&self.taken) {
                self.taken += 1;
                return done.map(Some);
            }
            match self.done.recv_timeout(POLL) {
                Ok((block, done)) => drop(self.early.insert(block, done)),
                Err(RecvTimeoutError::Timeout) => self.watch()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Internal("a transformation stopped".to_owned()));
                }
            }
        }
    }

    /// Asks evaluations that take too long to stop. Returns the error of one that does not.
    fn watch(&self) -> Result<()> {
        let timeout = self.shared.shaper.timeout();
        for slot in &self.shared.slots {
            let running = slot.running();
            let Some(evaluation) = *running else { continue };
            let elapsed = evaluation.since.elapsed();
            if elapsed >= timeout.saturating_add(GRACE) {
                let failure =
                    ShapeFailure { option: "where", why: endless(timeout), stopped: true };
                return Err(evaluation.failed(failure));
            }
            if elapsed >= timeout {
                // While the lock is held, the thread cannot begin another row.
                slot.stop.store(true, Relaxed);
            }
        }
        Ok(())
    }
}

impl<B> Drop for Stage<B> {
    /// Lets the threads end. Does not wait for them: one may be in an evaluation that never ends.
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_closed = true;
        queue.blocks.clear();
        drop(queue);
        self.shared.filled.notify_all();
        for slot in &self.shared.slots {
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
}

impl<B: RowBlock> StageShared<B> {
    fn serve(&self, slot: usize, done: &mpsc::Sender<(u64, Result<Shaped<B>>)>) {
        let Some(slot) = self.slots.get(slot) else { return };
        while let Some((number, block)) = self.next() {
            let shaped = catch_unwind(AssertUnwindSafe(|| self.shape(slot, block)));
            slot.end();
            let shaped = shaped.unwrap_or_else(|payload| {
                Err(Error::panicked("a transformation", message(&*payload)))
            });
            if done.send((number, shaped)).is_err() {
                return;
            }
        }
    }

    fn next(&self) -> Option<(u64, B)> {
        let mut queue = self.queue();
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(block) = queue.blocks.pop_front() {
                return Some(block);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn shape(&self, slot: &EvaluationSlot, block: B) -> Result<Shaped<B>> {
        let (mut kept, mut failed) = (Vec::new(), 0);
        for (index, row) in block.rows().enumerate() {
            let (since, number) = (Instant::now(), index as u64 + 1);
            let evaluation = Evaluation { block: block.number(), row: number, id: row.id, since };
            slot.begin(evaluation);
            let verdict = self.shaper.decide(&row, &slot.stop)?;
            slot.end();
            let verdict = verdict.map_err(|failure| evaluation.failed(failure))?;
            kept.push(verdict == Verdict::Keep);
            failed += u64::from(verdict == Verdict::Failed);
        }
        Ok(Shaped { block, kept, failed })
    }
}

impl EvaluationSlot {
    fn running(&self) -> MutexGuard<'_, Option<Evaluation>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, evaluation: Evaluation) {
        let mut running = self.running();
        self.stop.store(false, Relaxed);
        *running = Some(evaluation);
    }

    fn end(&self) {
        *self.running() = None;
    }
}
