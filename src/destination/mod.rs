//! Outputs: staged next to the target, published in one step, resumed after a kill.
//!
//! - Nothing partial is ever visible at the target: it is unchanged or complete. An object store cannot
//!   rename, so a reader there that does not use the record sees some of the parts during the publication.
//! - An existing output is changed only if the caller asked to overwrite, except an empty directory. Even then, a run
//!   replaces only a file, or a directory whose valid record lists everything in it.
//! - One run at a time writes a target. The lock of a dead process blocks no other run.
//!
//! This module knows no pages, rows or formats.

mod changed;
mod directory;
mod drafts;
mod file;
mod fs;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod gathering;
mod journal;
mod moves;
mod ownership;
mod part;
mod path_links;
mod plan_folder;
mod preflight;
mod publication;
mod range_record;
mod ranges;
mod record_file;
#[cfg(feature = "clouds")]
mod remote;
#[cfg(not(feature = "clouds"))]
#[path = "no_remote.rs"]
mod remote;
mod resumable;
mod sealed;
mod staged;
mod stopper;
mod synced;
#[cfg(test)]
mod tests;
mod withdrawal;

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
};

use serde_json::Value;

pub(crate) use self::{
    directory::Directory,
    drafts::Drafts,
    file::SingleFile,
    fs::{cannot_create, staging_name},
    journal::{Header, KeptPart},
    part::{PartFile, examine},
    path_links::{check_path_links, resolve as resolve_links},
    plan_folder::similar_plan,
    preflight::is_preflight,
    range_record::{
        FoundRange, FoundRanges, MOST_RANGES, PlanStart, PlanUse, RangeRecord, WantedRange,
    },
    ranges::{BegunOutput, RangeAttempt, RangeStart, abort_plan, finish_begun, tidy_published},
    resumable::Resumable,
    sealed::{opened, sealed},
    stopper::Stopper,
};
use crate::{
    error::{Error, Result, causes},
    files::Folder,
    location::{Location, Target},
    record::{
        layout::PartLayout,
        manifest::{Manifest, Part},
    },
};

/// The requested output of an export.
#[derive(Debug, Clone)]
pub(crate) struct OutputRequest {
    pub(crate) target: Target,
    /// Whether to replace an existing output.
    pub(crate) overwrite: bool,
    /// Whether to write a manifest next to a single file.
    pub(crate) sidecar: bool,
    /// The place that the user chose for the record of a directory. [`place::written`](crate::record::place::written)
    /// decides.
    pub(crate) record: Option<Location>,
    /// The folder for the staging of a directory, on the same file system, or for the control objects of a prefix.
    /// Default: next to the directory or prefix, with the exceptions that `remote/control.rs` names.
    pub(crate) staging: Option<Location>,
    /// Whether to write an empty file `_SUCCESS` into the directory.
    pub(crate) success_file: bool,
    /// The folders of the parts in the directory.
    pub(crate) layout: PartLayout,
    /// Whether the parts are written from [`Drafts`], which a later run keeps instead of the parts.
    pub(crate) in_drafts: bool,
    /// What the run does with a plan for many workers, if the output has one.
    pub(crate) plan_use: PlanUse,
    /// The folder for lists that do not fit in memory.
    #[cfg_attr(
        not(feature = "clouds"),
        allow(dead_code, reason = "only exports to a store write such lists")
    )]
    pub(crate) temp_dir: PathBuf,
}

/// A checked target. Once opened, it holds the target's lock.
#[derive(Debug)]
pub(crate) enum Destination {
    File(SingleFile),
    Directory(Box<Directory>),
    Object(remote::Object),
    Prefix(remote::Prefix),
    /// The parts of one worker, of a directory or prefix.
    Range(Box<RangeAttempt>),
    Stdout,
}

impl Destination {
    /// Checks whether the export can be written to this target. Unless `dry_run` is set, it also writes: in a store
    /// it takes the lock, locally it runs the preflight. For a directory or a prefix, it first finishes the publication of
    /// an ended run.
    pub(crate) fn probe(wanted: &OutputRequest, dry_run: bool) -> Result<Self> {
        let &OutputRequest { ref target, overwrite, sidecar, .. } = wanted;
        let location = match target {
            Target::File(location) | Target::Directory(location) => location,
            Target::Stdout => return Ok(Self::Stdout),
        };
        let directory = matches!(target, Target::Directory(_));
        if let Some(target) = location.as_remote() {
            return Ok(if directory {
                Self::Prefix(remote::Prefix::probe(location, target, wanted, dry_run)?)
            } else {
                Self::Object(remote::Object::probe(location, target, overwrite, sidecar, dry_run)?)
            });
        }
        let path = &location.to_path();
        Ok(if directory {
            Self::Directory(Box::new(Directory::probe(path, wanted, dry_run)?))
        } else {
            Self::File(SingleFile::probe(path, overwrite, sidecar, dry_run)?)
        })
    }

