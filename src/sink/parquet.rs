//! Parquet: row groups encoded side by side, each by a thread of its own, appended in order.
//!
//! A row group is encoded from its rows alone, so the bytes do not depend on how many threads there
//! are. As many row groups are held as there are threads, at most. Claims no sort order.

use std::{collections::VecDeque, sync::mpsc, thread};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::SchemaRef;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{
            ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
        },
    },
    basic::{Compression as Codec, Encoding as PageEncoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};

use super::{Compression, Counted, METADATA_KEY, Sink, Written};
use crate::{
    batch::Column,
    error::{Error, Result},
};

/// Rows in a row group: 0.2 % larger files than with 100,000, at a tenth of the memory.
const ROW_GROUP_ROWS: usize = 10_000;
/// Bytes of values in a row group: what bounds memory when rows are large.
const ROW_GROUP_BYTES: usize = 16 << 20;

pub(super) struct ParquetSink {
    writer: SerializedFileWriter<Counted>,
    row_groups: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    /// The row group that batches still go to.
    open: Option<OpenRowGroup>,
    /// Complete ones, whose encoders may still work, in order.
    encoding: VecDeque<Encoder>,
    threads: usize,
    started: usize,
    rows: u64,
}

struct OpenRowGroup {
    batches: mpsc::Sender<RecordBatch>,
    encoder: Encoder,
    rows: usize,
    bytes: usize,
}

type Encoder = thread::JoinHandle<Result<Vec<ArrowColumnChunk>>>;

impl ParquetSink {
    pub(super) fn new(
        compression: Compression,
        schema: SchemaRef,
        output: Counted,
        threads: usize,
    ) -> Result<Self> {
        let properties = properties(compression)?;
        let writer = ArrowWriter::try_new(output, schema.clone(), Some(properties));
        let (writer, row_groups) =
            writer.and_then(ArrowWriter::into_serialized_writer).map_err(failed)?;
        Ok(Self {
            writer,
            row_groups,
            schema,
            open: None,
            encoding: VecDeque::new(),
            threads: threads.max(1),
            started: 0,
            rows: 0,
        })
    }

    /// Starts the encoder of the next row group; waits for the oldest when all threads are taken.
    fn open(&mut self) -> Result<OpenRowGroup> {
        while self.encoding.len() >= self.threads {
            self.append_oldest()?;
        }
        let columns = self.row_groups.create_column_writers(self.started).map_err(failed)?;
        self.started += 1;
        let schema = self.schema.clone();
        let (batches, receiver) = mpsc::channel();
        let encoder = thread::Builder::new()
            .name("encode".to_owned())
            .spawn(move || encode(&schema, columns, receiver))
            .map_err(|error| Error::Internal(format!("starting an encoder: {error}")))?;
        Ok(OpenRowGroup { batches, encoder, rows: 0, bytes: 0 })
    }

    fn append_oldest(&mut self) -> Result<()> {
        let Some(oldest) = self.encoding.pop_front() else { return Ok(()) };
        let columns = oldest
            .join()
            .map_err(|_| Error::Internal("a Parquet encoder panicked".to_owned()))??;
        let mut row_group = self.writer.next_row_group().map_err(failed)?;
        for column in columns {
            column.append_to_row_group(&mut row_group).map_err(failed)?;
        }
        row_group.close().map_err(failed)?;
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, mut batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        while batch.num_rows() > 0 {
            let mut row_group = match self.open.take() {
                Some(row_group) => row_group,
                None => self.open()?,
            };
            let rows = batch.num_rows().min(ROW_GROUP_ROWS - row_group.rows);
            let head = batch.slice(0, rows);
            batch = batch.slice(rows, batch.num_rows() - rows);
            row_group.rows += rows;
            row_group.bytes += value_bytes(&head);
            // An encoder that is gone has failed, which joining it tells.
            let gone = row_group.batches.send(head).is_err();
            if gone || row_group.rows >= ROW_GROUP_ROWS || row_group.bytes >= ROW_GROUP_BYTES {
                self.encoding.push_back(row_group.encoder);
            } else {
                self.open = Some(row_group);
            }
            if gone {
                while !self.encoding.is_empty() {
                    self.append_oldest()?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, facts: &str) -> Result<Written> {
        self.encoding.extend(self.open.take().map(|row_group| row_group.encoder));
        while !self.encoding.is_empty() {
            self.append_oldest()?;
        }
        let facts = KeyValue::new(METADATA_KEY.to_owned(), facts.to_owned());
        self.writer.append_key_value_metadata(facts);
        self.writer.finish().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes: self.writer.inner().bytes })
    }

    fn abort(mut self: Box<Self>) {
        // Encoders hold only memory; they are waited for so that none outlives the run.
        self.encoding.extend(self.open.take().map(|row_group| row_group.encoder));
        for encoder in self.encoding {
            drop(encoder.join());
        }
    }
}

/// Encodes what comes until the row group is complete. Batches are small and are let go one by one,
/// so that a row group is never held whole once its encoder keeps up.
fn encode(
    schema: &SchemaRef,
    mut columns: Vec<ArrowColumnWriter>,
    batches: mpsc::Receiver<RecordBatch>,
) -> Result<Vec<ArrowColumnChunk>> {
    for batch in batches {
        for ((writer, field), array) in columns.iter_mut().zip(schema.fields()).zip(batch.columns())
        {
            for leaf in compute_leaves(field, array).map_err(failed)? {
                writer.write(&leaf).map_err(failed)?;
            }
        }
    }
    columns.into_iter().map(|writer| writer.close().map_err(failed)).collect()
}

/// Bytes of the values in a batch, as the rows alone decide them.
fn value_bytes(batch: &RecordBatch) -> usize {
    let column = |array: &ArrayRef| match array.as_string_opt::<i32>() {
        Some(text) => {
            let offsets = text.value_offsets();
            (offsets[offsets.len() - 1] - offsets[0]) as usize
        }
        None => size_of::<i64>() * array.len(),
    };
    batch.columns().iter().map(column).sum()
}

fn properties(compression: Compression) -> Result<WriterProperties> {
    let codec = match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level).map_err(failed)?),
        Compression::Gzip => {
            return Err(Error::Internal("Parquet is not written as gzip".to_owned()));
        }
    };
    let path = |column: Column| ColumnPath::from(column.name());
    let mut properties = WriterProperties::builder()
        .set_compression(codec)
        .set_created_by(concat!("overmind-export ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_encoding(path(Column::Order), PageEncoding::DELTA_BINARY_PACKED);
    // Personas and tags repeat; in the others a dictionary is built in vain.
    for column in [Column::Id, Column::Order, Column::Input, Column::ExpectedOutput] {
        properties = properties.set_column_dictionary_enabled(path(column), false);
    }
    Ok(properties.build())
}

fn failed(error: ParquetError) -> Error {
    Error::Encode { format: "Parquet", source: error.into() }
}
