//! The client of the API: requests single pages, with filters, errors and retries.
//!
//! Does not depend on Arrow, outputs or progress bars. The key goes only to the origin of the base URL. Links
//! in answers are read for their page numbers, but never followed.

mod api_error;
pub(crate) mod budget;
mod builder;
mod coding;
mod connection;
mod datasets;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod key;
mod link;
mod meter;
mod page;
mod probe;
mod query;
mod retry;
mod retry_after;
mod retry_timer;
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
pub(crate) use self::{connection::KEY_VARIABLES, page::compact, retry::LOGGED};
use self::{
    key::Key,
    retry::{Request, RetryPolicy},
    retry_timer::RetryTimer,
    transport::Transport,
};
use crate::{
    client::budget::BodyReservation,
    error::{Error, Resource, Result},
    net::proxies::ProxySource,
    throttle::{Permit, Throttle},
};

/// A client of the API. Cheap to clone. All clones share one limit of requests in flight.
///
/// ```no_run
/// # async fn rows() -> overmind_export::Result<()> {
/// use futures::TryStreamExt;
/// use overmind_export::{Client, Query, StreamOptions};
///
/// let client = Client::from_env()?;
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let mut rows = client.dataset(dataset).datapoints();
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
    timer: Arc<RetryTimer>,
    meter: Arc<Meter>,
    /// The proxy for requests, if any.
    proxy: Option<ProxySource>,
}

/// The endpoint of a dataset's pages: the part that all requests for them share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// URL with the parameters of the query, but without page number and page size.
    url: Url,
    filtered: bool,
    page_size: u32,
}

impl Client {
    /// Returns a [`ClientBuilder`] with the default options.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Creates a client from the environment.
    ///
    /// The key comes from `OVERMIND_LAB_API_KEY` or `OVERMIND_API_KEY`. The base URL comes from
    /// `OVERMIND_LAB_BASE_URL` or `OVERMIND_API_URL` (default: `https://api.overmindlab.ai`).
    ///
    /// # Errors
    /// [`Error::NoKey`] when neither variable contains a key, and the errors of [`ClientBuilder::build`].
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env().build()
    }

    /// Returns the base URL.
    pub fn base_url(&self) -> &str {
        self.0.base.as_str()
    }

    /// Returns a client with its own [`Meter`], which starts from zero.
    ///
    /// Everything else is shared with this client, whose meter counts the requests too. Use it for one of
    /// several exports that run at the same time.
    #[must_use]
    pub fn metered(&self) -> Self {
        let ClientInner { transport, base, key, throttle, retry, timer, meter, proxy } = &*self.0;
        Self(Arc::new(ClientInner {
            transport: transport.clone(),
            base: base.clone(),
            key: key.clone(),
            throttle: throttle.clone(),
            retry: retry.clone(),
            timer: timer.clone(),
            meter: Arc::new(Meter::part(meter.clone())),
            proxy: proxy.clone(),
        }))
    }

    /// Returns the counters of this client and its clones.
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Returns the number of requests in flight.
    pub fn in_flight(&self) -> usize {
        self.0.throttle.in_flight()
    }

    /// Returns the current limit of requests in flight: the fixed one, or the one learned so far.
    pub fn limit(&self) -> usize {
        self.0.throttle.limit()
    }

    /// Whether the limit of requests in flight is fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.0.throttle.is_fixed()
    }

    /// Returns the number of free request slots, if the limit is fixed and no rate limit or pause applies.
    pub(crate) fn free_places(&self) -> Option<usize> {
        self.0.throttle.free_places()
    }

    /// Waits for a request slot for this page. Among waiting requests, the lowest page number goes first.
    ///
    /// # Errors
    /// [`Error::LongPause`] when the API asked for a pause that is longer than the retry time limit.
    pub(crate) async fn acquire(&self, page: u64) -> Result<Permit> {
        self.0.acquire(page, Instant::now()).await
    }

    /// Requests the first page of a pass. Its `count` decides the number of further pages.
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

    /// Returns the endpoint for the pages of a dataset.
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

    /// Requests a page and decodes it. `permit` is the request slot of the first attempt, if the caller has
    /// one.
    pub(crate) async fn page(
        &self,
        endpoint: &Endpoint,
        page: u64,
        permit: Option<Permit>,
        room: Option<&mut BodyReservation>,
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
    /// Creates a client with scripted answers.
    pub(crate) fn scripted(transport: impl Transport + 'static, throttle: Throttle) -> Self {
        Self(Arc::new(ClientInner {
            transport: Arc::new(transport),
            base: Url::parse("http://api.example/").unwrap(),
            key: Arc::default(),
            throttle,
            retry: RetryPolicy::default(),
            timer: Arc::default(),
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
