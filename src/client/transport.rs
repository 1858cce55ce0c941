//! Sends one GET request and returns the whole answer or a [`TransportFailure`]. Never retries and never
//! interprets the answer.

use std::{error::Error as StdError, time::Duration};

use futures::future::{self, BoxFuture};
use reqwest::{
    StatusCode,
    header::{self, HeaderMap, HeaderName},
};
use tokio::{
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};
use url::Url;

use super::{
    coding::{Coding, Decoder, STEP, Unfit},
    probe::speaks_tls,
};
use crate::{
    client::budget::BodyReservation,
    net::{proxies::ProxySource, tls},
    text::grouped,
};

/// Size limit of an error answer's body: 64 KiB. Enough for the API's messages, and not enough to flood a
/// log.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Longest time that a body waits for memory in the budget. With a longer wait, the server could close the
/// connection, or the due page would wait for the request slot of this body.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

/// An answer with its body. The body of an error may be cut.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    /// All values of the header: a proxy may add its own.
    pub(crate) retry_after: Vec<String>,
    pub(crate) date: Option<String>,
    pub(crate) location: Option<String>,
    /// A content coding that cannot be decoded. If set, the body is empty.
    pub(crate) coding: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Reads the head of an answer. Returns the answer without its body, and the coding of the body.
    pub(super) fn of_head(status: StatusCode, headers: &HeaderMap) -> (Self, Coding) {
        let texts = |name: HeaderName| {
            let values = headers.get_all(name).into_iter();
            values.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect::<Vec<_>>()
        };
        let reply = Self {
            status,
            content_type: texts(header::CONTENT_TYPE).join(", "),
            // Not joined: a date holds a comma.
            retry_after: texts(header::RETRY_AFTER),
            date: texts(header::DATE).into_iter().next(),
            location: texts(header::LOCATION).into_iter().next(),
            coding: None,
            body: Vec::new(),
        };
        (reply, Coding::of(headers))
    }

    /// Whether the answer looks like JSON, as all answers of the API do.
    pub(crate) fn is_json(&self) -> bool {
        let begins = self.body.trim_ascii_start().first();
        self.coding.is_none()
            && begins.is_none_or(|byte| matches!(byte, b'{' | b'['))
            && self.content_type.contains("json")
    }
}

/// The reason why there is no complete answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TransportFailure {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Certificate(String),
    /// The server answered a TLS handshake with plain text.
    #[error("the server does not speak TLS")]
    NotTls,
    /// The answer is HTTP, but its head breaks the rules of HTTP.
    #[error("the answer is not valid HTTP: {0}")]
    InvalidHead(&'static str),
    /// The server answered an HTTP request with something else.
    #[error("the server does not speak HTTP")]
    NotHttp,
    /// The proxy refuses the connection, and a retry would not help.
    #[error("the proxy asks for a user name and a password")]
    ProxyCredentials,
    #[error("no complete answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the body stalled: no byte for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("the connection broke before an answer: {0}")]
    BeforeHeaders(String),
    #[error("the body broke off after {} bytes: {why}", grouped(*bytes as u64))]
    Body { bytes: usize, why: String },
    #[error("the body is not valid gzip: after {} decoded bytes it is {why}", grouped(*bytes as u64))]
    Gzip { bytes: usize, why: &'static str },
    #[error("the body is larger than {} bytes", grouped(*limit as u64))]
    TooLarge { limit: usize },
    /// Not a failure of the server. The page must be requested again when it is due.
    #[error("the body was dropped to make room for earlier pages")]
    GaveWay,
}

/// Sends requests. Tests replace it by scripted answers under paused time.
pub(crate) trait Transport: Send + Sync {
    /// Sends a GET request for `url`. With a `room`, the body waits until its next bytes fit in the budget.
    fn get<'a>(
        &'a self,
        url: Url,
        room: Option<&'a mut BodyReservation>,
    ) -> BoxFuture<'a, Result<Reply, TransportFailure>>;

    /// Whether a server that closed a plain connection without an answer speaks TLS on that port.
    fn speaks_tls<'a>(&'a self, _url: &'a Url) -> BoxFuture<'a, bool> {
        Box::pin(future::ready(false))
    }
}

