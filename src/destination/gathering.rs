//! Begins, commits and aborts the plan of a local directory that many workers write. Holds the lock of the staging.
//!
//! A commit leaves the parts of the workers where they are until the export is proven. Then it moves those that the
//! records name into the folder of the staging that [`publication`](super::publication) publishes, and notes the
//! [`moves`]. If it is killed in between, the next commit first undoes them.

use std::io;

use super::{
    Header, MOVES, PLAN, RANGES,
    directory::Directory,
    fs as disk,
    journal::{Contents, Journal},
    moves::{self, GatheredPart},
    plan_folder::{
        LARGEST, attempt_name, changed_ids, closed_part, end_plan, ids_name, read_plan,
        read_records, wrong_part,
    },
    preflight,
    publication::step,
    range_record::{FoundRanges, PlanStart, RangeCheck, RangeRecord, check_plan_size},
    staged::{StagedDirectory, StagingUse, WrittenPart},
};
use crate::{
    error::{Error, Result},
    files::Folder,
    record::layout::folder_and_name,
};

impl Directory {
    pub(super) fn begin_plan(mut self, plan: &[u8], start: &PlanStart<'_>) -> Result<Vec<u8>> {
        let purpose = if start.restart { StagingUse::Remove } else { StagingUse::Continue };
        let staged = self.take_staged_for(purpose)?;
        if !start.restart {
            if let Some(found) = read_plan(&staged.root)? {
                return match (start.difference)(&found) {
                    None => {
                        ranges_of(&staged.root)?;
                        Ok(found)
                    }
                    Some(difference) => Err(self.refused(
                        format!("another plan was begun there: {difference}"),
                        "give `restart` to remove its parts and begin this one",
                    )),
                };
            }
            if let Some(Contents { parts, .. }) = Journal::read(&staged.root)
                && !parts.is_empty()
            {
                return Err(self.refused(
                    "holds finished parts of an interrupted export",
                    "resume that export, or give `restart` to remove its parts",
                ));
            }
        }
        check_plan_size(plan, LARGEST, &self.given)?;
        let root = &staged.root;
        clear(root)?;
        let failed = |name: &str| Error::io("write", root.path().join(name));
        root.make_private(RANGES).map_err(failed(RANGES))?;
        root.write_durably("plan.new", plan).map_err(failed(PLAN))?;
        root.rename("plan.new", root, PLAN).map_err(failed(PLAN))?;
        root.sync().and_then(|()| self.home.sync()).map_err(failed(PLAN))?;
        Ok(plan.to_vec())
    }

    pub(super) fn gather(&mut self, plan: &[u8]) -> Result<FoundRanges> {
        let staged = self.take_staged()?;
        if read_plan(&staged.root)?.is_none_or(|found| found != plan) {
            return Err(Error::PlanEnded { path: self.given.clone() });
        }
        moves::undo(&staged.root)?;
        let ranges = ranges_of(&staged.root)?;
        let found = read_records(&ranges, &self.layout, None)?;
        (self.staged, self.gathered) = (Some(staged), Some(Vec::new()));
        Ok(found)
    }

    pub(super) fn check_range(
        &self,
        record: &mut RangeRecord,
        before: usize,
    ) -> Result<RangeCheck<Vec<GatheredPart>>> {
        let root = &self.staged.as_ref().ok_or_else(disk::not_open)?.root;
        let mut gathered = Vec::new();
        let width = self.layout.width();
        for (index, kept) in record.parts.iter_mut().enumerate() {
            let part = &kept.part;
            let extension = part.path.split_once('.').map_or("", |(_, extension)| extension);
            let path = self.part_name(before * width + index, extension);
            if let Some(why) = wrong_part(part, folder_and_name(&path).0) {
                return Ok(Err(why));
            }
            let attempt = attempt_name(record.range, &record.token);
            let own = format!("{RANGES}/{attempt}");
            let closed = match closed_part(root, &own, part) {
                Ok(closed) => closed,
                Err(why) => return Ok(Err(why)),
            };
            let staged = format!("{attempt}/{}", part.path);
            if let Some(why) = changed_ids(root, &own, index / width, kept) {
                return Ok(Err(why));
            }
            let ids = format!("{own}/{}", ids_name(index / width));
            kept.ids = root.path().join(ids);
            kept.part.path.clone_from(&path);
            gathered.push(GatheredPart { staged, path, closed });
        }
        Ok(Ok(gathered))
    }

