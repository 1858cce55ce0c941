//! `datasets`: lists the datasets that the API key can see.

use crate::{DatasetInfo, Query, Result, text::grouped};
use clap::Args;
use futures::TryStreamExt;

use super::{
    global::Global,
    lines::Lines,
    progress::Screen,
    query::FilterArguments,
    table::{Fit, TableColumn, minute, render},
};

const COLUMNS: [TableColumn; 6] = [
    TableColumn::new("id", Fit::Whole),
    TableColumn::new("name", Fit::Cut),
    TableColumn::new("version", Fit::Number).left_out(3),
    TableColumn::new("source", Fit::Whole).left_out(2),
    TableColumn::new("rows", Fit::Number).left_out(4),
    TableColumn::new("created", Fit::Whole).left_out(1),
];

/// List the datasets that your API key can see
#[derive(Debug, Args)]
pub(super) struct DatasetsArgs {
    #[command(flatten)]
    filters: FilterArguments,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
}

impl DatasetsArgs {
    pub(super) fn run(&self, global: &Global, screen: &Screen) -> Result<()> {
        let client = global.client()?;
        let query = Query::from(self.filters.clone());
        if let Some(ordering) = query.ordering.as_deref().filter(|it| !is_field(it)) {
            let note = "is not a known field of a dataset: the API ignores an unknown one";
            screen.say(Lines::one(format_args!("--ordering {ordering} {note}")));
        }
        super::block_on(async {
            let datasets = client.datasets(query);
            if self.json {
                return datasets.try_for_each(async |dataset| super::print_json(&dataset)).await;
            }
            let datasets: Vec<_> = datasets.try_collect().await?;
            if datasets.is_empty() {
                return super::print(&Lines::one("no datasets"));
            }
            super::print(&render(&COLUMNS, datasets.iter().map(row)))
        })
    }
}

/// Whether datasets have this field, or this field after a minus sign.
fn is_field(ordering: &str) -> bool {
    let field = ordering.strip_prefix('-').unwrap_or(ordering);
    let known = ["id", "name", "version", "source", "num_datapoints", "created_at", "agent"];
    known.contains(&field) || field == "generator_model"
}

fn row(dataset: &DatasetInfo) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        dataset.id.to_string(),
        or_dash(dataset.name.clone()),
        or_dash(dataset.version.map(|version| version.to_string())),
        or_dash(dataset.source.map(|source| source.to_string())),
        or_dash(dataset.num_datapoints.map(grouped)),
        or_dash(dataset.created_at.as_deref().map(minute)),
    ]
}