/// The limits for the body of an answer.
struct BodyLimits {
    is_coded: bool,
    /// Bytes after decoding.
    max_body: usize,
    deadline: Instant,
}

pub(crate) struct HttpTransport {
    pub(crate) http: reqwest::Client,
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_body: usize,
    /// The proxy for requests, if any.
    pub(crate) proxy: Option<ProxySource>,
}

impl Transport for HttpTransport {
    fn get<'a>(
        &'a self,
        url: Url,
        room: Option<&'a mut BodyReservation>,
    ) -> BoxFuture<'a, Result<Reply, TransportFailure>> {
        Box::pin(self.read(url, room))
    }

    fn speaks_tls<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, bool> {
        // A proxy answers for the server.
        match self.proxy {
            None => Box::pin(speaks_tls(url)),
            Some(_) => Box::pin(future::ready(false)),
        }
    }
}

impl HttpTransport {
    async fn read(
        &self,
        url: Url,
        mut room: Option<&mut BodyReservation>,
    ) -> Result<Reply, TransportFailure> {
        let late = || TransportFailure::Timeout(self.timeout);
        let deadline = after(self.timeout);
        let sent = timeout_at(deadline, self.http.get(url).send()).await;
        let mut response =
            sent.map_err(|_| late())?.map_err(|error| self.before_headers(&error))?;
        let (mut reply, coding) = Reply::of_head(response.status(), response.headers());
        if let Coding::Other(name) = coding {
            return Ok(Reply { coding: Some(name), ..reply });
        }
        let is_coded = coding == Coding::Gzip;
        let is_error = !reply.status.is_success();
        let max_body = if is_error { MAX_ERROR_BODY } else { self.max_body };
        // The announced length is only a hint. Otherwise a false header could reserve all the memory.
        let announced = response.content_length().unwrap_or(0).min(max_body as u64);
        if !is_error
            && !is_coded
            && response.content_length().is_some_and(|length| length > max_body as u64)
        {
            return Err(TransportFailure::TooLarge { limit: max_body });
        }
        let announced = if is_coded { 0 } else { announced.min(1 << 20) as usize };
        let mut body = Decoder::new(is_coded, Vec::with_capacity(announced), max_body);
        let limits = BodyLimits { is_coded, max_body, deadline };
        let filled = self.fill(&mut response, &mut body, room.as_deref_mut(), limits).await;
        drop(response);
        let bytes = body.len();
        let mut body = match filled {
            // The status decides what to do next, whatever happened to the body.
            _ if is_error => body.so_far(),
            Ok(()) => body.finish().map_err(|unfit| unfit.failure(bytes, max_body))?,
            Err(failure) => return Err(failure),
        };
        if let Some(room) = room.filter(|_| is_coded && !is_error) {
            make_room(room, body.len()).await?;
        }
        // The connection becomes reusable after its tasks have run, which usually takes one yield. An earlier
        // request would open another connection.
        yield_now().await;
        // A page may wait for a long time. A body without an announced length can have much unused capacity,
        // so free it.
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        reply.body = body;
        Ok(reply)
    }

    /// Reads a body to its end.
    async fn fill(
        &self,
        response: &mut reqwest::Response,
        body: &mut Decoder,
        mut room: Option<&mut BodyReservation>,
        limits: BodyLimits,
    ) -> Result<(), TransportFailure> {
        let BodyLimits { is_coded, max_body, mut deadline } = limits;
        loop {
            let idle = after(self.idle_timeout);
            let chunk = match timeout_at(idle.min(deadline), response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => {
                    return Err(TransportFailure::Body { bytes: body.len(), why: root(&error) });
                }
                Err(_) if deadline <= idle => return Err(TransportFailure::Timeout(self.timeout)),
                Err(_) => return Err(TransportFailure::Stalled(self.idle_timeout)),
            };
            let step = if is_coded { STEP } else { chunk.len().max(1) };
            for part in chunk.chunks(step) {
                // The decoded size of a gzip part is known only after decoding.
                let more = if is_coded { 0 } else { part.len() };
                if let Some(room) = room.as_deref_mut() {
                    // The wait is not the server's fault, so it extends the deadline.
                    deadline += make_room(room, (body.len() + more).min(max_body)).await?;
                }
                body.push(part).map_err(|unfit| unfit.failure(body.len(), max_body))?;
            }
        }
    }

