//! `datasets`: lists the datasets that the API key can see.

use crate::{DatasetInfo, Result};
use clap::Args;
use futures::TryStreamExt;

use super::{
    global::Global,
    lines::Lines,
    query::FilterArguments,
    table::{CellText, minute},
};

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
    pub(super) fn run(&self, global: &Global) -> Result<()> {
        let client = global.client()?;
        super::block_on(async {
            let datasets = client.datasets(self.filters.clone().into());
            if self.json {
                return datasets.try_for_each(async |dataset| super::print_json(&dataset)).await;
            }
            let datasets: Vec<_> = datasets.try_collect().await?;
            if datasets.is_empty() {
                return super::print(&Lines::one("no datasets"));
            }
            let header = ["id", "name", "version", "source", "rows", "created"];
            super::print(&super::table::render(&header, datasets.iter().map(row)))
        })
    }
}

fn row(dataset: &DatasetInfo) -> Vec<CellText> {
    let number = |number: Option<String>| CellText::Right(number.unwrap_or_else(|| "-".to_owned()));
    let text = |text: Option<&str>| CellText::Left(text.unwrap_or("-").to_owned());
    let rows = dataset.num_datapoints.map(|rows| indicatif::HumanCount(rows).to_string());
    let created = dataset.created_at.as_deref().map(minute);
    vec![
        CellText::Whole(dataset.id.to_string()),
        text(dataset.name.as_deref()),
        number(dataset.version.map(|version| version.to_string())),
        text(dataset.source.map(|source| source.as_str())),
        number(rows),
        CellText::Whole(created.unwrap_or_else(|| "-".to_owned())),
    ]
}
