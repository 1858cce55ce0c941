//! The list of datasets; never reads a datapoint.

use async_stream::try_stream;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Client, Query, Source, page::PageError, retry::Request};
use crate::error::{Error, Result};

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
    results: Vec<DatasetInfo>,
}

fn known_source<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Source>, D::Error> {
    Ok(Option::<String>::deserialize(source)?.and_then(|text| text.parse().ok()))
}

fn decode(body: Vec<u8>) -> Result<List, PageError> {
    serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            PageError::NotAPage(error.to_string())
        } else {
            PageError::Malformed { bytes: body.len(), source: error }
        }
    })
}

impl Client {
    /// The datasets that the key can see and that meet the filters, in the API's order.
    ///
    /// # Errors
    /// The stream ends with the first of these: [`Error::Invalid`] for a filter that makes no sense,
    /// [`Error::Api`] for an answer that is final, [`Error::Unavailable`], [`Error::ComeBackLater`] or
    /// [`Error::Certificate`] when there is no usable one, [`Error::Page`] for one that is no list.
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
            query.validate()?;
            let mut seen = 0;
            for page in 1.. {
                let mut url = client.0.endpoint("api/datasets/")?;
                query.append_to(&mut url);
                if page > 1 {
                    url.query_pairs_mut().append_pair("page", &page.to_string());
                }
                let filtered = query != Query::default();
                let request = Request { url, page, filtered, permit: None };
                let list = client.0.fetch(request, decode).await?;
                seen += list.results.len() as u64;
                // A list that never ends would be asked for for ever.
                let stuck = list.results.is_empty() || seen > list.count.saturating_mul(2);
                for dataset in list.results {
                    yield dataset;
                }
                if list.next.is_none() {
                    break;
                }
                if stuck {
                    let seen = format!("the list of {} datasets does not end", list.count);
                    Err(Error::Page { page, source: PageError::NotAPage(seen) })?;
                }
            }
        })
    }
}
