//! A series: the snapshots of a job, or of one of its datasets, in one folder.
//!
//! This module finds complete and interrupted snapshots. No module but this one, `erase` and `latest` accesses a
//! snapshot's files, except for its data.

use std::{collections::HashMap, path::PathBuf};

use serde_json::Value;
use uuid::Uuid;

use super::{
    place as owner,
    removal::{self, RemovalOutcome},
};
use crate::{
    config::Job,
    destination,
    error::{Error, Result},
    location::{Location, PlaceEntry, StorageOptions},
    record::{
        layout::{folders_of, is_folder_name},
        manifest::Manifest,
        place::{self, FoundRecord},
        stamp::Stamp,
    },
};

/// Whether a path is that of a folder in which a run keeps its staged files.
fn is_staged(path: &str) -> bool {
    let mut names = path.split('/');
    names.next().is_some_and(|name| ["data", "drafts", "ids", "old"].contains(&name))
        && names.all(is_folder_name)
}

/// The folders of a series.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(super) job: String,
    /// The folder of the snapshots. It holds nothing else.
    pub(super) folder: Location,
    /// The folder of everything else: records, staging, snapshots that are being deleted, `latest.json`.
    pub(super) hidden: Location,
    /// The folder's path below the job's folder, with a trailing slash; empty for the job's folder itself.
    prefix: String,
}

/// A folder with the name of a snapshot.
#[derive(Debug)]
pub(crate) struct SeriesEntry {
    pub(crate) stamp: Stamp,
    pub(crate) state: SeriesState,
}

#[derive(Debug)]
pub(crate) enum SeriesState {
    /// A complete snapshot of this job.
    Complete(Box<Manifest>),
    /// A snapshot whose export or deletion has begun and has not ended.
    Incomplete,
    /// A snapshot whose manifest cannot be read. Contains the reason as a predicate.
    Damaged(String),
    /// Not a snapshot of this job. Contains the reason as a predicate, such as `is not a folder`, and the job of a snapshot of
    /// another job.
    Foreign { why: String, job: Option<String> },
}

impl Series {
    /// Returns the series of a job whose snapshots are directly in the job's folder.
    pub(crate) fn of_job(job: &Job, storage: &StorageOptions) -> Result<Self> {
        let (folder, hidden) = (job.folder(storage)?, job.hidden(storage)?);
        Ok(Self::at(&job.name, folder, hidden))
    }

    /// Returns the series of these folders of a job.
    pub(super) fn at(job: &str, folder: Location, hidden: Location) -> Self {
        Self { job: job.to_owned(), folder, hidden, prefix: String::new() }
    }

    /// Returns the series of one of the job's datasets.
    pub(crate) fn of_dataset(&self, dataset: Uuid) -> Self {
        let name = format!("dataset={dataset}");
        Self {
            job: self.job.clone(),
            folder: self.folder.child(&name),
            hidden: self.hidden.child(&name),
            prefix: format!("{name}/"),
        }
    }

    /// Returns all series of a job: this one, which may be empty, and one series for each dataset's folder.
    pub(crate) fn and_datasets(&self) -> Result<Vec<Self>> {
        // Before its first snapshot is published, a dataset has only the hidden folder.
        let mut names = [self.folder.names()?, self.hidden.names()?].concat();
        names.sort();
        names.dedup();
        let ids = names.iter().filter_map(|name| name.strip_prefix("dataset=")?.parse().ok());
        Ok([self.clone()].into_iter().chain(ids.map(|id| self.of_dataset(id))).collect())
    }

    /// Reads the manifest of a snapshot that this run has published or completed.
    pub(crate) fn manifest(&self, stamp: Stamp) -> Result<Box<Manifest>> {
        let path = self.target(stamp).to_path();
        let missing = || Error::Damaged { path, why: "it has no record".to_owned() };
        let found = self.find_record(stamp)?.ok_or_else(missing)?;
        Manifest::parse(&found.bytes, &found.place).map(Box::new)
    }

    /// Returns the location of a snapshot.
    pub(crate) fn target(&self, stamp: Stamp) -> Location {
        self.folder.child(&stamp.folder())
    }

