//! How a transformation chooses rows by hashes of their keys: its sample and its splits.

use std::{borrow::Cow, sync::atomic::AtomicBool};

use super::{
    columns::FieldsRead, expression::EvaluationFailure, paths::ValuePath, shaper::Shaper,
    splits::Splits,
};
use crate::{
    batch::Column,
    client::Row,
    error::{Error, Result},
};

/// Why rows that are passed on as one stream have no splits.
const NO_FOLDERS: &str =
    "`split` needs an output with a folder for each split: export or convert to a directory";

impl Shaper {
    /// Returns the names of the splits, in their order; none without a split.
    pub(crate) fn splits(&self) -> impl Iterator<Item = &str> {
        self.splits.iter().flat_map(Splits::names)
    }

    /// Returns the fractions of the splits, in their order.
    pub(crate) fn fractions(&self) -> impl Iterator<Item = f64> {
        self.splits.iter().flat_map(Splits::fractions)
    }

    /// Refuses splits of rows that are passed on as one stream.
    ///
    /// # Errors
    /// [`Error::Usage`] for a split.
    pub(crate) fn require_no_splits(&self) -> Result<()> {
        match self.splits.is_some() {
            true => Err(Error::Usage(NO_FOLDERS.to_owned())),
            false => Ok(()),
        }
    }

    /// Whether the key of a row decides what becomes of it.
    pub(super) fn chooses(&self) -> bool {
        self.sample.is_some() || self.splits.is_some()
    }

    /// Whether a row with this key is in the sample; every row is without one.
    pub(super) fn is_in_sample(&self, key: &str) -> bool {
        self.sample.as_ref().is_none_or(|sample| sample.keeps(key))
    }

    /// Returns the number of the split of a row with this key; 0 without splits.
    pub(super) fn split_of(&self, key: &str) -> usize {
        self.splits.as_ref().map_or(0, |splits| splits.of(key))
    }

    /// Returns the option that chooses rows by a hash of their inputs, if one does.
    pub(crate) fn chooses_by_input(&self) -> Option<&'static str> {
        let options = [("sample", self.sample.is_some()), ("split", self.splits.is_some())];
        let chosen = options.into_iter().find(|(_, is_given)| *is_given);
        chosen.filter(|_| self.key.expression().is_none()).map(|(option, _)| option)
    }

    /// Returns the fields that the expression for the keys of a sample or of splits reads, each with the paths in it. A field
    /// without paths may be read whole. None without such an expression.
    pub(crate) fn key_reads(&self) -> Vec<(&str, Vec<&ValuePath>)> {
        let Some(expression) = self.key.expression().filter(|_| self.chooses()) else {
            return Vec::new();
        };
        let names: Vec<&str> = match expression.fields() {
            FieldsRead::All => Column::ALL.iter().map(|column| column.name()).collect(),
            FieldsRead::Named(names) => names.iter().map(String::as_str).collect(),
        };
        let paths_in = |name: &str| {
            let read = expression.paths().iter().map(|read| &read.path);
            read.filter(|path| path.field == name).collect()
        };
        names.into_iter().map(|name| (name, paths_in(name))).collect()
    }

    /// Returns the number of the expression for the key of a row: it comes last.
    pub(super) fn key_number(&self) -> usize {
        self.first_value() + self.columns.len() + usize::from(self.maps())
    }

    /// Returns the key of a row, which decides about the sample and the split.
    pub(super) fn key_of<'a>(
        &self,
        row: &Row<'a>,
        stop: &AtomicBool,
        begin: &dyn Fn(usize),
    ) -> Result<Cow<'a, str>, EvaluationFailure> {
        if self.key.expression().is_some() {
            begin(self.key_number());
        }
        self.key.of(row, stop)
    }
}
