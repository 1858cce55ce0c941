//! The preflight: publishes files of one byte in the output's folder before page 1.
//!
//! If publication would fail in this folder, the export ends before it requests a page.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, TryLockError},
    io::{self, Write},
    path::Path,
};

use super::{
    fs::{cannot_create, is_same_file},
    ownership::FileOwner,
};
use crate::{
    error::{Error, Result},
    files::{FileKind, FileStatus, Folder},
};

/// The names of the files: the prefix, eight hexadecimal digits, and nothing or one of the suffixes.
const PREFIX: &str = ".overmind-";
const STAGED: &str = ".partial";
const PUBLISHED: &str = ".new";
/// Attempts to make the private folder.
const ATTEMPTS: usize = 10;
/// The file in the private folder that the preflight locks. If nobody holds its lock, the process was killed.
const ALIVE: &str = "alive";

/// The kind of output that an export will publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreflightKind {
    File,
    Directory,
}

/// Publishes a file of one byte, or a directory with one empty file, and removes it again. Then checks that
/// the existing output can be replaced.
///
/// `home` is the folder of the staging, and `folder` the folder of the output. They can be the same folder.
/// `derived` are the names that the run will use in the folder. `targets` are the names that it will replace;
/// the first one is the output's. Returns the owner and the permissions that new files of this process have in
/// the folder.
pub(super) fn check(
    home: &Folder,
    folder: &Folder,
    what: PreflightKind,
    replaces: bool,
    derived: &[OsString],
    targets: &[OsString],
    given: &Path,
) -> Result<FileOwner> {
    let files = PreflightFiles::begin(home, folder);
    let files = files.map_err(|error| cannot_create(given, error))?;
    let checked = files.derived(derived, given).and_then(|()| match what {
        PreflightKind::File => files.file(replaces, given),
        PreflightKind::Directory => files.directory(replaces, given),
    });
    let done = checked.and_then(|()| files.replaced(replaces, targets, given));
    let maker = files.maker;
    let ended = files.end().map_err(step(given, "the test files there cannot be removed"));
    sweep(home, folder);
    done.and(ended).map(|()| maker)
}

/// Whether a name is one that [`check`] uses for its files. It removes them, so a run that has ended has left them only
/// if it was killed.
pub(crate) fn is_preflight(name: &str) -> bool {
    let Some((number, suffix)) = name.strip_prefix(PREFIX).and_then(|it| it.split_at_checked(8))
    else {
        return false;
    };
    number.bytes().all(|byte| byte.is_ascii_hexdigit()) && ["", STAGED, PUBLISHED].contains(&suffix)
}

/// Removes the files of preflights that were killed. `home` and `folder` are those of [`check`]. Best effort: nothing reads
/// the files.
pub(super) fn sweep(home: &Folder, folder: &Folder) {
    for name in home.names().unwrap_or_default() {
        let Some(name) = name.to_str().filter(|name| is_preflight(name)) else { continue };
        let locked = home.open_folder(name).and_then(|stage| stage.write(ALIVE));
        // A folder without this file may be one that a preflight has just made.
        let Ok(alive) = locked else { continue };
        if alive.try_lock().is_ok() {
            for name in [format!("{name}{STAGED}"), format!("{name}{PUBLISHED}")] {
                drop(folder.remove_all(name));
            }
            drop(home.remove_all(name));
        }
    }
}

/// Returns the owner and the permissions that new files of this process have in a folder.
pub(super) fn maker(folder: &Folder) -> io::Result<FileOwner> {
    let files = PreflightFiles::begin(folder, folder)?;
    let maker = files.maker;
    files.end()?;
    Ok(maker)
}

struct PreflightFiles<'a> {
    home: &'a Folder,
    folder: &'a Folder,
    /// A private folder in `home`, used as the staging.
    stage: Folder,
    name: String,
    /// An unused name in `folder`, for the staged file. `published` is another one, for the published output.
    staged: String,
    published: String,
    maker: FileOwner,
    /// Holds the lock of [`ALIVE`], where the file system has locks.
    alive: File,
}

