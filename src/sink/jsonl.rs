//! JSON Lines: one compact object a row, JSON values token for token, nulls explicit.
//!
//! Batches become lines side by side and are written in order. gzip is made of members, one a batch,
//! which every reader joins; zstd of one frame, because some readers stop after the first. Both are
//! functions of the rows alone, at any number of threads.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use flate2::{Compression as Level, write::GzEncoder};
use zstd::zstd_safe::CParameter;

use super::{
    Compression, Counted, HOLDS_JSON, Sink, Written,
    pool::{Pool, Ticket},
};
use crate::{
    batch::Column,
    error::{Error, Result},
};

/// Bytes of lines that a thread compresses at a time: what zstd allows, so that little is held.
const ZSTD_JOB_BYTES: u32 = 1 << 20;

pub(super) struct JsonLinesSink {
    output: Encoder,
    compression: Compression,
    /// None when nothing may wait.
    side_by_side: Option<SideBySide>,
    rows: u64,
}

struct SideBySide {
    pool: Pool<()>,
    threads: usize,
    encoding: VecDeque<Ticket<Vec<u8>>>,
}

enum Encoder {
    Plain(Counted),
    Zstd(zstd::Encoder<'static, Counted>),
}

impl JsonLinesSink {
    /// With no thread besides the caller's, each batch's lines are at the reader's before the next.
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
        let side_by_side = (threads > 0).then(|| {
            Pool::new(threads).map(|pool| SideBySide { pool, threads, encoding: VecDeque::new() })
        });
        Ok(Self { output, compression, side_by_side: side_by_side.transpose()?, rows: 0 })
    }

    fn write_oldest(&mut self) -> Result<()> {
        let oldest = self.side_by_side.as_mut().and_then(|it| it.encoding.pop_front());
        let Some(oldest) = oldest else { return Ok(()) };
        self.output.write_all(&oldest.wait()?).map_err(failed)
    }

    fn waiting(&self) -> usize {
        self.side_by_side.as_ref().map_or(0, |it| it.encoding.len())
    }
}

impl Sink for JsonLinesSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let gzip = self.compression == Compression::Gzip;
        match &mut self.side_by_side {
            None => {
                self.output.write_all(&encode(&batch, gzip)?).map_err(failed)?;
                if let Encoder::Plain(output) = &mut self.output {
                    output.flush().map_err(failed)?;
                }
                Ok(())
            }
            Some(SideBySide { pool, threads, encoding }) => {
                encoding.push_back(pool.submit(move |()| encode(&batch, gzip)));
                let most = *threads;
                while self.waiting() > most {
                    self.write_oldest()?;
                }
                Ok(())
            }
        }
    }

    fn finish(mut self: Box<Self>, _facts: &str) -> Result<Written> {
        while self.waiting() > 0 {
            self.write_oldest()?;
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
        for (index, (column, values)) in columns.iter().enumerate() {
            lines.push(if index == 0 { b'{' } else { b',' });
            write!(lines, "\"{column}\":").map_err(failed)?;
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

enum Values<'a> {
    Integers(&'a Int64Array),
    Json(&'a StringArray),
    Text(&'a StringArray),
}

impl Values<'_> {
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

fn columns(batch: &RecordBatch) -> Result<Vec<(&str, Values<'_>)>> {
    let schema = batch.schema_ref();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .map(|(field, array)| {
            let values = match field.name().parse::<Column>() {
                Ok(Column::Order) => array.as_primitive_opt::<Int64Type>().map(Values::Integers),
                Ok(column) if column.is_json() => array.as_string_opt().map(Values::Json),
                Err(_) if field.metadata().contains_key(HOLDS_JSON) => {
                    array.as_string_opt().map(Values::Json)
                }
                _ => array.as_string_opt().map(Values::Text),
            };
            let name = field.name().as_str();
            let unexpected = || Error::Internal(format!("{name} came as {}", array.data_type()));
            Ok((name, values.ok_or_else(unexpected)?))
        })
        .collect()
}

fn failed(error: io::Error) -> Error {
    Error::Encode { format: "JSON Lines", source: error.into() }
}
