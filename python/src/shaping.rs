//! The options of a transformation: one function reads them for every call.

use std::path::PathBuf;

use overmind_export::{
    ColumnType, Error, GivenSchema, JsonColumns, NestedField, NestingOptions, OnError, Transform,
    TransformPlan,
};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyTuple},
};

use crate::{
    attach::detached,
    errors::raised,
    options::{Options, text, wrong_type},
};

impl Options<'_> {
    /// Returns the transformation of a call. The library checks its expressions, with the columns.
    pub(crate) fn transform(&self) -> PyResult<Transform> {
        let mut transform = Transform::new();
        for condition in self.texts("where", "an expression or a list of expressions")? {
            transform = transform.keep_where(condition);
        }
        if let Some(fraction) = self.fraction("sample")? {
            transform = transform.sample(fraction);
        }
        let splits = self.splits()?;
        if !splits.is_empty() {
            transform = transform.split(splits);
        }
        if let Some(value) = self.get("split_by")? {
            transform = transform.split_by(text("split_by", "an expression", &value)?);
        }
        if let Some(seed) = self.seed()? {
            transform = transform.seed(seed);
        }
        if let Some(key) = self.get("dedupe")? {
            transform = transform.dedupe(text("dedupe", "an expression", &key)?);
        }
        for paths in self.texts("mask", "a path or a list of paths")? {
            transform = transform.mask(paths);
        }
        for paths in self.texts("pseudonymise", "a path or a list of paths")? {
            transform = transform.pseudonymise(paths);
        }
        if let Some(file) = self.get("pseudonym_key_file")? {
            let wrong = |_| wrong_type("pseudonym_key_file", "a path", &file);
            transform = transform.pseudonym_key_file(file.extract::<PathBuf>().map_err(wrong)?);
        }
        if let Some(on_error) = self.parsed::<OnError>("on_error")? {
            transform = transform.on_error(on_error);
        }
        if let Some(timeout) = self.seconds("expression_timeout")? {
            transform = transform.expression_timeout(timeout);
        }
        if let Some(columns) = self.get("column")? {
            let wrong = || wrong_type("column", "a dictionary of names and expressions", &columns);
            for (name, column) in columns.cast::<PyDict>().map_err(|_| wrong())? {
                let name = text("column", "a dictionary whose names are strings", &name)?;
                let (column_type, expression) = self.computed(&column)?;
                transform = transform.column(name, column_type, expression);
            }
        }
        // Calls that return columns do not accept this option.
        if let Some(map) = self.get("map")? {
            transform = transform.map(text("map", "an expression", &map)?);
        }
        Ok(transform)
    }

    /// Returns the form of all JSON columns, and the options of nested ones. Both can be given for single columns.
    pub(crate) fn nesting(&self) -> PyResult<(Option<JsonColumns>, NestingOptions)> {
        const FORMS: &str = "a form, or a dictionary of columns and their forms";
        let mut nesting = NestingOptions {
            nest: self.texts("nest", "a path or a list of paths")?,
            text: self.texts("text", "a path or a list of paths")?,
            max_columns: self.at_least("max_columns", 1)?,
            schema: self.schema()?,
            rescue: self.flag("rescue")?.unwrap_or(false),
            ..NestingOptions::default()
        };
        let Some(value) = self.get("json_columns")? else { return Ok((None, nesting)) };
        let parsed = |form: &Bound<'_, PyAny>| {
            let form = text("json_columns", FORMS, form)?;
            form.parse().map_err(|error| raised(self.py(), &error))
        };
        let Ok(forms) = value.cast::<PyDict>() else { return Ok((Some(parsed(&value)?), nesting)) };
        for (name, form) in forms {
            nesting.columns.push((text("json_columns", FORMS, &name)?, parsed(&form)?));
        }
        Ok((None, nesting))
    }

    /// Returns the types of nested columns: those of a file, or of a dictionary with the content of one.
    fn schema(&self) -> PyResult<Option<Vec<NestedField>>> {
        let Some(value) = self.get("schema")? else { return Ok(None) };
        let schema = if value.is_instance_of::<PyDict>() {
            let json = self.py().import("json")?.call_method1("dumps", (&value,))?;
            json.extract::<String>()?.parse()
        } else {
            let wrong = |_| wrong_type("schema", "a path or a dictionary", &value);
            let path: PathBuf = value.extract().map_err(wrong)?;
            detached(self.py(), || GivenSchema::open(&path))
        };
        let types = schema.and_then(GivenSchema::into_types);
        types.map(Some).map_err(|error| raised(self.py(), &error))
    }

    /// Checks the transformation and the columns of a call that reads rows.
    pub(crate) fn transform_plan(&self) -> PyResult<TransformPlan> {
        let transform = self.transform()?;
        let (columns, drop) = (self.chosen_columns()?, self.dropped()?);
        let plan = TransformPlan::new(&transform, columns.as_deref(), &drop);
        plan.map_err(|error| raised(self.py(), &error))
    }

    pub(crate) fn chosen_columns(&self) -> PyResult<Option<Vec<String>>> {
        self.names("columns", "list of columns")
    }

    pub(crate) fn dropped(&self) -> PyResult<Vec<String>> {
        Ok(self.names("drop", "list of columns to drop")?.unwrap_or_default())
    }

    /// Returns one text, or a list of them. `what` says what they are.
    pub(crate) fn texts(&self, name: &str, what: &str) -> PyResult<Vec<String>> {
        let Some(value) = self.get(name)? else { return Ok(Vec::new()) };
        if value.is_instance_of::<PyString>() {
            return Ok(vec![text(name, what, &value)?]);
        }
        value.extract().map_err(|_| wrong_type(name, what, &value))
    }

    /// Returns a number between 0 and 1, which the library checks.
    fn fraction(&self, name: &str) -> PyResult<Option<f64>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
        match is_number && !value.is_instance_of::<PyBool>() {
            true => value.extract().map(Some),
            false => Err(wrong_type(name, "a number", &value)),
        }
    }

    /// Returns the names and the fractions of the splits, in their order.
    fn splits(&self) -> PyResult<Vec<(String, f64)>> {
        let Some(value) = self.get("split")? else { return Ok(Vec::new()) };
        let wrong = || wrong_type("split", "a dictionary of names and fractions", &value);
        let mut splits = Vec::new();
        for (name, fraction) in value.cast::<PyDict>().map_err(|_| wrong())? {
            let is_number =
                fraction.is_instance_of::<PyInt>() || fraction.is_instance_of::<PyFloat>();
            if !is_number || fraction.is_instance_of::<PyBool>() {
                return Err(wrong());
            }
            let name = text("split", "a dictionary whose names are strings", &name)?;
            splits.push((name, fraction.extract()?));
        }
        if splits.is_empty() { Err(wrong()) } else { Ok(splits) }
    }

    /// Returns the seed. A number that does not fit is refused: another one would choose other rows.
    fn seed(&self) -> PyResult<Option<u64>> {
        let Some(value) = self.get("seed")? else { return Ok(None) };
        let index = value.call_method0("__index__");
        let (Ok(index), false) = (index, value.is_instance_of::<PyBool>()) else {
            return Err(wrong_type("seed", "a whole number", &value));
        };
        index.extract().map(Some).map_err(|_| {
            let why = "give a whole number from 0 to 2^64 - 1".to_owned();
            let error = Error::Invalid { what: "seed", value: index.to_string(), why };
            raised(self.py(), &error)
        })
    }

    /// Returns the type and the expression of a computed column.
    fn computed(&self, column: &Bound<'_, PyAny>) -> PyResult<(Option<ColumnType>, String)> {
        let what = "an expression, or a pair of a type and an expression, for each name";
        let Ok(pair) = column.cast::<PyTuple>() else {
            return Ok((None, text("column", what, column)?));
        };
        let Ok((type_name, expression)) = pair.extract::<(String, String)>() else {
            return Err(PyTypeError::new_err(format!("`column` must have {what}")));
        };
        let parsed = type_name.parse().map_err(|error: Error| raised(self.py(), &error))?;
        Ok((Some(parsed), expression))
    }
}

/// Returns the names and the types of the columns of a call, in their order.
#[pyfunction]
pub(crate) fn column_types(options: Bound<'_, PyDict>) -> PyResult<Vec<(String, &'static str)>> {
    let plan = Options::of_dict(options).transform_plan()?;
    Ok(plan.columns().map(|it| (it.name().to_owned(), it.column_type().name())).collect())
}
