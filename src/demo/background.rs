//! A server on a thread of its own, for callers without a runtime; never outlives its handle.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Options;
use super::dataset::Dataset;
#[cfg(feature = "faults")]
use super::faults::Faults;
use super::handler::Handler;
use super::server::Server;
use super::stats::Stats;

/// A server that runs on its own thread. It stops when it is dropped.
pub struct Background {
    addr: SocketAddr,
    handler: Arc<Handler>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server on a thread of its own, with a runtime of its own.
pub fn serve_in_background(options: Options, datasets: Vec<Dataset>) -> io::Result<Background> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (started, start) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("demo-server".to_owned()).spawn(move || {
        runtime.block_on(async {
            match Server::start(options, datasets).await {
                Ok(server) => {
                    // Whoever asked can only be gone, and then `stopped` resolves at once.
                    let _ = started.send(Ok((server.addr(), server.handler())));
                    let _ = stopped.await;
                    server.stop().await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
    })?;
    let (addr, handler) = start.recv().map_err(io::Error::other)??;
    Ok(Background { addr, handler, stop: Some(stop), thread: Some(thread) })
}

impl Background {
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

    /// Waits until the stats satisfy a condition; false when the time is up before that.
    pub fn wait_until(&self, timeout: Duration, done: impl Fn(&Stats) -> bool) -> bool {
        self.handler.ledger.wait_until(timeout, done)
    }

    /// Serves other datasets from the next request on.
    pub fn replace(&self, datasets: Vec<Dataset>) {
        self.handler.replace(datasets);
    }

    #[cfg(feature = "faults")]
    /// Follows another script from the next request on; attempts count from 1 again.
    pub fn set_faults(&self, faults: Faults) {
        self.handler.set_faults(faults);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
