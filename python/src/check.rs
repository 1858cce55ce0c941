//! `verify` and `diff`. Damage and differences are results, not errors.

use std::collections::BTreeMap;

use overmind_export::{
    DiffOptions, Difference, DifferenceRow, Error, diff,
    serde_json::{self, Value, json},
    verify_with,
};
use pyo3::{prelude::*, types::PyDict};

use crate::{options::Options, producers::place, wait::run};

/// Compares an export with its record. Returns the result as a JSON text, and whether the export is unchanged.
#[pyfunction]
pub(crate) fn verify<'py>(
    py: Python<'py>,
    location: Bound<'py, PyAny>,
    options: Bound<'py, PyDict>,
) -> PyResult<(String, bool)> {
    let options = Options::of_call(options);
    let (location, mut reading) = (place(&location, &options)?, options.reading()?);
    run(py, "overmind-verify", &options.watch()?, move |stop| {
        reading.stop = stop.flag();
        let found = verify_with(&location, &reading)?;
        let is_ok = found.is_ok();
        Ok((text(&serde_json::to_value(&found).map_err(internal)?), is_ok))
    })
}

/// Compares two exports. Returns the counts and the first differences of each kind as JSON texts.
#[pyfunction(name = "diff")]
pub(crate) fn compare<'py>(
    py: Python<'py>,
    before: Bound<'py, PyAny>,
    after: Bound<'py, PyAny>,
    options: Bound<'py, PyDict>,
) -> PyResult<(String, String)> {
    let options = Options::of_call(options);
    let (before, after) = (place(&before, &options)?, place(&after, &options)?);
    let (comparing, show) = options.comparing()?;
    run(py, "overmind-diff", &options.watch()?, move |stop| {
        let found = diff(&before, &after, DiffOptions { stop: stop.flag(), ..comparing })?;
        let counts = serde_json::to_value(found.summary()).map_err(internal)?;
        let mut shown = Vec::new();
        if show != Some(0) {
            found.differences(show, |difference| {
                shown.push(difference_json(&difference));
                Ok(())
            })?;
        }
        Ok((text(&counts), text(&Value::from(shown))))
    })
}

fn difference_json(difference: &Difference) -> Value {
    let row = |row: &Option<DifferenceRow>| {
        row.as_ref().map(|row| {
            let values = row.values.iter().map(|(column, text)| (column.name(), text));
            json!({ "id": row.id, "values": values.collect::<BTreeMap<_, _>>() })
        })
    };
    json!({
        "kind": difference.kind,
        "key": difference.key,
        "before": row(&difference.before),
        "after": row(&difference.after),
    })
}

fn text(value: &Value) -> String {
    value.to_string()
}

fn internal(error: serde_json::Error) -> Error {
    Error::Internal(format!("result: {error}"))
}
