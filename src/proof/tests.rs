//! Tests of the proof with complete and damaged datasets.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

fn ids(rows: Range<u64>) -> Vec<Uuid> {
    rows.map(|row| Uuid::from_u128(row.into())).collect()
}

/// One page of a server's answer.
#[derive(Clone, Debug)]
struct Page {
    facts: PageFacts,
    ids: Vec<Uuid>,
}

/// Returns a correct dataset whose ids are 0, 1, 2, …
fn dataset(count: u64, page_rows: u64) -> Vec<Page> {
    let of = count.div_ceil(page_rows).max(1);
    (1..=of)
        .map(|page| Page {
            facts: PageFacts { pages: page..=page, count, has_next: page < of },
            ids: ids((page - 1) * page_rows..count.min(page * page_rows)),
        })
        .collect()
}

/// Returns the part that an interrupted run keeps of these pages.
fn kept(pages: &[Page]) -> Page {
    let (first, last) = (&pages[0].facts, &pages[pages.len() - 1].facts);
    Page {
        facts: PageFacts { pages: *first.pages.start()..=*last.pages.end(), ..last.clone() },
        ids: pages.iter().flat_map(|page| page.ids.clone()).collect(),
    }
}

fn shown(scope: Scope, pages: impl IntoIterator<Item = Page>) -> Proof {
    let mut proof = Proof::new(IdSet::in_memory(), scope);
    for page in pages {
        proof.page(page.facts, page.ids).unwrap();
    }
    proof
}

/// Returns the error's text. Users see only this text.
fn refusal(proof: Proof) -> String {
    match proof.finish() {
        Err(ProofError::Violated(violations)) => violations.to_string(),
        other => panic!("expected violations, got {other:?}"),
    }
}

fn whole(pages: impl IntoIterator<Item = Page>) -> String {
    refusal(shown(Scope::Whole, pages))
}

proptest! {
    #[test]
    fn correct_dataset_is_proven(
        count in 0_u64..120,
        page_rows in 1_u64..30,
        cuts in prop::collection::vec(1_usize..6, 0..4),
    ) {
        let pages = dataset(count, page_rows);
        let proven = Proven { count, rows: count, distinct: count, pages: pages.len() as u64 };
        prop_assert_eq!(shown(Scope::Whole, pages.clone()).finish().unwrap(), proven.clone());

        // The same, with kept parts of any size from an interrupted run.
        let mut rest = pages.as_slice();
        let mut resumed = Vec::new();
        for cut in cuts {
            let (part, after) = rest.split_at(cut.min(rest.len()));
            if !part.is_empty() {
                resumed.push(kept(part));
            }
            rest = after;
        }
        resumed.extend_from_slice(rest);
        prop_assert_eq!(shown(Scope::Whole, resumed).finish().unwrap(), proven);
    }

    #[test]
    fn replaced_row_is_never_proven(
        count in 2_u64..120,
        page_rows in 1_u64..30,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let (from, to) = (from.index(count as usize) as u64, to.index(count as usize) as u64);
        prop_assume!(from != to);
        let mut pages = dataset(count, page_rows);
        pages[(to / page_rows) as usize].ids[(to % page_rows) as usize] =
            Uuid::from_u128(from.into());
        let from = Uuid::from_u128(from.into());
        let ids = if count == 2 { "id" } else { "ids" };
        prop_assert_eq!(
            whole(pages),
            format!(
                "1 id came twice ({from}); {count} rows promised, {} distinct {ids} came",
                count - 1
            )
        );
    }

    #[test]
    fn wrong_next_on_any_page_is_reported(
        count in 1_u64..120,
        page_rows in 1_u64..30,
        wrong in any::<prop::sample::Index>(),
    ) {
        let mut pages = dataset(count, page_rows);
        let of = pages.len();
        let page = wrong.index(of) + 1;
        let facts = &mut pages[page - 1].facts;
        facts.has_next = !facts.has_next;
        let text = if page < of {
            format!("page {page} says there is no next page but is not the last (of {of})")
        } else {
            format!("page {page} says there is a next page but the last is page {of}")
        };
        // The text is the same whether the caller stops at this page or reads on.
        prop_assert_eq!(whole(pages[..page].to_vec()), &*text);
        prop_assert_eq!(whole(pages), text);
    }

    #[test]
    fn some_pages_are_proven_as_part(
        count in 1_u64..120,
        page_rows in 1_u64..30,
        first in any::<prop::sample::Index>(),
        length in 1_usize..5,
    ) {
        let pages = dataset(count, page_rows);
        let first = first.index(pages.len());
        let some = &pages[first..pages.len().min(first + length)];
        let rows = some.iter().map(|page| page.ids.len() as u64).sum();
        let proven = Proven { count, rows, distinct: rows, pages: some.len() as u64 };
        prop_assert_eq!(shown(Scope::Part, some.to_vec()).finish().unwrap(), proven.clone());
        prop_assert_eq!(shown(Scope::Part, [kept(some)]).finish().unwrap(), proven);
    }
}