impl<'a> PreflightFiles<'a> {
    fn begin(home: &'a Folder, folder: &'a Folder) -> io::Result<Self> {
        if folder.is_append_only() || home.is_append_only() {
            // The preflight could not remove its own files from this folder.
            let why =
                "the folder is append-only (chattr +a): nothing in it can be renamed or removed";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        for _ in 0..ATTEMPTS {
            let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
            home.make_private(&name)?;
            let opened = home.open_folder(&name).and_then(|stage| {
                let maker = FileOwner::of(&stage.status()?);
                let alive = stage.create(ALIVE)?;
                let is_swept = matches!(alive.try_lock(), Err(TryLockError::WouldBlock))
                    || !is_same_file(&alive, &stage, ALIVE);
                Ok((stage, maker, alive, is_swept))
            });
            match opened {
                // Another process has taken these files for those of a killed preflight.
                Ok((_, _, _, true)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    drop(home.remove_all(&name));
                    return Err(error);
                }
                Ok((stage, maker, alive, false)) => {
                    let staged = format!("{name}{STAGED}");
                    let published = format!("{name}{PUBLISHED}");
                    return Ok(Self { home, folder, stage, name, staged, published, maker, alive });
                }
            }
        }
        Err(io::Error::other("another program removes new folders there"))
    }

    /// Removes everything that the preflight created, also after an error.
    fn end(self) -> io::Result<()> {
        drop(self.alive);
        let names = [&self.staged, &self.published];
        let removed = names.map(|name| self.folder.remove_all(name));
        removed.into_iter().chain([self.home.remove_all(&self.name)]).collect()
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
        self.write(self.folder, &self.staged, given)?;
        self.folder
            .rename_new(&self.staged, self.folder, &self.published)
            .map_err(step(given, "a file there cannot be renamed"))?;
        if replaces {
            self.write(self.folder, &self.staged, given)?;
            self.folder
                .rename(&self.staged, self.folder, &self.published)
                .map_err(step(given, "a file there cannot be renamed over another"))?;
        }
        self.folder.sync().map_err(step(given, "its folder cannot be synced"))
    }

    fn directory(&self, replaces: bool, given: &Path) -> Result<()> {
        for name in ["first", "second"] {
            self.stage.make(name).map_err(|error| cannot_create(given, error))?;
        }
        let first = self.stage.open_folder("first").map_err(|error| cannot_create(given, error))?;
        self.write(&self.stage, "lock", given)?;
        first.create("part").map_err(|error| cannot_create(given, error))?;
        self.stage
            .rename("first", self.folder, &self.published)
            .map_err(|error| self.unmoved(error, given))?;
        if replaces {
            self.stage
                .swap("second", self.folder, &self.published, "aside")
                .map_err(step(given, "a folder there cannot be swapped with another"))?;
        }
        self.folder.sync().map_err(step(given, "its folder cannot be synced"))
    }

    /// The error of a directory that cannot be renamed from the folder of the staging to that of the output.
    fn unmoved(&self, error: io::Error, given: &Path) -> Error {
        if error.kind() != io::ErrorKind::CrossesDevices {
            return step(given, "a folder there cannot be renamed")(error);
        }
        Error::Output {
            path: given.to_owned(),
            why: format!(
                "cannot be published: its staging is in {}, on another file system",
                self.home.path().display()
            ),
            hint: Some(
                "a rename publishes it, so both must be on one file system: for a snapshot, the folder of \
                 the job and the folder .overmind in the root",
            ),
            source: Some(error.into()),
        }
    }

    /// Checks that the files and directories of these names can be replaced or moved away.
    fn replaced(&self, replaces: bool, names: &[OsString], given: &Path) -> Result<()> {
        let failed = |error| cannot_create(given, error);
        self.stage.make("full").map_err(failed)?;
        let full = self.stage.open_folder("full").map_err(failed)?;
        full.create("file").map_err(failed)?;
        for (place, name) in names.iter().enumerate() {
            let Ok(Some(found)) = self.folder.find(name) else { continue };
            let path = if place == 0 { given.to_owned() } else { given.with_file_name(name) };
            let refuse = |why: &str, hint, source: Option<io::Error>| {
                let (why, source) = (why.to_owned(), source.map(Into::into));
                Err(Error::Output { path: path.clone(), why, hint: Some(hint), source })
            };
            if let Some(why) = obstacle(self.folder, name, &found, self.maker) {
                return refuse(why, "give another path", None);
            }
            match self.folder.try_move(name, &self.stage, "full") {
                Ok(()) => {}
                // Without `replaces`, the directory is empty. The new export is renamed over it, so
                // it need not move.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices && !replaces => {}
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    return refuse(
                        "lies in a lower layer of an overlay file system, as in a container's image, \
                         and cannot be replaced in one step there",
                        "remove it first, give another path, or mount a volume there",
                        Some(error),
                    );
                }
                Err(error) => {
                    let hint = "give another path, or look at its attributes with lsattr";
                    return refuse("cannot be replaced", hint, Some(error));
                }
            }
        }
        Ok(())
    }

    /// Creates a file, writes one byte, locks it and syncs it.
    fn write(&self, folder: &Folder, name: &str, given: &Path) -> Result<()> {
        let mut file = folder.create(name).map_err(|error| cannot_create(given, error))?;
        file.write_all(b".").map_err(|error| cannot_create(given, error))?;
        if let Err(TryLockError::Error(error)) = file.try_lock() {
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

/// Returns the reason why an existing file or directory cannot be replaced, although its folder is writable.
/// In the message, the reason follows the name. `None` if the file or directory can be replaced.
fn obstacle(
    folder: &Folder,
    name: &OsStr,
    found: &FileStatus,
    maker: FileOwner,
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
