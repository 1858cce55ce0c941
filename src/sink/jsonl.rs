//! Writes JSON Lines: one compact object per row, JSON values token for token, nulls explicit. The column of a map has
//! whole lines.

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow_array::RecordBatch;

use super::{Counted, Encoding, JsonColumns, lines::LinesSink};
use crate::{
    batch::{ColumnType, ColumnValues, OutputColumn},
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
    let form = encoding.json_columns().unwrap_or(JsonColumns::Value);
    let encode = Arc::new(move |batch: &RecordBatch| encode(batch, form));
    LinesSink::new(encoding, output, threads, Vec::new(), encode)
}

fn encode(batch: &RecordBatch, form: JsonColumns) -> Result<Vec<u8>> {
    if let [column] = &batch.schema_ref().fields()[..]
        && OutputColumn::of_field(column).is_some_and(|column| column.is_line())
    {
        return encode_lines(batch);
    }
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

/// Writes the only column of a batch: each value is a line.
fn encode_lines(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(batch.get_array_memory_size() + batch.num_rows());
    for array in batch.columns() {
        let unexpected = || Error::Internal(format!("lines of the type {}", array.data_type()));
        let values = ColumnValues::of(array).ok_or_else(unexpected)?;
        let values = LineValues { values, is_value: true };
        for row in 0..batch.num_rows() {
            values.write(row, &mut lines).map_err(failed)?;
            lines.push(b'\n');
        }
    }
    Ok(lines)
}

/// The values of a column, and how text is written: as the JSON value that it is, or as a string.
struct LineValues<'a> {
    values: ColumnValues<'a>,
    is_value: bool,
}

impl LineValues<'_> {
    fn write(&self, row: usize, line: &mut Vec<u8>) -> io::Result<()> {
        match self.values.get(row) {
            Some(value) => value.write_json(self.is_value, line),
            None => line.write_all(b"null"),
        }
    }
}

/// Returns for each column the bytes before its value in a line (brace or comma, name, colon) and the values.
fn columns(batch: &RecordBatch, form: JsonColumns) -> Result<Vec<(Vec<u8>, LineValues<'_>)>> {
    let fields = batch.schema_ref().fields();
    let columns = fields.iter().zip(batch.columns()).enumerate();
    let start: &[u8] = match form {
        JsonColumns::Text => TEXT_START,
        JsonColumns::Value | JsonColumns::Nested => b"{",
    };
    columns
        .map(|(index, (field, array))| {
            let holds_json = ColumnType::of_field(field).is_some_and(ColumnType::holds_json);
            let is_value = holds_json && form == JsonColumns::Value;
            let values = ColumnValues::of(array).map(|values| LineValues { values, is_value });
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
