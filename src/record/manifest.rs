//! The manifest, which is the record of an export: the request, the result, and size and digests of each file.
//!
//! It is written last: if it exists, all files that it lists exist. It contains the facts that data files must not
//! contain, times and the base URL, but never a secret.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use super::names::{is_desktop_file, is_part_name};
pub(crate) use super::{
    origin::{ConvertedFrom, Listed, SnapshotOf},
    part::{ListedPart, PartRows, add_replaced},
};
pub use super::{part::Part, written::Completeness};
use crate::{
    batch::OutputColumn,
    client::Query,
    error::{Error, Result},
    location::Location,
    nested::{NestedField, RESCUED, RescuedPaths},
    proof::Digest,
    record::{
        earlier::{EarlierTransform, rows_of_dataset, unexplained_earlier},
        written::{WrittenCard, WrittenRange, WrittenSplit},
    },
    sink::{Format, JsonColumns, ParquetEncoding},
    text::foreign,
    transform::{TransformRecord, keep_missing},
};

/// The manifest's file name in a directory.
pub(crate) const MANIFEST: &str = "_manifest.json";
/// Name of an empty file that marks the directory as complete.
pub(crate) const SUCCESS: &str = "_SUCCESS";

/// The layout of manifests and of the facts inside the files.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// The content of an export's record: the facts about the export and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the manifest's layout: 2.
    pub format_version: u32,
    /// The program that wrote the export.
    pub tool: Tool,
    /// Base URL of the API. `None` if unknown: the export was converted from a file without a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Id of the dataset. `None` if unknown, like the query and the count: the export was converted from a file that
    /// does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Uuid>,
    /// The filters and the order of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// Start of the run that completed the export, RFC 3339, UTC.
    pub started_at: String,
    /// Time at which the last row was written, RFC 3339, UTC.
    pub finished_at: String,
    /// Whether every row of the dataset is proven to have been read exactly once.
    pub completeness: Completeness,
    /// Number of rows of the dataset, according to the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Number of pages read. 0 for a conversion.
    pub pages: u64,
    /// Number of rows of a full page, as returned by the API. 0 for a conversion.
    pub rows_per_page: u64,
    /// Number of rows read.
    pub rows_read: u64,
    /// Number of rows written. Without a transformation, these are the rows read. The rows of a map are its lines.
    pub rows: u64,
    /// How the rows to write were chosen. `None` if all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformRecord>,
    /// The transformations that were made before, the first one first: those of the export that was converted. Without
    /// them, the rows read are those of the dataset; with them, those that the last one has kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierTransform>,
    /// What was converted. `None` if the rows come from the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converted_from: Option<ConvertedFrom>,
    /// The columns, in order.
    pub columns: Vec<OutputColumn>,
    /// The format of the parts.
    pub format: Format,
    /// The codec of the parts.
    pub compression: String,
    /// How Parquet parts encode values. `None` for other formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parquet_encoding: Option<ParquetEncoding>,
    /// How JSON columns are held. `None` for JSON text in other formats than JSON Lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_columns: Option<JsonColumns>,
    /// The types of the JSON columns, if they are nested. It also has the column `_rescued`, if the files have it: the
    /// values that do not fit these types. `columns` does not name it, because readers of this program put the values
    /// back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<Vec<NestedField>>,
    /// Whether CSV begins with a byte order mark. `None` for other formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv_bom: Option<bool>,
    /// Whether cells of CSV are changed so that no spreadsheet runs them as a formula. The digests are those of the
    /// rows before this change. `None` for other formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv_safe: Option<bool>,
    /// Digest of the rows' content. It does not depend on the format or the size of the parts. If the JSON columns are
    /// nested, it is that of the JSON text from which they were made.
    pub digest: String,
    /// Job and time of the snapshot, if the export is a snapshot of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotOf>,
    /// The ranges of pages, in the order of their rows. Each writer writes one range. Empty for a conversion.
    pub ranges: Vec<WrittenRange>,
    /// Id of the plan, if many workers wrote the export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The dataset card. `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<WrittenCard>,
    /// The splits, in the order in which they were asked for. Empty if the rows are not split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<WrittenSplit>,
    /// The files, in the order of their rows: the rows of the first split come before those of the next one.
    pub parts: Vec<Part>,
    /// Whether only the parts in a folder of the export are listed, for a reader of that folder. No file has it.
    #[serde(skip)]
    pub(crate) is_of_folder: bool,
}

/// The program that wrote an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Name of the program: `overmind-export`.
    pub name: String,
    /// Version of the program.
    pub version: String,
}

