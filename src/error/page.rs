//! Why an answer is no page, in words for whoever asked for one.

/// Why an answer is not a page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// Something else than JSON, usually a load balancer's HTML.
    #[error("expected JSON, got {content_type} that begins {beginning:?}")]
    NotJson {
        /// The answer's content type.
        content_type: String,
        /// Its first characters.
        beginning: String,
    },
    /// JSON that breaks off or is malformed.
    #[error("the {bytes} bytes that came are not JSON")]
    Malformed {
        /// How many.
        bytes: usize,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// JSON, but no page: `count`, `next` or `results` missing or of a wrong type.
    #[error("it is JSON but no page: {0}")]
    NotAPage(String),
    /// A row with a field of a wrong type.
    #[error("row {row}, field {field:?}: {why}")]
    Row {
        /// Its index in the page, from 0.
        row: usize,
        /// The field's name.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another page of the list than the one that was asked for.
    #[error("it is another page: its `{link}` is page {found} and should be page {expected}")]
    AnotherPage {
        /// The link that says so, `next` or `previous`.
        link: &'static str,
        /// The page that it leads to.
        found: u64,
        /// The neighbour of the page that was asked for.
        expected: u64,
    },
    /// The rows of the page before it, although `count` is the same.
    #[error("it has the same rows as page {of}")]
    Repeats {
        /// That page.
        of: u64,
    },
    /// A content coding that was not asked for.
    #[error("it is coded as {coding:?}, and only gzip was asked for")]
    Coding {
        /// What `Content-Encoding` says.
        coding: String,
    },
    /// More rows than ids can be counted for.
    #[error("its count is {count}, and no dataset has so many rows")]
    Count {
        /// What it says.
        count: u64,
    },
    /// The body is larger than allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, after decompression.
        limit: usize,
    },
}

impl PageError {
    /// Whether asking again is of no use.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Count { .. })
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotJson { .. } => {
                "is the base URL the API's? a proxy or a sign-in page on the way may have answered \
                 instead"
            }
            Self::NotAPage(_) => "is the base URL the API's?",
            Self::Coding { .. } => {
                "a proxy or a cache on the way compresses answers for other clients: tell those who run it"
            }
            Self::Count { .. } => "tell those who run the API",
            Self::AnotherPage { .. } | Self::Repeats { .. } => {
                "the API, or a cache in front of it, ignores the parameter `page` or mixes up answers: \
                 tell those who run it"
            }
            Self::TooLarge { .. } => {
                "ask for fewer rows a page with --page-size, or raise --max-page-bytes"
            }
            Self::Malformed { .. } => {
                "the answer was cut short or damaged, here or on its way: run again, and tell those \
                 who run the API if it stays so"
            }
            Self::Row { .. } => {
                "the API sent a row that is no datapoint: tell those who run it; the rows of a page \
                 count from 0"
            }
        })
    }
}
