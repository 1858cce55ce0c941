//! A directory held open by a handle. Names are looked up in that directory, even if its path now leads to
//! another one. No link is followed.
//!
//! The system resolves a path again at each call. So another user who can write to one of its directories
//! can redirect it between two calls. A handle cannot be redirected.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

#[cfg(not(unix))]
use super::portable as system;
use super::status::{FileKind, FileStatus};
#[cfg(unix)]
use super::unix as system;
use crate::files;

impl FileStatus {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        system::status(file)
    }
}

/// A directory held open. Names are single components.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: system::Handle,
    /// The path as opened, for messages only.
    path: PathBuf,
    /// Makes renames use neither flags nor links, as on file systems that support neither. Set by tests.
    plain: bool,
}

impl Folder {
    /// Opens a directory that the user named. Links in the path are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { handle: system::open(path)?, path: path.to_owned(), plain: false })
    }

    /// Opens a directory in this one; a link is an error.
    pub(crate) fn open_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        let handle = system::open_folder(&self.handle, name)?;
        Ok(Self { handle, path: self.path.join(name), plain: self.plain })
    }

    /// Opens the folder that a path with slashes leads to; a link is an error. An empty path is this directory.
    pub(crate) fn open_below(&self, path: &str) -> io::Result<Self> {
        let mut folder = self.open_folder(".")?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder = folder.open_folder(name)?;
        }
        Ok(Self { path: self.path.join(path), ..folder })
    }

    /// Creates the folders that a path with slashes leads to, if they are missing, and opens the last one.
    pub(crate) fn make_below(&self, path: &str) -> io::Result<Self> {
        let mut folder = self.open_folder(".")?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match folder.make(name) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => folder = folder.open_folder(name)?,
            }
        }
        Ok(Self { path: self.path.join(path), ..folder })
    }

    /// Returns the status like [`find`](Self::find), of a path with slashes. `None` also if a folder is missing.
    pub(crate) fn find_below(&self, path: &str) -> io::Result<Option<FileStatus>> {
        let Some((folder, name)) = path.rsplit_once('/') else { return self.find(path) };
        match self.open_below(folder) {
            Ok(folder) => folder.find(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading, by a path with slashes.
    pub(crate) fn read_below(&self, path: &str) -> io::Result<File> {
        match path.rsplit_once('/') {
            Some((folder, name)) => self.open_below(folder)?.read(name),
            None => self.read(path),
        }
    }

    /// Lists the paths in the directory and in these folders below it, sorted by name within each. A directory that is
    /// one of these folders is not in the list itself. A name that is not UTF-8 has replacement characters.
    pub(crate) fn paths(&self, folders: &BTreeSet<&str>) -> io::Result<Vec<(String, FileStatus)>> {
        let mut paths = Vec::new();
        self.add_paths("", folders, &mut paths)?;
        Ok(paths)
    }

    fn add_paths(
        &self,
        prefix: &str,
        folders: &BTreeSet<&str>,
        paths: &mut Vec<(String, FileStatus)>,
    ) -> io::Result<()> {
        for name in self.names()? {
            let Some(found) = self.find(&name)? else { continue };
            let path = format!("{prefix}{}", name.to_string_lossy());
            if found.kind == FileKind::Directory && folders.contains(path.as_str()) {
                self.open_folder(&name)?.add_paths(&format!("{path}/"), folders, paths)?;
            } else {
                paths.push((path, found));
            }
        }
        Ok(())
    }

    /// Its path as it was opened, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn status(&self) -> io::Result<FileStatus> {
        system::status_of_folder(&self.handle)
    }

    /// Whether two handles belong to the same directory.
    pub(crate) fn is_same(&self, other: &Self) -> io::Result<bool> {
        system::is_same(&self.handle, &other.handle)
    }

    /// Whether this directory still has this name in `parent`.
    pub(crate) fn is_at(&self, parent: &Self, name: impl AsRef<OsStr>) -> bool {
        system::is_at(&self.handle, &parent.handle, name.as_ref())
    }

    /// Returns the status of a name, without following a link; `None` if it does not exist.
    pub(crate) fn find(&self, name: impl AsRef<OsStr>) -> io::Result<Option<FileStatus>> {
        match system::find(&self.handle, name.as_ref()) {
            Ok(status) => Ok(Some(status)),
            // A name that is too long for the file system cannot exist.
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Lists the names in the directory, sorted.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = system::names(&self.handle)?;
        names.sort();
        Ok(names)
    }

    /// Creates a directory that only this user can access.
    pub(crate) fn make_private(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        system::make(&self.handle, name.as_ref(), true)
    }

    /// Creates a directory with the permissions that the umask allows.
    pub(crate) fn make(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        system::make(&self.handle, name.as_ref(), false)
    }

    /// Creates a new file; an error if the name exists, whatever its kind.
    pub(crate) fn create(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        system::create(&self.handle, name.as_ref())
    }

    /// Removes an existing file with this name and creates a new one.
    pub(crate) fn create_anew(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let name = name.as_ref();
        self.remove(name)?;
        self.create(name)
    }

    /// Opens a regular file for reading.
    pub(crate) fn read(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        regular(system::open_file(&self.handle, name.as_ref(), false)?)
    }

    /// Opens a regular file for reading and writing, at its beginning.
    pub(crate) fn write(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        regular(system::open_file(&self.handle, name.as_ref(), true)?)
    }

    /// Writes a whole new file and syncs its content. Call [`sync`](Self::sync) to make its name durable, too.
    pub(crate) fn write_durably(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create_anew(name)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Removes anything but a directory. A missing name is not an error.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        absent_is_fine(system::remove(&self.handle, name.as_ref()))
    }

    /// Removes an empty directory. A missing one is not an error.
    pub(crate) fn remove_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        absent_is_fine(system::remove_folder(&self.handle, name.as_ref()))
    }

    /// Removes a directory with all its content, or a file. A missing name is not an error. A link is removed,
    /// not followed.
    pub(crate) fn remove_all(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        match self.find(name)? {
            None => Ok(()),
            Some(found) if found.kind == FileKind::Directory => {
                // Another process can remove it at the same time.
                let emptied = self.open_folder(name).and_then(|folder| {
                    folder.names()?.into_iter().try_for_each(|name| folder.remove_all(name))
                });
                absent_is_fine(emptied)?;
                self.remove_folder(name)
            }
            Some(_) => self.remove(name),
        }
    }

    /// Moves a file or a directory. Replaces an existing file or empty directory.
    pub(crate) fn rename(
        &self,
        from: impl AsRef<OsStr>,
        to: &Self,
        name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        system::rename(&self.handle, from.as_ref(), &to.handle, name.as_ref())
    }

    /// Checks whether a file or a directory can be moved away or replaced, and moves nothing. `full` is a
    /// directory in `place` that is not empty.
    pub(crate) fn try_move(
        &self,
        name: impl AsRef<OsStr>,
        place: &Self,
        full: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        system::try_move(&self.handle, name.as_ref(), &place.handle, full.as_ref())
    }

    /// Whether names can be added to the directory, but not be renamed or removed.
    pub(crate) fn is_append_only(&self) -> bool {
        system::is_append_only(&self.handle)
    }

    /// Moves a file to a name that must not exist.
    ///
    /// Some file systems support neither such a rename nor links. There, another process can create the name
    /// between the check and the rename, and its file is replaced.
    pub(crate) fn rename_new(
        &self,
        from: impl AsRef<OsStr>,
        to: &Self,
        name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (from, name) = (from.as_ref(), name.as_ref());
        if !self.plain {
            if let Some(renamed) = system::rename_new(&self.handle, from, &to.handle, name) {
                return renamed;
            }
            // A link fails if the name exists; a plain rename does not.
            if let Some(linked) = system::link(&self.handle, from, &to.handle, name) {
                return linked.and_then(|()| self.remove(from));
            }
        }
        if to.find(name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to, name)
    }

    /// Swaps two directories. If the system cannot do that in one step, the name in `to` is missing for a
    /// short moment. `aside` must be a free name in this folder.
    pub(crate) fn swap(
        &self,
        from: impl AsRef<OsStr>,
        to: &Self,
        name: impl AsRef<OsStr>,
        aside: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (from, name, aside) = (from.as_ref(), name.as_ref(), aside.as_ref());
        if !self.plain
            && let Some(swapped) = system::exchange(&self.handle, from, &to.handle, name)
        {
            return swapped;
        }
        to.rename(name, self, aside)?;
        if let Err(error) = self.rename(from, to, name) {
            // Restore the old directory.
            self.rename(aside, to, name)?;
            return Err(error);
        }
        self.rename(aside, self, from).inspect_err(|_| {
            // All or nothing: the caller takes an error for a swap that was not done.
            drop(to.rename(name, self, from).and_then(|()| self.rename(aside, to, name)));
        })
    }

    /// Makes the names in the directory durable, if the file system supports it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        tests::fail_in_turn()?;
        system::sync(&self.handle)
    }

    /// Whether this user can write to a file or a directory in this folder.
    pub(crate) fn is_writable(&self, name: impl AsRef<OsStr>) -> bool {
        system::is_writable(&self.handle, name.as_ref())
    }

    /// Free space for this user in bytes; `None` where the system does not report it.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        system::free_bytes(&self.handle)
    }
}

