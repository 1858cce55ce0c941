//! Reads the files of an export back into record batches, in the order in which they were written. Never writes.
//!
//! Files can come from any source and are not trusted. Memory is bounded in bytes: a batch ends after 1,000 rows
//! or 1 MiB of values. Units that must be decoded as a whole (a Parquet page, an Arrow batch) are refused when
//! they declare too many bytes. Only the requested columns are decoded.

mod ahead;
mod arrow;
pub(crate) mod batches;
mod block_threads;
pub(crate) mod checked_files;
mod checked_pages;
mod count;
mod csv;
mod file_batches;
mod footer;
#[cfg(feature = "cli")]
mod foreign;
mod json_line;
mod json_lines;
pub(crate) mod kinds;
mod line_block;
mod pages;
mod parquet;
mod recorded;
pub(crate) mod recorded_files;
mod shared;
mod stated;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod unit_threads;
mod units;
mod unread;
mod verification;
pub(crate) mod verify;
mod watched;
mod widened;
mod window;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arrow_schema::{DataType, Schema, SchemaRef};

#[cfg(feature = "cli")]
pub(crate) use self::foreign::ForeignFile;
#[cfg(feature = "demo")]
pub(crate) use self::json_line::datapoint;
use self::unread::Foreign;
pub(crate) use self::{
    ahead::{ReadAhead, bytes_of},
    count::count_rows,
    file_batches::FileBatches,
    unread::{open_unrecorded, unknown_column},
    widened::widened_types,
};
pub use self::{
    batches::Batches,
    stated::{StatedFacts, read_manifest},
    verification::{Check, Verification},
    verify::{verify, verify_with},
};
use crate::{
    batch::{Column, ColumnType, OutputColumn},
    error::{Cause, Error, Result},
    files::require_regular,
    location::{Location, Opened},
    nested::{NestedField, NestedType, RESCUED},
    record::{facts::Facts, manifest::ListedPart},
    sink::{Encoding, Format, MAX_FOOTER},
    text::grouped,
};

/// Options for reading exports back.
///
/// ```
/// use overmind_export::ReadOptions;
///
/// let mut options = ReadOptions::default();
/// options.columns = vec!["id".to_owned()];
/// assert_eq!(options.max_value_bytes, 64 << 20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The names of the columns to decode, in the export's order; default: all. Other columns are not decoded, and in
    /// Parquet and Arrow files not even read. The values in a column `_rescued` of a nested export are put back into
    /// their columns; the column itself is read only if it is named here.
    pub columns: Vec<String>,
    /// Size limit of one value in bytes, after decompression; default
    /// [`MAX_VALUE_BYTES`](Self::MAX_VALUE_BYTES), at most [`HIGHEST`](Self::HIGHEST). The limit of a Parquet page
    /// or an Arrow batch, which is decoded as a whole, is four times this value. Larger values, pages and batches
    /// end in [`Error::ValueTooLarge`].
    pub max_value_bytes: usize,
    /// Where the record of the export is; default: next to its directory or file. [`Batches`] reads the record of a
    /// single file only if it is given here.
    pub record: Option<Location>,
    /// Number of threads that decode row groups and Arrow batches; default one for each core, but at most 16. With 1,
    /// the calling thread decodes, and nothing ahead of the batch that it wants. Objects in a store are decoded by two
    /// threads, because their readers share a small cache. These threads also parse the JSON of lines. CSV is read by one thread.
    pub decode_threads: Option<usize>,
    /// Cancellation flag. Set it from another thread to end [`verify`] soon with [`Error::Interrupted`]. Other
    /// readers ignore it.
    pub stop: Arc<AtomicBool>,
    /// Whether the batches also have the column of rescued values, as their last one, if the file has it.
    pub(crate) with_rescued: bool,
    /// The option that names [`record`](Self::record), for messages; `None` if the caller has none.
    pub(crate) record_option: Option<&'static str>,
    /// Whether the texts of the batches may stay views into decoded pages. Copies take a tenth of the time of reading, but
    /// a view keeps the whole page in memory.
    pub(crate) keeps_views: bool,
    /// The names of columns that are not read, whatever `columns` has. Their values can have any type, and lines can
    /// lack them. Only for files that state no digest of their rows.
    pub(crate) unused: Vec<String>,
}

impl ReadOptions {
    /// Default limit: 64 MiB, the same as the limit of an API page.
    pub const MAX_VALUE_BYTES: usize = 64 << 20;
    /// Highest possible limit: 256 MiB. All values of a row together must fit into 2 GiB.
    pub const HIGHEST: usize = 256 << 20;

    /// Returns the same options, with the limit reduced to [`HIGHEST`](Self::HIGHEST) if it is larger.
    fn within_bounds(&self) -> Self {
        Self { max_value_bytes: self.max_value_bytes.min(Self::HIGHEST), ..self.clone() }
    }

    /// Returns the same options for all columns.
    pub(crate) fn of_all_columns(&self) -> Self {
        Self { columns: Vec::new(), unused: Vec::new(), ..self.clone() }
    }

