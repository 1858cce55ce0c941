//! The history `history.jsonl`, in the job's hidden folder: one line per run, append-only. Readers ignore an incomplete
//! last line, and the next run removes it.
//!
//! A run that finds the job locked appends its line, too. So the job's lock does not serialize appends. On a file
//! system a lock on the file itself does, and in a store a conditional put.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::JobResult;
use crate::{
    config::Job,
    error::{Error, Result},
    files::{FileStatus, open_here},
    location::{Location, StorageOptions},
    record::place::HIDDEN,
    text::counted,
};

pub(super) const HISTORY: &str = "history.jsonl";

/// Number of bytes to read, from the end of the history. A run takes about 500 bytes, and more for each
/// dataset, so this covers more than 100,000 runs of one dataset.
const LARGEST: u64 = 64 << 20;
/// Number of bytes to read at once when searching for the end of the last complete line.
const STEP: u64 = 64 << 10;
/// Time limit for other runs to append their lines. One line takes milliseconds.
const LOCK_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time between two attempts to lock the file.
const ATTEMPT: Duration = Duration::from_millis(5);

/// Appends a result as one line.
pub(crate) fn append(folder: &Location, result: &JobResult) -> Result<()> {
    let mut line = serde_json::to_vec(result)
        .map_err(|error| Error::Internal(format!("{HISTORY}: {error}")))?;
    line.push(b'\n');
    let history = folder.child(HISTORY);
    if let Some(remote) = history.as_remote() {
        // Stores cannot append, so rewrite the whole history with the new line.
        return remote.update(|before| with_line(before, &line));
    }
    let path = &history.to_path();
    let write = || {
        let options = OpenOptions::new().read(true).write(true).create(true).clone();
        let mut file = open_here(path, options)?;
        if FileStatus::of(&file)?.has_other_names() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a hard link"));
        }
        lock(&file)?;
        let end = end_of_lines(&mut file)?;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&line)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

/// Returns a history with this line added.
fn with_line(before: &[u8], line: &[u8]) -> Vec<u8> {
    let lines = &before[..whole(before)];
    // The answer of an earlier attempt may have been lost.
    let is_there = lines.split_inclusive(|byte| *byte == b'\n').any(|it| it == line);
    if is_there { lines.to_vec() } else { [lines, line].concat() }
}

/// Locks the file until it is closed. Another run holds the lock only while it appends a line.
fn lock(file: &File) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= LOCK_TIME_LIMIT => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another program holds a lock on it",
                ));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(ATTEMPT),
        }
    }
}

/// Returns the offset of the end of the last complete line, in bytes.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        (&mut *file).take(end - start).read_to_end(&mut bytes)?;
        match whole(&bytes) {
            0 => end = start,
            whole => return Ok(start + whole as u64),
        }
    }
    Ok(0)
}

/// Returns the results of a job's runs from its history, oldest first. Blocks.
///
/// Skips lines that are not valid. Of a history longer than 64 MiB (more than 100,000 runs of one dataset), only the
/// last 64 MiB are read.
///
/// # Errors
/// [`Error::Invalid`] if the root of the job is not a valid location. [`Error::Io`] if the history cannot be read.
/// [`Error::Store`] if its object store cannot be reached.
pub fn job_history(job: &Job, storage: &StorageOptions) -> Result<Vec<JobResult>> {
    read(&job.hidden(storage)?)
}

/// The results in a history, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunHistory {
    pub(crate) runs: Vec<JobResult>,
    /// Number of complete lines that are not results of runs.
    pub(crate) unreadable: u64,
    /// Size of the older lines that were not read, in bytes.
    pub(crate) unread_bytes: u64,
}

impl RunHistory {
    /// Reads the history of a job.
    pub(crate) fn of_job(job: &Job, storage: &StorageOptions) -> Result<Self> {
        Self::read(&job.hidden(storage)?, LARGEST)
    }

    /// Reads the newest runs of a job: the last `limit` bytes of its history.
    pub(crate) fn newest_of_job(job: &Job, storage: &StorageOptions, limit: u64) -> Result<Self> {
        Self::read(&job.hidden(storage)?, limit)
    }

    /// Reads the newest runs of a job below a root: the last `limit` bytes of its history.
    pub(crate) fn newest_stored(root: &Location, job: &str, limit: u64) -> Result<Self> {
        Self::read(&root.child(HIDDEN).child(job), limit)
    }

    /// Reads a folder's history. An incomplete last line does not count as unreadable: a run may be writing it.
    fn read(folder: &Location, limit: u64) -> Result<Self> {
        let HistoryTail { bytes, unread_bytes } = complete_lines(folder, limit)?;
        let lines = bytes.split(|byte| *byte == b'\n');
        let (mut runs, mut unreadable) = (Vec::new(), 0);
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            match serde_json::from_slice(line) {
                Ok(run) => runs.push(run),
                Err(_) => unreadable += 1,
            }
        }
        Ok(Self { runs, unreadable, unread_bytes })
    }
}

