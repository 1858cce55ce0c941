//! Pages to look at: what an export holds, whether it is complete, and some of its rows; and how the runs of jobs went. A
//! page is one HTML file without any link to elsewhere.
//!
//! ```text
//! source ══► read (threads) ─► profile, sample ─► page (templates) ─► file (published in one step)
//! ```
//!
//! - **One pass, bounded memory.** Sketches estimate what cannot be counted in bounded memory; the page marks estimates.
//! - **The page depends only on the rows and the options.** It has no clock, host name or random value in it. The page
//!   about runs says as of which time it is: the caller gives it.
//! - **Text from outside is only text.** The templates escape it. The Content-Security-Policy of the page allows its own
//!   style and script and nothing else, and the page has no data for the script but what it shows.
//! - It knows exports and histories, not the command.

mod changed_places;
mod changed_row;
mod changed_sample;
mod changes;
#[cfg(feature = "snapshots")]
mod drift;
mod file;
mod json_view;
mod masked;
mod named_ids;
#[cfg(feature = "snapshots")]
mod nights;
#[cfg(feature = "snapshots")]
mod odd;
mod order;
mod page;
mod profile;
mod read;
mod sample;
#[cfg(feature = "snapshots")]
mod shares;
mod source;
mod value_changes;
mod values;
mod wanted;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

pub use self::file::ReportFile;
#[cfg(feature = "cli")]
pub(crate) use self::nights::read_jobs;
#[cfg(feature = "snapshots")]
pub(crate) use self::nights::{MOST_MISSED, history_limit};
pub(crate) use self::page::policy;
use self::{
    changes::ChangesSeen,
    masked::MaskedValues,
    read::{ReadPlan, RowsSeen, read},
    sample::{MOST_ROWS, SampleSize},
    source::{DROP, ExportFacts, ReportSource},
    values::require_masked,
};
#[cfg(feature = "snapshots")]
pub use self::{
    drift::{SnapshotChange, SnapshotData},
    nights::{JobNights, UnreadSnapshot, snapshot_jobs},
};
use crate::{
    diff::DiffBy,
    error::{Error, Result},
    location::Location,
    readback::{ReadOptions, unknown_column},
    transform::{Shaper, Transform},
};

/// The options of a report.
///
/// ```
/// use overmind_export::ReportOptions;
///
/// let mut options = ReportOptions::default();
/// options.mask = vec![".persona".to_owned(), ".input.messages[].content".to_owned()];
/// assert_eq!((options.rows, options.seed), (200, 0));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReportOptions {
    /// Number of rows to show; default 200, at most 10,000. With 0, the page has no row and no value of a row: no
    /// personas, labels or roles, and no ids.
    pub rows: usize,
    /// Seed of the random rows; default 0.
    pub seed: u64,
    /// The paths whose values are replaced by null before anything looks at them, like
    /// [`Transform::mask`](crate::Transform::mask). Several paths can be in one text, with commas between them.
    pub mask: Vec<String>,
    /// The names of the columns to leave out. They are not read, unless the export states a digest of its rows.
    pub drop: Vec<String>,
    /// The key that identifies rows when two exports are compared; default [`DiffBy::Id`].
    pub by: DiffBy,
    /// Whether rows that differ only in the spelling of their JSON are equal when two exports are compared, like
    /// [`DiffOptions::ignore_spelling`](crate::DiffOptions::ignore_spelling); default `false`.
    pub ignore_spelling: bool,
    /// How to read the export. All columns are read, whatever [`columns`](ReadOptions::columns) says.
    pub read: ReadOptions,
    /// Folder where hashes of inputs beyond 4 MiB are sorted; default the system's temporary directory.
    pub temp_dir: Option<PathBuf>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            rows: 200,
            seed: 0,
            mask: Vec::new(),
            drop: Vec::new(),
            by: DiffBy::default(),
            ignore_spelling: false,
            read: ReadOptions::default(),
            temp_dir: None,
        }
    }
}

impl ReportOptions {
    /// Returns how to read an export: all columns but those that are left out and not masked.
    fn reading(&self, mask: Option<&Shaper>) -> ReadOptions {
        let masked = mask.map(Shaper::columns_read).unwrap_or_default();
        let unused = self.drop.iter().filter(|name| !masked.contains(&name.as_str()));
        let unused = unused.cloned().collect();
        ReadOptions { columns: Vec::new(), unused, keeps_views: true, ..self.read.clone() }
    }
}

/// A page about an export, or about the runs of jobs.
///
/// ```
/// use overmind_export::{
///     Client, Export, ExportOptions, ExportPlan, Location, Report, ReportOptions, demo,
/// };
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dataset = demo::Dataset::generated(300, 7);
/// # let id = dataset.id;
/// # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
/// # let folder = tempfile::tempdir()?;
/// # let rows = folder.path().join("rows.parquet");
/// # let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
/// Export::new(client, ExportPlan::new(ExportOptions::new(id, &rows))?).run().await?;
/// let report = Report::of(&Location::from(rows.as_path()), &ReportOptions::default())?;
/// assert_eq!(report.rows(), 300);
/// assert!(report.as_html().starts_with("<!DOCTYPE html>"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Report {
    html: String,
    rows: u64,
}

