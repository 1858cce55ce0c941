//! The checksum in a file's own footer: XXH3 over every byte.
//!
//! It detects a single flipped bit without a manifest. It detects accidents, not forgery.
//!
//! The value is `xxh3:BODY:FOOTER`, with 16 hexadecimal digits each. `BODY` is the hash of all bytes before the
//! footer. `FOOTER` is the hash of all bytes from the start of the footer to the end of the file. For `FOOTER`,
//! the digits of the value itself count as zeros. The width is fixed, so that the value can be filled in last.

use std::{
    fmt,
    hash::Hasher,
    io::{self, Read, Write},
};

use twox_hash::XxHash3_64;

use super::Counted;
use crate::{
    error::{Error, Result},
    text::grouped,
};

/// Key of the checksum in a file's own metadata.
pub(crate) const CHECKSUM_KEY: &str = "overmind_export:xxh3";
/// Placeholder for the value: written before the hashes are known, and used when hashing the footer.
pub(super) const BLANK: &str = "xxh3:0000000000000000:0000000000000000";

/// Bytes of a footer that is read, at most. A row group or a batch takes 2 KB of it or less.
pub(crate) const MAX_FOOTER: u64 = 64 << 20;

/// A writer that hashes all bytes. It buffers the tail of the file until the checksum is filled in.
pub(super) struct Sealing {
    output: Counted,
    body: XxHash3_64,
    tail: Option<Vec<u8>>,
}

impl Sealing {
    pub(super) fn new(output: Counted) -> Self {
        Self { output, body: XxHash3_64::new(), tail: None }
    }

    /// Returns the number of bytes written.
    pub(super) fn bytes(&self) -> u64 {
        self.output.bytes
    }

    /// Starts buffering: all following bytes are kept in memory until [`seal`](Self::seal).
    pub(super) fn hold(&mut self) {
        self.tail = Some(Vec::new());
    }

    /// Fills in the checksum and writes the buffered bytes. `footer` returns the size of the footer, with which
    /// the buffered bytes end.
    pub(super) fn seal(&mut self, footer: impl FnOnce(&[u8]) -> Option<usize>) -> Result<()> {
        let lost = || Error::Internal("the footer has no place for its checksum".to_owned());
        let mut tail = self.tail.take().unwrap_or_default();
        let length = footer(&tail).ok_or_else(lost)?;
        let start = tail.len().checked_sub(length).ok_or_else(lost)?;
        self.body.write(&tail[..start]);
        let at = start + find(&tail[start..], BLANK).ok_or_else(lost)?;
        let value = text(self.body.finish(), XxHash3_64::oneshot(&tail[start..]));
        tail[at..at + value.len()].copy_from_slice(value.as_bytes());
        let written = self.output.write_all(&tail).and_then(|()| self.output.flush());
        written.map_err(|error| Error::Encode { format: "a footer", source: error.into() })
    }
}

impl Write for Sealing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tail {
            Some(tail) => {
                tail.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            None => {
                let written = self.output.write(bytes)?;
                self.body.write(&bytes[..written]);
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("output", &self.output).finish_non_exhaustive()
    }
}

/// The result of comparing a file with its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// No byte has changed.
    Whole,
    /// Only bytes before the footer have changed.
    Body,
    /// Only bytes of the footer have changed.
    Footer,
    /// Bytes before the footer and in the footer have changed.
    Both,
}

/// Returns the last text in a footer that looks like a checksum. It does not use the key, because the key and the
/// bytes around the value can be damaged too.
pub(crate) fn find_checksum(footer: &[u8]) -> Option<String> {
    let shape = |(byte, blank): (&u8, u8)| match blank {
        b'0' => byte.is_ascii_hexdigit(),
        _ => *byte == blank,
    };
    let is_one = |value: &&[u8]| value.iter().zip(BLANK.bytes()).all(shape);
    let value = footer.windows(BLANK.len()).rfind(is_one)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Compares a file with the checksum in its footer, which is the last `footer` bytes of the file.
pub(crate) fn check(file: impl Read, length: u64, footer: u64, value: &str) -> io::Result<Sealed> {
    let start = length.checked_sub(footer).ok_or(io::ErrorKind::InvalidData)?;
    if footer > MAX_FOOTER {
        let (footer, limit) = (grouped(footer), grouped(MAX_FOOTER));
        let text = format!("its footer has {footer} bytes, and the limit is {limit}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut body = Hashing(XxHash3_64::new());
    let mut file = file;
    let copied = io::copy(&mut file.by_ref().take(start), &mut body)?;
    let mut tail = Vec::new();
    file.take(footer.saturating_add(1)).read_to_end(&mut tail)?;
    if copied != start || tail.len() as u64 != footer {
        return Err(io::Error::other("its length changed while it was read"));
    }
    if let Some(at) = find(&tail, value) {
        tail[at..at + BLANK.len()].copy_from_slice(BLANK.as_bytes());
    }
    let expected = text(body.0.finish(), XxHash3_64::oneshot(&tail));
    let half = BLANK.len() - 16;
    let body = value.get(..half) == expected.get(..half);
    let footer = value.get(half..) == expected.get(half..);
    Ok(match (body, footer) {
        (true, true) => Sealed::Whole,
        (false, true) => Sealed::Body,
        (true, false) => Sealed::Footer,
        (false, false) => Sealed::Both,
    })
}

struct Hashing(XxHash3_64);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the last position of the value. The value is written after all other texts that could contain it.
fn find(bytes: &[u8], value: &str) -> Option<usize> {
    memchr::memmem::rfind(bytes, value.as_bytes()).filter(|_| value.len() == BLANK.len())
}

fn text(body: u64, footer: u64) -> String {
    format!("xxh3:{body:016x}:{footer:016x}")
}
