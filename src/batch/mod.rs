//! Converts rows to Arrow record batches: the schema, the builder, and the end of a batch.
//!
//! A batch ends after a number of rows or of bytes of values. It therefore depends only on the rows: the
//! same rows give the same batches on any machine, with any number of threads. JSON is copied token for
//! token. Only white space between tokens is dropped. This module does not know pages, files or formats.

mod array_values;
mod column;
mod lists;
mod values;

use std::{fmt, str::FromStr, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{ArrayBuilder, Int64Builder, StringBuilder},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use uuid::Uuid;

pub(crate) use self::{
    array_values::{ArrayValue, ColumnValues, TextValues, json_texts},
    lists::ValueBuilder,
    values::{ComputedValue, timestamp_of},
};
pub use self::{
    column::{ColumnType, ListItem, OutputColumn},
    values::timestamp_text,
};
use crate::{
    client::{Row, compact::split_at_space},
    error::{Error, Result},
};

/// The size at which a batch ends: a number of rows or bytes of values, whichever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSize {
    pub(crate) rows: usize,
    /// Bytes of values. This bounds memory when rows are large.
    pub(crate) bytes: usize,
}

impl BatchSize {
    /// A record batch of an Arrow file: 4,000 rows or 4 MiB. Readers load such a batch as a whole.
    pub(crate) const RECORD_BATCH: Self = Self { rows: 4_000, bytes: 4 << 20 };
    /// For sinks that write rows immediately: 1,000 rows or 1 MiB. It takes little memory, and rows reach the
    /// reader early.
    pub(crate) const SMALL: Self = Self { rows: 1_000, bytes: 1 << 20 };
    /// For sinks that collect the values of several batches: 250 rows or 256 KiB. A batch is small enough to
    /// stay in a core's L2 cache until it is read again.
    pub(crate) const IN_CACHE: Self = Self { rows: 250, bytes: 1 << 18 };
}

/// A column of the API.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// The datapoint's UUID, hyphenated and in lower case; never null.
    Id,
    /// An int64.
    Order,
    /// JSON text.
    Input,
    /// JSON text.
    ExpectedOutput,
    /// A string.
    Persona,
    /// JSON text.
    Tags,
    /// JSON text of an object with the fields that this version does not know.
    AdditionalProperties,
}

impl Column {
    /// All columns, in the order of every format.
    pub const ALL: [Self; 7] = [
        Self::Id,
        Self::Order,
        Self::Input,
        Self::ExpectedOutput,
        Self::Persona,
        Self::Tags,
        Self::AdditionalProperties,
    ];

    /// Returns the column's name, which is the same as in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Order => "order",
            Self::Input => "input",
            Self::ExpectedOutput => "expected_output",
            Self::Persona => "persona",
            Self::Tags => "tags",
            Self::AdditionalProperties => "additional_properties",
        }
    }

    /// Whether the column holds JSON text.
    pub fn is_json(self) -> bool {
        !matches!(self, Self::Id | Self::Order | Self::Persona)
    }

    pub(crate) fn data_type(self) -> DataType {
        if self == Self::Order { DataType::Int64 } else { DataType::Utf8 }
    }

    fn field(self) -> Field {
        Field::new(self.name(), self.data_type(), self != Self::Id)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Column {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|column| column.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::invalid("column", text, format!("the columns are {known}"))
        })
    }
}

/// Returns the Arrow schema of an export with these columns.
pub fn schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| column.field()).collect::<Vec<_>>()))
}

/// A column of the batches, and where its values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchColumn {
    pub(crate) column: OutputColumn,
    pub(crate) source: ColumnSource,
}

/// Where the values of a column come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnSource {
    Row(Column),
    /// The index of the computed values.
    Computed(usize),
    /// The index among the columns of a record batch.
    Batch(usize),
}

impl From<Column> for BatchColumn {
    fn from(column: Column) -> Self {
        Self { column: column.into(), source: ColumnSource::Row(column) }
    }
}

