//! Ownership checks: which staging this user made, which links may be followed, and which files of an
//! earlier export may be replaced.
//!
//! No name is trusted: another user who can write to the folder can put anything under any name.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::parent;
use crate::{
    error::{Error, Result},
    files::{FileKind, FileStatus, Folder, kind, read_bounded},
    location::Location,
    record::manifest::{MANIFEST, Manifest, SUCCESS, is_desktop_file, is_part_name},
};

/// Longest chain of links that is followed. Linux has the same limit.
const LINKS: usize = 40;
/// Largest manifest that is read, in bytes: 128 MiB.
const MANIFEST_BYTES: u64 = 128 << 20;
/// Mode bits that let the group or other users write.
const OTHERS_WRITE: u32 = 0o022;
/// Who may write a folder may not remove there what others made.
#[cfg(unix)]
const STICKY: u32 = 0o1000;

/// The owner and the permissions that a folder shows for files which this process creates there.
///
/// A file system may map users (CIFS, NFS with squashing) and may have no permissions (FAT). So a file is
/// compared with a directory that was just created there, and not with the user id of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    owner: u32,
    /// Permissions that are shown for a directory that was created private.
    private: u32,
}

impl Maker {
    /// Takes the values from a private directory that this process has just created.
    pub(super) fn of(private: &FileStatus) -> Self {
        Self { owner: private.owner, private: private.mode }
    }

    pub(super) fn owner(self) -> u32 {
        self.owner
    }

