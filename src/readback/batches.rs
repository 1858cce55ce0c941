//! Reads the rows of an export in order: from the manifest's parts or from a single file, on disk or in a store.
//!
//! Refuses a record that belongs to other files. Computes no checksum of Parquet and Arrow files and no digest of
//! rows; `verify` does that.

use std::collections::VecDeque;
#[cfg(feature = "cli")]
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

#[cfg(feature = "cli")]
use crate::sink::Encoding;
use crate::{
    batch::{ColumnType, OutputColumn},
    error::Result,
    location::Location,
    nested::RESCUED,
    readback::{
        self, ReadOptions, Reader, StatedFacts,
        recorded_files::{RecordedFile, RecordedFiles},
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
    files: VecDeque<RecordedFile>,
    open: Option<Box<dyn Iterator<Item = Result<RecordBatch>>>>,
    facts: Option<StatedFacts>,
    columns: Option<Vec<OutputColumn>>,
    options: ReadOptions,
}

impl Batches {
    /// Opens an export: a directory with its record, or a single file. Blocks.
    ///
    /// The record of a directory must belong to its files. Their names and sizes and the record's totals are
    /// compared here, the facts in a file's metadata before its first row. JSON Lines and CSV have no metadata:
    /// their SHA-256 is compared when the iterator reaches the end of the file, before it returns the file's last rows.
    /// [`verify`](super::verify) checks every byte.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) or [`Error::Store`](crate::Error::Store) when it does not exist or cannot be
    /// read, [`Error::Damaged`](crate::Error::Damaged) when it is not an export, or does not match its record,
    /// [`Error::ChangedCells`](crate::Error::ChangedCells) when it is CSV with protected cells.
    pub fn open(location: &Location) -> Result<Self> {
        Self::open_with(location, &ReadOptions::default())
    }

    /// Opens an export like [`open`](Self::open), with a choice of columns or another limit for the size of a
    /// value.
    ///
    /// ```no_run
    /// use overmind_export::{Batches, Location, ReadOptions};
    ///
    /// let mut options = ReadOptions::default();
    /// options.columns = vec!["id".to_owned()];
    /// for batch in Batches::open_with(&Location::from("rows.parquet"), &options)? {
    ///     assert_eq!(batch?.num_columns(), 1);
    /// }
    /// # Ok::<(), overmind_export::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same errors as [`open`](Self::open).
    pub fn open_with(location: &Location, options: &ReadOptions) -> Result<Self> {
        let is_file = readback::is_single_file(location)?;
        let recorded = match &options.record {
            Some(record) if is_file => Some(RecordedFiles::of_file(location, record)?),
            None if is_file => None,
            _ => Some(RecordedFiles::of_directory(location, options)?),
        };
        Self::of(location, options.clone(), recorded)
    }

    /// Opens an export like [`open_with`](Self::open_with). A file of lines, which cannot say the types of its columns,
    /// has its record next to it, if there is one.
    #[cfg(feature = "cli")]
    pub(crate) fn open_beside(location: &Location, options: &ReadOptions) -> Result<Self> {
        let encoding = Encoding::of_path(Path::new(&location.name()));
        let is_text = encoding.is_some_and(|encoding| encoding.format().is_text());
        if options.record.is_some() || !is_text || !readback::is_single_file(location)? {
            return Self::open_with(location, options);
        }
        let recorded = RecordedFiles::find_of_file(location, None)?;
        Self::of(location, options.clone(), recorded)
    }

    /// Opens a single file without a record, or the files of a record.
    fn of(
        location: &Location,
        options: ReadOptions,
        recorded: Option<RecordedFiles>,
    ) -> Result<Self> {
        let Some(RecordedFiles { manifest, files }) = recorded else {
            let reader = readback::open(location, &options)?;
            reader.require_columns(location)?;
            let facts = reader.facts.as_ref().map(StatedFacts::from);
            let of_schema = |schema: &SchemaRef| {
                schema.fields().iter().filter_map(|field| OutputColumn::of_field(field)).collect()
            };
            let columns = reader.schema.as_ref().map(of_schema);
            let files = VecDeque::new();
            let open = Some(reader.batches.ahead(&options));
            return Ok(Self { files, open, facts, columns, options });
        };
        let facts = Some(StatedFacts::from(&manifest));
        let rescued = manifest.has_rescued() && options.columns.iter().any(|it| it == RESCUED);
        let mut columns = manifest.columns;
        columns.retain(|it| options.wants(it.name()));
        if rescued {
            columns.push(OutputColumn::computed(RESCUED, ColumnType::Json)?);
        }
        let columns = Some(columns);
        Ok(Self { files: files.into(), open: None, facts, columns, options })
    }

    fn next_part(&mut self) -> Option<Result<Reader>> {
        let file = self.files.pop_front()?;
        let reader = file.open(&self.options);
        Some(reader.and_then(|reader| {
            reader.require_columns(&file.place)?;
            Ok(reader)
        }))
    }

    /// Returns the recorded number of rows of the export. `None` for a single file of JSON Lines or CSV.
    pub fn rows(&self) -> Option<u64> {
        self.facts.as_ref().map(|facts| facts.rows)
    }

    /// Returns the columns of the batches. `None` for a single JSON Lines file, where only the rows name the columns.
    pub fn columns(&self) -> Option<&[OutputColumn]> {
        self.columns.as_deref()
    }

    /// Returns what the export says about itself. `None` for JSON Lines and CSV without a manifest.
    pub fn facts(&self) -> Option<&StatedFacts> {
        self.facts.as_ref()
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                if batch.is_err() {
                    (self.open, self.files) = (None, VecDeque::new());
                }
                return Some(batch);
            }
            self.open = None;
            match self.next_part()? {
                Ok(reader) => self.open = Some(reader.batches.ahead(&self.options)),
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
        f.debug_struct("Batches").field("rows", &self.rows()).finish_non_exhaustive()
    }
}
