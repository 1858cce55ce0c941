//! Turns the library's errors into the exceptions of `overmind_export`.

use overmind_export::Error;
use pyo3::{prelude::*, sync::PyOnceLock, types::PyTuple};

/// Returns the exception for an error. The Python side chooses its class by the exit code.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match exception(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(other) => other,
    }
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static FACTORY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let factory = FACTORY.import(py, "overmind_export._errors", "from_native")?;
    let report = error.report().to_string();
    let causes: Vec<&str> =
        report.lines().filter_map(|line| line.strip_prefix("  cause: ")).collect();
    let message = report.lines().next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    factory.call1((
        message,
        error.hint().as_deref(),
        PyTuple::new(py, causes)?,
        error.exit_code(),
        error.http_status(),
        error.is_incomplete(),
    ))
}

/// The error for an interrupted call. Python replaces it by its own exception.
pub(crate) fn interrupted() -> Error {
    Error::Interrupted { signal: "SIGINT", number: 2, hint: None }
}

/// The error for a thread or a runtime that cannot be started.
pub(crate) fn not_started(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { action: "start", path: what.into(), source }
}
