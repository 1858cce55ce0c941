//! Local files as a [`Location`](super::Location): whole reads, atomic durable writes, sorted names.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::Opened;
use crate::{
    error::{Error, Result},
    files::{open_regular, read_regular},
};

/// Bytes of a file that is read whole: a manifest of 100,000 parts has a quarter of it.
pub(super) const WHOLE: u64 = 128 << 20;

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_regular(path, WHOLE) {
        Err(error) if is_missing(&error) => Ok(None),
        result => result.map(Some).map_err(Error::io("read", path)),
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder.join(format!(".{name}.{:08x}.new", fastrand::u32(..)));
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        // Makes the name durable, as far as the system allows.
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    });
    written.map_err(|error| {
        drop(fs::remove_file(&aside));
        Error::io("write", path)(error)
    })
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

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_missing(&error) => Ok(()),
        result => result.map_err(Error::io("remove", path)),
    }
}

pub(super) fn open(path: &Path) -> Result<Opened> {
    open_regular(path).map(Opened::Local).map_err(Error::io("open", path))
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
