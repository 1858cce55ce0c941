//! A pool of encoder threads. Each submitted job returns a [`PoolTicket`], and results are taken in order.
//!
//! Back-pressure: submitting blocks while queued and running jobs use the whole byte budget. So memory is
//! bounded, and a free thread still finds a queued job. The encoder threads have a lower priority than the
//! threads that feed them. Results are never reordered: a ticket belongs to one job.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use crate::error::{Error, Result, panics::message};

/// Budget per thread for queued and running jobs, in bytes. 6 MiB is 1.5 times the largest usual job, an Arrow
/// batch of 4 MiB: every thread has a running job, and half of the threads have a queued one.
const THREAD_BYTES: usize = 6 << 20;
/// Minimum budget of all threads together, in bytes. 12 MiB is about twelve Parquet pages, which are smaller than
/// Arrow batches. With less, encoder threads ran out of jobs whenever the submitting thread, or the thread that
/// reads the network for it, had to wait for a processor. More has no effect.
const LEAST_BYTES: usize = 12 << 20;

/// Minimum limit for results that wait for an earlier result, in bytes of their jobs. The limit is also never
/// below the pool's budget.
const LEAST_RESULTS: usize = 64 << 20;

/// Niceness that an encoder thread adds to its own. It then gets a third of the processor time of a competing
/// thread with normal niceness. A higher value gains nothing and gives more time to other processes.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// A pool of threads. Each thread has a workspace `W` that jobs reuse, such as a codec's tables.
pub(super) struct Pool<W> {
    shared: Arc<PoolShared<W>>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Budget for queued and running jobs, in bytes.
    budget: usize,
}

/// The future result of a job.
pub(super) struct PoolTicket<T>(mpsc::Receiver<Result<T>>);

/// A pool whose results are taken in the order of the jobs. Results are overdue when too many of them wait.
pub(super) struct Ordered<W, T> {
    pool: Pool<W>,
    /// The tickets with the cost of their jobs in bytes. The size of a result is assumed to be the cost of its
    /// job.
    tickets: VecDeque<(usize, PoolTicket<T>)>,
    bytes: usize,
    most: usize,
}

struct PoolJob<W> {
    work: Box<dyn FnOnce(&mut W) + Send>,
    cost: usize,
}

struct PoolShared<W> {
    queue: Mutex<Queue<W>>,
    /// Wakes an encoder thread: a job was queued, or the pool is closed.
    filled: Condvar,
    /// Wakes a submitting thread: a job is done.
    drained: Condvar,
}

struct Queue<W> {
    jobs: VecDeque<PoolJob<W>>,
    /// Cost of the queued and running jobs, in bytes.
    in_flight: usize,
    closed: bool,
    /// Number of threads that wait to submit.
    #[cfg(test)]
    waiting: usize,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            jobs: VecDeque::new(),
            in_flight: 0,
            closed: false,
            #[cfg(test)]
            waiting: 0,
        }
    }
}

impl<W: Default + Send + 'static> Pool<W> {
    /// Starts a pool of this many threads, or of fewer if the system allows no more.
    pub(super) fn new(threads: usize) -> Result<Self> {
        Self::with(threads, |serve| thread::Builder::new().name("encode".to_owned()).spawn(serve))
    }

    fn with(
        threads: usize,
        mut start: impl FnMut(Box<dyn FnOnce() + Send>) -> io::Result<thread::JoinHandle<()>>,
    ) -> Result<Self> {
        let queue = Mutex::new(Queue::default());
        let shared = PoolShared { queue, filled: Condvar::new(), drained: Condvar::new() };
        let mut pool = Self { shared: Arc::new(shared), threads: Vec::new(), budget: 0 };
        for _ in 0..threads.max(1) {
            let shared = pool.shared.clone();
            match start(Box::new(move || shared.serve())) {
                Ok(thread) => pool.threads.push(thread),
                // Fewer threads give the same bytes.
                Err(_) if !pool.threads.is_empty() => break,
                Err(error) => return Err(Error::io("start", "an encoder thread")(error)),
            }
        }
        pool.budget = LEAST_BYTES.max(THREAD_BYTES * pool.threads.len());
        Ok(pool)
    }

    /// Queues a job that uses `cost` bytes, and blocks while the budget is used up.
    ///
    /// One job may exceed the budget, so that a job of any size runs.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        cost: usize,
        work: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
    ) -> PoolTicket<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = Box::new(move |workspace: &mut W| {
            let done = catch_unwind(AssertUnwindSafe(|| work(workspace)));
            let (result, panicked) = match done {
                Ok(result) => (result, None),
                Err(payload) => {
                    let error = Error::panicked("an encoder", message(&*payload));
                    (Err(error), Some(payload))
                }
            };
            // Sending fails if the caller has dropped the ticket after another failure.
            drop(sender.send(result));
            // Let the thread replace its workspace.
            if let Some(payload) = panicked {
                resume_unwind(payload);
            }
        });
        let mut queue = self.shared.queue();
        while queue.in_flight >= self.budget {
            #[cfg(test)]
            {
                queue.waiting += 1;
            }
            queue = self.shared.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
            #[cfg(test)]
            {
                queue.waiting -= 1;
            }
        }
        queue.in_flight += cost;
        queue.jobs.push_back(PoolJob { work, cost });
        drop(queue);
        self.shared.filled.notify_one();
        PoolTicket(receiver)
    }
}

