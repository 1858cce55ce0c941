//! A single object: one upload that is completed when everything else is done.
//!
//! Its control objects lie in `_NAME.partial/` beside it: the lock, and the id of its upload. Nothing
//! appears under its name before that.

use super::{
    clear_control,
    lock::{LEASE, Lock, Watch, check_unlocked},
    unusable,
    upload::{Upload, abort_journalled},
};
use crate::{
    destination::{PartFile, sidecar_name, tidied},
    error::{Error, Result},
    location::{Location, Remote},
    manifest::Manifest,
};

#[derive(Debug)]
pub(crate) struct Object {
    location: Location,
    target: Remote,
    control: Remote,
    overwrite: bool,
    /// None in a run that only looks.
    lock: Option<Lock>,
    upload: Option<Upload>,
}

impl Object {
    /// Looks whether the export can go there, and takes the lock unless the run only looks.
    pub(in crate::destination) fn probe(
        location: &Location,
        target: &Remote,
        overwrite: bool,
        sidecar: bool,
        only_look: bool,
    ) -> Result<Self> {
        let control = target.sibling(&format!("_{}.partial", target.name()));
        let mut object = Self {
            location: location.clone(),
            target: target.clone(),
            control,
            overwrite,
            lock: None,
            upload: None,
        };
        // Also when there is nothing: a bucket that is not there, or is not ours, says so.
        object.control.first_names().map_err(unusable(target))?;
        object.check(sidecar)?;
        if only_look {
            check_unlocked(&object.control, target)?;
        } else {
            let lock = Lock::acquire(&object.control, target, LEASE).map_err(unusable(target))?;
            if let Err(error) = object.check(sidecar) {
                // Best effort: whatever stays is found to be over by the next run.
                drop(lock.release());
                return Err(error);
            }
            object.lock = Some(lock);
        }
        Ok(object)
    }

    /// Refuses to replace what is there, unless that was asked for.
    fn check(&self, sidecar: bool) -> Result<()> {
        if self.overwrite {
            return Ok(());
        }
        let manifest = self.sidecar();
        for place in [Some(&self.target), sidecar.then_some(&manifest)].into_iter().flatten() {
            if place.head()?.is_some() {
                return Err(exists(place));
            }
        }
        Ok(())
    }

    fn sidecar(&self) -> Remote {
        self.target.sibling(&sidecar_name(self.target.name()))
    }

    pub(in crate::destination) fn name(&self) -> String {
        self.target.name().to_owned()
    }

    /// Ends what a run that is gone has left.
    pub(in crate::destination) fn open(&mut self) -> Result<()> {
        if self.upload.is_none() {
            self.lock()?.confirm()?;
            for name in self.control.names()? {
                if name.starts_with("upload-") {
                    abort_journalled(&self.control.child(&name))?;
                }
            }
        }
        Ok(())
    }

    pub(in crate::destination) fn create(&mut self) -> Result<PartFile> {
        if let Some(before) = self.upload.take() {
            // What an earlier sweep sent is of no use.
            before.abort()?;
        }
        let lock = self.lock()?;
        let journal = self.control.child(&format!("upload-{}", lock.token()));
        let upload = Upload::new(self.target.clone(), journal, lock.watch(), false);
        self.upload = Some(upload.clone());
        Ok(PartFile::upload(upload))
    }

    pub(in crate::destination) fn publish(mut self, sidecar: Option<&Manifest>) -> Result<()> {
        let lock = self.lock.take().ok_or_else(not_open)?;
        let upload = self.upload.take().ok_or_else(not_open)?;
        let published = self.appear(&lock, &upload, sidecar);
        if published.is_err() {
            drop(upload.abort());
        }
        tidied(&self.location, clear_control(&self.control, lock));
        published
    }

    fn appear(&self, lock: &Lock, upload: &Upload, sidecar: Option<&Manifest>) -> Result<()> {
        let place = self.sidecar();
        let beside = self.location.sibling(&sidecar_name(self.target.name()));
        lock.confirm()?;
        if self.overwrite && matches!(Manifest::load(&beside), Ok(Some(_))) {
            // It must not lie beside an object that it does not describe.
            place.remove()?;
            lock.confirm()?;
        }
        if !upload.complete(!self.overwrite)? {
            return Err(exists(&self.target));
        }
        let Some(manifest) = sidecar else { return Ok(()) };
        lock.watch().put(&place, manifest.to_json()?.into(), false).map(drop)
    }

    pub(in crate::destination) fn abandon(mut self) {
        if let Some(upload) = self.upload.take() {
            // Best effort: the next run takes over whatever stays.
            drop(upload.abort());
        }
        if let Some(lock) = self.lock.take()
            && lock.check().is_ok()
        {
            drop(clear_control(&self.control, lock));
        }
    }

    pub(in crate::destination) fn watch(&self) -> Option<Watch> {
        self.lock.as_ref().map(Lock::watch)
    }

    fn lock(&self) -> Result<&Lock> {
        self.lock.as_ref().ok_or_else(not_open)
    }
}

fn exists(target: &Remote) -> Error {
    Error::Output {
        path: target.to_string().into(),
        why: "exists already".to_owned(),
        hint: Some("give --overwrite to replace it, or another URL"),
        source: None,
    }
}

fn not_open() -> Error {
    Error::Internal("the output was not opened".to_owned())
}
