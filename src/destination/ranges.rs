//! An output that many workers write: its plan, and one record for each finished range of pages.
//!
//! A worker takes no lock. It stages its parts under a token of its own, and then creates the record of its range, if
//! no other worker has created it. A commit takes the lock, uses the parts of the records alone, and publishes them. So
//! a worker that was killed, repeated or overtaken makes nothing visible. No step depends on a clock.
//!
//! [`plan_folder`](super::plan_folder) has the files of a local directory, `remote/plan_prefix.rs` the objects in a
//! store.

use std::path::Path;

use super::{
    Destination, Directory, Header, KeptPart, OutputRequest, PartFile,
    moves::GatheredPart,
    plan_folder::{PlanFolder, RangeFolder},
    range_record::{FoundRanges, PlanStart, RangeCheck, RangeRecord, WantedRange},
    remote,
};
use crate::{
    error::{Error, Result},
    location::{Location, Target},
    record::{layout::PartLayout, manifest::Manifest},
};

/// The start of a range.
#[derive(Debug)]
pub(crate) enum RangeStart {
    /// A worker has finished the range before.
    Done(Box<RangeRecord>),
    Begun(Box<RangeAttempt>),
}

/// The plan of an output, which was found without a lock.
#[derive(Debug)]
pub(crate) enum BegunOutput {
    Local(PlanFolder),
    Remote(remote::PlanPrefix),
}

impl BegunOutput {
    /// Returns the plan that was begun for a directory or a prefix; `None` if there is none.
    pub(crate) fn find(target: &Location) -> Result<Option<Self>> {
        match target.as_remote() {
            Some(remote) => Ok(remote::PlanPrefix::find(target, remote)?.map(Self::Remote)),
            None => Ok(PlanFolder::find(&target.to_path())?.map(Self::Local)),
        }
    }

    /// Returns the bytes of the plan.
    pub(crate) fn plan(&self) -> &[u8] {
        match self {
            Self::Local(folder) => folder.plan(),
            Self::Remote(prefix) => prefix.plan(),
        }
    }

    /// Returns the records of all finished ranges, with the problems that a commit would name, as far as names and sizes
    /// show. `wanted` is the request of the plan.
    pub(crate) fn state(&self, wanted: &OutputRequest) -> Result<FoundRanges> {
        match self {
            Self::Local(folder) => folder.records(&wanted.layout, None),
            Self::Remote(prefix) => prefix.state(wanted),
        }
    }

    /// Returns the records of a range. If a commit has begun to publish, their problems may not count.
    fn records(&self, layout: &PartLayout, range: u32) -> Result<FoundRanges> {
        match self {
            Self::Local(folder) => folder.records(layout, Some(range)),
            Self::Remote(prefix) => prefix.records(layout, range),
        }
    }

    /// The error of a worker whose plan a commit publishes.
    fn committing(&self) -> Error {
        let path = match self {
            Self::Local(folder) => folder.given().to_owned(),
            Self::Remote(prefix) => prefix.given(),
        };
        Error::CommitBegun { path }
    }

    /// Starts to write a range, unless it is finished. Reads the parts of the record that a commit would choose, and starts
    /// again if a commit would refuse it. `temp_dir` is for the ids from a store.
    ///
    /// # Errors
    /// [`Error::CommitBegun`] if a commit has begun to publish.
    pub(crate) fn start(self, wanted: &WantedRange, temp_dir: &Path) -> Result<RangeStart> {
        let token = format!("{:08x}", fastrand::u32(..));
        match &self {
            Self::Local(folder) => folder.check_owner()?,
            Self::Remote(prefix) => prefix.announce(&token)?,
        }
        let FoundRanges { ranges: mut own, is_committing, .. } =
            self.records(&wanted.layout, wanted.range)?;
        if is_committing {
            if let Self::Remote(prefix) = &self {
                prefix.withdraw(&token)?;
            }
            return Err(self.committing());
        }
        own.retain(|it| (&it.record.plan, it.record.range) == (&wanted.plan, wanted.range));
        let next = own.iter().map(|found| found.record.attempt.saturating_add(1)).max();
        let attempt = next.unwrap_or(0);
        own.retain(|found| found.problem.is_none() && wanted.is_recorded_by(&found.record));
        let last = own.into_iter().max_by_key(|found| found.record.attempt);
        if let Some(done) = last
            && self.problem(&done.record, wanted, temp_dir)?.is_none()
        {
            if let Self::Remote(prefix) = &self {
                prefix.withdraw(&token)?;
            }
            return Ok(RangeStart::Done(Box::new(done.record)));
        }
        let begun = match self {
            Self::Local(folder) => RangeAttempt::Local(folder.attempt(wanted, attempt, token)?),
            Self::Remote(prefix) => RangeAttempt::Remote(prefix.attempt(wanted, attempt, token)),
        };
        Ok(RangeStart::Begun(Box::new(begun)))
    }

