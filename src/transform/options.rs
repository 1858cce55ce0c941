//! The options of a transformation, as a caller gives them.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{computed::ColumnRequest, splits::SplitRequest};
use crate::{
    batch::ColumnType,
    error::{Error, Result},
};

/// What to do with a row on which an expression fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// End the run.
    #[default]
    Fail,
    /// Take null as the result of the expression. A row whose condition is null is left out, a computed column is
    /// null, and a map gives no line. A row whose key of [`dedupe`](Transform::dedupe) failed equals no other row.
    Null,
    /// Leave the row out.
    Skip,
}

impl OnError {
    const ALL: [Self; 3] = [Self::Fail, Self::Null, Self::Skip];

    fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Null => "null",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for OnError {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| Error::invalid("value", text, "use fail, null or skip"))
    }
}

/// A computed column as text: `NAME=EXPRESSION` or `NAME:TYPE=EXPRESSION`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnText(ColumnRequest);

impl ColumnText {
    /// Returns the name of the column.
    #[cfg(feature = "cli")]
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }
}

impl FromStr for ColumnText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((column, expression)) = text.split_once('=') else {
            let why = "give a name and an expression, such as topic=.tags.topic";
            return Err(Error::invalid("column", text, why));
        };
        let (name, column_type) = match column.split_once(':') {
            Some((name, column_type)) => (name, Some(column_type.trim().parse()?)),
            None => (column, None),
        };
        let (name, expression) = (name.trim().to_owned(), expression.to_owned());
        Ok(Self(ColumnRequest { name, column_type, expression }))
    }
}

/// A transformation of the rows of an export. The default changes nothing.
///
/// A transformation that only chooses rows never changes them: the JSON of a row is written token for token.
///
/// ```
/// use overmind_export::{ExportOptions, ExportPlan, OnError, Transform};
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let transform = Transform::new()
///     .keep_where(".tags.topic == \"billing\"")
///     .keep_where(".persona != null")
///     .sample(0.05)
///     .on_error(OnError::Skip);
/// let options = ExportOptions { transform, ..ExportOptions::new(dataset, "rows.parquet") };
/// ExportPlan::new(options)?;
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Transform {
    pub(super) conditions: Vec<String>,
    pub(super) columns: Vec<ColumnRequest>,
    pub(super) map: Option<String>,
    pub(super) sample: Option<f64>,
    pub(super) splits: Vec<SplitRequest>,
    pub(super) split_by: Option<String>,
    pub(super) seed: Option<u64>,
    pub(super) dedupe: Option<String>,
    pub(super) mask: Vec<String>,
    pub(super) pseudonymise: Vec<String>,
    pub(super) pseudonym_key_file: Option<PathBuf>,
    pub(super) on_error: Option<OnError>,
    pub(super) expression_timeout: Option<Duration>,
}

impl Transform {
    /// Default time limit of the expressions of one row: 10 s.
    pub const EXPRESSION_TIMEOUT: Duration = Duration::from_secs(10);

    /// Returns the transformation that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps only the rows for which any output of this jq expression is neither false nor null. All conditions
    /// must hold.
    #[must_use]
    pub fn keep_where(mut self, expression: impl Into<String>) -> Self {
        self.conditions.push(expression.into());
        self
    }

    /// Adds a column that this jq expression computes for each row that is kept. With the name of a column of the API,
    /// it replaces that column. Without an output, the value is null. Several outputs, and an output that does not fit
    /// the type, are errors of the row.
    ///
    /// ```
    /// use overmind_export::{ColumnType, Transform};
    /// let transform = Transform::new()
    ///     .column("topic", ColumnType::String, ".tags.topic")
    ///     .column("turns", ColumnType::Int, ".input.messages | length");
    /// # assert_ne!(transform, Transform::new());
    /// ```
    #[must_use]
    pub fn column(
        mut self,
        name: impl Into<String>,
        column_type: impl Into<Option<ColumnType>>,
        expression: impl Into<String>,
    ) -> Self {
        let (name, expression) = (name.into(), expression.into());
        self.columns.push(ColumnRequest { name, column_type: column_type.into(), expression });
        self
    }

    /// Adds a column like [`column`](Self::column), from its text.
    pub(crate) fn computed(mut self, column: ColumnText) -> Self {
        self.columns.push(column.0);
        self
    }

