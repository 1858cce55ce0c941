//! Arrow IPC: one record batch a batch, as a file that can be mapped or as a stream for a pipe.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_ipc::{
    CompressionType,
    writer::{FileWriter, IpcWriteOptions, StreamWriter},
};
use arrow_schema::{ArrowError, Schema};

use super::{Compression, Counted, METADATA_KEY, Sink, Written};
use crate::error::{Error, Result};

pub(super) struct FileSink {
    writer: FileWriter<Counted>,
    rows: u64,
}

impl FileSink {
    pub(super) fn new(compression: Compression, schema: &Schema, output: Counted) -> Result<Self> {
        let options = options(compression)?;
        let writer = FileWriter::try_new_with_options(output, schema, options).map_err(failed)?;
        Ok(Self { writer, rows: 0 })
    }
}

impl Sink for FileSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(failed)
    }

    fn finish(mut self: Box<Self>, facts: &str) -> Result<Written> {
        self.writer.write_metadata(METADATA_KEY, facts);
        self.writer.finish().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes: self.writer.get_ref().bytes })
    }

    fn abort(self: Box<Self>) {}
}

pub(super) struct StreamSink {
    writer: StreamWriter<Counted>,
    rows: u64,
}

impl StreamSink {
    pub(super) fn new(compression: Compression, schema: &Schema, output: Counted) -> Result<Self> {
        let options = options(compression)?;
        let writer = StreamWriter::try_new_with_options(output, schema, options).map_err(failed)?;
        Ok(Self { writer, rows: 0 })
    }
}

impl Sink for StreamSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(failed)?;
        // A reader at the other end of a pipe gets each batch when it is complete.
        self.writer.get_mut().flush().map_err(|error| failed(error.into()))
    }

    fn finish(mut self: Box<Self>, _facts: &str) -> Result<Written> {
        self.writer.finish().map_err(failed)?;
        self.writer.get_mut().flush().map_err(|error| failed(error.into()))?;
        Ok(Written { rows: self.rows, bytes: self.writer.get_ref().bytes })
    }

    fn abort(self: Box<Self>) {}
}

fn options(compression: Compression) -> Result<IpcWriteOptions> {
    let (codec, level) = match compression {
        Compression::None => (None, None),
        Compression::Lz4 => (Some(CompressionType::LZ4_FRAME), None),
        Compression::Zstd(level) => (Some(CompressionType::ZSTD), Some(level)),
        Compression::Snappy | Compression::Gzip => {
            return Err(Error::Internal(format!("Arrow IPC is not written as {compression}")));
        }
    };
    IpcWriteOptions::default()
        .try_with_compression(codec)
        .and_then(|options| options.try_with_compression_level(level))
        .map_err(failed)
}

fn failed(error: ArrowError) -> Error {
    Error::Encode { format: "Arrow IPC", source: error.into() }
}
