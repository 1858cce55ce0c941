//! Work on other threads. A thread that cannot be started and work that panics are errors here, and
//! nobody waits forever for either.
//!
//! Short work goes to tokio's pool. Work that waits for other tasks gets a thread of its own: where the
//! system starts no further thread, tokio queues work behind what the pool's threads do now, and what
//! waits there for queued work would wait forever.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{JoinError, spawn_blocking},
};

use crate::error::{Error, Result, panics::message};

/// Does short work on a thread of tokio's pool. `what` is what it does, for the error of a panic.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    // Without a thread tokio panics here.
    match catch_unwind(AssertUnwindSafe(|| spawn_blocking(work))) {
        Ok(handle) => handle.await.map_err(|error| stopped(what, error)),
        Err(payload) => Err(Error::panicked(what, message(&*payload))),
    }
}

/// Work on a thread of its own. Dropping this does not end the work.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    what: &'static str,
    done: oneshot::Receiver<thread::Result<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread of this name; `what` is what it does, for the error of a panic.
    ///
    /// # Errors
    /// [`Error::Io`] when the system starts no thread.
    pub(crate) fn start(
        name: &str,
        what: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self> {
        let (sender, done) = oneshot::channel();
        // Timers and the like look for the runtime of the thread that makes them.
        let runtime = Handle::try_current().ok();
        let run = move || {
            let _entered = runtime.as_ref().map(Handle::enter);
            // Nobody waits any more when the receiver is gone.
            drop(sender.send(catch_unwind(AssertUnwindSafe(work))));
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(Error::no_thread)?;
        Ok(Self { what, done })
    }

    /// Waits for the result. Cancel safe: it can be called again.
    pub(crate) async fn join(&mut self) -> Result<T> {
        match (&mut self.done).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(payload)) => Err(Error::panicked(self.what, message(&*payload))),
            Err(_) => Err(Error::Internal(format!("{} stopped", self.what))),
        }
    }
}

/// The error of a task that did not come to its end.
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
    async fn a_panic_elsewhere_is_an_error_that_quotes_it() {
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

    #[tokio::test]
    async fn a_worker_has_the_runtime_of_its_starter() {
        let work = || tokio::time::sleep(std::time::Duration::ZERO);
        Worker::start("timer", "making a timer", work).unwrap().join().await.unwrap().await;
    }

    #[test]
    fn waiting_work_leaves_the_pool_to_others() {
        // One thread, as where the system allows no more.
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
