//! Snapshots: finding those below a root, and running jobs.

use std::path::{Path, PathBuf};

use overmind_export::{
    Error, Job, JobResult, Location, StorageOptions, newest_snapshots, run_jobs,
    serde_json::{self, Value, json},
    stored_jobs, stored_snapshots,
};
use pyo3::{prelude::*, types::PyDict};
use tokio::{pin, select};

use crate::{
    attach::detached,
    errors::raised,
    options::{Options, root_of},
    wait::run,
    worker::{Stop, block_on},
};

/// Finds the complete snapshots of a job: all, oldest first, or only the newest of each folder. Returns a JSON text.
///
/// `root` is a location, or a local configuration file that names the root of the job.
#[pyfunction]
pub(crate) fn find_snapshots<'py>(
    py: Python<'py>,
    root: PathBuf,
    job: String,
    options: Bound<'py, PyDict>,
    all: bool,
) -> PyResult<String> {
    let options = Options::of_call(options);
    let (until, dataset) = options.wanted_snapshots()?;
    let given = options.given_storage(StorageOptions::default())?;
    let (root, given, has_settings) = match root.is_file() {
        false => (root, given, false),
        true => {
            let found = detached(py, || root_of(&root, &job));
            let (root, settings) = found.map_err(|error| raised(py, &error))?;
            let has_settings = !settings.is_empty();
            (root, options.given_storage(settings)?, has_settings)
        }
    };
    run(py, "overmind-snapshots", &options.watch()?, move |_| {
        let place = Location::of(&root, &given)?;
        let jobs = stored_jobs(&place)?;
        let found = match jobs.contains(&job) {
            false => Vec::new(),
            true if all => stored_snapshots(&place, &job)?,
            true => newest_snapshots(&place, &job, until, dataset)?,
        };
        let exists = place.as_local().is_none_or(Path::is_dir);
        let found = json!({
            // Then a reader of a snapshot needs the configuration, too.
            "configured": has_settings && place.as_local().is_none(),
            "root": place.to_string(),
            "exists": exists,
            "jobs": jobs,
            "snapshots": found,
        });
        Ok(found.to_string())
    })
}

/// Runs jobs of a configuration file. Returns their results as a JSON text.
#[pyfunction]
pub(crate) fn run_snapshots<'py>(py: Python<'py>, options: Bound<'py, PyDict>) -> PyResult<String> {
    let options = Options::of_call(options);
    let (client, jobs, running) = options.jobs()?;
    run(py, "overmind-snapshot", &options.watch()?, move |stop| {
        block_on(async {
            let asked = overmind_export::Stop::default();
            let results = run_jobs(&client, &jobs, &running, &asked);
            pin!(results);
            // A run that was asked to stop still writes its history and releases its lock.
            let results = select! {
                biased;
                results = results.as_mut() => results,
                () = interrupt(stop, &asked) => results.await,
            };
            let results: Result<Vec<Value>, Error> = jobs.iter().zip(&results).map(told).collect();
            Ok(Value::from(results?).to_string())
        })
    })
}

/// Waits until the call must stop, and asks the runs to stop.
async fn interrupt(stop: Stop, asked: &overmind_export::Stop) {
    stop.requested().await;
    asked.request("SIGINT", 2);
}

/// Returns the result of a job, with the folder of its snapshots.
fn told((job, result): (&Job, &JobResult)) -> Result<Value, Error> {
    let root = job.root.to_string_lossy();
    let folder = match root.contains("://") {
        true => format!("{}/{}", root.trim_end_matches('/'), job.name),
        false => job.root.join(&job.name).to_string_lossy().into_owned(),
    };
    let result = serde_json::to_value(result)
        .map_err(|error| Error::Internal(format!("result of a job: {error}")))?;
    Ok(json!({ "folder": folder, "result": result }))
}
