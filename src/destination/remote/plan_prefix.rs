//! The plan of a prefix that many workers write. It is found and read without the lock.
//!
//! ```text
//! _rows.partial/plan.state                            the plan
//!               range-00003-0-PLAN.state              the record of a finished range, created conditionally
//!               part-0000300001-TOKEN.state           a pending part of a worker, as of any run
//!               ids-0000300001-TOKEN                  its ids
//!               run-TOKEN                             marks a worker, so that a commit knows its parts
//! ```
//!
//! A part has the number of its range in its name, and then its number in the range, so that names sort like the rows. All
//! uploads of a worker stay open: only a commit completes them, and only those that the records name.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    commit::BegunCommit,
    completion::StagedUpload,
    content::{PrefixContent, PrefixPlaces},
    control::{inside, next_to},
    kept,
    lock::LeaseWatch,
    names::{PLAN, is_commit_name, journal_name, range_name},
    pending::{PendingPart, StagedPrefix, drop_pending, ids_name, is_expired, pending_name},
    upload::{OnClose, Upload},
};
use crate::{
    destination::{
        FoundRange, FoundRanges, KeptPart, OutputRequest, PartFile, RangeRecord, WantedRange,
        fs::not_open,
        opened,
        range_record::{check_record_size, range_in},
        sealed,
    },
    error::{Error, Result},
    location::{LARGEST_CONTROL, Listing, Location, Remote},
    proof::Digest,
    record::layout::{PartLayout, joined},
};

/// The control folder of a prefix, with a plan.
#[derive(Debug)]
pub(crate) struct PlanPrefix {
    /// The prefix as given, for messages.
    location: Location,
    target: Remote,
    control: Remote,
    plan: Vec<u8>,
}

/// The record of a finished range, with what a commit needs to complete the uploads of its parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StagedRange {
    #[serde(flatten)]
    pub(super) record: RangeRecord,
    /// One for each part.
    pub(super) uploads: Vec<StagedUpload>,
}

impl StagedRange {
    fn parse(json: &[u8], name: &str, width: usize) -> Option<Self> {
        let record = RangeRecord::parse(json, width)?;
        let range: Self = opened(json)?;
        let is_own = range_name(record.range, record.attempt, &record.plan) == name;
        (is_own && range.uploads.len() == record.parts.len()).then_some(range)
    }

    /// Returns why the parts can no longer be published, as far as the control objects show.
    pub(super) fn problem(&self, control: &Listing, layout: &PartLayout) -> Option<String> {
        let size = |name: &str| control.objects.get(name).map(|meta| meta.size);
        let mut parts = self.record.parts.iter().enumerate();
        parts.find_map(|(index, kept)| {
            let path = &kept.part.path;
            if size(&pending_name(path)).is_none() {
                return Some(format!("the upload of its part {path} is lost or was completed before"));
            }
            if is_expired(control, path) {
                return Some(format!(
                    "the upload of its part {path} is older than 6 days, so the store may have deleted it"
                ));
            }
            let has_ids = size(&ids_name(path)) == kept.ids_size();
            let needs_ids = index % layout.width() == 0;
            (needs_ids && !has_ids).then(|| format!("the ids of its part {path} are no longer there"))
        })
    }

    /// Returns the pending parts, which a commit completes.
    pub(super) fn pending(&self) -> impl Iterator<Item = PendingPart> {
        let lineage = Some(self.record.plan.clone());
        let parts = self.record.parts.iter().zip(&self.uploads);
        parts.map(move |(kept, upload)| PendingPart {
            lineage: lineage.clone(),
            kept: kept.clone(),
            upload: upload.clone(),
        })
    }
}

impl PlanPrefix {
    /// Looks for the plan of a prefix, in the two places where the control folder can be.
    pub(in crate::destination) fn find(
        location: &Location,
        target: &Remote,
    ) -> Result<Option<Self>> {
        for control in control_folders(target) {
            if let Some(plan) = control.child(PLAN).read_control()? {
                let (location, target) = (location.clone(), target.clone());
                return Ok(Some(Self { location, target, control, plan }));
            }
        }
        Ok(None)
    }

    pub(in crate::destination) fn plan(&self) -> &[u8] {
        &self.plan
    }

    pub(in crate::destination) fn given(&self) -> PathBuf {
        self.location.to_path()
    }

