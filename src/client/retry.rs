//! The one place that retries: classify what happened, wait, try again, and know when to stop.
//!
//! ```text
//! throttle ── permit ──► transport ──► classify ─┬─ done
//!     ▲                                          ├─ final: the answer will not change
//!     └──────── backoff, full jitter ◄───────────┘  retry: until the count or the time is used up
//! ```
//!
//! Time is bounded for the whole run: a success starts it anew, so that a flaky API may be flaky for
//! hours and a dead one is noticed in minutes.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    ClientInner,
    retry_after::retry_after,
    transport::{Reply, TransportFailure},
};
use crate::{
    client::budget::Room,
    error::{ApiError, Error, PageError, Resource, Result, harmless},
    net::proxies::ProxySource,
    tasks,
    throttle::{Outcome, Permit, PushBack},
};

/// How long an API that has answered before may do nothing but fail.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(120);
/// How long one that never answered may: a wrong address should not cost two minutes.
const NEVER_ANSWERED: Duration = Duration::from_secs(15);
/// An answer that does not decode is rarely the weather: a proxy's page stays a proxy's page.
const DECODE_RETRIES: u64 = 3;
const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(20);
/// A pause that is no longer is waited out whatever patience is left: ending for it is not worth it.
const SHORT: Duration = Duration::from_secs(1);

/// When to stop trying.
#[derive(Debug, Clone)]
pub(crate) struct RetryPolicy {
    /// Retries for one request.
    pub(crate) max_retries: u64,
    /// Nothing but failures for this long ends the run; `None` is the default for each case.
    pub(crate) retry_for: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 20, retry_for: None }
    }
}

/// How long the run has seen nothing but failures.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<Weather>);

#[derive(Debug, Default, Clone, Copy)]
struct Weather {
    answered: bool,
    succeeded: bool,
    /// Fetches that have not ended.
    outstanding: u64,
    failing_since: Option<Instant>,
    exhausted_at: Option<Instant>,
}

/// A fetch that has not ended.
struct Outstanding<'a>(&'a Patience);

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        let mut weather = self.0.lock();
        weather.outstanding -= 1;
        // However the last one ended, nobody goes on waiting: a failure after that is the first of
        // another run.
        if weather.outstanding == 0 {
            weather.failing_since = None;
        }
    }
}

impl Patience {
    fn lock(&self) -> MutexGuard<'_, Weather> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Outstanding<'_> {
        self.lock().outstanding += 1;
        Outstanding(self)
    }

    fn succeeded(&self) {
        let mut weather = self.lock();
        let outstanding = weather.outstanding;
        *weather = Weather { answered: true, succeeded: true, outstanding, ..Weather::default() };
    }

    /// Whether the API has ever given what was asked for: then what is in front of it is at fault when
    /// something else comes.
    fn has_succeeded(&self) -> bool {
        self.lock().succeeded
    }

    /// Whether the API, or what is in front of it, has ever answered.
    fn has_answered(&self) -> bool {
        self.lock().answered
    }

    /// Has come to its end, and with it the run: the client's next run begins with new patience.
    /// One that ended for a reason of its own says nothing about what runs beside it.
    fn exhausted(&self, left: Duration) {
        let mut weather = self.lock();
        weather.failing_since = None;
        if left.is_zero() {
            weather.exhausted_at = Some(Instant::now());
        }
    }

    /// How much patience is left, now that something has failed that was begun at this time.
    fn failed(&self, begun: Instant, answered: bool, policy: &RetryPolicy) -> Duration {
        let mut weather = self.lock();
        if weather.ended_since(begun) {
            return Duration::ZERO;
        }
        weather.answered |= answered;
        weather.failing_since.get_or_insert_with(Instant::now);
        weather.left(policy)
    }

    /// The longest pause that something begun at this time may wait out.
    fn longest_pause(&self, begun: Instant, policy: &RetryPolicy) -> Duration {
        // Who asks for a pause has answered, even if that has not been noted yet.
        let weather = Weather { answered: true, ..*self.lock() };
        if weather.ended_since(begun) { SHORT } else { weather.left(policy).max(SHORT) }
    }
}