    /// Returns why a commit would refuse the parts of a record.
    fn problem(
        &self,
        record: &RangeRecord,
        wanted: &WantedRange,
        temp_dir: &Path,
    ) -> Result<Option<String>> {
        match self {
            Self::Local(folder) => Ok(folder.problem(record, &wanted.layout)),
            Self::Remote(prefix) => prefix.problem(record, wanted.layout.width(), temp_dir),
        }
    }
}

/// The staged parts of one worker.
#[cfg_attr(
    not(feature = "clouds"),
    allow(clippy::large_enum_variant, reason = "without stores, the other variant is empty")
)]
#[derive(Debug)]
pub(crate) enum RangeAttempt {
    Local(RangeFolder),
    Remote(remote::RangeUploads),
}

impl RangeAttempt {
    /// Creates the record of the range. Returns false if another worker has finished the range before: then the parts of
    /// this one are removed.
    ///
    /// # Errors
    /// [`Error::PlanEnded`] if the plan was committed or aborted.
    pub(crate) fn finish(self, pages: (u64, u64), first_order: Option<i64>) -> Result<bool> {
        match self {
            Self::Local(folder) => folder.finish(pages, first_order),
            Self::Remote(uploads) => uploads.finish(pages, first_order),
        }
    }

    /// Returns the finished parts.
    pub(crate) fn parts(&self) -> &[KeptPart] {
        match self {
            Self::Local(folder) => folder.parts(),
            Self::Remote(uploads) => uploads.parts(),
        }
    }

    pub(super) fn create(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        match self {
            Self::Local(folder) => folder.create(index, extension),
            Self::Remote(uploads) => uploads.create(index, extension),
        }
    }

    pub(super) fn part_name(&self, index: usize, extension: &str) -> String {
        match self {
            Self::Local(folder) => folder.part_name(index, extension),
            Self::Remote(uploads) => uploads.part_name(index, extension),
        }
    }

    pub(super) fn create_ids(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        match self {
            Self::Local(folder) => folder.create_ids(index),
            Self::Remote(uploads) => uploads.create_ids(index, extension),
        }
    }

    pub(super) fn keep(&mut self, kept: KeptPart) -> Result<()> {
        match self {
            Self::Local(folder) => folder.keep(kept),
            Self::Remote(uploads) => uploads.keep(kept),
        }
    }

    /// Removes what the worker has staged. Best effort: a commit removes the rest.
    pub(crate) fn discard(self) {
        match self {
            Self::Local(folder) => folder.discard(),
            Self::Remote(uploads) => uploads.discard(),
        }
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        match self {
            Self::Local(folder) => folder.free_bytes(),
            Self::Remote(_) => None,
        }
    }

    pub(super) fn watch(&self) -> Option<remote::LeaseWatch> {
        match self {
            Self::Local(_) => None,
            Self::Remote(uploads) => Some(uploads.watch()),
        }
    }
}

/// The checked parts of a range.
#[derive(Debug)]
pub(crate) enum CheckedRange {
    Local(Vec<GatheredPart>),
    Remote(remote::CheckedUploads),
}

