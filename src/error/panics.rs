//! The panic boundary of a program. A panic on any thread is recorded, not printed. The error made from it
//! reports it once.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    collections::VecDeque,
    panic::{self, AssertUnwindSafe, Location, PanicHookInfo},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::error::{Error, Result, harmless};

/// Number of recorded panics. Older ones are dropped, so that a loop of panics cannot fill the memory.
const MOST: usize = 8;

static SEEN: Mutex<VecDeque<Panic>> = Mutex::new(VecDeque::new());

/// A recorded panic.
#[derive(Debug, Clone)]
pub(crate) struct Panic {
    /// File and line, as `FILE:LINE`.
    pub(crate) place: String,
    /// Thread, place and message. With `RUST_BACKTRACE=1` also the backtrace.
    pub(crate) text: String,
    message: String,
}

/// Runs a whole program and turns a panic into an error. From this call on, panics of all threads are
/// recorded.
///
/// # Errors
/// The errors of the program, and [`Error::panicked`].
pub(crate) fn boundary<T>(program: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::set_hook(Box::new(remember));
    match panic::catch_unwind(AssertUnwindSafe(program)) {
        Ok(result) => result,
        Err(payload) => Err(Error::panicked("the command", message(&*payload))),
    }
}

/// Returns the recorded panics of all threads, the oldest first.
pub(crate) fn seen() -> Vec<Panic> {
    lock().iter().cloned().collect()
}

/// Returns the place of the latest panic with this message.
pub(crate) fn place_of(message: &str) -> Option<String> {
    lock().iter().rev().find(|seen| seen.message == message).map(|seen| seen.place.clone())
}

/// Returns the message of a panic. A slice of a text panics with the text in its message, which can be a value of a row:
/// that part is left out.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let is_slice = text.contains("byte index ") || text.contains(" when slicing ");
    let ends = ["; it is inside ", " when slicing ", " of `"];
    let end = ends.into_iter().filter_map(|end| text.find(end)).min().filter(|_| is_slice);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Records a panic. Prints nothing, because the panicking thread may hold the lock of the terminal.
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

/// Does work, and turns a panic into an error. `what` names the work, for the message.
///
/// # Errors
/// That of the work, or [`Error::panicked`].
pub(crate) fn caught<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let ended = panic::catch_unwind(AssertUnwindSafe(work));
    ended.unwrap_or_else(|payload| Err(Error::panicked(what, message(&*payload))))
}

/// Returns `FILE:LINE`. For a library's file, the path is shortened to the part that is the same on every
/// build machine.
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
    fn panic_becomes_error_with_place_and_exit_code_70() {
        // The other tests in this process need the original hook.
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

    #[test]
    fn sliced_text_is_in_no_message() {
        // Of the language: `cut` is no constant, so that the slices compile.
        let secret = std::hint::black_box("SECRETé".to_owned());
        for (start, end) in [(0, 7), (7, 8), (0, 99), (99, 100), (5, 2), (8, 1)] {
            let cut = || std::hint::black_box(secret[start..end].len());
            let payload = panic::catch_unwind(AssertUnwindSafe(cut)).unwrap_err();
            let shown = message(&*payload);
            assert!(!shown.contains("SECRET") && !shown.contains('é'), "{shown}");
            assert!(shown.len() > 10, "{shown}");
        }
        assert_eq!(message(&"out of `range`"), "out of `range`");
    }
}
