//! The command: a result becomes a message, a hint and an exit code, and nothing else happens here.

mod cli;

use std::{io::Write, process::ExitCode};

use clap::Parser;
use overmind_export::{Error, panics};

fn main() -> ExitCode {
    let ended = panics::boundary(|| cli::run(cli::Arguments::parse()));
    let (code, report) = match ended {
        Ok(code) => (code, String::new()),
        // Whoever read standard output has had enough: an end, not a failure.
        Err(Error::OutputClosed) => (0, String::new()),
        Err(error) => (error.exit_code(), error.report().to_string()),
    };
    let mut stderr = anstream::stderr().lock();
    // Nobody is left to tell if standard error is gone.
    drop(stderr.write_all(report.as_bytes()));
    // What the report says already is not repeated, unless there is a backtrace to it; and a limit of
    // the machine is no bug, though a library panics when it meets one.
    let told = |seen: &panics::Panic| report.contains(&seen.place) && !seen.text.contains('\n');
    let mut all = panics::seen();
    all.dedup_by(|a, b| a.place == b.place);
    for seen in all.iter().filter(|seen| code != 74 && !told(seen)) {
        drop(writeln!(stderr, "warning: {}\n  hint: this is a bug: please report it", seen.text));
    }
    ExitCode::from(code)
}
