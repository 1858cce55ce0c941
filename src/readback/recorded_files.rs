//! The files of an export, as its record lists them. Refuses a record that belongs to other files.
//!
//! Compares everything that is known without reading rows: names and sizes, the facts in each file's own metadata,
//! and the totals of the record. JSON Lines and CSV have no metadata, so their SHA-256 is compared once they are
//! read to their end. `verify` reports every difference; here the first one is an error.

use std::{collections::BTreeSet, path::Path};

use parquet::file::reader::Length;

use super::{ReadOptions, Reader, RecordedLines, open_recorded};
use crate::{
    error::{Error, Result},
    location::Location,
    record::{
        layout::{folders_of, is_inside, is_part_path},
        manifest::{ListedPart, Manifest},
        place::{self, sidecar_name},
    },
    sink::Encoding,
    text::{grouped, line},
};

/// The files of an export with a record.
#[derive(Debug)]
pub(crate) struct RecordedFiles {
    pub(crate) manifest: Manifest,
    pub(crate) files: Vec<RecordedFile>,
}

/// A file that a record lists.
#[derive(Debug)]
pub(crate) struct RecordedFile {
    pub(crate) place: Location,
    pub(crate) listed: ListedPart,
}

impl RecordedFiles {
    /// Finds the record of a directory or prefix, at the place that the options name or at its usual one, and the files that
    /// it lists.
    ///
    /// # Errors
    /// [`Error::Damaged`] when there is no record, or when it belongs to other files.
    pub(crate) fn of_directory(directory: &Location, options: &ReadOptions) -> Result<Self> {
        let asked = options.record.as_ref();
        let Some(found) = place::find(directory, asked)? else {
            let option = options.record_option.filter(|_| asked.is_none());
            let elsewhere = option
                .map(|option| format!("; if its record is elsewhere, name it with `{option}`"));
            let name = place::expected_name(directory, asked);
            let inside = inside(directory);
            return Err(without_record(
                directory,
                &name,
                &(inside + &elsewhere.unwrap_or_default()),
            ));
        };
        let (manifest, place) = (found.manifest()?, found.place);
        // Do not trust the manifest: every file that it lists must be in the directory.
        if let Some(part) = manifest.parts.iter().find(|part| !is_inside(&part.path)) {
            let why = format!("it lists {:?}, which is not a file's name", part.path);
            return Err(damaged(&place, why));
        }
        let entries = directory.entries_in(&folders_of(&manifest))?;
        let mut files = Vec::with_capacity(manifest.parts.len());
        for listed in manifest.listed() {
            let name = &listed.part.path;
            let Ok(at) = entries.binary_search_by(|entry| entry.name.cmp(name)) else {
                return Err(damaged(directory, format!("{name} is missing")));
            };
            let file = RecordedFile { place: directory.child(name), listed };
            file.require_size(entries.get(at).and_then(|entry| entry.size))?;
            files.push(file);
        }
        // In a store no name is used twice, so other parts belong to a run in progress. On a file system they show
        // that the record was written for other parts.
        if directory.as_local().is_some() {
            let listed: BTreeSet<&str> = manifest.parts.iter().map(|it| &*it.path).collect();
            let mut names = entries.iter().map(|entry| &*entry.name);
            if let Some(other) = names.find(|name| is_part_path(name) && !listed.contains(name)) {
                return Err(damaged(directory, format!("{other} is not in {}", place.name())));
            }
        }
        Self::of(directory, manifest, files)
    }

    /// Finds the record of a single file: at the place that the caller chose, or else next to the file. `None` if
    /// the caller chose none, and no record exists.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the chosen record is missing, or when the record belongs to another file.
    pub(crate) fn find_of_file(file: &Location, asked: Option<&Location>) -> Result<Option<Self>> {
        match asked {
            Some(record) => Self::of_file(file, record).map(Some),
            None => Self::load_of_file(file, &file.sibling(&sidecar_name(&file.name()))),
        }
    }

    /// Reads the record of a single file at the place that the caller chose.
    ///
    /// # Errors
    /// [`Error::Damaged`] when there is no record, or when it belongs to another file.
    pub(crate) fn of_file(file: &Location, record: &Location) -> Result<Self> {
        let missing = || without_record(file, &record.name(), "");
        Self::load_of_file(file, record)?.ok_or_else(missing)
    }

