//! One side of a comparison: a file, or a directory of parts with its manifest. Never writes.
//!
//! Only this module knows the locations of the inputs. It compares each file with the record of its export: damage
//! is an error, not a difference.

use std::{ops::ControlFlow, slice, sync::Arc};

use arrow_array::RecordBatch;

use super::rows::Rows;
use crate::{
    batch::{Column, OutputColumn},
    error::{Error, Result},
    location::Location,
    proof::Digest,
    readback::{
        self, ReadAhead, ReadOptions,
        checked_files::{ExportFile, RecordedRows},
        recorded_files::RecordedFiles,
    },
    record::{Completeness, facts::row_digests},
};

#[derive(Debug)]
pub(super) struct Side {
    place: Location,
    files: Vec<ExportFile>,
    /// The columns of the API.
    columns: Option<Vec<Column>>,
    /// The names of the computed columns. They are not compared.
    computed: Arc<[String]>,
    /// The names of columns that no export has and that are left out, if the files have them.
    drop: Arc<[String]>,
    rows: Option<u64>,
    /// Whether a record or the file itself says that its rows are all rows of a dataset, or some of them.
    is_proven: bool,
    options: ReadOptions,
}

impl Side {
    /// Opens an export and reads its metadata, but not its rows.
    pub(super) fn open(place: &Location, options: ReadOptions, drop: &[String]) -> Result<Self> {
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
        match is_directory {
            true => Self::directory(place, options),
            false => Self::file(place, options, drop),
        }
    }

    fn directory(place: &Location, options: ReadOptions) -> Result<Self> {
        let recorded = RecordedFiles::of_directory(place, &options)?;
        Ok(Self::recorded(place, recorded, options.of_all_columns()))
    }

    fn file(place: &Location, mut options: ReadOptions, drop: &[String]) -> Result<Self> {
        if let Some(recorded) = RecordedFiles::find_of_file(place, options.record.as_ref())? {
            return Ok(Self::recorded(place, recorded, options.of_all_columns()));
        }
        let mut reader;
        (reader, options) = readback::open_unrecorded(place, &options)?;
        reader.require_export_but(place, drop)?;
        let recorded = reader.facts.as_ref().map(RecordedRows::from);
        let is_proven = reader.facts.as_ref().is_some_and(|it| is_proven(it.completeness));
        let rows = match (reader.rows, &recorded) {
            (Some(rows), _) => Some(rows),
            (None, Some(recorded)) => Some(recorded.rows),
            (None, None) => readback::count_rows(place, || options.go_on())?,
        };
        let computed: Arc<[String]> =
            reader.computed.iter().map(|column| column.name().to_owned()).collect();
        let skipped: Vec<_> = computed.iter().chain(drop).cloned().collect();
        let columns = match reader.schema {
            Some(schema) => {
                let batch = RecordBatch::new_empty(schema);
                Some(Rows::new(&batch, place, &skipped)?.columns().collect())
            }
            // In JSON Lines only the lines name the columns. Without a line, the columns are unknown.
            None => match reader.batches.first_lines() {
                Some(batch) => Some(Rows::new(&batch?, place, &skipped)?.columns().collect()),
                None => None,
            },
        };
        let files = vec![ExportFile::Single(place.clone(), recorded)];
        let (place, drop) = (place.clone(), drop.into());
        Ok(Self { place, files, columns, computed, drop, rows, is_proven, options })
    }

    fn recorded(place: &Location, recorded: RecordedFiles, options: ReadOptions) -> Self {
        let RecordedFiles { manifest, files } = recorded;
        let is_proven = is_proven(manifest.completeness);
        let (columns, rows) = (manifest.columns, manifest.rows);
        let of_api = columns.iter().filter_map(OutputColumn::of_api);
        let others = columns.iter().filter(|column| column.of_api().is_none());
        let computed = others.map(|column| column.name().to_owned()).collect();
        let (columns, rows) = (Some(of_api.collect()), Some(rows));
        let files = files.into_iter().map(|file| ExportFile::Recorded(Box::new(file))).collect();
        let (place, drop) = (place.clone(), Arc::default());
        Self { place, files, columns, computed, drop, rows, is_proven, options }
    }

    pub(super) fn place(&self) -> &Location {
        &self.place
    }

    /// Returns the columns, or `None` if they are unknown: JSON Lines without a row name no columns.
    pub(super) fn columns(&self) -> Option<&[Column]> {
        self.columns.as_deref()
    }

    /// Returns the names of the computed columns, which are not compared.
    pub(super) fn computed(&self) -> &[String] {
        &self.computed
    }

    /// Returns the number of rows, if it is known before reading them.
    pub(super) fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// Whether no two rows have the same id: all rows of a dataset were proven to be read once.
    pub(super) fn has_distinct_ids(&self) -> bool {
        self.is_proven
    }

