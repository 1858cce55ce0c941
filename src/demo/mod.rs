//! Serves the datasets API on a loopback port, over generated or given rows, with faults on
//! demand; never listens beyond this machine, writes a file, or uses the rest of the crate.
//!
//! One server stands behind `overmind-export demo`, every test and every bench, so what the
//! command is tested against is what a newcomer tries. It is public because tests and benches
//! reach it through the library; it promises nothing to other crates.
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
//! Only the two listing routes are served. `GET /api/datasets/{id}/`, which embeds every
//! datapoint in one answer, is left out on purpose: no caller should come to rely on it.

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

/// How the server behaves. The default answers at once, accepts any key and has no faults.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port to listen on; 0 takes any free one.
    pub port: u16,
    /// Rows on a page when the request does not say.
    pub page_size: u32,
    /// The most rows a request can have on a page; it is cut to this silently.
    pub max_page_size: u32,
    /// Behave as an edition of the API without `page_size`, which ignores it.
    pub ignore_page_size: bool,
    /// Behave as an edition whose `ordering` does not reach the rows.
    pub ignore_ordering: bool,
    /// The time to serve one request, before its faults.
    pub latency: Duration,
    /// How many requests are served at once: the others queue, so past this number the latency
    /// that a client sees rises in proportion and throughput does not.
    pub capacity: Option<usize>,
    /// Requests a second, with a burst of a tenth of that; past it the answer is 429.
    pub rate_limit: Option<u32>,
    /// The only key accepted; without one any key that is not empty will do.
    pub api_key: Option<String>,
    /// Compress answers for clients that accept gzip.
    pub gzip: bool,
    /// What goes wrong, and when.
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