    /// Opens standard output or a single file that is not an export: checks the target and takes its lock.
    /// Finish it with [`publish_file`](Self::publish_file).
    pub(crate) fn open_file(target: &Target, overwrite: bool) -> Result<Self> {
        let location = match target {
            Target::File(location) => location,
            Target::Stdout => return Ok(Self::Stdout),
            Target::Directory(_) => return Err(not_a_file()),
        };
        if let Some(target) = location.as_remote() {
            let mut object = remote::Object::probe(location, target, overwrite, false, false)?;
            object.open()?;
            return Ok(Self::Object(object));
        }
        let mut file = SingleFile::probe(&location.to_path(), overwrite, false, false)?;
        file.open()?;
        Ok(Self::File(file))
    }

    /// Publishes a complete file that is not an export, in one step.
    pub(crate) fn publish_file(self) -> Result<()> {
        match self {
            Self::File(file) => file.publish(None),
            Self::Object(object) => object.publish(None),
            Self::Stdout => Ok(()),
            _ => Err(not_a_file()),
        }
    }

    /// Free space at the output, in bytes; `None` if it is unknown.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.free_bytes(),
            Self::Directory(directory) => directory.free_bytes(),
            Self::Range(attempt) => attempt.free_bytes(),
            Self::Object(_) | Self::Prefix(_) | Self::Stdout => None,
        }
    }

    /// Returns a handle for another thread, to stop the output or to wait for the loss of its lock.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper {
            watch: match self {
                Self::Object(object) => object.watch(),
                Self::Prefix(prefix) => prefix.watch(),
                Self::Range(attempt) => attempt.watch(),
                Self::File(_) | Self::Directory(_) | Self::Stdout => None,
            },
        }
    }

    /// Whether it is certain, before [`resume`](Self::resume), that there are no parts to keep.
    pub(crate) fn is_fresh(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.is_fresh(),
            Self::Prefix(_) => false,
            Self::File(_) | Self::Object(_) | Self::Range(_) | Self::Stdout => true,
        }
    }

    /// Takes the lock if an interrupted run left staging, and returns the parts that can be kept.
    pub(crate) fn resume(&mut self, header: &Header, restart: bool) -> Result<Vec<KeptPart>> {
        match self {
            Self::Directory(directory) => directory.resume(header, restart),
            Self::Prefix(prefix) => prefix.resume(header, restart),
            _ => Ok(Vec::new()),
        }
    }

    /// Takes the lock and prepares the staging.
    pub(crate) fn open(&mut self, header: &Header) -> Result<()> {
        match self {
            Self::File(file) => file.open(),
            Self::Directory(directory) => directory.open(header),
            Self::Object(object) => object.open(),
            Self::Prefix(prefix) => prefix.open(header),
            Self::Range(_) | Self::Stdout => Ok(()),
        }
    }

    /// A new file for the part with this index, see [`part_name`](Self::part_name).
    pub(crate) fn create(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        match self {
            Self::File(file) => file.create(),
            Self::Directory(directory) => directory.create(index, extension),
            Self::Object(object) => object.create(),
            Self::Prefix(prefix) => prefix.create(index, extension),
            Self::Range(attempt) => attempt.create(index, extension),
            Self::Stdout => Ok(PartFile::stdout()),
        }
    }

    /// The path that the part with this index has in the manifest. A group of pages has a part in each folder of the
    /// layout, and the index counts all parts, group by group.
    pub(crate) fn part_name(&self, index: usize, extension: &str) -> String {
        match self {
            Self::File(file) => file.name(),
            Self::Directory(directory) => directory.part_name(index, extension),
            Self::Object(object) => object.name(),
            Self::Prefix(prefix) => prefix.part_name(index, extension),
            Self::Range(attempt) => attempt.part_name(index, extension),
            Self::Stdout => "-".to_owned(),
        }
    }

    /// Creates a file for the ids of the pages of the part with this index; `None` for an output that cannot be resumed.
    /// All parts of a group share it.
    pub(crate) fn create_ids(&mut self, index: usize, extension: &str) -> Result<Option<PartFile>> {
        match self {
            Self::Directory(directory) => directory.create_ids(index).map(Some),
            Self::Prefix(prefix) => prefix.create_ids(index, extension).map(Some),
            Self::Range(attempt) => attempt.create_ids(index, extension).map(Some),
            _ => Ok(None),
        }
    }

    /// Records a finished part, so that a resumed run keeps it. Parts are recorded in the order of their indices, and kept
    /// in whole groups.
    pub(crate) fn keep(&mut self, kept: KeptPart) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.keep(&kept),
            Self::Prefix(prefix) => prefix.keep(kept),
            Self::Range(attempt) => attempt.keep(kept),
            _ => Ok(()),
        }
    }

    /// Whether a later run can keep drafts.
    pub(crate) fn keeps_drafts(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// Notes a finished part that was written from a draft, for the publication. A later run does not keep it.
    pub(crate) fn note_part(&mut self, part: &Part) -> Result<()> {
        match self {
            Self::Prefix(prefix) => prefix.note_part(part),
            _ => Ok(()),
        }
    }

    /// Publishes the complete export.
    pub(crate) fn publish(self, manifest: &Manifest, sidecar: bool) -> Result<()> {
        match self {
            Self::File(file) => file.publish(sidecar.then_some(manifest)),
            Self::Directory(directory) => directory.publish(manifest),
            Self::Object(object) => object.publish(sidecar.then_some(manifest)),
            Self::Prefix(prefix) => prefix.publish(manifest),
            Self::Range(_) => Err(Error::Internal("a worker publishes nothing".to_owned())),
            Self::Stdout => Ok(()),
        }
    }

    /// Publishes nothing. Returns the number of finished parts that are kept for the next run.
    pub(crate) fn abandon(self) -> usize {
        match self {
            Self::File(file) => {
                file.abandon();
                0
            }
            Self::Directory(directory) => directory.abandon(),
            Self::Object(object) => {
                object.abandon();
                0
            }
            Self::Prefix(prefix) => prefix.abandon(),
            Self::Range(attempt) => {
                attempt.discard();
                0
            }
            Self::Stdout => 0,
        }
    }

    /// Deletes the kept parts: they turned out to be unusable.
    pub(crate) fn forget(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.forget(),
            Self::Prefix(prefix) => prefix.forget(),
            _ => Ok(()),
        }
    }
}

