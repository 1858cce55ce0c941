//! The decompressed pages of a row group, checked before the Parquet library decodes their values.
//!
//! In the `DELTA` encodings of texts, a page begins with the number of its lengths. The library allocates memory for
//! that number. So a page with more lengths than values is refused.

use std::{iter, sync::Arc};

use parquet::{
    arrow::arrow_reader::RowGroups,
    basic::Encoding,
    bloom_filter::Sbbf,
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        reader::RowGroupReader,
        serialized_reader::SerializedPageReader,
    },
    record::reader::RowIter,
    schema::types::Type,
};

use super::shared::SharedFile;

/// A row group for the readers of the library: for record batches, and for rows.
#[derive(Debug)]
pub(super) struct CheckedGroup {
    file: Arc<SharedFile>,
    metadata: Arc<ParquetMetaData>,
    index: usize,
}

impl CheckedGroup {
    pub(super) fn new(file: &SharedFile, metadata: &Arc<ParquetMetaData>, index: usize) -> Self {
        Self { file: Arc::new(file.clone()), metadata: metadata.clone(), index }
    }

    fn group(&self) -> &RowGroupMetaData {
        self.metadata.row_group(self.index)
    }

    fn pages(&self, column: usize) -> Result<CheckedPages> {
        let (rows, chunk) = (RowGroups::num_rows(self), self.group().column(column));
        let pages = SerializedPageReader::new(self.file.clone(), chunk, rows, None)?;
        let descriptor = chunk.column_descr();
        let levels = [descriptor.max_rep_level(), descriptor.max_def_level()];
        Ok(CheckedPages { pages, levels })
    }
}

