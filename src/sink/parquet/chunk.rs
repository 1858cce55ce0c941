//! Builds the column chunks of a row group. A chunk takes values and submits full pages to the pool. When all
//! pages are compressed, it is appended to the row group. This module never compresses: the pool does.
//!
//! The columns `id`, `input` and `expected_output` have long texts that seldom repeat. The pool encodes and
//! compresses their pages. The other columns use the column writer of the `parquet` crate, which supports
//! dictionaries. This writer finishes a page before the page is compressed, so it records neither sizes nor
//! offsets. [`placed`] adds them when they are known.
//!
//! The content of a text page depends only on the values. The pages of the other columns also depend on the
//! batches.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow_array::{
    Array, ArrayRef, PrimitiveArray, StringArray,
    cast::AsArray,
    types::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMicrosecondType},
};
use bytes::Bytes;
use parquet::{
    basic::{Compression as Codec, Encoding, EncodingMask, PageType},
    column::{
        page::{CompressedPage, Page, PageWriteSpec, PageWriter},
        writer::{ColumnCloseResult, ColumnWriter, get_column_writer},
    },
    data_type::ByteArray,
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ColumnChunkMetaData, PageEncodingStats},
        page_index::offset_index::{OffsetIndexMetaData, PageLocation},
        properties::WriterPropertiesPtr,
        statistics::{Statistics, ValueStatistics},
        writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

use super::{
    Layout,
    codec::{Content, Encoded, Workspace},
    failed,
    nested::{ClosedNested, NestedChunks},
    text::TextRows,
};
use crate::{
    batch::Column,
    error::Result,
    sink::{
        Compression, ParquetEncoding,
        checksum::Sealing,
        pool::{Pool, PoolTicket},
    },
};

/// Estimated size of a page header with statistics, in bytes. If it is too small, the buffer grows, which costs a
/// copy of the chunk.
const PAGE_HEADER_BYTES: usize = 256;

/// The chunk of one column in the open row group.
pub(super) enum OpenChunk {
    Text(TextChunk),
    Other(Box<OtherChunk>),
    /// All chunks of a nested column.
    Nested(NestedChunks),
}

/// A column of long texts without a dictionary.
pub(super) struct TextChunk {
    column: ColumnDescPtr,
    layout: Layout,
    content: Content,
    open: TextRows,
    /// The index of the first row of each page, including the open page.
    first_rows: Vec<usize>,
    nulls: usize,
    pages: Vec<Pending>,
}

/// A column of small or repeated values, written by the column writer of the `parquet` crate.
pub(super) struct OtherChunk {
    writer: ColumnWriter<'static>,
    nullable: bool,
    compression: Compression,
    laid_out: EncodedPages,
    pages: Vec<Pending>,
}

/// A complete chunk, or all of a nested column. The pool may still be compressing its pages.
pub(super) enum ClosedChunk {
    Pages(Box<ClosedPages>),
    Nested(ClosedNested),
}

/// The pages of a complete chunk.
pub(super) struct ClosedPages {
    pages: Vec<Pending>,
    result: ColumnCloseResult,
}

/// A page that was submitted to the pool.
struct Pending {
    page: Page,
    encoded: PoolTicket<Encoded>,
}

/// Uncompressed pages of the column writer that have not been submitted to the pool yet.
#[derive(Clone, Default)]
struct EncodedPages(Arc<Mutex<Vec<CompressedPage>>>);

impl OpenChunk {
    pub(super) fn new(
        column: ColumnDescPtr,
        properties: WriterPropertiesPtr,
        layout: Layout,
    ) -> Self {
        let text = |column, content| {
            let (open, first_rows, pages) = (TextRows::default(), vec![0], Vec::new());
            Self::Text(TextChunk { column, layout, content, open, first_rows, nulls: 0, pages })
        };
        match column.name().parse() {
            Ok(Column::Id) => text(column, Content::Ids),
            Ok(Column::Input | Column::ExpectedOutput) => text(column, Content::Other),
            _ => {
                let laid_out = EncodedPages::default();
                let nullable = column.max_def_level() > 0;
                let compression = layout.compression;
                let writer = get_column_writer(column, properties, Box::new(laid_out.clone()));
                let pages = Vec::new();
                Self::Other(Box::new(OtherChunk { writer, nullable, compression, laid_out, pages }))
            }
        }
    }

    /// Adds values of the column. Submits full pages to the pool.
    pub(super) fn write(&mut self, array: &ArrayRef, pool: &Pool<Workspace>) -> Result<()> {
        match self {
            Self::Text(chunk) => {
                let texts = array.as_string_opt().ok_or_else(|| unexpected(array));
                chunk.write(texts.map_err(failed)?.clone(), pool);
                Ok(())
            }
            Self::Other(chunk) => chunk.write(array, pool).map_err(failed),
            Self::Nested(chunks) => chunks.write(array).map_err(failed),
        }
    }

