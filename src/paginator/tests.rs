//! Tests of the prefetch, in requests and in bytes, with scripted answers under paused time.

mod ahead;
mod kept;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use proptest::{prelude::*, sample::select};
use reqwest::StatusCode;
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, timeout},
};
use url::Url;

use super::*;
use crate::{
    client::{
        budget::BodyReservation,
        transport::{Reply, Transport, TransportFailure, make_room},
    },
    throttle::Throttle,
};

/// A time limit: one hour is longer than any step takes, unless it is stuck.
const LONG: Duration = Duration::from_secs(3600);
const CHUNK: usize = 1000;

/// An API of pages with one row each, which sends their bodies in chunks.
#[derive(Clone)]
struct Api(Arc<Inner>);

struct Inner {
    /// Approximate size of each page's body in bytes.
    sizes: Vec<usize>,
    /// Pages whose first body breaks off in the middle.
    broken: Mutex<BTreeSet<usize>>,
    asked: Mutex<Vec<u64>>,
    /// Bytes of bodies that arrived and were not dropped yet.
    held: AtomicUsize,
    peak: AtomicUsize,
}

/// Subtracts the bytes of a body that is given up.
struct Arriving(Arc<Inner>, usize);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.held.fetch_sub(self.1, Ordering::SeqCst);
    }
}

impl Api {
    fn new(sizes: impl IntoIterator<Item = usize>) -> Self {
        Self(Arc::new(Inner {
            sizes: sizes.into_iter().collect(),
            broken: Mutex::default(),
            asked: Mutex::default(),
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }))
    }

    fn breaking(self, pages: impl IntoIterator<Item = usize>) -> Self {
        self.0.broken.lock().unwrap().extend(pages);
        self
    }

    fn pages(&self, concurrency: impl ToString, options: StreamOptions) -> Pages {
        let concurrency = concurrency.to_string().parse().unwrap();
        let client = Client::scripted(self.clone(), Throttle::new(concurrency, None));
        client.dataset(Uuid::nil()).options(options).pages()
    }

    fn requests(&self) -> usize {
        self.0.asked.lock().unwrap().len()
    }

    fn held(&self) -> usize {
        self.0.held.load(Ordering::SeqCst)
    }

    fn peak(&self) -> usize {
        self.0.peak.load(Ordering::SeqCst)
    }

    fn largest(&self) -> usize {
        (1..=self.0.sizes.len()).map(|page| self.body(page).len()).max().unwrap()
    }

    fn drop_page(&self, page: Page) {
        self.0.held.fetch_sub(page.bytes(), Ordering::SeqCst);
    }

    fn body(&self, page: usize) -> Vec<u8> {
        let count = self.0.sizes.len();
        let next = if page < count { "\"http://api.example/\"" } else { "null" };
        let (id, input) = (Uuid::from_u128(page as u128), "x".repeat(self.0.sizes[page - 1]));
        format!(
            r#"{{"count":{count},"next":{next},"results":[{{"id":"{id}","input":"{input}"}}]}}"#
        )
        .into_bytes()
    }
}

impl Transport for Api {
    fn get<'a>(
        &'a self,
        url: Url,
        room: Option<&'a mut BodyReservation>,
    ) -> BoxFuture<'a, Result<Reply, TransportFailure>> {
        let query = url.query_pairs().find(|(key, _)| key == "page");
        let page: usize = query.unwrap().1.parse().unwrap();
        self.0.asked.lock().unwrap().push(page as u64);
        self.answer(page, room).boxed()
    }
}

