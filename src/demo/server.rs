//! Connections on a loopback port; never listens on any other address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Options;
use super::dataset::Dataset;
#[cfg(feature = "faults")]
use super::faults::Faults;
use super::handler::Handler;
use super::stats::{Ledger, Stats};
use crate::{
    clock,
    net::connections::{Busy, Connections},
};

/// Far more than a client opens; of more, the oldest idle one gives way.
const CONNECTIONS: usize = 512;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(60);
/// Long enough for other connections to close when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running server. It stops, and its connections close, when it is dropped.
pub struct Server {
    addr: SocketAddr,
    handler: Arc<Handler>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens and serves on the current tokio runtime.
    pub async fn start(options: Options, datasets: Vec<Dataset>) -> io::Result<Server> {
        clock::check_for_server()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let addr = listener.local_addr()?;
        let handler = Arc::new(Handler::new(addr, options, datasets));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&handler)));
        Ok(Server { addr, handler, accepting })
    }

    /// The base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has seen up to now.
    pub fn stats(&self) -> Stats {
        self.handler.ledger.snapshot()
    }

    /// Serves other datasets from the next request on.
    pub fn replace(&self, datasets: Vec<Dataset>) {
        self.handler.replace(datasets);
    }

    /// Follows another script from the next request on; attempts count from 1 again.
    #[cfg(feature = "faults")]
    pub fn set_faults(&self, faults: Faults) {
        self.handler.set_faults(faults);
    }

    /// Stops, and returns when the port is free.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Cancelled is what it was asked to be.
        let _ = (&mut self.accepting).await;
    }

    pub(crate) fn handler(&self) -> Arc<Handler> {
        Arc::clone(&self.handler)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts until aborted; the set aborts the connections when it is dropped with this task.
async fn accept(listener: TcpListener, handler: Arc<Handler>) {
    let mut connections = Connections::new(CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.admit(|busy| serve(stream, Arc::clone(&handler), busy)),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, handler: Arc<Handler>, busy: Busy) {
    handler.ledger.connected();
    // A page is written in one go: without this, its tail can wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire { stream, ledger: Arc::clone(&handler.ledger), reset: Arc::clone(&reset) };
    let service = service_fn(move |request| {
        let (handler, reset, busy) = (Arc::clone(&handler), Arc::clone(&reset), busy.clone());
        async move {
            busy.set(true);
            let answer = handler.handle(request).await;
            busy.set(false);
            let resets = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
            reset.store(answer.as_ref().is_err_and(resets), Ordering::Relaxed);
            answer
        }
    });
    // An error here is a client that left, or a fault doing its work.
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let _ = http.serve_connection(TokioIo::new(wire), service).await;
}

/// The socket of a connection: counts what leaves, and closes with RST when told to.
struct Wire {
    stream: TcpStream,
    ledger: Arc<Ledger>,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.counted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.counted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Wire {
    fn counted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.ledger.sent(*bytes);
        }
        written
    }
}
