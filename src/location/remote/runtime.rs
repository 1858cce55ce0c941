//! The runtime that requests to stores run on: one thread, made when the first store is used.
//!
//! It is the process's own and never the caller's: blocking calls then work with and without a runtime
//! around, and a lock is renewed for as long as the process lives. Waiting never drives a runtime, so
//! that it cannot panic within one.

use std::sync::{OnceLock, mpsc};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use crate::error::{Error, Result};

static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();

/// Starts a future and does not wait for it.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<JoinHandle<T>> {
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(1).thread_name("store").enable_all().build()
    });
    match runtime {
        Ok(runtime) => Ok(runtime.spawn(future)),
        Err(error) => Err(Error::Internal(format!("starting a thread for the store: {error}"))),
    }
}

/// Runs a future to its end and blocks this thread until then.
pub(crate) fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    spawn(async move {
        // Nobody waits any more when the receiver is gone.
        drop(sender.send(future.await));
    })?;
    receiver.recv().map_err(|_| Error::Internal("a request to the store stopped".to_owned()))
}
