//! Reads the keys of nested columns. The file with a schema is read and checked like the configuration itself.

use std::path::PathBuf;

use super::section::{ConfigItem, ConfigResult, Section};
use crate::{
    error::{Error, Result},
    export::{NestingOptions, schema_file},
    nested::NestPath,
};

/// The keys of nested columns. Missing keys are `None`.
#[derive(Debug, Default, Clone)]
pub(super) struct NestingKeys {
    nest: Option<Vec<String>>,
    text: Option<Vec<String>>,
    max_columns: Option<usize>,
    schema: Option<String>,
}

impl NestingKeys {
    pub(super) fn read(section: &mut Section<'_>) -> ConfigResult<Self> {
        let paths = |item: &ConfigItem<'_>| {
            item.each(|text| match text.parse::<NestPath>() {
                Ok(_) => Ok(text.to_owned()),
                Err(Error::Invalid { why, .. }) => Err(why),
                Err(error) => Err(error.to_string()),
            })
        };
        Ok(Self {
            nest: section.read_list("nest", paths)?,
            text: section.read_list("text", paths)?,
            max_columns: section.read("max_columns", ConfigItem::positive)?,
            schema: section.read_text("schema", ConfigItem::path)?,
        })
    }

    /// Returns these keys, with missing ones taken from the defaults. A default without effect on the job does not apply:
    /// `is_nested` says that all JSON columns are nested, and `can_be` that they can be.
    pub(super) fn or(self, defaults: &Self, (is_nested, can_be): (bool, bool)) -> Self {
        let d = defaults.clone();
        let finds = self.nest.is_some() || self.text.is_some() || self.max_columns.is_some();
        let schema = self.schema.or(d.schema.filter(|_| can_be && !finds));
        let applies = is_nested && schema.is_none();
        Self {
            nest: self.nest.or(d.nest.filter(|_| applies)),
            text: self.text.or(d.text.filter(|_| applies)),
            max_columns: self.max_columns.or(d.max_columns.filter(|_| applies)),
            schema,
        }
    }

    /// Whether the keys name a file with a schema.
    pub(super) fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    /// Returns the options. Reads the file with the schema, whose path `resolve` returns.
    ///
    /// # Errors
    /// The errors of [`schema_file::read`].
    pub(super) fn options(&self, resolve: impl Fn(&str) -> PathBuf) -> Result<NestingOptions> {
        let schema = self.schema.as_ref().map(|path| schema_file::read(&resolve(path)));
        Ok(NestingOptions {
            nest: self.nest.clone().unwrap_or_default(),
            text: self.text.clone().unwrap_or_default(),
            max_columns: self.max_columns,
            schema: schema.transpose()?,
            ..NestingOptions::default()
        })
    }
}
