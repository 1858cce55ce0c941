//! Turns a request into an answer. The checks have the same order as in Django REST Framework: route, API key,
//! rate limit, method, filters, dataset, page.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::Options;
use super::answer::{DemoAnswer, TrackedBody};
use super::dataset::Dataset;
use super::faults::{Fault, Faults};
use super::page::PageDraft;
use super::query::{DemoFilters, DemoQuery};
use super::stats::{Ledger, Received};
use super::throttle::TokenBucket;

const NO_DATASET: &str = r#"{"detail":"No Dataset matches the given query."}"#;
const INVALID_PAGE: &str = r#"{"detail":"Invalid page."}"#;
const NOT_FOUND: &str = r#"{"detail":"Not found."}"#;
const NO_KEY: &str = r#"{"detail":"Authentication credentials were not provided."}"#;
const WRONG_KEY: &str = r#"{"detail":"Invalid API key.","code":"invalid_api_key"}"#;
const THROTTLED: &str = r#"{"detail":"Request was throttled. Expected available in 1 second."}"#;
const NO_SUCH_URL: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>Not Found</title>\n\
    </head>\n<body>\n  <h1>Not Found</h1><p>The requested resource was not found on this \
    server.</p>\n</body>\n</html>\n";

/// The state that all connections of a server share.
pub(crate) struct Handler {
    addr: SocketAddr,
    options: Options,
    faults: Mutex<Arc<Faults>>,
    datasets: Mutex<Arc<Vec<Dataset>>>,
    bucket: Option<Mutex<TokenBucket>>,
    capacity: Option<Semaphore>,
    pub(crate) ledger: Arc<Ledger>,
}

enum Route<'p> {
    List,
    Datapoints(&'p str),
    MissingSlash,
    Unknown,
}

impl Handler {
    pub(crate) fn new(addr: SocketAddr, options: Options, datasets: Vec<Dataset>) -> Handler {
        let bucket = |rate| Mutex::new(TokenBucket::new(rate, Instant::now()));
        Handler {
            addr,
            faults: Mutex::new(Arc::new(options.faults())),
            datasets: Mutex::new(Arc::new(datasets)),
            bucket: options.rate_limit.map(bucket),
            capacity: options.capacity.map(|capacity| Semaphore::new(capacity.max(1))),
            ledger: Arc::default(),
            options,
        }
    }

    pub(crate) fn replace(&self, datasets: Vec<Dataset>) {
        *self.datasets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(datasets);
    }