fn regular(file: File) -> io::Result<File> {
    files::require_regular(file.metadata()?.file_type())?;
    Ok(file)
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::Cell, fs};

    use super::*;

    thread_local! {
        /// Syncs of this thread that succeed before one fails; `None`: none fails.
        pub(crate) static SYNCS_BEFORE_FAULT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(super) fn fail_in_turn() -> io::Result<()> {
        let left = SYNCS_BEFORE_FAULT.get();
        SYNCS_BEFORE_FAULT.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        (place, folder)
    }

    #[cfg(unix)]
    #[test]
    fn links_are_never_followed() {
        use std::os::unix::fs::symlink;
        let (place, folder) = folder();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "theirs").unwrap();
        symlink(outside.path(), place.path().join("folder")).unwrap();
        symlink(outside.path().join("file"), place.path().join("file")).unwrap();
        symlink(outside.path().join("new"), place.path().join("new")).unwrap();
        assert!(folder.open_folder("folder").is_err());
        assert!(folder.read("file").is_err() && folder.write("file").is_err());
        assert!(folder.create("new").is_err());
        assert_eq!(folder.find("folder").unwrap().unwrap().kind, FileKind::Link);
        folder.create_anew("new").unwrap();
        folder.remove_all("folder").unwrap();
        folder.remove_all("file").unwrap();
        assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn handle_stays_with_its_directory() {
        let place = tempfile::tempdir().unwrap();
        let (here, there) = (place.path().join("here"), place.path().join("there"));
        fs::create_dir(&here).unwrap();
        let folder = Folder::open(&here).unwrap();
        fs::rename(&here, &there).unwrap();
        fs::create_dir(&here).unwrap();
        folder.write_durably("file", b"text").unwrap();
        assert_eq!(fs::read(there.join("file")).unwrap(), b"text");
        assert!(!here.join("file").exists());
    }

    #[test]
    fn rename_new_refuses_an_existing_name() {
        for plain in [false, true] {
            let (_place, folder) = folder();
            let folder = Folder { plain, ..folder };
            for name in ["a", "b"] {
                folder.write_durably(name, name.as_bytes()).unwrap();
            }
            let taken = folder.rename_new("a", &folder, "b").unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
            folder.rename_new("a", &folder, "c").unwrap();
            folder.rename("b", &folder, "c").unwrap();
            assert_eq!(folder.names().unwrap(), ["c"]);
        }
    }

    #[test]
    fn swap_exchanges_two_directories() {
        for plain in [false, true] {
            let (place, folder) = folder();
            let folder = Folder { plain, ..folder };
            for name in ["old", "new"] {
                folder.make(name).unwrap();
                folder.open_folder(name).unwrap().write_durably(name, b"").unwrap();
            }
            folder.swap("new", &folder, "old", "aside").unwrap();
            let path = |name| place.path().join(name);
            assert!(path("old/new").exists() && path("new/old").exists());
            folder.remove_all("old").unwrap();
            assert_eq!(folder.names().unwrap(), ["new"]);
        }
    }
}
