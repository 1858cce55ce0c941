//! The plan of a conversion: what to read, which rows and columns to write, and how. It is checked as a whole.

use std::{path::PathBuf, sync::Arc};

use super::{apart::require_apart, replaced, source::ConvertSource};
use crate::{
    batch::{BatchColumn, Column, ColumnSource, OutputColumn},
    error::{Error, Result},
    export::{
        columns::output_columns_of,
        output_plan::{OutputChoice, OutputPlan},
        plan::require_lines,
    },
    location::{Location, StorageOptions, Target},
    readback::ReadOptions,
    record::{
        facts::Facts,
        manifest::{FORMAT_VERSION, PartRows},
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
    /// values.
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
            json_columns: self.json_columns,
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
    pub(super) source: Arc<ConvertSource>,
    pub(super) read: ReadOptions,
    pub(super) columns: Vec<BatchColumn>,
    /// The compiled transformation; `None` if it changes nothing.
    pub(super) shaper: Option<Arc<Shaper>>,
}

impl ConvertPlan {
    /// Makes a plan and checks it. Reads the metadata of the source, and looks at the output's path. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Usage`], with the wrong value, if an option is not valid by itself or together with
    /// others, or if the output is the source or inside it. [`Error::Expression`] for an expression that is not valid.
    /// [`Error::Io`] or [`Error::Store`] when the source does not exist or cannot be read. [`Error::Damaged`] when it is
    /// not an export or does not match its record. [`Error::ChangedCells`] when it is CSV with protected cells.
    pub fn new(options: ConvertOptions) -> Result<Self> {
        let output = options.choice().plan()?;
        if output.encoding.is_nested() {
            let why = "a conversion writes no nested columns: give `json_columns` text, or export with nested columns";
            return Err(Error::Usage(why.to_owned()));
        }
        let shaper = Shaper::compile(&options.transform)?.map(Arc::new);
        if shaper.as_ref().is_some_and(|shaper| shaper.splits().next().is_some()) {
            let why = "`split` is for an export of a dataset: a conversion writes all rows into one folder";
            return Err(Error::Usage(why.to_owned()));
        }
        let place = Location::of(&options.source, &options.storage)?;
        let record = options.source_record.as_ref();
        let record = record.map(|record| Location::of(record, &options.storage)).transpose()?;
        require_apart(&place, &ConvertSource::records(&place, record.as_ref()), &output)?;
        let read = ReadOptions {
            max_value_bytes: options.max_value_bytes,
            record,
            ..ReadOptions::default()
        };
        let (names, drop) = (options.columns.as_deref(), options.drop.as_slice());
        let is_named = |names: &[String], name: &str| names.iter().any(|it| it == name);
        let is_unused =
            |name: &str| names.is_some_and(|names| !is_named(names, name)) || is_named(drop, name);
        let source = ConvertSource::open(&place, &read, is_unused)?;
        let has_lines = source.columns.iter().any(OutputColumn::is_line);
        if has_lines && shaper.is_some() {
            let why = format!(
                "the rows of {place} are lines that `map` wrote, without fields of the API"
            );
            return Err(Error::Usage(why));
        }
        if has_lines || shaper.as_ref().is_some_and(|shaper| shaper.maps()) {
            require_lines(output.encoding)?;
        }
        let columns = chosen_columns(&source, (names, drop), shaper.as_deref())?;
        if let Some(shaper) = &shaper {
            replaced::check(shaper, &source, &columns)?;
        }
        let source = Arc::new(source);
        Ok(Self { output, restart: options.restart, source, read, columns, shaper })
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
        self.columns.iter().map(|it| &it.column)
    }

    /// Returns how the rows to write are chosen, for records; `None` if all are written.
    pub(super) fn transform_record(&self) -> Option<&TransformRecord> {
        self.shaper.as_ref().map(|shaper| shaper.recorded())
    }

    /// Whether values of the rows are replaced.
    pub(super) fn replaces(&self) -> bool {
        self.transform_record().is_some_and(|transform| transform.replaced_paths() > 0)
    }

    /// Whether the rows of the output are those of the source, with all columns in their order.
    pub(super) fn is_unchanged(&self) -> bool {
        self.shaper.is_none() && self.columns().eq(self.source.columns.iter())
    }

    /// Returns the facts for the metadata of a file with these rows.
    pub(super) fn facts(&self, first_row: u64, part: &PartRows) -> Facts {
        let origin = &self.source.origin;
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
            split: None,
            transform: self.transform_record().cloned(),
            earlier: origin.earlier.clone(),
            digest: part.digest.to_string(),
            nested_digest: None,
            nested: None,
        }
    }
}

/// Returns the columns of the output, and where their values come from.
fn chosen_columns(
    source: &ConvertSource,
    (names, drop): (Option<&[String]>, &[String]),
    shaper: Option<&Shaper>,
) -> Result<Vec<BatchColumn>> {
    let has = |name: &str| source.columns.iter().any(|column| column.name() == name);
    for column in shaper.into_iter().flat_map(Shaper::columns) {
        let lower = column.name().to_lowercase();
        let is_similar =
            |it: &&OutputColumn| it.name() != column.name() && it.name().to_lowercase() == lower;
        if let Some(other) = source.columns.iter().find(is_similar) {
            let why = format!("it differs from the column {other} of the source only in case");
            return Err(Error::invalid("column", column.name(), why));
        }
    }
    if let Some(shaper) = shaper {
        shaper.require_fields(|name| lacks(name, has))?;
    }
    let columns = source.columns.iter().cloned().enumerate();
    let all = columns.map(|(index, column)| {
        // Values of the same name in the source are not those of the API, if the source has computed them.
        BatchColumn { column, source: ColumnSource::Batch(index) }
    });
    output_columns_of(all.collect(), names, drop, shaper)
}

/// Returns why an expression cannot read the field of this name; `None` if it can.
fn lacks(name: &str, has: impl Fn(&str) -> bool) -> Option<String> {
    let others = Column::AdditionalProperties.name();
    match name.parse::<Column>() {
        Ok(column) if column.name() != others => {
            (!has(name)).then(|| format!("the source has no column {name}"))
        }
        _ if has(name) && name != others => Some(format!(
            "{name} is a computed column of the source, and expressions read only fields of the API"
        )),
        _ => (!has(others)).then(|| {
            format!("{name} is none of the usual fields, and the source has no column {others}")
        }),
    }
}
