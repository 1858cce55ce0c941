//! Helpers for all code that takes URLs: removes secrets before a URL is quoted, and recognizes this machine.

use url::{Host, Url};

/// Returns a text without the parts of a URL that can hold secrets: credentials, query and fragment.
///
/// The text does not need to be a valid URL.
pub(crate) fn quotable(text: &str) -> String {
    let (place, rest) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let rest = rest.chars().next().map(|mark| format!("{mark}…")).unwrap_or_default();
    match place.rsplit_once('@') {
        None => format!("{place}{rest}"),
        Some((before, after)) => {
            let scheme = before.find("//").map_or("", |at| &before[..at + 2]);
            format!("{scheme}…@{after}{rest}")
        }
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