impl Tool {
    pub(crate) fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Damaged`] when it is not a manifest or has an unknown
    /// layout version.
    pub fn read(path: &Path) -> Result<Self> {
        let location = path.into();
        let missing = || Error::io("read", path)(std::io::ErrorKind::NotFound.into());
        Self::load(&location)?.ok_or_else(missing)
    }

    /// Reads a manifest like [`read`](Self::read), from disk or a store; `None` if it does not exist.
    pub(crate) fn load(location: &Location) -> Result<Option<Self>> {
        location.read()?.map(|bytes| Self::parse(&bytes, location)).transpose()
    }

    /// Parses a manifest from its bytes. `location` is named in errors.
    pub(crate) fn parse(bytes: &[u8], location: &Location) -> Result<Self> {
        let damaged = |why: String| Error::Damaged { path: location.to_path(), why };
        if let Ok(layout) = serde_json::from_slice::<RecordLayout>(bytes)
            && layout.format_version.is_some()
        {
            layout.check(location)?;
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| damaged(format!("it is not a manifest: {}", foreign(error))))?;
        if manifest.tool.name != env!("CARGO_PKG_NAME") {
            let Tool { name, version } = &manifest.tool;
            return Err(damaged(format!("it was written by {name} {version}")));
        }
        Ok(manifest)
    }

    /// Returns the id of the dataset; the nil UUID if it is unknown, which no snapshot's is.
    pub(crate) fn dataset_or_nil(&self) -> Uuid {
        self.dataset.unwrap_or_default()
    }

    /// Returns the parts in order, each with the facts that its file must have.
    pub(crate) fn listed(&self) -> impl Iterator<Item = ListedPart> {
        let (mut first_row, mut split) = (0_u64, None);
        let transform = self.transform.clone().map(Arc::new);
        let columns: Arc<[OutputColumn]> = self.columns.as_slice().into();
        let earlier: Arc<[EarlierTransform]> = self.earlier.as_slice().into();
        self.parts.iter().map(move |part| {
            // Each split has parts for all rows read.
            if split != part.split.as_ref() {
                (first_row, split) = (0, part.split.as_ref());
            }
            let before = first_row;
            first_row = first_row.saturating_add(part.rows_read);
            ListedPart {
                part: part.clone(),
                first_row: before,
                dataset: self.dataset,
                count: self.count,
                completeness: self.completeness,
                query: self.query.clone(),
                transform: transform.clone(),
                earlier: earlier.clone(),
                columns: columns.clone(),
            }
        })
    }

    /// Returns the number of rows on which an expression of the transformation failed.
    pub(crate) fn failed_rows(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.failed))
    }

    /// Returns the number of rows that equal an earlier one and were left out.
    pub(crate) fn duplicate_rows(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.duplicates))
    }

    /// Returns the number of rows in which each path of the transformation has replaced a value.
    pub(crate) fn replaced_rows(&self) -> Vec<u64> {
        let mut sums = Vec::new();
        self.parts.iter().for_each(|part| add_replaced(&mut sums, &part.replaced));
        sums
    }

    /// Returns what no row that was read gave to the expressions of the transformation.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = None;
        self.parts.iter().for_each(|part| keep_missing(&mut missing, &part.missing));
        missing.unwrap_or_default()
    }

    /// Whether the files have a column for values that do not fit the types of the others.
    pub(crate) fn has_rescued(&self) -> bool {
        self.nested.iter().flatten().any(|field| field.name == RESCUED)
    }

    /// Returns the number of rows with values that do not fit the types of their nested columns, and the first paths of
    /// these values.
    pub(crate) fn rescued(&self) -> (u64, RescuedPaths) {
        let (mut rows, mut paths) = (0_u64, RescuedPaths::default());
        for part in &self.parts {
            rows = rows.saturating_add(part.rescued);
            paths.join(&part.rescued_paths);
        }
        (rows, paths)
    }

    /// Returns the recorded totals: what is counted, the recorded number, and the number that follows from the
    /// parts.
    pub(crate) fn totals(&self) -> [(&'static str, u64, u64); 3] {
        let rows = self.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.rows));
        let count = self.count.unwrap_or_default();
        let of_dataset = match self.completeness {
            Completeness::Proven => rows_of_dataset(&self.earlier, self.rows_read),
            Completeness::Partial => count,
        };
        [
            ("rows", self.rows, rows),
            ("rows read", self.rows_read, self.rows_read_of_parts()),
            ("rows of the dataset", count, of_dataset),
        ]
    }

    /// Returns why the earlier transformations cannot have given the rows that were read.
    pub(crate) fn unexplained_earlier(&self) -> Option<String> {
        let is_whole = self.completeness == Completeness::Proven;
        unexplained_earlier(&self.earlier, self.rows_read, is_whole)
    }

    /// Returns the digest that the digests of the parts join to; `None` if one of them is not a digest.
    pub(crate) fn joined_digest(&self) -> Option<Digest> {
        self.joined(|part| &part.digest)
    }

    /// Returns the digest of the rows as they are read back; `None` if that of a part is not a digest.
    pub(crate) fn read_digest(&self) -> Option<Digest> {
        self.joined(Part::read_digest)
    }

    fn joined(&self, digest: impl Fn(&Part) -> &str) -> Option<Digest> {
        let mut whole = Digest::default();
        for part in &self.parts {
            whole.join(digest(part).parse().ok()?, part.rows);
        }
        Some(whole)
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Internal(format!("manifest: {error}")))?;
        json.push(b'\n');
        Ok(json)
    }
}

/// The layout that a manifest or the facts in a file have.
#[derive(Debug, Deserialize)]
pub(crate) struct RecordLayout {
    /// Facts of layout 1 had no version.
    #[serde(default)]
    format_version: Option<u32>,
}

impl RecordLayout {
    /// Refuses another layout, which can have other fields. `location` is named in the error.
    pub(crate) fn check(&self, location: &Location) -> Result<()> {
        let why = match self.format_version.unwrap_or(1) {
            FORMAT_VERSION => return Ok(()),
            ..FORMAT_VERSION => {
                "an earlier version of this program wrote it, in a layout that is no longer read: export \
                 the dataset again"
            }
            _ => "a later version of this program wrote it: update this one",
        };
        Err(Error::Damaged { path: location.to_path(), why: why.to_owned() })
    }
}
