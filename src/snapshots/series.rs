//! The snapshots of a job, or of one of its datasets, in their folder: what is there, which is the
//! newest, which was interrupted. Every file of a snapshot that is not its data is touched here.

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
    place,
    removal::{self, Left},
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
};

/// The link to the newest snapshot, where links are known.
pub(super) const LATEST: &str = "_latest";
/// The same in words.
pub(super) const LATEST_JSON: &str = "_latest.json";

/// Bytes of `_latest.json`: it has a few hundred.
const LATEST_BYTES: u64 = 1 << 20;

/// The folders in which a run keeps what it has staged.
const STAGED: [&str; 3] = ["data", "ids", "old"];

/// Marks, in a store, a snapshot that is being removed.
const REMOVED: &str = "removed";

/// Marks, in the folder to which a snapshot could not be moved, that it is removed where it is.
const IN_PLACE: &str = "in-place";

/// A folder of snapshots.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    job: String,
    folder: Location,
    /// The folder's name below the job's own, with a slash, or nothing.
    prefix: String,
}

/// A folder that is named as a snapshot.
#[derive(Debug)]
pub(crate) struct SeriesEntry {
    pub(crate) stamp: Stamp,
    pub(crate) state: SeriesState,
}

#[derive(Debug)]
pub(crate) enum SeriesState {
    /// A whole snapshot of this job.
    Complete(Box<Manifest>),
    /// One that was begun and not ended, or one whose removal was.
    Incomplete,
    /// Something else, and why it is taken for that.
    Foreign(String),
}

/// `_latest.json`: the snapshot that stands for the data, and as of when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latest {
    pub(crate) job: String,
    pub(crate) snapshot: Stamp,
    /// Its folder, beside the file.
    pub(crate) path: String,
    /// The last time that the data was known to be this, RFC 3339, UTC.
    pub(crate) as_of: String,
    pub(crate) dataset: Uuid,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

impl Series {
    /// The snapshots of a job right below its folder.
    pub(crate) fn of_job(job: &str, folder: Location) -> Self {
        Self { job: job.to_owned(), folder, prefix: String::new() }
    }

    /// Those of one of its datasets.
    pub(crate) fn of_dataset(job: &str, folder: &Location, dataset: Uuid) -> Self {
        let name = format!("dataset={dataset}");
        Self { job: job.to_owned(), folder: folder.child(&name), prefix: format!("{name}/") }
    }

    /// All series that a job has on disk or would have: its own, and one for each dataset's folder.
    pub(crate) fn all_of(job: &Job, folder: &Location) -> Result<Vec<Self>> {
        let mut all = vec![Self::of_job(&job.name, folder.clone())];
        for name in folder.names()? {
            if let Some(id) = name.strip_prefix("dataset=").and_then(|id| id.parse().ok()) {
                all.push(Self::of_dataset(&job.name, folder, id));
            }
        }
        Ok(all)
    }

    /// The manifest of a snapshot that was just published.
    pub(crate) fn manifest(&self, stamp: Stamp) -> Result<Box<Manifest>> {
        let path = self.target(stamp).child(MANIFEST);
        let missing = || Error::Damaged { path: path.to_path(), why: "it is not there".to_owned() };
        Manifest::load(&path)?.map(Box::new).ok_or_else(missing)
    }

    /// Where a snapshot lies.
    pub(crate) fn target(&self, stamp: Stamp) -> Location {
        self.folder.child(&stamp.folder())
    }

    /// Its path below the job's folder.
    pub(crate) fn path(&self, stamp: Stamp) -> String {
        format!("{}{}", self.prefix, stamp.folder())
    }

    /// What an export of it is to be given as its output.
    pub(crate) fn output(&self, stamp: Stamp) -> PathBuf {
        format!("{}/", self.target(stamp)).into()
    }

