//! The journal of a run: a header, one line for each finished part, then the announcement of the publication.
//! A resumed run reads it.
//!
//! A line is written after its part is durable. A line that a crash cut short is ignored, and so is a line that was changed
//! since, which its check value shows.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    changed::changed_option,
    sealed::{opened, sealed},
};
use crate::{
    error::{Error, Result},
    files::Folder,
    record::manifest::Part,
    text::grouped,
};

/// The plan of a run. A run can be resumed only if the plan and the count are still the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) plan: Value,
    pub(crate) count: u64,
    pub(crate) started_at: String,
}

impl Header {
    /// Describes the first difference; `None` when the run can be resumed.
    pub(super) fn difference(&self, now: &Self) -> Option<String> {
        if let (Some(then), Some(today)) = (self.plan.as_object(), now.plan.as_object())
            && let Some(changed) = changed_option(then, today)
        {
            return Some(changed);
        }
        (self.count != now.count).then(|| {
            format!(
                "the dataset had {} rows then, now it has {}",
                grouped(self.count),
                grouped(now.count)
            )
        })
    }
}

/// A finished part of an interrupted run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptPart {
    pub(crate) part: Part,
    pub(crate) has_next: bool,
    /// The `order` of the part's last row.
    pub(crate) last_order: Option<i64>,
    /// Bytes of each row in the file with the part's ids: an id, and what the run keeps with it.
    #[serde(default = "id_bytes", skip_serializing_if = "is_id")]
    pub(crate) entry_bytes: u64,
    /// SHA-256 of the file with the part's ids. A part whose ids differ is not kept: the proof and the comparison of rows
    /// read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ids_sha256: Option<String>,
    /// The key of the hashes in that file, if the run has made one, as hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hash_key: Option<String>,
    /// The file with the part's ids. Not journalled, because the part's name determines it.
    #[serde(skip)]
    pub(crate) ids: PathBuf,
}

fn id_bytes() -> u64 {
    16
}

fn is_id(entry_bytes: &u64) -> bool {
    *entry_bytes == id_bytes()
}

impl KeptPart {
    /// Returns a part that no run resumes, so that its ids are in no file.
    pub(crate) fn without_ids(part: Part) -> Self {
        Self {
            part,
            has_next: false,
            last_order: None,
            entry_bytes: id_bytes(),
            ids_sha256: None,
            hash_key: None,
            ids: PathBuf::new(),
        }
    }

    /// Returns the size of the file with the part's ids.
    pub(super) fn ids_size(&self) -> Option<u64> {
        self.part.rows_read.checked_mul(self.entry_bytes)
    }

    /// Whether the part's numbers of pages and rows are plausible. Another program may have written the journal.
    pub(super) fn is_sound(&self) -> bool {
        /// A part has fewer rows: 2^48.
        const MOST_ROWS: u64 = 1 << 48;
        let Part { first_page, last_page, rows_read, rows, failed, duplicates, .. } = self.part;
        // The parts of a conversion have no pages.
        let has_pages = (1..=last_page).contains(&first_page) && last_page < u64::MAX;
        // A row on which an expression failed can be written, and a row can be mapped to any number of lines.
        (has_pages || (first_page, last_page) == (0, 0))
            && rows.max(rows_read) < MOST_ROWS
            && matches!(self.entry_bytes, 16 | 32)
            && failed.max(duplicates) <= rows_read
            && self.part.rescued <= rows
    }
}

/// The announcement of a publication: the files that the run is about to rename. The record lists the
/// parts with their SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announcement {
    /// SHA-256 of the record.
    pub(super) record: String,
    /// SHA-256 of the record that it may replace. A record that appears later belongs to another export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<String>,
    /// Path of the record, if the user chose it: absolute, or a name in the folder of the staging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
}

/// The journal's line with an announcement.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Announced {
    pub(super) publishing: Announcement,
}

/// Largest journal that is read, in bytes: 128 MiB. 100,000 parts need a third of that.
const LIMIT: u64 = 128 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    pub(super) const NAME: &str = "journal.jsonl";

    pub(super) fn create(folder: &Folder, header: &Header) -> Result<Self> {
        let path = folder.path().join(Self::NAME);
        let file = folder.create_anew(Self::NAME).map_err(Error::io("write", &path))?;
        let mut journal = Self { file, path };
        journal.append(header)?;
        Ok(journal)
    }

    /// Opens a journal for appending. [`read`](Self::read) must have found it whole.
    pub(super) fn reopen(folder: &Folder) -> Result<Self> {
        let path = folder.path().join(Self::NAME);
        let file = folder.write(Self::NAME).and_then(|mut file| {
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        });
        Ok(Self { file: file.map_err(Error::io("write", &path))?, path })
    }

    pub(super) fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let mut json = sealed(line)?;
        json.push(b'\n');
        self.file
            .write_all(&json)
            .and_then(|()| self.file.sync_all())
            .map_err(Error::io("write", &self.path))
    }

    /// Reads the header and the parts; `None` when this version cannot read the header.
    pub(super) fn read(folder: &Folder) -> Option<Contents> {
        let mut bytes = Vec::new();
        folder.read(Self::NAME).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
        Contents::parse(&bytes)
    }
}

/// The content of a journal.
pub(super) struct Contents {
    pub(super) header: Header,
    pub(super) parts: Vec<KeptPart>,
    /// The publication that the run had begun.
    pub(super) publishing: Option<Announcement>,
    /// Whether further lines can be appended: this version can read every line, the last one is complete, and
    /// none announces a publication.
    pub(super) is_whole: bool,
}

impl Contents {
    /// Parses the bytes of a journal; `None` when this version cannot read the header.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let mut lines = lines.filter_map(|line| line.strip_suffix(b"\n"));
        let header = opened(lines.next()?)?;
        let mut is_whole = bytes.ends_with(b"\n");
        let (mut parts, mut publishing) = (Vec::new(), None);
        for line in lines {
            match opened::<KeptPart>(line).filter(KeptPart::is_sound) {
                Some(part) if publishing.is_none() => parts.push(part),
                _ => {
                    // Nothing follows an announcement, and nothing that is not a part precedes it.
                    let announced = opened::<Announced>(line);
                    publishing = announced.map(|it| it.publishing);
                    is_whole = false;
                    break;
                }
            }
        }
        Some(Self { header, parts, publishing, is_whole })
    }
}
