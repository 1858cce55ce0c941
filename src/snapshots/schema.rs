//! The pinned schema of a series: the types of its nested columns, so that all its snapshots are one table.
//!
//! The record of a snapshot has its types, and is published with it. The file `schema.json` is a copy, or types that
//! were accepted later. If it is missing, a run writes it from the newest record before it does anything else. So no
//! kill separates a snapshot from its schema, and the file never has types that no snapshot has and nobody accepted.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    place::SCHEMA_JSON,
    series::{Series, SeriesState},
};
use crate::{
    batch::ColumnType,
    clock::{Clock, SystemClock, text},
    config::Job,
    destination::PlaceLock,
    error::{Error, Result},
    export::ExportPlan,
    location::StorageOptions,
    nested::{NestedField, RESCUED},
    readback::{ReadOptions, widened_types},
    record::{
        manifest::{Manifest, Tool},
        stamp::Stamp,
    },
    text::foreign,
};

/// Returns the pinned types of the columns that the plan still has: a job can have other columns than at the time of the
/// pin.
pub(super) fn types_of_columns(pinned: &[NestedField], plan: &ExportPlan) -> Vec<NestedField> {
    let is_json = |name: &str| {
        let mut columns = plan.columns();
        columns.any(|own| own.name() == name && own.column_type() == ColumnType::Json)
    };
    pinned.iter().filter(|field| is_json(&field.name)).cloned().collect()
}

/// The layout of the file.
const FORMAT_VERSION: u32 = 1;

/// The content of `schema.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PinnedSchema {
    format_version: u32,
    tool: Tool,
    job: String,
    dataset: Uuid,
    /// The snapshot with these types, or the one for whose rows they were accepted.
    snapshot: Stamp,
    /// Time at which they were accepted, RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted_at: Option<String>,
    pub(crate) nested: Vec<NestedField>,
}

/// What a file of another version has, too.
#[derive(Deserialize)]
struct PinnedLayout {
    format_version: u32,
}

impl PinnedSchema {
    /// Returns the schema of a snapshot; `None` if it has no nested columns.
    fn of_snapshot(job: &str, stamp: Stamp, manifest: &Manifest) -> Option<Self> {
        let nested = manifest.nested.clone()?;
        Some(Self {
            format_version: FORMAT_VERSION,
            tool: Tool::this(),
            job: job.to_owned(),
            dataset: manifest.dataset_or_nil(),
            snapshot: stamp,
            accepted_at: None,
            nested: nested.into_iter().filter(|field| field.name != RESCUED).collect(),
        })
    }

    /// Parses the file. The error says why it is not the schema of this job, as a predicate.
    pub(crate) fn parse(
        bytes: &[u8],
        job: &str,
    ) -> std::result::Result<Self, (String, &'static str)> {
        const AGAIN: &str =
            "move it away: the next run takes the types of the newest snapshot again";
        if let Ok(PinnedLayout { format_version }) = serde_json::from_slice(bytes)
            && format_version != FORMAT_VERSION
        {
            let why = format!("has the layout {format_version}, which this version does not read");
            return Err((
                why,
                "update this program, or move the file away: the next run takes the types of the newest snapshot again",
            ));
        }
        let wrong = |why: String| (why, AGAIN);
        let schema: Self = serde_json::from_slice(bytes).map_err(|error| {
            wrong(format!("is not a schema of nested columns: {}", foreign(error)))
        })?;
        if schema.job != job {
            return Err(wrong(format!("is the schema of job {:?}", schema.job)));
        }
        for (place, field) in schema.nested.iter().enumerate() {
            let checked = field.check();
            checked.map_err(|error| wrong(format!("has a wrong type: {error}")))?;
            if schema.nested[..place].iter().any(|other| other.name == field.name) {
                return Err(wrong(format!("has the column {:?} twice", field.name)));
            }
        }
        Ok(schema)
    }
}

impl Series {
    /// Returns the schema in force for the job: that of the file, or else of the newest snapshot, from which the file
    /// is then written. `None` before the first snapshot with nested columns. The caller holds the job's lock.
    ///
    /// # Errors
    /// [`Error::Output`] if the file is not a schema of this job.
    pub(crate) fn pinned(&self, job: &Job) -> Result<Option<PinnedSchema>> {
        if let Some(pinned) = self.read_pinned(job)? {
            return Ok(Some(pinned));
        }
        for stamp in self.stamps()?.into_iter().rev() {
            if let SeriesState::Complete(manifest) = self.state(stamp)?
                && let Some(pinned) = self.pin(job, stamp, &manifest)?
            {
                return Ok(Some(pinned));
            }
        }
        Ok(None)
    }

