//! `write_transformed`: a transformation of any stream of pages into any sink.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use futures::{StreamExt, stream};
use overmind_export::{
    Client, Column, ColumnType, Error, OnError, Result, Sink, Transform, TransformPlan, Written,
    arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type},
    schema, write_pages, write_transformed,
};
use tokio::runtime::Runtime;

use super::world;
use crate::support::{ID, KEY, World};

/// An evaluation that cannot be stopped, and never ends.
const STUCK: &str =
    r#"reduce range(1) as $i ("a" * 20000000; indices("a" * 10000000 + "b")) | true"#;

/// Collects batches, fails at one of them, and says how it ended.
#[derive(Default)]
struct Collecting {
    batches: Arc<Mutex<Vec<RecordBatch>>>,
    fails_at: Option<usize>,
    ended: Option<mpsc::Sender<&'static str>>,
}

impl Collecting {
    fn end(&self, how: &'static str) {
        self.ended.iter().for_each(|ended| ended.send(how).unwrap());
    }
}

impl Sink for Collecting {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let mut batches = self.batches.lock().unwrap();
        if self.fails_at == Some(batches.len()) {
            return Err(Error::Usage("no more".to_owned()));
        }
        batches.push(batch);
        Ok(())
    }

    fn finish(self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        self.end("finished");
        let rows = self.batches.lock().unwrap().iter().map(|it| it.num_rows() as u64).sum();
        Ok(Written { rows, bytes: 0 })
    }

    fn abort(self: Box<Self>) {
        self.end("aborted");
    }
}

fn client(world: &World) -> Client {
    Client::builder().base_url(world.server.url()).api_key(KEY).build().unwrap()
}

#[test]
fn batches_hold_kept_rows_in_order() {
    let (world, runtime) = (world(9_000), Runtime::new().unwrap());
    let transform = Transform::new()
        .keep_where(".order % 2 == 0")
        .column("half", ColumnType::Int, "if .order == 8 then 0.5 else .order / 2 | floor end")
        .on_error(OnError::Skip);
    let names = ["half", "order"].map(str::to_owned);
    for threads in [1, 4] {
        let plan = TransformPlan::new(&transform, Some(&names), &[]).unwrap().threads(threads);
        let plan = plan.unwrap();
        let sink = Collecting::default();
        let batches = sink.batches.clone();
        let pages = client(&world).dataset(ID).pages();
        let done = runtime.block_on(write_transformed(pages, &plan, Box::new(sink))).unwrap();
        assert_eq!((done.rows_read, done.failed_rows, done.written.rows), (9_000, 1, 4_499));
        let batches = batches.lock().unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4_000, 499]);
        assert_eq!(batches[0].schema(), plan.schema());
        let values = |index: usize| {
            let arrays = batches.iter().map(move |it| it.column(index).as_primitive::<Int64Type>());
            arrays.flat_map(|it| it.values().to_vec()).collect::<Vec<_>>()
        };
        let expected: Vec<i64> = (0..4_500).filter(|half| *half != 4).collect();
        assert_eq!(values(0), expected);
        assert_eq!(values(1), expected.iter().map(|half| 2 * half).collect::<Vec<_>>());
    }
}

#[test]
fn no_transformation_writes_what_write_pages_writes() {
    let (world, runtime) = (world(300), Runtime::new().unwrap());
    let plan = TransformPlan::new(&Transform::new(), None, &[]).unwrap();
    assert!(plan.record().is_none());
    assert_eq!(plan.schema(), schema(&Column::ALL));
    let written = |is_plain: bool| {
        let sink = Collecting::default();
        let batches = sink.batches.clone();
        let pages = client(&world).dataset(ID).pages();
        runtime.block_on(async {
            match is_plain {
                true => {
                    write_pages(pages, &Column::ALL, Box::new(sink)).await.unwrap();
                }
                false => {
                    write_transformed(pages, &plan, Box::new(sink)).await.unwrap();
                }
            }
        });
        let batches = batches.lock().unwrap();
        batches.clone()
    };
    assert_eq!(written(true).iter().map(RecordBatch::num_rows).sum::<usize>(), 300);
    assert_eq!(written(true), written(false));
}

