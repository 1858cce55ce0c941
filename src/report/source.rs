//! Opens the export of a report: its files, and what it states about itself.

use std::sync::Arc;

use parquet::file::reader::Length as _;
use uuid::Uuid;

use crate::{
    batch::{Column, OutputColumn},
    client::Query,
    error::Result,
    location::Location,
    readback::{
        self, ReadOptions,
        checked_files::{ExportFile, RecordedRows},
        recorded_files::RecordedFiles,
    },
    record::{
        earlier::EarlierTransform,
        facts::Facts,
        manifest::{Completeness, ConvertedFrom, Manifest, SnapshotOf},
    },
    sink::Encoding,
    transform::TransformRecord,
};

/// Most files that a report lists: 100.
const MOST_FILES: usize = 100;

/// The next step for a column of a file without a record that cannot be read.
pub(super) const DROP: &str = "leave it out with `drop`";

/// An export, or a file with the columns of an export.
pub(super) struct ReportSource {
    pub(super) place: Location,
    /// How to read its rows.
    pub(super) options: ReadOptions,
    /// The names of columns that are not read: no export has them, or the report leaves them out.
    pub(super) unread: Vec<String>,
    pub(super) files: Vec<ExportFile>,
    /// The columns; `None` if only the rows name them, or nothing does.
    pub(super) columns: Option<Arc<[OutputColumn]>>,
    pub(super) facts: ExportFacts,
}

/// What an export states about itself. All fields are empty for a file without a record and without facts.
#[derive(Debug, Clone, Default)]
pub(super) struct ExportFacts {
    pub(super) is_recorded: bool,
    pub(super) dataset: Option<Uuid>,
    pub(super) base_url: Option<String>,
    pub(super) query: Option<Query>,
    pub(super) completeness: Option<Completeness>,
    /// Number of rows of the dataset.
    pub(super) count: Option<u64>,
    pub(super) rows_read: Option<u64>,
    pub(super) rows: Option<u64>,
    pub(super) transform: Option<TransformRecord>,
    pub(super) earlier: Vec<EarlierTransform>,
    pub(super) converted_from: Option<ConvertedFrom>,
    pub(super) snapshot: Option<SnapshotOf>,
    pub(super) digest: Option<String>,
    /// The program that wrote the export, with its version.
    pub(super) tool: Option<String>,
    pub(super) started_at: Option<String>,
    pub(super) finished_at: Option<String>,
    /// Name of the format and of its compression.
    pub(super) format: Option<String>,
    /// Size of all files in bytes.
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// The first files, in the order of their rows.
    pub(super) parts: Vec<FileFacts>,
    /// The names of the columns that no export has. The report leaves them out.
    pub(super) foreign: Vec<String>,
    /// The record as JSON text.
    pub(super) record: Option<String>,
}

/// What is stated of a file.
#[derive(Debug, Clone)]
pub(super) struct FileFacts {
    pub(super) path: String,
    pub(super) rows: Option<u64>,
    pub(super) bytes: u64,
    pub(super) sha256: Option<String>,
}

impl ReportSource {
    /// Opens an export and reads its metadata. The columns that the options leave out are read only to check the rows.
    ///
    /// # Errors
    /// `Io` or `Store` when it does not exist or cannot be read, `Damaged` when it is not an export or does not match
    /// its record, `ChangedCells` when it is CSV with protected cells.
    pub(super) fn open(place: &Location, options: &ReadOptions) -> Result<Self> {
        let asked = options.record.as_ref();
        let recorded = match readback::is_single_file(place)? {
            true => RecordedFiles::find_of_file(place, asked)?,
            false => Some(RecordedFiles::of_directory(place, options)?),
        };
        match recorded {
            Some(RecordedFiles { manifest, files }) => Ok(Self {
                place: place.clone(),
                options: options.of_all_columns(),
                unread: Vec::new(),
                files: files.into_iter().map(|file| ExportFile::Recorded(Box::new(file))).collect(),
                columns: Some(manifest.columns.as_slice().into()),
                facts: ExportFacts::of_manifest(&manifest)?,
            }),
            None => Self::file(place, options),
        }
    }

