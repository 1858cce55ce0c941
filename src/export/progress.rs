//! Counters of a running export. Callers can show them; this module shows nothing itself.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The progress of an export. The export writes it, and any thread can read it. A program that consumes a stream can
/// write its own.
///
/// ```
/// use std::sync::Arc;
/// use overmind_export::Progress;
/// let progress = Arc::new(Progress::default());
/// assert_eq!((progress.rows(), progress.total()), (0, None));
/// ```
#[derive(Debug, Default)]
pub struct Progress {
    rows: AtomicU64,
    kept: AtomicU64,
    total: AtomicU64,
    files: AtomicU64,
    notes: Mutex<Vec<String>>,
}

impl Progress {
    /// Returns the number of rows so far, including the rows of kept parts.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Returns the number of rows of parts that an interrupted run had finished.
    pub fn kept(&self) -> u64 {
        self.kept.load(Relaxed)
    }

    /// Returns the number of rows that the export will have; `None` until the first page has come.
    pub fn total(&self) -> Option<u64> {
        // The stored value is one higher, so that zero means unknown.
        self.total.load(Relaxed).checked_sub(1)
    }

    /// Returns the number of finished files.
    pub fn files(&self) -> u64 {
        self.files.load(Relaxed)
    }

    /// Returns the messages for users since the last call, such as "resuming: …".
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the number of rows that the export will have, and the number of rows of kept parts.
    pub fn begin(&self, total: u64, kept: u64) {
        self.total.store(total.saturating_add(1), Relaxed);
        self.kept.store(kept, Relaxed);
        self.rows.store(kept, Relaxed);
    }

    /// Counts rows.
    pub fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Relaxed);
    }

    pub(crate) fn set_files(&self, files: u64) {
        self.files.store(files, Relaxed);
    }

    pub(crate) fn note(&self, note: String) {
        tracing::info!("{note}");
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}
