//! Reports: pages about exports.

use std::path::PathBuf;

use overmind_export::{Report, ReportFile, ReportOptions};
use pyo3::{prelude::*, types::PyDict};

use crate::{attach::detached, errors::raised, options::Options, producers::place, wait::run};

/// A page about an export.
#[pyclass(frozen, module = "overmind_export._native")]
pub(crate) struct Page(Report);

#[pymethods]
impl Page {
    /// The page as one HTML document.
    #[getter]
    fn html(&self) -> &str {
        self.0.as_html()
    }

    /// Number of rows that were read.
    #[getter]
    fn rows(&self) -> u64 {
        self.0.rows()
    }

    /// Writes the page in one step. Returns its size in bytes.
    fn save(
        &self,
        py: Python<'_>,
        output: PathBuf,
        overwrite: bool,
        options: Bound<'_, PyDict>,
    ) -> PyResult<u64> {
        let storage = Options::of_call(options).storage()?;
        let report = self.0.clone();
        let save = move || ReportFile::create(&output, overwrite, &storage)?.publish(&report);
        let saved = detached(py, save);
        saved.map_err(|error| raised(py, &error))
    }
}

/// Makes the report of an export, with what changed since another one.
#[pyfunction]
pub(crate) fn report<'py>(
    py: Python<'py>,
    location: Bound<'py, PyAny>,
    before: Option<Bound<'py, PyAny>>,
    options: Bound<'py, PyDict>,
) -> PyResult<Page> {
    let options = Options::of_call(options);
    let export = place(&location, &options)?;
    let before = before.map(|before| place(&before, &options)).transpose()?;
    let mut reporting: ReportOptions = options.reporting()?;
    run(py, "overmind-report", &options.watch()?, move |stop| {
        reporting.read.stop = stop.flag();
        let report = match &before {
            Some(before) => Report::of_changes(before, &export, &reporting)?,
            None => Report::of(&export, &reporting)?,
        };
        Ok(Page(report))
    })
}