    pub(in crate::destination) fn records(
        &self,
        layout: &PartLayout,
        range: u32,
    ) -> Result<FoundRanges> {
        let listing = self.control.list()?;
        let ranges = staged_ranges(&self.control, &listing, layout, Some(range))?;
        Ok(found_ranges(&ranges, &listing, layout))
    }

    /// Returns the records of all finished ranges, with what a commit would say of them.
    ///
    /// If a commit has begun to publish, the next one finishes it. If it cannot, it removes the parts that are visible, and
    /// their uploads are completed, so that their ranges must be written again.
    pub(in crate::destination) fn state(&self, wanted: &OutputRequest) -> Result<FoundRanges> {
        let (control, layout) = (&self.control, &wanted.layout);
        let listing = control.list()?;
        let ranges = staged_ranges(control, &listing, layout, None)?;
        let mut found = found_ranges(&ranges, &listing, layout);
        if !found.is_committing {
            return Ok(found);
        }
        let places = PrefixPlaces::of(&self.location, &self.target, wanted)?;
        let places = PrefixPlaces { control: control.clone(), ..places };
        let mut seen = PrefixContent::of(&places, self.target.list()?, listing)?;
        let commits = seen.commits().map(|name| BegunCommit::read(&places, name));
        let commits: Vec<_> = commits.collect::<Result<_>>()?;
        let Some(commit) = commits.into_iter().flatten().next() else {
            for FoundRange { record, problem } in &mut found.ranges {
                let mut paths = record.parts.iter().map(|kept| &kept.part.path);
                let visible = paths.find(|path| seen.objects.contains_key(*path));
                *problem = problem.take().or_else(|| visible.map(|path| completed(path)));
            }
            return Ok(found);
        };
        if commit.can_be_finished(control, &seen)? {
            found.ranges.iter_mut().for_each(|found| found.problem = None);
            return Ok(found);
        }
        for path in seen.objects.keys() {
            seen.control.objects.remove(&pending_name(path));
        }
        Ok(found_ranges(&ranges, &seen.control, layout))
    }

    /// Returns why a commit would refuse the parts of a record. Downloads their ids.
    pub(in crate::destination) fn problem(
        &self,
        record: &RangeRecord,
        width: usize,
        temp_dir: &Path,
    ) -> Result<Option<String>> {
        let mut record = record.clone();
        let ids = range_ids(&self.target, &self.control, &mut record, (width, temp_dir))?;
        Ok(ids.err())
    }

    /// Marks a worker. The listing that comes next shows what time it is in the store.
    pub(in crate::destination) fn announce(&self, token: &str) -> Result<()> {
        self.control.child(&run_name(token)).write(b"").map_err(|error| self.explain(error))
    }

    /// Removes the mark of a worker that has nothing to do.
    pub(in crate::destination) fn withdraw(&self, token: &str) -> Result<()> {
        self.control.child(&run_name(token)).remove()
    }

    pub(in crate::destination) fn attempt(
        self,
        wanted: &WantedRange,
        attempt: u32,
        token: String,
    ) -> RangeUploads {
        let watch = LeaseWatch::without_lock(&self.target);
        let staged = StagedPrefix::new(wanted.plan.clone());
        let (wanted, kept) = (wanted.clone(), Vec::new());
        RangeUploads { plan: self, wanted, attempt, token, watch, staged, kept }
    }

    fn is_current(&self) -> Result<bool> {
        Ok(self.control.child(PLAN).read_control()?.is_some_and(|plan| plan == self.plan))
    }

    /// Returns the cause of an error: the plan has ended, or else the error itself.
    fn explain(&self, error: Error) -> Error {
        match self.is_current() {
            Ok(false) => self.ended(),
            _ => error,
        }
    }

    fn ended(&self) -> Error {
        Error::PlanEnded { path: self.location.to_path() }
    }
}

/// The places where the control folder of a prefix can be.
pub(super) fn control_folders(target: &Remote) -> Vec<Remote> {
    let is_bucket = target.name().is_empty();
    (!is_bucket).then(|| next_to(target)).into_iter().chain([inside(target)]).collect()
}

