//! Threads that encode side by side: jobs go in, each gives a [`PoolTicket`], results are taken in order.
//!
//! Whoever submits waits while the jobs that wait or run hold the budget's bytes: what is held is
//! bounded, and there is work for a thread that becomes free. The threads give way to those that feed
//! them. Never reorders results: a ticket is its job's.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use crate::error::{Error, Result, panics::message};

/// Bytes of jobs that wait or run, for each thread: one and a half of the largest that are usual, an
/// Arrow batch of 4 MiB, so that every thread has one and half of them the next.
const THREAD_BYTES: usize = 6 << 20;
/// The same of all threads, at least: five Parquet pages, which are smaller. With less, threads ran dry
/// whenever whoever submits, or reads from the network for it, had to wait for a processor; with
/// more nothing changes.
const LEAST_BYTES: usize = 12 << 20;

/// Bytes of jobs whose results wait for one before them, at least; no less than may wait or run.
const LEAST_RESULTS: usize = 64 << 20;

/// What an encoder's thread adds to its niceness: it gets a third of the time of a thread that it
/// competes with. More changes nothing, and gives way further to other processes.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// A pool whose threads each keep a `W`: what jobs can use again, such as a codec's tables.
pub(super) struct Pool<W> {
    shared: Arc<PoolShared<W>>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Bytes that may wait or run.
    budget: usize,
}

/// The result of a job, once it is there.
pub(super) struct PoolTicket<T>(mpsc::Receiver<Result<T>>);

/// A pool whose results are taken in the order of their jobs, as soon as too many of them wait.
pub(super) struct Ordered<W, T> {
    pool: Pool<W>,
    /// With what the jobs cost, which their results are taken to hold.
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
    /// For the threads: a job came, or the end.
    filled: Condvar,
    /// For whoever submits: a job is done.
    drained: Condvar,
}

struct Queue<W> {
    jobs: VecDeque<PoolJob<W>>,
    /// What the jobs that wait or run cost.
    in_flight: usize,
    closed: bool,
    /// How many wait to submit.
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
    /// A pool of so many threads, or of as many as the system allows.
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
                // The bytes are the same with fewer.
                Err(_) if !pool.threads.is_empty() => break,
                Err(error) => return Err(Error::io("start", "a thread to encode on")(error)),
            }
        }
        pool.budget = LEAST_BYTES.max(THREAD_BYTES * pool.threads.len());
        Ok(pool)
    }

    /// Takes a job that holds `cost` bytes. The last one may exceed the budget: a job of any size runs.
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
            // Nobody waits for a result after a failure elsewhere.
            drop(sender.send(result));
            // The thread makes its workspace anew.
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
    /// Waits for the job and gives its result.
    pub(super) fn wait(self) -> Result<T> {
        self.0.recv().map_err(|_| Error::Internal("an encoder stopped".to_owned()))?
    }
}

impl<W: Default + Send + 'static, T: Send + 'static> Ordered<W, T> {
    /// Of so many threads; up to `most` results for each may wait for one before them.
    pub(super) fn new(threads: usize, most: usize) -> Result<Self> {
        let pool = Pool::new(threads)?;
        let most = most * pool.threads.len();
        Ok(Self { pool, tickets: VecDeque::new(), bytes: 0, most })
    }

    /// As [`Pool::submit`].
    pub(super) fn submit(
        &mut self,
        cost: usize,
        work: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
    ) {
        self.tickets.push_back((cost, self.pool.submit(cost, work)));
        self.bytes += cost;
    }

    /// The oldest result, if more or larger ones are held than should be.
    pub(super) fn overdue(&mut self) -> Option<Result<T>> {
        let most_bytes = self.pool.budget.max(LEAST_RESULTS);
        let overdue = self.tickets.len() > self.most || self.bytes > most_bytes;
        if overdue { self.oldest() } else { None }
    }

    /// The oldest result, if there is any.
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
                // A panic is told by the ticket; the thread is needed for the jobs that follow.
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

/// Lets the threads that feed the encoders go first, where a thread has a priority of its own: with
/// too few processors for all, encoders that went first would only run dry sooner.
fn give_way() {
    #[cfg(target_os = "linux")]
    // If it is refused, the work is the same and takes a little longer.
    let _ = rustix::process::nice(NICE);
}

impl<W> PoolShared<W> {
    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        // Jobs run outside the lock, so none can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Drop for Pool<W> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        // Whoever drops the pool early wants no results.
        queue.jobs.clear();
        drop(queue);
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // Jobs that panic do not end a thread.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
