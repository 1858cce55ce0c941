//! One side of a comparison: a file, or a directory of parts with its manifest. Never writes.
//!
//! Only this module knows the locations of the inputs. It compares each file with the record of its export: damage
//! is an error, not a difference.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow_array::RecordBatch;
use parquet::file::reader::Length;

use super::rows::Rows;
use crate::{
    batch::Column,
    error::{Error, Result},
    location::Location,
    proof::Digest,
    readback::{self, ReadOptions},
    record::{
        facts::digest,
        manifest::{Manifest, Part},
        place::{self, sidecar_name},
    },
    text::grouped,
};

#[derive(Debug)]
pub(super) struct Side {
    place: Location,
    files: Vec<DataFile>,
    columns: Option<Vec<Column>>,
    rows: Option<u64>,
    stop: Arc<AtomicBool>,
    options: ReadOptions,
}

#[derive(Debug)]
struct DataFile {
    place: Location,
    recorded: Option<Recorded>,
    /// The entry of the manifest, and the number of the file's first row among the rows read.
    part: Option<(Part, u64)>,
}

/// The recorded content of a file, from the manifest or from the file's own metadata.
#[derive(Debug)]
struct Recorded {
    rows: u64,
    digest: String,
}

impl Side {
    /// Opens an export and reads its metadata, but not its rows.
    pub(super) fn open(
        place: &Location,
        stop: Arc<AtomicBool>,
        options: ReadOptions,
    ) -> Result<Self> {
        let is_directory = match place.as_local() {
            Some(_) => !readback::is_single_file(place)?,
            None => place.is_directory()?,
        };
        if !is_directory && !place.is_file()? && place.as_local().is_none() {
            return Err(Error::Store {
                action: "read",
                url: place.to_string(),
                hint: None,
                source: "no object and no prefix with this name exists".into(),
            });
        }
        if is_directory {
            Self::directory(place, stop, options)
        } else {
            Self::file(place, stop, options)
        }
    }

    fn directory(place: &Location, stop: Arc<AtomicBool>, options: ReadOptions) -> Result<Self> {
        let names = place.names()?;
        let asked = options.record.as_ref();
        let Some(record) = place::find(place, asked)? else {
            let name = place::expected_name(place, asked);
            return Err(damaged(place, format!("it is not an export: {name} is missing")));
        };
        let manifest = Manifest::parse(&record.bytes, &record.place)?;
        for part in &manifest.parts {
            // Do not trust the manifest: every file that it lists must be in its own folder.
            let own = Path::new(&part.path).file_name();
            if own.is_none_or(|own| own.to_string_lossy() != *part.path) {
                let why = format!("the manifest lists {:?}, which is not a file's name", part.path);
                return Err(damaged(place, why));
            }
            if !names.contains(&part.path) {
                return Err(damaged(place, format!("{} is missing", part.path)));
            }
        }
        Self::listed(place, manifest, stop, options, |name| place.child(name))
    }

    fn file(place: &Location, stop: Arc<AtomicBool>, options: ReadOptions) -> Result<Self> {
        if let Some(manifest) = Manifest::load(&place.sibling(&sidecar_name(&place.name())))? {
            return Self::listed(place, manifest, stop, options, |_| place.clone());
        }
        let mut reader = readback::open(place, &options)?;
        reader.require_export(place)?;
        let recorded =
            reader.facts.map(|facts| Recorded { rows: facts.rows, digest: facts.digest });
        let rows = match (reader.rows, &recorded) {
            (Some(rows), _) => Some(rows),
            (None, Some(recorded)) => Some(recorded.rows),
            (None, None) => readback::count_lines(place, || go_on(&stop))?,
        };
        let columns = match reader.schema {
            Some(schema) => {
                let batch = RecordBatch::new_empty(schema);
                Some(Rows::new(&batch, place)?.columns().collect())
            }
            // In JSON Lines only the lines name the columns. Without a line, the columns are unknown.
            None => match reader.batches.next() {
                Some(batch) => Some(Rows::new(&batch?, place)?.columns().collect()),
                None => None,
            },
        };
        let files = vec![DataFile { place: place.clone(), recorded, part: None }];
        Ok(Self { place: place.clone(), files, columns, rows, stop, options })
    }

