//! Begins, commits and aborts the plan of a prefix that many workers write. Holds the lock.
//!
//! A commit of a plan is a [commit](super::commit) whose pending parts were written by others. It ends the plan before it
//! removes anything else, so that workers that are still active notice it.

use tempfile::TempDir;

use super::{
    clear_and_release,
    commit::BegunCommit,
    control::{control_folder, inside},
    kept, lock_in,
    names::{HEADER, PLAN, is_commit_name, is_range_name, is_upload_name},
    pending::{PendingPart, StagedPrefix, drop_all_pending, drop_upload},
    plan_prefix::{PlanPrefix, control_folders, found_ranges, range_ids, staged_ranges},
    prefix::Prefix,
    put::{Condition, replaced},
};
use crate::{
    destination::{
        FINISHED_NOW, FoundRanges, OutputRequest, PlanStart, PlanUse, RangeRecord,
        fs::not_open,
        range_record::{RangeCheck, check_plan_size},
    },
    error::{Error, Result},
    location::{LARGEST_CONTROL, Location, Remote},
    record::{manifest::Manifest, place},
};

/// The uploads of a range, and its downloaded ids.
#[derive(Debug)]
pub(crate) struct CheckedUploads {
    pending: Vec<PendingPart>,
    ids: Option<TempDir>,
}

impl Prefix {
    pub(in crate::destination) fn begin_plan(
        mut self,
        plan: &[u8],
        start: &PlanStart<'_>,
    ) -> Result<Vec<u8>> {
        let begun = self.write_plan(plan, start);
        let lock = self.lock.take().ok_or_else(not_open)?;
        let released = lock.release();
        let begun = begun?;
        released.map(|()| begun)
    }

    fn write_plan(&mut self, plan: &[u8], start: &PlanStart<'_>) -> Result<Vec<u8>> {
        self.lock()?.confirm()?;
        let control = self.places.control.clone();
        let place = control.child(PLAN);
        let refused = |why: String, hint| {
            let path = self.places.location.to_path();
            Err(Error::Output { path, why, hint: Some(hint), source: None })
        };
        if !start.restart {
            if let Some(found) = place.read_control()? {
                return match (start.difference)(&found) {
                    None => Ok(found),
                    Some(difference) => refused(
                        format!("another plan was begun there: {difference}"),
                        "give `restart` to remove its parts and begin this one",
                    ),
                };
            }
            if kept::interrupted(&control)?.is_some_and(|found| found.parts > 0) {
                return refused(
                    "holds finished parts of an interrupted export".to_owned(),
                    "resume that export, or give `restart` to remove its parts",
                );
            }
        }
        check_plan_size(plan, LARGEST_CONTROL, &self.places.location.to_path())?;
        place.remove()?;
        self.drop_everything()?;
        let put = self.lock()?.watch().put(&place, plan.to_vec().into(), &Condition::Free)?;
        put.map(|_| plan.to_vec()).ok_or_else(|| replaced(&place))
    }

    pub(in crate::destination) fn gather(&mut self, plan: &[u8]) -> Result<FoundRanges> {
        self.lock()?.confirm()?;
        let control = self.places.control.clone();
        if control.child(PLAN).read_control()?.is_none_or(|found| found != plan) {
            return Err(Error::PlanEnded { path: self.places.location.to_path() });
        }
        let listing = control.list()?;
        let ranges = staged_ranges(&control, &listing, &self.places.layout, None)?;
        let found = found_ranges(&ranges, &listing, &self.places.layout);
        self.staged = Some(StagedPrefix::new(String::new()));
        self.ranges = Some(ranges.into_iter().filter_map(|(_, range)| range).collect());
        Ok(found)
    }

    pub(in crate::destination) fn check_range(
        &self,
        record: &mut RangeRecord,
    ) -> Result<RangeCheck<CheckedUploads>> {
        let ranges = self.ranges.as_ref().ok_or_else(not_open)?;
        let Some(range) = ranges.iter().find(|range| range.record == *record) else {
            return Ok(Err("its record was replaced".to_owned()));
        };
        let pending = range.pending().collect();
        let (target, control) = (&self.places.target, &self.places.control);
        let reading = (self.places.layout.width(), &*self.temp_dir);
        let ids = range_ids(target, control, record, reading)?;
        Ok(ids.map(|ids| CheckedUploads { pending, ids }))
    }

    pub(in crate::destination) fn take_range(&mut self, parts: CheckedUploads) -> Result<()> {
        let CheckedUploads { pending, ids } = parts;
        let staged = self.staged()?;
        staged.pending.extend(pending.into_iter().map(|part| (part.kept.part.path.clone(), part)));
        staged.ids.extend(ids);
        Ok(())
    }

