//! `report`: writes a page about an export.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    pin::pin,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;

use super::{
    global::Global, lines::Lines, progress::Screen, storage::Storage, value_limit::ValueLimit,
    values,
};
use crate::{
    Clock as _, DiffBy, Error, Job, JobNights, Location, ReadOptions, Report, ReportFile,
    ReportOptions, Result, StorageOptions, SystemClock,
    destination::resolve_links,
    plan_retention,
    readback::is_single_file,
    report::read_jobs,
    schedule::Timetable,
    snapshot_jobs,
    tasks::{Worker, blocking},
    text::counted,
};

/// Time that a report has to end after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// The staged file of the page, which a signal removes even if the reading hangs.
#[derive(Clone, Default)]
struct StagedPage(Arc<Mutex<Option<ReportFile>>>);

impl StagedPage {
    fn put(&self, file: ReportFile) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    fn take(&self) -> Option<ReportFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Write a page about an export: what it holds, whether it is complete, and some of its rows; what changed
/// since another one; or about the runs of jobs
#[derive(Debug, Args)]
#[command(after_help = "\
The page is one HTML file without links to elsewhere. It works offline, and can be mailed.

Examples:
  overmind-export report rows.parquet --open
  overmind-export report out/ -o out.html --mask '.persona, .input.messages[].content'
  overmind-export report out/ -o out.html --no-rows
  overmind-export report yesterday/ today/ -o changes.html
  overmind-export report /data/snapshots -o nights.html")]
pub(super) struct ReportArgs {
    /// A directory of parts or a single file, or a root of snapshots or the folder of a job in it: a path, or a
    /// URL such as s3://bucket/prefix/
    #[arg(value_name = "PATH")]
    export: OsString,
    /// A later export of the same dataset: the page is about it, and has what changed since the first one
    #[arg(value_name = "LATER")]
    later: Option<OsString>,
    /// The page, which ends in .html, or - for standard output [default: NAME.report.html in the current
    /// directory]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace the page if it exists
    #[arg(long)]
    overwrite: bool,
    /// Open the page in a browser
    #[arg(long)]
    open: bool,
    /// Number of rows to show: the first, random, the longest, and duplicates; at most 10000
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = values::positive::<usize>)]
    rows: usize,
    /// Show no rows, and no ids, personas, labels or roles: only counts, and the keys of JSON columns
    #[arg(long, conflicts_with = "rows")]
    no_rows: bool,
    /// Seed of the random rows: another seed chooses other rows
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::whole::<u64>)]
    seed: u64,
    /// With two exports, and from snapshot to snapshot: the column that identifies a row
    #[arg(long, value_name = "KEY", default_value = "id", value_parser = values::value::<DiffBy>)]
    by: DiffBy,
    /// With two exports, and from snapshot to snapshot: rows are equal if only the spelling of their JSON differs
    #[arg(long)]
    ignore_spelling: bool,
    /// Of the runs of jobs: number of snapshots whose rows to read, for what changed from one to the next; 0
    /// reads none
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = values::whole::<usize>)]
    snapshots: usize,
    /// Replace the values at these jq paths by null, such as '.persona, .input.messages[].content'; a path that
    /// matches nothing fails
    #[arg(long, value_name = "PATHS")]
    mask: Vec<String>,
    /// Leave these columns out
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    drop: Vec<String>,
    /// Where the record of the export is, if it was written with --record; with two exports, that of the later one
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    record: Option<PathBuf>,
    /// Directory to sort hashes in when they exceed 4 MiB [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", value_parser = super::path())]
    temp_dir: Option<PathBuf>,
    #[command(flatten)]
    value_limit: ValueLimit,
    #[command(flatten)]
    storage: Storage,
}

