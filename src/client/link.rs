//! The page numbers in `next` and `previous`. They show which page an answer really is.
//!
//! Only the parameter `page` is used, because scheme, host and path can be wrong behind a proxy.

use url::form_urlencoded;

use crate::error::PageError;

/// The content of `next` or `previous`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// The link is null or missing.
    #[default]
    Absent,
    /// A link without a page number: a cursor, or a link to page 1, where Django REST Framework (DRF) omits
    /// the number.
    Unnumbered,
    /// A link to the page with this number.
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

/// Checks that an answer is the requested page, by the page numbers in its links.
///
/// A link without a page number proves nothing and passes.
///
/// # Errors
/// [`PageError::AnotherPage`] with the link whose page number is wrong.
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
    fn only_the_page_number_of_a_link_is_read() {
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
    fn page_is_checked_by_its_neighbours() {
        use Link::{Absent, Page, Unnumbered};
        let passes = |page, next, previous| check(page, next, previous).is_ok();
        assert!(passes(1, Page(2), Absent) && passes(1, Absent, Absent));
        // DRF omits `page=1`.
        assert!(passes(2, Page(3), Unnumbered) && passes(2, Page(3), Page(1)));
        assert!(passes(9, Absent, Page(8)) && passes(9, Unnumbered, Unnumbered));
        assert!(!passes(3, Page(3), Unnumbered) && !passes(3, Page(5), Page(3)));
        assert!(!passes(9, Absent, Page(9)) && !passes(1, Page(2), Page(1)));
        assert!(passes(u64::MAX, Page(0), Absent));
    }
}
