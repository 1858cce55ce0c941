//! `preview`: prints the first rows as a table that fits the terminal. Of a Parquet file that is not an export, it
//! shows that file's own columns.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    Batches, Client, Column, ColumnType, Encoding, Error, ExplainedRows, Format, Location,
    OutputColumn, Query, ReadOptions, Result, Sink, Transform, TransformPlan, TransformedBatches,
    arrow_schema::SchemaRef,
    batch::json_texts,
    explain_export,
    export::unchecked,
    readback::ForeignFile,
    text::{did_you_mean, harmless_json},
};
use arrow_array::RecordBatch;
use clap::{Args, builder::TypedValueParser};
use uuid::Uuid;

use super::{
    first_rows::{explained, explanation_table, first_rows, with_flagged_reasons},
    flags::with_flags,
    global::Global,
    lines::Lines,
    missing::missing_values,
    progress::Screen,
    query::FilterArguments,
    row_table::{RowsFound, SharedCells, cells_of, foreign_cell, render},
    storage::Storage,
    table::{Fit, TableColumn},
    transform::TransformArguments,
    value_limit::ValueLimit,
    values,
};

/// The help of `split`, which decides about no row here.
const SPLIT: &str =
    "With --explain: print the split of each row that is kept, such as train=0.9,test=0.1";

/// Print the first rows of a dataset or of an export
#[derive(Debug, Args)]
#[command(mut_arg("split", |it| it.help(SPLIT)))]
pub(super) struct PreviewArgs {
    /// Id of a dataset, or path or URL of an export
    #[arg(value_name = "DATASET_ID|PATH", value_parser = clap::builder::OsStringValueParser::new().try_map(source))]
    what: PreviewSource,
    /// Number of rows
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = values::positive::<u32>)]
    rows: u32,
    /// Print for the first rows that are read whether an export would keep them, and why not
    #[arg(long, conflicts_with_all = ["columns", "drop"])]
    explain: bool,
    /// Print one JSON object per line, with whole values, instead of a table
    #[arg(long)]
    json: bool,
    /// Where the record of the export is, if it was written with --record
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    record: Option<PathBuf>,
    #[command(flatten)]
    value_limit: ValueLimit,
    #[command(flatten)]
    transform: TransformArguments,
    #[command(flatten)]
    filters: FilterArguments,
    #[command(flatten)]
    storage: Storage,
}

#[derive(Debug, Clone)]
pub(super) enum PreviewSource {
    Dataset(Uuid),
    Export(OsString),
}

/// Parses the argument. An id means a dataset. Text with a slash or a dot, or an existing path, means an export.
pub(super) fn source(text: OsString) -> Result<PreviewSource, String> {
    let shown = text.to_string_lossy().into_owned();
    match values::dataset_id(&shown) {
        Ok(id) => Ok(PreviewSource::Dataset(id)),
        Err(_) if shown.contains(['/', '.', '~']) || Path::new(&text).exists() => {
            Ok(PreviewSource::Export(text))
        }
        Err(why) => Err(why),
    }
}

impl PreviewArgs {
    pub(super) fn run(&self, global: &Global, screen: &Screen) -> Result<()> {
        if self.transform.splits() && !self.explain {
            let why =
                "--split decides only in which folder a row is written: give --explain to see it";
            return Err(Error::Usage(why.to_owned()));
        }
        let query = Query::from(self.filters.clone());
        let dataset = match &self.what {
            PreviewSource::Dataset(dataset) => *dataset,
            PreviewSource::Export(_) if query != Query::default() => {
                return Err(Error::Usage(
                    "filters select a dataset: leave them out for an export".to_owned(),
                ));
            }
            PreviewSource::Export(text) => return self.export(text, global, screen),
        };
        let plan = self.transform.plan()?;
        if self.explain && plan.record().is_none() {
            return Err(nothing_to_explain());
        }
        let client = global.client()?;
        if let Some(ordering) = query.unchecked_ordering() {
            screen.say(Lines::one(with_flags(&unchecked(ordering))));
        }
        super::block_on(self.dataset(&client, (dataset, query), &plan, screen))
    }

    /// Prints the first rows of a dataset that the plan keeps.
    async fn dataset(
        &self,
        client: &Client,
        asked: (Uuid, Query),
        plan: &TransformPlan,
        screen: &Screen,
    ) -> Result<()> {
        if self.explain {
            let explained = explained(client, asked, plan, self.rows).await?;
            return self.print_explained(&explained, screen);
        }
        if self.json {
            let sink = json_lines(plan.schema())?;
            let read = first_rows(client, asked, plan, self.rows, sink).await;
            let read = read.map_err(unwrap_stdout)?;
            note_missing(screen, &read.missing, read.has_read_all);
            return Ok(());
        }
        let cells = SharedCells::default();
        let sink = Box::new(cells.clone());
        let read = first_rows(client, asked, plan, self.rows, sink).await?;
        let columns: Vec<_> = plan.columns().cloned().collect();
        let is_chosen = |column: &OutputColumn| self.transform.names(column.name());
        let rows = cells.take();
        let found = match plan.record() {
            None => RowsFound::Of(Some(read.count)),
            Some(record) => {
                RowsFound::transformed("dataset", Some(read.count), read.has_read_all, record)
            }
        };
        super::print(&render(rows, found, &columns, is_chosen))?;
        note_missing(screen, &read.missing, read.has_read_all);
        Ok(())
    }

