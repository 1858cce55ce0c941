//! A file or an object, opened to be read at any offset.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use bytes::Bytes;
use parquet::{
    errors::Result as ParquetResult,
    file::reader::{ChunkReader, Length},
};

use super::remote::RemoteFile;

/// The result of [`Location::open`](super::Location::open). Both kinds need bounded memory.
#[derive(Debug)]
pub(crate) enum Opened {
    Local(File),
    #[cfg_attr(not(feature = "clouds"), allow(dead_code, reason = "never constructed"))]
    Remote(RemoteFile),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Remote(file) => file.read(buffer),
        }
    }
}

impl Seek for Opened {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Local(file) => file.seek(to),
            Self::Remote(file) => file.seek(to),
        }
    }
}

impl Length for Opened {
    fn len(&self) -> u64 {
        match self {
            Self::Local(file) => Length::len(file),
            Self::Remote(file) => file.length(),
        }
    }
}

impl ChunkReader for Opened {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(match self {
            Self::Local(file) => Box::new(file.get_read(start)?),
            Self::Remote(file) => Box::new(file.at(start)),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self {
            Self::Local(file) => file.get_bytes(start, length),
            Self::Remote(file) => {
                let mut bytes = Vec::new();
                file.at(start).take(length as u64).read_to_end(&mut bytes)?;
                if bytes.len() < length {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok(bytes.into())
            }
        }
    }
}
