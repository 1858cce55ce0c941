//! Writes JSON Lines: one compact object per row, JSON values token for token, nulls explicit.

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};

use super::{Counted, Encoding, JsonColumns, lines::LinesSink};
use crate::{
    batch::{Column, HOLDS_JSON, timestamp_text},
    error::{Error, Result},
};

/// Start of each line of [`JsonColumns::Text`].
const TEXT_START: &[u8] = b"{ ";

/// Returns whether a line is of the form [`JsonColumns::Text`]: a space follows the first brace, and none is before
/// the last. Programs that put spaces inside braces put them on both sides.
pub(crate) fn is_text_line(line: &[u8]) -> bool {
    line.starts_with(TEXT_START) && !line.trim_ascii_end().ends_with(b" }")
}

/// Creates a sink. See [`LinesSink::new`] for the number of threads.
pub(super) fn sink(encoding: Encoding, output: Counted, threads: usize) -> Result<LinesSink> {
    let form = encoding.json_columns().unwrap_or_default();
    let encode = Arc::new(move |batch: &RecordBatch| encode(batch, form));
    LinesSink::new(encoding, output, threads, Vec::new(), encode)
}

fn encode(batch: &RecordBatch, form: JsonColumns) -> Result<Vec<u8>> {
    let columns = columns(batch, form)?;
    let bytes = batch.get_array_memory_size();
    let mut lines = Vec::with_capacity(bytes + bytes / 8);
    for row in 0..batch.num_rows() {
        for (name, values) in &columns {
            lines.extend_from_slice(name);
            values.write(row, &mut lines).map_err(failed)?;
        }
        lines.extend_from_slice(b"}\n");
    }
    Ok(lines)
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
