//! Tests of the prefetch while a slow first page is in flight.

use super::*;
use crate::throttle::{Concurrency, Rate};

/// An API whose bodies take 60 ms each.
fn slow(pages: usize) -> Api {
    Api::new(vec![40_000; pages])
}

fn pages(api: &Api, concurrency: &str, rate: Option<Rate>, options: StreamOptions) -> Pages {
    let concurrency: Concurrency = concurrency.parse().unwrap();
    let client = Client::scripted(api.clone(), Throttle::new(concurrency, rate));
    client.dataset(Uuid::nil()).options(options).pages()
}

/// Returns the pages requested while the first page was in flight, and the numbers of all pages that came.
async fn run(api: &Api, mut pages: Pages) -> (Vec<u64>, Vec<u64>) {
    assert!(timeout(Duration::from_millis(40), pages.next()).await.is_err());
    let early = api.0.asked.lock().unwrap().clone();
    let pages: Vec<Page> = pages.map(Result::unwrap).collect().await;
    (early, pages.iter().map(Page::number).collect())
}

#[tokio::test(start_paused = true)]
async fn fixed_concurrency_prefetches_before_first_page() {
    for concurrency in [1, 4, 64] {
        let api = slow(80);
        let stream = pages(&api, &concurrency.to_string(), None, options(16 << 20));
        let (asked, came) = run(&api, stream).await;
        assert_eq!(asked, (1..=concurrency).collect::<Vec<_>>());
        assert_eq!(came, (1..=80).collect::<Vec<_>>());
        assert_eq!(api.requests(), 80, "a page was requested twice");
    }
}

#[tokio::test(start_paused = true)]
async fn auto_or_rate_limit_waits_for_first_page() {
    let rate: Rate = "100/s".parse().unwrap();
    for (concurrency, rate) in [("auto", None), ("16", Some(rate))] {
        let api = slow(4);
        let stream = pages(&api, concurrency, rate, options(16 << 20));
        assert_eq!(run(&api, stream).await, (vec![1], vec![1, 2, 3, 4]));
    }
}

#[tokio::test(start_paused = true)]
async fn quick_first_page_prevents_early_prefetch() {
    let api = Api::new([100; 3]);
    let stream = pages(&api, "16", None, options(16 << 20));
    assert_eq!(stream.collect::<Vec<_>>().await.len(), 3);
    assert_eq!(api.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn prefetched_pages_past_end_are_ignored() {
    for there in [1, 2, 15, 16] {
        let api = slow(there);
        let stream = pages(&api, "16", None, options(16 << 20));
        let (asked, came) = run(&api, stream).await;
        assert_eq!(asked.len(), 16);
        assert_eq!(came, (1..=there as u64).collect::<Vec<_>>());
        assert_eq!(api.requests(), 16);
    }
}

#[tokio::test(start_paused = true)]
async fn early_prefetch_respects_options() {
    let range = |text: &str| text.parse().unwrap();
    let table = [
        (StreamOptions { limit: Some(3), ..options(16 << 20) }, vec![1, 2, 3]),
        (StreamOptions { pages: range("3-5"), ..options(16 << 20) }, vec![3, 4, 5]),
        (StreamOptions { pages: range("38-"), ..options(16 << 20) }, (38..=53).collect()),
        (StreamOptions { prefetch_pages: 2, ..options(16 << 20) }, vec![1, 2]),
    ];
    for (options, expected) in table {
        let api = slow(40);
        let (asked, _) = run(&api, pages(&api, "16", None, options)).await;
        assert_eq!(asked, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn early_bodies_stay_within_byte_bound() {
    let api = Api::new([200_000; 40]);
    let mut stream = pages(&api, "16", None, options(500_000));
    let mut came = 0;
    while let Some(page) = timeout(LONG, stream.next()).await.expect("it is stuck") {
        api.drop_page(page.unwrap());
        came += 1;
    }
    assert_eq!((came, api.held()), (40, 0));
    assert!(api.peak() <= 500_000 + 2 * api.largest(), "{} bytes held", api.peak());
}
