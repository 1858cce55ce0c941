//! Explanations: whether a transformation keeps a row, and why not.

use overmind_export::{ExplainedRows, StreamOptions, explain_export, explain_rows};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    options::{Options, dataset_id},
    producers::place,
    wait::run,
    worker::block_on_until,
};

/// Number of rows that are explained by default: what fits on a screen.
const ROWS: usize = 20;

/// The arguments of the class `Explanation`.
type Arguments = (String, bool, bool, Option<String>, Option<String>);

/// Logs a warning for each field that no row has.
///
/// Call it on the thread of the work: `logging` takes the GIL.
fn warned(explained: ExplainedRows) -> ExplainedRows {
    for note in explained.notes() {
        tracing::warn!(target: "overmind_export::transform", "{note}");
    }
    explained
}

fn arguments(explained: ExplainedRows) -> Vec<Arguments> {
    let rows = explained.rows.into_iter();
    rows.map(|it| (it.id.to_string(), it.is_kept, it.is_end, it.reason, it.split)).collect()
}

/// Explains the first rows of a dataset. The option `rows` is their number.
#[pyfunction]
pub(crate) fn explain_dataset<'py>(
    py: Python<'py>,
    dataset: &str,
    options: Bound<'py, PyDict>,
) -> PyResult<Vec<Arguments>> {
    let options = Options::of_call(options);
    let id = dataset_id(py, "dataset", dataset)?;
    let plan = options.transform_plan()?;
    let rows = options.at_least("rows", 1)?.unwrap_or(ROWS);
    let bounds = StreamOptions { limit: Some(rows as u64), ..StreamOptions::default() };
    let (query, client) = (options.query()?, options.client()?);
    let explained = run(py, "overmind-explain", &options.watch()?, move |stop| {
        let pages = client.dataset(id).query(query).options(bounds).pages();
        block_on_until(explain_rows(pages, &plan), stop).map(warned)
    })?;
    Ok(arguments(explained))
}

/// Explains the first rows of an export.
#[pyfunction]
pub(crate) fn explain_stored<'py>(
    py: Python<'py>,
    location: Bound<'py, PyAny>,
    options: Bound<'py, PyDict>,
) -> PyResult<Vec<Arguments>> {
    let options = Options::of_call(options);
    let location = place(&location, &options)?;
    let (mut reading, transform) = (options.reading()?, options.transform()?);
    let rows = options.at_least("rows", 1)?.unwrap_or(ROWS);
    let explained = run(py, "overmind-explain", &options.watch()?, move |stop| {
        reading.stop = stop.flag();
        explain_export(&location, &reading, &transform, rows).map(warned)
    })?;
    Ok(arguments(explained))
}
