//! Columns of a file that are not read: those that no export has, those of a wrong type, and those that the caller leaves
//! out.

use super::{ReadOptions, Reader, json_lines};
use crate::{
    error::{Error, Result},
    location::Location,
};

/// Columns of a file that no export has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Foreign {
    /// The first error about a column that has an export's column name but a wrong type, or occurs twice.
    pub(super) types: Option<String>,
    /// The unknown names.
    pub(super) names: Vec<String>,
    /// The names of columns of an export that are not read.
    pub(super) unread: Vec<String>,
    /// Whether the file has no column of an export at all.
    pub(super) only: bool,
}

/// Opens a file without a record. Returns the options for its rows: those for all columns if it states a digest of them.
pub(crate) fn open_unrecorded(
    path: &Location,
    options: &ReadOptions,
) -> Result<(Reader, ReadOptions)> {
    let reader = super::open(path, options)?;
    if reader.facts.is_none() {
        return Ok((reader, options.clone()));
    }
    let all = options.of_all_columns();
    let is_whole = options.columns.is_empty() && options.unused.is_empty();
    Ok((if is_whole { reader } else { super::open(path, &all)? }, all))
}

impl Reader {
    /// Refuses every column that no export has: unknown names and wrong types.
    pub(crate) fn require_export(&self, path: &Location) -> Result<()> {
        self.require_export_but(path, &[])
    }

    /// Like [`require_export`](Self::require_export), but allows unknown columns of these names.
    pub(crate) fn require_export_but(&self, path: &Location, unused: &[String]) -> Result<()> {
        let is_unused = |name: &str| unused.iter().any(|it| it == name);
        let why = self.foreign.types.clone().or_else(|| self.foreign_name(is_unused));
        why.map_or(Ok(()), |why| Err(Error::column(path.to_path(), why, None)))
    }

    /// Returns why the first column that no export has is wrong, unless its name is one of these.
    pub(crate) fn foreign_name(&self, is_unused: impl Fn(&str) -> bool) -> Option<String> {
        let other = self.foreign.names.iter().find(|name| !is_unused(name))?;
        Some(unknown_column(other))
    }

    /// Returns the names of the columns that no export has. They are not decoded.
    pub(crate) fn foreign_names(&self) -> &[String] {
        &self.foreign.names
    }

    /// Returns the names of columns that are not decoded: all of them, or of lines those that the options name as unused.
    /// Lines are read until each of these was found.
    pub(crate) fn unread_names(
        &self,
        path: &Location,
        options: &ReadOptions,
    ) -> Result<Vec<String>> {
        match &self.schema {
            Some(_) => Ok([&self.foreign.names[..], &self.foreign.unread].concat()),
            None => json_lines::unused_names(path, options),
        }
    }

    /// Refuses export columns of a wrong type, and files without any export column. Columns with unknown names are
    /// allowed.
    pub(crate) fn require_columns(&self, path: &Location) -> Result<()> {
        if let Some(why) = &self.foreign.types {
            return Err(Error::column(path.to_path(), why.clone(), None));
        }
        let unknown = self.foreign_name(|_| false).filter(|_| self.foreign.only);
        unknown.map_or(Ok(()), |why| Err(Error::Damaged { path: path.to_path(), why }))
    }
}

pub(crate) fn unknown_column(name: &str) -> String {
    format!("it has a column {name:?}, which no export has")
}