impl<T> PoolTicket<T> {
    /// Waits for the job and returns its result.
    pub(super) fn wait(self) -> Result<T> {
        self.0.recv().map_err(|_| Error::Internal("an encoder stopped".to_owned()))?
    }
}

impl<W: Default + Send + 'static, T: Send + 'static> Ordered<W, T> {
    /// Starts a pool of this many threads. Per thread, up to `most` jobs can be unfinished or wait for an earlier
    /// result.
    pub(super) fn new(threads: usize, most: usize) -> Result<Self> {
        let pool = Pool::new(threads)?;
        let most = most * pool.threads.len();
        Ok(Self { pool, tickets: VecDeque::new(), bytes: 0, most })
    }

    /// Queues a job like [`Pool::submit`] and keeps its ticket.
    pub(super) fn submit(
        &mut self,
        cost: usize,
        work: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
    ) {
        self.tickets.push_back((cost, self.pool.submit(cost, work)));
        self.bytes += cost;
    }

    /// Waits for the oldest result and returns it, if the number or the bytes of the kept results exceed the
    /// limits.
    pub(super) fn overdue(&mut self) -> Option<Result<T>> {
        let most_bytes = self.pool.budget.max(LEAST_RESULTS);
        let overdue = self.tickets.len() > self.most || self.bytes > most_bytes;
        if overdue { self.oldest() } else { None }
    }

    /// Waits for the oldest result and returns it. `None` if there are no more jobs.
    pub(super) fn oldest(&mut self) -> Option<Result<T>> {
        let (cost, ticket) = self.tickets.pop_front()?;
        self.bytes -= cost;
        Some(ticket.wait())
    }
}

impl<W: Default> PoolShared<W> {
    fn serve(&self) {
        give_way();
        let mut workspace = W::default();
        let mut queue = self.queue();
        loop {
            if let Some(PoolJob { work, cost }) = queue.jobs.pop_front() {
                drop(queue);
                // The ticket reports a panic. Keep the thread for the following jobs.
                if catch_unwind(AssertUnwindSafe(|| work(&mut workspace))).is_err() {
                    workspace = W::default();
                }
                queue = self.queue();
                queue.in_flight -= cost;
                self.drained.notify_one();
            } else if queue.closed {
                return;
            } else {
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Lowers the priority of this thread, on systems where a thread has its own priority.
///
/// The threads that feed the encoders go first: if they had to wait for a processor, the encoders would run out of
/// jobs.
fn give_way() {
    #[cfg(target_os = "linux")]
    // If the system refuses, the result is the same, but takes a little longer.
    let _ = rustix::process::nice(NICE);
}

impl<W> PoolShared<W> {
    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        // Jobs run without the lock, so a panicking job cannot leave the queue in an invalid state.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Drop for Pool<W> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        // If the pool is dropped early, the caller does not want the remaining results.
        queue.jobs.clear();
        drop(queue);
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in a job does not end its thread, so joining cannot fail.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
