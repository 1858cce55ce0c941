//! Tests of the server over a real socket. Their client shows each answer without corrections.

mod api;
mod client;
mod faults;
mod server;

use client::{Client, Reply, get};

use super::*;

const ID: uuid::Uuid = uuid::Uuid::from_u128(0x182b_d5e5_6e1a_4fe4_a799_aa6d_9a6a_b26e);

/// Time limit for an expected event. It is long, so that slow machines pass too.
const TIME_LIMIT: Duration = Duration::from_secs(30);

fn serve(options: Options, datasets: Vec<Dataset>) -> Background {
    serve_in_background(options, datasets).unwrap()
}

/// Starts a server with one generated dataset, whose id is `ID`.
fn serve_rows(rows: u64, options: Options) -> Background {
    serve(options, vec![Dataset::generated(rows, 7).with_id(ID)])
}

fn datapoints(query: &str) -> String {
    format!("/api/datasets/{ID}/datapoints/{query}")
}

/// Returns the `order` of each row on a page.
fn orders(reply: &Reply) -> Vec<u64> {
    let page = reply.json();
    page["results"].as_array().unwrap().iter().map(|row| row["order"].as_u64().unwrap()).collect()
}