    /// Checks the lock before the publication.
    pub(in crate::destination) fn settle(&mut self) -> Result<()> {
        self.lock()?.confirm()
    }
}

/// Finishes the publication that an ended commit has begun, and returns the record; `None` if there is none.
pub(crate) fn finish_begun(
    location: &Location,
    target: &Remote,
    wanted: &OutputRequest,
) -> Result<Option<Manifest>> {
    for control in control_folders(target) {
        let names = control.names()?;
        let Some(name) = names.iter().find(|name| is_commit_name(name)) else { continue };
        let json = control.child(name).read_large_control()?;
        let Some(begun) = json.and_then(|json| BegunCommit::parse(&json, name, location)) else {
            continue;
        };
        // The folder inside a prefix belongs to a run that was given a place for the record.
        if wanted.record.is_none() && !target.name().is_empty() && control.is_same(&inside(target))
        {
            continue;
        }
        let wanted = OutputRequest { overwrite: true, plan_use: PlanUse::Allow, ..wanted.clone() };
        let probed = Prefix::probe(location, target, &wanted, false).map(Prefix::abandon);
        let record = place::written(location, wanted.record.as_ref());
        let manifest = Manifest::load(&record)?.filter(|manifest| begun.publishes(manifest));
        return match probed {
            // Its publication is finished. Since then, another program has changed the export.
            Err(Error::Output { .. })
                if manifest.is_some() && control.child(name).head()?.is_none() =>
            {
                Ok(manifest)
            }
            probed => probed.map(|_| manifest),
        };
    }
    Ok(None)
}

/// Removes a plan with everything that workers have staged. Returns whether there was one.
pub(crate) fn abort_plan(
    location: &Location,
    target: &Remote,
    wanted: &OutputRequest,
    is_readable: bool,
) -> Result<bool> {
    if finish_begun(location, target, wanted)?.is_some() {
        return Err(Error::Output {
            path: location.to_path(),
            why: FINISHED_NOW.to_owned(),
            hint: Some("a commit had begun to publish it, and now it is complete"),
            source: None,
        });
    }
    if !is_readable {
        let mut controls = control_folders(target).into_iter();
        let found = controls.find_map(|control| match control.child(PLAN).head() {
            Ok(found) => found.map(|_| Ok(control)),
            Err(error) => Some(Err(error)),
        });
        if let Some(control) = found.transpose()? {
            return give_up(location, target, &control).map(|()| true);
        }
    }
    let mut has_rest = false;
    if PlanPrefix::find(location, target)?.is_none() {
        // An abort that was killed removes the plan first. A plain export may have begun since, which has a header.
        let names = control_folder(target, wanted.record.as_ref(), None)?.names()?;
        let is_plain = names.iter().any(|name| name == HEADER);
        has_rest = !is_plain && names.iter().any(|name| is_range_name(name));
        if !has_rest {
            return Ok(false);
        }
    }
    let wanted = OutputRequest { overwrite: true, plan_use: PlanUse::Allow, ..wanted.clone() };
    let mut prefix = Prefix::probe(location, target, &wanted, false)?;
    let control = prefix.places.control.clone();
    let place = control.child(PLAN);
    let had_plan = place.head()?.is_some();
    let removed = place.remove().and_then(|()| prefix.drop_everything());
    let lock = prefix.lock.take().ok_or_else(not_open)?;
    if let Err(error) = removed {
        drop(lock.release());
        return Err(error);
    }
    let names = control.names()?;
    let uploads = names.iter().filter(|name| is_upload_name(name));
    uploads.map(|name| drop_upload(target, &control, name)).fold(Ok(()), Result::and)?;
    drop_all_pending(target, &control, &names)?;
    clear_and_release(&control, lock)?;
    Ok(had_plan || has_rest)
}

/// Removes a plan that cannot be read, with the uploads and the control objects of its workers, and no visible object.
fn give_up(location: &Location, target: &Remote, control: &Remote) -> Result<()> {
    let lock = lock_in(control, target)?;
    let names = match control.names() {
        Ok(names) => names,
        Err(error) => {
            lock.release()?;
            return Err(error);
        }
    };
    if names.iter().any(|name| is_commit_name(name)) {
        lock.release()?;
        return Err(Error::CommitBegun { path: location.to_path() });
    }
    let uploads = names.iter().filter(|name| is_upload_name(name));
    let removed = control.child(PLAN).remove().and_then(|()| {
        uploads.map(|name| drop_upload(target, control, name)).fold(Ok(()), Result::and)?;
        drop_all_pending(target, control, &names)
    });
    match removed {
        Ok(()) => clear_and_release(control, lock),
        Err(error) => {
            drop(lock.release());
            Err(error)
        }
    }
}
