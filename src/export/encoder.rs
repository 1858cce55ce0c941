//! Turns the JSON columns of record batches into nested columns of given types. Values that do not fit end the export,
//! or go to a column of their own.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, RecordBatch, StringArray, builder::StringBuilder, cast::AsArray,
};
use arrow_schema::{Schema, SchemaRef};

use crate::{
    batch::{Column, OutputColumn},
    error::{Error, NestingError, Result},
    nested::{
        LONGEST, Misfit, MisfitValue, NestPath, NestedBuilder, NestedField, NestedType,
        NestedValues, Rescue, RescuedPaths, RescuedRow,
    },
    text::harmless,
};

/// The place of a value that its column cannot hold: the indices of its row and of its column in the batch.
#[derive(Debug, Clone)]
pub(crate) struct MisfitPlace {
    row: usize,
    column: usize,
    /// Number of rows that were encoded before the batch; `None` if they are not those of one table.
    rows_before: Option<u64>,
    reason: MisfitReason,
}

/// Why a column cannot hold a value.
#[derive(Debug, Clone)]
enum MisfitReason {
    /// The value has another type. `None` if its place in the column is unknown.
    OtherType(Option<MisfitValue>),
    /// With the value, the object of rescued values, or else the text that is read back, has this number of bytes.
    /// Readers do not accept it.
    TooLong { is_rescued: bool, bytes: usize },
}

impl MisfitPlace {
    /// Returns the error of the value.
    pub(crate) fn explain(self, batch: &RecordBatch) -> Error {
        const SHOWN: usize = 80;
        let text = |place: usize| {
            let texts = batch.columns().get(place).and_then(|array| array.as_string_opt::<i32>());
            texts.filter(|texts| texts.is_valid(self.row)).map(|texts| texts.value(self.row))
        };
        let schema = batch.schema();
        let id = schema.index_of(Column::Id.name()).ok().and_then(text).map(str::to_owned);
        let column = schema.field(self.column).name().clone();
        let row = self.rows_before.map(|before| before + self.row as u64 + 1);
        let value = match self.reason {
            MisfitReason::OtherType(value) => value,
            MisfitReason::TooLong { is_rescued, bytes } => {
                let limit = LONGEST;
                return Box::new(NestingError::TooLong {
                    row,
                    id,
                    column,
                    is_rescued,
                    bytes,
                    limit,
                })
                .into();
            }
        };
        let whole = text(self.column).unwrap_or_default();
        let found = value.unwrap_or_else(|| MisfitValue {
            path: NestPath::of_column(&column).to_string(),
            text: whole.to_owned(),
            expected: Some("another type"),
        });
        // Backticks mark options.
        let mut value = harmless(&found.text, SHOWN).replace('`', "'");
        if found.text.chars().nth(SHOWN).is_some() {
            value.push('…');
        }
        let (path, expected) = (found.path, found.expected.map(str::to_owned));
        Error::Misfit { row, id, path, value, expected }
    }
}

/// Turns batches of JSON text into batches with nested columns.
pub(crate) struct NestedEncoder {
    schema: SchemaRef,
    /// For each column its builder, if it is nested and not text.
    columns: Vec<Option<(NestedType, NestedBuilder)>>,
    rescues: bool,
    is_strict: bool,
    /// Number of rows before the next batch, if the batches are those of one table.
    rows_before: Option<u64>,
}

/// Largest memory of the nested columns of a batch, in bytes: 8 MiB. A short text can take much more memory than its own
/// size, such as `[{},{}]` where objects have hundreds of members.
const BATCH_BYTES: usize = 8 << 20;

/// A batch with nested columns.
pub(crate) struct EncodedBatch {
    pub(super) nested: RecordBatch,
    /// The same rows with JSON text.
    pub(super) text: RecordBatch,
    /// The batch as it is read back.
    pub(super) read_back: RecordBatch,
    /// Number of rows with values that did not fit, and the paths of these values.
    pub(super) rescued: (u64, RescuedPaths),
}

