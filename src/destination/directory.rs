//! A directory of parts: staged in `.NAME.partial/`, resumed after a kill. [`publication`](super::publication)
//! publishes it.
//!
//! ```text
//! .NAME.partial/lock            held by the run that writes
//!               journal.jsonl   the plan, then one line for each finished part, then the publication
//!               ids/0           the ids of a part, for the proof, and hashes of its rows if these are compared
//!               drafts/         the text form of parts with nested columns, in the journal instead of the parts
//!               data/           becomes NAME: the parts, with a split in a folder for each
//!               record.json     its content becomes NAME.manifest.json
//!               replaced.json   the record of the export that is replaced
//! ```
//!
//! The staging is next to the output, unless the request names another folder of the same file system.
//! The staging folder is private: no other user can put anything into it. A run never uses staging that
//! another user made. It never publishes a part that was changed after it was written.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    Header, Interrupted, KeptPart, OutputRequest, PLAN, PartFile, Resumable, fs as disk,
    journal::{Contents, Journal},
    moves::GatheredPart,
    ownership::{self, FileOwner},
    parent, path_links,
    preflight::{self, PreflightKind},
    range_record::{PlanUse, is_planned},
    record_file::RecordFile,
    resumable::not_resumed,
    staged::{StagedDirectory, StagingUse, WrittenPart},
};
use crate::{
    error::{Error, Result},
    files::{FileKind, Folder},
    location::Location,
    record::layout::{PartLayout, folder_and_name, joined},
};

#[derive(Debug)]
pub(crate) struct Directory {
    /// The path as given, for messages.
    pub(super) given: PathBuf,
    /// The path with links resolved, for messages and for the mount check.
    pub(super) target: PathBuf,
    pub(super) parent: Folder,
    pub(super) name: OsString,
    /// The folder of the staging.
    pub(super) home: Folder,
    pub(super) record: RecordFile,
    pub(super) overwrite: bool,
    pub(super) success_file: bool,
    pub(super) layout: PartLayout,
    plan_use: PlanUse,
    /// Whether the parts are written from drafts.
    in_drafts: bool,
    /// `None` in a dry run.
    pub(super) maker: Option<FileOwner>,
    pub(super) staged: Option<StagedDirectory>,
    /// The parts of the workers, if this is a commit. Then the staging stays when this run fails.
    pub(super) gathered: Option<Vec<GatheredPart>>,
}

/// Reads the journal of an interrupted run, without checking its owner. `home` is the folder of the staging.
///
/// [`Directory::resume`] checks the owner before it uses the staged parts.
pub(super) fn interrupted(target: &Path, home: Option<&Path>) -> Option<Interrupted> {
    let staging = disk::staging_name(target.file_name()?);
    let home = home.unwrap_or_else(|| parent(target));
    let root = Folder::open(home).ok()?.open_folder(staging).ok()?;
    let Contents { header, parts, .. } = Journal::read(&root)?;
    Some(Interrupted { plan: header.plan, parts: parts.len() })
}

/// Returns what a run with this header would keep of an interrupted export.
pub(super) fn resumable(
    target: &Path,
    wanted: &OutputRequest,
    header: &Header,
) -> Result<Option<Resumable>> {
    let home = wanted.staging.as_ref().and_then(Location::as_local);
    let home = home.unwrap_or_else(|| parent(target));
    let root = target
        .file_name()
        .and_then(|name| Folder::open(home).ok()?.open_folder(disk::staging_name(name)).ok());
    let Some(Contents { header: begun, parts, .. }) = root.and_then(|root| Journal::read(&root))
    else {
        return Ok(None);
    };
    match begun.difference(header).filter(|_| !parts.is_empty()) {
        Some(difference) => Err(not_resumed(target.to_owned(), &difference)),
        None => Ok(Resumable::of(parts.iter(), wanted.layout.width())),
    }
}

