//! Serves `/metrics`, `/healthz` and a page at `/` over HTTP. Other paths get status 404, and other hosts 421. No answer
//! contains a secret, and no request changes anything.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

#[cfg(feature = "report")]
use super::page::NightsPage;
use super::{hosts, metrics::Metrics};
use crate::{
    clock,
    net::connections::{Busy, Connections},
};

/// Largest number of connections, enough for every scraper. A new one beyond it closes the oldest idle one.
const CONNECTIONS: usize = 32;
/// Time limit for receiving the head of a request.
const HEAD: Duration = Duration::from_secs(2);
/// Time limit for one request and its answer.
const TIME: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that file descriptors can become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server for metrics. It answers until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl MetricsServer {
    /// Listens on this address and answers on the current tokio runtime.
    ///
    /// # Errors
    /// The system's error if it cannot listen on this address.
    pub async fn start(addr: SocketAddr, metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::serving(addr, Served { metrics, ..Served::default() }).await
    }

    /// Does the same as [`start`](Self::start), with a page about the jobs at `/`.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    #[cfg(feature = "report")]
    pub async fn with_page(
        addr: SocketAddr,
        metrics: Arc<Metrics>,
        page: Arc<NightsPage>,
    ) -> io::Result<Self> {
        Self::serving(addr, Served { metrics, page: Some(page) }).await
    }

    async fn serving(addr: SocketAddr, served: Served) -> io::Result<Self> {
        clock::check_for_server()?;
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok(Self { addr, accepting: tokio::spawn(accept(listener, served)) })
    }

    /// Returns the listening address. If port 0 was requested, it contains the actual port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// What the server answers with.
#[derive(Debug, Clone, Default)]
struct Served {
    metrics: Arc<Metrics>,
    #[cfg(feature = "report")]
    page: Option<Arc<NightsPage>>,
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, served: Served) {
    let mut connections = Connections::new(CONNECTIONS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let served = served.clone();
        connections.admit(async move |busy| {
            // Ignore the result: the client was too slow or has disconnected.
            drop(timeout(TIME, serve(stream, &served, &busy)).await);
        });
    }
}

async fn serve(stream: TcpStream, served: &Served, busy: &Busy) {
    let Ok(local) = stream.local_addr() else { return };
    let service = service_fn(async |request: Request<Incoming>| {
        busy.set(true);
        let is_public = matches!(request.uri().path(), "/metrics" | "/healthz");
        if !hosts::is_own(request.uri(), request.headers(), local, is_public) {
            let why = format!("this is http://{local}/ and answers to no other name\n");
            return Ok(plain(StatusCode::MISDIRECTED_REQUEST, "text/plain", why));
        }
        #[cfg(feature = "report")]
        if let Some(page) = &served.page
            && request.uri().path() == "/"
        {
            return Ok::<_, Infallible>(page_answer(&request, page, &served.metrics).await);
        }
        Ok::<_, Infallible>(answer(&request, served))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
    drop(http.serve_connection(TokioIo::new(stream), service).await);
}

/// Answers with the page. The header repeats its policy, and forbids frames.
#[cfg(feature = "report")]
async fn page_answer(
    request: &Request<Incoming>,
    page: &NightsPage,
    metrics: &Arc<Metrics>,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
    }
    let html = match page.html(metrics).await {
        Ok(html) => html,
        Err(error) => {
            // The message of a panic can quote anything.
            let text = match error.quotes_values() {
                true => "the page could not be made\n".to_owned(),
                false => error.one_line() + "\n",
            };
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", text);
        }
    };
    let mut response = plain(StatusCode::OK, "text/html; charset=utf-8", html.as_ref().to_owned());
    let headers = response.headers_mut();
    let policy = crate::report::policy() + "; frame-ancestors 'none'";
    if let Ok(policy) = header::HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn answer(request: &Request<Incoming>, served: &Served) -> Response<Full<Bytes>> {
    let metrics = &served.metrics;
    let (status, kind, body) = match (request.uri().path(), request.method()) {
        ("/metrics" | "/healthz", method) if !matches!(*method, Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned())
        }
        ("/metrics", _) => (StatusCode::OK, OPEN_METRICS, metrics.text()),
        ("/healthz", _) if metrics.healthy() => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        ("/healthz", _) => {
            (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "the schedule hangs\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "use /metrics or /healthz\n".to_owned()),
    };
    plain(status, kind, body)
}

fn plain(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}
