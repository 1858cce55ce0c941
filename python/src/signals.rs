//! Ctrl-C while another library waits for a stream.
//!
//! Python writes a byte to a descriptor when a signal arrives, also if it cannot run the handler yet. A thread reads
//! these bytes and stops the streams. It needs no GIL for this, so it is not late: a stream that begins after the
//! signal is not stopped.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use pyo3::{prelude::*, types::PyDict};

#[cfg(unix)]
use crate::attach::detached;

/// Whether Ctrl-C raises `KeyboardInterrupt`. Another handler may want to go on.
static IS_DEFAULT: AtomicBool = AtomicBool::new(true);

/// Tells whether Ctrl-C has Python's own handler.
#[pyfunction]
pub(crate) fn set_default_handler(is_default: bool) {
    IS_DEFAULT.store(is_default, SeqCst);
}

/// Starts the thread. Returns the descriptor for `signal.set_wakeup_fd`, or -1 on a system without sockets for it.
/// `forward` gets the bytes afterwards.
#[pyfunction]
pub(crate) fn watch_signals(py: Python<'_>, forward: Py<PyAny>) -> PyResult<i64> {
    #[cfg(unix)]
    {
        unix::watch(forward).map_err(|error| crate::errors::raised(py, &error))
    }
    #[cfg(not(unix))]
    {
        let _ = (py, forward);
        Ok(-1)
    }
}

/// Waits until the signals so far have stopped their streams, so that they do not stop a stream that begins now.
pub(crate) fn settle(py: Python<'_>) {
    #[cfg(unix)]
    detached(py, unix::settle);
    #[cfg(not(unix))]
    let _ = py;
}

/// Raises `KeyboardInterrupt` again, as soon as Python runs its own code. Only for the main thread.
pub(crate) fn raise_again(py: Python<'_>) -> PyResult<()> {
    // Not through the descriptor: the bytes of one signal would stop streams twice.
    let signal = py.import("signal")?;
    let before = signal.call_method1("set_wakeup_fd", (-1,))?;
    py.import("_thread")?.call_method0("interrupt_main")?;
    let options = PyDict::new(py);
    options.set_item("warn_on_full_buffer", false)?;
    signal.call_method("set_wakeup_fd", (before,), Some(&options))?;
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::{
        io::{Read, Write},
        os::{fd::AsRawFd, unix::net::UnixStream},
        process,
        sync::{Condvar, Mutex, PoisonError, atomic::Ordering::SeqCst},
        time::Duration,
    };

    use overmind_export::Error;
    use pyo3::prelude::*;

    use super::IS_DEFAULT;
    use crate::{
        attach::attached,
        errors::not_started,
        stream::{interrupt_streams, locked},
        worker::spawn,
    };

    /// Number of SIGINT on every Unix.
    const SIGINT: u8 = 2;

    /// A byte that is no signal.
    const MARK: u8 = 0;
    /// Time to wait for a mark: 100 ms. It takes microseconds, unless the machine is overloaded.
    const SETTLING: Duration = Duration::from_millis(100);

    /// The end that Python writes to. It stays open.
    struct Writer {
        /// The process that reads the other end. A forked child must not write.
        process: u32,
        end: UnixStream,
        /// Number of marks written.
        marks: u64,
    }

    static WRITER: Mutex<Option<Writer>> = Mutex::new(None);
    /// Number of marks read.
    static MARKS: Mutex<u64> = Mutex::new(0);
    static MARK_READ: Condvar = Condvar::new();

    /// Writes a mark behind the signals so far, and waits until it was read.
    pub(super) fn settle() {
        let mark = {
            let mut writer = locked(&WRITER);
            let here = writer.as_mut().filter(|writer| writer.process == process::id());
            let Some(writer) = here else { return };
            if writer.end.write_all(&[MARK]).is_err() {
                return;
            }
            writer.marks += 1;
            writer.marks
        };
        let read = MARK_READ.wait_timeout_while(locked(&MARKS), SETTLING, |read| *read < mark);
        drop(read.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn watch(forward: Py<PyAny>) -> Result<i64, Error> {
        let started = || {
            let (reader, writer) = UnixStream::pair()?;
            writer.set_nonblocking(true)?;
            Ok((reader, writer))
        };
        let (reader, writer) = started().map_err(not_started("the watch for signals"))?;
        spawn("overmind-signals", move || read(reader, &forward))?;
        let descriptor = writer.as_raw_fd();
        let marks = *locked(&MARKS);
        *locked(&WRITER) = Some(Writer { process: process::id(), end: writer, marks });
        Ok(descriptor.into())
    }

    fn read(mut reader: UnixStream, forward: &Py<PyAny>) {
        let mut bytes = [0; 64];
        loop {
            let count = match reader.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let received = &bytes[..count];
            if received.contains(&SIGINT) && IS_DEFAULT.load(SeqCst) {
                interrupt_streams();
            }
            let marks = received.iter().filter(|byte| **byte == MARK).count();
            *locked(&MARKS) += marks as u64;
            MARK_READ.notify_all();
            let signals: Vec<u8> = received.iter().copied().filter(|byte| *byte != MARK).collect();
            if signals.is_empty() {
                continue;
            }
            // An error could only be that the interpreter ends.
            let _ = attached(|py| forward.call1(py, (&*signals,)).map(drop));
        }
    }
}
