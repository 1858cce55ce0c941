//! Local locks, and checks of an output's folder, name and mount.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, TryLockError},
    io,
    path::Path,
};

use super::{ownership, parent};
use crate::{
    error::{Error, Result},
    files::{FileStatus, Folder},
};

/// Opens and locks a file, and creates it if it is missing. The lock ends with the process, even after a
/// crash.
///
/// # Errors
/// [`Error::Locked`] when another run holds the lock. [`Error::Output`] when the file cannot be created, and
/// [`Error::Io`] when the file system has no locks.
pub(super) fn lock(folder: &Folder, name: &OsStr, target: &Path) -> Result<File> {
    let path = folder.path().join(name);
    for _ in 0..100 {
        let opened = match folder.write(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => folder.create(name),
            opened => opened,
        };
        let file = match opened {
            // Another run has just created it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            // Another run has just ended and removed the folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            opened => opened.map_err(|error| cannot_create(target, error))?,
        };
        // The owner of the lock writes to this file, so another name of the file must not exist.
        ownership::check_only_name(&file, &path, target)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: target.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        // The previous holder may have moved or removed the file between opening and locking.
        if is_same_file(&file, folder, name) {
            return Ok(file);
        }
    }
    Err(Error::Locked { path: target.to_owned() })
}

/// Refuses a target that another run is writing. Creates nothing.
pub(super) fn check_unlocked(folder: &Folder, name: &OsStr, target: &Path) -> Result<()> {
    let Ok(file) = folder.write(name) else { return Ok(()) };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: target.to_owned() }),
        _ => Ok(()),
    }
}

/// Whether this name still refers to the open file.
pub(super) fn is_same_file(file: &File, folder: &Folder, name: impl AsRef<OsStr>) -> bool {
    match (FileStatus::of(file), folder.find(name)) {
        (Ok(open), Ok(Some(named))) => open.identity == named.identity,
        _ => false,
    }
}

/// The error of a run whose lock file was removed or replaced.
pub(super) fn lock_lost(target: &Path) -> Error {
    let why = "its staging was removed or replaced during the run".to_owned();
    Error::LockLost { path: target.to_owned(), why }
}

/// Makes the name of a published output durable.
pub(super) fn sync_published(folder: &Folder, target: &Path) -> Result<()> {
    let path = target.to_owned();
    folder.sync().map_err(|source| Error::NotDurable { path, source })
}

/// Whether a directory or a file is the root of a mount, which cannot be renamed.
pub(super) fn is_mount_point(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
        // Ask the kernel first. A bind mount of the same file system has the device number of its parent, and on
        // overlayfs a file of another layer has a different one without being mounted.
        if let Ok(found) = statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
            && found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
        {
            return found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        }
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| std::fs::metadata(path).map(|it| it.dev()).ok();
        device(path) != device(parent(path))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Refuses a target whose parent folder is missing.
pub(super) fn check_parent(target: &Path) -> Result<()> {
    let folder = parent(target);
    if folder.is_dir() {
        return Ok(());
    }
    let name = folder.display();
    let (why, hint) = if folder.symlink_metadata().is_ok() {
        (format!("{name} is not a folder"), "give another path")
    } else {
        (format!("there is no folder {name}"), "make the folder first, for example with mkdir -p")
    };
    Err(Error::Output { path: target.to_owned(), why, hint: Some(hint), source: None })
}

pub(super) fn not_open() -> Error {
    Error::Internal("the output was not opened".to_owned())
}

/// Opens the parent folder of a target.
pub(super) fn open_parent(target: &Path) -> Result<Folder> {
    check_parent(target)?;
    let folder = parent(target);
    Folder::open(folder).map_err(|error| cannot_create(target, error))
}

/// `.NAME.partial`: the name of the staging, next to the target. A rename can publish only within one file
/// system.
pub(crate) fn staging_name(name: &OsStr) -> OsString {
    let mut staging = OsString::from(".");
    staging.push(name);
    staging.push(".partial");
    staging
}

/// Returns the name of the output whose staging has this name.
pub(super) fn staged_name(staging: &str) -> Option<&str> {
    staging.strip_prefix('.')?.strip_suffix(".partial")
}

pub(crate) fn cannot_create(target: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => Some("choose a folder that you may write to"),
        io::ErrorKind::ReadOnlyFilesystem => Some("the file system is read-only: choose another"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room, or write somewhere else")
        }
        _ => None,
    };
    let why = "cannot be made".to_owned();
    Error::Output { path: target.to_owned(), why, hint, source: Some(error.into()) }
}