    /// Makes the folder, where there are folders, and finishes what a killed run was removing.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.check()?;
        self.finish_removals()
    }

    /// Refuses a folder that holds something of another user.
    pub(crate) fn check(&self) -> Result<()> {
        place::check(&self.folder)
    }

    /// Finishes what a killed run was removing.
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
                    // Without one nothing is known to be ours but an empty folder.
                    self.remove_aside(&aside, manifest.ok().flatten().as_ref())?
                };
                if let Left::Foreign(left) = removed {
                    let (path, name) = (aside.display(), left.name);
                    tracing::warn!(
                        "{path} is left of {stamp}, which was removed: it holds {name:?}, {}, which is \
                         not ours: move it away",
                        left.kind
                    );
                }
            }
        }
        Ok(())
    }

    /// What is there, the oldest first.
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
            return Ok(SeriesState::Foreign("is no folder".to_owned()));
        }
        let manifest = match Manifest::load(&folder.child(MANIFEST)) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(SeriesState::Incomplete),
            Err(Error::Damaged { why, .. }) => return Ok(SeriesState::Foreign(why)),
            Err(error) => return Err(error),
        };
        let foreign = |why: String| Ok(SeriesState::Foreign(why));
        match &manifest.snapshot {
            None => return foreign("is an export, but no snapshot of a job".to_owned()),
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

    /// Runs that were interrupted, the oldest first, each with its plan if it can be continued.
    pub(crate) fn interrupted(&self) -> Result<Vec<(Stamp, Option<Value>)>> {
        let names = self.folder.names()?;
        let mut found = Vec::new();
        for name in &names {
            // In a store a snapshot grows where it will be.
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
                // Where no part was finished there is nothing to continue, and no reason to give
                // today's data the stamp of another day.
                let plan = begun.filter(|begun| begun.parts > 0).map(|begun| begun.plan);
                found.push((stamp, plan));
            }
        }
        found.sort_by_key(|(stamp, _)| *stamp);
        Ok(found)
    }

    /// Drops what an interrupted run left.
    pub(crate) fn discard(&self, stamp: Stamp) -> Result<()> {
        match self.folder.as_local() {
            Some(folder) => {
                let staging = folder.join(format!(".{}.partial", stamp.folder()));
                let ours = |entry: &PlaceEntry| entry.size.is_some();
                match removal::remove_folder(&staging, &STAGED, &ours, &|_| 0)? {
                    Left::Nothing => Ok(()),
                    Left::Foreign(left) => Err(holds(&staging, &left)),
                }
            }
            None => destination::discard(&self.target(stamp)),
        }
    }

    /// Whether the files of a complete snapshot are there, of the recorded sizes; their bytes are for
    /// `verify`.
    pub(crate) fn is_whole(&self, stamp: Stamp, manifest: &Manifest) -> Result<bool> {
        let entries = self.target(stamp).entries()?;
        let sizes = entries.iter().map(|entry| (entry.name.as_str(), entry.size));
        let sizes: HashMap<&str, Option<u64>> = sizes.collect();
        let is_there = |part: &Part| sizes.get(&*part.path) == Some(&Some(part.bytes));
        Ok(manifest.parts.iter().all(is_there))
    }

    /// Why a complete snapshot must not be removed, though nothing keeps it.
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
                    Some(format!("holds {name:?}, which is no name of a part"))
                }
                Some(bytes) if *bytes != size => Some(format!(
                    "holds {name:?}, which has {size} bytes where its manifest says {bytes}"
                )),
                _ => None,
            }
        };
        Ok(target.entries()?.into_iter().find_map(obstacle))
    }

    /// Removes a snapshot. Locally it is out of sight at once; in a store it is no longer complete at
    /// once, and is marked, so that a run after a kill can finish the removal.
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
                Left::Nothing => Ok(()),
                Left::Foreign(left) => Err(holds(&aside, &left)),
            };
        }
        self.target(stamp).child(CONTROL).child(REMOVED).write(b"")?;
        self.take_apart(stamp, Some(manifest))
    }

    /// Removes a snapshot that cannot be moved out of sight, file by file. `mark` is the folder by which
    /// another run finishes this.
    fn remove_in_place(&self, folder: &Path, stamp: Stamp, mark: &Path) -> Result<Left> {
        let from = folder.join(stamp.folder());
        let manifest = Manifest::load(&Location::from(from.join(MANIFEST))).ok().flatten();
        let left = self.remove_aside(&from, manifest.as_ref())?;
        if left == Left::Nothing {
            fs::remove_file(mark.join(IN_PLACE)).map_err(Error::io("remove", mark))?;
            fs::remove_dir(mark).map_err(Error::io("remove", mark))?;
        }
        Ok(left)
    }

    /// Removes a folder, first what makes it complete, and the manifest last: by it another run finishes
    /// this.
    fn remove_aside(&self, aside: &Path, manifest: Option<&Manifest>) -> Result<Left> {
        let parts = sizes(manifest);
        let rank = |name: &str| match name {
            SUCCESS => 0,
            MANIFEST => 2,
            _ => 1,
        };
        removal::remove_folder(aside, &[], &|entry| is_ours(entry, &parts), &rank)
    }

    /// Removes the objects of a snapshot that is marked as removed, the mark last.
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

    /// What `_latest.json` says; `None` if there is none that can be read.
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

    /// Says that this snapshot stands for the data as of this time.
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
            link(folder, &stamp.folder())?;
        }
        self.folder.child(LATEST_JSON).write(&json)
    }
}

