//! The embedded API on a loopback port, for examples and tests.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use overmind_export::{
    Error,
    demo::{Background, Dataset, Options, serve_in_background},
};
use pyo3::prelude::*;

use crate::{
    attach::detached,
    {errors::raised, options::text},
};

/// Seed of the generated rows, as in `overmind-export demo`.
const SEED: u64 = 7;

/// A running server.
#[pyclass(frozen, module = "overmind_export._native")]
pub(crate) struct Server {
    url: String,
    datasets: Vec<String>,
    server: Mutex<Option<Background>>,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (rows, files, latency, api_key, rate_limit))]
    fn new(
        py: Python<'_>,
        rows: u64,
        files: Vec<PathBuf>,
        latency: f64,
        api_key: Option<Bound<'_, PyAny>>,
        rate_limit: Option<u32>,
    ) -> PyResult<Self> {
        let api_key = api_key.map(|key| text("api_key", "a string", &key)).transpose()?;
        let latency = Duration::try_from_secs_f64(latency).map_err(|_| {
            let (value, why) = (latency.to_string(), "give seconds, not below zero".to_owned());
            raised(py, &Error::Invalid { what: "latency", value, why })
        })?;
        let options = Options { latency, api_key, rate_limit, ..Options::default() };
        let started =
            detached(py, move || {
                let mut datasets = Vec::new();
                for path in files {
                    datasets.push(Dataset::from_jsonl(&path).map_err(|source| Error::Io {
                        action: "read",
                        path,
                        source,
                    })?);
                }
                datasets.push(Dataset::generated(rows, SEED));
                let ids = datasets.iter().map(|dataset| dataset.id.to_string()).collect();
                let server = serve_in_background(options, datasets).map_err(|source| {
                    Error::Io { action: "start", path: "the embedded API".into(), source }
                })?;
                Ok((ids, server))
            });
        let (datasets, server): (_, Background) =
            started.map_err(|error: Error| raised(py, &error))?;
        Ok(Self { url: server.url(), datasets, server: Mutex::new(Some(server)) })
    }

    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// Returns the ids of the datasets: of the files in order, then of the generated one.
    #[getter]
    fn datasets(&self) -> Vec<String> {
        self.datasets.clone()
    }

    /// Returns the number of requests so far.
    #[getter]
    fn requests(&self) -> u64 {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map_or(0, |server| server.stats().requests)
    }

    fn close(&self, py: Python<'_>) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        detached(py, || drop(server));
    }
}
