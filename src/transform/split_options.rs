//! The options of a transformation that split rows.

use super::{
    options::Transform,
    splits::{SplitRequest, SplitsText},
};

impl Transform {
    /// Splits the rows into files for different uses, such as 0.9 of them for `train` and 0.1 for `test`. The output of the
    /// export or the conversion must be a directory: the files of a split are in a folder of its name.
    ///
    /// The choice depends only on the [key](Self::split_by) of a row and on the [seed](Self::seed): rows with equal inputs
    /// are in one split, in every version of the dataset. It does not depend on a [sample](Self::sample) with the same
    /// seed. The order of the splits counts: as long as the first fractions stay the same, these splits keep their rows.
    ///
    /// From 2 to 16 splits. A name has up to 64 letters, digits, `_` and `-`, and begins with a letter or a digit. Each
    /// fraction is above 0, and they sum to 1, with a tolerance of 1e-9. Anything else is an error of the plan.
    ///
    /// ```
    /// use overmind_export::{ExportOptions, ExportPlan, Transform};
    /// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
    /// let transform = Transform::new().split([("train", 0.9), ("test", 0.1)]).split_by(".tags.user");
    /// let options = ExportOptions { transform, ..ExportOptions::new(dataset, "rows/") };
    /// ExportPlan::new(options)?;
    /// # Ok::<(), overmind_export::Error>(())
    /// ```
    #[must_use]
    pub fn split<N: Into<String>>(mut self, splits: impl IntoIterator<Item = (N, f64)>) -> Self {
        let request = |(name, fraction): (N, f64)| SplitRequest { name: name.into(), fraction };
        self.splits = splits.into_iter().map(request).collect();
        self
    }

    /// Splits the rows like [`split`](Self::split), from a text.
    pub(crate) fn split_text(mut self, splits: SplitsText) -> Self {
        self.splits = splits.0;
        self
    }

    /// Sets the jq expression for the key of a row; default `.input`. Rows whose keys are equal as JSON are in one split,
    /// and a sample keeps or leaves out all of them. No output is the key null, several are an error of the row. Without a
    /// split or a sample, a key is an error of the plan.
    #[must_use]
    pub fn split_by(mut self, expression: impl Into<String>) -> Self {
        self.split_by = Some(expression.into());
        self
    }
}
