//! A series: the snapshots of a job, or of one of its datasets, in one folder.
//!
//! This module finds complete and interrupted snapshots, updates `_latest`, and deletes snapshots. No other
//! module accesses a snapshot's files, except for its data.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    link::{self, LATEST_JSON},
    place,
    removal::{self, RemovalOutcome},
};
use crate::{
    clock::text,
    config::Job,
    destination::{self, CONTROL},
    error::{Error, Result},
    files::read_here,
    location::{Location, PlaceEntry},
    record::{
        manifest::{MANIFEST, Manifest, Part, SUCCESS, is_desktop_file, is_part_name},
        stamp::Stamp,
    },
    text::grouped,
};

/// Largest accepted size of `_latest.json` in bytes; a real one has a few hundred.
const LATEST_BYTES: u64 = 1 << 20;

/// The folders in which a run keeps its staged files.
const STAGED: [&str; 3] = ["data", "ids", "old"];

/// The object that marks a snapshot in a store as being deleted.
const REMOVED: &str = "removed";

/// The file that marks a local snapshot as being deleted in place, because it cannot be renamed.
const IN_PLACE: &str = "in-place";

/// A folder of snapshots.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    job: String,
    folder: Location,
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
    /// Not a snapshot of this job. Contains the reason as a predicate, such as `is not a folder`.
    Foreign(String),
}

/// The content of `_latest.json`: the snapshot that equals the data, and the time of the last confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latest {
    pub(crate) job: String,
    pub(crate) snapshot: Stamp,
    /// The snapshot's folder, relative to the folder of this file.
    pub(crate) path: String,
    /// Time when a run last confirmed that the snapshot equals the data, in RFC 3339, UTC.
    pub(crate) as_of: String,
    pub(crate) dataset: Uuid,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

impl Series {
    /// Returns the series of a job whose snapshots are directly in the job's folder.
    pub(crate) fn of_job(job: &str, folder: Location) -> Self {
        Self { job: job.to_owned(), folder, prefix: String::new() }
    }

    /// Returns the series of one of the job's datasets.
    pub(crate) fn of_dataset(job: &str, folder: &Location, dataset: Uuid) -> Self {
        let name = format!("dataset={dataset}");
        Self { job: job.to_owned(), folder: folder.child(&name), prefix: format!("{name}/") }
    }

    /// Returns all series of a job: the series in the job's folder, which may be empty, and one series for
    /// each dataset's folder.
    pub(crate) fn all_of(job: &Job, folder: &Location) -> Result<Vec<Self>> {
        let mut all = vec![Self::of_job(&job.name, folder.clone())];
        for name in folder.names()? {
            if let Some(id) = name.strip_prefix("dataset=").and_then(|id| id.parse().ok()) {
                all.push(Self::of_dataset(&job.name, folder, id));
            }
        }
        Ok(all)
    }

    /// Reads the manifest of a snapshot that this run has published or completed.
    pub(crate) fn manifest(&self, stamp: Stamp) -> Result<Box<Manifest>> {
        let path = self.target(stamp).child(MANIFEST);
        let missing = || Error::Damaged { path: path.to_path(), why: "it is missing".to_owned() };
        Manifest::load(&path)?.map(Box::new).ok_or_else(missing)
    }

    /// Returns the location of a snapshot.
    pub(crate) fn target(&self, stamp: Stamp) -> Location {
        self.folder.child(&stamp.folder())
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

    /// Creates the folder if it is local, checks it, and finishes the deletions of killed runs.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.check()?;
        self.finish_removals()
    }

    /// Returns an error if the folder contains files of another user.
    pub(crate) fn check(&self) -> Result<()> {
        place::check(&self.folder)
    }

