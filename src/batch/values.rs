//! Collects the values of a computed column into an Arrow array. It knows no expressions.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef,
    builder::{
        ArrayBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};

use super::{ColumnType, ListItem};
use crate::error::{Error, Result};

/// Bytes that batches count for each element of a list: a number, or the place of a text.
pub(super) const ITEM_BYTES: usize = size_of::<i64>();

/// A value of a computed column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ComputedValue {
    Null,
    /// Text, or JSON text.
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
    List(Vec<ComputedValue>),
}

impl ComputedValue {
    /// Parses the text of a value that is no list, as JSON Lines and CSV have it.
    ///
    /// # Errors
    /// What the text is not, as a predicate.
    pub(crate) fn parse(
        text: &str,
        column_type: ColumnType,
    ) -> std::result::Result<Self, &'static str> {
        match column_type {
            ColumnType::String | ColumnType::Json => Ok(Self::Text(text.to_owned())),
            ColumnType::Int => {
                serde_json::from_str(text).map(Self::Int).map_err(|_| "is not a whole number")
            }
            ColumnType::Float => match (serde_json::from_str::<f64>(text), text.parse()) {
                // The parser of the standard library rounds correctly, and reads more than JSON.
                (Ok(_), Ok(float)) => Ok(Self::Float(float)),
                _ => Err("is not a number"),
            },
            ColumnType::Bool => {
                serde_json::from_str(text).map(Self::Bool).map_err(|_| "is not true or false")
            }
            ColumnType::Timestamp => {
                timestamp_of(text).map(Self::Timestamp).map_err(|_| "is not a time")
            }
            ColumnType::List(_) => Err("is a list in a list"),
        }
    }

    /// The size in bytes, as batches count it.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => {
                let own = |item: &Self| if let Self::Text(text) = item { text.len() } else { 0 };
                items.iter().map(|item| ITEM_BYTES + own(item)).sum::<usize>() + size_of::<i64>()
            }
            _ => size_of::<i64>(),
        }
    }
}

