//! Reads the rows of an export in order: from the manifest's parts or from a single file, on disk or in a store.
//!
//! Checks no checksums or digests; `verify` does that.

use std::{collections::VecDeque, path::Path};

use arrow_array::RecordBatch;

use crate::{
    error::{Error, Result},
    location::Location,
    readback::{self, ReadOptions, Reader},
    record::{
        manifest::{Manifest, Part},
        place::{self, FoundRecord},
    },
};

/// Iterator over the rows of an export as record batches, in the order of the export.
///
/// A batch ends after 1,000 rows, or with the row that reaches 1 MiB of values. Texts are always `Utf8`, even if
/// the file uses another text type. Memory is bounded, independent of the export's size and of the sizes that a
/// file declares. After an error the iterator returns no more batches.
///
/// ```no_run
/// use overmind_export::{Batches, Location, StorageOptions};
///
/// let nightly = Location::parse("s3://bucket/nightly/", &StorageOptions::default())?;
/// for batch in Batches::open(&nightly)? {
///     println!("{} rows", batch?.num_rows());
/// }
/// # Ok::<(), overmind_export::Error>(())
/// ```
pub struct Batches {
    files: VecDeque<PartFileEntry>,
    open: Option<Reader>,
    rows: Option<u64>,
    options: ReadOptions,
}

/// A part of an export, and the number of its first row among all rows read.
struct PartFileEntry {
    place: Location,
    part: Part,
    first_row: u64,
}

impl Batches {
    /// Opens an export: a directory with its record, or a single file. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Store`] when it does not exist or cannot be read, [`Error::Damaged`] when it is
    /// not an export.
    pub fn open(location: &Location) -> Result<Self> {
        Self::open_with(location, &ReadOptions::default())
    }

    /// Opens an export like [`open`](Self::open), with a choice of columns or another limit for the size of a
    /// value.
    ///
    /// ```no_run
    /// use overmind_export::{Batches, Column, Location, ReadOptions};
    ///
    /// let mut options = ReadOptions::default();
    /// options.columns = vec![Column::Id];
    /// for batch in Batches::open_with(&Location::from("rows.parquet"), &options)? {
    ///     assert_eq!(batch?.num_columns(), 1);
    /// }
    /// # Ok::<(), overmind_export::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same errors as [`open`](Self::open).
    pub fn open_with(location: &Location, options: &ReadOptions) -> Result<Self> {
        let options = options.clone();
        if readback::is_single_file(location)? {
            let reader = Self::reader(location, &options)?;
            let rows = reader.facts.as_ref().map(|facts| facts.rows);
            return Ok(Self { files: VecDeque::new(), open: Some(reader), rows, options });
        }
        let asked = options.record.as_ref();
        let Some(FoundRecord { place, bytes }) = place::find(location, asked)? else {
            let name = place::expected_name(location, asked);
            let (path, why) = (location.to_path(), format!("it has no record: there is no {name}"));
            return Err(Error::Damaged { path, why });
        };
        let manifest = Manifest::parse(&bytes, &place)?;
        // Do not trust the manifest: every file that it lists must be in its own folder.
        let stays = |name: &str| Path::new(name).file_name().is_some_and(|own| own == name);
        if let Some(part) = manifest.parts.iter().find(|part| !stays(&part.path)) {
            let why = format!("it lists {:?}, which is not a file's name", part.path);
            return Err(Error::Damaged { path: place.to_path(), why });
        }
        let mut first_row = 0_u64;
        let entry = |part: Part| {
            let entry = PartFileEntry { place: location.child(&part.path), first_row, part };
            first_row = first_row.saturating_add(entry.part.rows_read);
            entry
        };
        let files = manifest.parts.into_iter().map(entry).collect();
        Ok(Self { files, open: None, rows: Some(manifest.rows), options })
    }

    fn next_part(&mut self) -> Option<Result<Reader>> {
        let PartFileEntry { place, part, first_row } = self.files.pop_front()?;
        let reader = Self::reader(&place, &self.options);
        Some(reader.and_then(|reader| {
            reader.require_part(&place, &part, first_row)?;
            Ok(reader)
        }))
    }

    fn reader(file: &Location, options: &ReadOptions) -> Result<Reader> {
        let reader = readback::open(file, options)?;
        reader.require_columns(file)?;
        Ok(reader)
    }

    /// Returns the recorded number of rows of the export. `None` for JSON Lines without a manifest.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(|reader| reader.batches.next()) {
                if batch.is_err() {
                    (self.open, self.files) = (None, VecDeque::new());
                }
                return Some(batch);
            }
            self.open = None;
            match self.next_part()? {
                Ok(reader) => self.open = Some(reader),
                Err(error) => {
                    self.files.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("rows", &self.rows).finish_non_exhaustive()
    }
}
