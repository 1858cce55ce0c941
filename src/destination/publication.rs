//! Publishes a staged directory with two renames: the parts, then the record.
//!
//! Before the first rename the journal announces both, durably, with the SHA-256 of the record. The next run on
//! this target finishes the announced publication, before it looks at the target. So a crash leaves either the previous
//! state, or a state that the next run completes without a request.
//!
//! The next run recognizes the announced parts by their bytes, which the record lists: a copied or restored
//! folder has other inodes, and some systems have none.
//!
//! A reader that comes between the two renames sees the parts without a record, or with the record of the
//! replaced export, which does not match them.

use std::{ffi::OsStr, io, path::PathBuf};

use super::{
    PLAN,
    directory::{Directory, NO_RECORD, ONLY_OURS},
    fs as disk,
    journal::{Announced, Announcement, Journal},
    ownership::{self, MANIFEST_BYTES},
    parent,
    part::{PartChecksum, examine},
    plan_folder::end_plan,
    preflight,
    record_file::{RECORD, RecordFile, RecordState},
    sealed::{FEWER_PARTS, check_size},
    staged::StagedDirectory,
    tidied,
};
use crate::{
    error::{Error, Result},
    files::{FileKind, Folder, read_bounded},
    location::Location,
    record::{
        card::{self, CARD},
        layout::folders_of,
        manifest::{Manifest, SUCCESS},
    },
};

/// The record of the export that is replaced. It lists the old files, which may be removed.
pub(super) const REPLACED: &str = "replaced.json";
/// The folders that can hold the old parts after a swap.
const OLD: [&str; 2] = ["data", "old"];