impl ReportArgs {
    /// Reads on a separate thread, so that a signal can stop it and no staged file stays behind.
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let named = |path: &Option<PathBuf>| path.clone().unwrap_or_default().into_os_string();
        let later = self.later.clone().unwrap_or_default();
        let places = [&*self.export, &*later, &*named(&self.output), &*named(&self.record)];
        let storage = self.storage.options(global, &places)?;
        let global = global.clone();
        let (screen, stop) = (screen.clone(), Arc::<AtomicBool>::default());
        let (told, staged) = (stop.clone(), StagedPage::default());
        let in_work = staged.clone();
        super::block_on(async move {
            let writing = async move {
                let write = move || {
                    let written = self.write((&storage, &global), &screen, told, &in_work);
                    // After an error, the file is still there.
                    drop(in_work.take());
                    written
                };
                Worker::start("report", "the report", write)?.join().await?
            };
            let mut writing = pin!(writing);
            tokio::select! {
                // Catch signals before the file is staged.
                biased;
                error = super::signals::interrupted_or_hung_up() => {
                    stop.store(true, Ordering::Relaxed);
                    // Do not wait longer than this: the disk may hang.
                    if tokio::time::timeout(GRACE, writing).await.is_err() {
                        let discard = blocking("removing the page", move || drop(staged.take()));
                        drop(tokio::time::timeout(GRACE, discard).await);
                    }
                    Err(error)
                }
                written = writing.as_mut() => written,
            }
        })
    }

    fn write(
        self,
        (storage, global): (&StorageOptions, &Global),
        screen: &Screen,
        stop: Arc<AtomicBool>,
        staged: &StagedPage,
    ) -> Result<()> {
        let first = Location::of(&self.export, storage)?;
        let later = self.later.as_ref().map(|path| Location::of(path, storage)).transpose()?;
        // The page is about the last one.
        let (before, export) = match later {
            Some(later) => (Some(first), later),
            None => (None, first),
        };
        let output = self.output.clone().unwrap_or_else(|| default_output(&export));
        let (to_stdout, opens) = (output == Path::new("-"), self.open);
        if to_stdout {
            super::require_stdout()?;
            if self.open {
                let why = "--open shows a file: give -o a path, or leave one of them out";
                return Err(Error::Usage(why.to_owned()));
            }
        }
        let read = [Some(&export), before.as_ref()].into_iter().flatten();
        if !to_stdout && read.into_iter().any(|it| is_inside(&output, it)) {
            let why = "it is inside the export, where readers would take it for data";
            return Err(Error::invalid("output", output.display().to_string(), why));
        }
        if let Some(before) = &before {
            for place in [before, &export] {
                if snapshot_jobs(place)?.is_some() {
                    return Err(Error::Usage(format!(
                        "{place} holds the snapshots of jobs, and a comparison needs two exports: give the folders of two \
                         snapshots, or one folder of snapshots alone"
                    )));
                }
            }
        }
        // The source comes first: a misspelled one must not be answered with advice to overwrite a page.
        for place in before.iter().chain([&export]).filter(|it| it.as_local().is_some()) {
            is_single_file(place)?;
        }
        // An output that cannot be written is refused before anything is read.
        let file = ReportFile::create(&output, self.overwrite, storage)?;
        let is_stopped = stop.clone();
        staged.put(file);
        let jobs = if before.is_none() { snapshot_jobs(&export)? } else { None };
        let (mut unread, mut unreadable, mut of) = (Vec::new(), Vec::new(), 0);
        let (report, what) = match jobs {
            Some((root, jobs)) => {
                if self.record.is_some() {
                    let why = "--record is for an export: leave it out for the runs of jobs";
                    return Err(Error::Usage(why.to_owned()));
                }
                let mut nights = nights_of((&root, &jobs), global, storage)?;
                let most = self.snapshots;
                let options = self.options(storage, stop)?;
                for nights in &mut nights {
                    nights.read_data(most, storage, &options)?;
                    let failures = nights.unread.iter();
                    unread.extend(failures.map(|it| (nights.job.clone(), it.error.clone())));
                    let problem = nights.problem.iter();
                    unreadable.extend(problem.map(|it| (nights.job.clone(), it.clone())));
                }
                of = jobs.len() as u64;
                let page = Report::of_nights(&export.name(), &nights, SystemClock.now());
                (page, counted(jobs.len() as u64, "job"))
            }
            None => {
                let options = self.options(storage, stop)?;
                let report = match &before {
                    Some(before) => Report::of_changes(before, &export, &options)?,
                    None => Report::of(&export, &options)?,
                };
                let rows = counted(report.rows(), "row");
                (report, rows)
            }
        };
        // Nobody waits any more if the file was taken away, or if the signal came while the page was made.
        let file = staged.take().filter(|_| !is_stopped.load(Ordering::Relaxed));
        let Some(file) = file else {
            return Err(Error::Interrupted { signal: "its caller", number: 2, hint: None });
        };
        let size = indicatif::HumanBytes(file.publish(&report)?);
        if !to_stdout {
            let said = format_args!("{what} · {size} · {}", output.display());
            screen.say(Lines::one(said));
        }
        // The page goes out whole, and then the exit code says that nights are missing on it.
        let failures = unread.iter().chain(&unreadable);
        failures.for_each(|(job, failure)| screen.print_failure(job, failure));
        if opens {
            open(&output)?;
        }
        if let Some((_, first)) = unreadable.first() {
            let (failed, exit_code) = (unreadable.len() as u64, first.exit_code);
            return Err(Error::Jobs { failed, of, exit_code });
        }
        match unread.len() as u64 {
            0 => Ok(()),
            count => {
                let count = counted(count, "snapshot");
                let why = format!(
                    "{count} could not be read, and the page shows the others: restore the files, or move the snapshot away"
                );
                Err(Error::Damaged { path: export.to_path(), why })
            }
        }
    }

    fn options(self, storage: &StorageOptions, stop: Arc<AtomicBool>) -> Result<ReportOptions> {
        let record = self.record.as_ref().map(|path| Location::of(path, storage)).transpose()?;
        let mut options = ReportOptions::default();
        options.rows = if self.no_rows { 0 } else { self.rows };
        options.seed = self.seed;
        options.mask = self.mask;
        options.drop = self.drop;
        options.by = self.by;
        options.ignore_spelling = self.ignore_spelling;
        options.read = ReadOptions { record, stop, ..self.value_limit.options(&[]) };
        options.temp_dir = self.temp_dir;
        Ok(options)
    }
}

