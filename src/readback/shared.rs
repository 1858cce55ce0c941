//! An opened file that records the first I/O error.
//!
//! An unreadable file is not a damaged file: the permission may be missing, or the limit of open files may be
//! reached. Decoders turn I/O errors into text, so this module records each error where it occurs.

use std::{
    error::Error as StdError,
    io::{self, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use parquet::{
    errors::{ParquetError, Result as ParquetResult},
    file::reader::{ChunkReader, Length},
};

use sha2::{Digest, Sha256};

use super::damaged;
use crate::{
    error::{Cause, Error, Result},
    location::{Location, Opened},
    text::hex,
};

/// The first I/O error of the system or the store, if any.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadFailure(Arc<Mutex<Option<io::Error>>>);

impl ReadFailure {
    fn note(&self, error: &io::Error) {
        // A file that ends too early is damaged.
        if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted) {
            return;
        }
        // An `io::Error` cannot be cloned, but its number can be copied.
        let copy = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(copy);
    }

    /// Returns the error for a failed decoder: [`Error::Io`] if reading failed, otherwise [`Error::Damaged`].
    pub(super) fn error(&self, path: &Location, cause: Cause) -> Error {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(source) => Error::Io { action: "read", path: path.to_path(), source },
            None => damaged(path, cause),
        }
    }
}

/// A reader that records I/O errors.
#[derive(Debug)]
pub(super) struct ErrorRecorder<R> {
    input: R,
    failure: ReadFailure,
}

impl<R: Read> ErrorRecorder<R> {
    pub(super) fn new(input: R, failure: ReadFailure) -> Self {
        Self { input, failure }
    }
}

impl<R: Read> Read for ErrorRecorder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).inspect_err(|error| self.failure.note(error))
    }
}

/// The SHA-256 of a file that is being read, and the recorded one.
#[derive(Debug, Clone)]
pub(super) struct FileHash {
    recorded: String,
    seen: Arc<Mutex<Sha256>>,
}

impl FileHash {
    pub(super) fn new(recorded: String) -> Self {
        Self { recorded, seen: Arc::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Sha256> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the two, after the file has been read to its end.
    pub(super) fn check(&self, path: &Location) -> Result<()> {
        let seen = self.seen().clone().finalize();
        let seen = hex(&seen);
        if seen == self.recorded {
            return Ok(());
        }
        let why = format!("SHA-256 {seen}, recorded {}", self.recorded);
        Err(Error::Damaged { path: path.to_path(), why })
    }
}

/// A reader that hashes its bytes, if the hash is wanted.
#[derive(Debug)]
pub(super) struct HashingReader<R> {
    pub(super) input: R,
    pub(super) hash: Option<FileHash>,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        if let Some(hash) = &self.hash {
            hash.seen().update(buffer.get(..length).unwrap_or_default());
        }
        Ok(length)
    }
}

/// A file for several readers.
#[derive(Debug, Clone)]
pub(super) struct SharedFile {
    file: Arc<Opened>,
    failure: ReadFailure,
}

impl SharedFile {
    pub(super) fn new(file: Opened) -> Self {
        Self { file: Arc::new(file), failure: ReadFailure::default() }
    }

    /// Returns the error for a failed decoder. See [`ReadFailure::error`].
    pub(super) fn error(&self, path: &Location, cause: Cause) -> Error {
        self.failure.error(path, cause)
    }

    /// Number of places that can be read at the same time without reading bytes twice: the cache of an object has room
    /// for the blocks of two row groups.
    pub(super) fn at_once(&self) -> usize {
        match &*self.file {
            Opened::Local(_) => usize::MAX,
            Opened::Remote(_) => 2,
        }
    }

    fn note(&self, error: &ParquetError) {
        let mut next = error.source();
        while let Some(cause) = next {
            if let Some(error) = cause.downcast_ref() {
                return self.failure.note(error);
            }
            next = cause.source();
        }
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for SharedFile {
    type T = ErrorRecorder<Box<dyn Read>>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let input = self.file.get_read(start).inspect_err(|error| self.note(error))?;
        Ok(ErrorRecorder::new(input, self.failure.clone()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.file.get_bytes(start, length).inspect_err(|error| self.note(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }

    #[test]
    fn error_of_the_system_is_not_damage() {
        let of = |kind| {
            let failure = ReadFailure::default();
            // The decoder gives up, and does not say why.
            assert!(ErrorRecorder::new(Failing(kind), failure.clone()).read(&mut [0]).is_err());
            failure.error(&"rows.parquet".into(), "no page".into())
        };
        let unread = of(io::ErrorKind::PermissionDenied);
        assert_eq!(unread.one_line(), "cannot read rows.parquet: permission denied");
        assert_eq!(unread.exit_code(), 74);
        assert_eq!(of(io::ErrorKind::UnexpectedEof).exit_code(), 65);
    }
}