    /// Why staging with this status must not be used; `None` if this user made it and no other user can
    /// write to it.
    fn objection(self, found: &FileStatus) -> Option<String> {
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

/// Refuses staging that another user made, or that is not of this kind. Missing staging is accepted.
pub(super) fn check_staging(
    folder: &Folder,
    name: &OsStr,
    kind: FileKind,
    maker: Maker,
    given: &Path,
) -> Result<()> {
    let path = folder.path().join(name);
    let found = match folder.find(name) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(()),
        Err(error) => return Err(Error::io("look at", path)(error)),
    };
    if found.kind != kind {
        let why = format!("is {}, not {}", found.kind.noun(), kind.noun());
        return Err(refused(given, &path, &why));
    }
    match maker.objection(&found) {
        Some(why) => Err(refused(given, &path, &why)),
        None => Ok(()),
    }
}

/// Refuses a staging folder that holds anything but regular files of this user. Checks every folder level
/// that a run creates.
pub(super) fn check_staged(root: &Folder, maker: Maker, given: &Path) -> Result<()> {
    let failed = |error| Error::io("look at", root.path())(error);
    for name in root.names().map_err(failed)? {
        let Some(found) = root.find(&name).map_err(failed)? else { continue };
        let path = root.path().join(&name);
        if found.kind == FileKind::Directory && ["data", "ids", "old"].iter().any(|it| name == *it)
        {
            check_staging(root, &name, FileKind::Directory, maker, given)?;
            match root.open_folder(&name) {
                Ok(folder) => check_staged(&folder, maker, given)?,
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
const HAS_OTHER_NAMES: &str = "is a hard link: the file has another name, too";

/// Refuses an open file that has another name.
pub(super) fn check_only_name(file: &File, name: &Path, given: &Path) -> Result<()> {
    match FileStatus::of(file) {
        Ok(found) if found.has_other_names() => Err(refused(given, name, HAS_OTHER_NAMES)),
        _ => Ok(()),
    }
}

/// Resolves links in the last component of an output's path. A link is followed only if this user or the
/// administrator made it.
pub(super) fn resolve(given: &Path) -> Result<PathBuf> {
    // Drop a slash at the end: with it, the system would follow a link before it is checked.
    let mut path: PathBuf = given.components().collect();
    if let Ok(found) = fs::metadata(&path)
        && !found.is_dir()
        && !found.is_file()
    {
        // /dev/stdout ends up here too.
        return Err(Error::Output {
            path: given.to_owned(),
            why: format!("is {}, not a regular file or a directory", kind(found.file_type())),
            hint: Some("use -o - to write to standard output, and so to a pipe or a device"),
            source: None,
        });
    }
    for _ in 0..LINKS {
        check_way(given, &path)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {}
            // A path that ends in `..` has no name of its own.
            _ if path.file_name().is_none() => {
                return Ok(path.canonicalize().unwrap_or(path));
            }
            _ => return Ok(path),
        }
        if !is_trusted_link(&path) {
            return Err(foreign_link(given, &path));
        }
        let to = fs::read_link(&path).map_err(Error::io("read", &path))?;
        path = parent(&path).join(to).components().collect();
    }
    let source = io::Error::new(io::ErrorKind::InvalidInput, "it starts a chain of too many links");
    Err(Error::io("follow", given)(source))
}

/// Refuses a way to an output that goes through a link of another user in a folder where others may make
/// links. In other folders such a link is as good as the folder. Gives the way without links, as far as
/// there are folders.
pub(crate) fn check_way(given: &Path, path: &Path) -> Result<PathBuf> {
    let mut left: VecDeque<PathBuf> = steps(parent(path));
    let (mut at, mut links) = (PathBuf::new(), 0);
    while let Some(step) = left.pop_front() {
        let next = at.join(step);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() && links < LINKS => {
                if is_shared(parent(&next)) && !is_trusted_link(&next) {
                    return Err(foreign_link(given, &next));
                }
                let to = fs::read_link(&next).map_err(Error::io("read", &next))?;
                links += 1;
                for step in steps(&to).into_iter().rev() {
                    left.push_front(step);
                }
            }
            // Opening the folder says what is wrong with the rest.
            Ok(found) if found.is_symlink() => break,
            Err(_) => break,
            Ok(_) => at = next,
        }
    }
    Ok(at)
}

fn steps(path: &Path) -> VecDeque<PathBuf> {
    path.components().map(|component| component.as_os_str().into()).collect()
}

/// Opens the folder that a target lies in, as long as the way there is one that [`resolve`] has allowed.
pub(super) fn open_parent(given: &Path, target: &Path) -> Result<Folder> {
    let folder = super::fs::open_parent(target)?;
    // After it was opened: a folder on the way can be replaced by a link at any time.
    let way = check_way(given, target)?;
    let again = Folder::open(if way.as_os_str().is_empty() { Path::new(".") } else { &way });
    let is_same = |again: io::Result<Folder>| again?.is_same(&folder);
    match is_same(again) {
        Ok(true) => Ok(folder),
        _ => Err(Error::Output {
            path: given.to_owned(),
            why: "its folder was replaced by another while the run looked at it".to_owned(),
            hint: Some("look at what is there, then run the same command again"),
            source: None,
        }),
    }
}

/// Whether other users may make links in a folder.
#[cfg(unix)]
fn is_shared(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(folder).is_ok_and(|found| found.mode() & (OTHERS_WRITE | STICKY) != 0)
}

#[cfg(not(unix))]
fn is_shared(_: &Path) -> bool {
    false
}

fn foreign_link(given: &Path, link: &Path) -> Error {
    Error::Output {
        path: given.to_owned(),
        why: format!("{} is a link that another user made", link.display()),
        hint: Some("if you trust that link, give the path of its target instead"),
        source: None,
    }
}

/// Whether this user or the administrator made a link.
#[cfg(unix)]
fn is_trusted_link(path: &Path) -> bool {
    let (Ok(folder), Some(name)) = (Folder::open(parent(path)), path.file_name()) else {
        return false;
    };
    let Ok(Some(link)) = folder.find(name) else { return false };
    if link.owner == 0 || link.owner == rustix::process::geteuid().as_raw() {
        return true;
    }
    // A file system that maps users shows another owner for the links of this user.
    super::rehearsal::maker(&folder).is_ok_and(|maker| maker.owner() == link.owner)
}

#[cfg(not(unix))]
fn is_trusted_link(_: &Path) -> bool {
    true
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
    for name in folder.names()? {
        let Some(found) = folder.find(&name)? else { continue };
        let shown = name.to_string_lossy();
        let listed = manifest.parts.iter().find(|part| part.path == shown);
        let known = is_control(&shown) || listed.is_some();
        let objection = if !known {
            "which its manifest does not list".to_owned()
        } else if found.kind != FileKind::File {
            format!("which is {}", found.kind.noun())
        } else if let Some(part) = listed {
            if !is_part_name(&part.path) {
                "which is not named like a part".to_owned()
            } else if part.bytes != found.size {
                format!("which has {} bytes, but its manifest records {}", found.size, part.bytes)
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

/// Removes an export that [`foreign`] accepted. Files that were added since are kept.
pub(super) fn remove_export(
    place: &Folder,
    name: impl AsRef<OsStr>,
    manifest: &Manifest,
) -> io::Result<()> {
    let name = name.as_ref();
    let folder = place.open_folder(name)?;
    let ours = |name: &OsString| {
        let name = name.to_string_lossy();
        is_control(&name) || manifest.parts.iter().any(|part| part.path == name)
    };
    // The manifest goes last: without it, the other files could not be recognized as an export.
    let (last, first): (Vec<_>, Vec<_>) =
        folder.names()?.into_iter().filter(ours).partition(|name| name == MANIFEST);
    for name in first.iter().chain(&last) {
        folder.remove(name)?;
    }
    place.remove_folder(name)
}

fn is_control(name: &str) -> bool {
    [MANIFEST, SUCCESS].contains(&name) || is_desktop_file(name)
}
