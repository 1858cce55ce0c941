//! The list of datasets: complete, or an error. Never reads a datapoint.

use std::collections::HashSet;

use async_stream::try_stream;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{
    Client, Query, Source,
    link::{self, Link},
    page::{MAX_COUNT, number},
    retry::Request,
};
use crate::error::{Error, PageError, Resource, Result};
use crate::tasks::stopped;
use crate::text::grouped;

/// A dataset in the list of datasets. Fields that the API omits are `None`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DatasetInfo {
    /// Id of the dataset. Each version has its own id.
    pub id: Uuid,
    /// Name of the dataset, as given by a user.
    #[serde(default)]
    pub name: Option<String>,
    /// Version of the dataset. Later datasets of the same agent have higher versions.
    #[serde(default)]
    pub version: Option<i64>,
    /// Origin of the datapoints. A source that this version does not know is `None`.
    #[serde(default, deserialize_with = "known_source")]
    pub source: Option<Source>,
    /// Number of rows.
    #[serde(default)]
    pub num_datapoints: Option<u64>,
    /// Time of creation, RFC 3339.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Id of the agent that the dataset belongs to.
    #[serde(default)]
    pub agent: Option<Uuid>,
    /// Model that generated the dataset.
    #[serde(default)]
    pub generator_model: Option<String>,
    /// Metadata: any JSON value.
    #[serde(default)]
    pub metadata: Option<Box<RawValue>>,
    /// Hash of the policy under which the dataset was created.
    #[serde(default)]
    pub policy_hash: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct List {
    count: u64,
    next: Option<String>,
    #[serde(default)]
    previous: Option<Box<RawValue>>,
    pub(super) results: Vec<DatasetInfo>,
}

fn known_source<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Source>, D::Error> {
    Ok(Option::<String>::deserialize(source)?.and_then(|text| text.parse().ok()))
}

/// Decodes a page of the list.
pub(super) fn decode(page: u64, body: Vec<u8>) -> Result<List, PageError> {
    let list: List = serde_json::from_slice(&body).map_err(|error| {
        let number = || number::explain(std::str::from_utf8(&body).ok()?);
        if error.is_data() {
            PageError::NotAPage(error.to_string())
        } else if let Some(error) = number() {
            error
        } else {
            PageError::Malformed { bytes: body.len(), source: error }
        }
    })?;
    if list.count > MAX_COUNT {
        return Err(PageError::Count { count: list.count });
    }
    let next = list.next.as_deref().map_or(Link::Absent, Link::of);
    let previous = list.previous.as_deref().map(RawValue::get);
    // A `previous` that is not a string is ignored.
    let previous = previous.and_then(|text| serde_json::from_str::<String>(text).ok());
    link::check(page, next, previous.as_deref().map_or(Link::Absent, Link::of))?;
    Ok(list)
}

/// Maximum number of passes over the list, because it may change during a pass.
const MAX_PASSES: u32 = 3;

/// The result of one pass over the list.
enum Read {
    Whole(Vec<DatasetInfo>),
    /// The list changed during the pass. Contains the observed change.
    Changed(String),
}

