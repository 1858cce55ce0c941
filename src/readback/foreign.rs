//! Reads the first rows of a Parquet file that is not an export, with the file's own columns and types.

use std::{path::Path, sync::Arc};

use parquet::{
    errors::ParquetError,
    file::metadata::ParquetMetaData,
    record::{Field, reader::TreeBuilder},
    schema::types::{SchemaDescriptor, Type},
};

use super::{
    ReadOptions,
    checked_pages::CheckedGroup,
    damaged, guarded, is_single_file,
    parquet::{check_pages, decode, footer},
    shared::SharedFile,
};
use crate::{
    error::{Error, Result},
    location::Location,
    sink::{Encoding, Format},
    text::did_you_mean,
};

/// A Parquet file with a column that no export has.
pub(crate) struct ForeignFile {
    path: Location,
    file: SharedFile,
    metadata: Arc<ParquetMetaData>,
    /// The columns to read.
    schema: Arc<SchemaDescriptor>,
    options: ReadOptions,
}

impl ForeignFile {
    /// Opens a file. `None` if it is an export, or no Parquet file.
    ///
    /// # Errors
    /// The errors of opening a file of an export. [`Error::Usage`] when the file lacks a column of the options.
    pub(crate) fn open(path: &Location, options: &ReadOptions) -> Result<Option<Self>> {
        let encoding = Encoding::of_path(Path::new(&path.name()));
        let is_parquet = encoding.is_some_and(|it| it.format() == Format::Parquet);
        if !is_parquet || !is_single_file(path)? {
            return Ok(None);
        }
        let options = options.within_bounds();
        let all = ReadOptions { columns: Vec::new(), ..options.clone() };
        if super::open(path, &all)?.require_export(path).is_ok() {
            return Ok(None);
        }
        let file = SharedFile::new(path.open()?);
        let end = footer(path, &file)?;
        guarded(path, || {
            let metadata = Arc::new(decode(path, &end)?);
            let found = metadata.file_metadata().schema_descr().root_schema().get_fields();
            let lacks = |column: &&String| !found.iter().any(|it| it.name() == *column);
            if let Some(column) = options.columns.iter().find(lacks) {
                let meant = did_you_mean(column, found.iter().map(|it| it.name()));
                return Err(Error::Usage(format!("the file has no column {column}{meant}")));
            }
            let fields = found.iter().filter(|it| options.wants(it.name()));
            let root = Type::group_type_builder("schema").with_fields(fields.cloned().collect());
            let root = root.build().map_err(|error| damaged(path, error.into()))?;
            let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
            let path = path.clone();
            Ok(Some(Self { path, file, metadata, schema, options: options.clone() }))
        })
    }

    /// Returns the names of the columns, in the file's order.
    pub(crate) fn columns(&self) -> Vec<&str> {
        self.schema.root_schema().get_fields().iter().map(|field| field.name()).collect()
    }

    /// Returns the recorded number of rows.
    pub(crate) fn rows(&self) -> Option<u64> {
        self.metadata.file_metadata().num_rows().try_into().ok()
    }

    /// Calls `visit` with the values of each of the first rows, in the order of the columns.
    pub(crate) fn first_rows(
        &self,
        rows: usize,
        mut visit: impl FnMut(Vec<Field>) -> Result<()>,
    ) -> Result<()> {
        let mut left = rows;
        for index in 0..self.metadata.num_row_groups() {
            if left == 0 {
                break;
            }
            guarded(&self.path, || {
                self.row_group(index, left, |row| {
                    left -= 1;
                    visit(row)
                })
            })?;
        }
        Ok(())
    }

    /// Decodes the first rows of a row group, after checking that its pages fit into memory.
    fn row_group(
        &self,
        index: usize,
        rows: usize,
        mut visit: impl FnMut(Vec<Field>) -> Result<()>,
    ) -> Result<()> {
        let failed = |error: ParquetError| self.file.error(&self.path, error.into());
        let names = self.columns();
        let fields = self.metadata.file_metadata().schema_descr().root_schema().get_fields();
        let is_wanted = |root: usize| fields.get(root).is_some_and(|it| names.contains(&it.name()));
        let group = (&*self.metadata, index);
        let at_once = check_pages(&self.path, &self.file, group, is_wanted, &self.options)?.rows;
        let reader = CheckedGroup::new(&self.file, &self.metadata, index);
        let tree = TreeBuilder::new().with_batch_size(at_once.min(rows));
        let values = tree.as_iter(self.schema.clone(), &reader).map_err(failed)?;
        for row in values.take(rows) {
            let columns = row.map_err(failed)?.into_columns();
            visit(columns.into_iter().map(|(_, value)| value).collect())?;
        }
        Ok(())
    }
}
