//! One call, one page: the endpoint, its filters, its errors, its retries.
//!
//! Knows nothing of Arrow, of files or of progress bars. The key goes to the base URL's origin and
//! nowhere else: links in answers are read for facts and never followed.

mod api_error;
pub(crate) mod budget;
mod builder;
mod coding;
mod connection;
mod datasets;
mod key;
mod link;
mod meter;
mod page;
mod probe;
mod query;
mod retry;
mod retry_after;
#[cfg(test)]
mod script;
pub(crate) mod transport;

use std::sync::Arc;

use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

pub use self::{
    builder::ClientBuilder,
    connection::{ApiKey, Connection},
    datasets::DatasetInfo,
    meter::Meter,
    page::{Datapoint, Page, Row},
    query::{Query, Source},
};
pub(crate) use self::{builder::KEY_VARIABLES, page::compact};
use self::{
    key::Key,
    retry::{Patience, Request, RetryPolicy},
    transport::Transport,
};
use crate::{
    client::budget::Room,
    error::{Error, Resource, Result},
    net::proxies::ProxySource,
    throttle::{Permit, Throttle},
};

/// A connection to the API; cheap to clone, and all clones share one limit of requests in flight.
///
/// ```no_run
/// # async fn rows() -> overmind_export::Result<()> {
/// use futures::TryStreamExt;
/// use overmind_export::{Client, Query, StreamOptions};
///
/// let client = Client::from_env()?;
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let mut rows = client.datapoints(dataset, Query::default(), StreamOptions::default());
/// while let Some(row) = rows.try_next().await? {
///     println!("{} {:?}", row.id, row.input);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(pub(crate) Arc<ClientInner>);

pub(crate) struct ClientInner {
    transport: Arc<dyn Transport>,
    base: Url,
    key: Arc<Key>,
    throttle: Throttle,
    retry: RetryPolicy,
    patience: Arc<Patience>,
    meter: Arc<Meter>,
    /// What requests go through.
    proxy: Option<ProxySource>,
}

/// Where the pages of a dataset are: what all requests for them have in common.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// With the query's parameters.
    url: Url,
    filtered: bool,
    page_size: u32,
}

impl Client {
    /// A client with options; see [`ClientBuilder`].
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client from the environment: `OVERMIND_LAB_API_KEY` or `OVERMIND_API_KEY`, and
    /// `OVERMIND_LAB_BASE_URL` or `OVERMIND_API_URL` (default `https://api.overmindlab.ai`).
    ///
    /// # Errors
    /// [`Error::NoKey`] when neither variable holds a key; as [`ClientBuilder::build`] otherwise.
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env().build()
    }

    /// The base URL.
    pub fn base_url(&self) -> &str {
        self.0.base.as_str()
    }

    /// A client that shares everything with this one but counts its requests from zero; this one
    /// counts them too. For one of several exports that run side by side.
    #[must_use]
    pub fn metered(&self) -> Self {
        let ClientInner { transport, base, key, throttle, retry, patience, meter, proxy } =
            &*self.0;
        Self(Arc::new(ClientInner {
            transport: transport.clone(),
            base: base.clone(),
            key: key.clone(),
            throttle: throttle.clone(),
            retry: retry.clone(),
            patience: patience.clone(),
            meter: Arc::new(Meter::part(meter.clone())),
            proxy: proxy.clone(),
        }))
    }

    /// What this client and its clones have done so far.
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> usize {
        self.0.throttle.in_flight()
    }

    /// Requests that may be in flight now: fixed, or what has been learned so far.
    pub fn limit(&self) -> usize {
        self.0.throttle.limit()
    }

    /// Whether the number of requests in flight was fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.0.throttle.is_fixed()
    }

    /// Requests that may start now, where their number was fixed and their pace is of no concern.
    pub(crate) fn free_places(&self) -> Option<usize> {
        self.0.throttle.free_places()
    }

    /// Waits for a place in flight for this page; the lowest number goes first.
    ///
    /// # Errors
    /// [`Error::ComeBackLater`] when the API has asked for a pause beyond patience.
    pub(crate) async fn acquire(&self, page: u64) -> Result<Permit> {
        self.0.acquire(page, Instant::now()).await
    }

    /// One page by itself: what it says decides how many more there are.
    pub(crate) async fn first_page(
        &self,
        dataset: Uuid,
        query: &Query,
        page: u64,
        page_size: u32,
    ) -> Result<Page> {
        let endpoint = self.datapoints_endpoint(dataset, query, page_size)?;
        self.page(&endpoint, page, None, None).await
    }

    pub(crate) fn datapoints_endpoint(
        &self,
        dataset: Uuid,
        query: &Query,
        page_size: u32,
    ) -> Result<Endpoint> {
        let mut url = self.0.url(&format!("api/datasets/{dataset}/datapoints/"))?;
        query.append_to(&mut url);
        Ok(Endpoint { url, filtered: *query != Query::default(), page_size })
    }

    pub(crate) async fn page(
        &self,
        endpoint: &Endpoint,
        page: u64,
        permit: Option<Permit>,
        room: Option<&mut Room>,
    ) -> Result<Page> {
        let Endpoint { filtered, page_size, .. } = *endpoint;
        let mut url = endpoint.url.clone();
        url.query_pairs_mut()
            .append_pair("page", &page.to_string())
            .append_pair("page_size", &page_size.to_string());
        let wanted = Resource::Datapoints { page, filtered };
        let request = Request { url, wanted, permit, room };
        self.0.fetch(request, move |body| Page::decode(page, body)).await
    }
}

#[cfg(test)]
impl Client {
    /// A client whose answers are scripted.
    pub(crate) fn scripted(transport: impl Transport + 'static, throttle: Throttle) -> Self {
        Self(Arc::new(ClientInner {
            transport: Arc::new(transport),
            base: Url::parse("http://api.example/").unwrap(),
            key: Arc::default(),
            throttle,
            retry: RetryPolicy::default(),
            patience: Arc::default(),
            meter: Arc::default(),
            proxy: None,
        }))
    }
}

impl ClientInner {
    fn url(&self, path: &str) -> Result<Url> {
        self.base
            .join(path)
            .map_err(|error| Error::Internal(format!("{path} on {}: {error}", self.base)))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base_url", &self.0.base.as_str()).finish_non_exhaustive()
    }
}
