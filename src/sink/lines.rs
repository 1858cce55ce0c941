//! The sink of formats that are lines of text, plain or compressed: JSON Lines and CSV.
//!
//! Encoder threads turn batches into lines in parallel; the lines are written in order. A gzip file is one member,
//! and a zstd file is one frame, because some readers stop after the first. In the gzip member, each batch has
//! deflate blocks of its own. So its bytes depend on where batches end. In an export, only the rows decide where
//! batches end. Neither codec depends on the number of threads.

use std::{
    io::{self, Write},
    mem,
    sync::Arc,
};

use arrow_array::RecordBatch;
use flate2::{Compression as Level, Crc, write::DeflateEncoder};
use zstd::zstd_safe::CParameter;

use super::{Compression, Counted, Encoding, Sink, Written, pool::Ordered, value_bytes};
use crate::error::{Error, Result};

/// Size of a zstd job in bytes, before compression: allowed by zstd, and small so that each thread buffers
/// little. zstd enlarges it if the overlap, the part of the window that a job repeats, is larger: 8 MiB at
/// level 19.
const ZSTD_JOB_BYTES: u32 = 1 << 20;

/// Header of a gzip member (RFC 1952) without a time and a name: the same rows give the same bytes.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last deflate block of a gzip member. It is empty, so it can be written after any other block.
const GZIP_LAST_BLOCK: [u8; 2] = [3, 0];

/// Turns the rows of a batch into lines.
pub(super) type EncodeLines = Arc<dyn Fn(&RecordBatch) -> Result<Vec<u8>> + Send + Sync>;

pub(super) struct LinesSink {
    output: LineEncoder,
    encode: EncodeLines,
    is_gzip: bool,
    /// Name of the format, for errors.
    title: &'static str,
    /// `None` when every batch must be written immediately.
    encoding: Option<Ordered<(), EncodedLines>>,
    rows: u64,
}

/// The lines of a batch as they are written to the output.
struct EncodedLines {
    bytes: Vec<u8>,
    /// Checksum of the lines before compression, only for gzip.
    crc: Crc,
}

enum LineEncoder {
    Plain(Counted),
    /// The output, and the checksum of all lines so far.
    Gzip(Counted, Crc),
    Zstd(zstd::Encoder<'static, Counted>),
}

impl LinesSink {
    /// Creates a sink and writes `start`, the bytes before the first row.
    ///
    /// With 0 threads, the lines of each batch are flushed before the next batch is taken. The exception is zstd: it
    /// still has one thread of its own, and collects lines until a job is full.
    pub(super) fn new(
        encoding: Encoding,
        output: Counted,
        threads: usize,
        start: Vec<u8>,
        encode: EncodeLines,
    ) -> Result<Self> {
        let (compression, title) = (encoding.compression(), encoding.format().title());
        let failed = |source: io::Error| failed(title, source);
        let output = match compression {
            Compression::None => LineEncoder::Plain(output),
            Compression::Gzip => {
                let mut output = output;
                output.write_all(&GZIP_HEADER).map_err(failed)?;
                LineEncoder::Gzip(output, Crc::new())
            }
            Compression::Zstd(level) => {
                LineEncoder::Zstd(zstd_encoder(level, output, threads).map_err(failed)?)
            }
            Compression::Snappy | Compression::Lz4 => {
                return Err(Error::Internal(format!("{title} is not written as {compression}")));
            }
        };
        let is_gzip = compression == Compression::Gzip;
        let pool = (threads > 0).then(|| Ordered::new(threads, 1)).transpose()?;
        let mut sink = Self { output, encode, is_gzip, title, encoding: pool, rows: 0 };
        if !start.is_empty() {
            let start = compressed(start, is_gzip).map_err(failed)?;
            sink.output.append(&start).map_err(failed)?;
        }
        Ok(sink)
    }
}

impl Sink for LinesSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let (encode, is_gzip, title) = (self.encode.clone(), self.is_gzip, self.title);
        let failed = move |source| failed(title, source);
        let lines = move |batch: &RecordBatch| compressed(encode(batch)?, is_gzip).map_err(failed);
        let Some(encoding) = &mut self.encoding else {
            self.output.append(&lines(&batch)?).map_err(failed)?;
            return self.output.flush().map_err(failed);
        };
        encoding.submit(value_bytes(&batch), move |()| lines(&batch));
        while let Some(lines) = encoding.overdue() {
            self.output.append(&lines?).map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        let title = self.title;
        let failed = move |source| failed(title, source);
        while let Some(lines) = self.encoding.as_mut().and_then(Ordered::oldest) {
            self.output.append(&lines?).map_err(failed)?;
        }
        let bytes = self.output.finish().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes })
    }

    fn abort(self: Box<Self>) {}
}

impl LineEncoder {
    fn append(&mut self, lines: &EncodedLines) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.write_all(&lines.bytes),
            Self::Gzip(output, crc) => {
                crc.combine(&lines.crc);
                output.write_all(&lines.bytes)
            }
            Self::Zstd(encoder) => encoder.write_all(&lines.bytes),
        }
    }

    /// Passes all bytes on. zstd keeps those of an unfinished block: a flush would end the block.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) | Self::Gzip(output, _) => output.flush(),
            Self::Zstd(_) => Ok(()),
        }
    }

    /// Ends the output and returns its size in bytes.
    fn finish(self) -> io::Result<u64> {
        let mut output = match self {
            Self::Plain(output) => output,
            Self::Gzip(mut output, crc) => {
                output.write_all(&GZIP_LAST_BLOCK)?;
                output.write_all(&crc.sum().to_le_bytes())?;
                // The format has 32 bits for the size before compression.
                output.write_all(&crc.amount().to_le_bytes())?;
                output
            }
            Self::Zstd(encoder) => encoder.finish()?,
        };
        output.flush()?;
        Ok(output.bytes)
    }
}

/// Creates a zstd encoder with at least one thread in addition to the caller's.
///
/// zstd cuts a frame into jobs at the same positions for any number of threads, but not for 0 threads.
fn zstd_encoder(
    level: i32,
    output: Counted,
    threads: usize,
) -> io::Result<zstd::Encoder<'static, Counted>> {
    let mut encoder = zstd::Encoder::new(output, level)?;
    // At most 64: more threads would only wait for lines and allocate a job each.
    let threads = threads.clamp(1, 64) as u32;
    encoder.multithread(threads)?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB_BYTES))?;
    Ok(encoder)
}

/// Compresses the lines of a batch into deflate blocks that do not refer to earlier blocks.
fn deflate(lines: &[u8]) -> io::Result<EncodedLines> {
    let mut crc = Crc::new();
    crc.update(lines);
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(lines.len() / 3), Level::new(6));
    encoder.write_all(lines)?;
    // A sync flush ends at a whole byte, so that the blocks of the next batch can follow.
    encoder.flush()?;
    Ok(EncodedLines { bytes: mem::take(encoder.get_mut()), crc })
}

fn compressed(lines: Vec<u8>, is_gzip: bool) -> io::Result<EncodedLines> {
    if is_gzip { deflate(&lines) } else { Ok(EncodedLines { bytes: lines, crc: Crc::new() }) }
}

fn failed(format: &'static str, source: io::Error) -> Error {
    Error::Encode { format, source: source.into() }
}
