//! Parquet: one row group a batch, encoded side by side, appended in order.
//!
//! A row group is encoded from its batch alone, so the bytes do not depend on how many threads
//! there are. At most one batch more than there are threads is held. Claims no sort order.

use std::{collections::VecDeque, thread};

use arrow_array::RecordBatch;
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

pub(super) struct ParquetSink {
    writer: SerializedFileWriter<Counted>,
    row_groups: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    encoding: VecDeque<thread::JoinHandle<Result<Vec<ArrowColumnChunk>>>>,
    threads: usize,
    started: usize,
    rows: u64,
}

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
        let encoding = VecDeque::new();
        let threads = threads.max(1);
        Ok(Self { writer, row_groups, schema, encoding, threads, started: 0, rows: 0 })
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
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        while self.encoding.len() >= self.threads {
            self.append_oldest()?;
        }
        self.rows += batch.num_rows() as u64;
        let columns = self.row_groups.create_column_writers(self.started).map_err(failed)?;
        self.started += 1;
        let schema = self.schema.clone();
        let encoder = thread::Builder::new()
            .name("encode".to_owned())
            .spawn(move || encode(&schema, columns, &batch))
            .map_err(|error| Error::Internal(format!("starting an encoder: {error}")))?;
        self.encoding.push_back(encoder);
        Ok(())
    }

    fn finish(mut self: Box<Self>, facts: &str) -> Result<Written> {
        while !self.encoding.is_empty() {
            self.append_oldest()?;
        }
        let facts = KeyValue::new(METADATA_KEY.to_owned(), facts.to_owned());
        self.writer.append_key_value_metadata(facts);
        self.writer.finish().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes: self.writer.inner().bytes })
    }

    fn abort(self: Box<Self>) {
        // Encoders hold only memory; they are waited for so that none outlives the run.
        for encoder in self.encoding {
            drop(encoder.join());
        }
    }
}

fn encode(
    schema: &SchemaRef,
    columns: Vec<ArrowColumnWriter>,
    batch: &RecordBatch,
) -> Result<Vec<ArrowColumnChunk>> {
    let mut chunks = Vec::with_capacity(columns.len());
    for ((mut writer, field), array) in
        columns.into_iter().zip(schema.fields()).zip(batch.columns())
    {
        for leaf in compute_leaves(field, array).map_err(failed)? {
            writer.write(&leaf).map_err(failed)?;
        }
        chunks.push(writer.close().map_err(failed)?);
    }
    Ok(chunks)
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
