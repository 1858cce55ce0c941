//! Turns the JSON columns of record batches into nested columns of given types.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, builder::StringBuilder, cast::AsArray};
use arrow_schema::{Schema, SchemaRef};

use crate::{
    batch::{Column, OutputColumn},
    error::{Error, Result},
    nested::{Misfit, NestedBuilder, NestedField, NestedType, NestedValues},
    text::quoted,
};

/// The place of a value that its column cannot hold: the indices of its row and of its column in the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MisfitPlace {
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl MisfitPlace {
    /// Returns the error of the value.
    pub(crate) fn explain(self, batch: &RecordBatch) -> Error {
        let text = |place: usize| {
            let texts = batch.columns().get(place).and_then(|array| array.as_string_opt::<i32>());
            texts.filter(|texts| texts.is_valid(self.row)).map(|texts| texts.value(self.row))
        };
        let schema = batch.schema();
        let id = schema.index_of(Column::Id.name()).ok().and_then(text).map(str::to_owned);
        let value = quoted(text(self.column).unwrap_or_default(), 80);
        Error::Misfit { column: schema.field(self.column).name().clone(), id, value }
    }
}

/// Turns batches of JSON text into batches with nested columns.
pub(crate) struct NestedEncoder {
    schema: SchemaRef,
    /// For each column its builder, if it is nested and not text.
    columns: Vec<Option<(NestedType, NestedBuilder)>>,
}

impl NestedEncoder {
    pub(crate) fn new<'a>(
        output: impl Iterator<Item = &'a OutputColumn>,
        types: &[NestedField],
    ) -> Self {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for column in output {
            let own = types.iter().find(|it| it.name == column.name());
            fields.push(own.map_or_else(|| column.field(), NestedField::field));
            let kind = own.map(|own| &own.kind).filter(|kind| !kind.is_text());
            columns.push(kind.map(|kind| (kind.clone(), NestedBuilder::new(kind))));
        }
        Self { schema: Arc::new(Schema::new(fields)), columns }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns the nested batch, and the batch as it is read back; or the first value that has another type than its
    /// column.
    pub(crate) fn encode(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<std::result::Result<(RecordBatch, RecordBatch), MisfitPlace>> {
        let failed = |error| Error::Internal(format!("nested columns: {error}"));
        let (mut nested, mut read_back) = (Vec::new(), Vec::new());
        let arrays = batch.columns().iter().zip(&mut self.columns);
        for (column, (array, own)) in arrays.enumerate() {
            let Some((kind, builder)) = own else {
                nested.push(array.clone());
                read_back.push(array.clone());
                continue;
            };
            let texts = array.as_string_opt::<i32>().ok_or_else(|| unlike("JSON"))?;
            for (row, text) in texts.iter().enumerate() {
                if let Err(Misfit) = builder.push(text) {
                    return Ok(Err(MisfitPlace { row, column }));
                }
            }
            let typed = builder.finish().map_err(failed)?;
            read_back.push(texts_of(kind, &typed)?);
            nested.push(typed);
        }
        let nested = RecordBatch::try_new(self.schema.clone(), nested).map_err(failed)?;
        let read_back = RecordBatch::try_new(batch.schema(), read_back).map_err(failed)?;
        Ok(Ok((nested, read_back)))
    }
}

/// Returns the JSON text of values, as a reader gets it.
fn texts_of(kind: &NestedType, array: &ArrayRef) -> Result<ArrayRef> {
    let values = NestedValues::of(kind, array).ok_or_else(|| unlike("nested"))?;
    let (mut texts, mut text) = (StringBuilder::new(), String::new());
    for row in 0..array.len() {
        if !values.is_valid(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        values.write(row, &mut text, usize::MAX).map_err(|_| unlike("long"))?;
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

fn unlike(name: &str) -> Error {
    Error::Internal(format!("a column has other values than {name} ones"))
}
