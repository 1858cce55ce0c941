//! A record batch as a block of rows for a transformation.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, builder::StringBuilder, cast::AsArray,
    new_null_array, types::Int64Type,
};
use uuid::Uuid;

use crate::{
    batch::{Column, ColumnType},
    client::Row,
    transform::{ColumnEdit, NotJson, PathSet, RowBlock, Shaper},
};

/// Memory of the ids and decisions of a row, in bytes.
const ROW_OVERHEAD: usize = 64;

/// Rows of the source.
#[derive(Debug)]
pub(super) struct BatchBlock {
    /// Number of the first row among all rows of the source, from 1.
    pub(super) first_row: u64,
    pub(super) batch: RecordBatch,
    /// The ids of the rows. Empty if nobody needs them, or if the source has none.
    pub(super) ids: Vec<Uuid>,
    /// For each row, the paths that led to a value in a computed column. Empty if no such column has replacements.
    pub(super) replaced: Vec<PathSet>,
}

impl RowBlock for BatchBlock {
    fn number(&self) -> u64 {
        // There are no pages.
        0
    }

    fn first_row(&self) -> u64 {
        self.first_row
    }

    fn size(&self) -> usize {
        self.batch.get_array_memory_size() + self.batch.num_rows() * ROW_OVERHEAD
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let fields = BlockFields::of(self);
        (0..self.batch.num_rows()).map(move |row| fields.row(row))
    }

    /// Replaces values in computed columns of the source, which expressions do not see.
    fn replace(&mut self, shaper: &Shaper) -> Result<(), NotJson> {
        let schema = self.batch.schema();
        let mut columns = None;
        for (index, field) in schema.fields().iter().enumerate() {
            let is_api = field.name().parse::<Column>().is_ok();
            let edit = if is_api { None } else { shaper.column_edit(field.name()) };
            let (Some(edit), Some(array)) = (edit, self.batch.columns().get(index)) else {
                continue;
            };
            self.replaced.resize(array.len(), PathSet::default());
            let is_json = ColumnType::of_field(field) == Some(ColumnType::Json);
            let array = replaced_values((array, is_json), &edit, &mut self.replaced)?;
            columns.get_or_insert_with(|| self.batch.columns().to_vec())[index] = array;
        }
        // The types of the columns are the same.
        if let Some(columns) = columns {
            self.batch = RecordBatch::try_new(schema, columns).map_err(|_| NotJson)?;
        }
        Ok(())
    }

    fn replaced(&self, row: usize) -> PathSet {
        self.replaced.get(row).copied().unwrap_or_default()
    }
}

/// Returns the values of a column with their replacements. Adds the paths that led to a value to those of each row.
fn replaced_values(
    (array, is_json): (&ArrayRef, bool),
    edit: &ColumnEdit<'_>,
    replaced: &mut [PathSet],
) -> Result<ArrayRef, NotJson> {
    let Some(texts) = array.as_string_opt::<i32>() else {
        // Only the whole value can be replaced, and only by null.
        let of_rows = replaced.iter_mut().enumerate().filter(|(row, _)| array.is_valid(*row));
        of_rows.for_each(|(_, paths)| paths.join(edit.masked()));
        return Ok(new_null_array(array.data_type(), array.len()));
    };
    let mut builder = StringBuilder::with_capacity(texts.len(), 0);
    for (text, paths) in texts.iter().zip(replaced) {
        let edited = text.map(|text| edit.edit(text, is_json)).transpose()?;
        builder.append_option(edited.as_ref().and_then(|(text, _)| text.as_deref()));
        paths.join(edited.map(|(_, found)| found).unwrap_or_default());
    }
    Ok(Arc::new(builder.finish()))
}

impl BatchBlock {
    /// Returns the row with this index.
    pub(super) fn row(&self, row: usize) -> Row<'_> {
        BlockFields::of(self).row(row)
    }
}

/// The columns of a block that are fields of the API. A missing one is null in every row.
struct BlockFields<'a> {
    ids: &'a [Uuid],
    order: Option<&'a Int64Array>,
    input: Option<&'a StringArray>,
    expected_output: Option<&'a StringArray>,
    persona: Option<&'a StringArray>,
    tags: Option<&'a StringArray>,
    others: Option<&'a StringArray>,
}

impl<'a> BlockFields<'a> {
    fn of(block: &'a BatchBlock) -> Self {
        let array = |column: Column| block.batch.column_by_name(column.name());
        let text = |column| array(column).and_then(|array: &ArrayRef| array.as_string_opt::<i32>());
        Self {
            ids: &block.ids,
            order: array(Column::Order).and_then(|array| array.as_primitive_opt::<Int64Type>()),
            input: text(Column::Input),
            expected_output: text(Column::ExpectedOutput),
            persona: text(Column::Persona),
            tags: text(Column::Tags),
            others: text(Column::AdditionalProperties),
        }
    }

    fn row(&self, row: usize) -> Row<'a> {
        let order = self.order.filter(|order| order.is_valid(row));
        Row {
            id: self.ids.get(row).copied().unwrap_or_default(),
            has_id: self.ids.len() > row,
            order: order.map(|order| order.value(row)),
            input: value(self.input, row),
            expected_output: value(self.expected_output, row),
            persona: value(self.persona, row),
            tags: value(self.tags, row),
            additional_properties: value(self.others, row),
            compact: true,
        }
    }
}

fn value(texts: Option<&StringArray>, row: usize) -> Option<&str> {
    texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
}
