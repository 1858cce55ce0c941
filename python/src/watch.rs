//! What a waiting call does ten times a second: it shows its progress, and ends if it was cancelled.

use std::{
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use overmind_export::{
    Client, Error, Progress,
    cli::{TerminalBar, TerminalProgress},
};
use pyo3::{exceptions::PyKeyboardInterrupt, prelude::*, types::PyString};

use crate::{
    attach::attached,
    {errors::raised, signals::raise_again, stream::locked},
};

/// Time between two updates: 100 ms.
const FRAME: Duration = Duration::from_millis(100);

/// The bars on the terminal, and the process that draws them. A forked child begins with none: another thread may have
/// held their lock.
static BARS: Mutex<Option<(u32, TerminalProgress)>> = Mutex::new(None);

fn bars() -> TerminalProgress {
    let mut bars = locked(&BARS);
    match &*bars {
        Some((process, bars)) if *process == process::id() => bars.clone(),
        _ => bars.insert((process::id(), TerminalProgress::default())).1.clone(),
    }
}

/// Removes the bars from the terminal until their next update, so that text can be written.
fn hide_bars() {
    let bars = locked(&BARS).clone();
    if let Some((_, bars)) = bars.filter(|(process, _)| *process == process::id()) {
        bars.hide();
    }
}

/// Number of records that are being written. No bar is drawn meanwhile.
static RECORDS: Mutex<usize> = Mutex::new(0);

/// Writes a record without a bar in its line.
pub(crate) fn without_bars(write: impl FnOnce()) {
    {
        let mut records = locked(&RECORDS);
        *records += 1;
        hide_bars();
    }
    write();
    *locked(&RECORDS) -= 1;
}

/// Cancels a call from another thread.
#[pyclass(frozen, module = "overmind_export._native")]
#[derive(Debug, Default, Clone)]
pub(crate) struct Cancellation(Arc<AtomicBool>);

#[pymethods]
impl Cancellation {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Ends the call within 100 ms, and its requests soon after. Never blocks.
    fn cancel(&self) {
        self.0.store(true, SeqCst);
    }
}

/// Where the progress is shown.
#[derive(Debug)]
enum Display {
    Nowhere,
    Terminal(TerminalBar),
    /// An object of `overmind_export._progress`.
    Python {
        sink: Py<PyAny>,
        /// Whether any thread may update it. A callable of the user is called only on the thread of the call.
        any_thread: bool,
    },
}

/// The watch over one call or one stream.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The rows that the caller has, and the number of all rows.
    pub(crate) rows: Arc<Progress>,
    /// Whether the rows are counted when their page comes, for a caller that takes all rows at once. Other callers
    /// have a row when they have taken its batch.
    pub(crate) counts_pages: bool,
    client: Option<Client>,
    display: Mutex<Display>,
    cancellation: Option<Cancellation>,
    thread: ThreadId,
    started: Instant,
    shown: Mutex<Instant>,
}

impl Watch {
    /// Begins to watch a call. `progress` and `cancellation` come from the Python side.
    pub(crate) fn new(
        progress: Option<Bound<'_, PyAny>>,
        cancellation: Option<Cancellation>,
        client: Option<Client>,
        rows: Arc<Progress>,
        counts_pages: bool,
    ) -> PyResult<Self> {
        let display = match progress {
            None => Display::Nowhere,
            Some(sink) if sink.is_instance_of::<PyString>() => {
                Display::Terminal(bars().bar(client.clone(), rows.clone()))
            }
            Some(sink) => {
                let any_thread = sink.getattr("any_thread")?.is_truthy()?;
                Display::Python { sink: sink.unbind(), any_thread }
            }
        };
        let started = Instant::now();
        Ok(Self {
            rows,
            counts_pages,
            client,
            display: Mutex::new(display),
            cancellation,
            thread: thread::current().id(),
            started,
            shown: Mutex::new(started),
        })
    }

    /// Shows the progress, if the last time is long enough ago.
    ///
    /// # Errors
    /// The exception of a callable, or of a cancelled call.
    pub(crate) fn tick(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_cancelled() {
            let why = "the call was cancelled, or its stream was closed".to_owned();
            return Err(raised(py, &Error::Usage(why)));
        }
        if self.is_due() { self.show() } else { Ok(()) }
    }

    /// Shows the last numbers of a call that succeeded, and removes a bar.
    ///
    /// # Errors
    /// The exception of a callable.
    pub(crate) fn end(&self) -> PyResult<()> {
        let is_bar = matches!(*locked(&self.display), Display::Terminal(_));
        // The bar of a short call never appears.
        let shown = if is_bar { Ok(()) } else { self.show() };
        self.remove(shown.is_ok());
        shown
    }

    /// Removes the bar of a call that has failed or was stopped. In a notebook, the last numbers stay.
    pub(crate) fn close(&self) {
        self.remove(false);
    }

    fn remove(&self, is_done: bool) {
        let display = std::mem::replace(&mut *locked(&self.display), Display::Nowhere);
        let Display::Python { sink, .. } = display else { return };
        // Without an interpreter there is no display either.
        let _ = attached(|py| {
            keep_interrupt(py, sink.call_method1(py, "close", (is_done,)));
            drop(sink);
        });
    }

    /// Removes a bar until its next update: the caller may fail, and does not have to close the stream.
    pub(crate) fn hide(&self) {
        if matches!(*locked(&self.display), Display::Terminal(_)) {
            hide_bars();
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancellation.as_ref().is_some_and(|cancellation| cancellation.0.load(SeqCst))
    }

    /// Does the same as [`tick`](Self::tick), for a call from another library on any thread, with or without the GIL.
    pub(crate) fn tick_for_consumer(&self) -> PyResult<()> {
        if self.is_due() { self.show() } else { Ok(()) }
    }

    fn is_due(&self) -> bool {
        let mut shown = locked(&self.shown);
        let is_due = shown.elapsed() >= FRAME;
        if is_due {
            *shown = Instant::now();
        }
        is_due
    }

    fn show(&self) -> PyResult<()> {
        let any_thread = match &mut *locked(&self.display) {
            Display::Nowhere => return Ok(()),
            Display::Terminal(bar) => {
                let records = locked(&RECORDS);
                if *records == 0 {
                    bar.draw();
                }
                return Ok(());
            }
            Display::Python { any_thread, .. } => *any_thread,
        };
        if !any_thread && self.thread != thread::current().id() {
            return Ok(());
        }
        attached(|py| {
            // Not called under the lock: Python code can take long, and can come back here.
            let sink = match &*locked(&self.display) {
                Display::Python { sink, .. } => sink.clone_ref(py),
                _ => return Ok(()),
            };
            let meter = self.client.as_ref().map(Client::meter);
            let values = (
                self.rows.rows(),
                self.rows.total(),
                meter.map_or(0, |meter| meter.bytes()),
                meter.map_or(0, |meter| meter.requests()),
                meter.map_or(0, |meter| meter.retries()),
                self.started.elapsed().as_secs_f64(),
            );
            sink.call_method1(py, "update", values).map(drop)
        })
        .unwrap_or(Ok(()))
    }
}

/// Ignores an exception, but not Ctrl-C: it is raised as soon as Python runs its own code.
pub(crate) fn keep_interrupt<T>(py: Python<'_>, result: PyResult<T>) {
    if let Err(exception) = result
        && exception.is_instance_of::<PyKeyboardInterrupt>(py)
    {
        drop(raise_again(py));
    }
}
