//! The threads of a transformation: order, errors of rows, the time limit, and the end of a stage.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::{
    batch::ColumnType,
    client::Row,
    transform::{
        OnError, Transform,
        tests::{EMPTY, ROW},
    },
};

/// A search that compares 10^14 bytes: it takes no step, so it cannot be stopped.
const STUCK: &str = r#"("a" * 20000000) | indices("a" * 10000000 + "b") == []"#;
/// Many steps, each of them slow: the budget of steps alone would take minutes.
const SLOW: &str =
    r#"reduce range(200000) as $i ("x" * 100000; . as $text | indices("xy") | $text) | true"#;

const LIMITS: StageLimits = StageLimits { threads: 2, bytes: 1000, hash_key: None };

#[derive(Debug)]
struct Rows(u64, Vec<Row<'static>>);

impl RowBlock for Rows {
    fn number(&self) -> u64 {
        self.0
    }

    fn size(&self) -> usize {
        self.1.len()
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.1.iter().copied()
    }
}

fn stage(transform: &Transform, threads: usize) -> Stage<Rows> {
    let shaper = Arc::new(Shaper::compile(transform).unwrap().unwrap());
    Stage::start(shaper, StageLimits { threads, ..LIMITS }).unwrap()
}

fn taken(stage: &mut Stage<Rows>) -> Result<Shaped<Rows>> {
    stage.take(|| false).map(Option::unwrap)
}

#[test]
fn results_come_in_order_with_any_number_of_threads() {
    let rows = |block: u64| -> Vec<Row<'static>> {
        let order = |index: i64| Row { order: Some(index), ..EMPTY };
        (0..50).map(|index| order(block as i64 * 50 + index)).collect()
    };
    let run = |threads| {
        let mut stage = stage(&Transform::new().keep_where(".order % 7 == 0"), threads);
        let mut kept = Vec::new();
        for block in 0..40 {
            let next = Rows(block, rows(block));
            while !stage.has_room(&next) {
                let shaped = taken(&mut stage).unwrap();
                kept.push((shaped.block.0, shaped.kept));
            }
            stage.submit(next);
        }
        while let Some(shaped) = stage.take(|| false).unwrap() {
            kept.push((shaped.block.0, shaped.kept));
        }
        kept
    };
    let one = run(1);
    assert!(one.iter().map(|(block, _)| *block).eq(0..40));
    assert_eq!(one[1].1.iter().filter(|kept| **kept).count(), 7);
    assert_eq!(run(16), one);
}

#[test]
fn stage_is_bounded_by_blocks_and_by_bytes() {
    let block = |rows: usize| Rows(1, vec![EMPTY; rows]);
    let mut one = stage(&Transform::new().sample(1.0), 2);
    assert!(one.is_empty() && one.has_room(&block(5000)));
    one.submit(block(600));
    assert!(!one.has_room(&block(401)) && one.has_room(&block(400)));
    one.submit(block(400));
    assert!(!one.has_room(&block(1)) && one.has_room(&block(0)));
    one.submit(block(0));
    one.submit(block(0));
    assert!(!one.has_room(&block(0)), "two blocks for each thread");
    for rows in [600, 400, 0, 0] {
        assert_eq!(taken(&mut one).unwrap().kept.len(), rows);
    }
    assert!(one.is_empty() && one.take(|| false).unwrap().is_none());
}

#[test]
fn first_failed_row_is_named() {
    let transform = Transform::new().keep_where(".tags.topic");
    let bad = Row { id: Uuid::from_u128(1), tags: Some("[1]"), ..EMPTY };
    let mut failing = stage(&transform, 4);
    failing.submit(Rows(3, vec![EMPTY, bad]));
    failing.submit(Rows(4, vec![bad]));
    let error = taken(&mut failing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "page 3, row 2 (id 00000000-0000-0000-0000-000000000001): `where` \".tags.topic\" failed: cannot index [1] \
         with \"topic\""
    );
    assert_eq!(error.exit_code(), 65);
    for on_error in [OnError::Skip, OnError::Null] {
        let mut skipping = stage(&transform.clone().on_error(on_error), 4);
        skipping.submit(Rows(3, vec![bad, ROW, bad]));
        let shaped = taken(&mut skipping).unwrap();
        assert_eq!((shaped.kept, shaped.failed), (vec![false, true, false], vec![0, 2]));
    }
}

