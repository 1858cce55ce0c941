//! `_history.jsonl`: one line a run, and only ever more of them. A last line that was cut short is
//! ignored, and repaired by the next run.

use std::{
    fs::OpenOptions,
    io::{Read, Seek, SeekFrom, Write},
};

use super::JobResult;
use crate::{
    config::Job,
    error::{Error, Result},
    location::{Location, StorageOptions},
};

const HISTORY: &str = "_history.jsonl";

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
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let end = whole(&bytes) as u64;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&line)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

/// The runs of a job that its history has, the oldest first. Blocks.
///
/// # Errors
/// When the history cannot be read, or its store cannot be reached.
pub fn job_history(job: &Job, storage: &StorageOptions) -> Result<Vec<JobResult>> {
    read(&job.folder(storage)?)
}

/// The runs, the oldest first; lines that are none are passed over.
pub(crate) fn read(folder: &Location) -> Result<Vec<JobResult>> {
    let bytes = folder.child(HISTORY).read()?.unwrap_or_default();
    let lines = bytes[..whole(&bytes)].split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// How much of it is whole lines.
fn whole(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
