//! Where the rows of an export come from, other than the API: a job, or another export.

use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::sink::Format;

/// The export or file that an export was converted from. Its content was compared with its own record while it was
/// converted, if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConvertedFrom {
    /// The format of its files.
    pub format: Format,
    /// Number of its rows. All were read.
    pub rows: u64,
    /// Digest of its rows, as they were read. Without a transformation and with all columns, that of the conversion is the
    /// same. `None` if values were masked or got pseudonyms, because the digest would confirm a guess of such a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digest that it states, if it differs. The JSON columns are nested then, and their text is not that of the API:
    /// numbers can have other digits, such as 100000.0 for 1e5, and members that are null are left out. The values are
    /// equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_digest: Option<String>,
    /// Whether its rows and their digest are those that its record or its own metadata state. False if there is no such
    /// statement.
    pub is_recorded: bool,
    /// Time at which its last row was written, as its record has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Its job and time, if it is a snapshot of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotOf>,
}

/// Identifies an export as a snapshot of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotOf {
    /// The job's name.
    pub job: String,
    /// Time at which the snapshot was started, as in its folder's name.
    pub stamp: Stamp,
    /// The dataset's entry in the API's list of datasets at that time, if the list was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
}

/// A dataset's entry in the API's list of datasets.
///
/// Contains only the fields that show whether the dataset has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listed {
    /// Name of the dataset.
    pub name: Option<String>,
    /// Version of the dataset.
    pub version: Option<i64>,
    /// Time at which the dataset was created, as text from the API.
    pub created_at: Option<String>,
    /// Number of rows of the dataset.
    pub num_datapoints: Option<u64>,
    /// Metadata of the dataset, as JSON text.
    pub metadata: Option<String>,
}
