//! Serves `/metrics` and `/healthz` over HTTP. Other paths get status 404. No answer contains a secret.

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

use super::metrics::Metrics;
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
        clock::check_for_server()?;
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok(Self { addr, accepting: tokio::spawn(accept(listener, metrics)) })
    }

    /// Returns the listening address. If port 0 was requested, it contains the actual port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>) {
    let mut connections = Connections::new(CONNECTIONS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let metrics = metrics.clone();
        connections.admit(async move |busy| {
            // Ignore the result: the client was too slow or has disconnected.
            drop(timeout(TIME, serve(stream, &metrics, &busy)).await);
        });
    }
}

async fn serve(stream: TcpStream, metrics: &Metrics, busy: &Busy) {
    let service = service_fn(async |request| {
        busy.set(true);
        Ok::<_, Infallible>(answer(&request, metrics))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
    drop(http.serve_connection(TokioIo::new(stream), service).await);
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
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
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}
