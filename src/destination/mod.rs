//! Where bytes go: staged beside the target, published in one step, resumed after a kill.
//!
//! - Nothing partial is ever visible at the target: it is what it was before, or complete. In a store,
//!   which can rename nothing, that holds for who goes by the manifest.
//! - An existing output is never touched unless overwriting was asked for, and then only a file, an
//!   empty directory, or a directory whose manifest is ours and lists everything in it.
//! - One run at a time writes a target; the lock of a dead process blocks nobody.
//!
//! Knows nothing of pages, rows or formats.

mod directory;
mod file;
mod fs;
mod journal;
mod ours;
mod part;
mod rehearsal;
#[cfg(feature = "clouds")]
mod remote;
mod staged;
mod synced;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
};

use serde_json::Value;

pub(crate) use self::{
    directory::Directory,
    file::SingleFile,
    fs::cannot_create,
    journal::{Header, Kept},
    ours::check_way,
    part::{PartFile, examine},
};
use crate::{
    error::{Error, Result, causes},
    files::Folder,
    location::{Location, Target},
    record::manifest::{Manifest, Part},
};

/// Where an export is to go, and how.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) target: Target,
    /// Replace what is there.
    pub(crate) overwrite: bool,
    /// Write a manifest beside a single file.
    pub(crate) sidecar: bool,
    /// Where lists that do not fit in memory are kept.
    pub(crate) temp_dir: PathBuf,
}

/// A target that was looked at and, once opened, holds its lock.
#[derive(Debug)]
pub(crate) enum Destination {
    File(SingleFile),
    Directory(Directory),
    #[cfg(feature = "clouds")]
    Object(remote::Object),
    #[cfg(feature = "clouds")]
    Prefix(remote::Prefix),
    Stdout,
}

impl Destination {
    /// Looks whether the export can go there. Unless the run is only to look, it also writes: in a store it
    /// takes the lock, locally it publishes a file of a byte and removes it again.
    pub(crate) fn probe(wanted: &Wanted, only_look: bool) -> Result<Self> {
        let &Wanted { ref target, overwrite, sidecar, ref temp_dir } = wanted;
        let location = match target {
            Target::File(location) | Target::Directory(location) => location,
            Target::Stdout => return Ok(Self::Stdout),
        };
        let directory = matches!(target, Target::Directory(_));
        #[cfg(feature = "clouds")]
        if let Some(target) = location.as_remote() {
            return Ok(if directory {
                let temp_dir = temp_dir.clone();
                Self::Prefix(remote::Prefix::probe(
                    location, target, overwrite, only_look, temp_dir,
                )?)
            } else {
                Self::Object(remote::Object::probe(
                    location, target, overwrite, sidecar, only_look,
                )?)
            });
        }
        let _ = temp_dir;
        let path = &location.to_path();
        Ok(if directory {
            Self::Directory(Directory::probe(path, overwrite, only_look)?)
        } else {
            Self::File(SingleFile::probe(path, overwrite, sidecar, only_look)?)
        })
    }

    /// One file that is no export, or standard output: looks whether it can go there, and takes the
    /// lock. [`publish_file`](Self::publish_file) ends it.
    pub(crate) fn open_file(target: &Target, overwrite: bool) -> Result<Self> {
        let location = match target {
            Target::File(location) => location,
            Target::Stdout => return Ok(Self::Stdout),
            Target::Directory(_) => return Err(not_a_file()),
        };
        #[cfg(feature = "clouds")]
        if let Some(target) = location.as_remote() {
            let mut object = remote::Object::probe(location, target, overwrite, false, false)?;
            object.open()?;
            return Ok(Self::Object(object));
        }
        let mut file = SingleFile::probe(&location.to_path(), overwrite, false, false)?;
        file.open()?;
        Ok(Self::File(file))
    }

    /// Makes a file that is no export visible, complete, in one step.
    pub(crate) fn publish_file(self) -> Result<()> {
        match self {
            Self::File(file) => file.publish(None),
            #[cfg(feature = "clouds")]
            Self::Object(object) => object.publish(None),
            Self::Stdout => Ok(()),
            _ => Err(not_a_file()),
        }
    }

