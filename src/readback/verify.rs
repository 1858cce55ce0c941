//! Reads an export again and compares it with its record, without the API. Reports every problem found.
//!
//! Never repairs and never changes anything.

mod card;
mod read_file;
mod unrecorded;

use std::{collections::BTreeSet, io, path::Path};

use super::{
    recorded::FoundManifest,
    tally::VerifyTally,
    verification::{Check, Verification},
};
use crate::{
    destination::{CONTROL, control_name, examine},
    error::{Error, Result},
    location::{Location, Opened},
    readback::{self, ReadOptions, unknown_extension},
    record::{
        card::CARD,
        layout::{folder_and_name, folders_of, is_inside, is_part_path},
        manifest::{ListedPart, Manifest, SUCCESS, is_desktop_file, is_part_name},
        place::{self, sidecar_name},
        stamp::Stamp,
    },
    sink::{Encoding, Format},
    tasks::run_both,
    text::grouped,
};

/// Reads an export, a directory or a single file, and compares it with its record.
///
/// Compares size and SHA-256 of each file, the checksum in its footer, the number of rows and of distinct ids, and
/// the content digest. Blocks until everything is read: in async code, call it on a thread for blocking work.
///
/// # Errors
/// [`Error::Io`] or [`Error::Store`] when the location, its manifest or a single file cannot be read.
/// [`Error::ValueTooLarge`] when a value, page or batch is larger than the memory limit. Damage to the export is
/// not an error but a [problem](Verification::problems).
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

/// Verifies an export like [`verify`], with another limit for the
/// [size of a value](ReadOptions::max_value_bytes), or until [`ReadOptions::stop`] is set. All columns are read.
///
/// # Errors
/// The same errors as [`verify`], and [`Error::Interrupted`] when [`ReadOptions::stop`] is set.
pub fn verify_with(location: &Location, options: &ReadOptions) -> Result<Verification> {
    let single = readback::is_single_file(location)?;
    if single && !location.is_file()? {
        return Err(nothing_there(location, false));
    }
    let found = Verification {
        path: location.to_path(),
        rows_read: None,
        files: 0,
        rows: 0,
        completeness: None,
        checked: BTreeSet::new(),
        unchecked: None,
        problems: Vec::new(),
        unread: Vec::new(),
    };
    let (options, tally) = (VerifyTally::reading(options), VerifyTally::new());
    let (record, sidecar) = (String::new(), FoundManifest::Missing);
    let mut verifying = Verifying { found, options, tally, record, sidecar, is_other: false };
    if single { verifying.single_file(location) } else { verifying.directory(location) }?;
    Ok(verifying.found)
}

/// A verification in progress.
struct Verifying {
    found: Verification,
    options: ReadOptions,
    tally: VerifyTally,
    /// Name of the record, for messages.
    record: String,
    /// The manifest next to a single file.
    sidecar: FoundManifest,
    /// Whether a part is not the one that the record describes: another export wrote it.
    is_other: bool,
}

impl Verifying {
    fn problem(&mut self, text: impl Into<String>) {
        let text = text.into();
        // The command starts each line with the path of the export.
        let own = self.found.path.file_name().map(|name| format!("{}: ", name.display()));
        let text = own.and_then(|own| text.strip_prefix(&own).map(str::to_owned)).unwrap_or(text);
        self.found.problems.push(text);
    }

