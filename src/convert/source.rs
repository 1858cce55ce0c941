//! The source of a conversion: its files, its columns, and what it states about itself.

use std::{path::Path, sync::Arc};

use arrow_schema::Schema;
use uuid::Uuid;

use super::checks::damaged;
use crate::{
    batch::{Column, OutputColumn},
    client::Query,
    error::{Error, Result},
    location::Location,
    nested::NestedField,
    proof::Digest,
    readback::{
        self, ReadOptions, Reader,
        checked_files::{ExportFile, RecordedRows},
        recorded_files::RecordedFiles,
    },
    record::{
        earlier::EarlierTransform,
        facts::Facts,
        manifest::{Completeness, ConvertedFrom, Manifest},
        place::{self, sidecar_name},
    },
    sink::{Encoding, Format},
};

/// The next step for a column of a file without a record that cannot be read.
pub(super) const DROP: &str =
    "leave it out with `drop`, or name the columns to write with `columns`";

/// The rows of the source that were read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SourceRows {
    pub(super) rows: u64,
    pub(super) digest: Digest,
}

/// An export, or a file with the columns of an export.
#[derive(Debug)]
pub(super) struct ConvertSource {
    pub(super) place: Location,
    pub(super) files: Vec<ExportFile>,
    pub(super) format: Format,
    /// All columns that are read, in the source's order.
    pub(super) columns: Arc<[OutputColumn]>,
    /// The names of columns that are not read: no export has them, or they are left out.
    pub(super) unread: Vec<String>,
    /// Number of rows, if it is stated.
    pub(super) rows: Option<u64>,
    pub(super) origin: RowOrigin,
}

/// Where the rows of the source come from, as it states.
#[derive(Debug, Clone, Default)]
pub(super) struct RowOrigin {
    pub(super) base_url: Option<String>,
    pub(super) dataset: Option<Uuid>,
    pub(super) query: Option<Query>,
    pub(super) count: Option<u64>,
    pub(super) is_proven: bool,
    pub(super) earlier: Vec<EarlierTransform>,
    finished_at: Option<String>,
    snapshot: Option<crate::record::manifest::SnapshotOf>,
    /// The digest that the source states, if its rows are read back with another one: its JSON columns are nested.
    stated_digest: Option<String>,
    /// The types of the JSON columns, if they are nested.
    pub(super) nested: Vec<NestedField>,
    /// Whether the source states its rows and their digest.
    pub(super) is_recorded: bool,
    /// Whether a record of its own states that, and not only the metadata of the file.
    pub(super) has_record: bool,
    /// Whether the source is a folder of an export, such as that of a split.
    pub(super) is_of_folder: bool,
}

impl RowOrigin {
    pub(super) fn completeness(&self) -> Completeness {
        if self.is_proven { Completeness::Proven } else { Completeness::Partial }
    }
}

impl From<&Manifest> for RowOrigin {
    fn from(manifest: &Manifest) -> Self {
        let rows = (manifest.rows_read, manifest.rows);
        let split = manifest.split_of_folder();
        let earlier = with_own(&manifest.earlier, manifest.transform.as_ref(), rows, split);
        let read_digest = manifest.read_digest().map(|digest| digest.to_string());
        Self {
            base_url: manifest.base_url.clone(),
            dataset: manifest.dataset,
            query: manifest.query.clone(),
            count: manifest.count,
            is_proven: manifest.completeness == Completeness::Proven,
            earlier,
            finished_at: Some(manifest.finished_at.clone()),
            snapshot: manifest.snapshot.clone(),
            stated_digest: read_digest
                .is_some_and(|digest| digest != manifest.digest)
                .then(|| manifest.digest.clone()),
            nested: manifest.nested.clone().unwrap_or_default(),
            is_recorded: true,
            has_record: true,
            is_of_folder: manifest.is_of_folder,
        }
    }
}

impl From<&Facts> for RowOrigin {
    fn from(facts: &Facts) -> Self {
        let rows = (facts.rows_read, facts.rows);
        Self {
            dataset: facts.dataset,
            query: facts.query.clone(),
            count: facts.count,
            is_proven: facts.completeness_of_file() == Completeness::Proven,
            earlier: with_own(
                &facts.earlier,
                facts.transform.as_ref(),
                rows,
                facts.split.as_deref(),
            ),
            stated_digest: (facts.read_digest() != facts.digest).then(|| facts.digest.clone()),
            nested: facts.nested.clone().unwrap_or_default(),
            is_recorded: true,
            ..Self::default()
        }
    }
}

/// Returns the transformations of the source and of what it was converted from. `split` is the split whose rows the source
/// has, if it has those of one only.
fn with_own(
    earlier: &[EarlierTransform],
    own: Option<&crate::transform::TransformRecord>,
    (rows_read, rows): (u64, u64),
    split: Option<&str>,
) -> Vec<EarlierTransform> {
    let split = split.map(str::to_owned);
    let own = own.cloned().map(|transform| EarlierTransform { rows_read, rows, split, transform });
    earlier.iter().cloned().chain(own).collect()
}

