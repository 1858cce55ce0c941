//! The options of a transformation, and their compiled form.

use std::{fmt, str::FromStr, sync::atomic::AtomicBool, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    expression::{EvaluationFailure, Expression},
    sample::Sample,
};
use crate::{
    client::Row,
    error::{Error, Result},
};

/// Version of the expression language, as in `Cargo.lock`. It decides which rows an expression keeps.
const LANGUAGE: &str = "jaq 3.1";

/// What to do with a row on which an expression fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// End the run.
    #[default]
    Fail,
    /// Take null as the result of the expression. A row whose condition is null is left out.
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
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    conditions: Vec<String>,
    sample: Option<f64>,
    seed: u64,
    on_error: OnError,
    expression_timeout: Duration,
}

impl Default for Transform {
    fn default() -> Self {
        Self::new()
    }
}

impl Transform {
    /// Default time limit of the expressions of one row: 10 s.
    pub const EXPRESSION_TIMEOUT: Duration = Duration::from_secs(10);

    /// Returns the transformation that changes nothing.
    pub fn new() -> Self {
        Self {
            conditions: Vec::new(),
            sample: None,
            seed: 0,
            on_error: OnError::default(),
            expression_timeout: Self::EXPRESSION_TIMEOUT,
        }
    }

    /// Keeps only the rows for which any output of this jq expression is neither false nor null. All conditions
    /// must hold.
    #[must_use]
    pub fn keep_where(mut self, expression: impl Into<String>) -> Self {
        self.conditions.push(expression.into());
        self
    }

    /// Keeps about this fraction of the rows, such as 0.05. The choice depends only on the input of a row and on
    /// the seed: rows with equal inputs are kept together, in every version of the dataset.
    #[must_use]
    pub fn sample(mut self, fraction: f64) -> Self {
        self.sample = Some(fraction);
        self
    }

    /// Sets the seed of the sample; default 0. Another seed chooses other rows.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets what to do with a row on which an expression fails; default [`OnError::Fail`].
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Sets the time limit of the expressions of one row; default
    /// [`EXPRESSION_TIMEOUT`](Self::EXPRESSION_TIMEOUT). When it is reached, the run fails, whatever
    /// [`on_error`](Self::on_error) says.
    #[must_use]
    pub fn expression_timeout(mut self, timeout: Duration) -> Self {
        self.expression_timeout = timeout;
        self
    }

    /// Compiles the expressions; `None` if the transformation changes nothing.
    ///
    /// # Errors
    /// [`Error::Expression`] or [`Error::Invalid`] for the first wrong option.
    pub(crate) fn compile(&self) -> Result<Option<Shaper>> {
        if self.expression_timeout.is_zero() {
            return Err(Error::invalid("expression timeout", "0s", "it must be longer than zero"));
        }
        let conditions = self.conditions.iter().map(|text| Expression::compile("where", text));
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        let sample = self.sample.map(|fraction| Sample::new(fraction, self.seed)).transpose()?;
        if conditions.is_empty() && sample.is_none() {
            return Ok(None);
        }
        let recorded = TransformRecord {
            language: LANGUAGE.to_owned(),
            conditions: self.conditions.clone(),
            sample: self.sample,
            seed: sample.is_some().then_some(self.seed),
            on_error: self.on_error,
        };
        let (on_error, timeout) = (self.on_error, self.expression_timeout);
        Ok(Some(Shaper { conditions, sample, on_error, timeout, recorded }))
    }
}

/// How the rows of an export were chosen, as the manifest and the files record it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TransformRecord {
    /// The expression language and its version.
    pub language: String,
    /// The conditions. A row was kept if all of them hold.
    #[serde(rename = "where", default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// The fraction of the rows to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
    /// The seed of the sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What was done with a row on which an expression failed.
    pub on_error: OnError,
}

// The fraction is a number that the options have checked, so equality is total.
impl Eq for TransformRecord {}

/// A compiled transformation.
#[derive(Debug)]
pub(crate) struct Shaper {
    conditions: Vec<Expression>,
    sample: Option<Sample>,
    on_error: OnError,
    timeout: Duration,
    recorded: TransformRecord,
}

/// The decision about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Drop,
    /// An expression failed, and the row is left out.
    Failed,
}

/// The option whose expression failed, and why.
#[derive(Debug)]
pub(super) struct ShapeFailure {
    pub(super) option: &'static str,
    pub(super) why: String,
    pub(super) stopped: bool,
}

impl Shaper {
    /// Returns the record of the transformation.
    pub(crate) fn recorded(&self) -> &TransformRecord {
        &self.recorded
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Decides about a row. `stop` can be set by another thread, to stop the evaluation.
    pub(super) fn decide(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
    ) -> Result<Result<Verdict, ShapeFailure>> {
        for condition in &self.conditions {
            let failed =
                |why, stopped| Ok(Err(ShapeFailure { option: condition.option(), why, stopped }));
            match condition.is_true(row, stop) {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(Verdict::Drop)),
                Err(EvaluationFailure::Row(why)) if self.on_error == OnError::Fail => {
                    return failed(format!("failed: {why}"), false);
                }
                Err(EvaluationFailure::Row(_)) => return Ok(Ok(Verdict::Failed)),
                Err(EvaluationFailure::Stack) => {
                    return failed("was stopped: it nests too deeply".to_owned(), true);
                }
                Err(EvaluationFailure::Stopped) => return failed(endless(self.timeout), true),
                Err(EvaluationFailure::Panicked(message)) => {
                    return failed(format!("was stopped by a bug: {message}"), true);
                }
            }
        }
        let is_sampled = self.sample.as_ref().is_none_or(|sample| sample.keeps(row));
        Ok(Ok(if is_sampled { Verdict::Keep } else { Verdict::Drop }))
    }
}

/// The text for an evaluation that took longer than the limit.
pub(super) fn endless(timeout: Duration) -> String {
    format!("did not end within {}", crate::error::human(timeout))
}
