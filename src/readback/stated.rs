//! What an export says about itself: in its record, or in the metadata of its only file.

use uuid::Uuid;

use super::{ReadOptions, is_single_file};
use crate::{
    error::Result,
    location::Location,
    record::{
        earlier::EarlierTransform,
        facts::Facts,
        manifest::{Completeness, Manifest},
        place::{self, sidecar_name},
    },
    transform::TransformRecord,
};

/// What an export says about itself. [`verify`](super::verify) checks whether it is true.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatedFacts {
    /// Id of the dataset. `None` if unknown: the export was converted from a file that does not say it.
    pub dataset: Option<Uuid>,
    /// Whether every row of the dataset was proven to have been read.
    pub completeness: Completeness,
    /// Number of rows of the dataset, according to the API. `None` if unknown.
    pub count: Option<u64>,
    /// Number of rows that were read for the export.
    pub rows_read: u64,
    /// Number of rows of the export: those read, or those that its transformation kept.
    pub rows: u64,
    /// How these rows were chosen. `None` if all were written.
    pub transform: Option<TransformRecord>,
    /// The transformations that were made before, the first one first, if the export was converted from another one.
    pub earlier: Vec<EarlierTransform>,
    /// Digest of the rows' content.
    pub digest: String,
}

impl From<&Manifest> for StatedFacts {
    fn from(manifest: &Manifest) -> Self {
        Self {
            dataset: manifest.dataset,
            completeness: manifest.completeness,
            count: manifest.count,
            rows_read: manifest.rows_read,
            rows: manifest.rows,
            transform: manifest.transform.clone(),
            earlier: manifest.earlier.clone(),
            digest: manifest.digest.clone(),
        }
    }
}

impl From<&Facts> for StatedFacts {
    fn from(facts: &Facts) -> Self {
        Self {
            dataset: facts.dataset,
            completeness: facts.completeness_of_file(),
            count: facts.count,
            rows_read: facts.rows_read,
            rows: facts.rows,
            transform: facts.transform.clone(),
            earlier: facts.earlier.clone(),
            digest: facts.digest.clone(),
        }
    }
}

/// Reads the record of an export: of a directory, or the manifest next to a single file. `None` if there is none.
/// Blocks. Does not compare the record with the files.
///
/// ```no_run
/// use overmind_export::{Location, ReadOptions, read_manifest};
///
/// let manifest = read_manifest(&Location::from("out"), &ReadOptions::default())?;
/// println!("{:?}", manifest.map(|manifest| manifest.rows));
/// # Ok::<(), overmind_export::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) or [`Error::Store`](crate::Error::Store) when the export does not exist or the
/// record cannot be read, [`Error::Damaged`](crate::Error::Damaged) when the record is not a manifest.
pub fn read_manifest(export: &Location, options: &ReadOptions) -> Result<Option<Manifest>> {
    let asked = options.record.as_ref();
    if is_single_file(export)? {
        let sidecar = || export.sibling(&sidecar_name(&export.name()));
        return Manifest::load(&asked.cloned().unwrap_or_else(sidecar));
    }
    let found = place::find(export, asked)?;
    found.map(|found| found.manifest()).transpose()
}