/// Reads the records of finished ranges, or those of one range. With each, its range by its name; `None` if no worker wrote
/// it, or if it was changed since.
pub(super) fn staged_ranges(
    control: &Remote,
    listing: &Listing,
    layout: &PartLayout,
    only: Option<u32>,
) -> Result<Vec<(u32, Option<StagedRange>)>> {
    let is_wanted =
        |name: &&String| range_in(name).is_some_and(|own| only.is_none_or(|only| only == own));
    let read = control.reads(listing.objects.keys().filter(is_wanted).cloned())?;
    let parse = |(name, json): (String, Vec<u8>)| {
        Some((range_in(&name)?, StagedRange::parse(&json, &name, layout.width())))
    };
    Ok(read.into_iter().filter_map(parse).collect())
}

/// Returns the records of ranges, with their problems as far as the control objects show. If a commit has begun to publish,
/// some of them may not count.
pub(super) fn found_ranges(
    ranges: &[(u32, Option<StagedRange>)],
    control: &Listing,
    layout: &PartLayout,
) -> FoundRanges {
    let is_committing = control.objects.keys().any(|name| is_commit_name(name));
    let mut found = FoundRanges { is_committing, ..FoundRanges::default() };
    for (range, staged) in ranges {
        let own = staged.as_ref().map(|staged| FoundRange {
            record: staged.record.clone(),
            problem: staged.problem(control, layout),
        });
        found.add(*range, own);
    }
    found
}

/// Checks the parts of a record, and downloads their ids into a folder that the caller keeps. The inner error says why the
/// parts cannot be used.
pub(super) fn range_ids(
    target: &Remote,
    control: &Remote,
    record: &mut RangeRecord,
    (width, temp_dir): (usize, &Path),
) -> Result<std::result::Result<Option<TempDir>, String>> {
    let mut parts = record.parts.iter().map(|kept| &kept.part);
    if let Some(part) = parts.find(|part| part.digest.parse::<Digest>().is_err()) {
        return Ok(Err(format!("no worker wrote the record of its part {}", part.path)));
    }
    let visible = target.heads(record.parts.iter().map(|it| it.part.path.clone()))?;
    if let Some((path, _)) = visible.iter().find(|(_, meta)| meta.is_some()) {
        return Ok(Err(completed(path)));
    }
    let parts = record.parts.len();
    let ids = kept::fetch_ids(control, temp_dir, &mut record.parts, width)?;
    Ok(match record.parts.len() == parts {
        true => Ok(ids),
        false => Err("the ids of its parts were changed".to_owned()),
    })
}

fn completed(path: &str) -> String {
    format!("its part {path} was completed by another program")
}

fn run_name(token: &str) -> String {
    format!("run-{token}")
}

/// The uploads of one worker.
#[derive(Debug)]
pub(crate) struct RangeUploads {
    plan: PlanPrefix,
    wanted: WantedRange,
    attempt: u32,
    token: String,
    watch: LeaseWatch,
    staged: StagedPrefix,
    kept: Vec<KeptPart>,
}

impl RangeUploads {
    pub(in crate::destination) fn part_name(&self, index: usize, extension: &str) -> String {
        let (group, folder) = self.wanted.layout.place(index);
        let (range, token) = (self.wanted.range, &self.token);
        joined(folder, &format!("part-{range:05}{group:05}-{token}.{extension}"))
    }

    pub(in crate::destination) fn create(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        if !self.plan.is_current()? {
            return Err(self.plan.ended());
        }
        let name = self.part_name(index, extension);
        Ok(self.upload(self.plan.target.child(&name), name, OnClose::Stage))
    }

    pub(in crate::destination) fn create_ids(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        let name = ids_name(&self.part_name(index, extension));
        Ok(self.upload(self.plan.control.child(&name), name, OnClose::Publish))
    }

    fn upload(&mut self, place: Remote, name: String, on_close: OnClose) -> PartFile {
        let journal = self.plan.control.child(&journal_name(&name));
        let upload = Upload::new(place, journal, self.watch.clone(), on_close);
        self.staged.open.push((name, upload.clone()));
        PartFile::upload(upload)
    }

    pub(in crate::destination) fn keep(&mut self, kept: KeptPart) -> Result<()> {
        let lineage = Some(self.wanted.plan.clone());
        self.staged.record(lineage, kept.clone(), &self.plan.control)?;
        self.kept.push(kept);
        Ok(())
    }

