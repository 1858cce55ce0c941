//! Compresses the pages of column chunks, with tables that are made once a thread.
//!
//! A page is compressed by itself from its bytes alone: which thread does it, and what that thread
//! did before, does not show. zstd's tables are not made anew for each column chunk.

use std::collections::BTreeMap;

use bytes::Bytes;
use zstd::{
    bulk::Compressor,
    zstd_safe::{CParameter, Strategy},
};

use crate::{
    error::{Error, Result},
    sink::Compression,
};

/// What a page needs at most, unless one of its rows is larger than a page should be. Pages have
/// as much from the start: what is not used is not touched.
const SCRATCH_PAGE: usize = 4 << 20;
/// What such a page can come to compressed: Snappy's bound, which is the highest.
const SCRATCH: usize = SCRATCH_PAGE + SCRATCH_PAGE / 6 + 32;

/// What a thread keeps between pages.
#[derive(Default)]
pub(super) struct Workspace {
    /// A page that is laid out here before it is compressed.
    page: Vec<u8>,
    /// The level is the file's.
    zstd: BTreeMap<Content, Compressor<'static>>,
    snappy: Option<snap::raw::Encoder>,
    scratch: Vec<u8>,
}

/// What a page holds, as far as a codec can make use of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    /// Text in which long stretches repeat.
    Text,
    /// Hexadecimal digits without a pattern: only how often each comes can be made use of.
    Ids,
    Other,
}

/// A page's bytes as they go into the file.
pub(super) struct Encoded {
    pub(super) bytes: Bytes,
    /// How many there were before compression.
    pub(super) uncompressed: usize,
}

impl Workspace {
    /// Lays a page out and compresses it.
    pub(super) fn encode(
        &mut self,
        compression: Compression,
        content: Content,
        lay_out: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Encoded> {
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        page.reserve_exact(SCRATCH_PAGE);
        lay_out(&mut page);
        let bytes = self.compress(compression, content, &page);
        let uncompressed = page.len();
        if page.capacity() <= SCRATCH_PAGE {
            self.page = page;
        }
        Ok(Encoded { bytes: bytes?, uncompressed })
    }

    /// The page's bytes, compressed. Exactly as large as they are: a column chunk's pages are held
    /// until the last is ready.
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
                // Without zeros: what the bound is beyond what comes is memory that nobody touches.
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

/// The level's own parameters, but for those that cost more time here than they gain in size.
fn compressor(level: i32, content: Content) -> std::io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    match content {
        // Long stretches repeat, and short ones do so by chance: one look at each place for matches of seven
        // bytes, in a table of a quarter of a megabyte that leaves a second cache room for the text, and no
        // further back than a megabyte. The level's own two tables, five bytes and two megabytes make
        // files 4 to 6 % smaller and compressing a third slower.
        Content::Text if level == 3 => {
            compressor.set_parameter(CParameter::Strategy(Strategy::ZSTD_fast))?;
            compressor.set_parameter(CParameter::MinMatch(7))?;
            compressor.set_parameter(CParameter::HashLog(16))?;
            compressor.set_parameter(CParameter::WindowLog(20))?;
        }
        Content::Ids => {
            compressor.set_parameter(CParameter::CompressionLevel(1))?;
        }
        Content::Text | Content::Other => {}
    }
    Ok(compressor)
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
