//! Deletes folders that our runs have created, and in them only our regular files.
//!
//! Files are deleted through an open handle of the folder. A link that another process plants in the
//! meantime therefore has no effect.

use std::{io, path::Path};

use crate::{
    error::{Error, Result},
    files::{FileKind, Folder},
    location::PlaceEntry,
};

/// The remains of a folder after [`remove_folder`].
#[derive(Debug, PartialEq)]
pub(super) enum RemovalOutcome {
    /// Nothing: the folder is deleted, or did not exist.
    Nothing,
    /// The folder remains, because it contains this entry, which is not ours.
    Foreign(PlaceEntry),
}

/// Deletes our files in a folder, and then the folder.
///
/// `is_folder` says which subfolders are ours, too. Both closures get paths below the folder, with slashes.
pub(super) fn remove_folder(
    path: &Path,
    is_folder: &dyn Fn(&str) -> bool,
    ours: &dyn Fn(&PlaceEntry) -> bool,
) -> Result<RemovalOutcome> {
    remove_below(path, "", is_folder, ours)
}

fn remove_below(
    path: &Path,
    prefix: &str,
    is_folder: &dyn Fn(&str) -> bool,
    ours: &dyn Fn(&PlaceEntry) -> bool,
) -> Result<RemovalOutcome> {
    let Some(folder) = open(path)? else { return Ok(RemovalOutcome::Nothing) };
    let mut foreign = None;
    for entry in entries(&folder)? {
        let below = format!("{prefix}{}", entry.name);
        if entry.kind == "a directory" && is_folder(&below) {
            let within = path.join(&entry.name);
            match remove_below(&within, &format!("{below}/"), is_folder, ours)? {
                RemovalOutcome::Nothing => {}
                RemovalOutcome::Foreign(it) => foreign = Some(it),
            }
        }
    }
    for entry in entries(&folder)? {
        let below = PlaceEntry { name: format!("{prefix}{}", entry.name), ..entry };
        if entry.size.is_some() && ours(&below) {
            let removed = folder.remove(&entry.name);
            removed.map_err(Error::io("remove", path.join(&entry.name)))?;
        } else if foreign.is_none() {
            foreign = Some(below);
        }
    }
    match foreign {
        Some(entry) => Ok(RemovalOutcome::Foreign(entry)),
        None => match std::fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RemovalOutcome::Nothing),
            removed => removed.map(|()| RemovalOutcome::Nothing).map_err(Error::io("remove", path)),
        },
    }
}

/// The error for a folder that remains, because it holds an entry that is not ours.
pub(super) fn holds(folder: &Path, left: &PlaceEntry) -> Error {
    Error::Output {
        path: folder.to_owned(),
        why: format!(
            "cannot be removed: it holds {:?}, {}, which is not part of the snapshot",
            left.name, left.kind
        ),
        hint: Some("move that entry away; the next run removes the rest"),
        source: None,
    }
}

/// Opens a folder; `None` if it is missing.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be opened or is a link.
fn open(path: &Path) -> Result<Option<Folder>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    match Folder::open(parent).and_then(|parent| parent.open_folder(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(Error::io("open", path)),
    }
}

fn entries(folder: &Folder) -> Result<Vec<PlaceEntry>> {
    let failed = |error| Error::io("list", folder.path())(error);
    let mut found = Vec::new();
    for name in folder.names().map_err(failed)? {
        let Some(status) = folder.find(&name).map_err(failed)? else { continue };
        let size = (status.kind == FileKind::File).then_some(status.size);
        let (name, kind) = (name.to_string_lossy().into_owned(), status.kind.noun());
        found.push(PlaceEntry { name, size, kind });
    }
    Ok(found)
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
        let remove =
            || remove_folder(&doomed, &|path| ["data", "ids"].contains(&path), &|_| true).unwrap();
        let RemovalOutcome::Foreign(left) = remove() else { panic!("gone") };
        assert!(["ids", "part-00001.parquet"].contains(&left.name.as_str()), "{left:?}");
        assert_eq!(fs::read_dir(&doomed).unwrap().count(), 2);
        assert_eq!(fs::read(mine.join("part-00000.parquet")).unwrap(), b"mine");
        fs::remove_file(doomed.join("ids")).unwrap();
        fs::remove_dir_all(doomed.join("part-00001.parquet")).unwrap();
        assert_eq!(remove(), RemovalOutcome::Nothing);
        assert!(!doomed.exists());
        assert_eq!(remove(), RemovalOutcome::Nothing);
        std::os::unix::fs::symlink(&mine, &doomed).unwrap();
        assert!(remove_folder(&doomed, &|_| false, &|_| true).is_err());
        assert!(mine.join("part-00000.parquet").exists());
    }
}
