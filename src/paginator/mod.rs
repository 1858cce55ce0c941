//! The ordered, bounded stream of pages: every page once, in the API's order, or one error.
//!
//! ```text
//! page 1 ─► count, rows a page ─► pages 2…N side by side ─► in order ─► proof ─► consumer
//!                                   ▲ throttle: how many      ▲ budget: how many bytes
//! ```
//!
//! - Pages come in order whatever the concurrency; one error ends the stream.
//! - Dropping the stream cancels the requests in flight.
//! - What is fetched ahead is bounded in bytes and in pages. The next page in order may always
//!   proceed, so that a page larger than the budget is slow and not a deadlock.
//! - A stream that ends without an error has proven that every row came once.
//!
//! Knows nothing of Arrow, of files or of progress bars.

mod ahead;
mod driver;
mod kept;
mod options;
#[cfg(test)]
mod tests;
mod watch;

use std::{pin::Pin, task};

use async_stream::try_stream;
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::driver::Driver;
pub(crate) use self::options::check_sizes;
pub use self::options::{PageRange, StreamOptions};
pub(crate) use self::{ahead::First, driver::Begin, kept::KeptPages, options::Ids};
use crate::{
    client::{Client, Datapoint, Page, Query},
    error::Result,
    tasks::stopped,
};

impl Client {
    /// The rows of a dataset, in the API's order.
    ///
    /// Pages are fetched ahead, side by side, within the bounds of `options`. The first error ends
    /// the stream; dropping the stream cancels the requests in flight. A stream that ends without
    /// error has delivered every row once: the ids are counted, in memory, at 16 bytes a row and
    /// a megabyte.
    ///
    /// Must be polled within a tokio runtime.
    ///
    /// # Errors
    /// The stream ends with the first of these:
    /// - [`Error::Invalid`](crate::Error::Invalid): a filter or an option makes no sense; nothing was sent.
    /// - [`Error::Api`](crate::Error::Api): the API's answer is final: no such dataset, the key is refused, a filter is
    ///   invalid, or a page is gone.
    /// - [`Error::Unavailable`](crate::Error::Unavailable), [`Error::ComeBackLater`](crate::Error::ComeBackLater), [`Error::Certificate`](crate::Error::Certificate): it gave no usable
    ///   answer for as long as retrying is allowed.
    /// - [`Error::Page`](crate::Error::Page): an answer is no page.
    /// - [`Error::Incomplete`](crate::Error::Incomplete), [`Error::OutOfOrder`](crate::Error::OutOfOrder): the pages do not hold every row once, or not in
    ///   the order that was asked for.
    /// - [`Error::Io`](crate::Error::Io): ids that do not fit in memory could not be kept on disk; of exports only.
    /// - [`Error::Internal`](crate::Error::Internal): a bug.
    pub fn datapoints(&self, dataset: Uuid, query: Query, options: StreamOptions) -> Datapoints {
        let mut pages = self.pages(dataset, query, options);
        Datapoints(Box::pin(try_stream! {
            while let Some(page) = pages.next().await.transpose()? {
                for datapoint in page.datapoints() {
                    yield datapoint;
                }
            }
        }))
    }

    /// The pages of a dataset, whole, in order; otherwise as [`datapoints`](Self::datapoints).
    ///
    /// A page counts against the prefetch bound until it is dropped.
    ///
    /// # Errors
    /// As [`datapoints`](Self::datapoints).
    pub fn pages(&self, dataset: Uuid, query: Query, options: StreamOptions) -> Pages {
        Pages::new(Driver::new(self.clone(), dataset, query, options, Begin::default()))
    }

    /// As [`pages`](Self::pages), when something is there already.
    pub(crate) fn pages_after(
        &self,
        begin: Begin,
        dataset: Uuid,
        query: Query,
        options: StreamOptions,
    ) -> Pages {
        Pages::new(Driver::new(self.clone(), dataset, query, options, begin))
    }
}

impl Pages {
    fn new(driver: Result<Driver>) -> Self {
        Self(Box::pin(try_stream! {
            let driver = driver?;
            let (sender, mut receiver) = mpsc::channel(1);
            // A task of its own: requests go on while the consumer is busy, and no place in the
            // throttle's queue is held by a stream that nobody polls.
            let task = AbortOnDropHandle::new(tokio::spawn(driver.run(sender)));
            while let Some(page) = receiver.recv().await {
                yield page;
            }
            match task.await {
                Ok(result) => result?,
                Err(error) => Err(stopped("the paginator", error))?,
            }
        }))
    }
}

/// The stream that [`Client::datapoints`] gives.
#[must_use = "streams do nothing unless polled"]
pub struct Datapoints(BoxStream<'static, Result<Datapoint>>);

/// The stream that [`Client::pages`] gives.
#[must_use = "streams do nothing unless polled"]
pub struct Pages(BoxStream<'static, Result<Page>>);

macro_rules! stream {
    ($name:ident, $item:ty) => {
        impl Stream for $name {
            type Item = Result<$item>;

            fn poll_next(
                mut self: Pin<&mut Self>,
                context: &mut task::Context<'_>,
            ) -> task::Poll<Option<Self::Item>> {
                self.0.poll_next_unpin(context)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

stream!(Datapoints, Datapoint);
stream!(Pages, Page);
