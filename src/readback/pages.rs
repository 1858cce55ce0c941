//! Reads the page headers of a Parquet column before its pages, to compute the memory that the pages need.
//!
//! A file of a few KB can declare pages of several GB. The `parquet` crate allocates the declared size and never
//! more. So we check the headers first.

use std::io::{self, Read};

use parquet::{errors::ParquetError, file::reader::ChunkReader};

/// Memory that the pages of a column chunk need.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSizes {
    /// Memory of the largest data page plus that of the dictionary in bytes, after decompression.
    pub(super) bytes: u64,
    /// Memory of all pages in bytes, after decompression, with the levels of their values.
    pub(super) whole: u64,
    /// Number of rows to decode at once, so that few pages are in memory at a time.
    pub(super) rows: usize,
}

/// Bytes of pages that one decoding step may span, in addition to its first and last page.
const WINDOW: u64 = 4 << 20;
/// Bytes that one decoding step may produce from values that repeat bytes of earlier values.
const COPIED: u64 = 64 << 20;
/// Maximum number of rows to decode at once.
const ROWS: u64 = 1000;
/// Thrift number of the encoding of texts that keeps their lengths together. A bit can stand for many lengths.
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
/// Thrift number of the encoding in which each value is a prefix of the previous value plus new bytes. Small pages
/// can hold large values in it.
const DELTA_BYTE_ARRAY: i64 = 7;
/// Bytes that the library needs for the lengths of a value, which it decodes for a whole page: two numbers.
const LENGTHS: u64 = 8;
/// Bytes that the library needs for a value of a list: its levels, and an offset or a number.
const LEVELS: u64 = 16;
/// Bytes that the library needs for a value of a dictionary, in addition to its own.
const ENTRY: u64 = 32;
/// Maximum nesting depth of structures in a header. Real headers are less deep.
const DEPTH: u32 = 16;

/// Reads all page headers of a column chunk that starts at the offset `start` and has `length` bytes.
pub(super) fn page_sizes<F: ChunkReader>(
    file: &F,
    start: u64,
    length: u64,
) -> Result<PageSizes, ParquetError> {
    let wrong = |why: &str| ParquetError::General(format!("a page header {why}"));
    let (mut at, end) = (start, start.saturating_add(length));
    let (mut data, mut dictionary, mut rows, mut whole) = (0, 0, ROWS, 0_u64);
    while at < end {
        let mut header = Compact::new(file.get_read(at)?.take(end - at));
        let page = header.page().map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        at = at.saturating_add(header.bytes).saturating_add(page.compressed);
        if at > end {
            return Err(wrong("declares more bytes than the column has"));
        }
        if page.is_dictionary {
            let entries = page.values.saturating_mul(ENTRY);
            dictionary = page.bytes.saturating_add(entries).max(dictionary);
            continue;
        }
        let levels = page.values.saturating_mul(LEVELS);
        whole = whole.saturating_add(page.bytes).saturating_add(levels);
        let lengths = if page.has_lengths { page.values.saturating_mul(LENGTHS) } else { 0 };
        data = page.bytes.saturating_add(lengths).max(data);
        let (size, values) = (page.bytes.max(1), page.values.max(1));
        rows = rows.min(values.saturating_mul(WINDOW) / size).max(1);
        if page.copies {
            rows = rows.min(COPIED / size).max(1);
        }
    }
    let (bytes, whole) = (data.saturating_add(dictionary), whole.saturating_add(dictionary));
    Ok(PageSizes { bytes, whole, rows: rows as usize })
}

/// The fields of a page header.
#[derive(Debug, Default)]
struct PageHeader {
    is_dictionary: bool,
    bytes: u64,
    compressed: u64,
    values: u64,
    /// Whether the values have their lengths apart.
    has_lengths: bool,
    /// Whether values can repeat bytes of values before them.
    copies: bool,
}

/// Reads Thrift's compact protocol, reduced to the types in page headers and footers.
pub(super) struct Compact<R> {
    input: R,
    /// Bytes that were read.
    pub(super) bytes: u64,
}

pub(super) const BYTE: u8 = 3;
pub(super) const I32: u8 = 5;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