    /// Reads the file. `None` if there is none for the datasets of the job.
    fn read_pinned(&self, job: &Job) -> Result<Option<PinnedSchema>> {
        let place = self.hidden.child(SCHEMA_JSON);
        let Some(bytes) = place.read()? else { return Ok(None) };
        let pinned = PinnedSchema::parse(&bytes, &self.job).map_err(|(why, hint)| {
            Error::Output { path: place.to_path(), why, hint: Some(hint), source: None }
        })?;
        // The job named another dataset before.
        Ok(Some(pinned).filter(|pinned| job.may_store(pinned.dataset)))
    }

    /// Writes the file from the record of a snapshot, unless the job has one. Returns the schema of the snapshot;
    /// `None` if it has no nested columns, or is of another dataset than the job's.
    fn pin(&self, job: &Job, stamp: Stamp, manifest: &Manifest) -> Result<Option<PinnedSchema>> {
        if !job.may_store(manifest.dataset_or_nil()) {
            return Ok(None);
        }
        let Some(pinned) = PinnedSchema::of_snapshot(&self.job, stamp, manifest) else {
            return Ok(None);
        };
        self.write_pinned(&pinned).map(|()| Some(pinned))
    }

    /// Pins the schema of a snapshot that this run has stored, if it is the first one.
    pub(crate) fn pin_first(&self, job: &Job, stamp: Stamp, manifest: &Manifest) -> Result<()> {
        if manifest.nested.is_none() || self.read_pinned(job)?.is_some() {
            return Ok(());
        }
        self.pin(job, stamp, manifest).map(drop)
    }

    fn write_pinned(&self, pinned: &PinnedSchema) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(pinned)
            .map_err(|error| Error::Internal(format!("{SCHEMA_JSON}: {error}")))?;
        json.push(b'\n');
        self.hidden.child(SCHEMA_JSON).write(&json)
    }

    /// Returns the newest complete snapshot of the job's datasets.
    fn newest_of(&self, job: &Job) -> Result<Option<(Stamp, Box<Manifest>)>> {
        for stamp in self.stamps()?.into_iter().rev() {
            if let SeriesState::Complete(manifest) = self.state(stamp)?
                && job.may_store(manifest.dataset_or_nil())
            {
                return Ok(Some((stamp, manifest)));
            }
        }
        Ok(None)
    }
}

/// The pinned schema of a job, or of one of its datasets, and the schema that also holds the values of the newest
/// snapshot.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WidenedSchema {
    /// The job.
    pub job: String,
    /// The dataset.
    pub dataset: Uuid,
    /// The path of the newest snapshot below the job's folder.
    pub snapshot: String,
    /// Number of rows of the newest snapshot.
    pub rows: u64,
    /// Number of these rows with a value in the column `_rescued`.
    pub rescued_rows: u64,
    /// The pinned types of the JSON columns.
    pub pinned: Vec<NestedField>,
    /// The pinned types, widened so that they hold every value of the newest snapshot. They equal the pinned types if
    /// every value fits.
    pub widened: Vec<NestedField>,
}

/// Returns the schema of a job with nested columns that also holds the values of its newest snapshot. With
/// `select = "all"`, it returns one for each dataset. Blocks. Reads the newest snapshot, and sends no request to the
/// API.
///
/// With `accepts`, it also replaces the pinned schema. The next run then stores a snapshot of these types, also if the
/// data is unchanged. The file is replaced in one step.
///
/// ```no_run
/// use overmind_export::{Config, StorageOptions, widen_schema};
///
/// let config = Config::read("snapshots.toml".as_ref())?;
/// for schema in widen_schema(&config.jobs[0], &StorageOptions::default(), false)? {
///     println!("{}: {} rows with other values", schema.snapshot, schema.rescued_rows);
/// }
/// # Ok::<(), overmind_export::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] if the job has no nested columns. [`Error::NoSnapshot`] if it has no snapshot with nested columns
/// yet. [`Error::Locked`] while the job runs. [`Error::Output`] if the pinned schema cannot be used.
/// [`Error::Damaged`], [`Error::Io`] and [`Error::Store`] if the snapshot cannot be read, or the schema not be written.
pub fn widen_schema(
    job: &Job,
    storage: &StorageOptions,
    accepts: bool,
) -> Result<Vec<WidenedSchema>> {
    if !job.is_nested() {
        let why = format!(
            "job {:?} has no nested columns, so it has no schema: give it json_columns = \"nested\"",
            job.name
        );
        return Err(Error::Usage(why));
    }
    let of_job = Series::of_job(job, storage)?;
    // The check would create the folders of a job that never ran.
    if !of_job.exists()? {
        return Err(Error::NoSnapshot { job: job.name.clone() });
    }
    of_job.check()?;
    let lock = PlaceLock::take(&of_job.staging())?;
    let found = widen_all(&of_job, job, accepts.then_some(&lock));
    let released = lock.release();
    let found = found?;
    released?;
    match found.is_empty() {
        true => Err(Error::NoSnapshot { job: job.name.clone() }),
        false => Ok(found),
    }
}

