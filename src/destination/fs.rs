//! The few file system calls that publication rests on: locks, durable names, swaps.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::parent;
use crate::error::{Error, Result};

/// Opens (making it if need be) and locks `path`; the lock goes with the process, however it ends.
pub(super) fn lock(path: &Path, target: &Path) -> Result<File> {
    for _ in 0..100 {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| cannot_create(target, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: target.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        // The run that held the lock may have moved or removed the file in the meantime.
        if is_still(&file, path) {
            return Ok(file);
        }
    }
    Err(Error::Locked { path: target.to_owned() })
}

/// Refuses a target that another run is writing, without making anything.
pub(super) fn check_unlocked(path: &Path, target: &Path) -> Result<()> {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return Ok(()) };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: target.to_owned() }),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_still(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Writes a whole file that outlives a power failure, once its name does.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in a directory durable, as far as the system allows.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let directory = File::open(path).map_err(Error::io("open", path))?;
        directory.sync_all().map_err(Error::io("sync", path))?;
    }
    Ok(())
}

/// Gives `from` the name `to`, which must not exist.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // File systems that know no flags (some network ones) get the portable way.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            result => return Ok(result?),
        }
    }
    // A link fails if the name is taken, which a plain rename does not.
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}

/// Swaps two directories. On Linux there is no moment in which neither is at `to`; elsewhere, and
/// on file systems that cannot swap, there is a short one.
pub(super) fn swap(from: &Path, to: &Path, aside: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            result => return Ok(result?),
        }
    }
    std::fs::rename(to, aside)?;
    if let Err(error) = std::fs::rename(from, to) {
        // The old one goes back rather than nothing being there.
        std::fs::rename(aside, to)?;
        return Err(error);
    }
    std::fs::rename(aside, from)
}

/// Whether a directory is the root of a mounted file system, which cannot be renamed.
pub(super) fn is_mount_point(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
        // Where the kernel says it: a directory bound from the same file system has its device.
        if let Ok(found) = statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
            && found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        {
            return true;
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

/// Refuses a target whose folder is not there.
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

/// `.NAME.partial`, where a run keeps what is not to be seen yet: beside the target, because only
/// within one file system can a rename publish.
pub(super) fn staging_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    parent(target).join(format!(".{name}.partial"))
}

pub(crate) fn cannot_create(target: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => Some("choose a folder that you may write to"),
        io::ErrorKind::ReadOnlyFilesystem => Some("the file system is read-only: choose another"),
        io::ErrorKind::StorageFull => Some("make room, or write somewhere else"),
        _ => None,
    };
    let why = "cannot be made".to_owned();
    Error::Output { path: target.to_owned(), why, hint, source: Some(error.into()) }
}
