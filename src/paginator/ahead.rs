//! Fetches the first page, and prefetches others together with it if the concurrency is fixed.
//!
//! The prefetch starts before the first page shows the number of pages. It saves a round trip and
//! the time to open connections. Pages that do not exist are ignored.
//!
//! `auto` never prefetches here: it has learned no limit yet, and a useless request would burden the
//! server. Nothing is prefetched either if the first page comes within 25 ms.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    select,
    task::{AbortHandle, JoinError, JoinSet},
    time::sleep,
};
use uuid::Uuid;

use super::options::StreamOptions;
use crate::{
    client::{
        Client, Endpoint, Page, Query,
        budget::{BodyReservation, Budget},
    },
    error::Result,
    throttle::Permit,
};

/// Wait for the first page before others are requested: 25 ms. On a low-latency link a prefetch saves
/// nothing.
const SOON: Duration = Duration::from_millis(25);

/// Fetches pages of one dataset within one budget.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    pub(super) client: Client,
    pub(super) budget: Budget,
    endpoint: Arc<Endpoint>,
}

/// The first page of a stream, and the requests that started together with it.
#[derive(Debug)]
pub(crate) struct First {
    pub(super) page: Page,
    pub(super) fetch: Fetch,
    pub(super) ahead: Tasks,
    /// Handles to cancel requests for pages that do not exist or do not fit.
    pub(super) handles: Vec<(u64, AbortHandle)>,
}

/// The pages that are being fetched, with their numbers.
pub(super) type Tasks = JoinSet<(u64, Result<Page>)>;
/// The result of one of these requests.
pub(super) type Fetched = Result<(u64, Result<Page>), JoinError>;

impl Fetch {
    pub(super) fn new(
        client: Client,
        dataset: Uuid,
        query: &Query,
        options: &StreamOptions,
    ) -> Result<Self> {
        let endpoint = Arc::new(client.datapoints_endpoint(dataset, query, options.page_size)?);
        Ok(Self { client, budget: Budget::new(options.prefetch_bytes), endpoint })
    }

    pub(super) fn page(
        &self,
        number: u64,
        permit: Option<Permit>,
        mut room: BodyReservation,
    ) -> impl Future<Output = Result<Page>> + Send + 'static {
        let (client, endpoint) = (self.client.clone(), self.endpoint.clone());
        async move {
            let mut page = client.page(&endpoint, number, permit, Some(&mut room)).await?;
            let memory = page.memory();
            page.hold(room.into_hold(memory));
            Ok(page)
        }
    }

    /// Fetches the first page of the range in the options. If `may_prefetch` is set, the concurrency is
    /// fixed, and the page takes longer than 25 ms, this requests the next pages at the same time.
    pub(super) async fn first(self, options: &StreamOptions, may_prefetch: bool) -> Result<First> {
        let number = options.pages.first();
        self.budget.set_due(number);
        // The time to wait for a request slot does not count as the page's latency.
        let permit = self.client.acquire(number).await?;
        let mut page = pin!(self.page(number, Some(permit), self.budget.room(number, 0)));
        let mut ahead = JoinSet::new();
        let first = select! {
            biased;
            page = &mut page => Some(page?),
            () = sleep(SOON), if may_prefetch => None,
        };
        let next = if first.is_some() { number + 1 } else { self.end(options) };
        let spawn = |number| {
            // The size of this page is unknown: its body is read only as far as there is room.
            let page = self.page(number, None, self.budget.room(number, 0));
            (number, ahead.spawn(async move { (number, page.await) }))
        };
        let handles = (number + 1..next).map(spawn).collect();
        let page = match first {
            Some(page) => page,
            None => page.await?,
        };
        Ok(First { page, fetch: self, ahead, handles })
    }

    /// Number of the first page that must not be requested before the number of pages is known.
    fn end(&self, options: &StreamOptions) -> u64 {
        let first = options.pages.first();
        // The first page has a request slot already. Another stream may use others.
        let free = self.client.free_places().unwrap_or_default();
        let in_flight = (free + 1).min(options.prefetch_pages.max(1)) as u64;
        let of_limit = options.limit.unwrap_or(u64::MAX).div_ceil(options.page_size.into());
        let end = first.saturating_add(in_flight.min(of_limit));
        options.pages.last().map_or(end, |last| end.min(last.saturating_add(1)))
    }
}

impl Client {
    /// Fetches the first page of a stream with these options, for [`pages_after`](Self::pages_after). If
    /// `may_prefetch` is set, this may request the next pages at the same time. A resumed run does not set it.
    pub(crate) async fn first_of(
        &self,
        dataset: Uuid,
        query: &Query,
        options: &StreamOptions,
        may_prefetch: bool,
    ) -> Result<First> {
        Fetch::new(self.clone(), dataset, query, options)?.first(options, may_prefetch).await
    }
}

impl First {
    pub(crate) fn page(&self) -> &Page {
        &self.page
    }
}