    pub(super) fn take_range(&mut self, parts: Vec<GatheredPart>) {
        self.gathered.get_or_insert_default().extend(parts);
    }

    pub(super) fn settle(&mut self, header: &Header) -> Result<()> {
        self.confirm()?;
        // A commit that fails from now on keeps everything, too.
        let gathered = self.gathered.replace(Vec::new()).unwrap_or_default();
        let staged = self.staged()?;
        let root = staged.root.path().to_owned();
        let data = moves::begin(&staged.root, &gathered)?;
        let written = |part: GatheredPart| (part.path.clone(), WrittenPart::Before(part.closed));
        staged.written = gathered.into_iter().map(written).collect();
        staged.reopen(data);
        step()?;
        staged.journal = Some(Journal::create(&staged.root, header)?);
        staged.root.sync().map_err(Error::io("sync", root))?;
        Ok(())
    }

    /// Removes the plan with its parts. Returns whether there was one.
    pub(super) fn abort_plan(mut self) -> Result<bool> {
        if self.finish_announced()?.is_some() {
            return Err(self.refused(
                super::FINISHED_NOW,
                "a commit had begun to publish it, and now it is complete",
            ));
        }
        let name = disk::staging_name(&self.name);
        let maker = preflight::maker(&self.home);
        let maker = maker.map_err(|error| disk::cannot_create(&self.given, error))?;
        preflight::sweep(&self.home, &self.parent);
        let remove = StagingUse::Remove;
        let taken = StagedDirectory::take_for(&self.home, &name, maker, &self.given, remove)?;
        let Some(staged) = taken else { return Ok(false) };
        let found = |name| {
            let found = staged.root.find(name).map_err(Error::io("find", staged.root.path()));
            found.map(|found| found.is_some())
        };
        // The plan of a commit that was killed may be lost.
        if !found(PLAN)? && !found(MOVES)? {
            if !found(RANGES)? {
                return Ok(false);
            }
            // An abort that was killed has left the ranges. A plain export may have begun since, which has a journal.
            if Journal::read(&staged.root).is_some() {
                end_plan(&staged.root).map_err(Error::io("remove", staged.root.path()))?;
                return Ok(true);
            }
        }
        // A swap that was cut short may have left the only copy of the replaced export here.
        self.restore(&staged)?;
        // The plan and then the ranges go last, so that an abort that was killed can be repeated.
        clear(&staged.root)?;
        staged.remove(&self.home).map_err(Error::io("remove", self.home.path().join(name)))?;
        Ok(true)
    }
}

impl Directory {
    /// Removes the staging, if it has neither a plan nor the journal of an export.
    pub(super) fn tidy_published(self) -> Result<()> {
        let name = disk::staging_name(&self.name);
        let is_left = |root: &Folder| -> Result<bool> {
            Ok(read_plan(root)?.is_none() && Journal::read(root).is_none())
        };
        let Ok(root) = self.home.open_folder(&name) else { return Ok(()) };
        if !is_left(&root)? {
            return Ok(());
        }
        let maker = preflight::maker(&self.home);
        let maker = maker.map_err(|error| disk::cannot_create(&self.given, error))?;
        let taken = StagedDirectory::take(&self.home, &name, maker, &self.given)?;
        let Some(staged) = taken else { return Ok(()) };
        // Again, with the lock.
        if !is_left(&staged.root)? || self.restore(&staged)? {
            return Ok(());
        }
        staged.remove(&self.home).map_err(Error::io("remove", self.home.path().join(name)))
    }
}

/// Opens the folder of the ranges. Makes it if it is lost: then all ranges are missing.
fn ranges_of(root: &Folder) -> Result<Folder> {
    let opened = match root.open_folder(RANGES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            root.make_private(RANGES).and_then(|()| root.open_folder(RANGES))
        }
        opened => opened,
    };
    opened.map_err(Error::io("open", root.path().join(RANGES)))
}

/// Removes everything in a staging folder but its lock.
fn clear(root: &Folder) -> Result<()> {
    // The journal goes first: without it, no file counts as a finished part.
    let removed = root.remove_all(Journal::NAME).and_then(|()| {
        for name in [MOVES, "plan.new", "data", "ids", "drafts", "old"] {
            root.remove_all(name)?;
        }
        end_plan(root)
    });
    removed.map_err(Error::io("remove", root.path()))
}

#[cfg(test)]
mod tests;
