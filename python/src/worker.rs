//! Runs work of the library on a thread of its own, with a runtime of its own.
//!
//! A thread and a runtime for each call make the calls independent: of an event loop of the caller, of each other,
//! and of a fork between two calls.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use overmind_export::Error;
use tokio::{
    runtime::Builder,
    select,
    sync::oneshot::{self, Receiver, Sender},
};

use crate::errors::{interrupted, not_started};

/// Stops the work when it is dropped.
#[derive(Debug)]
pub(crate) struct Stopper {
    flag: Arc<AtomicBool>,
    #[expect(dead_code, reason = "its drop is the message")]
    sender: Sender<()>,
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.flag.store(true, Relaxed);
    }
}

/// The other end of a [`Stopper`], for the work.
#[derive(Debug)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    receiver: Receiver<()>,
}

impl Stop {
    /// Returns a stopper and its other end.
    pub(crate) fn pair() -> (Stopper, Self) {
        let (sender, receiver) = oneshot::channel();
        let flag = Arc::<AtomicBool>::default();
        (Stopper { flag: flag.clone(), sender }, Self { flag, receiver })
    }

    /// Returns a flag that is set when the work must stop, for work that blocks.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }

    /// Resolves when the work must stop.
    pub(crate) async fn requested(self) -> Error {
        // An error means that the stopper was dropped.
        drop(self.receiver.await);
        interrupted()
    }
}

/// Starts a thread.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(not_started("a thread"))
}

/// Runs a future to its end on this thread. Does not wait for blocking tasks that are still running.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(not_started("an event loop"))?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Runs a future to its end, or until `stop` is requested.
pub(crate) fn block_on_until<T>(
    future: impl Future<Output = Result<T, Error>>,
    stop: Stop,
) -> Result<T, Error> {
    block_on(async {
        let mut future = pin!(future);
        select! {
            biased;
            error = stop.requested() => Err(error),
            result = future.as_mut() => result,
        }
    })
}
