//! A directory of parts in a store: each part when it is finished, then the manifest, then `_SUCCESS`.
//!
//! ```text
//! part-00000-TOKEN.parquet …  _manifest.json  _SUCCESS
//! _overmind/lock-00001.json, lease-TOKEN    see `lock`
//!           run-TOKEN                       marks a run that wrote parts here, with its token in their names
//!           header.json                     the plan
//!           part-00000-TOKEN.json           the record of a finished part, written after the part
//!           ids-00000-TOKEN                 its ids, 16 bytes each, for the proof
//!           upload-…                        an upload that has begun
//!           superseded.json                 the parts to remove once the new manifest is published
//! ```
//!
//! Each run has its own token, which is part of all names that it writes. So a run that lost its lock
//! without noticing overwrites nothing. A run never deletes objects that the manifest lists, nor objects
//! that no run has written.

use std::{collections::BTreeSet, path::PathBuf};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    clear_control,
    content::{PrefixContent, SUPERSEDED},
    kept::{self, BegunParts, ETags, HEADER, Record, ids_name, json, record_name},
    lock::{LEASE, LeaseWatch, Lock, check_unlocked},
    names::{check_prefix_length, is_control_name, is_ids_name},
    or_lost,
    put::{Condition, replaced},
    unusable,
    upload::{Upload, abort_journalled},
    with_hint,
};
use crate::{
    destination::{CONTROL, Header, KeptPart, OutputRequest, PartFile, fs::not_open, tidied},
    error::{Error, Result},
    location::{Listing, Location, Remote},
    record::manifest::{MANIFEST, Manifest, Part, SUCCESS, is_part_name},
};

/// The hint when the manifest could not be put.
const UNPUBLISHED: &str = "nothing was published, but every part is uploaded: repair the store or the \
                           permission, then run the same command again; it fetches two pages and \
                           publishes the export";
/// The hint when `_SUCCESS` could not be put.
const UNFINISHED: &str = "the manifest and every part are uploaded, only _SUCCESS is missing: repair the \
                          store or the permission, then run the same command again to write it";
/// Attempts to write the plan. One fails if a late request of a run that lost its lock takes the name first.
const ATTEMPTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Prefix {
    location: Location,
    target: Remote,
    control: Remote,
    overwrite: bool,
    /// Local folder for the ids of kept parts during the run.
    temp_dir: PathBuf,
    /// `None` in a dry run.
    lock: Option<Lock>,
    staged: Option<StagedPrefix>,
}

#[derive(Debug)]
struct StagedPrefix {
    lineage: String,
    open: Vec<Upload>,
    /// ETags of the finished, recorded parts.
    e_tags: ETags,
    _ids: Option<TempDir>,
}

impl Prefix {
    /// Checks whether the export can be written to this prefix. Takes the lock, except in a dry run.
    pub(in crate::destination) fn probe(
        location: &Location,
        target: &Remote,
        wanted: &OutputRequest,
        dry_run: bool,
    ) -> Result<Self> {
        check_prefix_length(target)?;
        let hurried = target.with_short_limit();
        let mut prefix = Self {
            location: location.clone(),
            control: hurried.child(CONTROL),
            target: hurried,
            overwrite: wanted.overwrite,
            temp_dir: wanted.temp_dir.clone(),
            lock: None,
            staged: None,
        };
        let looked = prefix.check_and_lock(dry_run);
        prefix.lock = looked.map_err(unusable(target))?;
        (prefix.target, prefix.control) = (target.clone(), target.child(CONTROL));
        Ok(prefix)
    }

    fn check_and_lock(&self, dry_run: bool) -> Result<Option<Lock>> {
        let listing = self.target.first_list()?;
        // Check the lock first: "another run is active" is a better error than "not empty".
        check_unlocked(&self.control, &self.target)?;
        self.check(&self.look(listing)?)?;
        if dry_run {
            return Ok(None);
        }
        let lock = Lock::acquire(&self.control, &self.target, LEASE)?;
        // The previous holder may have published before it released the lock.
        if let Err(error) = self.look_and_check() {
            // Best effort: the next run detects a lock whose run has ended.
            drop(lock.release());
            return Err(error);
        }
        Ok(Some(lock))
    }

    fn look_and_check(&self) -> Result<PrefixContent> {
        let seen = self.look(self.target.list()?)?;
        self.check(&seen)?;
        Ok(seen)
    }

