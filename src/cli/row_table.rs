//! Tables of rows: the columns of an export, cells with the beginning of a value, and a line that counts the rows.

use std::{
    fmt::{self, Write as _},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{ArrayRef, RecordBatch};
use parquet::record::Field;

use super::{
    lines::Lines,
    table::{Fit, TableColumn},
};
use crate::{
    Column, ColumnType, OutputColumn, Result, Sink, TransformRecord, Written,
    batch::{ArrayValue, ColumnValues, timestamp_text},
    text::{counted, grouped},
};

/// Characters of a value that a table keeps. A cell shows far fewer, but a value can be megabytes long.
const CELL_CHARS: usize = 2000;
/// Most bytes of a character.
const MOST_CHAR_BYTES: usize = 4;
/// The columns of the table, as [`Column::ALL`].
const COLUMNS: [TableColumn<'static>; Column::ALL.len()] = [
    TableColumn::new(Column::Id.name(), Fit::Whole),
    TableColumn::new(Column::Order.name(), Fit::Number),
    TableColumn::new(Column::Input.name(), Fit::Json),
    TableColumn::new(Column::ExpectedOutput.name(), Fit::Json).left_out(4),
    TableColumn::new(Column::Persona.name(), Fit::Wrap).left_out(3),
    TableColumn::new(Column::Tags.name(), Fit::Json).left_out(2),
    TableColumn::new(Column::AdditionalProperties.name(), Fit::Json).left_out(1),
];

/// The line below a table says this: how many rows the source has, and which of them the table shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowsFound {
    /// All rows, if their number is known.
    Of(Option<u64>),
    /// The rows of the table are those that a transformation keeps: the first, or all of them.
    Kept { source: &'static str, count: Option<u64>, are_all: bool },
    /// The rows of the table are the lines of a map: the first, or all of them.
    Lines { source: &'static str, count: Option<u64>, are_all: bool },
}

impl RowsFound {
    /// The rows that a transformation keeps. `source` is what they come from, with this number of rows.
    pub(super) fn transformed(
        source: &'static str,
        count: Option<u64>,
        are_all: bool,
        record: &TransformRecord,
    ) -> Self {
        match record {
            _ if record.map.is_some() => Self::Lines { source, count, are_all },
            _ if !record.leaves_out_rows() => Self::Of(count),
            _ => Self::Kept { source, count, are_all },
        }
    }

    /// Adds a line below a table with this number of rows.
    pub(super) fn below(self, table: Lines, rows: u64) -> Lines {
        let (shown, counted_rows) = (grouped(rows), |rows| counted(rows, "row"));
        let has = |source: &str, count: Option<u64>, how: fn(u64) -> String| match count {
            Some(count) => format!("; the {source} has {}", how(count)),
            None => String::new(),
        };
        match self {
            Self::Of(Some(count)) => table.and(format_args!("{shown} of {}", counted_rows(count))),
            Self::Of(None) => table.and(format_args!("the first {}", counted_rows(rows))),
            Self::Kept { count: Some(count), are_all: true, .. } => {
                table.and(format_args!("{shown} kept of {}", counted_rows(count)))
            }
            Self::Lines { source, count, are_all } => {
                let first = if are_all { "" } else { "the first " };
                let has = has(source, count, |rows| counted(rows, "row"));
                table.and(format_args!("{first}{}{has}", counted(rows, "line")))
            }
            Self::Kept { source, count, .. } => table.and(format_args!(
                "the first {} of those that are kept{}",
                counted_rows(rows),
                has(source, count, grouped)
            )),
        }
    }
}

/// Returns a table of cells. Columns that are not chosen are left out if they are empty.
pub(super) fn render(
    cells: Vec<Vec<Option<String>>>,
    found: RowsFound,
    columns: &[OutputColumn],
    is_chosen: impl Fn(&OutputColumn) -> bool,
) -> Lines {
    let is_key = |name: &str| [Column::Id.name(), Column::Order.name()].contains(&name);
    let has_value = |index: usize| cells.iter().any(|row| matches!(row.get(index), Some(Some(_))));
    let shown: Vec<(usize, &OutputColumn)> = (columns.iter().enumerate())
        .filter(|(index, it)| is_chosen(it) || is_key(it.name()) || has_value(*index))
        .collect();
    let header = shown.iter().map(|(_, column)| {
        let of_api = COLUMNS.iter().find(|it| it.name() == column.name());
        match of_api {
            // Columns that were asked for by name are always shown.
            Some(known) if is_chosen(column) => known.left_out(0),
            Some(known) => *known,
            None => TableColumn::new(column.name(), fit(column.column_type())),
        }
    });
    let header: Vec<TableColumn<'_>> = header.collect();
    let count = cells.len() as u64;
    let rows = cells.into_iter().map(|mut row| {
        let cell = |(index, column): &(usize, &OutputColumn)| {
            match row.get_mut(*index).and_then(mem::take) {
                None => "-".to_owned(),
                // Eight characters are enough to recognize a row.
                Some(text) if column.name() == Column::Id.name() => text.chars().take(8).collect(),
                Some(text) => text,
            }
        };
        shown.iter().map(cell).collect()
    });
    found.below(super::table::render(&header, rows), count)
}

/// Returns how a computed column fits into a table.
fn fit(column_type: ColumnType) -> Fit {
    match column_type {
        ColumnType::Int | ColumnType::Float => Fit::Number,
        ColumnType::Json | ColumnType::List(_) => Fit::Json,
        ColumnType::String => Fit::Wrap,
        ColumnType::Bool | ColumnType::Timestamp => Fit::Cut,
    }
}

/// The cells of rows, row by row. A sink fills it.
#[derive(Clone, Default)]
pub(super) struct SharedCells(Arc<Mutex<Vec<Vec<Option<String>>>>>);

impl SharedCells {
    pub(super) fn take(&self) -> Vec<Vec<Option<String>>> {
        // A row is added as a whole, so a panic cannot leave half of one.
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for SharedCells {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.extend(cells_of(&batch));
        Ok(())
    }

    fn finish(self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        Ok(Written::default())
    }

    fn abort(self: Box<Self>) {}
}

/// Returns the cells of the rows of a batch.
pub(super) fn cells_of(batch: &RecordBatch) -> impl Iterator<Item = Vec<Option<String>>> {
    let fields = batch.schema_ref().fields().iter();
    let holds_json =
        fields.map(|field| ColumnType::of_field(field).is_some_and(ColumnType::holds_json));
    let columns: Vec<_> = batch.columns().iter().zip(holds_json).collect();
    let row =
        move |row| columns.iter().map(|(array, is_json)| cell(array, *is_json, row)).collect();
    (0..batch.num_rows()).map(row)
}

/// Returns a value of an export as text. `holds_json` says that the elements of a list are JSON text.
fn cell(array: &ArrayRef, holds_json: bool, row: usize) -> Option<String> {
    Some(match ColumnValues::of(array)?.get(row)? {
        ArrayValue::Text(text) => return beginning(Some(text)),
        ArrayValue::Int(int) => int.to_string(),
        ArrayValue::Float(float) => float.to_string(),
        ArrayValue::Bool(value) => value.to_string(),
        ArrayValue::Timestamp(micros) => timestamp_text(micros),
        ArrayValue::List(items) => {
            let mut text = vec![b'['];
            for (place, item) in items.enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                // The rest would not be shown.
                if text.len() > MOST_CHAR_BYTES * CELL_CHARS {
                    break;
                }
                match item {
                    Some(item) => item.write_json(holds_json, &mut text).ok()?,
                    None => text.extend_from_slice(b"null"),
                }
            }
            text.push(b']');
            return beginning(std::str::from_utf8(&text).ok());
        }
    })
}

/// Returns the beginning of a foreign value as text.
pub(super) fn foreign_cell(value: Field) -> String {
    /// Fails as soon as the text is long enough, so that no more of it is formatted.
    struct Beginning(String);
    impl fmt::Write for Beginning {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = CELL_CHARS.saturating_sub(self.0.len());
            self.0.extend(text.chars().take(room));
            if room > text.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut cell = Beginning(String::new());
    // An error says only that the text was cut.
    let _ = match value {
        Field::Null => cell.write_str("-"),
        Field::Str(text) => cell.write_str(&text),
        other => write!(cell, "{other}"),
    };
    cell.0
}

fn beginning(text: Option<&str>) -> Option<String> {
    Some(text?.chars().take(CELL_CHARS).collect())
}
