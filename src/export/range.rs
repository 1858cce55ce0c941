//! One range of pages of an export that many workers write, and the proof over all of them. Never publishes.

use std::{collections::BTreeMap, pin::Pin};

use futures::StreamExt;
use tokio::select;

use super::{Export, slot::DestinationSlot, writer::WriterScope};
use crate::{
    client::Page,
    destination::KeptPart,
    error::{Error, Result},
    paginator::{First, PageRange, StreamOptions},
    text::{counted, grouped},
};

/// The pages of a range, and what the plan says of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangePages {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Number of rows of the dataset.
    pub(crate) count: u64,
    /// Number of rows of a full page.
    pub(crate) rows_per_page: u64,
}

impl RangePages {
    fn rows_before(&self, page: u64) -> u64 {
        page.saturating_sub(1).saturating_mul(self.rows_per_page).min(self.count)
    }

    /// Returns the number of rows on these pages.
    pub(crate) fn rows(&self) -> u64 {
        self.rows_before(self.last.saturating_add(1)) - self.rows_before(self.first)
    }

    /// Refuses a page if the dataset is no longer the one of the plan.
    pub(crate) fn check(&self, page: &Page) -> Result<()> {
        let number = page.number();
        let rows = self.rows_before(number + 1) - self.rows_before(number);
        let seen = if page.count() != self.count {
            format!(
                "the plan has {}, and page {number} says {}",
                counted(self.count, "row"),
                grouped(page.count())
            )
        } else if page.len() as u64 != rows {
            format!(
                "page {number} has {}, and {} by the plan",
                counted(page.len() as u64, "row"),
                grouped(rows)
            )
        } else {
            return Ok(());
        };
        Err(Error::Incomplete { seen, delivered: false, planned: true })
    }

    /// Explains an error of the first page: a page that the plan promises can be gone.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::Api(answer) if answer.is_missing() && self.first > 1 => {
                let rows = counted(self.count, "row");
                let seen = format!("the plan has {rows}, and page {} is gone (404)", self.first);
                Error::Incomplete { seen, delivered: false, planned: true }
            }
            error => error,
        }
    }
}

/// Says of an error about missing rows that a plan has these rows.
fn of_plan(error: Error) -> Error {
    match error {
        Error::Incomplete { seen, delivered, .. } => {
            Error::Incomplete { seen, delivered, planned: true }
        }
        error => error,
    }
}

impl Export {
    /// Reads the pages of a range and stages their parts. Returns the `order` of its first row.
    pub(crate) async fn write_range(
        &self,
        slot: &mut DestinationSlot,
        range: &RangePages,
        mut stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<Option<i64>> {
        let pages = PageRange::new(range.first, Some(range.last))?;
        let stream = StreamOptions { pages, ..self.stream_options() };
        let first = self.first_of_range(range, &stream, true, stop.as_mut()).await?;
        let first_order = first.page().rows().next().and_then(|row| row.order);
        self.progress.begin(range.rows(), 0);
        let grid = self.plan.part_grid(range.rows_per_page);
        let first_row = range.rows_before(range.first);
        let scope = WriterScope { count: range.count, first_row, grid, is_whole: false };
        let pages = self.pages(first, &[], &BTreeMap::new(), stream);
        let written = self.write(slot, self.plan.clone(), scope, pages, Vec::new(), stop).await;
        written.map(|_| first_order).map_err(|error| of_plan(self.stopped(error, 0)))
    }

    /// Proves that the parts have every row of the dataset once, and fetches the first and the last page again. `orders`
    /// has the `order` of the first row of each range, by its first page.
    pub(crate) async fn prove(
        &self,
        range: &RangePages,
        kept: &[KeptPart],
        orders: &BTreeMap<u64, Option<i64>>,
        mut stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<()> {
        let stream = self.stream_options();
        let first = self.first_of_range(range, &stream, false, stop.as_mut()).await?;
        self.progress.begin(range.rows(), range.rows());
        let mut pages = self.pages(first, kept, orders, stream);
        let proving = async {
            match pages.next().await {
                None => Ok(()),
                Some(Err(error)) => Err(error),
                Some(Ok(page)) => {
                    let seen = format!("the plan ends before page {}", page.number());
                    Err(Error::Incomplete { seen, delivered: false, planned: true })
                }
            }
        };
        let proven = select! {
            proven = proving => proven,
            error = stop => Err(error),
        };
        proven.map_err(|error| of_plan(self.stopped(error, 0)))
    }

    async fn first_of_range(
        &self,
        range: &RangePages,
        stream: &StreamOptions,
        may_prefetch: bool,
        stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<First> {
        let options = &self.plan.options;
        let first = self.client.first_of(options.dataset, &options.query, stream, may_prefetch);
        let first = select! {
            first = first => first.map_err(|error| range.explain(error))?,
            error = stop => return Err(error),
        };
        range.check(first.page())?;
        Ok(first)
    }
}
