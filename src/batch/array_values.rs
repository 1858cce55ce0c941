//! Reads the values of a column by row: one list of the types that an export can have, for everything that writes,
//! hashes or shows values. It never changes them.

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};

/// The values of a column, of any type that sinks write.
#[derive(Clone, Copy)]
pub(crate) enum ColumnValues<'a> {
    Text(&'a StringArray),
    Integers(&'a Int64Array),
    Floats(&'a Float64Array),
    Booleans(&'a BooleanArray),
    Timestamps(&'a TimestampMicrosecondArray),
}

/// A value of a column.
#[derive(Clone, Copy)]
pub(crate) enum ArrayValue<'a> {
    /// Text, or JSON text.
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
}

impl<'a> ColumnValues<'a> {
    /// Takes an array; `None` if it has a type that sinks do not write.
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        array
            .as_string_opt()
            .map(Self::Text)
            .or_else(|| array.as_primitive_opt::<Int64Type>().map(Self::Integers))
            .or_else(|| array.as_primitive_opt::<Float64Type>().map(Self::Floats))
            .or_else(|| array.as_primitive_opt::<TimestampMicrosecondType>().map(Self::Timestamps))
            .or_else(|| array.as_boolean_opt().map(Self::Booleans))
    }

    /// Returns the value of a row; `None` for null.
    #[inline]
    pub(crate) fn get(self, row: usize) -> Option<ArrayValue<'a>> {
        match self {
            Self::Text(values) => values.is_valid(row).then(|| ArrayValue::Text(values.value(row))),
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
