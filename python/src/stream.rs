//! A one-shot stream of record batches, for Python code and for libraries that read it over the Arrow C interface.

use std::{
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use overmind_export::{Completeness, Error};
use pyo3::{
    exceptions::PyKeyboardInterrupt,
    prelude::*,
    types::{PyCapsule, PyDict},
};

use crate::{
    attach::{attached, detached},
    batch::{Table, names, schema_capsule, stream_capsule, types},
    errors::{interrupted, raised},
    signals::{raise_again, settle},
    summary::ReadFacts,
    wait::SIGNAL_CHECK,
    watch::Watch,
    worker::Stopper,
};

/// What the producer sends.
pub(crate) enum Message {
    Batch(RecordBatch),
    /// The last message: the facts about all rows, or the error that ended the stream.
    End(Result<Box<ReadFacts>, Error>),
}

/// The state of a stream, for its consumers, the capsule and the handler of signals.
#[derive(Debug)]
pub(crate) struct StreamState {
    schema: SchemaRef,
    /// The process that started the producer. A forked child has no producer.
    process: u32,
    receiver: Mutex<Option<Receiver<Message>>>,
    /// Dropped to stop the producer.
    stopper: Mutex<Option<Stopper>>,
    facts: Mutex<ReadFacts>,
    /// The error that ended the stream, for callers that get only another library's exception.
    failed: Mutex<Option<Arc<Error>>>,
    /// The exception of a signal handler, such as `KeyboardInterrupt`.
    signalled: Mutex<Option<PyErr>>,
    is_interrupted: AtomicBool,
    is_begun: AtomicBool,
    is_exported: AtomicBool,
    started: Instant,
    watch: Watch,
}

/// The streams that [`interrupt_streams`] may have to stop.
static STREAMS: Mutex<Vec<Weak<StreamState>>> = Mutex::new(Vec::new());

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of reads after [`Stream::close`].
fn closed() -> Error {
    Error::Usage("the stream was closed before its end".to_owned())
}

/// A step of a wait for the next batch.
enum Step {
    Batch(RecordBatch),
    End,
    Failed(Arc<Error>),
    Waiting,
}

impl StreamState {
    /// Makes the state of a stream, whose producer has started.
    pub(crate) fn new(
        py: Python<'_>,
        schema: SchemaRef,
        receiver: Receiver<Message>,
        stopper: Stopper,
        watch: Watch,
    ) -> Arc<Self> {
        settle(py);
        let state = Arc::new(Self {
            schema,
            process: process::id(),
            receiver: Mutex::new(Some(receiver)),
            stopper: Mutex::new(Some(stopper)),
            facts: Mutex::default(),
            failed: Mutex::default(),
            signalled: Mutex::default(),
            is_interrupted: AtomicBool::new(false),
            is_begun: AtomicBool::new(false),
            is_exported: AtomicBool::new(false),
            started: Instant::now(),
            watch,
        });
        let mut streams = locked(&STREAMS);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&state));
        state
    }

    /// Waits for the next message, at most this long.
    fn step(&self, wait: Duration) -> Step {
        if self.process != process::id() {
            return self.fail(Error::Usage(
                "the stream belongs to the parent process: begin another one in this process"
                    .to_owned(),
            ));
        }
        if let Some(error) = &*locked(&self.failed) {
            return Step::Failed(error.clone());
        }
        self.is_begun.store(true, SeqCst);
        if self.is_interrupted.load(SeqCst) {
            let step = self.fail(interrupted());
            self.close();
            return step;
        }
        let mut receiver = locked(&self.receiver);
        let Some(open) = &*receiver else {
            // Another thread may have failed or closed the stream just now.
            return locked(&self.failed).clone().map_or(Step::End, Step::Failed);
        };
        let received = open.recv_timeout(wait);
        match received {
            Err(RecvTimeoutError::Timeout) => Step::Waiting,
            Ok(Message::Batch(batch)) => {
                locked(&self.facts).rows += batch.num_rows() as u64;
                if !self.watch.counts_pages {
                    self.watch.rows.add_rows(batch.num_rows() as u64);
                }
                Step::Batch(batch)
            }
            Ok(Message::End(Ok(facts))) => {
                *receiver = None;
                *locked(&self.facts) = *facts;
                Step::End
            }
            Ok(Message::End(Err(error))) => {
                *receiver = None;
                // The producer was stopped because another thread has closed the stream.
                let is_closed =
                    matches!(error, Error::Interrupted { .. }) && locked(&self.stopper).is_none();
                self.fail(if is_closed { closed() } else { error })
            }
            Err(RecvTimeoutError::Disconnected) => {
                *receiver = None;
                self.fail(Error::Internal("the thread of a stream panicked".to_owned()))
            }
        }
    }

    fn fail(&self, error: Error) -> Step {
        let error = Arc::new(error);
        *locked(&self.failed) = Some(error.clone());
        Step::Failed(error)
    }

    /// Stops the producer. The rest of the stream is lost.
    fn close(&self) {
        // A forked child has no producer. Locks may be held by threads that it does not have.
        if self.process != process::id() {
            return;
        }
        self.watch.close();
        drop(locked(&self.stopper).take());
        // The producer may wait for room: without a receiver it ends.
        let mut receiver = locked(&self.receiver);
        if receiver.take().is_some() {
            locked(&self.failed).get_or_insert_with(|| Arc::new(closed()));
        }
    }

    /// Waits for the next batch in a call from Python.
    fn next(&self, py: Python<'_>) -> PyResult<Option<RecordBatch>> {
        loop {
            let step = detached(py, || self.step(SIGNAL_CHECK));
            match &step {
                Step::End => {
                    self.watch.end()?;
                    return Ok(None);
                }
                Step::Failed(error) => {
                    self.watch.close();
                    // An interruption: the handler of the signal has not run yet.
                    py.check_signals()?;
                    return Err(self.exception(py, error));
                }
                Step::Batch(_) | Step::Waiting => {}
            }
            if let Err(exception) = py.check_signals().and_then(|()| self.watch.tick(py)) {
                detached(py, || self.close());
                return Err(exception);
            }
            if let Step::Batch(batch) = step {
                return Ok(Some(batch));
            }
        }
    }

    /// Waits for the next batch in a call from another library, on any thread, with or without the GIL.
    fn next_for_consumer(&self) -> Option<Result<RecordBatch, ArrowError>> {
        let mut step = self.step(Duration::ZERO);
        loop {
            let shown = match &step {
                Step::End => self.watch.end(),
                Step::Failed(_) => {
                    self.watch.close();
                    Ok(())
                }
                Step::Batch(_) | Step::Waiting => self.watch.tick_for_consumer(),
            };
            if let Err(exception) = shown {
                let _ = attached(|py| self.keep(py, exception));
                step = self.fail(interrupted());
                self.close();
            }
            match step {
                Step::Batch(batch) => return Some(Ok(batch)),
                Step::End => return None,
                Step::Failed(error) => {
                    return Some(Err(ArrowError::ExternalError(error.one_line().into())));
                }
                Step::Waiting => {}
            }
            // The caller may hold the GIL, and others need it. Without an interpreter there is none to release.
            step = attached(|py| {
                let step = detached(py, || self.step(SIGNAL_CHECK));
                self.check_signals(py);
                step
            })
            .unwrap_or_else(|| self.step(SIGNAL_CHECK));
        }
    }

    /// Runs pending handlers of signals, if this is the main thread. An exception ends the stream.
    fn check_signals(&self, py: Python<'_>) {
        if let Err(exception) = py.check_signals() {
            self.keep(py, exception);
            self.is_interrupted.store(true, SeqCst);
        }
    }

    /// Keeps an exception for the caller of the library that reads the stream.
    fn keep(&self, py: Python<'_>, exception: PyErr) {
        if exception.is_instance_of::<PyKeyboardInterrupt>(py) {
            // The library between us and the caller would replace the exception.
            drop(raise_again(py));
        } else {
            *locked(&self.signalled) = Some(exception);
        }
    }

    /// Returns the exception for the error that ended the stream.
    fn exception(&self, py: Python<'_>, error: &Error) -> PyErr {
        if let Some(exception) = &*locked(&self.signalled) {
            return exception.clone_ref(py);
        }
        match error {
            Error::Interrupted { .. } => PyKeyboardInterrupt::new_err(()),
            error => raised(py, error),
        }
    }
}

