//! Builds Arrow arrays of a JSON column from the JSON text of its rows.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef, ListArray, StructArray,
    builder::{ArrayBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder},
};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields};

use super::{
    cursor::{JsonCursor, JsonKind, MalformedJson},
    number::{float_of, integer_of},
    types::NestedType,
};

/// A value that its column cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misfit;

impl From<MalformedJson> for Misfit {
    fn from(_: MalformedJson) -> Self {
        Self
    }
}

type Fit<T> = Result<T, Misfit>;

/// From this number of members on, an index finds them.
const INDEXED: usize = 16;

/// Collects the values of a column, or of a part of it.
pub(crate) struct NestedBuilder {
    data_type: DataType,
    values: PartBuilder,
}

enum PartBuilder {
    /// JSON text.
    Json(StringBuilder),
    String(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    List(Box<ListParts>),
    Struct(StructParts),
}

struct ListParts {
    field: Arc<Field>,
    item: PartBuilder,
    /// The end of each list.
    ends: Vec<i32>,
    valid: NullBufferBuilder,
}

struct StructParts {
    arrow: Fields,
    fields: Vec<PartBuilder>,
    /// Places of the members by name, if there are many.
    index: HashMap<String, usize>,
    rows: usize,
    valid: NullBufferBuilder,
}

impl NestedBuilder {
    pub(crate) fn new(kind: &NestedType) -> Self {
        Self { data_type: kind.data_type(), values: PartBuilder::new(kind) }
    }

    /// Adds the value of a row. `null` is no value.
    ///
    /// # Errors
    /// [`Misfit`] when the value has another type, or the text is not JSON. The builder is then of no use.
    pub(crate) fn push(&mut self, text: Option<&str>) -> Fit<()> {
        let Some(text) = text else {
            self.values.push_null();
            return Ok(());
        };
        let mut cursor = JsonCursor::new(text);
        self.values.push(&mut cursor)?;
        Ok(cursor.end()?)
    }

    /// Returns the values, and empties the builder.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let array = self.values.finish()?;
        debug_assert_eq!(
            array.data_type(),
            &self.data_type,
            "a builder has the type of its arrays"
        );
        Ok(array)
    }
}

impl PartBuilder {
    fn new(kind: &NestedType) -> Self {
        match kind {
            NestedType::Json { .. } => Self::Json(StringBuilder::new()),
            NestedType::String => Self::String(StringBuilder::new()),
            NestedType::Int => Self::Int(Int64Builder::new()),
            NestedType::Float => Self::Float(Float64Builder::new()),
            NestedType::Bool => Self::Bool(BooleanBuilder::new()),
            NestedType::List { item } => {
                let (field, valid) = (item.element(), NullBufferBuilder::new(0));
                let item = Self::new(item);
                Self::List(Box::new(ListParts { field, item, ends: Vec::new(), valid }))
            }
            NestedType::Struct { fields } => {
                let mut index = HashMap::new();
                if fields.len() >= INDEXED {
                    let names = fields.iter().enumerate();
                    index.extend(names.map(|(place, field)| (field.name.clone(), place)));
                }
                Self::Struct(StructParts {
                    arrow: fields.iter().map(|field| field.field()).collect(),
                    fields: fields.iter().map(|field| Self::new(&field.kind)).collect(),
                    index,
                    rows: 0,
                    valid: NullBufferBuilder::new(0),
                })
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Json(builder) | Self::String(builder) => builder.len(),
            Self::Int(builder) => builder.len(),
            Self::Float(builder) => builder.len(),
            Self::Bool(builder) => builder.len(),
            Self::List(parts) => parts.ends.len(),
            Self::Struct(parts) => parts.rows,
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Json(builder) | Self::String(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Bool(builder) => builder.append_null(),
            Self::List(parts) => {
                parts.valid.append_null();
                let end = parts.ends.last().copied().unwrap_or_default();
                parts.ends.push(end);
            }
            Self::Struct(parts) => {
                parts.valid.append_null();
                parts.fields.iter_mut().for_each(Self::push_null);
                parts.rows += 1;
            }
        }
    }

    fn push(&mut self, cursor: &mut JsonCursor<'_>) -> Fit<()> {
        let kind = cursor.kind()?;
        if kind == JsonKind::Null {
            cursor.scalar()?;
            self.push_null();
            return Ok(());
        }
        match (self, kind) {
            (Self::Json(builder), _) => builder.append_value(cursor.skip()?),
            (Self::String(builder), JsonKind::String) => {
                builder.append_value(cursor.string()?.value().ok_or(Misfit)?);
            }
            (Self::Int(builder), JsonKind::Number) => {
                builder.append_value(integer_of(cursor.scalar()?).ok_or(Misfit)?);
            }
            (Self::Float(builder), JsonKind::Number) => {
                builder.append_value(float_of(cursor.scalar()?).ok_or(Misfit)?);
            }
            (Self::Bool(builder), JsonKind::Bool) => builder.append_value(cursor.bool()?),
            (Self::List(parts), JsonKind::Array) => {
                cursor.enter();
                while cursor.has_more()? {
                    parts.item.push(cursor)?;
                }
                parts.ends.push(i32::try_from(parts.item.len()).map_err(|_| Misfit)?);
                parts.valid.append_non_null();
            }
            (Self::Struct(parts), JsonKind::Object) => parts.push(cursor)?,
            _ => return Err(Misfit),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Json(builder) | Self::String(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::List(parts) => {
                let ends: Vec<i32> = std::iter::once(0).chain(parts.ends.drain(..)).collect();
                let (offsets, values) = (OffsetBuffer::new(ends.into()), parts.item.finish()?);
                let valid = parts.valid.finish();
                Arc::new(ListArray::try_new(parts.field.clone(), offsets, values, valid)?)
            }
            Self::Struct(parts) => {
                let fields = parts.fields.iter_mut().map(Self::finish);
                let fields = fields.collect::<Result<Vec<_>, _>>()?;
                let valid = parts.valid.finish();
                parts.rows = 0;
                Arc::new(StructArray::try_new(parts.arrow.clone(), fields, valid)?)
            }
        })
    }
}

impl StructParts {
    fn push(&mut self, cursor: &mut JsonCursor<'_>) -> Fit<()> {
        let mut guess = 0;
        cursor.enter();
        while cursor.has_more()? {
            let name = cursor.key()?.value().ok_or(Misfit)?;
            let place = self.place(&name, guess);
            guess = place.map_or(guess, |place| place + 1);
            match place.and_then(|place| self.fields.get_mut(place)) {
                // A name that occurs twice has its value already.
                Some(field) if field.len() == self.rows => field.push(cursor)?,
                _ => return Err(Misfit),
            }
        }
        self.rows += 1;
        for field in &mut self.fields {
            if field.len() < self.rows {
                field.push_null();
            }
        }
        self.valid.append_non_null();
        Ok(())
    }

    /// Finds a member. `guess` is its likely place.
    fn place(&self, name: &str, guess: usize) -> Option<usize> {
        if self.arrow.get(guess).is_some_and(|field| field.name() == name) {
            return Some(guess);
        }
        if self.index.is_empty() {
            return self.arrow.iter().position(|field| field.name() == name);
        }
        self.index.get(name).copied()
    }
}