    /// Turns [`Error::Damaged`] and [`Error::Column`] into a problem and returns `None`. All other errors stay errors.
    fn found_damaged<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        let (path, why) = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error.damage()?,
        };
        // The command starts each line with the path of the export: name the file only if it differs.
        match path.file_name().filter(|_| path != self.found.path) {
            Some(name) => self.problem(format!("{}: {why}", name.display())),
            None => self.problem(why),
        }
        Ok(None)
    }

    fn directory(&mut self, location: &Location) -> Result<()> {
        let record = place::find(location, self.options.record.as_ref())?;
        let loaded = match &record {
            Some(record) => FoundManifest::of(record),
            None => Ok(FoundManifest::Missing),
        };
        let folders = match &loaded {
            Ok(FoundManifest::Ours(manifest)) => folders_of(manifest),
            _ => BTreeSet::new(),
        };
        let entries = location.entries_in(&folders)?;
        let is_file = |name: &str| entries.iter().any(|it| it.name == name && it.size.is_some());
        let mut names: Vec<String> = entries.iter().map(|it| it.name.clone()).collect();
        if names.is_empty() && location.as_local().is_none() {
            return Err(nothing_there(location, control_next_to(location).is_some()));
        }
        names.retain(|name| !(is_desktop_file(folder_and_name(name).1) && is_file(name)));
        let Some(loaded) = self.found_damaged(loaded)? else { return Ok(()) };
        let expected = || place::expected_name(location, self.options.record.as_ref());
        let record = record.map_or_else(expected, |record| record.place.name());
        let FoundManifest::Ours(manifest) = loaded else {
            self.without_manifest(location, &names, &loaded, &record);
            return Ok(());
        };
        self.record.clone_from(&record);
        self.found.completeness = Some(manifest.completeness);
        let parts = manifest.parts.iter().map(|part| part.path.as_str());
        // `_SUCCESS` is allowed, because an option requests it. The root of a bucket contains its record.
        let known = [record.as_str(), SUCCESS].into_iter().filter(|name| is_file(name));
        let card = manifest.card.as_ref().map(|_| CARD);
        let expected: BTreeSet<&str> = parts.chain(known).chain(card).collect();
        let mut is_other = false;
        for name in names.iter().filter(|name| !expected.contains(name.as_str())) {
            self.problem(match name.as_str() {
                CONTROL => control(CONTROL),
                name => format!("{name} is not in the manifest"),
            });
            is_other |= is_part_path(name);
        }
        // In a store, parts that are not listed belong to a run in progress.
        if is_other && let Some(name) = control_next_to(location) {
            self.problem(control(&name));
        }
        self.is_other |= is_other && location.as_local().is_some();
        for listed in manifest.listed() {
            let name = &listed.part.path;
            // Do not trust the manifest: every file that it lists must be in the directory.
            if !is_inside(name) {
                self.problem(format!("the manifest lists {name:?}, which is not a file's name"));
            } else {
                self.part(&location.child(name), name, &listed)?;
            }
            // Stop here: each further part would wait again for a store that does not answer.
            if location.as_local().is_none() && !self.found.unread.is_empty() {
                self.found.unread.push("the parts after it were not read".to_owned());
                break;
            }
        }
        if let Some(card) = &manifest.card {
            self.card(&location.child(CARD), card)?;
        }
        if self.is_other && self.options.record.is_none() {
            let why = "does not describe these parts; if their record is elsewhere, name it with `record`";
            self.problem(format!("{record} {why}"));
        }
        self.totals(&manifest)
    }

    /// Classifies a folder without a manifest.
    ///
    /// It is a damaged export if it contains parts or a control folder. Otherwise it is not an export.
    fn without_manifest(
        &mut self,
        location: &Location,
        names: &[String],
        found: &FoundManifest,
        record: &str,
    ) {
        let lacks = match found {
            FoundManifest::Foreign => format!("{record} was written by another program"),
            _ => format!("{record} is missing"),
        };
        let any = |is: fn(&str) -> bool| names.iter().any(|name| is(name));
        if any(|name| name == CONTROL) {
            self.problem(lacks);
            self.problem(control(CONTROL));
        } else if let Some(name) = control_next_to(location).filter(|_| any(is_part_name)) {
            self.problem(lacks);
            self.problem(control(&name));
        } else if let Some(part) = names.iter().find(|name| is_part_name(name)) {
            let split = match found {
                FoundManifest::Missing => self.split_of(&location.child(part)),
                _ => None,
            };
            self.parts_without_record(&lacks, split.as_deref());
        } else if any(|name| Stamp::of_folder(name).is_some()) {
            let hint = format!("verify each of them, such as {location}/{}", Self::last_of(names));
            self.unchecked(format!("not an export, but the folder of a job's snapshots: {hint}"));
        } else {
            let hint = "give the folder of an export, or a single exported file";
            let why = match found {
                FoundManifest::Foreign => lacks,
                _ => format!("there is no {record}"),
            };
            self.unchecked(format!("not an export: {why}; {hint}"));
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
        let asked = self.options.record.clone();
        let is_asked = asked.is_some();
        let record = asked.unwrap_or_else(|| location.sibling(&sidecar_name(&name)));
        let loaded = FoundManifest::load(&record);
        let damaged_manifest = match self.found_damaged(loaded)? {
            Some(FoundManifest::Ours(manifest)) => {
                self.record = record.name();
                self.found.completeness = Some(manifest.completeness);
                let mut listed = manifest.listed();
                match (listed.next(), listed.next()) {
                    (Some(part), None) => self.part(location, &name, &part)?,
                    _ => {
                        let count = manifest.parts.len();
                        self.problem(format!("{}: it lists {count} files", self.record));
                    }
                }
                return self.totals(&manifest);
            }
            Some(FoundManifest::Missing) if is_asked => {
                self.problem(format!("{} is missing", record.name()));
                return Ok(());
            }
            Some(FoundManifest::Foreign) if is_asked => {
                self.problem(format!("{} was written by another program", record.name()));
                return Ok(());
            }
            Some(sidecar) => {
                self.sidecar = sidecar;
                false
            }
            None => true,
        };
        if Encoding::of_path(Path::new(&name)).is_none() {
            if !damaged_manifest {
                self.unchecked(format!("not an export: {}", unknown_extension(&name)));
            }
            return Ok(());
        }
        let opened = readback::open(location, &self.options);
        if let Err(Error::ChangedCells { .. }) = opened {
            return self.protected(location, &name);
        }
        let Some(mut reader) = self.found_damaged(opened)? else { return Ok(()) };
        let Some(facts) = reader.facts.take() else {
            return self.without_facts(location, &name, reader);
        };
        self.found.completeness = Some(facts.completeness_of_file());
        self.found.rows_read = Some(facts.rows_read);
        if let Some(why) = facts.unexplained() {
            self.problem(format!("{name}: {why}"));
        }
        let exported = reader.require_export(location);
        let Some(()) = self.found_damaged(exported)? else { return Ok(()) };
        let mut checked = BTreeSet::new();
        let read = self.read_file(location, reader);
        if !self.is_whole(&name, read.seal, &mut checked)? {
            return Ok(());
        }
        let Some(whole) = self.found_damaged(read.rows)? else { return Ok(()) };
        self.compare_counts(&name, "rows", facts.rows, whole.rows);
        self.compare(&name, "digest", facts.read_digest(), &whole.digest.to_string());
        checked.insert(Check::Rows);
        self.found.add(checked);
        self.found.rows += whole.rows;
        self.repeated()
    }

    fn part(&mut self, place: &Location, name: &str, listed: &ListedPart) -> Result<()> {
        self.options.go_on()?;
        match self.try_part(place, name, listed) {
            Err(error) if is_of(&error, place) => {
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                self.found.unread.push(format!("{}{hint}", error.one_line()));
                Ok(())
            }
            ended => ended,
        }
    }

    fn try_part(&mut self, place: &Location, name: &str, listed: &ListedPart) -> Result<()> {
        let part = &listed.part;
        if place.as_local().is_none() && !place.is_file()? {
            self.problem(format!("{name} is missing"));
            return Ok(());
        }
        let failed = Error::io("read", place.to_path());
        let (examined, read) = match place.open() {
            // The file stays open: whether there are enough descriptors does not depend on the order of the threads.
            Ok(Opened::Local(file)) => {
                let examined = || examine(&mut &*file);
                let (examined, read) =
                    run_both("checksum", examined, || self.read_part(place, listed));
                (examined.map_err(failed), Some(read))
            }
            // Each reader of an object makes its own requests.
            Ok(mut file) => (examine(&mut file).map_err(failed), None),
            Err(error) => (Err(error), None),
        };
        let file = match examined {
            Ok(file) => file,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.problem(format!("{name} is missing"));
                return Ok(());
            }
            // An error of this crate, not of the system: it is not a regular file.
            Err(Error::Io { source, .. }) if source.get_ref().is_some() => {
                self.problem(format!("{name} cannot be read: {source}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut checked = BTreeSet::from([Check::Sha256]);
        let mut same = self.compare_counts(name, "bytes", part.bytes, file.bytes);
        same = same && self.compare(name, "SHA-256", &part.sha256, &file.sha256);
        let encoding = Encoding::of_path(Path::new(name)).map(Encoding::format);
        if !same && !encoding.is_some_and(Format::is_text) {
            // The bytes differ, so decoding them would find nothing more. Lines can at least be counted.
            let own = readback::open(place, &self.options).ok().and_then(|reader| reader.facts);
            self.is_other |= own.is_some_and(|own| own.difference(listed).is_some());
            return Ok(());
        }
        let read = read.unwrap_or_else(|| self.read_part(place, listed));
        if matches!(read, Err(Error::ChangedCells { .. })) {
            let counted = readback::count_rows(place, || self.options.go_on());
            let Some(rows) = self.found_damaged(counted)? else { return Ok(()) };
            let rows = rows.unwrap_or_default();
            self.is_other |= !self.compare_counts(name, "rows", part.rows, rows);
            self.found.add(checked);
            self.found.rows += rows;
            return Ok(());
        }
        let Some(read) = self.found_damaged(read)? else { return Ok(()) };
        if !self.is_whole(name, read.seal, &mut checked)? {
            return Ok(());
        }
        if let Some(why) = read.facts.as_ref().and_then(|facts| facts.difference(listed)) {
            self.problem(format!("{name}: {why}"));
            self.is_other = true;
            return Ok(());
        }
        let Some(whole) = self.found_damaged(read.rows)? else { return Ok(()) };
        self.is_other |= !self.compare_counts(name, "rows", part.rows, whole.rows);
        self.compare(name, "digest", part.read_digest(), &whole.digest.to_string());
        self.compare_counts(name, "rows with rescued values", part.rescued, whole.rescued);
        checked.insert(Check::Rows);
        self.found.add(checked);
        self.found.rows += whole.rows;
        Ok(())
    }

    fn totals(&mut self, manifest: &Manifest) -> Result<()> {
        let record = std::mem::take(&mut self.record);
        self.found.rows_read = Some(manifest.rows_read);
        for listed in manifest.listed() {
            if let Some(why) = listed.unexplained() {
                self.problem(format!("{record} says of {}: {why}", listed.part.path));
            }
        }
        if let Some(why) = manifest.unexplained_earlier() {
            self.problem(format!("{record} says: {why}"));
        }
        for (what, recorded, seen) in manifest.totals() {
            self.compare_counts(&record, what, recorded, seen);
        }
        if let Some(why) = manifest.wrong_splits() {
            self.problem(format!("{record}: {why}"));
        }
        let joined = manifest.joined_digest().unwrap_or_default();
        self.compare(&record, "digest", &manifest.digest, &joined.to_string());
        self.repeated()
    }

    /// Checks for repeated ids, unless another problem already explains them.
    fn repeated(&mut self) -> Result<()> {
        if self.found.is_ok() {
            let tally = std::mem::replace(&mut self.tally, VerifyTally::new());
            self.found.problems.extend(tally.repeated()?);
        }
        Ok(())
    }

    fn compare_counts(&mut self, name: &str, what: &str, recorded: u64, seen: u64) -> bool {
        self.compare(name, what, &grouped(recorded), &grouped(seen))
    }

    fn compare(&mut self, name: &str, what: &str, recorded: &str, seen: &str) -> bool {
        let same = recorded == seen;
        if !same {
            self.problem(format!("{name}: {what} {seen}, recorded {recorded}"));
        }
        same
    }
}

/// Whether the error is about reading this file.
fn is_of(error: &Error, place: &Location) -> bool {
    match error {
        Error::Io { path, .. } => *path == place.to_path(),
        Error::Store { url, .. } => *url == place.to_string(),
        _ => false,
    }
}

fn nothing_there(location: &Location, is_begun: bool) -> Error {
    let hint =
        "an export to this place is in progress, or was interrupted: export it again to resume";
    Error::Store {
        action: "read",
        url: location.to_string(),
        hint: is_begun.then_some(hint),
        source: "no object and no prefix with this name exists".into(),
    }
}

/// Returns the problem text for a control folder of a prefix. A run in progress has one.
fn control(name: &str) -> String {
    format!(
        "{name} exists: a run is in progress, or was interrupted and the next run will clean up"
    )
}

/// Returns the name of the control folder next to a prefix, if it exists and this process may list it.
fn control_next_to(location: &Location) -> Option<String> {
    location.as_remote().filter(|_| !location.name().is_empty())?;
    let name = control_name(&location.name());
    let names = location.sibling(&name).names();
    names.is_ok_and(|names| !names.is_empty()).then_some(name)
}
