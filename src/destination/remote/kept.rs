//! What runs write down at a prefix so that a later one can go on, and what of it holds still.
//!
//! Reads control objects and parts; removes nothing. Anyone who can write to the bucket can forge them:
//! what they say is bounded and checked against the objects, but it proves nothing about who wrote it.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::put::is_same_e_tag;
use crate::{
    destination::{Header, Interrupted, Kept, examine},
    error::{Error, Result},
    location::Remote,
    proof::Digest,
    record::manifest::{Part, is_part_name},
};

/// What the store called the bytes of parts, by the parts' names.
pub(super) type ETags = BTreeMap<String, Option<String>>;

/// Names the plan.
pub(super) const HEADER: &str = "header.json";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BegunParts {
    /// Runs that continue one another have the same; parts of any other are of another plan.
    pub(super) lineage: String,
    pub(super) header: Header,
}

/// A finished part, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) lineage: String,
    pub(super) kept: Kept,
    /// What the store called the bytes; the part is hashed again where there is none.
    pub(super) e_tag: Option<String>,
}

/// What was begun here, if it can be read.
pub(super) fn begun(control: &Remote) -> Result<Option<BegunParts>> {
    let json = control.child(HEADER).read_control()?;
    Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
}

/// What the run that began here was to write, and how far it came.
pub(super) fn interrupted(control: &Remote) -> Result<Option<Interrupted>> {
    let Some(begun) = begun(control)? else { return Ok(None) };
    let names = control.names()?;
    let parts = names.iter().filter(|name| is_record(name)).count();
    Ok(Some(Interrupted { plan: begun.header.plan, parts }))
}

/// The finished parts of a lineage in their order, each beginning where the one before ends.
pub(super) fn records(control: &Remote, names: &[String], lineage: &str) -> Result<Vec<Record>> {
    let mut found: BTreeMap<u64, Record> = BTreeMap::new();
    for name in names.iter().filter(|name| is_record(name)) {
        let record = control.child(name).read_control()?;
        let record = record.and_then(|json| serde_json::from_slice::<Record>(&json).ok());
        let ours = |record: &Record| record.lineage == lineage && is_sound(name, &record.kept.part);
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

/// Whether a record says of its own part what can be true of one. The part's name decides which objects
/// are read and, later, listed in the manifest.
fn is_sound(name: &str, part: &Part) -> bool {
    is_part_name(&part.path)
        && record_name(&part.path) == name
        && (1..=part.last_page).contains(&part.first_page)
        && part.last_page < u64::MAX
}

/// The parts, from the first, whose objects are what was written down, and the ETags of these objects.
pub(super) fn still_whole(
    target: &Remote,
    control: &Remote,
    records: Vec<Record>,
) -> Result<(Vec<Kept>, ETags)> {
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

/// Whether the bytes of an object, all of which are read, have this SHA-256.
pub(super) fn has_digest(place: &Remote, sha256: &str) -> Result<bool> {
    let mut object = place.open()?;
    let read = examine(&mut object).map_err(Error::io("read", place.to_string()))?;
    Ok(read.sha256 == sha256)
}

/// Compares the objects of parts, as listed, with what was recorded when they were written. Where only
/// the ETag differs, or none is known, the bytes are read and hashed.
///
/// # Errors
/// [`Error::Damaged`], which names the first part that was removed, cut or replaced since.
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
    // Some stores list no ETags, or list late: each of these objects is asked for by itself.
    let heads = target.heads(unsure.iter().map(|part| part.path.clone()))?;
    for part in unsure {
        let place = target.child(&part.path);
        let changed = |how: String| {
            Err(Error::Damaged {
                path: place.to_string().into(),
                why: format!(
                    "{how} after this run had written it: something else removes from this prefix or \
                     writes to it; nothing was published, and the same command fetches the part again"
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

/// Puts the ids of kept parts where the proof reads them: in a folder that is to be held until then.
pub(super) fn fetch_ids(
    control: &Remote,
    temp_dir: &Path,
    kept: &mut [Kept],
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
