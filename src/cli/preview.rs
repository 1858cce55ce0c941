//! `preview`: the first rows, as a table that fits the terminal.

use clap::Args;
use futures::TryStreamExt;
use overmind_export::{
    Client, Column, Encoding, Error, Format, Query, Result, Row, StreamOptions, schema, write_pages,
};
use uuid::Uuid;

use super::{global::Global, parse, query::Filters, table::Text};

/// Print the first rows of a dataset
#[derive(Debug, Args)]
pub(super) struct Preview {
    /// The dataset's id
    #[arg(value_name = "DATASET_ID", value_parser = parse::id)]
    dataset: Uuid,
    /// How many rows
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rows: u32,
    /// Only these columns
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = parse::value::<Column>)]
    columns: Vec<Column>,
    /// Print one JSON object a line, whole, instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filters: Filters,
}

impl Preview {
    pub(super) fn run(&self, global: &Global) -> Result<()> {
        let client = global.client()?;
        let query = Query::from(self.filters.clone());
        super::block_on(async {
            if self.json {
                return self.lines(&client, query).await;
            }
            let text = table(&client, self.dataset, query, self.rows, &self.columns).await?;
            super::print(&text)
        })
    }

    async fn lines(&self, client: &Client, query: Query) -> Result<()> {
        let all = self.columns.is_empty();
        let columns = if all { Column::ALL.to_vec() } else { self.columns.clone() };
        let stdout = Box::new(std::io::stdout());
        let sink = Encoding::from(Format::JsonLines).streaming_sink(schema(&columns), stdout)?;
        let pages = client.pages(self.dataset, query, options(self.rows));
        write_pages(pages, &columns, sink).await.map(drop).map_err(unwrap_stdout)
    }
}

/// The encoder cannot know that what it writes to is standard output.
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

/// The first rows as a table; all columns that hold something, or those that are named.
pub(super) async fn table(
    client: &Client,
    dataset: Uuid,
    query: Query,
    rows: u32,
    columns: &[Column],
) -> Result<String> {
    let mut pages = client.pages(dataset, query, options(rows));
    let mut cells: Vec<Vec<Option<String>>> = Vec::new();
    let mut count = 0;
    while let Some(page) = pages.try_next().await? {
        count = page.count();
        cells.extend(page.rows().map(|row| Column::ALL.map(|column| value(&row, column)).to_vec()));
    }
    let shown: Vec<usize> = (0..Column::ALL.len())
        .filter(|&index| match columns {
            [] => index < 2 || cells.iter().any(|row| row[index].is_some()),
            columns => columns.contains(&Column::ALL[index]),
        })
        .collect();
    let header: Vec<&str> = shown.iter().map(|&index| Column::ALL[index].name()).collect();
    let shown_rows = cells.iter().map(|row| {
        let cell = |&index: &usize| match (&row[index], Column::ALL[index]) {
            (None, _) => Text::Left("-".to_owned()),
            (Some(text), Column::Order) => Text::Right(text.clone()),
            // The rest of the id is for machines.
            (Some(text), Column::Id) => Text::Left(text.chars().take(8).collect()),
            (Some(text), _) => Text::Left(text.clone()),
        };
        shown.iter().map(cell).collect()
    });
    let table = super::table::render(&header, shown_rows);
    Ok(format!(
        "{table}{} of {} rows\n",
        indicatif::HumanCount(cells.len() as u64),
        indicatif::HumanCount(count)
    ))
}

fn value(row: &Row<'_>, column: Column) -> Option<String> {
    // Far more than a cell shows; a value can be megabytes.
    let beginning = |text: Option<&str>| Some(text?.chars().take(2000).collect());
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
