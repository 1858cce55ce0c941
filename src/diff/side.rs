//! One side of a comparison: a file, or a directory of parts with its manifest. The only place that
//! knows where inputs lie; never writes.
//!
//! What was recorded when an export was written is held against what comes: damage is an error, not
//! a difference.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::rows::Rows;
use crate::{
    batch::Column,
    destination::sidecar_path,
    error::{Error, Result},
    facts::digest,
    manifest::{MANIFEST, Manifest, Part, SUCCESS},
    proof::Digest,
    read,
};

#[derive(Debug)]
pub(super) struct Side {
    path: PathBuf,
    files: Vec<DataFile>,
    columns: Option<Vec<Column>>,
    rows: Option<u64>,
}

#[derive(Debug)]
struct DataFile {
    path: PathBuf,
    recorded: Option<Recorded>,
}

/// What a file holds according to its manifest or its own metadata.
#[derive(Debug)]
struct Recorded {
    first_row: u64,
    rows: u64,
    digest: String,
}

impl Side {
    /// Looks at an export without reading its rows.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_dir() { Self::directory(path) } else { Self::file(path) }
    }

    fn directory(path: &Path) -> Result<Self> {
        let manifest = Manifest::read(&path.join(MANIFEST)).map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                damaged(path, format!("it is no export: {MANIFEST} is missing"))
            }
            error => error,
        })?;
        if !path.join(SUCCESS).exists() {
            return Err(damaged(path, format!("the export is not complete: {SUCCESS} is missing")));
        }
        Self::listed(path, path, manifest)
    }

    fn file(path: &Path) -> Result<Self> {
        let sidecar = sidecar_path(path);
        if sidecar.exists() {
            let mut manifest = Manifest::read(&sidecar)?;
            for part in &mut manifest.parts {
                part.path = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            }
            return Self::listed(path, path.parent().unwrap_or(Path::new("")), manifest);
        }
        let mut reader = read::open(path)?;
        let recorded = reader.facts.map(|facts| Recorded {
            first_row: facts.first_row,
            rows: facts.rows,
            digest: facts.digest,
        });
        let rows = match (reader.rows, &recorded) {
            (Some(rows), _) => Some(rows),
            (None, Some(recorded)) => Some(recorded.rows),
            (None, None) => read::count_lines(path)?,
        };
        let columns = match reader.schema {
            Some(schema) => {
                let batch = arrow_array::RecordBatch::new_empty(schema);
                Some(Rows::new(&batch, path)?.columns().collect())
            }
            // JSON Lines name their columns in every line, and in none when there is none.
            None => match reader.batches.next() {
                Some(batch) => Some(Rows::new(&batch?, path)?.columns().collect()),
                None => None,
            },
        };
        let files = vec![DataFile { path: path.to_owned(), recorded }];
        Ok(Self { path: path.to_owned(), files, columns, rows })
    }

    /// The files that a manifest lists, which must be there and as long as it says.
    fn listed(path: &Path, folder: &Path, manifest: Manifest) -> Result<Self> {
        let mut files = Vec::with_capacity(manifest.parts.len());
        let mut first_row = 0;
        for part in manifest.parts {
            let Part { path: name, rows, bytes, digest, .. } = part;
            // A manifest is a file like any other: what it names must stay in its folder.
            if Path::new(&name).file_name().is_none_or(|own| own.to_string_lossy() != *name) {
                let why = format!("the manifest lists {name:?}, which is not a file's name");
                return Err(damaged(path, why));
            }
            let file = folder.join(&name);
            let metadata = match std::fs::metadata(&file) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(damaged(path, format!("{name} is missing")));
                }
                Err(error) => return Err(Error::io("read", file)(error)),
            };
            if metadata.len() != bytes {
                let why = format!("bytes {}, recorded {bytes}", metadata.len());
                return Err(damaged(&file, why));
            }
            let recorded = Some(Recorded { first_row, rows, digest });
            files.push(DataFile { path: file, recorded });
            first_row += rows;
        }
        if first_row != manifest.rows {
            let why = format!("its parts have {first_row} rows, recorded {}", manifest.rows);
            return Err(damaged(path, why));
        }
        let columns = Some(manifest.columns);
        Ok(Self { path: path.to_owned(), files, columns, rows: Some(first_row) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its columns; none when they cannot be known, because JSON Lines without a row name none.
    pub(super) fn columns(&self) -> Option<&[Column]> {
        self.columns.as_deref()
    }

    /// How many rows there are to come, where that is known.
    pub(super) fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// Reads every row, in order, until `visit` has had enough.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a file cannot be read, or does not hold what was recorded.
    pub(super) fn scan(
        &self,
        mut visit: impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        for DataFile { path, recorded } in &self.files {
            let (mut rows, mut sum) = (0, Digest::default());
            for batch in read::open(path)?.batches {
                let batch = batch?;
                let these = Rows::new(&batch, path)?;
                if self.columns.iter().flatten().any(|column| these.is_without(*column)) {
                    let why = "its rows do not all have the same columns";
                    return Err(damaged(path, why.to_owned()));
                }
                if let Some(recorded) = recorded {
                    sum += digest(&batch, recorded.first_row + rows)?;
                }
                rows += batch.num_rows() as u64;
                if visit(&these)?.is_break() {
                    return Ok(());
                }
            }
            if let Some(recorded) = recorded {
                recorded.check(path, rows, sum)?;
            }
        }
        Ok(())
    }

    /// The error of a side that is not what it was a moment ago.
    pub(super) fn moved(&self) -> Error {
        damaged(&self.path, "it changed while it was compared".to_owned())
    }
}

impl Recorded {
    fn check(&self, path: &Path, rows: u64, digest: Digest) -> Result<()> {
        if rows != self.rows {
            return Err(damaged(path, format!("rows {rows}, recorded {}", self.rows)));
        }
        let digest = digest.to_string();
        if digest != self.digest {
            return Err(damaged(path, format!("digest {digest}, recorded {}", self.digest)));
        }
        Ok(())
    }
}

fn damaged(path: &Path, why: String) -> Error {
    Error::Damaged { path: path.to_owned(), why }
}