    fn export(&self, text: &OsStr, global: &Global, screen: &Screen) -> Result<()> {
        let location = self.storage.location(text, global)?;
        let record =
            self.record.as_ref().map(|path| self.storage.location(path.as_os_str(), global));
        let (record, columns) = (record.transpose()?, self.transform.column_names());
        let options = ReadOptions { record, ..self.value_limit.options(columns) };
        if self.explain || !self.transform.only_columns() {
            return self.transformed(&location, &options, screen);
        }
        if let Some(file) = ForeignFile::open(&location, &options)? {
            return self.foreign(&file);
        }
        if !self.json {
            return super::print(&table_of_export(&location, self.rows, &options)?);
        }
        let mut printer = LinePrinter::new(&location);
        let batches = Batches::open_beside(&location, &options)?;
        first_rows_of(batches, self.rows, columns, |batch| printer.print(batch))?;
        printer.finish()
    }

    /// Prints the first rows of an export that the transformation keeps, or explains its first rows.
    fn transformed(
        &self,
        location: &Location,
        options: &ReadOptions,
        screen: &Screen,
    ) -> Result<()> {
        let transform = Transform::from(self.transform.clone());
        if self.explain {
            if transform == Transform::new() {
                return Err(nothing_to_explain());
            }
            let explained = explain_export(location, options, &transform, self.rows as usize)?;
            return self.print_explained(&with_flagged_reasons(explained), screen);
        }
        let (_, drop) = self.transform.output();
        let batches = TransformedBatches::open(location, options, &transform, &drop)?;
        let mut batches = batches.batches_of(self.rows as usize);
        let columns: Vec<_> = batches.columns().cloned().collect();
        let (mut printer, mut cells) = (LinePrinter::new(location), Vec::new());
        let (mut left, mut has_read_all) = (self.rows as usize, true);
        for batch in &mut batches {
            let batch = batch?;
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            match self.json {
                true => printer.print(batch)?,
                false => cells.extend(cells_of(&batch)),
            }
            if left == 0 {
                has_read_all = false;
                break;
            }
        }
        if self.json {
            printer.finish()?;
            note_missing(screen, &batches.totals().missing, has_read_all);
            return Ok(());
        }
        let read = has_read_all.then_some(batches.totals().rows_read);
        let count = batches.source_rows().or(read);
        let found = match batches.record() {
            None => RowsFound::Of(count),
            Some(record) => RowsFound::transformed("export", count, has_read_all, record),
        };
        let is_chosen = |column: &OutputColumn| self.transform.names(column.name());
        super::print(&render(cells, found, &columns, is_chosen))?;
        note_missing(screen, &batches.totals().missing, has_read_all);
        Ok(())
    }

    fn print_explained(&self, explained: &ExplainedRows, screen: &Screen) -> Result<()> {
        match self.json {
            true => explained.rows.iter().try_for_each(super::print_json)?,
            false => super::print(&explanation_table(&explained.rows))?,
        }
        note_missing(screen, &explained.missing, false);
        Ok(())
    }

    /// Prints the first rows of a Parquet file that is not an export.
    fn foreign(&self, file: &ForeignFile) -> Result<()> {
        let names = file.columns();
        if self.json {
            return file.first_rows(self.rows as usize, |row| {
                let values = names.iter().zip(&row);
                let fields = values.map(|(name, value)| {
                    let name = serde_json::Value::from(*name);
                    format!("{name}:{}", value.to_json_value())
                });
                let line = format!("{{{}}}\n", fields.collect::<Vec<_>>().join(","));
                Escaping(io::stdout()).write_all(line.as_bytes()).map_err(super::stdout_failed)
            });
        }
        let mut rows = Vec::new();
        file.first_rows(self.rows as usize, |row| {
            rows.push(row.into_iter().map(foreign_cell).collect());
            Ok(())
        })?;
        let count = rows.len() as u64;
        let header: Vec<TableColumn<'_>> =
            names.iter().map(|name| TableColumn::new(name, Fit::Cut)).collect();
        super::print(&RowsFound::Of(file.rows()).below(super::table::render(&header, rows), count))
    }
}

/// Says which fields that an expression reads are in none of the rows that were read.
fn note_missing(screen: &Screen, missing: &[String], has_read_all: bool) {
    let row = if has_read_all { "no row" } else { "no row that was read" };
    let named = |text: &str| with_flags(text).into_owned();
    // A result that is null is in the table.
    let lines = missing_values(Lines::default(), missing, (row, 0), named);
    if missing.iter().any(|text| text.contains(": ")) {
        screen.say(lines);
    }
}

