//! The values of a batch row by row, with the mask of the report applied. Nothing above this file sees a masked value.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{Array, RecordBatch};
use uuid::Uuid;

use super::source::ExportFacts;
use crate::{
    batch::{ArrayValue, Column, ColumnType, ColumnValues, ListItem, OutputColumn},
    client::Row,
    error::{Error, Result},
    location::Location,
    text::{grouped, quoted},
    transform::{EarlierColumn, EditedRow, NotJson, Shaper},
};

/// The columns of a report, and the mask of their values.
#[derive(Clone)]
pub(super) struct RowColumns {
    /// All columns of the export.
    pub(super) columns: Arc<[OutputColumn]>,
    pub(super) mask: Option<Arc<Shaper>>,
    /// The places of the columns that the report shows. Values of others are not looked at.
    pub(super) shown: Arc<[usize]>,
    /// Whether repeated ids are looked for.
    pub(super) counts_ids: bool,
    /// Bytes of the values of a row that are shown.
    row_bytes: usize,
    /// For each column, the field of the API that it has.
    fields: Arc<[Option<Column>]>,
}

impl RowColumns {
    /// `drop` names the columns that the report does not show. `row_bytes` is the number of bytes of a row that it shows.
    pub(super) fn new(
        columns: Arc<[OutputColumn]>,
        drop: &[String],
        mask: Option<Arc<Shaper>>,
        counts_ids: bool,
        row_bytes: usize,
    ) -> Self {
        let fields = columns.iter().map(OutputColumn::of_api).collect();
        let is_shown = |column: &OutputColumn| !drop.iter().any(|name| name == column.name());
        let shown = columns.iter().enumerate().filter(|(_, column)| is_shown(column));
        let shown = shown.map(|(place, _)| place).collect();
        Self { columns, mask, shown, counts_ids, row_bytes, fields }
    }

    /// Returns the columns that the report shows.
    pub(super) fn shown_columns(&self) -> impl Iterator<Item = &OutputColumn> {
        self.shown.iter().filter_map(|place| self.columns.get(*place))
    }

    /// Returns the place of the column with a field of the API.
    fn place(&self, field: Column) -> Option<usize> {
        self.fields.iter().position(|it| *it == Some(field))
    }
}

/// Returns an id as a number if it is a UUID in the form of the API. Another form of it is another id.
pub(super) fn uuid_of(id: &str) -> Option<Uuid> {
    let is_usual = id.len() == 36 && !id.bytes().any(|byte| byte.is_ascii_uppercase());
    id.parse().ok().filter(|_| is_usual)
}

/// Longest expression in a message, in characters.
const SHOWN_EXPRESSION: usize = 60;

/// Refuses to show a column that was computed from values that the mask replaces: no path leads into it.
///
/// # Errors
/// `Usage` for the first such column that is not left out.
pub(super) fn require_masked(mask: &Shaper, facts: &ExportFacts, drop: &[String]) -> Result<()> {
    let earlier = facts.earlier.iter().map(|it| &it.transform).chain(&facts.transform);
    let held = mask.held_by(earlier.map(|it| it.columns.as_slice()));
    let is_shown = |held: &EarlierColumn| !drop.contains(&held.name);
    let Some(EarlierColumn { name, expression, path, .. }) = held.into_iter().find(is_shown) else {
        return Ok(());
    };
    let expression = quoted(&expression, SHOWN_EXPRESSION);
    Err(Error::Usage(format!(
        "the column {name} was computed by {expression}, so it can have values that `mask` {path} replaces: leave it out \
         with `drop`"
    )))
}

/// The error of a row with a value that is not JSON.
pub(super) fn not_json(place: &Location, row: u64, what: &str) -> Error {
    let why = format!("row {}: its {what} is not JSON", grouped(row));
    Error::Damaged { path: place.to_path(), why }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CellValue<'a> {
    /// Text, or JSON text. A list is the JSON text of an array.
    Text(Cow<'a, str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
}

impl<'a> CellValue<'a> {
    fn of(value: ArrayValue<'a>, column_type: ColumnType) -> Self {
        match value {
            ArrayValue::Text(text) => Self::Text(text.into()),
            ArrayValue::Int(int) => Self::Int(int),
            ArrayValue::Float(float) => Self::Float(float),
            ArrayValue::Bool(value) => Self::Bool(value),
            ArrayValue::Timestamp(at) => Self::Timestamp(at),
            list @ ArrayValue::List(_) => {
                let mut json = Vec::new();
                // Writing to memory cannot fail.
                let _ = list.write_json(column_type == ColumnType::List(ListItem::Json), &mut json);
                Self::Text(String::from_utf8_lossy(&json).into_owned().into())
            }
        }
    }
}

/// The rows of a batch.
pub(super) struct BatchRows<'a> {
    columns: &'a RowColumns,
    arrays: Vec<ColumnValues<'a>>,
}

