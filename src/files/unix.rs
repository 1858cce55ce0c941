//! The system calls of [`Folder`](super::folder::Folder) on Unix, relative to an open directory.
//!
//! A result of `None` means that the file system does not support the call. The caller then uses another
//! way.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::{
    fs::{self, Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::status::{FileKind, FileStatus, Identity};

pub(super) type Handle = File;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

pub(super) fn open(path: &Path) -> io::Result<Handle> {
    match fs::openat(CWD, path, FOLDER, Mode::empty()) {
        // A user may be allowed to use the names in a folder, but not to list it.
        #[cfg(target_os = "linux")]
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
            Ok(fs::openat(CWD, path, flags, Mode::empty())?.into())
        }
        opened => Ok(opened?.into()),
    }
}

pub(super) fn open_folder(folder: &Handle, name: &OsStr) -> io::Result<Handle> {
    Ok(fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?.into())
}

pub(super) fn create(folder: &Handle, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?.into())
}

pub(super) fn open_file(folder: &Handle, name: &OsStr, write: bool) -> io::Result<File> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    // Opening a FIFO would wait for its other end.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(fs::openat(folder, name, flags, Mode::empty())?.into())
}

pub(super) fn make(folder: &Handle, name: &OsStr, private: bool) -> io::Result<()> {
    let mode = if private { Mode::RWXU } else { Mode::RWXU | Mode::RWXG | Mode::RWXO };
    Ok(fs::mkdirat(folder, name, mode)?)
}

pub(super) fn status(file: &File) -> io::Result<FileStatus> {
    Ok(translate(&fs::fstat(file)?))
}

pub(super) fn status_of_folder(folder: &Handle) -> io::Result<FileStatus> {
    status(folder)
}

pub(super) fn is_same(one: &Handle, other: &Handle) -> io::Result<bool> {
    Ok(status(one)?.identity == status(other)?.identity)
}

pub(super) fn is_at(folder: &Handle, parent: &Handle, name: &OsStr) -> bool {
    match (status_of_folder(folder), find(parent, name)) {
        (Ok(open), Ok(named)) => open.identity == named.identity,
        _ => false,
    }
}

pub(super) fn find(folder: &Handle, name: &OsStr) -> io::Result<FileStatus> {
    Ok(translate(&fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

#[allow(clippy::unnecessary_cast, reason = "the fields differ in width from system to system")]
fn translate(stat: &Stat) -> FileStatus {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        _ => FileKind::Device,
    };
    FileStatus {
        kind,
        identity: Identity { device: stat.st_dev as u64, inode: stat.st_ino as u64 },
        size: stat.st_size as u64,
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        owner: stat.st_uid,
        mode: stat.st_mode as u32 & 0o7777,
        links: stat.st_nlink as u64,
    }
}

pub(super) fn names(folder: &Handle) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

pub(super) fn remove(folder: &Handle, name: &OsStr) -> io::Result<()> {
    Ok(fs::unlinkat(folder, name, AtFlags::empty())?)
}

pub(super) fn remove_folder(folder: &Handle, name: &OsStr) -> io::Result<()> {
    Ok(fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

pub(super) fn rename(from: &Handle, old: &OsStr, to: &Handle, new: &OsStr) -> io::Result<()> {
    Ok(fs::renameat(from, old, to, new)?)
}

/// Fails if a file or a directory cannot be renamed or replaced; nothing moves. The system checks that
/// before it finds that `full`, a directory that is not empty, cannot be replaced.
pub(super) fn try_move(
    from: &Handle,
    name: &OsStr,
    place: &Handle,
    full: &OsStr,
) -> io::Result<()> {
    match fs::renameat(from, name, place, full) {
        // This file system has replaced it: undo that.
        Ok(()) => rename(place, full, from, name),
        // Other errors may concern `full`: file systems report it differently.
        Err(error @ (Errno::XDEV | Errno::PERM | Errno::BUSY | Errno::ROFS)) => Err(error.into()),
        Err(_) => Ok(()),
    }
}

/// Whether names can be added to a directory, but not be renamed or removed.
#[cfg(target_os = "linux")]
pub(super) fn is_append_only(folder: &Handle) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags};
    let found = fs::statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::APPEND))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_append_only(_: &Handle) -> bool {
    false
}

/// Renames a file; fails if the new name exists.
#[cfg(target_os = "linux")]
pub(super) fn rename_new(
    from: &Handle,
    old: &OsStr,
    to: &Handle,
    new: &OsStr,
) -> Option<io::Result<()>> {
    unless_unknown(fs::renameat_with(from, old, to, new, fs::RenameFlags::NOREPLACE))
}

/// Swaps two names. overlayfs cannot swap a directory of a lower layer, and answers `EXDEV` as for two file
/// systems.
#[cfg(target_os = "linux")]
pub(super) fn exchange(
    from: &Handle,
    old: &OsStr,
    to: &Handle,
    new: &OsStr,
) -> Option<io::Result<()>> {
    match fs::renameat_with(from, old, to, new, fs::RenameFlags::EXCHANGE) {
        Err(Errno::XDEV) => None,
        result => unless_unknown(result),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn rename_new(_: &Handle, _: &OsStr, _: &Handle, _: &OsStr) -> Option<io::Result<()>> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn exchange(_: &Handle, _: &OsStr, _: &Handle, _: &OsStr) -> Option<io::Result<()>> {
    None
}

/// Adds a second name to a file; fails if that name exists.
pub(super) fn link(from: &Handle, old: &OsStr, to: &Handle, new: &OsStr) -> Option<io::Result<()>> {
    match fs::linkat(from, old, to, new, AtFlags::empty()) {
        // A file system without links answers so.
        Err(Errno::PERM | Errno::MLINK) => None,
        result => unless_unknown(result),
    }
}

pub(super) fn sync(folder: &Handle) -> io::Result<()> {
    match fs::fsync(folder) {
        // Some file systems cannot sync a directory. A handle without read permission cannot either.
        Err(error) if error == Errno::BADF || is_unknown(error) => Ok(()),
        result => Ok(result?),
    }
}

pub(super) fn is_writable(folder: &Handle, name: &OsStr) -> bool {
    let written = fs::accessat(folder, name, Access::WRITE_OK, AtFlags::EACCESS);
    !matches!(written, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

pub(super) fn free_bytes(folder: &Handle) -> Option<u64> {
    let found = fs::fstatvfs(folder).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

fn unless_unknown(result: rustix::io::Result<()>) -> Option<io::Result<()>> {
    match result {
        Err(error) if is_unknown(error) => None,
        result => Some(result.map_err(io::Error::from)),
    }
}

/// Whether the error means that the file system does not support the call for this kind of file.
fn is_unknown(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP].contains(&error)
}
