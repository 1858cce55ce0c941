//! The files of an export back into batches, in the order they were written; never writes.
//!
//! Files may come from anywhere. Memory is bounded in bytes: a batch ends after 1,000 rows or a megabyte of
//! values, and what must be decoded as a whole is refused when it declares too much. Only the columns that are
//! asked for are decoded.

mod arrow;
pub(crate) mod batches;
mod footer;
mod json_lines;
mod pages;
mod parquet;
mod recorded;
mod shared;
mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod verify;
mod window;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};

pub(crate) use self::json_lines::count_lines;
pub use self::{
    batches::Batches,
    verify::{Check, Verification, verify, verify_with},
};
use crate::{
    batch::Column,
    error::{Cause, Error, Result},
    files::require_regular,
    location::Location,
    record::facts::Facts,
    sink::{Encoding, Format, MAX_FOOTER},
};

/// How exports are read back.
///
/// ```
/// use overmind_export::{Column, ReadOptions};
///
/// let mut options = ReadOptions::default();
/// options.columns = vec![Column::Id];
/// assert_eq!(options.max_value_bytes, 64 << 20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The columns to decode, in the export's order; default all. What is left out is not decoded, and of
    /// Parquet and Arrow files not read.
    pub columns: Vec<Column>,
    /// Bytes of the largest value to accept, decompressed; default [`MAX_VALUE_BYTES`](Self::MAX_VALUE_BYTES), at
    /// most [`HIGHEST`](Self::HIGHEST). What is decoded as a whole, a page of Parquet or a batch of Arrow, may have
    /// four times as many. A larger one is [`Error::ValueTooLarge`].
    pub max_value_bytes: usize,
}

impl ReadOptions {
    /// As many as a page of the API may have.
    pub const MAX_VALUE_BYTES: usize = 64 << 20;
    /// The most that can be allowed: a row's values must fit into 2 GiB together.
    pub const HIGHEST: usize = 256 << 20;

    /// Likewise, with a bound within what is possible.
    fn within_bounds(&self) -> Self {
        Self { max_value_bytes: self.max_value_bytes.min(Self::HIGHEST), ..self.clone() }
    }
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { columns: Vec::new(), max_value_bytes: Self::MAX_VALUE_BYTES }
    }
}

/// Batches of a file, and what the file says about itself.
pub(crate) struct Reader {
    /// What the file's own metadata says; JSON Lines have none.
    pub(crate) facts: Option<Facts>,
    /// The checksum in its own metadata, if it has one.
    pub(crate) checksum: Option<FileChecksum>,
    /// What wrote it, if it says so.
    pub(crate) writer: Option<String>,
    /// The columns of its batches, rows or not; JSON Lines name them in their rows.
    pub(crate) schema: Option<SchemaRef>,
    /// What no export has.
    pub(crate) foreign: Foreign,
    /// Its rows, where they need not be read to be counted.
    pub(crate) rows: Option<u64>,
    /// Of the columns that an export has, no more.
    pub(crate) batches: Box<dyn Iterator<Item = Result<RecordBatch>>>,
}

/// The checksum that a file carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileChecksum {
    pub(crate) value: String,
    /// Bytes of the footer, at the end of the file.
    pub(crate) footer: u64,
}

/// Columns of a file that no export has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Foreign {
    /// Why one with the name of an export's column cannot be one.
    types: Option<String>,
    /// What is wrong with the first that has another name.
    names: Option<String>,
    /// Whether there is nothing else.
    only: bool,
}

impl Reader {
    /// Refuses columns that no export has, whatever their names.
    pub(crate) fn require_export(&self, path: &Location) -> Result<()> {
        let Foreign { types, names, .. } = &self.foreign;
        match types.as_ref().or(names.as_ref()) {
            Some(why) => Err(Error::Damaged { path: path.to_path(), why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses columns that have an export's names and not their types; and a file that has no others.
    pub(crate) fn require_columns(&self, path: &Location) -> Result<()> {
        let Foreign { types, names, only } = &self.foreign;
        match types.as_ref().or(names.as_ref().filter(|_| *only)) {
            Some(why) => Err(Error::Damaged { path: path.to_path(), why: why.clone() }),
            None => Ok(()),
        }
    }
}

/// The columns of a file that are read.
struct ColumnChoice {
    schema: SchemaRef,
    /// Their places in the file.
    indices: Vec<usize>,
    foreign: Foreign,
}

impl ColumnChoice {
    /// Those of a file's columns that an export has and that are wanted; of none, all are.
    fn of(found: &Schema, wanted: &[Column]) -> Self {
        let (mut fields, mut indices, mut foreign) = (Vec::new(), Vec::new(), Foreign::default());
        let mut known = false;
        for (index, field) in found.fields().iter().enumerate() {
            let name = field.name();
            let Ok(column) = name.parse::<Column>() else {
                let why = || format!("it has a column {name:?}, which no export has");
                foreign.names.get_or_insert_with(why);
                continue;
            };
            let is_text = matches!(
                field.data_type(),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
            );
            let fits = match column.data_type() {
                DataType::Utf8 => is_text,
                expected => *field.data_type() == expected,
            };
            let chosen = wanted.is_empty() || wanted.contains(&column);
            if !fits {
                let kind = field.data_type();
                let why = || format!("its column {name} is {kind}, as in no export");
                if chosen {
                    foreign.types.get_or_insert_with(why);
                }
                continue;
            }
            known = true;
            let again = fields.iter().any(|field: &arrow_schema::Field| field.name() == name);
            if again {
                foreign.types.get_or_insert_with(|| format!("it has its column {name} twice"));
            } else if chosen {
                let nullable = field.is_nullable();
                fields.push(arrow_schema::Field::new(name, column.data_type(), nullable));
                indices.push(index);
            }
        }
        foreign.only = !known;
        Self { schema: Arc::new(Schema::new(fields)), indices, foreign }
    }
}

/// Whether an export is a single file rather than a directory of parts. In a store, where a prefix is
/// nothing by itself, the name decides, as it does when it is written.
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

/// Opens a file of an export, by its extension.
pub(crate) fn open(path: &Location, options: &ReadOptions) -> Result<Reader> {
    let Some(encoding) = Encoding::of_path(Path::new(&path.name())) else {
        return Err(damaged(path, "its extension is none that an export has".into()));
    };
    let (file, options) = (path.open()?, options.within_bounds());
    match encoding.format() {
        Format::Parquet => parquet::open(path, file, &options),
        Format::Arrow => arrow::open(path, file, &options),
        Format::JsonLines => json_lines::open(path, file, encoding.compression(), &options),
    }
}

fn parse_facts(path: &Location, json: &str) -> Result<Facts> {
    serde_json::from_str(json).map_err(|error| damaged(path, error.into()))
}

/// Refuses a footer that is too large to be read: a file with holes can declare any size.
fn check_footer(path: &Location, bytes: u64) -> Result<()> {
    if bytes <= MAX_FOOTER {
        return Ok(());
    }
    let why = format!("its footer has {bytes} bytes, and the bound is {MAX_FOOTER}");
    Err(Error::Damaged { path: path.to_path(), why })
}

fn damaged(path: &Location, cause: Cause) -> Error {
    Error::Damaged { path: path.to_path(), why: format!("it cannot be read: {cause}") }
}

/// Runs a decoder of another crate. Some of them panic on bytes that were changed: such a file is damaged, and
/// that is no bug of the program.
fn guarded<T>(path: &Location, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let wrong = |_| Err(damaged(path, "its bytes make no sense to the decoder".into()));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(wrong)
}
