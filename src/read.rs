//! The files of an export back into batches, in the order they were written; never writes.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{Int64Builder, StringBuilder},
};
use arrow_ipc::reader::FileReader;
use arrow_schema::SchemaRef;
use flate2::read::MultiGzDecoder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    batch::{Column, schema},
    error::{Cause, Error, Result},
    facts::Facts,
    location::{Location, Opened},
    sink::{Compression, Encoding, Format, METADATA_KEY},
};

/// Rows in a batch: few, because a row can be megabytes.
const BATCH_ROWS: usize = 1000;

/// Batches of a file, and what the file says about itself.
pub(crate) struct Reader {
    /// What the file's own metadata says; JSON Lines have none.
    pub(crate) facts: Option<Facts>,
    /// Its columns, rows or not; JSON Lines name them in their rows.
    pub(crate) schema: Option<SchemaRef>,
    /// Its rows, where they need not be read to be counted.
    pub(crate) rows: Option<u64>,
    pub(crate) batches: Box<dyn Iterator<Item = Result<RecordBatch>>>,
}

/// Whether an export is a single file rather than a directory of parts. In a store, where a prefix is
/// nothing by itself, the name decides, as it does when it is written.
pub(crate) fn is_single_file(location: &Location) -> Result<bool> {
    match location.as_local() {
        Some(path) => Ok(!std::fs::metadata(path).map_err(Error::io("read", path))?.is_dir()),
        None => {
            let directory = location.to_string().ends_with('/');
            Ok(!directory && Encoding::of_path(Path::new(&location.name())).is_some())
        }
    }
}

/// Opens a file of an export, by its extension.
pub(crate) fn open(path: &Location) -> Result<Reader> {
    let Some(encoding) = Encoding::of_path(Path::new(&path.name())) else {
        return Err(damaged(path, "its extension is none that an export has".into()));
    };
    let file = path.open()?;
    match encoding.format() {
        Format::Parquet => parquet(path, file),
        Format::Arrow => arrow(path, file),
        Format::JsonLines => json_lines(path, file, encoding.compression()),
    }
}

fn parquet(path: &Location, file: Opened) -> Result<Reader> {
    let wrong = |error: parquet::errors::ParquetError| damaged(path, error.into());
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(wrong)?;
    let schema = Some(metadata.schema().clone());
    let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).ok();
    let pairs = metadata.metadata().file_metadata().key_value_metadata();
    let facts = pairs.into_iter().flatten().find(|pair| pair.key == METADATA_KEY);
    let facts = facts.and_then(|pair| pair.value.as_deref());
    let facts = facts.map(|json| parse_facts(path, json)).transpose()?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(wrong)?;
    let path = path.clone();
    let batches = reader.map(move |batch| batch.map_err(|error| damaged(&path, error.into())));
    Ok(Reader { facts, schema, rows, batches: Box::new(batches) })
}

fn arrow(path: &Location, file: Opened) -> Result<Reader> {
    let reader =
        FileReader::try_new_buffered(file, None).map_err(|error| damaged(path, error.into()))?;
    let schema = Some(reader.schema());
    let facts = reader.custom_metadata().get(METADATA_KEY);
    let facts = facts.map(|json| parse_facts(path, json)).transpose()?;
    let path = path.clone();
    let batches = reader.map(move |batch| batch.map_err(|error| damaged(&path, error.into())));
    Ok(Reader { facts, schema, rows: None, batches: Box::new(batches) })
}

fn json_lines(path: &Location, file: Opened, compression: Compression) -> Result<Reader> {
    let mut lines = text(path, file, compression)?;
    let path = path.clone();
    let mut columns = None;
    let batches =
        std::iter::from_fn(move || read_lines(&path, &mut lines, &mut columns).transpose());
    Ok(Reader { facts: None, schema: None, rows: None, batches: Box::new(batches) })
}

type Lines = BufReader<Box<dyn Read>>;

fn text(path: &Location, file: Opened, compression: Compression) -> Result<Lines> {
    let input: Box<dyn Read> = match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd(_) => {
            Box::new(zstd::Decoder::new(file).map_err(Error::io("read", path.to_path()))?)
        }
        _ => Box::new(file),
    };
    Ok(BufReader::with_capacity(1 << 18, input))
}

