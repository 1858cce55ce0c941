//! The settings of a job: its datasets, destination, schedule and retention. This module does not run jobs.

use std::{ffi::OsString, fmt, path::PathBuf, str::FromStr, time::Duration};

use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    client::Query,
    error::Error,
    export::NestingOptions,
    location::{Location, StorageOptions},
    record::place::HIDDEN,
    sink::{Compression, Format, JsonColumns, ParquetEncoding},
    transform::Transform,
};

/// A job of the configuration file, with its defaults filled in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Job {
    /// The job's name, which is also a folder under the root.
    pub name: String,
    /// Number of the job's first line in the configuration file, from 1.
    pub line: usize,
    /// The datasets of the job.
    pub selection: Selection,
    /// The API's filters, and the order of the rows.
    pub query: Query,
    /// A directory, or the URL of a prefix in an object store. Relative paths are already resolved against the
    /// folder of the configuration file.
    pub root: PathBuf,
    /// The root as written in the file, if it is a relative path.
    pub relative_root: Option<String>,
    /// The path of a link to the newest snapshot; default no link. Only for a root on a file system.
    pub link: Option<PathBuf>,
    /// Settings of the root's object store. The settings of a run take precedence over them.
    pub storage: StorageOptions,
    /// The format; default Parquet.
    pub format: Option<Format>,
    /// The compression codec. The default depends on the format.
    pub compression: Option<Compression>,
    /// How Parquet encodes values; default [`ParquetEncoding::DeltaLength`]. `None` for other formats.
    pub parquet_encoding: Option<ParquetEncoding>,
    /// How JSON columns are held; default [`JsonColumns::Value`] for JSON Lines, [`JsonColumns::Text`] for others.
    pub json_columns: Option<JsonColumns>,
    /// How the types of nested columns are chosen for the first snapshot; default those that hold all its values. Later
    /// snapshots have the pinned types.
    pub nesting: NestingOptions,
    /// Whether CSV begins with a byte order mark; default no.
    pub csv_bom: bool,
    /// Whether cells of CSV that a spreadsheet would run as a formula get a `'` before them; default no.
    pub csv_safe: bool,
    /// Whether each snapshot has a dataset card, `README.md`; default no.
    pub dataset_card: bool,
    /// How to choose the rows to store, and columns to compute; default all rows, and no columns.
    pub transform: Transform,
    /// The names of the columns, in this order; default all.
    pub columns: Option<Vec<String>>,
    /// The names of columns to leave out; default none.
    pub drop: Vec<String>,
    /// Number of rows to request per page; default 100, the API's maximum.
    pub page_size: Option<u32>,
    /// Number of rows per part; default 250,000.
    pub rows_per_file: Option<u64>,
    /// Maximum number of passes; default 3. If the dataset changes during a pass, the export needs another one.
    pub max_passes: Option<u32>,
    /// The directory for the external merge sort of ids that need more than 4 MiB; default the system's
    /// temporary directory.
    pub temp_dir: Option<PathBuf>,
    /// How to find out that a dataset is unchanged; default [`Unchanged::Metadata`].
    pub unchanged: Unchanged,
    /// The counts for retention. By default, all snapshots are kept.
    pub keep: Option<Keep>,
    /// The schedule; `None` for a job that the scheduler does not run.
    pub schedule: Option<Schedule>,
    /// The time zone of the schedule, and of the days, weeks and months of retention; default UTC.
    pub timezone: Tz,
    /// Whether one run makes up for missed runs; default yes.
    pub catch_up: bool,
    /// Maximum jitter, which is an extra delay of a scheduled run; default zero.
    pub jitter: Duration,
    /// A program and its arguments. The program gets the result of each scheduled run as JSON.
    pub on_result: Option<Vec<OsString>>,
}

impl Job {
    /// Returns the folder of the job's snapshots.
    pub(crate) fn folder(&self, storage: &StorageOptions) -> crate::Result<Location> {
        Ok(Location::of(&self.root, &self.storage_with(storage))?.child(&self.name))
    }

    /// Returns the folder of everything that belongs to the job and is not data.
    pub(crate) fn hidden(&self, storage: &StorageOptions) -> crate::Result<Location> {
        let root = Location::of(&self.root, &self.storage_with(storage))?;
        Ok(root.child(HIDDEN).child(&self.name))
    }

    /// Whether the snapshots have nested columns, with a pinned schema.
    pub(crate) fn is_nested(&self) -> bool {
        self.json_columns == Some(JsonColumns::Nested)
    }

    /// Returns whether the job's snapshots may be of this dataset. If the job names one dataset, snapshots of another
    /// are older than a change of the configuration.
    pub(crate) fn may_store(&self, dataset: Uuid) -> bool {
        match self.selection {
            Selection::Dataset(id) => id == dataset,
            Selection::Latest(_) | Selection::All(_) => true,
        }
    }

