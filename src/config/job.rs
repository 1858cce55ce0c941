//! A job, decided: which datasets, where to, when, and what is kept. Touches nothing.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

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
    batch::Column,
    client::Query,
    error::Error,
    location::{Location, StorageOptions},
    sink::{Compression, Format},
};

/// A job of the configuration file, with its defaults filled in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Job {
    /// Its name: a folder under the root.
    pub name: String,
    /// The line of the file that it begins on, from 1.
    pub line: usize,
    /// Which datasets it takes.
    pub selection: Selection,
    /// The API's filters, and the order of the rows.
    pub query: Query,
    /// A directory or the URL of a prefix in an object store; a relative path of the file has been
    /// resolved against the file's folder.
    pub root: String,
    /// Settings of the object store of the root; those that are given to a run win over them.
    pub storage: StorageOptions,
    /// The format; default Parquet.
    pub format: Option<Format>,
    /// The codec; default the format's own.
    pub compression: Option<Compression>,
    /// The columns; default all.
    pub columns: Option<Vec<Column>>,
    /// Rows to ask for in a page; default 100, the API's cap.
    pub page_size: Option<u32>,
    /// Rows in a part; default 250,000.
    pub rows_per_file: Option<u64>,
    /// Times to read the whole dataset at most, as it may change during the export; default 3.
    pub max_passes: Option<u32>,
    /// Where ids beyond 4 MiB are sorted; default the system's temporary directory.
    pub temp_dir: Option<PathBuf>,
    /// When a dataset counts as unchanged; default [`Unchanged::Metadata`].
    pub unchanged: Unchanged,
    /// Which snapshots are kept; default all.
    pub keep: Option<Keep>,
    /// When it runs; `None` for a job that is only run by hand.
    pub schedule: Option<Schedule>,
    /// Whose days its schedule and its retention count; default UTC.
    pub timezone: Tz,
    /// Whether a run that was missed is made up for, once; default yes.
    pub catch_up: bool,
    /// How much later than scheduled a run may start; default not at all.
    pub jitter: Duration,
    /// A program and its arguments, which get the result of each scheduled run as JSON.
    pub on_result: Option<Vec<String>>,
}

impl Job {
    /// The folder of its snapshots.
    pub(crate) fn folder(&self, storage: &StorageOptions) -> crate::Result<Location> {
        Ok(Location::parse(&self.root, &self.storage_with(storage))?.child(&self.name))
    }

    /// Its settings of the object store, with those of a run.
    pub(crate) fn storage_with(&self, storage: &StorageOptions) -> StorageOptions {
        self.storage.clone().and(storage)
    }
}

/// Which datasets a job takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// This one.
    Dataset(Uuid),
    /// Of those that the filters leave, the one with the highest version, then the newest.
    Latest(DatasetName),
    /// Each that the filters leave.
    All(DatasetName),
}

/// A pattern that a dataset's name must match, such as `support-*`; the default matches any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatasetName(pub(super) Option<glob::Pattern>);

impl DatasetName {
    /// Whether a dataset with this name is meant; one without a name only if any is.
    pub fn matches(&self, name: Option<&str>) -> bool {
        self.0.as_ref().is_none_or(|pattern| name.is_some_and(|name| pattern.matches(name)))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_ref().map(glob::Pattern::as_str)
    }
}

/// When a dataset counts as unchanged, so that it is not stored again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unchanged {
    /// When its id, row count and metadata in the list of datasets are those of the last snapshot:
    /// nothing is downloaded.
    #[default]
    Metadata,
    /// When the digest of its rows is that of the last snapshot: it is downloaded to know.
    Content,
    /// Never: each run stores a snapshot.
    Never,
}

/// How many snapshots are kept, by each of four counts; one that any of them keeps stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// The newest ones.
    pub last: u32,
    /// The newest of each of the last days that have one.
    pub daily: u32,
    /// The newest of each of the last weeks that have one; a week begins on Monday.
    pub weekly: u32,
    /// The newest of each of the last months that have one.
    pub monthly: u32,
}

/// When a job runs: five fields of cron, `minute hour day month weekday`, with names, in the job's time
/// zone; or `@daily` and the like.
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
    /// Reads the fields; the error says what is wrong with them.
    fn parse(text: &str) -> Result<Self, String> {
        let fields = text.split_whitespace().count();
        if fields != 5 && !text.trim_start().starts_with('@') {
            let five = "minute, hour, day of the month, month, day of the week";
            return Err(format!("it has {fields} fields, not the five: {five}"));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| match error {
            CronError::InvalidPattern(why)
            | CronError::IllegalCharacters(why)
            | CronError::ComponentError(why) => why,
            error => error.to_string(),
        })?;
        // Leap days come within eight years, so whatever comes at all comes after any one moment.
        let any = Utc.timestamp_opt(1_767_225_600, 0).single().unwrap_or_default();
        cron.find_next_occurrence(&any, false).map_err(|_| "no such day ever comes".to_owned())?;
        Ok(Self { text: text.to_owned(), cron })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parsed pattern.
    pub(crate) fn cron(&self) -> &Cron {
        &self.cron
    }
}

impl FromStr for Schedule {
    type Err = Error;

    /// # Errors
    /// [`Error::Invalid`], with what is wrong.
    fn from_str(text: &str) -> crate::Result<Self> {
        Self::parse(text).map_err(|why| Error::invalid("schedule", text, why))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