    pub(in crate::destination) fn finish(
        self,
        (first_page, last_page): (u64, u64),
        first_order: Option<i64>,
    ) -> Result<bool> {
        let upload =
            |kept: &KeptPart| Some(self.staged.pending.get(&kept.part.path)?.upload.clone());
        let uploads: Vec<StagedUpload> =
            self.kept.iter().map(upload).collect::<Option<_>>().ok_or_else(not_open)?;
        let mut record = RangeRecord {
            plan: self.wanted.plan.clone(),
            range: self.wanted.range,
            attempt: self.attempt,
            token: self.token.clone(),
            first_page,
            last_page,
            first_order,
            parts: self.kept.clone(),
        };
        let width = self.wanted.layout.width();
        loop {
            let name = range_name(record.range, record.attempt, &record.plan);
            let json = sealed(&StagedRange { record: record.clone(), uploads: uploads.clone() })?;
            let output = self.plan.location.to_path();
            if let Err(error) = check_record_size(record.range, &json, LARGEST_CONTROL, &output) {
                self.discard();
                return Err(error);
            }
            if !self.plan.is_current()? {
                let ended = self.plan.ended();
                self.discard();
                return Err(ended);
            }
            let place = self.plan.control.child(&name);
            let created = place.create(&json);
            // The stored object decides, not the answer: it can be that of a put that was sent twice.
            let is_own = created.and_then(|_| place.holds(&json));
            if is_own.map_err(|error| self.plan.explain(error))? {
                return Ok(true);
            }
            // Only a record of this range shows that another worker was first.
            let found = place.read_control().map_err(|error| self.plan.explain(error))?;
            let found = found.and_then(|json| StagedRange::parse(&json, &name, width));
            if found.is_some_and(|found| self.wanted.is_recorded_by(&found.record)) {
                self.discard();
                return Ok(false);
            }
            let given = self.plan.location.to_path();
            record.attempt = self.wanted.next_attempt(record.attempt, self.attempt, given)?;
        }
    }

    pub(in crate::destination) fn parts(&self) -> &[KeptPart] {
        &self.kept
    }

    /// Aborts the uploads. Best effort: a commit removes the rest.
    pub(in crate::destination) fn discard(self) {
        let PlanPrefix { target, control, .. } = &self.plan;
        drop(self.staged.abort_open(control));
        for kept in &self.kept {
            drop(drop_pending(target, control, &pending_name(&kept.part.path)));
        }
        let ids = self.kept.iter().map(|kept| ids_name(&kept.part.path));
        drop(control.remove_all(ids.chain([run_name(&self.token)])));
    }

    pub(in crate::destination) fn watch(&self) -> LeaseWatch {
        self.watch.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::{BegunOutput, RangeStart, tests::write_range};

    #[test]
    fn too_large_record_of_a_range_is_refused() {
        let location = Location::in_memory("rows");
        let target = location.as_remote().unwrap();
        next_to(target).child(PLAN).write(b"the plan").unwrap();
        let start = || {
            let layout = PartLayout::default();
            let wanted =
                WantedRange { plan: "0a".to_owned(), range: 1, pages: (1, 1), rows: 1, layout };
            let begun = BegunOutput::find(&location).unwrap().unwrap();
            begun.start(&wanted, &std::env::temp_dir()).unwrap()
        };
        let half = || "x".repeat(LARGEST_CONTROL as usize / 2);
        let error = write_range(start(), 1, vec![half(), half()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(": the record of range 1 has 16,77"), "{text}");
        assert!(text.ends_with(" bytes, and at most 16,777,216 are read"), "{text}");
        assert_eq!((error.exit_code(), error.hint().is_some()), (73, true));
        assert!(matches!(start(), RangeStart::Begun(_)), "there is a record");
        // One that is not too large is read again.
        assert!(write_range(start(), 1, vec![half()]).unwrap());
        assert!(matches!(start(), RangeStart::Done(_)));
    }

    #[test]
    fn record_of_a_foreign_size_counts_as_changed() {
        let control = next_to(&Remote::in_memory("rows"));
        let bytes = vec![b' '; LARGEST_CONTROL as usize + 1];
        control.child(&range_name(7, 0, "0a")).write(&bytes).unwrap();
        let listing = control.list().unwrap();
        let ranges = staged_ranges(&control, &listing, &PartLayout::default(), None).unwrap();
        assert!(matches!(*ranges, [(7, None)]), "{ranges:?}");
    }
}
