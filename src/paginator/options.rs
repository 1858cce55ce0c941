//! The options of a stream of pages: which rows it fetches, and its bounds.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{
    client::Page,
    error::{Error, Result},
    proof::IdSet,
};

/// A range of pages, both ends included. An open end means the dataset's last page.
///
/// ```
/// use overmind_export::PageRange;
/// let range: PageRange = "3-7".parse()?;
/// assert_eq!((range.first(), range.last()), (3, Some(7)));
/// assert_eq!("5-".parse::<PageRange>()?.last(), None);
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRange {
    first: u64,
    last: Option<u64>,
}

impl PageRange {
    /// Every page.
    pub const ALL: Self = Self { first: 1, last: None };

    /// Makes a range of the pages `first` to `last`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `first` is 0, greater than `last`, or `u64::MAX`.
    pub fn new(first: u64, last: Option<u64>) -> Result<Self> {
        let range = Self { first, last };
        if first == 0 {
            return Err(Error::invalid("page range", range.to_string(), "pages count from 1"));
        }
        if first == u64::MAX {
            let why = "no dataset has that many pages";
            return Err(Error::invalid("page range", range.to_string(), why));
        }
        if last.is_some_and(|last| last < first) {
            return Err(Error::invalid(
                "page range",
                range.to_string(),
                "it ends before it begins",
            ));
        }
        Ok(range)
    }

    /// Returns the number of the first page, counted from 1.
    pub fn first(self) -> u64 {
        self.first
    }

    /// Returns the number of the last page. `None` means the dataset's last page.
    pub fn last(self) -> Option<u64> {
        self.last
    }

    /// Returns the number of the range's last page in a dataset of `pages` pages.
    pub(crate) fn end(self, pages: u64) -> u64 {
        self.last.map_or(pages, |last| last.min(pages))
    }
}

impl fmt::Display for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.first)?;
        self.last.map_or(Ok(()), |last| write!(f, "{last}"))
    }
}

impl FromStr for PageRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("page range", text, "use A-B, A- or a single page");
        let number = |text: &str| text.trim().parse().map_err(|_| wrong());
        match text.split_once('-') {
            None => {
                let page = number(text)?;
                Self::new(page, Some(page))
            }
            Some((first, last)) if last.trim().is_empty() => Self::new(number(first)?, None),
            Some((first, last)) => Self::new(number(first)?, Some(number(last)?)),
        }
    }
}

/// The rows that [`DatasetReader::pages`](crate::DatasetReader::pages) and
/// [`DatasetReader::datapoints`](crate::DatasetReader::datapoints) fetch, and the bounds of the prefetch.
///
/// ```
/// use overmind_export::StreamOptions;
/// let options = StreamOptions { limit: Some(500), ..StreamOptions::default() };
/// assert_eq!(options.page_size, 100);
/// ```
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Rows to request in a page; default 100, the API's maximum. The rows of page 1 show the real page size.
    pub page_size: u32,
    /// Pages to fetch; default all.
    pub pages: PageRange,
    /// Maximum number of rows; default all. Only the pages that contain these first rows are fetched.
    pub limit: Option<u64>,
    /// Maximum bytes of page bodies in memory, in flight and waiting; default 8 MiB. With a round trip of
    /// 100 ms, 8 MiB allow 80 MB/s.
    ///
    /// A request starts when the budget has room for a page of the expected size, which is learned from
    /// earlier pages. Requests sent together with the first page are exempt. If a body is larger than
    /// expected, the client reads only as much of it as fits. After 10 s without room, it drops the body.
    /// It requests the page once more when the page is the next in order.
    ///
    /// The bound therefore holds for pages of any size, with three exceptions that may always proceed: the
    /// next page in order, the page before it while that waits for the consumer, and the pages that the
    /// consumer keeps. Two things are not counted. One is the read buffer of each connection, which does
    /// not depend on the page size. The other is unused capacity of a compressed body, which grows by
    /// doubling. A complete page counts with its body plus 160 bytes for each row.
    pub prefetch_bytes: usize,
    /// Maximum number of pages in memory, in flight and waiting; default 256. At most three pages for each
    /// request slot, or 48 if that is more, are prefetched: further pages would only wait.
    pub prefetch_pages: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            page_size: 100,
            pages: PageRange::ALL,
            limit: None,
            prefetch_bytes: 8 << 20,
            prefetch_pages: 256,
        }
    }
}

