//! The place for the record of a directory, as the caller names it.

use std::path::Path;

use crate::{
    error::{Error, Result},
    location::{Location, StorageOptions, Target},
    net::urls::quotable,
};

/// Checks the options for the record of a directory. Returns the place that the user chose.
pub(super) fn asked_record(
    record: Option<&Path>,
    success_file: bool,
    storage: &StorageOptions,
    target: &Target,
) -> Result<Option<Location>> {
    let Target::Directory(directory) = target else {
        return match (record, success_file) {
            (Some(_), _) => Err(Error::Usage(format!(
                "`record` is the place for the record of a directory of parts, but {target} is not one: for \
                 a single file give `manifest`"
            ))),
            (None, true) => Err(Error::Usage(format!(
                "`success_file` marks a directory of parts, but {target} is not one"
            ))),
            (None, false) => Ok(None),
        };
    };
    let Some(record) = record else { return Ok(None) };
    let text = record.to_string_lossy();
    let wrong = |why: &str| Err(Error::invalid("record", quotable(&text), why));
    let place = match text.contains("://") {
        true => Location::parse(&text, storage)?,
        false => Location::from(record),
    };
    if place.as_local().is_some() != directory.as_local().is_some() {
        return wrong("it must be where the output is: both on this machine, or both in a store");
    }
    if place.name().is_empty() || text.ends_with('/') {
        return wrong("give the name of a file");
    }
    // The destination compares the folders themselves, which links can hide. Here, the directory may be missing.
    if let (Some(path), Some(directory)) = (place.as_local(), directory.as_local())
        && let (Ok(path), Ok(directory)) =
            (std::path::absolute(path), std::path::absolute(directory))
        && path.starts_with(directory)
    {
        return wrong("a local directory holds only parts: give a path outside it");
    }
    Ok(Some(place))
}