impl Client {
    /// Lists the datasets that the key can see and that match the filters, in the API's order.
    ///
    /// The stream yields the first dataset only after the whole list was read, because only the end of the
    /// list proves that it is complete. If the list changes during the read, it is read again, at most twice.
    /// The stream must be polled within a tokio runtime. Dropping it cancels the requests in flight.
    ///
    /// # Errors
    /// The stream ends with the first of these errors:
    ///
    /// - [`Error::Invalid`]: a filter has an invalid value.
    /// - [`Error::Api`]: the API refused the request.
    /// - [`Error::Unavailable`], [`Error::LongPause`], [`Error::Certificate`], [`Error::Proxy`] or
    ///   [`Error::BaseUrl`]: there is no usable answer.
    /// - [`Error::Page`]: an answer is not a page of the list.
    /// - [`Error::ListChanged`]: the list changed during each read.
    ///
    /// ```no_run
    /// # async fn list() -> overmind_export::Result<()> {
    /// use futures::TryStreamExt;
    /// use overmind_export::{Client, Query};
    ///
    /// let mut datasets = Client::from_env()?.datasets(Query::default());
    /// while let Some(dataset) = datasets.try_next().await? {
    ///     println!("{} {:?}", dataset.id, dataset.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn datasets(&self, query: Query) -> BoxStream<'static, Result<DatasetInfo>> {
        let client = self.clone();
        Box::pin(try_stream! {
            // A separate task, so that a stream that is not polled holds no request slot.
            let task = AbortOnDropHandle::new(tokio::spawn(async move { client.list(&query).await }));
            let list = match task.await {
                Ok(list) => list?,
                Err(error) => Err(stopped("listing datasets", error))?,
            };
            for dataset in list {
                yield dataset;
            }
        })
    }

    async fn list(&self, query: &Query) -> Result<Vec<DatasetInfo>> {
        query.validate()?;
        let mut pass = 1;
        loop {
            match self.read_list(query).await? {
                Read::Whole(list) => return Ok(list),
                Read::Changed(why) if pass == MAX_PASSES => {
                    return Err(Error::ListChanged { seen: why });
                }
                Read::Changed(why) => tracing::info!("{why}; listing again"),
            }
            pass += 1;
        }
    }

    /// Reads the list once. It is complete if the number of distinct ids equals the `count` of every page.
    async fn read_list(&self, query: &Query) -> Result<Read> {
        let (mut datasets, mut ids, mut count) = (Vec::new(), HashSet::new(), None);
        for page in 1.. {
            let list = match self.list_page(query, page).await {
                Err(Error::Api(error)) if error.is_missing() && page > 1 => {
                    return Ok(Read::Changed(format!(
                        "page {page} of the list of datasets is gone"
                    )));
                }
                list => list?,
            };
            let first = *count.get_or_insert(list.count);
            if list.count != first {
                let now = list.count;
                return Ok(Read::Changed(format!(
                    "the number of datasets changed from {} to {}",
                    grouped(first),
                    grouped(now)
                )));
            }
            let is_empty = list.results.is_empty();
            // An API that ignores the parameter `page` may give its rows in any order.
            let here: HashSet<Uuid> = list.results.iter().map(|dataset| dataset.id).collect();
            if page == 2 && !is_empty && here == ids {
                return Err(Error::Page { page, source: PageError::Repeats { of: 1 } });
            }
            for dataset in list.results {
                if !ids.insert(dataset.id) {
                    return Ok(Read::Changed(format!("dataset {} is listed twice", dataset.id)));
                }
                datasets.push(dataset);
            }
            let seen = ids.len() as u64;
            if list.next.is_none() {
                return Ok(if seen == first {
                    Read::Whole(datasets)
                } else {
                    Read::Changed(format!(
                        "{} datasets are listed, but the count is {}",
                        grouped(seen),
                        grouped(first)
                    ))
                });
            }
            // Stop here: a list without an end would cause requests forever.
            if is_empty || seen > first {
                let why = format!("the list of {} datasets does not end", grouped(first));
                return Err(Error::Page { page, source: PageError::NotAPage(why) });
            }
        }
        Err(Error::Internal("the list of datasets has too many pages".to_owned()))
    }

    async fn list_page(&self, query: &Query, page: u64) -> Result<List> {
        let mut url = self.0.url("api/datasets/")?;
        query.append_to(&mut url);
        if page > 1 {
            url.query_pairs_mut().append_pair("page", &page.to_string());
        }
        let wanted = Resource::Datasets { page };
        let request = Request { url, wanted, permit: None, room: None };
        self.0.fetch(request, move |body| decode(page, body)).await
    }
}

#[cfg(test)]
mod tests;
