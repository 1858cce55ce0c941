//! The plan of a conversion: what to read, which rows and columns to write, and how. It is checked as a whole.

use std::{path::PathBuf, sync::Arc};

use super::{
    apart::{require_apart, require_outside},
    source::ConvertSource,
    source_plan::SourcePlan,
};
use crate::{
    batch::OutputColumn,
    destination::OutputRequest,
    error::Result,
    export::{
        NestingOptions,
        nesting_options::TypeChoice,
        output_form::OutputForm,
        output_plan::{OutputChoice, OutputPlan},
        splits::{layout_of, require_directory, splits_of},
    },
    location::{Location, StorageOptions, Target},
    nested::NestedField,
    readback::ReadOptions,
    record::{
        facts::Facts,
        manifest::{FORMAT_VERSION, PartRows},
        place,
    },
    sink::{Compression, Encoding, Format, JsonColumns, ParquetEncoding},
    transform::{Shaper, Transform, TransformRecord},
};

/// The options of a conversion. [`ConvertPlan::new`] decides everything else.
///
/// ```
/// use overmind_export::{ConvertOptions, Transform};
/// let mut options = ConvertOptions::new("rows.parquet", "failed/");
/// options.transform = Transform::new().keep_where(".tags.passed == false");
/// options.rows_per_file = Some(10_000);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// The source: an export, which is a directory with its record, a prefix in an object store or a single file; or a
    /// Parquet, Arrow IPC, JSON Lines or CSV file with columns of an export. A path or a URL.
    pub source: PathBuf,
    /// The place of the source's record, if it is not next to the source.
    pub source_record: Option<PathBuf>,
    /// The output: a file, a directory, the URL of either in an object store, or `-` for standard output. See
    /// [`Target`].
    pub output: PathBuf,
    /// Settings of the object stores.
    pub storage: StorageOptions,
    /// The format; default from the output's extension, and Parquet for a directory.
    pub format: Option<Format>,
    /// The codec; default from the extension, or else the format's own default.
    pub compression: Option<Compression>,
    /// How Parquet encodes values; default [`ParquetEncoding::DeltaLength`]. Only for Parquet.
    pub parquet_encoding: Option<ParquetEncoding>,
    /// The form of JSON columns; default [`JsonColumns::Value`] for JSON Lines, and [`JsonColumns::Text`] for the others.
    pub json_columns: Option<JsonColumns>,
    /// Which JSON columns become nested, and their types; default all if `json_columns` is [`JsonColumns::Nested`]. Unless
    /// the types are given, the source is read twice: first to find them.
    pub nesting: NestingOptions,
    /// Whether CSV begins with a byte order mark, for spreadsheets; default no. Only for CSV.
    pub csv_bom: bool,
    /// Whether cells of CSV that a spreadsheet would run as a formula get a `'` before them; default no. Only for CSV.
    /// See [`Encoding::with_csv_safe`].
    pub csv_safe: bool,
    /// The names of the columns, of the source or computed ones, in this order; default all: those of the source, and
    /// then the computed ones.
    pub columns: Option<Vec<String>>,
    /// The names of columns to leave out; default none.
    pub drop: Vec<String>,
    /// How to choose and change the rows to write; default none. Expressions see the fields of the API, but not the
    /// computed columns of the source.
    pub transform: Transform,
    /// Number of rows in each part of a directory, except the last; default 250,000. A part also ends after 512 MiB of
    /// values. With splits, the parts of all splits end when one of them has this number of rows.
    pub rows_per_file: Option<u64>,
    /// Whether to replace an existing output; default no. A directory is replaced only if it is an export.
    pub overwrite: bool,
    /// Whether to delete the parts of an interrupted export to the same directory; default no. Those of an interrupted
    /// conversion are always deleted.
    pub restart: bool,
    /// Whether to write a manifest next to a single file. A directory always has one.
    pub manifest: bool,
    /// The place of the record of a directory, a path or a URL; default next to it. Only for a directory.
    pub record: Option<PathBuf>,
    /// Whether to write an empty file `_SUCCESS` into a directory; default no.
    pub success_file: bool,
    /// Whether to write a dataset card, `README.md`, into a directory, for people and for Hugging Face; default no. The
    /// parts are in its folder `data` then.
    pub dataset_card: bool,
    /// Number of threads for encoding and for the transformation; default one for each core, but at most 16. Any number
    /// gives the same bytes.
    pub encode_threads: Option<usize>,
    /// Size limit of one value of the source in bytes; default [`ReadOptions::MAX_VALUE_BYTES`], at most
    /// [`ReadOptions::HIGHEST`].
    pub max_value_bytes: usize,
    /// Folder where ids beyond 4 MiB are sorted; default the system's temporary directory. Needed only for a source
    /// without a record.
    pub temp_dir: Option<PathBuf>,
}

impl ConvertOptions {
    /// Returns the default options for this source and this output, which are paths or URLs.
    pub fn new(source: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            source_record: None,
            output: output.into(),
            storage: StorageOptions::default(),
            format: None,
            compression: None,
            parquet_encoding: None,
            json_columns: None,
            nesting: NestingOptions::default(),
            csv_bom: false,
            csv_safe: false,
            columns: None,
            drop: Vec::new(),
            transform: Transform::new(),
            rows_per_file: None,
            overwrite: false,
            restart: false,
            manifest: false,
            record: None,
            success_file: false,
            dataset_card: false,
            encode_threads: None,
            max_value_bytes: ReadOptions::MAX_VALUE_BYTES,
            temp_dir: None,
        }
    }

    fn choice(&self) -> OutputChoice<'_> {
        OutputChoice {
            output: &self.output,
            storage: &self.storage,
            format: self.format,
            compression: self.compression,
            parquet_encoding: self.parquet_encoding,
            // The columns of the source decide about it.
            json_columns: None,
            csv_bom: self.csv_bom,
            csv_safe: self.csv_safe,
            rows_per_file: self.rows_per_file,
            encode_threads: self.encode_threads,
            overwrite: self.overwrite,
            manifest: self.manifest,
            record: self.record.as_deref(),
            success_file: self.success_file,
            temp_dir: self.temp_dir.as_deref(),
        }
    }
}

