//! The runtime for requests to stores: one thread, started when the first store is used.
//!
//! The process owns this runtime, and it is never the caller's. So blocking calls work inside and outside
//! another runtime, and a lock is renewed as long as the process lives. Waiting for a result does not drive
//! a runtime, so it cannot panic inside one.

use std::{
    future::pending,
    io,
    panic::AssertUnwindSafe,
    sync::{OnceLock, mpsc},
    thread,
};

use futures::FutureExt;
use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};

use crate::{
    clock,
    error::{Error, Result, panics},
};

static RUNTIME: OnceLock<io::Result<Handle>> = OnceLock::new();

/// Starts a future on the stores' runtime and does not wait for it.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<JoinHandle<T>> {
    // The store library panics if it signs a request with such a clock.
    if let Some(fault) = clock::fault() {
        let text = format!("{fault}: set it, or stores refuse requests");
        return Err(Error::Configuration(text));
    }
    match RUNTIME.get_or_init(start) {
        Ok(runtime) => Ok(runtime.spawn(future)),
        // An `io::Error` cannot be cloned, but its error number can.
        Err(error) => Err(Error::no_thread(match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        })),
    }
}

/// Starts a runtime on its own thread. tokio's multi-thread runtime panics if it cannot start a thread.
fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(pending::<()>());
    thread::Builder::new().name("store".to_owned()).spawn(run)?;
    Ok(handle)
}

/// Runs a future on the stores' runtime and blocks this thread until it ends.
pub(crate) fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    spawn(async move {
        let ended = AssertUnwindSafe(future).catch_unwind().await;
        // If the receiver is dropped, no thread waits for the result.
        drop(sender.send(ended));
    })?;
    match receiver.recv() {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(payload)) => {
            Err(Error::panicked("a request to the store", panics::message(&*payload)))
        }
        Err(_) => Err(Error::Internal("a request to the store stopped".to_owned())),
    }
}