#[test]
fn empty_dataset_is_proven_by_first_page() {
    let proven = Proven { count: 0, rows: 0, distinct: 0, pages: 1 };
    assert_eq!(shown(Scope::Whole, dataset(0, 25)).finish().unwrap(), proven);
    assert_eq!(shown(Scope::Part, dataset(0, 25)).finish().unwrap(), proven);
}

#[test]
fn proof_without_pages_fails() {
    assert_eq!(whole([]), "no page came");
    assert_eq!(refusal(shown(Scope::Part, [])), "no page came");
}

#[test]
fn each_change_of_count_is_reported_once() {
    let mut pages = dataset(1000, 25);
    for page in &mut pages[6..] {
        page.facts.count = 1003;
    }
    pages[39].facts.has_next = true;
    assert_eq!(whole(pages.clone()), "count changed from 1,000 to 1,003 (page 7)");

    pages[39].facts = PageFacts { pages: 40..=40, count: 1000, has_next: false };
    assert_eq!(
        whole(pages),
        "count changed from 1,000 to 1,003 (page 7); count changed from 1,003 to 1,000 (page 40)"
    );
}

#[test]
fn shrinking_count_and_missing_page_are_reported() {
    let mut pages = dataset(100, 25);
    pages.pop();
    for page in &mut pages[1..] {
        page.facts.count = 75;
    }
    pages[2].facts.has_next = false;
    let mut proof = shown(Scope::Whole, pages);
    assert!(proof.violated());
    proof.report(Violation::PageGone { page: 4, count: 100 });
    assert_eq!(
        refusal(proof),
        "count changed from 100 to 75 (page 2); page 4 is gone (404), where count was 100; \
         100 rows promised, 75 distinct ids came"
    );
}

#[test]
fn missing_page_is_reported_without_total() {
    let mut proof = shown(Scope::Whole, dataset(1000, 25).into_iter().take(37));
    assert!(!proof.violated());
    proof.report(Violation::PageGone { page: 38, count: 1000 });
    assert!(proof.violated());
    assert_eq!(refusal(proof), "page 38 is gone (404), where count was 1,000");
}

#[test]
fn shifted_rows_are_found_despite_correct_total() {
    let mut pages = dataset(1000, 25);
    // Three rows of page 2 come again on page 3 and replace three others.
    pages[2].ids[..3].copy_from_slice(&ids(25..28));
    assert_eq!(
        whole(pages),
        "3 ids came twice (00000000-0000-0000-0000-000000000019, \
         00000000-0000-0000-0000-00000000001a, 00000000-0000-0000-0000-00000000001b); \
         1,000 rows promised, 997 distinct ids came"
    );
}

#[test]
fn repeated_row_is_reported_if_none_is_lost() {
    let mut pages = dataset(8, 5);
    pages[1].ids.extend(ids(0..1));
    assert_eq!(whole(pages), "1 id came twice (00000000-0000-0000-0000-000000000000)");
}

