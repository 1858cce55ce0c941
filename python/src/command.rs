//! The command `overmind-export`, for the script that the wheel installs.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use pyo3::prelude::*;

/// Runs the command and returns its exit code. The process must end after it, without Python's own end: threads of
/// the command may still run.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| {
        let code = overmind_export::cli::main_with(arguments);
        // A program of Rust does this at its end. An error was already reported by the command's own last write.
        drop(io::stdout().flush());
        code
    })
}