/// Bytes of an export's files.
pub(crate) fn bytes_of(manifest: &Manifest) -> u64 {
    manifest.parts.iter().map(|part| part.bytes).sum()
}

/// The stamp in a hidden name, `.snapshot=STAMP.partial`.
fn hidden(name: &str, suffix: &str) -> Option<Stamp> {
    Stamp::of_folder(name.strip_prefix('.')?.strip_suffix(suffix)?)
}

/// The sizes of the parts that a manifest lists, by their names.
fn sizes(manifest: Option<&Manifest>) -> HashMap<&str, u64> {
    let parts = manifest.into_iter().flat_map(|manifest| &manifest.parts);
    parts.map(|part| (part.path.as_str(), part.bytes)).collect()
}

/// Whether retention may remove this: a part of the recorded size, what goes with parts, or what a desktop
/// has left beside them. Never anything but a file.
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
            "cannot be removed: it holds {:?}, {}, which is not ours",
            left.name, left.kind
        ),
        hint: Some("move that away; the next run removes the rest"),
        source: None,
    }
}

#[cfg(unix)]
fn is_unknown(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported)
}

/// Points the link at a folder beside it, in place of what it pointed at. It is relative, so that
/// the whole root can be moved.
fn link(folder: &Path, to: &str) -> Result<()> {
    let path = folder.join(LATEST);
    #[cfg(unix)]
    {
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_symlink() => {
                return Err(Error::Output {
                    path,
                    why: "is not a link, so it cannot point at the newest snapshot".to_owned(),
                    hint: Some("move it away: that name is the link's"),
                    source: None,
                });
            }
            Ok(_) if fs::read_link(&path).is_ok_and(|target| target == Path::new(to)) => {
                return Ok(());
            }
            _ => {}
        }
        let aside = folder.join(format!(".{LATEST}.{:08x}.new", fastrand::u32(..)));
        match std::os::unix::fs::symlink(to, &aside) {
            // Some file systems know no links; `_latest.json` says the same.
            Err(error) if is_unknown(&error) => {
                tracing::warn!(path = %path.display(), %error, "no link to the newest snapshot");
                Ok(())
            }
            linked => linked.and_then(|()| fs::rename(&aside, &path)).map_err(|error| {
                drop(fs::remove_file(&aside));
                Error::io("write", &path)(error)
            }),
        }
    }
    #[cfg(not(unix))]
    {
        // Links need a privilege there that few have; `_latest.json` says the same.
        let _ = (path, to);
        Ok(())
    }
}
