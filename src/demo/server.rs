//! The server and its connections. It listens only on the loopback address.

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

/// Maximum number of connections, far more than a client opens. A new connection above it closes the oldest
/// idle one.
const CONNECTIONS: usize = 512;
/// Time limit for the head of a request, and for an idle connection.
const HEAD: Duration = Duration::from_secs(60);
/// Pause after a failed accept. If the process has no file descriptors left, other connections can close
/// meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running server. Dropping it stops the server and closes its connections.
pub struct Server {
    addr: SocketAddr,
    handler: Arc<Handler>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts a server on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// The port is in use, or the system clock is before 1970 or after the year 9999.
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

    /// The address of the server.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the statistics since the start of the server.
    pub fn stats(&self) -> Stats {
        self.handler.ledger.snapshot()
    }

    /// Replaces the datasets, from the next request on.
    pub fn replace(&self, datasets: Vec<Dataset>) {
        self.handler.replace(datasets);
    }

    /// Replaces the faults, from the next request on. Attempts count from 1 again.
    #[cfg(feature = "faults")]
    pub fn set_faults(&self, faults: Faults) {
        self.handler.set_faults(faults);
    }

    /// Stops the server. Returns when the port is free.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The task ends with an error because it was aborted. That is expected.
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

/// Accepts connections until the task is aborted. Then `Connections` is dropped, which ends all connections.
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
    // Disable Nagle's algorithm. Otherwise the last bytes of a page can wait for an acknowledgement.
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
    // Ignore errors: the client closed the connection, or a fault broke it on purpose.
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let _ = http.serve_connection(TokioIo::new(wire), service).await;
}

/// The socket of a connection. It counts the sent bytes. If `reset` is set, it closes with RST.
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
