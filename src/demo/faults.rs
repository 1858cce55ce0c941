//! What goes wrong, on which page and at which attempt: a script, decided before it runs; it
//! never depends on the clock, and chance comes from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::generate::mix;

/// A script of faults. Rules that match the same request all apply, in the order given.
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
    /// One of `of` equally likely kinds, if chance picks the one at `index`.
    Random {
        seed: u64,
        probability: f64,
        index: u64,
        of: u64,
    },
}

/// Which requests a rule is about. A number or a range of numbers converts into it.
#[derive(Debug, Clone)]
pub enum FaultPage {
    /// Any page of datapoints.
    Any,
    /// These pages of datapoints.
    Numbers(RangeInclusive<u64>),
    /// The list of datasets, any page of it.
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

/// Which of the requests for a page a rule is about, counted from 1.
#[derive(Debug, Clone, Copy)]
pub enum FaultAttempt {
    /// Only this one.
    Nth(u32),
    /// This many, from the first.
    First(u32),
    /// This one and all that follow.
    From(u32),
    /// All of them.
    Always,
}

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Another answer in place of the page. See [`Fault::status`] and its kin.
    Status {
        /// The status.
        status: u16,
        /// Headers, beside the content type.
        headers: Vec<(String, String)>,
        /// The body: HTML if it begins with `<`, otherwise JSON.
        body: String,
    },
    /// The answer comes later.
    Delay(Duration),
    /// The connection is reset (RST) instead of an answer.
    ResetBeforeHeaders,

    /// Another `count`.
    Count(u64),
    /// The rows of another page.
    RepeatPage(u64),
    /// The whole body of another page, its links included.
    SwapPage(u64),
    /// The last rows of the page are missing.
    ShortPage(usize),
    /// The page begins this many rows too early, as if rows had been inserted before it: it
    /// repeats rows of the page before, and as many of its own are lost.
    ShiftRows(u64),
    /// `next` is null.
    DropNext,
    /// Another `next`, for instance at a foreign host.
    Next(String),
    /// A field of a row of the page is replaced by this JSON text, or left out.
    Field {
        /// The place of the row on its page, from 0.
        row: usize,
        /// The name of the field.
        field: String,
        /// The JSON text; without one the field is left out.
        json: Option<String>,
    },

    /// A complete answer with the first half of the JSON.
    TruncatedJson,
    /// A 200 with a page for people.
    Html,
    /// Another `Content-Type`.
    ContentType(String),
    /// A `Content-Encoding`, asked for or not. For `gzip` and `x-gzip` the body is compressed, in as
    /// many members; for others it stays as it is.
    Coding {
        /// The name of the coding, as the header has it.
        name: String,
        /// Gzip members to make of the body, at least one.
        members: usize,
    },
    /// The connection closes after this much of the body; `Content-Length` promised all of it.
    CutBody {
        /// Bytes sent, of the body as compressed.
        after: usize,
    },
    /// After this much of the body nothing more comes, for at most two minutes.
    Stall {
        /// Bytes sent, of the body as compressed.
        after: usize,
    },
    /// A JSON string that goes on and on, until the client leaves or has had 1 GiB.
    EndlessBody,
}

impl Fault {
    /// An error in the API's form, with a fitting `detail`.
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

    /// An error page, as a load balancer sends it.
    pub fn html(status: u16) -> Fault {
        let body = format!("<html><head><title>{status}</title></head><body></body></html>\n");
        Fault::Status { status, headers: Vec::new(), body }
    }

    /// The 404 of a page past the end, or of a dataset that has shrunk.
    pub fn invalid_page() -> Fault {
        Fault::status(404).body(r#"{"detail":"Invalid page."}"#)
    }

    /// A redirect to another URL.
    pub fn redirect(location: &str) -> Fault {
        Fault::status(302).header("Location", location).body("")
    }

    /// A value of the wrong type, or a duplicate, or any other JSON, in a field of a row.
    pub fn field(row: usize, field: &str, json: &str) -> Fault {
        Fault::Field { row, field: field.to_owned(), json: Some(json.to_owned()) }
    }

    /// A content coding, in one member.
    pub fn coding(name: &str) -> Fault {
        Fault::Coding { name: name.to_owned(), members: 1 }
    }

    /// A row without this field.
    pub fn missing_field(row: usize, field: &str) -> Fault {
        Fault::Field { row, field: field.to_owned(), json: None }
    }

    /// Adds a header to a status; any other fault has no headers and stays as it is.
    pub fn header(mut self, name: &str, value: &str) -> Fault {
        if let Fault::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Replaces the body of a status; any other fault stays as it is.
    pub fn body(mut self, text: &str) -> Fault {
        if let Fault::Status { body, .. } = &mut self {
            text.clone_into(body);
        }
        self
    }
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Each request for datapoints fails with this probability, in one of these ways, as a
    /// function of the seed, the page and the attempt: the same run fails the same way, and
    /// a retry has a new chance.
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

    /// Adds a fault.
    pub fn on(mut self, page: impl Into<FaultPage>, attempt: FaultAttempt, fault: Fault) -> Faults {
        self.rules.push(FaultRule { page: page.into(), when: FaultWhen::Scripted(attempt), fault });
        self
    }

    /// The faults of one request; `page` is none for the list of datasets.
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
                    // Seeds and pages are both small numbers: unmixed, they would meet.
                    let on_page = mix(mix(seed) ^ page.unwrap_or_default());
                    let chance = mix(on_page ^ u64::from(attempt));
                    // The high half decides whether, the low half how.
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
    fn a_rule_applies_to_its_pages_and_attempts_alone() {
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
    fn random_faults_are_as_frequent_as_asked_and_use_every_kind() {
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
    fn no_two_seeds_tell_the_same_story_on_other_pages() {
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
    fn a_page_that_fails_by_chance_succeeds_when_tried_again() {
        let faults = Faults::random(1, 0.5, [Fault::Html]);
        for page in 1..=1000 {
            assert!(hits(&faults, Some(page), 30).len() < 30);
        }
    }
}
