//! Cuts decoded columns of texts and numbers into batches that are bounded in rows and in bytes.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, LargeStringArray, RecordBatch, RecordBatchOptions, StringArray,
    StringViewArray, builder::StringBuilder, cast::AsArray,
};
use arrow_schema::{DataType, SchemaRef};

use super::{ReadOptions, damaged};
use crate::{
    batch::ColumnValues,
    error::{Error, Result},
    location::Location,
    nested::{NestedType, NestedValues, TextTooLong},
    text::grouped,
};

/// A batch ends after `BATCH_ROWS` rows, or with the row that reaches `BATCH_BYTES` bytes of values.
pub(super) const BATCH_ROWS: usize = 1000;
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// Decoded rows that have not been returned yet.
pub(super) struct ReadWindow {
    schema: SchemaRef,
    /// The types of typed JSON columns.
    nested: Arc<[Option<NestedType>]>,
    columns: Vec<ArrayRef>,
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

    /// Adds the next row to the batch. Returns the size of its text or list in bytes, or a size above the limit if it
    /// is too long.
    fn take(&mut self, row: usize, limit: usize) -> usize {
        if let Self::Lists(lists) = self {
            return lists.get(row).map_or(0, |list| list.size());
        }
        let Self::Typed(typed) = self else { return self.value(row).map_or(0, str::len) };
        if !typed.values.is_valid(row) {
            typed.written.append_null();
            return 0;
        }
        typed.text.clear();
        if let Err(TextTooLong) = typed.values.write(row, &mut typed.text, limit) {
            return limit.saturating_add(1);
        }
        typed.written.append_value(&typed.text);
        typed.text.len()
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
    pub(super) fn new(
        (schema, nested): (SchemaRef, Arc<[Option<NestedType>]>),
        decoded: &RecordBatch,
    ) -> Self {
        let (columns, rows) = (decoded.columns().to_vec(), decoded.num_rows());
        Self { schema, nested, columns, next: 0, rows }
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
        while self.next < self.rows && self.next - start < BATCH_ROWS && bytes < BATCH_BYTES {
            for (texts, field) in texts.iter_mut().zip(self.schema.fields()) {
                let limit = options.max_value_bytes;
                let size = texts.as_mut().map_or(0, |texts| texts.take(self.next, limit));
                options.check_value(path, field.name(), size)?;
                bytes += size;
            }
            self.next += 1;
        }
        let rows = start..self.next;
        let columns = texts.iter_mut().zip(&self.columns).map(|(texts, column)| match texts {
            Some(Texts::Typed(typed)) => Arc::new(typed.written.finish()) as ArrayRef,
            Some(texts @ (Texts::Large(_) | Texts::View(_))) => {
                let mut builder = StringBuilder::with_capacity(rows.len(), 0);
                rows.clone().for_each(|row| builder.append_option(texts.value(row)));
                Arc::new(builder.finish()) as ArrayRef
            }
            _ => column.slice(start, rows.len()),
        });
        let how = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = columns.collect();
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &how);
        batch.map(Some).map_err(|error| damaged(path, error.into()))
    }
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
