//! Values that no representation shows: keys, and settings of object stores that can be secret.

use std::fmt;

use overmind_export::secrecy::{ExposeSecret, SecretString};
use pyo3::{exceptions::PyTypeError, prelude::*, types::PyString};

/// A value that Python code can pass on, but cannot read. Neither a traceback with local variables nor a pickle has it.
#[pyclass(frozen, module = "overmind_export._native")]
pub(crate) struct Secret(Sealed);

enum Sealed {
    Text(SecretString),
    /// Not a string. Contains the name of its type, for the error.
    Wrong(String),
}

impl Secret {
    /// Returns the text; the name of the type if it is not a string.
    pub(crate) fn text(&self) -> Result<&str, &str> {
        match &self.0 {
            Sealed::Text(text) => Ok(text.expose_secret()),
            Sealed::Wrong(kind) => Err(kind),
        }
    }
}

#[pymethods]
impl Secret {
    #[new]
    fn new(value: &Bound<'_, PyAny>) -> Self {
        let text = value.cast::<PyString>().ok().and_then(|text| text.to_str().ok());
        Self(match text {
            Some(text) => Sealed::Text(SecretString::from(text)),
            None => Sealed::Wrong(type_name(value)),
        })
    }

    fn __repr__(&self) -> &'static str {
        "<secret>"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a secret cannot be pickled"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Returns the name of a value's type, for errors.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}
