//! A file that a second thread syncs to disk while it is written, so that closing it takes little time.
//!
//! Bytes are durable only after [`SyncedFile::close`] has succeeded. The system reports a sync error only
//! once, so `close` returns the error of an early sync.

use std::{
    fs::File,
    io::{self, Write},
    sync::mpsc::{self, SyncSender, TrySendError},
    thread::{self, JoinHandle},
};

use crate::files::FileStatus;

/// Bytes between early syncs: 8 MiB. Each sync costs a disk flush, and writing 8 MiB takes about as long.
/// A smaller file has no early sync.
const STEP: u64 = 8 << 20;

pub(super) struct SyncedFile {
    file: File,
    /// Bytes written since the last request for an early sync.
    unsynced: u64,
    early: Option<EarlySync>,
    sync: fn(&File) -> io::Result<()>,
}

/// The thread for early syncs. It ends when `wanted` is dropped or when a sync fails.
struct EarlySync {
    wanted: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl SyncedFile {
    pub(super) fn new(file: File) -> Self {
        Self::with(file, File::sync_data)
    }

    fn with(file: File, sync: fn(&File) -> io::Result<()>) -> Self {
        Self { file, unsynced: 0, early: None, sync }
    }

    /// Makes all bytes durable and returns the file's final status.
    pub(super) fn close(&mut self) -> io::Result<FileStatus> {
        if let Some(EarlySync { wanted, thread }) = self.early.take() {
            drop(wanted);
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync panicked")))?;
        }
        self.file.sync_all()?;
        FileStatus::of(&self.file)
    }

    /// Requests an early sync. Does not wait for it, nor for an earlier one.
    fn sync_early(&mut self) {
        if self.early.is_none() {
            // If no thread can be started, `close` does the whole sync.
            self.early = self.start().ok();
        }
        let asked = self.early.as_ref().map(|early| early.wanted.try_send(()));
        // If a request is already queued, the next write tries again.
        if !matches!(asked, Some(Err(TrySendError::Full(())))) {
            self.unsynced = 0;
        }
    }

    fn start(&self) -> io::Result<EarlySync> {
        let (file, sync) = (self.file.try_clone()?, self.sync);
        let (wanted, syncs) = mpsc::sync_channel(1);
        let run = move || syncs.into_iter().try_for_each(|()| sync(&file));
        let thread = thread::Builder::new().name("sync".to_owned()).spawn(run)?;
        Ok(EarlySync { wanted, thread })
    }
}

impl Write for SyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written as u64;
        if self.unsynced >= STEP {
            self.sync_early();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    static MEGABYTE: [u8; 1 << 20] = [7; 1 << 20];

    fn write(file: &mut SyncedFile, megabytes: usize) {
        (0..megabytes).for_each(|_| file.write_all(&MEGABYTE).unwrap());
    }

    #[test]
    fn bytes_are_synced_while_they_are_written() {
        static SYNCS: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let mut file = SyncedFile::with(File::create(&path).unwrap(), |file| {
            SYNCS.fetch_add(1, Ordering::SeqCst);
            file.sync_data()
        });
        write(&mut file, 7);
        assert!(file.early.is_none());
        write(&mut file, 30);
        file.close().unwrap();
        let syncs = SYNCS.load(Ordering::SeqCst);
        assert!((1..=4).contains(&syncs), "{syncs}");
        assert!(fs::read(path).unwrap() == MEGABYTE.repeat(37));
    }

    #[test]
    fn close_returns_the_error_of_an_early_sync() {
        let folder = tempfile::tempdir().unwrap();
        for megabytes in [8, 64] {
            let file = File::create(folder.path().join("rows")).unwrap();
            let mut file = SyncedFile::with(file, |_| Err(io::Error::other("the disk is gone")));
            write(&mut file, megabytes);
            assert_eq!(file.close().unwrap_err().to_string(), "the disk is gone");
        }
    }
}
