//! A directory of parts: staged in `.NAME.partial/`, resumed after a kill, published in one step.
//!
//! ```text
//! .NAME.partial/lock            held by the run that writes
//!               journal.jsonl   the plan, then one line for each finished part
//!               ids/0           the ids of a part, 16 bytes each, for the proof
//!               data/           becomes NAME: parts, then _manifest.json, then _SUCCESS
//! ```
//!
//! The staging folder is private: no other user can put anything into it. A run never uses staging that
//! another user made. It never publishes a part that was changed after it was written.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use super::{
    Header, Interrupted, KeptPart, PartFile, fs as disk,
    journal::{Contents, Journal},
    ownership::{self, FileOwner},
    parent, path_links,
    preflight::{self, PreflightKind},
    staged::{StagedDirectory, WrittenPart},
    tidied,
};
use crate::{
    error::{Error, Result},
    files::{FileKind, Folder},
    record::manifest::{MANIFEST, Manifest, Part, SUCCESS},
};

#[derive(Debug)]
pub(crate) struct Directory {
    /// The path as given, for messages.
    given: PathBuf,
    /// The path with links resolved, for messages and for the mount check.
    target: PathBuf,
    parent: Folder,
    name: OsString,
    overwrite: bool,
    /// `None` in a dry run.
    maker: Option<FileOwner>,
    staged: Option<StagedDirectory>,
}

pub(super) fn part_name(index: usize, extension: &str) -> String {
    format!("part-{index:05}.{extension}")
}

/// Reads the journal of an interrupted run, without checking its owner.
///
/// [`Directory::resume`] checks the owner before it uses the staged parts.
pub(super) fn interrupted(target: &Path) -> Option<Interrupted> {
    let staging = disk::staging_name(target.file_name()?);
    let root = Folder::open(parent(target)).ok()?.open_folder(staging).ok()?;
    let Contents { header, parts, .. } = Journal::read(&root)?;
    Some(Interrupted { plan: header.plan, parts: parts.len() })
}

/// Removes the staging of an interrupted run of this user.
pub(super) fn discard(target: &Path) -> Result<()> {
    let parent = disk::open_parent(target)?;
    let staging = disk::staging_name(target.file_name().unwrap_or_default());
    let maker = preflight::maker(&parent).map_err(|error| disk::cannot_create(target, error))?;
    let Some(staged) = StagedDirectory::take(&parent, &staging, maker, target)? else {
        return Ok(());
    };
    staged.remove(&parent).map_err(Error::io("remove", parent.path().join(staging)))
}

impl Directory {
    pub(super) fn probe(given: &Path, overwrite: bool, dry_run: bool) -> Result<Self> {
        // A link to a directory is followed: the directory is replaced, not the link.
        let target = path_links::resolve(given)?;
        let name = target.file_name().unwrap_or_default().to_owned();
        let parent = path_links::open_parent(given, &target)?;
        let given = given.to_owned();
        let mut directory =
            Self { given, target, parent, name, overwrite, maker: None, staged: None };
        let replaces = directory.check_target()?;
        let staging = disk::staging_name(&directory.name);
        if let Ok(root) = directory.parent.open_folder(&staging) {
            disk::check_unlocked(&root, OsStr::new("lock"), &directory.given)?;
        }
        if !dry_run {
            directory.preflight(replaces, staging)?;
        }
        Ok(directory)
    }

    fn preflight(&mut self, replaces: bool, staging: OsString) -> Result<()> {
        let derived = [self.name.clone(), staging];
        let (parent, given) = (&self.parent, &self.given);
        let what = PreflightKind::Directory;
        let maker = preflight::check(parent, what, replaces, &derived, &derived[..1], given)?;
        ownership::check_staging(parent, &derived[1], FileKind::Directory, maker, given)?;
        self.maker = Some(maker);
        Ok(())
    }