/// What the page about an export shows.
struct ExportReport {
    title: String,
    facts: ExportFacts,
    seen: RowsSeen,
    /// Whether the page shows rows and values.
    shows_rows: bool,
    /// The paths whose values the report has replaced by null.
    mask: Vec<String>,
    /// These paths, and those that the export has masked.
    masked: MaskedValues,
    drop: Vec<String>,
    seed: u64,
    /// What changed since another export.
    changes: Option<ChangesSeen>,
    /// Whether nobody waits for the page any more.
    stop: Arc<AtomicBool>,
}

impl ExportReport {
    fn rows(&self) -> u64 {
        self.seen.profile.rows
    }
}

impl Report {
    /// Reads an export and makes its report. Blocks.
    ///
    /// All rows are read once. Memory is bounded: about 64 MiB, and more only if single values are large.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Store`] when the export does not exist or cannot be read. [`Error::Damaged`] when it is
    /// not an export, or its rows are not those that it states. [`Error::ChangedCells`] when it is CSV with protected
    /// cells. [`Error::Invalid`], [`Error::Expression`] or [`Error::Usage`] for an option that is not valid.
    /// [`Error::UnmatchedPath`] for a path of the mask that leads to no value. [`Error::Interrupted`] when the stop flag
    /// of the options is set.
    pub fn of(export: &Location, options: &ReportOptions) -> Result<Self> {
        Self::read(None, export, options)
    }

    /// Makes the report of the second export, with what changed since the first one. Blocks. Memory is that of
    /// [`diff`](crate::diff()), at most 64 bytes a row, in addition to that of [`of`](Self::of).
    ///
    /// The place of the record in the options is that of the second export.
    ///
    /// # Errors
    /// Those of [`of`](Self::of) and of [`diff`](crate::diff()).
    pub fn of_changes(
        before: &Location,
        after: &Location,
        options: &ReportOptions,
    ) -> Result<Self> {
        Self::read(Some(before), after, options)
    }

    fn read(before: Option<&Location>, export: &Location, options: &ReportOptions) -> Result<Self> {
        if options.rows > MOST_ROWS {
            let why = "a report shows at most 10,000 rows";
            return Err(Error::invalid("number of rows", options.rows.to_string(), why));
        }
        let masking = options.mask.iter().fold(Transform::new(), |all, it| all.mask(it.as_str()));
        let mask = Shaper::compile(&masking)?.map(Arc::new);
        let reading = options.reading(mask.as_deref());
        let source = ReportSource::open(export, &reading)?;
        if let Some(mask) = &mask {
            require_masked(mask, &source.facts, &options.drop)?;
        }
        let mut unread = source.unread.clone();
        if let Some(before) = before {
            require_known(export, &source.facts.foreign, &options.drop)?;
            // No option names the record of the earlier export.
            let reading = ReadOptions { record: None, record_option: None, ..reading };
            let other = ReportSource::open(before, &reading)?;
            require_known(before, &other.facts.foreign, &options.drop)?;
            unread.extend(other.unread);
        }
        let plan = ReadPlan {
            size: SampleSize { all: options.rows, seed: options.seed },
            drop: options.drop.clone(),
            unread,
            mask: mask.clone(),
            temp_dir: options.temp_dir.clone().unwrap_or_else(std::env::temp_dir),
        };
        let seen = read(&source, &plan)?;
        let changes = before.map(|it| ChangesSeen::read(it, export, options, mask.as_deref()));
        let changes = changes.transpose()?;
        let mask = match mask {
            Some(mask) => {
                let checked = mask.check_replaced(seen.profile.rows, &seen.profile.replaced, &[]);
                checked.map_err(not_delivered)?;
                mask.recorded().mask.clone()
            }
            None => Vec::new(),
        };
        let report = ExportReport {
            title: source.facts.title(&source.place),
            masked: MaskedValues::of(&source.facts, &mask),
            facts: source.facts,
            seen,
            shows_rows: options.rows > 0,
            mask,
            drop: options.drop.clone(),
            seed: options.seed,
            changes,
            stop: options.read.stop.clone(),
        };
        let html = page::render(&report).into_string();
        // After a signal, rows are missing on the page.
        options.read.go_on()?;
        Ok(Self { html, rows: report.rows() })
    }

    /// Returns the number of rows that were read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the page as one HTML document.
    pub fn as_html(&self) -> &str {
        &self.html
    }
}

/// Refuses a column that no export has, unless it is dropped: a comparison does not leave out columns silently.
fn require_known(place: &Location, foreign: &[String], drop: &[String]) -> Result<()> {
    match foreign.iter().find(|name| !drop.contains(name)) {
        Some(name) => Err(Error::column(place.to_path(), unknown_column(name), Some(DROP))),
        None => Ok(()),
    }
}

/// The error of a report that nobody has seen.
fn not_delivered(error: Error) -> Error {
    match error {
        Error::UnmatchedPath { option, path, rows, meant, .. } => {
            Error::UnmatchedPath { option, path, rows, meant, delivered: false }
        }
        error => error,
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("rows", &self.rows()).finish_non_exhaustive()
    }
}
