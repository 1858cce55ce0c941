//! Re-reads an export and holds it against what was recorded when it was written, offline; names each thing
//! that is wrong, and nothing else.
//!
//! Never repairs and never changes anything.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use arrow_array::cast::AsArray;
use parquet::file::reader::Length;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    batch::Column,
    destination::{CONTROL, examine, sidecar_name},
    error::{Error, Result},
    location::Location,
    proof::{DEFAULT_LIMIT_BYTES, Digest, IdSet},
    readback::{self, ReadOptions, Reader},
    record::{
        facts::digest,
        manifest::{
            Completeness, MANIFEST, Manifest, Part, SUCCESS, is_desktop_file, is_part_name,
        },
        stamp::Stamp,
    },
    sink::{self, Encoding, Format, Sealed},
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
    /// What all its files were held against.
    pub checked: BTreeSet<Check>,
    /// Why there is nothing to hold it against, and what to do next: it is no export, or nothing was recorded.
    pub unchecked: Option<String>,
    /// Each thing that is wrong.
    pub problems: Vec<String>,
}

/// What a file can be held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Check {
    /// The SHA-256 in the manifest: covers every byte.
    Sha256,
    /// The XXH3 in the file's own metadata: covers every byte.
    Xxh3,
    /// The number of its rows and the digest of their content.
    Rows,
}

impl Verification {
    /// Whether it was checked and nothing is wrong: the export is what it was when it was written.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.unchecked.is_none()
    }

    /// Whether every byte of every file was checked.
    pub fn covers_every_byte(&self) -> bool {
        [Check::Sha256, Check::Xxh3].iter().any(|check| self.checked.contains(check))
    }

    /// Remembers what a file was held against; at the end it is what all of them were.
    fn add(&mut self, checked: BTreeSet<Check>) {
        match self.files {
            0 => self.checked = checked,
            _ => self.checked.retain(|check| checked.contains(check)),
        }
        self.files += 1;
    }
}

/// Reads an export, a directory or a single file, and holds it against what was recorded when it
/// was written: bytes and SHA-256 of each file, the checksum in its footer, its rows, distinct ids, the content
/// digest.
///
/// Blocks for as long as reading takes: in async code, use a thread for blocking work.
///
/// # Errors
/// [`Error::Io`] or [`Error::Store`] when the place itself cannot be looked at, [`Error::ValueTooLarge`] when it
/// holds more at one place than may be held in memory. What is wrong with the export is not an error but a
/// [problem](Verification::problems).
///
/// ```no_run
/// use overmind_export::{Location, StorageOptions, verify};
///
/// let bucket = Location::parse("s3://bucket/nightly/", &StorageOptions::default())?;
/// assert!(verify(&bucket)?.is_ok());
/// # Ok::<(), overmind_export::Error>(())
/// ```
pub fn verify(location: &Location) -> Result<Verification> {
    verify_with(location, &ReadOptions::default())
}

/// As [`verify`], with a bound of its own for the [largest value](ReadOptions::max_value_bytes). All columns are
/// read.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(location: &Location, options: &ReadOptions) -> Result<Verification> {
    let single = readback::is_single_file(location)?;
    if single && !location.is_file()? {
        return Err(nothing_there(location));
    }
    let found = Verification {
        path: location.to_path(),
        files: 0,
        rows: 0,
        completeness: None,
        checked: BTreeSet::new(),
        unchecked: None,
        problems: Vec::new(),
    };
    let options = ReadOptions { columns: Vec::new(), ..options.clone() };
    let mut verifying = Verifying { found, options, tally: VerifyTally::new() };
    if single { verifying.single_file(location) } else { verifying.directory(location) }?;
    Ok(verifying.found)
}

/// What the rows of some files add up to.
struct VerifyTally {
    rows: u64,
    ids: IdSet,
    has_ids: bool,
}

impl VerifyTally {
    fn new() -> Self {
        let ids = IdSet::spilling(DEFAULT_LIMIT_BYTES, std::env::temp_dir());
        Self { rows: 0, ids, has_ids: false }
    }

