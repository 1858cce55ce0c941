//! Where batches become bytes: the [`Sink`] trait, the formats, and the codecs they take.
//!
//! A sink knows nothing of HTTP, pages or manifests: it gets batches and gives back what it wrote.
//! It never opens a file: bytes go into a writer that it is given.

mod ipc;
mod jsonl;
mod options;
mod parquet;

use std::{
    fmt,
    io::{self, Write},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

pub use self::options::{Compression, Encoding, Format};
use crate::error::Result;

/// The key under which a file's own metadata holds the facts of the export, as JSON.
pub(crate) const METADATA_KEY: &str = "overmind_export";

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
///     fn finish(self: Box<Self>, _facts: &str) -> Result<Written> {
///         Ok(Written { rows: self.0, bytes: 0 })
///     }
///     fn abort(self: Box<Self>) {}
/// }
///
/// let sink: Box<dyn Sink> = Box::<Count>::default();
/// assert_eq!(sink.finish("{}")?.rows, 0);
/// # Ok::<(), overmind_export::Error>(())
/// ```
pub trait Sink: Send {
    /// Takes the next batch. It may be written later, but in order.
    ///
    /// # Errors
    /// Whatever keeps the batch, or one before it, from being written. The sink is of no use then
    /// but to be aborted.
    fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// Writes what is left and ends the output; `facts`, a JSON object about the export, goes into
    /// the output's own metadata where the format has any.
    ///
    /// # Errors
    /// Whatever keeps the output from being complete.
    fn finish(self: Box<Self>, facts: &str) -> Result<Written>;

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
    /// the same for any number.
    ///
    /// # Errors
    /// When the format's header cannot be written.
    pub fn sink(self, schema: SchemaRef, output: Output, threads: usize) -> Result<Box<dyn Sink>> {
        let output = Counted { output, bytes: 0 };
        Ok(match self.format() {
            Format::Parquet => {
                Box::new(parquet::ParquetSink::new(self.compression(), schema, output, threads)?)
            }
            Format::Arrow => Box::new(ipc::FileSink::new(self.compression(), &schema, output)?),
            Format::JsonLines => Box::new(jsonl::JsonLinesSink::new(self.compression(), output)?),
        })
    }

    /// As [`sink`](Self::sink), for a reader that cannot seek: Arrow becomes the IPC stream format.
    ///
    /// # Errors
    /// When the format cannot be read from a pipe, or its header cannot be written.
    pub fn streaming_sink(self, schema: SchemaRef, output: Output) -> Result<Box<dyn Sink>> {
        if self.format() != Format::Arrow {
            return self.sink(schema, output, 1);
        }
        let output = Counted { output, bytes: 0 };
        Ok(Box::new(ipc::StreamSink::new(self.compression(), &schema, output)?))
    }
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
