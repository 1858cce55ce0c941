//! One GET: a URL in, the whole answer or a [`Failure`] out; never retries and never interprets.

use std::{error::Error as StdError, time::Duration};

use futures::future::BoxFuture;
use reqwest::{StatusCode, header};
use rustls::CertificateError;
use tokio::{
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};
use url::Url;

use crate::budget::Room;

/// What is read of the body of an answer that is an error: enough for what the API says, and not for
/// what floods a log.
const MAX_ERROR_BODY: usize = 64 << 10;
/// How long a body waits for room. Longer, and the server would end it, or what is due waits for the
/// place in flight that it holds.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

/// An answer with its body; that of an error may be cut.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Certificate(String),
    #[error("no complete answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the body stalled: no byte for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("the connection broke before an answer: {0}")]
    BeforeHeaders(String),
    #[error("the body broke off after {bytes} bytes: {why}")]
    Body { bytes: usize, why: String },
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// Not the server's failure: to be asked again when its page is due.
    #[error("the body gave way to those of earlier pages")]
    GaveWay,
}

/// The seam for tests: everything above it runs against scripted answers under paused time.
pub(crate) trait Transport: Send + Sync {
    /// A body waits for its chunks to have room, where that is limited.
    fn get<'a>(
        &'a self,
        url: Url,
        room: Option<&'a mut Room>,
    ) -> BoxFuture<'a, Result<Reply, Failure>>;
}

pub(crate) struct HttpTransport {
    pub(crate) http: reqwest::Client,
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_body: usize,
}

impl Transport for HttpTransport {
    fn get<'a>(
        &'a self,
        url: Url,
        room: Option<&'a mut Room>,
    ) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.read(url, room))
    }
}

impl HttpTransport {
    async fn read(&self, url: Url, mut room: Option<&mut Room>) -> Result<Reply, Failure> {
        let late = || Failure::Timeout(self.timeout);
        let mut deadline = after(self.timeout);
        let sent = timeout_at(deadline, self.http.get(url).send()).await;
        let mut response = sent.map_err(|_| late())?.map_err(before_headers)?;
        let text = |name: header::HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (content_type, retry_after, location) =
            (text(header::CONTENT_TYPE), text(header::RETRY_AFTER), text(header::LOCATION));
        let status = response.status();
        let is_error = !status.is_success();
        let max_body = if is_error { MAX_ERROR_BODY } else { self.max_body };
        // The announced length is only a hint: trusting it would let a header reserve the memory.
        let announced = response.content_length().unwrap_or(0).min(max_body as u64);
        if !is_error && response.content_length().is_some_and(|length| length > max_body as u64) {
            return Err(Failure::TooLarge { limit: max_body });
        }
        let mut body = Vec::with_capacity(announced.min(1 << 20) as usize);
        loop {
            let idle = after(self.idle_timeout);
            let chunk = match timeout_at(idle.min(deadline), response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    return Err(Failure::Body { bytes: body.len(), why: root(&error) });
                }
                Err(_) if deadline <= idle => return Err(late()),
                Err(_) => return Err(Failure::Stalled(self.idle_timeout)),
            };
            if body.len() + chunk.len() > max_body {
                if is_error {
                    body.extend_from_slice(&chunk[..max_body - body.len()]);
                    break;
                }
                return Err(Failure::TooLarge { limit: max_body });
            }
            if let Some(room) = room.as_deref_mut() {
                // Not the server's time.
                deadline += make_room(room, body.len() + chunk.len()).await?;
            }
            body.extend_from_slice(&chunk);
        }
        drop(response);
        // Its connection is free when the tasks that serve it have run, mostly at once: a request that
        // comes before that opens another one.
        yield_now().await;
        // A page may wait for long; what a body without a length over-reserved should not.
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        let content_type = content_type.unwrap_or_default();
        Ok(Reply { status, content_type, retry_after, location, body })
    }
}

/// Waits until a body may grow to this many bytes, which the one that is due always may; says how
/// long that took.
pub(crate) async fn make_room(room: &mut Room, bytes: usize) -> Result<Duration, Failure> {
    if room.try_grow(bytes) {
        return Ok(Duration::ZERO);
    }
    let begun = Instant::now();
    match timeout(WAIT_FOR_ROOM, room.grow(bytes)).await {
        Ok(()) => Ok(begun.elapsed()),
        Err(_) => Err(Failure::GaveWay),
    }
}

fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    Instant::now() + time.min(FAR)
}

fn before_headers(error: reqwest::Error) -> Failure {
    match rustls_error(&error) {
        Some(rustls::Error::InvalidCertificate(why)) => Failure::Certificate(explain(why)),
        Some(rustls::Error::InvalidMessage(_)) => {
            Failure::Connect("what listens there does not speak TLS".to_owned())
        }
        _ if error.is_connect() => Failure::Connect(root(&error)),
        _ => Failure::BeforeHeaders(root(&error)),
    }
}

/// What TLS said, if TLS is the reason: it hides inside an `io::Error`, whose `source` skips it.
fn rustls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(rustls) = error.downcast_ref() {
            return Some(rustls);
        }
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The verifier's words, but for the commonest case, for which it has none.
fn explain(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "its issuer is not among the authorities that this machine trusts".to_owned()
        }
        why => why.to_string(),
    }
}

/// The innermost cause: the layers above it only say that something failed.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