    /// Returns the job's object store settings, combined with the settings of a run.
    pub(crate) fn storage_with(&self, storage: &StorageOptions) -> StorageOptions {
        self.storage.clone().and(storage)
    }
}

/// The datasets that a job exports.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// The dataset with this id.
    Dataset(Uuid),
    /// The dataset with the highest version among those that match the filters. If several datasets have this
    /// version, the newest of them.
    Latest(DatasetName),
    /// All datasets that match the filters.
    All(DatasetName),
}

/// A pattern for dataset names, such as `support-*`. The default matches every dataset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatasetName(pub(super) Option<glob::Pattern>);

impl DatasetName {
    /// Returns whether a dataset with this name matches. A dataset without a name matches only the default.
    pub fn matches(&self, name: Option<&str>) -> bool {
        self.0.as_ref().is_none_or(|pattern| name.is_some_and(|name| pattern.matches(name)))
    }

    /// Returns the pattern as written in the file; `None` for the default.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_ref().map(glob::Pattern::as_str)
    }
}

/// The rule that decides whether a dataset is unchanged. An unchanged dataset is not stored again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unchanged {
    /// Its id, row count and metadata in the list of datasets equal those of the last snapshot. Nothing is
    /// downloaded.
    #[default]
    Metadata,
    /// The digest of its rows equals that of the last snapshot. The rows are downloaded to compute it.
    Content,
    /// Never: each run stores a snapshot.
    Never,
}

/// The four counts of retention. A snapshot is kept if at least one count covers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// Number of newest snapshots.
    pub last: u32,
    /// Number of days. A day without a snapshot does not count. Covers the newest snapshot of each day.
    pub daily: u32,
    /// Number of weeks. A week without a snapshot does not count. Covers the newest snapshot of each week.
    /// Weeks begin on Monday.
    pub weekly: u32,
    /// Number of months. A month without a snapshot does not count. Covers the newest snapshot of each month.
    pub monthly: u32,
}

/// The fields of a schedule: their names, and the values that they take.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, or L for the last"),
    ("month", "1 to 12, or jan to dec"),
    ("day of the week", "0 to 7, or sun to sat"),
];

/// The schedule of a job: five cron fields, `minute hour day month weekday`, in the job's time zone.
///
/// Months and weekdays can be names. Shortcuts such as `@daily` are valid too.
///
/// ```
/// use overmind_export::Schedule;
///
/// assert!("30 2 * * mon-fri".parse::<Schedule>().is_ok());
/// let error = "30 2 * *".parse::<Schedule>().unwrap_err();
/// assert!(error.to_string().contains("it has 4 fields, not the five"));
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// Parses the fields; the error is the reason why they are not valid.
    fn parse(text: &str) -> Result<Self, String> {
        let fields = text.split_whitespace().count();
        let is_shortcut = text.trim_start().starts_with('@');
        if fields != 5 && !is_shortcut {
            let five = FIELDS.map(|(name, _)| name).join(", ");
            return Err(format!("it has {fields} fields, not the five: {five}"));
        }
        let cron = parse_cron(text).map_err(|error| match (error, wrong_field(text)) {
            _ if is_shortcut => {
                "the shortcuts are @hourly, @daily, @weekly, @monthly and @yearly".to_owned()
            }
            (_, Some(why)) => why,
            (
                CronError::InvalidPattern(why)
                | CronError::IllegalCharacters(why)
                | CronError::ComponentError(why),
                None,
            ) => why,
            (error, None) => error.to_string(),
        })?;
        // Two leap days are at most eight years apart. So a schedule that ever matches also matches after any
        // fixed date.
        let any = Utc.timestamp_opt(1_767_225_600, 0).single().unwrap_or_default();
        cron.find_next_occurrence(&any, false).map_err(|_| "no date ever matches it".to_owned())?;
        Ok(Self { text: text.to_owned(), cron })
    }

    /// Returns the schedule as written in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the parsed pattern.
    pub(crate) fn cron(&self) -> &Cron {
        &self.cron
    }
}

fn parse_cron(text: &str) -> Result<Cron, CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text)
}

/// Returns the mistake in the first field that is not valid by itself. The parser's own errors do not name the field.
fn wrong_field(text: &str) -> Option<String> {
    text.split_whitespace().zip(FIELDS).enumerate().find_map(|(index, (field, (name, range)))| {
        let mut alone = ["*"; 5];
        *alone.get_mut(index)? = field;
        let is_wrong = parse_cron(&alone.join(" ")).is_err();
        is_wrong.then(|| format!("its {name} is {field:?}: use {range}"))
    })
}

impl FromStr for Schedule {
    type Err = Error;

    /// # Errors
    /// [`Error::Invalid`] with the reason why the schedule is not valid.
    fn from_str(text: &str) -> crate::Result<Self> {
        Self::parse(text).map_err(|why| Error::invalid("schedule", text, why))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
