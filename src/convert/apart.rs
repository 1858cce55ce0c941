//! Refuses an output that is the source, is inside it, or would replace it. Follows links.

use std::path::{Path, PathBuf};

use crate::{
    destination::staging_name,
    error::{Error, Result},
    export::output_plan::OutputPlan,
    location::{Location, Target},
    record::place::{self, FoundRecord},
};

/// Compares the places of the source with those of the output. `records` are the places where the source's record may
/// be.
///
/// # Errors
/// [`Error::Usage`] when writing the output would change the source.
pub(super) fn require_apart(
    source: &Location,
    records: &[Location],
    output: &OutputPlan,
) -> Result<()> {
    let (Target::File(target) | Target::Directory(target)) = &output.target else { return Ok(()) };
    let refuse = |why: &str| {
        let hint = "give another output, and remove the source afterwards";
        Err(Error::Usage(format!("the output {target} {why} {source}: {hint}")))
    };
    let staging = staging_of(target);
    if staging.as_ref().is_some_and(|staging| contains(staging, source)) {
        let why = format!("would delete the source {source}, which lies in its staging");
        let hint = "give another output, and remove the source afterwards";
        return Err(Error::Usage(format!("the output {target} {why}: {hint}")));
    }
    if contains(target, source) && contains(source, target) {
        return refuse("is the source");
    }
    if contains(source, target) {
        return refuse("lies inside the source");
    }
    if matches!(output.target, Target::Directory(_)) && contains(target, source) {
        return refuse("would replace the source");
    }
    // A directory replaces everything in it, and a run deletes what earlier runs have staged.
    let replaces = |place: &Location| match output.target {
        Target::Directory(_) => contains(target, place),
        _ => contains(target, place) && contains(place, target),
    };
    if let Some(record) = records.iter().find(|record| {
        replaces(record) || staging.as_ref().is_some_and(|staging| contains(staging, record))
    }) {
        return Err(Error::Usage(format!(
            "the output {target} would replace {record}, the record of the source {source}: give another output"
        )));
    }
    let record = match output.target {
        Target::Directory(_) => Some(place::written(target, output.record.as_ref())),
        _ => output.sidecar.then(|| place::next_to(target)).flatten(),
    };
    let Some(record) = record else { return Ok(()) };
    let is_same = |place: &Location| contains(place, &record) && contains(&record, place);
    if records.iter().any(is_same) || contains(source, &record) {
        return Err(Error::Usage(format!(
            "the record {record} of the output would replace the source {source} or its record: give another place"
        )));
    }
    Ok(())
}

/// Compares the output with the export of which the source is a folder, such as that of a split, or a part.
///
/// # Errors
/// [`Error::Usage`] when the output lies in the directory of that export, which holds only its own files, or when it would
/// replace its record.
pub(super) fn require_outside(
    source: &Location,
    whole: &FoundRecord,
    output: &OutputPlan,
) -> Result<()> {
    let (Target::File(target) | Target::Directory(target)) = &output.target else { return Ok(()) };
    let (export, record) = (&whole.export, &whole.place);
    let refuse = |why: String| {
        Err(Error::Usage(format!(
            "{why}, of which the source {source} is a part: give another place"
        )))
    };
    if contains(export, target) {
        return refuse(format!("the output {target} lies inside the export {export}"));
    }
    let written = match output.target {
        Target::Directory(_) => Some(place::written(target, output.record.as_ref())),
        _ => output.sidecar.then(|| place::next_to(target)).flatten(),
    };
    let places = [Some(target.clone()), written];
    match places.into_iter().flatten().find(|it| contains(it, record)) {
        Some(place) => {
            refuse(format!("the output would replace {place}, the record of the export {export}"))
        }
        None => Ok(()),
    }
}

/// Returns the folder in which a run stages a local directory; `None` for other places, where no source can be.
fn staging_of(target: &Location) -> Option<Location> {
    let target = real(target.as_local()?);
    let staging = target.with_file_name(staging_name(target.file_name()?));
    Some(Location::from(staging))
}

/// Whether a place is another one, or inside it.
fn contains(outer: &Location, inner: &Location) -> bool {
    match (outer.as_local(), inner.as_local()) {
        (Some(outer), Some(inner)) => real(inner).starts_with(real(outer)),
        (None, None) => match (outer.as_remote(), inner.as_remote()) {
            (Some(outer), Some(inner)) => outer.contains(inner),
            _ => false,
        },
        _ => false,
    }
}

/// Returns the path without links, also if its last part does not exist.
fn real(path: &Path) -> PathBuf {
    let plain: PathBuf = path.components().collect();
    if let Ok(real) = plain.canonicalize() {
        return real;
    }
    let parent = match plain.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match (parent.canonicalize(), plain.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => std::path::absolute(&plain).unwrap_or(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn places_are_compared_without_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Location::from(folder.path().join(name));
        std::fs::create_dir(folder.path().join("out")).unwrap();
        std::fs::write(folder.path().join("out/part"), "").unwrap();
        std::os::unix::fs::symlink("out", folder.path().join("link")).unwrap();
        for (outer, inner, expected) in [
            ("out", "out/part", true),
            ("out", "out/missing", true),
            ("link/", "out/part", true),
            ("out/", "link/part", true),
            ("out/../link", "link", true),
            ("out/part", "out", false),
            ("out", "out.parquet", false),
        ] {
            assert_eq!(contains(&at(outer), &at(inner)), expected, "{outer} {inner}");
        }
    }
}
