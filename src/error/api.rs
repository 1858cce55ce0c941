//! A final error answer of the API: its content, its meaning, and a hint. Never contains a key.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use reqwest::StatusCode;
use url::Url;

use super::{Cause, PageError};

/// The requested resource. The meaning of a 404 depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resource {
    /// A page of the list of datasets.
    Datasets { page: u64 },
    /// A page of a dataset. If the request has filters, they can be the reason for a 404.
    Datapoints { page: u64, filtered: bool },
}

impl Resource {
    /// Number of the page, from 1.
    pub(crate) fn page(self) -> u64 {
        match self {
            Self::Datasets { page } | Self::Datapoints { page, .. } => page,
        }
    }

    fn is_filtered(self) -> bool {
        matches!(self, Self::Datapoints { filtered: true, .. })
    }
}

/// A final refusal by the API: a retry of the same request would not help.
#[derive(Debug)]
pub struct ApiError {
    pub(crate) answer: ApiAnswer,
    pub(crate) wanted: Resource,
    /// Origin of the key, for hints.
    pub(crate) key_origin: Option<Arc<str>>,
}

/// The refused request and its answer, as the cause of an [`ApiError`].
#[derive(Debug)]
pub(crate) struct ApiAnswer {
    pub(crate) status: StatusCode,
    pub(crate) url: String,
    pub(crate) detail: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) location: Option<String>,
    /// Set if the answer does not come from the API, but from a proxy or a web server.
    pub(crate) foreign: Option<PageError>,
}

impl ApiError {
    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.answer.status.as_u16()
    }

    /// Returns the requested URL.
    pub fn url(&self) -> &str {
        &self.answer.url
    }

    /// Returns the field `detail` of the answer, if present.
    pub fn detail(&self) -> Option<&str> {
        self.answer.detail.as_deref()
    }

    /// Returns the field `code` of the answer, if present.
    pub fn code(&self) -> Option<&str> {
        self.answer.code.as_deref()
    }

    /// Returns the refused parameters, each with the API's messages about it.
    pub fn fields(&self) -> &[(String, String)] {
        &self.answer.fields
    }

    /// Returns the number of the requested page, from 1.
    pub fn page(&self) -> u64 {
        self.wanted.page()
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.answer.status == StatusCode::NOT_FOUND
    }

    /// Whether the base URL does not lead to the API. The API's own 404 is JSON, and its list of datasets
    /// always exists.
    fn is_elsewhere(&self) -> bool {
        let foreign = self.answer.foreign.is_some();
        let is_first = matches!(self.wanted, Resource::Datasets { page: 1 });
        self.is_missing() && (foreign || is_first || self.repeats_api())
    }

    /// Whether the base URL already ends in `/api`, so that the path of the request has it twice.
    fn repeats_api(&self) -> bool {
        let Ok(url) = Url::parse(&self.answer.url) else { return false };
        let segments = url.path_segments().into_iter().flatten();
        segments.filter(|segment| *segment == "api").count() > 1
    }

    /// Whether the answer comes from a proxy, a firewall or a cache in front of the API.
    pub(crate) fn is_foreign(&self) -> bool {
        self.answer.foreign.is_some() || self.answer.status == StatusCode::NOT_MODIFIED
    }

    /// Whether a redirect leads to another origin. Otherwise it was not followed because of its length.
    fn leaves_origin(&self) -> bool {
        let Ok(url) = Url::parse(&self.answer.url) else { return false };
        let to = self.answer.location.as_deref().and_then(|location| url.join(location).ok());
        to.is_some_and(|to| to.origin() != url.origin())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self.status() {
            _ if self.is_elsewhere() => 78,
            304 => 69,
            400 | 403 if self.is_foreign() => 69,
            400 => 2,
            401..=403 => 77,
            404 => 66,
            300..=399 => 78,
            _ => 69,
        }
    }

    pub(crate) fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = self.static_hint()?;
        // A key can be set in several places, and users often change one that is not in use.
        let of_key = matches!(self.status(), 401..=403) && !self.is_foreign();
        Some(match self.key_origin.as_deref().filter(|_| of_key) {
            Some(origin) => format!("{hint}; the key comes from {origin}").into(),
            None => hint.into(),
        })
    }

    fn static_hint(&self) -> Option<&'static str> {
        Some(match self.status() {
            _ if self.is_elsewhere() && self.repeats_api() => {
                "leave out /api and the text after it: every request adds it to the base URL, which comes from \
                 `base_url`, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL"
            }
            _ if self.is_elsewhere() => {
                "check the base URL; it comes from `base_url`, OVERMIND_LAB_BASE_URL or \
                 OVERMIND_API_URL"
            }
            304 => {
                "a cache sent 304 to a request that was not conditional: report this to its operator"
            }
            403 if self.is_foreign() => {
                "a firewall or a proxy sent this answer: ask the operator of the network to allow this \
                 machine, or send fewer requests with `rate_limit` or `concurrency`"
            }
            400..=499 if self.answer.foreign.is_some() => {
                "the answer does not have the API's format: check the base URL, and whether a proxy \
                 refuses the request"
            }
            400 => "check the value of each filter; `overmind-export export --help` lists them",
            401 => "the key is unknown, inactive or expired",
            402 => "the account's credits are used up",
            403 => "the key's plan or permissions do not allow this",
            404 if self.wanted.page() > 1 => {
                "the dataset exists or existed, but it has no such page: `dry_run` shows the number of \
                 pages"
            }
            404 if self.wanted.is_filtered() => {
                "check the id and that the key belongs to its project; the API gives the same answer if \
                 a filter excludes the dataset, so try without filters"
            }
            404 => {
                "check the id and that the key belongs to its project: \
                 `overmind-export datasets` lists the datasets that the key can see"
            }
            300..=399 if self.answer.location.is_none() => "check the base URL",
            300..=399 if !self.leaves_origin() => "check the base URL",
            300..=399 => {
                "redirects to another origin are not followed, because they would leak the key: set the \
                 base URL to the new address of the API"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.status() {
            _ if self.is_elsewhere() => "there is no datasets API at the base URL",
            304 => "a cache answers instead of the API",
            403 if self.is_foreign() => "a firewall or a proxy refuses the request",
            400 => "the API refuses a parameter",
            401 => "the API refuses the key",
            402 => "the API asks for payment",
            403 => "the API does not allow this",
            404 if self.wanted.page() > 1 => "there is no such page",
            404 => "no such dataset, or a filter excludes it",
            300..=399 if self.answer.location.is_none() => "the API redirects without a target",
            300..=399 if self.leaves_origin() => "the API redirects to another origin",
            300..=399 => "the API redirects too often",
            _ => "the API refuses the request",
        })
    }
}

impl StdError for ApiError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.answer)
    }
}

impl fmt::Display for ApiAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {} answered ", self.url)?;
        self.say(f)
    }
}

impl ApiAnswer {
    fn say(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(location) = &self.location {
            write!(f, " to {location}")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        for (index, (name, messages)) in self.fields.iter().enumerate() {
            let mark = if index == 0 { ':' } else { ';' };
            write!(f, "{mark} {name}: {messages}")?;
        }
        if let Some(foreign) = &self.foreign {
            write!(f, ": {foreign}")?;
        }
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

impl StdError for ApiAnswer {}

impl ApiError {
    /// Returns the answer alone, as the cause of another error.
    pub(crate) fn into_answer(self) -> Cause {
        Box::new(self.answer)
    }

    /// Returns the text of the answer without the request URL, for a context that already names the URL.
    pub(crate) fn said(&self) -> impl fmt::Display {
        fmt::from_fn(|f| self.answer.say(f))
    }
}
