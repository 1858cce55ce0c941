//! What to read of a source, and what becomes of its rows: the source, the transformation and the columns, checked
//! together.

use std::{path::PathBuf, sync::Arc};

use super::{checks::RowChecks, reader::SourceReader, replaced, resplit, source::ConvertSource};
use crate::{
    batch::{BatchColumn, Column, ColumnSource, OutputColumn},
    error::{Error, Result},
    export::columns::output_columns_of,
    location::Location,
    readback::ReadOptions,
    transform::Shaper,
};

/// A source and what becomes of its rows.
#[derive(Debug, Clone)]
pub(super) struct SourcePlan {
    pub(super) source: Arc<ConvertSource>,
    pub(super) read: ReadOptions,
    pub(super) columns: Vec<BatchColumn>,
    /// The compiled transformation; `None` if it changes nothing.
    pub(super) shaper: Option<Arc<Shaper>>,
}

impl SourcePlan {
    /// Opens the source and checks the transformation and the columns against it. `names` are all columns of the output,
    /// in their order, and `drop` those that it does not have.
    ///
    /// # Errors
    /// Those of [`ConvertSource::open`]. [`Error::Usage`] or [`Error::Invalid`] for columns and expressions that the
    /// source cannot have.
    pub(super) fn open(
        place: &Location,
        read: ReadOptions,
        (names, drop): (Option<&[String]>, &[String]),
        shaper: Option<Arc<Shaper>>,
    ) -> Result<Self> {
        let is_named = |names: &[String], name: &str| names.iter().any(|it| it == name);
        let is_unused =
            |name: &str| names.is_some_and(|names| !is_named(names, name)) || is_named(drop, name);
        let read = fewer_columns(&read, (names, drop), shaper.as_deref());
        let (source, read) = ConvertSource::open(place, &read, is_unused)?;
        if source.has_lines() && shaper.is_some() {
            let why = format!(
                "the rows of {place} are lines that `map` wrote, without fields of the API"
            );
            return Err(Error::Usage(why));
        }
        let columns = chosen_columns(&source, (names, drop), shaper.as_deref())?;
        if let Some(shaper) = &shaper {
            replaced::check(shaper, &source, &columns)?;
            resplit::check(shaper, &source)?;
        }
        Ok(Self { source: Arc::new(source), read, columns, shaper })
    }

    /// Returns the columns, in the order of the output.
    pub(super) fn columns(&self) -> impl Iterator<Item = &OutputColumn> {
        self.columns.iter().map(|it| &it.column)
    }

    /// Returns a reader of all rows. `writes_json` says that JSON columns become values of JSON Lines.
    pub(super) fn reader(&self, writes_json: bool, temp_dir: PathBuf) -> SourceReader {
        let has_record = self.source.origin.has_record;
        SourceReader {
            source: self.source.clone(),
            options: self.read.clone(),
            checks: RowChecks::of(has_record, self.shaper.is_some(), writes_json),
            temp_dir,
        }
    }
}

/// Returns the options for a file that does not state its rows: a column that is left out is not read, unless the
/// transformation reads it.
fn fewer_columns(
    read: &ReadOptions,
    (names, drop): (Option<&[String]>, &[String]),
    shaper: Option<&Shaper>,
) -> ReadOptions {
    let trimmed = |name: &String| name.trim().to_owned();
    let read_by_shaper: Vec<&str> = shaper.map(Shaper::columns_read).unwrap_or_default();
    let is_unused = |name: &String| !read_by_shaper.contains(&name.as_str());
    let columns = names.into_iter().flatten().map(trimmed);
    let columns = columns.chain(read_by_shaper.iter().map(|name| (*name).to_owned()));
    let columns = if names.is_some() { columns.collect() } else { Vec::new() };
    let unused = drop.iter().map(trimmed).filter(is_unused).collect();
    ReadOptions { columns, unused, ..read.clone() }
}

/// Returns the columns of the output, and where their values come from.
fn chosen_columns(
    source: &ConvertSource,
    (names, drop): (Option<&[String]>, &[String]),
    shaper: Option<&Shaper>,
) -> Result<Vec<BatchColumn>> {
    let has = |name: &str| source.columns.iter().any(|column| column.name() == name);
    for column in shaper.into_iter().flat_map(Shaper::columns) {
        let lower = column.name().to_lowercase();
        let is_similar =
            |it: &&OutputColumn| it.name() != column.name() && it.name().to_lowercase() == lower;
        if let Some(other) = source.columns.iter().find(is_similar) {
            let why = format!("it differs from the column {other} of the source only in case");
            return Err(Error::invalid("column", column.name(), why));
        }
    }
    if let Some(shaper) = shaper {
        shaper.require_fields(|name| lacks(name, has))?;
    }
    let columns = source.columns.iter().cloned().enumerate();
    let all = columns.map(|(index, column)| {
        // Values of the same name in the source are not those of the API, if the source has computed them.
        BatchColumn { column, source: ColumnSource::Batch(index) }
    });
    // With `columns`, `drop` has no effect, and the check of both says so.
    let is_read =
        |name: &&String| names.is_some() || !source.unread.iter().any(|it| it == name.trim());
    let drop: Vec<String> = drop.iter().filter(is_read).cloned().collect();
    output_columns_of(all.collect(), names, &drop, shaper)
}

/// Returns why an expression cannot read the field of this name; `None` if it can.
fn lacks(name: &str, has: impl Fn(&str) -> bool) -> Option<String> {
    let others = Column::AdditionalProperties.name();
    match name.parse::<Column>() {
        Ok(column) if column.name() != others => {
            (!has(name)).then(|| format!("the source has no column {name}"))
        }
        _ if has(name) && name != others => Some(format!(
            "{name} is a computed column of the source, and expressions read only fields of the API"
        )),
        _ => (!has(others)).then(|| {
            format!("{name} is none of the usual fields, and the source has no column {others}")
        }),
    }
}
