//! Pending parts: uploaded, but not visible. The record of a pending part holds what another process needs to
//! complete or abort its upload.
//!
//! A store cannot list its open uploads with the library that this program uses, and Azure's have no id. So
//! only these records know them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    completion::StagedUpload,
    names::{flat, journal_name, uploaded_name},
    upload::{Upload, abort_journalled, abort_or_journal},
};
use crate::{
    destination::{KeptPart, fs::not_open, opened, sealed},
    error::Result,
    location::{Listing, Remote},
    record::layout::{folder_and_name, is_part_path},
};

/// Age after which an upload may have expired. Azure and R2 delete blocks after 7 days, and so does the
/// lifecycle rule that the guide recommends. One day is for writing the part itself.
const EXPIRES_AFTER: TimeDelta = TimeDelta::days(6);

/// The record of a pending part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PendingPart {
    /// Shared by a run and the runs that resume it. Parts of another lineage belong to another plan. `None` for
    /// a part that a row limit cut: no run resumes it.
    pub(super) lineage: Option<String>,
    pub(super) kept: KeptPart,
    pub(super) upload: StagedUpload,
}

impl PendingPart {
    /// Reads a record; `None` if it is missing, or if no run wrote it. The part's name decides which object
    /// appears, so the record's own name must match it.
    pub(super) fn read(control: &Remote, name: &str) -> Result<Option<Self>> {
        let json = control.child(name).read_control()?;
        Ok(json.and_then(|json| Self::parse(&json, name)))
    }

    /// Parses a record; `None` if no run wrote it under this name, or if it was changed since.
    pub(super) fn parse(json: &[u8], name: &str) -> Option<Self> {
        opened(json).filter(|pending: &Self| pending.is_sound(name))
    }

    fn is_sound(&self, name: &str) -> bool {
        let path = &self.kept.part.path;
        is_part_path(path) && pending_name(path) == name && self.kept.is_sound()
    }

    /// Writes the record. From then on, the record replaces the journal of the upload.
    pub(super) fn write(&self, control: &Remote) -> Result<()> {
        control.child(&pending_name(&self.kept.part.path)).write(&sealed(self)?)
    }
}

/// The uploads of a run or of a worker.
#[derive(Debug)]
pub(super) struct StagedPrefix {
    pub(super) lineage: String,
    /// The uploads that have no record yet, with the paths of their parts or the names of their ids.
    pub(super) open: Vec<(String, Upload)>,
    /// The finished, recorded parts by name.
    pub(super) pending: BTreeMap<String, PendingPart>,
    /// The ids of kept parts, for the proof.
    pub(super) ids: Vec<TempDir>,
}

impl StagedPrefix {
    pub(super) fn new(lineage: String) -> Self {
        Self { lineage, open: Vec::new(), pending: BTreeMap::new(), ids: Vec::new() }
    }

    /// Records a part whose blocks are all in the store.
    pub(super) fn record(
        &mut self,
        lineage: Option<String>,
        kept: KeptPart,
        control: &Remote,
    ) -> Result<()> {
        let name = kept.part.path.clone();
        let upload = self.open.iter().find(|(open, _)| *open == name);
        let upload = upload.ok_or_else(not_open)?.1.clone();
        let pending = PendingPart { lineage, kept, upload: upload.staged().ok_or_else(not_open)? };
        pending.write(control)?;
        // The upload belongs to the record now: if this run fails, it must not abort it.
        self.open.retain(|(open, upload)| *open != name && !upload.is_over());
        self.pending.insert(name, pending);
        upload.forget_journal()
    }

    /// Aborts the uploads that have no record. If the answer to the put of a record was lost, the record may
    /// exist, and it must not outlive its upload.
    pub(super) fn abort_open(&self, control: &Remote) -> Result<()> {
        let abort = |(name, upload): &(String, Upload)| {
            control.child(&pending_name(name)).remove()?;
            upload.abort()
        };
        self.open.iter().map(abort).fold(Ok(()), Result::and)
    }
}

/// Whether this is the name of a pending part's record.
pub(super) fn is_pending_name(name: &str) -> bool {
    let part = name.rsplit('=').next().unwrap_or(name);
    part.starts_with("part-") && name.ends_with(".state")
}

/// The name of the record of this part.
pub(super) fn pending_name(part: &str) -> String {
    format!("{}.state", flat(stem(part)))
}

/// The name of the object with the ids of the pages of this part. The parts of all folders share it.
pub(super) fn ids_name(part: &str) -> String {
    stem(folder_and_name(part).1).replacen("part-", "ids-", 1)
}

fn stem(part: &str) -> &str {
    part.split('.').next().unwrap_or(part)
}

/// Whether the upload of a part may have expired. Both times come from the store: a run renews its lease
/// often, so the newest control object shows what time it is there.
pub(super) fn is_expired(control: &Listing, part: &str) -> bool {
    let now = control.objects.values().map(|meta| meta.last_modified).max();
    let then = control.objects.get(&pending_name(part)).map(|meta| meta.last_modified);
    now.zip(then).is_some_and(|(now, then)| now - then > EXPIRES_AFTER)
}

/// Aborts the upload of a pending part and removes its record. If the store refuses to abort, a journal stays
/// for a later run.
pub(super) fn drop_pending(target: &Remote, control: &Remote, name: &str) -> Result<()> {
    if let Some(pending) = PendingPart::read(control, name)? {
        let path = &pending.kept.part.path;
        let journal = control.child(&journal_name(path));
        abort_or_journal(&target.child(path), pending.upload.id, &journal)?;
    }
    control.child(name).remove()
}

/// Aborts the uploads of all pending parts among these control objects, and removes their records.
pub(super) fn drop_all_pending(target: &Remote, control: &Remote, names: &[String]) -> Result<()> {
    let pending = names.iter().filter(|name| is_pending_name(name));
    pending.map(|name| drop_pending(target, control, name)).fold(Ok(()), Result::and)
}

/// Aborts the upload of an ended run. The journal's name contains the name of the uploaded part or ids.
pub(super) fn drop_upload(target: &Remote, control: &Remote, journal: &str) -> Result<()> {
    let of = uploaded_name(journal).unwrap_or_default();
    let place = if is_part_path(&of) {
        target.child(&of)
    } else if of.starts_with("ids-") {
        control.child(&of)
    } else {
        return Ok(());
    };
    abort_journalled(&control.child(journal), &place)
}
