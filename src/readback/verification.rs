//! The result of a verification.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Serialize;

use crate::record::manifest::Completeness;

/// The result of [`verify`](super::verify).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Path or URL of the export.
    #[serde(serialize_with = "crate::text::lossy_path")]
    pub path: PathBuf,
    /// Number of files read.
    pub files: u64,
    /// Number of rows in these files.
    pub rows: u64,
    /// The recorded number of rows that were read for them. `None` if not recorded. Without a transformation, these are
    /// the rows in the files.
    pub rows_read: Option<u64>,
    /// The recorded completeness: whether the export contains every row of its dataset. `None` if not recorded.
    pub completeness: Option<Completeness>,
    /// The checks that were made on every file.
    pub checked: BTreeSet<Check>,
    /// Why the export could not be checked, and what to do next: it is not an export, or it has no record.
    pub unchecked: Option<String>,
    /// The problems found, one line each.
    pub problems: Vec<String>,
    /// Each file that could not be read, and why: nothing is known about it.
    pub unread: Vec<String>,
}

/// A check that [`verify`](super::verify) can make on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Check {
    /// SHA-256 in the manifest. Covers every byte.
    Sha256,
    /// XXH3 checksum in the file's own metadata. Covers every byte.
    Xxh3,
    /// Number of rows and digest of their content.
    Rows,
}

impl Verification {
    /// Returns whether the export was checked and has no problem: it is unchanged since it was written.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.unread.is_empty() && self.unchecked.is_none()
    }

    /// Returns whether every byte of every file was checked.
    pub fn covers_every_byte(&self) -> bool {
        [Check::Sha256, Check::Xxh3].iter().any(|check| self.checked.contains(check))
    }

    /// Records the checks made on a file. `checked` keeps the checks that all files had.
    pub(super) fn add(&mut self, checked: BTreeSet<Check>) {
        match self.files {
            0 => self.checked = checked,
            _ => self.checked.retain(|check| checked.contains(check)),
        }
        self.files += 1;
    }
}
