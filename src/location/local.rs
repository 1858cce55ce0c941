//! Local files as a [`Location`](super::Location): whole reads, atomic durable writes, sorted names.

use std::{fs, io, path::Path};

use super::{Opened, PlaceEntry};
use crate::{
    error::{Error, Result},
    files::{Folder, kind, open_regular, read_regular},
};

/// Largest file that is read whole, in bytes: 128 MiB. A manifest of 100,000 parts has a quarter of that.
const WHOLE: u64 = 128 << 20;

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_regular(path, WHOLE) {
        Err(error) if is_missing(&error) => Ok(None),
        result => result.map(Some).map_err(Error::io("read", path)),
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let place = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(place).map_err(Error::io("make", place))?;
    let name = path.file_name().unwrap_or_default();
    let aside = format!(".{}.{:08x}.new", name.to_string_lossy(), fastrand::u32(..));
    let written = Folder::open(place).and_then(|folder| {
        let renamed =
            folder.write_durably(&aside, bytes).and_then(|()| folder.rename(&aside, &folder, name));
        if renamed.is_err() {
            drop(folder.remove(&aside));
        }
        renamed.and_then(|()| folder.sync())
    });
    written.map_err(Error::io("write", path))
}

/// Whether a name is one that [`write`] has for a short time before it renames its file to `to`.
pub(crate) fn is_aside(name: &str, to: &str) -> bool {
    let number = name
        .strip_prefix('.')
        .and_then(|name| name.strip_prefix(to))
        .and_then(|name| name.strip_prefix('.')?.strip_suffix(".new"));
    number.is_some_and(|it| it.len() == 8 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        entries => entries,
    };
    let names = entries.and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    });
    let mut names: Vec<String> = names.map_err(Error::io("list", path))?;
    names.sort();
    Ok(names)
}

pub(super) fn entries(path: &Path) -> Result<Vec<PlaceEntry>> {
    let mut found = Vec::new();
    for name in names(path)? {
        let facts = match path.join(&name).symlink_metadata() {
            Err(error) if is_missing(&error) => continue,
            facts => facts.map_err(Error::io("read", path.join(&name)))?,
        };
        let size = facts.is_file().then_some(facts.len());
        found.push(PlaceEntry { name, size, kind: kind(facts.file_type()) });
    }
    Ok(found)
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_missing(&error) => Ok(()),
        result => result.map_err(Error::io("remove", path)),
    }
}

pub(super) fn open(path: &Path) -> Result<Opened> {
    open_regular(path).map(|file| Opened::Local(file.into())).map_err(Error::io("open", path))
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
