//! Threads that encode side by side: jobs go in, each gives a [`Ticket`], results are taken in order.
//!
//! Whoever submits waits while as many jobs wait as there are threads: what is held is bounded, and
//! there is work for a thread that becomes free. Never reorders results: a ticket is its job's.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use crate::error::{Error, Result};

/// A pool whose threads each keep a `W`: what jobs can use again, such as a codec's tables.
pub(super) struct Pool<W> {
    shared: Arc<Shared<W>>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// The result of a job, once it is there.
pub(super) struct Ticket<T>(mpsc::Receiver<Result<T>>);

type Job<W> = Box<dyn FnOnce(&mut W) + Send>;

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    /// For the threads: a job came, or the end.
    filled: Condvar,
    /// For whoever submits: a job was taken.
    drained: Condvar,
}

struct Queue<W> {
    jobs: VecDeque<Job<W>>,
    closed: bool,
}

impl<W: Default + Send + 'static> Pool<W> {
    pub(super) fn new(threads: usize) -> Result<Self> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), closed: false });
        let shared = Shared { queue, filled: Condvar::new(), drained: Condvar::new() };
        let mut pool = Self { shared: Arc::new(shared), threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let shared = pool.shared.clone();
            let thread = thread::Builder::new()
                .name("encode".to_owned())
                .spawn(move || shared.serve())
                .map_err(|error| Error::Internal(format!("starting an encoder: {error}")))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
    ) -> Ticket<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let job = Box::new(move |workspace: &mut W| {
            // Nobody waits for a result after a failure elsewhere.
            drop(sender.send(work(workspace)));
        });
        let mut queue = self.shared.queue();
        while queue.jobs.len() >= self.threads.len() {
            queue = self.shared.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.filled.notify_one();
        Ticket(receiver)
    }
}

impl<T> Ticket<T> {
    /// Waits for the job and gives its result.
    pub(super) fn wait(self) -> Result<T> {
        self.0.recv().map_err(|_| Error::Internal("an encoder panicked".to_owned()))?
    }
}

impl<W: Default> Shared<W> {
    fn serve(&self) {
        let mut workspace = W::default();
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                self.drained.notify_one();
                // A panic is told by the ticket; the thread is needed for the jobs that follow.
                if catch_unwind(AssertUnwindSafe(|| job(&mut workspace))).is_err() {
                    workspace = W::default();
                }
                queue = self.queue();
            } else if queue.closed {
                return;
            } else {
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl<W> Shared<W> {
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
mod tests {
    use super::*;

    #[test]
    fn results_are_their_jobs_at_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::<u64>::new(threads).unwrap();
            let mut tickets = VecDeque::new();
            let mut seen = Vec::new();
            for job in 0..200_u64 {
                tickets.push_back(pool.submit(move |done| {
                    *done += 1;
                    Ok(job * job)
                }));
                if tickets.len() > 20 {
                    seen.extend(tickets.pop_front().map(|ticket| ticket.wait().unwrap()));
                }
            }
            seen.extend(tickets.into_iter().map(|ticket| ticket.wait().unwrap()));
            assert_eq!(seen, (0..200).map(|job| job * job).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_jobs_wait_than_there_are_threads() {
        let pool = Pool::<()>::new(3).unwrap();
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let gated = || {
            let gate = gate.clone();
            pool.submit(move |()| {
                drop(gate.lock());
                Ok(())
            })
        };
        let mut blocked: Vec<_> = (0..3).map(|_| gated()).collect();
        while !pool.shared.queue().jobs.is_empty() {
            thread::yield_now();
        }
        blocked.extend((0..3).map(|_| gated()));
        assert_eq!(pool.shared.queue().jobs.len(), 3);
        thread::scope(|scope| {
            let seventh = scope.spawn(gated);
            // Whenever it runs, it finds the queue full until the gate opens.
            assert_eq!(pool.shared.queue().jobs.len(), 3);
            drop(held);
            blocked.push(seventh.join().unwrap());
        });
        for ticket in blocked {
            ticket.wait().unwrap();
        }
    }

    #[test]
    fn a_job_that_fails_or_panics_is_told_and_the_others_go_on() {
        let pool = Pool::<()>::new(1).unwrap();
        let failed = pool.submit(|()| Err::<(), _>(Error::Internal("no room".to_owned())));
        let panicked = pool.submit(|()| -> Result<()> { panic!("told, not hidden") });
        let fine = pool.submit(|()| Ok(7));
        assert!(failed.wait().unwrap_err().to_string().contains("no room"));
        assert!(panicked.wait().unwrap_err().to_string().contains("an encoder panicked"));
        assert_eq!(fine.wait().unwrap(), 7);
    }

    #[test]
    fn a_pool_that_is_dropped_early_leaves_no_thread_behind() {
        let pool = Pool::<()>::new(4).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        for _ in 0..50 {
            drop(pool.submit(|()| Ok(())));
        }
        drop(pool);
        assert!(shared.upgrade().is_none());
    }
}