#[test]
fn repeated_row_in_part_is_refused() {
    let mut pages = dataset(1000, 25);
    pages[5].ids[0] = Uuid::from_u128(100);
    assert_eq!(
        refusal(shown(Scope::Part, pages[4..6].to_vec())),
        "1 id came twice (00000000-0000-0000-0000-000000000064)"
    );
}

#[test]
fn short_or_long_middle_page_is_reported() {
    let mut pages = dataset(1000, 25);
    pages[3].ids.truncate(20);
    pages[5].ids.extend(ids(2000..2005));
    assert_eq!(
        whole(pages),
        "page 4 is short: 20 rows where the others have 25; \
         page 6 is long: 30 rows where the others have 25"
    );
}

#[test]
fn last_page_may_be_short_but_not_long_or_empty() {
    let mut long = dataset(40, 25);
    long[1].ids = ids(25..51);
    assert_eq!(
        whole(long),
        "page 2 is long: 26 rows where the others have 25; 40 rows promised, 51 distinct ids came"
    );
    let mut empty = dataset(40, 25);
    empty[1].ids.clear();
    assert_eq!(whole(empty), "page 2 is empty; 40 rows promised, 25 distinct ids came");
}

#[test]
fn empty_middle_page_is_not_also_called_short() {
    let mut pages = dataset(1000, 25);
    pages[3].ids.clear();
    assert_eq!(whole(pages), "page 4 is empty; 1,000 rows promised, 975 distinct ids came");
}

#[test]
fn empty_first_page_is_reported() {
    let page = |count, has_next| Page {
        facts: PageFacts { pages: 1..=1, count, has_next },
        ids: Vec::new(),
    };
    assert_eq!(whole([page(5, false)]), "page 1 is empty; 5 rows promised, 0 distinct ids came");
    assert_eq!(whole([page(5, true)]), "page 1 is empty");
    assert_eq!(whole([page(0, true)]), "page 1 says there is a next page but the last is page 1");
}

#[test]
fn unfinished_read_proves_nothing() {
    let pages = dataset(1000, 25);
    assert_eq!(whole(pages[..39].to_vec()), "the pages stopped at 39 of 40");
    assert_eq!(whole([kept(&pages[..39])]), "the pages stopped at 39 of 40");
}

#[test]
fn skipped_page_shows_in_total() {
    let mut pages = dataset(1000, 25);
    pages.remove(20);
    assert_eq!(whole(pages), "1,000 rows promised, 975 distinct ids came");
}

#[test]
fn kept_part_must_match_later_pages() {
    let pages = dataset(1000, 25);
    let mut short = kept(&pages[4..8]);
    short.ids.pop();
    let proof = shown(Scope::Whole, pages[..4].iter().cloned().chain([short]));
    assert!(proof.violated());
    assert_eq!(refusal(proof), "pages 5 to 8 are short: 99 rows where full pages have 100");

    let mut changed = pages.clone();
    for page in &mut changed[4..] {
        page.facts.count = 999;
    }
    changed[39].ids.pop();
    let resumed = [kept(&pages[..4])].into_iter().chain(changed[4..].to_vec());
    assert_eq!(
        whole(resumed),
        "count changed from 1,000 to 999 (page 5); 1,000 rows promised, 999 distinct ids came"
    );
}

#[test]
fn changing_dataset_gets_a_bounded_message() {
    let mut pages = dataset(1000, 25);
    for page in &mut pages[1..] {
        page.ids.truncate(24);
    }
    assert_eq!(
        whole(pages),
        "page 2 is short: 24 rows where the others have 25; \
         page 3 is short: 24 rows where the others have 25; \
         page 4 is short: 24 rows where the others have 25; \
         1,000 rows promised, 961 distinct ids came; and 35 more of this kind"
    );
}

#[test]
fn unwritable_temp_dir_is_an_io_error() {
    let dir = tempfile::tempdir().unwrap();
    let ids_missing = IdSet::spilling(16, dir.path().join("missing"));
    let mut proof = Proof::new(ids_missing, Scope::Whole);
    let page = dataset(25, 25).remove(0);
    let error = proof.page(page.facts, page.ids).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