    /// Returns the place for the record of a snapshot.
    pub(crate) fn record(&self, stamp: Stamp) -> Location {
        self.hidden.child(&place::sidecar_name(&stamp.folder()))
    }

    /// Returns the folder for the staging of snapshots.
    pub(crate) fn staging(&self) -> Location {
        self.hidden.clone()
    }

    pub(super) fn find_record(&self, stamp: Stamp) -> Result<Option<FoundRecord>> {
        let record = self.record(stamp);
        let asked = self.folder.as_local().map(|_| &record);
        place::find(&self.target(stamp), asked)
    }

    /// Returns the path of a snapshot below the job's folder.
    pub(crate) fn path(&self, stamp: Stamp) -> String {
        format!("{}{}", self.prefix, stamp.folder())
    }

    /// Returns the output path for the export of a snapshot.
    pub(crate) fn output(&self, stamp: Stamp) -> PathBuf {
        let target = self.target(stamp);
        // A path need not be UTF-8.
        match target.as_local() {
            Some(path) => path.join(""),
            None => format!("{target}/").into(),
        }
    }

    /// Creates the folders if they are local, checks them, removes the temporary files of killed runs, and finishes
    /// their publications and deletions.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.check()?;
        owner::remove_leftovers(&self.folder)?;
        owner::remove_leftovers(&self.hidden)?;
        for stamp in self.staged()? {
            destination::finish(&self.target(stamp), &self.record(stamp), &self.hidden)?;
        }
        self.finish_removals()
    }

    /// Returns whether the job has ever run.
    pub(crate) fn exists(&self) -> Result<bool> {
        self.hidden.is_directory()
    }

    /// Returns an error if the folders contain files of another user.
    pub(crate) fn check(&self) -> Result<()> {
        owner::check(&self.folder)?;
        if let Some(above) = self.hidden.parent() {
            owner::check(&above)?;
        }
        owner::check(&self.hidden)
    }

    /// Returns the folders with the name of a snapshot, oldest first.
    pub(crate) fn entries(&self) -> Result<Vec<SeriesEntry>> {
        let entry = |stamp| Ok(SeriesEntry { stamp, state: self.state(stamp)? });
        self.stamps()?.into_iter().map(entry).collect()
    }

    /// Returns the newest complete snapshot.
    pub(crate) fn newest(&self) -> Result<Option<Stamp>> {
        for stamp in self.stamps()?.into_iter().rev() {
            if let SeriesState::Complete(_) = self.state(stamp)? {
                return Ok(Some(stamp));
            }
        }
        Ok(None)
    }

    /// Returns the stamps of the folders with the name of a snapshot, oldest first.
    pub(super) fn stamps(&self) -> Result<Vec<Stamp>> {
        let names = self.folder.names()?;
        let mut stamps: Vec<Stamp> =
            names.iter().filter_map(|name| Stamp::of_folder(name)).collect();
        stamps.sort();
        Ok(stamps)
    }

    pub(super) fn state(&self, stamp: Stamp) -> Result<SeriesState> {
        let folder = self.target(stamp);
        if folder.as_local().is_some_and(|folder| !folder.is_dir()) {
            let why = "is not a folder".to_owned();
            return Ok(SeriesState::Foreign { why, job: None });
        }
        let Some(found) = self.find_record(stamp)? else { return Ok(SeriesState::Incomplete) };
        let manifest = match Manifest::parse(&found.bytes, &found.place) {
            Ok(manifest) => manifest,
            Err(Error::Damaged { why, .. }) => {
                return Ok(SeriesState::Damaged(format!("has a damaged manifest: {why}")));
            }
            Err(error) => return Err(error),
        };
        let foreign = |why: String| Ok(SeriesState::Foreign { why, job: None });
        match &manifest.snapshot {
            None => foreign("is an export, but not a snapshot of a job".to_owned()),
            Some(of) if of.job != self.job => {
                let (why, job) = (format!("is a snapshot of job {:?}", of.job), of.job.clone());
                Ok(SeriesState::Foreign { why, job: Some(job) })
            }
            Some(of) if of.stamp != stamp => {
                foreign(format!("is the snapshot {} under another name", of.stamp))
            }
            Some(_) => Ok(SeriesState::Complete(Box::new(manifest))),
        }
    }

    /// Returns the state for a page or a check: a record that cannot be read is damaged.
    pub(super) fn readable_state(&self, stamp: Stamp) -> Result<SeriesState> {
        match self.state(stamp) {
            Err(Error::Io { source, .. }) => {
                Ok(SeriesState::Damaged(format!("has a manifest that cannot be read: {source}")))
            }
            state => state,
        }
    }

    /// Returns the stamps of interrupted runs, oldest first. If a run can be resumed, its stamp comes
    /// with its plan.
    pub(crate) fn interrupted(&self) -> Result<Vec<(Stamp, Option<Value>)>> {
        let is_local = self.folder.as_local().is_some();
        let mut found = Vec::new();
        for stamp in self.staged()? {
            if !is_local && self.find_record(stamp)?.is_some() {
                continue;
            }
            let begun = destination::interrupted(&self.target(stamp), Some(&self.hidden))?;
            if begun.is_some() || is_local {
                // Without a finished part there is nothing to resume. The next run then exports the current data
                // under a new stamp.
                let plan = begun.filter(|begun| begun.parts > 0).map(|begun| begun.plan);
                found.push((stamp, plan));
            }
        }
        Ok(found)
    }

    /// Returns the stamps of the snapshots whose staging exists, oldest first.
    fn staged(&self) -> Result<Vec<Stamp>> {
        let first = if self.hidden.as_local().is_some() { '.' } else { '_' };
        let names = self.hidden.names()?;
        let mut stamps: Vec<Stamp> = names.iter().filter_map(|name| staged(name, first)).collect();
        stamps.sort();
        Ok(stamps)
    }

    /// Returns whether a snapshot is being published or deleted, or a killed run has begun to do so.
    pub(super) fn is_changing(&self, stamp: Stamp) -> Result<bool> {
        let marked = |name: &String| {
            name.strip_suffix(owner::REMOVED).and_then(Stamp::of_folder) == Some(stamp)
        };
        Ok(self.staged()?.contains(&stamp) || self.hidden.names()?.iter().any(marked))
    }

    /// Deletes the staged files of an interrupted run.
    pub(crate) fn discard(&self, stamp: Stamp) -> Result<()> {
        match self.hidden.as_local() {
            Some(hidden) => {
                let staging = hidden.join(format!(".{}.partial", stamp.folder()));
                let ours = |entry: &PlaceEntry| entry.size.is_some();
                match removal::remove_folder(&staging, &is_staged, &ours)? {
                    RemovalOutcome::Nothing => Ok(()),
                    RemovalOutcome::Foreign(left) => Err(removal::holds(&staging, &left)),
                }
            }
            None => {
                let record = self.record(stamp);
                destination::discard(&self.target(stamp), Some(&record), Some(&self.hidden))
            }
        }
    }

    /// Returns whether all files of a complete snapshot exist with their recorded sizes. Does not read the
    /// files; `verify` does.
    pub(crate) fn is_whole(&self, stamp: Stamp, manifest: &Manifest) -> Result<bool> {
        let entries = self.target(stamp).entries_in(&folders_of(manifest))?;
        let sizes = entries.iter().map(|entry| (entry.name.as_str(), entry.size));
        let sizes: HashMap<&str, Option<u64>> = sizes.collect();
        Ok(manifest.files().all(|(path, bytes, _)| sizes.get(path) == Some(&Some(bytes))))
    }
}

/// Returns the size of an export's files in bytes.
pub(crate) fn bytes_of(manifest: &Manifest) -> u64 {
    manifest.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// Parses the stamp in the name of a staging folder, such as `.snapshot=STAMP.partial`.
fn staged(name: &str, first: char) -> Option<Stamp> {
    Stamp::of_folder(name.strip_prefix(first)?.strip_suffix(".partial")?)
}
