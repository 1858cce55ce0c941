//! Waits for the result of a call without the GIL. Ends the call on a signal, or if it is cancelled.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

use overmind_export::Error;
use pyo3::prelude::*;

use crate::{
    attach::detached,
    errors::raised,
    watch::Watch,
    worker::{Stop, Stopper, spawn},
};

/// Time between two checks for signals: 100 ms. Python checks them only on its main thread.
pub(crate) const SIGNAL_CHECK: Duration = Duration::from_millis(100);
/// Time that an interrupted call has for its cleanup: 1 s. After it, the cleanup continues in the background.
const CLEANUP: Duration = Duration::from_secs(1);

/// Runs `work` on its own thread and waits for its result.
///
/// # Errors
/// The error of the work as an exception, or the exception of a signal handler, such as `KeyboardInterrupt`.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    name: &str,
    watch: &Watch,
    work: impl FnOnce(Stop) -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let (stopper, stop) = Stop::pair();
    let (sender, receiver) = mpsc::channel();
    // Sending fails only if the caller was interrupted and no longer waits.
    spawn(name, move || drop(sender.send(work(stop)))).map_err(|error| raised(py, &error))?;
    let (result, _) = receive(py, receiver, stopper, watch)?;
    watch.end()?;
    Ok(result)
}

/// Waits for a result. Returns it with the stopper of the thread that sent it.
///
/// # Errors
/// The same as [`run`]. After one, the thread is stopped.
pub(crate) fn receive<T: Send>(
    py: Python<'_>,
    receiver: Receiver<Result<T, Error>>,
    stopper: Stopper,
    watch: &Watch,
) -> PyResult<(T, Stopper)> {
    let received = wait(py, receiver, stopper, watch);
    if received.is_err() {
        watch.close();
    }
    received
}

fn wait<T: Send>(
    py: Python<'_>,
    mut receiver: Receiver<Result<T, Error>>,
    stopper: Stopper,
    watch: &Watch,
) -> PyResult<(T, Stopper)> {
    loop {
        // The receiver moves, because it cannot be shared between threads.
        let (received, moved) =
            detached(py, move || (receiver.recv_timeout(SIGNAL_CHECK), receiver));
        receiver = moved;
        match received {
            Ok(Ok(result)) => return Ok((result, stopper)),
            Ok(Err(error)) => return Err(raised(py, &error)),
            Err(RecvTimeoutError::Disconnected) => {
                let error = Error::Internal("the thread of a call panicked".to_owned());
                return Err(raised(py, &error));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Err(exception) = py.check_signals().and_then(|()| watch.tick(py)) {
            // The cleanup can take a while.
            watch.close();
            drop(stopper);
            detached(py, move || drop(receiver.recv_timeout(CLEANUP)));
            return Err(exception);
        }
    }
}
