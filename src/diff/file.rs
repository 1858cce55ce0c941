//! Writes differences to a file, one row each. The file is published like an export: completely or not at all.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, builder::StringBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::{Diff, Difference, DifferenceRow};
use crate::{
    destination::{Destination, PartFile},
    error::{Error, Result},
    location::{StorageOptions, Target},
    nested::HOLDS_JSON,
    output,
    sink::Sink,
};

/// A batch ends after this many rows or this many bytes of values, so that memory is bounded.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;

/// For each column: its name, whether it contains JSON, whether it is nullable.
const COLUMNS: [(&str, bool, bool); 7] = [
    ("kind", false, false),
    ("key", false, true),
    ("before_id", false, true),
    ("after_id", false, true),
    ("columns", true, true),
    ("before", true, true),
    ("after", true, true),
];

/// A writer for a file of differences.
///
/// The extension selects Parquet, Arrow IPC, JSON Lines or CSV; `-` is JSON Lines on standard output.
///
/// | column | |
/// |---|---|
/// | `kind` | `added`, `removed` or `changed` |
/// | `key` | the id, the order in decimal, or the JSON text of the input; null for a row without a key |
/// | `before_id`, `after_id` | the row's id in the first and in the second export |
/// | `columns` | JSON: for a changed row, an array with the names of the columns that differ |
/// | `before`, `after` | JSON: an object of the row's columns; for a changed row, only the columns that differ |
///
/// All columns are strings, and all except `kind` can be null. In JSON Lines, the JSON columns contain the JSON
/// values themselves.
///
/// ```
/// use overmind_export::{DiffFile, DiffOptions, StorageOptions, diff};
///
/// # let folder = tempfile::tempdir()?;
/// # let (old, new) = (folder.path().join("old.jsonl"), folder.path().join("new.jsonl"));
/// # std::fs::write(&old, "{\"id\":\"a\",\"order\":1}\n")?;
/// # std::fs::write(&new, "{\"id\":\"a\",\"order\":2}\n")?;
/// # let path = folder.path().join("diff.jsonl");
/// let mut file = DiffFile::create(&path, false, &StorageOptions::default())?;
/// diff(&old.into(), &new.into(), DiffOptions::default())?.differences(None, |it| file.push(&it))?;
/// assert_eq!(file.publish()?, 1);
/// assert_eq!(
///     std::fs::read_to_string(&path)?,
///     r#"{"kind":"changed","key":"a","before_id":"a","after_id":"a","columns":["order"],"#.to_owned()
///         + "\"before\":{\"order\":1},\"after\":{\"order\":2}}\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DiffFile {
    /// `None` after publication.
    target: Option<Destination>,
    file: PartFile,
    sink: Option<Box<dyn Sink>>,
    batch: Batch,
}

impl DiffFile {
    /// Creates a staged file that [`publish`](Self::publish) makes visible as `output`, a path or an object's URL.
    ///
    /// With `overwrite`, it replaces an existing file.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `output` has no known extension or is a directory. [`Error::Output`] when it exists
    /// already or cannot be created. [`Error::Locked`] when another run is writing it.
    pub fn create(output: &Path, overwrite: bool, storage: &StorageOptions) -> Result<Self> {
        let target = output::target(output, storage)?;
        let encoding = output::encoding(&target, None, None)?;
        if let Target::Directory(location) = &target {
            let why = "differences are written to one file: use a name that ends in .parquet, \
                       .arrow, .jsonl or .csv, or - for standard output";
            return Err(Error::invalid("output", location.to_string(), why));
        }
        let batch = Batch::new();
        let mut destination = Destination::open_file(&target, overwrite)?;
        let file = destination.create(0, encoding.extension())?;
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().min(4));
        let sink = match target {
            Target::Stdout => encoding.streaming_sink(batch.schema.clone(), file.writer()),
            _ => encoding.sink(batch.schema.clone(), file.writer(), threads),
        };
        let sink = Some(sink.map_err(|error| file.failure().unwrap_or(error))?);
        Ok(Self { target: Some(destination), file, sink, batch })
    }

    /// Adds a row. Memory does not grow with the number of rows.
    ///
    /// # Errors
    /// Every error that prevents writing this row or an earlier row.
    pub fn push(&mut self, difference: &Difference) -> Result<()> {
        self.batch.push(difference)?;
        if self.batch.is_full() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let batch = self.batch.finish()?;
        sink.write(batch).map_err(|error| self.file.failure().unwrap_or(error))
    }

    /// Publishes the complete file in one step and returns the number of its rows.
    ///
    /// # Errors
    /// Every error that prevents completing or publishing the file. Nothing is published then, except after
    /// [`Error::NotDurable`] and [`Error::Replaced`].
    pub fn publish(mut self) -> Result<u64> {
        self.flush()?;
        let Some(sink) = self.sink.take() else { return Ok(0) };
        // The metadata does not name the compared exports: the same differences give the same bytes.
        let written = sink.finish(None).map_err(|error| self.file.failure().unwrap_or(error))?;
        self.file.close()?;
        if let Some(target) = self.target.take() {
            target.publish_file()?;
        }
        Ok(written.rows)
    }
}

