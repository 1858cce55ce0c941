//! A single object: one upload, completed at the end of the run.
//!
//! The control objects are next to it, see [`control`](super::control): the lock and the id of the upload. The
//! object appears only when the upload is completed. A prefix of the same name has the same control folder, so this
//! module leaves the control objects of a prefix alone.

use object_store::UpdateVersion;

use super::{
    control::next_to,
    kept::has_digest,
    lock::{LEASE, LeaseWatch, Lock, check_unlocked},
    names::{check_object_length, is_object_upload_name},
    or_lost,
    put::{Condition, is_same_e_tag},
    unusable,
    upload::{OnClose, Upload, abort_journalled},
    with_hint,
};
use crate::{
    destination::{PartFile, fs::not_open, tidied},
    error::{Error, Result},
    location::{Location, Remote, version},
    record::{manifest::Manifest, place::sidecar_name},
};

/// The hint when the object could not be published.
const UNPUBLISHED: &str = "nothing was published: repair the store or the permission, then run the same \
                           command again; it starts over, because only an export to a prefix can be resumed";
/// The hint when the store did not answer the last request of the upload.
const UNCONFIRMED: &str = "the store has not said whether the object is complete, and may still complete it: look for \
                           it in a few minutes, and run the same command again if it is not there";
/// The hint when this run could not put its manifest, or could not remove the manifest of the previous object.
const NO_MANIFEST: &str = "the object is complete, but its manifest is missing or belongs to the previous \
                           object: repair the store or the permission, then run the same command again \
                           with `overwrite`";

/// The hint when another program has put the manifest during the run.
const OTHER_MANIFEST: &str = "the object is complete, but another program wrote its manifest: stop that \
                              program, then run the same command again with `overwrite`";
/// The hint when the lock was lost after the upload was completed.
const LOST_LATE: &str = "another run may have replaced the object: run the same command again with \
                         `overwrite` when no other run is active";

#[derive(Debug)]
pub(crate) struct Object {
    location: Location,
    target: Remote,
    control: Remote,
    overwrite: bool,
    seen: ExistingObject,
    /// `None` in a dry run.
    lock: Option<Lock>,
    upload: Option<Upload>,
}

/// The versions that existed before the run.
///
/// A put replaces only these versions, if the store supports conditions. The completion of a multipart upload
/// takes no condition: the version is checked just before it, which is not atomic.
#[derive(Debug, Default)]
struct ExistingObject {
    object: Option<UpdateVersion>,
    manifest: Option<UpdateVersion>,
    /// Whether the manifest is valid and describes this object.
    describes: bool,
}

impl Object {
    /// Checks whether the export can be written to this object. Takes the lock, except in a dry run.
    pub(in crate::destination) fn probe(
        location: &Location,
        target: &Remote,
        overwrite: bool,
        sidecar: bool,
        dry_run: bool,
    ) -> Result<Self> {
        let control = next_to(target);
        let longest = control.child("upload-01234567");
        check_object_length(target, &[&longest, &target.sibling(&sidecar_name(target.name()))])?;
        let mut object = Self {
            location: location.clone(),
            target: target.with_short_limit(),
            control: control.with_short_limit(),
            overwrite,
            seen: ExistingObject::default(),
            lock: None,
            upload: None,
        };
        let looked = object.check_and_lock(sidecar, dry_run);
        object.lock = looked.map_err(unusable(target))?;
        (object.target, object.control) = (target.clone(), control);
        Ok(object)
    }

    fn check_and_lock(&mut self, sidecar: bool, dry_run: bool) -> Result<Option<Lock>> {
        // List even if nothing exists: a missing bucket, or one without permission to list, fails here.
        self.control.first_list()?;
        self.look(sidecar)?;
        if dry_run {
            check_unlocked(&self.control, &self.target)?;
            return Ok(None);
        }
        let lock = Lock::acquire(&self.control, &self.target, LEASE)?;
        if let Err(error) = self.look(sidecar) {
            // Best effort: the next run detects a lock whose run has ended.
            drop(lock.release());
            return Err(error);
        }
        Ok(Some(lock))
    }

