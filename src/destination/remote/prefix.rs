//! A directory of parts in a store. All parts stay invisible until the export is proven, see [`commit`].
//!
//! ```text
//! rows/part-00000-TOKEN.parquet …                only parts, those of a split in a folder: rows/train/part-…
//! rows.manifest.json                             the record, next to the prefix unless `record` names another place
//! _rows.partial/                                 the control folder, see `control` for its other places
//!     lock-00001.state, lease-TOKEN              see `lock`
//!     run-TOKEN                                  marks a run that wrote parts, with its token in their names
//!     header.state                               the plan
//!     part-00000-TOKEN.state                     the record of a pending part, written after its blocks; of a split,
//!                                                train=part-00000-TOKEN.state
//!     ids-00000-TOKEN                            its ids, 16 bytes each, for the proof
//!     upload-…                                   an upload that has begun
//!     commit-TOKEN.state                         a publication that has begun, with its record
//! ```
//!
//! Each run has its own token, which is part of all names that it writes. So a run that lost its lock
//! without noticing overwrites nothing. A run never deletes objects that the record lists, nor objects
//! that no run has written.
//!
//! [`commit`]: super::commit

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    clear_control,
    commit::{BegunCommit, CommitOutcome, finish_commits},
    content::{PrefixContent, PrefixPlaces, exists, stale},
    control::{check_next_to, not_allowed},
    kept::{self, BegunParts},
    lock::{LEASE, LeaseWatch, Lock, check_unlocked_among},
    names::{
        HEADER, check_prefix_length, is_control_name, is_upload_name, journal_name, part_name,
        uploaded_name,
    },
    or_lost,
    pending::{
        PendingPart, StagedPrefix, drop_all_pending, drop_pending, drop_upload, ids_name,
        is_pending_name, pending_name,
    },
    plan_prefix::StagedRange,
    put::{Condition, replaced},
    trial::{check_record, drop_trials},
    unusable,
    upload::{OnClose, Upload},
    with_hint,
};
use crate::{
    destination::{
        FINISHED_NOW, Header, KeptPart, OutputRequest, PartFile, fs::not_open,
        resumable::not_resumed, sealed, tidied,
    },
    error::{Error, Result},
    location::{Location, Remote},
    record::manifest::{Manifest, Part},
};

/// The hint when the publication could not begin.
const UNPUBLISHED: &str = "nothing was published, but every part is uploaded: repair the store or the \
                           permission, then run the same command again; it fetches two pages and \
                           publishes the export";
/// The hint when the publication has begun and could not be finished.
const UNFINISHED: &str = "every part is proven and uploaded, and its publication has begun: repair the store or \
                          the permission, then run the same command again, which finishes it";
/// The hint when the lock was lost during the publication.
const LOST_LATE: &str = "the next run finishes the publication, without fetching a page: run the same command \
                         again when no other run is active";
/// The hint for an export that this run has published for another one.
const FINISHED: &str = "give `overwrite` to export again";
/// Attempts to write the plan. One fails if a late request of a run that lost its lock takes the name first.
const ATTEMPTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Prefix {
    pub(super) places: PrefixPlaces,
    overwrite: bool,
    success_file: bool,
    /// Local folder for the ids of kept parts during the run.
    pub(super) temp_dir: PathBuf,
    /// `None` in a dry run.
    pub(super) lock: Option<Lock>,
    pub(super) staged: Option<StagedPrefix>,
    /// The ranges of the workers, if this is a commit of a plan. Then nothing is removed when this run fails.
    pub(super) ranges: Option<Vec<StagedRange>>,
    /// Number of earlier passes of this run.
    attempt: usize,
}

impl Prefix {
    /// Checks whether the export can be written to this prefix. Takes the lock, except in a dry run. If an ended
    /// run had begun to publish, this finishes the publication first.
    pub(in crate::destination) fn probe(
        location: &Location,
        target: &Remote,
        wanted: &OutputRequest,
        dry_run: bool,
    ) -> Result<Self> {
        let places = PrefixPlaces::of(location, target, wanted)?;
        check_prefix_length(target, &places.control, &places.layout)?;
        let mut prefix = Self {
            places: places.with_short_limit(),
            overwrite: wanted.overwrite,
            success_file: wanted.success_file,
            temp_dir: wanted.temp_dir.clone(),
            lock: None,
            staged: None,
            ranges: None,
            attempt: 0,
        };
        let looked = prefix.check_and_lock(dry_run);
        prefix.lock = looked.map_err(unusable(&places.target))?;
        prefix.places = places;
        Ok(prefix)
    }

