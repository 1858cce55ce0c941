//! The publication of a prefix. It has a point of no return: from then on, any run only rolls forward.
//!
//! 1. `commit-TOKEN.state` is created. This is the point of no return: it holds the new record, which lists the
//!    parts, and each part has a [`PendingPart`].
//! 2. The uploads of the parts are completed. Until then, no part is visible.
//! 3. The record replaces the one that the run has seen, or takes a free name. Readers that use the record see
//!    the new export from now on.
//! 4. The dataset card and `_SUCCESS` are written, if they were asked for.
//! 5. Superseded parts and control objects are removed, the commit last.
//!
//! A commit that cannot be finished is undone, which removes the parts that it made visible. There are two
//! reasons: an upload is lost, or another export has appeared, so that the commit is stale.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{
    clear_control,
    completion::StagedUpload,
    content::{PrefixContent, PrefixPlaces, sha256, within},
    lock::{LeaseWatch, Lock},
    names::{HEADER, PLAN, commit_name, is_upload_name, uploaded_name},
    pending::{PendingPart, drop_pending, drop_upload, is_pending_name, pending_name},
    put::{Condition, replaced},
};
use crate::{
    destination::{
        opened, sealed,
        sealed::{FEWER_PARTS, check_size},
    },
    error::{Error, Result, causes},
    location::{Backend, Location, Remote, WHOLE, is_lost_upload},
    record::{
        card::{self, CARD, is_export_path},
        layout::{folder_and_name, is_part_path, with_parents},
        manifest::{Manifest, Part, SUCCESS},
        place,
    },
};

/// Most uploads that are completed at the same time.
const AT_ONCE: usize = 32;

/// The content of a commit: the published export, and the export that it replaces.
#[derive(Debug, Serialize, Deserialize)]
struct Commit {
    /// The new record, byte for byte.
    record: String,
    /// Bucket of the record, and its path there.
    record_bucket: String,
    record_path: String,
    /// SHA-256 of the record that it replaces; `None` if there was none.
    replaces: Option<String>,
    /// Parts of the replaced export.
    superseded: BTreeSet<String>,
    success_file: bool,
    /// The dataset card, byte for byte. `None` if the export has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    card: Option<String>,
}

/// A commit that has been read or created, with its parsed record.
#[derive(Debug)]
pub(super) struct BegunCommit {
    commit: Commit,
    /// Name of its control object.
    name: String,
    parts: Vec<Part>,
}

/// The result of rolling a commit forward.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CommitOutcome {
    Published,
    /// The uploads of these parts are lost.
    Lost(BTreeSet<String>),
    /// Another export has appeared since.
    Stale,
}

/// What a run can do with the commit of an ended run.
enum CommitProspect {
    /// Its record is published: it only cleans up.
    Published,
    /// It completes these uploads.
    Pending(Vec<PendingPart>),
    /// The record of a pending part is missing.
    Lost,
    /// Another export has appeared since.
    Stale,
}

/// The result of one completion.
enum UploadEnd {
    Completed,
    Lost(String),
}

impl BegunCommit {
    /// Passes the point of no return.
    pub(super) fn create(
        places: &PrefixPlaces,
        lock: &Lock,
        manifest: &Manifest,
        seen: &PrefixContent,
        success_file: bool,
    ) -> Result<Self> {
        let record = String::from_utf8(manifest.to_json()?)
            .map_err(|error| Error::Internal(format!("the record is not text: {error}")))?;
        let new: BTreeSet<&str> = manifest.files().map(|(path, ..)| path).collect();
        let old = seen.record.iter().flat_map(|record| record.manifest.files());
        let old = old.map(|(path, ..)| path).filter(|name| !new.contains(name)).map(str::to_owned);
        let commit = Commit {
            record,
            record_bucket: places.record.bucket().to_owned(),
            record_path: places.record.path().to_string(),
            replaces: seen.record.as_ref().map(|record| record.sha256.clone()),
            superseded: old.collect(),
            success_file,
            card: manifest.card.as_ref().map(|_| card::text(manifest)),
        };
        let name = commit_name(lock.token());
        let place = places.control.child(&name);
        let begun = Self { commit, name, parts: manifest.parts.clone() };
        let json = begun.to_json()?;
        check_size("its record", &json, WHOLE, (&places.location.to_path(), FEWER_PARTS))?;
        if lock.watch().put(&place, json.into(), &Condition::Free)?.is_none() {
            return Err(replaced(&place));
        }
        Ok(begun)
    }

