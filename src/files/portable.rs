//! The system calls of [`Folder`](super::folder::Folder) by path, for systems without directory handles.
//!
//! This is weaker: it checks that a name is not a link and then uses the name. Another process can change
//! the name in between.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::status::{FileKind, FileStatus, Identity};

pub(super) type Handle = PathBuf;

pub(super) fn open(path: &Path) -> io::Result<Handle> {
    fs::read_dir(path)?;
    Ok(path.to_owned())
}

pub(super) fn open_folder(folder: &Handle, name: &OsStr) -> io::Result<Handle> {
    refuse_link(folder, name)?;
    open(&folder.join(name))
}

pub(super) fn create(folder: &Handle, name: &OsStr) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(folder.join(name))
}

pub(super) fn open_file(folder: &Handle, name: &OsStr, write: bool) -> io::Result<File> {
    refuse_link(folder, name)?;
    OpenOptions::new().read(true).write(write).open(folder.join(name))
}

fn refuse_link(folder: &Handle, name: &OsStr) -> io::Result<()> {
    if find(folder, name)?.kind == FileKind::Link {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link"));
    }
    Ok(())
}

pub(super) fn make(folder: &Handle, name: &OsStr, _private: bool) -> io::Result<()> {
    fs::create_dir(folder.join(name))
}

pub(super) fn status(file: &File) -> io::Result<FileStatus> {
    translate(&file.metadata()?)
}

pub(super) fn status_of_folder(folder: &Handle) -> io::Result<FileStatus> {
    translate(&fs::metadata(folder)?)
}

pub(super) fn is_same(one: &Handle, other: &Handle) -> io::Result<bool> {
    Ok(fs::canonicalize(one)? == fs::canonicalize(other)?)
}

/// Whether a folder has this name now. After a rename a path no longer leads to its folder, so any folder of this name
/// is accepted.
pub(super) fn is_at(_: &Handle, parent: &Handle, name: &OsStr) -> bool {
    find(parent, name).is_ok_and(|found| found.kind == FileKind::Directory)
}

pub(super) fn find(folder: &Handle, name: &OsStr) -> io::Result<FileStatus> {
    translate(&fs::symlink_metadata(folder.join(name))?)
}

fn translate(found: &fs::Metadata) -> io::Result<FileStatus> {
    let kind = if found.is_symlink() {
        FileKind::Link
    } else if found.is_dir() {
        FileKind::Directory
    } else {
        FileKind::File
    };
    let since = found.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(FileStatus {
        kind,
        // The system has no such numbers. Callers also compare sizes and times.
        identity: Identity { device: 0, inode: 0 },
        size: found.len(),
        modified: (since.as_secs().cast_signed(), since.subsec_nanos().into()),
        owner: 0,
        mode: 0,
        links: 1,
    })
}

pub(super) fn names(folder: &Handle) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

pub(super) fn remove(folder: &Handle, name: &OsStr) -> io::Result<()> {
    fs::remove_file(folder.join(name))
}

pub(super) fn remove_folder(folder: &Handle, name: &OsStr) -> io::Result<()> {
    fs::remove_dir(folder.join(name))
}

pub(super) fn rename(from: &Handle, old: &OsStr, to: &Handle, new: &OsStr) -> io::Result<()> {
    fs::rename(from.join(old), to.join(new))
}

pub(super) fn try_move(_: &Handle, _: &OsStr, _: &Handle, _: &OsStr) -> io::Result<()> {
    Ok(())
}

pub(super) fn is_append_only(_: &Handle) -> bool {
    false
}

pub(super) fn rename_new(_: &Handle, _: &OsStr, _: &Handle, _: &OsStr) -> Option<io::Result<()>> {
    None
}

pub(super) fn exchange(_: &Handle, _: &OsStr, _: &Handle, _: &OsStr) -> Option<io::Result<()>> {
    None
}

pub(super) fn link(from: &Handle, old: &OsStr, to: &Handle, new: &OsStr) -> Option<io::Result<()>> {
    Some(fs::hard_link(from.join(old), to.join(new)))
}

pub(super) fn sync(_: &Handle) -> io::Result<()> {
    Ok(())
}

pub(super) fn is_writable(folder: &Handle, name: &OsStr) -> bool {
    fs::metadata(folder.join(name)).is_ok_and(|found| !found.permissions().readonly())
}

pub(super) fn free_bytes(_: &Handle) -> Option<u64> {
    None
}
