//! Rows in memory, as Arrow record batches. Consumers get them over the Arrow C interface, without a copy.

use std::sync::Arc;

use arrow_array::{
    Array, RecordBatch, RecordBatchIterator, RecordBatchReader, cast::AsArray,
    ffi_stream::FFI_ArrowArrayStream, types::Int64Type,
};
use arrow_schema::{DataType, Schema, SchemaRef, ffi::FFI_ArrowSchema};
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyCapsule, PyDict, PyList},
};

use crate::summary::ReadFacts;

/// Rows in memory.
#[pyclass(frozen, module = "overmind_export._native")]
#[derive(Debug)]
pub(crate) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    facts: Option<ReadFacts>,
}

impl Table {
    pub(crate) fn new(
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        facts: Option<ReadFacts>,
    ) -> Self {
        Self { schema, batches, facts }
    }
}

#[pymethods]
impl Table {
    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[getter]
    fn column_names(&self) -> Vec<String> {
        names(&self.schema)
    }

    /// Returns the size of the buffers in bytes. A buffer can be larger than its values.
    #[getter]
    fn nbytes(&self) -> usize {
        self.batches.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    /// Returns the arguments of the class `Summary`; `None` for one batch of a stream.
    #[getter]
    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.facts.as_ref().map(|facts| facts.to_dict(py)).transpose()
    }

    /// Returns the first rows as lists of Python values.
    fn head<'py>(&self, py: Python<'py>, rows: usize) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for batch in &self.batches {
            for row in 0..batch.num_rows().min(rows.saturating_sub(list.len())) {
                let values = PyList::empty(py);
                for column in batch.columns() {
                    append(&values, column, row)?;
                }
                list.append(values)?;
            }
        }
        Ok(list)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The protocol allows to ignore another wanted schema.
        let _ = requested_schema;
        let batches = self.batches.clone().into_iter().map(Ok);
        stream_capsule(py, Box::new(RecordBatchIterator::new(batches, self.schema.clone())))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.schema)
    }
}

/// Appends a value of a column.
fn append(values: &Bound<'_, PyList>, column: &Arc<dyn Array>, row: usize) -> PyResult<()> {
    match column.data_type() {
        _ if column.is_null(row) => values.append(values.py().None()),
        DataType::Int64 => values.append(column.as_primitive::<Int64Type>().value(row)),
        _ => match column.as_string_opt::<i32>() {
            Some(texts) => values.append(texts.value(row)),
            None => values.append(values.py().None()),
        },
    }
}

pub(crate) fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

pub(crate) fn stream_capsule(
    py: Python<'_>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

pub(crate) fn schema_capsule<'py>(
    py: Python<'py>,
    schema: &Schema,
) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = FFI_ArrowSchema::try_from(schema)
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}