    fn check_and_lock(&self, dry_run: bool) -> Result<Option<Lock>> {
        let PrefixPlaces { target, control, .. } = &self.places;
        let not_allowed = not_allowed(target, control);
        let listing = target.first_list()?;
        let listed = control.list().map_err(&not_allowed)?;
        // Check the lock first: "another run is active" is a better error than "not empty".
        check_unlocked_among(control, &listed.names, target).map_err(&not_allowed)?;
        check_next_to(target, control, dry_run)?;
        let seen = PrefixContent::of(&self.places, listing, listed)?;
        if !seen.has_commit() {
            self.check(&seen)?;
        } else if dry_run && !self.overwrite {
            return Err(exists(&self.places));
        }
        if dry_run {
            return Ok(None);
        }
        let lock = Lock::acquire(control, target, LEASE).map_err(not_allowed)?;
        if let Err(error) = self.prepare(&lock) {
            // Best effort: the next run detects a lock whose run has ended.
            drop(lock.release());
            return Err(error);
        }
        Ok(Some(lock))
    }

    /// Finishes the publication of an ended run, and checks the prefix again: the previous holder of the lock
    /// may have published before it released the lock.
    fn prepare(&self, lock: &Lock) -> Result<()> {
        // Again with the lock: of two runs that started together with different control folders, one sees the other.
        check_next_to(&self.places.target, &self.places.control, false)?;
        let mut seen = PrefixContent::look(&self.places)?;
        drop_trials(&self.places.record, &seen.control.names, lock)?;
        let mut finished = false;
        if seen.has_commit() {
            let finishing = finish_commits(&self.places.without_limit(), lock, &seen);
            finished = finishing.map_err(|error| self.unfinished(lock, error))?;
            seen = PrefixContent::look(&self.places)?;
        }
        match self.check(&seen) {
            Err(Error::Output { path, .. }) if finished && !self.overwrite => Err(Error::Output {
                path,
                why: FINISHED_NOW.to_owned(),
                hint: Some(self.places.plan_use.hint_of_existing(FINISHED)),
                source: None,
            }),
            checked => checked,
        }?;
        check_record(&self.places.record, lock)
    }

    /// Refuses a prefix that must not be replaced.
    fn check(&self, seen: &PrefixContent) -> Result<()> {
        seen.refusal(&self.places, self.overwrite).map_or(Ok(()), Err)
    }

    pub(in crate::destination) fn resume(
        &mut self,
        header: &Header,
        restart: bool,
    ) -> Result<Vec<KeptPart>> {
        let token = self.lock()?.token().to_owned();
        self.lock()?.confirm()?;
        let control = self.places.control.clone();
        let seen = PrefixContent::look(&self.places)?;
        let mut lineage = token.clone();
        let mut pending = Vec::new();
        if let Some(begun) = kept::begun(&control)?.filter(|_| !restart) {
            let (names, layout) = (&seen.control.names, &self.places.layout);
            let parts = kept::finished_parts(&control, names, &begun.lineage, layout)?;
            match begun.header.difference(header) {
                _ if parts.is_empty() => {}
                Some(difference) => {
                    return Err(not_resumed(self.places.location.to_path(), &difference));
                }
                None => {
                    lineage = begun.lineage;
                    let is_visible = |name: &str| seen.objects.contains_key(name);
                    pending = kept::intact_parts(is_visible, &seen.control, parts, layout);
                }
            }
        }
        let mut kept: Vec<KeptPart> = pending.iter().map(|pending| pending.kept.clone()).collect();
        let width = self.places.layout.width();
        let ids = kept::fetch_ids(&control, &self.temp_dir, &mut kept, width)?;
        pending.truncate(kept.len());
        self.drop_all_but(&seen, &kept)?;
        control.child(&format!("run-{token}")).write(b"")?;
        if kept.is_empty() {
            lineage = token;
            self.begin(&BegunParts { lineage: lineage.clone(), header: header.clone() })?;
        }
        let name = |pending: PendingPart| (pending.kept.part.path.clone(), pending);
        let pending = pending.into_iter().map(name).collect();
        let ids = ids.into_iter().collect();
        self.staged = Some(StagedPrefix { lineage, open: Vec::new(), pending, ids });
        Ok(kept)
    }

    /// Writes the plan. If a plan appears in the meantime, it is a late request of a run that lost its lock.
    fn begin(&self, begun: &BegunParts) -> Result<()> {
        let (lock, place, json) = (self.lock()?, self.places.control.child(HEADER), sealed(begun)?);
        for _ in 0..ATTEMPTS {
            if lock.watch().put(&place, json.clone().into(), &Condition::Free)?.is_some() {
                return Ok(());
            }
            lock.confirm()?;
            lock.watch().remove(&place)?;
        }
        Err(replaced(&place))
    }

