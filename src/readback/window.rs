//! Cuts decoded columns of texts and numbers into batches that are bounded in rows and in bytes.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, LargeStringArray, RecordBatch, RecordBatchOptions, StringArray,
    StringViewArray, builder::StringBuilder, cast::AsArray,
};
use arrow_schema::{DataType, Schema, SchemaRef};

use super::{ColumnChoice, ReadOptions, RescuedPlace, damaged};
use crate::{
    batch::ColumnValues,
    error::{Error, Result},
    location::Location,
    nested::{NestedType, NestedValues, RESCUED, RescuedRow, TextTooLong, WrongRescue},
    text::grouped,
};

/// A batch ends after `BATCH_ROWS` rows, or with the row that reaches `BATCH_BYTES` bytes of values.
pub(super) const BATCH_ROWS: usize = 1000;
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// The columns of the batches, and how they are made from the decoded ones.
#[derive(Clone)]
pub(super) struct WindowColumns {
    schema: SchemaRef,
    /// The types of typed JSON columns, for each column of the schema.
    nested: Arc<[Option<NestedType>]>,
    rescued: Option<RescuedPlace>,
}

impl WindowColumns {
    pub(super) fn of(choice: &ColumnChoice) -> Self {
        let nested = match choice.rescued {
            Some(RescuedPlace { place, is_wanted: false, .. }) => {
                let mut nested = choice.nested.to_vec();
                nested.remove(place);
                nested.into()
            }
            _ => choice.nested.clone(),
        };
        Self { schema: choice.schema.clone(), nested, rescued: choice.rescued }
    }
}

/// Decoded rows that have not been returned yet.
pub(super) struct ReadWindow {
    schema: SchemaRef,
    /// The types of typed JSON columns.
    nested: Arc<[Option<NestedType>]>,
    columns: Vec<ArrayRef>,
    /// The values that do not fit these types.
    rescued: Option<ArrayRef>,
    /// Whether each of these values must have its column.
    has_all: bool,
    next: usize,
    rows: usize,
}

