//! One GET: a URL in, the whole answer or a [`TransportFailure`] out; never retries and never interprets.

use std::{error::Error as StdError, time::Duration};

use futures::future::BoxFuture;
use reqwest::{StatusCode, header};
use tokio::{
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};
use url::Url;

use super::coding::{Coding, Decoder, STEP, Unfit};
use crate::{
    client::budget::Room,
    net::{proxies::ProxySource, tls},
};

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
    pub(crate) date: Option<String>,
    pub(crate) location: Option<String>,
    /// A content coding that cannot be decoded: the body is empty then.
    pub(crate) coding: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Whether the answer looks like one of the API's own.
    pub(crate) fn is_json(&self) -> bool {
        let begins = self.body.trim_ascii_start().first();
        self.coding.is_none()
            && begins.is_none_or(|byte| matches!(byte, b'{' | b'['))
            && self.content_type.contains("json")
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TransportFailure {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Certificate(String),
    /// Https was tried, and plain text came back.
    #[error("the server does not speak TLS")]
    NotTls,
    /// Http was tried, and something else came back.
    #[error("the server does not speak HTTP")]
    NotHttp,
    /// The proxy refuses the connection for good.
    #[error("the proxy asks for a user name and a password")]
    ProxyCredentials,
    #[error("no complete answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the body stalled: no byte for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("the connection broke before an answer: {0}")]
    BeforeHeaders(String),
    #[error("the body broke off after {bytes} bytes: {why}")]
    Body { bytes: usize, why: String },
    #[error("the body is not valid gzip: after {bytes} decoded bytes it is {why}")]
    Gzip { bytes: usize, why: &'static str },
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// Not the server's failure: to be asked again when its page is due.
    #[error("the body was dropped to make room for earlier pages")]
    GaveWay,
}

/// The seam for tests: everything above it runs against scripted answers under paused time.
pub(crate) trait Transport: Send + Sync {
    /// A body waits for its chunks to have room, where that is limited.
    fn get<'a>(
        &'a self,
        url: Url,
        room: Option<&'a mut Room>,
    ) -> BoxFuture<'a, Result<Reply, TransportFailure>>;
}

pub(crate) struct HttpTransport {
    pub(crate) http: reqwest::Client,
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_body: usize,
    /// What requests go through.
    pub(crate) proxy: Option<ProxySource>,
}

impl Transport for HttpTransport {
    fn get<'a>(
        &'a self,
        url: Url,
        room: Option<&'a mut Room>,
    ) -> BoxFuture<'a, Result<Reply, TransportFailure>> {
        Box::pin(self.read(url, room))
    }
}

impl HttpTransport {
    async fn read(&self, url: Url, mut room: Option<&mut Room>) -> Result<Reply, TransportFailure> {
        let late = || TransportFailure::Timeout(self.timeout);
        let mut deadline = after(self.timeout);
        let sent = timeout_at(deadline, self.http.get(url).send()).await;
        let mut response =
            sent.map_err(|_| late())?.map_err(|error| self.before_headers(&error))?;
        let text = |name: header::HeaderName| {
            // Most headers come once; a proxy may send `Retry-After` twice.
            let values = response.headers().get_all(name).into_iter();
            let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
            (!values.is_empty()).then(|| values.join(", "))
        };
        let status = response.status();
        let coding = Coding::of(response.headers());
        let mut reply = Reply {
            status,
            content_type: text(header::CONTENT_TYPE).unwrap_or_default(),
            retry_after: text(header::RETRY_AFTER),
            date: text(header::DATE),
            location: text(header::LOCATION),
            coding: None,
            body: Vec::new(),
        };
        if let Coding::Other(name) = coding {
            return Ok(Reply { coding: Some(name), ..reply });
        }
        let is_coded = coding == Coding::Gzip;
        let is_error = !status.is_success();
        let max_body = if is_error { MAX_ERROR_BODY } else { self.max_body };
        // The announced length is only a hint: trusting it would let a header reserve the memory.
        let announced = response.content_length().unwrap_or(0).min(max_body as u64);
        if !is_error
            && !is_coded
            && response.content_length().is_some_and(|length| length > max_body as u64)
        {
            return Err(TransportFailure::TooLarge { limit: max_body });
        }
        let announced = if is_coded { 0 } else { announced.min(1 << 20) as usize };
        let mut body = Decoder::new(is_coded, Vec::with_capacity(announced), max_body);
        loop {
            let idle = after(self.idle_timeout);
            let chunk = match timeout_at(idle.min(deadline), response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    return Err(TransportFailure::Body { bytes: body.len(), why: root(&error) });
                }
                Err(_) if deadline <= idle => return Err(late()),
                Err(_) => return Err(TransportFailure::Stalled(self.idle_timeout)),
            };
            let step = if is_coded { STEP } else { chunk.len().max(1) };
            for part in chunk.chunks(step) {
                // How much a coded part will be is known only afterwards.
                let more = if is_coded { 0 } else { part.len() };
                if let Some(room) = room.as_deref_mut() {
                    // Not the server's time.
                    deadline += make_room(room, (body.len() + more).min(max_body)).await?;
                }
                match body.push(part) {
                    Ok(()) => {}
                    Err(Unfit::TooLarge) if is_error => {
                        reply.body = body.take();
                        return Ok(reply);
                    }
                    Err(unfit) => return Err(unfit.failure(body.len(), max_body)),
                }
            }
        }
        drop(response);
        let bytes = body.len();
        let mut body = body.finish().map_err(|unfit| unfit.failure(bytes, max_body))?;
        if let Some(room) = room.filter(|_| is_coded) {
            make_room(room, body.len()).await?;
        }
        // Its connection is free when the tasks that serve it have run, mostly at once: a request that
        // comes before that opens another one.
        yield_now().await;
        // A page may wait for long; what a body without a length over-reserved should not.
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        reply.body = body;
        Ok(reply)
    }

    /// Why no answer began, in words of ours: a library's are for its users.
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
        if self.proxy.is_none()
            && tls::find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
        {
            return TransportFailure::NotHttp;
        }
        let root = root(error);
        match &self.proxy {
            // The type of these errors is private to the client.
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

impl Unfit {
    fn failure(self, bytes: usize, limit: usize) -> TransportFailure {
        match self {
            Self::TooLarge => TransportFailure::TooLarge { limit },
            Self::Damaged(why) => TransportFailure::Gzip { bytes, why },
        }
    }
}

/// Waits until a body may grow to this many bytes, which the one that is due always may; says how
/// long that took.
pub(crate) async fn make_room(room: &mut Room, bytes: usize) -> Result<Duration, TransportFailure> {
    if room.try_grow(bytes) {
        return Ok(Duration::ZERO);
    }
    let begun = Instant::now();
    match timeout(WAIT_FOR_ROOM, room.grow(bytes)).await {
        Ok(()) => Ok(begun.elapsed()),
        Err(_) => Err(TransportFailure::GaveWay),
    }
}

fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    Instant::now() + time.min(FAR)
}

/// The innermost cause: the layers above it only say that something failed.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
