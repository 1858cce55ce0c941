//! The pages of a dataset in ranges, for engines that take rows instead of files.

use futures::{Stream, StreamExt};
use uuid::Uuid;

use crate::{
    client::{Client, Page, Query},
    error::{Error, Result},
    export::range::RangePages,
    paginator::{DatasetReader, PageRange, check_sizes, full_page},
};

/// The pages of a dataset, as one request saw them. Tasks of an engine read them in ranges.
///
/// Each task proves its own pages: every row of them came once, and the dataset still has the planned number of rows.
/// An id that came in two ranges is seen only where all rows are: count the distinct ids of all ranges there.
///
/// ```
/// use futures::TryStreamExt;
/// use overmind_export::{Client, Query, cluster::PagePlan, demo};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dataset = demo::Dataset::generated(1_000, 7);
/// # let id = dataset.id;
/// # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
/// let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
/// let plan = PagePlan::request(&client, id, &Query::default(), 100).await?;
/// let mut rows = 0;
/// for range in plan.ranges(4) {
///     // In a task, on any machine.
///     let mut pages = plan.read(client.dataset(id), range);
///     while let Some(page) = pages.try_next().await? {
///         rows += page.len();
///     }
/// }
/// assert_eq!((rows, plan.ranges(4).count()), (1_000, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagePlan {
    count: u64,
    rows_per_page: u64,
}

impl PagePlan {
    /// Makes the plan of a dataset with this number of rows, on pages of this number of rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a page has no rows, and the dataset has some.
    pub fn new(count: u64, rows_per_page: u64) -> Result<Self> {
        match rows_per_page == 0 && count > 0 {
            true => Err(Error::invalid("number of rows on a page", "0", "it must be at least 1")),
            false => Ok(Self { count, rows_per_page }),
        }
    }

    /// Requests page 1, which says how many rows the dataset has.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the page size or a filter is not valid, and the errors of the API.
    pub async fn request(
        client: &Client,
        dataset: Uuid,
        query: &Query,
        page_size: u32,
    ) -> Result<Self> {
        query.validate()?;
        check_sizes(page_size, None)?;
        let page = client.first_page(dataset, query, 1, page_size).await?;
        Self::new(page.count(), full_page(&page))
    }

    /// Returns the number of rows of the dataset.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the number of rows of a full page. The API can allow fewer than were requested.
    pub fn rows_per_page(&self) -> u64 {
        self.rows_per_page
    }

    /// Returns the number of pages. A dataset without rows has one.
    pub fn pages(&self) -> u64 {
        self.count.div_ceil(self.rows_per_page.max(1)).max(1)
    }

    /// Returns ranges of this number of pages, in order. The last one can have fewer. 0 means 1.
    pub fn ranges(&self, pages: u64) -> impl Iterator<Item = PageRange> + use<> {
        let (step, all) = (pages.max(1), self.pages());
        let firsts = std::iter::successors(Some(1_u64), move |first| first.checked_add(step))
            .take_while(move |it| *it <= all);
        firsts.filter_map(move |first| {
            PageRange::new(first, Some((first - 1).saturating_add(step).min(all))).ok()
        })
    }

    /// Returns the number of rows on these pages.
    pub fn rows(&self, range: PageRange) -> u64 {
        self.planned(range).rows()
    }

    /// Reads the pages of a range with the filters and the bounds of `reader`.
    ///
    /// # Errors
    /// The stream ends with the errors of [`DatasetReader::pages`]. It ends with [`Error::Incomplete`], too, at the
    /// first page that is not the planned one: the dataset has another number of rows, or the page has.
    pub fn read(
        &self,
        reader: DatasetReader,
        range: PageRange,
    ) -> impl Stream<Item = Result<Page>> + Send + Unpin + use<> {
        let planned = self.planned(range);
        let pages = reader.page_range(range).pages();
        let mut is_first = true;
        pages.map(move |page| {
            let is_first = std::mem::replace(&mut is_first, false);
            let page = page.map_err(|error| if is_first { planned.explain(error) } else { error });
            let checked = page.and_then(|page| planned.check(&page).map(|()| page));
            checked.map_err(of_rows)
        })
    }

    fn planned(&self, range: PageRange) -> RangePages {
        let pages = self.pages();
        RangePages {
            first: range.first(),
            last: range.last().map_or(pages, |last| last.min(pages)),
            count: self.count,
            rows_per_page: self.rows_per_page,
        }
    }
}

/// Says of an error about missing rows that the rows before it were delivered.
fn of_rows(error: Error) -> Error {
    match error {
        Error::Incomplete { seen, .. } => {
            Error::Incomplete { seen, delivered: true, planned: false }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_page_once() {
        for (count, per_page, step) in [
            (0, 0, 3),
            (1, 100, 1),
            (1_000, 100, 3),
            (1_001, 100, 11),
            (1_000, 100, 0),
            (10, 100, u64::MAX),
        ] {
            let plan = PagePlan::new(count, per_page).unwrap();
            let mut next = 1;
            for range in plan.ranges(step) {
                assert_eq!(range.first(), next, "{plan:?} {step}");
                next = range.last().unwrap() + 1;
            }
            assert_eq!(next, plan.pages() + 1, "{plan:?} {step}");
            assert_eq!(plan.ranges(step).map(|range| plan.rows(range)).sum::<u64>(), count);
        }
    }

    #[test]
    fn pages_without_rows_are_refused() {
        let error = PagePlan::new(1, 0).unwrap_err().to_string();
        assert_eq!(error, "\"0\" is not a valid number of rows on a page: it must be at least 1");
    }
}
