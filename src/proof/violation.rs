//! The possible faults of a dataset's pages. Their texts say what was seen and never why, because the
//! cause is not visible from outside.

use std::fmt::{self, Display, Formatter};

use uuid::Uuid;

use super::order::OrderKey;
use crate::text::{counted, grouped};

/// One way in which the pages fail to contain every row once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// Two pages disagree about the number of rows.
    #[error("count changed from {} to {} (page {page})", grouped(*from), grouped(*to))]
    CountChanged {
        /// `count` of the page before.
        from: u64,
        /// `count` of this page.
        to: u64,
        /// Number of the page.
        page: u64,
    },
    /// Pages contain fewer or more rows than full pages.
    #[error("{}", uneven(*first, *last, *rows, *full))]
    Uneven {
        /// Number of the first of these pages.
        first: u64,
        /// Number of the last of these pages. It differs from `first` only for the pages of a part.
        last: u64,
        /// Number of rows that they contain.
        rows: u64,
        /// Number of rows of the same number of full pages.
        full: u64,
    },
    /// A page has no rows, although `count` promises some.
    #[error("page {page} is empty")]
    Empty {
        /// Number of the page.
        page: u64,
    },
    /// `next` is null too early.
    #[error("page {page} says there is no next page but is not the last (of {})", grouped(*of))]
    NextMissing {
        /// Number of the page.
        page: u64,
        /// Number of pages that `count` rows need.
        of: u64,
    },
    /// `next` is not null at the end.
    #[error("page {page} says there is a next page but the last is page {of}")]
    NextPastEnd {
        /// Number of the page.
        page: u64,
        /// Number of pages that `count` rows need.
        of: u64,
    },
    /// A page after the first answered 404.
    #[error("page {page} is gone (404), where count was {}", grouped(*count))]
    PageGone {
        /// Number of the page.
        page: u64,
        /// `count` of the first page.
        count: u64,
    },
    /// A kept page of an interrupted run has other rows when it is fetched again.
    #[error("page {page} no longer has the rows that were there before")]
    Shifted {
        /// Number of the page.
        page: u64,
    },
    /// A page has the rows of the page before it.
    #[error("page {page} has the same rows as page {of}")]
    PageRepeated {
        /// Number of the page.
        page: u64,
        /// Number of the page before.
        of: u64,
    },
    /// The pages were not read to the end, although they were correct.
    #[error("the pages stopped at {page} of {}", grouped(*of))]
    Stopped {
        /// The last page seen.
        page: u64,
        /// Number of pages that `count` rows need.
        of: u64,
    },
    /// No page came, not even an empty first page.
    #[error("no page came")]
    NoPage,
    /// Rows came more than once.
    #[error("{}", repeated(*ids, *surplus, examples))]
    Repeated {
        /// Number of ids that came more than once.
        ids: u64,
        /// Number of rows in excess of one for each id.
        surplus: u64,
        /// Some of these ids.
        examples: Vec<Uuid>,
    },
    /// Rows are missing, or there are too many.
    #[error("{} promised, {} came", counted(*count, "row"), counted(*distinct, "distinct id"))]
    Incomplete {
        /// `count` of the first page.
        count: u64,
        /// Number of distinct ids that came.
        distinct: u64,
    },
    /// Two consecutive rows are not in the requested order.
    #[error("{}", out_of_order(*page, *index, *key, *before, *descending))]
    OutOfOrder {
        /// Number of the second row's page.
        page: u64,
        /// Index of the second row in the page's `results`, from 0.
        index: usize,
        /// The second row's value.
        key: OrderKey,
        /// The first row's value.
        before: OrderKey,
        /// Whether descending order was requested.
        descending: bool,
    },
}

fn uneven(first: u64, last: u64, rows: u64, full: u64) -> String {
    let word = if rows < full { "short" } else { "long" };
    let (rows, full) = (counted(rows, "row"), grouped(full));
    if first == last {
        format!("page {first} is {word}: {rows} where the others have {full}")
    } else {
        format!("pages {first} to {last} are {word}: {rows} where full pages have {full}")
    }
}

fn repeated(ids: u64, surplus: u64, examples: &[Uuid]) -> String {
    let times = if surplus == ids { "twice" } else { "more than once" };
    let named: Vec<String> = examples.iter().map(Uuid::to_string).collect();
    let more = if (examples.len() as u64) < ids { ", …" } else { "" };
    format!("{} came {times} ({}{more})", counted(ids, "id"), named.join(", "))
}

fn out_of_order(
    page: u64,
    index: usize,
    key: OrderKey,
    before: OrderKey,
    descending: bool,
) -> String {
    let sign = if descending { "-" } else { "" };
    let field = key.field();
    format!(
        "page {page}, results[{index}] is out of order: {key} after {before} \
         with ordering={sign}{field}"
    )
}