    fn refused(&self, why: impl Into<String>, hint: &'static str) -> Error {
        let (path, why) = (self.given.clone(), why.into());
        Error::Output { path, why, hint: Some(hint), source: None }
    }

    /// Refuses a target that must not be replaced. Returns whether there is an export to replace.
    fn check_target(&self) -> Result<bool> {
        let looked = self.parent.find(&self.name);
        let Some(found) = looked.map_err(Error::io("look at", &self.target))? else {
            return Ok(false);
        };
        if found.kind != FileKind::Directory {
            return Err(self.refused(
                "exists and is not a directory",
                "a path without a known extension is a directory of parts: give another path, or \
                 one that ends in .parquet, .arrow or .jsonl",
            ));
        }
        if disk::is_mount_point(&self.target) {
            return Err(self.refused(
                "is a mount point, which cannot be replaced in one step",
                "export to a directory inside it",
            ));
        }
        let folder = self.parent.open_folder(&self.name);
        let folder = folder.map_err(Error::io("open", &self.target))?;
        if folder.names().map_err(Error::io("list", &self.target))?.is_empty() {
            return Ok(false);
        }
        if !self.overwrite {
            return Err(exists(self.given.clone()));
        }
        let Ok(manifest) = ownership::manifest(&folder, MANIFEST) else {
            return Err(self.refused(
                NO_MANIFEST,
                "only an empty directory or an earlier export is replaced; give another path",
            ));
        };
        match ownership::foreign(&folder, &manifest).map_err(Error::io("list", &self.target))? {
            None => Ok(true),
            Some(why) => Err(self.refused(why, ONLY_OURS)),
        }
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.parent.free_bytes()
    }

    pub(super) fn is_fresh(&self) -> bool {
        let staging = self.parent.find(disk::staging_name(&self.name));
        self.staged.is_none() && matches!(staging, Ok(None))
    }

    pub(super) fn resume(&mut self, header: &Header, restart: bool) -> Result<Vec<KeptPart>> {
        if self.is_fresh() {
            return Ok(Vec::new());
        }
        let mut staged = self.take_staged()?;
        let mut kept = Vec::new();
        if !restart && let Some(contents) = Journal::read(&staged.root) {
            let difference = contents.header.difference(header);
            if let Some(difference) = difference.filter(|_| !contents.parts.is_empty()) {
                return Err(self.refused(
                    format!("an interrupted export to it cannot be resumed: {difference}"),
                    "give `restart` to delete its parts and start over",
                ));
            }
            kept = staged.intact_parts(contents.parts);
        }
        staged.start(header, &kept)?;
        self.staged = Some(staged);
        Ok(kept)
    }

    pub(super) fn open(&mut self, header: &Header) -> Result<()> {
        if self.staged.is_none() {
            let mut staged = self.take_staged()?;
            staged.start(header, &[])?;
            self.staged = Some(staged);
        }
        Ok(())
    }

