//! The plan of a local directory that many workers write. It is found and read without the lock of the staging.
//!
//! ```text
//! .NAME.partial/lock                       held to begin, commit or abort, and never by a worker
//!               plan.json                  the plan
//!               ranges/range-00003-0.json  the record of a finished range
//!               ranges/00003-0a1b2c3d/     the parts and the ids of one worker, also of one that was killed
//! ```
//!
//! A worker uses the folder only if its own user made it, like all staging. Every user who may read the folder can run
//! `status`.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use super::{
    KeptPart, PLAN, PartFile, RANGES, fs as disk, moves,
    ownership::{self, HAS_OTHER_NAMES},
    parent,
    part::{Closed, PartChecksum},
    path_links, preflight,
    range_record::{
        FoundRange, FoundRanges, RangeRecord, WantedRange, check_record_size, range_in,
    },
    sealed,
};
use crate::{
    error::{Error, Result},
    files::{FileKind, FileStatus, Folder, read_bounded},
    proof::Digest,
    record::{
        layout::{PartLayout, folder_and_name, joined},
        manifest::Part,
    },
    text::similar,
};

/// Largest plan or record that is written and read, in bytes: 128 MiB.
pub(super) const LARGEST: u64 = 128 << 20;

/// Attempts to remove the folder of the ranges. One fails if a worker adds a file to it at the same time.
const ATTEMPTS: usize = 10;

/// The staging of a directory, with a plan.
#[derive(Debug)]
pub(crate) struct PlanFolder {
    /// The output as given, for messages.
    given: PathBuf,
    /// The folder of the staging.
    home: Folder,
    /// The name of the output.
    target: OsString,
    name: OsString,
    root: Folder,
    plan: Vec<u8>,
}

impl PlanFolder {
    /// Looks for the plan of a directory. Writes nothing, and does not check who made the plan.
    pub(super) fn find(given: &Path) -> Result<Option<Self>> {
        let target = path_links::resolve(given)?;
        let home = path_links::open_parent(given, &target)?;
        let target = target.file_name().unwrap_or_default().to_owned();
        let name = disk::staging_name(&target);
        ownership::check_kind(&home, &name, FileKind::Directory, given)?;
        let root = match home.open_folder(&name) {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", home.path().join(&name))(error)),
        };
        ownership::check_kind(&root, OsStr::new(PLAN), FileKind::File, given)?;
        ownership::check_kind(&root, OsStr::new(RANGES), FileKind::Directory, given)?;
        let Some(plan) = read_plan(&root)? else { return Ok(None) };
        Ok(Some(Self { given: given.to_owned(), home, target, name, root, plan }))
    }

    /// Refuses a plan that another user made, or can change. Writes to the folder of the staging for a moment.
    pub(super) fn check_owner(&self) -> Result<()> {
        let Self { given, home, name, root, .. } = self;
        let maker = preflight::maker(home).map_err(|error| disk::cannot_create(given, error))?;
        ownership::check_staging(home, name, FileKind::Directory, maker, given)?;
        ownership::check_staging(root, OsStr::new(PLAN), FileKind::File, maker, given)?;
        ownership::check_staging(root, OsStr::new(RANGES), FileKind::Directory, maker, given)
    }

    pub(super) fn plan(&self) -> &[u8] {
        &self.plan
    }

    pub(super) fn given(&self) -> &Path {
        &self.given
    }