enum ColumnBuilder {
    Order(Int64Builder),
    Text(StringBuilder, TextColumn),
    Computed(ValueBuilder, usize),
    /// The index in the batch, and the column of the API with this name, whose values can be replaced.
    Batch(ValueBuilder, usize, Option<TextColumn>),
}

/// The columns with strings.
#[derive(Clone, Copy)]
enum TextColumn {
    Id,
    Input,
    ExpectedOutput,
    Persona,
    Tags,
    AdditionalProperties,
}

impl ColumnBuilder {
    fn new(column: &BatchColumn) -> Self {
        let text = |column| Self::Text(StringBuilder::new(), column);
        let column = match column.source {
            ColumnSource::Row(column) => column,
            ColumnSource::Computed(index) => {
                return Self::Computed(ValueBuilder::new(column.column.column_type()), index);
            }
            ColumnSource::Batch(index) => {
                let of_api = column.column.of_api().and_then(TextColumn::of);
                let builder = ValueBuilder::new(column.column.column_type());
                return Self::Batch(builder, index, of_api);
            }
        };
        TextColumn::of(column).map_or_else(|| Self::Order(Int64Builder::new()), text)
    }
}

impl TextColumn {
    fn of(column: Column) -> Option<Self> {
        Some(match column {
            Column::Id => Self::Id,
            Column::Order => return None,
            Column::Input => Self::Input,
            Column::ExpectedOutput => Self::ExpectedOutput,
            Column::Persona => Self::Persona,
            Column::Tags => Self::Tags,
            Column::AdditionalProperties => Self::AdditionalProperties,
        })
    }

    /// Returns the text of the row for this column; `None` for the id, which the row holds as a UUID.
    fn text<'a>(self, row: &Row<'a>) -> Option<&'a str> {
        match self {
            Self::Id => None,
            Self::Persona => row.persona,
            Self::Input => row.input,
            Self::ExpectedOutput => row.expected_output,
            Self::Tags => row.tags,
            Self::AdditionalProperties => row.additional_properties,
        }
    }
}

/// Returns the capacity for the next batch in bytes, from the bytes of the last batch. A buffer that grows would
/// be copied. Capacities are rounded up to a few size classes so that freed buffers can be reused. A row
/// that is larger than a batch does not raise the capacity beyond twice the batch size.
fn room(bytes: usize, size: BatchSize) -> usize {
    let step = size.bytes / 8;
    let room = if bytes > step { bytes.next_multiple_of(step) } else { bytes.next_power_of_two() };
    room.min(2 * size.bytes)
}

/// Collects rows until a batch is full.
pub(crate) struct BatchBuilder {
    schema: SchemaRef,
    size: BatchSize,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
    pushed_bytes: u64,
}

