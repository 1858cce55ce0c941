//! Work on other threads. A thread that cannot start, or work that panics, becomes an error. The caller
//! never waits forever.
//!
//! Short work runs on tokio's pool. Work that waits for other tasks gets its own thread. The reason: if the
//! system refuses new threads, tokio queues work behind the running tasks of its pool. A pool task that
//! waits for queued work would then wait forever.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, PoisonError},
    thread,
};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{JoinError, spawn_blocking},
};

use crate::error::{Error, Result, panics::message};

/// Runs short work on a thread of tokio's pool. `what` names the work, for the error message of a panic.
///
/// # Errors
/// [`Error::panicked`] when the work panics, or when tokio cannot start a thread.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    // Tokio panics here if it cannot start a thread.
    match catch_unwind(AssertUnwindSafe(|| spawn_blocking(work))) {
        Ok(handle) => handle.await.map_err(|error| stopped(what, error)),
        Err(payload) => Err(Error::panicked(what, message(&*payload))),
    }
}

/// Work that runs on its own thread. Dropping the `Worker` does not stop the work.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    what: &'static str,
    done: oneshot::Receiver<thread::Result<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread with this name. `what` names the work, for the error message of a panic.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread.
    pub(crate) fn start(
        name: &str,
        what: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self> {
        let (sender, done) = oneshot::channel();
        // Timers and sockets need the tokio runtime of the thread that creates them.
        let runtime = Handle::try_current().ok();
        let run = move || {
            let _entered = runtime.as_ref().map(Handle::enter);
            // Sending fails if the receiver was dropped. Then the result is not needed.
            drop(sender.send(catch_unwind(AssertUnwindSafe(work))));
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(Error::no_thread)?;
        Ok(Self { what, done })
    }

    /// Waits for the result. Cancel safe: the method can be called again.
    ///
    /// # Errors
    /// [`Error::panicked`] when the work panics.
    pub(crate) async fn join(&mut self) -> Result<T> {
        match (&mut self.done).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(payload)) => Err(Error::panicked(self.what, message(&*payload))),
            Err(_) => Err(Error::Internal(format!("{} stopped", self.what))),
        }
    }
}

/// Returns the number of threads for work that needs no more of them than cores, from 1 to 16.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(2, NonZeroUsize::get).clamp(1, 16)
}

/// Does the same work for each item, on as many threads as there are [`cores`], and returns the results in order. If the
/// system starts no further thread, those that run do all of the work. A panic of the work is one of the caller.
pub(crate) fn on_threads<T: Send, R: Send>(
    name: &str,
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let threads = cores().min(items.len());
    let waiting = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let runtime = Handle::try_current().ok();
    let run = || {
        let _entered = runtime.as_ref().map(Handle::enter);
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, item)) = next else { break };
            let result = catch_unwind(AssertUnwindSafe(|| work(item)));
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let started = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run);
            if started.is_err() {
                break;
            }
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result.unwrap_or_else(|it| resume_unwind(it))).collect()
}

/// Does other work on another thread, and own work on this one, at the same time. If the system starts no thread, the other
/// work is done first. A panic of either is one of the caller.
pub(crate) fn run_both<T: Send, R>(
    name: &str,
    other: impl Fn() -> T + Sync,
    own: impl FnOnce() -> R,
) -> (T, R) {
    let runtime = Handle::try_current().ok();
    let run = || {
        let _entered = runtime.as_ref().map(Handle::enter);
        other()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run);
        match thread {
            Ok(thread) => {
                let own = own();
                (thread.join().unwrap_or_else(|it| resume_unwind(it)), own)
            }
            Err(_) => (run(), own()),
        }
    })
}

/// Creates the error for a task that panicked or was cancelled.
pub(crate) fn stopped(what: &str, error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(payload) => Error::panicked(what, message(&*payload)),
        Err(_) => Error::Internal(format!("{what} was cancelled")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_on_another_thread_becomes_an_error() {
        let panics = || -> u8 { panic!("snap {}", 7) };
        let texts = [
            blocking("counting ids", panics).await.unwrap_err(),
            Worker::start("writer", "the writer", panics).unwrap().join().await.unwrap_err(),
            stopped("the paginator", tokio::spawn(async move { panics() }).await.unwrap_err()),
        ];
        assert_eq!(
            texts.map(|error| error.to_string()),
            [
                "internal error: counting ids panicked: snap 7",
                "internal error: the writer panicked: snap 7",
                "internal error: the paginator panicked: snap 7",
            ]
        );
    }

    #[test]
    fn results_of_threads_are_in_order() {
        let square = |number: u64| number * number;
        assert_eq!(
            on_threads("test", (0..100).collect(), square),
            (0..100).map(square).collect::<Vec<_>>()
        );
        assert!(on_threads("test", Vec::new(), square).is_empty());
        let panics = || on_threads("test", vec![1, 0, 2], |number: u64| 4 / number);
        assert!(catch_unwind(panics).is_err());
    }

    #[test]
    fn both_run_at_the_same_time() {
        // Each waits for the other.
        let both = std::sync::Barrier::new(2);
        let wait = || u8::from(both.wait().is_leader());
        let (other, own) = run_both("test", wait, wait);
        assert_eq!(other + own, 1);
        assert!(catch_unwind(|| run_both("test", || -> u8 { panic!("snap") }, || ())).is_err());
    }

    #[tokio::test]
    async fn worker_uses_the_runtime_of_its_starter() {
        let work = || tokio::time::sleep(std::time::Duration::ZERO);
        Worker::start("timer", "making a timer", work).unwrap().join().await.unwrap().await;
    }

    #[test]
    fn worker_does_not_block_the_pool() {
        // A pool with one thread, as on a system that allows no more.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (sender, receiver) = std::sync::mpsc::channel();
            let mut waits = Worker::start("writer", "the writer", move || receiver.recv()).unwrap();
            blocking("decoding", move || sender.send(7).unwrap()).await.unwrap();
            assert_eq!(waits.join().await.unwrap(), Ok(7));
        });
    }
}
