//! What was written: its completeness, the ranges of pages, the splits, and the dataset card.

use serde::{Deserialize, Serialize};

/// Whether an export is proven to be made from all rows of its dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// Every row of the dataset was read exactly once. The export contains them all, or those that its
    /// transformation kept.
    Proven,
    /// Only a range of pages or a number of rows was requested, or the rows were converted from a file without a record.
    /// Nothing is known about the other rows.
    Partial,
}

/// A range of pages that one writer has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WrittenRange {
    /// Number of the first page, from 1.
    pub first_page: u64,
    /// Number of the last page.
    pub last_page: u64,
    /// Number of rows read.
    pub rows_read: u64,
    /// Number of rows written.
    pub rows: u64,
}

/// A split of an export, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WrittenSplit {
    /// Name of the split, and of the folder of its parts.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Digest of the rows' content.
    pub digest: String,
}

/// The dataset card of an export: `README.md` in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WrittenCard {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}
