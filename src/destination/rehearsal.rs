//! The rehearsal: publishes files of one byte in the output's folder before page 1.
//!
//! A folder where publication would fail is found before any page is requested.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::Path,
};

use super::{fs::cannot_create, ours::Maker};
use crate::{
    error::{Error, Result},
    files::{FileKind, FileStatus, Folder},
};

/// The kind of output that an export will publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rehearsed {
    File,
    Directory,
}

/// Publishes a file of one byte, or a directory with one empty file, and removes it again.
///
/// `derived` are the names that the run will use in the folder. Returns the owner and the permissions that
/// the folder shows for files of this process.
pub(super) fn rehearse(
    folder: &Folder,
    what: Rehearsed,
    replaces: bool,
    derived: &[OsString],
    given: &Path,
) -> Result<Maker> {
    let play = Play::begin(folder).map_err(|error| cannot_create(given, error))?;
    let done = play.derived(derived, given).and_then(|()| match what {
        Rehearsed::File => play.file(replaces, given),
        Rehearsed::Directory => play.directory(replaces, given),
    });
    play.end();
    done.map(|()| play.maker)
}

/// Returns the owner and the permissions that a folder shows for files of this process.
pub(super) fn maker(folder: &Folder) -> io::Result<Maker> {
    let play = Play::begin(folder)?;
    play.end();
    Ok(play.maker)
}

struct Play<'a> {
    folder: &'a Folder,
    /// A private folder in `folder`, used as the staging.
    stage: Folder,
    name: String,
    /// A free name in `folder`, used as the target.
    published: String,
    maker: Maker,
}

impl<'a> Play<'a> {
    fn begin(folder: &'a Folder) -> io::Result<Self> {
        let name = format!(".overmind-{:08x}", fastrand::u32(..));
        folder.make_private(&name)?;
        let opened = folder.open_folder(&name).and_then(|stage| {
            let maker = Maker::of(&stage.status()?);
            Ok((stage, maker))
        });
        let (stage, maker) = opened.inspect_err(|_| drop(folder.remove_folder(&name)))?;
        let published = format!("{name}.new");
        Ok(Self { folder, stage, name, published, maker })
    }

    /// Removes everything that the rehearsal created, also after an error.
    fn end(&self) {
        drop(self.folder.remove_all(&self.published));
        drop(self.folder.remove_all(&self.name));
    }

    fn derived(&self, names: &[OsString], given: &Path) -> Result<()> {
        for name in names {
            let made = self.stage.create(name).and_then(|_| self.stage.remove(name));
            made.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidFilename => Error::Output {
                    path: given.to_owned(),
                    why: format!(
                        "its name is too long: the export also needs the name {:?}",
                        name.to_string_lossy()
                    ),
                    hint: Some("give a shorter name"),
                    source: Some(error.into()),
                },
                _ => cannot_create(given, error),
            })?;
        }
        Ok(())
    }

    fn file(&self, replaces: bool, given: &Path) -> Result<()> {
        self.write("first", given)?;
        self.stage
            .rename_new("first", self.folder, &self.published)
            .map_err(step(given, "a file there cannot be renamed"))?;
        if replaces {
            self.write("second", given)?;
            self.stage
                .rename("second", self.folder, &self.published)
                .map_err(step(given, "a file there cannot be renamed over another"))?;
        }
        self.folder.sync().map_err(step(given, "its folder cannot be synced"))
    }

    fn directory(&self, replaces: bool, given: &Path) -> Result<()> {
        for name in ["first", "second"] {
            self.stage.make(name).map_err(|error| cannot_create(given, error))?;
        }
        let first = self.stage.open_folder("first").map_err(|error| cannot_create(given, error))?;
        self.write("lock", given)?;
        first.create("part").map_err(|error| cannot_create(given, error))?;
        self.stage
            .rename("first", self.folder, &self.published)
            .map_err(step(given, "a folder there cannot be renamed"))?;
        if replaces {
            self.stage
                .swap("second", self.folder, &self.published, "aside")
                .map_err(step(given, "a folder there cannot be swapped with another"))?;
        }
        self.folder.sync().map_err(step(given, "its folder cannot be synced"))
    }

    /// Creates a file in the staging, writes one byte, locks it and syncs it.
    fn write(&self, name: &str, given: &Path) -> Result<()> {
        let mut file = self.stage.create(name).map_err(|error| cannot_create(given, error))?;
        file.write_all(b".").map_err(|error| cannot_create(given, error))?;
        if let Err(std::fs::TryLockError::Error(error)) = file.try_lock() {
            return Err(step(given, "a file there cannot be locked")(error));
        }
        file.sync_all().map_err(|error| cannot_create(given, error))
    }
}

fn step(given: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = given.to_owned();
    move |error| Error::Output {
        path,
        why: format!("cannot be published: {what}"),
        hint: Some("write to another file system, and copy the finished export"),
        source: Some(error.into()),
    }
}

/// Why an existing file or directory cannot be replaced although its folder is writable, as a phrase to
/// print after its name. `None` if it can be replaced.
pub(super) fn obstacle(
    folder: &Folder,
    name: &OsStr,
    found: &FileStatus,
    maker: Maker,
) -> Option<&'static str> {
    const STICKY: u32 = 0o1000;
    let shared = folder.status().is_ok_and(|it| it.mode & STICKY != 0 && it.owner != maker.owner());
    if shared && found.owner != maker.owner() && !is_administrator() {
        return Some("belongs to another user, and only that user may replace it in this folder");
    }
    // Moving a folder to another parent writes to the folder itself: its `..` entry changes.
    if found.kind == FileKind::Directory && !folder.is_writable(name) {
        return Some("is a folder that this user cannot write to, so it cannot be moved away");
    }
    None
}

#[cfg(unix)]
fn is_administrator() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_administrator() -> bool {
    false
}
