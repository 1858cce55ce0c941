//! The ordered, bounded stream of pages. It yields every page once, in the API's order, or one error.
//!
//! ```text
//! page 1 ─► count, rows a page ─► pages 2…N concurrently ─► in order ─► proof ─► consumer
//!                                   ▲ throttle: request slots  ▲ budget: bytes
//! ```
//!
//! - Pages arrive in order at any concurrency. One error ends the stream.
//! - Dropping the stream cancels the requests in flight.
//! - Prefetch is bounded in bytes and in pages. The next page in order may always proceed. A page
//!   that is larger than the budget is therefore slow, but it causes no deadlock.
//! - A stream that ends without an error has proven that every row came once.
//!
//! This module does not know Arrow, files or progress bars.

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
    /// Returns the rows of a dataset, in the API's order.
    ///
    /// Pages are prefetched concurrently, within the bounds of `options`. The first error ends the
    /// stream. Dropping the stream cancels the requests in flight.
    ///
    /// A stream that ends without an error has delivered every row once. To prove this, the ids are
    /// counted in memory, which takes 16 bytes a row plus 1 MiB.
    ///
    /// Must be polled within a tokio runtime.
    ///
    /// # Errors
    /// The stream ends with the first of these errors:
    /// - [`Error::Invalid`](crate::Error::Invalid): a filter or an option is not valid; nothing was sent.
    /// - [`Error::Api`](crate::Error::Api): the API's answer is final. The dataset does not exist, the key is
    ///   refused, a filter is not valid, or a page is gone.
    /// - [`Error::Unavailable`](crate::Error::Unavailable),
    ///   [`Error::ComeBackLater`](crate::Error::ComeBackLater),
    ///   [`Error::Certificate`](crate::Error::Certificate): the API gave no usable answer within the
    ///   retry time limit.
    /// - [`Error::Page`](crate::Error::Page): an answer is not a page.
    /// - [`Error::Incomplete`](crate::Error::Incomplete),
    ///   [`Error::OutOfOrder`](crate::Error::OutOfOrder): the pages do not contain every row once, or
    ///   the rows are not in the requested order.
    /// - [`Error::Io`](crate::Error::Io): ids that do not fit in memory could not be spilled to disk. Only
    ///   exports spill ids.
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

    /// Returns the complete pages of a dataset, in order. Otherwise the same as
    /// [`datapoints`](Self::datapoints).
    ///
    /// A page counts against the prefetch bound until it is dropped.
    ///
    /// # Errors
    /// The same as [`datapoints`](Self::datapoints).
    pub fn pages(&self, dataset: Uuid, query: Query, options: StreamOptions) -> Pages {
        Pages::new(Driver::new(self.clone(), dataset, query, options, Begin::default()))
    }

    /// Like [`pages`](Self::pages), but uses the pages and parts in `begin` instead of fetching them.
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
            // A separate task lets requests continue while the consumer is busy. It also keeps a stream
            // that is not polled from occupying a place in the throttle's queue.
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

/// The stream that [`Client::datapoints`] returns.
#[must_use = "streams do nothing unless polled"]
pub struct Datapoints(BoxStream<'static, Result<Datapoint>>);

/// The stream that [`Client::pages`] returns.
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
