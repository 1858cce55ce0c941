//! The command line, with one file per subcommand. It passes the typed arguments to the library and makes no
//! decisions of its own.

mod abort;
mod begin;
mod check;
mod commit;
mod completions;
mod convert;
mod datasets;
mod demo;
mod diff;
mod export;
mod first_rows;
mod flags;
mod global;
mod history;
mod latest;
mod lines;
mod man;
mod missing;
mod nesting;
mod output;
mod part;
mod planned;
mod preview;
mod progress;
mod prune;
mod query;
mod report;
mod row_table;
mod schedule;
mod schema;
mod signals;
mod snapshot;
mod snapshots;
mod status;
mod storage;
mod table;
mod transform;
mod usage;
mod value_limit;
mod verify;

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use crate::{
    Error, Failure, Result,
    config::values,
    error::{limits, panics},
    text::harmless_json,
};
use clap::{
    Parser, Subcommand,
    builder::{
        PathBufValueParser, TypedValueParser,
        styling::{AnsiColor, Styles},
    },
};
use tokio::runtime::{Builder, Runtime};

use self::lines::Lines;
pub use self::progress::{TerminalBar, TerminalProgress};

#[cfg(not(windows))]
const NULL_DEVICE: &str = "/dev/null";
#[cfg(windows)]
const NULL_DEVICE: &str = "NUL";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Environment:
  OVERMIND_LAB_API_KEY, OVERMIND_API_KEY    API key, unless --api-key-file is given
  OVERMIND_LAB_BASE_URL, OVERMIND_API_URL   base URL, unless --base-url is given
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY         proxies
  AWS_*, GOOGLE_*, AZURE_STORAGE_*          credentials and settings of object stores

Exit codes: 0 done · 1 diff or schema found differences, or snapshots --check a problem · 2 usage
  error · 65 wrong, damaged or incomplete data · 66 no such dataset or plan · 69 the API stayed
  unavailable · 70 a bug · 73 the output exists or cannot be created · 74 I/O error or machine limit ·
  75 another run writes the output or took its lock · 77 no API key, or the API refused it ·
  78 configuration error · 130, 143 interrupted";

/// Export Overmind Lab datasets to Parquet, Arrow IPC, JSON Lines or CSV, with every row exactly once.
///
/// To try it without an account, run `overmind-export demo`.
#[derive(Debug, Parser)]
#[command(version, styles = STYLES, after_long_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: global::Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(Box<export::ExportArgs>),
    Begin(Box<begin::BeginArgs>),
    Part(Box<part::PartArgs>),
    Commit(commit::CommitArgs),
    Status(status::StatusArgs),
    Abort(abort::AbortArgs),
    Convert(Box<convert::ConvertArgs>),
    Datasets(datasets::DatasetsArgs),
    Preview(Box<preview::PreviewArgs>),
    Verify(verify::VerifyArgs),
    Snapshot(snapshot::SnapshotArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Latest(latest::LatestArgs),
    History(history::HistoryArgs),
    Prune(prune::PruneArgs),
    Check(check::CheckArgs),
    Schedule(schedule::ScheduleArgs),
    Diff(diff::DiffArgs),
    Schema(Box<schema::SchemaArgs>),
    Report(Box<report::ReportArgs>),
    Demo(Box<demo::DemoArgs>),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the program `overmind-export` with the arguments of this process. Prints an error as a message with a
/// hint, and returns the exit code.
pub fn main() -> ExitCode {
    ExitCode::from(main_with(env::args_os()))
}

/// Runs the program `overmind-export` like [`main`], with these arguments, of which the first is the name of the
/// program. Installs handlers of signals and a logger, and changes how panics are reported, so call it once a process.
pub fn main_with(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let json = usage::logs_json(&arguments);
    let ended = panics::boundary(|| match usage::parse::<Arguments>(&arguments, json)? {
        ControlFlow::Continue(arguments) => run(arguments),
        ControlFlow::Break(code) => Ok(code),
    });
    let (code, is_limit, report) = match ended {
        Ok(code) => (code, false, String::new()),
        // The reader closed the pipe because it needs no more output. This is not a failure.
        Err(Error::OutputClosed) => (0, false, String::new()),
        Err(error) => {
            let report = lines::report("", &Failure::new(&error), json);
            (error.exit_code(), limits::hint(&error).is_some(), report)
        }
    };
    let mut stderr = anstream::stderr().lock();
    // Ignore a write error: standard error is closed, so the error cannot be shown.
    drop(stderr.write_all(report.as_bytes()));
    // Do not repeat a panic that the report already names, unless it has a backtrace. Show no panic if a limit of
    // the machine was reached: some libraries panic when a file or thread cannot be created, which is not a bug.
    let told = |seen: &panics::Panic| report.contains(&seen.place) && !seen.text.contains('\n');
    let mut all = panics::seen();
    all.dedup_by(|a, b| a.place == b.place);
    for seen in all.iter().filter(|seen| !is_limit && !told(seen)) {
        let text = format!("warning: {}\n  hint: this is a bug: please report it", seen.text);
        let text = if json { lines::log_object("WARN", text) } else { text + "\n" };
        drop(stderr.write_all(text.as_bytes()));
    }
    code
}

/// Runs a subcommand. On success, returns the exit code: 0, or 1 if `diff` or `snapshots --check` found something.
fn run(arguments: Arguments) -> Result<u8> {
    let Arguments { command, global } = arguments;
    signals::outlive_file_size_limit()?;
    // Only `schedule` logs by default, because it runs unattended.
    let screen = global.screen(matches!(command, Command::Schedule(_)));
    match command {
        Command::Diff(diff) => return diff.run(&global, &screen),
        Command::Schema(schema) => return schema.run(&global),
        Command::Snapshots(snapshots) => return snapshots.run(&global, &screen),
        Command::Export(export) => export.run(&global, &screen),
        Command::Begin(begin) => begin.run(&global, &screen),
        Command::Part(part) => part.run(&global, &screen),
        Command::Commit(commit) => commit.run(&global, &screen),
        Command::Status(status) => status.run(&global),
        Command::Abort(abort) => abort.run(&global, &screen),
        Command::Convert(convert) => convert.run(&global, &screen),
        Command::Datasets(datasets) => datasets.run(&global, &screen),
        Command::Preview(preview) => preview.run(&global, &screen),
        Command::Verify(verify) => verify.run(&global, &screen),
        Command::Snapshot(snapshot) => snapshot.run(&global, &screen),
        Command::Latest(latest) => latest.run(&global, &screen),
        Command::History(history) => history.run(&global, &screen),
        Command::Prune(prune) => prune.run(&global, &screen),
        Command::Check(check) => check.run(&global, &screen),
        Command::Schedule(schedule) => schedule.run(&global),
        Command::Report(report) => report.run(&global, &screen),
        Command::Demo(demo) => demo.run(&global, &screen),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }?;
    Ok(0)
}

/// Returns a parser of local paths, which need not be UTF-8.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(values::path)
}

