//! The options for the form of JSON columns.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use super::values;
use crate::{Error, JsonColumns, NestingOptions, Result, export::schema_file};

#[derive(Debug, Clone, Default, Args)]
pub(super) struct NestingArguments {
    /// JSON columns: text, value (JSON Lines), or nested for structs and lists (Parquet, Arrow); COLUMN=FORM for one
    /// of them [default: value for jsonl, text for others]
    #[arg(long, value_name = "FORM", value_delimiter = ',', value_parser = values::value::<FormText>, help_heading = "Output")]
    json_columns: Vec<FormText>,
    /// Make the object at this path a struct although it looks like a map, such as .input.scores
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    nest: Vec<String>,
    /// Keep the values at this path JSON text, such as .input.messages[].metadata
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    text: Vec<String>,
    /// Nested columns of the types in this file, which `schema` has printed, in one pass; a value that does not fit
    /// ends the run, unless --rescue is given
    #[arg(long, value_name = "FILE", help_heading = "Output", value_parser = super::path())]
    schema: Option<PathBuf>,
    /// Add the JSON column _rescued to nested columns: it keeps the values that do not fit their types, by path
    #[arg(long, help_heading = "Output")]
    rescue: bool,
    /// Number of nested columns; the widest objects stay JSON text if there are more [default: 1000]
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>, help_heading = "Output")]
    max_columns: Option<usize>,
}

impl NestingArguments {
    /// Returns the form of all JSON columns, and the options for single ones.
    pub(super) fn options(self) -> Result<(Option<JsonColumns>, NestingOptions)> {
        let (mut of_all, mut columns) = (None, Vec::new());
        for FormText { column, form } in self.json_columns {
            match column {
                Some(column) => columns.push((column, form)),
                None if of_all.replace(form).is_some() => {
                    let why =
                        "--json-columns has two forms for all columns: give one, or COLUMN=FORM";
                    return Err(Error::Usage(why.to_owned()));
                }
                None => {}
            }
        }
        let Self { nest, text, max_columns, schema, rescue, .. } = self;
        let schema = schema.map(|path| schema_file::read(&path)).transpose()?;
        Ok((of_all, NestingOptions { columns, nest, text, schema, max_columns, rescue }))
    }
}

/// A form, for all columns or for one.
#[derive(Debug, Clone)]
struct FormText {
    column: Option<String>,
    form: JsonColumns,
}

impl FromStr for FormText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((column, form)) => {
                Ok(Self { column: Some(column.to_owned()), form: form.parse()? })
            }
            None => Ok(Self { column: None, form: text.parse()? }),
        }
    }
}
