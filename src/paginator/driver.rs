//! The task behind a stream of pages: starts requests, keeps order, proves completeness.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use uuid::Uuid;

use super::options::{Ids, StreamOptions};
use crate::{
    budget::{Budget, Hold},
    client::{Client, Page, PageError, PageRequest, Query},
    error::{Error, Result},
    proof::{Field, OrderCheck, PageFacts, Proof, ProofError, Scope, Violation},
    throttle::Permit,
};

/// Memory beside the body that a page holds for each row, roughly.
const ROW_OVERHEAD: usize = 160;

pub(super) struct Driver {
    client: Client,
    dataset: Uuid,
    query: Arc<Query>,
    options: StreamOptions,
    budget: Budget,
}

/// Pages on their way: started, fetched, and waiting for those before them.
struct Flight {
    /// The next page to ask for.
    next: u64,
    /// The next page to hand on.
    due: u64,
    last: u64,
    tasks: JoinSet<Result<Page>>,
    ready: BTreeMap<u64, Page>,
    /// What a page is expected to hold: the mean of those that came, in bytes.
    estimate: usize,
}

/// What happens next.
enum Event {
    Fetched(Result<Result<Page>, JoinError>),
    MayStart(Permit),
    Delivered(Page),
    Freed,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        dataset: Uuid,
        query: Query,
        options: StreamOptions,
    ) -> Self {
        let budget = Budget::new(options.prefetch_bytes);
        Self { client, dataset, query: Arc::new(query), options, budget }
    }

    /// Sends every page in order; returns when the last was taken and the proof holds.
    pub(super) async fn run(self, sender: mpsc::Sender<Page>) -> Result<()> {
        self.query.validate()?;
        self.options.validate()?;
        let mut watch = Watch::new(&self.options, &self.query);
        let kept_pages = watch.keep(&self.options)?;

        let first = self.options.pages.first();
        let page = self.fetch(first, None, self.budget.hold(0)).await?;
        let pages = pages(&page);
        let last = self.last_page(&page, pages);
        let mut flight = Flight {
            next: first.max(kept_pages + 1),
            due: first.max(kept_pages + 1),
            last,
            tasks: JoinSet::new(),
            ready: BTreeMap::new(),
            estimate: held(&page),
        };
        let count = page.count();
        if flight.due == first {
            flight.next += 1;
            flight.ready.insert(first, page);
        }
        let mut left = self.options.limit.unwrap_or(u64::MAX);
        left = left.saturating_sub(self.options.kept.iter().map(|kept| kept.rows).sum());

        while flight.due <= flight.last {
            match self.next_event(&mut flight, &sender, &mut watch, &mut left).await? {
                None => return Ok(()),
                Some(Event::Fetched(result)) => {
                    let page = result
                        .map_err(|error| Error::Internal(format!("fetching a page: {error}")))?
                        .map_err(|error| gone(error, count))?;
                    flight.estimate = (3 * flight.estimate + held(&page)) / 4;
                    flight.ready.insert(page.number(), page);
                }
                Some(Event::MayStart(permit)) => self.start(&mut flight, permit),
                Some(Event::Delivered(_)) => flight.due += 1,
                Some(Event::Freed) => {}
            }
        }
        watch.finish(&self.options.ids).await
    }
}
