//! A record batch as a block of rows for a transformation.

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use uuid::Uuid;

use crate::{batch::Column, client::Row, transform::RowBlock};

/// Memory of the ids and decisions of a row, in bytes.
const ROW_OVERHEAD: usize = 64;

/// Rows of the source.
#[derive(Debug)]
pub(super) struct BatchBlock {
    /// Number of the first row among all rows of the source, from 1.
    pub(super) first_row: u64,
    pub(super) batch: RecordBatch,
    /// The ids of the rows. Empty if nobody needs them.
    pub(super) ids: Vec<Uuid>,
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
        let array = |column: Column| self.batch.column_by_name(column.name());
        let text = |column| array(column).and_then(|array: &ArrayRef| array.as_string_opt::<i32>());
        let order = array(Column::Order).and_then(|array| array.as_primitive_opt::<Int64Type>());
        let (input, expected) = (text(Column::Input), text(Column::ExpectedOutput));
        let (persona, tags) = (text(Column::Persona), text(Column::Tags));
        let others = text(Column::AdditionalProperties);
        (0..self.batch.num_rows()).map(move |row| Row {
            id: self.ids.get(row).copied().unwrap_or_default(),
            order: order.filter(|order| order.is_valid(row)).map(|order| order.value(row)),
            input: value(input, row),
            expected_output: value(expected, row),
            persona: value(persona, row),
            tags: value(tags, row),
            additional_properties: value(others, row),
            compact: true,
        })
    }
}

fn value(texts: Option<&StringArray>, row: usize) -> Option<&str> {
    texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
}
