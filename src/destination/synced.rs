//! A file on disk, and bytes that are on their way there while more are written: little is left to wait
//! for when it is closed.
//!
//! Durable is only what [`SyncedFile::close`] says is. Never loses an error: what an early sync met, and the
//! system tells but once, is what closing returns.

use std::{
    fs::File,
    io::{self, Write},
    mem,
    sync::mpsc::{self, SyncSender, TrySendError},
    thread::{self, JoinHandle},
};

/// Bytes between early syncs. Each costs the disk a flush: worth it for what takes as long to write, and
/// a file smaller than this has none.
const STEP: u64 = 8 << 20;

pub(super) struct SyncedFile {
    file: File,
    /// Written since an early sync was asked for.
    unsynced: u64,
    early: Early,
    sync: fn(&File) -> io::Result<()>,
}

/// Syncs while the file is written.
enum Early {
    /// Nothing has been worth one.
    Unused,
    Running(SyncSender<()>, JoinHandle<io::Result<()>>),
    /// It has ended with an error, or could not begin: closing does it all.
    Ended(io::Result<()>),
}

impl SyncedFile {
    pub(super) fn new(file: File) -> Self {
        Self::with(file, File::sync_data)
    }

    fn with(file: File, sync: fn(&File) -> io::Result<()>) -> Self {
        Self { file, unsynced: 0, early: Early::Unused, sync }
    }

    /// Makes all bytes durable.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.end_early()?;
        self.file.sync_all()
    }

    /// Asks for an early sync, without waiting for it or for the one before it.
    fn sync_early(&mut self) {
        if matches!(self.early, Early::Unused) {
            self.early = self.start().unwrap_or(Early::Ended(Ok(())));
        }
        match &self.early {
            Early::Running(wanted, _) => match wanted.try_send(()) {
                Ok(()) => self.unsynced = 0,
                // One is asked for already, and the next write asks again.
                Err(TrySendError::Full(())) => {}
                Err(TrySendError::Disconnected(())) => self.early = Early::Ended(self.end_early()),
            },
            Early::Unused | Early::Ended(_) => self.unsynced = 0,
        }
    }

    fn start(&self) -> io::Result<Early> {
        let (file, sync) = (self.file.try_clone()?, self.sync);
        let (wanted, syncs) = mpsc::sync_channel(1);
        let run = move || syncs.into_iter().try_for_each(|()| sync(&file));
        let thread = thread::Builder::new().name("sync".to_owned()).spawn(run)?;
        Ok(Early::Running(wanted, thread))
    }

    /// Waits for the early sync that runs, if any; says what the first one that failed met.
    fn end_early(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.early, Early::Ended(Ok(()))) {
            Early::Unused => Ok(()),
            Early::Ended(result) => result,
            Early::Running(wanted, thread) => {
                drop(wanted);
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync panicked")))
            }
        }
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
        assert!(matches!(file.early, Early::Unused));
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
