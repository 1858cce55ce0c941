//! A server on its own thread, for callers without a runtime. It stops when its handle is dropped.

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

/// A server that runs on its own thread. Dropping it stops the server.
pub struct Background {
    addr: SocketAddr,
    handler: Arc<Handler>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server on a new thread with its own runtime.
///
/// # Errors
///
/// The port is in use, the system clock is before 1970 or after the year 9999, or no runtime or thread can be started.
pub fn serve_in_background(options: Options, datasets: Vec<Dataset>) -> io::Result<Background> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (started, start) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("demo-server".to_owned()).spawn(move || {
        runtime.block_on(async {
            match Server::start(options, datasets).await {
                Ok(server) => {
                    // Sending fails only if the caller no longer exists. Then `stopped` resolves immediately.
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

    /// The address of the server.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the statistics since the start of the server.
    pub fn stats(&self) -> Stats {
        self.handler.ledger.snapshot()
    }

    /// Waits until the statistics meet a condition. Returns false if `timeout` ends first.
    pub fn wait_until(&self, timeout: Duration, done: impl Fn(&Stats) -> bool) -> bool {
        self.handler.ledger.wait_until(timeout, done)
    }

    /// Replaces the datasets, from the next request on.
    pub fn replace(&self, datasets: Vec<Dataset>) {
        self.handler.replace(datasets);
    }

    #[cfg(feature = "faults")]
    /// Replaces the faults, from the next request on. Attempts count from 1 again.
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
