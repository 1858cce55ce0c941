//! Re-reads an export and holds it against its manifest, offline; names each thing that is wrong.
//!
//! Never repairs and never changes anything.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use arrow_array::cast::AsArray;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    batch::Column,
    destination::{CONTROL, examine, sidecar_name},
    error::{Error, Result},
    facts::digest,
    location::Location,
    manifest::{Completeness, MANIFEST, Manifest, Part, SUCCESS},
    proof::{DEFAULT_LIMIT_BYTES, Digest, IdSet},
    read,
};

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// The export.
    pub path: PathBuf,
    /// Files that were read.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Whether the export claims to hold every row of its dataset.
    pub completeness: Option<Completeness>,
    /// Each thing that is wrong; none means that the export is what it was when it was written.
    pub problems: Vec<String>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Reads an export, a directory or a single file, and holds it against what was recorded when it
/// was written: bytes and SHA-256 of each file, its footer, rows, distinct ids, the content digest.
///
/// Blocks for as long as reading takes: in async code, use a thread for blocking work.
///
/// # Errors
/// [`Error::Io`] or [`Error::Store`] when the place itself cannot be looked at. What is wrong with the
/// export is not an error but a [problem](Verification::problems).
///
/// ```no_run
/// use overmind_export::{Location, StorageOptions, verify};
///
/// let bucket = Location::parse("s3://bucket/nightly/", &StorageOptions::default())?;
/// assert!(verify(&bucket)?.is_ok());
/// # Ok::<(), overmind_export::Error>(())
/// ```
pub fn verify(location: &Location) -> Result<Verification> {
    let single = read::is_single_file(location)?;
    if single && !location.is_file()? {
        return Err(nothing_there(location));
    }
    let mut found = Verification {
        path: location.to_path(),
        files: 0,
        rows: 0,
        completeness: None,
        problems: Vec::new(),
    };
    if single {
        single_file(location, &mut found)?
    } else {
        directory(location, &mut found)?
    }
    Ok(found)
}

/// What the rows of some files add up to.
struct Tally {
    rows: u64,
    digest: Digest,
    ids: IdSet,
    has_ids: bool,
}

impl Tally {
    fn new() -> Self {
        let ids = IdSet::spilling(DEFAULT_LIMIT_BYTES, std::env::temp_dir());
        Self { rows: 0, digest: Digest::default(), ids, has_ids: false }
    }

    /// Adds the rows of a file; gives the file's own rows and digest.
    fn add(&mut self, reader: read::Reader) -> Result<(u64, Digest)> {
        let (mut rows, mut sum) = (0, Digest::default());
        for batch in reader.batches {
            let batch = batch?;
            sum += digest(&batch, self.rows + rows)?;
            rows += batch.num_rows() as u64;
            let Some(ids) = batch.column_by_name(Column::Id.name()) else { continue };
            self.has_ids = true;
            for id in ids.as_string::<i32>().iter().flatten() {
                // A text that is no id is a change, which the digest shows.
                let id = Uuid::try_parse(id).unwrap_or_default();
                self.ids.insert(id).map_err(Error::io("sort ids in", std::env::temp_dir()))?;
            }
        }
        self.rows += rows;
        self.digest += sum;
        Ok((rows, sum))
    }

    fn repeated(self) -> Result<Option<String>> {
        let distinct = self.ids.finish();
        let distinct = distinct.map_err(Error::io("sort ids in", std::env::temp_dir()))?.distinct;
        let lost = self.rows - distinct.min(self.rows);
        Ok((self.has_ids && lost > 0)
            .then(|| format!("{} rows have only {distinct} distinct ids", self.rows)))
    }
}

