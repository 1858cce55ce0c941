//! The journal of a prefix: the control objects that a resumed run reads, and the check of its parts.
//!
//! This module reads control objects and removes nothing. Anyone who can write to the bucket can forge control
//! objects. So their values are limited and compared with the objects. They do not prove who wrote an object.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    names::HEADER,
    pending::{PendingPart, ids_name, is_expired, is_pending_name, pending_name},
};
use crate::{
    destination::{Header, Interrupted, KeptPart, examine, opened},
    error::{Error, Result},
    location::{Listing, Remote},
    proof::Digest,
    record::{
        layout::{PartLayout, folder_and_name},
        manifest::Part,
    },
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BegunParts {
    /// Shared by a run and the runs that resume it. Parts of another lineage belong to another plan.
    pub(super) lineage: String,
    pub(super) header: Header,
}

/// Reads the header of the export that was begun here; `None` if it is missing, unreadable or changed.
pub(super) fn begun(control: &Remote) -> Result<Option<BegunParts>> {
    let json = control.child(HEADER).read_control()?;
    Ok(json.and_then(|json| opened(&json)))
}

/// Returns the plan and the number of finished parts of the export that was begun here.
pub(super) fn interrupted(control: &Remote) -> Result<Option<Interrupted>> {
    let Some(begun) = begun(control)? else { return Ok(None) };
    let names = control.names()?;
    let parts = names.iter().filter(|name| is_pending_name(name)).count();
    Ok(Some(Interrupted { plan: begun.header.plan, parts }))
}

/// Returns the finished parts of a lineage in page order, up to the first gap. Those of the same pages are in the order
/// of their folders in the layout.
pub(super) fn finished_parts(
    control: &Remote,
    names: &[String],
    lineage: &str,
    layout: &PartLayout,
) -> Result<Vec<PendingPart>> {
    let mut found: BTreeMap<(u64, usize), PendingPart> = BTreeMap::new();
    for name in names.iter().filter(|name| is_pending_name(name)) {
        let pending = PendingPart::read(control, name)?;
        let ours = |pending: &PendingPart| pending.lineage.as_deref() == Some(lineage);
        if let Some(pending) = pending.filter(ours) {
            let part = &pending.kept.part;
            let position = layout.position(folder_and_name(&part.path).0).unwrap_or(usize::MAX);
            found.entry((part.first_page, position)).or_insert(pending);
        }
    }
    let mut last = None;
    Ok(found
        .into_values()
        .take_while(|pending| {
            let Part { first_page, last_page, .. } = pending.kept.part;
            let follows = last.is_none_or(|(first, last)| {
                (first, last) == (first_page, last_page) || last + 1 == first_page
            });
            last = Some((first_page, last_page));
            follows
        })
        .collect())
}

/// Returns the longest sequence of parts, from the first, that can still be published. A group of pages has a part in each
/// folder of the layout.
///
/// A visible part is not kept: a late request made it visible, and this run removes it.
pub(super) fn intact_parts(
    visible: impl Fn(&str) -> bool,
    control: &Listing,
    parts: Vec<PendingPart>,
    layout: &PartLayout,
) -> Vec<PendingPart> {
    let is_intact = |index: usize, kept: &KeptPart| {
        let part = &kept.part;
        let ids = control.objects.get(&ids_name(&part.path)).map(|meta| meta.size);
        let ((group, folder), (own, name)) = (layout.place(index), folder_and_name(&part.path));
        folder == own
            && name.starts_with(&format!("part-{group:05}-"))
            && !visible(&part.path)
            && !is_expired(control, &part.path)
            && part.digest.parse::<Digest>().is_ok()
            && ids.is_some()
            && ids == kept.ids_size()
    };
    let parts = parts.into_iter().enumerate();
    let mut intact: Vec<_> = parts
        .take_while(|(index, pending)| is_intact(*index, &pending.kept))
        .map(|(_, pending)| pending)
        .collect();
    // Pages without all of their parts are read again.
    intact.truncate(intact.len() / layout.width() * layout.width());
    intact
}

/// Reads a whole object and returns whether its bytes have this SHA-256.
pub(super) fn has_digest(place: &Remote, sha256: &str) -> Result<bool> {
    let mut object = place.open()?;
    let read = examine(&mut object).map_err(Error::io("read", place.to_string()))?;
    Ok(read.sha256 == sha256)
}

/// Checks just before the publication that every part can still be published.
///
/// # Errors
/// [`Error::Damaged`] for the first part whose control object was removed, or whose upload may have expired.
pub(super) fn check_pending(target: &Remote, control: &Listing, parts: &[Part]) -> Result<()> {
    for part in parts {
        let why = if !control.objects.contains_key(&pending_name(&part.path)) {
            "its upload cannot be completed: another program removed its control object"
        } else if is_expired(control, &part.path) {
            "its upload is older than 6 days, so the store may have deleted it"
        } else {
            continue;
        };
        return Err(Error::Damaged {
            path: target.child(&part.path).to_string().into(),
            why: format!(
                "{why}; nothing was published; run the same command again to fetch the part"
            ),
        });
    }
    Ok(())
}

/// Downloads the ids of kept parts into a temporary folder, where the proof reads them. The caller must
/// keep the returned folder until then. `width` is the number of parts that share their ids. From the first part whose ids
/// are not those that were written, the parts are not kept.
pub(super) fn fetch_ids(
    control: &Remote,
    temp_dir: &Path,
    kept: &mut Vec<KeptPart>,
    width: usize,
) -> Result<Option<TempDir>> {
    if kept.is_empty() {
        return Ok(None);
    }
    let failed = |error| Error::io("keep ids in", temp_dir)(error);
    let folder = tempfile::tempdir_in(temp_dir).map_err(failed)?;
    let mut intact = 0;
    for (group, kept) in kept.chunks_mut(width).enumerate() {
        let path = folder.path().join(group.to_string());
        let Some(first) = kept.first() else { continue };
        let mut object = control.child(&ids_name(&first.part.path)).open()?;
        let mut file = File::create_new(&path).map_err(failed)?;
        io::copy(&mut object, &mut file).map_err(failed)?;
        let written = File::open(&path).and_then(|mut file| examine(&mut file)).map_err(failed)?;
        if kept.iter().any(|kept| kept.ids_sha256.as_ref() != Some(&written.sha256)) {
            break;
        }
        kept.iter_mut().for_each(|kept| kept.ids.clone_from(&path));
        intact += kept.len();
    }
    kept.truncate(intact);
    Ok(Some(folder))
}