    /// Whether a column is decoded.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let is_named = |names: &[String]| names.iter().any(|column| column == name);
        (self.columns.is_empty() || is_named(&self.columns)) && !is_named(&self.unused)
    }

    /// Returns [`Error::Interrupted`] if the stop flag is set.
    pub(crate) fn go_on(&self) -> Result<()> {
        if self.stop.load(Relaxed) {
            return Err(Error::Interrupted { signal: "its caller", number: 2, hint: None });
        }
        Ok(())
    }
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            max_value_bytes: Self::MAX_VALUE_BYTES,
            record: None,
            decode_threads: None,
            stop: Arc::default(),
            with_rescued: false,
            keeps_views: false,
            record_option: Some("record"),
            unused: Vec::new(),
        }
    }
}

/// The record batches of a file, and its metadata.
pub(crate) struct Reader {
    /// The facts in the file's own metadata; `None` for JSON Lines and CSV.
    pub(crate) facts: Option<Facts>,
    /// The computed columns that the facts or the record name. They are decoded like those of the API.
    pub(crate) computed: Vec<OutputColumn>,
    /// The checksum in the file's own metadata.
    pub(crate) checksum: Option<FileChecksum>,
    /// The program that wrote the file, if the metadata names it.
    pub(crate) writer: Option<String>,
    /// The columns of the batches, known even for a file without rows. `None` for JSON Lines, where only the rows
    /// name the columns.
    pub(crate) schema: Option<SchemaRef>,
    /// Columns that no export has.
    pub(crate) foreign: Foreign,
    /// Whether the file has a column of rescued values that is read.
    pub(crate) rescues: bool,
    /// Number of rows, if it is known without reading them.
    pub(crate) rows: Option<u64>,
    /// The batches, reduced to the columns that an export has.
    pub(crate) batches: FileBatches,
}

/// The checksum in a file's footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileChecksum {
    pub(crate) value: String,
    /// Size in bytes of the footer, which ends the file.
    pub(crate) footer: u64,
}

/// The columns of a file to read.
struct ColumnChoice {
    schema: SchemaRef,
    /// Their positions in the file's schema.
    indices: Vec<usize>,
    /// For each column the type of its values, if it is a typed JSON column. The batches have its JSON text.
    nested: Arc<[Option<NestedType>]>,
    /// The position among `indices` of the values that do not fit these types.
    rescued: Option<RescuedPlace>,
    foreign: Foreign,
}

/// Where the decoded columns have the values that do not fit the types of the others.
#[derive(Debug, Clone, Copy)]
struct RescuedPlace {
    place: usize,
    /// Whether the column itself is wanted, too. Otherwise, its values are only put back.
    is_wanted: bool,
    /// Whether all columns of the export are wanted, so that every value must have its column.
    has_all: bool,
}

impl ColumnChoice {
    /// Selects the wanted columns of an export from a file's schema. `computed` are the columns that its facts name, and
    /// `typed` the types of its JSON columns, if they are not text.
    fn of(
        found: &Schema,
        wanted: &ReadOptions,
        computed: &[OutputColumn],
        typed: Option<&[NestedField]>,
    ) -> Self {
        let (mut fields, mut indices, mut foreign) = (Vec::new(), Vec::new(), Foreign::default());
        let (mut known, mut nested) = (false, Vec::new());
        let rescues = typed.into_iter().flatten().any(|it| it.name == RESCUED);
        // A column that is always text has nothing to put back.
        let is_typed = |it: &NestedField| !it.kind.is_text() && wanted.wants(&it.name);
        let needs_rescued = rescues && typed.into_iter().flatten().any(is_typed);
        let is_wanted = wanted.with_rescued || wanted.columns.iter().any(|it| it == RESCUED);
        let mut rescued = None;
        if rescues && found.index_of(RESCUED).is_err() {
            foreign.types = Some(format!("it has no column {RESCUED}"));
        }
        for (index, field) in found.fields().iter().enumerate() {
            let name = field.name();
            if rescues && name == RESCUED {
                let is_text = is_text_type(field.data_type());
                if !is_text || rescued.is_some() {
                    let why = format!("its column {RESCUED} is not one column of text");
                    foreign.types.get_or_insert(why);
                } else if needs_rescued || is_wanted {
                    let has_all = wanted.columns.is_empty();
                    rescued = Some(RescuedPlace { place: indices.len(), is_wanted, has_all });
                    indices.push(index);
                    nested.push(None);
                    fields.extend(is_wanted.then(|| NestedField::rescued().field()));
                }
                continue;
            }
            let api = name.parse::<Column>().ok().map(OutputColumn::from);
            let column = api.or_else(|| computed.iter().find(|it| it.name() == name).cloned());
            let Some(column) = column else {
                foreign.names.push(name.clone());
                continue;
            };
            let is_text = is_text_type(field.data_type());
            let expected = column.column_type().data_type();
            let is_json = column.column_type() == ColumnType::Json;
            let kind = typed.into_iter().flatten().find(|it| is_json && it.name == *name);
            let kind = kind.map(|it| &it.kind).filter(|kind| !kind.is_text());
            let fits = match (kind, &expected) {
                (Some(kind), _) => kind.fits(field.data_type()),
                (None, DataType::Utf8) => is_text,
                (None, expected) => field.data_type() == expected,
            };
            let chosen = wanted.wants(name);
            if !chosen {
                foreign.unread.push(name.clone());
            }
            if !fits {
                let why = || kinds::wrong_values(name, field.data_type());
                if chosen {
                    foreign.types.get_or_insert_with(why);
                }
                continue;
            }
            known = true;
            let again = fields.iter().any(|field: &arrow_schema::Field| field.name() == name);
            if again {
                foreign.types.get_or_insert_with(|| format!("it has the column {name} twice"));
            } else if chosen {
                fields.push(column.field().with_nullable(field.is_nullable()));
                indices.push(index);
                nested.push(kind.cloned());
            }
        }
        foreign.only = !known;
        let schema = Arc::new(Schema::new(fields));
        Self { schema, indices, nested: nested.into(), rescued, foreign }
    }
}

