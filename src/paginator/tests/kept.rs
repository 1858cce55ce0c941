//! Tests of resumed runs: parts with many ids, read on a blocking thread and compared.

use std::{fs, path::Path};

use tokio::task::JoinSet;

use super::*;
use crate::{
    paginator::{Begin, First, Ids, KeptPages, ahead::Fetch},
    proof::PageFacts,
};

/// Writes a part of pages with one row each to a folder. The ids count from 1.
fn part(folder: &Path, pages: std::ops::RangeInclusive<u64>, count: u64) -> KeptPages {
    let path = folder.join(pages.start().to_string());
    let ids: Vec<u8> = pages.clone().flat_map(|id| u128::from(id).to_be_bytes()).collect();
    fs::write(&path, ids).unwrap();
    let rows = pages.end() - pages.start() + 1;
    let facts = PageFacts { pages, count, has_next: true };
    KeptPages { facts, rows, first_order: None, last_order: None, entry_bytes: 16, ids: path }
}

fn continued(api: &Api, kept: Vec<KeptPages>, first: Option<Page>) -> Pages {
    let client = Client::scripted(api.clone(), Throttle::new("1".parse().unwrap(), None));
    let options = options(1 << 20);
    let fetch = Fetch::new(client.clone(), Uuid::nil(), &Query::default(), &options).unwrap();
    let first = first.map(|page| First { page, fetch, ahead: JoinSet::new(), handles: Vec::new() });
    let begin = Begin { first, ids: Ids::InMemory, kept };
    client.pages_after(begin, Uuid::nil(), Query::default(), options)
}

#[tokio::test(start_paused = true)]
async fn large_kept_parts_compare_first_and_last_page() {
    let folder = tempfile::tempdir().unwrap();
    let count = 140_002;
    let api = Api::new(vec![1; count as usize]);
    let kept = || {
        vec![part(folder.path(), 1..=66_000, count), part(folder.path(), 66_001..=140_000, count)]
    };
    let pages: Vec<Page> = continued(&api, kept(), None).map(Result::unwrap).collect().await;
    let numbers: Vec<u64> = pages.iter().map(Page::number).collect();
    assert_eq!(numbers, [140_001, 140_002]);
    assert_eq!(*api.0.asked.lock().unwrap(), [1, 140_000, 140_001, 140_002]);

    // A changed id: the first kept one, or the last.
    for (row, page, requests) in [(1, 1, 1), (140_000, 140_000, 2)] {
        let api = Api::new(vec![1; count as usize]);
        let kept = kept();
        let (part, index) = if row == 1 { (0, 0) } else { (1, 73_999) };
        let mut ids = fs::read(&kept[part].ids).unwrap();
        ids[16 * index..16 * (index + 1)].fill(7);
        fs::write(&kept[part].ids, ids).unwrap();
        let mut pages = continued(&api, kept, None);
        let error = pages.next().await.unwrap().unwrap_err().to_string();
        let told = format!("page {page} no longer has the rows that were there before");
        assert!(error.contains(&told), "{error}");
        assert!(pages.next().await.is_none());
        assert_eq!(api.requests(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn single_kept_page_is_fetched_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::new([1; 3]);
    let kept = vec![part(folder.path(), 1..=1, 3)];
    assert_eq!(continued(&api, kept, None).collect::<Vec<_>>().await.len(), 2);
    assert_eq!(*api.0.asked.lock().unwrap(), [1, 2, 3]);
}

#[cfg(unix)]
#[test]
fn reading_kept_ids_does_not_block_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let kept = part(folder.path(), 1..=2, 4);
    let (pipe, ids) = (kept.ids.clone(), fs::read(&kept.ids).unwrap());
    fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let rest = runtime.block_on(async {
            let api = Api::new([1; 4]);
            let first = Page::decode(1, api.body(1)).unwrap();
            let pages = continued(&api, vec![kept], Some(first));
            let write = async {
                // This is long after the read began. A read that blocks this thread would wait forever.
                for _ in 0..1000 {
                    tokio::task::yield_now().await;
                }
                tokio::task::spawn_blocking(move || fs::write(pipe, ids)).await.unwrap().unwrap();
            };
            futures::join!(pages.collect::<Vec<_>>(), write).0.len()
        });
        sender.send(rest).unwrap();
    });
    assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(2));
}
