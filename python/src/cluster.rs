//! The steps of an export that many workers write. The plain results are JSON texts.

use std::path::PathBuf;

use overmind_export::{
    Error, PageRange,
    cluster::{self, ClusterCommit, ClusterOutput, PagePlan, RangeWorker},
    serde_json,
};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    errors::raised,
    export::arguments,
    options::{Options, dataset_id},
    wait::run,
    worker::{block_on, block_on_until},
};

/// Begins an export in this number of ranges. Returns the plan as a JSON text.
#[pyfunction]
pub(crate) fn cluster_begin<'py>(
    py: Python<'py>,
    dataset: &str,
    output: PathBuf,
    ranges: u32,
    options: Bound<'py, PyDict>,
) -> PyResult<String> {
    let options = Options::of_call(options);
    let id = dataset_id(py, "dataset", dataset)?;
    let (wanted, client) = (options.export(id, output)?, options.client()?);
    run(py, "overmind-begin", &options.watch()?, move |stop| {
        let plan = block_on_until(cluster::begin(&client, wanted, ranges), stop)?;
        text(serde_json::to_string(&plan))
    })
}

/// Writes a range of an export. `index` counts from 0; `of` is the number of ranges, if the caller knows it. Returns the
/// result as a JSON text.
#[pyfunction]
pub(crate) fn cluster_part<'py>(
    py: Python<'py>,
    output: PathBuf,
    index: u32,
    of: Option<u32>,
    options: Bound<'py, PyDict>,
) -> PyResult<String> {
    let options = Options::of_call(options);
    let client = options.client()?;
    let output = place(&options, output)?;
    let worker = match of {
        Some(of) => RangeWorker::new(client.clone(), output, index.saturating_add(1), of),
        None => RangeWorker::with_index(client.clone(), output, index),
    };
    let mut worker = worker.map_err(|error| raised(py, &error))?;
    if let Some(threads) = options.at_least("encode_threads", 1)? {
        worker = worker.encode_threads(threads);
    }
    if let Some(bytes) = options.at_least("prefetch_bytes", 1)? {
        worker = worker.prefetch_bytes(bytes);
    }
    let watch = options.watch_with(Some(client), worker.progress())?;
    run(py, "overmind-part", &watch, move |stop| {
        let summary = block_on(worker.run_until(stop.requested()))?;
        text(serde_json::to_string(&summary))
    })
}

/// Publishes an export whose ranges are all written. Returns the arguments of the class `Summary`.
#[pyfunction]
pub(crate) fn cluster_commit<'py>(
    py: Python<'py>,
    output: PathBuf,
    options: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyDict>> {
    let options = Options::of_call(options);
    let client = options.client()?;
    let commit = ClusterCommit::new(client.clone(), place(&options, output)?);
    let watch = options.watch_with(Some(client), commit.progress())?;
    let summary = run(py, "overmind-commit", &watch, move |stop| {
        block_on(commit.run_until(stop.requested()))
    })?;
    arguments(py, &summary)
}

/// Returns which ranges are finished, as a JSON text.
#[pyfunction]
pub(crate) fn cluster_status<'py>(
    py: Python<'py>,
    output: PathBuf,
    options: Bound<'py, PyDict>,
) -> PyResult<String> {
    let options = Options::of_call(options);
    let output = place(&options, output)?;
    run(py, "overmind-status", &options.watch()?, move |_| {
        text(serde_json::to_string(&cluster::status(&output)?))
    })
}

/// Gives an export up, and removes everything that its workers have staged.
#[pyfunction]
pub(crate) fn cluster_abort<'py>(
    py: Python<'py>,
    output: PathBuf,
    options: Bound<'py, PyDict>,
) -> PyResult<()> {
    let options = Options::of_call(options);
    let output = place(&options, output)?;
    run(py, "overmind-abort", &options.watch()?, move |_| cluster::abort(&output).map(drop))
}

/// The first page, the last page and the number of rows of a range.
type RangeFacts = (u64, u64, u64);

/// Requests page 1, and divides the pages of a dataset into ranges of at most this number of pages. Returns the base
/// URL, the number of rows, the rows of a full page, and the ranges.
#[pyfunction]
pub(crate) fn cluster_pages<'py>(
    py: Python<'py>,
    dataset: &str,
    pages: u64,
    options: Bound<'py, PyDict>,
) -> PyResult<(String, u64, u64, Vec<RangeFacts>)> {
    let options = Options::of_call(options);
    let id = dataset_id(py, "dataset", dataset)?;
    let (query, size, client) = (options.query()?, options.stream()?.page_size, options.client()?);
    let base_url = client.base_url().to_owned();
    let plan = run(py, "overmind-pages", &options.watch()?, move |stop| {
        block_on_until(PagePlan::request(&client, id, &query, size), stop)
    })?;
    let facts =
        |range: PageRange| (range.first(), range.last().unwrap_or(plan.pages()), plan.rows(range));
    let ranges = plan.ranges(pages).map(facts);
    Ok((base_url, plan.count(), plan.rows_per_page(), ranges.collect()))
}

fn place(options: &Options<'_>, output: PathBuf) -> PyResult<ClusterOutput> {
    let output = ClusterOutput::new(output).storage(options.storage()?);
    Ok(match options.path("temp_dir")? {
        Some(folder) => output.temp_dir(folder),
        None => output,
    })
}

fn text(json: Result<String, serde_json::Error>) -> Result<String, Error> {
    json.map_err(|error| Error::Internal(format!("result: {error}")))
}
