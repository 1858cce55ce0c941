//! Writes JSON Lines: one compact object per row, JSON values token for token, nulls explicit.
//!
//! Encoder threads turn batches into lines in parallel; the lines are written in order. A gzip file is one member,
//! and a zstd file is one frame, because some readers stop after the first. In the gzip member, each batch has
//! deflate blocks of its own. So its bytes depend on where batches end. In an export, only the rows decide where
//! batches end. Neither codec depends on the number of threads.

use std::{
    io::{self, Write},
    mem,
};

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use flate2::{Compression as Level, Crc, write::DeflateEncoder};
use zstd::zstd_safe::CParameter;

use super::{
    Compression, Counted, Encoding, JsonColumns, Sink, Written, pool::Ordered, value_bytes,
};
use crate::{
    batch::{Column, HOLDS_JSON, timestamp_text},
    error::{Error, Result},
};

/// Size of a zstd job in bytes, before compression: allowed by zstd, and small so that each thread buffers
/// little. zstd enlarges it if the overlap, the part of the window that a job repeats, is larger: 8 MiB at
/// level 19.
const ZSTD_JOB_BYTES: u32 = 1 << 20;

/// Header of a gzip member (RFC 1952) without a time and a name: the same rows give the same bytes.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last deflate block of a gzip member. It is empty, so it can be written after any other block.
const GZIP_LAST_BLOCK: [u8; 2] = [3, 0];

/// Start of each line of [`JsonColumns::Text`].
const TEXT_START: &[u8] = b"{ ";

/// Returns whether a line is of the form [`JsonColumns::Text`]: a space follows the first brace, and none is before
/// the last. Programs that put spaces inside braces put them on both sides.
pub(crate) fn is_text_line(line: &[u8]) -> bool {
    line.starts_with(TEXT_START) && !line.trim_ascii_end().ends_with(b" }")
}

pub(super) struct JsonLinesSink {
    output: Encoder,
    form: LineForm,
    /// `None` when every batch must be written immediately.
    encoding: Option<Ordered<(), EncodedLines>>,
    rows: u64,
}

/// The form of the lines.
#[derive(Clone, Copy)]
struct LineForm {
    columns: JsonColumns,
    gzip: bool,
}

/// The lines of a batch as they are written to the output.
#[derive(Default)]
struct EncodedLines {
    bytes: Vec<u8>,
    /// Checksum of the lines before compression, only for gzip.
    crc: Crc,
}

enum Encoder {
    Plain(Counted),
    /// The output, and the checksum of all lines so far.
    Gzip(Counted, Crc),
    Zstd(zstd::Encoder<'static, Counted>),
}

impl JsonLinesSink {
    /// Creates a sink. With 0 threads, the lines of each batch are flushed before the next batch is taken. The
    /// exception is zstd: it still has one thread of its own, and collects lines until a job is full.
    pub(super) fn new(encoding: Encoding, mut output: Counted, threads: usize) -> Result<Self> {
        let compression = encoding.compression();
        let output = match compression {
            Compression::None => Encoder::Plain(output),
            Compression::Gzip => {
                output.write_all(&GZIP_HEADER).map_err(failed)?;
                Encoder::Gzip(output, Crc::new())
            }
            Compression::Zstd(level) => Encoder::Zstd(zstd_encoder(level, output, threads)?),
            Compression::Snappy | Compression::Lz4 => {
                return Err(Error::Internal(format!(
                    "JSON Lines are not written as {compression}"
                )));
            }
        };
        let columns = encoding.json_columns().unwrap_or_default();
        let form = LineForm { columns, gzip: compression == Compression::Gzip };
        let encoding = (threads > 0).then(|| Ordered::new(threads, 1)).transpose()?;
        Ok(Self { output, form, encoding, rows: 0 })
    }
}

impl Sink for JsonLinesSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let form = self.form;
        let Some(encoding) = &mut self.encoding else {
            self.output.append(&encode(&batch, form)?).map_err(failed)?;
            return self.output.flush().map_err(failed);
        };
        encoding.submit(value_bytes(&batch), move |()| encode(&batch, form));
        while let Some(lines) = encoding.overdue() {
            self.output.append(&lines?).map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        while let Some(lines) = self.encoding.as_mut().and_then(Ordered::oldest) {
            self.output.append(&lines?).map_err(failed)?;
        }
        let bytes = self.output.finish().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes })
    }

    fn abort(self: Box<Self>) {}
}

