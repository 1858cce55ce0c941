//! The checks that all formats share: the schema can be written, each batch has the schema of its sink, and a
//! failed sink is never finished.

use std::{collections::HashSet, fmt::Write, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use super::{Format, Sink, Written};
use crate::{
    batch::{Column, ColumnType},
    error::{Error, Result},
    nested::is_nested,
};

/// Wraps a sink, so that it gets only batches of its schema, and no batches after a failure.
pub(super) struct Checked<S> {
    sink: S,
    format: Format,
    schema: SchemaRef,
    failed: bool,
}

impl<S> Checked<S> {
    pub(super) fn new(sink: S, format: Format, schema: SchemaRef) -> Self {
        Self { sink, format, schema, failed: false }
    }

    fn refuse(&self) -> Error {
        let source = "an earlier write failed, and its rows are lost".into();
        Error::Encode { format: self.format.title(), source }
    }
}

impl<S: Sink> Sink for Checked<S> {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if self.failed {
            return Err(self.refuse());
        }
        // Assume failure until the write succeeds: a panic is a failure too.
        self.failed = true;
        check_batch(&self.schema, batch.schema_ref())?;
        self.sink.write(batch)?;
        self.failed = false;
        Ok(())
    }

    fn finish(self: Box<Self>, facts: Option<&str>) -> Result<Written> {
        if self.failed {
            let refused = self.refuse();
            self.abort();
            return Err(refused);
        }
        Box::new(self.sink).finish(facts)
    }

    fn abort(self: Box<Self>) {
        Box::new(self.sink).abort();
    }
}

/// Checks that every format can write the schema.
///
/// It needs at least one column and unique names. The types are those of computed columns. A column with the name of a
/// column of the API must have that column's type. `nests` says whether JSON columns can be typed: lists and structs,
/// and any type for a JSON column of the API.
pub(super) fn check_schema(schema: &Schema, nests: bool) -> Result<()> {
    let wrong = |name: &str, why: String| Err(Error::invalid("column of a sink", name, why));
    if schema.fields().is_empty() {
        return Err(Error::invalid("schema of a sink", "", "it has no column"));
    }
    let mut names = HashSet::new();
    for field in schema.fields() {
        let (name, data_type) = (field.name(), field.data_type());
        let nested = nests && is_nested(data_type);
        if !ColumnType::writes(data_type) && !nested {
            let known = "sinks write Utf8, Int64, Float64, Boolean, Timestamp(µs, \"UTC\")";
            let more = if nests { ", structs and lists of them" } else { " and lists of them" };
            return wrong(name, format!("it is {data_type}; {known}{more}"));
        }
        if let Ok(column) = name.parse::<Column>()
            && column.data_type() != *data_type
            && !(nested && column.is_json())
        {
            let expected = column.data_type();
            return wrong(name, format!("it is {data_type}; in an export it is {expected}"));
        }
        if !names.insert(name) {
            return wrong(name, "the name occurs twice".to_owned());
        }
    }
    Ok(())
}

/// Checks that a batch has the columns of its sink: names, types and nullability. Metadata may differ.
fn check_batch(expected: &SchemaRef, schema: &SchemaRef) -> Result<()> {
    let fields = || expected.fields().iter().zip(schema.fields());
    let same = Arc::ptr_eq(expected, schema)
        || expected.fields().len() == schema.fields().len()
            && fields().all(|(one, other)| {
                Arc::ptr_eq(one, other)
                    || one.name() == other.name()
                        && one.data_type() == other.data_type()
                        && one.is_nullable() == other.is_nullable()
            });
    if same {
        return Ok(());
    }
    let why = format!("the sink's columns are {}", columns(expected));
    Err(Error::invalid("batch", columns(schema), why))
}

/// Formats the columns of a schema, such as `id Utf8 not null, order Int64`.
fn columns(schema: &Schema) -> String {
    schema.fields().iter().fold(String::new(), |mut text, field| {
        let comma = if text.is_empty() { "" } else { ", " };
        let null = if field.is_nullable() { "" } else { " not null" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{} {}{null}", field.name(), field.data_type());
        text
    })
}