/// An interrupted export to a directory.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// The plan in its journal header.
    pub(crate) plan: Value,
    /// Number of finished parts.
    pub(crate) parts: usize,
}

/// Returns the interrupted export to this directory, if there is one. `staging` is the folder of its staging, as
/// in [`OutputRequest`].
pub(crate) fn interrupted(
    target: &Location,
    staging: Option<&Location>,
) -> Result<Option<Interrupted>> {
    if let Some(remote) = target.as_remote() {
        return remote::interrupted(remote, staging);
    }
    Ok(directory::interrupted(&target.to_path(), staging.and_then(Location::as_local)))
}

/// Finishes the publication of a directory that an ended run announced, if there is one. `record` and `staging`
/// are those of its [`OutputRequest`]. In a store, also removes the control objects of ended runs that left no part
/// to resume.
pub(crate) fn finish(target: &Location, record: &Location, staging: &Location) -> Result<()> {
    if let Some(remote) = target.as_remote() {
        return remote::finish(target, remote, record, staging);
    }
    let wanted = OutputRequest {
        target: Target::Directory(target.clone()),
        overwrite: false,
        sidecar: false,
        // Used if the announced place is gone.
        record: Some(record.clone()),
        staging: Some(staging.clone()),
        success_file: false,
        layout: PartLayout::default(),
        in_drafts: false,
        plan_use: PlanUse::Allow,
        temp_dir: PathBuf::new(),
    };
    Directory::at(&target.to_path(), &wanted)?.finish_announced().map(drop)
}

