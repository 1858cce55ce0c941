//! Reads CSV, plain or compressed, record by record. The length of a record is bounded.
//!
//! Reads what the sink writes: an empty cell is null, and `""` is the empty string. A line can also end with a line
//! feed alone. Everything else that RFC 4180 does not allow is an error, because a value could be read wrong.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, builder::StringBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use csv_core::{ReadFieldResult, Reader as CellReader};

use super::{
    ColumnChoice, FileBatches, ReadOptions, Reader, RecordedLines, damaged,
    text::TextFile,
    window::{BATCH_BYTES, BATCH_ROWS},
};
use crate::{
    batch::{Column, ColumnType, ComputedValue, OutputColumn, ValueBuilder},
    error::{Cause, Error, Result},
    location::Location,
    sink::{BYTE_ORDER_MARK, Compression},
    text::{counted, grouped},
};

/// Bytes that a record may have in addition to one value of the largest size: 4 MiB for the other values.
const RECORD_OVERHEAD: usize = 4 << 20;

/// Opens a file and reads its header.
pub(super) fn open(
    path: &Location,
    compression: Compression,
    (options, recorded): (&ReadOptions, RecordedLines<'_>),
) -> Result<Reader> {
    let mut records = Records::new(TextFile::open(path, compression, recorded.sha256)?, options);
    let columns = recorded.columns.as_deref().unwrap_or_default();
    let found = header(&mut records, columns)?;
    let known = if recorded.columns.is_some() { columns.to_vec() } else { others(&found) };
    let choice = ColumnChoice::of(&found, options, &known, None);
    let rows = CsvRows { records, cells: found.fields().len(), indices: choice.indices };
    let (schema, options) = (choice.schema.clone(), options.clone());
    let (mut rows, mut ended) = (rows, false);
    let batches = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let batch = rows.next(&schema, &options);
        // After an error, too, nothing follows.
        ended = !matches!(&batch, Ok((_, false)));
        batch.map(|(batch, _)| batch).transpose()
    });
    Ok(Reader {
        facts: None,
        computed: columns.iter().filter(|it| it.of_api().is_none()).cloned().collect(),
        checksum: None,
        writer: None,
        schema: Some(choice.schema),
        foreign: choice.foreign,
        rescues: false,
        rows: None,
        batches: FileBatches::Lines(Box::new(batches)),
    })
}

/// Returns the columns that may be computed ones, if the file has columns of the API. Without a record nothing says
/// their type: their values stay text.
fn others(found: &Schema) -> Vec<OutputColumn> {
    let is_of_api = |field: &Arc<Field>| field.name().parse::<Column>().is_ok();
    if !found.fields().iter().any(is_of_api) {
        return Vec::new();
    }
    let others = found.fields().iter().filter(|field| !is_of_api(field));
    others.filter_map(|it| OutputColumn::computed(it.name(), ColumnType::String).ok()).collect()
}

/// Counts the records of a file, the header included, without parsing them: the lines that do not end inside quotes.
pub(super) fn count_records(mut file: TextFile, go_on: impl Fn() -> Result<()>) -> Result<u64> {
    let (mut count, mut open, mut quoted) = (0, false, false);
    file.scan(go_on, |bytes| {
        open = !bytes.ends_with(b"\n");
        for at in memchr::memchr2_iter(b'\n', b'"', bytes) {
            match bytes.get(at) {
                Some(b'"') => quoted = !quoted,
                _ => count += u64::from(!quoted),
            }
        }
    })?;
    Ok(count + u64::from(open || quoted))
}

/// Reads the header. Returns the columns with the types of an export or of the record; any other column is text.
fn header(records: &mut Records, recorded: &[OutputColumn]) -> Result<Schema> {
    if !records.advance()? {
        return Err(records.wrong("it has no header"));
    }
    let (mut fields, mut is_safe) = (Vec::new(), true);
    records.cells(|cell| {
        is_safe &= cell.is_quoted;
        let name = cell.value.unwrap_or_default();
        let api = name.parse::<Column>().ok().map(OutputColumn::from);
        let column = api.or_else(|| recorded.iter().find(|it| it.name() == name).cloned());
        let unknown = || Field::new(name, DataType::Utf8, true);
        fields.push(column.as_ref().map_or_else(unknown, OutputColumn::field));
        Ok(())
    })?;
    if is_safe {
        return Err(Error::ChangedCells { path: records.file.path().to_path() });
    }
    Ok(Schema::new(fields))
}

