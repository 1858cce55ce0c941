//! Where batches become bytes: the [`Sink`] trait, the formats, and the codecs they take.
//!
//! A sink knows nothing of HTTP, pages or manifests: it gets batches and gives back what it wrote.
//! It never opens a file: bytes go into a writer that it is given.

mod checked;
mod checksum;
mod ipc;
mod jsonl;
mod options;
mod parquet;
mod pool;

use std::{
    fmt,
    io::{self, Write},
};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::SchemaRef;

use self::checked::{Checked, check_schema};
pub(crate) use self::checksum::{CHECKSUM_KEY, MAX_FOOTER, Sealed, check, find_checksum};
pub use self::options::{Compression, Encoding, Format};
pub(crate) use self::parquet::footer_bytes;
use crate::error::{Error, Result};

/// The key under which a file's own metadata holds the facts of the export, as JSON.
pub(crate) const METADATA_KEY: &str = "overmind_export";

/// What a Parquet file's `created_by` begins with.
pub(crate) const WRITER: &str = "overmind-export ";

/// The key in the metadata of a field, other than an export's columns, whose text is JSON.
pub(crate) const HOLDS_JSON: &str = "overmind_export:json";

/// Something that batches are written to, one after the other.
///
/// Implement it to send rows somewhere else: [`write_pages`](crate::write_pages)
/// takes any sink. Calls may block; they are made off the threads that serve sockets.
///
/// ```
/// use arrow_array::RecordBatch;
/// use overmind_export::{Result, Sink, Written};
///
/// /// Counts rows and keeps none.
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
    /// Takes the next batch. It may be written later, but in order.
    ///
    /// # Errors
    /// Whatever keeps the batch, or one before it, from being written. The sink is of no use then
    /// but to be aborted; those of [`Encoding`] refuse to be finished. They return [`Error::Invalid`]
    /// for a batch whose columns differ from theirs in name, type or whether they can be null.
    fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// Writes what is left and ends the output; `facts`, a JSON object about the export, goes into
    /// the output's own metadata where the format has any. Without an export to tell of there are none.
    ///
    /// # Errors
    /// Whatever keeps the output from being complete. Nothing is left to be aborted then.
    fn finish(self: Box<Self>, facts: Option<&str>) -> Result<Written>;

    /// Gives up: what was written so far will not be used.
    fn abort(self: Box<Self>);
}

/// What a sink wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Bytes, after compression.
    pub bytes: u64,
}

/// Where a sink's bytes go.
pub type Output = Box<dyn Write + Send>;

impl Encoding {
    /// A sink that writes this encoding into `output`.
    ///
    /// `threads` is how many threads encode side by side where the format allows it; the bytes are
    /// the same for any number. Columns are strings ([`Utf8`](arrow_schema::DataType::Utf8)) or
    /// int64; those named as an export's must have its types.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the schema has another type, a name twice, or no column;
    /// [`Error::Io`] when no thread can be started; or when the format's header cannot be written.
    pub fn sink(self, schema: SchemaRef, output: Output, threads: usize) -> Result<Box<dyn Sink>> {
        check_schema(&schema)?;
        let (output, threads) = (Counted { output, bytes: 0 }, threads.max(1));
        let (compression, columns) = (self.compression(), schema.clone());
        Ok(match self.format() {
            Format::Parquet => {
                let sink = parquet::ParquetSink::new(compression, columns, output, threads)?;
                self.checked(sink, schema)
            }
            Format::Arrow => {
                let sink = ipc::FileSink::new(compression, columns, output, threads)?;
                self.checked(sink, schema)
            }
            Format::JsonLines => {
                self.checked(jsonl::JsonLinesSink::new(compression, output, threads)?, schema)
            }
        })
    }

    /// As [`sink`](Self::sink), for a reader that cannot seek: Arrow becomes the IPC stream format.
    /// Each batch is at the reader's before the next, but for zstd, which holds back what is not a
    /// block yet.
    ///
    /// # Errors
    /// [`Error::Usage`] for Parquet, which cannot be read from a pipe; else as [`sink`](Self::sink).
    pub fn streaming_sink(self, schema: SchemaRef, output: Output) -> Result<Box<dyn Sink>> {
        check_schema(&schema)?;
        let (output, compression) = (Counted { output, bytes: 0 }, self.compression());
        Ok(match self.format() {
            Format::Arrow => {
                self.checked(ipc::StreamSink::new(compression, &schema, output)?, schema)
            }
            Format::JsonLines => {
                self.checked(jsonl::JsonLinesSink::new(compression, output, 0)?, schema)
            }
            Format::Parquet => {
                let why = "Parquet cannot be read from a pipe: use JSON Lines or Arrow";
                return Err(Error::Usage(why.to_owned()));
            }
        })
    }

    fn checked(self, sink: impl Sink + 'static, schema: SchemaRef) -> Box<dyn Sink> {
        Box::new(Checked::new(sink, self.format(), schema))
    }
}

/// Bytes of the values in a batch, as the rows alone decide them.
fn value_bytes(batch: &RecordBatch) -> usize {
    let column = |array: &ArrayRef| match array.as_string_opt::<i32>() {
        Some(text) => {
            let offsets = text.value_offsets();
            (offsets[offsets.len() - 1] - offsets[0]) as usize
        }
        None => size_of::<i64>() * array.len(),
    };
    batch.columns().iter().map(column).sum()
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
