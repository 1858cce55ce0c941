//! What a stream of pages is asked for, and within which bounds.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{
    error::{Error, Result},
    proof::IdSet,
};

/// A range of pages, both ends included; an open end is the dataset's last page.
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

    /// Pages `first` to `last`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `first` is 0, above `last`, or the largest number that there is.
    pub fn new(first: u64, last: Option<u64>) -> Result<Self> {
        let range = Self { first, last };
        if first == 0 {
            return Err(Error::invalid("page range", range.to_string(), "pages count from 1"));
        }
        if first == u64::MAX {
            let why = "no dataset has so many pages";
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

    /// The first page, from 1.
    pub fn first(self) -> u64 {
        self.first
    }

    /// The last page; `None` is the dataset's last.
    pub fn last(self) -> Option<u64> {
        self.last
    }

    /// The number of its last page in a dataset of `pages` pages.
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

/// What [`Client::pages`](crate::Client::pages) and
/// [`Client::datapoints`](crate::Client::datapoints) fetch, and within which bounds.
///
/// ```
/// use overmind_export::StreamOptions;
/// let options = StreamOptions { limit: Some(500), ..StreamOptions::default() };
/// assert_eq!(options.page_size, 100);
/// ```
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Rows to ask for in a page; default 100, the API's cap. What comes back is what page 1 holds.
    pub page_size: u32,
    /// The pages to fetch; default all.
    pub pages: PageRange,
    /// The first rows only; default all. Only the pages that hold them are fetched.
    pub limit: Option<u64>,
    /// Bytes of page bodies held at once, in flight and waiting; default 8 MiB, which with a round trip
    /// of 100 ms is 80 MB/s.
    ///
    /// A request begins when a page as large as those before it has room, but for those beside the first. A body that turns out
    /// larger is read on only as far as there is room; after 10 s without any it gives way, and is
    /// asked for once more when its page is the next in order. So no sizes of pages take more than
    /// this bound, except for the pages that may always proceed, whatever their size: the next one in
    /// order, the one before it if it still waits to be taken, and what the consumer keeps. Not
    /// counted is what each connection has read ahead of its body, which does not depend on the size of
    /// the page, nor the slack of a body that came compressed and so grows by doubling. A page that is
    /// there counts with 160 bytes for each row besides its body.
    pub prefetch_bytes: usize,
    /// Pages held at once, in flight and waiting; default 256. No more than three for each request that
    /// may be in flight, or 48 if that is more: the next ones would only wait.
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
    /// Whether the whole dataset is asked for.
    pub(crate) fn is_whole(&self) -> bool {
        self.pages == PageRange::ALL && self.limit.is_none()
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_sizes(self.page_size, self.limit)
    }
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

/// Where the ids that prove completeness are kept.
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
    fn a_page_range_that_makes_no_sense_is_refused_as_it_was_typed() {
        let error = |text: &str| text.parse::<PageRange>().unwrap_err().to_string();
        assert_eq!(error("0-3"), "\"0-3\" is not a valid page range: pages count from 1");
        assert_eq!(error("7-3"), "\"7-3\" is not a valid page range: it ends before it begins");
        assert_eq!(error("a"), "\"a\" is not a valid page range: use A-B, A- or a single page");
        assert_eq!(
            error("18446744073709551615-"),
            "\"18446744073709551615-\" is not a valid page range: no dataset has so many pages"
        );
        assert_eq!("4".parse::<PageRange>().unwrap().to_string(), "4-4");
    }
}
