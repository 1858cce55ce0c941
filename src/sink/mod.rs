//! Encodes record batches: the [`Sink`] trait, the formats and their codecs.
//!
//! A sink knows nothing about HTTP, pages or manifests. It takes batches and returns the number of rows and bytes
//! written. It never opens a file: it writes into the [`Output`] that the caller passes.

mod checked;
mod checksum;
mod csv;
mod ipc;
mod jsonl;
mod lines;
mod options;
mod parquet;
mod pool;

use std::{
    fmt,
    io::{self, Write},
};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::{DataType, SchemaRef};

use self::checked::{Checked, check_schema};
pub(crate) use self::checksum::{CHECKSUM_KEY, MAX_FOOTER, Sealed, check, find_checksum};
pub(crate) use self::csv::BYTE_ORDER_MARK;
pub(crate) use self::jsonl::is_text_line;
pub use self::options::{Compression, Encoding, Format, JsonColumns, ParquetEncoding};
pub(crate) use self::parquet::footer_bytes;
use crate::error::{Error, Result};

/// Key of the export's facts, a JSON object, in a file's own metadata.
pub(crate) const METADATA_KEY: &str = "overmind_export";

/// Start of the `created_by` field of our Parquet files.
pub(crate) const WRITER: &str = "overmind-export ";

/// A writer of record batches.
///
/// Implement it to send rows somewhere else: [`write_pages`](crate::write_pages) takes any sink. The methods may
/// block: they are not called on the threads that serve sockets. [`Error::sink`](crate::Error::sink) wraps an error of
/// yours, and `?` an [`io::Error`](std::io::Error).
///
/// ```
/// use arrow_array::RecordBatch;
/// use overmind_export::{Result, Sink, Written};
///
/// /// Counts rows and discards them.
/// #[derive(Default)]
/// struct Count(u64);
///
/// impl Sink for Count {
///     fn write(&mut self, batch: RecordBatch) -> Result<()> {
///         self.0 += batch.num_rows() as u64;
///         Ok(())
///     }
///     fn finish(self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
///         Ok(Written { rows: self.0, bytes: 0 })
///     }
///     fn abort(self: Box<Self>) {}
/// }
///
/// let sink: Box<dyn Sink> = Box::<Count>::default();
/// assert_eq!(sink.finish(None)?.rows, 0);
/// # Ok::<(), overmind_export::Error>(())
/// ```
pub trait Sink: Send {
    /// Takes the next batch. The sink can write it later, but in order.
    ///
    /// # Errors
    /// Every error that prevents writing this batch or an earlier batch. After an error, the caller can only abort
    /// the sink. The sinks of [`Encoding`] then refuse to finish. They return [`Error::Invalid`] for a batch whose
    /// columns have other names, types or nullability than the sink's columns.
    fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// Writes the remaining rows and ends the output.
    ///
    /// `facts` is a JSON object about the export. It is written into the output's own metadata, if the format has
    /// metadata. It is `None` if the rows do not come from an export.
    ///
    /// # Errors
    /// Every error that prevents completing the output. The caller does not abort the sink then.
    fn finish(self: Box<Self>, facts: Option<&str>) -> Result<Written>;

    /// Discards the sink. The caller does not use the output written so far.
    fn abort(self: Box<Self>);
}

/// Number of rows and bytes that a sink wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Number of rows.
    pub rows: u64,
    /// Number of bytes, after compression.
    pub bytes: u64,
}

/// The writer that takes a sink's bytes.
pub type Output = Box<dyn Write + Send>;

impl Encoding {
    /// Returns a sink that writes this encoding into `output`.
    ///
    /// `threads` is the number of encoder threads, if the format allows parallel encoding. The bytes are the
    /// same for any number. Columns must have the Arrow type of a [`ColumnType`](crate::ColumnType). A column with the
    /// name of a column of the API must have that column's type. With [nested](JsonColumns::Nested) columns,
    /// a JSON column can have any Arrow type of a [`NestedType`](crate::NestedType).
    ///
    /// # Errors
    /// [`Error::Invalid`] when the schema has another type, a repeated name, or no column. [`Error::Io`] when no
    /// thread can be started. [`Error::Encode`] when the format's header cannot be written.
    pub fn sink(self, schema: SchemaRef, output: Output, threads: usize) -> Result<Box<dyn Sink>> {
        check_schema(&schema, self.is_nested())?;
        let (output, threads) = (Counted { output, bytes: 0 }, threads.max(1));
        let (compression, columns) = (self.compression(), schema.clone());
        Ok(match self.format() {
            Format::Parquet => {
                let sink = parquet::ParquetSink::new(self, columns, output, threads)?;
                self.checked(sink, schema)
            }
            Format::Arrow => {
                let sink = ipc::FileSink::new(compression, columns, output, threads)?;
                self.checked(sink, schema)
            }
            Format::JsonLines => self.checked(jsonl::sink(self, output, threads)?, schema),
            Format::Csv => self.checked(csv::sink(self, &schema, output, threads)?, schema),
        })
    }

    /// Returns a sink like [`sink`](Self::sink), for a reader that cannot seek. Arrow uses the IPC stream format.
    ///
    /// Each batch is flushed to the reader before the next batch is taken. Only zstd holds bytes back until a
    /// block is complete.
    ///
    /// # Errors
    /// [`Error::Usage`] for Parquet, which cannot be read from a pipe. Otherwise the same errors as
    /// [`sink`](Self::sink).
    pub fn streaming_sink(self, schema: SchemaRef, output: Output) -> Result<Box<dyn Sink>> {
        check_schema(&schema, self.is_nested())?;
        let (output, compression) = (Counted { output, bytes: 0 }, self.compression());
        Ok(match self.format() {
            Format::Arrow => {
                self.checked(ipc::StreamSink::new(compression, &schema, output)?, schema)
            }
            Format::JsonLines => self.checked(jsonl::sink(self, output, 0)?, schema),
            Format::Csv => self.checked(csv::sink(self, &schema, output, 0)?, schema),
            Format::Parquet => {
                let why = "Parquet cannot be read from a pipe: use JSON Lines, CSV or Arrow";
                return Err(Error::Usage(why.to_owned()));
            }
        })
    }

    fn checked(self, sink: impl Sink + 'static, schema: SchemaRef) -> Box<dyn Sink> {
        Box::new(Checked::new(sink, self.format(), schema))
    }
}

/// Returns the size of a batch's values in bytes. It depends on the rows only, not on the capacity of buffers.
fn value_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).sum()
}

fn array_bytes(array: &ArrayRef) -> usize {
    if let Some(text) = array.as_string_opt::<i32>() {
        return spanned(text.value_offsets());
    }
    if let Some(lists) = array.as_list_opt::<i32>() {
        let offsets = lists.value_offsets();
        let items = lists.values().slice(offsets[0] as usize, spanned(offsets));
        return inner_bytes(&items);
    }
    match array.as_struct_opt() {
        Some(fields) => fields.columns().iter().map(inner_bytes).sum(),
        None => size_of::<i64>() * array.len(),
    }
}

/// Like [`array_bytes`], inside of a nested column. A row can have any number of null texts and empty lists, and a
/// reader needs memory for the levels of each.
fn inner_bytes(array: &ArrayRef) -> usize {
    let has_levels = matches!(array.data_type(), DataType::Utf8 | DataType::List(_));
    array_bytes(array) + if has_levels { size_of::<i64>() * array.len() } else { 0 }
}

fn spanned(offsets: &[i32]) -> usize {
    (offsets[offsets.len() - 1] - offsets[0]) as usize
}

struct Counted {
    output: Output,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