impl Weather {
    /// What runs side by side has waited side by side: no run begins its own patience after another
    /// has found the API dead.
    fn ended_since(&self, begun: Instant) -> bool {
        self.exhausted_at.is_some_and(|at| begun < at)
    }

    fn left(&self, policy: &RetryPolicy) -> Duration {
        let default = if self.answered { RETRY_FOR } else { NEVER_ANSWERED };
        let failing_for = self.failing_since.map(|since| since.elapsed()).unwrap_or_default();
        policy.retry_for.unwrap_or(default).saturating_sub(failing_for)
    }
}

/// What a request is for.
pub(crate) struct Request<'a> {
    pub(crate) url: Url,
    /// A retry of an early page goes before a new later one.
    pub(crate) wanted: Resource,
    /// The place in flight for the first attempt, if the caller has one already.
    pub(crate) permit: Option<Permit>,
    /// The room for the body, where it is limited.
    pub(crate) room: Option<&'a mut Room>,
}

/// What one attempt came to.
enum Attempt<T> {
    Done(T),
    Final(Error),
    Retry { cause: Retryable, wait: Option<Duration> },
}

enum Retryable {
    Failure(TransportFailure),
    Status(Box<ApiError>),
    /// From a firewall or a cache in front of an API that has never answered.
    Foreign(Box<ApiError>),
    Decode(PageError),
}

impl ClientInner {
    /// Waits for a place in flight, on behalf of what was begun at this time.
    pub(super) async fn acquire(&self, page: u64, begun: Instant) -> Result<Permit> {
        // A pause may be one that another run was told of, and gave up for.
        let patience = || self.patience.longest_pause(begun, &self.retry);
        let permit = self.throttle.acquire(page, patience).await;
        permit.map_err(|wait| Error::ComeBackLater { origin: self.origin(), wait })
    }

