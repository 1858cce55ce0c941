//! Collects the values of a computed column into an Arrow array, also lists, and reads lists from their JSON text. It
//! knows no expressions.

use std::{fmt, sync::Arc};

use arrow_array::{Array, ArrayRef, ListArray, cast::AsArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    ColumnType, ListItem,
    values::{ComputedValue, ITEM_BYTES, PlainBuilder, unexpected},
};
use crate::error::{Error, Result};

/// Builds the array of a computed column.
#[derive(Debug)]
pub(crate) enum ValueBuilder {
    Plain(PlainBuilder),
    Lists(Box<ListValueBuilder>),
}

impl ValueBuilder {
    pub(crate) fn new(column_type: ColumnType) -> Self {
        let item = match column_type {
            ColumnType::List(item) => return Self::Lists(Box::new(ListValueBuilder::new(item))),
            ColumnType::String => ListItem::String,
            ColumnType::Int => ListItem::Int,
            ColumnType::Float => ListItem::Float,
            ColumnType::Bool => ListItem::Bool,
            ColumnType::Timestamp => ListItem::Timestamp,
            ColumnType::Json => ListItem::Json,
        };
        Self::Plain(PlainBuilder::new(item))
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`Error::Internal`] when the value has another type.
    pub(crate) fn push(&mut self, value: ComputedValue) -> Result<()> {
        match (self, value) {
            (Self::Plain(builder), value) => builder.push(value),
            (Self::Lists(builder), ComputedValue::List(items)) => builder.push(items),
            (Self::Lists(builder), ComputedValue::Null) => {
                builder.push_null();
                Ok(())
            }
            (Self::Lists(_), _) => Err(unexpected()),
        }
    }

    /// Adds a value from its text, as JSON Lines and CSV have it. `json_is_text` says that the JSON elements of a list
    /// are strings of their text.
    ///
    /// # Errors
    /// What the text is not, as a predicate.
    pub(crate) fn push_parsed(
        &mut self,
        text: &str,
        column_type: ColumnType,
        json_is_text: bool,
    ) -> Result<(), String> {
        match self {
            Self::Lists(builder) => builder.push_json(text, json_is_text),
            Self::Plain(builder) => {
                let value = ComputedValue::parse(text, column_type)?;
                builder.push(value).map_err(|error| error.to_string())
            }
        }
    }

    /// Adds a text or null. Returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Internal`] when the values have another type.
    pub(crate) fn push_text(&mut self, text: Option<&str>) -> Result<usize> {
        match self {
            Self::Plain(builder) => builder.push_text(text),
            Self::Lists(_) => Err(unexpected()),
        }
    }

    /// Adds a value of an array that such a builder has made. Returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Internal`] when the array has another type, or fewer values.
    pub(crate) fn push_from(&mut self, array: &ArrayRef, row: usize) -> Result<usize> {
        match self {
            Self::Plain(builder) => builder.push_from(array, row),
            Self::Lists(builder) => builder.push_from(array, row),
        }
    }

    /// Returns the values like [`finish`](Self::finish). `room` returns the bytes of texts to reserve for the next
    /// values, from the bytes of these.
    pub(crate) fn finish_with_room(
        &mut self,
        room: impl FnOnce(usize) -> usize,
    ) -> Result<ArrayRef> {
        match self {
            Self::Plain(builder) => Ok(builder.finish_with_room(room)),
            Self::Lists(builder) => builder.finish(),
        }
    }

    /// Returns the values, and empties the builder.
    ///
    /// # Errors
    /// [`Error::Internal`] for lists that are no Arrow array.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        match self {
            Self::Plain(builder) => Ok(builder.finish()),
            Self::Lists(builder) => builder.finish(),
        }
    }
}

/// Builds the array of a column of lists.
#[derive(Debug)]
pub(crate) struct ListValueBuilder {
    item: ListItem,
    items: PlainBuilder,
    /// Number of elements in all lists so far.
    count: usize,
    /// The end of each list.
    ends: Vec<i32>,
    valid: NullBufferBuilder,
}

