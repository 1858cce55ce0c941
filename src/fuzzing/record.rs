//! Records: the manifest, facts inside files, `latest.json`, `schema.json` and the history. And a directory with its record.

use std::{fmt::Debug, fs};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Result},
    location::Location,
    readback::{Batches, ReadOptions, verify_with},
    record::{
        facts::Facts,
        manifest::{Manifest, is_part_name},
        stamp::Stamp,
    },
    snapshots::{JobResult, Latest, PinnedSchema},
    text,
};

/// A record. Bytes after a zero are the first part of the directory that it is the record of.
pub(super) fn record(bytes: &[u8]) {
    let at = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    let (json, part) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let place = Location::from("out.manifest.json");
    match Manifest::parse(json, &place) {
        Ok(manifest) => {
            manifest_is_kept(&manifest, &place);
            directory(&manifest, json, part);
        }
        Err(error) => assert!(matches!(error, Error::Damaged { .. }), "{error:?}"),
    }
    if let Ok(text) = str::from_utf8(json) {
        match Facts::parse(text, &place) {
            Ok(facts) => {
                let again = Facts::parse(&facts.to_json().expect("JSON"), &place);
                assert_eq!(again.expect("facts"), facts);
            }
            Err(error) => assert!(matches!(error, Error::Damaged { .. }), "{error:?}"),
        }
    }
    same::<Latest>(json);
    same::<PinnedSchema>(json);
    // Other bytes are refused, whatever they are.
    drop(PinnedSchema::parse(json, "nightly"));
    for line in json.split(|byte| *byte == b'\n') {
        let Ok(result) = serde_json::from_slice::<JobResult>(line) else { continue };
        if let Some(failure) = result.failure() {
            let shown = failure.to_string();
            assert!(shown.lines().all(|line| text::line(line) == line), "{shown:?}");
        }
        // serde_json may read a fraction with another last digit than it wrote.
        same::<JobResult>(&written(&JobResult { seconds: 0.0, ..result }));
    }
}

fn manifest_is_kept(manifest: &Manifest, place: &Location) {
    let again = Manifest::parse(&manifest.to_json().expect("JSON"), place).expect("a manifest");
    assert_eq!(again, *manifest);
    let (mut next, mut split) = (0_u64, None);
    for (listed, part) in manifest.listed().zip(&manifest.parts) {
        if split != part.split.as_ref() {
            (next, split) = (0, part.split.as_ref());
        }
        assert_eq!((&listed.part, listed.first_row), (part, next));
        assert_eq!((listed.dataset, listed.count), (manifest.dataset, manifest.count));
        next = next.saturating_add(part.rows_read);
    }
    assert_eq!(manifest.listed().count(), manifest.parts.len());
    let read = manifest.totals().map(|(_, _, seen)| seen);
    if manifest.parts.iter().all(|part| part.split.is_none()) {
        assert_eq!(read[1], next);
    }
    let digest = manifest.joined_digest().map(|digest| digest.to_string());
    assert!(digest.is_none_or(|digest| digest.len() == "xxh3-128-poly:".len() + 32));
    if let Some(snapshot) = &manifest.snapshot {
        assert_eq!(Stamp::of_folder(&snapshot.stamp.folder()), Some(snapshot.stamp));
    }
}

/// Reads a directory with this record, in which only the first part exists.
fn directory(manifest: &Manifest, json: &[u8], part: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = folder.path().join("out");
    fs::create_dir(&directory).expect("a temporary folder");
    fs::write(folder.path().join("out.manifest.json"), json).expect("a temporary file");
    // Any other name could lead out of the directory.
    if let Some(first) = manifest.parts.first().filter(|first| is_part_name(&first.path)) {
        fs::write(directory.join(&first.path), part).expect("a temporary file");
    }
    let place = Location::from(directory);
    let options = ReadOptions { max_value_bytes: 64 << 10, ..ReadOptions::default() };
    let read = || -> Result<u64> {
        let batches = Batches::open_with(&place, &options)?;
        batches.map(|batch| batch.map(|batch| batch.num_rows() as u64)).sum()
    };
    let rows = match read() {
        Ok(rows) => Some(rows),
        Err(error) => {
            let is_typed = matches!(
                error,
                Error::Damaged { .. } | Error::Column(_) | Error::ValueTooLarge { .. }
            );
            assert!(is_typed, "{error:?}");
            None
        }
    };
    match verify_with(&place, &options) {
        Ok(found) => {
            assert_eq!(found.unread, Vec::<String>::new());
            if found.is_ok() {
                assert_eq!((rows, found.rows), (Some(manifest.rows), manifest.rows));
            }
        }
        Err(error) => assert!(matches!(error, Error::ValueTooLarge { .. }), "{error:?}"),
    }
}

/// Asserts that a value is read as it was written.
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(json) else { return };
    let again: T = serde_json::from_slice(&written(&value)).expect("JSON that this version wrote");
    assert_eq!(again, value);
}

fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}
