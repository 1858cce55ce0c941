//! The journal of a prefix: the control objects that a resumed run reads, and the check of its parts.
//!
//! This module reads control objects and parts and removes nothing. Anyone who can write to the bucket can
//! forge control objects. So their values are limited and compared with the objects. They do not prove who
//! wrote an object.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::put::is_same_e_tag;
use crate::{
    destination::{Header, Interrupted, KeptPart, examine},
    error::{Error, Result},
    location::Remote,
    proof::Digest,
    record::manifest::{Part, is_part_name},
};

/// The ETags of parts, by part name.
pub(super) type ETags = BTreeMap<String, Option<String>>;

/// The control object with the plan.
pub(super) const HEADER: &str = "header.json";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BegunParts {
    /// Shared by a run and the runs that resume it. Parts of another lineage belong to another plan.
    pub(super) lineage: String,
    pub(super) header: Header,
}

/// The journal entry of a finished part.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) lineage: String,
    pub(super) kept: KeptPart,
    /// ETag of the part's object. Without one, a resumed run hashes the part again.
    pub(super) e_tag: Option<String>,
}

/// Reads the header of the export that was begun here; `None` if it is missing or unreadable.
pub(super) fn begun(control: &Remote) -> Result<Option<BegunParts>> {
    let json = control.child(HEADER).read_control()?;
    Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
}

/// Returns the plan and the number of finished parts of the export that was begun here.
pub(super) fn interrupted(control: &Remote) -> Result<Option<Interrupted>> {
    let Some(begun) = begun(control)? else { return Ok(None) };
    let names = control.names()?;
    let parts = names.iter().filter(|name| is_record(name)).count();
    Ok(Some(Interrupted { plan: begun.header.plan, parts }))
}

/// Returns the finished parts of a lineage in page order, up to the first gap.
pub(super) fn records(control: &Remote, names: &[String], lineage: &str) -> Result<Vec<Record>> {
    let mut found: BTreeMap<u64, Record> = BTreeMap::new();
    for name in names.iter().filter(|name| is_record(name)) {
        let record = control.child(name).read_control()?;
        let record = record.and_then(|json| serde_json::from_slice::<Record>(&json).ok());
        let ours = |record: &Record| record.lineage == lineage && is_sound(name, &record.kept);
        if let Some(record) = record.filter(ours) {
            found.entry(record.kept.part.first_page).or_insert(record);
        }
    }
    let mut next = None;
    Ok(found
        .into_values()
        .take_while(|record| {
            let part = &record.kept.part;
            let follows = next.is_none_or(|next| next == part.first_page);
            next = Some(part.last_page + 1);
            follows
        })
        .collect())
}

/// Whether a record's name and pages are plausible. The part's name decides which object is read and later
/// listed in the manifest.
fn is_sound(name: &str, kept: &KeptPart) -> bool {
    let path = &kept.part.path;
    is_part_name(path) && record_name(path) == name && kept.has_sound_pages()
}

/// Returns the longest sequence of parts, from the first, whose objects match the journal, and their ETags.
pub(super) fn intact_parts(
    target: &Remote,
    control: &Remote,
    records: Vec<Record>,
) -> Result<(Vec<KeptPart>, ETags)> {
    let (mut kept, mut e_tags) = (Vec::new(), ETags::new());
    for (index, record) in records.into_iter().enumerate() {
        if !is_whole(target, control, index, &record)? {
            break;
        }
        e_tags.insert(record.kept.part.path.clone(), record.e_tag);
        kept.push(record.kept);
    }
    Ok((kept, e_tags))
}

fn is_whole(target: &Remote, control: &Remote, index: usize, record: &Record) -> Result<bool> {
    let part = &record.kept.part;
    let place = target.child(&part.path);
    let starts = part.path.starts_with(&format!("part-{index:05}-"));
    let Some(meta) = place.head()?.filter(|_| starts) else { return Ok(false) };
    if meta.size != part.bytes {
        return Ok(false);
    }
    let known = record.e_tag.as_deref();
    let same = known.is_some() && is_same_e_tag(meta.e_tag.as_deref(), known)
        || has_digest(&place, &part.sha256)?;
    let ids = control.child(&ids_name(&part.path)).head()?.map(|meta| meta.size);
    let digest = part.digest.parse::<Digest>().is_ok();
    Ok(same && digest && ids.is_some() && ids == part.rows.checked_mul(16))
}

