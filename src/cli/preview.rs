//! `preview`: prints the first rows as a table that fits the terminal. Of a Parquet file that is not an export, it
//! shows that file's own columns.

use std::{
    ffi::{OsStr, OsString},
    fmt::{self, Write as _},
    io::{self, Write as _},
    path::Path,
    path::PathBuf,
};

use crate::{
    Batches, Client, Column, Encoding, Error, Format, Location, Query, ReadOptions, Result, Row,
    Sink, StreamOptions,
    arrow_schema::SchemaRef,
    batch::{ArrayValue, ColumnType, ColumnValues, timestamp_text},
    export::unchecked,
    readback::ForeignFile,
    schema,
    text::{counted, grouped, harmless_json},
    write_pages,
};
use arrow_array::{ArrayRef, RecordBatch, cast::AsArray};
use clap::{Args, builder::TypedValueParser};
use futures::TryStreamExt;
use parquet::record::Field;
use uuid::Uuid;

use super::{
    flags::with_flags,
    global::Global,
    lines::Lines,
    progress::Screen,
    query::FilterArguments,
    storage::Storage,
    table::{Fit, TableColumn},
    value_limit::ValueLimit,
    values,
};

/// Characters of a value that a table keeps. A cell shows far fewer, but a value can be megabytes long.
const CELL_CHARS: usize = 2000;
/// The columns of the table, as [`Column::ALL`].
const COLUMNS: [TableColumn<'static>; Column::ALL.len()] = [
    TableColumn::new(Column::Id.name(), Fit::Whole),
    TableColumn::new(Column::Order.name(), Fit::Number),
    TableColumn::new(Column::Input.name(), Fit::Json),
    TableColumn::new(Column::ExpectedOutput.name(), Fit::Json).left_out(4),
    TableColumn::new(Column::Persona.name(), Fit::Wrap).left_out(3),
    TableColumn::new(Column::Tags.name(), Fit::Json).left_out(2),
    TableColumn::new(Column::AdditionalProperties.name(), Fit::Json).left_out(1),
];

/// Print the first rows of a dataset or of an export
#[derive(Debug, Args)]
pub(super) struct PreviewArgs {
    /// Id of a dataset, or path or URL of an export
    #[arg(value_name = "DATASET_ID|PATH", value_parser = clap::builder::OsStringValueParser::new().try_map(source))]
    what: PreviewSource,
    /// Number of rows
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = values::positive::<u32>)]
    rows: u32,
    /// Print only these columns
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    columns: Vec<String>,
    /// Print one JSON object per line, with whole values, instead of a table
    #[arg(long)]
    json: bool,
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

#[derive(Debug, Clone)]
enum PreviewSource {
    Dataset(Uuid),
    Export(OsString),
}

/// Parses the argument. An id means a dataset. Text with a slash or a dot, or an existing path, means an export.
fn source(text: OsString) -> Result<PreviewSource, String> {
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
        let query = Query::from(self.filters.clone());
        let dataset = match &self.what {
            PreviewSource::Dataset(dataset) => *dataset,
            PreviewSource::Export(_) if query != Query::default() => {
                return Err(Error::Usage(
                    "filters select a dataset: leave them out for an export".to_owned(),
                ));
            }
            PreviewSource::Export(text) => return self.export(text, global),
        };
        let columns = self.columns.iter().map(|name| name.parse());
        let columns = columns.collect::<Result<Vec<Column>>>()?;
        let client = global.client()?;
        if let Some(ordering) = query.unchecked_ordering() {
            screen.say(Lines::one(with_flags(&unchecked(ordering))));
        }
        super::block_on(async {
            if self.json {
                return self.lines(&client, dataset, query, columns).await;
            }
            let text = table(&client, dataset, query, self.rows, &columns).await?;
            super::print(&text)
        })
    }

    async fn lines(
        &self,
        client: &Client,
        dataset: Uuid,
        query: Query,
        columns: Vec<Column>,
    ) -> Result<()> {
        let columns = if columns.is_empty() { Column::ALL.to_vec() } else { columns };
        let sink = json_lines(schema(&columns))?;
        let pages = client.dataset(dataset).query(query).options(options(self.rows)).pages();
        write_pages(pages, &columns, sink).await.map(drop).map_err(unwrap_stdout)
    }

    fn export(&self, text: &OsStr, global: &Global) -> Result<()> {
        let location = self.storage.location(text, global)?;
        let record =
            self.record.as_ref().map(|path| self.storage.location(path.as_os_str(), global));
        let record = record.transpose()?;
        let options = ReadOptions { record, ..self.value_limit.options(&self.columns) };
        if let Some(file) = ForeignFile::open(&location, &options)? {
            return self.foreign(&file);
        }
        if !self.json {
            return super::print(&table_of_export(&location, self.rows, &options)?);
        }
        let mut sink: Option<Box<dyn Sink>> = None;
        let mut shown = 0;
        first_rows(Batches::open_with(&location, &options)?, self.rows, &self.columns, |batch| {
            require_json(&batch, &location, shown)?;
            shown += batch.num_rows();
            let sink = match &mut sink {
                Some(sink) => sink,
                None => sink.insert(json_lines(batch.schema())?),
            };
            sink.write(batch).map_err(unwrap_stdout)
        })?;
        sink.map_or(Ok(()), |sink| sink.finish(None).map(drop).map_err(unwrap_stdout))
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
        super::print(&with_count(super::table::render(&header, rows), count, file.rows()))
    }
}