impl RowGroups for CheckedGroup {
    fn num_rows(&self) -> usize {
        usize::try_from(self.group().num_rows()).unwrap_or_default()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        Ok(Box::new(OneChunk(Some(self.pages(column)))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(iter::once(self.group()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

impl RowGroupReader for CheckedGroup {
    fn metadata(&self) -> &RowGroupMetaData {
        self.group()
    }

    fn num_columns(&self) -> usize {
        self.group().num_columns()
    }

    fn get_column_page_reader(&self, column: usize) -> Result<Box<dyn PageReader>> {
        Ok(Box::new(self.pages(column)?))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of one column in one row group, as the library wants them.
struct OneChunk(Option<Result<CheckedPages>>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| pages.map(|pages| Box::new(pages) as _))
    }
}

impl PageIterator for OneChunk {}

struct CheckedPages {
    pages: SerializedPageReader<SharedFile>,
    /// The largest repetition level and the largest definition level.
    levels: [i16; 2],
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(page) = &page
            && lengths(page, self.levels).is_none()
        {
            let why = "a page has more lengths than values, or they are malformed";
            return Err(ParquetError::General(why.to_owned()));
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        self.pages.take_deferred_dictionary()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

/// Checks the numbers of lengths of a page; `None` if one is too large or malformed.
fn lengths(page: &Page, levels: [i16; 2]) -> Option<()> {
    let most = u64::from(page.num_values());
    match page.encoding() {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => DeltaBytes(values(page, levels)?).head(most).map(drop),
        Encoding::DELTA_BYTE_ARRAY => {
            let mut bytes = DeltaBytes(values(page, levels)?);
            // The lengths of prefixes, then those of suffixes.
            bytes.skip(most)?;
            bytes.head(most).map(drop)
        }
        _ => Some(()),
    }
}

/// The bytes of a page after its levels.
fn values(page: &Page, levels: [i16; 2]) -> Option<&[u8]> {
    match page {
        Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
            let mut bytes: &[u8] = buf;
            let encodings = [rep_level_encoding, def_level_encoding];
            for (level, encoding) in levels.into_iter().zip(encodings) {
                if level > 0 {
                    bytes = after_levels(bytes, level, *num_values, *encoding)?;
                }
            }
            Some(bytes)
        }
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let levels = rep_levels_byte_len.checked_add(*def_levels_byte_len)?;
            buf.get(usize::try_from(levels).ok()?..)
        }
        Page::DictionaryPage { buf, .. } => Some(buf),
    }
}

/// The bytes after the levels of a page of version 1.
fn after_levels(bytes: &[u8], level: i16, values: u32, encoding: Encoding) -> Option<&[u8]> {
    let length = match encoding {
        Encoding::RLE => {
            let length = i32::from_le_bytes(*bytes.first_chunk()?);
            usize::try_from(length).ok()?.checked_add(4)?
        }
        #[allow(deprecated, reason = "old files have it")]
        Encoding::BIT_PACKED => {
            let bits = u64::from(i16::BITS - level.leading_zeros());
            usize::try_from((u64::from(values) * bits).div_ceil(8)).ok()?
        }
        _ => return None,
    };
    bytes.get(length..)
}

/// Bytes that begin with integers in the encoding `DELTA_BINARY_PACKED`.
struct DeltaBytes<'a>(&'a [u8]);

/// The head of such integers.
struct DeltaHead {
    /// Number of integers in a miniblock.
    per_miniblock: u64,
    /// Number of miniblocks in a block.
    miniblocks: usize,
    count: u64,
}

impl<'a> DeltaBytes<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads the head; `None` if there are more than `most` integers.
    fn head(&mut self, most: u64) -> Option<DeltaHead> {
        let (block, miniblocks, count) = (self.varint()?, self.varint()?, self.varint()?);
        // The first integer.
        self.varint()?;
        let head = DeltaHead {
            per_miniblock: block.checked_div(miniblocks)?,
            miniblocks: miniblocks.try_into().ok()?,
            count,
        };
        (count <= most).then_some(head)
    }

    /// Skips the integers.
    fn skip(&mut self, most: u64) -> Option<()> {
        let DeltaHead { per_miniblock, miniblocks, count } = self.head(most)?;
        let mut left = count.saturating_sub(1);
        if left > 0 && per_miniblock == 0 {
            return None;
        }
        while left > 0 {
            // The smallest difference of the block.
            self.varint()?;
            let mut packed = 0_u64;
            for width in self.take(miniblocks)? {
                // The width of a miniblock without integers means nothing.
                if left == 0 {
                    break;
                }
                let bits = per_miniblock.checked_mul(u64::from(*width))?;
                packed = packed.checked_add(bits / 8)?;
                left = left.saturating_sub(per_miniblock);
            }
            self.take(packed.try_into().ok()?)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of 128 integers in 4 miniblocks, this many integers, and the first one.
    fn head(count: u8) -> Vec<u8> {
        vec![0x80, 1, 4, count, 0]
    }

    fn page(encoding: Encoding, num_values: u32, values: &[u8]) -> Page {
        let (levels, buf) = (2_i32.to_le_bytes(), [&[4, 1][..], values].concat());
        Page::DataPage {
            buf: [&levels[..], &buf].concat().into(),
            num_values,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        }
    }

    #[test]
    fn more_lengths_than_values_are_refused() {
        let is_fine = |encoding, values, bytes: &[u8]| {
            lengths(&page(encoding, values, bytes), [0, 1]).is_some()
        };
        let texts = Encoding::DELTA_LENGTH_BYTE_ARRAY;
        assert!(is_fine(texts, 2, &head(2)));
        assert!(!is_fine(texts, 2, &head(3)));
        assert!(!is_fine(texts, 2, &head(2)[..3]));
        assert!(is_fine(Encoding::PLAIN, 2, &head(3)));
        let both = Encoding::DELTA_BYTE_ARRAY;
        // A block: the smallest difference, four widths, and 32 integers of one bit.
        let block = [0, 1, 9, 9, 9, 1, 2, 3, 4];
        assert!(is_fine(both, 2, &[&head(2)[..], &block, &head(2)].concat()));
        assert!(!is_fine(both, 2, &[&head(2)[..], &block, &head(3)].concat()));
        assert!(!is_fine(both, 2, &[&head(2)[..], &block[..7], &head(2)].concat()));
        assert!(is_fine(both, 2, &[head(1), head(1)].concat()));
    }
}