    fn look(&self, listing: Listing) -> Result<PrefixContent> {
        PrefixContent::look(&self.location, &self.target, listing)
    }

    /// Refuses a prefix that must not be replaced.
    fn check(&self, seen: &PrefixContent) -> Result<()> {
        seen.refusal(self.overwrite).map_or(Ok(()), |(why, hint)| {
            let path = self.location.to_path();
            Err(Error::Output { path, why, hint: Some(hint), source: None })
        })
    }

    pub(in crate::destination) fn resume(
        &mut self,
        header: &Header,
        restart: bool,
    ) -> Result<Vec<KeptPart>> {
        let token = self.lock()?.token().to_owned();
        self.lock()?.confirm()?;
        let mut seen = self.look(self.target.list()?)?;
        // While an old export is being replaced, `_SUCCESS` may belong to the old one.
        let succeeded = seen.has_success() && seen.superseded.is_empty();
        self.tidy(&mut seen)?;
        let mut lineage = token.clone();
        let (mut kept, mut e_tags) = (Vec::new(), ETags::new());
        if let Some(begun) = kept::begun(&self.control)?.filter(|_| !restart) {
            let records = kept::records(&self.control, &seen.control, &begun.lineage)?;
            let listed = |record: &Record| seen.is_listed(&record.kept.part.path);
            // The export is published and only the cleanup is missing: nothing is left to resume.
            let published = succeeded && records.iter().all(listed);
            let over = published || records.is_empty();
            match begun.header.difference(header) {
                _ if over => {}
                Some(difference) => {
                    return Err(Error::Output {
                        path: self.location.to_path(),
                        why: format!("an interrupted export to it cannot be resumed: {difference}"),
                        hint: Some("give `restart` to delete its parts and start over"),
                        source: None,
                    });
                }
                None => {
                    lineage = begun.lineage;
                    (kept, e_tags) = kept::intact_parts(&self.target, &self.control, records)?;
                }
            }
        }
        let ids = kept::fetch_ids(&self.control, &self.temp_dir, &mut kept)?;
        self.drop_all_but(&seen, &kept)?;
        self.control.child(&format!("run-{token}")).write(b"")?;
        if kept.is_empty() {
            lineage = token;
            self.begin(&BegunParts { lineage: lineage.clone(), header: header.clone() })?;
        }
        self.staged = Some(StagedPrefix { lineage, open: Vec::new(), e_tags, _ids: ids });
        Ok(kept)
    }

    /// Writes the plan. If a plan appears in the meantime, it is a late request of a run that lost its lock.
    fn begin(&self, begun: &BegunParts) -> Result<()> {
        let (lock, place, json) = (self.lock()?, self.control.child(HEADER), json(begun)?);
        for _ in 0..ATTEMPTS {
            if lock.watch().put(&place, json.clone().into(), &Condition::Free)?.is_some() {
                return Ok(());
            }
            lock.confirm()?;
            lock.watch().remove(&place)?;
        }
        Err(replaced(&place))
    }

    /// Finishes the interrupted steps of ended runs: aborts their uploads and completes the removal of an old
    /// export.
    fn tidy(&self, seen: &mut PrefixContent) -> Result<()> {
        for name in seen.control.iter().filter(|name| name.starts_with("upload-")) {
            self.abort_upload(name)?;
        }
        if !seen.superseded.is_empty() {
            let switched = !seen.superseded.iter().any(|name| seen.is_listed(name));
            if switched {
                self.target.remove_all(seen.superseded.iter().cloned())?;
            }
            self.control.child(SUPERSEDED).remove()?;
            seen.superseded.clear();
        }
        Ok(())
    }

    /// Aborts the upload of an ended run. The journal's name contains the name of the uploaded part or ids.
    fn abort_upload(&self, name: &str) -> Result<()> {
        let of = name.strip_prefix("upload-").unwrap_or_default();
        let place = if is_part_name(of) {
            self.target.child(of)
        } else if is_ids_name(of) {
            self.control.child(of)
        } else {
            return Ok(());
        };
        abort_journalled(&self.control.child(name), &place)
    }