    /// Reads the commit of an ended run; `None` if no run of this version wrote it.
    pub(super) fn read(places: &PrefixPlaces, name: &str) -> Result<Option<Self>> {
        let json = places.control.child(name).read_large_control()?;
        Ok(json.and_then(|json| Self::parse(&json, name, &places.location)))
    }

    /// Parses the commit of this name. `location` is named in errors.
    pub(super) fn parse(json: &[u8], name: &str, location: &Location) -> Option<Self> {
        let commit: Commit = opened(json)?;
        let manifest = Manifest::parse(commit.record.as_bytes(), location).ok()?;
        let sound = manifest.parts.iter().all(|part| is_part_path(&part.path));
        sound.then(|| Self { commit, name: name.to_owned(), parts: manifest.parts })
    }

    /// The content of its control object.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        sealed(&self.commit)
    }

    /// Reads the pending parts; `None` if one is missing and the record is not published yet.
    fn pending(&self, control: &Remote) -> Result<Option<Vec<PendingPart>>> {
        let read = control.reads(self.parts.iter().map(|part| pending_name(&part.path)))?;
        let pending = read.iter().map(|(name, json)| PendingPart::parse(json, name));
        let pending: Option<Vec<_>> = pending.collect();
        Ok(pending.filter(|pending| pending.len() == self.parts.len()))
    }

    fn prospect(&self, control: &Remote, seen: &PrefixContent) -> Result<CommitProspect> {
        Ok(if self.is_published(seen)? {
            CommitProspect::Published
        } else if !self.is_current(seen) || self.meets_another(seen) {
            CommitProspect::Stale
        } else {
            self.pending(control)?.map_or(CommitProspect::Lost, CommitProspect::Pending)
        })
    }

    /// Whether the next run can finish this commit of an ended run. Otherwise it undoes the commit. Only the store knows
    /// whether the uploads are still there.
    pub(super) fn can_be_finished(&self, control: &Remote, seen: &PrefixContent) -> Result<bool> {
        let prospect = self.prospect(control, seen)?;
        Ok(matches!(prospect, CommitProspect::Published | CommitProspect::Pending(_)))
    }

    /// Whether this is the record that the commit publishes.
    pub(super) fn publishes(&self, manifest: &Manifest) -> bool {
        manifest.to_json().is_ok_and(|json| json == self.commit.record.as_bytes())
    }

    /// Whether this commit puts its record at this place.
    fn is_recorded_at(&self, record: &Remote) -> bool {
        let Commit { record_bucket, record_path, .. } = &self.commit;
        (&**record_bucket, &**record_path) == (record.bucket(), record.path().as_ref())
    }

    /// Whether the record of this commit is published.
    fn is_published(&self, seen: &PrefixContent) -> Result<bool> {
        let own = sha256(self.commit.record.as_bytes())?;
        Ok(seen.record.as_ref().is_some_and(|record| record.sha256 == own))
    }

    /// Whether the record is still the one that this commit replaces.
    fn is_current(&self, seen: &PrefixContent) -> bool {
        seen.record.as_ref().map(|record| &record.sha256) == self.commit.replaces.as_ref()
    }

    /// Whether parts of another export are there. Its record is elsewhere: it was given `record`.
    fn meets_another(&self, seen: &PrefixContent) -> bool {
        let is_known = |name: &String| {
            let is_own = self.parts.iter().any(|part| part.path == *name);
            is_own || self.commit.superseded.contains(name) || seen.is_ours(name)
        };
        let mut parts = seen.objects.keys().filter(|name| is_part_path(name));
        parts.any(|name| !is_known(name) && !seen.is_listed(name))
    }

    /// Finishes this commit of an ended run. Returns `false` if it had to be undone.
    fn finish(&self, places: &PrefixPlaces, lock: &Lock) -> Result<bool> {
        if !self.is_recorded_at(&places.record) {
            let usual = place::written(&places.location, None);
            let was_usual = usual.as_remote().is_some_and(|usual| self.is_recorded_at(usual));
            let Commit { record_bucket, record_path, .. } = &self.commit;
            return Err(Error::Output {
                path: places.location.to_path(),
                why: format!(
                    "an interrupted run has begun to publish an export there, with its record at \
                     {record_path:?} in {record_bucket:?}"
                ),
                hint: Some(match was_usual {
                    true => "leave out `record`, as that run did",
                    false => "give the same `record` as that run",
                }),
                source: None,
            });
        }
        lock.confirm()?;
        let seen = PrefixContent::look(places)?;
        let (watch, location) = (lock.watch(), &places.location);
        let outcome = match self.prospect(&places.control, &seen)? {
            CommitProspect::Published => {
                self.mark(places, &watch)?;
                CommitOutcome::Published
            }
            CommitProspect::Pending(pending) => self.roll_forward(places, &watch, &pending)?,
            CommitProspect::Lost => CommitOutcome::Lost(BTreeSet::new()),
            CommitProspect::Stale => CommitOutcome::Stale,
        };
        let none = BTreeSet::new();
        let lost = match &outcome {
            CommitOutcome::Published => {
                self.clean(places, lock)?;
                return Ok(true);
            }
            CommitOutcome::Lost(lost) => lost,
            CommitOutcome::Stale => &none,
        };
        tracing::warn!(
            "the interrupted publication of {location} cannot be finished, because {}: it is undone",
            match (&outcome, &seen.record) {
                (CommitOutcome::Stale, None) if !self.meets_another(&seen) => {
                    "the record that it replaces was removed"
                }
                (CommitOutcome::Stale, _) => "another export has appeared there",
                _ => "the store no longer has all of its uploads",
            }
        );
        lock.confirm()?;
        self.undo(places, lost)?;
        Ok(false)
    }

    /// Completes the uploads, then puts the record.
    pub(super) fn roll_forward(
        &self,
        places: &PrefixPlaces,
        watch: &LeaseWatch,
        pending: &[PendingPart],
    ) -> Result<CommitOutcome> {
        let mut lost = complete(&places.target, watch, pending)?;
        if lost.is_empty() {
            lost = wrong_parts(&places.target, pending)?;
        }
        if !lost.is_empty() {
            return Ok(CommitOutcome::Lost(lost));
        }
        if !self.put_record(&places.record, watch)? {
            return Ok(CommitOutcome::Stale);
        }
        self.mark(places, watch)?;
        Ok(CommitOutcome::Published)
    }

    /// Puts the record. Returns `false` if another one has appeared.
    fn put_record(&self, place: &Remote, watch: &LeaseWatch) -> Result<bool> {
        let bytes = self.commit.record.as_bytes();
        let found = place.read_versioned()?;
        let condition = match (found, &self.commit.replaces) {
            (Some(found), _) if found.bytes == bytes => return Ok(true),
            (Some(found), Some(old)) if sha256(&found.bytes)? == *old => {
                Condition::Unchanged(found.version)
            }
            (None, None) => Condition::Free,
            _ => return Ok(false),
        };
        Ok(watch.put(place, Bytes::copy_from_slice(bytes), &condition)?.is_some())
    }

    /// Writes the card and `_SUCCESS`, or removes the `_SUCCESS` of the replaced export.
    fn mark(&self, places: &PrefixPlaces, watch: &LeaseWatch) -> Result<()> {
        if let Some(card) = &self.commit.card {
            let bytes = Bytes::copy_from_slice(card.as_bytes());
            watch.put(&places.target.child(CARD), bytes, &Condition::Any)?;
        }
        let place = places.target.child(SUCCESS);
        match self.commit.success_file {
            true => watch.put(&place, Bytes::new(), &Condition::Any).map(drop),
            false => watch.remove(&place),
        }
    }

    /// Removes the objects that the published export no longer needs, the commit last.
    ///
    /// # Errors
    /// [`Error::Store`] if the store does not show the record of this commit. Then nothing is removed: one wrong
    /// answer must not cost the export. The next run removes the rest.
    pub(super) fn clean(&self, places: &PrefixPlaces, lock: &Lock) -> Result<()> {
        // A run that lost its lock must not remove the control objects of another run.
        lock.confirm()?;
        let seen = PrefixContent::look(places)?;
        if !self.is_published(&seen)? {
            return Err(unlike(&places.record));
        }
        // Workers that are still active notice the end of their plan before anything else is removed.
        places.control.child(PLAN).remove()?;
        self.remove_superseded(&places.target)?;
        // The header goes first: nothing is left to resume.
        places.control.child(HEADER).remove()?;
        let is_own = |name: &String| self.parts.iter().any(|part| part.path == *name);
        places.target.remove_all(seen.strays().filter(|name| !is_own(name)))?;
        let own: BTreeSet<String> =
            self.parts.iter().map(|part| pending_name(&part.path)).collect();
        let pending = seen.control.names.iter().filter(|name| is_pending_name(name));
        for name in pending.filter(|name| !own.contains(*name)) {
            drop_pending(&places.target, &places.control, name)?;
        }
        // The uploads of workers that were killed. A run has none: its parts are all recorded.
        for name in seen.control.names.iter().filter(|name| is_upload_name(name)) {
            let of = uploaded_name(name).unwrap_or_default();
            // The record of a pending part replaces the journal of its upload.
            match seen.control.objects.contains_key(&pending_name(&of)) {
                true => places.control.child(name).remove()?,
                false => drop_upload(&places.target, &places.control, name)?,
            }
        }
        clear_control(&places.control, lock)
    }

    /// Removes the parts of the replaced export.
    fn remove_superseded(&self, target: &Remote) -> Result<()> {
        let new: BTreeSet<&str> = self.parts.iter().map(|part| part.path.as_str()).collect();
        let old = self.commit.superseded.iter();
        let is_old = |name: &&String| is_export_path(name) && !new.contains(name.as_str());
        let old = old.filter(is_old).filter(|name| self.commit.card.is_none() || *name != CARD);
        target.remove_all(old.cloned())
    }

    /// Removes the parts that this commit made visible, and the records of those and of lost parts. The other
    /// parts stay pending. Removes the commit last.
    ///
    /// # Errors
    /// [`Error::Store`] if the store shows the record of this commit: an earlier answer was wrong, and the next run
    /// finishes the commit.
    pub(super) fn undo(&self, places: &PrefixPlaces, lost: &BTreeSet<String>) -> Result<()> {
        let seen = PrefixContent::look(places)?;
        if self.is_published(&seen)? {
            return Err(unlike(&places.record));
        }
        let own = self.parts.iter().map(|part| &part.path).filter(|part| !seen.is_listed(part));
        let (visible, hidden): (Vec<&String>, Vec<&String>) =
            own.partition(|part| seen.objects.contains_key(*part));
        places.target.remove_all(visible.iter().map(|part| (*part).clone()))?;
        places.control.remove_all(visible.iter().map(|part| pending_name(part)))?;
        for part in hidden.into_iter().filter(|part| lost.contains(*part)) {
            drop_pending(&places.target, &places.control, &pending_name(part))?;
        }
        places.control.child(&self.name).remove()
    }
}