impl BatchBuilder {
    pub(crate) fn new(columns: &[BatchColumn], size: BatchSize) -> Self {
        let fields: Vec<_> = columns.iter().map(|it| it.column.field()).collect();
        let schema = Arc::new(Schema::new(fields));
        let columns = columns.iter().map(ColumnBuilder::new).collect();
        Self { schema, size, columns, rows: 0, bytes: 0, pushed_bytes: 0 }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns the bytes of values of all rows so far.
    pub(crate) fn pushed_bytes(&self) -> u64 {
        self.pushed_bytes + self.bytes as u64
    }

    /// Adds a row. `computed` are the arrays of the computed columns, and the row's index in them.
    ///
    /// # Errors
    /// [`Error::Internal`] when the arrays do not have the row, or have other types than the columns.
    pub(crate) fn push(&mut self, row: &Row<'_>, computed: (&[ArrayRef], usize)) -> Result<()> {
        let mut id = Uuid::encode_buffer();
        for builder in &mut self.columns {
            let (builder, column) = match builder {
                ColumnBuilder::Order(builder) => {
                    builder.append_option(row.order);
                    self.bytes += size_of::<i64>();
                    continue;
                }
                ColumnBuilder::Text(builder, column) => (builder, *column),
                ColumnBuilder::Computed(builder, index) => {
                    self.bytes += push_from(builder, computed, *index)?;
                    continue;
                }
                ColumnBuilder::Batch(..) => return Err(missing_column()),
            };
            let text = match column {
                TextColumn::Id => Some(&*row.id.hyphenated().encode_lower(&mut id)),
                column => column.text(row),
            };
            let is_json = !matches!(column, TextColumn::Id | TextColumn::Persona);
            let before = builder.values_slice().len();
            match text {
                None => builder.append_null(),
                Some(text) if is_json && !row.compact => append_compact(builder, text),
                Some(text) => builder.append_value(text),
            }
            self.bytes += builder.values_slice().len() - before;
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds a row of a record batch. `batch` are the arrays of the batch, and the row's index in them. `computed` are the
    /// same of the computed columns. `edited` is the row with its replacements, if there are any.
    ///
    /// # Errors
    /// [`Error::Internal`] when the arrays do not have the row, or have other types than the columns, and when a column
    /// comes from a row of a page.
    pub(crate) fn push_from_batch(
        &mut self,
        batch: (&[ArrayRef], usize),
        computed: (&[ArrayRef], usize),
        edited: Option<&Row<'_>>,
    ) -> Result<()> {
        for builder in &mut self.columns {
            self.bytes += match builder {
                ColumnBuilder::Batch(builder, index, column) => match (edited, column) {
                    // The id of a row is never replaced.
                    (Some(row), Some(column)) if !matches!(column, TextColumn::Id) => {
                        builder.push_text(column.text(row))?
                    }
                    _ => push_from(builder, batch, *index)?,
                },
                ColumnBuilder::Computed(builder, index) => push_from(builder, computed, *index)?,
                ColumnBuilder::Order(_) | ColumnBuilder::Text(..) => return Err(missing_column()),
            };
        }
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows >= self.size.rows || self.bytes >= self.size.bytes
    }

    /// Returns the rows since the last batch; `None` if there are none.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.pushed_bytes += self.bytes as u64;
        (self.rows, self.bytes) = (0, 0);
        let columns = self.columns.iter_mut().map(|builder| match builder {
            ColumnBuilder::Order(builder) => Ok(Arc::new(builder.finish()) as ArrayRef),
            ColumnBuilder::Computed(builder, _) => builder.finish(),
            ColumnBuilder::Batch(builder, ..) => {
                builder.finish_with_room(|bytes| room(bytes, self.size))
            }
            ColumnBuilder::Text(builder, _) => {
                let (rows, bytes) = (builder.len(), builder.values_slice().len());
                let array = Arc::new(builder.finish());
                *builder = StringBuilder::with_capacity(rows, room(bytes, self.size));
                Ok(array as ArrayRef)
            }
        });
        let columns = columns.collect::<Result<_>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        batch.map(Some).map_err(|error| Error::Internal(format!("record batch: {error}")))
    }
}

/// Adds the value of a row of the array with this index. Returns its size in bytes.
fn push_from(
    builder: &mut ValueBuilder,
    (arrays, row): (&[ArrayRef], usize),
    index: usize,
) -> Result<usize> {
    builder.push_from(arrays.get(index).ok_or_else(missing_column)?, row)
}

fn missing_column() -> Error {
    Error::Internal("a column of a batch is missing".to_owned())
}

/// Appends JSON text without the white space between its tokens.
fn append_compact(builder: &mut StringBuilder, text: &str) {
    let mut rest = text;
    while let Some((token, after)) = split_at_space(rest) {
        // Writing extends the value until `append_value` ends it. It cannot fail.
        let _ = fmt::Write::write_str(builder, token);
        rest = after;
    }
    builder.append_value(rest);
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, cast::AsArray};
    use proptest::prelude::*;

    use super::*;
    use crate::client::compact::compact;

    const EMPTY: Row<'static> = Row {
        id: Uuid::nil(),
        order: None,
        input: None,
        expected_output: None,
        persona: None,
        tags: None,
        additional_properties: None,
        has_id: true,
        compact: false,
    };