    pub(super) fn records(&self, layout: &PartLayout, only: Option<u32>) -> Result<FoundRanges> {
        let failed = |error| self.explain(Error::io("open", self.root.path().join(RANGES))(error));
        let mut found = match self.root.open_folder(RANGES) {
            Ok(ranges) => read_records(&ranges, layout, only)?,
            // If the folder is lost, all ranges are missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_current() => {
                FoundRanges::default()
            }
            Err(error) => return Err(failed(error)),
        };
        found.is_committing = moves::has_begun(&self.root).map_err(failed)?;
        if found.is_committing {
            self.find_moved(&mut found, layout).map_err(failed)?;
        }
        Ok(found)
    }

    /// Looks for parts where a commit has moved them: in its folder, or in the directory that it has made visible.
    fn find_moved(&self, found: &mut FoundRanges, layout: &PartLayout) -> io::Result<()> {
        let (moves, ranges) = (moves::moved(&self.root)?, self.root.open_folder(RANGES)?);
        let data = self.root.open_folder("data").ok();
        let visible = self.home.open_folder(&self.target).ok();
        let size = |attempt: &str, path: &str| {
            let to = moves.get(&format!("{attempt}/{path}"))?;
            let in_folder = |folder: &Option<Folder>| folder.as_ref()?.find_below(to).ok()?;
            // After a swap, the replaced export is in the folder of the commit.
            let sizes = [in_folder(&data), in_folder(&visible)].map(|it| it.map(|it| it.size));
            sizes.into_iter().flatten().collect::<Vec<_>>().into()
        };
        for FoundRange { record, problem } in &mut found.ranges {
            let moved = |path: &str| size(&attempt_name(record.range, &record.token), path);
            *problem = wrong_size(&ranges, record, layout, &moved);
        }
        Ok(())
    }

    /// Reads the parts and the ids of a record where a worker has staged them. Returns why a commit would refuse them.
    pub(super) fn problem(&self, record: &RangeRecord, layout: &PartLayout) -> Option<String> {
        let own = format!("{RANGES}/{}", attempt_name(record.range, &record.token));
        record.parts.iter().enumerate().find_map(|(index, kept)| {
            let (group, folder) = layout.place(index);
            wrong_part(&kept.part, folder)
                .or_else(|| closed_part(&self.root, &own, &kept.part).err())
                .or_else(|| changed_ids(&self.root, &own, group, kept))
        })
    }

    /// Makes the folder of a worker.
    pub(super) fn attempt(
        self,
        wanted: &WantedRange,
        attempt: u32,
        token: String,
    ) -> Result<RangeFolder> {
        let name = attempt_name(wanted.range, &token);
        let is_lost = self.root.find(RANGES).is_ok_and(|found| found.is_none());
        if is_lost && self.is_current() {
            // Another worker may make it at the same time.
            drop(self.root.make_private(RANGES));
        }
        let made = self.root.open_folder(RANGES).and_then(|ranges| {
            ranges.make_private(&name)?;
            let folder = ranges.open_folder(&name)?;
            Ok((ranges, folder))
        });
        let path = self.root.path().join(RANGES).join(&name);
        let (ranges, folder) =
            made.map_err(|error| self.explain(Error::io("make", &path)(error)))?;
        let wanted = wanted.clone();
        Ok(RangeFolder {
            plan: self,
            ranges,
            name,
            folder,
            wanted,
            attempt,
            token,
            kept: Vec::new(),
        })
    }

    /// Whether the plan is still there.
    fn is_current(&self) -> bool {
        let plan = read_plan(&self.root).ok().flatten();
        self.root.is_at(&self.home, &self.name) && plan.is_some_and(|plan| plan == self.plan)
    }

    /// Returns the cause of an error: the plan has ended, or else the error itself.
    fn explain(&self, error: Error) -> Error {
        if self.is_current() { error } else { Error::PlanEnded { path: self.given.clone() } }
    }
}

/// Returns the output next to this one that has a plan and the most similar name; `None` if no name is similar.
pub(crate) fn similar_plan(given: &Path) -> Option<PathBuf> {
    let folder = Folder::open(parent(given)).ok()?;
    let names = folder.names().ok()?.into_iter().filter_map(|name| name.into_string().ok());
    let outputs = names.filter(|name| folder.path().join(name).join(PLAN).is_file());
    let outputs = outputs.filter_map(|name| disk::staged_name(&name).map(str::to_owned));
    let outputs: Vec<String> = outputs.collect();
    let meant = similar(given.file_name()?.to_str()?, outputs.iter().map(String::as_str))?;
    Some(given.with_file_name(meant))
}