/// The error when the store has answered differently about a record than just before.
fn unlike(record: &Remote) -> Error {
    Error::Store {
        action: "read",
        url: record.to_string(),
        hint: None,
        source: "the store has given two different answers about the record".into(),
    }
}

/// Finishes the publications that ended runs have begun. Returns whether an export was published.
pub(super) fn finish_commits(
    places: &PrefixPlaces,
    lock: &Lock,
    seen: &PrefixContent,
) -> Result<bool> {
    let mut any = false;
    for name in seen.commits() {
        match BegunCommit::read(places, name)? {
            Some(commit) => any |= commit.finish(places, lock)?,
            None => {
                let place = places.control.child(name);
                tracing::warn!("{place} is not a publication of this program: it is removed");
                place.remove()?;
            }
        }
    }
    Ok(any)
}

/// Completes all uploads, [`AT_ONCE`] at the same time. After the first failure, begins no more and waits for
/// those in flight. Returns the lost ones.
///
/// # Errors
/// [`Error::Store`] if the store does not complete an upload for another reason: the upload may still be there.
fn complete(
    target: &Remote,
    watch: &LeaseWatch,
    pending: &[PendingPart],
) -> Result<BTreeSet<String>> {
    let (store, _) = target.target()?;
    let parts = pending.iter().map(|pending| {
        let part = &pending.kept.part;
        ((target.child(&part.path), part.path.clone()), pending.upload.clone(), part.bytes)
    });
    let parts: Vec<_> = parts.collect();
    watch.guard(async move {
        let mut waiting = parts.into_iter().map(|(place, upload, bytes)| {
            let store = store.clone();
            async move { complete_one(&*store, &place, &upload, bytes).await }
        });
        let mut in_flight: FuturesUnordered<_> = waiting.by_ref().take(AT_ONCE).collect();
        let (mut lost, mut failed) = (BTreeSet::new(), None);
        while let Some(end) = in_flight.next().await {
            match end {
                Ok(UploadEnd::Completed) => {}
                Ok(UploadEnd::Lost(name)) => drop(lost.insert(name)),
                Err(error) => failed = failed.or(Some(error)),
            }
            if lost.is_empty() && failed.is_none() {
                in_flight.extend(waiting.next());
            }
        }
        failed.map_or(Ok(lost), Err)
    })?
}