    /// Bytes that are free where the output will be; `None` where nobody says.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.free_bytes(),
            Self::Directory(directory) => directory.free_bytes(),
            #[cfg(feature = "clouds")]
            Self::Object(_) | Self::Prefix(_) => None,
            Self::Stdout => None,
        }
    }

    /// What another thread has to know of it and can tell it while it works.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper {
            #[cfg(feature = "clouds")]
            watch: match self {
                Self::Object(object) => object.watch(),
                Self::Prefix(prefix) => prefix.watch(),
                Self::File(_) | Self::Directory(_) | Self::Stdout => None,
            },
        }
    }

    /// Moves it out, to work on another thread; what stays behind publishes nothing.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Stdout)
    }

    /// Whether it is certain before [`resume`](Self::resume) that nothing can be kept.
    pub(crate) fn is_fresh(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.is_fresh(),
            #[cfg(feature = "clouds")]
            Self::Prefix(_) => false,
            #[cfg(feature = "clouds")]
            Self::Object(_) => true,
            Self::File(_) | Self::Stdout => true,
        }
    }

    /// Takes the lock where an interrupted run left something, and says what can be kept of it.
    pub(crate) fn resume(&mut self, header: &Header, restart: bool) -> Result<Vec<Kept>> {
        match self {
            Self::Directory(directory) => directory.resume(header, restart),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.resume(header, restart),
            _ => Ok(Vec::new()),
        }
    }

    /// Takes the lock and makes room for parts.
    pub(crate) fn open(&mut self, header: &Header) -> Result<()> {
        match self {
            Self::File(file) => file.open(),
            Self::Directory(directory) => directory.open(header),
            #[cfg(feature = "clouds")]
            Self::Object(object) => object.open(),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.open(header),
            Self::Stdout => Ok(()),
        }
    }

    /// A new file for the part with this index.
    pub(crate) fn create(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        match self {
            Self::File(file) => file.create(),
            Self::Directory(directory) => directory.create(index, extension),
            #[cfg(feature = "clouds")]
            Self::Object(object) => object.create(),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.create(index, extension),
            Self::Stdout => Ok(PartFile::stdout()),
        }
    }

    /// The name that the part with this index has in the manifest.
    pub(crate) fn part_name(&self, index: usize, extension: &str) -> String {
        match self {
            Self::File(file) => file.name(),
            Self::Directory(_) => directory::part_name(index, extension),
            #[cfg(feature = "clouds")]
            Self::Object(object) => object.name(),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.part_name(index, extension),
            Self::Stdout => "-".to_owned(),
        }
    }

    /// A file for the ids of the part with this index, where a later run may continue this one.
    pub(crate) fn create_ids(&mut self, index: usize, extension: &str) -> Result<Option<PartFile>> {
        let _ = extension;
        match self {
            Self::Directory(directory) => directory.create_ids(index).map(Some),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.create_ids(index, extension).map(Some),
            _ => Ok(None),
        }
    }

    /// Records a finished part, so that a run that continues this one keeps it.
    pub(crate) fn keep(
        &mut self,
        part: &Part,
        has_next: bool,
        last_order: Option<i64>,
    ) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.keep(part, has_next, last_order),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.keep(part, has_next, last_order),
            _ => Ok(()),
        }
    }

    /// Makes the export visible, complete, in one step.
    pub(crate) fn publish(self, manifest: &Manifest, sidecar: bool) -> Result<()> {
        match self {
            Self::File(file) => file.publish(sidecar.then_some(manifest)),
            Self::Directory(directory) => directory.publish(manifest),
            #[cfg(feature = "clouds")]
            Self::Object(object) => object.publish(sidecar.then_some(manifest)),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.publish(manifest),
            Self::Stdout => Ok(()),
        }
    }

    /// Gives up: nothing is published. Returns how many finished parts were kept for the next run.
    pub(crate) fn abandon(self) -> usize {
        match self {
            Self::File(file) => {
                file.abandon();
                0
            }
            Self::Directory(directory) => directory.abandon(),
            #[cfg(feature = "clouds")]
            Self::Object(object) => {
                object.abandon();
                0
            }
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.abandon(),
            Self::Stdout => 0,
        }
    }

    /// Drops the parts that were kept: they turned out to be of no use.
    pub(crate) fn forget(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.forget(),
            #[cfg(feature = "clouds")]
            Self::Prefix(prefix) => prefix.forget(),
            _ => Ok(()),
        }
    }
}

/// What an interrupted run left of a directory.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// What it was to write, as in its header.
    pub(crate) plan: Value,
    /// Parts that it had finished.
    pub(crate) parts: usize,
}

/// What the run left that was interrupted while it wrote this directory, if one was.
pub(crate) fn interrupted(target: &Location) -> Result<Option<Interrupted>> {
    #[cfg(feature = "clouds")]
    if let Some(remote) = target.as_remote() {
        return remote::interrupted(remote);
    }
    Ok(directory::interrupted(&target.to_path()))
}