    /// Takes the lock of the staging folder, and makes the folder if it is missing.
    fn take_staged(&mut self) -> Result<StagedDirectory> {
        if let Some(staged) = self.staged.take() {
            return Ok(staged);
        }
        let maker = self.maker.ok_or_else(disk::not_open)?;
        let name = disk::staging_name(&self.name);
        match self.parent.make_private(&name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(disk::cannot_create(&self.given, error));
            }
            _ => {}
        }
        let staged = StagedDirectory::take(&self.parent, &name, maker, &self.given)?;
        // It is missing if another run has just ended and removed it.
        staged.ok_or_else(|| Error::Locked { path: self.given.clone() })
    }

    pub(super) fn create(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        let name = part_name(index, extension);
        self.confirm()?;
        let path = self.target.join(&name);
        let staged = self.staged()?;
        let file = staged.data()?.create_anew(&name).map_err(Error::io("write", &path))?;
        let part = PartFile::new(&path, file);
        staged.written.insert(name, WrittenPart::ByThisRun(part.clone()));
        Ok(part)
    }

    /// Creates the file for the ids of the part with this index, 16 bytes each.
    pub(super) fn create_ids(&mut self, index: usize) -> Result<PartFile> {
        let staged = self.staged()?;
        let (name, ids) = (index.to_string(), staged.ids()?);
        let path = ids.path().join(&name);
        let file = ids.create_anew(name).map_err(Error::io("write", &path))?;
        Ok(PartFile::new(&path, file))
    }

    pub(super) fn keep(
        &mut self,
        part: &Part,
        has_next: bool,
        last_order: Option<i64>,
    ) -> Result<()> {
        let staged = self.staged()?;
        // The names must be durable before the journal lists the part.
        for folder in [staged.data()?, staged.ids()?] {
            folder.sync().map_err(Error::io("sync", folder.path()))?;
        }
        let kept = KeptPart { part: part.clone(), has_next, last_order, ids: PathBuf::new() };
        if let Some(journal) = &mut staged.journal {
            journal.append(&kept)?;
        }
        staged.parts += 1;
        Ok(())
    }

    /// Fails if another run may have replaced the staging or the lock of this one.
    fn confirm(&self) -> Result<()> {
        let staged = self.staged.as_ref().ok_or_else(disk::not_open)?;
        match staged.is_same_file(&self.parent) && staged.has_its_folders() {
            true => Ok(()),
            false => Err(disk::lock_lost(&self.given)),
        }
    }

    pub(super) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        self.confirm()?;
        // Another process may have created the target since the first check.
        self.check_target()?;
        self.publish_files(manifest)
    }

    fn publish_files(&mut self, manifest: &Manifest) -> Result<()> {
        let staged = self.staged()?;
        staged.check_parts(manifest)?;
        let data = staged.data()?;
        for (name, bytes) in [(MANIFEST, manifest.to_json()?), (SUCCESS, Vec::new())] {
            let path = data.path().join(name);
            data.write_durably(name, &bytes).map_err(Error::io("write", &path))?;
            data.sync().map_err(Error::io("sync", data.path()))?;
        }
        let staged = self.staged.take().ok_or_else(disk::not_open)?;
        // Reading parts again and writing the manifest take time.
        if !staged.has_its_folders() {
            return Err(disk::lock_lost(&self.given));
        }
        // A rename replaces an empty directory and fails on any other.
        let old = match staged.root.rename("data", &self.parent, &self.name) {
            Ok(()) if staged.has_published(&self.parent, &self.name) => None,
            Ok(()) => {
                let back = self.parent.rename(&self.name, &staged.root, "data");
                back.map_err(|error| self.unrestored(&staged, error))?;
                return Err(disk::lock_lost(&self.given));
            }
            Err(error) if is_not_empty(&error) && self.overwrite => Some(self.swap(&staged)?),
            Err(error) if is_not_empty(&error) => return Err(exists(self.given.clone())),
            Err(error) => return Err(self.unpublished(&staged, error)),
        };
        // The new export is published. If the folder sync fails, still remove the old export and the journal.
        let synced = disk::sync_published(&self.parent, &self.given);
        // The journal goes first: if the rest cannot be removed, it must not look like an interrupted run.
        drop(staged.root.remove(Journal::NAME));
        let old = old.map_or(Ok(()), |old| ownership::remove_export(&staged.root, "data", &old));
        let path = staged.root.path().to_owned();
        let removed = old.and_then(|()| staged.remove(&self.parent));
        tidied(self.given.display(), removed.map_err(Error::io("remove", path)));
        synced
    }

    /// Swaps the new export with the old one. Returns the manifest of the old one.
    fn swap(&self, staged: &StagedDirectory) -> Result<Manifest> {
        let swap = || staged.root.swap("data", &self.parent, &self.name, "old");
        swap().map_err(|error| self.unpublished(staged, error))?;
        let old = match staged.has_published(&self.parent, &self.name) {
            true => self.old_manifest(staged),
            false => Err(disk::lock_lost(&self.given)),
        };
        old.or_else(|refusal| {
            swap().map_err(|error| self.unrestored(staged, error))?;
            Err(refusal)
        })
    }

    /// Returns the manifest of the old export, which is now in the staging folder, with all files added since
    /// the last check.
    fn old_manifest(&self, staged: &StagedDirectory) -> Result<Manifest> {
        let old = staged.root.open_folder("data").map_err(Error::io("open", &self.target))?;
        let Ok(manifest) = ownership::manifest(&old, MANIFEST) else {
            return Err(self.refused(NO_MANIFEST, ONLY_OURS));
        };
        match ownership::foreign(&old, &manifest).map_err(Error::io("list", &self.target))? {
            None => Ok(manifest),
            Some(why) => Err(self.refused(why, ONLY_OURS)),
        }
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
        let data = staged.root.path().join("data");
        let (path, data) = (self.target.clone(), data.display().to_string());
        let hint = format!(
            "the export is complete in {data}: move that folder to {} by hand, or run the same \
             command again, which keeps its parts",
            path.display()
        );
        Error::Unpublished { path, hint, source }
    }

    pub(super) fn abandon(mut self) -> usize {
        let ours = self.confirm().is_ok();
        let Some(staged) = self.staged.take() else { return 0 };
        if !ours {
            return 0;
        }
        let parts = staged.parts;
        if parts == 0 {
            // Best effort: the next run takes over the remaining files.
            drop(staged.remove(&self.parent));
        }
        parts
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        if let Some(staged) = &mut self.staged {
            // The journal goes first: without it no file counts as a finished part.
            let path = staged.root.path().join(Journal::NAME);
            staged.root.remove(Journal::NAME).map_err(Error::io("remove", &path))?;
            staged.parts = 0;
            staged.written.clear();
        }
        Ok(())
    }

    fn staged(&mut self) -> Result<&mut StagedDirectory> {
        self.staged.as_mut().ok_or_else(disk::not_open)
    }
}