/// Removes the staging of an interrupted run of this user.
pub(super) fn discard(target: &Path, home: Option<&Path>) -> Result<()> {
    let home = match home {
        Some(home) => Folder::open(home).map_err(Error::io("open", home))?,
        None => disk::open_parent(target)?,
    };
    let staging = disk::staging_name(target.file_name().unwrap_or_default());
    let maker = preflight::maker(&home).map_err(|error| disk::cannot_create(target, error))?;
    let Some(staged) = StagedDirectory::take(&home, &staging, maker, target)? else {
        return Ok(());
    };
    staged.remove(&home).map_err(Error::io("remove", home.path().join(staging)))
}

impl Directory {
    pub(super) fn probe(given: &Path, wanted: &OutputRequest, dry_run: bool) -> Result<Self> {
        let mut directory = Self::at(given, wanted)?;
        let staging = disk::staging_name(&directory.name);
        let finished = !dry_run && directory.finish_announced()?.is_some();
        let replaces = match directory.check_target() {
            Err(Error::Output { path, .. }) if finished && !directory.overwrite => {
                return Err(Error::Output {
                    path,
                    why: super::FINISHED_NOW.to_owned(),
                    hint: Some(directory.plan_use.hint_of_existing(EXPORT_AGAIN)),
                    source: None,
                });
            }
            checked => checked?,
        };
        if let Ok(root) = directory.home.open_folder(&staging) {
            disk::check_unlocked(&root, OsStr::new("lock"), &directory.given)?;
            if wanted.plan_use == PlanUse::Refuse
                && root.find(PLAN).is_ok_and(|found| found.is_some())
            {
                return Err(is_planned(directory.given));
            }
        }
        if !dry_run {
            directory.preflight(replaces, staging)?;
        }
        Ok(directory)
    }

    /// Opens the folders of an output, and checks nothing else.
    pub(super) fn at(given: &Path, wanted: &OutputRequest) -> Result<Self> {
        // A link to a directory is followed: the directory is replaced, not the link.
        let target = path_links::resolve(given)?;
        let name = target.file_name().unwrap_or_default().to_owned();
        let parent = path_links::open_parent(given, &target)?;
        let home = match wanted.staging.as_ref().and_then(Location::as_local) {
            Some(home) => path_links::open_parent(given, &home.join(&name))?,
            None => path_links::open_parent(given, &target)?,
        };
        let record = RecordFile::open(given, &target, wanted.record.as_ref())?;
        if record.is_asked {
            let staging = disk::staging_name(&name);
            record.check_outside([(&parent, &name), (&home, &staging)])?;
        }
        Ok(Self {
            record,
            given: given.to_owned(),
            target,
            parent,
            name,
            home,
            overwrite: wanted.overwrite,
            success_file: wanted.success_file,
            layout: wanted.layout.clone(),
            plan_use: wanted.plan_use,
            in_drafts: wanted.in_drafts,
            maker: None,
            staged: None,
            gathered: None,
        })
    }

    fn preflight(&mut self, replaces: bool, staging: OsString) -> Result<()> {
        let (home, given) = (&self.home, &self.given);
        let record = &self.record;
        let mut derived = vec![self.name.clone(), staging];
        let mut targets = derived[..1].to_vec();
        if self.parent.is_same(&record.folder).unwrap_or(false) {
            derived.push(record.name.clone());
            targets.push(record.name.clone());
        } else {
            let names = [record.name.clone()];
            let (folder, path) = (&record.folder, &record.path);
            preflight::check(folder, folder, PreflightKind::File, true, &names, &names, path)?;
        }
        let what = PreflightKind::Directory;
        let maker =
            preflight::check(home, &self.parent, what, replaces, &derived, &targets, given)?;
        ownership::check_staging(home, &derived[1], FileKind::Directory, maker, given)?;
        self.maker = Some(maker);
        Ok(())
    }