impl Api {
    async fn answer(
        &self,
        page: usize,
        mut room: Option<&mut BodyReservation>,
    ) -> Result<Reply, TransportFailure> {
        if page > self.0.sizes.len() {
            sleep(Duration::from_millis(20)).await;
            return Ok(reply(StatusCode::NOT_FOUND, br#"{"detail":"Invalid page."}"#.to_vec()));
        }
        let broken = self.0.broken.lock().unwrap().remove(&page);
        let whole = self.body(page);
        let mut arriving = Arriving(self.0.clone(), 0);
        sleep(Duration::from_millis(20)).await;
        for chunk in whole.chunks(CHUNK) {
            sleep(Duration::from_millis(1)).await;
            if let Some(room) = room.as_deref_mut() {
                make_room(room, arriving.1 + chunk.len()).await?;
            }
            arriving.1 += chunk.len();
            let held = self.0.held.fetch_add(chunk.len(), Ordering::SeqCst) + chunk.len();
            self.0.peak.fetch_max(held, Ordering::SeqCst);
            if broken && arriving.1 > whole.len() / 2 {
                return Err(TransportFailure::Body {
                    bytes: arriving.1,
                    why: "scripted".to_owned(),
                });
            }
        }
        arriving.1 = 0;
        Ok(reply(StatusCode::OK, whole))
    }
}

fn reply(status: StatusCode, body: Vec<u8>) -> Reply {
    let content_type = "application/json".to_owned();
    Reply {
        status,
        content_type,
        retry_after: Vec::new(),
        date: None,
        location: None,
        coding: None,
        body,
    }
}

fn options(prefetch_bytes: usize) -> StreamOptions {
    StreamOptions { page_size: 1, prefetch_bytes, ..StreamOptions::default() }
}

/// Waits until every task waits. Under paused time this takes no real time.
async fn come_to_rest() {
    sleep(LONG).await;
}

async fn take(pages: &mut Pages) -> Page {
    timeout(LONG, pages.next()).await.expect("it is stuck").unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_request_before_first_poll() {
    let api = Api::new([100; 10]);
    let pages = api.pages(4, options(1 << 20));
    come_to_rest().await;
    assert_eq!(api.requests(), 0);
    assert_eq!(pages.collect::<Vec<_>>().await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn idle_consumer_stops_requests_at_page_bound() {
    for prefetch_pages in [1, 3, 10] {
        let api = Api::new([100; 40]);
        let mut pages = api.pages(16, StreamOptions { prefetch_pages, ..options(16 << 20) });
        for taken in 1..=3 {
            take(&mut pages).await;
            come_to_rest().await;
            // The taken pages, one in the channel, and the prefetched pages.
            assert_eq!(api.requests(), taken + 1 + prefetch_pages);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn idle_consumer_stops_requests_at_byte_bound() {
    let api = Api::new([20_000; 60]);
    // A fixed concurrency would prefetch before the size of a page is known.
    let mut pages = api.pages("auto", options(250_000));
    let first = take(&mut pages).await;
    come_to_rest().await;
    // A page with its envelope is slightly larger than 20,000 bytes, so 12 fit and 13 do not.
    assert_eq!(api.requests(), 12);
    // A page that the consumer keeps still counts: taking another one makes no room.
    let second = take(&mut pages).await;
    come_to_rest().await;
    assert_eq!(api.requests(), 12);
    drop((first, second));
    come_to_rest().await;
    assert_eq!(api.requests(), 14);
}

#[tokio::test(start_paused = true)]
async fn slow_consumer_limits_prefetch() {
    // With `auto`: the pages in flight when the consumer fell behind, or 3 × 16. With a fixed concurrency:
    // 3 × the concurrency. Requests that wait to start together are missing from the count.
    for (concurrency, ahead) in [("auto", 41..=64), ("64", 161..=192)] {
        let api = Api::new([100; 1000]);
        let options = StreamOptions { prefetch_pages: 1000, ..options(16 << 20) };
        let mut pages = api.pages(concurrency, options);
        for _ in 0..300 {
            take(&mut pages).await;
        }
        come_to_rest().await;
        // One page is in the channel.
        let seen = api.requests() - 300 - 1;
        assert!(ahead.contains(&seen), "{seen} pages prefetched at {concurrency}");
        let begun = Instant::now();
        for _ in 0..600 {
            take(&mut pages).await;
        }
        // With 16 requests in flight it would be 750 ms.
        assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn slow_consumer_starts_requests_in_batches() {
    for concurrency in ["auto", "16"] {
        let api = Api::new([100; 1000]);
        let mut pages = api.pages(concurrency, options(16 << 20));
        for _ in 0..200 {
            take(&mut pages).await;
        }
        come_to_rest().await;
        let mut left = Vec::new();
        for _ in 0..64 {
            let before = api.requests();
            take(&mut pages).await;
            come_to_rest().await;
            left.push(api.requests() - before);
        }
        // At first more pages than useful may be prefetched. Then one request starts for each page that was
        // taken, in batches of half the request slots.
        left.retain(|requests| *requests > 0);
        assert!(left.len() >= 4 && left.iter().all(|requests| *requests == 8), "{left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn growing_pages_stay_within_byte_bound() {
    // The page sizes before a request do not predict the sizes that it receives.
    let small_first = [vec![50; 1], vec![100_000; 99]].concat();
    let small_for_long = [vec![50; 150], vec![100_000; 90]].concat();
    for (sizes, taken) in [(small_first, 1), (small_for_long, 130)] {
        let (api, budget) = (Api::new(sizes), 80_000);
        let mut pages = api.pages(64, options(budget));
        for _ in 0..taken {
            let page = take(&mut pages).await;
            api.drop_page(page);
        }
        // This is longer than any body waits for room.
        come_to_rest().await;
        assert!(api.requests() >= taken + 20, "{} requests", api.requests());
        // Two pages may exceed the bound: the page that waits for the consumer, and the next one in order.
        let bound = budget + 2 * api.largest();
        assert!(api.peak() <= bound, "{} bytes held", api.peak());
        let mut left = api.0.sizes.len() - taken;
        while let Some(page) = timeout(LONG, pages.next()).await.expect("it is stuck") {
            api.drop_page(page.unwrap());
            left -= 1;
        }
        assert_eq!(left, 0);
        assert!(api.peak() <= bound, "{} bytes held", api.peak());
        assert_eq!(api.held(), 0);
        // A page that gave up its room is requested exactly once more.
        assert!(api.requests() <= 2 * api.0.sizes.len());
    }
}

#[tokio::test(start_paused = true)]
async fn prefetch_follows_observed_page_size() {
    for (first, later) in [(50, 10_000), (100_000, 10_000)] {
        let api = Api::new([vec![first], vec![later; 199]].concat());
        // A fixed concurrency would request some pages together with the first, and some of them again.
        let mut pages = api.pages("auto", options(105_000));
        for _ in 0..100 {
            let page = take(&mut pages).await;
            api.drop_page(page);
        }
        come_to_rest().await;
        // A page takes 10,000 bytes, its envelope, and the memory of its row.
        assert_eq!(api.requests(), 110, "first {first}, then {later}");
    }
}

#[tokio::test(start_paused = true)]
async fn briefly_waiting_bodies_are_not_refetched() {
    let api = Api::new([vec![50; 1], vec![100_000; 19]].concat());
    let mut pages = api.pages(16, options(80_000));
    while let Some(page) = timeout(LONG, pages.next()).await.expect("it is stuck") {
        sleep(Duration::from_millis(50)).await;
        api.drop_page(page.unwrap());
    }
    assert_eq!(api.requests(), 20);
}

#[tokio::test(start_paused = true)]
async fn waiting_bodies_yield_slot_to_next_page() {
    // Page 2 breaks off and must be requested again, while later pages use both request slots.
    let api = Api::new([vec![50], vec![100_000; 6]].concat()).breaking([2]);
    let mut pages = api.pages(2, options(20_500));
    for _ in 1..=7 {
        let page = take(&mut pages).await;
        api.drop_page(page);
    }
    assert!(timeout(LONG, pages.next()).await.expect("it is stuck").is_none());
    let asked = api.0.asked.lock().unwrap().clone();
    let times = |page: u64| asked.iter().filter(|it| **it == page).count();
    assert_eq!((times(2), times(3)), (2, 2), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn large_page_does_not_delay_small_pages() {
    // After the large page, many small pages are in flight again immediately.
    let api = Api::new([vec![500; 20], vec![40_000], vec![500; 200]].concat());
    let mut pages = api.pages(16, options(50_000));
    for _ in 0..60 {
        let page = take(&mut pages).await;
        api.drop_page(page);
    }
    let begun = Instant::now();
    for _ in 0..150 {
        let page = take(&mut pages).await;
        api.drop_page(page);
    }
    // One after the other, each page would take 20 ms.
    assert!(begun.elapsed() < Duration::from_millis(150 * 5), "{:?}", begun.elapsed());
}

#[derive(Debug, Clone)]
struct Case {
    sizes: Vec<usize>,
    budget: usize,
    concurrency: usize,
    prefetch_pages: usize,
    broken: Vec<usize>,
    /// Time for which the consumer keeps each page, in seconds, used in turn.
    naps: Vec<u64>,
}

fn cases() -> impl Strategy<Value = Case> {
    let size = prop_oneof![0..500_usize, 5_000..50_000_usize];
    let sizes = prop::collection::vec(size, 1..40);
    let bounds = (select(vec![0, 1000, 20_000, 1 << 20]), 1..12_usize, 0..40_usize);
    let broken = prop::collection::vec(1..40_usize, 0..6);
    let naps = prop::collection::vec(select(vec![0, 0, 0, 1, 30]), 1..5);
    (sizes, bounds, broken, naps).prop_map(|(sizes, bounds, broken, naps)| {
        let (budget, concurrency, prefetch_pages) = bounds;
        Case { sizes, budget, concurrency, prefetch_pages, broken, naps }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_page_sizes_finish_within_bound(case in cases()) {
        let Case { sizes, budget, concurrency, prefetch_pages, broken, naps } = case;
        let (count, api) = (sizes.len(), Api::new(sizes).breaking(broken));
        let options = StreamOptions { prefetch_pages, ..options(budget) };
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut pages = api.pages(concurrency, options);
            for number in 1..=count {
                let page = take(&mut pages).await;
                prop_assert_eq!(page.number(), number as u64);
                sleep(Duration::from_secs(naps[number % naps.len()])).await;
                api.drop_page(page);
            }
            let end = timeout(LONG, pages.next()).await.expect("it is stuck");
            prop_assert!(end.is_none());
            Ok(())
        })?;
        // Three pages may exceed the bound: the consumer's page, the page that waits for it, and the next one.
        prop_assert!(api.peak() <= budget + 3 * api.largest(), "{} bytes held", api.peak());
        prop_assert_eq!(api.held(), 0);
        // Requests sent together with the first page may be for pages that do not exist.
        prop_assert!(api.requests() <= 3 * count + concurrency);
    }
}
