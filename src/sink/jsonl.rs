//! JSON Lines: one compact object a row, JSON values token for token, nulls explicit.

use std::io::{self, Write};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use flate2::write::GzEncoder;

use super::{Compression, Counted, HOLDS_JSON, Sink, Written};
use crate::{
    batch::Column,
    error::{Error, Result},
};

pub(super) struct JsonLinesSink {
    encoder: Encoder,
    line: Vec<u8>,
    rows: u64,
}

enum Encoder {
    Plain(Counted),
    Gzip(GzEncoder<Counted>),
    Zstd(zstd::Encoder<'static, Counted>),
}

impl JsonLinesSink {
    pub(super) fn new(compression: Compression, output: Counted) -> Result<Self> {
        let encoder = match compression {
            Compression::None => Encoder::Plain(output),
            // The header has neither a time nor a name: the same rows give the same bytes.
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(output, flate2::Compression::new(6))),
            Compression::Zstd(level) => {
                Encoder::Zstd(zstd::Encoder::new(output, level).map_err(failed)?)
            }
            Compression::Snappy | Compression::Lz4 => {
                return Err(Error::Internal(format!(
                    "JSON Lines are not written as {compression}"
                )));
            }
        };
        Ok(Self { encoder, line: Vec::new(), rows: 0 })
    }
}

impl Sink for JsonLinesSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let columns = columns(&batch)?;
        for row in 0..batch.num_rows() {
            self.line.clear();
            for (index, (column, values)) in columns.iter().enumerate() {
                self.line.push(if index == 0 { b'{' } else { b',' });
                write!(self.line, "\"{column}\":").map_err(failed)?;
                values.write(row, &mut self.line).map_err(failed)?;
            }
            self.line.extend_from_slice(b"}\n");
            self.encoder.write_all(&self.line).map_err(failed)?;
        }
        self.rows += batch.num_rows() as u64;
        // A plain line at the other end of a pipe is there as soon as its batch is.
        if let Encoder::Plain(output) = &mut self.encoder {
            output.flush().map_err(failed)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _facts: &str) -> Result<Written> {
        let mut output = match self.encoder {
            Encoder::Plain(output) => output,
            Encoder::Gzip(encoder) => encoder.finish().map_err(failed)?,
            Encoder::Zstd(encoder) => encoder.finish().map_err(failed)?,
        };
        output.flush().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes: output.bytes })
    }

    fn abort(self: Box<Self>) {}
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Gzip(encoder) => encoder.flush(),
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
