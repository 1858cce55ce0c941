//! Ranges of pages for engines that take rows: every row once, or an error of the range that no longer fits the plan.

use futures::TryStreamExt;
use overmind_export::{
    Client, Error, Query,
    cluster::PagePlan,
    demo::{Dataset, Options},
};
use uuid::Uuid;

use crate::support::{ID, KEY, World};

const ROWS: u64 = 1_030;

fn world() -> (World, Client) {
    let world = World::generated(Options::default(), ROWS);
    let client = Client::builder().base_url(world.server.url()).api_key(KEY).build().unwrap();
    (world, client)
}

async fn plan(client: &Client) -> PagePlan {
    PagePlan::request(client, ID, &Query::default(), 25).await.unwrap()
}

/// The ids of each range of seven pages, or the error of the range.
async fn ids(client: &Client, plan: &PagePlan) -> Vec<Result<Vec<Uuid>, Error>> {
    let mut found = Vec::new();
    for range in plan.ranges(7) {
        let pages = plan.read(client.dataset(ID).page_size(25), range);
        let ids = pages.map_ok(|page| page.rows().map(|row| row.id).collect::<Vec<_>>());
        found.push(ids.try_concat().await);
    }
    found
}

#[tokio::test]
async fn ranges_have_every_row_once_in_order() {
    let (_world, client) = world();
    let plan = plan(&client).await;
    assert_eq!((plan.count(), plan.rows_per_page(), plan.pages()), (ROWS, 25, 42));
    let rows: Vec<u64> = plan.ranges(7).map(|range| plan.rows(range)).collect();
    assert_eq!(rows, [175, 175, 175, 175, 175, 155]);
    let all = client.dataset(ID).datapoints().map_ok(|row| row.id);
    let all: Vec<Uuid> = all.try_collect().await.unwrap();
    let found = ids(&client, &plan).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert!(found.concat() == all);
}

#[tokio::test]
async fn changed_dataset_fails_every_range() {
    let (world, client) = world();
    let plan = plan(&client).await;
    for rows in [ROWS + 1, ROWS - 1] {
        world.server.replace(vec![Dataset::generated(rows, 7).with_id(ID)]);
        for result in ids(&client, &plan).await {
            let error = result.unwrap_err();
            assert!(
                matches!(error, Error::Incomplete { delivered: true, planned: false, .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains("the plan has 1,030 rows, and page"), "{error}");
        }
    }
    world.server.replace(vec![Dataset::generated(10, 7).with_id(ID)]);
    let last = ids(&client, &plan).await.pop().unwrap().unwrap_err();
    assert_eq!(
        last.to_string(),
        "the dataset changed during the export: the plan has 1,030 rows, and page 36 is gone (404)"
    );
}

#[tokio::test]
async fn invalid_page_size_sends_no_request() {
    let (world, client) = world();
    let error = PagePlan::request(&client, ID, &Query::default(), 0).await.unwrap_err();
    assert_eq!(error.to_string(), "\"0\" is not a valid page size: it must be at least 1");
    assert_eq!(world.server.stats().requests, 0);
}