/// Counts the rows of JSON Lines without looking into them; none for other formats. An error of
/// `go_on` ends it.
pub(crate) fn count_lines(path: &Location, go_on: impl Fn() -> Result<()>) -> Result<Option<u64>> {
    let encoding = Encoding::of_path(Path::new(&path.name()));
    let encoding = encoding.filter(|it| it.format() == Format::JsonLines);
    let Some(encoding) = encoding else { return Ok(None) };
    let mut lines = text(path, path.open()?, encoding.compression())?;
    let (mut count, mut open) = (0, false);
    loop {
        go_on()?;
        let bytes = lines.fill_buf().map_err(|error| damaged(path, error.into()))?;
        let Some(last) = bytes.last() else { return Ok(Some(count + u64::from(open))) };
        open = *last != b'\n';
        count += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        lines.consume(length);
    }
}

/// A line of an export as JSON Lines; a column that was left out is missing in every line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    order: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    input: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    expected_output: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    persona: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    tags: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    additional_properties: Option<&'a RawValue>,
}

/// Keeps an explicit null apart from a missing field.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

impl<'a> Line<'a> {
    fn get(&self, column: Column) -> Option<&'a RawValue> {
        match column {
            Column::Id => self.id,
            Column::Order => self.order,
            Column::Input => self.input,
            Column::ExpectedOutput => self.expected_output,
            Column::Persona => self.persona,
            Column::Tags => self.tags,
            Column::AdditionalProperties => self.additional_properties,
        }
    }
}

enum Builder {
    Integers(Int64Builder),
    Json(StringBuilder),
    Text(StringBuilder),
}

impl Builder {
    fn new(column: Column) -> Self {
        match column {
            Column::Order => Self::Integers(Int64Builder::new()),
            Column::Id | Column::Persona => Self::Text(StringBuilder::new()),
            _ => Self::Json(StringBuilder::new()),
        }
    }

    fn push(&mut self, value: Option<&RawValue>) -> serde_json::Result<()> {
        let value = value.map(RawValue::get).filter(|text| *text != "null");
        match self {
            Self::Integers(builder) => {
                builder.append_option(value.map(serde_json::from_str).transpose()?);
            }
            Self::Text(builder) => {
                builder.append_option(value.map(serde_json::from_str::<String>).transpose()?);
            }
            Self::Json(builder) => builder.append_option(value),
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Integers(mut builder) => Arc::new(builder.finish()),
            Self::Json(mut builder) | Self::Text(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// The next batch; `columns` are those of the first line, which all others must have.
fn read_lines(
    path: &Location,
    lines: &mut impl BufRead,
    columns: &mut Option<Vec<Column>>,
) -> Result<Option<RecordBatch>> {
    let wrong = |error: Cause| damaged(path, error);
    let mut builders: Vec<(Column, Builder)> = Vec::new();
    let mut text = String::new();
    for _ in 0..BATCH_ROWS {
        text.clear();
        if lines.read_line(&mut text).map_err(|error| wrong(error.into()))? == 0 {
            break;
        }
        let line: Line<'_> = serde_json::from_str(&text).map_err(|error| wrong(error.into()))?;
        let present = || Column::ALL.into_iter().filter(|column| line.get(*column).is_some());
        let columns = columns.get_or_insert_with(|| present().collect());
        if columns.is_empty() {
            return Err(wrong("a line has no column".into()));
        }
        if !present().eq(columns.iter().copied()) {
            return Err(wrong("its lines do not all have the same columns".into()));
        }
        if builders.is_empty() {
            builders.extend(columns.iter().map(|column| (*column, Builder::new(*column))));
        }
        for (column, builder) in &mut builders {
            builder.push(line.get(*column)).map_err(|error| wrong(error.into()))?;
        }
    }
    let columns: Vec<Column> = builders.iter().map(|(column, _)| *column).collect();
    if columns.is_empty() {
        return Ok(None);
    }
    let arrays = builders.into_iter().map(|(_, builder)| builder.finish()).collect();
    let batch = RecordBatch::try_new(schema(&columns), arrays);
    batch.map(Some).map_err(|error| wrong(error.into()))
}

fn parse_facts(path: &Location, json: &str) -> Result<Facts> {
    serde_json::from_str(json).map_err(|error| damaged(path, error.into()))
}

fn damaged(path: &Location, cause: Cause) -> Error {
    Error::Damaged { path: path.to_path(), why: format!("it cannot be read: {cause}") }
}
