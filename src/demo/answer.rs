//! An answer, from its JSON to the sent bytes, and the faults that damage it.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{self, Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header;

use super::faults::Fault;
use super::stats::InFlightGuard;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Minimum size of a body, in bytes, from which it is compressed: the same as in Django. Compression does not
/// pay off for smaller bodies.
const COMPRESS_FROM: usize = 200;

/// Time that a stalled answer keeps its connection.
const LONGEST_STALL: Duration = Duration::from_secs(120);

// An endless body has 16,384 chunks of 64 KiB, which is 1 GiB.
const ENDLESS_CHUNK: usize = 1 << 16;
const ENDLESS_CHUNKS: usize = 1 << 14;

/// A complete answer, and the part of it that is delivered.
pub(crate) struct DemoAnswer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    content_type: String,
    body: Vec<u8>,
    delivery: Delivery,
    coding: Option<(String, usize)>,
}

enum Delivery {
    Whole,
    Cut(usize),
    Stalled(usize),
    Endless,
}

impl DemoAnswer {
    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> DemoAnswer {
        DemoAnswer {
            status,
            headers: Vec::new(),
            content_type: JSON.to_owned(),
            body: body.into(),
            delivery: Delivery::Whole,
            coding: None,
        }
    }

    pub(crate) fn html(status: u16, body: &str) -> DemoAnswer {
        DemoAnswer { content_type: HTML.to_owned(), ..DemoAnswer::json(status, body) }
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> DemoAnswer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the answer that replaces a page, if the fault is a `Status`.
    pub(crate) fn instead(fault: &Fault) -> Option<DemoAnswer> {
        let Fault::Status { status, headers, body } = fault else { return None };
        let mut answer = match body.starts_with('<') {
            true => DemoAnswer::html(*status, body),
            false => DemoAnswer::json(*status, body.as_bytes()),
        };
        answer.headers.clone_from(headers);
        Some(answer)
    }

    /// Applies a fault if it damages an answer.
    pub(crate) fn damage(&mut self, fault: &Fault) {
        match fault {
            Fault::TruncatedJson => self.body.truncate(self.body.len() / 2),
            Fault::Html => {
                let page = "<!doctype html>\n<title>Sign in</title>\n<h1>Sign in</h1>\n";
                *self = DemoAnswer::html(200, page);
            }
            Fault::ContentType(other) => self.content_type.clone_from(other),
            Fault::Coding { name, members } => self.coding = Some((name.clone(), *members)),
            Fault::CutBody { after } => self.delivery = Delivery::Cut(*after),
            Fault::Stall { after } => self.delivery = Delivery::Stalled(*after),
            Fault::EndlessBody => self.delivery = Delivery::Endless,
            _ => {}
        }
    }

    /// Returns the response for hyper. The request counts as in flight until the body is dropped.
    pub(crate) fn into_response(
        mut self,
        gzip: bool,
        in_flight: InFlightGuard,
    ) -> io::Result<Response<TrackedBody>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response = response.header(header::CONTENT_TYPE, &self.content_type);
        if let Some((name, members)) = self.coding {
            if name.to_ascii_lowercase().ends_with("gzip") {
                let size = self.body.len().div_ceil(members.max(1)).max(1);
                let members: io::Result<Vec<_>> = self.body.chunks(size).map(compressed).collect();
                self.body = members?.concat();
            }
            response = response.header(header::CONTENT_ENCODING, name);
        } else if gzip
            && self.body.len() >= COMPRESS_FROM
            && !matches!(self.delivery, Delivery::Endless)
        {
            self.body = compressed(&self.body)?;
            response = response
                .header(header::CONTENT_ENCODING, "gzip")
                .header(header::VARY, "Accept-Encoding");
        }
        let length = self.body.len();
        if matches!(self.delivery, Delivery::Cut(_) | Delivery::Stalled(_)) {
            response = response.header(header::CONTENT_LENGTH, length);
        }
        let body = Bytes::from(self.body);
        let part = |after: usize| body.slice(..after.min(length));
        let inner = match self.delivery {
            Delivery::Whole => {
                Full::new(body.clone()).map_err(|never| match never {}).boxed_unsync()
            }
            Delivery::Cut(after) => streamed(cut(part(after))),
            Delivery::Stalled(after) => streamed(stalled(part(after))),
            Delivery::Endless => streamed(endless()),
        };
        response.body(TrackedBody { inner, _in_flight: in_flight }).map_err(io::Error::other)
    }
}

fn compressed(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

fn streamed(
    chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> UnsyncBoxBody<Bytes, io::Error> {
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

fn cut(part: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    // When a body fails, hyper drops the bytes that it has not flushed. It flushes when the body is pending, so
    // yield once before the failure.
    let failure = async {
        tokio::task::yield_now().await;
        Err(io::Error::other("a fault cuts the body here"))
    };
    stream::iter([Ok(part)]).chain(stream::once(failure))
}

fn stalled(part: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    let failure = async {
        tokio::time::sleep(LONGEST_STALL).await;
        Err(io::Error::other("the time limit of a stall was reached"))
    };
    stream::iter([Ok(part)]).chain(stream::once(failure))
}

fn endless() -> impl Stream<Item = io::Result<Bytes>> {
    let opening =
        Bytes::from_static(br#"{"count":1,"next":null,"previous":null,"results":[{"id":""#);
    let more = Bytes::from(vec![b'a'; ENDLESS_CHUNK]);
    stream::iter([opening]).chain(stream::repeat(more).take(ENDLESS_CHUNKS)).map(Ok)
}

/// A body that keeps its request in flight. hyper drops a body before it flushes the last bytes. So when a
/// client has its whole answer, the request is no longer counted.
pub(crate) struct TrackedBody {
    inner: UnsyncBoxBody<Bytes, io::Error>,
    _in_flight: InFlightGuard,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
