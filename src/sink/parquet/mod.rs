//! Parquet: pages are cut in order by one thread, compressed side by side, appended in order.
//!
//! A page of text is a function of its rows alone, and no byte depends on how many threads there are.
//! The library's column writer, which takes the columns that are small or repeat, looks at its page's
//! size after so many values of a batch: those pages depend on the batches. An export's are a
//! function of a part's rows, so the same rows give the same bytes; `write_pages` has larger ones.
//! Held are the pages being compressed, and what the open row group and the one before it have come
//! to; a chunk once more while it is appended; the batches that a dictionary's values lie in, until
//! its row group is closed; and for the footer some KB for each row group. Claims no sort order.

mod chunk;
mod codec;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, cast::AsArray};
use arrow_schema::SchemaRef;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression as Codec, Encoding as PageEncoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr},
        writer::SerializedFileWriter,
    },
    schema::types::{ColumnDescPtr, ColumnPath},
};

use self::{
    chunk::{ClosedChunk, OpenChunk},
    codec::Workspace,
};
use super::{
    CHECKSUM_KEY, Compression, Counted, METADATA_KEY, Sink, WRITER, Written,
    checksum::{BLANK, Sealing},
    pool::Pool,
    value_bytes,
};
use crate::{
    batch::Column,
    error::{Error, Result},
};

/// Rows in a row group: 0.2 % larger files than with 100,000, at a tenth of the memory.
const ROW_GROUP_ROWS: usize = 10_000;
/// Bytes of values in a row group: what bounds memory when rows are large.
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Bytes of values after which a page of text ends, with the row that reaches them; and where the
/// library ends its pages, which it looks at after so many values. Two and a half times the usual megabyte:
/// 4 % smaller files in the same time, and a reader still takes little at once unless a row is large.
const PAGE_BYTES: usize = 5 << 19;

/// The last bytes of a file, and its first.
const MAGIC: &[u8; 4] = b"PAR1";

pub(super) struct ParquetSink {
    writer: SerializedFileWriter<Sealing>,
    layout: Layout,
    codec: Codec,
    properties: WriterPropertiesPtr,
    /// The row group that batches still go to.
    open: Option<RowGroup<OpenChunk>>,
    /// The one before it, whose last pages may still be with the pool.
    closed: Option<RowGroup<ClosedChunk>>,
    pool: Pool<Workspace>,
    rows: u64,
}

/// How pages are made.
#[derive(Debug, Clone, Copy)]
struct Layout {
    compression: Compression,
    page_bytes: usize,
}

struct RowGroup<C> {
    chunks: Vec<C>,
    rows: usize,
    bytes: usize,
}

impl ParquetSink {
    pub(super) fn new(
        compression: Compression,
        schema: SchemaRef,
        output: Counted,
        threads: usize,
    ) -> Result<Self> {
        Self::with(Layout { compression, page_bytes: PAGE_BYTES }, schema, output, threads)
    }

    fn with(layout: Layout, schema: SchemaRef, output: Counted, threads: usize) -> Result<Self> {
        let codec = codec(layout.compression)?;
        let properties = |codec| properties(codec, layout.page_bytes);
        let file = ArrowWriter::try_new(Sealing::new(output), schema, Some(properties(codec)));
        let (writer, _) = file.and_then(ArrowWriter::into_serialized_writer).map_err(failed)?;
        Ok(Self {
            writer,
            layout,
            codec,
            // Pages are compressed after they were laid out, by the pool.
            properties: Arc::new(properties(Codec::UNCOMPRESSED)),
            open: None,
            closed: None,
            pool: Pool::new(threads)?,
            rows: 0,
        })
    }

    fn open(&self) -> RowGroup<OpenChunk> {
        let columns = self.writer.schema_descr().columns();
        let chunk = |column: &ColumnDescPtr| {
            OpenChunk::new(column.clone(), self.properties.clone(), self.layout)
        };
        RowGroup { chunks: columns.iter().map(chunk).collect(), rows: 0, bytes: 0 }
    }