/// Reads the plan in a staging folder; `None` if there is none. A file that is larger than any plan reads as empty: callers
/// refuse what they cannot parse.
pub(super) fn read_plan(root: &Folder) -> Result<Option<Vec<u8>>> {
    let read = root.read(PLAN).and_then(|mut file| read_bounded(&mut file, LARGEST));
    match read {
        Ok(plan) => Ok(Some(plan)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Some(Vec::new())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", root.path().join(PLAN))(error)),
    }
}

/// Reads the records in the folder of the ranges, or those of one range, and compares the sizes of their files.
pub(super) fn read_records(
    ranges: &Folder,
    layout: &PartLayout,
    only: Option<u32>,
) -> Result<FoundRanges> {
    let mut found = FoundRanges::default();
    for name in ranges.names().map_err(Error::io("list", ranges.path()))? {
        let Some((name, range)) = name.to_str().and_then(|name| Some((name, range_in(name)?)))
        else {
            continue;
        };
        if only.is_none_or(|only| only == range) {
            let record = read_record(ranges, name, layout)?;
            found.add(
                range,
                record.map(|record| {
                    let problem = wrong_size(ranges, &record, layout, &|_| None);
                    FoundRange { record, problem }
                }),
            );
        }
    }
    Ok(found)
}

/// Reads the record with this name; `None` if no worker wrote it.
fn read_record(ranges: &Folder, name: &str, layout: &PartLayout) -> Result<Option<RangeRecord>> {
    let found = ranges.find(name).map_err(Error::io("look at", ranges.path().join(name)))?;
    if found.is_none_or(|found| found.kind != FileKind::File) {
        return Ok(None);
    }
    let read = ranges.read(name).and_then(|mut file| read_bounded(&mut file, LARGEST));
    let json = match read {
        Ok(json) => json,
        // No worker writes such a file. It may also be gone.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::NotFound) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("read", ranges.path().join(name))(error)),
    };
    let record = RangeRecord::parse(&json, layout.width());
    Ok(record.filter(|record| record_name(record.range, record.attempt) == name))
}

/// The name of the record of a range.
fn record_name(range: u32, attempt: u32) -> String {
    format!("range-{range:05}-{attempt}.json")
}

/// Compares the sizes of the files of a record. `moved` returns the sizes of the files at the places to which a commit has
/// moved a part.
fn wrong_size(
    ranges: &Folder,
    record: &RangeRecord,
    layout: &PartLayout,
    moved: &dyn Fn(&str) -> Option<Vec<u64>>,
) -> Option<String> {
    let attempt = attempt_name(record.range, &record.token);
    let Ok(folder) = ranges.open_folder(&attempt) else {
        return Some("its parts are no longer there".to_owned());
    };
    let size = |path: &str| folder.find_below(path).ok().flatten().map(|found| found.size);
    record.parts.iter().enumerate().find_map(|(index, kept)| {
        let path = &kept.part.path;
        let has_ids = size(&ids_name(layout.place(index).0)) == kept.ids_size();
        let sizes = size(path).map(|size| vec![size]).or_else(|| moved(path)).unwrap_or_default();
        let own = sizes.iter().find(|size| **size == kept.part.bytes).or_else(|| sizes.first());
        match own.copied() {
            None => Some(format!("its part {path} is no longer there")),
            Some(bytes) if bytes != kept.part.bytes => {
                Some(format!("its part {path} has another size than when it was written"))
            }
            Some(_) if !has_ids => Some(format!("the ids of its part {path} are no longer there")),
            Some(_) => None,
        }
    })
}

/// Returns why this cannot be the record of a part in this folder.
pub(super) fn wrong_part(part: &Part, folder: &str) -> Option<String> {
    let is_wrong =
        folder_and_name(&part.path).0 != folder || part.digest.parse::<Digest>().is_err();
    is_wrong.then(|| format!("no worker wrote the record of its part {}", part.path))
}

/// Reads a staged part. The error says why it cannot be used.
///
/// It compares the SHA-256 of the whole file, so it does not compare the footer with the record: the same worker wrote both,
/// and the footer is a part of the bytes. A program that forges the record can forge the footer, too.
pub(super) fn closed_part(
    root: &Folder,
    own: &str,
    part: &Part,
) -> std::result::Result<Closed, String> {
    let read = || -> io::Result<Option<(Closed, FileStatus)>> {
        let mut file = root.read_below(&format!("{own}/{}", part.path))?;
        let status = FileStatus::of(&file)?;
        let checksum = PartChecksum::Sha256(part.sha256.clone());
        let is_same = status.size == part.bytes && checksum.matches(&mut file)?;
        let closed = Closed { bytes: part.bytes, checksum, status: Some(status) };
        Ok(is_same.then_some((closed, status)))
    };
    let Some((closed, status)) = read().ok().flatten() else {
        return Err(format!("its part {} was changed or removed", part.path));
    };
    // The staging folder is private and belongs to this user.
    let is_own = root.status().is_ok_and(|root| root.owner == status.owner);
    match (is_own, status.has_other_names()) {
        (false, _) => Err(format!("its part {} belongs to another user", part.path)),
        (_, true) => Err(format!("its part {} {HAS_OTHER_NAMES}", part.path)),
        _ => Ok(closed),
    }
}

/// Reads the ids of a group of parts. Returns a problem if they are not the recorded ones.
pub(super) fn changed_ids(
    root: &Folder,
    own: &str,
    group: usize,
    kept: &KeptPart,
) -> Option<String> {
    let checksum = kept.ids_sha256.clone().map(PartChecksum::Sha256);
    let are_intact = checksum.is_some_and(|checksum| {
        let read = root.read_below(&format!("{own}/{}", ids_name(group)));
        read.and_then(|mut file| checksum.matches(&mut file)).unwrap_or(false)
    });
    (!are_intact).then(|| format!("the ids of its part {} were changed", kept.part.path))
}

/// Removes a plan, then what workers have staged for it. A worker that is still active notices that the plan is gone.
pub(super) fn end_plan(root: &Folder) -> io::Result<()> {
    if root.find(PLAN)?.is_some() {
        root.remove_all(PLAN)?;
        root.sync()?;
    }
    let mut removed = Ok(());
    for _ in 0..ATTEMPTS {
        removed = root.remove_all(RANGES);
        if removed.is_ok() {
            break;
        }
    }
    removed
}

/// The name of the folder of a worker.
pub(super) fn attempt_name(range: u32, token: &str) -> String {
    format!("{range:05}-{token}")
}

/// The name of the file with the ids of this group of parts.
pub(super) fn ids_name(group: usize) -> String {
    format!("ids-{group:05}")
}

/// The folder of one worker.
#[derive(Debug)]
pub(crate) struct RangeFolder {
    plan: PlanFolder,
    ranges: Folder,
    name: String,
    folder: Folder,
    wanted: WantedRange,
    attempt: u32,
    token: String,
    kept: Vec<KeptPart>,
}

impl RangeFolder {
    pub(super) fn part_name(&self, index: usize, extension: &str) -> String {
        let (group, folder) = self.wanted.layout.place(index);
        joined(folder, &format!("part-{group:05}.{extension}"))
    }

    pub(super) fn create(&self, index: usize, extension: &str) -> Result<PartFile> {
        self.check()?;
        let name = self.part_name(index, extension);
        let path = self.folder.path().join(&name);
        let (inner, file) = folder_and_name(&name);
        let made = self.folder.make_below(inner).and_then(|folder| folder.create_anew(file));
        made.map(|file| PartFile::new(&path, file)).map_err(|error| self.failed("write", error))
    }

    pub(super) fn create_ids(&self, index: usize) -> Result<PartFile> {
        let name = ids_name(self.wanted.layout.place(index).0);
        let path = self.folder.path().join(&name);
        let made = self.folder.create_anew(&name);
        made.map(|file| PartFile::new(&path, file)).map_err(|error| self.failed("write", error))
    }

    pub(super) fn keep(&mut self, kept: KeptPart) -> Result<()> {
        let (inner, _) = folder_and_name(&kept.part.path);
        let synced = self.folder.open_below(inner).and_then(|folder| folder.sync());
        synced.and_then(|()| self.folder.sync()).map_err(|error| self.failed("sync", error))?;
        self.kept.push(kept);
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        (first_page, last_page): (u64, u64),
        first_order: Option<i64>,
    ) -> Result<bool> {
        let mut record = RangeRecord {
            plan: self.wanted.plan.clone(),
            range: self.wanted.range,
            attempt: self.attempt,
            token: self.token.clone(),
            first_page,
            last_page,
            first_order,
            parts: std::mem::take(&mut self.kept),
        };
        loop {
            let json = sealed(&record)?;
            check_record_size(record.range, &json, LARGEST, &self.plan.given)?;
            let name = record_name(record.range, record.attempt);
            self.check()?;
            let staged = self.folder.write_durably(&name, &json).and_then(|()| {
                self.folder.sync()?;
                // The folder of this worker must be durable before the record that needs it.
                self.ranges.sync()
            });
            staged.map_err(|error| self.failed("write", error))?;
            match self.folder.rename_new(&name, &self.ranges, &name) {
                Ok(()) => {
                    self.ranges.sync().map_err(|error| self.failed("sync", error))?;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.failed("rename", error)),
            }
            // Only a record of this range shows that another worker was first.
            let found = read_record(&self.ranges, &name, &self.wanted.layout)
                .map_err(|error| self.plan.explain(error))?;
            if found.is_some_and(|found| self.wanted.is_recorded_by(&found)) {
                self.discard();
                return Ok(false);
            }
            self.folder.remove(&name).map_err(|error| self.failed("remove", error))?;
            let given = self.plan.given.clone();
            record.attempt = self.wanted.next_attempt(record.attempt, self.attempt, given)?;
        }
    }

    pub(super) fn parts(&self) -> &[KeptPart] {
        &self.kept
    }

    pub(super) fn discard(self) {
        // What stays is removed with the staging.
        drop(self.ranges.remove_all(&self.name));
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.folder.free_bytes()
    }

    /// Fails if the plan was committed or aborted.
    fn check(&self) -> Result<()> {
        match self.plan.is_current() && self.folder.is_at(&self.ranges, &self.name) {
            true => Ok(()),
            false => Err(Error::PlanEnded { path: self.plan.given.clone() }),
        }
    }

    fn failed(&self, action: &'static str, error: io::Error) -> Error {
        self.plan.explain(Error::io(action, self.folder.path())(error))
    }
}
