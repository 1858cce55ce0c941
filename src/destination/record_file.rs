//! The record of a local directory: its place, and what may be replaced there.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use super::{
    journal::Announcement,
    ownership::{self, MANIFEST_BYTES},
    part::examine,
    path_links,
    range_record::PlanUse,
};
use crate::{
    error::{Error, Result},
    files::{FileKind, Folder, read_bounded},
    location::Location,
    record::{manifest::Manifest, place},
};

/// The staged record.
pub(super) const RECORD: &str = "record.json";

/// The file that an export writes its record to.
#[derive(Debug)]
pub(super) struct RecordFile {
    /// The path for messages.
    pub(super) path: PathBuf,
    pub(super) folder: Folder,
    pub(super) name: OsString,
    /// Whether the user chose the place.
    pub(super) is_asked: bool,
}

/// The file at the place of an announced record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordState {
    Missing,
    /// The record that was there when the publication was announced.
    Replaced,
    /// The announced record.
    Published,
    /// Any other file, for instance the record of another export.
    Taken,
}

impl RecordFile {
    /// The record of an export to `target`, which has no links.
    pub(super) fn open(given: &Path, target: &Path, asked: Option<&Location>) -> Result<Self> {
        let is_asked = asked.is_some();
        let (shown, path) = match asked.and_then(Location::as_local) {
            Some(asked) => (Some(asked), path_links::resolve(asked)?),
            None => (None, place::written(&Location::from(target), None).to_path()),
        };
        let folder = path_links::open_parent(shown.unwrap_or(given), &path)?;
        let name = path.file_name().unwrap_or_default().to_owned();
        let path = shown.map_or(path, Path::to_owned);
        Ok(Self { path, folder, name, is_asked })
    }

    /// Refuses a place that is one of these directories or inside it: the output and its staging. Each is a name in
    /// a folder.
    pub(super) fn check_outside(&self, directories: [(&Folder, &OsStr); 2]) -> Result<()> {
        let failed = |error| Error::io("look at", self.folder.path())(error);
        let folder = self.folder.path().canonicalize().map_err(failed)?;
        let above: Vec<_> =
            folder.ancestors().filter_map(|folder| Folder::open(folder).ok()).collect();
        for (parent, name) in directories {
            let is_it = self.name == name && self.folder.is_same(parent).map_err(failed)?;
            let directory = parent.open_folder(name);
            let contains =
                |it: &Folder| above.iter().any(|folder| folder.is_same(it).unwrap_or(false));
            if is_it || directory.is_ok_and(|directory| contains(&directory)) {
                let why = "is the output or its staging, or inside one of them".to_owned();
                let hint =
                    Some("a directory holds only parts: give a path outside it with `record`");
                return Err(Error::Output { path: self.path.clone(), why, hint, source: None });
            }
        }
        Ok(())
    }

    /// Reads the record; `None` if it is missing or not the record of an export.
    pub(super) fn read(&self) -> Option<Manifest> {
        ownership::manifest(&self.folder, &self.name).ok()
    }

    /// Refuses a file that has the record's name and must not be replaced. A record without its directory may
    /// be replaced, unless the user chose its place: then it may belong to another directory.
    pub(super) fn check(&self, overwrite: bool, plan_use: PlanUse) -> Result<()> {
        let Self { path, folder, name, is_asked } = self;
        let Some(found) = folder.find(name).map_err(Error::io("look at", path))? else {
            return Ok(());
        };
        let refuse = |why: String, hint| {
            Err(Error::Output { path: path.clone(), why, hint: Some(hint), source: None })
        };
        if found.kind != FileKind::File {
            let why = format!("is {}, not a regular file", found.kind.noun());
            return refuse(why, "the record of the export needs that name: move it away");
        }
        if self.read().is_none() {
            let why = "is not the record of an export".to_owned();
            return refuse(why, "the record of the export needs that name: move it away");
        }
        if *is_asked && !overwrite {
            let why = "exists already".to_owned();
            let hint = "give `overwrite` to replace an export, or another `record`";
            return refuse(why, plan_use.hint_of_existing(hint));
        }
        Ok(())
    }

