//! How a transformation is recorded: its options, in the form that decides which rows are kept and what they become.

use serde::{Deserialize, Serialize};

use super::{computed::ComputedColumnRecord, options::OnError, splits::SplitRecord};
use crate::batch::OutputColumn;

/// How the rows of an export were chosen and changed, as the manifest and the files record it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TransformRecord {
    /// The expression language and its version, if there are expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The conditions. A row was kept if all of them hold.
    #[serde(rename = "where", default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// The computed columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ComputedColumnRecord>,
    /// The expression whose outputs are the lines that were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// The expression by which rows were compared: only the first of equal rows was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<String>,
    /// What was done with a row on which an expression failed, if there are expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// The fraction of the rows to keep, as a decimal number.
    // A text, because not every reader of JSON returns the same floating-point number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// The splits of the rows, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<SplitRecord>,
    /// The expression for the key of a row, which decides about the sample and the split. `None` is `.input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_by: Option<String>,
    /// The seed of the sample and of the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The paths whose values were replaced by null, each in its shortest form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<String>,
    /// The paths whose values were replaced by pseudonyms, each in its shortest form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pseudonymise: Vec<String>,
    /// A check value of the key of the pseudonyms: another key has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym_key: Option<String>,
}

impl TransformRecord {
    /// Whether a file can lack rows that were read for it: they are left out, or in another split.
    pub(crate) fn leaves_out_rows(&self) -> bool {
        !self.keeps_every_row() || !self.split.is_empty()
    }

    /// Whether a row on which an expression failed can be kept: a computed column or a key of the row is then null.
    pub(crate) fn keeps_failed_rows(&self) -> bool {
        let has_keys = self.dedupe.is_some() || self.split_by.is_some();
        self.on_error == Some(OnError::Null) && (has_keys || !self.columns.is_empty())
    }

    /// Whether every row that is read gives one row of the export.
    pub(crate) fn keeps_every_row(&self) -> bool {
        let is_whole = self.conditions.is_empty() && self.sample.is_none() && self.dedupe.is_none();
        is_whole && self.map.is_none() && self.on_error != Some(OnError::Skip)
    }

    /// Whether every row stays as it is, and a split only decides where it is written.
    pub(crate) fn only_splits(&self) -> bool {
        self.keeps_every_row() && self.columns.is_empty() && self.replaced_paths() == 0
    }

    /// Returns the number of paths whose values were replaced.
    pub(crate) fn replaced_paths(&self) -> usize {
        self.mask.len() + self.pseudonymise.len()
    }

    /// Returns the computed columns. A record of another program can have columns that no export has: those are left
    /// out.
    pub(crate) fn output_columns(&self) -> Vec<OutputColumn> {
        let column = |it: &ComputedColumnRecord| OutputColumn::computed(&*it.name, it.column_type);
        self.columns.iter().filter_map(|it| column(it).ok()).collect()
    }
}
