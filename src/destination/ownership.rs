//! Ownership checks: which staging this user made, and which files of an earlier export may be replaced.
//!
//! No name is trusted: another user who can write to the folder can put anything under any name.

use std::{ffi::OsStr, fs::File, io, path::Path};

use super::RANGES;
use crate::{
    error::{Error, Result},
    files::{FileKind, FileStatus, Folder, read_bounded},
    location::Location,
    record::{
        card::is_export_path,
        layout::{folder_and_name, folders_of, is_folder_name},
        manifest::{Manifest, SUCCESS, is_desktop_file},
    },
    text::grouped,
};

/// Largest manifest that is read, in bytes: 128 MiB.
pub(super) const MANIFEST_BYTES: u64 = 128 << 20;
/// Mode bits that let the group or other users write.
pub(super) const OTHERS_WRITE: u32 = 0o022;

/// The owner and the permissions that a folder shows for files which this process creates there.
///
/// A file system may map users (CIFS, NFS with squashing) and may have no permissions (FAT). So a file is
/// compared with a directory that was just created there, and not with the user id of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileOwner {
    owner: u32,
    /// Permissions that are shown for a directory that was created private.
    private: u32,
}

impl FileOwner {
    /// Takes the values from a private directory that this process has just created.
    pub(super) fn of(private: &FileStatus) -> Self {
        Self { owner: private.owner, private: private.mode }
    }

    pub(super) fn owner(self) -> u32 {
        self.owner
    }

    /// Why staging with this status must not be used. `None` if this user made it, it has no other name, and it
    /// is not a directory that other users can write to.
    fn owner_problem(self, found: &FileStatus) -> Option<String> {
        if found.owner != self.owner {
            return Some(format!("belongs to another user (user id {})", found.owner));
        }
        if found.has_other_names() {
            return Some(HAS_OTHER_NAMES.to_owned());
        }
        let open = found.mode & OTHERS_WRITE & !self.private != 0;
        (open && found.kind == FileKind::Directory)
            .then(|| "can be written by other users".to_owned())
    }
}

/// Refuses staging that is not of this kind, that another user made, or that another user can change. Missing
/// staging is accepted.
pub(super) fn check_staging(
    folder: &Folder,
    name: &OsStr,
    kind: FileKind,
    maker: FileOwner,
    given: &Path,
) -> Result<()> {
    let Some(found) = check_kind(folder, name, kind, given)? else { return Ok(()) };
    match maker.owner_problem(&found) {
        Some(why) => Err(refused(given, &folder.path().join(name), &why)),
        None => Ok(()),
    }
}

/// Refuses staging that is not of this kind. Returns its status; `None` if it is missing. Writes nothing.
pub(super) fn check_kind(
    folder: &Folder,
    name: &OsStr,
    kind: FileKind,
    given: &Path,
) -> Result<Option<FileStatus>> {
    let path = folder.path().join(name);
    let found = folder.find(name).map_err(Error::io("look at", &path))?;
    match found {
        Some(found) if found.kind != kind => {
            let why = format!("is {}, not {}", found.kind.noun(), kind.noun());
            Err(refused(given, &path, &why))
        }
        found => Ok(found),
    }
}

/// Refuses a staging folder that holds anything but regular files of this user. Checks every folder level
/// that a run creates.
pub(super) fn check_staged(root: &Folder, maker: FileOwner, given: &Path) -> Result<()> {
    check_staged_in(
        root,
        &|name| ["data", "ids", "drafts", "old", RANGES].contains(&name),
        maker,
        given,
    )
}

/// Checks a folder of the staging. `is_ours` says which names can be folders.
fn check_staged_in(
    root: &Folder,
    is_ours: &dyn Fn(&str) -> bool,
    maker: FileOwner,
    given: &Path,
) -> Result<()> {
    let failed = |error| Error::io("look at", root.path())(error);
    for name in root.names().map_err(failed)? {
        let Some(found) = root.find(&name).map_err(failed)? else { continue };
        let path = root.path().join(&name);
        if found.kind == FileKind::Directory && name.to_str().is_some_and(is_ours) {
            check_staging(root, &name, FileKind::Directory, maker, given)?;
            match root.open_folder(&name) {
                // A worker that was killed may have left anything there. A commit checks the parts that it uses.
                Ok(_) if name == RANGES => {}
                Ok(folder) => check_staged_in(&folder, &is_folder_name, maker, given)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", path)(error)),
            }
        } else {
            check_staging(root, &name, FileKind::File, maker, given)?;
        }
    }
    Ok(())
}