impl StreamOptions {
    /// Whether the stream covers the whole dataset.
    pub(crate) fn is_whole(&self) -> bool {
        self.pages == PageRange::ALL && self.limit.is_none()
    }

    /// Whether a stream with these options has every row of the dataset, given the first page of the range. Such a
    /// stream proves that it is complete.
    pub fn covers(&self, first: &Page) -> bool {
        let (count, pages) = (first.count(), pages_of(first));
        let all_pages = self.pages.first() == 1 && self.pages.last().is_none_or(|it| it >= pages);
        let all_rows = self.limit.is_none_or(|limit| limit >= count);
        all_pages && all_rows
    }

    /// Returns the number of rows that the stream will have, given the first page of the range.
    pub fn rows(&self, first: &Page) -> u64 {
        rows_of(self.pages, self.limit, first)
    }

    /// Returns these options without bounds that leave out no row, given the first page of the range. The stream
    /// then covers the whole dataset, and proves it.
    pub(crate) fn covering(self, first: &Page) -> Self {
        match self.covers(first) {
            true => Self { pages: PageRange::ALL, limit: None, ..self },
            false => self,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_sizes(self.page_size, self.limit)
    }
}

/// Returns the number of rows in these pages, at most `limit`.
pub(crate) fn rows_of(pages: PageRange, limit: Option<u64>, first: &Page) -> u64 {
    let page_rows = full_page(first);
    let skipped = (first.number() - 1).saturating_mul(page_rows);
    let end = pages.last().map_or(u64::MAX, |last| last.saturating_mul(page_rows));
    first.count().min(end).saturating_sub(skipped).min(limit.unwrap_or(u64::MAX))
}

/// Returns the number of rows of a full page, from a page that may be the last and short.
pub(crate) fn full_page(page: &Page) -> u64 {
    let (rows, before) = (page.len() as u64, page.number() - 1);
    match page.count().saturating_sub(rows).checked_div(before) {
        Some(full) if !page.has_next() => full,
        _ => rows,
    }
}

/// Returns the number of pages of the dataset, as the first page of a range shows it.
pub(super) fn pages_of(first: &Page) -> u64 {
    let (number, rows) = (first.number(), first.len() as u64);
    let pages = if first.has_next() && rows > 0 { first.count().div_ceil(rows) } else { number };
    pages.max(number)
}

/// Refuses a page size or a limit of 0.
pub(crate) fn check_sizes(page_size: u32, limit: Option<u64>) -> Result<()> {
    if page_size == 0 {
        return Err(Error::invalid("page size", "0", "it must be at least 1"));
    }
    if limit == Some(0) {
        return Err(Error::invalid("limit", "0", "it must be at least 1"));
    }
    Ok(())
}

/// The place of the ids that prove completeness.
#[derive(Debug, Clone, Default)]
pub(crate) enum Ids {
    #[default]
    InMemory,
    Spilling {
        limit_bytes: usize,
        temp_dir: PathBuf,
    },
}

impl Ids {
    pub(crate) fn set(&self) -> IdSet {
        match self {
            Self::InMemory => IdSet::in_memory(),
            Self::Spilling { limit_bytes, temp_dir } => {
                IdSet::spilling(*limit_bytes, temp_dir.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_page_range_error_quotes_input() {
        let error = |text: &str| text.parse::<PageRange>().unwrap_err().to_string();
        assert_eq!(error("0-3"), "\"0-3\" is not a valid page range: pages count from 1");
        assert_eq!(error("7-3"), "\"7-3\" is not a valid page range: it ends before it begins");
        assert_eq!(error("a"), "\"a\" is not a valid page range: use A-B, A- or a single page");
        assert_eq!(
            error("18446744073709551615-"),
            "\"18446744073709551615-\" is not a valid page range: no dataset has that many pages"
        );
        assert_eq!("4".parse::<PageRange>().unwrap().to_string(), "4-4");
    }
}