/// All violations: the first few as texts, the others as a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Violations {
    named: Vec<Violation>,
    unnamed: u64,
}

impl Violations {
    /// Maximum number of violations of single pages in the text: 3. A dataset that changes can have one
    /// on every page.
    const NAMED_PAGES: usize = 3;

    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Adds a violation that is always in the text.
    pub(super) fn push(&mut self, violation: Violation) {
        self.named.push(violation);
    }

    /// Adds a violation of a single page. Only the first three are in the text.
    pub(super) fn push_page(&mut self, violation: Violation) {
        if self.named.len() < Self::NAMED_PAGES {
            self.named.push(violation);
        } else {
            self.unnamed += 1;
        }
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Self { named: vec![violation], unnamed: 0 }
    }
}

impl Display for Violations {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.named.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        if self.unnamed > 0 {
            write!(f, "; and {} more of this kind", grouped(self.unnamed))?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: std::ops::Range<u128>) -> Vec<Uuid> {
        numbers.map(Uuid::from_u128).collect()
    }

    #[test]
    fn each_violation_text_shows_observed_values() {
        let cases = [
            (
                Violation::CountChanged { from: 1000, to: 1003, page: 7 },
                "count changed from 1,000 to 1,003 (page 7)",
            ),
            (
                Violation::Uneven { first: 4, last: 4, rows: 20, full: 25 },
                "page 4 is short: 20 rows where the others have 25",
            ),
            (
                Violation::Uneven { first: 4, last: 4, rows: 30, full: 25 },
                "page 4 is long: 30 rows where the others have 25",
            ),
            (
                Violation::Uneven { first: 4, last: 8, rows: 1, full: 125 },
                "pages 4 to 8 are short: 1 row where full pages have 125",
            ),
            (Violation::Empty { page: 1 }, "page 1 is empty"),
            (
                Violation::NextMissing { page: 9, of: 40 },
                "page 9 says there is no next page but is not the last (of 40)",
            ),
            (
                Violation::NextPastEnd { page: 40, of: 40 },
                "page 40 says there is a next page but the last is page 40",
            ),
            (
                Violation::PageGone { page: 38, count: 1000 },
                "page 38 is gone (404), where count was 1,000",
            ),
            (
                Violation::Shifted { page: 24 },
                "page 24 no longer has the rows that were there before",
            ),
            (Violation::Stopped { page: 39, of: 40 }, "the pages stopped at 39 of 40"),
            (Violation::NoPage, "no page came"),
            (
                Violation::Repeated { ids: 1, surplus: 1, examples: ids(7..8) },
                "1 id came twice (00000000-0000-0000-0000-000000000007)",
            ),
            (
                Violation::Repeated { ids: 3, surplus: 4, examples: ids(1..3) },
                "3 ids came more than once (00000000-0000-0000-0000-000000000001, \
                 00000000-0000-0000-0000-000000000002, …)",
            ),
            (
                Violation::Incomplete { count: 1000, distinct: 997 },
                "1,000 rows promised, 997 distinct ids came",
            ),
            (
                Violation::Incomplete { count: 1, distinct: 0 },
                "1 row promised, 0 distinct ids came",
            ),
            (
                Violation::OutOfOrder {
                    page: 3,
                    index: 7,
                    key: OrderKey::Order(Some(12)),
                    before: OrderKey::Order(Some(15)),
                    descending: false,
                },
                "page 3, results[7] is out of order: 12 after 15 with ordering=order",
            ),
            (
                Violation::OutOfOrder {
                    page: 3,
                    index: 0,
                    key: OrderKey::Id(Uuid::from_u128(2)),
                    before: OrderKey::Id(Uuid::from_u128(1)),
                    descending: true,
                },
                "page 3, results[0] is out of order: 00000000-0000-0000-0000-000000000002 after \
                 00000000-0000-0000-0000-000000000001 with ordering=-id",
            ),
            (
                Violation::OutOfOrder {
                    page: 2,
                    index: 1,
                    key: OrderKey::Order(None),
                    before: OrderKey::Order(Some(-1)),
                    descending: false,
                },
                "page 2, results[1] is out of order: null after -1 with ordering=order",
            ),
        ];
        for (violation, text) in cases {
            assert_eq!(violation.to_string(), text);
            assert_eq!(Violations::from(violation).to_string(), text);
        }
    }

    #[test]
    fn later_page_violations_are_only_counted() {
        let mut violations = Violations::default();
        assert!(violations.is_empty());
        for page in 4..10 {
            violations.push_page(Violation::Empty { page });
        }
        violations.push(Violation::Incomplete { count: 250, distinct: 100 });
        assert_eq!(
            violations.to_string(),
            "page 4 is empty; page 5 is empty; page 6 is empty; \
             250 rows promised, 100 distinct ids came; and 3 more of this kind"
        );
    }
}
