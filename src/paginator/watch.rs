//! Checks every page before it is passed on: completeness and, if an order was requested, the order.
//!
//! This module never changes a page.

use uuid::Uuid;

use super::options::{Ids, StreamOptions};
use crate::{
    client::{Page, Query},
    error::{Error, PageError, Result},
    proof::{Field, OrderCheck, PageFacts, Proof, ProofError, Scope, Violation},
    tasks,
};

/// The last kept page, and the ids that it must still contain.
pub(super) struct Boundary {
    pub(super) page: u64,
    pub(super) ids: Vec<Uuid>,
}

/// The page before the current one, to detect a repetition.
struct PageBefore {
    number: u64,
    count: u64,
    /// Whether it was the first of the stream.
    is_first: bool,
    /// Sorted.
    ids: Vec<Uuid>,
}

pub(super) struct PageWatch {
    pub(super) proof: Proof,
    pub(super) order: Option<OrderCheck>,
    ids: Ids,
    /// The last kept page, until it has been fetched again.
    pub(super) boundary: Option<Boundary>,
    /// The page before.
    before: Option<PageBefore>,
}

impl PageWatch {
    pub(super) fn new(options: &StreamOptions, query: &Query, ids: Ids) -> Self {
        let scope = if options.is_whole() { Scope::Whole } else { Scope::Part };
        Self {
            proof: Proof::new(ids.set(), scope),
            order: query.ordering.as_deref().and_then(order_check),
            ids,
            boundary: None,
            before: None,
        }
    }

    /// Whether the page is the last kept page. Such a page is compared with the kept ids and not passed on.
    /// Must be called for every page, in order.
    pub(super) fn is_kept(&mut self, page: &Page) -> bool {
        let Some(boundary) = self.boundary.take_if(|kept| kept.page == page.number()) else {
            return false;
        };
        if !page.ids().eq(boundary.ids) {
            self.proof.report(Violation::Shifted { page: boundary.page });
        }
        true
    }

    /// Whether the proof has already failed.
    pub(super) fn violated(&self) -> bool {
        self.proof.violated()
    }

    /// Whether the page may be passed on. If not, [`finish`](Self::finish) returns the reason.
    pub(super) fn page(&mut self, page: &Page) -> Result<bool> {
        let number = page.number();
        self.check_repetition(page)?;
        if let Some(order) = &mut self.order {
            for (index, row) in page.rows().enumerate() {
                order
                    .row(number, index, row.order, row.id)
                    .map_err(|violation| Error::OutOfOrder(violation.to_string()))?;
            }
        }
        let facts =
            PageFacts { pages: number..=number, count: page.count(), has_next: page.has_next() };
        let taken = self.proof.page(facts, page.ids());
        taken.map_err(|error| self.cannot_keep(error))?;
        Ok(!self.proof.violated())
    }

    /// Looks for a page with the rows of the page before, in any order: the API ignores the parameter `page`. If a
    /// row was inserted between the requests, `count` changes too, so the pages do not match.
    ///
    /// The second page ends the stream, because all other pages would be the same. A later one ends the pass: a
    /// cache can mix up two answers once.
    fn check_repetition(&mut self, page: &Page) -> Result<()> {
        let (number, count) = (page.number(), page.count());
        let mut ids: Vec<Uuid> = page.ids().collect();
        ids.sort_unstable();
        let now = PageBefore { number, count, is_first: !self.proof.has_seen_a_page(), ids };
        if let Some(PageBefore { number: of, count: before, is_first, ids }) = self.before.take()
            && of + 1 == number
            && before == count
            && !ids.is_empty()
            && ids == now.ids
        {
            if is_first {
                return Err(Error::Page { page: number, source: PageError::Repeats { of } });
            }
            self.proof.report(Violation::PageRepeated { page: number, of });
        }
        self.before = Some(now);
        Ok(())
    }

    pub(super) async fn gone(mut self, page: u64, count: u64) -> Result<()> {
        self.proof.report(Violation::PageGone { page, count });
        self.finish().await
    }

    /// Counts the ids, on a blocking thread.
    pub(super) async fn finish(self) -> Result<()> {
        tasks::blocking("counting ids", || self.conclude()).await?
    }

    fn conclude(self) -> Result<()> {
        match self.proof.finish() {
            Ok(proven) => {
                tracing::debug!(count = proven.count, rows = proven.rows, "every row came once");
                Ok(())
            }
            Err(ProofError::Violated(violations)) => Err(Error::Incomplete {
                seen: violations.to_string(),
                delivered: true,
                planned: false,
            }),
            Err(ProofError::Io(error)) => Err(cannot_keep(&self.ids, error)),
        }
    }

    pub(super) fn cannot_keep(&self, error: std::io::Error) -> Error {
        cannot_keep(&self.ids, error)
    }
}

fn cannot_keep(ids: &Ids, error: std::io::Error) -> Error {
    let path = match ids {
        Ids::InMemory => std::env::temp_dir(),
        Ids::Spilling { temp_dir, .. } => temp_dir.clone(),
    };
    Error::io("keep ids in", path)(error)
}

/// The check for an ordering. Only `order` and `id` have a known order that can be checked.
fn order_check(ordering: &str) -> Option<OrderCheck> {
    let (descending, name) = match ordering.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, ordering),
    };
    let field = match name {
        "order" => Field::Order,
        "id" => Field::Id,
        _ => return None,
    };
    Some(OrderCheck::new(field, descending))
}
