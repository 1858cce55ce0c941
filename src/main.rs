//! The command: a result becomes a message, a hint and an exit code, and nothing else happens here.

mod cli;

use std::{io::Write, process::ExitCode};

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(code) => ExitCode::from(code),
        // Whoever read standard output has had enough: an end, not a failure.
        Err(overmind_export::Error::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = anstream::stderr().lock();
            // Nobody is left to tell if standard error is gone.
            drop(write!(stderr, "{}", error.report()));
            ExitCode::from(error.exit_code())
        }
    }
}
