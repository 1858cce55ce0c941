//! One file: written as `.NAME.partial`, which is also its lock, and renamed when complete. If it has a
//! manifest, that is staged in the same way and renamed after it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use super::{
    PartFile, fs as disk,
    ownership::{self, FileOwner},
    path_links,
    preflight::{self, PreflightKind},
    staged::check_unchanged,
};
use crate::{
    error::{Error, Result},
    files::{FileKind, Folder},
    record::{manifest::Manifest, place::SUFFIX},
};

#[derive(Debug)]
pub(crate) struct SingleFile {
    /// The path as given, for messages.
    given: PathBuf,
    parent: Folder,
    name: OsString,
    overwrite: bool,
    sidecar: bool,
    /// `None` in a dry run.
    maker: Option<FileOwner>,
    staged: Option<StagedFile>,
}

#[derive(Debug)]
struct StagedFile {
    name: OsString,
    /// The open staging file, which holds the lock.
    file: File,
    /// The writer of the current pass. `None` before the first one.
    part: Option<PartFile>,
    /// The staged manifest. Created before the first page, so that a failure is known early.
    manifest: Option<File>,
    /// Whether the manifest has been written to the staged file.
    is_described: bool,
}

impl StagedFile {
    fn written_manifest(&self) -> Option<&File> {
        self.manifest.as_ref().filter(|_| self.is_described)
    }
}

impl SingleFile {
    /// Checks whether a file can be written to this path. Except in a dry run, this also runs the preflight.
    pub(super) fn probe(
        given: &Path,
        overwrite: bool,
        sidecar: bool,
        dry_run: bool,
    ) -> Result<Self> {
        let target = path_links::resolve(given)?;
        let name = target.file_name().unwrap_or_default().to_owned();
        if sidecar && name.to_str().is_none() {
            return Err(Error::Output {
                path: given.to_owned(),
                why: "its name is not UTF-8, so a manifest cannot contain it".to_owned(),
                hint: Some("give another name, or leave `manifest` out"),
                source: None,
            });
        }
        let parent = path_links::open_parent(given, &target)?;
        let given = given.to_owned();
        let mut file = Self { given, parent, name, overwrite, sidecar, maker: None, staged: None };
        file.check_targets(&target)?;
        disk::check_unlocked(&file.parent, &disk::staging_name(&file.name), &file.given)?;
        if !dry_run {
            file.preflight()?;
        }
        Ok(file)
    }

    /// Refuses a file or a manifest that must not be replaced.
    fn check_targets(&self, target: &Path) -> Result<()> {
        let manifest = self.manifest_name();
        let names = [Some(&self.name), self.sidecar.then_some(&manifest)];
        for name in names.into_iter().flatten() {
            let path = self.shown(name);
            let found = self.parent.find(name).map_err(Error::io("look at", &path))?;
            let Some(found) = found else { continue };
            let refuse = |why: String, hint| {
                Err(Error::Output { path: path.clone(), why, hint: Some(hint), source: None })
            };
            if found.kind != FileKind::File {
                let why = format!("is {}, not a regular file", found.kind.noun());
                return refuse(why, "give another path");
            }
            if !self.overwrite {
                return Err(exists(&path));
            }
            if *name == manifest && ownership::manifest(&self.parent, name).is_err() {
                return refuse(
                    "is not the manifest of an export".to_owned(),
                    "only files of an export are replaced: move it, or give another path",
                );
            }
            if disk::is_mount_point(&target.with_file_name(name)) {
                return refuse(
                    "is a mount point, so it cannot be replaced in one step".to_owned(),
                    "mount its folder instead, or write to another path and copy the finished file",
                );
            }
        }
        Ok(())
    }

    fn preflight(&mut self) -> Result<()> {
        let manifest = self.manifest_name();
        let mut derived = vec![self.name.clone(), disk::staging_name(&self.name)];
        let mut targets = vec![self.name.clone()];
        if self.sidecar || self.overwrite && self.is_described_by(&manifest) {
            targets.push(manifest.clone());
        }
        if self.sidecar {
            derived.extend([disk::staging_name(&manifest), manifest]);
        }
        let (parent, given, what) = (&self.parent, &self.given, PreflightKind::File);
        let maker =
            preflight::check(parent, parent, what, self.overwrite, &derived, &targets, given)?;
        for name in self.staging_names() {
            ownership::check_staging(parent, &name, FileKind::File, maker, given)?;
        }
        self.maker = Some(maker);
        Ok(())
    }

