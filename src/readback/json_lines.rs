//! Reads JSON Lines, plain or compressed, line by line. The length of a line is bounded.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use arrow_array::{
    ArrayRef, RecordBatch, RecordBatchOptions,
    builder::{Int64Builder, StringBuilder},
};
use flate2::read::MultiGzDecoder;

use super::{
    Foreign, ReadOptions, Reader, damaged,
    json_line::JsonLine,
    shared::{ErrorRecorder, FileHash, HashingReader, ReadFailure},
    window::{BATCH_BYTES, BATCH_ROWS},
};
use crate::{
    batch::{Column, schema},
    error::{Cause, Error, Result},
    location::{Location, Opened},
    sink::{Compression, Encoding, Format, is_text_line},
    text::grouped,
};

/// Bytes that a line may have in addition to one value of the largest size: 4 MiB for names and other values.
const LINE_OVERHEAD: usize = 4 << 20;

pub(super) fn open(
    path: &Location,
    file: Opened,
    compression: Compression,
    (options, sha256): (&ReadOptions, Option<&str>),
) -> Result<Reader> {
    let failure = ReadFailure::default();
    let hash = sha256.map(|recorded| FileHash::new(recorded.to_owned()));
    let file = HashingReader { input: file, hash: hash.clone() };
    let mut lines = text(path, ErrorRecorder::new(file, failure.clone()), compression)?;
    let (path, options) = (path.clone(), options.clone());
    let (mut columns, mut failed) = (None, false);
    let batches = std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = read_lines(&path, (&mut lines, &failure), &mut columns, &options);
        let batch = batch.and_then(|(batch, ended)| {
            if let Some(hash) = hash.as_ref().filter(|_| ended) {
                hash.check(&path)?;
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

type LineReader = BufReader<Box<dyn Read>>;

fn text(
    path: &Location,
    file: impl Read + 'static,
    compression: Compression,
) -> Result<LineReader> {
    let input: Box<dyn Read> = match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd(_) => {
            Box::new(zstd::Decoder::new(file).map_err(Error::io("read", path.to_path()))?)
        }
        _ => Box::new(file),
    };
    Ok(BufReader::with_capacity(1 << 18, input))
}

/// Counts the rows of a JSON Lines file without parsing them. Returns `None` for other formats.
///
/// # Errors
/// [`Error::Io`] or [`Error::Damaged`] when the file cannot be read, and any error of `go_on`, which is called
/// before each block of bytes and can cancel the count.
pub(crate) fn count_lines(path: &Location, go_on: impl Fn() -> Result<()>) -> Result<Option<u64>> {
    let encoding = Encoding::of_path(Path::new(&path.name()));
    let encoding = encoding.filter(|it| it.format() == Format::JsonLines);
    let Some(encoding) = encoding else { return Ok(None) };
    let failure = ReadFailure::default();
    let file = ErrorRecorder::new(path.open()?, failure.clone());
    let mut lines = text(path, file, encoding.compression())?;
    let (mut count, mut open) = (0, false);
    loop {
        go_on()?;
        let bytes = lines.fill_buf().map_err(|error| failure.error(path, error.into()))?;
        let Some(last) = bytes.last() else { return Ok(Some(count + u64::from(open))) };
        open = *last != b'\n';
        count += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        lines.consume(length);
    }
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
fn read_line(
    path: &Location,
    (lines, failure): (&mut impl BufRead, &ReadFailure),
    line: &mut Vec<u8>,
    options: &ReadOptions,
) -> Result<usize> {
    line.clear();
    let mut read = |line: &mut Vec<u8>, limit: usize| {
        let mut some = (&mut *lines).take(limit as u64);
        some.read_until(b'\n', line).map_err(|error| failure.error(path, error.into()))
    };
    // In a string, each quote and each backslash of the JSON text has a backslash before it.
    let start = read(line, 2)?;
    let values = if is_text_line(line) { 2 } else { 1 };
    let limit = options.max_value_bytes.saturating_mul(values).saturating_add(LINE_OVERHEAD);
    if start == 2 && !line.ends_with(b"\n") {
        read(line, limit - 1)?;
    }
    if line.len() > limit {
        let what = format!("a line has more than {} bytes", grouped(limit as u64));
        let limit = options.max_value_bytes as u64;
        return Err(Error::ValueTooLarge { path: path.to_path(), what, limit });
    }
    Ok(line.len())
}

/// Reads the next batch, and returns whether the file has ended. `columns` are the columns of the first line; all
/// other lines must have the same.
fn read_lines(
    path: &Location,
    (lines, failure): (&mut impl BufRead, &ReadFailure),
    columns: &mut Option<Vec<Column>>,
    options: &ReadOptions,
) -> Result<(Option<RecordBatch>, bool)> {
    let wrong = |error: Cause| damaged(path, error);
    let mut builders: Vec<(Column, JsonColumnBuilder)> = Vec::new();
    let (mut text, mut rows, mut bytes, mut ended) = (Vec::new(), 0, 0, false);
    while rows < BATCH_ROWS && bytes < BATCH_BYTES {
        let length = read_line(path, (&mut *lines, failure), &mut text, options)?;
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
            options.check_value(path, column.name(), value.as_deref().map_or(0, str::len))?;
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