/// Reads a whole object and returns whether its bytes have this SHA-256.
pub(super) fn has_digest(place: &Remote, sha256: &str) -> Result<bool> {
    let mut object = place.open()?;
    let read = examine(&mut object).map_err(Error::io("read", place.to_string()))?;
    Ok(read.sha256 == sha256)
}

/// Compares the listed objects of parts with the values that were recorded when they were written. If only
/// the ETag differs, or no ETag is known, the bytes are read and hashed.
///
/// # Errors
/// [`Error::Damaged`] for the first part that was removed, truncated or replaced since.
pub(super) fn compare(
    target: &Remote,
    listed: &BTreeMap<String, ObjectMeta>,
    parts: &[Part],
    e_tags: &ETags,
) -> Result<()> {
    let recorded = |part: &Part| e_tags.get(&part.path).and_then(Option::as_deref);
    let agrees = |part: &Part, meta: &ObjectMeta| {
        let known =
            recorded(part).filter(|e_tag| is_same_e_tag(meta.e_tag.as_deref(), Some(e_tag)));
        meta.size == part.bytes && known.is_some()
    };
    let unsure = parts.iter().filter(|part| match listed.get(&part.path) {
        Some(meta) => !agrees(part, meta),
        None => true,
    });
    let unsure: Vec<&Part> = unsure.collect();
    // Some stores list no ETags, or list objects late. So request each of these objects individually.
    let heads = target.heads(unsure.iter().map(|part| part.path.clone()))?;
    for part in unsure {
        let place = target.child(&part.path);
        let changed = |how: String| {
            Err(Error::Damaged {
                path: place.to_string().into(),
                why: format!(
                    "{how} after this run had written it: another program deletes from this prefix or \
                     writes to it; nothing was published; run the same command again to fetch the part"
                ),
            })
        };
        match heads.get(&part.path).and_then(Option::as_ref) {
            None => return changed("it was removed".to_owned()),
            Some(meta) if meta.size != part.bytes => {
                return changed(format!(
                    "it was replaced ({} bytes, not {})",
                    meta.size, part.bytes
                ));
            }
            Some(meta) if agrees(part, meta) => {}
            Some(_) if has_digest(&place, &part.sha256)? => {}
            Some(_) => {
                return changed("it was replaced (other bytes of the same length)".to_owned());
            }
        }
    }
    Ok(())
}

/// Downloads the ids of kept parts into a temporary folder, where the proof reads them. The caller must
/// keep the returned folder until then.
pub(super) fn fetch_ids(
    control: &Remote,
    temp_dir: &Path,
    kept: &mut [KeptPart],
) -> Result<Option<TempDir>> {
    if kept.is_empty() {
        return Ok(None);
    }
    let failed = |error| Error::io("keep ids in", temp_dir)(error);
    let folder = tempfile::tempdir_in(temp_dir).map_err(failed)?;
    for (index, kept) in kept.iter_mut().enumerate() {
        kept.ids = folder.path().join(index.to_string());
        let mut object = control.child(&ids_name(&kept.part.path)).open()?;
        let mut file = File::create(&kept.ids).map_err(failed)?;
        io::copy(&mut object, &mut file).map_err(failed)?;
    }
    Ok(Some(folder))
}

fn is_record(name: &str) -> bool {
    name.starts_with("part-") && name.ends_with(".json")
}

pub(super) fn record_name(part: &str) -> String {
    format!("{}.json", stem(part))
}

pub(super) fn ids_name(part: &str) -> String {
    stem(part).replacen("part-", "ids-", 1)
}

fn stem(part: &str) -> &str {
    part.split('.').next().unwrap_or(part)
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(format!("journal: {error}")))
}