    /// SHA-256 of the file that has the record's name; `None` if it is missing.
    pub(super) fn digest(&self) -> Result<Option<String>> {
        match self.folder.read(&self.name).and_then(|mut file| examine(&mut file)) {
            Ok(found) => Ok(Some(found.sha256)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &self.path)(error)),
        }
    }

    /// Compares the file that has the record's name with an announcement.
    pub(super) fn state(&self, announcement: &Announcement) -> Result<RecordState> {
        let found = self.folder.find(&self.name).map_err(Error::io("look at", &self.path))?;
        match found.map(|found| found.kind) {
            None => return Ok(RecordState::Missing),
            Some(FileKind::File) => {}
            Some(_) => return Ok(RecordState::Taken),
        }
        let digest = self.digest()?;
        Ok(match digest.as_ref() {
            None => RecordState::Missing,
            Some(digest) if *digest == announcement.record => RecordState::Published,
            digest if digest == announcement.replaces.as_ref() => RecordState::Replaced,
            Some(_) => RecordState::Taken,
        })
    }

    /// The error of an announced publication to `target`, if another file has taken the record's name since.
    pub(super) fn taken(&self, target: &Path) -> Error {
        let what = match self.read() {
            Some(_) => "is the record of another export",
            None => "is not the record of an export",
        };
        Error::Output {
            path: self.path.clone(),
            why: format!(
                "{what}, and an interrupted run of {} has announced its record there",
                target.display()
            ),
            hint: Some("move that file away, or give another `record`"),
            source: None,
        }
    }

    /// Publishes the staged record, unless an earlier run has done it. It is written under an aside name in its
    /// own folder, which may be on another file system, and renamed there. So the staged one keeps its only
    /// name. It stays until the staging is removed, when the published one is durable.
    pub(super) fn publish(
        &self,
        root: &Folder,
        announcement: &Announcement,
        state: RecordState,
    ) -> io::Result<()> {
        let Self { folder, name, .. } = self;
        let aside = aside(announcement);
        if state == RecordState::Published {
            // Best effort: nothing reads it.
            drop(folder.remove(&aside));
            return Ok(());
        }
        let bytes = read_bounded(&mut root.read(RECORD)?, MANIFEST_BYTES)?;
        let written = folder.write_durably(&aside, &bytes).and_then(|()| match state {
            RecordState::Missing => folder.rename_new(&aside, folder, name),
            _ => folder.rename(&aside, folder, name),
        });
        written.inspect_err(|_| drop(folder.remove(&aside)))
    }

    /// Removes what a run that was killed has left of the staged record, because its publication is taken back. Best effort:
    /// nothing reads it.
    pub(super) fn withdraw(&self, announcement: &Announcement) {
        drop(self.folder.remove(aside(announcement)));
    }

    /// The path for the journal, if the user chose the place: the name alone if the record is in the folder of the
    /// staging, and otherwise the absolute path, because the next run may have another working directory.
    pub(super) fn announced_path(&self, home: &Folder) -> Result<Option<String>> {
        if !self.is_asked {
            return Ok(None);
        }
        if let Some(name) = self.name.to_str()
            && self.folder.is_same(home).map_err(Error::io("look at", home.path()))?
        {
            return Ok(Some(name.to_owned()));
        }
        let path = self.folder.path().join(&self.name);
        let path = std::path::absolute(&path).map_err(Error::io("find", &path))?;
        path.into_os_string().into_string().map(Some).map_err(|path| Error::Output {
            path: path.into(),
            why: "its name is not UTF-8, so the journal cannot contain it".to_owned(),
            hint: Some("give another `record`"),
            source: None,
        })
    }
}

/// The name of a record that is being published. Every run that finishes its publication or takes it back uses the same
/// name, so no kill leaves the file behind.
fn aside(announcement: &Announcement) -> String {
    format!(".overmind-{}.json", announcement.record.get(..8).unwrap_or_default())
}