    /// Removes everything that earlier runs left, except the kept parts.
    fn drop_all_but(&self, seen: &PrefixContent, kept: &[KeptPart]) -> Result<()> {
        let token = self.lock()?.token();
        let parts: BTreeSet<&str> = kept.iter().map(|kept| kept.part.path.as_str()).collect();
        let records: BTreeSet<String> = parts
            .iter()
            .flat_map(|part| [record_name(part), ids_name(part)])
            .chain((!kept.is_empty()).then(|| HEADER.to_owned()))
            .collect();
        let stale = |name: &&String| {
            // Keep the journals of uploads that could not be aborted, too.
            let runs = ["run-", "lock-", "upload-"].iter().any(|kind| name.starts_with(kind));
            is_control_name(name)
                && !runs
                && **name != format!("lease-{token}")
                && !records.contains(*name)
        };
        self.control.remove_all(seen.control.iter().filter(stale).cloned())?;
        self.remove_parts(seen, |name| parts.contains(name))
    }

    /// Removes the parts of unfinished runs, except parts that the manifest lists and parts that `stay`
    /// accepts.
    fn remove_parts(&self, seen: &PrefixContent, stay: impl Fn(&str) -> bool) -> Result<()> {
        let names = seen.names.iter();
        let strays =
            names.filter(|name| seen.is_ours(name) && !seen.is_listed(name) && !stay(name));
        self.target.remove_all(strays.cloned())
    }

    pub(in crate::destination) fn open(&mut self, header: &Header) -> Result<()> {
        if self.staged.is_none() {
            self.resume(header, true)?;
        }
        Ok(())
    }

    pub(in crate::destination) fn part_name(&self, index: usize, extension: &str) -> String {
        let token = self.lock.as_ref().map_or("", Lock::token);
        format!("part-{index:05}-{token}.{extension}")
    }

    pub(in crate::destination) fn create(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        let name = self.part_name(index, extension);
        let place = self.target.child(&name);
        self.upload(place, &name)
    }

    pub(in crate::destination) fn create_ids(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        let name = ids_name(&self.part_name(index, extension));
        let place = self.control.child(&name);
        self.upload(place, &name)
    }

    fn upload(&mut self, place: Remote, name: &str) -> Result<PartFile> {
        let journal = self.control.child(&format!("upload-{name}"));
        let upload = Upload::new(place, journal, self.lock()?.watch(), true);
        self.staged()?.open.push(upload.clone());
        Ok(PartFile::upload(upload))
    }

    pub(in crate::destination) fn keep(
        &mut self,
        part: &Part,
        has_next: bool,
        last_order: Option<i64>,
    ) -> Result<()> {
        self.lock()?.check()?;
        let place = self.target.child(&part.path);
        let meta = place.head()?.filter(|meta| meta.size == part.bytes);
        let Some(meta) = meta else { return Err(replaced(&place)) };
        let (control, staged) = (self.control.clone(), self.staged()?);
        let upload = staged.open.iter().find(|upload| upload.target().path() == place.path());
        let e_tag = upload.and_then(Upload::e_tag).or(meta.e_tag);
        staged.open.clear();
        let kept = KeptPart { part: part.clone(), has_next, last_order, ids: PathBuf::new() };
        let record = Record { lineage: staged.lineage.clone(), kept, e_tag };
        control.child(&record_name(&part.path)).write(&json(&record)?)?;
        staged.e_tags.insert(part.path.clone(), record.e_tag);
        Ok(())
    }

