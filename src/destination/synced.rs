//! A file on disk, and bytes that are on their way there while more are written: little is left to wait
//! for when it is closed.
//!
//! Durable is only what [`SyncedFile::close`] says is. Never loses an error: what an early sync met, and the
//! system tells but once, is what closing returns.

use std::{
    fs::File,
    io::{self, Write},
    sync::mpsc::{self, SyncSender, TrySendError},
    thread::{self, JoinHandle},
};

use crate::files::FileStatus;

/// Bytes between early syncs. Each costs the disk a flush: worth it for what takes as long to write, and
/// a file smaller than this has none.
const STEP: u64 = 8 << 20;

pub(super) struct SyncedFile {
    file: File,
    /// Written since an early sync was asked for.
    unsynced: u64,
    early: Option<Early>,
    sync: fn(&File) -> io::Result<()>,
}

/// A thread that syncs while the file is written, until it is told no more or meets an error.
struct Early {
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

    /// Makes all bytes durable, and says what the file is then.
    pub(super) fn close(&mut self) -> io::Result<FileStatus> {
        if let Some(Early { wanted, thread }) = self.early.take() {
            drop(wanted);
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync panicked")))?;
        }
        self.file.sync_all()?;
        FileStatus::of(&self.file)
    }

    /// Asks for an early sync, without waiting for it or for the one before it.
    fn sync_early(&mut self) {
        if self.early.is_none() {
            // Without a thread, closing does it all.
            self.early = self.start().ok();
        }
        let asked = self.early.as_ref().map(|early| early.wanted.try_send(()));
        // While one is asked for already, the next write asks again.
        if !matches!(asked, Some(Err(TrySendError::Full(())))) {
            self.unsynced = 0;
        }
    }

    fn start(&self) -> io::Result<Early> {
        let (file, sync) = (self.file.try_clone()?, self.sync);
        let (wanted, syncs) = mpsc::sync_channel(1);
        let run = move || syncs.into_iter().try_for_each(|()| sync(&file));
        let thread = thread::Builder::new().name("sync".to_owned()).spawn(run)?;
        Ok(Early { wanted, thread })
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
    fn bytes_are_synced_before_the_file_is_closed_and_all_of_them_are_there_after() {
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
    fn what_an_early_sync_met_is_what_closing_returns() {
        let folder = tempfile::tempdir().unwrap();
        for megabytes in [8, 64] {
            let file = File::create(folder.path().join("rows")).unwrap();
            let mut file = SyncedFile::with(file, |_| Err(io::Error::other("the disk is gone")));
            write(&mut file, megabytes);
            assert_eq!(file.close().unwrap_err().to_string(), "the disk is gone");
        }
    }
}
