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
    types::{MOST_CELLS, NestedType},
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
    /// Memory of a row without lists, in bytes.
    row_bytes: usize,
}

/// Size of a cell in memory, in bytes: an integer, a floating-point number, or two ends of a text.
const CELL_BYTES: usize = 8;

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
    /// Number of cells of an element.
    cells: usize,
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
        let row_bytes = kind.cells() * CELL_BYTES;
        Self { data_type: kind.data_type(), values: PartBuilder::new(kind), row_bytes }
    }

    /// Adds the value of a row. `null` is no value. Returns about the memory that the value takes, in bytes.
    ///
    /// # Errors
    /// [`Misfit`] when the value has another type or its lists have too many cells, or the text is not JSON. The builder
    /// is then of no use.
    pub(crate) fn push(&mut self, text: Option<&str>) -> Fit<usize> {
        let Some(text) = text else {
            self.values.push_null();
            return Ok(self.row_bytes);
        };
        let mut row = RowCursor { cursor: JsonCursor::new(text), cells: MOST_CELLS };
        self.values.push(&mut row)?;
        row.cursor.end()?;
        Ok(self.row_bytes + text.len() + (MOST_CELLS - row.cells) * CELL_BYTES)
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

/// A row that is being read.
struct RowCursor<'a> {
    cursor: JsonCursor<'a>,
    /// Number of cells that are left for the elements of its lists.
    cells: usize,
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
                let (item, cells) = (Self::new(item), item.cells());
                Self::List(Box::new(ListParts { field, item, cells, ends: Vec::new(), valid }))
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

    fn push(&mut self, row: &mut RowCursor<'_>) -> Fit<()> {
        let cursor = &mut row.cursor;
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
                while row.cursor.has_more()? {
                    row.cells = row.cells.checked_sub(parts.cells).ok_or(Misfit)?;
                    parts.item.push(row)?;
                }
                parts.ends.push(i32::try_from(parts.item.len()).map_err(|_| Misfit)?);
                parts.valid.append_non_null();
            }
            (Self::Struct(parts), JsonKind::Object) => parts.push(row)?,
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
    fn push(&mut self, row: &mut RowCursor<'_>) -> Fit<()> {
        let mut guess = 0;
        row.cursor.enter();
        while row.cursor.has_more()? {
            let name = row.cursor.key()?.value().ok_or(Misfit)?;
            let place = self.place(&name, guess);
            guess = place.map_or(guess, |place| place + 1);
            match place.and_then(|place| self.fields.get_mut(place)) {
                // A name that occurs twice has its value already.
                Some(field) if field.len() == self.rows => field.push(row)?,
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