const ONLY_OURS: &str =
    "only files of an earlier export are replaced: move the file, or give another path";

const NO_MANIFEST: &str = "is not an export: it has no valid manifest";

fn exists(path: PathBuf) -> Error {
    Error::Output {
        path,
        why: "exists already and is not empty".to_owned(),
        hint: Some("give `overwrite` to replace an export, or another path"),
        source: None,
    }
}

fn is_not_empty(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::destination::tests::empty_export;

    fn directory(target: &Path, overwrite: bool) -> Directory {
        let header = Header { plan: serde_json::Value::Null, count: 0, started_at: String::new() };
        let mut directory = Directory::probe(target, overwrite, false).unwrap();
        directory.open(&header).unwrap();
        directory
    }

    #[test]
    fn late_files_in_the_target_are_kept() {
        for overwrite in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("rows");
            let mut directory = directory(&target, overwrite);
            fs::create_dir(&target).unwrap();
            fs::write(target.join("theirs"), "x").unwrap();
            let why = directory.publish_files(&empty_export()).unwrap_err().to_string();
            let expected = match overwrite {
                true => "rows: is not an export: it has no valid manifest",
                false => "rows: exists already and is not empty",
            };
            assert!(why.ends_with(expected), "{why}");
            assert_eq!(fs::read(target.join("theirs")).unwrap(), b"x");
            assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
        }
    }

    #[test]
    fn failed_cleanup_does_not_undo_publication() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("rows");
        let mut directory = directory(&target, false);
        let staging = folder.path().join(".rows.partial");
        // Without its lock file, the staging seems to belong to another run.
        fs::remove_file(staging.join("lock")).unwrap();
        directory.publish_files(&empty_export()).unwrap();
        assert!(target.join(SUCCESS).exists());
        assert!(staging.exists(), "it was removed");
    }
}
