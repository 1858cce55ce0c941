//! The library's log events in Python's `logging`, as records of the logger `overmind_export`.
//!
//! The subscriber is installed at the first call. Each call reads the level from `logging` while it holds the GIL, so
//! an event below the level never needs the GIL. An event at the level takes the GIL on the thread that it comes from:
//! the threads of the library never hold a lock then, and a waiting call has released the GIL.

use std::{
    fmt::{self, Write},
    sync::{
        Once,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use pyo3::{prelude::*, sync::PyOnceLock};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::rebuild_interest_cache,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::{Interest, set_global_default},
};

use crate::{
    attach::attached,
    watch::{keep_interrupt, without_bars},
};

/// The crate whose events go to `logging`. Its name is the name of the logger.
const LIBRARY: &str = "overmind_export";

/// Index in [`LEVELS`] of the lowest level that `logging` wants.
static LEVEL: AtomicUsize = AtomicUsize::new(0);
/// The levels, each with its number in `logging`. Python has no TRACE: its number is half of DEBUG's.
const LEVELS: [(LevelFilter, u8); 6] = [
    (LevelFilter::OFF, u8::MAX),
    (LevelFilter::ERROR, 40),
    (LevelFilter::WARN, 30),
    (LevelFilter::INFO, 20),
    (LevelFilter::DEBUG, 10),
    (LevelFilter::TRACE, 5),
];

/// Reads the level from `logging`. At the first call, starts to pass events on.
pub(crate) fn begin(py: Python<'_>) {
    static LEVEL_OF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static INSTALLED: Once = Once::new();
    let level = LEVEL_OF.import(py, "overmind_export._logs", "level").and_then(|it| it.call0());
    // A level that cannot be read is a fault of the application's logging: it gets no records.
    let wanted: u8 = level.and_then(|it| it.extract()).unwrap_or(u8::MAX);
    let index = LEVELS.iter().rposition(|(_, number)| *number >= wanted).unwrap_or(0);
    let before = LEVEL.swap(index, SeqCst);
    if INSTALLED.is_completed() {
        if before != index {
            rebuild_interest_cache();
        }
        return;
    }
    // If the application has its own subscriber in this process, that one stays.
    INSTALLED.call_once(|| drop(set_global_default(PythonLogs::default())));
}

#[derive(Debug, Default)]
struct PythonLogs {
    spans: AtomicU64,
}

impl Subscriber for PythonLogs {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The filter is asked again whenever the level changes.
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LEVELS[LEVEL.load(SeqCst)].0)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let root = metadata.target().split("::").next();
        metadata.is_event()
            && root == Some(LIBRARY)
            && *metadata.level() <= LEVELS[LEVEL.load(SeqCst)].0
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let number = match *metadata.level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            Level::DEBUG => 10,
            Level::TRACE => 5,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let module = metadata.target().split("::").nth(1).unwrap_or_default();
        without_bars(|| {
            // Without an interpreter there is no logging either.
            let _ = attached(|py| {
                static EMIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                let emit = EMIT.import(py, "overmind_export._logs", "emit");
                let values = (number, module, text.message + &text.fields);
                // A handler reports its own errors.
                keep_interrupt(py, emit.and_then(|emit| emit.call1(values)));
            });
        });
    }

    // Spans are not used.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, SeqCst) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The text of an event: its message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