impl ConvertSource {
    /// Opens an export and reads its metadata. Of JSON Lines without a record, it also reads the first rows.
    ///
    /// `options` names the place of the record, if the caller chose one. A column of a file without a record may be
    /// unknown if `is_unused` returns true for its name. Also returns the options for the rows: those for all columns, so
    /// that the rows can be compared with their digest, or the same if the source states no digest.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Store`] when the source does not exist or cannot be read, [`Error::Damaged`] when it is
    /// not an export, does not match its record, or has columns that no export has.
    pub(super) fn open(
        place: &Location,
        options: &ReadOptions,
        is_unused: impl Fn(&str) -> bool,
    ) -> Result<(Self, ReadOptions)> {
        let is_directory = match place.as_local() {
            Some(_) => !readback::is_single_file(place)?,
            None => place.is_directory()?,
        };
        if !is_directory && place.as_local().is_none() && !place.is_file()? {
            return Err(Error::Store {
                action: "read",
                url: place.to_string(),
                hint: None,
                source: "no object and no prefix with this name exists".into(),
            });
        }
        let asked = options.record.as_ref();
        let recorded = match is_directory {
            true => Some(RecordedFiles::of_directory(place, options)?),
            false => RecordedFiles::find_of_file(place, asked)?,
        };
        match recorded {
            Some(recorded) => Ok((Self::recorded(place, recorded), options.of_all_columns())),
            None => Self::file(place, options, is_unused),
        }
    }

    fn recorded(place: &Location, recorded: RecordedFiles) -> Self {
        let RecordedFiles { manifest, files } = recorded;
        Self {
            place: place.clone(),
            files: files.into_iter().map(|file| ExportFile::Recorded(Box::new(file))).collect(),
            format: manifest.format,
            columns: manifest.columns.as_slice().into(),
            unread: Vec::new(),
            rows: Some(manifest.rows),
            origin: RowOrigin::from(&manifest),
        }
    }

    fn file(
        place: &Location,
        options: &ReadOptions,
        is_unused: impl Fn(&str) -> bool,
    ) -> Result<(Self, ReadOptions)> {
        let (mut reader, options) = readback::open_unrecorded(place, options)?;
        reader.require_columns(place).map_err(|error| error.with_hint_of_column(DROP))?;
        if let Some(why) = reader.foreign_name(&is_unused) {
            return Err(Error::column(place.to_path(), why, Some(DROP)));
        }
        let unread = reader.unread_names(place, &options)?;
        let columns = columns(&mut reader).map_err(|error| error.with_hint_of_column(DROP))?;
        let of_file = Encoding::of_path(Path::new(&place.name())).map(Encoding::format);
        let is_known = |column: &OutputColumn| {
            column.of_api().is_some()
                || reader.computed.contains(column)
                || is_unused(column.name())
        };
        if let Some(unknown) = columns.iter().find(|column| !is_known(column)) {
            let why = format!("it has the column {unknown}, and no record says what it is");
            let hint = "leave it out with `drop`, or give the record with `source_record`";
            return Err(Error::column(place.to_path(), why, Some(hint)));
        }
        let facts = reader.facts.as_ref();
        if let Some(why) = facts.and_then(Facts::unexplained) {
            return Err(damaged(place, why));
        }
        let recorded = facts.map(RecordedRows::from);
        let source = Self {
            place: place.clone(),
            format: of_file.unwrap_or(Format::JsonLines),
            columns: columns.into(),
            unread,
            rows: recorded.as_ref().map(|recorded| recorded.rows).or(reader.rows),
            origin: facts.map(RowOrigin::from).unwrap_or_default(),
            files: vec![ExportFile::Single(place.clone(), recorded)],
        };
        Ok((source, options))
    }

    /// Whether the rows are lines that a map wrote.
    pub(super) fn has_lines(&self) -> bool {
        self.columns.iter().any(OutputColumn::is_line)
    }

    /// Returns the places where the record of the source may be.
    pub(super) fn records(place: &Location, asked: Option<&Location>) -> Vec<Location> {
        let sidecar = place.sibling(&sidecar_name(&place.name()));
        asked.cloned().into_iter().chain(place::next_to(place)).chain([sidecar]).collect()
    }

    /// Returns what the record of a conversion says of the source.
    /// `hides` says that values were replaced: then it has no digest of the rows, with which everybody could check a guess
    /// of such a value.
    pub(super) fn converted_from(&self, read: SourceRows, hides: bool) -> ConvertedFrom {
        ConvertedFrom {
            format: self.format,
            rows: read.rows,
            digest: (!hides).then(|| read.digest.to_string()),
            stated_digest: self.origin.stated_digest.clone().filter(|_| !hides),
            is_recorded: self.origin.is_recorded,
            finished_at: self.origin.finished_at.clone(),
            snapshot: self.origin.snapshot.clone(),
        }
    }
}

/// Returns the columns of a file. In JSON Lines only the rows name them; without a row, it has all columns of the API.
fn columns(reader: &mut Reader) -> Result<Vec<OutputColumn>> {
    let of_schema = |schema: &Schema| -> Vec<OutputColumn> {
        schema.fields().iter().filter_map(|field| OutputColumn::of_field(field)).collect()
    };
    if let Some(schema) = &reader.schema {
        return Ok(of_schema(schema));
    }
    match reader.batches.first_lines() {
        Some(batch) => Ok(of_schema(batch?.schema_ref())),
        None => Ok(Column::ALL.into_iter().map(OutputColumn::from).collect()),
    }
}
