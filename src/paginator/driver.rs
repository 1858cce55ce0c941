//! The task behind a stream of pages: starts requests, keeps their order, hands pages on.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    select,
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use uuid::Uuid;

use super::{
    options::{Begin, StreamOptions},
    watch::Watch,
};
use crate::{
    budget::{Budget, Room},
    client::{Client, Page, PageRequest, Query},
    error::{Error, Result},
    throttle::Permit,
};

/// Memory that a page holds for each row beside the body, roughly.
const ROW_OVERHEAD: usize = 160;

pub(super) struct Driver {
    client: Client,
    dataset: Uuid,
    query: Arc<Query>,
    options: StreamOptions,
    budget: Budget,
    begin: Begin,
}

/// Pages on their way: started, fetched, and waiting for those before them.
struct Flight {
    /// The next page to ask for.
    next: u64,
    /// The next page to hand on.
    due: u64,
    last: u64,
    tasks: JoinSet<(u64, Result<Page>)>,
    ready: BTreeMap<u64, Page>,
    /// What a page is expected to hold, from those that came.
    estimate: usize,
    /// Rows to hand on still.
    left: u64,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        dataset: Uuid,
        query: Query,
        options: StreamOptions,
        mut begin: Begin,
    ) -> Self {
        let budget = Budget::new(options.prefetch_bytes);
        if let Some(page) = &mut begin.first {
            page.hold(budget.hold(held(page)));
        }
        Self { client, dataset, query: Arc::new(query), options, budget, begin }
    }

    /// Sends every page in order; returns when the last was taken and the proof holds.
    pub(super) async fn run(mut self, sender: mpsc::Sender<Page>) -> Result<()> {
        self.query.validate()?;
        self.options.validate()?;
        let watch = Watch::new(&self.options, &self.query, self.begin.ids.clone());
        let page = match self.begin.first.take() {
            Some(page) => page,
            None => {
                let first = self.options.pages.first();
                self.budget.set_due(first);
                self.fetch(first, None, self.budget.room(first, 0)).await?
            }
        };
        let (mut watch, kept_pages) = watch.keep(&self.begin.kept, &page).await?;
        if watch.violated() {
            return watch.finish().await;
        }
        let count = page.count();
        let mut flight = self.flight(page, kept_pages, watch.boundary.is_some());
        self.budget.set_due(flight.due);
        while flight.due <= flight.last {
            let ahead = flight.next - flight.due;
            // The next page in order may always proceed, whatever the bounds.
            let within = ahead == 0 || ahead < self.options.prefetch_pages as u64;
            let wanted = flight.next <= flight.last && within;
            let fits = ahead == 0 || self.budget.fits(flight.estimate);
            select! {
                biased;
                Some(fetched) = flight.tasks.join_next() => match flight.land(fetched)? {
                    Landed::Page => {}
                    Landed::Gone(page) => return watch.gone(page, count).await,
                },
                slot = sender.reserve(), if flight.ready.contains_key(&flight.due) => {
                    let (Ok(slot), Some(page)) = (slot, flight.take_due()) else { return Ok(()) };
                    self.budget.set_due(flight.due);
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
                permit = self.client.acquire(flight.next), if wanted && fits => {
                    self.start(&mut flight, permit?);
                }
                () = self.budget.freed(), if wanted && !fits => {}
                else => return Err(Error::Internal("no page is on its way".to_owned())),
            }
        }
        drop(flight);
        watch.finish().await
    }

    /// The plan of the flight, from the first page: how many pages there are tells only the API.
    fn flight(&self, page: Page, kept_pages: u64, look_back: bool) -> Flight {
        let first = page.number();
        let rows = page.len() as u64;
        let pages = if page.has_next() && rows > 0 { page.count().div_ceil(rows) } else { first };
        let mut last = self.options.pages.end(pages.max(first));
        if let Some(limit) = self.options.limit
            && rows > 0
        {
            last = last.min(first.saturating_add(limit.div_ceil(rows) - 1));
        }
        let kept_rows = self.begin.kept.iter().map(|kept| kept.rows).sum();
        // The last kept page comes again, to be compared.
        let due = first.max(kept_pages + u64::from(!look_back));
        let mut flight = Flight {
            next: due,
            due,
            last,
            tasks: JoinSet::new(),
            ready: BTreeMap::new(),
            estimate: held(&page),
            left: self.options.limit.unwrap_or(u64::MAX).saturating_sub(kept_rows),
        };
        if due == first {
            flight.next += 1;
            flight.ready.insert(first, page);
        }
        flight
    }

    fn start(&self, flight: &mut Flight, permit: Permit) {
        let number = flight.next;
        let page = self.fetch(number, Some(permit), self.budget.room(number, flight.estimate));
        flight.tasks.spawn(async move { (number, page.await) });
        flight.next += 1;
    }

    fn fetch(
        &self,
        page: u64,
        permit: Option<Permit>,
        mut room: Room,
    ) -> impl Future<Output = Result<Page>> + Send + 'static {
        let client = self.client.clone();
        let wanted = PageRequest {
            dataset: self.dataset,
            query: self.query.clone(),
            page,
            page_size: self.options.page_size,
        };
        async move {
            let mut page = client.page(wanted, permit, Some(&mut room)).await?;
            page.hold(room.into_hold(held(&page)));
            Ok(page)
        }
    }
}

/// What a fetched page turned out to be.
enum Landed {
    Page,
    /// 404, though an earlier page promised it.
    Gone(u64),
}

impl Flight {
    fn land(&mut self, fetched: Result<(u64, Result<Page>), JoinError>) -> Result<Landed> {
        let (number, page) =
            fetched.map_err(|error| Error::Internal(format!("fetching a page: {error}")))?;
        let page = match page {
            Err(Error::Api(error)) if error.is_missing() => return Ok(Landed::Gone(number)),
            page => page?,
        };
        // Up at once and down by and by: a page that takes more than was expected may have to wait for
        // room, one that takes less does not.
        self.estimate = held(&page).max((7 * self.estimate + held(&page)) / 8);
        self.ready.insert(number, page);
        Ok(Landed::Page)
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

fn held(page: &Page) -> usize {
    page.bytes() + page.len() * ROW_OVERHEAD
}