/// Returns a text about the unreadable lines of a history; `None` if all lines were read.
pub(crate) fn unreadable_text(unreadable: u64) -> Option<String> {
    (unreadable > 0).then(|| format!("{} of {HISTORY} cannot be read", counted(unreadable, "line")))
}

/// Returns the results in a folder's history, oldest first. Skips lines that are not valid.
pub(crate) fn read(folder: &Location) -> Result<Vec<JobResult>> {
    RunHistory::read(folder, LARGEST).map(|history| history.runs)
}

/// The end of a history.
#[derive(Debug, Default, PartialEq)]
struct HistoryTail {
    /// Complete lines.
    bytes: Vec<u8>,
    /// Size of the lines before them.
    unread_bytes: u64,
}

impl HistoryTail {
    /// The complete lines in the bytes from `start` to the end.
    fn of(mut bytes: Vec<u8>, start: u64) -> Self {
        bytes.truncate(whole(&bytes));
        let mut unread_bytes = start;
        if start > 0 {
            // The first byte is most likely in the middle of a line. Drop that line.
            let first = bytes.iter().position(|byte| *byte == b'\n');
            let first = first.map_or(bytes.len(), |at| at + 1);
            bytes.drain(..first);
            unread_bytes += first as u64;
        }
        Self { bytes, unread_bytes }
    }
}

fn complete_lines(folder: &Location, limit: u64) -> Result<HistoryTail> {
    let history = folder.child(HISTORY);
    match history.as_local() {
        Some(path) => tail(path, limit).map_err(Error::io("read", path)),
        None => {
            let mut bytes = history.read()?.unwrap_or_default();
            let start = (bytes.len() as u64).saturating_sub(limit);
            bytes.drain(..start as usize);
            Ok(HistoryTail::of(bytes, start))
        }
    }
}

/// Returns the last complete lines of a file, at most `limit` bytes. A missing file has no lines.
fn tail(path: &Path, limit: u64) -> io::Result<HistoryTail> {
    let mut file = match open_here(path, OpenOptions::new().read(true).clone()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HistoryTail::default()),
        file => file?,
    };
    let start = file.metadata()?.len().saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(HistoryTail::of(bytes, start))
}

/// Returns the length of all complete lines in bytes.
fn whole(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tail_reads_last_complete_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(HISTORY);
        let of = |limit| {
            let HistoryTail { bytes, unread_bytes } = tail(&path, limit).unwrap();
            (String::from_utf8(bytes).unwrap(), unread_bytes)
        };
        assert_eq!(of(9), (String::new(), 0));
        fs::write(&path, "one\ntwo\nthree\nfo").unwrap();
        assert_eq!(of(99), ("one\ntwo\nthree\n".to_owned(), 0));
        assert_eq!(of(14), ("two\nthree\n".to_owned(), 4));
        assert_eq!(of(5), (String::new(), 14));
    }

    fn result(number: u64) -> JobResult {
        serde_json::from_value(serde_json::json!({
            "job": "a", "status": "failed", "started_at": "2026-11-22T02:00:00Z", "finished_at": "",
            "seconds": 9.0, "rows": number, "bytes": 0, "requests": 1, "retries": 0,
            "snapshots": [], "pruned": [], "error": null, "exit_code": 75,
        }))
        .unwrap()
    }

    #[test]
    fn concurrent_appends_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let local = Location::from(folder.path());
        #[cfg(feature = "clouds")]
        let places = [local, Location::in_memory("root/.overmind/a")];
        #[cfg(not(feature = "clouds"))]
        let places = [local];
        for place in places {
            // The last line is torn, as after a power failure.
            place.child(HISTORY).write(b"{\"job\":\"a").unwrap();
            thread::scope(|scope| {
                for number in 0..4 {
                    let place = &place;
                    scope.spawn(move || append(place, &result(number)).unwrap());
                }
            });
            let mut numbers: Vec<u64> = read(&place).unwrap().iter().map(|it| it.rows).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1, 2, 3], "{place}");
            let lines = place.child(HISTORY).read().unwrap().unwrap();
            assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 4, "{place}");
        }
    }

    #[test]
    fn line_is_added_once() {
        assert_eq!(with_line(b"", b"two\n"), b"two\n");
        assert_eq!(with_line(b"one\ntor", b"two\n"), b"one\ntwo\n");
        assert_eq!(with_line(b"one\ntwo\nthree\n", b"two\n"), b"one\ntwo\nthree\n");
    }

    #[test]
    fn end_of_lines_finds_last_complete_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(HISTORY);
        let long = "x".repeat(3 * STEP as usize);
        for (text, end) in [
            (String::new(), 0),
            ("cut".to_owned(), 0),
            ("one\n".to_owned(), 4),
            (format!("one\n{long}"), 4),
            (format!("{long}\ncut"), long.len() as u64 + 1),
        ] {
            fs::write(&path, text).unwrap();
            let mut file = File::open(&path).unwrap();
            assert_eq!(end_of_lines(&mut file).unwrap(), end);
        }
    }
}
