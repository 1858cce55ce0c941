//! Removes folders that runs of ours have made, and from them only what is ours: regular files, through
//! a handle of the folder, so that a link that somebody plants meanwhile leads nowhere.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    location::PlaceEntry,
};

/// What is left of a folder.
#[derive(Debug, PartialEq)]
pub(super) enum Left {
    /// Nothing: it is gone, or was not there.
    Nothing,
    /// The folder, because it holds this, which is not ours.
    Foreign(PlaceEntry),
}

/// Removes the files of a folder that are ours, in the order of `rank`, and then the folder. Folders in it
/// with one of the names `subfolders` hold files of ours alone and go too.
pub(super) fn remove_folder(
    path: &Path,
    subfolders: &[&str],
    ours: &dyn Fn(&PlaceEntry) -> bool,
    rank: &dyn Fn(&str) -> u8,
) -> Result<Left> {
    let Some(folder) = Folder::open(path)? else { return Ok(Left::Nothing) };
    let mut foreign = None;
    for entry in folder.entries()? {
        if entry.kind == "a directory" && subfolders.contains(&entry.name.as_str()) {
            let within = path.join(&entry.name);
            match remove_folder(&within, &[], &|it| it.size.is_some(), &|_| 0)? {
                Left::Nothing => {}
                Left::Foreign(it) => {
                    foreign =
                        Some(PlaceEntry { name: format!("{}/{}", entry.name, it.name), ..it });
                }
            }
        }
    }
    let mut entries = folder.entries()?;
    entries.sort_by_key(|entry| rank(&entry.name));
    for entry in entries {
        if entry.size.is_some() && ours(&entry) {
            folder.remove(&entry.name)?;
        } else if foreign.is_none() {
            foreign = Some(entry);
        }
    }
    match foreign {
        Some(entry) => Ok(Left::Foreign(entry)),
        None => match std::fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Left::Nothing),
            removed => removed.map(|()| Left::Nothing).map_err(Error::io("remove", path)),
        },
    }
}

/// An open folder.
struct Folder {
    path: PathBuf,
    #[cfg(unix)]
    handle: std::os::fd::OwnedFd,
}

#[cfg(unix)]
impl Folder {
    /// `None` if it is missing; a link is an error.
    fn open(path: &Path) -> Result<Option<Self>> {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match open(path, flags, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { path: path.to_owned(), handle })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("open", path)(error.into())),
        }
    }

    fn entries(&self) -> Result<Vec<PlaceEntry>> {
        self.list().map_err(Error::io("list", &self.path))
    }

    fn list(&self) -> io::Result<Vec<PlaceEntry>> {
        use rustix::fs::{AtFlags, Dir, FileType, statat};
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let facts = statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = match FileType::from_raw_mode(facts.st_mode) {
                FileType::RegularFile => "a regular file",
                FileType::Directory => "a directory",
                FileType::Symlink => "a link",
                FileType::Fifo => "a FIFO",
                FileType::Socket => "a socket",
                _ => "a device",
            };
            let size = (kind == "a regular file").then_some(facts.st_size.cast_unsigned());
            let name = name.to_string_lossy().into_owned();
            found.push(PlaceEntry { name, size, kind });
        }
        Ok(found)
    }

    /// Removes a file; a directory of this name is an error.
    fn remove(&self, name: &str) -> Result<()> {
        use rustix::fs::{AtFlags, unlinkat};
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io("remove", self.path.join(name))(error.into())),
        }
    }
}

#[cfg(not(unix))]
impl Folder {
    fn open(path: &Path) -> Result<Option<Self>> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => Ok(Some(Self { path: path.to_owned() })),
            Ok(_) => Err(Error::io("open", path)(io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", path)(error)),
        }
    }

    fn entries(&self) -> Result<Vec<PlaceEntry>> {
        crate::location::Location::from(self.path.as_path()).entries()
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_our_regular_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (doomed, mine) = (folder.path().join("doomed"), folder.path().join("mine"));
        fs::create_dir_all(doomed.join("data")).unwrap();
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("part-00000.parquet"), "mine").unwrap();
        for name in ["part-00000.parquet", "_SUCCESS", "data/part-00000.parquet"] {
            fs::write(doomed.join(name), "ours").unwrap();
        }
        std::os::unix::fs::symlink(&mine, doomed.join("ids")).unwrap();
        fs::create_dir_all(doomed.join("part-00001.parquet/deep")).unwrap();
        let remove = || remove_folder(&doomed, &["data", "ids"], &|_| true, &|_| 0).unwrap();
        let Left::Foreign(left) = remove() else { panic!("gone") };
        assert!(["ids", "part-00001.parquet"].contains(&left.name.as_str()), "{left:?}");
        assert_eq!(fs::read_dir(&doomed).unwrap().count(), 2);
        assert_eq!(fs::read(mine.join("part-00000.parquet")).unwrap(), b"mine");
        fs::remove_file(doomed.join("ids")).unwrap();
        fs::remove_dir_all(doomed.join("part-00001.parquet")).unwrap();
        assert_eq!(remove(), Left::Nothing);
        assert!(!doomed.exists());
        assert_eq!(remove(), Left::Nothing);
        std::os::unix::fs::symlink(&mine, &doomed).unwrap();
        assert!(remove_folder(&doomed, &[], &|_| true, &|_| 0).is_err());
        assert!(mine.join("part-00000.parquet").exists());
    }
}
