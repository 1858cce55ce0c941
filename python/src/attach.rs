//! Taking the GIL while the interpreter may be ending.
//!
//! A thread that waits for the GIL of an ending interpreter is ended by Python, in the middle of its Rust code. So from
//! the beginning of that end, no thread takes the GIL here but the one that ends the interpreter. That one waits until
//! the others have left.

use std::{
    cell::Cell,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use pyo3::prelude::*;

/// Longest time that the end of the interpreter waits: 2 s. The threads hold or await the GIL for at most 100 ms, unless
/// code of the application does not return.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Time between two looks: 1 ms.
const LOOK: Duration = Duration::from_millis(1);

/// The thread that ends the interpreter, once it does.
static ENDED_BY: OnceLock<ThreadId> = OnceLock::new();
/// Number of threads that hold or await the GIL.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// The process that [`INSIDE`] counts the threads of. A forked child has only one of them.
static PROCESS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How often this thread is counted in [`INSIDE`].
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Exists while a thread holds or awaits the GIL. A thread can have several, nested.
struct Inside;

impl Inside {
    /// Returns `None` if the interpreter is ending, and another thread ends it.
    fn enter() -> Option<Self> {
        if PROCESS.swap(process::id(), SeqCst) != process::id() {
            INSIDE.store(DEPTH.with(Cell::get), SeqCst);
        }
        INSIDE.fetch_add(1, SeqCst);
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        let inside = Self;
        let may = ENDED_BY.get().is_none_or(|thread| *thread == thread::current().id());
        may.then_some(inside)
    }

    /// Stops this thread for good. It no longer counts.
    fn leave() -> ! {
        INSIDE.fetch_sub(DEPTH.with(Cell::get), SeqCst);
        loop {
            thread::park();
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, SeqCst);
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs `work` with the GIL, on any thread. Returns `None` if there is no interpreter, or if it is ending.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _inside = Inside::enter()?;
    Python::try_attach(work)
}

/// Runs `work` without the GIL. Does not return if the interpreter is ending, unless this thread ends it.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let (value, _inside) = py.detach(|| {
        let value = work();
        match Inside::enter() {
            Some(inside) => (value, inside),
            None => Inside::leave(),
        }
    });
    value
}

/// Begins the end of the interpreter: waits until all other threads have left it. The package calls it at that end.
#[pyfunction]
pub(crate) fn end(py: Python<'_>) {
    ENDED_BY.get_or_init(|| thread::current().id());
    if PROCESS.load(SeqCst) != process::id() {
        return;
    }
    py.detach(|| {
        let begun = Instant::now();
        while INSIDE.load(SeqCst) > 0 && begun.elapsed() < LONGEST_WAIT {
            thread::sleep(LOOK);
        }
    });
}