/// An array of texts in any of Arrow's text types, of values that become JSON text, or of lists.
enum Texts<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
    Typed(TypedTexts<'a>),
    /// Lists, which are passed on as they are.
    Lists(ColumnValues<'a>),
}

/// The values of a typed JSON column, and the text of those that were taken.
struct TypedTexts<'a> {
    values: NestedValues<'a>,
    text: String,
    written: StringBuilder,
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => Some(Self::Small(array.as_string())),
            DataType::LargeUtf8 => Some(Self::Large(array.as_string())),
            DataType::Utf8View => Some(Self::View(array.as_string_view())),
            DataType::List(_) => ColumnValues::of(array).map(Self::Lists),
            _ => None,
        }
    }

    fn typed(kind: &NestedType, array: &'a ArrayRef) -> Option<Self> {
        let values = NestedValues::of(kind, array)?;
        Some(Self::Typed(TypedTexts { values, text: String::new(), written: StringBuilder::new() }))
    }

    /// Adds the next row of the column `name` to the batch. Returns the size of its text or list in bytes, or a size
    /// above the limit if it is too long.
    ///
    /// # Errors
    /// When the rescued values of the row do not belong to it.
    fn take(
        &mut self,
        (name, row): (&str, usize),
        rescued: Option<&mut RescuedRow<'_>>,
        limit: usize,
    ) -> std::result::Result<usize, WrongRescue> {
        if let Self::Lists(lists) = self {
            return Ok(lists.get(row).map_or(0, |list| list.size()));
        }
        let Self::Typed(typed) = self else { return Ok(self.size(row)) };
        let is_valid = typed.values.is_valid(row);
        typed.text.clear();
        if is_valid && let Err(TextTooLong) = typed.values.write(row, &mut typed.text, limit) {
            return Ok(limit.saturating_add(1));
        }
        let text = is_valid.then_some(&*typed.text);
        if let Some(rescued) = rescued {
            let restored = rescued.restore(name, text)?;
            typed.written.append_option(restored.as_deref());
            return Ok(restored.map_or(0, |text| text.len()));
        }
        typed.written.append_option(text);
        Ok(text.map_or(0, str::len))
    }

    /// Returns the size of a text in bytes.
    fn size(&self, row: usize) -> usize {
        match self {
            // The lower 32 bits of a view are the length.
            Self::View(texts) if texts.is_valid(row) => {
                texts.views().get(row).map_or(0, |view| *view as u32 as usize)
            }
            texts => texts.value(row).map_or(0, str::len),
        }
    }

    fn value(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Small(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Large(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::View(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Typed(_) | Self::Lists(_) => None,
        }
    }
}

impl ReadWindow {
    /// Takes decoded columns. They have the schema's order, but can have other text types.
    pub(super) fn new(columns: WindowColumns, decoded: &RecordBatch) -> Self {
        let WindowColumns { schema, nested, rescued } = columns;
        let (mut columns, rows) = (decoded.columns().to_vec(), decoded.num_rows());
        let has_all = rescued.is_some_and(|it| it.has_all);
        let rescued = rescued.filter(|it| it.place < columns.len()).map(|it| match it.is_wanted {
            true => columns[it.place].clone(),
            false => columns.remove(it.place),
        });
        Self { schema, nested, columns, rescued, has_all, next: 0, rows }
    }

    /// Returns the next batch, or `None` after the last row.
    pub(super) fn next(
        &mut self,
        path: &Location,
        options: &ReadOptions,
    ) -> Result<Option<RecordBatch>> {
        if self.next == self.rows {
            return Ok(None);
        }
        let mut texts = Vec::with_capacity(self.columns.len());
        for (place, array) in self.columns.iter().enumerate() {
            texts.push(match self.nested.get(place).and_then(Option::as_ref) {
                Some(kind) => Some(Texts::typed(kind, array).ok_or_else(|| {
                    damaged(path, "a typed column does not have its type".into())
                })?),
                None => Texts::of(array),
            });
        }
        let (start, mut bytes) = (self.next, 0);
        let objects = self.rescued.as_ref().and_then(Texts::of);
        let wrong = |WrongRescue| {
            damaged(path, format!("its column {RESCUED} has values of other rows").into())
        };
        while self.next < self.rows && self.next - start < BATCH_ROWS && bytes < BATCH_BYTES {
            let object = objects.as_ref().and_then(|objects| objects.value(self.next));
            options.check_value(path, RESCUED, object.map_or(0, str::len))?;
            let mut rescued = object.map(RescuedRow::parse).transpose().map_err(wrong)?;
            for (texts, field) in texts.iter_mut().zip(self.schema.fields()) {
                let (limit, at) = (options.max_value_bytes, (field.name().as_str(), self.next));
                let size = texts.as_mut().map_or(Ok(0), |it| it.take(at, rescued.as_mut(), limit));
                let size = size.map_err(wrong)?;
                options.check_value(path, field.name(), size)?;
                bytes += size;
            }
            if self.has_all && rescued.is_some_and(|it| !it.is_empty()) {
                return Err(wrong(WrongRescue));
            }
            self.next += 1;
        }
        let rows = start..self.next;
        let columns = texts.iter_mut().zip(&self.columns).map(|(texts, column)| match texts {
            Some(Texts::Typed(typed)) => Arc::new(typed.written.finish()) as ArrayRef,
            Some(Texts::View(_)) if options.keeps_views => column.slice(start, rows.len()),
            Some(texts @ (Texts::Large(_) | Texts::View(_))) => {
                let mut builder = StringBuilder::with_capacity(rows.len(), 0);
                rows.clone().for_each(|row| builder.append_option(texts.value(row)));
                Arc::new(builder.finish()) as ArrayRef
            }
            _ => column.slice(start, rows.len()),
        });
        let how = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns: Vec<ArrayRef> = columns.collect();
        let schema = match options.keeps_views {
            true => with_views(&self.schema, &columns),
            false => self.schema.clone(),
        };
        let batch = RecordBatch::try_new_with_options(schema, columns, &how);
        batch.map(Some).map_err(|error| damaged(path, error.into()))
    }
}

/// Returns the schema with the text types of the columns.
fn with_views(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let fields = schema.fields().iter().zip(columns).map(|(field, column)| {
        match (field.data_type(), column.data_type()) {
            (DataType::Utf8, DataType::Utf8View) => {
                Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
            }
            _ => field.clone(),
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl ReadOptions {
    /// Refuses a value larger than the limit.
    pub(super) fn check_value(&self, path: &Location, column: &str, size: usize) -> Result<()> {
        if size <= self.max_value_bytes {
            return Ok(());
        }
        let what = format!("a value of its column {column} has {} bytes", grouped(size as u64));
        Err(Error::ValueTooLarge { path: path.to_path(), what, limit: self.max_value_bytes as u64 })
    }

    /// Refuses a Parquet page or an Arrow batch larger than four times the limit. It is decoded as a whole and can
    /// hold several values.
    pub(super) fn check_unit(&self, path: &Location, what: &str, size: u64) -> Result<()> {
        let limit = self.max_value_bytes as u64 * 4;
        if size <= limit {
            return Ok(());
        }
        let what = format!("{what} {} bytes when decompressed", grouped(size));
        Err(Error::ValueTooLarge { path: path.to_path(), what, limit })
    }
}