/// A row, with its replacements.
pub(super) struct RowValues<'a, 'b> {
    rows: &'b BatchRows<'a>,
    row: usize,
    pub(super) edited: Option<Box<EditedRow>>,
}

impl<'a> BatchRows<'a> {
    /// # Errors
    /// `Internal` when the batch has another column type than an export.
    pub(super) fn new(batch: &'a RecordBatch, columns: &'a RowColumns) -> Result<Self> {
        let arrays = batch.columns().iter().map(|array| {
            let unknown = || Error::Internal(format!("a column of type {}", array.data_type()));
            ColumnValues::of(array).ok_or_else(unknown)
        });
        Ok(Self { columns, arrays: arrays.collect::<Result<_>>()? })
    }

    /// Returns the row with this index in the batch.
    ///
    /// # Errors
    /// A field of a masked row is not JSON.
    pub(super) fn row<'b>(&'b self, row: usize) -> Result<RowValues<'a, 'b>, NotJson> {
        let values = RowValues { rows: self, row, edited: None };
        let mask = self.columns.mask.as_ref();
        let edited = mask.map(|mask| mask.replace_in(&values.as_row())).transpose()?.flatten();
        Ok(RowValues { edited, ..values })
    }
}

impl<'a> RowValues<'a, '_> {
    /// The value of the column at this place, before the mask.
    fn original(&self, place: usize) -> Option<ArrayValue<'a>> {
        self.rows.arrays.get(place).and_then(|array| array.get(self.row))
    }

    fn text(&self, field: Column) -> Option<&'a str> {
        match self.original(self.rows.columns.place(field)?)? {
            ArrayValue::Text(text) => Some(text),
            _ => None,
        }
    }

    fn as_row(&self) -> Row<'a> {
        let order = self.rows.columns.place(Column::Order).and_then(|place| self.original(place));
        Row {
            // No path leads to the id.
            id: Uuid::nil(),
            order: order.and_then(|value| match value {
                ArrayValue::Int(order) => Some(order),
                _ => None,
            }),
            input: self.text(Column::Input),
            expected_output: self.text(Column::ExpectedOutput),
            persona: self.text(Column::Persona),
            tags: self.text(Column::Tags),
            additional_properties: self.text(Column::AdditionalProperties),
            has_id: true,
            compact: false,
        }
    }

    /// Returns the value of the column at this place; `None` for null.
    fn get(&self, place: usize) -> Option<CellValue<'_>> {
        let columns = self.rows.columns;
        let column_type = columns.columns.get(place)?.column_type();
        let original = || Some(CellValue::of(self.original(place)?, column_type));
        let Some(edited) = &self.edited else { return original() };
        let row = edited.of(self.as_row());
        let text = match columns.fields.get(place)? {
            Some(Column::Input) => row.input,
            Some(Column::ExpectedOutput) => row.expected_output,
            Some(Column::Persona) => row.persona,
            Some(Column::Tags) => row.tags,
            Some(Column::AdditionalProperties) => row.additional_properties,
            Some(Column::Id | Column::Order) | None => return original(),
        };
        text.map(|text| CellValue::Text(text.into()))
    }

    /// Returns the values of the columns that the report shows; `None` for null.
    pub(super) fn shown(&self) -> impl Iterator<Item = Option<CellValue<'_>>> {
        self.rows.columns.shown.iter().map(|place| self.get(*place))
    }

    /// Returns the number of bytes of its values that are shown.
    pub(super) fn row_bytes(&self) -> usize {
        self.rows.columns.row_bytes
    }

    /// Returns the id as the export has it; empty if there is none, or if the report does not show it.
    pub(super) fn id(&self) -> &'a str {
        self.known_id().unwrap_or_default()
    }

    /// Returns the id as the export has it; `None` if there is none, or if the report does not show it.
    pub(super) fn known_id(&self) -> Option<&'a str> {
        let columns = self.rows.columns;
        columns.place(Column::Id).filter(|place| columns.shown.contains(place))?;
        self.text(Column::Id)
    }
}
