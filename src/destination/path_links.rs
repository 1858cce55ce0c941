//! Checks the links on the path to an output. Decides which links an export may follow.
//!
//! In a folder where several users can create links, a link of another user is not trusted. It could lead to a
//! folder of this user.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

use super::{fs as disk, parent};
#[cfg(unix)]
use super::{ownership::OTHERS_WRITE, preflight};
use crate::{
    error::{Error, Result},
    files::{Folder, kind},
};

/// Maximum number of links to follow on one path. Linux has the same limit.
const LINKS: usize = 40;
/// The sticky bit of a folder's mode. Several users can write to such a folder, but only the owner of a file
/// can remove the file.
#[cfg(unix)]
const STICKY: u32 = 0o1000;

/// Resolves links in the last component of an output's path. A link is followed only if this user or the
/// administrator made it.
pub(crate) fn resolve(given: &Path) -> Result<PathBuf> {
    // Remove a trailing slash. Otherwise the system would follow a link before this function checks it.
    let mut path: PathBuf = given.components().collect();
    if let Ok(found) = fs::metadata(&path)
        && !found.is_dir()
        && !found.is_file()
    {
        // This includes /dev/stdout when it is a pipe or a device.
        return Err(Error::Output {
            path: given.to_owned(),
            why: format!("is {}, not a regular file or a directory", kind(found.file_type())),
            hint: Some("use -o - to write to standard output, and so to a pipe or a device"),
            source: None,
        });
    }
    for _ in 0..LINKS {
        check_path_links(given, &path)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {}
            // A path that ends in `..` has no file name.
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

/// Resolves the links in the folder part of `path`. Returns the existing folders of the path, without links.
///
/// Refuses a link of another user in a folder where other users can create links. In all other folders, a link
/// is as trustworthy as its folder.
pub(crate) fn check_path_links(given: &Path, path: &Path) -> Result<PathBuf> {
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
            // Too many links, or an error. The reason is reported when the folder is opened.
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

/// Opens the folder of a target. Fails if the path to it leads through a link that must not be followed.
pub(super) fn open_parent(given: &Path, target: &Path) -> Result<Folder> {
    let folder = disk::open_parent(target)?;
    // Check again after opening: another user can replace a folder on the path with a link at any time.
    let way = check_path_links(given, target)?;
    let again = Folder::open(if way.as_os_str().is_empty() { Path::new(".") } else { &way });
    let is_same = |again: io::Result<Folder>| again?.is_same(&folder);
    match is_same(again) {
        Ok(true) => Ok(folder),
        _ => Err(Error::Output {
            path: given.to_owned(),
            why: "its folder was replaced by another folder while the run checked it".to_owned(),
            hint: Some("check the folder, then run the same command again"),
            source: None,
        }),
    }
}

/// Whether other users can create links in a folder.
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
    // On a file system that maps user ids, the links of this user show another owner. So compare with the
    // owner of a new folder.
    preflight::maker(&folder).is_ok_and(|maker| maker.owner() == link.owner)
}

#[cfg(not(unix))]
fn is_trusted_link(_: &Path) -> bool {
    true
}