    /// Adds the rows of a file, whose first has this number in the export; gives the file's own rows and digest.
    fn add(&mut self, reader: Reader, first_row: u64) -> Result<(u64, Digest)> {
        let (mut rows, mut sum) = (0, Digest::default());
        for batch in reader.batches {
            let batch = batch?;
            sum += digest(&batch, first_row.wrapping_add(rows))?;
            rows += batch.num_rows() as u64;
            let ids = batch.column_by_name(Column::Id.name());
            let Some(ids) = ids.and_then(|ids| ids.as_string_opt::<i32>()) else { continue };
            self.has_ids = true;
            for id in ids.iter().flatten() {
                // A text that is no id is a change, which the digest shows.
                let id = Uuid::try_parse(id).unwrap_or_default();
                self.ids.insert(id).map_err(Error::io("sort ids in", std::env::temp_dir()))?;
            }
        }
        self.rows += rows;
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

/// A check at work.
struct Verifying {
    found: Verification,
    options: ReadOptions,
    tally: VerifyTally,
}

impl Verifying {
    fn problem(&mut self, text: impl Into<String>) {
        self.found.problems.push(text.into());
    }

    /// What is wrong with a file is a problem; that it cannot be looked at, or not be held, is an error.
    fn found_damaged<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Damaged { path, why }) => {
                // Each line begins with what is verified.
                match path.file_name().filter(|_| path != self.found.path) {
                    Some(name) => self.problem(format!("{}: {why}", name.display())),
                    None => self.problem(why),
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn directory(&mut self, location: &Location) -> Result<()> {
        let entries = location.entries()?;
        let is_file = |name: &str| entries.iter().any(|it| it.name == name && it.size.is_some());
        let mut names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        if names.is_empty() && location.as_local().is_none() {
            return Err(nothing_there(location));
        }
        names.retain(|name| !(is_desktop_file(name) && is_file(name)));
        let loaded = Manifest::load(&location.child(MANIFEST));
        let Some(loaded) = self.found_damaged(loaded)? else { return Ok(()) };
        let Some(manifest) = loaded else {
            self.without_manifest(location, &names);
            return Ok(());
        };
        self.found.completeness = Some(manifest.completeness);
        let parts = manifest.parts.iter().map(|part| part.path.as_str());
        let expected: BTreeSet<&str> = parts.chain([MANIFEST, SUCCESS]).collect();
        if !is_file(SUCCESS) {
            let other = entries.iter().find(|entry| entry.name == SUCCESS);
            self.problem(match other {
                Some(other) => format!("{SUCCESS} is {}, not a regular file", other.kind),
                None => format!("{SUCCESS} is missing"),
            });
        }
        for name in names.iter().filter(|name| !expected.contains(name.as_str())) {
            self.problem(match name.as_str() {
                CONTROL => control(),
                name => format!("{name} is not in the manifest"),
            });
        }
        let mut first_row = 0;
        for part in &manifest.parts {
            let name = &part.path;
            // A manifest is a file like any other: what it names must stay in its folder.
            if Path::new(name).file_name().is_none_or(|own| own.to_string_lossy() != *name) {
                self.problem(format!("the manifest lists {name:?}, which is not a file's name"));
            } else {
                self.part(&location.child(name), name, part, first_row)?;
            }
            // Rows after a part that is missing or damaged keep the numbers that their digests were made with.
            first_row = first_row.wrapping_add(part.rows);
        }
        self.totals(&manifest)
    }

    /// A folder without a manifest is a damaged export only if an export wrote into it.
    fn without_manifest(&mut self, location: &Location, names: &[String]) {
        let any = |is: fn(&str) -> bool| names.iter().any(|name| is(name));
        if any(|name| name == CONTROL) {
            self.problem(format!("{MANIFEST} is missing"));
            self.problem(control());
        } else if any(is_part_name) {
            self.problem(format!("{MANIFEST} is missing, and there are parts of an export"));
        } else if any(|name| Stamp::of_folder(name).is_some()) {
            let hint = format!("verify each of them, such as {location}/{}", Self::last_of(names));
            self.unchecked(format!("not an export, but the folder of a job's snapshots: {hint}"));
        } else {
            let hint = "give the folder that an export was written to, or a file of its own";
            self.unchecked(format!("not an export: there is no {MANIFEST} in it; {hint}"));
        }
    }

    fn last_of(names: &[String]) -> &str {
        let mut snapshots = names.iter().rev().filter(|name| Stamp::of_folder(name).is_some());
        snapshots.next().map_or("", String::as_str)
    }

    fn unchecked(&mut self, why: String) {
        self.found.unchecked = Some(why);
    }

    fn single_file(&mut self, location: &Location) -> Result<()> {
        let name = location.name();
        let loaded = Manifest::load(&location.sibling(&sidecar_name(&name)));
        let damaged_manifest = match self.found_damaged(loaded)? {
            Some(Some(manifest)) => {
                self.found.completeness = Some(manifest.completeness);
                match manifest.parts.as_slice() {
                    [part] => self.part(location, &name, part, 0)?,
                    parts => {
                        let count = parts.len();
                        self.problem(format!("{}: it lists {count} files", sidecar_name(&name)));
                    }
                }
                return self.totals(&manifest);
            }
            Some(None) => false,
            None => true,
        };
        if Encoding::of_path(Path::new(&name)).is_none() {
            if !damaged_manifest {
                let why = "not an export: its name has no extension of one, such as .parquet";
                self.unchecked(why.to_owned());
            }
            return Ok(());
        }
        let opened = readback::open(location, &self.options);
        let Some(mut reader) = self.found_damaged(opened)? else { return Ok(()) };
        let Some(facts) = reader.facts.take() else {
            return self.without_facts(location, &name, reader);
        };
        self.found.completeness = match facts.completeness {
            // One of several files.
            Completeness::Proven if facts.rows < facts.count => Some(Completeness::Partial),
            completeness => Some(completeness),
        };
        let exported = reader.require_export(location);
        let Some(()) = self.found_damaged(exported)? else { return Ok(()) };
        let mut checked = BTreeSet::new();
        if !self.checksum(location, &name, &reader, &mut checked)? {
            return Ok(());
        }
        let added = self.tally.add(reader, facts.first_row);
        let Some((rows, digest)) = self.found_damaged(added)? else { return Ok(()) };
        self.compare(&name, "rows", facts.rows, rows);
        self.compare(&name, "digest", &facts.digest, &digest.to_string());
        checked.insert(Check::Rows);
        self.found.add(checked);
        self.found.rows += rows;
        self.repeated()
    }

    /// A file that does not say which export it is.
    fn without_facts(&mut self, location: &Location, name: &str, reader: Reader) -> Result<()> {
        let mut checked = BTreeSet::new();
        if !self.checksum(location, name, &reader, &mut checked)? {
            return Ok(());
        }
        let foreign = reader.require_columns(location).err();
        let rows = reader.rows;
        if checked.is_empty()
            && let Some(Error::Damaged { why, .. }) = foreign
        {
            self.unchecked(format!("not an export: {why}"));
            return Ok(());
        }
        let is_sealed = !checked.is_empty();
        let rows = match rows.filter(|_| is_sealed) {
            Some(rows) => rows,
            // That it can be read to its end is worth to know.
            None => {
                let added = self.tally.add(reader, 0);
                let Some((rows, _)) = self.found_damaged(added)? else { return Ok(()) };
                rows
            }
        };
        self.found.rows += rows;
        self.found.add(checked);
        if !is_sealed {
            let sidecar = sidecar_name(name);
            self.unchecked(format!(
                "it can be read to its end, and nothing is recorded to check it against: there is no {sidecar} \
                 beside it; export with --manifest to have one"
            ));
        }
        Ok(())
    }

    /// Holds a file against the checksum in its footer; whether it makes sense to look further.
    fn checksum(
        &mut self,
        place: &Location,
        name: &str,
        reader: &Reader,
        checked: &mut BTreeSet<Check>,
    ) -> Result<bool> {
        let Some(checksum) = &reader.checksum else { return Ok(true) };
        let file = place.open()?;
        let length = file.len();
        let sealed = sink::check(file, length, checksum.footer, &checksum.value)
            .map_err(Error::io("read", place.to_path()))?;
        let ours = reader.writer.as_deref().is_none_or(|it| it.starts_with(sink::WRITER));
        match sealed {
            Sealed::Whole => drop(checked.insert(Check::Xxh3)),
            // Another program read the file and wrote its own, with the metadata of the old one.
            Sealed::Both if !ours => {}
            Sealed::Footer => {
                self.problem(format!("{name}: its footer is not what was written (XXH3)"));
                return Ok(false);
            }
            Sealed::Body | Sealed::Both => {
                self.problem(format!("{name}: its bytes are not those that were written (XXH3)"));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn part(&mut self, place: &Location, name: &str, part: &Part, first_row: u64) -> Result<()> {
        if place.as_local().is_none() && !place.is_file()? {
            self.problem(format!("{name} is missing"));
            return Ok(());
        }
        let examined = place
            .open()
            .and_then(|mut file| examine(&mut file).map_err(Error::io("read", place.to_path())));
        let file = match examined {
            Ok(file) => file,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.problem(format!("{name} is missing"));
                return Ok(());
            }
            Err(error) => {
                let why = crate::error::causes(&error).join(": ");
                self.problem(format!("{name} cannot be read: {why}"));
                return Ok(());
            }
        };
        let mut checked = BTreeSet::from([Check::Sha256]);
        let mut same = self.compare(name, "bytes", part.bytes, file.bytes);
        same = same && self.compare(name, "SHA-256", &part.sha256, &file.sha256);
        let encoding = Encoding::of_path(Path::new(name)).map(Encoding::format);
        if !same && encoding != Some(Format::JsonLines) {
            // Nothing more is to be learnt from a decoder; of lines, how many there are.
            return Ok(());
        }
        let opened = readback::open(place, &self.options).and_then(|reader| {
            reader.require_export(place)?;
            Ok(reader)
        });
        let Some(reader) = self.found_damaged(opened)? else { return Ok(()) };
        if !self.checksum(place, name, &reader, &mut checked)? {
            return Ok(());
        }
        let added = self.tally.add(reader, first_row);
        let Some((rows, digest)) = self.found_damaged(added)? else { return Ok(()) };
        self.compare(name, "rows", part.rows, rows);
        self.compare(name, "digest", &part.digest, &digest.to_string());
        checked.insert(Check::Rows);
        self.found.add(checked);
        self.found.rows += rows;
        Ok(())
    }

    fn totals(&mut self, manifest: &Manifest) -> Result<()> {
        let listed = manifest.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.rows));
        self.compare(MANIFEST, "rows", manifest.rows, listed);
        if manifest.completeness == Completeness::Proven {
            self.compare(MANIFEST, "rows of the dataset", manifest.count, manifest.rows);
        }
        let mut sum = Digest::default();
        for part in &manifest.parts {
            sum += part.digest.parse().unwrap_or_default();
        }
        self.compare(MANIFEST, "digest", &manifest.digest, &sum.to_string());
        self.repeated()
    }

    /// Counts distinct ids where nothing is wrong that would explain them.
    fn repeated(&mut self) -> Result<()> {
        if self.found.is_ok() {
            let tally = std::mem::replace(&mut self.tally, VerifyTally::new());
            self.found.problems.extend(tally.repeated()?);
        }
        Ok(())
    }

    fn compare<T: PartialEq + std::fmt::Display>(
        &mut self,
        name: &str,
        what: &str,
        recorded: T,
        seen: T,
    ) -> bool {
        let same = recorded == seen;
        if !same {
            self.problem(format!("{name}: {what} {seen}, recorded {recorded}"));
        }
        same
    }
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
fn control() -> String {
    format!(
        "{CONTROL} is there: a run is at work, or was interrupted and the next one will tidy up"
    )
}
