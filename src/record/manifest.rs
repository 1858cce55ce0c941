//! The record of an export: what was asked for, what came, and what each file must be.
//!
//! It is written last, so that its presence means that what it lists is there. It holds what data
//! files must not: times and the base URL. Never a secret.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    batch::Column,
    client::Query,
    error::{Error, Result},
    location::Location,
    record::stamp::Stamp,
    sink::Format,
};

/// The manifest's name in a directory.
pub(crate) const MANIFEST: &str = "_manifest.json";
/// An empty file that says that the directory is complete.
pub(crate) const SUCCESS: &str = "_SUCCESS";

/// Files that a desktop leaves in the folders that it shows. They are nobody's data: they neither keep an
/// export from being replaced nor make it damaged.
const DESKTOP: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// Whether a desktop, not a person, has left the file of this name.
pub(crate) fn is_desktop_file(name: &str) -> bool {
    DESKTOP.contains(&name)
}

/// Whether an export gives its parts names like this: `part-00000.parquet`, or in a store
/// `part-00000-5f3a9c.parquet`. A manifest that lists any other was not written by us, or was changed.
pub(crate) fn is_part_name(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else { return false };
    let Some(rest) = stem.strip_prefix("part-") else { return false };
    let (number, token) = rest.split_once('-').unwrap_or((rest, "0"));
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    number.len() >= 5
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !token.is_empty()
        && token.bytes().all(hexadecimal)
        && ["parquet", "arrow", "jsonl", "jsonl.gz", "jsonl.zst"].contains(&extension)
}

/// What an export holds and how it came about; `_manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of this layout: 1.
    pub format_version: u32,
    /// What wrote it.
    pub tool: Tool,
    /// Where the API lives.
    pub base_url: String,
    /// The dataset.
    pub dataset: Uuid,
    /// Its filters and the order of its rows.
    pub query: Query,
    /// When the first request was sent, RFC 3339, UTC.
    pub started_at: String,
    /// When the last row was written, RFC 3339, UTC.
    pub finished_at: String,
    /// Whether every row of the dataset is here, each once: proven, or not claimed.
    pub completeness: Completeness,
    /// Rows of the dataset, as the API says.
    pub count: u64,
    /// Pages that were read.
    pub pages: u64,
    /// Rows of a full page, as the API gave them.
    pub page_size: u64,
    /// Rows that were written.
    pub rows: u64,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The format of the parts.
    pub format: Format,
    /// Their codec.
    pub compression: String,
    /// A digest of the rows' content, equal for equal content in any format and part size.
    pub digest: String,
    /// Which snapshot of which job it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotOf>,
    /// The files, in the order of their rows.
    pub parts: Vec<Part>,
}

/// What makes an export a snapshot of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotOf {
    /// The job's name.
    pub job: String,
    /// When it was begun, as its folder says it.
    pub stamp: Stamp,
    /// What the list of datasets said of the dataset then, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
}

/// What the list of datasets says of one, as far as it tells whether it is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<i64>,
    /// When it was made.
    pub created_at: Option<String>,
    /// Its rows.
    pub num_datapoints: Option<u64>,
    /// Its metadata, as JSON text.
    pub metadata: Option<String>,
}

/// What wrote an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `overmind-export`.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Tool {
    pub(crate) fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// What is known about the rows that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// Every row of the dataset came once.
    Proven,
    /// A range of pages or a number of rows was asked for: nothing is claimed about the others.
    Partial,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// Relative to the manifest.
    pub path: String,
    /// The first page that it holds.
    pub first_page: u64,
    /// The last.
    pub last_page: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The part's share of the content digest.
    pub digest: String,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Damaged`] when it is not a manifest of a
    /// version that this one knows.
    pub fn read(path: &Path) -> Result<Self> {
        let location = path.into();
        let missing = || Error::io("read", path)(std::io::ErrorKind::NotFound.into());
        Self::load(&location)?.ok_or_else(missing)
    }

    /// As [`read`](Self::read), from anywhere; `None` if there is none.
    pub(crate) fn load(location: &Location) -> Result<Option<Self>> {
        location.read()?.map(|bytes| Self::parse(&bytes, location)).transpose()
    }

    /// As [`load`](Self::load), of bytes that were read from there.
    pub(crate) fn parse(bytes: &[u8], location: &Location) -> Result<Self> {
        let damaged = |why: String| Error::Damaged { path: location.to_path(), why };
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| damaged(format!("it is not a manifest: {error}")))?;
        if manifest.format_version != 1 || manifest.tool.name != env!("CARGO_PKG_NAME") {
            let Tool { name, version } = &manifest.tool;
            return Err(damaged(format!(
                "it was written by {name} {version}, layout {}",
                manifest.format_version
            )));
        }
        Ok(manifest)
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Internal(format!("manifest: {error}")))?;
        json.push(b'\n');
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_an_export_gives_are_part_names() {
        for name in ["part-00000.parquet", "part-123456.jsonl.zst", "part-00007-0a1b2c.arrow"] {
            assert!(is_part_name(name), "{name}");
        }
        for name in [
            "thesis",
            "notes.txt",
            "part-0.parquet",
            "part-00000",
            "part-00000.csv",
            "part-.arrow",
            "part-00000-.arrow",
            "part-00000-xyz.arrow",
            "part-00000-a/b.arrow",
            "part-00000.tar.gz",
        ] {
            assert!(!is_part_name(name), "{name}");
        }
    }
}
