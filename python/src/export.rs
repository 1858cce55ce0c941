//! Calls that are not streams: the list of datasets, exports to files, and manifests.

use std::{io::ErrorKind, path::PathBuf};

use futures::TryStreamExt;
use overmind_export::{
    Batches, Convert, ConvertPlan, Error, Export, ExportPlan, Summary, Target, WrittenSplit,
    read_manifest, serde_json,
};
use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    attach::detached,
    errors::raised,
    options::{Options, dataset_id},
    producers::place,
    summary::{ReadFacts, completeness, transform, warned},
    wait::run,
    worker::{block_on, block_on_until},
};

/// Returns the list of datasets, each as a JSON text.
#[pyfunction]
pub(crate) fn datasets<'py>(
    py: Python<'py>,
    options: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyList>> {
    let options = Options::of_call(options);
    let (query, client) = (options.query()?, options.client()?);
    let texts = run(py, "overmind-datasets", &options.watch()?, move |stop| {
        let list = async { client.datasets(query).try_collect::<Vec<_>>().await };
        let list = block_on_until(list, stop)?;
        let texts: Result<Vec<_>, _> = list.iter().map(serde_json::to_string).collect();
        texts.map_err(|error| Error::Internal(format!("datasets: {error}")))
    })?;
    PyList::new(py, texts)
}

/// Exports a dataset to files. Returns the arguments of the class `Summary`.
#[pyfunction]
pub(crate) fn export<'py>(
    py: Python<'py>,
    dataset: &str,
    output: PathBuf,
    options: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyDict>> {
    let options = Options::of_call(options);
    let id = dataset_id(py, "dataset", dataset)?;
    let wanted = options.export(id, output)?;
    let plan = ExportPlan::new(wanted).map_err(|error| raised(py, &error))?;
    if *plan.target() == Target::Stdout {
        let why = "`output` is standard output: give a path, or use `stream`".to_owned();
        return Err(raised(py, &Error::Usage(why)));
    }
    let client = options.client()?;
    let job = Export::new(client.clone(), plan);
    let watch = options.watch_with(Some(client), job.progress())?;
    let (summary, missing) = run(py, "overmind-export", &watch, move |stop| {
        let summary = block_on(job.run_until(stop.requested()))?;
        let missing = warned(&summary.missing, summary.rows);
        Ok((summary, missing))
    })?;
    let dict = arguments(py, &summary)?;
    dict.set_item("missing", missing)?;
    Ok(dict)
}

/// Returns the arguments of the class `Summary`.
pub(crate) fn arguments<'py>(py: Python<'py>, summary: &Summary) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("dataset", summary.dataset.to_string())?;
    dict.set_item("output", &summary.output)?;
    dict.set_item("rows", summary.rows)?;
    dict.set_item("rows_read", summary.rows_read)?;
    dict.set_item("failed_rows", summary.failed_rows)?;
    dict.set_item("transform", transform(py, summary.transform.as_ref())?)?;
    dict.set_item("duplicate_rows", summary.duplicate_rows)?;
    dict.set_item("replaced_rows", &summary.replaced_rows)?;
    dict.set_item("splits", splits(py, &summary.splits)?)?;
    dict.set_item("count", summary.count)?;
    dict.set_item("completeness", completeness(summary.completeness))?;
    dict.set_item("digest", &summary.digest)?;
    dict.set_item("kept_rows", summary.kept_rows)?;
    dict.set_item("files", summary.files)?;
    dict.set_item("bytes", summary.bytes)?;
    dict.set_item("pages", summary.pages)?;
    dict.set_item("requests", summary.requests)?;
    dict.set_item("retries", summary.retries)?;
    dict.set_item("received_bytes", summary.received_bytes)?;
    dict.set_item("seconds", summary.seconds)?;
    Ok(dict)
}

/// Returns the splits as dictionaries; `None` if the rows are not split.
fn splits<'py>(
    py: Python<'py>,
    splits: &[WrittenSplit],
) -> PyResult<Option<Vec<Bound<'py, PyDict>>>> {
    let dict = |split: &WrittenSplit| {
        let dict = PyDict::new(py);
        dict.set_item("name", &split.name)?;
        dict.set_item("rows", split.rows)?;
        dict.set_item("digest", &split.digest)?;
        Ok(dict)
    };
    let dicts = splits.iter().map(dict).collect::<PyResult<Vec<_>>>()?;
    Ok(Some(dicts).filter(|dicts| !dicts.is_empty()))
}