    /// Finishes the deletions that a killed run had begun.
    pub(crate) fn finish_removals(&self) -> Result<()> {
        let Some(folder) = self.folder.as_local() else {
            for name in self.folder.names()? {
                if let Some(stamp) = Stamp::of_folder(&name)
                    && self.target(stamp).child(CONTROL).child(REMOVED).is_file()?
                {
                    let manifest = Manifest::load(&self.target(stamp).child(MANIFEST))?;
                    self.take_apart(stamp, manifest.as_ref())?;
                }
            }
            return Ok(());
        };
        for name in self.folder.names()? {
            if let Some(stamp) = hidden(&name, ".removed") {
                let aside = folder.join(name);
                let removed = if aside.join(IN_PLACE).is_file() {
                    self.remove_in_place(folder, stamp, &aside)?
                } else {
                    let manifest = Manifest::load(&Location::from(aside.join(MANIFEST)));
                    // Without a manifest, no file provably belongs to the snapshot. So only an empty
                    // folder is deleted.
                    self.remove_aside(&aside, manifest.ok().flatten().as_ref())?
                };
                if let RemovalOutcome::Foreign(left) = removed {
                    let (path, name) = (aside.display(), left.name);
                    tracing::warn!(
                        "{path} remains of the deleted snapshot {stamp}: it holds {name:?}, {}, which is \
                         not part of the snapshot: move it away",
                        left.kind
                    );
                }
            }
        }
        Ok(())
    }

    /// Returns the folders with the name of a snapshot, oldest first.
    pub(crate) fn entries(&self) -> Result<Vec<SeriesEntry>> {
        let names = self.folder.names()?;
        let stamps = names.iter().filter_map(|name| Stamp::of_folder(name));
        let entry = |stamp| Ok(SeriesEntry { stamp, state: self.state(stamp)? });
        let mut entries: Vec<SeriesEntry> = stamps.map(entry).collect::<Result<_>>()?;
        entries.sort_by_key(|entry| entry.stamp);
        Ok(entries)
    }