impl ListValueBuilder {
    fn new(item: ListItem) -> Self {
        let items = PlainBuilder::new(item);
        Self { item, items, count: 0, ends: Vec::new(), valid: NullBufferBuilder::new(0) }
    }

    fn push(&mut self, items: Vec<ComputedValue>) -> Result<()> {
        self.count += items.len();
        items.into_iter().try_for_each(|item| self.items.push(item))?;
        self.end_list()
    }

    fn push_null(&mut self) {
        self.valid.append_null();
        let end = self.ends.last().copied().unwrap_or_default();
        self.ends.push(end);
    }

    /// Adds a list of an array that such a builder has made. Returns its size in bytes.
    fn push_from(&mut self, array: &ArrayRef, row: usize) -> Result<usize> {
        let mut size = size_of::<i64>();
        if row >= array.len() {
            return Err(unexpected());
        }
        if array.is_null(row) {
            self.push_null();
            return Ok(size);
        }
        let lists = array.as_list_opt::<i32>().ok_or_else(unexpected)?;
        let (values, range) = (lists.values(), list_range(lists, row));
        let is_text = matches!(self.items, PlainBuilder::Text(_));
        self.count += range.len();
        for item in range {
            let own = self.items.push_from(values, item)?;
            size += ITEM_BYTES + if is_text { own } else { 0 };
        }
        self.end_list()?;
        Ok(size)
    }

    fn end_list(&mut self) -> Result<()> {
        let too_many = |_| Error::Internal("a batch has too many elements of lists".to_owned());
        self.ends.push(i32::try_from(self.count).map_err(too_many)?);
        self.valid.append_non_null();
        Ok(())
    }

    /// Adds a list from the text of a JSON array. `json_is_text` says that JSON elements are strings of their text.
    ///
    /// # Errors
    /// What the text is not, as a predicate. The builder is then of no use.
    fn push_json(&mut self, text: &str, json_is_text: bool) -> Result<(), String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let elements = JsonElements { builder: self, json_is_text };
        let read = elements.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        read.map_err(|error| format!("is not a list of its type: {error}"))?;
        self.end_list().map_err(|error| error.to_string())
    }

    fn push_element(&mut self, element: Option<&str>, json_is_text: bool) -> Result<(), String> {
        self.count += 1;
        let Some(token) = element else {
            self.items.push_null();
            return Ok(());
        };
        let is_string = match self.item {
            ListItem::String | ListItem::Timestamp => true,
            ListItem::Json => json_is_text,
            ListItem::Int | ListItem::Float | ListItem::Bool => false,
        };
        let unquoted = is_string.then(|| serde_json::from_str::<String>(token)).transpose();
        let unquoted = unquoted.map_err(|_| "an element is not a string".to_owned())?;
        let plain = unquoted.as_deref().unwrap_or(token);
        let value = ComputedValue::parse(plain, self.item.column_type());
        let value = value.map_err(|why| format!("an element {why}"))?;
        self.items.push(value).map_err(|error| error.to_string())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let ends: Vec<i32> = std::iter::once(0).chain(self.ends.drain(..)).collect();
        self.count = 0;
        let (offsets, items) = (OffsetBuffer::new(ends.into()), self.items.finish());
        let lists = ListArray::try_new(self.item.field(), offsets, items, self.valid.finish());
        let failed = |error| Error::Internal(format!("a column of lists: {error}"));
        Ok(Arc::new(lists.map_err(failed)?))
    }
}

/// Returns the places of the elements of a list among the elements of all lists.
pub(super) fn list_range(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = lists.value_offsets();
    // Offsets are not negative.
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Reads the elements one by one, so that a text needs no more memory than its array.
struct JsonElements<'b> {
    builder: &'b mut ListValueBuilder,
    json_is_text: bool,
}