    /// Reads all rows in order. Returns what `map` made of each batch, which runs on the threads that decode. `map` also
    /// returns the size of its result in memory, in bytes. `ahead` limits what the threads read ahead; `None` leaves it to
    /// the options.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a file cannot be read or does not match its record. [`Error::Interrupted`] when the
    /// caller has set the stop flag. Read no further after an error.
    pub(super) fn results<T: Send + 'static, M>(
        &self,
        ahead: Option<ReadAhead>,
        map: M,
    ) -> SideResults<'_, T, M>
    where
        M: Fn(ScannedBatch) -> Result<(T, usize)> + Clone + Send + Sync + 'static,
    {
        SideResults { side: self, files: self.files.iter(), open: None, ahead, map }
    }

    /// Reads all rows in order like [`results`](Self::results), until `visit` returns [`ControlFlow::Break`].
    ///
    /// # Errors
    /// Those of the results. Every error of `visit`.
    pub(super) fn scan<T: Send + 'static>(
        &self,
        map: impl Fn(ScannedBatch) -> Result<(T, usize)> + Clone + Send + Sync + 'static,
        mut visit: impl FnMut(T) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        for result in self.results(None, map) {
            if visit(result?)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens a file, and begins to decode it.
    fn open_file<'s, T: Send + 'static>(
        &'s self,
        file: &'s ExportFile,
        ahead: Option<ReadAhead>,
        map: impl Fn(ScannedBatch) -> Result<(T, usize)> + Send + Sync + 'static,
    ) -> Result<OpenFile<'s, T>> {
        let (place, recorded, reader) = file.open(&self.options)?;
        reader.require_export_but(place, &self.drop)?;
        let skipped = self.computed.iter().chain(self.drop.iter()).cloned();
        let (expected, skipped) = (self.columns.clone(), skipped.collect::<Arc<[String]>>());
        let (is_recorded, file) = (recorded.is_some(), place.clone());
        let map = move |batch: RecordBatch| {
            let (file, skipped) = (file.clone(), skipped.clone());
            let mut digests = Vec::new();
            if is_recorded {
                digests.reserve(batch.num_rows());
                row_digests(&batch, |row| digests.push(row))?;
            }
            let mut digest = Digest::default();
            digests.iter().for_each(|row| digest.push(*row));
            let scanned = ScannedBatch { batch, file, skipped, digests, is_recorded };
            let these = scanned.rows()?;
            if expected.iter().flatten().any(|column| these.is_without(*column)) {
                let why = "its rows do not all have the same columns";
                return Err(damaged(&scanned.file, why.to_owned()));
            }
            let rows = scanned.batch.num_rows() as u64;
            let (result, bytes) = map(scanned)?;
            Ok((MappedRows { result, rows, digest }, bytes))
        };
        let results = match ahead {
            Some(ahead) => reader.batches.mapped_ahead(ahead, map),
            None => reader.batches.mapped(&self.options, map),
        };
        Ok(OpenFile { place, recorded, results, rows: 0, whole: Digest::default() })
    }

    /// Returns the error of an export that changed between the two passes.
    pub(super) fn changed(&self) -> Error {
        damaged(&self.place, "it changed while it was compared".to_owned())
    }
}

/// What was made of the batches of a side, in their order.
pub(super) struct SideResults<'s, T, M> {
    side: &'s Side,
    files: slice::Iter<'s, ExportFile>,
    open: Option<OpenFile<'s, T>>,
    /// How far threads read ahead, if this is not up to the options.
    ahead: Option<ReadAhead>,
    map: M,
}

/// A file that is being read.
struct OpenFile<'s, T> {
    place: &'s Location,
    recorded: Option<RecordedRows>,
    results: Box<dyn Iterator<Item = Result<MappedRows<T>>>>,
    /// Number and digest of the rows so far.
    rows: u64,
    whole: Digest,
}

struct MappedRows<T> {
    result: T,
    rows: u64,
    digest: Digest,
}

impl<T: Send + 'static, M> SideResults<'_, T, M>
where
    M: Fn(ScannedBatch) -> Result<(T, usize)> + Clone + Send + Sync + 'static,
{
    fn read(&mut self) -> Result<Option<T>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.next() else { return Ok(None) };
                self.open = Some(self.side.open_file(file, self.ahead, self.map.clone())?);
                continue;
            };
            let Some(mapped) = open.results.next().transpose()? else {
                if let Some(recorded) = &open.recorded {
                    recorded.check(open.place, open.rows, open.whole)?;
                }
                self.open = None;
                continue;
            };
            self.side.options.go_on()?;
            open.whole.join(mapped.digest, mapped.rows);
            open.rows += mapped.rows;
            return Ok(Some(mapped.result));
        }
    }
}

impl<T: Send + 'static, M> Iterator for SideResults<'_, T, M>
where
    M: Fn(ScannedBatch) -> Result<(T, usize)> + Clone + Send + Sync + 'static,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// A batch of a side, checked.
pub(super) struct ScannedBatch {
    pub(super) batch: RecordBatch,
    file: Location,
    /// The names of the columns that are not compared.
    skipped: Arc<[String]>,
    /// The digest of each row; empty if none is recorded.
    pub(super) digests: Vec<Digest>,
    /// Whether a digest of the rows is recorded. It is compared when all of them were read.
    is_recorded: bool,
}

impl ScannedBatch {
    pub(super) fn rows(&self) -> Result<Rows<'_>> {
        let rows = Rows::new(&self.batch, &self.file, &self.skipped)?;
        Ok(rows.compact(self.is_recorded))
    }
}

fn is_proven(completeness: Completeness) -> bool {
    completeness == Completeness::Proven
}

fn damaged(place: &Location, why: String) -> Error {
    Error::Damaged { path: place.to_path(), why }
}