#[test]
fn endless_evaluation_is_stopped_and_never_skipped() {
    let transform = Transform::new().keep_where(".id").keep_where(SLOW).on_error(OnError::Skip);
    let mut slow = stage(&transform.expression_timeout(Duration::from_millis(200)), 2);
    slow.submit(Rows(5, vec![EMPTY]));
    let error = taken(&mut slow).unwrap_err();
    assert!(matches!(error, Error::Row { stopped: true, page: 5, row: 1, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("`where` \"reduce range(200000)"), "{text}");
    assert!(text.ends_with(" did not end within 0.2 s"), "{text}");
}

#[test]
fn time_limit_holds_while_nobody_takes_results() {
    let transform = Transform::new().keep_where(SLOW);
    let mut slow = stage(&transform.expression_timeout(Duration::from_millis(100)), 1);
    slow.submit(Rows(1, vec![EMPTY]));
    let start = Instant::now();
    let number = || slow.shared.slots.iter().filter(|slot| slot.running().is_some()).count();
    // Until the evaluation has begun, and until it has ended.
    while number() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    while number() == 1 {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1));
    }
    assert!(taken(&mut slow).is_err());
}

#[test]
fn operation_that_never_ends_is_left_alone() {
    let limit = Duration::from_millis(100);
    let transform = Transform::new().keep_where(STUCK).on_error(OnError::Skip);
    let mut stuck = stage(&transform.expression_timeout(limit), 2);
    stuck.submit(Rows(9, vec![EMPTY]));
    let start = Instant::now();
    let error = taken(&mut stuck).unwrap_err();
    assert!(matches!(error, Error::Row { stopped: true, page: 9, row: 1, .. }), "{error}");
    drop(stuck);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn stopped_caller_gets_only_finished_blocks() {
    // The first block is finished at once, and the second takes long.
    let condition = format!("if .order == 0 then ({SLOW}) else true end");
    let mut stage = stage(&Transform::new().keep_where(condition), 2);
    let row = |order| Row { order: Some(order), ..EMPTY };
    stage.submit(Rows(1, vec![row(1)]));
    stage.submit(Rows(2, vec![row(0)]));
    stage.submit(Rows(3, vec![row(1)]));
    assert_eq!(taken(&mut stage).unwrap().block.0, 1);
    let asked = AtomicU64::new(0);
    let start = Instant::now();
    let later = || asked.fetch_add(1, Relaxed) > 3;
    assert!(stage.take(later).unwrap().is_none() && !stage.is_empty());
    assert!(stage.take(|| true).unwrap().is_none());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn closed_stage_evaluates_no_further_row() {
    static EVALUATED: AtomicU64 = AtomicU64::new(0);
    #[derive(Debug)]
    struct Endless;
    impl RowBlock for Endless {
        fn number(&self) -> u64 {
            1
        }
        fn size(&self) -> usize {
            1
        }
        fn rows(&self) -> impl Iterator<Item = Row<'_>> {
            std::iter::repeat(EMPTY).inspect(|_| {
                let _ = EVALUATED.fetch_add(1, Relaxed);
            })
        }
    }
    let shaper = Arc::new(Shaper::compile(&Transform::new().keep_where(".id")).unwrap().unwrap());
    for _ in 0..20 {
        let mut stage = Stage::start(shaper.clone(), LIMITS).unwrap();
        stage.submit(Endless);
        stage.submit(Endless);
        thread::sleep(Duration::from_millis(1));
        let shared = Arc::downgrade(&stage.shared);
        drop(stage);
        let start = Instant::now();
        while shared.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "a thread goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(EVALUATED.load(Relaxed) > 0);
}

#[test]
fn computed_values_that_wait_are_bounded() {
    let transform = Transform::new().column("big", ColumnType::String, "\"x\" * 1000000");
    let (threads, blocks) = (8, 16);
    let mut stage = stage(&transform, threads);
    for number in 0..blocks {
        stage.submit(Rows(number, vec![ROW; 20]));
    }
    // Without the bound, the threads go on until all blocks are finished.
    while stage.shared.queue().computed < MOST_UNTAKEN {
        thread::yield_now();
    }
    for _ in 0..blocks {
        assert_eq!(taken(&mut stage).unwrap().columns[0].len(), 20);
    }
    let queue = stage.shared.queue();
    let most = MOST_UNTAKEN + (threads + 20) * 1_000_000;
    assert!(queue.most_computed <= most, "{} bytes", queue.most_computed);
    assert_eq!(queue.computed, 0);
}