impl fmt::Debug for DiffFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiffFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Drop for DiffFile {
    /// Removes the staged file if it was not published.
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.abort();
        }
        if let Some(target) = self.target.take() {
            target.abandon();
        }
    }
}

#[derive(Debug)]
struct Batch {
    schema: SchemaRef,
    builders: [StringBuilder; COLUMNS.len()],
    rows: usize,
    bytes: usize,
}

impl Batch {
    fn new() -> Self {
        let field = |(name, json, nullable): (&str, bool, bool)| {
            let field = Field::new(name, DataType::Utf8, nullable);
            let json = json.then(|| (HOLDS_JSON.to_owned(), "true".to_owned()));
            field.with_metadata(json.into_iter().collect::<HashMap<_, _>>())
        };
        let schema = Arc::new(Schema::new(COLUMNS.map(field).to_vec()));
        Self { schema, builders: Default::default(), rows: 0, bytes: 0 }
    }

    fn push(&mut self, difference: &Difference) -> Result<()> {
        let Difference { kind, key, before, after } = difference;
        let names = match (before, after) {
            (Some(row), Some(_)) => {
                let names: Vec<_> = row.values.iter().map(|(column, _)| column.name()).collect();
                let names = serde_json::to_string(&names);
                Some(names.map_err(|error| Error::Internal(format!("column names: {error}")))?)
            }
            _ => None,
        };
        let id = |row: &Option<DifferenceRow>| row.as_ref().and_then(|row| row.id.clone());
        let values = [
            Some(kind.to_string()),
            key.clone(),
            id(before),
            id(after),
            names,
            before.as_ref().map(object),
            after.as_ref().map(object),
        ];
        for (builder, value) in self.builders.iter_mut().zip(values) {
            self.bytes += value.as_ref().map_or(0, String::len);
            builder.append_option(value);
        }
        self.rows += 1;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        (self.rows, self.bytes) = (0, 0);
        let arrays = self.builders.iter_mut().map(|it| Arc::new(it.finish()) as ArrayRef);
        RecordBatch::try_new(self.schema.clone(), arrays.collect())
            .map_err(|error| Error::Internal(format!("record batch: {error}")))
    }
}

/// Returns the row's values as one JSON object. Each value is copied token for token.
fn object(row: &DifferenceRow) -> String {
    let mut text = String::from("{");
    for (index, (column, value)) in row.values.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        text.push_str(comma);
        text.push('"');
        text.push_str(column.name());
        text.push_str("\":");
        text.push_str(value);
    }
    text.push('}');
    text
}

impl Diff {
    /// Writes all differences to a file, publishes it and returns the number of differences. See [`DiffFile`] for
    /// the columns.
    ///
    /// # Errors
    /// The same errors as [`differences`](Self::differences), [`DiffFile::push`] and [`DiffFile::publish`].
    pub fn write(self, mut file: DiffFile) -> Result<u64> {
        self.differences(None, |difference| file.push(&difference))?;
        file.publish()
    }
}
