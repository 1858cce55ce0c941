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
//! This module does not know Arrow, outputs or progress bars. It reads only the ids of kept parts from files.

mod ahead;
mod driver;
mod kept;
mod options;
mod reader;
#[cfg(test)]
mod tests;
mod watch;
mod window;

use std::{pin::Pin, task};

use async_stream::try_stream;
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::driver::Driver;
pub(crate) use self::options::check_sizes;
pub(crate) use self::{
    ahead::First,
    driver::Begin,
    kept::KeptPages,
    options::{Ids, full_page, rows_of},
};
pub use self::{
    options::{PageRange, StreamOptions},
    reader::DatasetReader,
};
use crate::{
    client::{Client, Datapoint, Page, Query},
    error::Result,
    tasks::stopped,
};

impl Client {
    /// Like [`DatasetReader::pages`], but uses the pages and parts in `begin` instead of fetching them.
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

/// The stream that [`DatasetReader::datapoints`] returns.
#[must_use = "streams do nothing unless polled"]
pub struct Datapoints(BoxStream<'static, Result<Datapoint>>);

/// The stream that [`DatasetReader::pages`] returns.
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