    /// Reads the existing object and manifest.
    ///
    /// Without `overwrite`, refuses an existing object. If a manifest will be written, also refuses an existing
    /// manifest. With `overwrite`, replaces any object. If a manifest will be written, refuses to replace a file
    /// that is not a manifest.
    fn look(&mut self, sidecar: bool) -> Result<()> {
        let sidecar_place = self.sidecar();
        self.seen = ExistingObject::default();
        self.seen.object = self.target.head()?.as_ref().map(version);
        if self.seen.object.is_some() && !self.overwrite {
            return Err(exists(&self.target));
        }
        let meta = sidecar_place.head()?;
        if meta.is_some() && sidecar && !self.overwrite {
            return Err(exists(&sidecar_place));
        }
        let Some(meta) = meta.filter(|_| self.overwrite) else { return Ok(()) };
        self.seen.manifest = Some(version(&meta));
        let found = sidecar_place.read_control()?;
        let at = self.location.sibling(&sidecar_name(self.target.name()));
        let manifest = found.and_then(|bytes| Manifest::parse(&bytes, &at).ok());
        if manifest.is_none() && sidecar {
            return Err(Error::Output {
                path: sidecar_place.to_string().into(),
                why: "is not the manifest of an export".to_owned(),
                hint: Some(
                    "only the manifest of an export is replaced: move this object away, or give \
                     another URL",
                ),
                source: None,
            });
        }
        let parts = manifest.map(|manifest| manifest.parts).unwrap_or_default();
        self.seen.describes = matches!(&*parts, [part] if part.path == self.target.name());
        Ok(())
    }

    fn sidecar(&self) -> Remote {
        self.target.sibling(&sidecar_name(self.target.name()))
    }

    pub(in crate::destination) fn name(&self) -> String {
        self.target.name().to_owned()
    }

    /// Aborts the uploads of ended runs.
    pub(in crate::destination) fn open(&mut self) -> Result<()> {
        if self.upload.is_none() {
            self.lock()?.confirm()?;
            for name in self.control.names()? {
                if is_object_upload_name(&name) {
                    abort_journalled(&self.control.child(&name), &self.target)?;
                }
            }
        }
        Ok(())
    }

    pub(in crate::destination) fn create(&mut self) -> Result<PartFile> {
        if let Some(before) = self.upload.take() {
            // The upload of an earlier pass is not reused.
            before.abort()?;
        }
        let lock = self.lock()?;
        let journal = self.control.child(&format!("upload-{}", lock.token()));
        let upload = Upload::new(self.target.clone(), journal, lock.watch(), OnClose::Wait);
        self.upload = Some(upload.clone());
        Ok(PartFile::upload(upload))
    }

    pub(in crate::destination) fn publish(mut self, sidecar: Option<&Manifest>) -> Result<()> {
        let lock = self.lock.take().ok_or_else(not_open)?;
        let upload = self.upload.take().ok_or_else(not_open)?;
        let published = self.publish_objects(&lock, &upload, sidecar);
        if published.is_err() {
            drop(upload.abort());
        }
        tidied(&self.location, release(lock));
        published
    }

