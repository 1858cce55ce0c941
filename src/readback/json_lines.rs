//! Reads JSON Lines, plain or compressed, line by line. The length of a line is bounded.

use std::{path::Path, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, builder::StringBuilder};

use serde_json::value::RawValue;

use super::{
    FileBatches, Foreign, ReadOptions, Reader, RecordedLines, damaged,
    json_line::{JsonLine, LineColumns},
    text::TextFile,
    window::{BATCH_BYTES, BATCH_ROWS},
};
use crate::{
    batch::{Column, ColumnType, ComputedValue, OutputColumn, ValueBuilder},
    error::{Cause, Error, Result},
    location::Location,
    sink::{Compression, Encoding, is_text_line},
    text::{grouped, json_mistake, quoted},
};

/// Bytes that a line may have in addition to one value of the largest size: 4 MiB for names and other values.
const LINE_OVERHEAD: usize = 4 << 20;
/// Longest part of a wrong value in a message, in characters.
const MOST_SHOWN: usize = 60;

pub(super) fn open(
    path: &Location,
    compression: Compression,
    (options, recorded): (&ReadOptions, RecordedLines<'_>),
) -> Result<Reader> {
    let mut lines = TextFile::open(path, compression, recorded.sha256)?;
    let options = options.clone();
    let mut line = 0;
    let (mut columns, mut failed) = (recorded.columns.as_deref().map(LineSchema::recorded), false);
    let batches = std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = read_lines((&mut lines, &mut line), &mut columns, &options);
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
        computed: Vec::new(),
        checksum: None,
        writer: None,
        schema: None,
        foreign: Foreign::default(),
        rescues: false,
        rows: None,
        batches: FileBatches::Lines(Box::new(batches)),
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

/// Returns the names of unused columns that lines have. Reads until each of them was found.
pub(super) fn unused_names(path: &Location, options: &ReadOptions) -> Result<Vec<String>> {
    let compression = Encoding::of_path(Path::new(&path.name())).map(Encoding::compression);
    let mut file = TextFile::open(path, compression.unwrap_or(Compression::None), None)?;
    let (mut found, mut line) = (Vec::new(), Vec::new());
    while found.len() < options.unused.len() {
        options.go_on()?;
        if read_line(&mut file, &mut line, options)? == 0 {
            break;
        }
        // A line that is wrong is refused when its rows are read.
        let Ok(line) = JsonLine::parse(&line, LineColumns::Any) else { break };
        let mut unused = options.unused.iter().enumerate();
        let is_new =
            |(place, name): &(usize, &String)| line.has(name, *place) && !found.contains(*name);
        let new: Vec<_> = unused.by_ref().filter(is_new).map(|(_, name)| name.clone()).collect();
        found.extend(new);
    }
    Ok(found)
}

/// The columns of the lines.
struct LineSchema {
    columns: Vec<OutputColumn>,
    is_recorded: bool,
}

impl LineSchema {
    fn recorded(columns: &[OutputColumn]) -> Self {
        Self { columns: columns.to_vec(), is_recorded: true }
    }

    /// Takes the columns of the first line that are read. One that is not of the API is JSON: nothing says its type.
    fn of(line: &JsonLine<'_>, options: &ReadOptions) -> std::result::Result<Self, Cause> {
        let column = |name: &str| match name.parse::<Column>() {
            Ok(column) => Ok(column.into()),
            Err(_) => OutputColumn::computed(name, ColumnType::Json).map_err(Cause::from),
        };
        let read = line.names().filter(|name| options.wants(name));
        let columns = read.map(column).collect::<std::result::Result<_, _>>()?;
        Ok(Self { columns, is_recorded: false })
    }

    fn allowed(&self) -> LineColumns<'_> {
        if self.is_recorded { LineColumns::Recorded(&self.columns) } else { LineColumns::Any }
    }

    /// Whether a line is one value, as a record says.
    fn are_whole(&self) -> bool {
        self.is_recorded && self.columns.iter().any(OutputColumn::is_line)
    }

    /// Says how the columns of a line differ from these; `None` if they do not. Lines without a record can differ in
    /// columns that are not read.
    fn unlike(&self, line: &JsonLine<'_>, options: &ReadOptions) -> Option<String> {
        const SHOWN: usize = 60;
        let mut columns = self.columns.iter().enumerate();
        if let Some((_, column)) = columns.find(|(place, column)| !line.has(column.name(), *place))
        {
            let name = quoted(column.name(), SHOWN);
            return Some(format!("it does not have the column {name} of the lines before"));
        }
        let is_compared = |name: &str| self.is_recorded || options.wants(name);
        let is_new = |name: &&str| {
            is_compared(name) && self.columns.iter().all(|column| column.name() != *name)
        };
        let new = line.names().find(is_new)?;
        let name = quoted(new, SHOWN);
        Some(format!("it has the column {name}, which the lines before do not have"))
    }
}

enum JsonColumnBuilder {
    Json(StringBuilder),
    Text(StringBuilder),
    Other(ValueBuilder, ColumnType),
}

impl JsonColumnBuilder {
    fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::Json => Self::Json(StringBuilder::new()),
            ColumnType::String => Self::Text(StringBuilder::new()),
            other => Self::Other(ValueBuilder::new(other), other),
        }
    }

    /// Adds a value, which is JSON text. `json_is_text` says that the JSON elements of a list are strings of their text.
    ///
    /// # Errors
    /// Why the value does not fit, as a predicate.
    fn push(&mut self, value: Option<&str>, json_is_text: bool) -> std::result::Result<(), String> {
        let wrong = |why: String| format!("{} {why}", quoted(value.unwrap_or("null"), MOST_SHOWN));
        match self {
            Self::Text(builder) => {
                let text = value.map(unquoted).transpose().map_err(wrong)?;
                builder.append_option(text);
            }
            Self::Json(builder) => builder.append_option(value),
            Self::Other(builder, column_type) => {
                let Some(value) = value else {
                    return builder.push(ComputedValue::Null).map_err(|error| error.to_string());
                };
                let is_quoted = *column_type == ColumnType::Timestamp;
                let text = is_quoted.then(|| unquoted(value)).transpose().map_err(wrong)?;
                let plain = text.as_deref().unwrap_or(value);
                builder.push_parsed(plain, *column_type, json_is_text).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<ArrayRef> {
        match self {
            Self::Json(mut builder) | Self::Text(mut builder) => Ok(Arc::new(builder.finish())),
            Self::Other(mut builder, _) => builder.finish(),
        }
    }
}

/// Returns the text of a JSON string.
///
/// # Errors
/// Why it is none, as a predicate.
fn unquoted(value: &str) -> std::result::Result<String, String> {
    serde_json::from_str::<String>(value).map_err(|error| match value.starts_with('"') {
        true => format!("is not a text: {}", json_mistake(&error)),
        false => "is not a text".to_owned(),
    })
}

/// Returns the value of a line that is one JSON value; `None` for null.
fn whole_line(line: &[u8]) -> serde_json::Result<Option<&str>> {
    let value = serde_json::from_slice::<&RawValue>(line)?.get();
    Ok(Some(value).filter(|value| *value != "null"))
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

/// Reads the next batch, and returns whether the file has ended. `number` is that of the last line. `columns` are those of the record or of the first
/// line; all lines must have the same.
fn read_lines(
    (file, number): (&mut TextFile, &mut u64),
    columns: &mut Option<LineSchema>,
    options: &ReadOptions,
) -> Result<(Option<RecordBatch>, bool)> {
    let path = file.path().clone();
    let wrong = |error: Cause| damaged(&path, error);
    let unlike = |line: u64, why: String| {
        let why = format!("line {}: {why}", grouped(line));
        Error::Damaged { path: path.to_path(), why }
    };
    let unreadable = |line: u64, why: String| {
        let why = format!("line {}: {why}", grouped(line));
        Error::column(path.to_path(), why, None)
    };
    let mut builders: Vec<(usize, OutputColumn, JsonColumnBuilder)> = Vec::new();
    let (mut text, mut rows, mut bytes, mut ended) = (Vec::new(), 0, 0, false);
    while rows < BATCH_ROWS && bytes < BATCH_BYTES {
        let length = read_line(file, &mut text, options)?;
        if length == 0 {
            ended = true;
            break;
        }
        (rows, bytes) = (rows + 1, bytes + length);
        *number += 1;
        if columns.as_ref().is_some_and(LineSchema::are_whole) {
            let value = whole_line(&text);
            let value = value.map_err(|error| {
                unlike(*number, format!("it is not JSON: {}", json_mistake(&error)))
            })?;
            if builders.is_empty() && options.wants(OutputColumn::lines().name()) {
                let builder = JsonColumnBuilder::new(ColumnType::Json);
                builders.push((0, OutputColumn::lines(), builder));
            }
            options.check_value(&path, "line", value.map_or(0, str::len))?;
            for (_, _, builder) in &mut builders {
                builder.push(value, false).map_err(|why| wrong(why.into()))?;
            }
            continue;
        }
        let allowed = columns.as_ref().map_or(LineColumns::Any, LineSchema::allowed);
        let line = JsonLine::parse(&text, allowed).map_err(|why| unlike(*number, why))?;
        let columns = match columns {
            Some(columns) => columns,
            None => columns.insert(LineSchema::of(&line, options).map_err(wrong)?),
        };
        if line.names().len() == 0 {
            return Err(unlike(*number, "it has no column".to_owned()));
        }
        if let Some(why) = columns.unlike(&line, options) {
            return Err(unreadable(*number, why));
        }
        if builders.is_empty() {
            let wanted = |name: &str| options.wants(name);
            let columns = columns.columns.iter().enumerate();
            builders.extend(columns.filter(|(_, column)| wanted(column.name())).map(
                |(place, column)| {
                    (place, column.clone(), JsonColumnBuilder::new(column.column_type()))
                },
            ));
        }
        for (place, column, builder) in &mut builders {
            // Without a record, nothing says whether a computed column is JSON: its values stay as they are.
            let is_known = columns.is_recorded || column.of_api().is_some();
            let is_json = is_known && column.column_type() == ColumnType::Json;
            let value = line.value((column.name(), *place), is_json);
            let its = |why: String| unreadable(*number, format!("its {column} {why}"));
            let value = value
                .map_err(|error| its(format!("is not JSON text: {}", json_mistake(&error))))?;
            options.check_value(&path, column.name(), value.as_deref().map_or(0, str::len))?;
            builder.push(value.as_deref(), line.is_text()).map_err(its)?;
        }
    }
    if rows == 0 {
        return Ok((None, ended));
    }
    let columns: Vec<OutputColumn> = builders.iter().map(|(_, column, _)| column.clone()).collect();
    let arrays = builders.into_iter().map(|(_, _, builder)| builder.finish());
    let arrays = arrays.collect::<Result<_>>()?;
    let how = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(OutputColumn::schema(&columns), arrays, &how);
    batch.map(|batch| (Some(batch), ended)).map_err(|error| wrong(error.into()))
}
