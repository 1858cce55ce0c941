//! Begins, commits and aborts the plan of a local directory that many workers write. Holds the lock of the staging.
//!
//! A commit leaves the parts of the workers where they are until the export is proven. Then it moves those that the
//! records name into the folder of the staging that [`publication`](super::publication) publishes. A commit that was
//! killed in between finds them there.

use std::collections::BTreeSet;

use super::{
    Header,
    directory::Directory,
    fs as disk,
    journal::{Contents, Journal},
    part::{Closed, PartChecksum},
    plan_folder::{
        GatheredPart, PLAN, RANGES, attempt_name, end_plan, ids_name, read_plan, read_records,
    },
    preflight,
    publication::step,
    range_record::{FoundRange, PlanStart, RangeRecord},
    staged::{StagedDirectory, WrittenPart, cleared},
};
use crate::{
    error::{Error, Result},
    files::{FileStatus, Folder},
    proof::Digest,
    record::layout::folder_and_name,
};

impl Directory {
    pub(super) fn begin_plan(mut self, plan: &[u8], start: &PlanStart<'_>) -> Result<Vec<u8>> {
        let staged = self.take_staged()?;
        if !start.restart {
            if let Some(found) = read_plan(&staged.root)? {
                return match (start.difference)(&found) {
                    None => Ok(found),
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
        let root = &staged.root;
        clear(root)?;
        let failed = |name: &str| Error::io("write", root.path().join(name));
        root.make_private(RANGES).map_err(failed(RANGES))?;
        root.write_durably("plan.new", plan).map_err(failed(PLAN))?;
        root.rename("plan.new", root, PLAN).map_err(failed(PLAN))?;
        root.sync().and_then(|()| self.home.sync()).map_err(failed(PLAN))?;
        Ok(plan.to_vec())
    }

    pub(super) fn gather(&mut self, plan: &[u8]) -> Result<Vec<FoundRange>> {
        let staged = self.take_staged()?;
        if read_plan(&staged.root)?.is_none_or(|found| found != plan) {
            return Err(Error::PlanEnded { path: self.given.clone() });
        }
        let ranges = staged.root.open_folder(RANGES);
        let ranges = ranges.map_err(Error::io("open", staged.root.path().join(RANGES)))?;
        let mut found = read_records(&ranges, &self.layout)?;
        // A commit that was killed may have moved the parts. `take_range` looks at both places.
        found.iter_mut().for_each(|found| found.problem = None);
        (self.staged, self.gathered) = (Some(staged), Some(Vec::new()));
        Ok(found)
    }

    pub(super) fn take_range(
        &mut self,
        record: &mut RangeRecord,
        before: usize,
    ) -> Result<Option<String>> {
        let root = &self.staged.as_ref().ok_or_else(disk::not_open)?.root;
        let mut gathered = Vec::new();
        let width = self.layout.width();
        for (index, kept) in record.parts.iter_mut().enumerate() {
            let part = &mut kept.part;
            let extension = part.path.split_once('.').map_or("", |(_, extension)| extension);
            let path = self.part_name(before * width + index, extension);
            if folder_and_name(&part.path).0 != folder_and_name(&path).0
                || part.digest.parse::<Digest>().is_err()
            {
                return Ok(Some(format!("no worker wrote the record of its part {}", part.path)));
            }
            let own = format!("{RANGES}/{}", attempt_name(record.range, &record.token));
            let staged = format!("{own}/{}", part.path);
            let checksum = PartChecksum::Sha256(part.sha256.clone());
            let closed = |place: &str| {
                let mut file = root.read_below(place).ok()?;
                let status = FileStatus::of(&file).ok()?;
                let closed =
                    Closed { bytes: part.bytes, checksum: checksum.clone(), status: Some(status) };
                let is_same = status.size == part.bytes && checksum.matches(&mut file).ok()?;
                is_same.then_some(closed)
            };
            let (staged, closed) = match (closed(&staged), closed(&format!("data/{path}"))) {
                (Some(closed), _) => (Some(staged), closed),
                (None, Some(closed)) => (None, closed),
                (None, None) => {
                    return Ok(Some(format!("its part {} was changed or removed", part.path)));
                }
            };
            let ids = format!("{own}/{}", ids_name(index / width));
            let ids_checksum = kept.ids_sha256.clone().map(PartChecksum::Sha256);
            let are_intact = ids_checksum.is_some_and(|checksum| {
                let read = root.read_below(&ids).and_then(|mut file| checksum.matches(&mut file));
                read.unwrap_or(false)
            });
            if !are_intact {
                return Ok(Some(format!("the ids of its part {} were changed", kept.part.path)));
            }
            kept.ids = root.path().join(ids);
            kept.part.path.clone_from(&path);
            gathered.push(GatheredPart { staged, path, closed });
        }
        self.gathered.get_or_insert_default().extend(gathered);
        Ok(None)
    }

    pub(super) fn settle(&mut self, header: &Header) -> Result<()> {
        self.confirm()?;
        // A commit that fails from now on keeps everything, too.
        let gathered = self.gathered.replace(Vec::new()).unwrap_or_default();
        let staged = self.staged()?;
        let root = staged.root.path().to_owned();
        let names: BTreeSet<&str> = gathered.iter().map(|part| part.path.as_str()).collect();
        let data = cleared(&staged.root, "data", &names)?;
        for part in &gathered {
            let Some(from) = &part.staged else { continue };
            step()?;
            let (inner, name) = folder_and_name(from);
            let (to, new) = folder_and_name(&part.path);
            let moved = staged.root.open_below(inner).and_then(|from| {
                let to = data.make_below(to)?;
                from.rename(name, &to, new)
            });
            moved.map_err(Error::io("rename", root.join(from)))?;
        }
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
        let taken = StagedDirectory::take(&self.home, &name, maker, &self.given)?;
        let Some(staged) = taken else { return Ok(false) };
        if read_plan(&staged.root)?.is_none() {
            return Ok(false);
        }
        // A swap that was cut short may have left the only copy of the replaced export here.
        self.restore(&staged)?;
        end_plan(&staged.root).map_err(Error::io("remove", staged.root.path()))?;
        staged.remove(&self.home).map_err(Error::io("remove", self.home.path().join(name)))?;
        Ok(true)
    }
}

/// Removes everything in a staging folder but its lock.
fn clear(root: &Folder) -> Result<()> {
    // The journal goes first: without it, no file counts as a finished part.
    let removed = root.remove(Journal::NAME).and_then(|()| end_plan(root)).and_then(|()| {
        for name in ["data", "ids", "drafts", "old"] {
            root.remove_all(name)?;
        }
        Ok(())
    });
    removed.map_err(Error::io("remove", root.path()))
}

#[cfg(test)]
mod tests;
