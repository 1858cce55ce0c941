//! Measures the download limit: fetches every page of a dataset on one thread and drops the bytes.
//!
//! usage: download_only BASE_URL DATASET PAGE_SIZE IN_FLIGHT
//!
//! Page 1 gives the row count, and so the number of pages. The program fetches the other pages with IN_FLIGHT
//! concurrent requests. It prints the number of bytes. The kit compares this number with the page files.

use std::error::Error;

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{
    Client,
    header::{HeaderMap, HeaderValue},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct FirstPage {
    count: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base_url, dataset, page_size, in_flight] = arguments.as_slice() else {
        return Err("usage: download_only BASE_URL DATASET PAGE_SIZE IN_FLIGHT".into());
    };
    let page_size: usize = page_size.parse()?;
    let in_flight: usize = in_flight.parse()?;
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("bench-key"));
    let client = Client::builder().default_headers(headers).no_proxy().build()?;
    let url = |page: usize| {
        format!("{base_url}/api/datasets/{dataset}/datapoints/?page={page}&page_size={page_size}")
    };

    let response = client.get(url(1)).send().await?.error_for_status()?;
    let first = response.bytes().await?;
    let pages = serde_json::from_slice::<FirstPage>(&first)?.count.div_ceil(page_size);
    let bytes = stream::iter(2..=pages)
        .map(|page| download(client.clone(), url(page)))
        .buffer_unordered(in_flight)
        .try_fold(first.len(), |sum, bytes| async move { Ok(sum + bytes) })
        .await?;
    println!("{{\"bytes\": {bytes}}}");
    Ok(())
}

/// Reads one page in chunks, drops the chunks and returns the size in bytes.
async fn download(client: Client, url: String) -> Result<usize, reqwest::Error> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len();
    }
    Ok(bytes)
}