/// Converts an export to files. Returns the arguments of the class `Summary`.
#[pyfunction]
pub(crate) fn convert<'py>(
    py: Python<'py>,
    source: PathBuf,
    output: PathBuf,
    options: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyDict>> {
    let options = Options::of_call(options);
    if output.as_os_str() == "-" {
        let why = "`output` is standard output: give a path, or use `open`".to_owned();
        return Err(raised(py, &Error::Usage(why)));
    }
    let wanted = options.convert(source, output)?;
    // The plan reads the metadata of the source.
    let plan = detached(py, || ConvertPlan::new(wanted)).map_err(|error| raised(py, &error))?;
    let job = Convert::new(plan);
    let watch = options.watch_with(None, job.progress())?;
    let (summary, missing) = run(py, "overmind-convert", &watch, move |stop| {
        let summary = block_on(job.run_until(stop.requested()))?;
        let missing = warned(&summary.missing, summary.rows);
        Ok((summary, missing))
    })?;
    let dict = PyDict::new(py);
    dict.set_item("missing", missing)?;
    dict.set_item("dataset", summary.dataset.map(|id| id.to_string()))?;
    dict.set_item("output", &summary.output)?;
    dict.set_item("rows", summary.rows)?;
    dict.set_item("rows_read", summary.rows_read)?;
    dict.set_item("failed_rows", summary.failed_rows)?;
    dict.set_item("transform", transform(py, summary.transform.as_ref())?)?;
    dict.set_item("duplicate_rows", summary.duplicate_rows)?;
    dict.set_item("replaced_rows", &summary.replaced_rows)?;
    dict.set_item("splits", splits(py, &summary.splits)?)?;
    dict.set_item("count", summary.count)?;
    let known = summary.dataset.map(|_| completeness(summary.completeness));
    dict.set_item("completeness", known.unwrap_or("unknown"))?;
    dict.set_item("digest", &summary.digest)?;
    dict.set_item("source_digest", &summary.source_digest)?;
    dict.set_item("files", summary.files)?;
    dict.set_item("bytes", summary.bytes)?;
    dict.set_item("seconds", summary.seconds)?;
    Ok(dict)
}

/// Refuses a location that no export can have, and a local path that does not exist. Asks no store.
#[pyfunction]
pub(crate) fn check_location(
    location: Bound<'_, PyAny>,
    options: Bound<'_, PyDict>,
) -> PyResult<()> {
    let place = place(&location, &Options::of_call(options))?;
    let Some(path) = place.as_local() else { return Ok(()) };
    match std::fs::metadata(path) {
        Err(source) if source.kind() == ErrorKind::NotFound => {
            let error = Error::Io { action: "read", path: path.to_owned(), source };
            Err(raised(location.py(), &error))
        }
        // The first read names any other error.
        _ => Ok(()),
    }
}

/// Returns the manifest of an export as a JSON text; `None` if it has none.
#[pyfunction]
pub(crate) fn manifest<'py>(
    py: Python<'py>,
    location: Bound<'py, PyAny>,
    options: Bound<'py, PyDict>,
) -> PyResult<Option<String>> {
    let options = Options::of_call(options);
    let (location, reading) = (place(&location, &options)?, options.reading()?);
    run(py, "overmind-manifest", &options.watch()?, move |_| {
        let manifest = read_manifest(&location, &reading)?;
        let text = manifest.map(|manifest| serde_json::to_string(&manifest)).transpose();
        text.map_err(|error| Error::Internal(format!("manifest: {error}")))
    })
}

/// Returns what an export says about itself, as the arguments of the class `Summary`; `None` if it says nothing.
#[pyfunction]
pub(crate) fn facts<'py>(
    py: Python<'py>,
    location: Bound<'py, PyAny>,
    options: Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let options = Options::of_call(options);
    let (location, reading) = (place(&location, &options)?, options.reading()?);
    let facts = run(py, "overmind-facts", &options.watch()?, move |_| {
        let batches = Batches::open_with(&location, &reading)?;
        Ok(batches.facts().map(|facts| ReadFacts::of_export(Some(facts))))
    })?;
    facts.map(|facts| facts.to_dict(py)).transpose()
}