    /// Explains why no answer began. Error texts of the libraries are written for their users, not for ours.
    fn before_headers(&self, error: &reqwest::Error) -> TransportFailure {
        if let Some(error) = tls::find::<rustls::Error>(error) {
            return match error {
                rustls::Error::InvalidCertificate(why) => {
                    TransportFailure::Certificate(tls::explain(why))
                }
                rustls::Error::InvalidMessage(_) => TransportFailure::NotTls,
                error => TransportFailure::Connect(tls::handshake(error)),
            };
        }
        if let Some(error) = tls::find::<hyper::Error>(error).filter(|error| error.is_parse()) {
            match head(error) {
                Some(why) => return TransportFailure::InvalidHead(why),
                None if self.proxy.is_none() => return TransportFailure::NotHttp,
                None => {}
            }
        }
        let root = root(error);
        match &self.proxy {
            // The HTTP client keeps the type of these errors private, so only the text is left.
            Some(_) if root.contains("proxy authorization required") => {
                TransportFailure::ProxyCredentials
            }
            Some(_) if root.contains("credentials not accepted") => {
                TransportFailure::ProxyCredentials
            }
            Some(ProxySource { name, .. }) if error.is_connect() => {
                let why = root.trim_start_matches("tunnel error: ");
                let why = match why {
                    "unsuccessful" => "it does not open a tunnel to the API",
                    why => why,
                };
                TransportFailure::Connect(format!("through the proxy of {name}: {why}"))
            }
            _ if error.is_connect() => TransportFailure::Connect(root),
            _ => TransportFailure::BeforeHeaders(root),
        }
    }
}

/// Returns the defect in the head of an answer, or `None` if the answer does not begin like HTTP. The HTTP library
/// keeps most kinds of errors private, so the text of the error decides.
fn head(error: &hyper::Error) -> Option<&'static str> {
    let text = error.to_string();
    // Not `is_parse_too_large`, which only exists with the feature `server` of hyper.
    if text.contains("head is too large") {
        Some("its headers are too large")
    } else if text.contains("HTTP header") {
        Some("a header has a character that is not allowed there")
    } else if text.contains("content-length") || text.contains("transfer-encoding") {
        Some("its headers do not say where the body ends")
    } else if error.is_parse_status() {
        Some("its status is not a number")
    } else {
        None
    }
}

impl Unfit {
    fn failure(self, bytes: usize, limit: usize) -> TransportFailure {
        match self {
            Self::TooLarge => TransportFailure::TooLarge { limit },
            Self::Damaged(why) => TransportFailure::Gzip { bytes, why },
        }
    }
}

/// Waits until a body may grow to this many bytes. Returns the time of the wait.
///
/// The body of the due page never waits.
///
/// # Errors
/// [`TransportFailure::GaveWay`] after 10 seconds.
pub(crate) async fn make_room(
    room: &mut BodyReservation,
    bytes: usize,
) -> Result<Duration, TransportFailure> {
    if room.try_grow(bytes) {
        return Ok(Duration::ZERO);
    }
    let begun = Instant::now();
    match timeout(WAIT_FOR_ROOM, room.grow(bytes)).await {
        Ok(()) => Ok(begun.elapsed()),
        Err(_) => Err(TransportFailure::GaveWay),
    }
}

/// Returns the time after this duration. It is at most one year ahead, because a sum beyond the range of
/// [`Instant`] panics.
fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    Instant::now() + time.min(FAR)
}

/// Returns the text of the innermost cause. The outer errors only say that something failed.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