    /// Opens the files that a manifest lists. Their sizes must be as recorded.
    fn listed(
        place: &Location,
        manifest: Manifest,
        stop: Arc<AtomicBool>,
        options: ReadOptions,
        file: impl Fn(&str) -> Location,
    ) -> Result<Self> {
        let mut files = Vec::with_capacity(manifest.parts.len());
        let (mut first_row, mut rows) = (0_u64, 0_u64);
        for part in manifest.parts {
            let (file, bytes) = (file(&part.path), part.bytes);
            let length = Length::len(&file.open()?);
            if length != bytes {
                return Err(damaged(
                    &file,
                    format!("bytes {}, recorded {}", grouped(length), grouped(bytes)),
                ));
            }
            let recorded = Some(Recorded { rows: part.rows, digest: part.digest.clone() });
            rows = rows.saturating_add(part.rows);
            let read = part.rows_read;
            files.push(DataFile { place: file, recorded, part: Some((part, first_row)) });
            first_row = first_row.saturating_add(read);
        }
        if rows != manifest.rows {
            let (rows, recorded) = (grouped(rows), grouped(manifest.rows));
            let why = format!("its parts have {rows} rows, recorded {recorded}");
            return Err(damaged(place, why));
        }
        let columns = Some(manifest.columns);
        Ok(Self { place: place.clone(), files, columns, rows: Some(rows), stop, options })
    }

    pub(super) fn place(&self) -> &Location {
        &self.place
    }

    /// Returns the columns, or `None` if they are unknown: JSON Lines without a row name no columns.
    pub(super) fn columns(&self) -> Option<&[Column]> {
        self.columns.as_deref()
    }

    /// Returns the number of rows, if it is known before reading them.
    pub(super) fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// Reads all rows in order, until `visit` returns [`ControlFlow::Break`].
    ///
    /// # Errors
    /// [`Error::Damaged`] when a file cannot be read or does not match its record. [`Error::Interrupted`] when the
    /// caller has set the stop flag. Every error of `visit`.
    pub(super) fn scan(
        &self,
        mut visit: impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        for DataFile { place, recorded, part } in &self.files {
            let (mut rows, mut whole) = (0, Digest::default());
            let reader = readback::open(place, &self.options)?;
            reader.require_export(place)?;
            if let Some((part, first_row)) = part {
                reader.require_part(place, part, *first_row)?;
            }
            for batch in reader.batches {
                let batch = batch?;
                go_on(&self.stop)?;
                let these = Rows::new(&batch, place)?;
                if self.columns.iter().flatten().any(|column| these.is_without(*column)) {
                    let why = "its rows do not all have the same columns";
                    return Err(damaged(place, why.to_owned()));
                }
                if recorded.is_some() {
                    whole.join(digest(&batch)?, batch.num_rows() as u64);
                }
                rows += batch.num_rows() as u64;
                if visit(&these)?.is_break() {
                    return Ok(());
                }
            }
            if let Some(recorded) = recorded {
                recorded.check(place, rows, whole)?;
            }
        }
        Ok(())
    }

    /// Returns the error of an export that changed between the two passes.
    pub(super) fn changed(&self) -> Error {
        damaged(&self.place, "it changed while it was compared".to_owned())
    }
}

impl Recorded {
    fn check(&self, place: &Location, rows: u64, digest: Digest) -> Result<()> {
        if rows != self.rows {
            let why = format!("rows {}, recorded {}", grouped(rows), grouped(self.rows));
            return Err(damaged(place, why));
        }
        let digest = digest.to_string();
        if digest != self.digest {
            return Err(damaged(place, format!("digest {digest}, recorded {}", self.digest)));
        }
        Ok(())
    }
}

/// Returns [`Error::Interrupted`] if the stop flag is set.
fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted { signal: "its caller", number: 2, hint: None });
    }
    Ok(())
}

fn damaged(place: &Location, why: String) -> Error {
    Error::Damaged { path: place.to_path(), why }
}