fn nothing_to_explain() -> Error {
    Error::Usage("--explain explains a transformation: give --where, for example".to_owned())
}

/// Prints rows of an export as JSON Lines.
struct LinePrinter<'a> {
    place: &'a Location,
    sink: Option<Box<dyn Sink>>,
    shown: usize,
}

impl<'a> LinePrinter<'a> {
    fn new(place: &'a Location) -> Self {
        Self { place, sink: None, shown: 0 }
    }

    fn print(&mut self, batch: RecordBatch) -> Result<()> {
        require_json(&batch, self.place, self.shown)?;
        self.shown += batch.num_rows();
        let sink = match &mut self.sink {
            Some(sink) => sink,
            None => self.sink.insert(json_lines(batch.schema())?),
        };
        sink.write(batch).map_err(unwrap_stdout)
    }

    fn finish(self) -> Result<()> {
        self.sink.map_or(Ok(()), |sink| sink.finish(None).map(drop).map_err(unwrap_stdout))
    }
}

/// Calls `visit` with the first rows of an export, batch by batch.
///
/// # Errors
///
/// `Usage` if at least one of the columns is missing in the export.
fn first_rows_of(
    batches: Batches,
    rows: u32,
    columns: &[String],
    mut visit: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut left = rows as usize;
    for batch in batches {
        let batch = batch?;
        let lacks = |column: &&String| batch.column_by_name(column).is_none();
        if let Some(column) = columns.iter().find(lacks) {
            let schema = batch.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let names = names.chain(Column::ALL.iter().map(|it| it.name()));
            let meant = did_you_mean(column, names.filter(|name| *name != column.as_str()));
            return Err(Error::Usage(format!("the export has no column {column}{meant}")));
        }
        let mut batch = batch.slice(0, batch.num_rows().min(left));
        if !columns.is_empty() {
            let places = columns.iter().map(|name| batch.schema_ref().index_of(name));
            let places = places.collect::<Result<Vec<_>, _>>();
            let chosen = places.and_then(|places| batch.project(&places));
            batch = chosen.map_err(|error| Error::Internal(format!("columns: {error}")))?;
        }
        left -= batch.num_rows();
        visit(batch)?;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// Fails with `Damaged` if a JSON column contains text that is not JSON. Otherwise the printed line would not
/// be valid JSON.
fn require_json(batch: &RecordBatch, file: &Location, first_row: usize) -> Result<()> {
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let column = field.name();
        if !ColumnType::of_field(field).is_some_and(ColumnType::holds_json) {
            continue;
        }
        for (row, text) in json_texts(array) {
            if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
                let row = first_row + row + 1;
                let why = format!("row {row}: its {column} is not JSON, which an export requires");
                return Err(Error::Damaged { path: file.to_string().into(), why });
            }
        }
    }
    Ok(())
}

/// Returns the first rows of an export as a table. If no columns are named, the table has all columns of an export
/// with some columns, and the columns that are not empty of an export with all columns.
pub(super) fn table_of_export(
    location: &Location,
    rows: u32,
    options: &ReadOptions,
) -> Result<Lines> {
    let batches = Batches::open_beside(location, options)?;
    let (count, mut cells) = (batches.rows(), Vec::new());
    let mut found: Vec<OutputColumn> = Vec::new();
    first_rows_of(batches, rows, &options.columns, |batch| {
        if found.is_empty() {
            let fields = batch.schema_ref().fields().iter();
            found.extend(fields.filter_map(|field| OutputColumn::of_field(field)));
        }
        cells.extend(cells_of(&batch));
        Ok(())
    })?;
    if found.is_empty() {
        found.extend(Column::ALL.map(OutputColumn::from));
    }
    let has_all = Column::ALL.iter().all(|it| found.iter().any(|found| found.name() == it.name()));
    let is_chosen = !options.columns.is_empty() || !has_all;
    Ok(render(cells, RowsFound::Of(count), &found, |_| is_chosen))
}

fn json_lines(schema: SchemaRef) -> Result<Box<dyn Sink>> {
    super::require_stdout()?;
    let stdout = Box::new(Escaping(io::stdout()));
    Encoding::from(Format::JsonLines).streaming_sink(schema, stdout)
}

/// Escapes control characters in JSON Lines, so that they cannot control the terminal. The JSON values stay
/// the same.
struct Escaping<W>(W);

impl<W: io::Write> io::Write for Escaping<W> {
    /// Writes whole lines. The sink never writes less than a line.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(lines) {
            Ok(text) => self.0.write_all(harmless_json(text).as_bytes())?,
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Turns an error of the encoder into an error of standard output. The encoder cannot name standard output,
/// because it does not know its target.
fn unwrap_stdout(error: Error) -> Error {
    match error {
        Error::Encode { format, source } => match source.downcast() {
            Ok(source) => super::stdout_failed(*source),
            Err(source) => Error::Encode { format, source },
        },
        error => error,
    }
}