    fn file(place: &Location, options: &ReadOptions) -> Result<Self> {
        let (reader, options) = readback::open_unrecorded(place, options)?;
        reader.require_columns(place).map_err(|error| error.with_hint_of_column(DROP))?;
        let of_schema = |schema: &arrow_schema::SchemaRef| {
            schema.fields().iter().filter_map(|field| OutputColumn::of_field(field)).collect()
        };
        let facts = reader.facts.as_ref();
        let recorded = facts.map(RecordedRows::from);
        let mut stated = match facts {
            Some(facts) => ExportFacts::of_file(facts)?,
            None => ExportFacts::default(),
        };
        stated.foreign = reader.foreign_names().to_vec();
        let encoding = Encoding::of_path(std::path::Path::new(&place.name()));
        stated.format = encoding.map(|it| it.format().to_string());
        (stated.files, stated.bytes) = (1, place.open()?.len());
        let (rows, bytes) = (stated.rows, stated.bytes);
        stated.parts = vec![FileFacts { path: place.name(), rows, bytes, sha256: None }];
        Ok(Self {
            place: place.clone(),
            unread: reader.unread_names(place, &options)?,
            options,
            files: vec![ExportFile::Single(place.clone(), recorded)],
            columns: reader.schema.as_ref().map(of_schema),
            facts: stated,
        })
    }

    /// The columns of a source without rows.
    pub(super) fn usual_columns(&self) -> Arc<[OutputColumn]> {
        let usual = || Column::ALL.into_iter().map(OutputColumn::from).collect();
        self.columns.clone().unwrap_or_else(usual)
    }
}

impl ExportFacts {
    /// Whether ids can repeat. They cannot in all rows of a dataset that were proven to be there once.
    pub(super) fn may_repeat_ids(&self) -> bool {
        let is_proven = self.completeness == Some(Completeness::Proven);
        let is_whole = self.transform.is_none() && self.earlier.is_empty();
        !(is_proven && is_whole)
    }

    fn of_manifest(manifest: &Manifest) -> Result<Self> {
        let parts = manifest.parts.iter().take(MOST_FILES).map(|part| FileFacts {
            path: part.path.clone(),
            rows: Some(part.rows),
            bytes: part.bytes,
            sha256: Some(part.sha256.clone()),
        });
        let record = String::from_utf8_lossy(&manifest.to_json()?).into_owned();
        Ok(Self {
            is_recorded: true,
            dataset: manifest.dataset,
            base_url: manifest.base_url.clone(),
            query: manifest.query.clone(),
            completeness: Some(manifest.completeness),
            count: manifest.count,
            rows_read: Some(manifest.rows_read),
            rows: Some(manifest.rows),
            transform: manifest.transform.clone(),
            earlier: manifest.earlier.clone(),
            converted_from: manifest.converted_from.clone(),
            snapshot: manifest.snapshot.clone(),
            digest: Some(manifest.digest.clone()),
            tool: Some(format!("{} {}", manifest.tool.name, manifest.tool.version)),
            started_at: Some(manifest.started_at.clone()),
            finished_at: Some(manifest.finished_at.clone()),
            format: Some(format!("{}, {}", manifest.format, manifest.compression)),
            bytes: manifest.parts.iter().fold(0, |sum, part| part.bytes.saturating_add(sum)),
            files: manifest.parts.len() as u64,
            parts: parts.collect(),
            foreign: Vec::new(),
            record: Some(record),
        })
    }

    fn of_file(facts: &Facts) -> Result<Self> {
        Ok(Self {
            is_recorded: true,
            dataset: facts.dataset,
            query: facts.query.clone(),
            completeness: Some(facts.completeness_of_file()),
            count: facts.count,
            rows_read: Some(facts.rows_read),
            rows: Some(facts.rows),
            transform: facts.transform.clone(),
            earlier: facts.earlier.clone(),
            digest: Some(facts.digest.clone()),
            tool: Some(facts.tool.clone()),
            record: Some(facts.to_json()?),
            ..Self::default()
        })
    }
}
