//! `schema`: prints the columns of an export and the types of its JSON columns, or those that a nested export would have.
//! Widens the pinned schema of a job.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{RecordBatch, cast::AsArray};
use clap::{Args, builder::TypedValueParser};
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    global::Global,
    preview::{PreviewSource, source},
    query::FilterArguments,
    storage::Storage,
    value_limit::ValueLimit,
    values,
};
use crate::{
    Batches, ColumnType, Error, NestedField, OutputColumn, Query, ReadOptions, Result, Sink,
    StreamOptions, Transform, TransformPlan, WidenedSchema, Written,
    nested::{InferredColumns, NestPath, NestRules, RESCUED},
    widen_schema, write_transformed,
};

/// Print the columns of an export or of a dataset and the types of its JSON columns, as one JSON object
#[derive(Debug, Args)]
#[command(after_help = "\
The types are those of an export with --json-columns nested. Each json in it has the reason, and the row that
forced it.

--accept is for a job of the configuration file with nested columns, whose first snapshot has pinned its schema. It
prints one JSON object for each dataset of the job, and needs no API key.

Examples:
  overmind-export schema today/ --against yesterday/ || echo 'the schema has changed'
  overmind-export schema --accept nightly --dry-run")]
pub(super) struct SchemaArgs {
    /// Id of a dataset, which is read, or path or URL of an export
    #[arg(value_name = "DATASET_ID|PATH", value_parser = clap::builder::OsStringValueParser::new().try_map(source), required_unless_present = "accept")]
    what: Option<PreviewSource>,
    /// Widen the pinned schema of this job, so that every value of its newest snapshot fits; the next run uses it
    #[arg(long, value_name = "JOB", conflicts_with_all = ["what", "against", "limit", "nest", "text", "max_columns", "record", "max_value_bytes", "FilterArguments"])]
    accept: Option<String>,
    /// With --accept: change nothing, and exit with 1 if something would change
    #[arg(long, requires = "accept")]
    dry_run: bool,
    /// Another export: print what differs, and exit with 1 if anything does
    #[arg(long, value_name = "PATH")]
    against: Option<OsString>,
    /// Read only the first N rows of a dataset
    #[arg(long, value_name = "N", value_parser = values::positive::<u64>)]
    limit: Option<u64>,
    /// Make the object at this path a struct although it looks like a map, such as .input.scores
    #[arg(long, value_name = "PATH", value_parser = values::value::<NestPath>)]
    nest: Vec<NestPath>,
    /// Keep the values at this path JSON text, such as .input.messages[].metadata
    #[arg(long, value_name = "PATH", value_parser = values::value::<NestPath>)]
    text: Vec<NestPath>,
    /// Number of nested columns; the widest objects stay JSON text if there are more [default: 1000]
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_columns: Option<usize>,
    /// Where the record of the export is, if it was written with --record
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    record: Option<PathBuf>,
    #[command(flatten)]
    value_limit: ValueLimit,
    #[command(flatten)]
    filters: FilterArguments,
    #[command(flatten)]
    storage: Storage,
}

/// The columns of an export.
#[derive(Debug, Serialize)]
struct ShownSchema {
    /// Number of rows.
    rows: u64,
    columns: Vec<Value>,
    /// The type of each column that has no columns in it, by path.
    #[serde(skip)]
    leaves: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<Vec<SchemaDifference>>,
    /// What its values are; `None` if its columns have types already.
    #[serde(skip)]
    inferred: Option<InferredColumns>,
    /// The types that hold these values.
    #[serde(skip)]
    types: Vec<NestedField>,
}

/// A column that only one schema has, or that has another type.
#[derive(Debug, Serialize)]
struct SchemaDifference {
    path: String,
    /// Its type in the other export.
    before: Option<String>,
    now: Option<String>,
}

/// The pinned schema of a job, and what is different in the one that holds every value.
#[derive(Debug, Serialize)]
struct ShownPin {
    job: String,
    dataset: uuid::Uuid,
    snapshot: String,
    rows: u64,
    rescued_rows: u64,
    /// Whether the next run uses other types than before.
    accepted: bool,
    nested: Vec<NestedField>,
    differences: Vec<SchemaDifference>,
}

impl ShownPin {
    fn of(schema: WidenedSchema, is_dry: bool) -> Self {
        let leaves = |types: &[NestedField]| {
            let leaves = types.iter().flat_map(NestedField::leaves);
            leaves.map(|(path, kind)| (path, kind.to_owned())).collect::<BTreeMap<_, _>>()
        };
        let differences = differences(&leaves(&schema.pinned), &leaves(&schema.widened));
        let WidenedSchema { job, dataset, snapshot, rows, rescued_rows, widened, .. } = schema;
        let accepted = !is_dry && !differences.is_empty();
        Self { job, dataset, snapshot, rows, rescued_rows, accepted, nested: widened, differences }
    }
}

