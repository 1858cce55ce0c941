//! The proof of completeness: every row of a dataset came exactly once. It sees what pages say
//! and the ids they hold, and never fetches, writes or repairs anything.
//!
//! The number of rows alone proves nothing: pages that shift under an unstable ordering repeat
//! some rows and lose as many others. So the ids are counted too, and must be as many as the
//! first page promised and the last page still promises. The single pages are checked as they
//! come, because they tell *where* something went wrong.

mod digest;
mod ids;
mod order;
mod violation;

use std::io;
use std::ops::RangeInclusive;

use uuid::Uuid;

pub(crate) use digest::{Digest, RowHasher};
pub(crate) use ids::{DEFAULT_LIMIT_BYTES, Distinct, ID_BYTES, IdSet};
pub(crate) use order::{Field, OrderCheck};
pub(crate) use violation::{Violation, Violations};

/// What the pages are meant to hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every row of the dataset.
    Whole,
    /// Some of its pages. Nothing is claimed about the rows outside, but the pages must still
    /// agree with one another, and no row may come twice.
    Part,
}

/// What one page said about the dataset, or the last page of a part that an interrupted run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageFacts {
    /// The pages that the ids come from: for a single page, `n..=n`.
    pub(crate) pages: RangeInclusive<u64>,
    /// `count`.
    pub(crate) count: u64,
    /// Whether `next` is not null.
    pub(crate) has_next: bool,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    /// The pages do not hold every row once.
    #[error(transparent)]
    Violated(#[from] Violations),
    /// The ids could not be kept in a temporary file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What has been proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    /// Rows of the dataset, as every page said.
    pub(crate) count: u64,
    /// Rows that came.
    pub(crate) rows: u64,
    /// Different ids among them: the same number.
    pub(crate) distinct: u64,
    /// Pages that came.
    pub(crate) pages: u64,
}

/// A proof in the making, to be shown every page in order.
#[derive(Debug)]
pub(crate) struct Proof {
    scope: Scope,
    ids: IdSet,
    violations: Violations,
    seen: Option<SeenPages>,
    /// Ids that came ahead of what is said of their pages.
    pending: u64,
}

/// What the pages so far have in common.
#[derive(Debug)]
struct SeenPages {
    first_count: u64,
    last_count: u64,
    /// Rows of a full page.
    page_rows: Option<u64>,
    pages: u64,
    last_page: u64,
    /// The number of the dataset's last page, as far as it is known.
    of: Option<u64>,
    has_next: bool,
}

impl SeenPages {
    fn at_end(&self) -> bool {
        self.of.map_or(!self.has_next, |of| self.last_page >= of)
    }
}

impl Proof {
    /// A proof that has seen nothing yet; `ids` decides how much memory it takes.
    pub(crate) fn new(ids: IdSet, scope: Scope) -> Self {
        Self { scope, ids, violations: Violations::default(), seen: None, pending: 0 }
    }

    /// Takes the next page, or the pages of the next part that was kept from an interrupted run,
    /// with the ids of all its rows, also of rows that a limit then drops. Whatever is wrong is
    /// told by [`violated`](Self::violated) and, in full, by [`finish`](Self::finish).
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

    /// Takes some of the ids that belong to the next call of [`page`](Self::page): a kept part can
    /// have more of them than should be in memory, or be sorted, at once.
    pub(crate) fn ids(&mut self, ids: impl IntoIterator<Item = Uuid>) -> io::Result<()> {
        for id in ids {
            self.ids.insert(id)?;
            self.pending += 1;
        }
        Ok(())
    }

    /// Adds what only the caller can see: a page that is gone, rows out of order.
    pub(crate) fn report(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// Whether it is certain already that there will be no proof, so that reading on is in vain.
    pub(crate) fn violated(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Counts the ids and decides. After many millions of rows that takes seconds.
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
                // After a violation it was right to stop, and a total would say nothing.
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
        let seen = self.seen.get_or_insert(SeenPages {
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

        // A last page does not tell what a full one holds, unless there is no other.
        if seen.page_rows.is_none() && rows > 0 && (has_next || first == 1) {
            seen.page_rows = Some(rows.div_ceil(pages));
        }
        // By this page's own count: that it differs from the others' has been said already.
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