    /// Writes the outputs of this jq expression instead of the rows that are kept: each output is a line of its own, as
    /// it is. A row can have any number of outputs. Only for JSON Lines, and not together with columns.
    ///
    /// ```
    /// use overmind_export::{ExportOptions, ExportPlan, Transform};
    /// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
    /// let transform = Transform::new().map("{messages: .input.messages}");
    /// let options = ExportOptions { transform, ..ExportOptions::new(dataset, "chat.jsonl") };
    /// assert!(ExportPlan::new(options)?.columns().all(|column| column.is_line()));
    /// # Ok::<(), overmind_export::Error>(())
    /// ```
    #[must_use]
    pub fn map(mut self, expression: impl Into<String>) -> Self {
        self.map = Some(expression.into());
        self
    }

    /// Keeps about this fraction of the rows, such as 0.05. The choice depends only on the input of a row, or its
    /// [key](Self::split_by), and on the seed: rows with equal inputs are kept together, in every version of the dataset.
    #[must_use]
    pub fn sample(mut self, fraction: f64) -> Self {
        self.sample = Some(fraction);
        self
    }

    /// Sets the seed of the sample and of the split; default 0. Another seed chooses other rows. Without a sample or a
    /// split, a seed is an error of the plan.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps only the first of the rows for which this jq expression returns equal JSON values, in the order of the
    /// dataset. No output counts as null, and several are an error of the row. It comes after the conditions and the
    /// sample, and before everything that changes the row. The last call counts.
    ///
    /// The hashes of the values are in memory up to 4 MiB, and otherwise in a temporary file.
    #[must_use]
    pub fn dedupe(mut self, expression: impl Into<String>) -> Self {
        self.dedupe = Some(expression.into());
        self
    }

    /// Replaces the values at these paths by null: `.persona`, `.tags.user.email` or `.input.messages[].name`, also
    /// several with commas between them. It comes after the conditions and the sample, and before the columns, which
    /// see the masked row. All other bytes of a row stay as they are.
    ///
    /// A path that leads to no value in any row that is written is an error of the run, because it is probably
    /// misspelled. Every field but `id` and `order` can be masked, also unknown ones.
    ///
    /// ```
    /// use overmind_export::Transform;
    /// let transform = Transform::new().mask(".persona, .tags.user.email").mask(".input.messages[].name");
    /// # assert_ne!(transform, Transform::new());
    /// ```
    #[must_use]
    pub fn mask(mut self, paths: impl Into<String>) -> Self {
        self.mask.push(paths.into());
        self
    }

    /// Replaces the values at these paths, which are as those of [`mask`](Self::mask), by pseudonyms: HMAC-SHA-256 of
    /// the value's canonical JSON text with the key of [`pseudonym_key_file`](Self::pseudonym_key_file), cut to 128
    /// bits, as 32 hexadecimal digits. Equal values have equal pseudonyms, within an export and across exports with
    /// the same key. Null stays null. It comes after the mask, and before the columns.
    ///
    /// ```
    /// use overmind_export::Transform;
    /// let transform = Transform::new().pseudonymise(".persona, .tags.user.id").pseudonym_key_file("key");
    /// # assert_ne!(transform, Transform::new());
    /// ```
    #[must_use]
    pub fn pseudonymise(mut self, paths: impl Into<String>) -> Self {
        self.pseudonymise.push(paths.into());
        self
    }

    /// Sets the file with the key of the pseudonyms: one line of at least 43 random characters, such as `openssl rand
    /// -hex 32` prints. It must be a regular file that not every user can access. It is read when a plan is made, and
    /// nothing shows the key. Records have a check value of it. Without pseudonyms, a key is an error of the plan.
    #[must_use]
    pub fn pseudonym_key_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.pseudonym_key_file = Some(file.into());
        self
    }

    /// Makes the path of the key file independent of the working directory.
    pub(crate) fn with_absolute_key_file(mut self) -> Result<Self> {
        let file = self.pseudonym_key_file.as_deref();
        let file = file.map(|file| std::path::absolute(file).map_err(Error::io("find", file)));
        self.pseudonym_key_file = file.transpose()?;
        Ok(self)
    }

    /// Sets what to do with a row on which an expression fails; default [`OnError::Fail`]. Without an expression, it is
    /// an error of the plan.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = Some(on_error);
        self
    }

    /// Sets the time limit of the expressions of one row; default
    /// [`EXPRESSION_TIMEOUT`](Self::EXPRESSION_TIMEOUT). When it is reached, the run fails, whatever
    /// [`on_error`](Self::on_error) says. Without an expression, a time limit is an error of the plan.
    #[must_use]
    pub fn expression_timeout(mut self, timeout: Duration) -> Self {
        self.expression_timeout = Some(timeout);
        self
    }
}