/// The rows of a file after its header.
struct CsvRows {
    records: Records,
    /// Number of columns of the file.
    cells: usize,
    /// Positions of the columns to read.
    indices: Vec<usize>,
}

impl CsvRows {
    /// Reads the next batch, and returns whether the file has ended.
    fn next(
        &mut self,
        schema: &SchemaRef,
        options: &ReadOptions,
    ) -> Result<(Option<RecordBatch>, bool)> {
        let fields = schema.fields().iter();
        let mut builders: Vec<_> = fields.map(|field| CellBuilder::new(field)).collect();
        let (mut rows, mut bytes, mut ended) = (0, 0, false);
        let path = self.records.file.path().clone();
        while rows < BATCH_ROWS && bytes < BATCH_BYTES {
            if !self.records.advance()? {
                self.records.file.check_end()?;
                ended = true;
                break;
            }
            (rows, bytes) = (rows + 1, bytes + self.records.record.len());
            let (row, mut seen) = (self.records.number - 1, 0);
            self.records.cells(|cell| {
                let chosen = self.indices.iter().position(|index| *index == seen);
                seen += 1;
                let Some(chosen) = chosen else { return Ok(()) };
                let name = schema.field(chosen).name();
                options.check_value(&path, name, cell.value.map_or(0, str::len))?;
                let pushed = builders.get_mut(chosen).map(|builder| builder.push(cell.value));
                pushed
                    .unwrap_or(Ok(()))
                    .map_err(|why| damaged(&path, format!("row {row}: its {name} {why}").into()))
            })?;
            if seen != self.cells {
                let (seen, cells) = (counted(seen as u64, "cell"), self.cells);
                let why = format!("row {row} has {seen}, and the header has {cells}");
                return Err(damaged(&path, why.into()));
            }
        }
        if rows == 0 {
            return Ok((None, ended));
        }
        let arrays = builders.into_iter().map(CellBuilder::finish).collect::<Result<_>>()?;
        let how = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &how);
        let batch = batch.map_err(|error| damaged(&path, error.into()))?;
        Ok((Some(batch), ended))
    }
}

enum CellBuilder {
    Text(StringBuilder),
    Other(ValueBuilder, ColumnType),
}

impl CellBuilder {
    fn new(field: &Field) -> Self {
        match ColumnType::of_field(field) {
            None | Some(ColumnType::String | ColumnType::Json) => Self::Text(StringBuilder::new()),
            Some(other) => Self::Other(ValueBuilder::new(other), other),
        }
    }

    /// Adds a value. The error is a predicate.
    fn push(&mut self, value: Option<&str>) -> Result<(), String> {
        match self {
            Self::Other(builder, column_type) => match value {
                Some(value) => builder.push_parsed(value, *column_type, false)?,
                None => {
                    builder.push(ComputedValue::Null).map_err(|error| error.to_string())?;
                }
            },
            Self::Text(builder) => builder.append_option(value),
        }
        Ok(())
    }

    fn finish(self) -> Result<ArrayRef> {
        match self {
            Self::Other(mut builder, _) => builder.finish(),
            Self::Text(mut builder) => Ok(Arc::new(builder.finish())),
        }
    }
}

/// The records of a file. The header is the first.
struct Records {
    file: TextFile,
    reader: CellReader,
    /// The present record. It ends with a line feed, whatever its end in the file is.
    record: Vec<u8>,
    /// The text of a cell.
    text: Vec<u8>,
    /// Number of the present record, from 1.
    number: u64,
    limit: usize,
    max_value_bytes: usize,
}

/// A cell of a record.
struct CsvCell<'a> {
    /// `None` if the cell is empty and not in quotes.
    value: Option<&'a str>,
    is_quoted: bool,
}

impl Records {
    fn new(file: TextFile, options: &ReadOptions) -> Self {
        let max_value_bytes = options.max_value_bytes;
        // In quotes, each quote has another one before it.
        let limit = max_value_bytes.saturating_mul(2).saturating_add(RECORD_OVERHEAD);
        let (record, text, reader) = (Vec::new(), Vec::new(), CellReader::new());
        Self { file, reader, record, text, number: 0, limit, max_value_bytes }
    }

    fn wrong(&self, why: impl Into<Cause>) -> Error {
        damaged(self.file.path(), why.into())
    }

