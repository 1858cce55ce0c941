//! Chooses the datasets of a job from the API's list of datasets. Never requests rows.

use futures::TryStreamExt;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    client::{Client, DatasetInfo, Query},
    config::{DatasetName, Job, Selection, Unchanged},
    error::{Error, Result},
    record::manifest::Listed,
};

/// A dataset that the job selects.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) id: Uuid,
    /// The dataset's facts in the list; `None` if the list was not requested or does not contain it.
    pub(crate) listed: Option<Listed>,
    /// The query for the dataset's rows.
    pub(crate) query: Query,
}

/// Returns the datasets that the job selects, at least one.
///
/// # Errors
/// [`Error::NoDataset`] if no dataset matches the filters.
pub(crate) async fn choose(client: &Client, job: &Job) -> Result<Vec<Chosen>> {
    // The job's `ordering` is for rows. In this request it would order the datasets.
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
    // The id identifies the dataset, so the filters are no longer needed.
    let query = Query { ordering: job.query.ordering.clone(), ..Query::default() };
    let chosen = chosen.into_iter();
    Ok(chosen
        .map(|it| Chosen { id: it.id, listed: Some(listed(it)), query: query.clone() })
        .collect())
}

/// Returns the dataset with this id. Requests the list only if the list can save the download.
async fn one(client: &Client, job: &Job, id: Uuid, filters: Query) -> Result<Chosen> {
    let mut found = None;
    if job.unchanged == Unchanged::Metadata {
        found = match list(client, filters, |dataset| dataset.id == id).await {
            Ok(datasets) => datasets.into_iter().next().map(listed),
            // If the list changes while we read it, do without it: the job then downloads the dataset.
            Err(Error::ListChanged { .. }) => None,
            Err(error) => return Err(error),
        };
    }
    // Also accept an id that is not in the list. The request for its rows then fails with the reason.
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

/// Sort key: version, then creation time, then the id to make the order stable.
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

/// Formats the filters of a job for an error message.
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
