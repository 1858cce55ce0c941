//! The server over a real socket, seen by a client that reads what is there and repairs nothing.

mod api;
mod client;
mod faults;
mod server;

use client::{Client, Reply, get};

use super::*;

const ID: uuid::Uuid = uuid::Uuid::from_u128(0x182b_d5e5_6e1a_4fe4_a799_aa6d_9a6a_b26e);

/// Long enough for anything that ought to happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn serve(options: Options, datasets: Vec<Dataset>) -> Background {
    serve_in_background(options, datasets).unwrap()
}

/// A server with one generated dataset, whose id is `ID`.
fn serve_rows(rows: u64, options: Options) -> Background {
    serve(options, vec![Dataset::generated(rows, 7).with_id(ID)])
}

fn datapoints(query: &str) -> String {
    format!("/api/datasets/{ID}/datapoints/{query}")
}

/// The `order` of each row on a page.
fn orders(reply: &Reply) -> Vec<u64> {
    let page = reply.json();
    page["results"].as_array().unwrap().iter().map(|row| row["order"].as_u64().unwrap()).collect()
}
