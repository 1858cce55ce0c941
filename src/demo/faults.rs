//! Faults that the server injects, by page and attempt. They do not depend on the clock. Random faults depend
//! on a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::generate::mix;

/// A list of rules for faults. All rules that match a request apply, in the order of the list.
///
/// ```
/// use std::time::Duration;
/// use overmind_export::demo::{Fault, FaultAttempt::*, FaultPage, Faults};
///
/// Faults::none()
///     .on(3, First(2), Fault::status(429).header("Retry-After", "1"))
///     .on(5..=7, Always, Fault::Delay(Duration::from_millis(20)))
///     .on(FaultPage::Any, Nth(1), Fault::ResetBeforeHeaders)
///     .on(FaultPage::List, Always, Fault::status(403));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Vec<FaultRule>,
}

#[derive(Debug, Clone)]
struct FaultRule {
    page: FaultPage,
    when: FaultWhen,
    fault: Fault,
}

#[derive(Debug, Clone)]
enum FaultWhen {
    Scripted(FaultAttempt),
    /// A request fails with this probability. It then has one of `of` equally likely faults. This rule is for
    /// the one at `index`.
    Random {
        seed: u64,
        probability: f64,
        index: u64,
        of: u64,
    },
}

/// The pages of a rule. A page number or a range of page numbers converts into this type.
#[derive(Debug, Clone)]
pub enum FaultPage {
    /// Any page of datapoints.
    Any,
    /// These pages of datapoints.
    Numbers(RangeInclusive<u64>),
    /// Any page of the list of datasets.
    List,
}

impl From<u64> for FaultPage {
    fn from(number: u64) -> FaultPage {
        FaultPage::Numbers(number..=number)
    }
}

impl From<RangeInclusive<u64>> for FaultPage {
    fn from(numbers: RangeInclusive<u64>) -> FaultPage {
        FaultPage::Numbers(numbers)
    }
}

/// The attempts of a rule: which requests for the same page it matches, counted from 1.
#[derive(Debug, Clone, Copy)]
pub enum FaultAttempt {
    /// Only this attempt.
    Nth(u32),
    /// The first attempts, up to and including this one.
    First(u32),
    /// This attempt and all later ones.
    From(u32),
    /// All attempts.
    Always,
}

/// A fault that the server injects into an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Sends another answer instead of the page. [`Fault::status`], [`Fault::html`] and others create it.
    Status {
        /// The status.
        status: u16,
        /// Headers in addition to `Content-Type`.
        headers: Vec<(String, String)>,
        /// The body. It is sent as HTML if it begins with `<`, otherwise as JSON.
        body: String,
    },
    /// Delays the answer.
    Delay(Duration),
    /// Resets the connection (RST) instead of sending an answer.
    ResetBeforeHeaders,

    /// Replaces `count`.
    Count(u64),
    /// Sends the rows of another page.
    RepeatPage(u64),
    /// Sends the whole body of another page, including its links.
    SwapPage(u64),
    /// Leaves out this many rows at the end of the page.
    ShortPage(usize),
    /// Starts the page this many rows too early, as if rows had been inserted before it. The page repeats rows
    /// of the previous page and loses the same number of its own rows.
    ShiftRows(u64),
    /// Sets `next` to null.
    DropNext,
    /// Replaces `next`, for example with a URL of another host.
    Next(String),
    /// Replaces or leaves out a field of one row.
    Field {
        /// Index of the row on its page, from 0.
        row: usize,
        /// Name of the field.
        field: String,
        /// New value as JSON text. `None` leaves out the field.
        json: Option<String>,
    },

    /// Sends only the first half of the JSON, as a complete answer.
    TruncatedJson,
    /// Sends an HTML page with status 200.
    Html,
    /// Replaces `Content-Type`.
    ContentType(String),
    /// Sets `Content-Encoding`, even if the client does not accept it. For `gzip` and `x-gzip` the body is
    /// compressed. For other codings it stays as it is.
    Coding {
        /// Name of the coding in the header.
        name: String,
        /// Number of gzip members, at least 1.
        members: usize,
    },
    /// Closes the connection after a part of the body. `Content-Length` has the size of the whole body.
    CutBody {
        /// Number of bytes to send, after compression.
        after: usize,
    },
    /// Sends a part of the body, then nothing more. Closes the connection after two minutes.
    Stall {
        /// Number of bytes to send, after compression.
        after: usize,
    },
    /// Sends a JSON string without end, until the client closes the connection or 1 GiB is sent.
    EndlessBody,
}

