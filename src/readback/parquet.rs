//! Reads Parquet files by row groups, a few rows at a time.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader},
        parquet_to_arrow_field_levels,
    },
    basic::Compression,
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader},
        reader::{ChunkReader, Length},
    },
};

use super::{
    ColumnChoice, FileBatches, FileChecksum, ReadOptions, Reader, check_footer,
    checked_pages::CheckedGroup,
    damaged,
    footer::schema_of,
    guarded,
    pages::page_sizes,
    shared::SharedFile,
    units::{CheckedUnit, ReadUnits, UnitBatches},
    window::{ReadWindow, WindowColumns},
};
use crate::{
    error::Result,
    location::{Location, Opened},
    record::facts::Facts,
    sink::{CHECKSUM_KEY, METADATA_KEY, find_checksum, footer_bytes},
};

/// The last bytes: the length of the metadata and the magic bytes.
const TAIL: usize = 8;

pub(super) fn open(path: &Location, file: Opened, options: &ReadOptions) -> Result<Reader> {
    let file = SharedFile::new(file);
    let failed = |error: ParquetError| file.error(path, error.into());
    // An Arrow schema of another writer could change the types of the decoded columns.
    let how = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let end = footer(path, &file)?;
    let metadata = guarded(path, || {
        let metadata = decode(path, &end)?;
        ArrowReaderMetadata::try_new(Arc::new(metadata), how.clone()).map_err(failed)
    })?;
    let found = metadata.schema().clone();
    let described = metadata.metadata().file_metadata();
    let rows = u64::try_from(described.num_rows()).ok();
    let pairs = || described.key_value_metadata().into_iter().flatten();
    let value = |key: &str| pairs().find(|pair| pair.key == key)?.value.clone();
    let facts = value(METADATA_KEY).map(|json| Facts::parse(&json, path)).transpose()?;
    let computed = facts.as_ref().map(Facts::computed).unwrap_or_default();
    let typed = facts.as_ref().and_then(|facts| facts.nested.as_deref());
    let columns = ColumnChoice::of(&found, options, &computed, typed);
    let checksum = value(CHECKSUM_KEY).or_else(|| find_checksum(&end));
    let checksum = checksum.map(|value| FileChecksum { value, footer: end.len() as u64 });
    let writer = described.created_by().map(str::to_owned);
    let schema = columns.schema.clone();
    // Decode texts as views into the page, so that only requested values are copied.
    let is_typed = |index| {
        let place = columns.indices.iter().position(|it| *it == index);
        place.is_some_and(|place| columns.nested[place].is_some())
    };
    let as_decoded = |(index, field): (usize, &Arc<Field>)| {
        if is_typed(index) { field.clone() } else { as_view(field) }
    };
    let views = found.fields().iter().enumerate().map(as_decoded).collect::<Vec<_>>();
    let views = Arc::new(Schema::new(views));
    let parquet_metadata = metadata.metadata().clone();
    let metadata = guarded(path, || {
        ArrowReaderMetadata::try_new(parquet_metadata, how.with_schema(views)).map_err(failed)
    })?;
    let units = Arc::new(Groups {
        path: path.clone(),
        file,
        metadata,
        columns: WindowColumns::of(&columns),
        roots: columns.indices.clone(),
        options: options.clone(),
        rows: rows.unwrap_or_default(),
    });
    Ok(Reader {
        facts,
        computed,
        checksum,
        writer,
        schema: Some(schema),
        foreign: columns.foreign,
        rescues: columns.rescued.is_some(),
        rows,
        batches: FileBatches::Units(units),
    })
}

/// The end of a file: its metadata, their length and the magic bytes.
pub(super) fn footer(path: &Location, file: &SharedFile) -> Result<Bytes> {
    let failed = |error: ParquetError| file.error(path, error.into());
    let tail = |length: usize| {
        let start = file.len().checked_sub(length as u64);
        let start = start.ok_or_else(|| damaged(path, "it is too short".into()))?;
        file.get_bytes(start, length).map_err(failed)
    };
    let length = footer_bytes(&tail(TAIL)?);
    let length =
        length.ok_or_else(|| damaged(path, "it does not end as a Parquet file does".into()))?;
    check_footer(path, length as u64)?;
    tail(length)
}

/// Decodes a footer. The schema is checked first and passed to the library apart from the footer, where the library
/// skips it.
pub(super) fn decode(path: &Location, footer: &[u8]) -> Result<ParquetMetaData> {
    let failed = |error: ParquetError| damaged(path, error.into());
    let footer = footer.get(..footer.len().saturating_sub(TAIL)).unwrap_or_default();
    let schema =
        schema_of(footer).map_err(|why| damaged(path, format!("its footer {why}").into()))?;
    let schema = ParquetMetaDataReader::decode_schema(&schema).map_err(failed)?;
    let options = ParquetMetaDataOptions::new().with_schema(schema);
    ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options)).map_err(failed)
}

