//! Rows in memory, as Arrow record batches. Consumers get them over the Arrow C interface, without a copy.

use std::sync::Arc;

use arrow_array::{
    Array, RecordBatch, RecordBatchIterator, RecordBatchReader,
    cast::AsArray,
    ffi_stream::FFI_ArrowArrayStream,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use arrow_ipc::{reader::StreamReader, writer::StreamWriter};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef, TimeUnit, ffi::FFI_ArrowSchema};
use overmind_export::{ColumnType, timestamp_text};
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyBytes, PyCapsule, PyDict, PyList},
};

use crate::{attach::detached, summary::ReadFacts};

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

    /// Returns the names of the columns' types.
    #[getter]
    fn column_types(&self) -> Vec<&'static str> {
        types(&self.schema)
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

    /// Returns the first rows, without a copy.
    fn first(&self, rows: usize) -> Self {
        let mut left = rows;
        let mut batches = Vec::new();
        for batch in &self.batches {
            let taken = batch.num_rows().min(left);
            if taken == 0 {
                break;
            }
            batches.push(batch.slice(0, taken));
            left -= taken;
        }
        Self::new(self.schema.clone(), batches, None)
    }

    /// Returns the rows as an Arrow IPC stream.
    fn to_ipc<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let written = detached(py, || {
            let mut writer = StreamWriter::try_new(Vec::new(), &self.schema)?;
            self.batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.into_inner()
        });
        Ok(PyBytes::new(py, &written.map_err(unusable)?))
    }

    /// Reads the rows of an Arrow IPC stream.
    #[staticmethod]
    fn from_ipc(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let read = detached(py, || {
            let reader = StreamReader::try_new(bytes, None)?;
            let schema = reader.schema();
            Ok((schema, reader.collect::<Result<_, _>>()?))
        });
        let (schema, batches) = read.map_err(unusable)?;
        Ok(Self::new(schema, batches, None))
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

/// Appends a value of a column. A time is text.
fn append(values: &Bound<'_, PyList>, column: &Arc<dyn Array>, row: usize) -> PyResult<()> {
    match column.data_type() {
        DataType::List(_) if column.is_valid(row) => {
            let (elements, list) = (column.as_list::<i32>().value(row), PyList::empty(values.py()));
            for element in 0..elements.len() {
                append(&list, &elements, element)?;
            }
            values.append(list)
        }
        _ if column.is_null(row) => values.append(values.py().None()),
        DataType::Int64 => values.append(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => values.append(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => values.append(column.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            values.append(timestamp_text(micros))
        }
        _ => match column.as_string_opt::<i32>() {
            Some(texts) => values.append(texts.value(row)),
            None => values.append(values.py().None()),
        },
    }
}

fn unusable(error: ArrowError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

pub(crate) fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// Returns the names of the types of the columns.
pub(crate) fn types(schema: &Schema) -> Vec<&'static str> {
    let known = schema.fields().iter().map(|field| ColumnType::of_field(field));
    known.map(|kind| kind.unwrap_or_default().name()).collect()
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
    let schema = FFI_ArrowSchema::try_from(schema).map_err(unusable)?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}