impl NestedEncoder {
    /// `rescues` says whether values that do not fit go to a column of their own, which is the last one.
    pub(crate) fn new<'a>(
        output: impl Iterator<Item = &'a OutputColumn>,
        types: &[NestedField],
        rescues: bool,
    ) -> Self {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for column in output {
            let own = types.iter().find(|it| it.name == column.name());
            fields.push(own.map_or_else(|| column.field(), NestedField::field));
            let kind = own.map(|own| &own.kind).filter(|kind| !kind.is_text());
            columns.push(kind.map(|kind| (kind.clone(), NestedBuilder::new(kind))));
        }
        fields.extend(rescues.then(|| NestedField::rescued().field()));
        let schema = Arc::new(Schema::new(fields));
        Self { schema, columns, rescues, is_strict: !rescues, rows_before: Some(0) }
    }

    /// Rescues nothing, although there is a column for it: the types hold every value.
    pub(crate) fn strict(self) -> Self {
        Self { is_strict: true, ..self }
    }

    /// Sets the number of rows before the first batch; `None` if the batches are those of several tables.
    pub(crate) fn after(self, rows_before: Option<u64>) -> Self {
        Self { rows_before, ..self }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Encodes rows of a batch, from the one with the index `first`. Returns them as a nested batch, and as they are read
    /// back. These are all rows from there, unless their columns take too much memory. Or returns the first value that
    /// has another type than its column and is not rescued.
    pub(crate) fn encode(
        &mut self,
        batch: &RecordBatch,
        first: usize,
    ) -> Result<std::result::Result<EncodedBatch, MisfitPlace>> {
        let failed = |error| Error::Internal(format!("nested columns: {error}"));
        let (schema, mut rows) = (batch.schema(), batch.num_rows() - first);
        let mut rescue = None;
        let most = BATCH_BYTES / self.columns.iter().flatten().count().max(1);
        let mut typed = Vec::with_capacity(self.columns.len());
        for (column, (array, own)) in batch.columns().iter().zip(&mut self.columns).enumerate() {
            let Some((kind, builder)) = own else {
                typed.push(None);
                continue;
            };
            let texts = array.as_string_opt::<i32>().ok_or_else(|| unlike("JSON"))?;
            let texts = texts.slice(first, rows);
            rows = match fill(builder, &texts, most) {
                Ok(filled) => filled,
                Err(row) if self.is_strict => {
                    let text = if texts.is_valid(row) { texts.value(row) } else { "null" };
                    let value = MisfitValue::first((schema.field(column).name(), kind), text);
                    // Those of this batch are among them.
                    let rows_before = self.rows_before.map(|before| before - first as u64);
                    let (row, reason) = (first + row, MisfitReason::OtherType(value));
                    return Ok(Err(MisfitPlace { row, column, rows_before, reason }));
                }
                Err(_) => {
                    // Misfits are rare, so only batches with one are read twice.
                    *builder = NestedBuilder::new(kind);
                    let rescue = rescue.get_or_insert_with(|| Rescue::new(rows));
                    let name = schema.field(column).name();
                    let filled = push_fitting(builder, (name, kind), &texts, (rescue, most))?;
                    if let Some((row, bytes)) = rescue.too_long {
                        let rows_before = self.rows_before.map(|before| before - first as u64);
                        let reason = MisfitReason::TooLong { is_rescued: true, bytes };
                        let row = first + row;
                        return Ok(Err(MisfitPlace { row, column, rows_before, reason }));
                    }
                    filled
                }
            };
            typed.push(Some((&*kind, builder.finish().map_err(failed)?)));
        }
        let batch = batch.slice(first, rows);
        let (mut nested, mut read_back) = (Vec::new(), Vec::new());
        for (array, typed) in batch.columns().iter().zip(typed) {
            let Some((kind, typed)) = typed else {
                nested.push(array.clone());
                read_back.push(array.clone());
                continue;
            };
            // A later column can have ended the batch earlier.
            let typed = typed.slice(0, rows);
            read_back.push(texts_of(kind, &typed)?);
            nested.push(typed);
        }
        let (mut count, mut paths) = (0, RescuedPaths::default());
        if self.rescues {
            let none = || StringArray::new_null(rows);
            let objects = rescue.as_ref().map_or_else(none, |it| it.objects().take(rows).collect());
            count = (objects.len() - objects.null_count()) as u64;
            if count > 0 {
                self.restore(&batch, &objects, &mut read_back)?;
            }
            paths = rescue.map(|rescue| rescue.paths).unwrap_or_default();
            nested.push(Arc::new(objects));
        }
        if let Some((column, row, bytes)) = first_too_long(&batch, &read_back) {
            let rows_before = self.rows_before.map(|before| before - first as u64);
            let (row, reason) = (first + row, MisfitReason::TooLong { is_rescued: false, bytes });
            return Ok(Err(MisfitPlace { row, column, rows_before, reason }));
        }
        let nested = RecordBatch::try_new(self.schema.clone(), nested).map_err(failed)?;
        let read_back = RecordBatch::try_new(schema, read_back).map_err(failed)?;
        if let Some(before) = &mut self.rows_before {
            *before += nested.num_rows() as u64;
        }
        Ok(Ok(EncodedBatch { nested, text: batch, read_back, rescued: (count, paths) }))
    }

    /// Puts the rescued values back into the texts of their columns, as a reader does.
    fn restore(
        &self,
        batch: &RecordBatch,
        objects: &StringArray,
        read_back: &mut [ArrayRef],
    ) -> Result<()> {
        let wrong = |_| unlike("rescued");
        let rows = objects.iter().map(|object| object.map(RescuedRow::parse).transpose());
        let mut rows = rows.collect::<std::result::Result<Vec<_>, _>>().map_err(wrong)?;
        let schema = batch.schema();
        for ((field, array), own) in schema.fields().iter().zip(read_back).zip(&self.columns) {
            if own.is_none() {
                continue;
            }
            let texts = array.as_string_opt::<i32>().ok_or_else(|| unlike("JSON"))?;
            let mut restored = StringBuilder::new();
            for (text, row) in texts.iter().zip(&mut rows) {
                match row {
                    Some(row) => {
                        restored.append_option(row.restore(field.name(), text).map_err(wrong)?);
                    }
                    None => restored.append_option(text),
                }
            }
            *array = Arc::new(restored.finish());
        }
        match rows.iter().flatten().all(RescuedRow::is_empty) {
            true => Ok(()),
            false => Err(unlike("rescued")),
        }
    }
}

