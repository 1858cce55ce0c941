//! JSON Lines: one compact object a row, JSON values token for token, nulls explicit.
//!
//! Batches become lines side by side and are written in order. gzip is made of members, one a batch,
//! which every reader joins: its bytes depend on where batches end, which in an export the rows alone
//! decide. zstd is one frame, because some readers stop after the first. Neither depends on the number
//! of threads.

use std::io::{self, Write};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use flate2::{Compression as Level, write::GzEncoder};
use zstd::zstd_safe::CParameter;

use super::{Compression, Counted, HOLDS_JSON, Sink, Written, pool::Ordered, value_bytes};
use crate::{
    batch::Column,
    error::{Error, Result},
};

/// Bytes of lines that a thread compresses at a time: what zstd allows, so that little is held. It
/// takes more when the part of the window that a job repeats is larger: 8 MiB at level 19.
const ZSTD_JOB_BYTES: u32 = 1 << 20;
/// The levels above this one search longer, in windows and tables of its size: their own, up to
/// 128 MiB and 700 MiB, are held by every thread.
const ZSTD_LARGEST: i32 = 19;
const ZSTD_WINDOW_LOG: u32 = 23;
const ZSTD_CHAIN_LOG: u32 = 24;
const ZSTD_HASH_LOG: u32 = 22;
/// A job repeats the whole window, as at this level.
const ZSTD_OVERLAP_LOG: u32 = 9;

pub(super) struct JsonLinesSink {
    output: Encoder,
    compression: Compression,
    /// None when nothing may wait.
    encoding: Option<Ordered<(), Vec<u8>>>,
    rows: u64,
}

enum Encoder {
    Plain(Counted),
    Zstd(zstd::Encoder<'static, Counted>),
}

impl JsonLinesSink {
    /// With no threads, each batch's lines are at the reader's before the next; but zstd, which has a
    /// thread of its own then, gathers a job's.
    pub(super) fn new(compression: Compression, output: Counted, threads: usize) -> Result<Self> {
        let output = match compression {
            Compression::None | Compression::Gzip => Encoder::Plain(output),
            Compression::Zstd(level) => Encoder::Zstd(zstd_encoder(level, output, threads)?),
            Compression::Snappy | Compression::Lz4 => {
                return Err(Error::Internal(format!(
                    "JSON Lines are not written as {compression}"
                )));
            }
        };
        let encoding = (threads > 0).then(|| Ordered::new(threads, 1)).transpose()?;
        Ok(Self { output, compression, encoding, rows: 0 })
    }
}

impl Sink for JsonLinesSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let gzip = self.compression == Compression::Gzip;
        let Some(encoding) = &mut self.encoding else {
            self.output.write_all(&encode(&batch, gzip)?).map_err(failed)?;
            if let Encoder::Plain(output) = &mut self.output {
                output.flush().map_err(failed)?;
            }
            return Ok(());
        };
        encoding.submit(value_bytes(&batch), move |()| encode(&batch, gzip));
        while let Some(lines) = encoding.overdue() {
            self.output.write_all(&lines?).map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        while let Some(lines) = self.encoding.as_mut().and_then(Ordered::oldest) {
            self.output.write_all(&lines?).map_err(failed)?;
        }
        // No rows are a file all the same, and one that is gzip.
        if self.compression == Compression::Gzip && self.rows == 0 {
            self.output.write_all(&compress(&[]).map_err(failed)?).map_err(failed)?;
        }
        let mut output = match self.output {
            Encoder::Plain(output) => output,
            Encoder::Zstd(encoder) => encoder.finish().map_err(failed)?,
        };
        output.flush().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes: output.bytes })
    }

    fn abort(self: Box<Self>) {}
}

/// A frame is cut into jobs in the same places at any number of threads, but not at none: one
/// thread beside the caller's is the least.
fn zstd_encoder(
    level: i32,
    output: Counted,
    threads: usize,
) -> Result<zstd::Encoder<'static, Counted>> {
    let mut encoder = zstd::Encoder::new(output, level).map_err(failed)?;
    // More would hold a job each and wait for lines.
    let threads = threads.clamp(1, 64) as u32;
    encoder.multithread(threads).map_err(failed)?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB_BYTES)).map_err(failed)?;
    if level > ZSTD_LARGEST {
        for parameter in [
            CParameter::WindowLog(ZSTD_WINDOW_LOG),
            CParameter::ChainLog(ZSTD_CHAIN_LOG),
            CParameter::HashLog(ZSTD_HASH_LOG),
            CParameter::OverlapSizeLog(ZSTD_OVERLAP_LOG),
        ] {
            encoder.set_parameter(parameter).map_err(failed)?;
        }
    }
    Ok(encoder)
}

fn compress(lines: &[u8]) -> io::Result<Vec<u8>> {
    // The header has neither a time nor a name: the same rows give the same bytes.
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 3), Level::new(6));
    encoder.write_all(lines)?;
    encoder.finish()
}

fn encode(batch: &RecordBatch, gzip: bool) -> Result<Vec<u8>> {
    let columns = columns(batch)?;
    let bytes = batch.get_array_memory_size();
    let mut lines = Vec::with_capacity(bytes + bytes / 8);
    for row in 0..batch.num_rows() {
        for (name, values) in &columns {
            lines.extend_from_slice(name);
            values.write(row, &mut lines).map_err(failed)?;
        }
        lines.extend_from_slice(b"}\n");
    }
    if gzip { compress(&lines).map_err(failed) } else { Ok(lines) }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

enum TypedArray<'a> {
    Integers(&'a Int64Array),
    Json(&'a StringArray),
    Text(&'a StringArray),
}

impl TypedArray<'_> {
    fn write(&self, row: usize, line: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Integers(values) if values.is_valid(row) => write!(line, "{}", values.value(row)),
            Self::Json(values) if values.is_valid(row) => {
                line.write_all(values.value(row).as_bytes())
            }
            Self::Text(values) if values.is_valid(row) => {
                Ok(serde_json::to_writer(line, values.value(row))?)
            }
            _ => line.write_all(b"null"),
        }
    }
}

/// What comes before each column's value in a line, and the values.
fn columns(batch: &RecordBatch) -> Result<Vec<(Vec<u8>, TypedArray<'_>)>> {
    let fields = batch.schema_ref().fields();
    let columns = fields.iter().zip(batch.columns()).enumerate();
    columns
        .map(|(index, (field, array))| {
            let holds_json = match field.name().parse::<Column>() {
                Ok(column) => column.is_json(),
                Err(_) => field.metadata().contains_key(HOLDS_JSON),
            };
            let text = if holds_json { TypedArray::Json } else { TypedArray::Text };
            let integers = || array.as_primitive_opt::<Int64Type>().map(TypedArray::Integers);
            let values = array.as_string_opt().map(text).or_else(integers);
            let name = field.name().as_str();
            let unexpected = || Error::Internal(format!("{name} came as {}", array.data_type()));
            let mut before = vec![if index == 0 { b'{' } else { b',' }];
            serde_json::to_writer(&mut before, name).map_err(|error| failed(error.into()))?;
            before.push(b':');
            Ok((before, values.ok_or_else(unexpected)?))
        })
        .collect()
}

fn failed(error: io::Error) -> Error {
    Error::Encode { format: "JSON Lines", source: error.into() }
}