    /// Sends the request until it is answered, refused, or patience ends.
    pub(crate) async fn fetch<T: Send + 'static>(
        &self,
        request: Request<'_>,
        decode: impl Fn(Vec<u8>) -> Result<T, PageError> + Copy + Send + 'static,
    ) -> Result<T> {
        let Request { url, wanted, mut permit, mut room } = request;
        let page = wanted.page();
        let begun = Instant::now();
        let _outstanding = self.patience.enter();
        let (mut attempts, mut undecodable) = (0, 0);
        loop {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => self.acquire(page, begun).await?,
            };
            attempts += 1;
            self.meter.request(attempts > 1);
            tracing::debug!(%url, attempts, "request");
            let result = self.transport.get(url.clone(), room.as_deref_mut()).await;
            permit.finish(outcome(&result));
            self.meter.ended(result.as_ref().ok().map(|reply| reply.status.as_u16()));
            if let (Err(TransportFailure::GaveWay), Some(room)) = (&result, room.as_deref_mut()) {
                tracing::debug!(%url, "gave way to earlier pages");
                // At most once: what is due gives way to nothing.
                room.give_way().await;
                continue;
            }
            let answered = result.is_ok();
            let attempt = match result {
                Ok(reply) => self.judge(&url, wanted, reply, decode).await,
                Err(TransportFailure::Certificate(why)) => {
                    let origin = self.origin();
                    Attempt::Final(Error::Certificate { origin, source: why.into() })
                }
                Err(failure @ (TransportFailure::NotTls | TransportFailure::NotHttp))
                    if !self.patience.has_succeeded() =>
                {
                    Attempt::Final(self.wrong_protocol(&failure))
                }
                Err(TransportFailure::BeforeHeaders(_))
                    if attempts == 1 && self.closes_for_https(&url).await =>
                {
                    Attempt::Final(self.wrong_protocol(&TransportFailure::NotHttp))
                }
                Err(TransportFailure::ProxyCredentials) => Attempt::Final(self.proxy_credentials()),
                Err(TransportFailure::TooLarge { limit }) => {
                    let source = PageError::TooLarge { limit };
                    Attempt::Final(Error::Page { page, source })
                }
                Err(failure) => Attempt::Retry { cause: Retryable::Failure(failure), wait: None },
            };
            let (cause, wait) = match attempt {
                Attempt::Done(value) => {
                    self.patience.succeeded();
                    return Ok(value);
                }
                Attempt::Final(error) => return Err(error),
                Attempt::Retry { cause, wait } => (cause, wait),
            };
            if let Some(room) = room.as_deref_mut() {
                room.begin_again();
            }
            tracing::warn!(%url, attempts, cause = %harmless(&cause.text()), "attempt failed");
            undecodable += u64::from(cause.is_undecodable());
            let left = self.patience.failed(begun, answered, &self.retry);
            if let Some(wait) = wait.filter(|wait| *wait > left) {
                self.patience.exhausted(left);
                return Err(Error::ComeBackLater { origin: self.origin(), wait });
            }
            if attempts > self.retry.max_retries || undecodable > DECODE_RETRIES || left.is_zero() {
                self.patience.exhausted(left);
                return Err(self.give_up(page, attempts, begun.elapsed(), cause));
            }
            // The last attempt is made at the end of the time, however long its backoff would be.
            let backoff = backoff(attempts, fastrand::f64()).min(left);
            sleep(backoff.max(wait.unwrap_or_default())).await;
        }
    }

    async fn judge<T: Send + 'static>(
        &self,
        url: &Url,
        wanted: Resource,
        reply: Reply,
        decode: impl Fn(Vec<u8>) -> Result<T, PageError> + Copy + Send + 'static,
    ) -> Attempt<T> {
        let api_error = |reply: &Reply| Box::new(ApiError::new(url, wanted, reply, &self.key));
        match reply.status.as_u16() {
            200..=299 => {}
            408 | 409 | 425 | 429 | 500..=599 => {
                return Attempt::Retry {
                    cause: Retryable::Status(api_error(&reply)),
                    wait: wait(&reply),
                };
            }
            407 => return Attempt::Final(self.proxy_credentials()),
            400 if self.base.scheme() == "http" && wants_https(&reply) => {
                return Attempt::Final(self.wrong_protocol(&TransportFailure::NotHttp));
            }
            _ => return self.refused(api_error(&reply), wait(&reply)),
        }
        self.meter.received(reply.body.len());
        let hopeless = PageError::not_json(&reply, &self.key);
        if let Some(cause @ PageError::Coding { .. }) = hopeless {
            return Attempt::Retry { cause: Retryable::Decode(cause), wait: None };
        }
        match decode_beside(reply.body, decode).await {
            Ok(Ok(value)) => Attempt::Done(value),
            Ok(Err(error)) if error.is_final() => {
                Attempt::Final(Error::Page { page: wanted.page(), source: error })
            }
            Ok(Err(error)) => {
                let cause =
                    Retryable::Decode(hopeless.unwrap_or_else(|| error.redacted(&self.key)));
                Attempt::Retry { cause, wait: None }
            }
            Err(error) => Attempt::Final(error),
        }
    }

    /// What to do about a refusal, which is final if it is the API's own.
    fn refused<T>(&self, error: Box<ApiError>, wait: Option<Duration>) -> Attempt<T> {
        let cause = match error.status() {
            // Those depend on the request, whoever gives them.
            401 | 402 => return Attempt::Final(error.into()),
            304 | 400..=499 if error.is_foreign() && self.patience.has_succeeded() => {
                Retryable::Status(error)
            }
            304 | 403 if error.is_foreign() => Retryable::Foreign(error),
            _ => return Attempt::Final(error.into()),
        };
        Attempt::Retry { cause, wait }
    }

    /// Whether a server that has never answered closes plain connections because it wants https.
    async fn closes_for_https(&self, url: &Url) -> bool {
        self.base.scheme() == "http"
            && !self.patience.has_answered()
            && self.transport.speaks_tls(url).await
    }

    /// Https to a server that speaks http, or the other way round.
    fn wrong_protocol(&self, failure: &TransportFailure) -> Error {
        if let (TransportFailure::NotTls, Some(ProxySource { name, is_https: true })) =
            (failure, &self.proxy)
        {
            let why = "it does not speak TLS: write http:// in place of https://".to_owned();
            return Error::Proxy { name: (*name).to_owned(), why };
        }
        let why = match failure {
            TransportFailure::NotTls => {
                "the server there does not speak TLS: is it http://, or another port?"
            }
            _ => "the server there does not speak plain http: is it https://, or another port?",
        };
        Error::BaseUrl { url: self.base.to_string(), why: why.to_owned() }
    }

    fn proxy_credentials(&self) -> Error {
        let name = self.proxy.as_ref().map_or("this system", |proxy| proxy.name);
        let why =
            "it asks for a user name and a password (407), or refuses those that it was given";
        Error::Proxy { name: name.to_owned(), why: why.to_owned() }
    }

    fn give_up(&self, page: u64, attempts: u64, elapsed: Duration, cause: Retryable) -> Error {
        let origin = self.origin();
        let source = match cause {
            Retryable::Decode(source) => return Error::Page { page, source },
            Retryable::Foreign(error) => return error.into(),
            Retryable::Failure(failure) => failure.into(),
            Retryable::Status(error) => error.into_answer(),
        };
        Error::Unavailable { origin, attempts, elapsed, source }
    }

    pub(crate) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }
}

