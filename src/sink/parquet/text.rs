//! Encodes a page of texts: the definition levels, then the texts.
//!
//! `DELTA_LENGTH_BYTE_ARRAY` has all lengths, then all bytes as they are in the batches. `PLAIN` has each text after
//! its length. See <https://parquet.apache.org/docs/file-format/data-pages/encodings/>. The writer of the `parquet`
//! crate handles texts one by one and copies each text more than once. This module copies each byte once, on the
//! thread that then compresses them.

use arrow_array::{Array, StringArray};

use crate::sink::ParquetEncoding;

/// Number of deltas in a block and in a miniblock: the smallest numbers that the format allows.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// The rows of a page, as slices of their batches.
#[derive(Default)]
pub(super) struct TextRows {
    slices: Vec<StringArray>,
    rows: usize,
    bytes: usize,
}

impl TextRows {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes rows until the page is full and returns the remaining rows.
    pub(super) fn fill(&mut self, array: StringArray, page_bytes: usize) -> Option<StringArray> {
        let offsets = array.value_offsets();
        let size = |row: usize| (offsets[row] - offsets[0]) as usize;
        // The row that reaches the limit is the last row of the page, of any size: a page has at least one row.
        let room = page_bytes.saturating_sub(self.bytes).max(1);
        let ends = offsets[1..].partition_point(|end| ((end - offsets[0]) as usize) < room);
        let taken = (ends + 1).min(array.len());
        self.rows += taken;
        self.bytes += size(taken);
        let rest = (taken < array.len()).then(|| array.slice(taken, array.len() - taken));
        self.slices.push(if rest.is_some() { array.slice(0, taken) } else { array });
        rest
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the uncompressed bytes of the page to `page`.
    pub(super) fn encode_page(
        &self,
        encoding: ParquetEncoding,
        nullable: bool,
        page: &mut Vec<u8>,
    ) {
        // Growing by doubling could exceed the buffer size that a thread keeps between pages.
        page.reserve_exact(self.bytes + 5 * self.rows + 64);
        if nullable {
            self.levels(page);
        }
        match encoding {
            ParquetEncoding::DeltaLength => {
                self.lengths(page);
                for slice in &self.slices {
                    let offsets = slice.value_offsets();
                    let (start, end) = (offsets[0] as usize, offsets[slice.len()] as usize);
                    page.extend_from_slice(&slice.value_data()[start..end]);
                }
            }
            ParquetEncoding::Plain => {
                for text in self.slices.iter().flatten().flatten() {
                    // It fits: the offsets of an array are 32 bits, too.
                    page.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    page.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    /// Appends the length of the definition levels and the levels, one bit per row, in the RLE/bit-packing hybrid.
    fn levels(&self, page: &mut Vec<u8>) {
        let start = page.len();
        page.extend_from_slice(&[0; 4]);
        let nulls: usize = self.slices.iter().map(Array::null_count).sum();
        if nulls == 0 || nulls == self.rows {
            varint((self.rows as u64) << 1, page);
            page.push(u8::from(nulls == 0));
        } else {
            varint((self.rows.div_ceil(8) as u64) << 1 | 1, page);
            let mut byte = 0;
            let valid = |slice: &StringArray, row| u8::from(slice.is_valid(row));
            let rows =
                self.slices.iter().flat_map(|it| (0..it.len()).map(move |row| valid(it, row)));
            for (row, bit) in rows.enumerate() {
                byte |= bit << (row % 8);
                if row % 8 == 7 || row + 1 == self.rows {
                    page.push(byte);
                    byte = 0;
                }
            }
        }
        let length = (page.len() - start - 4) as u32;
        page[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Appends the lengths of the non-null values as deltas, packed with the minimum number of bits.
    fn lengths(&self, page: &mut Vec<u8>) {
        let nulls: usize = self.slices.iter().map(Array::null_count).sum();
        let mut lengths = self.slices.iter().flat_map(|slice| {
            let offsets = slice.value_offsets();
            (0..slice.len())
                .filter(|row| slice.is_valid(*row))
                .map(|row| i64::from(offsets[row + 1] - offsets[row]))
        });
        varint(BLOCK as u64, page);
        varint((BLOCK / MINIBLOCK) as u64, page);
        varint((self.rows - nulls) as u64, page);
        let mut last = lengths.next().unwrap_or_default();
        zigzag(last, page);
        let mut deltas = [0; BLOCK];
        loop {
            let mut count = 0;
            for length in lengths.by_ref().take(BLOCK) {
                deltas[count] = length - last;
                last = length;
                count += 1;
            }
            if count == 0 {
                return;
            }
            block(&deltas[..count], page);
        }
    }
}

/// Appends a block of up to `BLOCK` deltas. Empty miniblocks are omitted, and a partial miniblock is padded.
fn block(deltas: &[i64], page: &mut Vec<u8>) {
    let least = deltas.iter().copied().min().unwrap_or_default();
    zigzag(least, page);
    let width = |miniblock: &[i64]| {
        let bits = miniblock.iter().fold(0, |bits, delta| bits | (delta - least) as u64);
        (u64::BITS - bits.leading_zeros()) as u8
    };
    let mut widths = [0; BLOCK / MINIBLOCK];
    for (place, miniblock) in widths.iter_mut().zip(deltas.chunks(MINIBLOCK)) {
        *place = width(miniblock);
    }
    page.extend_from_slice(&widths);
    for (bits, miniblock) in widths.into_iter().zip(deltas.chunks(MINIBLOCK)) {
        let (mut buffer, mut filled) = (0_u128, 0);
        for index in 0..MINIBLOCK {
            let delta = miniblock.get(index).map_or(0, |delta| (delta - least) as u128);
            buffer |= delta << filled;
            filled += usize::from(bits);
            while filled >= 8 {
                page.push(buffer as u8);
                buffer >>= 8;
                filled -= 8;
            }
        }
    }
}

fn zigzag(value: i64, page: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)) as u64, page);
}

fn varint(mut value: u64, page: &mut Vec<u8>) {
    while value >= 0x80 {
        page.push(value as u8 | 0x80);
        value >>= 7;
    }
    page.push(value as u8);
}