/// The checked plan of a conversion.
#[derive(Debug, Clone)]
pub struct ConvertPlan {
    pub(super) output: OutputPlan,
    pub(super) restart: bool,
    /// Whether the output has a dataset card.
    pub(super) has_card: bool,
    pub(super) rows: SourcePlan,
    /// How the types of nested JSON columns are chosen; `None` if no column is nested.
    pub(super) nesting: Option<TypeChoice>,
    /// Whether values that do not fit go to a column of their own.
    pub(super) rescues: bool,
}

impl ConvertPlan {
    /// Makes a plan and checks it. Reads the metadata of the source, and looks at the output's path. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) or [`Error::Usage`](crate::Error::Usage), with the wrong value, if an
    /// option is not valid by itself or together with others, or if the output is the source or inside it.
    /// [`Error::Expression`](crate::Error::Expression) for an expression that is not valid.
    /// [`Error::Io`](crate::Error::Io) or [`Error::Store`](crate::Error::Store) when the source does not exist or cannot
    /// be read. [`Error::Damaged`](crate::Error::Damaged) when it is not an export or does not match its record.
    /// [`Error::ChangedCells`](crate::Error::ChangedCells) when it is CSV with protected cells.
    pub fn new(options: ConvertOptions) -> Result<Self> {
        let mut output = options.choice().plan()?;
        let shaper = Shaper::compile(&options.transform)?.map(Arc::new);
        require_directory((shaper.as_deref(), options.dataset_card), &output.target)?;
        let place = Location::of(&options.source, &options.storage)?;
        let record = options.source_record.as_ref();
        let record = record.map(|record| Location::of(record, &options.storage)).transpose()?;
        require_apart(&place, &ConvertSource::records(&place, record.as_ref()), &output)?;
        let read = ReadOptions {
            max_value_bytes: options.max_value_bytes,
            record: record.clone(),
            record_option: Some("source_record"),
            ..ReadOptions::default()
        };
        let named = (options.columns.as_deref(), options.drop.as_slice());
        let rows = SourcePlan::open(&place, read, named, shaper)?;
        let whole = match rows.source.origin.is_of_folder {
            true => place::find(&place, record.as_ref())?,
            false => place::find_of_part(&place),
        };
        if let Some(whole) = whole {
            require_outside(&place, &whole, &output)?;
        }
        let form = OutputForm {
            shaper: rows.shaper.as_deref(),
            columns: &rows.columns,
            has_lines: rows.source.has_lines(),
            has_card: options.dataset_card,
            json_columns: options.json_columns,
            nesting: &options.nesting,
            is_named: true,
        };
        let (encoding, nesting) = form.check(output.encoding)?;
        output.encoding = encoding;
        let rescues = nesting.is_some() && options.nesting.rescue;
        let (restart, has_card) = (options.restart, options.dataset_card);
        Ok(Self { output, restart, has_card, rows, nesting, rescues })
    }

    /// Returns the output of the conversion.
    pub fn target(&self) -> &Target {
        &self.output.target
    }

    /// Returns the format and the compression.
    pub fn encoding(&self) -> Encoding {
        self.output.encoding
    }

    /// Returns the columns, in the order of the output.
    pub fn columns(&self) -> impl Iterator<Item = &OutputColumn> {
        self.rows.columns()
    }

    /// Returns how the rows to write are chosen, for records; `None` if all are written.
    pub(super) fn transform_record(&self) -> Option<&TransformRecord> {
        self.rows.shaper.as_ref().map(|shaper| shaper.recorded())
    }

    /// Whether values of the rows are replaced.
    pub(super) fn replaces(&self) -> bool {
        self.transform_record().is_some_and(|transform| transform.replaced_paths() > 0)
    }

    /// Whether the rows of the output are those of the source, with all columns in their order. With splits, they are in
    /// another order.
    pub(super) fn is_unchanged(&self) -> bool {
        self.transform_record().is_none_or(TransformRecord::only_splits)
            && self.columns().eq(self.rows.source.columns.iter())
    }

    /// Returns the names and the fractions of the splits, in their order; none without a split.
    pub(super) fn splits(&self) -> Vec<(String, f64)> {
        splits_of(self.rows.shaper.as_deref())
    }

    /// Returns the options for the destination.
    pub(super) fn wanted(&self) -> OutputRequest {
        let layout = layout_of(self.rows.shaper.as_deref(), self.has_card);
        OutputRequest { layout, ..self.output.wanted() }
    }

    /// Returns the facts for the metadata of a file with these rows of the output, or of one of its splits.
    pub(super) fn facts(
        &self,
        first_row: u64,
        part: &PartRows,
        split: Option<&str>,
        nested: Option<Vec<NestedField>>,
    ) -> Facts {
        let origin = &self.rows.source.origin;
        Facts {
            format_version: FORMAT_VERSION,
            tool: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            dataset: origin.dataset,
            query: origin.query.clone(),
            completeness: origin.completeness(),
            count: origin.count,
            first_row,
            rows_read: part.read,
            rows: part.written,
            split: split.map(str::to_owned),
            transform: self.transform_record().cloned(),
            earlier: origin.earlier.clone(),
            digest: part.digest.to_string(),
            nested_digest: part.nested_digest.map(|digest| digest.to_string()),
            nested,
        }
    }
}