    fn load_of_file(file: &Location, record: &Location) -> Result<Option<Self>> {
        let Some(manifest) = Manifest::load(record)? else { return Ok(None) };
        let files: Vec<_> =
            manifest.listed().map(|listed| RecordedFile { place: file.clone(), listed }).collect();
        let [only] = files.as_slice() else {
            return Err(damaged(record, format!("it lists {} files", files.len())));
        };
        only.require_size(None)?;
        Self::of(file, manifest, files).map(Some)
    }

    fn of(export: &Location, manifest: Manifest, files: Vec<RecordedFile>) -> Result<Self> {
        if let Some((file, why)) =
            files.iter().find_map(|file| Some((file, file.listed.unexplained()?)))
        {
            return Err(damaged(
                export,
                format!("its record says of {}: {why}", file.listed.part.path),
            ));
        }
        let mut totals = manifest.totals().into_iter();
        if let Some((what, recorded, seen)) = totals.find(|(_, recorded, seen)| recorded != seen) {
            let (seen, recorded) = (grouped(seen), grouped(recorded));
            let why = format!("its parts have {seen} {what}, recorded {recorded}");
            return Err(damaged(export, why));
        }
        let joined = manifest.joined_digest().unwrap_or_default().to_string();
        if joined != manifest.digest {
            let why = format!("its parts have the digest {joined}, recorded {}", manifest.digest);
            return Err(damaged(export, why));
        }
        if let Some(why) = manifest.wrong_splits() {
            return Err(damaged(export, why));
        }
        if let Some(why) = manifest.unexplained_earlier() {
            return Err(damaged(export, format!("its record says: {why}")));
        }
        Ok(Self { manifest, files })
    }
}

impl RecordedFile {
    /// Opens the file, and compares its own facts with the record.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they differ.
    pub(crate) fn open(&self, options: &ReadOptions) -> Result<Reader> {
        let reader = {
            let columns = Some(self.listed.columns.clone());
            let sha256 = Some(&*self.listed.part.sha256);
            open_recorded(&self.place, options, RecordedLines { columns, sha256 })?
        };
        let why = match &reader.facts {
            Some(facts) => facts.difference(&self.listed),
            None if is_text(&self.place) => None,
            None => Some("its own metadata does not say which part of an export it is".to_owned()),
        };
        why.map_or(Ok(reader), |why| Err(damaged(&self.place, why)))
    }

    /// Refuses a file of another size. `size` is `None` if it is not known yet, as of a link.
    fn require_size(&self, size: Option<u64>) -> Result<()> {
        let size = size.map_or_else(|| self.place.open().map(|file| file.len()), Ok)?;
        let recorded = self.listed.part.bytes;
        if size == recorded {
            return Ok(());
        }
        let why = format!("bytes {}, recorded {}", grouped(size), grouped(recorded));
        Err(damaged(&self.place, why))
    }
}

fn is_text(file: &Location) -> bool {
    Encoding::of_path(Path::new(&file.name())).is_some_and(|it| it.format().is_text())
}

/// The error of an export without a record of this name. `elsewhere` says what to do if it has another place.
fn without_record(export: &Location, name: &str, elsewhere: &str) -> Error {
    damaged(export, format!("it has no record: there is no {name}{elsewhere}"))
}

/// Says what is in a local directory without a record, if that helps: nothing, or the files of an export.
fn inside(directory: &Location) -> String {
    let entries = directory.as_local().and_then(|_| directory.entries().ok()).unwrap_or_default();
    let is_file = |name: &str| Encoding::of_path(Path::new(name)).is_some();
    let file = entries.iter().map(|entry| &entry.name).filter(|name| is_file(name)).min();
    match file {
        _ if directory.as_local().is_none() => String::new(),
        Some(file) => {
            format!("; copy it along with the folder, or give one file, such as {}", line(file))
        }
        None if entries.is_empty() => ", and the folder is empty".to_owned(),
        None => String::new(),
    }
}

fn damaged(place: &Location, why: String) -> Error {
    Error::Damaged { path: place.to_path(), why }
}
