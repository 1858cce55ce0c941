//! Publication when the system fails between its steps.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    Destination, Directory, Header, KeptPart, OutputRequest, PlanUse, RangeStart, SingleFile,
};
use crate::{
    client::Query,
    error::{Error, Result},
    files::folder::tests::SYNCS_BEFORE_FAULT,
    location::Target,
    proof::Digest,
    record::{
        layout::PartLayout,
        manifest::{Completeness, FORMAT_VERSION, Manifest, Part, Tool},
    },
    sink::Format,
};

pub(super) fn empty_export() -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        tool: Tool::this(),
        base_url: Some(String::new()),
        dataset: Some(uuid::Uuid::nil()),
        query: Some(Query::default()),
        started_at: String::new(),
        finished_at: String::new(),
        completeness: Completeness::Proven,
        count: Some(0),
        pages: 1,
        rows_per_page: 0,
        rows_read: 0,
        rows: 0,
        columns: Vec::new(),
        format: Format::JsonLines,
        compression: String::new(),
        parquet_encoding: None,
        json_columns: None,
        nested: None,
        csv_bom: None,
        csv_safe: None,
        digest: String::new(),
        snapshot: None,
        transform: None,
        earlier: Vec::new(),
        converted_from: None,
        ranges: Vec::new(),
        plan: None,
        card: None,
        splits: Vec::new(),
        parts: Vec::new(),
        is_of_folder: false,
    }
}

fn publish_file(target: &Path, bytes: &[u8], syncs: Option<usize>) -> Result<()> {
    SYNCS_BEFORE_FAULT.set(None);
    let mut file = SingleFile::probe(target, true, true, false)?;
    file.open()?;
    let part = file.create()?;
    part.writer().write_all(bytes).unwrap();
    part.close()?;
    SYNCS_BEFORE_FAULT.set(syncs);
    let digest = String::from_utf8_lossy(bytes).into_owned();
    file.publish(Some(&Manifest { digest, ..empty_export() }))
}

#[test]
fn a_failing_sync_parts_no_file_from_its_manifest() {
    for syncs in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("rows.jsonl");
        publish_file(&target, b"old", None).unwrap();
        let error = publish_file(&target, b"new", Some(syncs)).unwrap_err();
        assert!(matches!(error, Error::NotDurable { .. }), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"new");
        let manifest = folder.path().join("rows.jsonl.manifest.json");
        assert_eq!(Manifest::read(&manifest).unwrap().digest, "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

/// Writes the range of one page and one row. `missing` makes its record longer. Returns whether it counts.
pub(super) fn write_range(start: RangeStart, range: u32, missing: Vec<String>) -> Result<bool> {
    let RangeStart::Begun(attempt) = start else { return Ok(false) };
    let mut destination = Destination::Range(attempt);
    let kept = write_part(&mut destination, &range.to_string(), u64::from(range), missing);
    destination.keep(kept).unwrap();
    let Destination::Range(attempt) = destination else { unreachable!() };
    let page = u64::from(range);
    attempt.finish((page, page), None)
}

/// Writes a part with this text, of one page and one row.
pub(super) fn write_part(
    destination: &mut Destination,
    text: &str,
    page: u64,
    missing: Vec<String>,
) -> KeptPart {
    let file = destination.create(0, "jsonl").unwrap().hashed();
    file.writer().write_all(text.as_bytes()).unwrap();
    let closed = file.close().unwrap();
    let ids = destination.create_ids(0, "jsonl").unwrap().unwrap().hashed();
    ids.writer().write_all(&[0; 16]).unwrap();
    let ids_sha256 = ids.close().unwrap().sha256().map(str::to_owned);
    assert!(ids_sha256.is_some());
    let part = Part {
        path: destination.part_name(0, "jsonl"),
        split: None,
        first_page: page,
        last_page: page,
        rows_read: 1,
        rows: 1,
        failed: 0,
        duplicates: 0,
        missing,
        replaced: Vec::new(),
        rescued: 0,
        rescued_paths: Vec::new(),
        bytes: closed.bytes,
        sha256: closed.sha256().unwrap().to_owned(),
        digest: Digest::default().to_string(),
        nested_digest: None,
    };
    KeptPart {
        part,
        has_next: true,
        last_order: None,
        entry_bytes: 16,
        hash_key: None,
        ids_sha256,
        ids: PathBuf::new(),
    }
}

pub(super) fn request(target: &Path, overwrite: bool) -> OutputRequest {
    OutputRequest {
        target: Target::Directory(target.into()),
        overwrite,
        sidecar: false,
        record: None,
        staging: None,
        success_file: false,
        layout: PartLayout::default(),
        in_drafts: false,
        plan_use: PlanUse::Refuse,
        temp_dir: std::env::temp_dir(),
    }
}

fn publish_directory(target: &Path, rows: u64, syncs: Option<usize>) -> Result<()> {
    SYNCS_BEFORE_FAULT.set(None);
    let header = Header { plan: serde_json::Value::Null, count: 0, started_at: String::new() };
    let mut directory = Directory::probe(target, &request(target, true), false)?;
    directory.open(&header)?;
    SYNCS_BEFORE_FAULT.set(syncs);
    directory.publish(&Manifest { rows, ..empty_export() })
}

#[test]
fn a_failing_sync_leaves_no_old_export_behind() {
    // A sync of the parts and one of the staging, then one after each rename.
    for syncs in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("rows");
        publish_directory(&target, 1, None).unwrap();
        let error = publish_directory(&target, 2, Some(syncs)).unwrap_err();
        let is_published = syncs >= 2;
        assert_eq!(matches!(error, Error::NotDurable { .. }), is_published, "{error}");
        let manifest = Manifest::read(&folder.path().join("rows.manifest.json")).unwrap();
        assert_eq!(manifest.rows, if is_published { 2 } else { 1 });
        assert_eq!(folder.path().join(".rows.partial").exists(), !is_published);
    }
}

#[test]
fn target_published_before_the_lock_is_refused() {
    let header = Header { plan: serde_json::Value::Null, count: 0, started_at: String::new() };
    for sidecar in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("rows.jsonl");
        let mut late = SingleFile::probe(&target, false, sidecar, false).unwrap();
        publish_file(&target, b"first", None).unwrap();
        let refused = late.open().unwrap_err();
        assert!(matches!(refused, Error::Output { .. }), "{refused}");
        assert_eq!(fs::read(&target).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("rows");
    let mut late = Directory::probe(&target, &request(&target, false), false).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("part-00000.jsonl"), "first").unwrap();
    let refused = late.open(&header).unwrap_err();
    assert!(matches!(refused, Error::Output { .. }), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