    /// Publishes the object first, then its manifest. The manifest of the previous object stays until then.
    fn publish_objects(
        &self,
        lock: &Lock,
        upload: &Upload,
        sidecar: Option<&Manifest>,
    ) -> Result<()> {
        lock.confirm()?;
        let condition = Condition::still(self.seen.object.clone());
        let completed = upload.complete(&condition).map_err(|error| match upload.is_over() {
            true => self.half_published(error),
            false if upload.is_unconfirmed() => with_hint(UNCONFIRMED)(error),
            false => or_lost(lock, with_hint(UNPUBLISHED)(error)),
        })?;
        if !completed {
            return Err(or_lost(lock, self.replaced(!self.overwrite)));
        }
        self.confirm(lock, upload, sidecar)?;
        let place = self.sidecar();
        match sidecar {
            Some(manifest) => {
                let condition = Condition::still(self.seen.manifest.clone());
                let put = lock.watch().put(&place, manifest.to_json()?.into(), &condition);
                if put.map_err(|error| self.half_published(error))?.is_none() {
                    // Another run may have replaced the object as well. Then nothing of this run is
                    // published.
                    self.confirm(lock, upload, sidecar)?;
                    return Err(Error::Replaced {
                        path: place.to_string().into(),
                        why: "was replaced or removed during the export".to_owned(),
                        hint: OTHER_MANIFEST,
                    });
                }
            }
            None if self.seen.describes => {
                // The manifest of the previous object does not describe the new one.
                lock.watch().remove(&place).map_err(|error| self.half_published(error))?;
            }
            None => {}
        }
        Ok(())
    }

    /// Checks that the store has the object that was sent. Compares the ETag and, if that is unknown or
    /// differs, the SHA-256 of the bytes. Without a manifest there is no SHA-256. Then the check passes if this
    /// run still holds the lock.
    fn confirm(&self, lock: &Lock, upload: &Upload, sidecar: Option<&Manifest>) -> Result<()> {
        let replaced = || Err(or_lost(lock, self.replaced(false)));
        let Some(meta) = self.target.head()? else { return replaced() };
        let sent = upload.e_tag();
        if sent.is_some() && is_same_e_tag(meta.e_tag.as_deref(), sent.as_deref()) {
            return Ok(());
        }
        match sidecar.map(|manifest| &*manifest.parts) {
            Some([part]) if has_digest(&self.target, &part.sha256)? => Ok(()),
            Some(_) => replaced(),
            None => lock.confirm().map_err(|error| self.half_published(error)),
        }
    }

    /// The error of a run that fails after it completed its upload. The object is visible then, so this is not
    /// [`Error::LockLost`], which says that nothing was published.
    fn half_published(&self, error: Error) -> Error {
        match error {
            Error::LockLost { why, .. } => Error::Replaced {
                path: self.target.to_string().into(),
                why: format!("was published, but then the lock was lost: {why}"),
                hint: LOST_LATE,
            },
            error => with_hint(NO_MANIFEST)(error),
        }
    }

    /// The error when another run or another program has put an object under this name. Without `overwrite`, the
    /// error says that the object exists already.
    fn replaced(&self, was_free: bool) -> Error {
        if was_free {
            return exists(&self.target);
        }
        Error::Output {
            path: self.target.to_string().into(),
            why: "was replaced or removed during the export".to_owned(),
            hint: Some(
                "another program writes there: find out which one, then run the command again",
            ),
            source: None,
        }
    }

    pub(in crate::destination) fn abandon(mut self) {
        if let Some(upload) = self.upload.take() {
            // Best effort: the next run aborts a remaining upload.
            drop(upload.abort());
        }
        if let Some(lock) = self.lock.take()
            && lock.check().is_ok()
        {
            drop(release(lock));
        }
    }

    pub(in crate::destination) fn watch(&self) -> Option<LeaseWatch> {
        self.lock.as_ref().map(Lock::watch)
    }

    fn lock(&self) -> Result<&Lock> {
        self.lock.as_ref().ok_or_else(not_open)
    }
}

/// Removes the leases of ended runs, then releases the lock.
fn release(lock: Lock) -> Result<()> {
    let forgotten = lock.forget_others();
    lock.release().and(forgotten)
}

fn exists(target: &Remote) -> Error {
    Error::Output {
        path: target.to_string().into(),
        why: "exists already".to_owned(),
        hint: Some("give `overwrite` to replace it, or another URL"),
        source: None,
    }
}