impl Encoder {
    fn append(&mut self, lines: &EncodedLines) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.write_all(&lines.bytes),
            Self::Gzip(output, crc) => {
                crc.combine(&lines.crc);
                output.write_all(&lines.bytes)
            }
            Self::Zstd(encoder) => encoder.write_all(&lines.bytes),
        }
    }

    /// Passes all bytes on. zstd keeps those of an unfinished block: a flush would end the block.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) | Self::Gzip(output, _) => output.flush(),
            Self::Zstd(_) => Ok(()),
        }
    }

    /// Ends the output and returns its size in bytes.
    fn finish(self) -> io::Result<u64> {
        let mut output = match self {
            Self::Plain(output) => output,
            Self::Gzip(mut output, crc) => {
                output.write_all(&GZIP_LAST_BLOCK)?;
                output.write_all(&crc.sum().to_le_bytes())?;
                // The format has 32 bits for the size before compression.
                output.write_all(&crc.amount().to_le_bytes())?;
                output
            }
            Self::Zstd(encoder) => encoder.finish()?,
        };
        output.flush()?;
        Ok(output.bytes)
    }
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

/// Compresses the lines of a batch into deflate blocks that do not refer to earlier blocks.
fn deflate(lines: &[u8]) -> io::Result<EncodedLines> {
    let mut crc = Crc::new();
    crc.update(lines);
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(lines.len() / 3), Level::new(6));
    encoder.write_all(lines)?;
    // A sync flush ends at a whole byte, so that the blocks of the next batch can follow.
    encoder.flush()?;
    Ok(EncodedLines { bytes: mem::take(encoder.get_mut()), crc })
}

fn encode(batch: &RecordBatch, form: LineForm) -> Result<EncodedLines> {
    let columns = columns(batch, form.columns)?;
    let bytes = batch.get_array_memory_size();
    let mut lines = Vec::with_capacity(bytes + bytes / 8);
    for row in 0..batch.num_rows() {
        for (name, values) in &columns {
            lines.extend_from_slice(name);
            values.write(row, &mut lines).map_err(failed)?;
        }
        lines.extend_from_slice(b"}\n");
    }
    if form.gzip {
        return deflate(&lines).map_err(failed);
    }
    Ok(EncodedLines { bytes: lines, ..EncodedLines::default() })
}

enum TypedArray<'a> {
    Integers(&'a Int64Array),
    Floats(&'a Float64Array),
    Booleans(&'a BooleanArray),
    Timestamps(&'a TimestampMicrosecondArray),
    Json(&'a StringArray),
    Text(&'a StringArray),
}

impl<'a> TypedArray<'a> {
    /// Takes an array of one of the types that sinks write.
    fn of(array: &'a ArrayRef, is_value: bool) -> Option<Self> {
        let text = if is_value { Self::Json } else { Self::Text };
        array
            .as_string_opt()
            .map(text)
            .or_else(|| array.as_primitive_opt::<Int64Type>().map(Self::Integers))
            .or_else(|| array.as_primitive_opt::<Float64Type>().map(Self::Floats))
            .or_else(|| array.as_primitive_opt::<TimestampMicrosecondType>().map(Self::Timestamps))
            .or_else(|| array.as_boolean_opt().map(Self::Booleans))
    }

    fn write(&self, row: usize, line: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Integers(values) if values.is_valid(row) => write!(line, "{}", values.value(row)),
            // The shortest decimal number that is read as the same value; null if JSON has none.
            Self::Floats(values) if values.is_valid(row) => {
                Ok(serde_json::to_writer(line, &values.value(row))?)
            }
            Self::Booleans(values) if values.is_valid(row) => write!(line, "{}", values.value(row)),
            Self::Timestamps(values) if values.is_valid(row) => {
                write!(line, "\"{}\"", timestamp_text(values.value(row)))
            }
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
fn columns(batch: &RecordBatch, form: JsonColumns) -> Result<Vec<(Vec<u8>, TypedArray<'_>)>> {
    let fields = batch.schema_ref().fields();
    let columns = fields.iter().zip(batch.columns()).enumerate();
    let start: &[u8] = match form {
        JsonColumns::Json => b"{",
        JsonColumns::Text => TEXT_START,
    };
    columns
        .map(|(index, (field, array))| {
            let holds_json = match field.name().parse::<Column>() {
                Ok(column) => column.is_json(),
                Err(_) => field.metadata().contains_key(HOLDS_JSON),
            };
            let is_value = holds_json && form == JsonColumns::Json;
            let values = TypedArray::of(array, is_value);
            let name = field.name().as_str();
            let unexpected =
                || Error::Internal(format!("{name} has the unexpected type {}", array.data_type()));
            let mut before = if index == 0 { start.to_vec() } else { vec![b','] };
            serde_json::to_writer(&mut before, name).map_err(|error| failed(error.into()))?;
            before.push(b':');
            Ok((before, values.ok_or_else(unexpected)?))
        })
        .collect()
}

fn failed(error: io::Error) -> Error {
    Error::Encode { format: "JSON Lines", source: error.into() }
}
