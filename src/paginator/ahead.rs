//! The first page, and those that are asked for beside it: before it has told how many there are, a
//! number in flight that was fixed is made use of, which saves a round trip and the time that
//! connections take to open.
//!
//! Pages that turn out not to be there are forgotten. Never with `auto`, which has learned nothing yet
//! and asks nobody in vain, nor beside a page that comes at once.

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
        budget::{Budget, Room},
    },
    error::Result,
    throttle::Permit,
};

/// How long the first page is waited for by itself: from nearby there is nothing to save.
const SOON: Duration = Duration::from_millis(25);
/// Memory that a page holds for each row beside the body, roughly.
const ROW_OVERHEAD: usize = 160;

/// Fetches pages of one dataset within one budget.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    pub(super) client: Client,
    pub(super) budget: Budget,
    endpoint: Arc<Endpoint>,
}

/// The first page of a stream, and what was asked for beside it.
#[derive(Debug)]
pub(crate) struct First {
    pub(super) page: Page,
    pub(super) fetch: Fetch,
    pub(super) ahead: Tasks,
    /// To end those that turn out not to be there, or to have no room.
    pub(super) handles: Vec<(u64, AbortHandle)>,
}

/// Pages that are being fetched.
pub(super) type Tasks = JoinSet<(u64, Result<Page>)>;
/// What one of them came to.
pub(super) type Fetched = Result<(u64, Result<Page>), JoinError>;

pub(super) fn held(page: &Page) -> usize {
    page.bytes() + page.len() * ROW_OVERHEAD
}

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
        mut room: Room,
    ) -> impl Future<Output = Result<Page>> + Send + 'static {
        let (client, endpoint) = (self.client.clone(), self.endpoint.clone());
        async move {
            let mut page = client.page(&endpoint, number, permit, Some(&mut room)).await?;
            page.hold(room.into_hold(held(&page)));
            Ok(page)
        }
    }

    /// The first page that the options want; and if others may come beside it, those, should it take
    /// its time.
    pub(super) async fn first(self, options: &StreamOptions, beside: bool) -> Result<First> {
        let number = options.pages.first();
        self.budget.set_due(number);
        // To wait for its turn is not to be slow.
        let permit = self.client.acquire(number).await?;
        let mut page = pin!(self.page(number, Some(permit), self.budget.room(number, 0)));
        let mut ahead = JoinSet::new();
        let first = select! {
            biased;
            page = &mut page => Some(page?),
            () = sleep(SOON), if beside => None,
        };
        let next = if first.is_some() { number + 1 } else { self.end(options) };
        let spawn = |number| {
            // Nothing is known of its size: its body comes as far as there is room.
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

    /// The first page that is not to be asked for before it is known how many there are.
    fn end(&self, options: &StreamOptions) -> u64 {
        let first = options.pages.first();
        // The first page has a place already; others may be a neighbour's.
        let free = self.client.free_places().unwrap_or_default();
        let in_flight = (free + 1).min(options.prefetch_pages.max(1)) as u64;
        let of_limit = options.limit.unwrap_or(u64::MAX).div_ceil(options.page_size.into());
        let end = first.saturating_add(in_flight.min(of_limit));
        options.pages.last().map_or(end, |last| end.min(last.saturating_add(1)))
    }
}

impl Client {
    /// The first page of a stream with these options, for [`pages_after`](Self::pages_after); others
    /// may be asked for beside it if none are there already.
    pub(crate) async fn first_of(
        &self,
        dataset: Uuid,
        query: &Query,
        options: &StreamOptions,
        beside: bool,
    ) -> Result<First> {
        Fetch::new(self.clone(), dataset, query, options)?.first(options, beside).await
    }
}

impl First {
    pub(crate) fn page(&self) -> &Page {
        &self.page
    }
}