    #[cfg(feature = "faults")]
    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
        self.ledger.forget_attempts();
    }

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// An error of kind `ConnectionReset` asks the caller to reset the connection.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> io::Result<Response<TrackedBody>> {
        let (head, _) = request.into_parts();
        let received =
            Received::new(head.method.to_string(), head.uri.to_string(), head.headers.clone());
        let in_flight = self.ledger.arrived(received);
        let answer = self.answer(&head).await?;
        self.ledger.answered(answer.status);
        let gzip = self.options.gzip && accepts_gzip(&head.headers);
        answer.into_response(gzip, in_flight)
    }

    async fn answer(&self, head: &Parts) -> io::Result<DemoAnswer> {
        let path = head.uri.path();
        let route = route(path);
        if let Some(refusal) = self.refusal(&route, head) {
            return Ok(refusal);
        }

        // Hold the permit while the request is served, so that other requests wait.
        let _permit = match &self.capacity {
            Some(capacity) => capacity.acquire().await.ok(),
            None => None,
        };
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }

        let query = DemoQuery::parse(head.uri.query());
        let filters = match DemoFilters::parse(&query) {
            Ok(filters) => filters,
            Err(body) => return Ok(DemoAnswer::json(400, body)),
        };
        let base = match head.headers.get(HOST).and_then(|host| host.to_str().ok()) {
            Some(host) => format!("http://{host}{path}"),
            None => format!("http://{}{path}", self.addr),
        };
        let datasets = Arc::clone(&self.datasets.lock().unwrap_or_else(PoisonError::into_inner));

        if let Route::Datapoints(id) = route {
            let Ok(id) = Uuid::try_parse(id) else { return Ok(DemoAnswer::json(404, NOT_FOUND)) };
            let found = datasets.iter().find(|dataset| dataset.id == id);
            let Some(dataset) = found.filter(|dataset| filters.accept(dataset)) else {
                return Ok(DemoAnswer::json(404, NO_DATASET));
            };
            let ordering = match self.options.ignore_ordering {
                true => DemoQuery::parse(None).row_ordering(),
                false => query.row_ordering(),
            };
            let push = |row, out: &mut Vec<u8>| dataset.push_row(row, ordering, out);
            self.page(&query, &base, Some(id), dataset.len(), push).await
        } else {
            let mut found: Vec<&Dataset> =
                datasets.iter().filter(|dataset| filters.accept(dataset)).collect();
            query.sort(&mut found);
            let push = |row: u64, out: &mut Vec<u8>| {
                if let Some(dataset) = usize::try_from(row).ok().and_then(|row| found.get(row)) {
                    dataset.push_listing(out);
                }
            };
            self.page(&query, &base, None, found.len() as u64, push).await
        }
    }

    /// Returns the answer to a request that is refused before the datasets are read.
    fn refusal(&self, route: &Route<'_>, head: &Parts) -> Option<DemoAnswer> {
        if matches!(route, Route::Unknown) {
            return Some(DemoAnswer::html(404, NO_SUCH_URL));
        }
        if matches!(route, Route::MissingSlash) {
            let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let location = format!("{}/{query}", head.uri.path());
            return Some(DemoAnswer::html(301, "").with_header("Location", &location));
        }
        if let Err(body) = self.authenticate(&head.headers) {
            let answer = DemoAnswer::json(401, body);
            return Some(answer.with_header("WWW-Authenticate", "Bearer realm=\"api\""));
        }
        if !self.within_rate() {
            return Some(DemoAnswer::json(429, THROTTLED).with_header("Retry-After", "1"));
        }
        if head.method != Method::GET {
            let body = format!("{{\"detail\":\"Method \\\"{}\\\" not allowed.\"}}", head.method);
            return Some(DemoAnswer::json(405, body).with_header("Allow", "GET"));
        }
        None
    }

    /// Returns one page of a dataset or of the list of datasets, with its faults applied.
    async fn page(
        &self,
        query: &DemoQuery,
        base: &str,
        dataset: Option<Uuid>,
        total: u64,
        push_row: impl Fn(u64, &mut Vec<u8>),
    ) -> io::Result<DemoAnswer> {
        let Options { page_size: default, max_page_size: cap, .. } = self.options;
        let page_size = match self.options.ignore_page_size {
            true => u64::from(default),
            false => query.page_size(default, cap),
        }
        .max(1);
        let last = total.div_ceil(page_size).max(1);
        let Some(number) = query.page(last) else { return Ok(DemoAnswer::json(404, INVALID_PAGE)) };

        let attempt = self.ledger.attempt(dataset, number);
        let faults = Arc::clone(&self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        let faults = faults.matching(dataset.map(|_| number), attempt);
        for fault in &faults {
            match fault {
                Fault::Delay(time) => tokio::time::sleep(*time).await,
                Fault::ResetBeforeHeaders => return Err(io::ErrorKind::ConnectionReset.into()),
                _ => {}
            }
            if let Some(answer) = DemoAnswer::instead(fault) {
                return Ok(answer);
            }
        }

        let number = faults.iter().fold(number, |number, fault| match fault {
            Fault::SwapPage(other) => *other,
            _ => number,
        });
        let mut draft = PageDraft::new(number, page_size, total);
        draft.next = (number < last).then(|| query.link(base, number + 1));
        draft.previous = (number > 1).then(|| query.link(base, number - 1));
        faults.iter().for_each(|fault| draft.edit(fault));
        let mut answer = DemoAnswer::json(200, draft.render(push_row));
        faults.iter().for_each(|fault| answer.damage(fault));
        Ok(answer)
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = || {
            text(AUTHORIZATION.as_str())
                .and_then(|credentials| credentials.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, key)| key)
        };
        let key = text("x-api-key").or_else(bearer).map(str::trim).filter(|key| !key.is_empty());
        match (key, &self.options.api_key) {
            (None, _) => Err(NO_KEY),
            (Some(key), Some(accepted)) if key != accepted => Err(WRONG_KEY),
            (Some(_), _) => Ok(()),
        }
    }

    fn within_rate(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| {
            bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
        })
    }
}

fn route(path: &str) -> Route<'_> {
    let Some(rest) = path.strip_prefix("/api/datasets") else { return Route::Unknown };
    match rest.split('/').collect::<Vec<_>>()[..] {
        ["", ""] => Route::List,
        ["", id, "datapoints", ""] if !id.is_empty() => Route::Datapoints(id),
        [""] => Route::MissingSlash,
        ["", id, "datapoints"] if !id.is_empty() => Route::MissingSlash,
        _ => Route::Unknown,
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && quality.trim() != "q=0"
    })
}