    /// Names the present record, for errors.
    fn name(&self) -> String {
        match self.number {
            ..=1 => "its header".to_owned(),
            number => format!("row {}", number - 1),
        }
    }

    /// Reads the next record. Returns `false` at the end of the file. The last record needs no line end.
    fn advance(&mut self) -> Result<bool> {
        self.record.clear();
        self.number += 1;
        let mut quotes = 0;
        loop {
            let before = self.record.len();
            let room = self.limit.saturating_add(1).saturating_sub(before);
            let read = self.file.read_line(&mut self.record, room)?;
            if self.record.len() > self.limit {
                let limit = grouped(self.limit as u64);
                return Err(Error::ValueTooLarge {
                    path: self.file.path().to_path(),
                    what: format!("{} has more than {limit} bytes", self.name()),
                    limit: self.max_value_bytes as u64,
                });
            }
            let line = self.record.get(before..).unwrap_or_default();
            quotes += memchr::memchr_iter(b'"', line).count();
            match (quotes % 2, read) {
                (0, _) => break,
                (_, 0) => {
                    let why = format!("it ends inside a cell in quotes, in {}", self.name());
                    return Err(self.wrong(why));
                }
                _ => {}
            }
        }
        if self.number == 1 && self.record.starts_with(BYTE_ORDER_MARK) {
            self.record.drain(..BYTE_ORDER_MARK.len());
        }
        if self.record.is_empty() {
            return Ok(false);
        }
        if self.record.ends_with(b"\r\n") {
            self.record.truncate(self.record.len() - 2);
        } else if self.record.ends_with(b"\n") {
            self.record.truncate(self.record.len() - 1);
        }
        self.record.push(b'\n');
        Ok(true)
    }

    /// Calls `visit` with each cell of the present record.
    fn cells(&mut self, mut visit: impl FnMut(CsvCell<'_>) -> Result<()>) -> Result<()> {
        if self.record == b"\n" {
            // The decoder skips empty lines. In a file of one column, such a line is null.
            return visit(CsvCell { value: None, is_quoted: false });
        }
        self.text.resize(self.record.len(), 0);
        let mut left = self.record.as_slice();
        loop {
            let (result, read, written) = self.reader.read_field(left, &mut self.text);
            let ReadFieldResult::Field { record_end } = result else {
                return Err(self.malformed());
            };
            let (source, rest) = left.split_at(read);
            // The last byte is the comma or the line feed after the cell.
            let source = source.split_last().map(|(_, source)| source).unwrap_or_default();
            let text = self.text.get(..written).unwrap_or_default();
            let is_quoted = source.starts_with(b"\"");
            if record_end != rest.is_empty() || !is_well_formed(source, text.len()) {
                return Err(self.malformed());
            }
            let Ok(text) = std::str::from_utf8(text) else {
                return Err(self.wrong(format!("{} is not UTF-8", self.name())));
            };
            let value = (is_quoted || !text.is_empty()).then_some(text);
            visit(CsvCell { value, is_quoted })?;
            if record_end {
                return Ok(());
            }
            left = rest;
        }
    }

    fn malformed(&self) -> Error {
        self.wrong(format!(
            "{} is not CSV as in RFC 4180: a quote or a carriage return is in a cell without quotes around it, or a \
             quote in a cell is not doubled",
            self.name()
        ))
    }
}

/// Returns whether a cell follows RFC 4180, from its length after decoding. The decoder itself reads any bytes.
fn is_well_formed(source: &[u8], decoded: usize) -> bool {
    let quotes = memchr::memchr_iter(b'"', source).count();
    if !source.starts_with(b"\"") {
        return quotes == 0 && decoded == source.len();
    }
    // Two quotes around the cell, and pairs in it, each of which is decoded to one.
    quotes >= 2
        && quotes.is_multiple_of(2)
        && source.ends_with(b"\"")
        && decoded + 2 + (quotes - 2) / 2 == source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_length_tells_well_formed_cells() {
        for (source, decoded, expected) in [
            ("", 0, true),
            ("a", 1, true),
            ("\"\"", 0, true),
            ("\"a\"\"b\"", 3, true),
            ("a\"", 2, false),
            ("\"a\"b", 2, false),
            ("\"a\"b\"\"", 4, false),
            ("\"", 0, false),
        ] {
            assert_eq!(is_well_formed(source.as_bytes(), decoded), expected, "{source}");
        }
    }
}
