//! Writes the values of a typed JSON column as JSON text again.
//!
//! Members that are null are left out: null and a missing member are the same. Numbers, escapes and the order of members
//! can differ from the text that the API gave. The values are equal.

use std::fmt::Write;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};

use super::types::NestedType;
use crate::json_text::push_json_string;

/// The text of a value is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextTooLong;

/// The values of a typed JSON column.
pub(crate) enum NestedValues<'a> {
    Json(&'a StringArray),
    String(&'a StringArray),
    Int(&'a Int64Array),
    Float(&'a Float64Array),
    Bool(&'a BooleanArray),
    List(&'a ListArray, Box<NestedValues<'a>>),
    /// Each member with its name and colon, as JSON text.
    Struct(&'a StructArray, Vec<(String, NestedValues<'a>)>),
}

impl<'a> NestedValues<'a> {
    /// Takes an array. `None` if it has another type.
    pub(crate) fn of(kind: &NestedType, array: &'a ArrayRef) -> Option<Self> {
        Some(match kind {
            NestedType::Json { .. } => Self::Json(array.as_string_opt()?),
            NestedType::String => Self::String(array.as_string_opt()?),
            NestedType::Int => Self::Int(array.as_primitive_opt::<Int64Type>()?),
            NestedType::Float => Self::Float(array.as_primitive_opt::<Float64Type>()?),
            NestedType::Bool => Self::Bool(array.as_boolean_opt()?),
            NestedType::List { item } => {
                let lists = array.as_list_opt::<i32>()?;
                Self::List(lists, Box::new(Self::of(item, lists.values())?))
            }
            NestedType::Struct { fields } => {
                let structs = array.as_struct_opt()?;
                if structs.num_columns() != fields.len() {
                    return None;
                }
                let members = fields.iter().zip(structs.columns()).map(|(field, column)| {
                    let mut name = String::new();
                    push_json_string(&field.name, &mut name);
                    name.push(':');
                    Some((name, Self::of(&field.kind, column)?))
                });
                Self::Struct(structs, members.collect::<Option<_>>()?)
            }
        })
    }

    /// Whether a row has a value.
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::Json(values) | Self::String(values) => values.is_valid(row),
            Self::Int(values) => values.is_valid(row),
            Self::Float(values) => values.is_valid(row),
            Self::Bool(values) => values.is_valid(row),
            Self::List(values, _) => values.is_valid(row),
            Self::Struct(values, _) => values.is_valid(row),
        }
    }

    /// Appends the JSON text of a row's value, `null` if it has none.
    ///
    /// # Errors
    /// [`TextTooLong`] when `text` gets longer than `limit` bytes. A few bits of a file can stand for a long text.
    pub(crate) fn write(
        &self,
        row: usize,
        text: &mut String,
        limit: usize,
    ) -> Result<(), TextTooLong> {
        if text.len() > limit {
            return Err(TextTooLong);
        }
        if !self.is_valid(row) {
            text.push_str("null");
            return Ok(());
        }
        match self {
            Self::Json(values) => text.push_str(values.value(row)),
            Self::String(values) => push_json_string(values.value(row), text),
            // Writing to a string cannot fail.
            Self::Int(values) => {
                let _ = write!(text, "{}", values.value(row));
            }
            Self::Float(values) => write_float(values.value(row), text),
            Self::Bool(values) => text.push_str(if values.value(row) { "true" } else { "false" }),
            Self::List(values, items) => {
                let offsets = values.value_offsets();
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                let mut before = '[';
                for item in start..end {
                    text.push(before);
                    items.write(item, text, limit)?;
                    before = ',';
                }
                text.push_str(if start == end { "[]" } else { "]" });
            }
            Self::Struct(_, members) => {
                let mut before = '{';
                for (name, values) in members {
                    if values.is_valid(row) {
                        text.push(before);
                        text.push_str(name);
                        values.write(row, text, limit)?;
                        before = ',';
                    }
                }
                text.push_str(if before == '{' { "{}" } else { "}" });
            }
        }
        if text.len() > limit { Err(TextTooLong) } else { Ok(()) }
    }
}

/// Appends the shortest digits that give the number again. A number that JSON does not have becomes null; no builder
/// makes one.
fn write_float(float: f64, text: &mut String) {
    if float.is_finite() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{float:?}");
    } else {
        text.push_str("null");
    }
}