fn refused(given: &Path, staging: &Path, why: &str) -> Error {
    let hint = match why {
        HAS_OTHER_NAMES => {
            "writing it would change the file of the other name: remove this name, or copy it"
        }
        _ => {
            "only staging of the same user is resumed: find out where it comes from, remove it, or \
             write somewhere else"
        }
    };
    let why = format!("its staging {} {why}", staging.display());
    Error::Output { path: given.to_owned(), why, hint: Some(hint), source: None }
}

/// Why a file that a run would write in place is refused. Another user can make a hard link to a file of
/// this user, and so can a backup with `cp -al`.
pub(super) const HAS_OTHER_NAMES: &str = "is a hard link: the file has another name, too";

/// Refuses an open file that has another name.
pub(super) fn check_only_name(file: &File, name: &Path, given: &Path) -> Result<()> {
    match FileStatus::of(file) {
        Ok(found) if found.has_other_names() => Err(refused(given, name, HAS_OTHER_NAMES)),
        _ => Ok(()),
    }
}

/// Reads and parses the manifest of this name in a folder.
pub(super) fn manifest(folder: &Folder, name: impl AsRef<OsStr>) -> Result<Manifest> {
    let path = folder.path().join(name.as_ref());
    let mut file = folder.read(name).map_err(Error::io("read", &path))?;
    let bytes = read_bounded(&mut file, MANIFEST_BYTES).map_err(Error::io("read", &path))?;
    Manifest::parse(&bytes, &Location::from(path))
}

/// Why a folder and its content must not be replaced, as a phrase to print after its name. `None` if the
/// folder holds only the export that the manifest describes.
pub(super) fn foreign(folder: &Folder, manifest: &Manifest) -> io::Result<Option<String>> {
    for (shown, found) in folder.paths(&folders_of(manifest))? {
        let listed = manifest.files().find(|(path, ..)| *path == shown);
        let known = is_control(&shown) || listed.is_some();
        let objection = if !known {
            "which its manifest does not list".to_owned()
        } else if found.kind != FileKind::File {
            format!("which is {}", found.kind.noun())
        } else if let Some((path, bytes, _)) = listed {
            if !is_export_path(path) {
                "which is not named like a part".to_owned()
            } else if bytes != found.size {
                format!(
                    "which has {} bytes, but its manifest records {}",
                    grouped(found.size),
                    grouped(bytes)
                )
            } else {
                continue;
            }
        } else {
            continue;
        };
        return Ok(Some(format!("holds {shown:?}, {objection}")));
    }
    Ok(None)
}

/// Removes an export that [`foreign`] accepted. If files were added since, keeps them and their folder, and returns
/// an error.
pub(super) fn remove_export(
    place: &Folder,
    name: impl AsRef<OsStr>,
    manifest: &Manifest,
) -> io::Result<()> {
    let name = name.as_ref();
    let folder = place.open_folder(name)?;
    let folders = folders_of(manifest);
    let is_ours =
        |path: &str| is_control(path) || manifest.files().any(|(listed, ..)| listed == path);
    for (path, _) in folder.paths(&folders)?.iter().filter(|(path, _)| is_ours(path)) {
        let (inner, name) = folder_and_name(path);
        folder.open_below(inner)?.remove(name)?;
    }
    // Inner folders come after those that they are in.
    for inner in folders.iter().rev() {
        let (outer, name) = folder_and_name(inner);
        match folder.open_below(outer) {
            Ok(outer) => outer.remove_folder(name)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    place.remove_folder(name)
}

pub(super) fn is_control(path: &str) -> bool {
    path == SUCCESS || is_desktop_file(folder_and_name(path).1)
}
