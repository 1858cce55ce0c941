//! The newest snapshot of a series: `latest.json`, and a link where the job asks for one.

use std::{io, path::Path};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    link,
    place::LATEST_JSON,
    series::{Series, bytes_of},
};
use crate::{
    clock::text,
    config::Job,
    error::{Error, Result},
    files::read_here,
    location::StorageOptions,
    record::{WrittenSplit, manifest::Manifest, stamp::Stamp},
};

/// Largest accepted size of `latest.json` in bytes; a real one has a few hundred.
const LATEST_BYTES: u64 = 1 << 20;

/// The content of `latest.json`: the snapshot that equals the data, and the time of the last confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latest {
    pub(crate) job: String,
    pub(crate) snapshot: Stamp,
    /// The snapshot's folder, relative to the root.
    pub(crate) path: String,
    /// Time when a run last confirmed that the snapshot equals the data, in RFC 3339, UTC.
    pub(crate) as_of: String,
    pub(crate) dataset: Uuid,
    pub(crate) rows: u64,
    #[serde(default)]
    pub(crate) rows_read: Option<u64>,
    #[serde(default)]
    pub(crate) failed_rows: u64,
    #[serde(default)]
    pub(crate) duplicate_rows: u64,
    /// For each path of the transformation, the number of rows in which it has replaced a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaced_rows: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) splits: Vec<WrittenSplit>,
    pub(crate) rescued_rows: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

/// Returns the newest snapshot of a job as a path or a URL, with `select = "all"` one for each dataset. Empty
/// before the first snapshot. Blocks.
///
/// # Errors
/// [`Error::Invalid`] if the root of the job is not a valid location. [`Error::Io`] if a folder cannot be read.
/// [`Error::Store`] if its object store cannot be reached.
pub fn latest_snapshots(job: &Job, storage: &StorageOptions) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for series in Series::of_job(job, storage)?.and_datasets()? {
        paths.extend(series.newest()?.map(|stamp| series.target(stamp).to_string()));
    }
    Ok(paths)
}

impl Series {
    /// Reads `latest.json`; `None` if it is missing or not valid.
    pub(crate) fn latest(&self) -> Result<Option<Latest>> {
        let place = self.hidden.child(LATEST_JSON);
        let bytes = match place.as_local() {
            None => place.read()?,
            Some(path) => match read_here(path, LATEST_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                bytes => Some(bytes.map_err(Error::io("read", path))?),
            },
        };
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Points the link at this snapshot, if the job asks for one.
    pub(crate) fn link(&self, stamp: Stamp, link: Option<&Path>) -> Result<()> {
        match (link, self.target(stamp).as_local()) {
            (Some(link), Some(snapshot)) => link::point(link, snapshot),
            _ => Ok(()),
        }
    }

    /// Writes `latest.json`. It records that this snapshot equals the data at the time `as_of`.
    pub(crate) fn set_latest(
        &self,
        stamp: Stamp,
        manifest: &Manifest,
        as_of: DateTime<Utc>,
    ) -> Result<()> {
        let latest = Latest {
            job: self.job.clone(),
            snapshot: stamp,
            path: format!("{}/{}", self.job, self.path(stamp)),
            as_of: text(as_of),
            dataset: manifest.dataset_or_nil(),
            rows: manifest.rows,
            rows_read: Some(manifest.rows_read),
            failed_rows: manifest.failed_rows(),
            duplicate_rows: manifest.duplicate_rows(),
            replaced_rows: manifest.replaced_rows(),
            splits: manifest.splits.clone(),
            rescued_rows: manifest.rescued().0,
            bytes: bytes_of(manifest),
            digest: manifest.digest.clone(),
        };
        let mut json = serde_json::to_vec_pretty(&latest)
            .map_err(|error| Error::Internal(format!("{LATEST_JSON}: {error}")))?;
        json.push(b'\n');
        self.hidden.child(LATEST_JSON).write(&json)
    }
}
