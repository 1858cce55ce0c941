//! The proof of completeness: every row of a dataset came exactly once. The proof reads the facts of pages
//! and the ids in them. It never fetches or repairs anything. It writes only ids, to temporary files.
//!
//! The number of rows alone proves nothing. Pages that shift under an unstable ordering repeat some rows
//! and lose the same number of others. Therefore the distinct ids are counted too. Their number must equal
//! the `count` of the first page and of the last page. Single pages are checked as they arrive, because
//! they show *where* something went wrong.

mod digest;
mod ids;
mod order;
#[cfg(feature = "report")]
mod pairs;
mod violation;

use std::io;
use std::ops::RangeInclusive;

use uuid::Uuid;

pub use digest::{Digest, ParseDigestError};
pub(crate) use digest::{PlacedDigest, RowHasher, push_field};
pub(crate) use ids::{DEFAULT_LIMIT_BYTES, Distinct, ID_BYTES, IdSet};
pub(crate) use order::{Field, OrderCheck};
#[cfg(feature = "report")]
pub(crate) use pairs::{HashPair, HashPairs, PairCounts};
pub(crate) use violation::{Violation, Violations};

/// The rows that the pages should contain together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every row of the dataset.
    Whole,
    /// Some pages of the dataset. The proof claims nothing about other rows. The pages must still agree
    /// with one another, and no row may come twice.
    Part,
}

/// The facts in one page about the dataset. For the kept part of an interrupted run: the facts in its last page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageFacts {
    /// The pages that contain the ids: `n..=n` for a single page.
    pub(crate) pages: RangeInclusive<u64>,
    /// The page's `count`: the number of rows of the dataset.
    pub(crate) count: u64,
    /// Whether the page's `next` is not null.
    pub(crate) has_next: bool,
}

/// The reason why the proof failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    /// The pages do not contain every row once.
    #[error(transparent)]
    Violated(#[from] Violations),
    /// The ids could not be stored in a temporary file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of a proof that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    /// Number of rows of the dataset, the same on every page.
    pub(crate) count: u64,
    /// Number of rows that came.
    pub(crate) rows: u64,
    /// Number of distinct ids among them, equal to `rows`.
    pub(crate) distinct: u64,
    /// Number of pages that came.
    pub(crate) pages: u64,
}

/// An unfinished proof. It must receive every page, in order.
#[derive(Debug)]
pub(crate) struct Proof {
    scope: Scope,
    ids: IdSet,
    violations: Violations,
    seen: Option<PageTally>,
    /// Number of ids that came before the facts of their pages.
    pending: u64,
}

/// The facts about the pages so far.
#[derive(Debug)]
struct PageTally {
    first_count: u64,
    last_count: u64,
    /// Number of rows of a full page.
    page_rows: Option<u64>,
    pages: u64,
    last_page: u64,
    /// Number of the dataset's last page, if it is known.
    of: Option<u64>,
    has_next: bool,
}

impl PageTally {
    fn at_end(&self) -> bool {
        self.of.map_or(!self.has_next, |of| self.last_page >= of)
    }
}

impl Proof {
    /// Makes an empty proof. `ids` decides how much memory it takes.
    pub(crate) fn new(ids: IdSet, scope: Scope) -> Self {
        Self { scope, ids, violations: Violations::default(), seen: None, pending: 0 }
    }

    /// Takes the next page, or the pages of the next kept part of an interrupted run. `ids` are the ids of
    /// all rows, including rows that a limit drops later. [`violated`](Self::violated) says whether
    /// something is wrong, and [`finish`](Self::finish) returns the details.
    pub(crate) fn page(
        &mut self,
        facts: PageFacts,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> io::Result<()> {
        self.ids(ids)?;
        let rows = std::mem::take(&mut self.pending);
        self.check(facts, rows);
        Ok(())
    }

    /// Takes some of the ids that belong to the next call of [`page`](Self::page). A kept part can have
    /// too many ids to load or to sort at once.
    pub(crate) fn ids(&mut self, ids: impl IntoIterator<Item = Uuid>) -> io::Result<()> {
        for id in ids {
            self.ids.insert(id)?;
            self.pending += 1;
        }
        Ok(())
    }

    /// Adds a violation that only the caller can see: a page that is gone, or rows out of order.
    pub(crate) fn report(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// Whether the proof has already failed. Further reading is then useless.
    pub(crate) fn violated(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Whether the proof has received a page or a kept part.
    pub(crate) fn has_seen_a_page(&self) -> bool {
        self.seen.is_some()
    }

    /// Counts the ids and decides. With many millions of rows this takes seconds.
    pub(crate) fn finish(self) -> Result<Proven, ProofError> {
        let Self { scope, ids, mut violations, seen, .. } = self;
        let Distinct { rows, distinct, repeated_ids, examples } = ids.finish()?;
        let Some(seen) = seen else {
            violations.push(Violation::NoPage);
            return Err(violations.into());
        };
        if repeated_ids > 0 {
            let surplus = rows - distinct;
            violations.push(Violation::Repeated { ids: repeated_ids, surplus, examples });
        }
        if scope == Scope::Whole {
            let count = seen.first_count;
            if seen.at_end() {
                if distinct != count {
                    violations.push(Violation::Incomplete { count, distinct });
                }
            } else if violations.is_empty() {
                // After a violation the caller stops early, so a total would show nothing.
                let of = seen.of.unwrap_or(seen.last_page + 1);
                violations.push(Violation::Stopped { page: seen.last_page, of });
            }
        }
        if violations.is_empty() {
            Ok(Proven { count: seen.first_count, rows, distinct, pages: seen.pages })
        } else {
            Err(violations.into())
        }
    }

    fn check(&mut self, facts: PageFacts, rows: u64) {
        let PageFacts { pages, count, has_next } = facts;
        let (first, last) = pages.into_inner();
        let pages = last.saturating_sub(first) + 1;
        let seen = self.seen.get_or_insert(PageTally {
            first_count: count,
            last_count: count,
            page_rows: None,
            pages: 0,
            last_page: 0,
            of: None,
            has_next,
        });

        if count != seen.last_count {
            let from = seen.last_count;
            self.violations.push_page(Violation::CountChanged { from, to: count, page: first });
        }
        if rows == 0 && (count > 0 || first > 1) {
            self.violations.push_page(Violation::Empty { page: first });
        }

        // A last page does not show the size of a full page, unless it is the only page.
        if seen.page_rows.is_none() && rows > 0 && (has_next || first == 1) {
            seen.page_rows = Some(rows.div_ceil(pages));
        }
        // Use this page's own count. A difference from the other counts is already reported.
        seen.of = match seen.page_rows {
            Some(page_rows) => Some(count.div_ceil(page_rows).max(1)),
            None => (count == 0).then_some(1),
        };
        let before_end = seen.of.is_some_and(|of| last < of);
        let full = seen.page_rows.map(|page_rows| page_rows.saturating_mul(pages));
        if let Some(full) = full
            && (rows > full || (before_end && 0 < rows && rows < full))
        {
            self.violations.push_page(Violation::Uneven { first, last, rows, full });
        }
        if let Some(of) = seen.of
            && has_next != before_end
        {
            self.violations.push_page(match has_next {
                true => Violation::NextPastEnd { page: last, of },
                false => Violation::NextMissing { page: last, of },
            });
        }

        seen.last_count = count;
        seen.pages += pages;
        seen.last_page = last;
        seen.has_next = has_next;
    }
}

#[cfg(test)]
mod tests;