    pub(super) fn close(self, pool: &Pool<Workspace>) -> Result<ClosedChunk> {
        match self {
            Self::Text(chunk) => chunk.close(pool),
            Self::Other(chunk) => chunk.close(pool),
            Self::Nested(chunks) => return Ok(ClosedChunk::Nested(chunks.close(pool))),
        }
        .map(|pages| ClosedChunk::Pages(Box::new(pages)))
        .map_err(failed)
    }
}

impl TextChunk {
    fn write(&mut self, texts: StringArray, pool: &Pool<Workspace>) {
        self.nulls += texts.null_count();
        let mut rest = Some(texts).filter(|texts| !texts.is_empty());
        while let Some(texts) = rest {
            rest = self.open.fill(texts, self.layout.page_bytes);
            if self.open.bytes() >= self.layout.page_bytes {
                self.submit(pool);
            }
        }
    }

    fn submit(&mut self, pool: &Pool<Workspace>) {
        let rows = mem::take(&mut self.open);
        let first_row = self.first_rows.last().copied().unwrap_or_default();
        self.first_rows.push(first_row + rows.rows());
        let page = Page::DataPage {
            buf: Bytes::new(),
            // A row group has at most 10,000 rows.
            num_values: rows.rows() as u32,
            encoding: page_encoding(self.layout.encoding),
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (Layout { compression, encoding, .. }, content) = (self.layout, self.content);
        let nullable = self.column.max_def_level() > 0;
        let encoded = pool.submit(rows.bytes(), move |workspace: &mut Workspace| {
            workspace
                .encode(compression, content, |page| rows.encode_page(encoding, nullable, page))
        });
        self.pages.push(Pending { page, encoded });
    }

    fn close(mut self, pool: &Pool<Workspace>) -> ParquetResult<ClosedPages> {
        if self.open.rows() > 0 {
            self.submit(pool);
        }
        let rows = self.first_rows.pop().unwrap_or_default();
        let encoding = page_encoding(self.layout.encoding);
        let pages = PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding,
            count: self.pages.len() as i32,
        };
        // Record only the number of nulls. Nobody filters JSON texts by a range, and ids are random, so minimum
        // and maximum would not let a reader skip pages.
        let nulls = Some(self.nulls as u64);
        let statistics =
            Statistics::ByteArray(ValueStatistics::new(None, None, None, nulls, false));
        let metadata = ColumnChunkMetaData::builder(self.column)
            .set_encodings_mask(EncodingMask::new_from_encodings([Encoding::RLE, encoding].iter()))
            .set_page_encoding_stats(vec![pages])
            .set_num_values(rows as i64)
            .set_statistics(statistics)
            .build()?;
        let location = |row: &usize| PageLocation {
            offset: 0,
            compressed_page_size: 0,
            first_row_index: *row as i64,
        };
        let page_locations = self.first_rows.iter().map(location).collect();
        let result = ColumnCloseResult {
            bytes_written: 0,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(OffsetIndexMetaData {
                page_locations,
                unencoded_byte_array_data_bytes: None,
            }),
        };
        Ok(ClosedPages { pages: self.pages, result })
    }
}

impl OtherChunk {
    fn write(&mut self, array: &ArrayRef, pool: &Pool<Workspace>) -> ParquetResult<()> {
        let level = |row| i16::from(array.is_valid(row));
        let levels: Option<Vec<i16>> = self.nullable.then(|| (0..array.len()).map(level).collect());
        let levels = levels.as_deref();
        let written = match &mut self.writer {
            ColumnWriter::ByteArrayColumnWriter(writer) => array
                .as_string_opt()
                .map(|texts| writer.write_batch(&present_texts(texts), levels, None)),
            ColumnWriter::Int64ColumnWriter(writer) => present_numbers::<Int64Type>(array)
                .or_else(|| present_numbers::<TimestampMicrosecondType>(array))
                .map(|numbers| writer.write_batch(&numbers, levels, None)),
            ColumnWriter::DoubleColumnWriter(writer) => present_numbers::<Float64Type>(array)
                .map(|numbers| writer.write_batch(&numbers, levels, None)),
            ColumnWriter::BoolColumnWriter(writer) => array.as_boolean_opt().map(|values| {
                let present: Vec<bool> = values.iter().flatten().collect();
                writer.write_batch(&present, levels, None)
            }),
            _ => None,
        };
        written.ok_or_else(|| unexpected(array))??;
        self.pages.extend(self.laid_out.submit(self.compression, pool));
        Ok(())
    }

    fn close(mut self, pool: &Pool<Workspace>) -> ParquetResult<ClosedPages> {
        let result = self.writer.close()?;
        self.pages.extend(self.laid_out.submit(self.compression, pool));
        Ok(ClosedPages { pages: self.pages, result })
    }
}

impl ClosedChunk {
    /// Waits until the pages are compressed, and appends the chunk to its row group.
    pub(super) fn append(
        self,
        row_group: &mut SerializedRowGroupWriter<'_, Sealing>,
        codec: Codec,
    ) -> Result<()> {
        match self {
            Self::Pages(pages) => pages.append(row_group, codec),
            Self::Nested(chunks) => chunks.append(row_group),
        }
    }
}

