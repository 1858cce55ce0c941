//! A server for the datasets API on a loopback port, with generated or given rows and optional faults.
//!
//! It is not reachable from other machines, writes no files, and uses little of the rest of the crate.
//! `overmind-export demo`, tests and benches use the same server. It is public because tests and benches reach it
//! through the library. Its interface is not stable.
//!
//! ```
//! use overmind_export::demo::{FaultAttempt, Dataset, Fault, Faults, Options, serve_in_background};
//!
//! # fn main() -> std::io::Result<()> {
//! let dataset = Dataset::generated(1_000_000, 7);
//! let busy = Fault::status(503).header("Retry-After", "1");
//! let faults = Faults::none().on(3, FaultAttempt::First(2), busy);
//! let options = Options { faults, ..Options::default() };
//! let server = serve_in_background(options, vec![dataset])?;
//! assert!(server.url().starts_with("http://127.0.0.1:"));
//! # Ok(())
//! # }
//! ```
//!
//! The server has only the two routes that return lists. `GET /api/datasets/{id}/` returns every datapoint in
//! one answer. It is left out on purpose, so that no caller depends on it.

mod answer;
mod background;
mod dataset;
#[cfg_attr(
    not(feature = "faults"),
    allow(dead_code, unreachable_pub, reason = "only tests inject faults")
)]
mod faults;
mod generate;
mod handler;
mod page;
mod query;
mod server;
mod stats;
mod throttle;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use background::{Background, serve_in_background};
pub use dataset::Dataset;
#[cfg(not(feature = "faults"))]
use faults::Faults;
#[cfg(feature = "faults")]
pub use faults::{Fault, FaultAttempt, FaultPage, Faults};
pub use server::Server;
pub use stats::{Received, Stats};

/// The behaviour of the server. By default it answers immediately, accepts any API key and has no faults.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port to listen on. 0 means any free port.
    pub port: u16,
    /// Rows per page if the request has no `page_size`.
    pub page_size: u32,
    /// Maximum number of rows per page. A larger `page_size` is reduced to it without an error.
    pub max_page_size: u32,
    /// Whether to ignore `page_size`, as an edition of the API without this parameter does.
    pub ignore_page_size: bool,
    /// Whether to ignore `ordering` for rows, as one edition of the API does.
    pub ignore_ordering: bool,
    /// Time to serve one request, without the delays of faults.
    pub latency: Duration,
    /// Number of requests to serve at the same time. Other requests wait in a queue. With more requests than
    /// this, the latency for the client rises in proportion and the throughput stays the same.
    pub capacity: Option<usize>,
    /// Maximum rate in requests per second, with a burst of a tenth of a second. Other requests are answered
    /// with 429.
    pub rate_limit: Option<u32>,
    /// The only accepted API key. `None` accepts any key that is not empty.
    pub api_key: Option<String>,
    /// Whether to compress answers for clients that accept gzip.
    pub gzip: bool,
    /// The faults to inject.
    #[cfg(feature = "faults")]
    pub faults: Faults,
}

impl Options {
    #[cfg(feature = "faults")]
    fn faults(&self) -> Faults {
        self.faults.clone()
    }

    #[cfg(not(feature = "faults"))]
    fn faults(&self) -> Faults {
        Faults::none()
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            port: 0,
            page_size: 25,
            max_page_size: 100,
            ignore_page_size: false,
            ignore_ordering: false,
            latency: Duration::ZERO,
            capacity: None,
            rate_limit: None,
            api_key: None,
            gzip: false,
            #[cfg(feature = "faults")]
            faults: Faults::none(),
        }
    }
}
