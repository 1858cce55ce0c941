//! Reads JSON Lines, plain or compressed, line by line. The length of a line is bounded.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch, RecordBatchOptions,
    builder::{Int64Builder, StringBuilder},
};

use super::{
    Foreign, ReadOptions, Reader, damaged,
    json_line::JsonLine,
    text::TextFile,
    window::{BATCH_BYTES, BATCH_ROWS},
};
use crate::{
    batch::{Column, schema},
    error::{Cause, Error, Result},
    location::Location,
    sink::{Compression, is_text_line},
    text::grouped,
};

/// Bytes that a line may have in addition to one value of the largest size: 4 MiB for names and other values.
const LINE_OVERHEAD: usize = 4 << 20;

pub(super) fn open(
    path: &Location,
    compression: Compression,
    (options, sha256): (&ReadOptions, Option<&str>),
) -> Result<Reader> {
    let mut lines = TextFile::open(path, compression, sha256)?;
    let options = options.clone();
    let (mut columns, mut failed) = (None, false);
    let batches = std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = read_lines(&mut lines, &mut columns, &options);
        let batch = batch.and_then(|(batch, ended)| {
            if ended {
                lines.check_end()?;
            }
            Ok(batch)
        });
        failed = batch.is_err();
        batch.transpose()
    });
    Ok(Reader {
        facts: None,
        checksum: None,
        writer: None,
        schema: None,
        foreign: Foreign::default(),
        rows: None,
        batches: Box::new(batches),
    })
}

/// Counts the lines of a file without parsing them.
pub(super) fn count_lines(mut file: TextFile, go_on: impl Fn() -> Result<()>) -> Result<u64> {
    let (mut count, mut open) = (0, false);
    file.scan(go_on, |bytes| {
        open = !bytes.ends_with(b"\n");
        count += memchr::memchr_iter(b'\n', bytes).count() as u64;
    })?;
    Ok(count + u64::from(open))
}

enum JsonColumnBuilder {
    Integers(Int64Builder),
    Json(StringBuilder),
    Text(StringBuilder),
}

impl JsonColumnBuilder {
    fn new(column: Column) -> Self {
        match column {
            Column::Order => Self::Integers(Int64Builder::new()),
            Column::Id | Column::Persona => Self::Text(StringBuilder::new()),
            _ => Self::Json(StringBuilder::new()),
        }
    }

    /// Adds a value, which is JSON text.
    fn push(&mut self, value: Option<&str>) -> serde_json::Result<()> {
        match self {
            Self::Integers(builder) => {
                builder.append_option(value.map(serde_json::from_str).transpose()?);
            }
            Self::Text(builder) => {
                builder.append_option(value.map(serde_json::from_str::<String>).transpose()?);
            }
            Self::Json(builder) => builder.append_option(value),
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Integers(mut builder) => Arc::new(builder.finish()),
            Self::Json(mut builder) | Self::Text(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// Reads a line and returns its length in bytes, 0 at the end of the file. The last line needs no line feed.
fn read_line(file: &mut TextFile, line: &mut Vec<u8>, options: &ReadOptions) -> Result<usize> {
    line.clear();
    // In a string, each quote and each backslash of the JSON text has a backslash before it.
    let start = file.read_line(line, 2)?;
    let values = if is_text_line(line) { 2 } else { 1 };
    let limit = options.max_value_bytes.saturating_mul(values).saturating_add(LINE_OVERHEAD);
    if start == 2 && !line.ends_with(b"\n") {
        file.read_line(line, limit - 1)?;
    }
    if line.len() > limit {
        let what = format!("a line has more than {} bytes", grouped(limit as u64));
        let limit = options.max_value_bytes as u64;
        return Err(Error::ValueTooLarge { path: file.path().to_path(), what, limit });
    }
    Ok(line.len())
}

/// Reads the next batch, and returns whether the file has ended. `columns` are the columns of the first line; all
/// other lines must have the same.
fn read_lines(
    file: &mut TextFile,
    columns: &mut Option<Vec<Column>>,
    options: &ReadOptions,
) -> Result<(Option<RecordBatch>, bool)> {
    let path = file.path().clone();
    let wrong = |error: Cause| damaged(&path, error);
    let mut builders: Vec<(Column, JsonColumnBuilder)> = Vec::new();
    let (mut text, mut rows, mut bytes, mut ended) = (Vec::new(), 0, 0, false);
    while rows < BATCH_ROWS && bytes < BATCH_BYTES {
        let length = read_line(file, &mut text, options)?;
        if length == 0 {
            ended = true;
            break;
        }
        (rows, bytes) = (rows + 1, bytes + length);
        let line = JsonLine::parse(&text).map_err(|error| wrong(error.into()))?;
        let columns = columns.get_or_insert_with(|| line.columns().collect());
        if columns.is_empty() {
            return Err(wrong("a line has no column".into()));
        }
        if !line.columns().eq(columns.iter().copied()) {
            return Err(wrong("its lines do not all have the same columns".into()));
        }
        if builders.is_empty() {
            let wanted =
                |column: &&Column| options.columns.is_empty() || options.columns.contains(column);
            let wanted = columns.iter().filter(wanted);
            builders.extend(wanted.map(|column| (*column, JsonColumnBuilder::new(*column))));
        }
        for (column, builder) in &mut builders {
            let value = line.value(*column).map_err(|error| wrong(error.into()))?;
            options.check_value(&path, column.name(), value.as_deref().map_or(0, str::len))?;
            builder.push(value.as_deref()).map_err(|error| wrong(error.into()))?;
        }
    }
    if rows == 0 {
        return Ok((None, ended));
    }
    let columns: Vec<Column> = builders.iter().map(|(column, _)| *column).collect();
    let arrays = builders.into_iter().map(|(_, builder)| builder.finish()).collect();
    let how = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema(&columns), arrays, &how);
    batch.map(|batch| (Some(batch), ended)).map_err(|error| wrong(error.into()))
}
