//! Which datasets a job takes now, by the list of datasets. Never asks for a row.

use futures::TryStreamExt;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    client::{Client, DatasetInfo, Query},
    config::{DatasetName, Job, Selection, Unchanged},
    error::{Error, Result},
    record::manifest::Listed,
};

/// A dataset that a job takes.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) id: Uuid,
    /// What the list says of it; `None` where it was not asked, or does not have it.
    pub(crate) listed: Option<Listed>,
    /// How its rows are asked for.
    pub(crate) query: Query,
}

/// The datasets of a job; at least one.
pub(crate) async fn choose(client: &Client, job: &Job) -> Result<Vec<Chosen>> {
    // Here it would order the datasets.
    let filters = Query { ordering: None, ..job.query.clone() };
    let named = |name: &DatasetName| {
        let name = name.clone();
        move |dataset: &DatasetInfo| name.matches(dataset.name.as_deref())
    };
    let chosen = match &job.selection {
        Selection::Dataset(id) => return Ok(vec![one(client, job, *id, filters).await?]),
        Selection::Latest(name) => {
            let datasets = list(client, filters, named(name)).await?;
            datasets.into_iter().max_by(|a, b| age(a).cmp(&age(b))).into_iter().collect()
        }
        Selection::All(name) => {
            let mut datasets = list(client, filters, named(name)).await?;
            datasets.sort_by(|a, b| age(a).cmp(&age(b)));
            datasets
        }
    };
    if chosen.is_empty() {
        return Err(Error::NoDataset { filters: filters_of(job) });
    }
    // The filters have done their work: an id says all.
    let query = Query { ordering: job.query.ordering.clone(), ..Query::default() };
    let chosen = chosen.into_iter();
    Ok(chosen
        .map(|it| Chosen { id: it.id, listed: Some(listed(it)), query: query.clone() })
        .collect())
}

/// A dataset that is named: the list is only asked where it can save the download.
async fn one(client: &Client, job: &Job, id: Uuid, filters: Query) -> Result<Chosen> {
    let mut found = None;
    if job.unchanged == Unchanged::Metadata {
        found = match list(client, filters, |dataset| dataset.id == id).await {
            Ok(datasets) => datasets.into_iter().next().map(listed),
            // A list that does not stand still saves nothing, and stands in nobody's way.
            Err(Error::Incomplete { .. }) => None,
            Err(error) => return Err(error),
        };
    }
    // One that is not listed is asked for all the same: that answer says why.
    Ok(Chosen { id, listed: found, query: job.query.clone() })
}

async fn list(
    client: &Client,
    filters: Query,
    wanted: impl Fn(&DatasetInfo) -> bool,
) -> Result<Vec<DatasetInfo>> {
    let datasets: Vec<DatasetInfo> = client.datasets(filters).try_collect().await?;
    Ok(datasets.into_iter().filter(wanted).collect())
}

/// The highest version, then the newest, then any order that is always the same.
fn age(dataset: &DatasetInfo) -> impl Ord {
    let created = dataset.created_at.as_deref();
    let time = created.and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
    (dataset.version, time, created.map(str::to_owned), dataset.id)
}

fn listed(dataset: DatasetInfo) -> Listed {
    Listed {
        name: dataset.name,
        version: dataset.version,
        created_at: dataset.created_at,
        num_datapoints: dataset.num_datapoints,
        metadata: dataset.metadata.as_deref().map(RawValue::get).map(str::to_owned),
    }
}

/// The filters of a job in words.
fn filters_of(job: &Job) -> String {
    let query = Query { ordering: None, ..job.query.clone() }.to_string();
    let name = match &job.selection {
        Selection::Latest(name) | Selection::All(name) => name.as_str(),
        Selection::Dataset(_) => None,
    };
    match (query.as_str(), name) {
        ("", None) => "no filters".to_owned(),
        (query, None) => query.to_owned(),
        ("", Some(name)) => format!("dataset_name={name}"),
        (query, Some(name)) => format!("{query}&dataset_name={name}"),
    }
}
