//! What an interrupted run leaves for the next: a header, then one line for each finished part.
//!
//! A line is written after its part is durable; a line that was cut short by a crash is ignored.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    manifest::Part,
};

/// What must be the same for a run to be continued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) plan: Value,
    pub(crate) count: u64,
    pub(crate) started_at: String,
}

impl Header {
    /// What differs, in words; `None` when the run can be continued.
    pub(super) fn difference(&self, now: &Self) -> Option<String> {
        if let (Some(then), Some(today)) = (self.plan.as_object(), now.plan.as_object())
            && let Some((key, value)) =
                today.iter().find(|(key, value)| then.get(*key) != Some(value))
        {
            let before = then.get(key).unwrap_or(&Value::Null);
            return Some(format!("its {key} was {before}, now it is {value}"));
        }
        (self.count != now.count)
            .then(|| format!("the dataset had {} rows then, now it has {}", self.count, now.count))
    }
}

/// A finished part of an interrupted run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) part: Part,
    pub(crate) has_next: bool,
    /// The `order` of its last row.
    pub(crate) last_order: Option<i64>,
    /// The file with its ids; not written down, since it follows from the part's name.
    #[serde(skip)]
    pub(crate) ids: PathBuf,
}

#[derive(Debug)]
pub(super) struct Journal(File, PathBuf);

impl Journal {
    pub(super) fn create(path: &Path, header: &Header) -> Result<Self> {
        let file = File::create(path).map_err(Error::io("write", path))?;
        let mut journal = Self(file, path.to_owned());
        journal.append(header)?;
        Ok(journal)
    }

    pub(super) fn reopen(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self(file, path.to_owned()))
    }

    pub(super) fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let mut json = serde_json::to_vec(line)
            .map_err(|error| Error::Internal(format!("journal: {error}")))?;
        json.push(b'\n');
        self.0
            .write_all(&json)
            .and_then(|()| self.0.sync_all())
            .map_err(Error::io("write", &self.1))
    }

    /// The header and the parts; `None` when there is no header that this version can read.
    pub(super) fn read(path: &Path) -> Option<(Header, Vec<Kept>)> {
        let bytes = std::fs::read(path).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let header = serde_json::from_str(lines.next()?).ok()?;
        let parts = lines.map_while(|line| serde_json::from_str(line).ok()).collect();
        Some((header, parts))
    }
}
