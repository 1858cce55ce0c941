//! The files of an export or of a single file, each with the rows that are recorded of it.

use super::{self as readback, ReadOptions, Reader, recorded_files::RecordedFile};
use crate::{
    error::{Error, Result},
    location::Location,
    proof::Digest,
    record::facts::Facts,
    text::grouped,
};

/// A file to read.
#[derive(Debug)]
pub(crate) enum ExportFile {
    /// A file that a manifest lists.
    Recorded(Box<RecordedFile>),
    /// A file without a manifest, and what its own metadata says.
    Single(Location, Option<RecordedRows>),
}

/// The recorded rows of a file, from the manifest or from the file's own metadata.
#[derive(Debug, Clone)]
pub(crate) struct RecordedRows {
    pub(crate) rows: u64,
    pub(crate) digest: String,
}

impl From<&Facts> for RecordedRows {
    fn from(facts: &Facts) -> Self {
        Self { rows: facts.rows, digest: facts.digest.clone() }
    }
}

impl ExportFile {
    /// Returns the place of the file, its recorded rows and a reader of its rows.
    pub(crate) fn open(
        &self,
        options: &ReadOptions,
    ) -> Result<(&Location, Option<RecordedRows>, Reader)> {
        Ok(match self {
            Self::Recorded(file) => {
                let part = &file.listed.part;
                let recorded = RecordedRows { rows: part.rows, digest: part.digest.clone() };
                (&file.place, Some(recorded), file.open(options)?)
            }
            Self::Single(place, recorded) => {
                (place, recorded.clone(), readback::open(place, options)?)
            }
        })
    }
}

impl RecordedRows {
    /// Compares the rows that were read with the recorded ones.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they differ.
    pub(crate) fn check(&self, place: &Location, rows: u64, digest: Digest) -> Result<()> {
        let differs = |why| Err(Error::Damaged { path: place.to_path(), why });
        if rows != self.rows {
            return differs(format!("rows {}, recorded {}", grouped(rows), grouped(self.rows)));
        }
        let digest = digest.to_string();
        match digest == self.digest {
            true => Ok(()),
            false => differs(format!("digest {digest}, recorded {}", self.digest)),
        }
    }
}
