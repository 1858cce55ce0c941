//! A record batch as a block of rows for a transformation.

use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type,
};
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
        let fields = BlockFields::of(self);
        (0..self.batch.num_rows()).map(move |row| fields.row(row))
    }
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