    /// The names of the staged file and, if the export has a sidecar, of the staged manifest.
    fn staging_names(&self) -> Vec<OsString> {
        let manifest = self.sidecar.then(|| self.manifest_name());
        let names = [Some(&self.name), manifest.as_ref()];
        names.into_iter().flatten().map(|name| disk::staging_name(name)).collect()
    }

    fn manifest_name(&self) -> OsString {
        // Append bytes, not text: a lossy conversion would give all names that are not UTF-8 the same manifest.
        let mut name = self.name.clone();
        name.push(SUFFIX);
        name
    }

    /// The path of a name in the folder, relative to the path that the user gave.
    fn shown(&self, name: &OsStr) -> PathBuf {
        if name == self.name { self.given.clone() } else { self.given.with_file_name(name) }
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.parent.free_bytes()
    }

    pub(super) fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// Takes the lock and creates the staged manifest.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.staged.is_some() {
            return Ok(());
        }
        let maker = self.maker.ok_or_else(disk::not_open)?;
        let (parent, given) = (&self.parent, &self.given);
        let name = disk::staging_name(&self.name);
        ownership::check_staging(parent, &name, FileKind::File, maker, given)?;
        let file = disk::lock(parent, &name, given)?;
        ownership::check_staging(parent, &name, FileKind::File, maker, given)?;
        if !disk::is_same_file(&file, parent, &name) {
            return Err(disk::lock_lost(given));
        }
        // Check again: another run may have published between the first check and the lock.
        let checked = self.check_targets(&parent.path().join(&self.name));
        let manifest = checked.and_then(|()| {
            let create = || {
                let name = disk::staging_name(&self.manifest_name());
                ownership::check_staging(parent, &name, FileKind::File, maker, given)?;
                parent.create_anew(&name).map_err(|error| disk::cannot_create(given, error))
            };
            self.sidecar.then(create).transpose()
        });
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                drop(parent.remove(&name));
                return Err(error);
            }
        };
        self.staged = Some(StagedFile { name, file, part: None, manifest, is_described: false });
        Ok(())
    }

    /// Returns a writer on the emptied staging file.
    pub(super) fn create(&mut self) -> Result<PartFile> {
        self.confirm()?;
        let staged = self.staged.as_mut().ok_or_else(disk::not_open)?;
        // Dropping the writer of an earlier pass flushes its buffer, so drop it before the file is emptied.
        staged.part = None;
        // The bytes of a killed run or of an earlier pass are not reused.
        let failed = Error::io("write", self.parent.path().join(&staged.name));
        let emptied = staged.file.set_len(0).and_then(|()| {
            let mut file = staged.file.try_clone()?;
            file.rewind()?;
            Ok(file)
        });
        let part = PartFile::new(&self.given, emptied.map_err(failed)?);
        staged.part = Some(part.clone());
        Ok(part)
    }

    /// Fails if another run may have replaced the staging file, which is the lock.
    fn confirm(&self) -> Result<()> {
        let staged = self.staged.as_ref().ok_or_else(disk::not_open)?;
        let manifest = disk::staging_name(&self.manifest_name());
        let is_same = |file: &File, name: &OsStr| disk::is_same_file(file, &self.parent, name);
        let is_ours = is_same(&staged.file, &staged.name)
            && staged.written_manifest().is_none_or(|file| is_same(file, &manifest));
        match is_ours {
            true => Ok(()),
            false => Err(disk::lock_lost(&self.given)),
        }
    }

    /// Writes the manifest to its staged file. Creates that file again if another program removed it.
    fn stage_manifest(&mut self, manifest: &Manifest) -> Result<()> {
        let name = disk::staging_name(&self.manifest_name());
        let path = self.parent.path().join(&name);
        let staged = self.staged.as_mut().ok_or_else(disk::not_open)?;
        let opened = staged.manifest.take().ok_or_else(disk::not_open)?;
        let found = self.parent.find(&name).map_err(Error::io("look at", &path))?;
        let mut file = match found {
            None => self.parent.create(&name).map_err(Error::io("write", &path))?,
            Some(_) if disk::is_same_file(&opened, &self.parent, &name) => opened,
            Some(_) => return Err(disk::lock_lost(&self.given)),
        };
        let written = file.write_all(&manifest.to_json()?).and_then(|()| file.sync_all());
        written.map_err(Error::io("write", path))?;
        (staged.manifest, staged.is_described) = (Some(file), true);
        Ok(())
    }

    /// Fails if another program replaced the staged file between the last check and the rename.
    fn confirm_published(&self, file: &File, name: &OsStr) -> Result<()> {
        if disk::is_same_file(file, &self.parent, name) {
            return Ok(());
        }
        Err(Error::Replaced {
            path: self.shown(name),
            why: "was replaced by another program while it was published".to_owned(),
            hint: "look at what is there, then run the same command again with `overwrite`",
        })
    }

    /// Publishes the complete file in one step, then its manifest if it has one. Nothing is removed before.
    pub(super) fn publish(mut self, manifest: Option<&Manifest>) -> Result<()> {
        self.confirm()?;
        if let Some(manifest) = manifest {
            self.stage_manifest(manifest)?;
        }
        let staged = self.staged.as_ref().ok_or_else(disk::not_open)?;
        let closed = staged.part.as_ref().and_then(PartFile::closed);
        check_unchanged(&self.parent, &staged.name, &closed.ok_or_else(disk::not_open)?)?;
        let target = self.parent.path().join(&self.name);
        self.check_targets(&target).map_err(|error| self.left(error, staged))?;
        // Check again: hashing the file can take minutes.
        self.confirm()?;
        self.rename(&staged.name, &self.name)
            .map_err(|error| self.unpublished(&staged.name, &self.name, error))?;
        // Rename the data first: a new manifest must never describe old data. If the folder sync fails, continue
        // and report it at the end, because the data and its manifest must both be published.
        let synced = disk::sync_published(&self.parent, &self.given);
        self.confirm_published(&staged.file, &self.name)?;
        let name = self.manifest_name();
        if let Some(manifest) = staged.written_manifest() {
            let staging = disk::staging_name(&name);
            self.rename(&staging, &name)
                .map_err(|error| self.unpublished(&staging, &name, error))?;
            self.confirm_published(manifest, &name)?;
        } else if self.overwrite && self.is_described_by(&name) {
            // The manifest of the old file does not describe the new one.
            let path = self.shown(&name);
            self.parent.remove(&name).map_err(Error::io("remove", path))?;
        }
        synced.and(disk::sync_published(&self.parent, &self.given))
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match self.overwrite {
            true => self.parent.rename(from, &self.parent, to),
            false => self.parent.rename_new(from, &self.parent, to),
        }
    }

    /// Whether a manifest describes the output file. Other manifests are neither replaced nor removed.
    fn is_described_by(&self, manifest: &OsStr) -> bool {
        let manifest = ownership::manifest(&self.parent, manifest);
        let parts = manifest.map(|manifest| manifest.parts).unwrap_or_default();
        matches!(&*parts, [part] if self.name.to_str() == Some(&part.path))
    }

    /// The error of a run that has a complete file and cannot rename it to the target.
    fn unpublished(&self, staging: &OsStr, name: &OsStr, source: io::Error) -> Error {
        let staging = self.parent.path().join(staging).display().to_string();
        let path = self.shown(name);
        let what = if name == self.name {
            "all rows are in"
        } else {
            "the file itself is published and complete; its manifest is in"
        };
        let hint = format!("{what} {staging}: rename that to {} by hand", path.display());
        Error::Unpublished { path, hint, source }
    }

    /// The error of a target that another process created during the run. The hint names the staged file.
    fn left(&self, error: Error, staged: &StagedFile) -> Error {
        match error {
            Error::Output { path, why, .. } => {
                let staging = self.parent.path().join(&staged.name).display().to_string();
                let hint = format!("all rows are in {staging}: move that file where you want it");
                let source = io::Error::new(io::ErrorKind::AlreadyExists, why);
                Error::Unpublished { path, hint, source }
            }
            error => error,
        }
    }

    /// Publishes nothing and removes the staged files.
    pub(super) fn abandon(mut self) {
        let ours = self.confirm().is_ok();
        if let Some(staged) = self.staged.take().filter(|_| ours) {
            // Best effort: the next run takes over the remaining files.
            let name = disk::staging_name(&self.manifest_name());
            if staged.manifest.is_some_and(|file| disk::is_same_file(&file, &self.parent, &name)) {
                drop(self.parent.remove(name));
            }
            drop(self.parent.remove(&staged.name));
        }
    }
}

fn exists(target: &Path) -> Error {
    Error::Output {
        path: target.to_owned(),
        why: "exists already".to_owned(),
        hint: Some("give `overwrite` to replace it, or another path"),
        source: None,
    }
}