async fn complete_one(
    store: &dyn Backend,
    (place, path): &(Remote, String),
    upload: &StagedUpload,
    bytes: u64,
) -> Result<UploadEnd> {
    let is_done = |meta: &ObjectMeta| meta.size == bytes;
    let Err(error) = upload.complete(store, place.path(), is_done).await else {
        return Ok(UploadEnd::Completed);
    };
    let is_lost = is_lost_upload(&error);
    let error = place.failed("complete the upload of", &error);
    if !is_lost {
        return Err(error);
    }
    let why = causes(&error).join(": ");
    tracing::warn!("the upload of {place} is lost: {why}");
    Ok(UploadEnd::Lost(path.clone()))
}

/// Returns the parts that are not visible with their size, although the store has confirmed them.
fn wrong_parts(target: &Remote, pending: &[PendingPart]) -> Result<BTreeSet<String>> {
    let folders = pending.iter().map(|pending| folder_and_name(&pending.kept.part.path).0);
    let listed = within(target, target.list()?, &with_parents(folders))?.objects;
    let is_right =
        |part: &Part, meta: Option<&ObjectMeta>| meta.is_some_and(|meta| meta.size == part.bytes);
    let parts = || pending.iter().map(|pending| &pending.kept.part);
    // Some stores list objects late. So request each of these objects individually.
    let unsure = parts().filter(|part| !is_right(part, listed.get(&part.path)));
    let heads = target.heads(unsure.map(|part| part.path.clone()))?;
    let wrong = parts()
        .filter(|part| heads.get(&part.path).is_some_and(|meta| !is_right(part, meta.as_ref())));
    Ok(wrong.map(|part| part.path.clone()).collect())
}
