//! Parses the command line, and prints errors about it.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
};

use clap::{Parser, error::Error};

use crate::text::{harmless_lines, line};

/// Parses the arguments of this process. Prints help, the version or an error, and then returns the exit code.
pub(super) fn parse<T: Parser>() -> Result<T, u8> {
    let arguments: Vec<OsString> = env::args_os().collect();
    T::try_parse_from(&arguments).map_err(|error| {
        let code = error.exit_code().try_into().unwrap_or(2);
        // If standard error is closed, nothing can be reported.
        drop(if error.use_stderr() { print::<T>(error, &arguments) } else { error.print() });
        code
    })
}

/// Prints an error without control characters. The error quotes arguments, and a script may have taken them from
/// an untrusted source.
fn print<T: Parser>(error: Error, arguments: &[OsString]) -> io::Result<()> {
    // Parse again with escaped arguments: only clap can print its error with colours.
    let harmless = arguments.iter().map(|argument| match argument.to_str() {
        Some(text) => line(text).into(),
        None => argument.clone(),
    });
    let again = T::try_parse_from(harmless).err().filter(Error::use_stderr);
    let error = again.unwrap_or(error);
    let text = error.to_string();
    let shown = harmless_lines(&text);
    // The error may also quote a variable of the environment, so check the whole text.
    if shown == text { error.print() } else { io::stderr().lock().write_all(shown.as_bytes()) }
}
