//! `demo`: the whole tool against an API that needs no account and no network.

use std::{io, path::PathBuf, time::Duration};

use clap::Args;
use overmind_export::{
    Client, Error, ExportOptions, ExportPlan, Query, Rate, Result,
    demo::{Dataset, Options, Server},
};

use super::{global::Global, parse, progress::Screen};

/// Where the demo writes.
const FOLDER: &str = "overmind-demo";

/// See it work: export, preview and read a generated dataset; or serve datasets to try things on
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Keep serving on a loopback port instead
    #[arg(long)]
    serve: bool,
    /// The port to serve on; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 0, requires = "serve")]
    port: u16,
    /// Rows of the generated dataset
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rows: u64,
    /// Rows on a page when a request does not say
    #[arg(long, value_name = "N", default_value_t = 25, requires = "serve", value_parser = clap::value_parser!(u32).range(1..))]
    page_size: u32,
    /// How long each request takes
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = parse::duration, requires = "serve")]
    latency: Duration,
    /// Answer 429 to more requests than this, such as 20/s
    #[arg(long, value_name = "RATE", requires = "serve", id = "serve_rate_limit")]
    serve_rate_limit: Option<Rate>,
    /// Serve the datapoints of this file too, one a line; may be given more than once
    #[arg(long, value_name = "FILE.jsonl", requires = "serve")]
    from: Vec<PathBuf>,
    /// The only key to accept [default: any]
    #[arg(long, value_name = "KEY", requires = "serve")]
    api_key: Option<String>,
}