fn directory(location: &Location, found: &mut Verification) -> Result<()> {
    let names = location.names()?;
    if names.is_empty() && location.as_local().is_none() {
        return Err(nothing_there(location));
    }
    let manifest = match Manifest::load(&location.child(MANIFEST)) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            found.problems.push(format!("{MANIFEST} is missing"));
            found.problems.extend(names.iter().filter(|name| *name == CONTROL).map(control));
            return Ok(());
        }
        Err(Error::Damaged { why, .. }) => {
            found.problems.push(format!("{MANIFEST}: {why}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    found.completeness = Some(manifest.completeness);
    let parts = manifest.parts.iter().map(|part| part.path.as_str());
    let expected: BTreeSet<&str> = parts.chain([MANIFEST, SUCCESS]).collect();
    if !names.iter().any(|name| name == SUCCESS) {
        found.problems.push(format!("{SUCCESS} is missing"));
    }
    for name in names.iter().filter(|name| !expected.contains(name.as_str())) {
        found.problems.push(match name.as_str() {
            CONTROL => control(name),
            name => format!("{name} is not in the manifest"),
        });
    }
    let mut tally = Tally::new();
    for part in &manifest.parts {
        one_part(location.child(&part.path), part, &mut tally, found)?;
    }
    totals(&manifest, tally, found)
}

fn nothing_there(location: &Location) -> Error {
    Error::Store {
        action: "read",
        url: location.to_string(),
        hint: None,
        source: "there is nothing of this name".into(),
    }
}

/// What a run keeps beside the parts while it is at work.
fn control(name: impl std::fmt::Display) -> String {
    format!("{name} is there: a run is at work, or was interrupted and the next one will tidy up")
}

fn single_file(location: &Location, found: &mut Verification) -> Result<()> {
    let name = location.name();
    let mut tally = Tally::new();
    match Manifest::load(&location.sibling(&sidecar_name(&name))) {
        Ok(Some(manifest)) => {
            found.completeness = Some(manifest.completeness);
            for part in &manifest.parts {
                let part = Part { path: name.clone(), ..part.clone() };
                one_part(location.clone(), &part, &mut tally, found)?;
            }
            return totals(&manifest, tally, found);
        }
        Ok(None) => {}
        Err(error) => found.problems.push(error.one_line()),
    }
    let reader = match read::open(location) {
        Ok(reader) => reader,
        Err(error) => {
            found.problems.push(error.one_line());
            return Ok(());
        }
    };
    let Some(facts) = reader.facts.clone() else {
        let why =
            "says nothing about itself and has no manifest beside it (export with --manifest)";
        found.problems.push(format!("{name} {why}"));
        return Ok(());
    };
    found.completeness = Some(facts.completeness);
    match tally.add(reader) {
        Ok((rows, digest)) => {
            compare(&name, "rows", facts.rows, rows, found);
            if facts.first_row == 0 {
                compare(&name, "digest", &facts.digest, &digest.to_string(), found);
            }
            if facts.completeness == Completeness::Proven && facts.first_row == 0 {
                compare(&name, "rows of the dataset", facts.count, rows, found);
            }
            (found.files, found.rows) = (1, rows);
        }
        Err(error) => found.problems.push(error.one_line()),
    }
    found.problems.extend(tally.repeated()?);
    Ok(())
}

fn one_part(
    place: Location,
    part: &Part,
    tally: &mut Tally,
    found: &mut Verification,
) -> Result<()> {
    let name = &part.path;
    // A manifest is a file like any other: what it names must stay in its folder.
    if Path::new(name).file_name().is_none_or(|own| own.to_string_lossy() != *name) {
        found.problems.push(format!("the manifest lists {name:?}, which is not a file's name"));
        return Ok(());
    }
    if !place.is_file()? {
        found.problems.push(format!("{name} is missing"));
        return Ok(());
    }
    let examined = place.open().and_then(|mut file| {
        examine(&mut file).map_err(|error| Error::Io {
            action: "read",
            path: place.to_path(),
            source: error,
        })
    });
    let file = match examined {
        Ok(file) => file,
        Err(error) => {
            let why = crate::error::causes(&error).join(": ");
            found.problems.push(format!("{name} cannot be read: {why}"));
            return Ok(());
        }
    };
    let before = found.problems.len();
    compare(name, "bytes", part.bytes, file.bytes, found);
    if found.problems.len() == before {
        compare(name, "SHA-256", &part.sha256, &file.sha256, found);
    }
    let start = tally.rows;
    match read::open(&place).and_then(|reader| tally.add(reader)) {
        Ok((rows, digest)) => {
            compare(name, "rows", part.rows, rows, found);
            compare(name, "digest", &part.digest, &digest.to_string(), found);
            found.files += 1;
            found.rows += rows;
        }
        Err(error) => found.problems.push(error.one_line()),
    }
    // The rows after a part that is damaged keep the numbers that their digests were made with.
    tally.rows = start + part.rows;
    Ok(())
}

fn totals(manifest: &Manifest, tally: Tally, found: &mut Verification) -> Result<()> {
    let listed: u64 = manifest.parts.iter().map(|part| part.rows).sum();
    compare(MANIFEST, "rows", manifest.rows, listed, found);
    if manifest.completeness == Completeness::Proven {
        compare(MANIFEST, "rows of the dataset", manifest.count, manifest.rows, found);
    }
    let mut sum = Digest::default();
    for part in &manifest.parts {
        sum += part.digest.parse().unwrap_or_default();
    }
    compare(MANIFEST, "digest", &manifest.digest, &sum.to_string(), found);
    if found.is_ok() {
        found.problems.extend(tally.repeated()?);
    }
    Ok(())
}

fn compare<T: PartialEq + std::fmt::Display>(
    name: &str,
    what: &str,
    recorded: T,
    seen: T,
    found: &mut Verification,
) {
    if recorded != seen {
        found.problems.push(format!("{name}: {what} {seen}, recorded {recorded}"));
    }
}
