//! Builds a stream of the rows or pages of one dataset.

use async_stream::try_stream;
use futures::StreamExt;
use uuid::Uuid;

use super::{Datapoints, PageRange, Pages, StreamOptions, driver::Begin};
use crate::client::{Client, Query};

/// A dataset to be read. Made by [`Client::dataset`].
///
/// ```no_run
/// # async fn rows() -> overmind_export::Result<()> {
/// use futures::TryStreamExt;
/// use overmind_export::Client;
///
/// let client = Client::from_env()?;
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let mut rows = client.dataset(dataset).limit(1_000).datapoints();
/// while let Some(row) = rows.try_next().await? {
///     println!("{}", row.id);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a reader does nothing until it is asked for datapoints or pages"]
pub struct DatasetReader {
    client: Client,
    dataset: Uuid,
    query: Query,
    options: StreamOptions,
}

impl Client {
    /// Returns a reader of the rows of a dataset. Sends nothing.
    pub fn dataset(&self, dataset: Uuid) -> DatasetReader {
        DatasetReader {
            client: self.clone(),
            dataset,
            query: Query::default(),
            options: StreamOptions::default(),
        }
    }
}

impl DatasetReader {
    /// Sets the filters and the ordering; default none. The filters select the dataset, not its rows.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets all options of the stream at once.
    pub fn options(mut self, options: StreamOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the number of rows per page to request; default 100, the maximum of the API.
    pub fn page_size(mut self, rows: u32) -> Self {
        self.options.page_size = rows;
        self
    }

    /// Reads only these pages; default all.
    pub fn page_range(mut self, pages: PageRange) -> Self {
        self.options.pages = pages;
        self
    }

    /// Reads only the first rows, at most this number; default all.
    pub fn limit(mut self, rows: u64) -> Self {
        self.options.limit = Some(rows);
        self
    }

    /// Returns the rows of a dataset, in the API's order.
    ///
    /// Pages are prefetched concurrently, within the bounds of the [`StreamOptions`]. The first error ends the
    /// stream. Dropping the stream cancels the requests in flight.
    ///
    /// A stream that ends without an error has delivered every row once: of the dataset, or of the pages and the
    /// rows that the options select. To prove this, the ids are
    /// counted in memory, which takes 16 bytes a row plus 1 MiB.
    ///
    /// Must be polled within a tokio runtime.
    ///
    /// # Errors
    /// The stream ends with the first of these errors:
    /// - [`Error::Invalid`](crate::Error::Invalid): a filter or an option is not valid; nothing was sent.
    /// - [`Error::Api`](crate::Error::Api): the API's answer is final. The dataset or the first page of the
    ///   range does not exist, the key is refused, or a filter is not valid.
    /// - [`Error::Unavailable`](crate::Error::Unavailable): the API gave no usable answer within the retry
    ///   limits.
    /// - [`Error::LongPause`](crate::Error::LongPause): the API asked for a pause that is longer than the
    ///   retry time limit.
    /// - [`Error::Certificate`](crate::Error::Certificate), [`Error::Proxy`](crate::Error::Proxy),
    ///   [`Error::BaseUrl`](crate::Error::BaseUrl): the certificate is not trusted, the proxy refuses the
    ///   connection, or the scheme of the URL is wrong. These are not retried.
    /// - [`Error::Page`](crate::Error::Page): an answer is not a page.
    /// - [`Error::Incomplete`](crate::Error::Incomplete),
    ///   [`Error::OutOfOrder`](crate::Error::OutOfOrder): the pages do not contain every row once, or
    ///   the rows are not in the requested order.
    /// - [`Error::Io`](crate::Error::Io): ids that do not fit in memory could not be spilled to disk. Only
    ///   exports spill ids.
    /// - [`Error::Internal`](crate::Error::Internal): a bug.
    pub fn datapoints(self) -> Datapoints {
        let mut pages = self.pages();
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
    pub fn pages(self) -> Pages {
        let Self { client, dataset, query, options } = self;
        client.pages_after(Begin::default(), dataset, query, options)
    }
}
