//! The lines of a text file, plain or compressed: JSON Lines and CSV.

use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use super::shared::{ErrorRecorder, FileHash, HashingReader, ReadFailure};
use crate::{
    error::{Error, Result},
    location::Location,
    sink::Compression,
};

/// An open text file.
pub(super) struct TextFile {
    path: Location,
    input: BufReader<Box<dyn Read + Send>>,
    failure: ReadFailure,
    hash: Option<FileHash>,
}

impl TextFile {
    /// Opens a file. With `sha256`, its bytes are hashed for [`check_end`](Self::check_end).
    pub(super) fn open(
        path: &Location,
        compression: Compression,
        sha256: Option<&str>,
    ) -> Result<Self> {
        let failure = ReadFailure::default();
        let hash = sha256.map(|recorded| FileHash::new(recorded.to_owned()));
        let file = HashingReader { input: path.open()?, hash: hash.clone() };
        let file = ErrorRecorder::new(file, failure.clone());
        let input: Box<dyn Read + Send> = match compression {
            Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
            Compression::Zstd(_) => {
                Box::new(zstd::Decoder::new(file).map_err(Error::io("read", path.to_path()))?)
            }
            _ => Box::new(file),
        };
        let input = BufReader::with_capacity(1 << 18, input);
        Ok(Self { path: path.clone(), input, failure, hash })
    }

    pub(super) fn path(&self) -> &Location {
        &self.path
    }

    /// Appends the bytes up to the next line feed, which is included, but at most `limit` bytes. Returns their number, 0
    /// at the end of the file.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>, limit: usize) -> Result<usize> {
        let mut some = (&mut self.input).take(limit as u64);
        some.read_until(b'\n', line).map_err(|error| self.failure.error(&self.path, error.into()))
    }

    /// Compares the bytes with the recorded SHA-256, after the file has been read to its end.
    pub(super) fn check_end(&self) -> Result<()> {
        self.hash.as_ref().map_or(Ok(()), |hash| hash.check(&self.path))
    }

    /// Passes all bytes to `visit`, in blocks. `go_on` is called before each block and can cancel.
    pub(super) fn scan(
        &mut self,
        go_on: impl Fn() -> Result<()>,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<()> {
        loop {
            go_on()?;
            let bytes = self.input.fill_buf();
            let bytes = bytes.map_err(|error| self.failure.error(&self.path, error.into()))?;
            if bytes.is_empty() {
                return Ok(());
            }
            visit(bytes);
            let length = bytes.len();
            self.input.consume(length);
        }
    }
}
