//! Finds out on several threads what the values of JSON columns are.
//!
//! The batches are dealt to a fixed number of lanes, each with a state of its own, and a thread serves some of the
//! lanes. So the states, and what they join to, do not depend on the number of threads.

use std::{sync::mpsc, thread};

use arrow_array::{RecordBatch, cast::AsArray};

use crate::{
    error::{Error, Result, panics::message},
    nested::{InferredColumns, NestRules},
};

/// Number of lanes: more threads than these have no use, because reading the batches takes as long.
const LANES: usize = 4;
/// Batches that wait for a thread.
const QUEUED: usize = 2;

/// Consecutive rows of JSON text.
pub(crate) struct LaneBatch {
    pub(crate) batch: RecordBatch,
    /// Number of the first row, from 1.
    pub(crate) first_row: u64,
}

/// Returns what the values of these columns are, in the batches that `read` sends.
///
/// # Errors
/// The error of `read`. [`Error::Internal`] when a column is missing or its text is not JSON.
pub(crate) fn infer_in_lanes(
    names: &[&str],
    rules: &NestRules,
    threads: usize,
    read: impl FnOnce(&mut dyn FnMut(LaneBatch)) -> Result<()>,
) -> Result<InferredColumns> {
    let threads = threads.clamp(1, LANES);
    let none = InferredColumns::new(names.iter().copied(), rules);
    thread::scope(|scope| {
        let mut senders = Vec::with_capacity(threads);
        let mut serving = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (sender, receiver) = mpsc::sync_channel(QUEUED);
            let none = &none;
            let serve = move || serve(names, none, receiver);
            let builder = thread::Builder::new().name("infer".to_owned());
            serving.push(builder.spawn_scoped(scope, serve).map_err(Error::no_thread)?);
            senders.push(sender);
        }
        let mut lanes = (0..LANES).cycle();
        let done = read(&mut |batch| {
            let lane = lanes.next().unwrap_or_default();
            // A thread that has failed says why below.
            drop(senders[lane % threads].send((lane, batch)));
        });
        drop(senders);
        let mut columns = none.clone();
        let mut lanes = Vec::with_capacity(LANES);
        for thread in serving {
            let panicked = |payload: Box<dyn std::any::Any + Send>| {
                Error::panicked("reading JSON columns", message(&*payload))
            };
            lanes.extend(thread.join().map_err(panicked)??);
        }
        done?;
        lanes.sort_by_key(|(lane, _)| *lane);
        lanes.into_iter().for_each(|(_, state)| columns.join(state));
        Ok(columns)
    })
}

type LaneStates = Vec<(usize, InferredColumns)>;

/// Reads the batches of some lanes.
fn serve(
    names: &[&str],
    none: &InferredColumns,
    batches: mpsc::Receiver<(usize, LaneBatch)>,
) -> Result<LaneStates> {
    let mut lanes: LaneStates = Vec::new();
    for (lane, LaneBatch { batch, first_row }) in batches {
        let place = lanes.iter().position(|(it, _)| *it == lane).unwrap_or_else(|| {
            lanes.push((lane, none.clone()));
            lanes.len() - 1
        });
        let columns = &mut lanes[place].1;
        columns.count_rows(batch.num_rows());
        for (index, name) in names.iter().enumerate() {
            let array = batch.column_by_name(name).and_then(|it| it.as_string_opt::<i32>());
            let texts = array.ok_or_else(|| wrong(name))?;
            for (row, text) in (first_row..).zip(texts) {
                let added = text.map_or(Ok(()), |text| columns.add(index, text, row));
                added.map_err(|_| wrong(name))?;
            }
        }
    }
    Ok(lanes)
}

fn wrong(name: &str) -> Error {
    Error::Internal(format!("the column {name} of a draft is not JSON text"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray};

    use super::*;

    fn states(threads: usize) -> InferredColumns {
        let read = |send: &mut dyn FnMut(LaneBatch)| {
            for first_row in (1..=200).step_by(5) {
                let row = |row: u64| match row {
                    107 => "[1]".to_owned(),
                    row => format!(r#"{{"n{}":{row}}}"#, row % 7),
                };
                let texts: StringArray =
                    (first_row..first_row + 5).map(|it| Some(row(it))).collect();
                let batch = RecordBatch::try_from_iter([("c", Arc::new(texts) as ArrayRef)]);
                send(LaneBatch { batch: batch.unwrap(), first_row });
            }
            Ok(())
        };
        infer_in_lanes(&["c"], &NestRules::default(), threads, read).unwrap()
    }

    #[test]
    fn states_do_not_depend_on_threads() {
        let one = states(1);
        for threads in [2, 3, 16] {
            assert_eq!(states(threads), one, "{threads}");
        }
        assert_ne!(one, InferredColumns::new(["c"], &NestRules::default()));
    }

    #[test]
    fn failures_of_a_thread_are_reported() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["{"]));
        let batch = RecordBatch::try_from_iter([("c", texts)]).unwrap();
        let read = |send: &mut dyn FnMut(LaneBatch)| {
            (0..100).for_each(|row| send(LaneBatch { batch: batch.clone(), first_row: row }));
            Ok(())
        };
        let told = infer_in_lanes(&["c"], &NestRules::default(), 2, read).unwrap_err().to_string();
        assert!(told.contains("c of a draft is not JSON text"), "{told}");
    }
}