impl<R: Read> Compact<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, bytes: 0 }
    }

    fn page(&mut self) -> io::Result<PageHeader> {
        const DICTIONARY_PAGE: i64 = 2;
        let mut page = PageHeader::default();
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            match (field, kind) {
                (1, I32) => page.is_dictionary = self.integer()? == DICTIONARY_PAGE,
                (2, I32) => page.bytes = self.size()?,
                (3, I32) => page.compressed = self.size()?,
                (5 | 7, STRUCT) => self.values(2, &mut page)?,
                (8, STRUCT) => self.values(4, &mut page)?,
                // The library reads these whatever their type is.
                (1..=3 | 5 | 7 | 8, _) => return Err(io::ErrorKind::InvalidData.into()),
                (_, kind) => self.skip(kind, 0)?,
            }
        }
        Ok(page)
    }

    /// Reads what the header of a data page or a dictionary says about its values; `encoding` is the number of the
    /// field with the encoding. A page can have several headers, of which the library uses one.
    fn values(&mut self, encoding: i64, page: &mut PageHeader) -> io::Result<()> {
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            match (field, kind) {
                (1, I32) => page.values = self.size()?.max(page.values),
                (at, I32) if at == encoding => {
                    let encoding = self.integer()?;
                    page.copies |= encoding == DELTA_BYTE_ARRAY;
                    page.has_lengths |=
                        [DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY].contains(&encoding);
                }
                (_, kind) => self.skip(kind, 1)?,
            }
        }
        Ok(())
    }

    /// Returns the type of the next field, or `None` at the end of the structure.
    ///
    /// Updates `number`: a field stores the difference to the previous field's number.
    pub(super) fn field(&mut self, number: &mut i64) -> io::Result<Option<u8>> {
        let byte = self.byte()?;
        if byte & 0xF == 0 {
            return Ok(None);
        }
        *number = match byte >> 4 {
            0 => self.integer()?,
            step => number.wrapping_add(i64::from(step)),
        };
        // The library keeps 16 bits of a number: a larger one would be another field there.
        if i16::try_from(*number).is_err() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(byte & 0xF))
    }

    /// The number of a list's elements, and their type.
    pub(super) fn list(&mut self) -> io::Result<(u64, u8)> {
        let byte = self.byte()?;
        let count = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
        Ok((count, byte & 0xF))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        self.bytes += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    pub(super) fn integer(&mut self) -> io::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn size(&mut self) -> io::Result<u64> {
        u64::try_from(self.integer()?).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn skip_bytes(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.input.by_ref().take(count), &mut io::sink())?;
        self.bytes += skipped;
        if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    pub(super) fn skip(&mut self, kind: u8, depth: u32) -> io::Result<()> {
        if depth > DEPTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match kind {
            // Booleans: the field's type is its value.
            1 | 2 => Ok(()),
            BYTE => self.skip_bytes(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip_bytes(8),
            BINARY => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            LIST | 10 => {
                let (count, kind) = self.list()?;
                let kind = if matches!(kind, 1 | 2) { BYTE } else { kind };
                (0..count).try_for_each(|_| self.skip(kind, depth + 1))
            }
            STRUCT => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Memory of a page of ten bytes with a million values. The zigzag encoding doubles each number.
    fn memory(kind: u8, header: u8, encoding: u8) -> u64 {
        let sizes = [0x15, 2 * kind, 0x15, 20, 0x15, 0, header << 4 | STRUCT];
        let values = [0x15, 0x80, 0x89, 0x7A, 0x15, 2 * encoding, 0, 0];
        let bytes = Bytes::from([&sizes[..], &values].concat());
        page_sizes(&bytes, 0, bytes.len() as u64).unwrap().bytes
    }

    #[test]
    fn memory_of_lengths_and_entries_counts() {
        // The number of a header's field, less three.
        let (data, dictionary) = (2, 4);
        assert_eq!(memory(0, data, 0), 10);
        assert_eq!(memory(0, data, 6), 10 + 8_000_000);
        assert_eq!(memory(0, data, 7), 10 + 8_000_000);
        assert_eq!(memory(2, dictionary, 0), 10 + 32_000_000);
        // A header of the other kind does not hide the dictionary.
        assert_eq!(memory(2, data, 0), 10 + 32_000_000);
    }
}
