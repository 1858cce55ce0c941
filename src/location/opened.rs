//! A file or an object, opened to be read at any offset.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;
use parquet::{
    errors::Result as ParquetResult,
    file::reader::{ChunkReader, Length},
};

use super::remote::RemoteFile;
use crate::files::read_at;

/// Most bytes that are allocated before they are read: 4 MiB, more than a page has.
const CAPACITY: usize = 4 << 20;

/// The result of [`Location::open`](super::Location::open). Both kinds need bounded memory.
#[derive(Debug)]
pub(crate) enum Opened {
    Local(Arc<File>),
    #[cfg_attr(not(feature = "clouds"), allow(dead_code, reason = "never constructed"))]
    Remote(RemoteFile),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.as_ref().read(buffer),
            Self::Remote(file) => file.read(buffer),
        }
    }
}

impl Seek for Opened {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Local(file) => file.as_ref().seek(to),
            Self::Remote(file) => file.seek(to),
        }
    }
}

impl Length for Opened {
    fn len(&self) -> u64 {
        match self {
            Self::Local(file) => Length::len(file.as_ref()),
            Self::Remote(file) => file.length(),
        }
    }
}

impl ChunkReader for Opened {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(match self {
            Self::Local(file) => Box::new(BufReader::new(FileAt { file: file.clone(), at: start })),
            Self::Remote(file) => Box::new(file.at(start)),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // A file can declare more bytes than it has, so the vector grows only with the bytes that were read.
        let mut bytes = Vec::with_capacity(length.min(CAPACITY));
        let limit = length as u64;
        match self {
            Self::Local(file) => {
                FileAt { file: file.clone(), at: start }.take(limit).read_to_end(&mut bytes)
            }
            Self::Remote(file) => file.at(start).take(limit).read_to_end(&mut bytes),
        }?;
        if bytes.len() < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes.into())
    }
}

/// A position in a file. Several threads can read the file, each at its own position.
#[derive(Debug)]
struct FileAt {
    file: Arc<File>,
    at: u64,
}

impl Read for FileAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = read_at(&self.file, buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}