    /// Removes everything that earlier runs left, except the kept parts.
    fn drop_all_but(&self, seen: &PrefixContent, kept: &[KeptPart]) -> Result<()> {
        let PrefixPlaces { target, control, .. } = &self.places;
        let lease = format!("lease-{}", self.lock()?.token());
        let parts = kept.iter().map(|kept| &kept.part.path);
        let stay: BTreeSet<String> = parts
            .flat_map(|part| [pending_name(part), ids_name(part)])
            .chain((!kept.is_empty()).then(|| HEADER.to_owned()))
            .chain([lease])
            .collect();
        let names = || seen.control.names.iter().filter(|name| is_control_name(name));
        let recorded: BTreeSet<&String> = names().filter(|name| is_pending_name(name)).collect();
        for journal in names().filter(|name| is_upload_name(name)) {
            let of = uploaded_name(journal).unwrap_or_default();
            // The record of a pending part replaces the journal of its upload.
            match recorded.contains(&pending_name(&of)) {
                true => control.child(journal).remove()?,
                false => drop_upload(target, control, journal)?,
            }
        }
        for name in recorded.iter().filter(|name| !stay.contains(**name)) {
            drop_pending(target, control, name)?;
        }
        let stale = |name: &&String| {
            let runs = ["run-", "lock-", "upload-"].iter().any(|kind| name.starts_with(kind));
            !runs && !stay.contains(*name) && !recorded.contains(*name)
        };
        control.remove_all(names().filter(stale).cloned())?;
        target.remove_all(seen.strays())
    }

    pub(in crate::destination) fn open(&mut self, header: &Header) -> Result<()> {
        if self.staged.is_none() {
            self.resume(header, true)?;
        }
        Ok(())
    }

    pub(in crate::destination) fn part_name(&self, index: usize, extension: &str) -> String {
        let token = self.lock.as_ref().map_or("", Lock::token);
        part_name(self.places.layout.place(index), token, self.attempt, extension)
    }

    pub(in crate::destination) fn create(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        let name = self.part_name(index, extension);
        let place = self.places.target.child(&name);
        self.upload(place, &name, OnClose::Stage)
    }

    pub(in crate::destination) fn create_ids(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        let name = ids_name(&self.part_name(index, extension));
        let place = self.places.control.child(&name);
        self.upload(place, &name, OnClose::Publish)
    }

    fn upload(&mut self, place: Remote, name: &str, on_close: OnClose) -> Result<PartFile> {
        let journal = self.places.control.child(&journal_name(name));
        let upload = Upload::new(place, journal, self.lock()?.watch(), on_close);
        self.staged()?.open.push((name.to_owned(), upload.clone()));
        Ok(PartFile::upload(upload))
    }

    pub(in crate::destination) fn keep(&mut self, kept: KeptPart) -> Result<()> {
        self.lock()?.check()?;
        let lineage = self.staged()?.lineage.clone();
        self.record_pending(Some(lineage), kept)
    }

    /// Records a part that a later run does not keep.
    pub(in crate::destination) fn note_part(&mut self, part: &Part) -> Result<()> {
        self.lock()?.check()?;
        self.record_pending(None, KeptPart::without_ids(part.clone()))
    }

    /// Records a part whose blocks are all in the store.
    fn record_pending(&mut self, lineage: Option<String>, kept: KeptPart) -> Result<()> {
        let control = self.places.control.clone();
        self.staged()?.record(lineage, kept, &control)
    }

