//! The task behind a stream of pages: starts requests, keeps their order, hands pages on.

use std::collections::BTreeMap;

use tokio::{
    select,
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use uuid::Uuid;

use super::{
    ahead::{Fetch, Fetched, First, Tasks, held},
    kept::KeptPages,
    options::{Ids, StreamOptions},
    watch::PageWatch,
};
use crate::{
    client::{Client, Page, Query},
    error::{Error, Result},
    tasks::stopped,
    throttle::Permit,
};

/// Pages ahead for each that may be in flight: one on its way, one that waits, and one for when the two
/// are not even. From nearby more would only be memory, the first touch of which takes time.
const WINDOWS: usize = 3;
/// With fewer in flight, a consumer that takes many at once would still find too few. While as many pages
/// wait for it, more are no use, unless their number was fixed.
const LEAST_LIMIT: usize = 16;

/// What is there when a stream begins.
#[derive(Debug, Default)]
pub(crate) struct Begin {
    /// The first page of the range, fetched already.
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

/// Pages on their way: started, fetched, and waiting for those before them.
struct Flight {
    /// The next page to ask for.
    next: u64,
    /// The next page to hand on.
    due: u64,
    last: u64,
    tasks: Tasks,
    ready: BTreeMap<u64, Page>,
    /// What a page is expected to hold, from those that came.
    estimate: usize,
    /// Rows to hand on still.
    left: u64,
    /// Whether requests start until there is no place left, in flight or ahead.
    fills_up: bool,
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

    /// Sends every page in order; returns when the last was taken and the proof holds.
    pub(super) async fn run(mut self, sender: mpsc::Sender<Page>) -> Result<()> {
        self.query.validate()?;
        self.options.validate()?;
        let watch = PageWatch::new(&self.options, &self.query, self.begin.ids.clone());
        let first = match self.begin.first.take() {
            Some(first) => first,
            None => self.fetch.clone().first(&self.options, self.begin.kept.is_empty()).await?,
        };
        let (mut watch, kept_pages) = watch.keep(&self.begin.kept, &first.page).await?;
        if watch.violated() {
            return watch.finish().await;
        }
        let count = first.page.count();
        let mut flight = self.flight(first, kept_pages, watch.boundary.is_some());
        let (client, budget) = (&self.fetch.client, &self.fetch.budget);
        budget.set_due(flight.due);
        while flight.due <= flight.last {
            // Some may have come beside the first page before they could be ended.
            while flight.ready.contains_key(&flight.next) {
                flight.next += 1;
            }
            let ahead = flight.next - flight.due;
            // The next page in order may always proceed, whatever the bounds.
            let is_behind = flight.is_consumer_behind();
            let limit = if is_behind && !client.is_fixed() { 0 } else { client.limit() };
            let limit = limit.max(LEAST_LIMIT);
            let most = self.options.prefetch_pages.min(WINDOWS * limit);
            let within = ahead == 0 || flight.has_place(limit, most, is_behind);
            let wanted = flight.next <= flight.last && within;
            let fits = ahead == 0 || budget.fits(flight.estimate);
            select! {
                biased;
                Some(fetched) = flight.tasks.join_next() => match flight.land(fetched)? {
                    Landed::Page => {}
                    Landed::Gone(page) => return watch.gone(page, count).await,
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
                else => return Err(Error::Internal("no page is on its way".to_owned())),
            }
        }
        drop(flight);
        watch.finish().await
    }

    /// The plan of the flight, from the first page: how many pages there are tells only the API.
    fn flight(&self, first: First, kept_pages: u64, look_back: bool) -> Flight {
        let First { page, ahead, handles, .. } = first;
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
            fills_up: true,
        };
        if due == first {
            flight.next += 1;
            // As many as there are, and as there is room for now that it is known what a page holds.
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

    fn start(&self, flight: &mut Flight, permit: Permit) {
        let number = flight.next;
        let room = self.fetch.budget.room(number, flight.estimate);
        let page = self.fetch.page(number, Some(permit), room);
        flight.tasks.spawn(async move { (number, page.await) });
        flight.next += 1;
    }
}

/// What a fetched page turned out to be.
enum Landed {
    Page,
    /// 404, though an earlier page promised it.
    Gone(u64),
}

impl Flight {
    fn land(&mut self, fetched: Fetched) -> Result<Landed> {
        if fetched.as_ref().is_err_and(JoinError::is_cancelled) {
            // Asked for before it was known that there are no more, or no room.
            return Ok(Landed::Page);
        }
        let (number, page) = fetched.map_err(|error| stopped("fetching a page", error))?;
        if number > self.last || number < self.due {
            // It was there before it could be ended.
            return Ok(Landed::Page);
        }
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

    /// Whether the consumer has pages to take for longer than the next ones need to come.
    fn is_consumer_behind(&self) -> bool {
        self.ready.contains_key(&self.due) && self.ready.len() >= LEAST_LIMIT
    }

    /// Whether another request may start, of so many in flight and pages ahead; its bytes are for the
    /// budget. While the consumer is behind several start together, as soon as a sixth of the pages ahead,
    /// which is half of those in flight, have places: one by one, each would wake the server, and its
    /// answer this process.
    fn has_place(&mut self, limit: usize, most: usize, is_behind: bool) -> bool {
        let ahead = usize::try_from(self.next - self.due).unwrap_or(usize::MAX);
        let free = limit.saturating_sub(self.tasks.len()).min(most.saturating_sub(ahead));
        self.fills_up = !is_behind || free >= most / (2 * WINDOWS) || self.fills_up && free > 0;
        self.fills_up && free > 0
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