/// Number of files that a command opens with one request in flight: 6 for the runtime, 5 for an output (with its
/// folder, lock, journal and ids), 1 for a connection, and 4 in reserve.
const OPEN_FILES: usize = 16;
/// Idle time after which the runtime ends a thread of its pool: one year, which in practice means never. Work can
/// then wait for an existing thread, even if the system refuses to start a new one.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Runs a future to its end. Does not wait for blocking tasks that are still running.
///
/// One thread serves all sockets and parses pages below 1 MiB, so no other thread has to wake up for a page. It
/// handles at least 0.5 GB per second. Larger pages are parsed on the blocking pool. Encoding has its own threads.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    // tokio and the libraries that use it panic if they cannot open files or start threads. Test both here
    // first.
    let files = (0..OPEN_FILES).map(|_| File::open(NULL_DEVICE)).collect::<io::Result<Vec<_>>>();
    drop(files.map_err(|source| {
        let path = format!("{OPEN_FILES} files at once").into();
        Error::Io { action: "open", path, source }
    })?);
    let started = thread::Builder::new().name("probe".to_owned()).spawn(|| {});
    drop(started.map_err(Error::no_thread)?.join());
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name("blocking")
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .build()
        .map_err(|source| Error::Io { action: "start", path: "an event loop".into(), source })?;
    let runtime = BackgroundShutdown(Some(runtime));
    let Some(inner) = &runtime.0 else { return Err(Error::Internal("no event loop".to_owned())) };
    // Start the first thread of the pool now, while threads can still be started.
    inner.spawn_blocking(|| {});
    inner.block_on(future)
}

/// Ends a runtime without waiting for blocking tasks, also during a panic.
struct BackgroundShutdown(Option<Runtime>);

impl Drop for BackgroundShutdown {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Writes lines to standard output, which is for data and summaries.
fn print(lines: &Lines) -> Result<()> {
    print_raw(&lines.text())
}

/// Writes text to standard output without changes, for example a script or JSON. The caller escapes the text.
fn print_raw(text: &str) -> Result<()> {
    require_stdout()?;
    let mut stdout = anstream::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(stdout_failed)
}

/// Requires a standard output that can be written. A write to a closed one would not fail, because the runtime opens
/// `/dev/null` in its place and ignores the error of a closed file.
fn require_stdout() -> Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::{OFlags, fcntl_getfl};
        // `closed_stdout.c` makes a closed standard output one that can only be read.
        let flags = fcntl_getfl(io::stdout());
        if flags.is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::RDONLY) {
            return Err(Error::Stdout { source: rustix::io::Errno::BADF.into() });
        }
    }
    Ok(())
}

fn stdout_failed(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::BrokenPipe => Error::OutputClosed,
        _ => Error::Stdout { source },
    }
}

/// Ignores a closed standard output, so that the command still does the rest of its work.
fn ignore_closed_stdout(said: Result<()>) -> Result<()> {
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
