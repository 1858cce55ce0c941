//! An answer of the API that is final: what it said, what it means, what to do; never a key.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use reqwest::StatusCode;
use url::Url;

use super::{Cause, PageError};

/// What was asked for: a 404 means something else each time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resource {
    /// A page of the list of datasets.
    Datasets { page: u64 },
    /// A page of a dataset; a filter can be the reason that it is not found.
    Datapoints { page: u64, filtered: bool },
}

impl Resource {
    /// The page's number, from 1.
    pub(crate) fn page(self) -> u64 {
        match self {
            Self::Datasets { page } | Self::Datapoints { page, .. } => page,
        }
    }

    fn is_filtered(self) -> bool {
        matches!(self, Self::Datapoints { filtered: true, .. })
    }
}

/// The API's own word that a request will not be answered as asked.
#[derive(Debug)]
pub struct ApiError {
    pub(crate) answer: ApiAnswer,
    pub(crate) wanted: Resource,
    /// Where the key comes from.
    pub(crate) key_origin: Option<Arc<str>>,
}

/// What came back, as the cause of an [`ApiError`].
#[derive(Debug)]
pub(crate) struct ApiAnswer {
    pub(crate) status: StatusCode,
    pub(crate) url: String,
    pub(crate) detail: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) location: Option<String>,
    /// An answer that is not the API's own, but a proxy's or a web page's.
    pub(crate) foreign: Option<PageError>,
}

impl ApiError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.answer.status.as_u16()
    }

    /// The URL that was asked for.
    pub fn url(&self) -> &str {
        &self.answer.url
    }

    /// The API's `detail`, where it gave one.
    pub fn detail(&self) -> Option<&str> {
        self.answer.detail.as_deref()
    }

    /// The API's `code`, where it gave one.
    pub fn code(&self) -> Option<&str> {
        self.answer.code.as_deref()
    }

    /// The parameters that the API refuses, each with its messages.
    pub fn fields(&self) -> &[(String, String)] {
        &self.answer.fields
    }

    /// The page that was asked for, from 1.
    pub fn page(&self) -> u64 {
        self.wanted.page()
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.answer.status == StatusCode::NOT_FOUND
    }

    /// There is nothing of the API at the address: its own 404 is JSON, and the list of datasets is
    /// always there.
    fn is_elsewhere(&self) -> bool {
        let foreign = self.answer.foreign.is_some();
        self.is_missing() && (foreign || matches!(self.wanted, Resource::Datasets { page: 1 }))
    }

    /// Whether something in front of the API gave the answer: a proxy, a firewall or a cache.
    pub(crate) fn is_foreign(&self) -> bool {
        self.answer.foreign.is_some() || self.answer.status == StatusCode::NOT_MODIFIED
    }

    /// Whether a redirect that was not followed leads away, rather than in circles.
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
        // Several places can hold a key, and people change the one that is not used.
        let of_key = matches!(self.status(), 401..=403) && !self.is_foreign();
        Some(match self.key_origin.as_deref().filter(|_| of_key) {
            Some(origin) => format!("{hint}; the key comes from {origin}").into(),
            None => hint.into(),
        })
    }

    fn static_hint(&self) -> Option<&'static str> {
        Some(match self.status() {
            _ if self.is_elsewhere() => {
                "is the base URL the API's? it comes from --base-url, OVERMIND_LAB_BASE_URL or \
                 OVERMIND_API_URL"
            }
            304 => {
                "a cache on the way to the API answered a question that was not asked: tell those who \
                 run it"
            }
            403 if self.is_foreign() => {
                "the answer is not the API's: ask those who run the network to let this machine through, \
                 or ask for less with --rate-limit or --concurrency"
            }
            400..=499 if self.answer.foreign.is_some() => {
                "the answer is not in the API's form: does a proxy on the way to it refuse the \
                 request, or is the base URL not the API's?"
            }
            400 => "see `overmind-export export --help` for what each filter takes",
            401 => "the key is unknown, inactive or expired",
            402 => "the account's credits are used up",
            403 => "the key's plan or permissions do not allow this",
            404 if self.wanted.page() > 1 => {
                "the dataset exists, or existed, but has no such page: see --dry-run for how many \
                 there are"
            }
            404 if self.wanted.is_filtered() => {
                "check the id and that the key belongs to its project; a filter that the dataset \
                 does not meet is answered the same way, so try without filters"
            }
            404 => {
                "check the id and that the key belongs to its project: \
                 `overmind-export datasets` lists what the key can see"
            }
            300..=399 if self.answer.location.is_none() => "is the base URL the API's?",
            300..=399 if !self.leaves_origin() => "is the base URL the API's?",
            300..=399 => {
                "only redirects within the base URL's origin are followed, so that the key goes \
                 nowhere else: set the base URL to where the API lives now"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.status() {
            _ if self.is_elsewhere() => "there is no datasets API at the base URL",
            304 => "a cache answers in place of the API",
            403 if self.is_foreign() => "a firewall or a proxy refuses the request",
            400 => "the API refuses a parameter",
            401 => "the API refuses the key",
            402 => "the API asks for payment",
            403 => "the API does not allow this",
            404 if self.wanted.page() > 1 => "there is no such page",
            404 => "no such dataset, or a filter excludes it",
            300..=399 if self.answer.location.is_none() => "the API redirects to nowhere",
            300..=399 if self.leaves_origin() => "the API redirects to another origin",
            300..=399 => "the API redirects without end",
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
    /// The answer alone, as the cause of an error that says something else about it.
    pub(crate) fn into_answer(self) -> Cause {
        Box::new(self.answer)
    }

    /// The answer without the request, for where that is known.
    pub(crate) fn said(&self) -> impl fmt::Display {
        fmt::from_fn(|f| self.answer.say(f))
    }
}
