//! The lines of one batch: they are read in order, and can be parsed on any thread.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, builder::StringBuilder};
use serde_json::value::RawValue;

use super::{
    ReadOptions, damaged,
    json_line::{JsonLine, LineColumns},
    window::{BATCH_BYTES, BATCH_ROWS},
};
use crate::{
    batch::{Column, ColumnType, ComputedValue, OutputColumn, ValueBuilder},
    error::{Cause, Error, Result},
    location::Location,
    text::{grouped, json_mistake, quoted},
};

/// Longest part of a wrong value in a message, in characters.
const MOST_SHOWN: usize = 60;

/// The text of consecutive lines.
pub(super) struct LineText {
    /// Number of lines of the file before these.
    before: u64,
    text: Vec<u8>,
    /// The end of each line in the text.
    ends: Vec<usize>,
}

impl LineText {
    /// Starts with no lines, after this number of lines of the file.
    pub(super) fn after(before: u64) -> Self {
        Self { before, text: Vec::with_capacity(BATCH_BYTES), ends: Vec::new() }
    }

    /// Whether the batch takes another line.
    pub(super) fn has_room(&self) -> bool {
        self.ends.len() < BATCH_ROWS && self.text.len() < BATCH_BYTES
    }

    /// Returns the text, to append a line.
    pub(super) fn open_line(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Ends the line that was appended.
    pub(super) fn end_line(&mut self) {
        self.ends.push(self.text.len());
    }

    /// Number of lines.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns each line with its number in the file, from 1.
    fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let lines = starts.zip(&self.ends).map(|(start, end)| &self.text[*start..*end]);
        (self.before + 1..).zip(lines)
    }

    /// Returns the columns of the first line.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not JSON or has no column of a row.
    pub(super) fn first_schema(
        &self,
        path: &Location,
        options: &ReadOptions,
    ) -> Result<LineSchema> {
        let (number, line) = self.lines().next().unwrap_or((self.before + 1, &[]));
        let line = JsonLine::parse(line, LineColumns::Any);
        let line = line.map_err(|why| unlike(path, number, &why))?;
        LineSchema::of(&line, options).map_err(|error| damaged(path, error))
    }
}

fn unlike(path: &Location, line: u64, why: &str) -> Error {
    Error::Damaged { path: path.to_path(), why: format!("line {}: {why}", grouped(line)) }
}

/// The lines of a batch, and what is needed to parse them.
pub(crate) struct LineBlock {
    pub(super) text: LineText,
    pub(super) schema: Arc<LineSchema>,
    pub(super) path: Location,
    pub(super) options: ReadOptions,
    /// What the file's end says about all lines; an error comes after those of the lines themselves.
    pub(super) checked: Result<()>,
}

impl LineBlock {
    /// Size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.text.len() + self.text.ends.len() * size_of::<usize>()
    }

    /// Parses the lines into a batch.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a line is not JSON, has other columns, or has a value of another type,
    /// [`Error::ValueTooLarge`] when a value exceeds the limit of the options.
    pub(super) fn parse(self) -> Result<RecordBatch> {
        let mut rows = BlockRows { block: &self, builders: Vec::new() };
        for (number, line) in self.text.lines() {
            match self.schema.are_whole() {
                true => rows.push_whole(number, line)?,
                false => rows.push(number, line)?,
            }
        }
        let batch = rows.finish()?;
        self.checked.map(|()| batch)
    }
}

/// The rows of a block that were parsed.
struct BlockRows<'a> {
    block: &'a LineBlock,
    /// Each column that is read, with its place in the lines.
    builders: Vec<(usize, OutputColumn, JsonColumnBuilder)>,
}

impl BlockRows<'_> {
    /// Adds a line that is one value.
    fn push_whole(&mut self, number: u64, line: &[u8]) -> Result<()> {
        let LineBlock { path, options, .. } = self.block;
        let value = whole_line(line).map_err(|error| {
            unlike(path, number, &format!("it is not JSON: {}", json_mistake(&error)))
        })?;
        if self.builders.is_empty() && options.wants(OutputColumn::lines().name()) {
            let builder = JsonColumnBuilder::new(ColumnType::Json);
            self.builders.push((0, OutputColumn::lines(), builder));
        }
        options.check_value(path, "line", value.map_or(0, str::len))?;
        for (_, _, builder) in &mut self.builders {
            builder.push(value, false).map_err(|why| damaged(path, why.into()))?;
        }
        Ok(())
    }

    /// Adds a line that is an object with a member for each column.
    fn push(&mut self, number: u64, line: &[u8]) -> Result<()> {
        let LineBlock { path, options, schema, .. } = self.block;
        let unreadable = |why: String| {
            Error::column(path.to_path(), format!("line {}: {why}", grouped(number)), None)
        };
        let line = JsonLine::parse(line, schema.allowed());
        let line = line.map_err(|why| unlike(path, number, &why))?;
        if line.names().len() == 0 {
            return Err(unlike(path, number, "it has no column"));
        }
        if let Some(why) = schema.unlike(&line, options) {
            return Err(unreadable(why));
        }
        if self.builders.is_empty() {
            let columns = schema.columns.iter().enumerate();
            let wanted = columns.filter(|(_, column)| options.wants(column.name()));
            self.builders.extend(wanted.map(|(place, column)| {
                (place, column.clone(), JsonColumnBuilder::new(column.column_type()))
            }));
        }
        for (place, column, builder) in &mut self.builders {
            // Without a record, nothing says whether a computed column is JSON: its values stay as they are.
            let is_known = schema.is_recorded || column.of_api().is_some();
            let is_json = is_known && column.column_type() == ColumnType::Json;
            let value = line.value((column.name(), *place), is_json);
            let its = |why: String| unreadable(format!("its {column} {why}"));
            let value = value
                .map_err(|error| its(format!("is not JSON text: {}", json_mistake(&error))))?;
            options.check_value(path, column.name(), value.as_deref().map_or(0, str::len))?;
            builder.push(value.as_deref(), line.is_text()).map_err(its)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch> {
        let columns: Vec<_> = self.builders.iter().map(|(_, column, _)| column.clone()).collect();
        let arrays = self.builders.into_iter().map(|(_, _, builder)| builder.finish());
        let arrays = arrays.collect::<Result<_>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(self.block.text.len()));
        let schema = OutputColumn::schema(&columns);
        let batch = RecordBatch::try_new_with_options(schema, arrays, &rows);
        batch.map_err(|error| damaged(&self.block.path, error.into()))
    }
}

/// The columns of the lines.
pub(super) struct LineSchema {
    columns: Vec<OutputColumn>,
    is_recorded: bool,
}

impl LineSchema {
    pub(super) fn recorded(columns: &[OutputColumn]) -> Self {
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