    fn state(&self, stamp: Stamp) -> Result<SeriesState> {
        let folder = self.target(stamp);
        if folder.as_local().is_some_and(|folder| !folder.is_dir()) {
            return Ok(SeriesState::Foreign("is not a folder".to_owned()));
        }
        let manifest = match Manifest::load(&folder.child(MANIFEST)) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(SeriesState::Incomplete),
            Err(Error::Damaged { why, .. }) => {
                return Ok(SeriesState::Foreign(format!("has a damaged manifest: {why}")));
            }
            Err(error) => return Err(error),
        };
        let foreign = |why: String| Ok(SeriesState::Foreign(why));
        match &manifest.snapshot {
            None => return foreign("is an export, but not a snapshot of a job".to_owned()),
            Some(of) if of.job != self.job => {
                return foreign(format!("is a snapshot of job {:?}", of.job));
            }
            Some(of) if of.stamp != stamp => {
                return foreign(format!("is the snapshot {} under another name", of.stamp));
            }
            Some(_) => {}
        }
        if !folder.child(SUCCESS).is_file()? {
            return Ok(SeriesState::Incomplete);
        }
        Ok(SeriesState::Complete(Box::new(manifest)))
    }

    /// Returns the stamps of interrupted runs, oldest first. If a run can be resumed, its stamp comes
    /// with its plan.
    pub(crate) fn interrupted(&self) -> Result<Vec<(Stamp, Option<Value>)>> {
        let names = self.folder.names()?;
        let mut found = Vec::new();
        for name in &names {
            // In a store a snapshot is uploaded directly to its final prefix.
            let stamp = match self.folder.as_local() {
                Some(_) => hidden(name, ".partial"),
                None => Stamp::of_folder(name),
            };
            let Some(stamp) = stamp else { continue };
            let target = self.target(stamp);
            if self.folder.as_local().is_none() && target.child(SUCCESS).is_file()? {
                continue;
            }
            let begun = destination::interrupted(&target)?;
            if begun.is_some() || self.folder.as_local().is_some() {
                // Without a finished part there is nothing to resume. The next run then exports the current data
                // under a new stamp.
                let plan = begun.filter(|begun| begun.parts > 0).map(|begun| begun.plan);
                found.push((stamp, plan));
            }
        }
        found.sort_by_key(|(stamp, _)| *stamp);
        Ok(found)
    }

    /// Deletes the staged files of an interrupted run.
    pub(crate) fn discard(&self, stamp: Stamp) -> Result<()> {
        match self.folder.as_local() {
            Some(folder) => {
                let staging = folder.join(format!(".{}.partial", stamp.folder()));
                let ours = |entry: &PlaceEntry| entry.size.is_some();
                match removal::remove_folder(&staging, &STAGED, &ours, &|_| 0)? {
                    RemovalOutcome::Nothing => Ok(()),
                    RemovalOutcome::Foreign(left) => Err(holds(&staging, &left)),
                }
            }
            None => destination::discard(&self.target(stamp)),
        }
    }

    /// Returns whether all files of a complete snapshot exist with their recorded sizes. Does not read the
    /// files; `verify` does.
    pub(crate) fn is_whole(&self, stamp: Stamp, manifest: &Manifest) -> Result<bool> {
        let entries = self.target(stamp).entries()?;
        let sizes = entries.iter().map(|entry| (entry.name.as_str(), entry.size));
        let sizes: HashMap<&str, Option<u64>> = sizes.collect();
        let is_there = |part: &Part| sizes.get(&*part.path) == Some(&Some(part.bytes));
        Ok(manifest.parts.iter().all(is_there))
    }

    /// Returns why an expired snapshot must not be deleted; `None` if it can be deleted.
    pub(crate) fn obstacle(&self, stamp: Stamp, manifest: &Manifest) -> Result<Option<String>> {
        let target = self.target(stamp);
        if target.as_local().is_some_and(Path::is_symlink) {
            return Ok(Some("is a link".to_owned()));
        }
        let parts = sizes(Some(manifest));
        let is_store = target.as_local().is_none();
        let obstacle = |entry: PlaceEntry| {
            let name = &entry.name;
            if is_store && name == CONTROL {
                return None;
            }
            let listed = parts.get(name.as_str());
            let known = [MANIFEST, SUCCESS].contains(&name.as_str()) || is_desktop_file(name);
            if listed.is_none() && !known {
                return Some(format!("holds {name:?}, which its manifest does not list"));
            }
            let Some(size) = entry.size else {
                return Some(format!("holds {name:?}, which is {}, not a file", entry.kind));
            };
            match listed {
                Some(_) if !is_part_name(name) => {
                    Some(format!("holds {name:?}, which is not the name of a part"))
                }
                Some(bytes) if *bytes != size => Some(format!(
                    "holds {name:?}, which has {} bytes, but its manifest records {}",
                    grouped(size),
                    grouped(*bytes)
                )),
                _ => None,
            }
        };
        Ok(target.entries()?.into_iter().find_map(obstacle))
    }

    /// Deletes a snapshot.
    ///
    /// A local snapshot is first renamed to a hidden name. A snapshot in a store is first marked as being
    /// deleted, then loses its `_SUCCESS`. If the run is killed, the next run finishes the deletion.
    pub(crate) fn remove(&self, stamp: Stamp, manifest: &Manifest) -> Result<()> {
        if let Some(folder) = self.folder.as_local() {
            let (from, aside) =
                (folder.join(stamp.folder()), folder.join(format!(".{}.removed", stamp.folder())));
            let left = match fs::rename(&from, &aside) {
                // On overlayfs a folder of a lower layer cannot be renamed.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    let mark = aside.join(IN_PLACE);
                    fs::create_dir(&aside).map_err(Error::io("make", &aside))?;
                    fs::File::create_new(&mark).map_err(Error::io("write", &mark))?;
                    self.remove_in_place(folder, stamp, &aside)?
                }
                renamed => {
                    renamed.map_err(Error::io("rename", &from))?;
                    self.remove_aside(&aside, Some(manifest))?
                }
            };
            return match left {
                RemovalOutcome::Nothing => Ok(()),
                RemovalOutcome::Foreign(left) => Err(holds(&aside, &left)),
            };
        }
        self.target(stamp).child(CONTROL).child(REMOVED).write(b"")?;
        self.take_apart(stamp, Some(manifest))
    }

    /// Deletes a snapshot that cannot be renamed, file by file. If this run is killed, another run finds the
    /// folder `mark` and finishes the deletion.
    fn remove_in_place(&self, folder: &Path, stamp: Stamp, mark: &Path) -> Result<RemovalOutcome> {
        let from = folder.join(stamp.folder());
        let manifest = Manifest::load(&Location::from(from.join(MANIFEST))).ok().flatten();
        let left = self.remove_aside(&from, manifest.as_ref())?;
        if left == RemovalOutcome::Nothing {
            fs::remove_file(mark.join(IN_PLACE)).map_err(Error::io("remove", mark))?;
            fs::remove_dir(mark).map_err(Error::io("remove", mark))?;
        }
        Ok(left)
    }

    /// Deletes a folder. Deletes `_SUCCESS` first, so that the snapshot is no longer complete. Deletes the
    /// manifest last, because another run needs it to finish the deletion.
    fn remove_aside(&self, aside: &Path, manifest: Option<&Manifest>) -> Result<RemovalOutcome> {
        let parts = sizes(manifest);
        let rank = |name: &str| match name {
            SUCCESS => 0,
            MANIFEST => 2,
            _ => 1,
        };
        removal::remove_folder(aside, &[], &|entry| is_ours(entry, &parts), &rank)
    }

    /// Deletes the objects of a snapshot that is marked as being deleted. Deletes the mark last.
    fn take_apart(&self, stamp: Stamp, manifest: Option<&Manifest>) -> Result<()> {
        let target = self.target(stamp);
        target.child(SUCCESS).remove()?;
        let parts = sizes(manifest);
        for entry in target.entries()?.iter().filter(|entry| is_ours(entry, &parts)) {
            if entry.name != MANIFEST {
                target.child(&entry.name).remove()?;
            }
        }
        target.child(MANIFEST).remove()?;
        target.child(CONTROL).child(REMOVED).remove()
    }

    /// Reads `_latest.json`; `None` if it is missing or not valid.
    pub(crate) fn latest(&self) -> Result<Option<Latest>> {
        let place = self.folder.child(LATEST_JSON);
        let bytes = match place.as_local() {
            None => place.read()?,
            Some(path) => match read_here(path, LATEST_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                bytes => Some(bytes.map_err(Error::io("read", path))?),
            },
        };
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Writes `_latest.json` and the link. They record that this snapshot equals the data at the time `as_of`.
    pub(crate) fn set_latest(
        &self,
        stamp: Stamp,
        manifest: &Manifest,
        as_of: DateTime<Utc>,
    ) -> Result<()> {
        let latest = Latest {
            job: self.job.clone(),
            snapshot: stamp,
            path: stamp.folder(),
            as_of: text(as_of),
            dataset: manifest.dataset,
            rows: manifest.rows,
            bytes: bytes_of(manifest),
            digest: manifest.digest.clone(),
        };
        let mut json = serde_json::to_vec_pretty(&latest)
            .map_err(|error| Error::Internal(format!("{LATEST_JSON}: {error}")))?;
        json.push(b'\n');
        if let Some(folder) = self.folder.as_local() {
            link::point(folder, &stamp.folder())?;
        }
        self.folder.child(LATEST_JSON).write(&json)
    }
}

