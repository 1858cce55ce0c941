//! A file in the making: bytes are counted on their way, hashed if somebody wants to know, and are
//! durable once closed.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Stdout, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};

#[cfg(feature = "clouds")]
use super::remote::Upload;
use super::synced::SyncedFile;
use crate::{
    error::{Error, Result},
    sink::Output,
};

/// Fewer, larger writes; encoders hand over what they have.
const BUFFER: usize = 256 << 10;

/// What a file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) bytes: u64,
    /// If it was [`hashed`](PartFile::hashed).
    pub(crate) sha256: Option<String>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A file that a sink writes through [`writer`](Self::writer) and that its maker then closes.
#[derive(Clone)]
pub(crate) struct PartFile {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    medium: BufWriter<Medium>,
    sha256: Option<Sha256>,
    bytes: u64,
    /// Kept because encoders wrap it beyond recognition.
    failure: Option<io::Error>,
}

enum Medium {
    File(SyncedFile),
    Stdout(Stdout),
    #[cfg(feature = "clouds")]
    Upload(Upload),
}

impl PartFile {
    pub(super) fn new(path: &Path, file: File) -> Self {
        Self::over(path, Medium::File(SyncedFile::new(file)))
    }

    pub(super) fn stdout() -> Self {
        Self::over(Path::new("standard output"), Medium::Stdout(io::stdout()))
    }

    #[cfg(feature = "clouds")]
    pub(super) fn upload(upload: Upload) -> Self {
        Self::over(&PathBuf::from(upload.target().to_string()), Medium::Upload(upload))
    }

    fn over(path: &Path, medium: Medium) -> Self {
        let state = State {
            medium: BufWriter::with_capacity(BUFFER, medium),
            sha256: None,
            bytes: 0,
            failure: None,
        };
        Self { path: path.to_owned(), state: Arc::new(Mutex::new(state)) }
    }

    /// The same, empty still, with its SHA-256 taken on the way: a fiftieth of an export's work, and
    /// for nothing where no manifest records it.
    pub(crate) fn hashed(self) -> Self {
        self.state().sha256 = Some(Sha256::new());
        self
    }

    pub(crate) fn writer(&self) -> Output {
        Box::new(self.clone())
    }

    /// The error that a write met, if any, in place of the encoder's account of it.
    pub(crate) fn failure(&self) -> Option<Error> {
        let error = self.state().failure.take()?;
        Some(self.explain(error))
    }

    /// Makes the bytes durable and says what they are.
    pub(crate) fn close(&self) -> Result<Closed> {
        let mut state = self.state();
        if let Some(error) = state.failure.take() {
            return Err(self.explain(error));
        }
        let done = state.medium.flush().and_then(|()| match state.medium.get_mut() {
            Medium::File(file) => file.close(),
            Medium::Stdout(stdout) => stdout.flush(),
            #[cfg(feature = "clouds")]
            Medium::Upload(upload) => upload.close().map_err(io::Error::other),
        });
        done.map_err(|error| self.explain(error))?;
        let sha256 = state.sha256.take().map(|sha256| hex(&sha256.finalize()));
        Ok(Closed { bytes: state.bytes, sha256 })
    }

    fn explain(&self, error: io::Error) -> Error {
        let to_pipe = self.path == Path::new("standard output");
        if to_pipe && error.kind() == io::ErrorKind::BrokenPipe {
            return Error::OutputClosed;
        }
        // What a store said has been put in words already.
        let error = match error.downcast::<Error>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        Error::io("write", &self.path)(error)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        match state.medium.write(bytes) {
            Ok(written) => {
                if let Some(sha256) = &mut state.sha256 {
                    sha256.update(&bytes[..written]);
                }
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

impl State {
    fn remember(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let same = io::Error::from(error.kind());
        self.failure.get_or_insert(error);
        same
    }
}

impl Write for Medium {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
            #[cfg(feature = "clouds")]
            Self::Upload(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(stdout) => stdout.flush(),
            // Blocks leave when they are full: a shorter one is allowed at the end alone.
            #[cfg(feature = "clouds")]
            Self::Upload(_) => Ok(()),
        }
    }
}

impl fmt::Debug for PartFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes and SHA-256 of what a file holds.
pub(crate) fn examine(file: &mut impl Read) -> io::Result<Examined> {
    let mut sha256 = Sha256::new();
    let mut file = BufReader::with_capacity(BUFFER, file);
    let bytes = io::copy(&mut file, &mut HashWriter(&mut sha256))?;
    Ok(Examined { bytes, sha256: hex(&sha256.finalize()) })
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