/// Builds the array of values that are no lists.
#[derive(Debug)]
pub(crate) enum PlainBuilder {
    Text(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl PlainBuilder {
    pub(super) fn new(item: ListItem) -> Self {
        match item {
            ListItem::String | ListItem::Json => Self::Text(StringBuilder::new()),
            ListItem::Int => Self::Int(Int64Builder::new()),
            ListItem::Float => Self::Float(Float64Builder::new()),
            ListItem::Bool => Self::Bool(BooleanBuilder::new()),
            ListItem::Timestamp => {
                let builder = TimestampMicrosecondBuilder::new();
                Self::Timestamp(builder.with_data_type(item.column_type().data_type()))
            }
        }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`Error::Internal`] when the value has another type.
    pub(super) fn push(&mut self, value: ComputedValue) -> Result<()> {
        match (self, value) {
            (Self::Text(builder), ComputedValue::Text(text)) => builder.append_value(text),
            (Self::Int(builder), ComputedValue::Int(int)) => builder.append_value(int),
            (Self::Float(builder), ComputedValue::Float(float)) => builder.append_value(float),
            (Self::Bool(builder), ComputedValue::Bool(value)) => builder.append_value(value),
            (Self::Timestamp(builder), ComputedValue::Timestamp(at)) => builder.append_value(at),
            (builder, ComputedValue::Null) => builder.push_null(),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    pub(super) fn push_null(&mut self) {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Bool(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
        }
    }

    /// Adds a text or null. Returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Internal`] when the values have another type.
    pub(super) fn push_text(&mut self, text: Option<&str>) -> Result<usize> {
        let Self::Text(builder) = self else { return Err(unexpected()) };
        builder.append_option(text);
        Ok(text.map_or(0, str::len))
    }

    /// Adds a value of an array that such a builder has made. Returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Internal`] when the array has another type, or fewer values.
    pub(super) fn push_from(&mut self, array: &ArrayRef, row: usize) -> Result<usize> {
        if row >= array.len() {
            return Err(unexpected());
        }
        if array.is_null(row) {
            self.push_null();
            return Ok(if matches!(self, Self::Text(_)) { 0 } else { size_of::<i64>() });
        }
        match self {
            Self::Text(builder) => {
                let text = array.as_string_opt::<i32>().ok_or_else(unexpected)?.value(row);
                builder.append_value(text);
                return Ok(text.len());
            }
            Self::Int(builder) => {
                let values = array.as_primitive_opt::<Int64Type>().ok_or_else(unexpected)?;
                builder.append_value(values.value(row));
            }
            Self::Float(builder) => {
                let values = array.as_primitive_opt::<Float64Type>().ok_or_else(unexpected)?;
                builder.append_value(values.value(row));
            }
            Self::Bool(builder) => {
                builder.append_value(array.as_boolean_opt().ok_or_else(unexpected)?.value(row));
            }
            Self::Timestamp(builder) => {
                let values = array.as_primitive_opt::<TimestampMicrosecondType>();
                builder.append_value(values.ok_or_else(unexpected)?.value(row));
            }
        }
        Ok(size_of::<i64>())
    }

    /// Returns the values like [`finish`](Self::finish). `room` returns the bytes of texts to reserve for the next
    /// values, from the bytes of these.
    pub(super) fn finish_with_room(&mut self, room: impl FnOnce(usize) -> usize) -> ArrayRef {
        let Self::Text(builder) = self else { return self.finish() };
        let (rows, bytes) = (builder.len(), builder.values_slice().len());
        let array = Arc::new(builder.finish());
        *builder = StringBuilder::with_capacity(rows, room(bytes));
        array
    }

    /// Returns the values, and empties the builder.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Returns the text of a value of a timestamp column, in microseconds since 1970, UTC. JSON Lines and CSV have this
/// text.
///
/// ```
/// assert_eq!(overmind_export::timestamp_text(1), "1970-01-01T00:00:00.000001Z");
/// ```
pub fn timestamp_text(micros: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(micros) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        // A time so far away has no text of this form, and `timestamp_of` refuses it.
        None => micros.to_string(),
    }
}

/// Parses a time with its offset, such as `2026-01-31T12:00:00Z`, into microseconds since 1970.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn timestamp_of(text: &str) -> std::result::Result<i64, &'static str> {
    let time = chrono::DateTime::parse_from_rfc3339(text)
        .map_err(|_| "give a time with its offset, such as 2026-01-31T12:00:00Z")?;
    let nanoseconds = chrono::Timelike::nanosecond(&time);
    if nanoseconds >= 1_000_000_000 {
        return Err("it is a leap second, which a timestamp does not have");
    }
    if nanoseconds % 1000 != 0 {
        return Err("it is finer than a microsecond");
    }
    // The text of another year has another form, which no reader takes.
    match chrono::Datelike::year(&time.to_utc()) {
        0..=9999 => Ok(time.timestamp_micros()),
        _ => Err("in UTC it is not in the years 0000 to 9999"),
    }
}

pub(super) fn unexpected() -> Error {
    Error::Internal("a computed column has values of another type".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_values_are_read_exactly() {
        for (kind, text, expected) in [
            (
                ColumnType::Float,
                "90.33333333333333",
                Ok(ComputedValue::Float(90.333_333_333_333_33)),
            ),
            (ColumnType::Float, "-0.0", Ok(ComputedValue::Float(-0.0))),
            (ColumnType::Float, "inf", Err("is not a number")),
            (ColumnType::Float, ".5", Err("is not a number")),
            (ColumnType::Int, "+5", Err("is not a whole number")),
            (ColumnType::Int, "9223372036854775807", Ok(ComputedValue::Int(i64::MAX))),
            (ColumnType::Bool, "True", Err("is not true or false")),
            (ColumnType::Timestamp, "1970-01-01T00:00:00.000001Z", Ok(ComputedValue::Timestamp(1))),
            (ColumnType::Timestamp, "1970-01-01", Err("is not a time")),
        ] {
            assert_eq!(ComputedValue::parse(text, kind), expected, "{text}");
        }
        assert_eq!(timestamp_of(&timestamp_text(1_769_860_800_000_001)), Ok(1_769_860_800_000_001));
    }

    proptest::proptest! {
        #[test]
        fn times_with_offsets_are_read_back(
            year in proptest::sample::select(vec![0_u32, 1, 1969, 1970, 2026, 9998, 9999]),
            (month, day, hour, minute) in (1_u32..=12, 1_u32..=28, 0_u32..24, 0_u32..60),
            (offset, micros) in (-23_i32..=23, 0_u32..1_000_000),
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:59.{micros:06}{offset:+03}:00");
            if let Ok(at) = timestamp_of(&text) {
                let shown = timestamp_text(at);
                proptest::prop_assert_eq!(timestamp_of(&shown), Ok(at));
                proptest::prop_assert_eq!(timestamp_text(timestamp_of(&shown).unwrap()), shown);
            } else {
                proptest::prop_assert!(year == 0 && offset > 0 || year == 9999 && offset < 0);
            }
        }
    }
}
