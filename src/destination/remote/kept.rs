//! What runs write down at a prefix so that a later one can go on, and what of it holds still.
//!
//! Reads control objects and parts; removes nothing.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    destination::{Header, Interrupted, Kept, examine},
    error::{Error, Result},
    location::Remote,
    proof::Digest,
};

/// Names the plan.
pub(super) const HEADER: &str = "header.json";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begun {
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
pub(super) fn begun(control: &Remote) -> Result<Option<Begun>> {
    let json = control.child(HEADER).read()?;
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
        let record = control.child(name).read()?;
        let record = record.and_then(|json| serde_json::from_slice::<Record>(&json).ok());
        if let Some(record) = record.filter(|record| record.lineage == lineage) {
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

/// The parts, from the first, whose objects are what was written down.
pub(super) fn still_whole(
    target: &Remote,
    control: &Remote,
    records: Vec<Record>,
) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for (index, record) in records.into_iter().enumerate() {
        if !is_whole(target, control, index, &record)? {
            break;
        }
        kept.push(record.kept);
    }
    Ok(kept)
}

fn is_whole(target: &Remote, control: &Remote, index: usize, record: &Record) -> Result<bool> {
    let part = &record.kept.part;
    let place = target.child(&part.path);
    let starts = part.path.starts_with(&format!("part-{index:05}-"));
    let Some(meta) = place.head()?.filter(|_| starts) else { return Ok(false) };
    let same = match &record.e_tag {
        Some(e_tag) => meta.e_tag.as_ref() == Some(e_tag),
        None => {
            let mut object = place.open()?;
            let read = examine(&mut object).map_err(Error::io("read", place.to_string()))?;
            read.sha256 == part.sha256
        }
    };
    let ids = control.child(&ids_name(&part.path)).head()?.map(|meta| meta.size);
    let digest = part.digest.parse::<Digest>().is_ok();
    Ok(same && digest && (Some(meta.size), ids) == (Some(part.bytes), Some(16 * part.rows)))
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
