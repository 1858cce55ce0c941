//! The task behind a stream of pages: it starts requests, restores their order and passes pages on.

use std::collections::BTreeMap;

use tokio::{
    select,
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use uuid::Uuid;

use super::{
    ahead::{Fetch, Fetched, First, Tasks},
    kept::KeptPages,
    options::{Ids, StreamOptions, pages_of},
    watch::PageWatch,
    window::{Prefetched, Window},
};
use crate::{
    client::{Client, Page, Query},
    error::{Error, Result},
    tasks::stopped,
    throttle::Permit,
};

/// The data that exists when a stream begins.
#[derive(Debug, Default)]
pub(crate) struct Begin {
    /// The first page of the range, if it was fetched already.
    pub(crate) first: Option<First>,
    pub(crate) ids: Ids,
    /// Parts of an interrupted run, in order.
    pub(crate) kept: Vec<KeptPages>,
}

pub(super) struct Driver {
    fetch: Fetch,
    query: Query,
    options: StreamOptions,
    begin: Begin,
}

/// The pages between request and consumer: in flight, or fetched and waiting for earlier pages.
struct PagesInFlight {
    /// Number of the next page to request.
    next: u64,
    /// Number of the next page to pass on.
    due: u64,
    last: u64,
    tasks: Tasks,
    ready: BTreeMap<u64, Page>,
    /// Expected memory of a page in bytes, learned from the pages that came.
    estimate: usize,
    /// Number of rows that may still be passed on.
    left: u64,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        dataset: Uuid,
        query: Query,
        options: StreamOptions,
        begin: Begin,
    ) -> Result<Self> {
        let fetch = match &begin.first {
            Some(first) => first.fetch.clone(),
            None => Fetch::new(client, dataset, &query, &options)?,
        };
        Ok(Self { fetch, query, options, begin })
    }

    /// Sends every page that was not kept, in order. After the last page, returns the result of the proof. Returns
    /// early if the consumer is gone.
    pub(super) async fn run(mut self, sender: mpsc::Sender<Page>) -> Result<()> {
        self.query.validate()?;
        self.options.validate()?;
        let first = match self.begin.first.take() {
            Some(first) => first,
            None => self.fetch.clone().first(&self.options, self.begin.kept.is_empty()).await?,
        };
        self.options = self.options.covering(&first.page);
        let watch = PageWatch::new(&self.options, &self.query, self.begin.ids.clone());
        let (mut watch, kept_pages) = watch.keep(&self.begin.kept, &first.page).await?;
        if watch.violated() {
            return watch.finish().await;
        }
        let count = first.page.count();
        let mut flight = self.flight(first, kept_pages, watch.boundary.is_some());
        let mut window = Window::new(self.options.prefetch_pages);
        let (client, budget) = (&self.fetch.client, &self.fetch.budget);
        budget.set_due(flight.due);
        while flight.due <= flight.last {
            // Some of these pages may have come together with the first page, before they could be cancelled.
            while flight.ready.contains_key(&flight.next) {
                flight.next += 1;
            }
            let prefetched = flight.prefetched();
            // The next page in order may always proceed, whatever the bounds.
            let is_due = prefetched.pages == 0;
            if !is_due {
                window.update(prefetched, client.limit(), client.is_fixed());
            }
            let wanted = flight.next <= flight.last && (is_due || window.is_open());
            let fits = is_due || budget.fits(flight.estimate);
            select! {
                biased;
                Some(fetched) = flight.tasks.join_next() => match flight.accept(fetched)? {
                    FetchOutcome::Page => {}
                    FetchOutcome::Gone(page) => return watch.gone(page, count).await,
                },
                slot = sender.reserve(), if flight.ready.contains_key(&flight.due) => {
                    let (Ok(slot), Some(page)) = (slot, flight.take_due()) else { return Ok(()) };
                    budget.set_due(flight.due);
                    if watch.is_kept(&page) {
                        if watch.violated() {
                            break;
                        }
                        continue;
                    }
                    if !watch.page(&page)? {
                        break;
                    }
                    slot.send(flight.within_limit(page));
                }
                permit = client.acquire(flight.next), if wanted && fits => {
                    self.start(&mut flight, permit?);
                }
                () = budget.freed(), if wanted && !fits => {}
                else => return Err(Error::Internal("no page is in flight".to_owned())),
            }
        }
        drop(flight);
        watch.finish().await
    }

    /// Plans the flight from the first page: only the API knows how many pages there are.
    fn flight(&self, first: First, kept_pages: u64, look_back: bool) -> PagesInFlight {
        let First { page, ahead, handles, .. } = first;
        let first = page.number();
        let rows = page.len() as u64;
        let mut last = self.options.pages.end(pages_of(&page));
        if let Some(limit) = self.options.limit
            && rows > 0
        {
            last = last.min(first.saturating_add(limit.div_ceil(rows) - 1));
        }
        let kept_rows = self.begin.kept.iter().map(|kept| kept.rows).sum();
        // The last kept page is fetched again, to be compared.
        let due = first.max(kept_pages + u64::from(!look_back));
        let mut flight = PagesInFlight {
            next: due,
            due,
            last,
            tasks: JoinSet::new(),
            ready: BTreeMap::new(),
            estimate: page.memory(),
            left: self.options.limit.unwrap_or(u64::MAX).saturating_sub(kept_rows),
        };
        if due == first {
            flight.next += 1;
            // Keep the requests for pages that exist and fit. The size of a page is known from now on.
            let room = (self.options.prefetch_bytes / flight.estimate.max(1)) as u64;
            let end = last.saturating_add(1).min(first.saturating_add(room.max(1)));
            for (number, task) in handles {
                if number < end {
                    flight.next = number + 1;
                } else {
                    task.abort();
                }
            }
            flight.tasks = ahead;
            flight.ready.insert(first, page);
        }
        flight
    }

    fn start(&self, flight: &mut PagesInFlight, permit: Permit) {
        let number = flight.next;
        let room = self.fetch.budget.room(number, flight.estimate);
        let page = self.fetch.page(number, Some(permit), room);
        flight.tasks.spawn(async move { (number, page.await) });
        flight.next += 1;
    }
}

