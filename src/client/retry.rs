//! The only module that retries: it classifies the result of an attempt, waits, tries again, and gives up.
//!
//! ```text
//! throttle ── permit ──► transport ──► classify ─┬─ done
//!     ▲                                          ├─ final: a retry would not help
//!     └──────── backoff, full jitter ◄───────────┘  retry: until the count or the time is used up
//! ```
//!
//! The retry time limit applies to the whole run, and each success resets it. So a flaky API may fail from
//! time to time for hours, but a dead API is noticed within minutes.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    ClientInner,
    retry_after::retry_after,
    transport::{Reply, TransportFailure},
};
use crate::{
    client::budget::BodyReservation,
    error::{ApiError, Error, PageError, Resource, Result, harmless},
    net::proxies::ProxySource,
    tasks,
    throttle::{Outcome, Permit, PushBack},
};

/// Retries of an answer that cannot be decoded. Few, because it is rarely temporary: a proxy usually keeps
/// sending its own page.
const DECODE_RETRIES: u64 = 3;
/// Backoff bound of the first retry. It doubles with each further retry.
const BASE: Duration = Duration::from_millis(500);
/// Failures with the same status that have a line in the log: 5. Further ones are only counted.
pub(crate) const LOGGED: u64 = 5;
/// A pause after a 429 that a user would notice: 2 s. It has a line in the log.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// Largest backoff bound.
const CAP: Duration = Duration::from_secs(20);

/// The limits of retrying.
#[derive(Debug, Clone)]
pub(crate) struct RetryPolicy {
    /// Largest number of retries of one request.
    pub(crate) max_retries: u64,
    /// Retry time limit: the run ends when the API only fails for this long. `None` means the default, which
    /// depends on whether the API has answered before.
    pub(crate) retry_for: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 20, retry_for: None }
    }
}

/// A request for a page.
pub(crate) struct Request<'a> {
    pub(crate) url: Url,
    /// The requested resource. Its page number is the priority: a retry of an earlier page goes before a new
    /// request for a later one.
    pub(crate) wanted: Resource,
    /// The request slot for the first attempt, if the caller already has one.
    pub(crate) permit: Option<Permit>,
    /// The memory for the body. `None` means no limit.
    pub(crate) room: Option<&'a mut BodyReservation>,
}

/// The result of one attempt.
enum Attempt<T> {
    Done(T),
    Final(Error),
    Retry { cause: Retryable, wait: Option<Duration> },
}

/// A failure that is worth a retry.
enum Retryable {
    Failure(TransportFailure),
    Status(Box<ApiError>),
    /// A refusal by a firewall or a cache, before any request to the API has succeeded.
    Foreign(Box<ApiError>),
    Decode(PageError),
}

impl ClientInner {
    /// Waits for a request slot, for a fetch that began at `begun`.
    ///
    /// # Errors
    /// [`Error::LongPause`] when a pause is longer than the rest of the retry time limit.
    pub(super) async fn acquire(&self, page: u64, begun: Instant) -> Result<Permit> {
        // The pause can come from an answer to another run, which gave up because of it.
        let longest = || self.timer.longest_pause(begun, &self.retry);
        let permit = self.throttle.acquire(page, longest).await;
        permit.map_err(|wait| Error::LongPause { origin: self.origin(), wait })
    }