    pub(super) fn refused(&self, why: impl Into<String>, hint: &'static str) -> Error {
        let (path, why) = (self.given.clone(), why.into());
        Error::Output { path, why, hint: Some(hint), source: None }
    }

    /// The error of a run that may replace nothing.
    pub(super) fn exists(&self) -> Error {
        let hint = "give `overwrite` to replace an export, or another path";
        self.refused("exists already and is not empty", self.plan_use.hint_of_existing(hint))
    }

    /// Refuses a target or a record that must not be replaced. Returns whether there is an export to replace.
    pub(super) fn check_target(&self) -> Result<bool> {
        let looked = self.parent.find(&self.name);
        let Some(found) = looked.map_err(Error::io("look at", &self.target))? else {
            return self.record.check(self.overwrite, self.plan_use).map(|()| false);
        };
        if found.kind != FileKind::Directory {
            return Err(self.refused(
                "exists and is not a directory",
                "a path without a known extension is a directory of parts: give another path, or \
                 one that ends in .parquet, .arrow, .jsonl or .csv",
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
            return self.record.check(self.overwrite, self.plan_use).map(|()| false);
        }
        if !self.overwrite {
            return Err(self.exists());
        }
        self.record.check(self.overwrite, self.plan_use)?;
        let Some(manifest) = self.record.read() else {
            return Err(self.refused(
                NO_RECORD,
                "only an empty directory or an earlier export is replaced; if the record is elsewhere, name it with `record`",
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
        let staging = self.home.find(disk::staging_name(&self.name));
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
                return Err(not_resumed(self.given.clone(), &difference));
            }
            kept = staged.intact_parts(contents.parts, &self.layout, self.in_drafts);
        }
        staged.start(header, &kept, &self.layout, self.in_drafts)?;
        self.staged = Some(staged);
        Ok(kept)
    }

    pub(super) fn open(&mut self, header: &Header) -> Result<()> {
        if self.staged.is_none() {
            let mut staged = self.take_staged()?;
            staged.start(header, &[], &self.layout, self.in_drafts)?;
            self.staged = Some(staged);
        }
        Ok(())
    }

    /// Takes the lock of the staging folder, and makes the folder if it is missing.
    pub(super) fn take_staged(&mut self) -> Result<StagedDirectory> {
        self.take_staged_for(StagingUse::Continue)
    }

    pub(super) fn take_staged_for(&mut self, purpose: StagingUse) -> Result<StagedDirectory> {
        if let Some(staged) = self.staged.take() {
            return Ok(staged);
        }
        let maker = self.maker.ok_or_else(disk::not_open)?;
        let name = disk::staging_name(&self.name);
        let is_new = match self.home.make_private(&name) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(disk::cannot_create(&self.given, error)),
        };
        let staged = StagedDirectory::take_for(&self.home, &name, maker, &self.given, purpose)?;
        // It is missing if another run has just ended and removed it.
        let staged = staged.ok_or_else(|| Error::Locked { path: self.given.clone() })?;
        self.restore(&staged)?;
        // Check again: another run may have published between the first check and the lock.
        if let Err(error) = self.check_target() {
            if is_new {
                // Best effort: the next run takes over a folder that stays.
                drop(staged.remove(&self.home));
            }
            return Err(error);
        }
        Ok(staged)
    }

    pub(super) fn create(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        let name = self.part_name(index, extension);
        self.confirm()?;
        let path = self.target.join(&name);
        let staged = self.staged()?;
        let (folder, file) = folder_and_name(&name);
        let folder = staged.data()?.make_below(folder).map_err(Error::io("make", &path))?;
        let file = folder.create_anew(file).map_err(Error::io("write", &path))?;
        let part = PartFile::new(&path, file);
        staged.written.insert(name, WrittenPart::ByThisRun(part.clone()));
        Ok(part)
    }

    /// The path of the part with this index, counted over all folders.
    pub(super) fn part_name(&self, index: usize, extension: &str) -> String {
        let (group, folder) = self.layout.place(index);
        joined(folder, &format!("part-{group:05}.{extension}"))
    }

    /// Creates the draft of the part with this name.
    pub(super) fn create_draft(&mut self, name: &str) -> Result<PartFile> {
        self.confirm()?;
        let drafts = self.staged()?.drafts()?;
        let path = drafts.path().join(name);
        let (folder, file) = folder_and_name(name);
        let folder = drafts.make_below(folder).map_err(Error::io("make", &path))?;
        let file = folder.create_anew(file).map_err(Error::io("write", &path))?;
        Ok(PartFile::new(&path, file))
    }

    /// Opens the draft of the part with this name.
    pub(super) fn draft(&self, name: &str) -> Result<(PathBuf, File)> {
        let drafts = self.staged.as_ref().ok_or_else(disk::not_open)?.drafts()?;
        let path = drafts.path().join(name);
        let file = drafts.read_below(name).map_err(Error::io("read", &path))?;
        Ok((path, file))
    }

    /// Creates the file for the ids of the pages of the part with this index.
    pub(super) fn create_ids(&mut self, index: usize) -> Result<PartFile> {
        let (group, _) = self.layout.place(index);
        let staged = self.staged()?;
        let (name, ids) = (group.to_string(), staged.ids()?);
        let path = ids.path().join(&name);
        let file = ids.create_anew(name).map_err(Error::io("write", &path))?;
        Ok(PartFile::new(&path, file))
    }

    pub(super) fn keep(&mut self, kept: &KeptPart) -> Result<()> {
        let in_drafts = self.in_drafts;
        let staged = self.staged()?;
        // The names must be durable before the journal lists the part.
        let parts = if in_drafts { staged.drafts()? } else { staged.data()? };
        let (inner, _) = folder_and_name(&kept.part.path);
        let folder = parts.open_below(inner).map_err(Error::io("open", parts.path()))?;
        for folder in [&folder, parts, staged.ids()?] {
            folder.sync().map_err(Error::io("sync", folder.path()))?;
        }
        if let Some(journal) = &mut staged.journal {
            journal.append(kept)?;
        }
        staged.parts += 1;
        Ok(())
    }

    /// Fails if another run may have replaced the staging or the lock of this one.
    pub(super) fn confirm(&self) -> Result<()> {
        let staged = self.staged.as_ref().ok_or_else(disk::not_open)?;
        match staged.is_same_file(&self.home) && staged.has_its_folders() {
            true => Ok(()),
            false => Err(disk::lock_lost(&self.given)),
        }
    }

    pub(super) fn abandon(mut self) -> usize {
        if self.gathered.is_some() {
            // The lock ends here. The plan and the parts of the workers stay.
            return 0;
        }
        let ours = self.confirm().is_ok();
        let Some(staged) = self.staged.take() else { return 0 };
        if !ours {
            return 0;
        }
        let parts = staged.parts;
        if parts == 0 {
            // Best effort: the next run takes over the remaining files.
            drop(staged.remove(&self.home));
        }
        parts
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        if self.gathered.is_some() {
            return Ok(());
        }
        if let Some(staged) = &mut self.staged {
            // The journal goes first: without it no file counts as a finished part.
            let path = staged.root.path().join(Journal::NAME);
            staged.root.remove(Journal::NAME).map_err(Error::io("remove", &path))?;
            staged.parts = 0;
            staged.written.clear();
        }
        Ok(())
    }

    pub(super) fn staged(&mut self) -> Result<&mut StagedDirectory> {
        self.staged.as_mut().ok_or_else(disk::not_open)
    }
}

pub(super) const ONLY_OURS: &str =
    "only files of an earlier export are replaced: move the file, or give another path";

pub(super) const NO_RECORD: &str = "is not an export: it has no valid record";

/// The hint for an output that an earlier run has just published, with the help of this one.
const EXPORT_AGAIN: &str = "give `overwrite` to export again";