impl Directory {
    pub(super) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        self.confirm()?;
        // Another process may have created the target since the first check.
        let replaces = self.check_target()?;
        self.publish_files(manifest, replaces)
    }

    fn publish_files(&mut self, manifest: &Manifest, replaces: bool) -> Result<()> {
        let replaced = if replaces { self.record.read() } else { None };
        let announcement = self.announce(manifest, replaced.as_ref())?;
        let staged = self.staged.take().ok_or_else(disk::not_open)?;
        // Reading parts again and writing the record take time.
        if !staged.has_its_folders() {
            return Err(disk::lock_lost(&self.given));
        }
        self.rename_parts(&staged, replaced.as_ref())?;
        self.conclude(staged, &announcement, manifest, replaced)
    }

    /// Checks the parts, stages the record, and announces the publication in the journal.
    fn announce(
        &mut self,
        manifest: &Manifest,
        replaced: Option<&Manifest>,
    ) -> Result<Announcement> {
        let (success_file, record) = (self.success_file, manifest.to_json()?);
        check_size("its record", &record, MANIFEST_BYTES, (&self.given, FEWER_PARTS))?;
        let path = self.record.announced_path(&self.home)?;
        let replaces = self.record.digest()?;
        let staged = self.staged()?;
        staged.check_parts(manifest)?;
        let data = staged.data()?;
        if success_file {
            let path = data.path().join(SUCCESS);
            data.write_durably(SUCCESS, b"").map_err(Error::io("write", path))?;
        }
        if manifest.card.is_some() {
            let path = data.path().join(CARD);
            let written = data.write_durably(CARD, card::text(manifest).as_bytes());
            written.map_err(Error::io("write", path))?;
        }
        step()?;
        for folder in folders_of(manifest) {
            let synced = data.open_below(folder).and_then(|folder| folder.sync());
            synced.map_err(Error::io("sync", data.path().join(folder)))?;
        }
        data.sync().map_err(Error::io("sync", data.path()))?;
        let root = &staged.root;
        let write = |name: &str, bytes: &[u8]| {
            root.write_durably(name, bytes).map_err(Error::io("write", root.path().join(name)))
        };
        write(RECORD, &record)?;
        match replaced {
            Some(replaced) => write(REPLACED, &replaced.to_json()?)?,
            None => {
                let failed = Error::io("remove", root.path().join(REPLACED));
                root.remove(REPLACED).map_err(failed)?;
            }
        }
        step()?;
        root.sync().map_err(Error::io("sync", root.path()))?;
        let record = examine(&mut &*record).map_err(Error::io("read", root.path()))?.sha256;
        let publishing = Announcement { record, replaces, path };
        let line = Announced { publishing: publishing.clone() };
        staged.journal.as_mut().ok_or_else(disk::not_open)?.append(&line)?;
        step()?;
        Ok(publishing)
    }

    /// Renames the staged parts to the target, or swaps them with the replaced export.
    fn rename_parts(&self, staged: &StagedDirectory, replaced: Option<&Manifest>) -> Result<()> {
        // A rename replaces an empty directory and fails on any other.
        match (staged.root.rename("data", &self.parent, &self.name), replaced) {
            (Ok(()), _) if staged.has_published(&self.parent, &self.name) => Ok(()),
            (Ok(()), _) => {
                let back = self.parent.rename(&self.name, &staged.root, "data");
                back.map_err(|error| self.unrestored(staged, error))?;
                Err(disk::lock_lost(&self.given))
            }
            (Err(error), Some(old)) if is_not_empty(&error) => self.swap(staged, old),
            (Err(error), None) if is_not_empty(&error) => Err(match self.overwrite {
                true => self.refused(NO_RECORD, ONLY_OURS),
                false => self.exists(),
            }),
            (Err(error), _) => Err(self.unpublished(staged, error)),
        }
    }

    /// Swaps the new export with the old one, with all files added to it since the last check.
    fn swap(&self, staged: &StagedDirectory, replaced: &Manifest) -> Result<()> {
        let swap = || staged.root.swap("data", &self.parent, &self.name, "old");
        swap().map_err(|error| self.unpublished(staged, error))?;
        let checked = match staged.has_published(&self.parent, &self.name) {
            true => self.check_replaced(staged, replaced),
            false => Err(disk::lock_lost(&self.given)),
        };
        checked.or_else(|refusal| {
            swap().map_err(|error| self.unrestored(staged, error))?;
            Err(refusal)
        })
    }

    fn check_replaced(&self, staged: &StagedDirectory, replaced: &Manifest) -> Result<()> {
        let old = staged.root.open_folder("data").map_err(Error::io("open", &self.target))?;
        match ownership::foreign(&old, replaced).map_err(Error::io("list", &self.target))? {
            None => Ok(()),
            Some(why) => Err(self.refused(why, ONLY_OURS)),
        }
    }

    /// Publishes the record of published parts, and removes the staging.
    fn conclude(
        &self,
        staged: StagedDirectory,
        announcement: &Announcement,
        manifest: &Manifest,
        replaced: Option<Manifest>,
    ) -> Result<()> {
        step()?;
        // If a folder sync fails, continue and report it at the end: the record must be published, too.
        let synced = disk::sync_published(&self.parent, &self.given);
        step()?;
        self.publish_record(&staged.root, announcement)?;
        let synced = synced.and(disk::sync_published(&self.record.folder, &self.given));
        step()?;
        // Workers notice the end of their plan. Until the journal is gone, the next run comes here again.
        drop(end_plan(&staged.root));
        step()?;
        // The journal goes first: if the rest cannot be removed, it must not look like an interrupted run.
        drop(staged.root.remove(Journal::NAME));
        step()?;
        let removed = replaced.map_or(Ok(()), |old| remove_old(&staged.root, manifest, &old));
        let path = staged.root.path().to_owned();
        let removed = removed.and_then(|()| staged.remove(&self.home));
        tidied(self.given.display(), removed.map_err(Error::io("remove", path)));
        synced
    }

    fn publish_record(&self, root: &Folder, announcement: &Announcement) -> Result<()> {
        let state = self.record.state(announcement)?;
        if state == RecordState::Taken {
            return Err(self.record.taken(&self.given));
        }
        let published = self.record.publish(root, announcement, state);
        published.map_err(|error| self.unrecorded(root, error))
    }

    /// Finishes a publication that an ended run announced, if there is one. Sends no request. Returns the record if it
    /// did.
    ///
    /// Does nothing if the staging or the target have changed since: then the staging is that of an
    /// interrupted run.
    pub(super) fn finish_announced(&mut self) -> Result<Option<Manifest>> {
        let name = disk::staging_name(&self.name);
        let announced = |root: &Folder| Journal::read(root).and_then(|it| it.publishing);
        if self.home.open_folder(&name).ok().as_ref().and_then(announced).is_none() {
            return Ok(None);
        }
        let maker = preflight::maker(&self.home);
        let maker = maker.map_err(|error| disk::cannot_create(&self.given, error))?;
        let taken = StagedDirectory::take(&self.home, &name, maker, &self.given)?;
        let Some(mut staged) = taken else { return Ok(None) };
        // Read again: another run may have finished it before this one took the lock.
        let Some(announcement) = announced(&staged.root) else { return Ok(None) };
        let place = self.announced_place(&announcement)?;
        let wanted = place.map(|place| std::mem::replace(&mut self.record, place));
        let finished = self.finish(&mut staged, &announcement);
        let finished = finished.and_then(|replaced| match replaced {
            Some((manifest, replaced)) => {
                self.conclude(staged, &announcement, &manifest, replaced).map(|()| Some(manifest))
            }
            None => {
                if !self.withdraw(&staged, &announcement)? {
                    self.restore(&staged)?;
                }
                self.record.withdraw(&announcement);
                Ok(None)
            }
        });
        if let Some(wanted) = wanted {
            self.record = wanted;
        }
        finished
    }

    /// Opens the announced place of the record. `None` if the place of this run must do: the folder is missing,
    /// because a folder above it was renamed, or another file is there and the user chose another place.
    fn announced_place(&self, announcement: &Announcement) -> Result<Option<RecordFile>> {
        // A bare name is in the folder of the staging.
        let path = announcement.path.as_ref().map(|path| match path.contains('/') {
            true => PathBuf::from(path),
            false => self.home.path().join(path),
        });
        let is_missing = |path: &PathBuf| {
            let folder = parent(path).metadata();
            folder.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if path.as_ref().is_some_and(is_missing) {
            return Ok(None);
        }
        let path = path.map(Location::from);
        let place = RecordFile::open(&self.given, &self.target, path.as_ref())?;
        let is_taken =
            |place: &RecordFile| place.state(announcement).map(|it| it == RecordState::Taken);
        let moves = self.record.is_asked && is_taken(&place)? && !is_taken(&self.record)?;
        Ok(if moves { None } else { Some(place) })
    }

    /// Publishes the parts, if that is still to do. Returns their record, and that of the replaced export if
    /// there was one; `None` if nothing can be finished.
    fn finish(
        &self,
        staged: &mut StagedDirectory,
        announcement: &Announcement,
    ) -> Result<Option<(Manifest, Option<Manifest>)>> {
        let Some(manifest) = self.announced_record(&staged.root, announcement)? else {
            return Ok(None);
        };
        let replaced = ownership::manifest(&staged.root, REPLACED).ok();
        let is_ours =
            |folder: &Folder| is_whole(folder, &manifest) && has_digests(folder, &manifest);
        if let Ok(visible) = self.parent.open_folder(&self.name) {
            // With its record, the export of a plan was complete: a later change is found by `verify`.
            let was_complete = || -> Result<bool> {
                let has_plan = staged.root.find(PLAN).is_ok_and(|found| found.is_some());
                Ok(has_plan && self.record.state(announcement)? == RecordState::Published)
            };
            if is_ours(&visible) || was_complete()? {
                return Ok(Some((manifest, replaced)));
            }
        }
        match staged.root.open_folder("data") {
            Ok(data) if is_ours(&data) => staged.reopen(data),
            _ => return Ok(None),
        }
        if self.record.state(announcement)? == RecordState::Taken {
            return Err(self.record.taken(&self.given));
        }
        match self.rename_parts(staged, replaced.as_ref()) {
            Ok(()) => Ok(Some((manifest, replaced))),
            // Another output has appeared at the target. The caller finds it, too, and says so.
            Err(Error::Output { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the replaced export back to the target, if the target is gone and the staging has the only copy: a swap in two
    /// renames ended between them, or someone has moved the new parts away after a swap. Returns whether it did.
    pub(super) fn restore(&self, staged: &StagedDirectory) -> Result<bool> {
        let root = &staged.root;
        let found = self.parent.find(&self.name).map_err(Error::io("look at", &self.target))?;
        if found.is_some() {
            return Ok(false);
        }
        let new = ownership::manifest(root, RECORD).ok();
        let name = match root.open_folder("old") {
            // A swap that was being undone has the new parts there, and the replaced export in the other folder.
            Ok(old) if new.as_ref().is_some_and(|new| is_whole(&old, new)) => "data",
            Ok(_) => "old",
            // A swap in one step has moved it to the place of the new parts.
            Err(_) if has_replaced(root, new.as_ref()) => "data",
            Err(_) => return Ok(false),
        };
        match root.rename(name, &self.parent, &self.name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => {
                let path = self.target.clone();
                let hint = format!(
                    "the replaced export is in {}: move it back by hand",
                    root.path().join(name).display()
                );
                Err(Error::Unpublished { path, hint, source })
            }
        }
    }

    /// Reads the announced record: staged, or at its place. `None` if neither has the announced bytes.
    pub(super) fn announced_record(
        &self,
        root: &Folder,
        announcement: &Announcement,
    ) -> Result<Option<Manifest>> {
        for (folder, name) in [(root, OsStr::new(RECORD)), (&self.record.folder, &self.record.name)]
        {
            let bytes =
                folder.read(name).and_then(|mut file| read_bounded(&mut file, MANIFEST_BYTES));
            let Ok(bytes) = bytes else { continue };
            let path = folder.path().join(name);
            let found = examine(&mut &*bytes).map_err(Error::io("read", &path))?;
            if found.sha256 == announcement.record {
                return Manifest::parse(&bytes, &Location::from(path)).map(Some);
            }
        }
        Ok(None)
    }

    /// The error of a run that could not undo its rename.
    fn unrestored(&self, staged: &StagedDirectory, source: io::Error) -> Error {
        let path = self.target.clone();
        let data = staged.root.path().join("data");
        let hint = format!(
            "another program changed {} or {} during the publication: check both",
            path.display(),
            data.display()
        );
        Error::Unpublished { path, hint, source }
    }

    /// The error of a run that has a complete export and cannot rename it to the target.
    fn unpublished(&self, staged: &StagedDirectory, source: io::Error) -> Error {
        let (path, root) = (self.target.clone(), staged.root.path());
        let mut hint = format!(
            "the export is complete in {}: repair the cause and {}",
            root.display(),
            self.again()
        );
        if matches!(self.parent.find(&self.name), Ok(None)) {
            let (target, record) = (path.display(), self.record.path.display());
            hint += &format!("; or move data to {target} and {RECORD} to {record} by hand");
        }
        Error::Unpublished { path, hint, source }
    }

    /// How the next run finishes the publication. With `overwrite` it would then export again.
    fn again(&self) -> &'static str {
        match self.overwrite {
            true => "run the same command again without `overwrite`, which sends no request",
            false => "run the same command again, which sends no request",
        }
    }

    /// The error of a run that has published the parts and cannot publish their record.
    fn unrecorded(&self, root: &Folder, source: io::Error) -> Error {
        let (path, staged) = (self.record.path.clone(), root.path().join(RECORD));
        let hint = format!(
            "the parts are published and complete, their record is in {}: {}",
            staged.display(),
            self.again()
        );
        Error::Unpublished { path, hint, source }
    }
}

/// Whether a folder holds every part of a record, and nothing else but control files.
pub(super) fn is_whole(folder: &Folder, manifest: &Manifest) -> bool {
    let is_there = |name: &str| {
        let found = folder.find_below(name).ok().flatten();
        found.is_some_and(|found| found.kind == FileKind::File)
    };
    manifest.files().all(|(path, ..)| is_there(path))
        && matches!(ownership::foreign(folder, manifest), Ok(None))
}

/// Whether every part has its recorded bytes.
fn has_digests(folder: &Folder, manifest: &Manifest) -> bool {
    manifest.files().all(|(path, _, sha256)| {
        let checksum = PartChecksum::Sha256(sha256.to_owned());
        folder.read_below(path).and_then(|mut file| checksum.matches(&mut file)).unwrap_or(false)
    })
}

/// Whether the folder of the new parts has the replaced export instead. `new` is the record of the new parts.
fn has_replaced(root: &Folder, new: Option<&Manifest>) -> bool {
    let Ok(data) = root.open_folder("data") else { return false };
    let Ok(replaced) = ownership::manifest(root, REPLACED) else { return false };
    let holds = |manifest: &Manifest| is_whole(&data, manifest) && has_digests(&data, manifest);
    holds(&replaced) && !new.is_some_and(holds)
}

/// Removes the parts of the replaced export from the staging, and no other file. `published` is the record of
/// the new export: a second copy of its parts can be removed with the staging.
fn remove_old(root: &Folder, published: &Manifest, replaced: &Manifest) -> io::Result<()> {
    for name in OLD {
        let Some(found) = root.find(name)? else { continue };
        if found.kind == FileKind::Directory && !is_whole(&root.open_folder(name)?, published) {
            ownership::remove_export(root, name, replaced)?;
        }
    }
    Ok(())
}

fn is_not_empty(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

/// A point where a test ends the publication as a crash would.
pub(super) fn step() -> Result<()> {
    #[cfg(test)]
    tests::crash_in_turn()?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
