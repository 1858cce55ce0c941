//! The reasons why an answer is not a page, with text for the user.

use crate::text::grouped;

/// The reason why an answer is not a page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The answer is not JSON. An example is the HTML page of a load balancer.
    #[error("expected JSON, got {content_type} that begins {beginning:?}")]
    NotJson {
        /// Content type of the answer.
        content_type: String,
        /// First characters of the answer.
        beginning: String,
    },
    /// The answer is JSON that is cut short or malformed.
    #[error("the {} bytes received are not JSON", grouped(*bytes as u64))]
    Malformed {
        /// Size of the body in bytes.
        bytes: usize,
        /// Error of the parser.
        #[source]
        source: serde_json::Error,
    },
    /// The answer is JSON, but not a page: `count`, `next` or `results` is missing or has a wrong type.
    #[error("it is JSON, but not a page: {0}")]
    NotAPage(String),
    /// A row has a field of a wrong type.
    #[error("row {row}, field {field:?}: {why}")]
    Row {
        /// Index of the row in the page, from 0.
        row: usize,
        /// Name of the field.
        field: String,
        /// The problem with the field.
        why: String,
    },
    /// The answer is a different page than the requested one.
    #[error("it is another page: its `{link}` is page {found} and should be page {expected}")]
    AnotherPage {
        /// The link with the wrong page number: `next` or `previous`.
        link: &'static str,
        /// Page number in that link.
        found: u64,
        /// Expected page number: the neighbour of the requested page.
        expected: u64,
    },
    /// The page has the rows of the page before it, although `count` is the same.
    #[error("it has the same rows as page {of}")]
    Repeats {
        /// Number of the page with the same rows.
        of: u64,
    },
    /// The answer has a content coding that was not requested.
    #[error("its content coding is {coding:?}, but only gzip was requested")]
    Coding {
        /// Value of `Content-Encoding`.
        coding: String,
    },
    /// The count is too large: there cannot be that many ids.
    #[error("its count is {}, which is more rows than a dataset can have", grouped(*count))]
    Count {
        /// The count in the answer.
        count: u64,
    },
    /// The body is larger than the limit.
    #[error("the body is larger than {} bytes", grouped(*limit as u64))]
    TooLarge {
        /// Limit in bytes, after decompression.
        limit: usize,
    },
}

impl PageError {
    /// Whether a retry would not help.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Count { .. })
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotJson { .. } => {
                "check the base URL; a proxy or a sign-in page may have answered instead of the API"
            }
            Self::NotAPage(_) => "check the base URL",
            Self::Coding { .. } => {
                "a proxy or a cache compresses answers in a way that was not requested: report this to \
                 its operator"
            }
            Self::Count { .. } => "report this to the operator of the API",
            Self::AnotherPage { .. } | Self::Repeats { .. } => {
                "the API, or a cache in front of it, ignores the parameter `page` or mixes up answers: \
                 report this to its operator"
            }
            Self::TooLarge { .. } => {
                "request fewer rows per page with `page_size`, or raise `max_page_bytes`"
            }
            Self::Malformed { .. } => {
                "the answer was cut short or damaged: run again, and report it to the operator of the \
                 API if it happens again"
            }
            Self::Row { .. } => {
                "the API sent a row that is not a datapoint: report this to its operator; the rows of a \
                 page are numbered from 0"
            }
        })
    }
}