    pub(in crate::destination) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        let lock = self.lock.take().ok_or_else(not_open)?;
        let seen = match self.publish_objects(&lock, manifest) {
            Ok(seen) => seen,
            Err(error) => {
                let error = or_lost(&lock, error);
                // Best effort: the finished parts stay for the next run.
                drop(lock.release());
                return Err(error);
            }
        };
        let new: BTreeSet<&str> = manifest.parts.iter().map(|part| part.path.as_str()).collect();
        let cleared = match self.drop_old(&PrefixContent { manifest: None, ..seen }, &new) {
            Ok(()) => clear_control(&self.control, lock),
            // The next run removes the remaining objects.
            Err(error) => lock.release().and(Err(error)),
        };
        tidied(&self.location, cleared);
        Ok(())
    }

    /// Publishes the manifest, then `_SUCCESS`. Returns the previous content of the prefix.
    fn publish_objects(&self, lock: &Lock, manifest: &Manifest) -> Result<PrefixContent> {
        // Another process may have written to the prefix since the first check.
        let mut seen = self.look_and_check()?;
        let staged = self.staged.as_ref().ok_or_else(not_open)?;
        let mut e_tags = staged.e_tags.clone();
        // Add a part that was not recorded, because a row limit cut its last page.
        e_tags.extend(staged.open.iter().map(|it| (it.target().name().to_owned(), it.e_tag())));
        kept::compare(&self.target, &seen.objects, &manifest.parts, &e_tags)?;
        let new: BTreeSet<&str> = manifest.parts.iter().map(|part| part.path.as_str()).collect();
        let old = seen.manifest.iter().flat_map(|manifest| &manifest.parts);
        let old = old.map(|part| part.path.clone()).filter(|name| !new.contains(name.as_str()));
        seen.superseded = old.collect();
        if !seen.superseded.is_empty() {
            self.control.child(SUPERSEDED).write(&json(&seen.superseded)?)?;
        }
        lock.confirm()?;
        let (watch, place) = (lock.watch(), self.target.child(MANIFEST));
        // The condition fails if another run has taken over and published since.
        let condition = Condition::still(seen.version.clone());
        let put = watch.put(&place, manifest.to_json()?.into(), &condition);
        if put.map_err(with_hint(UNPUBLISHED))?.is_none() {
            return Err(Error::Output {
                path: self.location.to_path(),
                why: "another export has appeared there".to_owned(),
                hint: Some("give `overwrite` to replace it, or another URL"),
                source: None,
            });
        }
        let put = watch.put(&self.target.child(SUCCESS), Bytes::new(), &Condition::Any);
        put.map_err(with_hint(UNFINISHED))?;
        Ok(seen)
    }

    /// Removes the parts of the previous export and of unfinished runs.
    fn drop_old(&self, seen: &PrefixContent, new: &BTreeSet<&str>) -> Result<()> {
        // The header goes first: nothing is left to resume.
        self.control.child(HEADER).remove()?;
        self.target.remove_all(seen.superseded.iter().cloned())?;
        self.remove_parts(seen, |name| new.contains(name))
    }

    pub(in crate::destination) fn abandon(mut self) -> usize {
        let Some(lock) = self.lock.take() else { return 0 };
        let lost = lock.check().is_err();
        let Some(staged) = self.staged.take() else {
            // This run never resumed: the parts of earlier runs stay untouched.
            drop(lock.release());
            return 0;
        };
        for upload in &staged.open {
            // Best effort, here and below: the next run removes the remaining objects.
            drop(upload.abort());
        }
        let parts = staged.e_tags.len();
        drop(match parts {
            _ if lost => Ok(()),
            0 => self.look_and_clear(lock),
            _ => lock.release(),
        });
        if lost { 0 } else { parts }
    }

    fn look_and_clear(&self, lock: Lock) -> Result<()> {
        let seen = self.look(self.target.list()?)?;
        if seen.is_unfinished() {
            // Keep the control objects: the next run needs them to finish the publication.
            return lock.release();
        }
        self.remove_parts(&seen, |_| false)?;
        clear_control(&self.control, lock)
    }

    /// Removes a manifest that was published without `_SUCCESS`. Its parts then count as parts of an
    /// unfinished run.
    pub(super) fn unpublish(&self) -> Result<()> {
        if self.look(self.target.list()?)?.is_unfinished() {
            let lock = self.lock()?;
            lock.confirm()?;
            lock.watch().remove(&self.target.child(MANIFEST))?;
        }
        Ok(())
    }

    pub(in crate::destination) fn forget(&mut self) -> Result<()> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        // The header goes first: without it no object counts as a finished part.
        self.control.child(HEADER).remove()?;
        for upload in &staged.open {
            upload.abort()?;
        }
        let seen = self.look(self.target.list()?)?;
        self.drop_all_but(&seen, &[])
    }

    pub(in crate::destination) fn watch(&self) -> Option<LeaseWatch> {
        self.lock.as_ref().map(Lock::watch)
    }

    fn lock(&self) -> Result<&Lock> {
        self.lock.as_ref().ok_or_else(not_open)
    }

    fn staged(&mut self) -> Result<&mut StagedPrefix> {
        self.staged.as_mut().ok_or_else(not_open)
    }
}
