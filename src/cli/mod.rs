//! The command line: one file a subcommand, arguments exactly as typed. Decides nothing itself.

mod bound;
mod completions;
mod datasets;
mod demo;
mod diff;
mod export;
mod global;
mod lines;
mod preview;
mod progress;
mod query;
mod schedule;
mod signals;
mod snapshot;
mod snapshots;
mod storage;
mod table;
mod usage;
mod verify;

use std::{
    fs::File,
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use crate::{Error, Result, config::values, error::panics, text::harmless_json};
use clap::{
    Parser, Subcommand,
    builder::styling::{AnsiColor, Styles},
};
use tokio::runtime::{Builder, Runtime};

use self::lines::Lines;

#[cfg(not(windows))]
const NULL_DEVICE: &str = "/dev/null";
#[cfg(windows)]
const NULL_DEVICE: &str = "NUL";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER: &str = "\
Environment:
  OVERMIND_LAB_API_KEY, OVERMIND_API_KEY    the key, unless --api-key-file is given
  OVERMIND_LAB_BASE_URL, OVERMIND_API_URL   the base URL, unless --base-url is given
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY         proxies
  AWS_*, GOOGLE_*, AZURE_STORAGE_*          credentials and settings of object stores

Exit codes: 0 done · 1 diff found differences · 2 usage · 65 the data is not what it should be ·
  66 no such dataset · 69 the API stayed unavailable · 70 a bug · 73 the output exists or cannot be
  made · 74 I/O · 75 another run writes the output · 77 no key, or refused · 78 configuration ·
  130, 143 interrupted";

/// Export Overmind Lab datasets, every row once, to Parquet, Arrow IPC or JSON Lines.
///
/// `overmind-export demo` shows it without an account.
#[derive(Debug, Parser)]
#[command(version, styles = STYLES, after_long_help = AFTER, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: global::Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(Box<export::ExportArgs>),
    Datasets(datasets::DatasetsArgs),
    Preview(preview::PreviewArgs),
    Verify(verify::VerifyArgs),
    Snapshot(snapshot::SnapshotArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Schedule(schedule::ScheduleArgs),
    Diff(diff::DiffArgs),
    Demo(Box<demo::DemoArgs>),
    Completions(completions::CompletionsArgs),
}

/// Runs the command with the arguments of this process, as the program `overmind-export` does. A result becomes
/// a message, a hint and an exit code.
pub fn main() -> ExitCode {
    let ended = panics::boundary(|| match usage::parse::<Arguments>() {
        Ok(arguments) => run(arguments),
        Err(code) => Ok(code),
    });
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

/// Runs a subcommand; gives the exit code of one that ended as it should.
fn run(arguments: Arguments) -> Result<u8> {
    let Arguments { command, global } = arguments;
    signals::outlive_file_size_limit()?;
    // Nobody watches a schedule: what it does is for a log.
    let screen = global.screen(matches!(command, Command::Schedule(_)));
    match command {
        Command::Diff(diff) => return diff.run(&global, &screen),
        Command::Export(export) => export.run(&global, &screen),
        Command::Datasets(datasets) => datasets.run(&global),
        Command::Preview(preview) => preview.run(&global),
        Command::Verify(verify) => verify.run(&global, &screen),
        Command::Snapshot(snapshot) => snapshot.run(&global, &screen),
        Command::Snapshots(snapshots) => snapshots.run(&global),
        Command::Schedule(schedule) => schedule.run(&global),
        Command::Demo(demo) => demo.run(&global, &screen),
        Command::Completions(completions) => completions.run(),
    }?;
    Ok(0)
}

/// Files that a command needs open at once for a single request at a time, and some to spare: a runtime
/// has six, an output with its folder, lock, journal and ids five, a connection one.
const FILES: usize = 16;
/// The pool of a runtime keeps its threads: where the system starts no further one, work waits for one
/// that is there.
const KEPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Runs a future to its end; what still blocks then does not hold the process up.
///
/// One thread serves all sockets: it moves and parses half a gigabyte a second or more, and a page that is done
/// where it arrived costs no other thread's waking. Encoding has threads of its own.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    // tokio and libraries on it panic without files or threads, so their absence is found out here.
    let files = (0..FILES).map(|_| File::open(NULL_DEVICE)).collect::<io::Result<Vec<_>>>();
    drop(files.map_err(|source| {
        let path = format!("{FILES} files at once").into();
        Error::Io { action: "open", path, source }
    })?);
    let started = thread::Builder::new().name("probe".to_owned()).spawn(|| {});
    drop(started.map_err(Error::no_thread)?.join());
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name("blocking")
        .thread_keep_alive(KEPT)
        .build()
        .map_err(|source| Error::Io { action: "make", path: "an event loop".into(), source })?;
    let runtime = Ending(Some(runtime));
    let Some(inner) = &runtime.0 else { return Err(Error::Internal("no event loop".to_owned())) };
    inner.spawn_blocking(|| {});
    inner.block_on(future)
}

/// Ends a runtime without waiting for what blocks, also when a panic passes.
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Writes to standard output, where data and summaries go.
fn print(lines: &Lines) -> Result<()> {
    print_raw(&lines.text())
}

/// As [`print`], for text that is a program's: scripts and JSON.
fn print_raw(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(stdout_failed)
}

fn stdout_failed(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::BrokenPipe => Error::OutputClosed,
        _ => Error::Io { action: "write", path: "standard output".into(), source },
    }
}

/// What was said to somebody who has closed the pipe: they have heard enough, and what else there is to
/// do is done all the same.
fn heard(said: Result<()>) -> Result<()> {
    match said {
        Err(Error::OutputClosed) => Ok(()),
        said => said,
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let json = serde_json::to_string(value)
        .map_err(|error| Error::Internal(format!("summary: {error}")))?;
    print_raw(&(harmless_json(&json) + "\n"))
}
