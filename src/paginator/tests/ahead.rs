//! What is asked for beside a first page that takes its time, and what becomes of it.

use super::*;
use crate::throttle::{Concurrency, Rate};

/// Bodies that take 60 ms.
fn slow(pages: usize) -> Api {
    Api::new(vec![40_000; pages])
}

fn pages(api: &Api, concurrency: &str, rate: Option<Rate>, options: StreamOptions) -> Pages {
    let concurrency: Concurrency = concurrency.parse().unwrap();
    let client = Client::scripted(api.clone(), Throttle::new(concurrency, rate));
    client.pages(Uuid::nil(), Query::default(), options)
}

/// What has been asked for while the first page is on its way, and the numbers of the pages that come.
async fn run(api: &Api, mut pages: Pages) -> (Vec<u64>, Vec<u64>) {
    assert!(timeout(Duration::from_millis(40), pages.next()).await.is_err());
    let beside = api.0.asked.lock().unwrap().clone();
    let pages: Vec<Page> = pages.map(Result::unwrap).collect().await;
    (beside, pages.iter().map(Page::number).collect())
}

#[tokio::test(start_paused = true)]
async fn a_fixed_number_is_made_use_of_before_the_first_page_is_there() {
    for concurrency in [1, 4, 64] {
        let api = slow(80);
        let stream = pages(&api, &concurrency.to_string(), None, options(16 << 20));
        let (asked, came) = run(&api, stream).await;
        assert_eq!(asked, (1..=concurrency).collect::<Vec<_>>());
        assert_eq!(came, (1..=80).collect::<Vec<_>>());
        assert_eq!(api.requests(), 80, "a page was asked for twice");
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_or_a_pace_that_is_still_to_be_found_is_not_guessed() {
    let rate: Rate = "100/s".parse().unwrap();
    for (concurrency, rate) in [("auto", None), ("16", Some(rate))] {
        let api = slow(4);
        let stream = pages(&api, concurrency, rate, options(16 << 20));
        assert_eq!(run(&api, stream).await, (vec![1], vec![1, 2, 3, 4]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_comes_at_once_comes_alone() {
    let api = Api::new([100; 3]);
    let stream = pages(&api, "16", None, options(16 << 20));
    assert_eq!(stream.collect::<Vec<_>>().await.len(), 3);
    assert_eq!(api.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn pages_that_turn_out_not_to_be_there_are_forgotten() {
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
async fn no_page_is_asked_for_that_the_options_leave_out() {
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
async fn bodies_beside_the_first_page_stay_within_the_bound_of_bytes() {
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