impl EncodedBatch {
    /// Returns the number of its rows.
    pub(crate) fn rows(&self) -> usize {
        self.nested.num_rows()
    }
}

/// Adds values of a column, until they take `most` bytes. Returns the number of values; or, if a value does not fit, its
/// index.
fn fill(
    builder: &mut NestedBuilder,
    texts: &StringArray,
    most: usize,
) -> std::result::Result<usize, usize> {
    let mut bytes = 0;
    for (row, text) in texts.iter().enumerate() {
        bytes += builder.push(text).map_err(|Misfit| row)?;
        if bytes >= most {
            return Ok(row + 1);
        }
    }
    Ok(texts.len())
}

/// Adds values of a column like [`fill`], reduced to what fits. Returns their number.
fn push_fitting(
    builder: &mut NestedBuilder,
    column: (&str, &NestedType),
    texts: &StringArray,
    (rescue, most): (&mut Rescue, usize),
) -> Result<usize> {
    let mut bytes = 0;
    for (row, text) in texts.iter().enumerate() {
        let fitting = text.map(|text| rescue.fitting(column, row, text)).transpose();
        let fitting = fitting.map_err(|_| unlike("JSON"))?;
        bytes += builder.push(fitting.as_deref()).map_err(|Misfit| unlike("fitting"))?;
        if bytes >= most {
            return Ok(row + 1);
        }
    }
    Ok(texts.len())
}

/// Finds the first value whose text is longer when it is read back, and longer than readers accept. Returns its column,
/// its row and its length.
fn first_too_long(batch: &RecordBatch, read_back: &[ArrayRef]) -> Option<(usize, usize, usize)> {
    let columns = batch.columns().iter().zip(read_back).enumerate();
    let mut found = columns.filter_map(|(column, (texts, read_back))| {
        let (texts, read_back) = (texts.as_string_opt::<i32>()?, read_back.as_string_opt::<i32>()?);
        // Most batches are shorter than the limit as a whole.
        let is_short = read_back.value_data().len() <= LONGEST;
        let mut rows = (0..read_back.len()).filter(|_| !is_short);
        let length = |texts: &StringArray, row| texts.value_length(row) as usize;
        let row = rows.find(|row| length(read_back, *row) > LONGEST.max(length(texts, *row)))?;
        Some((column, row, length(read_back, row)))
    });
    found.next()
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
