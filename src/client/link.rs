//! The page numbers in `next` and `previous`: they say which page an answer really is.
//!
//! Only the parameter `page` is read. Scheme, host and path can be wrong behind a proxy.

use url::form_urlencoded;

use crate::error::PageError;

/// What `next` or `previous` holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// Null or missing.
    #[default]
    Absent,
    /// A link without a page number: a cursor, or page 1, whose number DRF leaves out.
    Unnumbered,
    /// A link to this page.
    Page(u64),
}

impl Link {
    pub(super) fn of(url: &str) -> Self {
        let url = url.split_once('#').map_or(url, |(before, _)| before);
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let mut numbers = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "page")
            .map(|(_, value)| value.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(Some(number)), None) => Self::Page(number),
            _ => Self::Unnumbered,
        }
    }

    pub(super) fn is_there(self) -> bool {
        self != Self::Absent
    }
}

/// Checks that an answer is the page that was asked for, by its neighbours' numbers.
///
/// # Errors
/// [`PageError::AnotherPage`] with the link that leads elsewhere. A link without a number proves
/// nothing and passes.
pub(super) fn check(page: u64, next: Link, previous: Link) -> Result<(), PageError> {
    let neighbours =
        [("next", next, page.checked_add(1)), ("previous", previous, page.checked_sub(1))];
    for (link, found, expected) in neighbours {
        if let (Link::Page(found), Some(expected)) = (found, expected)
            && found != expected
        {
            return Err(PageError::AnotherPage { link, found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_for_its_page_number_alone() {
        let table = [
            ("http://api.example.org/accounts/?page=4", Link::Page(4)),
            ("https://elsewhere.test:8/x?a=1&page=4&b=2#page=9", Link::Page(4)),
            ("?page=4", Link::Page(4)),
            ("/x/?p%61ge=%34", Link::Page(4)),
            ("/x/?cursor=cD0yMDI2&page_size=4", Link::Unnumbered),
            ("/x/?page=last", Link::Unnumbered),
            ("/x/?page=3&page=4", Link::Unnumbered),
            ("/x/page=4", Link::Unnumbered),
            ("", Link::Unnumbered),
        ];
        for (url, link) in table {
            assert_eq!(Link::of(url), link, "{url}");
        }
    }

    #[test]
    fn a_page_is_known_by_its_neighbours() {
        use Link::{Absent, Page, Unnumbered};
        let passes = |page, next, previous| check(page, next, previous).is_ok();
        assert!(passes(1, Page(2), Absent) && passes(1, Absent, Absent));
        // DRF leaves `page=1` out.
        assert!(passes(2, Page(3), Unnumbered) && passes(2, Page(3), Page(1)));
        assert!(passes(9, Absent, Page(8)) && passes(9, Unnumbered, Unnumbered));
        assert!(!passes(3, Page(3), Unnumbered) && !passes(3, Page(5), Page(3)));
        assert!(!passes(9, Absent, Page(9)) && !passes(1, Page(2), Page(1)));
        assert!(passes(u64::MAX, Page(0), Absent));
    }
}