impl Retryable {
    /// Whether the answer came and makes no sense, which a later one rarely changes.
    fn is_undecodable(&self) -> bool {
        let invalid = matches!(self, Self::Failure(TransportFailure::InvalidHead(_)));
        invalid || matches!(self, Self::Decode(_) | Self::Foreign(_))
    }

    fn text(&self) -> String {
        match self {
            Self::Failure(failure) => failure.to_string(),
            Self::Status(error) | Self::Foreign(error) => format!("answered {}", error.said()),
            Self::Decode(error) => error.to_string(),
        }
    }
}

/// A page of a megabyte takes milliseconds to decode: too long for a thread that serves sockets.
async fn decode_beside<T: Send + 'static>(
    body: Vec<u8>,
    decode: impl Fn(Vec<u8>) -> Result<T, PageError> + Send + 'static,
) -> Result<Result<T, PageError>> {
    if body.len() < 1 << 20 {
        return Ok(decode(body));
    }
    tasks::blocking("decoding a page", move || decode(body)).await
}

/// What the answer says to the throttle about how much the API can take.
fn outcome(result: &Result<Reply, TransportFailure>) -> Outcome {
    let push_back =
        |kind, reply: Option<&Reply>| Outcome::PushBack { kind, retry_after: reply.and_then(wait) };
    match result {
        Ok(reply) if reply.status == StatusCode::TOO_MANY_REQUESTS => {
            push_back(PushBack::RateLimited, Some(reply))
        }
        // A firewall that counts requests refuses them with 403.
        Ok(reply)
            if reply.status == StatusCode::SERVICE_UNAVAILABLE
                || reply.status == StatusCode::FORBIDDEN && !reply.is_json() =>
        {
            push_back(PushBack::Unavailable, Some(reply))
        }
        Ok(reply) if reply.status.is_success() => Outcome::Success,
        Ok(_) => Outcome::Neutral,
        Err(TransportFailure::Timeout(_) | TransportFailure::Stalled(_)) => {
            push_back(PushBack::TimedOut, None)
        }
        Err(_) => Outcome::Neutral,
    }
}

/// Full jitter: anything from nothing to the exponential bound, so that clients spread out.
fn backoff(attempts: u64, random: f64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    BASE.saturating_mul(1 << doublings).min(CAP).mul_f64(random)
}

fn wait(reply: &Reply) -> Option<Duration> {
    retry_after(&reply.retry_after, reply.date.as_deref())
}

/// Whether this is how a server says that plain http came to a port for https: the words are those of
/// nginx, Apache, Go and Node.js.
fn wants_https(reply: &Reply) -> bool {
    let text = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
    ["http request was sent to https port", "http request to an https server"]
        .into_iter()
        .chain(["speaking plain http to an ssl-enabled server port", "requires tls"])
        .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests;