impl Fault {
    /// Creates an error answer in the format of the API, with the usual `detail` for the status.
    pub fn status(status: u16) -> Fault {
        let detail = match status {
            401 => "Invalid API key.",
            403 => "You do not have permission to perform this action.",
            404 => "No Dataset matches the given query.",
            429 => "Request was throttled. Expected available in 1 second.",
            502 | 504 => return Fault::html(status),
            503 => "Service temporarily unavailable, try again later.",
            _ => "A server error occurred.",
        };
        let body = format!("{{\"detail\":\"{detail}\"}}");
        Fault::Status { status, headers: Vec::new(), body }
    }

    /// Creates an HTML error page, as a load balancer sends it.
    pub fn html(status: u16) -> Fault {
        let body = format!("<html><head><title>{status}</title></head><body></body></html>\n");
        Fault::Status { status, headers: Vec::new(), body }
    }

    /// Creates the 404 answer for a page past the end. A dataset that lost rows also causes it.
    pub fn invalid_page() -> Fault {
        Fault::status(404).body(r#"{"detail":"Invalid page."}"#)
    }

    /// Creates a redirect to another URL.
    pub fn redirect(location: &str) -> Fault {
        Fault::status(302).header("Location", location).body("")
    }

    /// Replaces a field of a row with any JSON, for example a value of a wrong type or a duplicate.
    pub fn field(row: usize, field: &str, json: &str) -> Fault {
        Fault::Field { row, field: field.to_owned(), json: Some(json.to_owned()) }
    }

    /// Sets a content coding with one member.
    pub fn coding(name: &str) -> Fault {
        Fault::Coding { name: name.to_owned(), members: 1 }
    }

    /// Leaves out a field of a row.
    pub fn missing_field(row: usize, field: &str) -> Fault {
        Fault::Field { row, field: field.to_owned(), json: None }
    }

    /// Adds a header to a [`Fault::Status`]. Other faults stay as they are.
    pub fn header(mut self, name: &str, value: &str) -> Fault {
        if let Fault::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Replaces the body of a [`Fault::Status`]. Other faults stay as they are.
    pub fn body(mut self, text: &str) -> Fault {
        if let Fault::Status { body, .. } = &mut self {
            text.clone_into(body);
        }
        self
    }
}

impl Faults {
    /// Creates an empty list: no faults.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Creates random faults: each request for datapoints has one of these faults with this probability. The
    /// choice depends only on the seed, the page and the attempt. So the same run has the same faults, and a
    /// retry can succeed.
    pub fn random(seed: u64, probability: f64, kinds: impl IntoIterator<Item = Fault>) -> Faults {
        let kinds: Vec<Fault> = kinds.into_iter().collect();
        let of = kinds.len() as u64;
        let rule = |(index, fault)| FaultRule {
            page: FaultPage::Any,
            when: FaultWhen::Random { seed, probability, index, of },
            fault,
        };
        Faults { rules: (0..).zip(kinds).map(rule).collect() }
    }

    /// Adds a rule.
    pub fn on(mut self, page: impl Into<FaultPage>, attempt: FaultAttempt, fault: Fault) -> Faults {
        self.rules.push(FaultRule { page: page.into(), when: FaultWhen::Scripted(attempt), fault });
        self
    }

    /// Returns the faults of a request. `page` is `None` for the list of datasets.
    pub(crate) fn matching(&self, page: Option<u64>, attempt: u32) -> Vec<Fault> {
        let matching = self.rules.iter().filter(|rule| rule.matches(page, attempt));
        matching.map(|rule| rule.fault.clone()).collect()
    }
}

impl FaultRule {
    fn matches(&self, page: Option<u64>, attempt: u32) -> bool {
        let on_page = match (&self.page, page) {
            (FaultPage::Any, Some(_)) | (FaultPage::List, None) => true,
            (FaultPage::Numbers(numbers), Some(page)) => numbers.contains(&page),
            (FaultPage::Any | FaultPage::Numbers(_), None) | (FaultPage::List, Some(_)) => false,
        };
        on_page
            && match self.when {
                FaultWhen::Scripted(FaultAttempt::Nth(n)) => attempt == n,
                FaultWhen::Scripted(FaultAttempt::First(n)) => attempt <= n,
                FaultWhen::Scripted(FaultAttempt::From(n)) => attempt >= n,
                FaultWhen::Scripted(FaultAttempt::Always) => true,
                FaultWhen::Random { seed, probability, index, of } => {
                    // Seeds and pages are small numbers. Mix the seed first, so that different pairs of seed
                    // and page do not give the same value.
                    let on_page = mix(mix(seed) ^ page.unwrap_or_default());
                    let chance = mix(on_page ^ u64::from(attempt));
                    // The high half decides whether the request fails. The low half selects the fault.
                    ((chance >> 32) as f64) < probability * 2f64.powi(32)
                        && chance % (1 << 32) % of == index
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(faults: &Faults, page: Option<u64>, attempts: u32) -> Vec<u32> {
        (1..=attempts).filter(|&attempt| !faults.matching(page, attempt).is_empty()).collect()
    }

    #[test]
    fn rule_applies_only_to_its_pages_and_attempts() {
        let faults = |page: FaultPage, attempt| Faults::none().on(page, attempt, Fault::Html);
        assert_eq!(hits(&faults(3.into(), FaultAttempt::First(2)), Some(3), 5), [1, 2]);
        assert_eq!(hits(&faults(3.into(), FaultAttempt::Nth(2)), Some(3), 5), [2]);
        assert_eq!(hits(&faults((3..=4).into(), FaultAttempt::From(4)), Some(4), 5), [4, 5]);
        assert_eq!(hits(&faults(FaultPage::Any, FaultAttempt::Always), Some(9), 2), [1, 2]);
        assert_eq!(hits(&faults(FaultPage::List, FaultAttempt::Always), None, 1), [1]);

        assert!(hits(&faults(3.into(), FaultAttempt::Always), Some(4), 3).is_empty());
        assert!(hits(&faults(FaultPage::Any, FaultAttempt::Always), None, 3).is_empty());
        assert!(hits(&faults(FaultPage::List, FaultAttempt::Always), Some(1), 3).is_empty());
    }

    #[test]
    fn random_faults_have_requested_frequency_and_kinds() {
        let kinds = [Fault::Html, Fault::TruncatedJson, Fault::ResetBeforeHeaders];
        let run = |seed| {
            let faults = Faults::random(seed, 0.2, kinds.clone());
            let outcome = |page| format!("{:?}", faults.matching(Some(page), 1));
            (1..=10_000).map(outcome).collect::<Vec<_>>()
        };
        let first = run(1);
        assert_eq!(first, run(1));
        assert_ne!(first, run(2));
        for kind in ["[Html]", "[TruncatedJson]", "[ResetBeforeHeaders]"] {
            let frequency = first.iter().filter(|outcome| *outcome == kind).count();
            assert!((500..850).contains(&frequency), "{kind}: {frequency}");
        }
    }

    #[test]
    fn different_seeds_give_different_faults() {
        // Not even the same faults on other pages: the runs are compared after sorting.
        let run = |seed| {
            let faults = Faults::random(seed, 0.5, [Fault::Html]);
            let mut pages: Vec<_> = (0..16).map(|page| hits(&faults, Some(page), 8)).collect();
            pages.sort();
            pages
        };
        let runs: std::collections::BTreeSet<_> = (0..16).map(run).collect();
        assert_eq!(runs.len(), 16);
    }

    #[test]
    fn random_fault_does_not_repeat_on_every_retry() {
        let faults = Faults::random(1, 0.5, [Fault::Html]);
        for page in 1..=1000 {
            assert!(hits(&faults, Some(page), 30).len() < 30);
        }
    }
}
