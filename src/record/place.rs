//! The place of an export's record. Every reader and writer of records asks this module.
//!
//! ```text
//! rows.parquet               rows.parquet.manifest.json           a single file: next to it
//! out/                       out.manifest.json                    a directory or prefix: next to it
//! s3://bucket/               s3://bucket/_manifest.json           the root of a bucket: inside it
//! ROOT/JOB/snapshot=STAMP/   ROOT/.overmind/JOB/snapshot=STAMP.manifest.json     a snapshot
//! out/train/                 the record of out/                                   the folder of a split
//! ```
//!
//! A directory holds only parts, because many programs read every file in it as data.

use std::path::PathBuf;

use super::{
    layout::is_folder_name,
    manifest::{MANIFEST, Manifest, is_part_name},
    stamp::Stamp,
};
use crate::{error::Result, location::Location};

/// Folder in the root of snapshots that holds everything but their data.
pub(crate) const HIDDEN: &str = ".overmind";

/// Suffix of the name of a record next to its export.
pub(crate) const SUFFIX: &str = ".manifest.json";

/// Returns the name of the record next to a file or directory of this name.
pub(crate) fn sidecar_name(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// Returns the place where an export to a directory or prefix writes its record. `asked` is the place that
/// the user chose.
pub(crate) fn written(target: &Location, asked: Option<&Location>) -> Location {
    asked.cloned().or_else(|| next_to(target)).unwrap_or_else(|| target.child(MANIFEST))
}

/// Returns the place of the record next to a file, a directory or a prefix; `None` for the root of a bucket.
pub(crate) fn next_to(target: &Location) -> Option<Location> {
    let target = named(target);
    if let Some(path) = target.as_local() {
        // Append bytes, not text: a name need not be UTF-8.
        let mut name = path.file_name()?.to_owned();
        name.push(SUFFIX);
        return Some(path.with_file_name(name).into());
    }
    let name = target.name();
    (!name.is_empty()).then(|| target.sibling(&sidecar_name(&name)))
}

/// A record as it was found.
#[derive(Debug)]
pub(crate) struct FoundRecord {
    pub(crate) place: Location,
    pub(crate) bytes: Vec<u8>,
    /// The folder of the export that the target is; empty if it is the whole export.
    folder: String,
    /// The directory or prefix of the whole export.
    pub(crate) export: Location,
}

impl FoundRecord {
    /// Parses the record. That of a folder of an export has only the parts in the folder.
    ///
    /// # Errors
    /// The errors of [`Manifest::parse`].
    pub(crate) fn manifest(&self) -> Result<Manifest> {
        let manifest = Manifest::parse(&self.bytes, &self.place)?;
        if self.folder.is_empty() {
            return Ok(manifest);
        }
        Ok(manifest.clone().within(&self.folder).unwrap_or(manifest))
    }
}

/// Reads the record of a directory or prefix; `None` if there is none. `asked` is the only place to look at,
/// if the user chose one. If the target is the folder of a split and has no record of its own, this is the record of its
/// export.
pub(crate) fn find(target: &Location, asked: Option<&Location>) -> Result<Option<FoundRecord>> {
    let places = match asked {
        Some(place) => vec![place.clone()],
        None => candidates(target),
    };
    for place in places {
        if let Some(bytes) = place.read()? {
            let folder = match asked {
                Some(_) => folder_in(target, &place, &bytes)?,
                None => None,
            };
            let (export, folder) = folder.unwrap_or_else(|| (target.clone(), String::new()));
            return Ok(Some(FoundRecord { place, bytes, folder, export }));
        }
    }
    Ok(if asked.is_none() { find_above(target) } else { None })
}

/// Returns the folder of an export's parts that this target is, and the directory of the export. `None` if the target is
/// the whole export.
fn folder_in(
    target: &Location,
    record: &Location,
    bytes: &[u8],
) -> Result<Option<(Location, String)>> {
    let directories = above(target, 2);
    if directories.is_empty() {
        return Ok(None);
    }
    let Ok(manifest) = Manifest::parse(bytes, record) else { return Ok(None) };
    for (export, folder) in directories {
        // A directory can have the name of one of its folders.
        let (first, _) = folder.split_once('/').unwrap_or((folder.as_str(), ""));
        if manifest.clone().within(&folder).is_some() && !target.child(first).is_directory()? {
            return Ok(Some((export, folder)));
        }
    }
    Ok(None)
}

/// Finds the record of the export that has this target as a folder of its parts.
fn find_above(target: &Location) -> Option<FoundRecord> {
    // The parts of a split are one level below the directory, or two with a card.
    find_in(above(target, 2), |manifest, folder| manifest.within(folder).is_some())
}

/// Finds the record of the export that has this file as a part.
pub(crate) fn find_of_part(file: &Location) -> Option<FoundRecord> {
    if !is_part_name(&named(file).name()) {
        return None;
    }
    find_in(above(file, 3), |manifest, path| manifest.parts.iter().any(|part| part.path == path))
}

/// Finds the record of one of these directories. `has` says whether it has the path.
fn find_in(
    directories: Vec<(Location, String)>,
    has: impl Fn(Manifest, &str) -> bool,
) -> Option<FoundRecord> {
    for (export, folder) in directories {
        for place in candidates(&export) {
            // A run may have no permission outside of the folder that it was given.
            let Ok(Some(bytes)) = place.read() else { continue };
            if Manifest::parse(&bytes, &place).is_ok_and(|manifest| has(manifest, &folder)) {
                return Some(FoundRecord { place, bytes, folder, export });
            }
        }
    }
    None
}

/// Returns the directories above a target, up to this number, each with the path of the target in it. Only directories of
/// which the target can be a folder or a part.
fn above(target: &Location, levels: usize) -> Vec<(Location, String)> {
    let mut above = named(target);
    if let Some(path) = above.as_local()
        && let Ok(path) = std::path::absolute(path)
    {
        above = path.into();
    }
    let mut found: Vec<(Location, String)> = Vec::new();
    for _ in 0..levels {
        let name = above.name();
        let is_inner = is_folder_name(&name) || found.is_empty() && is_part_name(&name);
        let Some(parent) = above.parent().filter(|_| is_inner) else { break };
        above = parent;
        let path = found.last().map_or_else(|| name.clone(), |(_, path)| format!("{name}/{path}"));
        found.push((above.clone(), path));
    }
    found
}

/// Returns the name that a missing record would have, for messages.
pub(crate) fn expected_name(target: &Location, asked: Option<&Location>) -> String {
    written(target, asked).name()
}

/// Returns the places where the record of a directory or prefix may be, the likeliest first.
fn candidates(target: &Location) -> Vec<Location> {
    let inside = target.child(MANIFEST);
    of_snapshot(target).into_iter().chain(next_to(target)).chain([inside]).collect()
}

/// Returns the place of a snapshot's record, from the place of the snapshot.
fn of_snapshot(target: &Location) -> Option<Location> {
    let target = named(target);
    Stamp::of_folder(&target.name())?;
    let target = match target.as_local() {
        Some(path) => std::path::absolute(path).ok()?.into(),
        None => target,
    };
    let parent = target.parent()?;
    // With `select = "all"` each dataset has a folder in the job's folder.
    let (job, dataset) = match parent.name() {
        name if name.starts_with("dataset=") => (parent.parent()?, Some(name)),
        _ => (parent, None),
    };
    let hidden = job.parent()?.child(HIDDEN).child(&job.name());
    let folder = dataset.iter().fold(hidden, |folder, dataset| folder.child(dataset));
    Some(folder.child(&sidecar_name(&target.name())))
}

/// Follows a local link, and gives a local path such as `.` its name.
fn named(target: &Location) -> Location {
    let Some(path) = target.as_local() else { return target.clone() };
    // Without the slash at its end, which would follow the link.
    let plain: PathBuf = path.components().collect();
    if plain.file_name().is_some() && !plain.is_symlink() {
        return target.clone();
    }
    plain.canonicalize().map_or_else(|_| target.clone(), Location::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(places: impl IntoIterator<Item = Location>) -> Vec<String> {
        places.into_iter().map(|place| place.to_string()).collect()
    }

    #[test]
    fn record_is_next_to_a_directory() {
        let record = |path: &str| next_to(&path.into()).map(|place| place.to_string());
        assert_eq!(record("a/out").unwrap(), "a/out.manifest.json");
        assert_eq!(record("a/out/").unwrap(), "a/out.manifest.json");
        assert_eq!(record("rows.parquet").unwrap(), "rows.parquet.manifest.json");
        let asked = Location::from("b/c.json");
        assert_eq!(written(&"a/out".into(), Some(&asked)), asked);
    }

    #[test]
    fn record_of_a_snapshot_is_hidden_in_the_root() {
        let of = |path: &str| texts(of_snapshot(&path.into())).concat();
        let name = "snapshot=20261123T020000Z";
        assert_eq!(of(&format!("/r/j/{name}")), format!("/r/.overmind/j/{name}.manifest.json"));
        let of_dataset = format!("/r/.overmind/j/dataset=1/{name}.manifest.json");
        assert_eq!(of(&format!("/r/j/dataset=1/{name}/")), of_dataset);
        assert_eq!(of("/r/j/snapshot=x"), "");
    }

    #[test]
    #[cfg(unix)]
    fn record_of_a_link_is_next_to_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("out")).unwrap();
        std::os::unix::fs::symlink("out", folder.join("link")).unwrap();
        let expected = folder.join("out.manifest.json");
        for name in ["out", "out/", "out/.", "out/..//out/", "link", "link/"] {
            let place = Location::from(folder.join(name));
            let record = next_to(&place).unwrap();
            let record = record.as_local().unwrap();
            assert_eq!(record.file_name(), expected.file_name(), "{name}");
            let parent = record.parent().unwrap().canonicalize().unwrap();
            assert_eq!(parent, folder, "{name}");
        }
    }

    #[test]
    #[cfg(feature = "clouds")]
    fn bucket_has_its_record_inside() {
        let place = |prefix: &str| written(&Location::in_memory(prefix), None).to_string();
        assert_eq!(place(""), "s3://memory/_manifest.json");
        assert_eq!(place("out"), "s3://memory/out.manifest.json");
        assert_eq!(place("a/out"), "s3://memory/a/out.manifest.json");
        let name = "snapshot=20261123T020000Z";
        let of = |path: &str| texts(of_snapshot(&Location::in_memory(path))).concat();
        let hidden = format!(".overmind/j/{name}.manifest.json");
        assert_eq!(of(&format!("j/{name}")), format!("s3://memory/{hidden}"));
        assert_eq!(of(&format!("r/j/{name}")), format!("s3://memory/r/{hidden}"));
    }
}
