//! Reads the values of a column by row: one list of the types that an export can have, for everything that writes,
//! hashes or shows values. It never changes them.

use std::{
    io::{self, Write},
    ops::Range,
};

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
    StringViewArray, TimestampMicrosecondArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};

use super::{lists::list_range, timestamp_text, values::ITEM_BYTES};

/// The values of a column, of any type that sinks write.
#[derive(Clone, Copy)]
pub(crate) enum ColumnValues<'a> {
    Plain(PlainValues<'a>),
    /// The lists, and the elements of all of them.
    Lists(&'a ListArray, PlainValues<'a>),
}

/// Values that are no lists.
#[derive(Clone, Copy)]
pub(crate) enum PlainValues<'a> {
    Text(TextValues<'a>),
    Integers(&'a Int64Array),
    Floats(&'a Float64Array),
    Booleans(&'a BooleanArray),
    Timestamps(&'a TimestampMicrosecondArray),
}

/// The texts of a column.
#[derive(Clone, Copy)]
pub(crate) enum TextValues<'a> {
    Plain(&'a StringArray),
    /// Views into larger buffers, such as decoded pages.
    Views(&'a StringViewArray),
}

impl<'a> TextValues<'a> {
    /// Takes an array; `None` if it has no texts.
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        let plain = array.as_string_opt().map(Self::Plain);
        plain.or_else(|| array.as_string_view_opt().map(Self::Views))
    }

    /// Returns the text of a row; `None` for null.
    #[inline]
    pub(crate) fn get(self, row: usize) -> Option<&'a str> {
        match self {
            Self::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Views(texts) => texts.is_valid(row).then(|| texts.value(row)),
        }
    }
}

/// A value of a column.
#[derive(Clone)]
pub(crate) enum ArrayValue<'a> {
    /// Text, or JSON text.
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
    List(ArrayItems<'a>),
}

/// The elements of a list.
#[derive(Clone)]
pub(crate) struct ArrayItems<'a> {
    values: PlainValues<'a>,
    range: Range<usize>,
}

impl<'a> Iterator for ArrayItems<'a> {
    type Item = Option<ArrayValue<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.range.next().map(|item| self.values.get(item))
    }
}

impl<'a> ColumnValues<'a> {
    /// Takes an array; `None` if it has a type that sinks do not write.
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        let Some(lists) = array.as_list_opt::<i32>() else {
            return PlainValues::of(array).map(Self::Plain);
        };
        Some(Self::Lists(lists, PlainValues::of(lists.values())?))
    }

    /// Returns the value of a row; `None` for null.
    #[inline]
    pub(crate) fn get(self, row: usize) -> Option<ArrayValue<'a>> {
        match self {
            Self::Plain(values) => values.get(row),
            Self::Lists(lists, values) => lists
                .is_valid(row)
                .then(|| ArrayValue::List(ArrayItems { values, range: list_range(lists, row) })),
        }
    }
}

/// Returns the JSON texts of a column, or of the elements of its lists, each with the index of its row.
pub(crate) fn json_texts(array: &ArrayRef) -> impl Iterator<Item = (usize, &str)> {
    let values = ColumnValues::of(array);
    let rows = (0..array.len()).filter_map(move |row| Some((row, values?.get(row)?)));
    rows.flat_map(|(row, value)| {
        let (text, items) = match value {
            ArrayValue::Text(text) => (Some(text), None),
            ArrayValue::List(items) => (None, Some(items)),
            _ => (None, None),
        };
        let items = items.into_iter().flatten().filter_map(|item| match item? {
            ArrayValue::Text(text) => Some(text),
            _ => None,
        });
        text.into_iter().chain(items).map(move |text| (row, text))
    })
}

impl ArrayValue<'_> {
    /// The size in bytes, as batches count it.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => {
                let own = |item| if let Some(Self::Text(text)) = item { text.len() } else { 0 };
                items.clone().map(|item| ITEM_BYTES + own(item)).sum::<usize>() + size_of::<i64>()
            }
            _ => size_of::<i64>(),
        }
    }

    /// Adds the value as JSON text. `is_json` says that text is JSON text.
    ///
    /// # Errors
    /// None for a buffer in memory.
    pub(crate) fn write_json(self, is_json: bool, line: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Text(text) if is_json => line.write_all(text.as_bytes()),
            Self::Text(text) => Ok(serde_json::to_writer(line, text)?),
            Self::Int(int) => write!(line, "{int}"),
            // The shortest decimal number that is read as the same value; null if JSON has none.
            Self::Float(float) => Ok(serde_json::to_writer(line, &float)?),
            Self::Bool(value) => write!(line, "{value}"),
            Self::Timestamp(micros) => write!(line, "\"{}\"", timestamp_text(micros)),
            Self::List(items) => {
                line.push(b'[');
                for (place, item) in items.enumerate() {
                    if place > 0 {
                        line.push(b',');
                    }
                    match item {
                        Some(item) => item.write_json(is_json, line)?,
                        None => line.extend_from_slice(b"null"),
                    }
                }
                line.push(b']');
                Ok(())
            }
        }
    }
}

impl<'a> PlainValues<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        TextValues::of(array)
            .map(Self::Text)
            .or_else(|| array.as_primitive_opt::<Int64Type>().map(Self::Integers))
            .or_else(|| array.as_primitive_opt::<Float64Type>().map(Self::Floats))
            .or_else(|| array.as_primitive_opt::<TimestampMicrosecondType>().map(Self::Timestamps))
            .or_else(|| array.as_boolean_opt().map(Self::Booleans))
    }

    #[inline]
    fn get(self, row: usize) -> Option<ArrayValue<'a>> {
        match self {
            Self::Text(values) => values.get(row).map(ArrayValue::Text),
            Self::Integers(values) => {
                values.is_valid(row).then(|| ArrayValue::Int(values.value(row)))
            }
            Self::Floats(values) => {
                values.is_valid(row).then(|| ArrayValue::Float(values.value(row)))
            }
            Self::Booleans(values) => {
                values.is_valid(row).then(|| ArrayValue::Bool(values.value(row)))
            }
            Self::Timestamps(values) => {
                values.is_valid(row).then(|| ArrayValue::Timestamp(values.value(row)))
            }
        }
    }
}
