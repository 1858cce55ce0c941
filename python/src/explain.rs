//! Explanations: whether a transformation keeps a row, and why not.

use overmind_export::{RowExplanation, StreamOptions, explain_export, explain_rows};
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

fn arguments(rows: Vec<RowExplanation>) -> Vec<Arguments> {
    let row = |it: RowExplanation| (it.id.to_string(), it.is_kept, it.is_end, it.reason, it.split);
    rows.into_iter().map(row).collect()
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
    let rows = run(py, "overmind-explain", &options.watch()?, move |stop| {
        let pages = client.dataset(id).query(query).options(bounds).pages();
        block_on_until(explain_rows(pages, &plan), stop)
    })?;
    Ok(arguments(rows))
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
    let rows = run(py, "overmind-explain", &options.watch()?, move |stop| {
        reading.stop = stop.flag();
        explain_export(&location, &reading, &transform, rows)
    })?;
    Ok(arguments(rows))
}
