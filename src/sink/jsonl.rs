//! Writes JSON Lines: one compact object per row, JSON values token for token, nulls explicit.
//!
//! Encoder threads turn batches into lines in parallel; the lines are written in order. A gzip file has one
//! member per batch, and every reader joins the members. So its bytes depend on where batches end. In an
//! export, only the rows decide where batches end. A zstd file is one frame, because some readers stop after
//! the first frame. Neither format depends on the number of threads.

use std::io::{self, Write};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use flate2::{Compression as Level, write::GzEncoder};
use zstd::zstd_safe::CParameter;

use super::{Compression, Counted, HOLDS_JSON, Sink, Written, pool::Ordered, value_bytes};
use crate::{
    batch::Column,
    error::{Error, Result},
};

/// Size of a zstd job in bytes, before compression: allowed by zstd, and small so that each thread buffers
/// little. zstd enlarges it if the overlap, the part of the window that a job repeats, is larger: 8 MiB at
/// level 19.
const ZSTD_JOB_BYTES: u32 = 1 << 20;
pub(super) struct JsonLinesSink {
    output: Encoder,
    compression: Compression,
    /// `None` when every batch must be written immediately.
    encoding: Option<Ordered<(), Vec<u8>>>,
    rows: u64,
}

enum Encoder {
    Plain(Counted),
    Zstd(zstd::Encoder<'static, Counted>),
}

impl JsonLinesSink {
    /// Creates a sink. With 0 threads, the lines of each batch are flushed before the next batch is taken. The
    /// exception is zstd: it still has one thread of its own, and collects lines until a job is full.
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
        // Without rows, write an empty gzip member: an empty file would not be valid gzip.
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

/// Creates a zstd encoder with at least one thread in addition to the caller's.
///
/// zstd cuts a frame into jobs at the same positions for any number of threads, but not for 0 threads.
fn zstd_encoder(
    level: i32,
    output: Counted,
    threads: usize,
) -> Result<zstd::Encoder<'static, Counted>> {
    let mut encoder = zstd::Encoder::new(output, level).map_err(failed)?;
    // At most 64: more threads would only wait for lines and allocate a job each.
    let threads = threads.clamp(1, 64) as u32;
    encoder.multithread(threads).map_err(failed)?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB_BYTES)).map_err(failed)?;
    Ok(encoder)
}

fn compress(lines: &[u8]) -> io::Result<Vec<u8>> {
    // The header contains no time and no name: the same rows give the same bytes.
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

/// Returns for each column the bytes before its value in a line (brace or comma, name, colon) and the values.
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
            let unexpected =
                || Error::Internal(format!("{name} has the unexpected type {}", array.data_type()));
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
