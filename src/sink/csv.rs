//! Writes CSV as in RFC 4180: a header, cells between commas, lines that end in a carriage return and a line feed.
//!
//! An empty cell is null, and `""` is the empty string. All other cells are quoted only if they must be. JSON columns
//! and lists are their JSON text.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use csv_core::{WriteResult, Writer, quote};

use super::{Counted, Encoding, lines::LinesSink};
use crate::{
    batch::{ArrayValue, ColumnType, ColumnValues, timestamp_text},
    error::{Cause, Error, Result},
};

/// The byte order mark in UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const LINE_END: &[u8] = b"\r\n";

/// Characters with which a formula begins in a spreadsheet, or which a spreadsheet drops before it looks for one. The
/// full-width forms count in programs for East Asian languages.
const FORMULA_STARTS: [char; 11] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Creates a sink. See [`LinesSink::new`] for the number of threads.
pub(super) fn sink(
    encoding: Encoding,
    schema: &Schema,
    output: Counted,
    threads: usize,
) -> Result<LinesSink> {
    let cells = CellWriter::new(encoding.csv_safe().unwrap_or_default());
    let mut start = Vec::new();
    if encoding.csv_bom().unwrap_or_default() {
        start.extend_from_slice(BYTE_ORDER_MARK);
    }
    cells.header(schema, &mut start);
    let encode = Arc::new(move |batch: &RecordBatch| cells.rows(batch));
    LinesSink::new(encoding, output, threads, start, encode)
}

/// Writes cells, header and rows.
struct CellWriter {
    /// Knows which cells need quotes.
    rules: Writer,
    /// Whether to protect cells that a spreadsheet would run as a formula.
    is_safe: bool,
}

impl CellWriter {
    fn new(is_safe: bool) -> Self {
        Self { rules: Writer::new(), is_safe }
    }

    /// Writes the names of the columns. In a file with protected cells all are in quotes, so that readers can tell: a
    /// CSV file has no metadata.
    fn header(&self, schema: &Schema, line: &mut Vec<u8>) {
        for (index, field) in schema.fields().iter().enumerate() {
            separate(index, line);
            if self.is_safe {
                let name = protected(field.name());
                push_quoted(name.as_deref().unwrap_or(field.name()), line);
            } else {
                self.text(field.name(), line);
            }
        }
        line.extend_from_slice(LINE_END);
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let fields = batch.schema_ref().fields();
        let columns = fields.iter().zip(batch.columns()).map(|(field, array)| {
            let values = ColumnValues::of(array).ok_or_else(|| {
                let (name, found) = (field.name(), array.data_type());
                Error::Internal(format!("{name} has the unexpected type {found}"))
            })?;
            let holds_json = ColumnType::of_field(field).is_some_and(ColumnType::holds_json);
            Ok((values, holds_json))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let bytes = batch.get_array_memory_size();
        let mut lines = Vec::with_capacity(bytes + bytes / 8);
        for row in 0..batch.num_rows() {
            for (index, (values, holds_json)) in columns.iter().enumerate() {
                separate(index, &mut lines);
                self.cell(values.get(row), *holds_json, &mut lines)?;
            }
            lines.extend_from_slice(LINE_END);
        }
        Ok(lines)
    }

    /// Writes a value. `holds_json` says that the elements of a list are JSON text.
    fn cell(
        &self,
        value: Option<ArrayValue<'_>>,
        holds_json: bool,
        line: &mut Vec<u8>,
    ) -> Result<()> {
        match value {
            Some(ArrayValue::Text(text)) => self.text(text, line),
            Some(ArrayValue::Int(int)) => line.extend_from_slice(int.to_string().as_bytes()),
            // The shortest decimal number that is read as the same value.
            Some(ArrayValue::Float(float)) => {
                line.extend_from_slice(format!("{float:?}").as_bytes())
            }
            Some(ArrayValue::Bool(value)) => line.extend_from_slice(value.to_string().as_bytes()),
            Some(ArrayValue::Timestamp(micros)) => {
                line.extend_from_slice(timestamp_text(micros).as_bytes());
            }
            Some(list @ ArrayValue::List(_)) => {
                let mut text = Vec::new();
                let failed = |error: Cause| Error::Encode { format: "CSV", source: error };
                list.write_json(holds_json, &mut text).map_err(|error| failed(error.into()))?;
                let text = std::str::from_utf8(&text).map_err(|error| failed(error.into()))?;
                self.text(text, line);
            }
            None => {}
        }
        Ok(())
    }

    fn text(&self, text: &str, line: &mut Vec<u8>) {
        let protected = if self.is_safe { protected(text) } else { None };
        let text = protected.as_deref().unwrap_or(text);
        if text.is_empty() || self.rules.should_quote(text.as_bytes()) {
            push_quoted(text, line);
        } else {
            line.extend_from_slice(text.as_bytes());
        }
    }
}

fn separate(index: usize, line: &mut Vec<u8>) {
    if index > 0 {
        line.push(b',');
    }
}

/// Writes a text in quotes. Quotes in the text are doubled.
fn push_quoted(text: &str, line: &mut Vec<u8>) {
    let mut left = text.as_bytes();
    let mut buffer = [0; 4096];
    line.push(b'"');
    loop {
        let (result, read, written) = quote(left, &mut buffer, b'"', b'"', true);
        line.extend_from_slice(buffer.get(..written).unwrap_or_default());
        left = left.get(read..).unwrap_or_default();
        if result == WriteResult::InputEmpty {
            break;
        }
    }
    line.push(b'"');
}

/// Returns the text with an apostrophe before it, if a spreadsheet could run it as a formula.
fn protected(text: &str) -> Option<String> {
    let is_formula = |text: &str| text.starts_with(FORMULA_STARTS);
    let is_dropped = |c: char| c.is_whitespace() || matches!(c, '\0' | '\u{feff}' | '\u{200b}');
    let is_risky = is_formula(text) || is_formula(text.trim_start_matches(is_dropped));
    (is_risky && !is_negative_number(text)).then(|| format!("'{text}"))
}

/// Returns whether a text is a number below zero as in JSON. A spreadsheet takes it as this number.
fn is_negative_number(text: &str) -> bool {
    text.starts_with('-') && serde_json::from_str::<f64>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_get_an_apostrophe_and_numbers_none() {
        for formula in [
            "=1+1",
            "+1",
            "@SUM(A1)",
            "-1+1",
            "-",
            "-1|cmd",
            "--1",
            "\tx",
            "\rx",
            "\nx",
            " =1",
            "\u{a0}@x",
            "\u{feff}=1",
            "\0=1",
            "\u{ff1d}1",
            "\u{ff0d}1",
            "-1e999",
            "-01",
            "=",
        ] {
            assert_eq!(protected(formula), Some(format!("'{formula}")), "{formula:?}");
        }
        for other in
            ["", "a", "-5", "-0.5e3", "5", "1=1", "a-b", "'=1", " a", "{\"a\":\"=1\"}", "a\t=1"]
        {
            assert_eq!(protected(other), None, "{other:?}");
        }
    }

    #[test]
    fn quotes_are_doubled_across_buffers() {
        for length in [0, 1, 4094, 4095, 4096, 4097, 9000] {
            let text = "\"".repeat(length);
            let mut line = Vec::new();
            push_quoted(&text, &mut line);
            assert_eq!(line, "\"".repeat(2 * length + 2).into_bytes(), "{length}");
        }
    }
}
