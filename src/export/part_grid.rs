//! Where the parts of a directory end, whatever was read before.

/// The pages at which a part ends in any case: the multiples of a number of pages, counted from the first page of the
/// export.
///
/// So the parts of these pages do not depend on the pages before, and a range of pages that begins there has the same
/// parts when another machine writes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartGrid {
    pub(crate) first_page: u64,
    /// Number of pages, at least 1.
    pub(crate) pages: u64,
}

impl PartGrid {
    /// Whether a part ends with this page.
    pub(crate) fn ends_at(self, page: u64) -> bool {
        (page.saturating_sub(self.first_page) + 1).is_multiple_of(self.pages.max(1))
    }
}
