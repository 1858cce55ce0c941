//! Parses the command line, and prints errors about it.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    ops::ControlFlow,
};

use clap::{Command, Parser, error::Error};

use super::lines::log_object;
use crate::text::{harmless_lines, line};

/// Whether the arguments ask for a JSON log. Read before they are parsed, because an error about them goes there too.
pub(super) fn logs_json(arguments: &[OsString]) -> bool {
    let end = arguments.iter().position(|it| it == "--").unwrap_or(arguments.len());
    let arguments = &arguments[..end];
    let is = |it: &OsString, text: &str| it.as_os_str() == OsStr::new(text);
    let in_two = |it: &[OsString]| is(&it[0], "--log-format") && is(&it[1], "json");
    arguments.windows(2).any(in_two) || arguments.iter().any(|it| is(it, "--log-format=json"))
}

/// Parses arguments, of which the first is the name of the program. Prints help, the version or an error, and then
/// returns the exit code.
pub(super) fn parse<T: Parser>(
    arguments: &[OsString],
    json: bool,
) -> crate::Result<ControlFlow<u8, T>> {
    let error = match from::<T>(arguments) {
        Ok(parsed) => return Ok(ControlFlow::Continue(parsed)),
        Err(error) => error,
    };
    let code = error.exit_code().try_into().unwrap_or(2);
    if !error.use_stderr() {
        super::require_stdout()?;
    }
    // If standard error is closed, nothing can be reported.
    drop(match error.use_stderr() {
        true => print::<T>(error, arguments, json),
        false => error.print(),
    });
    Ok(ControlFlow::Break(code))
}

fn from<T: Parser>(arguments: &[OsString]) -> Result<T, Error> {
    let mut command = with_negative_numbers(T::command());
    let matches = command.try_get_matches_from_mut(arguments)?;
    T::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Makes every option take a negative number as its value. Its own parser then explains the
/// mistake. Otherwise the message would be that `-5` is an unknown option.
fn with_negative_numbers(command: Command) -> Command {
    let number = |arg: clap::Arg| match arg.get_action().takes_values() && !arg.is_positional() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(number).mut_subcommands(with_negative_numbers)
}

/// Prints an error without control characters. The error quotes arguments, and a script may have taken them from
/// an untrusted source.
fn print<T: Parser>(error: Error, arguments: &[OsString], json: bool) -> io::Result<()> {
    // Parse again with escaped arguments: only clap can print its error with colours.
    let harmless = arguments.iter().map(|argument| match argument.to_str() {
        Some(text) => line(text).into(),
        None => argument.clone(),
    });
    let again = from::<T>(&harmless.collect::<Vec<_>>()).err().filter(Error::use_stderr);
    let error = again.unwrap_or(error);
    let text = error.to_string();
    let shown = harmless_lines(&text);
    if json {
        return io::stderr().lock().write_all(log_object("ERROR", shown).as_bytes());
    }
    // The error may also quote a variable of the environment, so check the whole text.
    if shown == text { error.print() } else { io::stderr().lock().write_all(shown.as_bytes()) }
}
