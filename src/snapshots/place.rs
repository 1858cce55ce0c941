//! Checks the owner of a job's folders and of our files in them. Entries of another user are never trusted,
//! resumed or deleted.

#[cfg(unix)]
use crate::record::{place::SUFFIX, stamp::Stamp};
use crate::{
    destination::{cannot_create, check_path_links, is_preflight},
    error::{Error, Result},
    files::{FileStatus, Folder},
    location::{Location, is_aside},
};

/// Name of the file in the hidden folder that says which snapshot is the newest.
pub(super) const LATEST_JSON: &str = "latest.json";
/// Name of the file in the hidden folder with the types of nested columns.
pub(super) const SCHEMA_JSON: &str = "schema.json";
/// Suffix of the record of a snapshot that is being deleted.
pub(super) const REMOVED: &str = ".removed.json";

/// The file name of the lock in a job's hidden folder.
const LOCK: &str = ".lock";

/// The kind that an entry must have if its name is one of ours.
#[cfg(unix)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpectedKind {
    File,
    Folder,
    /// A folder or a link to one.
    Any,
}

#[cfg(unix)]
impl ExpectedKind {
    fn of(name: &str) -> Option<Self> {
        let hidden = |suffix| {
            let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(suffix));
            name.is_some_and(|name| Stamp::of_folder(name).is_some())
        };
        let file = |suffix| name.strip_suffix(suffix).and_then(Stamp::of_folder).is_some();
        match name {
            LOCK | super::history::HISTORY | LATEST_JSON | SCHEMA_JSON => Some(Self::File),
            _ if file(SUFFIX) || file(REMOVED) => Some(Self::File),
            _ if hidden(".partial") || hidden(".removed") => Some(Self::Folder),
            _ if Stamp::of_folder(name).is_some() || name.starts_with("dataset=") => {
                Some(Self::Any)
            }
            _ => None,
        }
    }
}

/// Creates a folder of a job or of one of its datasets if it is missing, and checks its entries.
///
/// Every entry with a name of ours must belong to this user or to root. Hidden folders, the lock, the history, records,
/// `latest.json` and `schema.json` must have the right kind. The lock and the history must not be hard links. The owner
/// is compared with the owner of a new file in the folder, because some network file systems map users.
///
/// # Errors
/// [`Error::Output`] if an entry fails one of these checks, or if the folder cannot be written.
pub(super) fn check(folder: &Location) -> Result<()> {
    let Some(path) = folder.as_local() else { return Ok(()) };
    // The check covers the folders above a path. The lock's path makes it cover this folder, too.
    check_path_links(path, &path.join(LOCK))?;
    std::fs::create_dir_all(path).map_err(|error| cannot_create(path, error))?;
    #[cfg(unix)]
    {
        use std::{fs, io, os::unix::fs::MetadataExt};

        let refuse = |path: &std::path::Path, why: String, hint| {
            Err(Error::Output { path: path.to_owned(), why, hint: Some(hint), source: None })
        };
        // A file without a name: a run that is killed here leaves nothing.
        let probe = tempfile::tempfile_in(path).map_err(|error| cannot_create(path, error))?;
        let this = probe.metadata().map_err(Error::io("read", path))?.uid();
        let trusted = |uid: u32| uid == this || uid == 0;
        let foreign = |uid: u32| format!("belongs to another user (uid {uid})");
        let hint = "move it away, or, if you trust its content, give it to this user with chown";
        for facts in [path.symlink_metadata(), path.metadata()] {
            let uid = facts.map_err(Error::io("read", path))?.uid();
            if !trusted(uid) {
                return refuse(path, foreign(uid), hint);
            }
        }
        for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
            let entry = entry.map_err(Error::io("list", path))?;
            let Some(ours) = entry.file_name().to_str().and_then(ExpectedKind::of) else {
                continue;
            };
            let path = entry.path();
            let facts = match path.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                facts => facts.map_err(Error::io("read", &path))?,
            };
            if !trusted(facts.uid()) {
                return refuse(&path, foreign(facts.uid()), hint);
            }
            let found = facts.file_type();
            let (is_right, right) = match ours {
                ExpectedKind::File => (found.is_file(), "a regular file"),
                ExpectedKind::Folder => (found.is_dir(), "a directory"),
                // Listing the snapshots reports such an entry.
                ExpectedKind::Any => (true, ""),
            };
            // Runs write the lock and the history in place. If such a file has a second name (a hard link), its
            // content would change under that name, too.
            let in_place =
                [LOCK, super::history::HISTORY].iter().any(|it| entry.file_name() == *it);
            if in_place && facts.nlink() > 1 {
                let why = "is a hard link: the file has another name, too".to_owned();
                let hint = "writing it would change the file of the other name: put a copy of it here \
                            under this name, or remove it";
                return refuse(&path, why, hint);
            }
            if !is_right {
                let why = format!("is {}, not {right}", crate::files::kind(found));
                return refuse(&path, why, "move it away: runs of this job use that name");
            }
        }
    }
    Ok(())
}

/// Removes the temporary files that killed runs have left in a folder of a job. Their names are random, so no later run
/// would replace them. Files of another user stay. The caller holds the job's lock: no active run uses these files.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read, or a file cannot be removed.
pub(super) fn remove_leftovers(folder: &Location) -> Result<()> {
    let Some(path) = folder.as_local() else { return Ok(()) };
    let is_leftover = |name: &String| {
        is_preflight(name) || is_aside(name, LATEST_JSON) || is_aside(name, SCHEMA_JSON)
    };
    let leftovers: Vec<String> = folder.names()?.into_iter().filter(is_leftover).collect();
    if leftovers.is_empty() {
        return Ok(());
    }
    let probe = tempfile::tempfile_in(path).map_err(|error| cannot_create(path, error))?;
    let this = FileStatus::of(&probe).map_err(Error::io("read", path))?.owner;
    let folder = Folder::open(path).map_err(Error::io("open", path))?;
    for name in leftovers {
        let failed = |action| Error::io(action, path.join(&name));
        let found = folder.find(&name).map_err(failed("look at"))?;
        if found.is_some_and(|found| found.owner == this) {
            folder.remove_all(&name).map_err(failed("remove"))?;
        }
    }
    Ok(())
}
