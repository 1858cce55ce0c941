//! Writes Arrow IPC: a file that can be memory-mapped, or a stream for a pipe.
//!
//! The batches of a file are encoded and compressed in parallel and written in order. A batch's bytes are a
//! function of its rows only. A stream is written batch by batch, because its reader waits for each batch.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_ipc::{
    Block, CompressionType, FooterBuilder, KeyValue, KeyValueArgs, MetadataVersion,
    convert::IpcSchemaEncoder,
    writer::{
        DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter,
        write_message,
    },
};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::{
    CHECKSUM_KEY, Compression, Counted, METADATA_KEY, Sink, Written,
    checksum::{BLANK, Sealing},
    pool::Ordered,
    value_bytes,
};
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"ARROW1";
/// The magic bytes, padded to 64 bytes. Every message then starts at a multiple of 64 bytes, so that the bodies
/// of a memory-mapped file are aligned for vector instructions.
const HEADER: [u8; 64] = {
    let mut header = [0; 64];
    header.split_at_mut(MAGIC.len()).0.copy_from_slice(MAGIC);
    header
};
/// The end-of-stream marker: a message of length 0. Only the footer follows.
const END_OF_STREAM: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

pub(super) struct FileSink {
    output: Sealing,
    schema: SchemaRef,
    options: IpcWriteOptions,
    encoding: Ordered<IpcWriteContext, EncodedMessage>,
    blocks: Vec<Block>,
    rows: u64,
}

/// An encoded batch, ready to be appended to the file.
struct EncodedMessage {
    bytes: Vec<u8>,
    header: usize,
    body: usize,
}

impl FileSink {
    pub(super) fn new(
        compression: Compression,
        schema: SchemaRef,
        output: Counted,
        threads: usize,
    ) -> Result<Self> {
        let (options, mut output) = (options(compression)?, Sealing::new(output));
        let message = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut DictionaryTracker::new(true),
            &options,
        );
        output.write_all(&HEADER).map_err(unwritten)?;
        write_message(&mut output, message, &options).map_err(failed)?;
        Ok(Self {
            output,
            schema,
            options,
            // Two batches per thread: one being encoded, one waiting for an earlier batch.
            encoding: Ordered::new(threads, 2)?,
            blocks: Vec::new(),
            rows: 0,
        })
    }

    fn append(&mut self, message: EncodedMessage) -> Result<()> {
        let EncodedMessage { bytes, header, body } = message;
        let at = self.output.bytes() as i64;
        self.output.write_all(&bytes).map_err(unwritten)?;
        self.blocks.push(Block::new(at, header as i32, body as i64));
        Ok(())
    }

    /// Builds the footer: the position of each batch, and the file's own metadata.
    fn footer(&self, facts: Option<&str>) -> Vec<u8> {
        let mut buffer = FlatBufferBuilder::new();
        // Build the checksum first: it is then the last text in the buffer, where the reader looks for it.
        let checksum = pair(&mut buffer, CHECKSUM_KEY, BLANK);
        let dictionaries = buffer.create_vector::<Block>(&[]);
        let batches = buffer.create_vector(&self.blocks);
        let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut buffer, &self.schema);
        let facts = facts.map(|facts| pair(&mut buffer, METADATA_KEY, facts));
        let pairs: Vec<_> = facts.into_iter().chain([checksum]).collect();
        let metadata = buffer.create_vector(&pairs);
        let mut footer = FooterBuilder::new(&mut buffer);
        footer.add_version(MetadataVersion::V5);
        footer.add_schema(schema);
        footer.add_dictionaries(dictionaries);
        footer.add_recordBatches(batches);
        footer.add_custom_metadata(metadata);
        let footer = footer.finish();
        buffer.finish(footer, None);
        buffer.finished_data().to_vec()
    }
}

impl Sink for FileSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let options = self.options.clone();
        self.encoding.submit(value_bytes(&batch), move |context: &mut IpcWriteContext| {
            encode(&batch, &options, context).map_err(failed)
        });
        while let Some(message) = self.encoding.overdue() {
            self.append(message?)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, facts: Option<&str>) -> Result<Written> {
        while let Some(message) = self.encoding.oldest() {
            self.append(message?)?;
        }
        let footer = self.footer(facts);
        let length = (footer.len() as i32).to_le_bytes();
        self.output.write_all(&END_OF_STREAM).map_err(unwritten)?;
        self.output.hold();
        for bytes in [footer.as_slice(), &length, MAGIC] {
            self.output.write_all(bytes).map_err(unwritten)?;
        }
        self.output.seal(|tail| Some(tail.len()))?;
        Ok(Written { rows: self.rows, bytes: self.output.bytes() })
    }

    fn abort(self: Box<Self>) {}
}

fn pair<'a>(buffer: &mut FlatBufferBuilder<'a>, key: &str, value: &str) -> WIPOffset<KeyValue<'a>> {
    let (key, value) = (buffer.create_string(key), buffer.create_string(value));
    KeyValue::create(buffer, &KeyValueArgs { key: Some(key), value: Some(value) })
}

fn encode(
    batch: &RecordBatch,
    options: &IpcWriteOptions,
    context: &mut IpcWriteContext,
) -> Result<EncodedMessage, ArrowError> {
    // No column is a dictionary, so there is nothing to track.
    let mut dictionaries = DictionaryTracker::new(true);
    let generator = IpcDataGenerator::default();
    let (_, encoded) = generator.encode(batch, &mut dictionaries, options, context)?;
    let mut bytes = Vec::with_capacity(encoded.ipc_message.len() + encoded.arrow_data.len() + 64);
    let (header, body) = write_message(&mut bytes, encoded, options)?;
    Ok(EncodedMessage { bytes, header, body })
}

fn unwritten(error: std::io::Error) -> Error {
    failed(error.into())
}

pub(super) struct StreamSink {
    writer: StreamWriter<Counted>,
    rows: u64,
}

impl StreamSink {
    pub(super) fn new(compression: Compression, schema: &Schema, output: Counted) -> Result<Self> {
        let options = options(compression)?;
        let writer = StreamWriter::try_new_with_options(output, schema, options).map_err(failed)?;
        Ok(Self { writer, rows: 0 })
    }
}

impl Sink for StreamSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(failed)?;
        // Flush, so that the reader of a pipe gets each batch as soon as it is complete.
        self.writer.get_mut().flush().map_err(unwritten)
    }

    fn finish(mut self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        self.writer.finish().map_err(failed)?;
        self.writer.get_mut().flush().map_err(unwritten)?;
        Ok(Written { rows: self.rows, bytes: self.writer.get_ref().bytes })
    }

    fn abort(self: Box<Self>) {}
}

fn options(compression: Compression) -> Result<IpcWriteOptions> {
    let (codec, level) = match compression {
        Compression::None => (None, None),
        Compression::Lz4 => (Some(CompressionType::LZ4_FRAME), None),
        Compression::Zstd(level) => (Some(CompressionType::ZSTD), Some(level)),
        Compression::Snappy | Compression::Gzip => {
            return Err(Error::Internal(format!("Arrow IPC is not written as {compression}")));
        }
    };
    IpcWriteOptions::default()
        .try_with_compression(codec)
        .and_then(|options| options.try_with_compression_level(level))
        .map_err(failed)
}

fn failed(error: ArrowError) -> Error {
    Error::Encode { format: "Arrow IPC", source: error.into() }
}