impl SchemaArgs {
    /// Returns the exit code.
    pub(super) fn run(&self, global: &Global) -> Result<u8> {
        self.rules().check_paths()?;
        let what = match (&self.accept, &self.what) {
            (Some(job), _) => return self.accept(job, global),
            (None, Some(what)) => what,
            (None, None) => return Err(Error::Usage("give a dataset or an export".to_owned())),
        };
        let query = Query::from(self.filters.clone());
        let mut schema = match what {
            PreviewSource::Dataset(dataset) => {
                let client = global.client()?;
                super::block_on(self.dataset(client.dataset(*dataset).query(query)))?
            }
            PreviewSource::Export(_) if query != Query::default() || self.limit.is_some() => {
                return Err(Error::Usage(
                    "filters and --limit are for a dataset: leave them out for an export"
                        .to_owned(),
                ));
            }
            PreviewSource::Export(text) => self.export(text, self.record.as_ref(), global)?,
        };
        let against = self.against.as_ref().map(|other| self.export(other, None, global));
        let against = against.transpose()?;
        self.check_rules(&schema, against.as_ref())?;
        if let Some(other) = against {
            schema.differences = Some(differences(&other.leaves, &schema.leaves));
        }
        let differs = schema.differences.as_ref().is_some_and(|it| !it.is_empty());
        super::print_json(&schema)?;
        Ok(u8::from(differs))
    }

    /// Widens the schema of a job, or says what would change.
    fn accept(&self, job: &str, global: &Global) -> Result<u8> {
        let config = global.required_config()?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let mut differs = false;
        for job in super::snapshot::jobs_of(&config, &[job.to_owned()])? {
            for schema in widen_schema(&job, &storage, !self.dry_run)? {
                let shown = ShownPin::of(schema, self.dry_run);
                differs |= !shown.differences.is_empty();
                super::print_json(&shown)?;
            }
        }
        Ok(u8::from(self.dry_run && differs))
    }

    fn rules(&self) -> NestRules {
        let (nest, text) = (self.nest.clone(), self.text.clone());
        let most_columns = self.max_columns.unwrap_or(NestRules::MOST_COLUMNS);
        NestRules { nest, text, most_columns }
    }

    /// Refuses rules that decide nothing: the types are there already, or a path leads to no value.
    fn check_rules(&self, schema: &ShownSchema, against: Option<&ShownSchema>) -> Result<()> {
        let rules = self.rules();
        let other = against.and_then(|other| other.inferred.as_ref());
        match (&schema.inferred, other) {
            (Some(inferred), other) => inferred.check_with(other)?,
            (None, Some(other)) => other.check()?,
            (None, None) if rules == NestRules::default() => {}
            (None, None) => {
                return Err(Error::Usage(
                    "`nest`, `text` and `max_columns` choose types, and the export has nested columns already: leave \
                     them out"
                        .to_owned(),
                ));
            }
        }
        // One of the two must have a struct there.
        let refused = |it: &ShownSchema| {
            let own = it.inferred.as_ref();
            own.map(|own| own.not_structs(&it.types, &rules))
        };
        let wrong = [Some(schema), against].into_iter().flatten().filter_map(refused);
        let mut wrong: Vec<_> = wrong.collect();
        let other = if wrong.len() > 1 { wrong.pop() } else { None };
        let is_wrong = |path: &NestPath| {
            other.as_ref().is_none_or(|other| other.iter().any(|(own, _)| own == path))
        };
        let first = wrong.into_iter().flatten().find(|(path, _)| is_wrong(path));
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Reads a dataset.
    async fn dataset(&self, reader: crate::DatasetReader) -> Result<ShownSchema> {
        let options = StreamOptions { limit: self.limit, ..StreamOptions::default() };
        let plan = TransformPlan::new(&Transform::new(), None, &[])?;
        let columns: Vec<OutputColumn> = plan.columns().cloned().collect();
        self.rules().check_columns(columns.len())?;
        let tally = SharedTally::new(&self.rules(), PathBuf::new());
        let pages = reader.options(options).pages().into_stream();
        let done = write_transformed(pages, &plan, Box::new(tally.clone())).await?;
        Ok(self.inferred(&columns, tally, done.written.rows))
    }

    /// Returns the recorded types of an export, or else reads its rows.
    fn export(
        &self,
        text: &OsStr,
        record: Option<&PathBuf>,
        global: &Global,
    ) -> Result<ShownSchema> {
        let location = self.storage.location(text, global)?;
        let record = record.map(|path| self.storage.location(path.as_os_str(), global));
        let options = ReadOptions { record: record.transpose()?, ..self.value_limit.options(&[]) };
        let batches = Batches::open_beside(&location, &options)?;
        let mut columns = batches.columns().map(<[_]>::to_vec);
        if let Some(facts) = batches.facts()
            && let Some(nested) = &facts.nested
        {
            return Ok(shown(columns.as_deref().unwrap_or_default(), nested, facts.rows));
        }
        let (mut tally, mut rows) = (SharedTally::new(&self.rules(), location.to_path()), 0);
        for batch in batches {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            let of_batch = || {
                let fields = batch.schema_ref().fields().iter();
                fields.filter_map(|field| OutputColumn::of_field(field)).collect()
            };
            columns.get_or_insert_with(of_batch);
            tally.write(batch)?;
        }
        let columns = columns.as_deref().unwrap_or_default();
        self.rules().check_columns(columns.len())?;
        Ok(self.inferred(columns, tally, rows))
    }

    fn inferred(&self, columns: &[OutputColumn], tally: SharedTally, rows: u64) -> ShownSchema {
        let mut inferred = tally.take();
        let json = columns.iter().filter(|column| column.column_type() == ColumnType::Json);
        // A column without a value in any row has a type, too.
        let others = columns.len() - json.clone().count();
        for column in json {
            inferred.index_of(column.name());
        }
        let types = inferred.resolve(others, &self.rules());
        let shown = shown(columns, &types, rows);
        ShownSchema { inferred: Some(inferred), types, ..shown }
    }
}

/// What the values of JSON columns are, and the number of rows so far.
#[derive(Debug)]
struct SchemaTally {
    columns: InferredColumns,
    rows: u64,
    /// The export that is read.
    place: PathBuf,
}

/// A sink that only looks at the values.
#[derive(Debug, Clone)]
struct SharedTally(Arc<Mutex<SchemaTally>>);

impl SharedTally {
    fn new(rules: &NestRules, place: PathBuf) -> Self {
        let columns = InferredColumns::new([], rules);
        Self(Arc::new(Mutex::new(SchemaTally { columns, rows: 0, place })))
    }

