//! `_history.jsonl`: one line a run, and only ever more of them. A last line that was cut short is
//! ignored, and repaired by the next run.

use std::{
    fs::OpenOptions,
    io::{Read, Seek, SeekFrom, Write},
};

use chrono::{DateTime, Utc};

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

/// The runs, the oldest first; lines that are none are passed over.
pub(crate) fn read(folder: &Location) -> Result<Vec<JobResult>> {
    let bytes = folder.child(HISTORY).read()?.unwrap_or_default();
    let lines = bytes[..whole(&bytes)].split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// When the last run of a job began, of those that were not told to stop; `None` if there is none.
///
/// # Errors
/// When the history cannot be read, or its store cannot be reached.
pub(crate) fn last_run(job: &Job, storage: &StorageOptions) -> Result<Option<DateTime<Utc>>> {
    let runs = read(&job.folder(storage)?)?;
    let last = runs.iter().rev().find(|run| !run.was_interrupted());
    let began = last.and_then(|run| DateTime::parse_from_rfc3339(&run.started_at).ok());
    Ok(began.map(|began| began.to_utc()))
}

/// How much of it is whole lines.
fn whole(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
