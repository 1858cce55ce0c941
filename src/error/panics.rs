//! The panic boundary of a program. A panic on any thread is remembered instead of printed, and told once,
//! by the error that it becomes.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    collections::VecDeque,
    panic::{self, AssertUnwindSafe, Location, PanicHookInfo},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::error::{Error, Result, harmless};

/// Panics that are remembered, the last ones.
const MOST: usize = 8;

static SEEN: Mutex<VecDeque<Panic>> = Mutex::new(VecDeque::new());

/// A panic that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Panic {
    /// File and line.
    pub(crate) place: String,
    /// The thread and what it said; with `RUST_BACKTRACE=1` the backtrace.
    pub(crate) text: String,
    message: String,
}

/// Runs a whole program; a panic becomes an error. Panics of all threads are remembered from then on.
///
/// # Errors
/// Those of the program, and [`Error::panicked`].
pub(crate) fn boundary<T>(program: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::set_hook(Box::new(remember));
    match panic::catch_unwind(AssertUnwindSafe(program)) {
        Ok(result) => result,
        Err(payload) => Err(Error::panicked("the command", message(&*payload))),
    }
}

/// The panics that were seen on any thread, the oldest first.
pub(crate) fn seen() -> Vec<Panic> {
    lock().iter().cloned().collect()
}

/// Where a panic with this message was seen.
pub(crate) fn place_of(message: &str) -> Option<String> {
    lock().iter().rev().find(|seen| seen.message == message).map(|seen| seen.place.clone())
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Writes nothing: what panicked may hold the lock of the terminal.
fn remember(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let name = current.name().unwrap_or("without a name");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), place);
    let message = message(info.payload()).to_owned();
    let mut text = format!("thread {name} panicked at {place}: {}", harmless(&message));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        text = format!("{text}\n{trace}");
    }
    let mut seen = lock();
    seen.push_back(Panic { place, text, message });
    if seen.len() > MOST {
        seen.pop_front();
    }
}

/// Of a library's file the part that does not depend on where it was built.
fn place(at: &Location<'_>) -> String {
    let file = at.file();
    let library = file.rsplit_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    format!("{}:{}", library.map_or(file, |(_, file)| file), at.line())
}

fn lock() -> MutexGuard<'static, VecDeque<Panic>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_exit_70_with_place_and_text() {
        // The tests beside this one need their hook back.
        let hook = panic::take_hook();
        let error = boundary(|| -> Result<()> { panic!("boom {}", 7) }).unwrap_err();
        panic::set_hook(hook);
        assert_eq!(error.exit_code(), 70);
        let text = error.to_string();
        let (before, after) = text.split_once("src/error/panics.rs:").unwrap_or_default();
        assert_eq!(before, "internal error: the command panicked at ", "{text}");
        assert!(after.ends_with(": boom 7"), "{text}");
        assert!(seen().iter().any(|seen| seen.text.contains(" panicked at src/error/panics.rs:")));
    }
}