/// Returns the beginning of a foreign value as text.
fn foreign_cell(value: Field) -> String {
    /// Fails as soon as the text is long enough, so that no more of it is formatted.
    struct Beginning(String);
    impl fmt::Write for Beginning {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = CELL_CHARS.saturating_sub(self.0.len());
            self.0.extend(text.chars().take(room));
            if room > text.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut cell = Beginning(String::new());
    // An error says only that the text was cut.
    let _ = match value {
        Field::Null => cell.write_str("-"),
        Field::Str(text) => cell.write_str(&text),
        other => write!(cell, "{other}"),
    };
    cell.0
}

/// Calls `visit` with the first rows of an export, batch by batch.
///
/// # Errors
///
/// `Usage` if at least one of the columns is missing in the export.
fn first_rows(
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
            return Err(Error::Usage(format!("the export has no column {column}")));
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
        if ColumnType::of_field(field) != Some(ColumnType::Json) {
            continue;
        }
        let texts = array.as_string_opt::<i32>();
        for (row, text) in texts.into_iter().flatten().enumerate() {
            let is_json = |text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            if text.is_some_and(|text| !is_json(text)) {
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
    let batches = Batches::open_with(location, options)?;
    let (count, mut cells) = (batches.rows(), Vec::new());
    let mut found: Vec<String> = Vec::new();
    first_rows(batches, rows, &options.columns, |batch| {
        if found.is_empty() {
            found.extend(batch.schema_ref().fields().iter().map(|field| field.name().clone()));
        }
        let row = |row| batch.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>();
        cells.extend((0..batch.num_rows()).map(row));
        Ok(())
    })?;
    if found.is_empty() {
        found.extend(Column::ALL.map(|column| column.to_string()));
    }
    let has_all = Column::ALL.iter().all(|column| found.iter().any(|name| name == column.name()));
    let is_chosen = !options.columns.is_empty() || !has_all;
    Ok(render(cells, count, &found, is_chosen))
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

/// Returns a value of an export as text.
fn cell(array: &ArrayRef, row: usize) -> Option<String> {
    Some(match ColumnValues::of(array)?.get(row)? {
        ArrayValue::Text(text) => return beginning(Some(text)),
        ArrayValue::Int(int) => int.to_string(),
        ArrayValue::Float(float) => float.to_string(),
        ArrayValue::Bool(value) => value.to_string(),
        ArrayValue::Timestamp(micros) => timestamp_text(micros),
    })
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

fn options(rows: u32) -> StreamOptions {
    StreamOptions { page_size: rows.min(100), limit: Some(rows.into()), ..StreamOptions::default() }
}

/// Returns the first rows of a dataset as a table. If no columns are named, the table has every column that
/// is not empty.
async fn table(
    client: &Client,
    dataset: Uuid,
    query: Query,
    rows: u32,
    columns: &[Column],
) -> Result<Lines> {
    let mut pages = client.dataset(dataset).query(query).options(options(rows)).pages();
    let is_chosen = !columns.is_empty();
    let shown = if is_chosen { columns } else { &Column::ALL };
    let mut cells: Vec<Vec<Option<String>>> = Vec::new();
    let mut count = 0;
    while let Some(page) = pages.try_next().await? {
        count = page.count();
        let row = |row| shown.iter().map(|column| value(&row, *column)).collect();
        cells.extend(page.rows().map(row));
    }
    let names: Vec<String> = shown.iter().map(Column::to_string).collect();
    Ok(render(cells, Some(count), &names, is_chosen))
}

/// Returns a table of cells. Columns that are not chosen are left out if they are empty.
fn render(
    cells: Vec<Vec<Option<String>>>,
    count: Option<u64>,
    names: &[String],
    is_chosen: bool,
) -> Lines {
    let is_key = |name: &str| [Column::Id.name(), Column::Order.name()].contains(&name);
    let has_value = |index: usize| cells.iter().any(|row| row[index].is_some());
    let shown: Vec<usize> = (0..names.len())
        .filter(|&index| is_chosen || is_key(&names[index]) || has_value(index))
        .collect();
    let column = |&index: &usize| {
        let of_api = Column::ALL.iter().position(|column| column.name() == names[index]);
        match of_api {
            // Columns that were asked for by name are always shown.
            Some(place) if is_chosen => COLUMNS[place].left_out(0),
            Some(place) => COLUMNS[place],
            None => TableColumn::new(&names[index], Fit::Cut),
        }
    };
    let header: Vec<TableColumn> = shown.iter().map(column).collect();
    let shown_rows = cells.iter().map(|row| {
        let cell = |&index: &usize| match &row[index] {
            None => "-".to_owned(),
            // Eight characters are enough to recognize a row.
            Some(text) if names[index] == Column::Id.name() => text.chars().take(8).collect(),
            Some(text) => text.clone(),
        };
        shown.iter().map(cell).collect()
    });
    with_count(super::table::render(&header, shown_rows), cells.len() as u64, count)
}

/// Adds a line with the number of shown rows and the number of all rows.
fn with_count(table: Lines, rows: u64, count: Option<u64>) -> Lines {
    match count {
        Some(count) => table.and(format_args!("{} of {}", grouped(rows), counted(count, "row"))),
        None => table.and(format_args!("the first {}", counted(rows, "row"))),
    }
}

fn value(row: &Row<'_>, column: Column) -> Option<String> {
    match column {
        Column::Id => Some(row.id.to_string()),
        Column::Order => row.order.map(|order| order.to_string()),
        Column::Input => beginning(row.input),
        Column::ExpectedOutput => beginning(row.expected_output),
        Column::Persona => beginning(row.persona),
        Column::Tags => beginning(row.tags),
        Column::AdditionalProperties => beginning(row.additional_properties),
    }
}

fn beginning(text: Option<&str>) -> Option<String> {
    Some(text?.chars().take(CELL_CHARS).collect())
}
