//! A file that is being written: it counts its bytes, computes their checksum, and is durable once closed.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Stdout, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use twox_hash::XxHash3_128;

use super::remote::Upload;
use super::synced::SyncedFile;
use crate::{
    error::{Error, Result},
    files::FileStatus,
    sink::Output,
    text::hex,
};

/// Size of the write buffer in bytes: 256 KiB. Encoders write in small pieces; larger writes are cheaper.
const BUFFER: usize = 256 << 10;

/// Size, checksum and status of a file at the moment it was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) bytes: u64,
    pub(crate) checksum: PartChecksum,
    /// Status from the file system; `None` for an output that is not a local file.
    pub(crate) status: Option<FileStatus>,
}

impl Closed {
    /// The SHA-256, if the file was [`hashed`](PartFile::hashed).
    pub(crate) fn sha256(&self) -> Option<&str> {
        match &self.checksum {
            PartChecksum::Sha256(text) => Some(text),
            PartChecksum::Xxh3(_) => None,
        }
    }
}

/// A checksum of a file's bytes: SHA-256 if a manifest records it for other readers; otherwise XXH3, which
/// costs a tenth and is compared only by this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PartChecksum {
    Sha256(String),
    Xxh3(u128),
}

impl PartChecksum {
    /// Whether the bytes of a file have this checksum.
    pub(super) fn matches(&self, file: &mut impl Read) -> io::Result<bool> {
        let mut hasher = match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Xxh3(_) => Hasher::xxh3(),
        };
        io::copy(&mut BufReader::with_capacity(BUFFER, file), &mut hasher)?;
        Ok(hasher.finish() == *self)
    }
}

enum Hasher {
    Sha256(Sha256),
    Xxh3(Box<XxHash3_128>),
}

impl Hasher {
    fn xxh3() -> Self {
        Self::Xxh3(Box::new(XxHash3_128::new()))
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Xxh3(hasher) => hasher.write(bytes),
        }
    }

    fn finish(self) -> PartChecksum {
        match self {
            Self::Sha256(hasher) => PartChecksum::Sha256(hex(&hasher.finalize())),
            Self::Xxh3(hasher) => PartChecksum::Xxh3(hasher.finish_128()),
        }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Size and SHA-256 of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A file that a sink writes through [`writer`](Self::writer). Its creator closes it afterwards.
#[derive(Clone)]
pub(crate) struct PartFile {
    /// The local path, or the name in the store. `None` is standard output.
    name: Option<PathBuf>,
    state: Arc<Mutex<PartState>>,
}

struct PartState {
    medium: BufWriter<PartMedium>,
    hasher: Hasher,
    bytes: u64,
    closed: Option<Closed>,
    /// The first write error. Kept here because encoders wrap it and hide its kind.
    failure: Option<io::Error>,
}

enum PartMedium {
    File(SyncedFile),
    Stdout(Stdout),
    #[cfg_attr(
        not(feature = "clouds"),
        allow(dead_code, reason = "a build without object stores creates no upload")
    )]
    Upload(Upload),
    /// No more writes. The file's descriptor and the buffer are released.
    Closed,
}

impl PartFile {
    pub(super) fn new(path: &Path, file: File) -> Self {
        Self::over(Some(path.to_owned()), PartMedium::File(SyncedFile::new(file)))
    }

    pub(super) fn stdout() -> Self {
        Self::over(None, PartMedium::Stdout(io::stdout()))
    }

    #[cfg(feature = "clouds")]
    pub(super) fn upload(upload: Upload) -> Self {
        Self::over(Some(upload.target().to_string().into()), PartMedium::Upload(upload))
    }

    fn over(name: Option<PathBuf>, medium: PartMedium) -> Self {
        let state = PartState {
            medium: BufWriter::with_capacity(BUFFER, medium),
            hasher: Hasher::xxh3(),
            bytes: 0,
            closed: None,
            failure: None,
        };
        Self { name, state: Arc::new(Mutex::new(state)) }
    }

    /// Uses SHA-256 as the checksum. Call it before the first write.
    ///
    /// SHA-256 takes a fiftieth of an export's work, so it is used only if a manifest records it.
    pub(crate) fn hashed(self) -> Self {
        self.state().hasher = Hasher::Sha256(Sha256::new());
        self
    }

    pub(crate) fn writer(&self) -> Output {
        Box::new(self.clone())
    }

    /// Takes the first write error, if any. It is more precise than the encoder's error.
    pub(crate) fn failure(&self) -> Option<Error> {
        let error = self.state().failure.take()?;
        Some(self.explain(error))
    }

    /// Makes the bytes durable and returns their size, checksum and status.
    pub(crate) fn close(&self) -> Result<Closed> {
        let mut state = self.state();
        if let Some(error) = state.failure.take() {
            return Err(self.explain(error));
        }
        let done = state.medium.flush().and_then(|()| match state.medium.get_mut() {
            PartMedium::File(file) => file.close().map(Some),
            PartMedium::Stdout(stdout) => stdout.flush().map(|()| None),
            PartMedium::Upload(upload) => upload.close().map(|()| None).map_err(io::Error::other),
            PartMedium::Closed => Err(io::Error::other("it is already closed")),
        });
        let status = done.map_err(|error| self.explain(error))?;
        state.medium = BufWriter::with_capacity(0, PartMedium::Closed);
        let checksum = std::mem::replace(&mut state.hasher, Hasher::xxh3()).finish();
        let closed = Closed { bytes: state.bytes, checksum, status };
        state.closed = Some(closed.clone());
        Ok(closed)
    }

    /// Returns the result of [`close`](Self::close); `None` if the file was not closed.
    pub(super) fn closed(&self) -> Option<Closed> {
        self.state().closed.clone()
    }

    fn explain(&self, error: io::Error) -> Error {
        // An error of a store is already one of ours: return it unchanged.
        let error = match error.downcast::<Error>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        match &self.name {
            Some(name) => Error::io("write", name)(error),
            None if error.kind() == io::ErrorKind::BrokenPipe => Error::OutputClosed,
            None => Error::Stdout { source: error },
        }
    }

    fn state(&self) -> MutexGuard<'_, PartState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        match state.medium.write(bytes) {
            Ok(written) => {
                state.hasher.update(&bytes[..written]);
                state.bytes += written as u64;
                Ok(written)
            }
            Err(error) => Err(state.remember(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.medium.flush().map_err(|error| state.remember(error))
    }
}

impl PartState {
    fn remember(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let same = io::Error::from(error.kind());
        self.failure.get_or_insert(error);
        same
    }
}

impl Write for PartMedium {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Upload(upload) => upload.write(bytes),
            Self::Closed => Err(io::Error::other("it is closed")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(stdout) => stdout.flush(),
            // Only full blocks are sent: stores allow a shorter block only at the end.
            Self::Upload(_) => Ok(()),
            Self::Closed => Ok(()),
        }
    }
}

impl fmt::Debug for PartFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads a file to its end and returns the size and SHA-256 of its content.
pub(crate) fn examine(file: &mut impl Read) -> io::Result<Examined> {
    let mut sha256 = Hasher::Sha256(Sha256::new());
    let bytes = io::copy(&mut BufReader::with_capacity(BUFFER, file), &mut sha256)?;
    match sha256.finish() {
        PartChecksum::Sha256(sha256) => Ok(Examined { bytes, sha256 }),
        PartChecksum::Xxh3(_) => Err(io::Error::other("the wrong checksum was computed")),
    }
}