fn is_text_type(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Returns whether an export is a single file instead of a directory of parts.
///
/// In an object store the name decides, as it does when the export is written: a prefix is not an object that
/// could be looked up.
pub(crate) fn is_single_file(location: &Location) -> Result<bool> {
    match location.as_local() {
        Some(path) => {
            let found = std::fs::metadata(path).map_err(Error::io("read", path))?.file_type();
            if found.is_dir() {
                return Ok(false);
            }
            require_regular(found).map(|()| true).map_err(Error::io("read", path))
        }
        None => {
            let directory = location.to_string().ends_with('/');
            Ok(!directory && Encoding::of_path(Path::new(&location.name())).is_some())
        }
    }
}

/// Opens a file of an export. The extension selects the decoder.
pub(crate) fn open(path: &Location, options: &ReadOptions) -> Result<Reader> {
    open_recorded(path, options, RecordedLines::default())
}

/// Opens a file that a record lists, like [`open`]. JSON Lines and CSV have no facts, so their columns are those of the
/// record.
fn open_listed(path: &Location, options: &ReadOptions, listed: &ListedPart) -> Result<Reader> {
    let columns = Some(listed.columns.clone());
    open_recorded(path, options, RecordedLines { columns, sha256: None })
}

/// Opens a staged Parquet file of this run, with values up to the highest limit. `path` is named in errors.
pub(crate) fn open_staged(path: &Location, file: std::fs::File) -> Result<Reader> {
    let options = ReadOptions { max_value_bytes: ReadOptions::HIGHEST, ..ReadOptions::default() };
    parquet::open(path, Opened::Local(file.into()), &options)
}

/// Says that the extension of this file is none of an export, and which ones are.
pub(crate) fn unknown_extension(name: &str) -> String {
    let known = "its extension is unknown; exports end in .parquet, .arrow, .jsonl or .csv";
    match name.ends_with(".json") || name.ends_with(".ndjson") {
        true => format!("{known}: if each line of it is an object, name it .jsonl"),
        false => known.to_owned(),
    }
}

/// What a record says of a file without facts: JSON Lines or CSV.
#[derive(Default)]
struct RecordedLines<'a> {
    columns: Option<Arc<[OutputColumn]>>,
    /// The file must end with this SHA-256.
    sha256: Option<&'a str>,
}

fn open_recorded(
    path: &Location,
    options: &ReadOptions,
    recorded: RecordedLines<'_>,
) -> Result<Reader> {
    let Some(encoding) = Encoding::of_path(Path::new(&path.name())) else {
        return Err(damaged(path, unknown_extension(&path.name()).into()));
    };
    let (options, compression) = (options.within_bounds(), encoding.compression());
    match encoding.format() {
        Format::Parquet => parquet::open(path, path.open()?, &options),
        Format::Arrow => arrow::open(path, path.open()?, &options),
        Format::JsonLines => json_lines::open(path, compression, (&options, recorded)),
        Format::Csv => csv::open(path, compression, (&options, recorded)),
    }
}

/// Refuses a footer that is too large to be read: a file with holes can declare any size.
fn check_footer(path: &Location, bytes: u64) -> Result<()> {
    if bytes <= MAX_FOOTER {
        return Ok(());
    }
    let why = format!(
        "its footer has {} bytes, and the limit is {}",
        grouped(bytes),
        grouped(MAX_FOOTER)
    );
    Err(Error::Damaged { path: path.to_path(), why })
}

fn damaged(path: &Location, cause: Cause) -> Error {
    Error::Damaged { path: path.to_path(), why: format!("it cannot be read: {cause}") }
}

/// Runs a decoder of another crate and turns a panic into [`Error::Damaged`].
///
/// Some decoders panic on damaged bytes. That is a fault of the file, not a bug of this program.
fn guarded<T>(path: &Location, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let wrong = |_| Err(damaged(path, "the decoder cannot parse its bytes".into()));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(wrong)
}