impl<'de> DeserializeSeed<'de> for JsonElements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for JsonElements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<Option<&'de RawValue>>()? {
            let pushed = self.builder.push_element(element.map(RawValue::get), self.json_is_text);
            pushed.map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ColumnValues, *};

    fn read(item: ListItem, text: &str, json_is_text: bool) -> Result<ArrayRef, String> {
        let mut builder = ListValueBuilder::new(item);
        builder.push_json(text, json_is_text)?;
        builder.push_null();
        builder.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn lists_are_read_back_from_their_json() {
        for (item, text) in [
            (ListItem::String, "[\"a\",null,\"\",\"é\\n\"]"),
            (ListItem::Int, "[1,null,-9223372036854775808]"),
            (ListItem::Float, "[1.0,null,90.33333333333333,-0.0]"),
            (ListItem::Bool, "[true,null,false]"),
            (ListItem::Timestamp, "[\"1970-01-01T00:00:00.000001Z\",null]"),
            (ListItem::Json, "[{\"a\":1},null,\"x\",[]]"),
            (ListItem::Int, "[]"),
        ] {
            let array = read(item, text, false).unwrap();
            assert_eq!(array.data_type(), &ColumnType::List(item).data_type());
            let values = ColumnValues::of(&array).unwrap();
            assert!(values.get(1).is_none());
            let mut written = Vec::new();
            values.get(0).unwrap().write_json(item == ListItem::Json, &mut written).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), text);
            let mut copy = ListValueBuilder::new(item);
            copy.push_from(&array, 0).unwrap();
            copy.push_null();
            assert_eq!(&copy.finish().unwrap(), &array);
        }
    }

    #[test]
    fn json_elements_can_be_strings_of_their_text() {
        let value = read(ListItem::Json, "[{\"a\": 1},\"x\",null]", false).unwrap();
        let text = read(ListItem::Json, "[\"{\\\"a\\\": 1}\",\"\\\"x\\\"\",null]", true).unwrap();
        assert_eq!(&value, &text);
    }

    #[test]
    fn other_texts_are_refused() {
        for (item, text, why) in [
            (ListItem::Int, "1", "is not a list of its type: invalid type: integer"),
            (ListItem::Int, "[1.5]", "an element is not a whole number"),
            (ListItem::Int, "[1] 2", "trailing characters"),
            (ListItem::Int, "[1", "EOF while parsing a list"),
            (ListItem::String, "[1]", "an element is not a string"),
            (ListItem::Timestamp, "[\"1970\"]", "an element is not a time"),
        ] {
            let found = read(item, text, false).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
        assert!(read(ListItem::Json, "[{}]", true).unwrap_err().contains("is not a string"));
    }

    #[test]
    fn arrays_have_the_type_and_copies_the_values() {
        let table = [
            (ColumnType::String, ComputedValue::Text("é".to_owned()), 2),
            (ColumnType::Json, ComputedValue::Text("[1]".to_owned()), 3),
            (ColumnType::Int, ComputedValue::Int(i64::MIN), 8),
            (ColumnType::Float, ComputedValue::Float(-0.0), 8),
            (ColumnType::Bool, ComputedValue::Bool(true), 8),
            (ColumnType::Timestamp, ComputedValue::Timestamp(-1), 8),
            (
                ColumnType::List(ListItem::String),
                ComputedValue::List(vec![ComputedValue::Text("é".to_owned()), ComputedValue::Null]),
                26,
            ),
            (ColumnType::List(ListItem::Bool), ComputedValue::List(Vec::new()), 8),
            (
                ColumnType::List(ListItem::Int),
                ComputedValue::List(vec![ComputedValue::Null, ComputedValue::Int(1)]),
                24,
            ),
        ];
        for (kind, value, size) in table {
            let mut builder = ValueBuilder::new(kind);
            assert_eq!(value.size(), size);
            for value in [value, ComputedValue::Null] {
                builder.push(value).unwrap();
            }
            let array = builder.finish().unwrap();
            assert_eq!(array.data_type(), &kind.data_type());
            assert_eq!((array.len(), array.null_count()), (2, 1));
            assert_eq!(builder.push_from(&array, 0).unwrap(), size);
            builder.push_from(&array, 1).unwrap();
            assert!(builder.push_from(&array, 2).is_err());
            assert_eq!(&builder.finish().unwrap(), &array);
        }
        let mut text = ValueBuilder::new(ColumnType::String);
        assert!(text.push(ComputedValue::Int(1)).is_err());
    }
}
