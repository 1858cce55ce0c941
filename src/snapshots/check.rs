//! Checks a job without running it: its plan, its datasets and its destination.

use std::{io, path::Path};

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{
    place, plan,
    select::{self, Chosen},
    series::Series,
};
use crate::{
    client::Client,
    config::Job,
    destination::cannot_create,
    error::Result,
    export::blocking,
    location::{Location, StorageOptions},
    record::stamp::Stamp,
};

/// The datasets and the destination of a checked job.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CheckedJob {
    /// The job's name.
    pub job: String,
    /// The folder or the prefix of the job's snapshots.
    pub destination: String,
    /// The datasets that the job selects now; empty if the API was not asked.
    pub datasets: Vec<CheckedDataset>,
}

/// A dataset that a job selects.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CheckedDataset {
    /// Id of the dataset.
    pub dataset: Uuid,
    /// Name of the dataset, if the list of datasets contains one.
    pub name: Option<String>,
    /// Version of the dataset, if the list of datasets contains one.
    pub version: Option<i64>,
    /// Number of rows, if it is known.
    pub rows: Option<u64>,
}

/// Checks a job without running it. Without a client, checks only its settings.
///
/// With a client, it also selects the datasets, requests the first page of the first of them, and checks that the
/// destination can be written. For this it writes a small file and removes it again: in the job's local folders or in
/// the folder above that exists, or below the prefix in a store. Must run within a tokio runtime.
///
/// # Errors
/// The errors that a run of the job would end with: [`Error::Invalid`](crate::Error::Invalid) and
/// [`Error::Usage`](crate::Error::Usage) for its settings; the errors of [`Client::datasets`] and of the first page of
/// a dataset, and [`Error::NoDataset`](crate::Error::NoDataset), for its datasets;
/// [`Error::Output`](crate::Error::Output), [`Error::Io`](crate::Error::Io) and
/// [`Error::Store`](crate::Error::Store) for its destination.
pub async fn check_job(
    client: Option<&Client>,
    job: &Job,
    storage: &StorageOptions,
) -> Result<CheckedJob> {
    let series = Series::of_job(job, storage)?;
    // No option depends on the dataset or on the time.
    let any = Chosen { id: Uuid::nil(), listed: None, query: job.query.clone() };
    let stamp = Stamp::at(DateTime::<Utc>::UNIX_EPOCH);
    let plan = plan::plan(job, job.storage_with(storage), (&any, None), &series, stamp)?;
    let (job_name, destination) = (job.name.clone(), series.folder.to_string());
    let mut checked = CheckedJob { job: job_name, destination, datasets: Vec::new() };
    let Some(client) = client else { return Ok(checked) };
    for (place, chosen) in select::choose(client, job).await?.into_iter().enumerate() {
        let Chosen { id, listed, query } = chosen;
        let mut rows = listed.as_ref().and_then(|listed| listed.num_datapoints);
        if place == 0 {
            let page = client.first_page(id, &query, 1, plan.options.page_size).await?;
            rows = Some(page.count());
        }
        let (name, version) = listed.map_or((None, None), |listed| (listed.name, listed.version));
        checked.datasets.push(CheckedDataset { dataset: id, name, version, rows });
    }
    let link = job.link.clone();
    blocking(move || check_destination(&series, link.as_deref())).await?;
    Ok(checked)
}

/// Checks that a run can write its files.
fn check_destination(series: &Series, link: Option<&Path>) -> Result<()> {
    for place in [&series.folder, &series.hidden] {
        match place.as_local() {
            Some(path) => check_folder(path)?,
            None => check_prefix(place)?,
        }
    }
    link.and_then(Path::parent).map_or(Ok(()), |folder| can_create_in(folder, folder))
}

/// Checks an existing folder, or that a missing one can be created.
fn check_folder(path: &Path) -> Result<()> {
    match path.is_dir() {
        true => place::check(&path.into()),
        false => {
            let missing = |folder: &&Path| folder.symlink_metadata().is_err();
            let existing = path.ancestors().find(|folder| !missing(folder)).unwrap_or(path);
            can_create_in(existing, path)
        }
    }
}

/// Checks that a file can be created in a folder. `path` is named in the error.
fn can_create_in(folder: &Path, path: &Path) -> Result<()> {
    let created: io::Result<_> = tempfile::tempfile_in(folder);
    created.map(drop).map_err(|error| cannot_create(path, error))
}

/// Checks that a prefix can be listed, and that an object in it can be written and removed.
fn check_prefix(prefix: &Location) -> Result<()> {
    prefix.names()?;
    let probe = prefix.child(".check");
    probe.write(b"overmind-export check\n")?;
    probe.remove()
}