/// Returns the size of an export's files in bytes.
pub(crate) fn bytes_of(manifest: &Manifest) -> u64 {
    manifest.parts.iter().map(|part| part.bytes).sum()
}

/// Parses the stamp in a hidden name such as `.snapshot=STAMP.partial`.
fn hidden(name: &str, suffix: &str) -> Option<Stamp> {
    Stamp::of_folder(name.strip_prefix('.')?.strip_suffix(suffix)?)
}

/// Returns the sizes of the manifest's parts in bytes, by name.
fn sizes(manifest: Option<&Manifest>) -> HashMap<&str, u64> {
    let parts = manifest.into_iter().flat_map(|manifest| &manifest.parts);
    parts.map(|part| (part.path.as_str(), part.bytes)).collect()
}

/// Returns whether retention may delete this entry.
///
/// It may delete parts with their recorded size, the manifest, `_SUCCESS`, and files that a desktop
/// environment has added. It never deletes anything that is not a regular file.
fn is_ours(entry: &PlaceEntry, parts: &HashMap<&str, u64>) -> bool {
    let name = entry.name.as_str();
    let is_part = || is_part_name(name) && parts.get(name).copied() == entry.size;
    entry.size.is_some()
        && ([MANIFEST, SUCCESS].contains(&name) || is_desktop_file(name) || is_part())
}

fn holds(folder: &Path, left: &PlaceEntry) -> Error {
    Error::Output {
        path: folder.to_owned(),
        why: format!(
            "cannot be removed: it holds {:?}, {}, which is not part of the snapshot",
            left.name, left.kind
        ),
        hint: Some("move that entry away; the next run removes the rest"),
        source: None,
    }
}