    pub(in crate::destination) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        let published = self.publish_all(manifest);
        let lock = self.lock.take().ok_or_else(not_open)?;
        match published {
            Ok(commit) => {
                // If this fails, the next run removes the remaining objects.
                let cleaned = commit.clean(&self.places, &lock);
                let released = lock.release();
                tidied(&self.places.location, cleaned.and(released));
                Ok(())
            }
            Err(error) => {
                // Best effort: the pending parts stay for the next run.
                drop(lock.release());
                Err(error)
            }
        }
    }

    fn publish_all(&mut self, manifest: &Manifest) -> Result<BegunCommit> {
        let checked = self.check_publication(manifest);
        let lock = self.lock()?;
        let (seen, pending) = checked.map_err(|error| or_lost(lock, error))?;
        let begun = BegunCommit::create(&self.places, lock, manifest, &seen, self.success_file);
        let commit = begun.map_err(|error| match error {
            lost @ Error::LockLost { .. } => self.unfinished(lock, lost),
            error => or_lost(lock, with_hint(UNPUBLISHED)(error)),
        })?;
        let outcome = commit.roll_forward(&self.places, &lock.watch(), &pending);
        let outcome = outcome.map_err(|error| self.unfinished(lock, error))?;
        if outcome != CommitOutcome::Published {
            // If another run has taken the lock over, it has finished this commit.
            lock.confirm().map_err(|error| self.unfinished(lock, error))?;
        }
        let (lost, error) = match outcome {
            CommitOutcome::Published => return Ok(commit),
            CommitOutcome::Lost(lost) => {
                let name = lost.first().cloned().unwrap_or_default();
                let error = Error::Damaged {
                    path: self.places.target.child(&name).to_string().into(),
                    why: "its upload is lost: the store no longer has it; nothing was published; run the \
                          same command again to fetch the part"
                        .to_owned(),
                };
                (lost, error)
            }
            CommitOutcome::Stale => {
                let found = self.places.record.head();
                let found = found.map_err(|error| self.unfinished(lock, error))?;
                (BTreeSet::new(), stale(&self.places, self.overwrite, found.is_some()))
            }
        };
        let undone = commit.undo(&self.places, &lost);
        undone.map_err(|error| self.unfinished(lock, error))?;
        Err(error)
    }

    /// Checks everything that can be checked before the point of no return.
    fn check_publication(
        &mut self,
        manifest: &Manifest,
    ) -> Result<(PrefixContent, Vec<PendingPart>)> {
        for part in &manifest.parts {
            // A part was not recorded if a row limit cut its last page.
            if !self.staged()?.pending.contains_key(&part.path) {
                self.note_part(part)?;
            }
        }
        // Another process may have written to the prefix since the first check.
        let seen = PrefixContent::look(&self.places)?;
        self.check(&seen)?;
        // A late request of a run that lost its lock. This run has taken its parts over, or dropped them.
        self.places.control.remove_all(seen.commits().map(str::to_owned))?;
        kept::check_pending(&self.places.target, &seen.control, &manifest.parts)?;
        let staged = &self.staged()?.pending;
        let pending = manifest.parts.iter().map(|part| staged.get(&part.path).cloned());
        let pending = pending.collect::<Option<_>>().ok_or_else(not_open)?;
        self.lock()?.confirm()?;
        Ok((seen, pending))
    }

    /// The error of a run that fails after its publication has begun. The next run finishes the publication, so
    /// this is not [`Error::LockLost`], which says that nothing was published.
    fn unfinished(&self, lock: &Lock, error: Error) -> Error {
        match or_lost(lock, error) {
            Error::LockLost { path, why } => Error::Replaced {
                path,
                why: format!("was being published when the lock was lost: {why}"),
                hint: LOST_LATE,
            },
            error => with_hint(UNFINISHED)(error),
        }
    }

    pub(in crate::destination) fn abandon(mut self) -> usize {
        let Some(lock) = self.lock.take() else { return 0 };
        if self.ranges.is_some() {
            drop(lock.release());
            return 0;
        }
        let lost = lock.check().is_err();
        let Some(staged) = self.staged.take() else {
            // After `forget`, only control objects are left. Best effort: the next run removes them.
            if self.attempt > 0 && !lost {
                drop(self.clear(&lock));
            }
            // Otherwise, this run never resumed: the parts of earlier runs stay untouched.
            drop(lock.release());
            return 0;
        };
        // Best effort, here and below: the next run removes the remaining objects.
        drop(staged.abort_open(&self.places.control));
        let parts = staged.pending.values().filter(|part| part.lineage.is_some()).count();
        if parts == 0 && !lost {
            drop(self.clear(&lock));
        }
        if !lost {
            drop(lock.release());
        }
        if lost { 0 } else { parts }
    }

    fn clear(&self, lock: &Lock) -> Result<()> {
        let seen = PrefixContent::look(&self.places)?;
        drop_all_pending(&self.places.target, &self.places.control, &seen.control.names)?;
        self.places.target.remove_all(seen.strays())?;
        clear_control(&self.places.control, lock)
    }

    /// Removes everything that runs and workers have staged.
    pub(super) fn drop_everything(&self) -> Result<()> {
        self.drop_all_but(&PrefixContent::look(&self.places)?, &[])
    }

    pub(in crate::destination) fn forget(&mut self) -> Result<()> {
        if self.ranges.is_some() {
            return Ok(());
        }
        let Some(staged) = self.staged.take() else { return Ok(()) };
        // The next pass gives its parts new names.
        self.attempt += 1;
        // The header goes first: without it no object counts as a finished part.
        self.places.control.child(HEADER).remove()?;
        staged.abort_open(&self.places.control)?;
        self.drop_everything()
    }

    pub(in crate::destination) fn watch(&self) -> Option<LeaseWatch> {
        self.lock.as_ref().map(Lock::watch)
    }

    pub(super) fn lock(&self) -> Result<&Lock> {
        self.lock.as_ref().ok_or_else(not_open)
    }

    pub(super) fn staged(&mut self) -> Result<&mut StagedPrefix> {
        self.staged.as_mut().ok_or_else(not_open)
    }
}