impl ClosedPages {
    fn append(
        self,
        row_group: &mut SerializedRowGroupWriter<'_, Sealing>,
        codec: Codec,
    ) -> Result<()> {
        let encoded = |Pending { page, encoded }| encoded.wait().map(|encoded| (page, encoded));
        let pages =
            self.pages.into_iter().map(encoded).collect::<Result<Vec<(Page, Encoded)>>>()?;
        let size = pages.iter().map(|(_, it)| it.bytes.len() + PAGE_HEADER_BYTES).sum();
        let mut bytes = TrackedWrite::new(Vec::with_capacity(size));
        let mut writer = SerializedPageWriter::new(&mut bytes);
        let mut written = Vec::with_capacity(pages.len());
        for (page, Encoded { bytes, uncompressed }) in pages {
            let page = CompressedPage::new(with_bytes(page, bytes), uncompressed);
            written.push(writer.write_page(page).map_err(failed)?);
        }
        let result = placed(self.result, &written, codec).map_err(failed)?;
        let bytes = Bytes::from(bytes.into_inner().map_err(failed)?);
        row_group.append_column(&bytes, result).map_err(failed)
    }
}

/// Returns the metadata of a chunk with the codec and with the sizes and offsets of the written pages.
fn placed(
    mut result: ColumnCloseResult,
    pages: &[PageWriteSpec],
    codec: Codec,
) -> ParquetResult<ColumnCloseResult> {
    let is_data = |page: &&PageWriteSpec| page.page_type != PageType::DICTIONARY_PAGE;
    let size = |size: fn(&PageWriteSpec) -> usize| pages.iter().map(size).sum::<usize>() as i64;
    let mut metadata = result
        .metadata
        .into_builder()
        .set_compression(codec)
        .set_total_compressed_size(size(|page| page.compressed_size))
        .set_total_uncompressed_size(size(|page| page.uncompressed_size));
    if let Some(first) = pages.iter().find(is_data) {
        metadata = metadata.set_data_page_offset(first.offset as i64);
    }
    if let Some(dictionary) = pages.iter().find(|page| !is_data(page)) {
        metadata = metadata.set_dictionary_page_offset(Some(dictionary.offset as i64));
    }
    result.metadata = metadata.build()?;
    result.bytes_written = pages.iter().map(|page| page.bytes_written).sum();
    if let Some(index) = &mut result.offset_index {
        for (location, page) in index.page_locations.iter_mut().zip(pages.iter().filter(is_data)) {
            location.offset = page.offset as i64;
            // It fits: a page has about 1 MiB, or one row.
            location.compressed_page_size = page.compressed_size as i32;
        }
    }
    Ok(result)
}

impl EncodedPages {
    fn pages(&self) -> MutexGuard<'_, Vec<CompressedPage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits the collected pages to the pool.
    fn submit(&self, compression: Compression, pool: &Pool<Workspace>) -> Vec<Pending> {
        let submit = |page: CompressedPage| {
            let page = page.compressed_page().clone();
            let bytes = page.buffer().clone();
            let encoded = pool.submit(bytes.len(), move |workspace: &mut Workspace| {
                let uncompressed = bytes.len();
                let bytes = workspace.compress(compression, Content::Other, &bytes)?;
                Ok(Encoded { bytes, uncompressed })
            });
            Pending { page: with_bytes(page, Bytes::new()), encoded }
        };
        let pages = mem::take(&mut *self.pages());
        pages.into_iter().map(submit).collect()
    }
}

impl PageWriter for EncodedPages {
    fn write_page(&mut self, page: CompressedPage) -> ParquetResult<PageWriteSpec> {
        let mut spec = PageWriteSpec::new();
        spec.page_type = page.page_type();
        spec.num_values = page.num_values();
        self.pages().push(page);
        Ok(spec)
    }

    fn close(&mut self) -> ParquetResult<()> {
        Ok(())
    }
}

/// Returns the encoding of a page of texts.
fn page_encoding(encoding: ParquetEncoding) -> Encoding {
    match encoding {
        ParquetEncoding::DeltaLength => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        ParquetEncoding::Plain => Encoding::PLAIN,
    }
}

fn unexpected(array: &ArrayRef) -> ParquetError {
    ParquetError::General(format!("a column has the unexpected type {}", array.data_type()))
}

fn with_bytes(mut page: Page, bytes: Bytes) -> Page {
    let (Page::DataPage { buf, .. }
    | Page::DataPageV2 { buf, .. }
    | Page::DictionaryPage { buf, .. }) = &mut page;
    *buf = bytes;
    page
}

/// Returns the non-null values, as slices of the array's buffer.
fn present_texts(array: &StringArray) -> Vec<ByteArray> {
    let bytes = Bytes::from(array.values().clone());
    let offsets = array.value_offsets();
    let slice = |row: usize| bytes.slice(offsets[row] as usize..offsets[row + 1] as usize);
    (0..array.len()).filter(|row| array.is_valid(*row)).map(|row| slice(row).into()).collect()
}

fn present_numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<Vec<T::Native>> {
    array
        .as_primitive_opt::<T>()
        .map(|numbers: &PrimitiveArray<T>| numbers.iter().flatten().collect())
}