impl Destination {
    /// Writes a plan, with the lock of the output. Returns the bytes of the plan that is there then: the new one, or an
    /// earlier one that is the same.
    ///
    /// # Errors
    /// [`Error::Output`] if another plan or parts of an interrupted export are there.
    pub(crate) fn begin_plan(self, plan: &[u8], start: &PlanStart<'_>) -> Result<Vec<u8>> {
        match self {
            Self::Directory(directory) => directory.begin_plan(plan, start),
            Self::Prefix(prefix) => prefix.begin_plan(plan, start),
            _ => Err(not_planned()),
        }
    }

    /// Takes the lock for a commit, and returns the records of the finished ranges. From now on, nothing removes parts of
    /// workers, before [`publish`](Self::publish) has published the export.
    ///
    /// # Errors
    /// [`Error::PlanEnded`] if the plan is no longer there.
    pub(crate) fn gather(&mut self, plan: &[u8]) -> Result<FoundRanges> {
        match self {
            Self::Directory(directory) => directory.gather(plan),
            Self::Prefix(prefix) => prefix.gather(plan),
            _ => Err(not_planned()),
        }
    }

    /// Checks the staged parts of a range, before which `before` groups of parts come. Gives its parts their final paths,
    /// and the places of their ids. The inner error says why they cannot be used. Several threads can check ranges at the
    /// same time.
    pub(crate) fn check_range(
        &self,
        record: &mut RangeRecord,
        before: usize,
    ) -> Result<RangeCheck<CheckedRange>> {
        match self {
            Self::Directory(directory) => {
                Ok(directory.check_range(record, before)?.map(CheckedRange::Local))
            }
            Self::Prefix(prefix) => Ok(prefix.check_range(record)?.map(CheckedRange::Remote)),
            _ => Err(not_planned()),
        }
    }

    /// Takes the parts of the next range for the publication.
    pub(crate) fn take_range(&mut self, parts: CheckedRange) -> Result<()> {
        match (self, parts) {
            (Self::Directory(directory), CheckedRange::Local(parts)) => {
                directory.take_range(parts);
                Ok(())
            }
            (Self::Prefix(prefix), CheckedRange::Remote(parts)) => prefix.take_range(parts),
            _ => Err(not_planned()),
        }
    }

    /// Prepares the parts of all ranges for the publication.
    pub(crate) fn settle(&mut self, header: &Header) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.settle(header),
            Self::Prefix(prefix) => prefix.settle(),
            _ => Err(not_planned()),
        }
    }
}

/// Finishes the publication that an ended commit has begun, and returns the record; `None` if there is none.
pub(crate) fn finish_begun(wanted: &OutputRequest) -> Result<Option<Manifest>> {
    let Target::Directory(target) = &wanted.target else { return Err(not_planned()) };
    match target.as_remote() {
        Some(remote) => remote::finish_begun(target, remote, wanted),
        None => Directory::at(&target.to_path(), wanted)?.finish_announced(),
    }
}

/// Removes a plan and everything that workers have staged for it. Returns whether there was one. If a commit had begun to
/// publish, this finishes the publication, and the error says so.
///
/// If the plan cannot be read, the place of the record is unknown, so that visible objects of a prefix are left alone.
pub(crate) fn abort_plan(wanted: &OutputRequest, is_readable: bool) -> Result<bool> {
    let Target::Directory(target) = &wanted.target else { return Err(not_planned()) };
    match target.as_remote() {
        Some(remote) => remote::abort_plan(target, remote, wanted, is_readable),
        None => Directory::at(&target.to_path(), wanted)?.abort_plan(),
    }
}

/// Removes what a commit that was killed in its last moment has left: its staging, without a plan and without parts. Best
/// effort: the next export removes it, too.
pub(crate) fn tidy_published(wanted: &OutputRequest) {
    let Target::Directory(target) = &wanted.target else { return };
    let tidied = match target.as_remote() {
        Some(remote) => remote::tidy_published(remote),
        None => Directory::at(&target.to_path(), wanted).and_then(Directory::tidy_published),
    };
    if let Err(error) = tidied {
        tracing::debug!(%error, "the staging of an ended commit was not removed");
    }
}

fn not_planned() -> Error {
    Error::Internal("only a directory or a prefix can have many writers".to_owned())
}