fn as_view(field: &Arc<Field>) -> Arc<Field> {
    match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => field.clone(),
    }
}

/// A file by row groups.
struct Groups {
    path: Location,
    file: SharedFile,
    metadata: ArrowReaderMetadata,
    columns: WindowColumns,
    /// The columns to decode, as positions in the file's schema.
    roots: Vec<usize>,
    options: ReadOptions,
    /// Number of rows, according to the footer.
    rows: u64,
}

impl ReadUnits for Groups {
    fn path(&self) -> &Location {
        &self.path
    }

    fn count(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn at_once(&self) -> usize {
        self.file.at_once()
    }

    /// Checks that the pages of the row group fit into memory.
    fn check(&self, unit: usize) -> Result<CheckedUnit> {
        let metadata = self.metadata.metadata();
        let is_wanted = |root| self.roots.contains(&root);
        check_pages(&self.path, &self.file, (metadata, unit), is_wanted, &self.options)
    }

    fn batches(self: Arc<Self>, unit: usize, checked: CheckedUnit) -> Result<UnitBatches> {
        let failed = |error: ParquetError| self.file.error(&self.path, error.into());
        let metadata = self.metadata.metadata();
        let descriptor = metadata.file_metadata().schema_descr();
        let roots = self.roots.iter().copied();
        let mask = ProjectionMask::roots(descriptor, roots);
        let fields = Some(self.metadata.schema().fields());
        let levels = parquet_to_arrow_field_levels(descriptor, mask, fields).map_err(failed)?;
        let group = CheckedGroup::new(&self.file, metadata, unit);
        let rows = checked.rows.min(super::window::BATCH_ROWS);
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, &group, rows, None)
            .map_err(failed)?;
        Ok(Box::new(GroupBatches { groups: self, reader, window: None }))
    }
}

/// Iterator over the batches of a row group.
struct GroupBatches {
    groups: Arc<Groups>,
    reader: ParquetRecordBatchReader,
    window: Option<ReadWindow>,
}

impl GroupBatches {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let Groups { path, file, columns, options, .. } = &*self.groups;
        loop {
            if let Some(window) = &mut self.window
                && let Some(batch) = window.next(path, options)?
            {
                return Ok(Some(batch));
            }
            self.window = None;
            let Some(decoded) = self.reader.next() else { return Ok(None) };
            let decoded = decoded.map_err(|error| file.error(path, error.into()))?;
            self.window = Some(ReadWindow::new(columns.clone(), &decoded));
        }
    }
}

impl Iterator for GroupBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

/// Checks that the pages of a row group fit into memory.
///
/// `is_wanted` says by its position whether a column of the schema will be decoded.
pub(super) fn check_pages(
    path: &Location,
    file: &SharedFile,
    (metadata, index): (&ParquetMetaData, usize),
    is_wanted: impl Fn(usize) -> bool,
    options: &ReadOptions,
) -> Result<CheckedUnit> {
    let failed = |error: ParquetError| file.error(path, error.into());
    let descriptor = metadata.file_metadata().schema_descr();
    let (mut bytes, mut rows) = (0, usize::MAX);
    for (leaf, chunk) in metadata.row_group(index).columns().iter().enumerate() {
        if !is_wanted(descriptor.get_column_root_idx(leaf)) {
            continue;
        }
        let codec = chunk.compression();
        // Only the decoder of this codec can return more bytes than the page header declares.
        if matches!(codec, Compression::LZ4) {
            let why = "it uses the codec LZ4 with Hadoop framing, which is not supported";
            return Err(damaged(path, why.into()));
        }
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let (Ok(start), Ok(length)) =
            (u64::try_from(start), u64::try_from(chunk.compressed_size()))
        else {
            return Err(damaged(path, "a column has a negative offset or size".into()));
        };
        if start.checked_add(length).is_none_or(|end| end > file.len()) {
            return Err(damaged(path, "a column ends after the end of the file".into()));
        }
        let pages = page_sizes(file, start, length).map_err(failed)?;
        if descriptor.column(leaf).max_rep_level() > 0 {
            // A row can have any number of values, and span pages.
            bytes = pages.whole.saturating_add(bytes);
        } else {
            bytes = pages.bytes.saturating_add(bytes);
            rows = rows.min(pages.rows);
        }
    }
    options.check_unit(path, "the pages of a row group have", bytes)?;
    Ok(CheckedUnit { bytes, rows })
}