/// A one-shot stream of record batches.
#[pyclass(frozen, module = "overmind_export._native")]
#[derive(Debug)]
pub(crate) struct Stream(pub(crate) Arc<StreamState>);

#[pymethods]
impl Stream {
    #[getter]
    fn column_names(&self) -> Vec<String> {
        names(&self.0.schema)
    }

    #[getter]
    fn column_types(&self) -> Vec<&'static str> {
        types(&self.0.schema)
    }

    /// Returns the arguments of the class `Summary`. Before the end, nothing is proven.
    #[getter]
    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut facts = locked(&self.0.facts).clone();
        if facts.completeness.is_none() && facts.digest.is_none() {
            facts.completeness = Some(Completeness::Partial);
            facts.seconds = self.0.started.elapsed().as_secs_f64();
        }
        facts.to_dict(py)
    }

    /// Returns the next batch; `None` at the end.
    fn next_batch(&self, py: Python<'_>) -> PyResult<Option<Table>> {
        let batch = self.0.next(py)?;
        Ok(batch.map(|batch| Table::new(self.0.schema.clone(), vec![batch], None)))
    }

    /// Reads all batches into memory.
    fn read_all(&self, py: Python<'_>) -> PyResult<Table> {
        let mut batches = Vec::new();
        while let Some(batch) = self.0.next(py)? {
            batches.push(batch);
        }
        let facts = locked(&self.0.facts).clone();
        Ok(Table::new(self.0.schema.clone(), batches, Some(facts)))
    }

    /// Removes a bar from the terminal until the next batch is taken.
    fn hide_progress(&self) {
        self.0.watch.hide();
    }

    /// Tells that another library calls [`Stream::next_batch`], maybe on its own threads. So Ctrl-C stops the stream.
    fn read_by_library(&self) {
        self.0.is_exported.store(true, SeqCst);
    }

    /// Stops the stream and its requests.
    fn close(&self, py: Python<'_>) {
        detached(py, || self.0.close());
    }

    /// Raises the error that ended the stream, if there is one. For callers that got another library's exception.
    fn raise_error(&self, py: Python<'_>) -> PyResult<()> {
        let failed = locked(&self.0.failed).clone();
        if failed.as_deref().is_some_and(|error| matches!(error, Error::Interrupted { .. })) {
            // The handler of the signal may not have run yet.
            py.check_signals()?;
        }
        failed.map_or(Ok(()), |error| Err(self.0.exception(py, &error)))
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The protocol allows to ignore another wanted schema.
        let _ = requested_schema;
        if self.0.is_exported.swap(true, SeqCst) || self.0.is_begun.load(SeqCst) {
            let why = "the stream was already read: begin another one, or use `read`, whose rows can be read \
                       more than once";
            return Err(raised(py, &Error::Usage(why.to_owned())));
        }
        stream_capsule(py, Box::new(Consumer(self.0.clone())))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.0.schema)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A capsule may still read the stream. It closes the stream when it is dropped.
        if !self.0.is_exported.load(SeqCst) {
            self.0.close();
        }
    }
}

/// The stream for a library that reads it over the Arrow C interface.
struct Consumer(Arc<StreamState>);

impl Iterator for Consumer {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_for_consumer()
    }
}

impl RecordBatchReader for Consumer {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Stops the streams that other libraries have, also if they have not begun to read. Streams that Python code reads
/// check for signals themselves.
pub(crate) fn interrupt_streams() {
    let streams: Vec<_> = locked(&STREAMS).iter().filter_map(Weak::upgrade).collect();
    for stream in streams.iter().filter(|stream| stream.is_exported.load(SeqCst)) {
        stream.is_interrupted.store(true, SeqCst);
    }
}
