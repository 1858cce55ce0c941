//! Arguments as they are typed, and what is said of those that are wrong.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
};

use clap::{Parser, error::Error};

use crate::text::{harmless_lines, line};

/// The arguments of this process. Help, a version, and what is wrong with them are printed here; then the exit
/// code is given.
pub(super) fn parse<T: Parser>() -> Result<T, u8> {
    let arguments: Vec<OsString> = env::args_os().collect();
    T::try_parse_from(&arguments).map_err(|error| {
        let code = error.exit_code().try_into().unwrap_or(2);
        // Nobody is left to tell if standard error is gone.
        drop(if error.use_stderr() { print::<T>(error, &arguments) } else { error.print() });
        code
    })
}

/// Prints an error without anything that a terminal would obey. It quotes what was typed, and a script may have
/// typed a name from elsewhere.
fn print<T: Parser>(error: Error, arguments: &[OsString]) -> io::Result<()> {
    // The same mistake in harmless words: clap has the colours.
    let harmless = arguments.iter().map(|argument| match argument.to_str() {
        Some(text) => line(text).into(),
        None => argument.clone(),
    });
    let again = T::try_parse_from(harmless).err().filter(Error::use_stderr);
    let error = again.unwrap_or(error);
    let text = error.to_string();
    let shown = harmless_lines(&text);
    // The environment holds values as well.
    if shown == text { error.print() } else { io::stderr().lock().write_all(shown.as_bytes()) }
}
