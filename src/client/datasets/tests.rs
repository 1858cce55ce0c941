//! Tests for the list of datasets, with a scripted transport under paused time.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use tokio::time::sleep;

use super::*;
use crate::{
    client::{ClientInner, retry::RetryPolicy, script::*},
    throttle::Throttle,
};

/// Creates a page of the list with this `count`, a next link if `more`, and these datasets.
fn list(count: u64, more: bool, datasets: impl IntoIterator<Item = u128>) -> Step {
    let next = if more { "\"http://elsewhere.example/\"" } else { "null" };
    let results: Vec<_> = datasets
        .into_iter()
        .map(|number| format!(r#"{{"id":"{}"}}"#, Uuid::from_u128(number)))
        .collect();
    let results = results.join(",");
    let body = format!(r#"{{"count":{count},"next":{next},"results":[{results}]}}"#);
    at_once(Ok(reply(200, &body)))
}

async fn read(steps: impl IntoIterator<Item = Step>) -> (Script, Result<Vec<u128>>) {
    let script = Script::of(steps);
    let datasets = client(&script, RetryPolicy::default()).datasets(Query::default());
    let ids = datasets.map_ok(|dataset| dataset.id.as_u128()).try_collect().await;
    (script, ids)
}

#[tokio::test(start_paused = true)]
async fn changed_list_is_read_again() {
    let moved = [
        // A dataset was deleted between two pages: another one moves to the previous page and is missed.
        vec![list(4, true, [1, 2]), list(3, false, [4])],
        // The same deletion, but the server does not update `count`.
        vec![list(4, true, [1, 2]), list(4, false, [4])],
        // A dataset was created at the front.
        vec![list(3, true, [1, 2]), list(4, true, [2, 3])],
        vec![list(3, true, [1, 2]), list(3, false, [2, 3])],
        // The last page became empty, so the server answers 404.
        vec![list(3, true, [1, 2]), answer(404)],
        // The pages have more datasets than `count`.
        vec![list(2, false, [1, 2, 3])],
        vec![list(3, false, [1, 2])],
    ];
    let still = || [list(3, true, [1, 3]), list(3, false, [4])];
    for steps in moved {
        let twice = steps.iter().cloned().cycle().take(2 * steps.len());
        let (script, ids) = read(twice.chain(still())).await;
        assert_eq!(ids.unwrap(), [1, 3, 4], "{steps:?}");
        assert_eq!(script.attempts(), 2 * steps.len() + 2);

        let ever = steps.iter().cloned().cycle().take(3 * steps.len());
        let (script, ids) = read(ever.chain(still())).await;
        assert!(matches!(ids, Err(Error::ListChanged { .. })), "{steps:?}: {ids:?}");
        assert_eq!(script.attempts(), 3 * steps.len());
    }
    let (_, ids) =
        read([list(4, true, [1, 2]), list(3, false, [4])].into_iter().cycle().take(6)).await;
    assert_eq!(
        ids.unwrap_err().to_string(),
        "the list of datasets changed while it was read: the number of datasets changed from 4 to 3"
    );
}

#[tokio::test(start_paused = true)]
async fn endless_list_stops_at_its_count() {
    for (steps, attempts) in [
        // An empty page has a link to a next page.
        (vec![list(3, true, [1, 2]), list(3, true, [])], 2),
        // The pages have more datasets than `count`, and a link to a next page.
        (vec![list(3, true, [1, 2]), list(3, true, [3, 4])], 2),
    ] {
        let (script, ids) = read(steps).await;
        assert_eq!(
            ids.unwrap_err().report().to_string().lines().nth(1),
            Some("  cause: it is JSON, but not a page: the list of 3 datasets does not end")
        );
        assert_eq!(script.attempts(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_ignores_page_is_detected_on_page_2() {
    for rows in [[1, 2], [2, 1]] {
        let (script, ids) = read([list(5, true, [1, 2]), list(5, true, rows)]).await;
        let report = ids.unwrap_err().report().to_string();
        assert_eq!(report.lines().nth(1), Some("  cause: it has the same rows as page 1"));
        assert_eq!(script.attempts(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_list_page_is_requested_again() {
    let page = |next: &str, previous: &str, id: u128| {
        let id = Uuid::from_u128(id);
        let body = format!(
            r#"{{"count":3,"next":{next},"previous":{previous},"results":[{{"id":"{id}"}}]}}"#
        );
        at_once(Ok(reply(200, &body)))
    };
    let first = || page("\"http://a/?page=2\"", "null", 1);
    let second = || page("\"http://b/?page=3\"", "\"http://b/\"", 2);
    let third = || page("null", "\"http://c/?page=2\"", 3);
    let (script, ids) = read([first(), third(), second(), second(), third()]).await;
    assert_eq!(ids.unwrap(), [1, 2, 3]);
    assert_eq!(script.attempts(), 5);

    let (script, ids) = read([first(), third()]).await;
    let report = ids.unwrap_err().report().to_string();
    let cause = "  cause: it is another page: its `previous` is page 2 and should be page 1";
    assert_eq!(report.lines().nth(1), Some(cause));
    assert_eq!(script.attempts(), 5);
}

#[tokio::test(start_paused = true)]
async fn unpolled_list_does_not_block_others() {
    let second = Duration::from_secs(1);
    let page = r#"{"count":0,"next":null,"results":[]}"#;
    let script = Script::of([
        (second, list(2, true, [1]).1),
        (second, list(2, false, [2]).1),
        at_once(Ok(reply(200, page))),
    ]);
    let client = Client(Arc::new(ClientInner {
        throttle: Throttle::new("1".parse().unwrap(), None),
        ..ClientInner::scripted(&script, RetryPolicy::default())
    }));
    let mut datasets = client.datasets(Query::default());
    // Start the list, which takes the only request slot, and do not poll it any more.
    assert!(futures::poll!(datasets.next()).is_pending());
    tokio::task::yield_now().await;
    assert_eq!(client.in_flight(), 1);
    let query = Query::default();
    let page = client.first_page(Uuid::nil(), &query, 3, 100);
    let asked = tokio::time::timeout(60 * second, page).await;
    assert!(asked.is_ok(), "the list holds the only request slot");
    assert_eq!(datasets.try_collect::<Vec<_>>().await.unwrap().len(), 2);

    // A dropped list releases its request slot.
    let script = Script::of([(60 * second, list(0, false, []).1)]);
    let client = crate::client::script::client(&script, RetryPolicy::default());
    let mut datasets = client.datasets(Query::default());
    assert!(futures::poll!(datasets.next()).is_pending());
    tokio::task::yield_now().await;
    assert_eq!(client.in_flight(), 1);
    drop(datasets);
    sleep(second).await;
    assert_eq!(client.in_flight(), 0);
}