    fn builder(columns: &[Column], size: BatchSize) -> BatchBuilder {
        let columns: Vec<_> = columns.iter().copied().map(BatchColumn::from).collect();
        BatchBuilder::new(&columns, size)
    }

    fn push(builder: &mut BatchBuilder, row: &Row<'_>) {
        builder.push(row, (&[], 0)).unwrap();
    }

    fn appended(text: &str) -> String {
        let mut builder = StringBuilder::new();
        append_compact(&mut builder, text);
        builder.finish().value(0).to_owned()
    }

    #[test]
    fn only_space_between_tokens_is_dropped() {
        let table = [
            (" { \"a b\" : [ 1 ,\t2 ]\r\n}\n", r#"{"a b":[1,2]}"#),
            (r#""\" \\ \\\" ""#, r#""\" \\ \\\" ""#),
            (r#"["\\", " "]"#, r#"["\\"," "]"#),
            ("1e400", "1e400"),
            (" ", ""),
        ];
        for (text, expected) in table {
            assert_eq!(appended(text), expected);
            assert_eq!(compact(text), expected);
        }
    }

    proptest! {
        #[test]
        fn compact_text_keeps_value_without_spaces(
            strings in proptest::collection::vec("[ \\t\"\\\\a-zü\\n]{0,8}", 0..6),
            spaces in "[ \\t\\r\\n]{0,3}",
        ) {
            let value = serde_json::json!({ "k k": strings, "n": [null, 1.5, { "e": [] }] });
            let pretty = serde_json::to_string_pretty(&value).unwrap() + &spaces;
            prop_assert_eq!(appended(&pretty), serde_json::to_string(&value).unwrap());
            prop_assert_eq!(compact(&pretty), serde_json::to_string(&value).unwrap());
        }
    }

    #[test]
    fn batch_ends_by_rows_or_by_bytes() {
        let mut builder = builder(&Column::ALL, BatchSize::RECORD_BATCH);
        let long = format!("\"{}\"", "x".repeat(BatchSize::RECORD_BATCH.bytes / 2));
        let row = |input| Row { input, ..EMPTY };
        for _ in 0..BatchSize::RECORD_BATCH.rows {
            assert!(!builder.is_full());
            push(&mut builder, &row(None));
        }
        assert!(builder.is_full());
        assert_eq!(builder.finish().unwrap().unwrap().num_rows(), BatchSize::RECORD_BATCH.rows);
        assert!(builder.finish().unwrap().is_none());
        push(&mut builder, &row(Some(&long)));
        assert!(!builder.is_full());
        push(&mut builder, &row(Some(&long)));
        assert!(builder.is_full());
    }

    #[test]
    fn capacity_follows_last_batch_up_to_a_bound() {
        let mut builder = builder(&[Column::Input], BatchSize { rows: 2, bytes: 1 << 14 });
        let mut room_after = |bytes: usize| {
            let input = "x".repeat(bytes);
            push(&mut builder, &Row { input: Some(&input), compact: true, ..EMPTY });
            builder.finish().unwrap();
            let ColumnBuilder::Text(next, _) = &builder.columns[0] else { unreachable!() };
            assert!(next.values_slice().is_empty());
            next.values_capacity()
        };
        let rooms = [9_000, 10_240, 10_241, 5_000_000, 2_048, 100].map(&mut room_after);
        assert_eq!(rooms, [10_240, 10_240, 12_288, 32_768, 2_048, 128]);
    }

    #[test]
    fn columns_follow_schema_and_keep_nulls() {
        let mut builder = builder(&[Column::Id, Column::Order, Column::Tags], BatchSize::SMALL);
        let row =
            Row { id: Uuid::from_u128(0xAB), order: Some(i64::MAX), input: Some("1"), ..EMPTY };
        push(&mut builder, &row);
        let batch = builder.finish().unwrap().unwrap();
        assert_eq!(
            batch.column(0).as_string::<i32>().value(0),
            "00000000-0000-0000-0000-0000000000ab"
        );
        assert_eq!(batch.schema().field(1).name(), "order");
        assert!(batch.column(2).is_null(0));
    }
}