    fn take(self) -> InferredColumns {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let none = InferredColumns::new([], &NestRules::default());
        std::mem::replace(&mut tally.columns, none)
    }
}

impl Sink for SharedTally {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let tally = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first_row = tally.rows + 1;
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let is_json = ColumnType::of_field(field) == Some(ColumnType::Json);
            let Some(texts) = array.as_string_opt::<i32>().filter(|_| is_json) else { continue };
            let index = tally.columns.index_of(field.name());
            for (row, text) in (first_row..).zip(texts) {
                let Some(text) = text else { continue };
                tally.columns.add(index, text, row).map_err(|_| {
                    let why = format!("row {row}: its {} is not JSON", field.name());
                    Error::Damaged { path: tally.place.clone(), why }
                })?;
            }
        }
        tally.columns.count_rows(batch.num_rows());
        tally.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>, _: Option<&str>) -> Result<Written> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner).rows;
        Ok(Written { rows, bytes: 0 })
    }

    fn abort(self: Box<Self>) {}
}

fn shown(columns: &[OutputColumn], nested: &[NestedField], rows: u64) -> ShownSchema {
    let (mut shown, mut leaves) = (Vec::new(), BTreeMap::new());
    for column in columns {
        let own = nested.iter().find(|it| it.name == column.name());
        match own {
            Some(own) => {
                shown.push(json!(own));
                let own = own.leaves().into_iter();
                leaves.extend(own.map(|(path, kind)| (path, kind.to_owned())));
            }
            None => {
                shown.push(json!({"name": column.name(), "type": column.column_type()}));
                let path = NestPath::of_column(column.name()).to_string();
                leaves.insert(path, column.column_type().to_string());
            }
        }
    }
    // A column for values that do not fit is not among those that are read back.
    for own in nested.iter().filter(|own| own.name == RESCUED) {
        shown.push(json!(own));
        leaves.extend(own.leaves().into_iter().map(|(path, kind)| (path, kind.to_owned())));
    }
    let (differences, inferred, types) = (None, None, Vec::new());
    ShownSchema { rows, columns: shown, leaves, differences, inferred, types }
}

/// Returns the columns of which the type differs.
fn differences(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<SchemaDifference> {
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let differs = |path: &&String| before.get(*path) != now.get(*path);
    let difference = |path: &String| SchemaDifference {
        path: path.clone(),
        before: before.get(path).cloned(),
        now: now.get(path).cloned(),
    };
    paths.into_iter().filter(differs).map(difference).collect()
}
