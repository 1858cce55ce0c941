//! The facts about a finished read or export, as a dictionary for the class `Summary`.

use overmind_export::{Completeness, StatedFacts, TransformRecord, missing_values, serde_json};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};

/// What is known about the rows that were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadFacts {
    pub(crate) dataset: Option<String>,
    /// Number of rows delivered.
    pub(crate) rows: u64,
    /// Number of rows read for these, how these were chosen, and on how many an expression failed.
    pub(crate) rows_read: Option<u64>,
    pub(crate) failed_rows: Option<u64>,
    pub(crate) transform: Option<TransformRecord>,
    /// Number of rows that equal an earlier one.
    pub(crate) duplicate_rows: Option<u64>,
    /// Number of rows in which each path of the transformation has replaced a value.
    pub(crate) replaced_rows: Option<Vec<u64>>,
    /// Sentences about what no row gave to the expressions.
    pub(crate) missing: Option<Vec<String>>,
    /// Number of rows of the dataset.
    pub(crate) count: Option<u64>,
    pub(crate) completeness: Option<Completeness>,
    pub(crate) digest: Option<String>,
    pub(crate) pages: Option<u64>,
    pub(crate) requests: Option<u64>,
    pub(crate) retries: Option<u64>,
    pub(crate) received_bytes: Option<u64>,
    pub(crate) seconds: f64,
}

impl ReadFacts {
    /// Returns what an export says about itself, such as the number of its rows.
    pub(crate) fn of_export(facts: Option<&StatedFacts>) -> Self {
        Self {
            dataset: facts.and_then(|facts| facts.dataset).map(|id| id.to_string()),
            count: facts.and_then(|facts| facts.count),
            completeness: facts.map(|facts| facts.completeness),
            rows: facts.map_or(0, |facts| facts.rows),
            rows_read: facts.map(|facts| facts.rows_read),
            transform: facts.and_then(|facts| facts.transform.clone()),
            digest: facts.map(|facts| facts.digest.clone()),
            ..Self::default()
        }
    }

    /// Returns the arguments of the class `Summary`.
    pub(crate) fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("dataset", &self.dataset)?;
        dict.set_item("rows", self.rows)?;
        dict.set_item("rows_read", self.rows_read)?;
        dict.set_item("failed_rows", self.failed_rows)?;
        dict.set_item("transform", transform(py, self.transform.as_ref())?)?;
        dict.set_item("duplicate_rows", self.duplicate_rows)?;
        dict.set_item("replaced_rows", &self.replaced_rows)?;
        dict.set_item("missing", &self.missing)?;
        dict.set_item("count", self.count)?;
        dict.set_item("completeness", self.completeness.map_or("unknown", completeness))?;
        dict.set_item("digest", &self.digest)?;
        dict.set_item("pages", self.pages)?;
        dict.set_item("requests", self.requests)?;
        dict.set_item("retries", self.retries)?;
        dict.set_item("received_bytes", self.received_bytes)?;
        dict.set_item("seconds", self.seconds)?;
        Ok(dict)
    }
}

/// Logs a warning for each field that no row has, and for each expression that is null on every row. Returns them.
///
/// Call it on the thread of the work: `logging` takes the GIL.
pub(crate) fn warned(missing: &[String], rows: u64) -> Vec<String> {
    let sentences = missing_values(missing, rows);
    for sentence in &sentences {
        tracing::warn!(target: "overmind_export::transform", "{sentence}");
    }
    sentences
}

/// Returns a transformation as the dictionary of its JSON.
pub(crate) fn transform<'py>(
    py: Python<'py>,
    transform: Option<&TransformRecord>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(transform) = transform else { return Ok(None) };
    let json = serde_json::to_string(transform)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    py.import("json")?.call_method1("loads", (json,)).map(Some)
}

/// Returns the word for a completeness, as in a manifest.
pub(crate) fn completeness(completeness: Completeness) -> &'static str {
    match completeness {
        Completeness::Proven => "proven",
        Completeness::Partial => "partial",
    }
}