    /// Ends the open row group and appends the one before it, whose pages had time to come back.
    fn close(&mut self) -> Result<()> {
        let Some(RowGroup { chunks, rows, bytes }) = self.open.take() else { return Ok(()) };
        let pool = &self.pool;
        let chunks = chunks.into_iter().map(|chunk| chunk.close(pool)).collect::<Result<_>>()?;
        self.append()?;
        self.closed = Some(RowGroup { chunks, rows, bytes });
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let Some(closed) = self.closed.take() else { return Ok(()) };
        let mut row_group = self.writer.next_row_group().map_err(failed)?;
        for chunk in closed.chunks {
            chunk.append(&mut row_group, self.codec)?;
        }
        row_group.close().map_err(failed)?;
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let mut batch = without_hidden_bytes(batch)?;
        self.rows += batch.num_rows() as u64;
        while batch.num_rows() > 0 {
            let mut row_group = self.open.take().unwrap_or_else(|| self.open());
            let rows = batch.num_rows().min(ROW_GROUP_ROWS - row_group.rows);
            let head = batch.slice(0, rows);
            batch = batch.slice(rows, batch.num_rows() - rows);
            row_group.rows += rows;
            row_group.bytes += value_bytes(&head);
            for (chunk, array) in row_group.chunks.iter_mut().zip(head.columns()) {
                chunk.write(array, &self.pool)?;
            }
            let full = row_group.rows >= ROW_GROUP_ROWS || row_group.bytes >= ROW_GROUP_BYTES;
            self.open = Some(row_group);
            if full {
                self.close()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, facts: Option<&str>) -> Result<Written> {
        self.close()?;
        self.append()?;
        if let Some(facts) = facts {
            let facts = KeyValue::new(METADATA_KEY.to_owned(), facts.to_owned());
            self.writer.append_key_value_metadata(facts);
        }
        // Last, so that no other text of the footer is taken for it.
        let checksum = KeyValue::new(CHECKSUM_KEY.to_owned(), BLANK.to_owned());
        self.writer.append_key_value_metadata(checksum);
        self.writer.flush().map_err(|error| failed(error.into()))?;
        self.writer.inner_mut().hold();
        self.writer.finish().map_err(failed)?;
        self.writer.inner_mut().seal(footer_bytes)?;
        Ok(Written { rows: self.rows, bytes: self.writer.inner().bytes() })
    }

    fn abort(self: Box<Self>) {}
}

/// Bytes of the footer at the end of a file: the metadata, its length and the magic bytes.
pub(crate) fn footer_bytes(end: &[u8]) -> Option<usize> {
    let (_, tail) = end.split_last_chunk::<{ MAGIC.len() + size_of::<u32>() }>()?;
    let (length, magic) = tail.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (magic == MAGIC).then_some(length)?.checked_add(tail.len())
}

/// The batch without what lies in null slots, which Arrow allows and no value has: pages and row
/// groups are cut by bytes, and a page's bytes are copied as they lie.
fn without_hidden_bytes(batch: RecordBatch) -> Result<RecordBatch> {
    let hides = |array: &StringArray| {
        let offsets = array.value_offsets();
        array.null_count() > 0
            && (0..array.len()).any(|row| array.is_null(row) && offsets[row] < offsets[row + 1])
    };
    let texts = |array: &ArrayRef| array.as_string_opt().is_some_and(hides);
    if !batch.columns().iter().any(texts) {
        return Ok(batch);
    }
    let plain = |array: &ArrayRef| match array.as_string_opt::<i32>() {
        Some(texts) if hides(texts) => Arc::new(texts.iter().collect::<StringArray>()) as ArrayRef,
        _ => array.clone(),
    };
    let columns = batch.columns().iter().map(plain).collect();
    RecordBatch::try_new(batch.schema(), columns)
        .map_err(|error| Error::Encode { format: "Parquet", source: error.into() })
}

fn codec(compression: Compression) -> Result<Codec> {
    Ok(match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level).map_err(failed)?),
        Compression::Gzip => {
            return Err(Error::Internal("Parquet is not written as gzip".to_owned()));
        }
    })
}

fn properties(codec: Codec, page_bytes: usize) -> WriterProperties {
    let path = |column: Column| ColumnPath::from(column.name());
    let mut properties = WriterProperties::builder()
        .set_compression(codec)
        .set_created_by(format!("{WRITER}{}", env!("CARGO_PKG_VERSION")))
        .set_data_page_size_limit(page_bytes)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_encoding(path(Column::Order), PageEncoding::DELTA_BINARY_PACKED);
    // A number differs from the one before it by one, mostly: a dictionary is built in vain.
    properties = properties.set_column_dictionary_enabled(path(Column::Order), false);
    properties.build()
}

fn failed(error: ParquetError) -> Error {
    Error::Encode { format: "Parquet", source: error.into() }
}