    /// Sends the request until it succeeds, is refused, or a retry limit is reached.
    ///
    /// # Errors
    /// [`Error::Api`] or another final error at once; [`Error::Unavailable`], [`Error::LongPause`] or
    /// [`Error::Page`] after the retries.
    pub(crate) async fn fetch<T: Send + 'static>(
        &self,
        request: Request<'_>,
        decode: impl Fn(Vec<u8>) -> Result<T, PageError> + Copy + Send + 'static,
    ) -> Result<T> {
        let Request { url, wanted, mut permit, mut room } = request;
        let page = wanted.page();
        let begun = Instant::now();
        let _running = self.timer.enter();
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
                tracing::debug!(%url, "dropped the body to make room for earlier pages");
                // At most once for each page: the due page never gives way.
                room.give_way().await;
                continue;
            }
            let status = result.as_ref().ok().map(|reply| reply.status.as_u16());
            let answered = status.is_some();
            let attempt = match result {
                Ok(reply) => self.judge(&url, wanted, reply, decode).await,
                Err(TransportFailure::Certificate(why)) => {
                    let origin = self.origin();
                    Attempt::Final(Error::Certificate { origin, source: why.into() })
                }
                Err(failure @ (TransportFailure::NotTls | TransportFailure::NotHttp))
                    if !self.timer.has_succeeded() =>
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
                    self.timer.succeeded();
                    return Ok(value);
                }
                Attempt::Final(error) => return Err(error),
                Attempt::Retry { cause, wait } => (cause, wait),
            };
            if let Some(room) = room.as_deref_mut() {
                room.begin_again();
            }
            self.log_failure(&url, attempts, status, &cause, wait);
            undecodable += u64::from(cause.is_undecodable());
            let left = self.timer.failed(begun, answered, &self.retry);
            if let Some(wait) = wait.filter(|wait| *wait > left) {
                self.timer.exhausted(left);
                return Err(Error::LongPause { origin: self.origin(), wait });
            }
            if attempts > self.retry.max_retries || undecodable > DECODE_RETRIES || left.is_zero() {
                self.timer.exhausted(left);
                return Err(self.give_up(page, attempts, begun.elapsed(), cause));
            }
            // Cut the backoff, so that the last attempt happens at the end of the retry time limit.
            let backoff = backoff(attempts, fastrand::f64()).min(left);
            sleep(backoff.max(wait.unwrap_or_default())).await;
        }
    }

    /// Logs a failed attempt. A 429 is how the API sets the pace, and an outage causes many equal failures: these
    /// are counted instead, and logged at DEBUG.
    fn log_failure(
        &self,
        url: &Url,
        attempts: u64,
        status: Option<u16>,
        cause: &Retryable,
        wait: Option<Duration>,
    ) {
        let cause = harmless(&cause.text());
        let sets_pace = status == Some(429) && wait.is_none_or(|wait| wait < LONG_PAUSE);
        if self.meter.failed(status) > LOGGED || sets_pace {
            tracing::debug!(%url, attempts, %cause, "attempt failed");
        } else {
            tracing::warn!(%url, attempts, %cause, "attempt failed");
        }
    }

    /// Classifies an answer and decodes its body.
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
        match decode_body(reply.body, decode).await {
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

    /// Classifies a refusal. It is final if it comes from the API itself.
    fn refused<T>(&self, error: Box<ApiError>, wait: Option<Duration>) -> Attempt<T> {
        let cause = match error.status() {
            // These two depend on the request, even if a proxy sent them.
            401 | 402 => return Attempt::Final(error.into()),
            304 | 400..=499 if error.is_foreign() && self.timer.has_succeeded() => {
                Retryable::Status(error)
            }
            304 | 403 if error.is_foreign() => Retryable::Foreign(error),
            _ => return Attempt::Final(error.into()),
        };
        Attempt::Retry { cause, wait }
    }

    /// Whether a server that has never answered closes plain connections because it wants https. Behind a
    /// proxy this is unknown: the server may be reachable through the proxy only.
    async fn closes_for_https(&self, url: &Url) -> bool {
        self.base.scheme() == "http"
            && self.proxy.is_none()
            && !self.timer.has_answered()
            && self.transport.speaks_tls(url).await
    }

    /// Creates the error for a request over https to an http server, or over http to an https server.
    fn wrong_protocol(&self, failure: &TransportFailure) -> Error {
        if let (TransportFailure::NotTls, Some(ProxySource { name, is_https: true })) =
            (failure, &self.proxy)
        {
            let why = "it does not speak TLS: write http:// instead of https://".to_owned();
            return Error::Proxy { name: (*name).to_owned(), why };
        }
        let why = match failure {
            TransportFailure::NotTls => {
                "the server does not speak TLS: use http://, or another port"
            }
            _ => "the server does not speak plain http: use https://, or another port",
        };
        Error::BaseUrl { url: self.base.to_string(), why: why.to_owned() }
    }

    fn proxy_credentials(&self) -> Error {
        let name = self.proxy.as_ref().map_or("this system", |proxy| proxy.name);
        let why = "it asks for a user name and a password (407), or refuses the given ones";
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

/// Decodes a body, on another thread if it has 1 MiB or more.
///
/// Decoding 1 MiB takes milliseconds, which is too long for a thread that serves sockets.
async fn decode_body<T: Send + 'static>(
    body: Vec<u8>,
    decode: impl Fn(Vec<u8>) -> Result<T, PageError> + Send + 'static,
) -> Result<Result<T, PageError>> {
    if body.len() < 1 << 20 {
        return Ok(decode(body));
    }
    tasks::blocking("decoding a page", move || decode(body)).await
}

/// Returns the outcome of a request for the throttle, which adapts the number of requests in flight to it.
fn outcome(result: &Result<Reply, TransportFailure>) -> Outcome {
    let push_back =
        |kind, reply: Option<&Reply>| Outcome::PushBack { kind, retry_after: reply.and_then(wait) };
    match result {
        Ok(reply) if reply.status == StatusCode::TOO_MANY_REQUESTS => {
            push_back(PushBack::RateLimited, Some(reply))
        }
        // A firewall with a rate limit answers 403.
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

/// Returns the backoff before the next attempt: exponential backoff with full jitter.
///
/// `random` is between 0 and 1. Full jitter takes any time from zero to the exponential bound, so that the
/// retries of many clients spread out.
fn backoff(attempts: u64, random: f64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    BASE.saturating_mul(1 << doublings).min(CAP).mul_f64(random)
}

/// Returns the pause that the answer asks for.
fn wait(reply: &Reply) -> Option<Duration> {
    retry_after(&reply.retry_after, reply.date.as_deref())
}

/// Whether a server reports that it got plain http on a port for https. The texts are those of nginx, Apache,
/// Go and Node.js.
fn wants_https(reply: &Reply) -> bool {
    let text = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
    ["http request was sent to https port", "http request to an https server"]
        .into_iter()
        .chain(["speaking plain http to an ssl-enabled server port", "requires tls"])
        .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests;