/// Drops what an interrupted run of this user left of a directory.
pub(crate) fn discard(target: &Location) -> Result<()> {
    #[cfg(feature = "clouds")]
    if let Some(remote) = target.as_remote() {
        return remote::discard(target, remote);
    }
    directory::discard(&target.to_path())
}

/// Holds a place until it is released, or until the process ends.
#[derive(Debug)]
pub(crate) enum PlaceLock {
    Local(Folder, File),
    #[cfg(feature = "clouds")]
    Remote(remote::Lock),
}

impl PlaceLock {
    /// Takes the lock of a folder, which is made if need be.
    ///
    /// # Errors
    /// [`Error::Locked`] when another run has it.
    pub(crate) fn take(folder: &Location) -> Result<Self> {
        #[cfg(feature = "clouds")]
        if let Some(remote) = folder.as_remote() {
            return remote::lock(remote).map(Self::Remote);
        }
        let local = folder.to_path();
        std::fs::create_dir_all(&local).map_err(|error| cannot_create(&local, error))?;
        let folder = Folder::open(&local).map_err(|error| cannot_create(&local, error))?;
        let file = fs::lock(&folder, OsStr::new(PLACE_LOCK), &local)?;
        Ok(Self::Local(folder, file))
    }

    /// Looks whether this run holds it still: its file may have been removed, and in a store another may
    /// have taken it over.
    ///
    /// # Errors
    /// [`Error::LockLost`] when one has.
    pub(crate) fn confirm(&self) -> Result<()> {
        match self {
            Self::Local(folder, file) if !fs::is_still(file, folder, PLACE_LOCK) => {
                let why = "its file was removed or replaced while the run was at work".to_owned();
                Err(Error::LockLost { path: folder.path().to_owned(), why })
            }
            Self::Local(..) => Ok(()),
            #[cfg(feature = "clouds")]
            Self::Remote(lock) => lock.confirm(),
        }
    }

    pub(crate) fn release(self) -> Result<()> {
        match self {
            Self::Local(folder, held) => {
                // While it is held: a run that waits for it looks whether it is still the file of that name.
                if !fs::is_still(&held, &folder, PLACE_LOCK) {
                    return Ok(());
                }
                let path = folder.path().join(PLACE_LOCK);
                folder.remove(PLACE_LOCK).map_err(Error::io("remove", path))
            }
            #[cfg(feature = "clouds")]
            Self::Remote(lock) => remote::unlock(lock),
        }
    }
}

/// The lock of a job's folder.
const PLACE_LOCK: &str = ".lock";

/// Bytes that this user may still write in a local folder; `None` where the system does not say.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    Folder::open(folder).ok()?.free_bytes()
}

fn not_a_file() -> Error {
    Error::Internal("a directory is not one file".to_owned())
}

/// What [`Destination::stopper`] gives; does nothing for what is local, where nothing blocks for long.
#[derive(Debug)]
pub(crate) struct Stopper {
    #[cfg(feature = "clouds")]
    watch: Option<remote::LeaseWatch>,
}

impl Stopper {
    /// Ends what is on its way to a store: the run is told to stop.
    pub(crate) fn stop(&self) {
        #[cfg(feature = "clouds")]
        if let Some(watch) = &self.watch {
            watch.stop();
        }
    }

    /// Whether it has a lock that outlives this process unless it is released.
    pub(crate) fn has_lock(&self) -> bool {
        #[cfg(feature = "clouds")]
        if self.watch.is_some() {
            return true;
        }
        false
    }

    /// Comes when there is no use in going on, because the lock was lost.
    pub(crate) async fn lost(&self) -> Error {
        #[cfg(feature = "clouds")]
        if let Some(watch) = &self.watch {
            return watch.lost().await;
        }
        std::future::pending().await
    }
}

/// Where a run keeps, in a store, what is not part of the export.
pub(crate) const CONTROL: &str = "_overmind";

/// The name of the manifest of a single file, which lies beside it.
pub(crate) fn sidecar_name(name: &str) -> String {
    format!("{name}.manifest.json")
}

/// What cannot be tidied up after the export is there does not undo it.
fn tidied(output: impl std::fmt::Display, result: Result<()>) {
    if let Err(error) = result {
        let why = causes(&error).join(": ");
        tracing::warn!("what the run kept for {output} is left there: {error}: {why}");
    }
}

/// The folder that a path lies in; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