/// Reads the runs of jobs. The configuration, if there is one, adds what retention decides and the next runs.
fn nights_of(
    (root, jobs): (&Location, &[String]),
    global: &Global,
    storage: &StorageOptions,
) -> Result<Vec<JobNights>> {
    let config = global.config()?;
    let known = config.map(|config| config.jobs).unwrap_or_default();
    let now = SystemClock.now();
    read_jobs(jobs, |name| {
        let mut nights = JobNights::read(root, name)?;
        let is_same = |job: &&Job| {
            let here = Location::of(&job.root, storage).map(|it| canonical(&it));
            job.name == name && here.is_ok_and(|here| here == canonical(root))
        };
        if let Some(job) = known.iter().find(is_same) {
            nights.retention = plan_retention(job, storage)?;
            if let Some(times) = Timetable::of(job) {
                nights.missed = nights.last_ended().map(|last| times.missed_since(last, now));
                nights.next = times.next_starts(now);
            }
        }
        Ok(nights)
    })
}

/// The same text for a place, however it was written.
fn canonical(place: &Location) -> String {
    let path = place.as_local().and_then(|path| path.canonicalize().ok());
    let text = path.map_or_else(|| place.to_string(), |path| path.display().to_string());
    text.trim_end_matches('/').to_owned()
}

/// The page of an export in the current directory.
fn default_output(export: &Location) -> PathBuf {
    let name = export.name();
    let stem = match Path::new(&name).file_stem() {
        Some(stem) if !export.as_local().is_some_and(Path::is_dir) => {
            // rows.jsonl.gz has two extensions.
            let stem = stem.to_string_lossy().into_owned();
            stem.strip_suffix(".jsonl").or(stem.strip_suffix(".csv")).unwrap_or(&stem).to_owned()
        }
        _ => name,
    };
    let stem = if stem.is_empty() { "export" } else { &stem };
    PathBuf::from(format!("{stem}.report.html"))
}

/// Whether an output lies in the directory of the export.
fn is_inside(output: &Path, export: &Location) -> bool {
    let Some(export) = export.as_local() else {
        let (output, export) = (output.to_string_lossy(), export.to_string());
        let rest = output.strip_prefix(export.trim_end_matches('/'));
        return rest.is_some_and(|rest| rest.starts_with('/'));
    };
    // The page is written where a link leads.
    let output = resolve_links(output).unwrap_or_else(|_| output.to_owned());
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    let export = export.canonicalize();
    folder.is_ok_and(|folder| {
        export.is_ok_and(|export| export.is_dir() && folder.starts_with(export))
    })
}

/// Opens a page with the program that the system has for it.
fn open(page: &Path) -> Result<()> {
    let program = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "explorer",
        _ => "xdg-open",
    };
    // The opener cannot take an absolute path for one of its options.
    let page = std::path::absolute(page).map_err(Error::io("open", page))?;
    let mut command = Command::new(program);
    command.arg(&page).stdin(Stdio::null()).stdout(Stdio::null());
    let ended = command.stderr(Stdio::null()).status();
    let failed = |source: std::io::Error| Error::Io {
        action: "open a browser with",
        path: program.into(),
        source,
    };
    match ended.map_err(failed)? {
        // explorer.exe fails even if it has opened the page.
        status if status.success() || cfg!(windows) => Ok(()),
        status => Err(failed(std::io::Error::other(status.to_string()))),
    }
}