/// The result of a fetch.
enum FetchOutcome {
    Page,
    /// The API answered 404, although an earlier page promised this page.
    Gone(u64),
}

impl PagesInFlight {
    fn accept(&mut self, fetched: Fetched) -> Result<FetchOutcome> {
        if fetched.as_ref().is_err_and(JoinError::is_cancelled) {
            // The request started before it was known that the page does not exist or does not fit.
            return Ok(FetchOutcome::Page);
        }
        let (number, page) = fetched.map_err(|error| stopped("fetching a page", error))?;
        if number > self.last || number < self.due {
            // The page came before its request could be cancelled.
            return Ok(FetchOutcome::Page);
        }
        let page = match page {
            Err(Error::Api(error)) if error.is_missing() => return Ok(FetchOutcome::Gone(number)),
            page => page?,
        };
        // Rises immediately and decays slowly (EWMA, weight 1/8). A page that is larger than expected may
        // have to wait for room; a smaller page does not.
        self.estimate = page.memory().max((7 * self.estimate + page.memory()) / 8);
        self.ready.insert(number, page);
        Ok(FetchOutcome::Page)
    }

    fn prefetched(&self) -> Prefetched {
        let has_due = self.ready.contains_key(&self.due);
        Prefetched {
            in_flight: self.tasks.len(),
            pages: usize::try_from(self.next - self.due).unwrap_or(usize::MAX),
            waiting: if has_due { self.ready.len() } else { 0 },
        }
    }

    fn take_due(&mut self) -> Option<Page> {
        let mut page = self.ready.remove(&self.due)?;
        self.due += 1;
        if self.due > self.last {
            page.end_stream();
        }
        Some(page)
    }

    fn within_limit(&mut self, mut page: Page) -> Page {
        page.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= page.len() as u64;
        page
    }
}