/// Widens the schema of each series of a job. With the lock of the job, it also pins it.
fn widen_all(
    of_job: &Series,
    job: &Job,
    accepts: Option<&PlaceLock>,
) -> Result<Vec<WidenedSchema>> {
    let mut found = Vec::new();
    for series in of_job.and_datasets()? {
        series.check()?;
        let Some(pinned) = series.pinned(job)? else { continue };
        let Some((stamp, manifest)) = series.newest_of(job)? else { continue };
        let widened = widen(&series, stamp, &asked_types(job, &pinned.nested))?;
        if let Some(lock) = accepts.filter(|_| widened != pinned.nested) {
            lock.confirm()?;
            series.write_pinned(&PinnedSchema {
                tool: Tool::this(),
                snapshot: stamp,
                dataset: manifest.dataset_or_nil(),
                accepted_at: Some(text(SystemClock.now())),
                nested: widened.clone(),
                ..PinnedSchema::clone(&pinned)
            })?;
        }
        found.push(WidenedSchema {
            job: job.name.clone(),
            dataset: manifest.dataset_or_nil(),
            snapshot: series.path(stamp),
            rows: manifest.rows,
            rescued_rows: manifest.rescued().0,
            pinned: pinned.nested,
            widened,
        });
    }
    Ok(found)
}

/// Returns the types to widen: those of the job's file with a schema, or else the pinned ones.
fn asked_types(job: &Job, pinned: &[NestedField]) -> Vec<NestedField> {
    let given = |name: &str| job.nesting.schema.iter().flatten().find(|field| field.name == name);
    pinned.iter().map(|field| given(&field.name).unwrap_or(field).clone()).collect()
}

/// Widens these types until they hold every value of a snapshot.
fn widen(series: &Series, stamp: Stamp, pinned: &[NestedField]) -> Result<Vec<NestedField>> {
    let place = series.target(stamp);
    let read = ReadOptions {
        record: place.as_local().map(|_| series.record(stamp)),
        max_value_bytes: ReadOptions::HIGHEST,
        ..ReadOptions::default()
    };
    // The column of rescued values is not read by itself.
    widened_types(&place, &read, pinned, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nested::NestedType;

    fn parsed(text: &str) -> std::result::Result<PinnedSchema, String> {
        PinnedSchema::parse(text.as_bytes(), "nightly").map_err(|(why, _)| why)
    }

    #[test]
    fn other_files_are_no_schema() {
        let file = |more: &str| {
            format!(
                r#"{{"format_version":1,"tool":{{"name":"overmind-export","version":"1"}},"job":"nightly",
                "dataset":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","snapshot":"20261123T020000Z","nested":[{more}]}}"#
            )
        };
        let int = r#"{"name":"input","type":"int"}"#;
        assert_eq!(
            parsed(&file(int)).unwrap().nested,
            [NestedField::new("input", NestedType::Int)]
        );
        for (text, why) in [
            (String::new(), "is not a schema of nested columns: EOF"),
            ("[]".to_owned(), "is not a schema of nested columns: "),
            (file(r#"{"name":"input","type":"date"}"#), "unknown variant \"date\""),
            (file(&format!("{int},{int}")), r#"has the column "input" twice"#),
            (
                file(r#"{"name":"input","type":"struct","fields":[]}"#),
                "has a wrong type: \".input\" is not a valid schema: a struct needs a field",
            ),
            (file(int).replace("nightly", "other"), r#"is the schema of job "other""#),
            (r#"{"format_version":2,"types":{}}"#.to_owned(), "has the layout 2, which this"),
        ] {
            let told = parsed(&text).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
