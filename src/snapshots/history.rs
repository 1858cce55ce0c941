//! `_history.jsonl`: one line a run, and only ever more of them. A last line that was cut short is
//! ignored, and repaired by the next run.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::JobResult;
use crate::{
    config::Job,
    error::{Error, Result},
    files::{FileStatus, open_here},
    location::{Location, StorageOptions},
};

pub(super) const HISTORY: &str = "_history.jsonl";

/// Bytes of it that are read, the last ones: a run takes half a kilobyte and some more for each dataset.
const LARGEST: u64 = 64 << 20;
/// Bytes that are read at once to find the end of the last whole line.
const STEP: u64 = 64 << 10;

/// Adds a line. The caller holds the job's lock.
pub(crate) fn append(folder: &Location, result: &JobResult) -> Result<()> {
    let mut line = serde_json::to_vec(result)
        .map_err(|error| Error::Internal(format!("{HISTORY}: {error}")))?;
    line.push(b'\n');
    let history = folder.child(HISTORY);
    let Some(path) = history.as_local() else {
        // A store has no appending: what is there is written again with the line.
        let mut bytes = history.read()?.unwrap_or_default();
        bytes.truncate(whole(&bytes));
        bytes.extend(line);
        return history.write(&bytes);
    };
    let write = || {
        let options = OpenOptions::new().read(true).write(true).create(true).clone();
        let mut file = open_here(path, options)?;
        if FileStatus::of(&file)?.has_other_names() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a hard link"));
        }
        let end = end_of_lines(&mut file)?;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&line)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

/// Where the last whole line ends.
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

/// The runs of a job that its history has, the oldest first; of a very long history (64 MiB, some hundred
/// thousand runs) the last ones. Blocks.
///
/// # Errors
/// When the history cannot be read, or its store cannot be reached.
pub fn job_history(job: &Job, storage: &StorageOptions) -> Result<Vec<JobResult>> {
    read(&job.folder(storage)?)
}

/// The runs, the oldest first; lines that are none are passed over.
pub(crate) fn read(folder: &Location) -> Result<Vec<JobResult>> {
    let history = folder.child(HISTORY);
    let bytes = match history.as_local() {
        Some(path) => tail(path, LARGEST).map_err(Error::io("read", path))?,
        None => history.read()?.unwrap_or_default(),
    };
    let lines = bytes[..whole(&bytes)].split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The last lines of a file, as many as have room in `limit` bytes; none if it is missing.
fn tail(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = match open_here(path, OpenOptions::new().read(true).clone()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let start = file.metadata()?.len().saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    if start > 0 {
        // Most likely it begins within a line, which is none then.
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..first);
    }
    Ok(bytes)
}

/// How much of it is whole lines.
fn whole(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn long_histories_are_read_from_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(HISTORY);
        assert_eq!(tail(&path, 9).unwrap(), b"");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&path, 99).unwrap(), b"one\ntwo\nthree\n");
        assert_eq!(tail(&path, 12).unwrap(), b"two\nthree\n");
        assert_eq!(tail(&path, 3).unwrap(), b"");
    }

    #[test]
    fn the_last_whole_line_is_found_from_the_end() {
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