#[test]
fn failed_stream_sink_or_row_aborts_the_sink_once() {
    let (world, runtime) = (world(9_000), Runtime::new().unwrap());
    let run = |condition: &str, fails_at, breaks: bool| {
        let plan = TransformPlan::new(&Transform::new().keep_where(condition), None, &[]).unwrap();
        let (sender, ended) = mpsc::channel();
        let sink = Collecting { fails_at, ended: Some(sender), ..Default::default() };
        let broken = breaks.then(|| Err(Error::Usage("the stream broke".to_owned())));
        let pages = client(&world).dataset(ID).pages().chain(stream::iter(broken));
        let done = runtime.block_on(write_transformed(pages, &plan, Box::new(sink)));
        let done = done.map(|done| done.written.rows).map_err(|error| error.to_string());
        (done, ended.iter().collect::<Vec<_>>())
    };
    assert_eq!(run(".id", None, false), (Ok(9_000), vec!["finished"]));
    let failed = |why: &str| (Err(why.to_owned()), vec!["aborted"]);
    assert_eq!(run(".id", None, true), failed("the stream broke"));
    assert_eq!(run(".id", Some(1), false), failed("no more"));
    let (row, ended) = run("if .order == 142 then .id.x else true end", None, false);
    assert!(
        row.unwrap_err().starts_with("page 2, row 43 (id 00000000-0000-4000-8000-000000000142)")
    );
    assert_eq!(ended, ["aborted"]);
}

#[test]
fn dropped_future_leaves_an_endless_expression() {
    let (world, runtime) = (world(10), Runtime::new().unwrap());
    // Without the interruption, the sink would wait for the time limit.
    let transform =
        Transform::new().keep_where(STUCK).expression_timeout(Duration::from_secs(1_000_000));
    let plan = TransformPlan::new(&transform, None, &[]).unwrap();
    let (sender, ended) = mpsc::channel();
    let sink = Collecting { ended: Some(sender), ..Default::default() };
    // The stream has given its pages, and does not end.
    let (given, mut last) = futures::channel::oneshot::channel::<()>();
    let mut given = Some(given);
    let pages = client(&world).dataset(ID).pages().inspect(move |_| drop(given.take()));
    runtime.block_on(async {
        let write = write_transformed(pages.chain(stream::pending()), &plan, Box::new(sink));
        tokio::select! {
            _ = write => panic!("the expression ended"),
            _ = &mut last => {}
        }
    });
    assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok("aborted"));
    runtime.shutdown_background();
}

#[test]
fn wrong_plans_are_refused() {
    let refused = |transform: Transform, columns: Option<&[String]>, drop: &[String]| {
        TransformPlan::new(&transform, columns, drop).unwrap_err().to_string()
    };
    assert!(refused(Transform::new().keep_where("foo"), None, &[]).contains("no function foo"));
    assert!(refused(Transform::new().seed(1), None, &[]).contains("without `sample`"));
    let column = Transform::new().column("topic", None, ".tags.topic");
    let why = refused(column, Some(&["id".to_owned()]), &[]);
    assert!(why.contains("it is computed, but not among"), "{why}");
    let plan = TransformPlan::new(&Transform::new(), None, &[]).unwrap();
    assert!(plan.clone().threads(0).unwrap_err().to_string().contains("use 1 to 256"));
    assert!(plan.threads(257).is_err());
}

#[test]
fn rows_are_masked_and_compared_in_any_sink() {
    let (world, runtime) = (world(900), Runtime::new().unwrap());
    let names = ["order", "persona"].map(str::to_owned);
    let run = |transform: Transform| {
        let plan = TransformPlan::new(&transform, Some(&names), &[]).unwrap();
        let (ended, ends) = mpsc::channel();
        let sink = Collecting { ended: Some(ended), ..Collecting::default() };
        let batches = sink.batches.clone();
        let pages = client(&world).dataset(ID).pages();
        let done = runtime.block_on(write_transformed(pages, &plan, Box::new(sink)));
        let batches = batches.lock().unwrap().clone();
        (done, batches, ends.iter().collect::<Vec<_>>())
    };
    let transform = Transform::new().dedupe(".order % 7").mask(".persona");
    let (done, batches, ends) = run(transform.clone());
    let done = done.unwrap();
    assert_eq!((done.rows_read, done.duplicate_rows, done.written.rows), (900, 893, 7));
    // Of the orders 0 to 6, 0 and 5 have no persona.
    assert_eq!((done.replaced_rows, ends), (vec![5], vec!["finished"]));
    let orders = batches[0].column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(orders, (0..7).collect::<Vec<_>>());
    assert_eq!(batches[0].column(1).null_count(), 7);
    // A misspelled path is known after the last row.
    let (done, batches, ends) = run(transform.mask(".tags.emial"));
    let error = done.unwrap_err();
    assert!(matches!(error, Error::UnmatchedPath { delivered: true, rows: 7, .. }), "{error}");
    assert_eq!((batches.len(), ends), (1, vec!["aborted"]));
}
