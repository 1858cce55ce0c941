//! Compresses the pages of column chunks. Each thread allocates the tables of a codec once, and reuses them.
//!
//! The compressed bytes of a page depend on the bytes of the page alone. They do not depend on the thread, or on
//! the pages that the thread compressed before.

use std::collections::BTreeMap;

use bytes::Bytes;
use zstd::bulk::Compressor;

use crate::{
    error::{Error, Result},
    sink::Compression,
};

/// Capacity of a page buffer: 4 MiB, enough for every page, unless one row alone is larger. The buffer has this
/// capacity from the start, because its unused part causes no page faults.
const SCRATCH_PAGE: usize = 4 << 20;
/// Maximum size of such a page after compression: the bound of Snappy, which is the highest of all codecs.
const SCRATCH: usize = SCRATCH_PAGE + SCRATCH_PAGE / 6 + 32;

/// The buffers and codec states that a thread reuses.
#[derive(Default)]
pub(super) struct Workspace {
    /// The uncompressed page.
    page: Vec<u8>,
    /// One compressor per content. The level is the same for the whole file.
    zstd: BTreeMap<Content, Compressor<'static>>,
    snappy: Option<snap::raw::Encoder>,
    scratch: Vec<u8>,
}

/// The kind of values in a page. It decides the zstd level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    /// Random hexadecimal digits. They have no repetitions, so a codec only gains from entropy coding.
    Ids,
    Other,
}

/// The bytes of a page as they are written to the file.
pub(super) struct Encoded {
    pub(super) bytes: Bytes,
    /// Number of bytes before compression.
    pub(super) uncompressed: usize,
}

impl Workspace {
    /// Encodes a page into the buffer and compresses it.
    pub(super) fn encode(
        &mut self,
        compression: Compression,
        content: Content,
        encode_page: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Encoded> {
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        page.reserve_exact(SCRATCH_PAGE);
        encode_page(&mut page);
        let bytes = self.compress(compression, content, &page);
        let uncompressed = page.len();
        if page.capacity() <= SCRATCH_PAGE {
            self.page = page;
        }
        Ok(Encoded { bytes: bytes?, uncompressed })
    }

    /// Returns the compressed page in a buffer of exactly its size, because all pages of a column chunk are kept
    /// until the last one is ready.
    pub(super) fn compress(
        &mut self,
        compression: Compression,
        content: Content,
        page: &[u8],
    ) -> Result<Bytes> {
        let length = match compression {
            Compression::None => return Ok(Bytes::copy_from_slice(page)),
            Compression::Zstd(level) => {
                let compressor = match self.zstd.entry(content) {
                    std::collections::btree_map::Entry::Occupied(made) => made.into_mut(),
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert(compressor(level, content).map_err(failed)?)
                    }
                };
                // Reserve without writing zeros, so that the unused rest of the buffer causes no page faults.
                self.scratch.clear();
                let bound = zstd::zstd_safe::compress_bound(page.len());
                self.scratch.reserve_exact(bound.max(SCRATCH));
                compressor.compress_to_buffer(page, &mut self.scratch).map_err(failed)?
            }
            Compression::Snappy => {
                let encoder = self.snappy.get_or_insert_with(snap::raw::Encoder::new);
                let scratch = room(&mut self.scratch, snap::raw::max_compress_len(page.len()));
                encoder.compress(page, scratch).map_err(failed)?
            }
            Compression::Lz4 => {
                let bound = lz4_flex::block::get_maximum_output_size(page.len());
                let scratch = room(&mut self.scratch, bound);
                lz4_flex::block::compress_into(page, scratch).map_err(failed)?
            }
            Compression::Gzip => {
                return Err(Error::Internal("Parquet is not written as gzip".to_owned()));
            }
        };
        let bytes = Bytes::copy_from_slice(&self.scratch[..length]);
        if self.scratch.capacity() > SCRATCH {
            self.scratch = Vec::new();
        }
        Ok(bytes)
    }
}

/// Creates a compressor with zstd's own parameters for the level.
fn compressor(level: i32, content: Content) -> std::io::Result<Compressor<'static>> {
    match content {
        // The digits are random: every level writes the same size, and level 1 is the fastest.
        Content::Ids => Compressor::new(1),
        Content::Other => Compressor::new(level),
    }
}

fn room(scratch: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if scratch.len() < bytes {
        scratch.reserve_exact(bytes - scratch.len());
        scratch.resize(bytes, 0);
    }
    &mut scratch[..bytes]
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Encode { format: "Parquet", source: Box::new(error) }
}
