//! The list of datasets, whole or an error; never reads a datapoint.

use std::collections::{BTreeSet, HashSet};

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

/// A dataset as the list shows it. Fields that the API leaves out are `None`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DatasetInfo {
    /// The dataset's id: each version has one of its own.
    pub id: Uuid,
    /// Its name, as people gave it.
    #[serde(default)]
    pub name: Option<String>,
    /// Its version, which the same agent's later datasets raise.
    #[serde(default)]
    pub version: Option<i64>,
    /// Where its datapoints come from; a word that this version does not know is `None`.
    #[serde(default, deserialize_with = "known_source")]
    pub source: Option<Source>,
    /// Rows.
    #[serde(default)]
    pub num_datapoints: Option<u64>,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created_at: Option<String>,
    /// The agent that it belongs to.
    #[serde(default)]
    pub agent: Option<Uuid>,
    /// The model that generated it.
    #[serde(default)]
    pub generator_model: Option<String>,
    /// Anything: JSON.
    #[serde(default)]
    pub metadata: Option<Box<RawValue>>,
    /// The hash of the policy that it was made under.
    #[serde(default)]
    pub policy_hash: Option<String>,
}

#[derive(Deserialize)]
struct List {
    count: u64,
    next: Option<String>,
    #[serde(default)]
    previous: Option<Box<RawValue>>,
    results: Vec<DatasetInfo>,
}

fn known_source<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Source>, D::Error> {
    Ok(Option::<String>::deserialize(source)?.and_then(|text| text.parse().ok()))
}

fn decode(page: u64, body: Vec<u8>) -> Result<List, PageError> {
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
    // Of another type than a string it says nothing.
    let previous = previous.and_then(|text| serde_json::from_str::<String>(text).ok());
    link::check(page, next, previous.as_deref().map_or(Link::Absent, Link::of))?;
    Ok(list)
}

/// Times to read the list at most, as it may change meanwhile.
const MAX_PASSES: u32 = 3;

/// What reading the list once came to.
enum Read {
    Whole(Vec<DatasetInfo>),
    /// It moved meanwhile: how that was seen.
    Moved(String),
}

impl Client {
    /// The datasets that the key can see and that meet the filters, in the API's order.
    ///
    /// The list is read to its end before the first dataset comes, because only the end proves that none
    /// is missing; a list that moves meanwhile is read again, twice at most. Must be polled within a
    /// tokio runtime.
    ///
    /// # Errors
    /// The stream ends with the first of these: [`Error::Invalid`] for a filter that makes no sense,
    /// [`Error::Api`] for an answer that is final, [`Error::Unavailable`], [`Error::ComeBackLater`] or
    /// [`Error::Certificate`] when there is no usable one, [`Error::Page`] for one that is no list,
    /// [`Error::Incomplete`] when the list would not stand still.
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
            // A task of its own: no place in flight is held by a stream that nobody polls.
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
                Read::Moved(why) if pass == MAX_PASSES => {
                    return Err(Error::Incomplete { seen: why, delivered: false });
                }
                Read::Moved(why) => tracing::info!("{why}; listing again"),
            }
            pass += 1;
        }
    }

    /// Every dataset once: distinct ids = `count` of every page.
    async fn read_list(&self, query: &Query) -> Result<Read> {
        let (mut datasets, mut ids, mut count) = (Vec::new(), HashSet::new(), None);
        let mut before = BTreeSet::new();
        for page in 1.. {
            let list = match self.list_page(query, page).await {
                Err(Error::Api(error)) if error.is_missing() && page > 1 => {
                    return Ok(Read::Moved(format!("page {page} of the list of datasets is gone")));
                }
                list => list?,
            };
            let first = *count.get_or_insert(list.count);
            if list.count != first {
                let now = list.count;
                return Ok(Read::Moved(format!(
                    "the number of datasets changed from {first} to {now}"
                )));
            }
            let is_empty = list.results.is_empty();
            // An API that ignores the parameter `page` may give its rows in any
            // order.
            let here: BTreeSet<Uuid> = list.results.iter().map(|dataset| dataset.id).collect();
            if !is_empty && here == before {
                return Err(Error::Page { page, source: PageError::Repeats { of: page - 1 } });
            }
            before = here;
            for dataset in list.results {
                if !ids.insert(dataset.id) {
                    return Ok(Read::Moved(format!("dataset {} is listed twice", dataset.id)));
                }
                datasets.push(dataset);
            }
            let seen = ids.len() as u64;
            if list.next.is_none() {
                return Ok(if seen == first {
                    Read::Whole(datasets)
                } else {
                    Read::Moved(format!("{seen} datasets are listed, and there are {first}"))
                });
            }
            // A list that never ends would be asked for for ever.
            if is_empty || seen > first {
                let why = format!("the list of {first} datasets does not end");
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
