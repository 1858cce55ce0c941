//! Reads the first rows of a dataset that a transformation keeps, for `preview`. It stops as soon as it has them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use arrow_array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    flags::with_flags,
    lines::Lines,
    table::{Fit, TableColumn, render},
};
use crate::{
    Client, ExplainedRows, Query, Result, RowExplanation, Sink, StreamOptions, TransformPlan,
    Written, explain_rows,
    text::{counted, grouped},
    write_transformed,
};

/// Bytes of pages to prefetch: 256 KiB, about two pages.
const FEW: usize = 256 << 10;

/// What was read to find the rows.
#[derive(Debug, Clone)]
pub(super) struct FirstRows {
    /// Number of rows of the dataset.
    pub(super) count: u64,
    /// Whether every row of the dataset was read, because there are no more that are kept.
    pub(super) has_read_all: bool,
    /// What none of the rows that were read gave to the expressions.
    pub(super) missing: Vec<String>,
}

/// Passes the first rows that the plan keeps into a sink. Without a transformation, reads no more rows than those.
///
/// # Errors
/// The first error of the API, of an expression or of the sink. An error after the page of the last of these rows is
/// none.
pub(super) async fn first_rows(
    client: &Client,
    (dataset, query): (Uuid, Query),
    plan: &TransformPlan,
    rows: u32,
    sink: Box<dyn Sink>,
) -> Result<FirstRows> {
    let options = match plan.record() {
        // Few pages at a time: the first may have the rows.
        Some(record) if record.leaves_out_rows() => {
            StreamOptions { prefetch_bytes: FEW, ..StreamOptions::default() }
        }
        _ => first(rows),
    };
    let (count, enough) = (AtomicU64::new(0), Arc::<Enough>::default());
    let pages = client.dataset(dataset).query(query).options(options).pages();
    let counted = pages.inspect_ok(|page| count.store(page.count(), Relaxed));
    let until_enough = Box::pin(counted.take_until(enough.notify.notified()));
    let sink = FirstRowsSink { left: rows as usize, enough: enough.clone(), sink };
    // A batch ends with the last of the rows.
    let plan = plan.clone().batches_of(rows as usize);
    let done = write_transformed(until_enough, &plan, Box::new(sink)).await;
    let has_enough = enough.is_reached.load(Relaxed);
    let missing = match done {
        Err(error) if !has_enough => return Err(error),
        done => done.map(|rows| rows.missing).unwrap_or_default(),
    };
    Ok(FirstRows { count: count.load(Relaxed), has_read_all: !has_enough, missing })
}

/// Explains the first rows that are read: whether the plan keeps them, and why not.
///
/// # Errors
/// The first error of the API, or of an expression that does not end.
pub(super) async fn explained(
    client: &Client,
    (dataset, query): (Uuid, Query),
    plan: &TransformPlan,
    rows: u32,
) -> Result<ExplainedRows> {
    let pages = client.dataset(dataset).query(query).options(first(rows)).pages();
    explain_rows(pages, plan).await.map(with_flagged_reasons)
}

/// Names the options in the reasons as flags.
pub(super) fn with_flagged_reasons(mut explained: ExplainedRows) -> ExplainedRows {
    for row in &mut explained.rows {
        row.reason = row.reason.take().map(|reason| with_flags(&reason).into_owned());
    }
    explained
}

/// Returns the table of explanations.
pub(super) fn explanation_table(rows: &[RowExplanation]) -> Lines {
    let mut columns = vec![
        TableColumn::new("row", Fit::Number),
        TableColumn::new("id", Fit::Whole),
        TableColumn::new("kept", Fit::Whole),
        TableColumn::new("why", Fit::Wrap),
    ];
    let has_splits = rows.iter().any(|row| row.split.is_some());
    if has_splits {
        columns.insert(3, TableColumn::new("split", Fit::Whole));
    }
    let kept = rows.iter().filter(|row| row.is_kept).count();
    let cells = rows.iter().enumerate().map(|(index, row)| {
        // Eight characters are enough to recognize a row.
        let id: String = row.id.to_string().chars().take(8).collect();
        let is_kept = match (row.is_kept, row.is_end) {
            (true, _) => "yes",
            (false, true) => "error",
            (false, false) => "no",
        };
        let reason = row.reason.clone().unwrap_or_default();
        let split = has_splits.then(|| row.split.clone().unwrap_or_default());
        let before = [grouped(index as u64 + 1), id, is_kept.to_owned()];
        before.into_iter().chain(split).chain([reason]).collect()
    });
    let read = counted(rows.len() as u64, "row");
    let table = render(&columns, cells);
    let table = table.and(format_args!("{} kept of the first {read}", grouped(kept as u64)));
    match rows.iter().position(|row| row.is_end) {
        Some(index) => table.and(format_args!(
            "an export would end at row {}: change the expression, or give --on-error",
            grouped(index as u64 + 1)
        )),
        None => table,
    }
}

fn first(rows: u32) -> StreamOptions {
    StreamOptions { page_size: rows.min(100), limit: Some(rows.into()), ..StreamOptions::default() }
}

/// Tells the reader of the pages that no more are needed.
#[derive(Debug, Default)]
struct Enough {
    is_reached: AtomicBool,
    notify: Notify,
}

/// Passes the first rows to another sink, and finishes it after them.
struct FirstRowsSink {
    left: usize,
    enough: Arc<Enough>,
    sink: Box<dyn Sink>,
}

impl Sink for FirstRowsSink {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = batch.slice(0, batch.num_rows().min(self.left));
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let left = self.left - batch.num_rows();
        self.sink.write(batch)?;
        self.left = left;
        if left == 0 {
            self.enough.is_reached.store(true, Relaxed);
            self.enough.notify.notify_one();
        }
        Ok(())
    }

    fn finish(self: Box<Self>, facts: Option<&str>) -> Result<Written> {
        self.sink.finish(facts)
    }

    fn abort(self: Box<Self>) {
        self.sink.abort();
    }
}