/// Deletes the staging that an interrupted run of this user left for a directory. `record` and `staging` are
/// those of its [`OutputRequest`].
pub(crate) fn discard(
    target: &Location,
    record: Option<&Location>,
    staging: Option<&Location>,
) -> Result<()> {
    if let Some(remote) = target.as_remote() {
        return remote::discard(target, remote, record, staging);
    }
    directory::discard(&target.to_path(), staging.and_then(Location::as_local))
}

/// The lock of a folder or a prefix, held until it is released or the process ends.
#[derive(Debug)]
pub(crate) enum PlaceLock {
    Local(Folder, File),
    Remote(remote::Lock),
}

impl PlaceLock {
    /// Takes the lock of a folder, and creates the folder if it is missing.
    ///
    /// # Errors
    /// [`Error::Locked`] when another run holds it.
    pub(crate) fn take(folder: &Location) -> Result<Self> {
        if let Some(remote) = folder.as_remote() {
            return remote::lock(remote).map(Self::Remote);
        }
        let local = folder.to_path();
        std::fs::create_dir_all(&local).map_err(|error| cannot_create(&local, error))?;
        let folder = Folder::open(&local).map_err(|error| cannot_create(&local, error))?;
        let file = fs::lock(&folder, OsStr::new(PLACE_LOCK), &local)?;
        Ok(Self::Local(folder, file))
    }

    /// Checks that this run still holds the lock. Its file may have been removed; in a store, another run may
    /// have taken the lock over.
    ///
    /// # Errors
    /// [`Error::LockLost`] when this run no longer holds it.
    pub(crate) fn confirm(&self) -> Result<()> {
        match self {
            Self::Local(folder, file) if !fs::is_same_file(file, folder, PLACE_LOCK) => {
                let why = "its file was removed or replaced during the run".to_owned();
                Err(Error::LockLost { path: folder.path().to_owned(), why })
            }
            Self::Local(..) => Ok(()),
            Self::Remote(lock) => lock.confirm(),
        }
    }

    pub(crate) fn release(self) -> Result<()> {
        match self {
            Self::Local(folder, held) => {
                // Remove the file while it is locked. The next holder checks that its file still has this name.
                if !fs::is_same_file(&held, &folder, PLACE_LOCK) {
                    return Ok(());
                }
                let path = folder.path().join(PLACE_LOCK);
                folder.remove(PLACE_LOCK).map_err(Error::io("remove", path))
            }
            Self::Remote(lock) => remote::unlock(lock),
        }
    }
}

/// File name of the lock of a job's folder.
const PLACE_LOCK: &str = ".lock";

/// Free space for this user in a local folder, in bytes; `None` where the system does not report it.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    Folder::open(folder).ok()?.free_bytes()
}

/// Returns what a run with this header would keep of an interrupted export to the same directory. Changes nothing.
///
/// # Errors
/// [`Error::Output`] when the parts were written with another plan.
pub(crate) fn resumable(wanted: &OutputRequest, header: &Header) -> Result<Option<Resumable>> {
    let Target::Directory(target) = &wanted.target else { return Ok(None) };
    match target.as_remote() {
        Some(remote) => remote::resumable(remote, wanted, header),
        None => directory::resumable(&target.to_path(), wanted, header),
    }
}

fn not_a_file() -> Error {
    Error::Internal("a directory is not one file".to_owned())
}

/// Name of the folder below a prefix for the control objects of a run that was given `record`, and of the one in the
/// root of a bucket. They are not part of the export.
pub(crate) const CONTROL: &str = "_overmind";
/// The file with the plan.
const PLAN: &str = "plan.json";
/// The folder with the records and the parts of the workers.
const RANGES: &str = "ranges";
/// The file with the moves of a commit that has begun to publish.
const MOVES: &str = "commit.json";

/// Returns the name of the folder for the control objects of a run to an object or a prefix with this name. The folder
/// is next to the prefix, or below the staging of a job.
pub(crate) fn control_name(name: &str) -> String {
    format!("_{name}.partial")
}

/// The problem of a run that has published the export of an ended run, and must not replace it.
const FINISHED_NOW: &str =
    "is complete: this run has finished the publication of an interrupted run";

/// Reports a failed cleanup as a warning: it does not change the result of the run.
fn tidied(output: impl std::fmt::Display, result: Result<()>) {
    if let Err(error) = result {
        let why = causes(&error).join(": ");
        tracing::warn!("the cleanup of {output} is not complete: {error}: {why}");
    }
}

/// The parent folder of a path; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
