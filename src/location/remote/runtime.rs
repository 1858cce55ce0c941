//! The runtime that requests to stores run on: one thread, made when the first store is used.
//!
//! It is the process's own and never the caller's: blocking calls then work with and without a runtime
//! around, and a lock is renewed for as long as the process lives. Waiting never drives a runtime, so
//! that it cannot panic within one.

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

/// Starts a future and does not wait for it.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<JoinHandle<T>> {
    // The store's library panics when it is to sign a request then.
    if let Some(fault) = clock::fault() {
        let text = format!("{fault}: set it, stores refuse such requests");
        return Err(Error::Configuration(text));
    }
    match RUNTIME.get_or_init(start) {
        Ok(runtime) => Ok(runtime.spawn(future)),
        // The system's error cannot be cloned; its number can.
        Err(error) => Err(Error::no_thread(match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        })),
    }
}

/// A runtime on a thread of its own. tokio's kind with several threads panics where none can be started.
fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(pending::<()>());
    thread::Builder::new().name("store".to_owned()).spawn(run)?;
    Ok(handle)
}

/// Runs a future to its end and blocks this thread until then.
pub(crate) fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    spawn(async move {
        let ended = AssertUnwindSafe(future).catch_unwind().await;
        // Nobody waits any more when the receiver is gone.
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
