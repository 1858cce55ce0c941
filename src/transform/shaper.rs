//! A compiled transformation: what becomes of a row, and the record of how it is decided.

use std::{sync::atomic::AtomicBool, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    columns::FieldsRead,
    computed::{ComputedColumn, ComputedColumnRecord},
    expression::{EvaluationFailure, Expression},
    options::{OnError, Transform},
    sample::Sample,
};
use crate::{
    batch::{ComputedValue, OutputColumn, ValueBuilder},
    client::Row,
    error::{Error, Result, human},
    text::quoted,
};

/// The expression language. It decides which rows an expression keeps, so records and fingerprints hold it.
///
/// `fence` is our own number. Raise it when a function of ours gives other results, or when other expressions are
/// valid.
pub(super) const LANGUAGE: &str = "jaq-core 3.1.2, jaq-std 3.0.4, jaq-json 2.0.3, fence 2";

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
    /// What was done with a row on which an expression failed, if there are expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// The fraction of the rows to keep, as a decimal number.
    // A text, because not every reader of JSON returns the same floating-point number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// The seed of the sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl TransformRecord {
    /// Whether a row on which an expression failed can be kept: a computed column is then null.
    pub(crate) fn keeps_failed_rows(&self) -> bool {
        self.on_error == Some(OnError::Null) && !self.columns.is_empty()
    }

    /// Returns the computed columns. A record of another program can have columns that no export has: those are left
    /// out.
    pub(crate) fn output_columns(&self) -> Vec<OutputColumn> {
        let column = |it: &ComputedColumnRecord| OutputColumn::computed(&*it.name, it.column_type);
        self.columns.iter().filter_map(|it| column(it).ok()).collect()
    }
}

/// A compiled transformation.
#[derive(Debug)]
pub(crate) struct Shaper {
    conditions: Vec<Expression>,
    columns: Vec<ComputedColumn>,
    sample: Option<Sample>,
    on_error: OnError,
    timeout: Duration,
    recorded: TransformRecord,
}

/// The decision about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) is_kept: bool,
    /// An expression failed on the row.
    pub(super) has_failed: bool,
}

impl Verdict {
    const KEEP: Self = Self { is_kept: true, has_failed: false };
    const DROP: Self = Self { is_kept: false, has_failed: false };
    const FAILED: Self = Self { is_kept: false, has_failed: true };
}

impl Shaper {
    /// Checks the options and compiles the expressions; `None` if the transformation changes nothing.
    ///
    /// # Errors
    /// [`Error::Expression`], [`Error::Invalid`] or [`Error::Usage`] for the first wrong option.
    pub(crate) fn compile(options: &Transform) -> Result<Option<Self>> {
        let has_expressions = !(options.conditions.is_empty() && options.columns.is_empty());
        let timeout = options.expression_timeout;
        let needless = [
            ("on_error", options.on_error.is_some() && !has_expressions, "`where` or `column`"),
            ("expression_timeout", timeout.is_some() && !has_expressions, "`where` or `column`"),
            ("seed", options.seed.is_some() && options.sample.is_none(), "`sample`"),
        ];
        if let Some((option, _, needed)) =
            needless.into_iter().find(|(_, is_needless, _)| *is_needless)
        {
            return Err(Error::Usage(format!("`{option}` has no effect without {needed}")));
        }
        let timeout = timeout.unwrap_or(Transform::EXPRESSION_TIMEOUT);
        if timeout.is_zero() {
            return Err(Error::invalid("expression timeout", "0s", "it must be longer than zero"));
        }
        let conditions = Expression::compile_all("where", &options.conditions)?;
        let columns = ComputedColumn::compile_all(&options.columns)?;
        let seed = options.seed.unwrap_or_default();
        let sample = options.sample.map(|fraction| Sample::new(fraction, seed)).transpose()?;
        if !has_expressions && sample.is_none() {
            return Ok(None);
        }
        let on_error = options.on_error.unwrap_or_default();
        let recorded = TransformRecord {
            language: has_expressions.then(|| LANGUAGE.to_owned()),
            conditions: options.conditions.clone(),
            columns: columns.iter().map(ComputedColumn::recorded).collect(),
            on_error: has_expressions.then_some(on_error),
            sample: options.sample.map(|fraction| fraction.to_string()),
            seed: sample.is_some().then_some(seed),
        };
        Ok(Some(Self { conditions, columns, sample, on_error, timeout, recorded }))
    }

    /// Returns the record of the transformation.
    pub(crate) fn recorded(&self) -> &TransformRecord {
        &self.recorded
    }

    /// Returns the computed columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &OutputColumn> {
        self.columns.iter().map(|it| &it.column)
    }

    /// Refuses an expression that names a field which the rows do not have. `why` says it of a name. A field that an
    /// expression reads only with the whole row is null.
    ///
    /// # Errors
    /// [`Error::Usage`] for the first such expression, and for a sample of rows without inputs.
    pub(crate) fn require_fields(&self, why: impl Fn(&str) -> Option<String>) -> Result<()> {
        let columns = self.columns.iter().map(|column| &column.expression);
        for expression in self.conditions.iter().chain(columns) {
            let FieldsRead::Named(names) = expression.fields() else { continue };
            if let Some(why) = names.iter().find_map(|name| why(name)) {
                let (option, text) = (expression.option(), quoted(expression.text(), 60));
                return Err(Error::Usage(format!("`{option}` {text} cannot be evaluated: {why}")));
            }
        }
        match why("input").filter(|_| self.sample.is_some()) {
            Some(why) => {
                Err(Error::Usage(format!("`sample` chooses rows by their inputs, and {why}")))
            }
            None => Ok(()),
        }
    }

    /// Returns a builder for the values of each computed column.
    pub(super) fn builders(&self) -> Vec<ValueBuilder> {
        self.columns().map(|column| ValueBuilder::new(column.column_type())).collect()
    }

    /// Whether expressions are evaluated, which need a large stack and a time limit.
    pub(super) fn has_expressions(&self) -> bool {
        !(self.conditions.is_empty() && self.columns.is_empty())
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Decides about a row, and computes the columns of a row that is kept. `begin` is called with the number of each
    /// expression before its evaluation. Another thread can set `stop`, to stop the evaluation.
    ///
    /// # Errors
    /// The failure of the expression that was begun last, if it ends the run.
    pub(super) fn shape(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
        begin: &dyn Fn(usize),
        values: &mut Vec<ComputedValue>,
    ) -> Result<Verdict, EvaluationFailure> {
        values.clear();
        for (number, condition) in self.conditions.iter().enumerate() {
            begin(number);
            match condition.is_true(row, stop) {
                Ok(true) => {}
                Ok(false) => return Ok(Verdict::DROP),
                // A condition that is null does not hold.
                Err(EvaluationFailure::Row(_)) if self.on_error != OnError::Fail => {
                    return Ok(Verdict::FAILED);
                }
                Err(failure) => return Err(failure),
            }
        }
        if !self.sample.as_ref().is_none_or(|sample| sample.keeps(row)) {
            return Ok(Verdict::DROP);
        }
        let mut verdict = Verdict::KEEP;
        for (number, column) in self.columns.iter().enumerate() {
            begin(self.conditions.len() + number);
            match column.value(row, stop) {
                Ok(value) => values.push(value),
                Err(EvaluationFailure::Row(_)) if self.on_error == OnError::Skip => {
                    return Ok(Verdict::FAILED);
                }
                Err(EvaluationFailure::Row(_)) if self.on_error == OnError::Null => {
                    values.push(ComputedValue::Null);
                    verdict.has_failed = true;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(verdict)
    }

    /// Returns the error for a failure of the expression with this number, on this row.
    pub(super) fn error(
        &self,
        (page, row, id): (u64, u64, uuid::Uuid),
        number: usize,
        failure: EvaluationFailure,
    ) -> Error {
        let columns = self.columns.iter().map(|column| &column.expression);
        let (option, expression) = match self.conditions.iter().chain(columns).nth(number) {
            Some(expression) => (expression.option(), expression.text().to_owned()),
            None => ("where", String::new()),
        };
        let (why, stopped) = match failure {
            EvaluationFailure::Row(why) => (format!("failed: {why}"), false),
            EvaluationFailure::Stack => ("was stopped: it nests too deeply".to_owned(), true),
            EvaluationFailure::Stopped => {
                (format!("did not end within {}", human(self.timeout)), true)
            }
            EvaluationFailure::Panicked(why) => (format!("was stopped by a bug: {why}"), true),
        };
        Error::Row { page, row, id, option, expression, why, stopped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_has_the_locked_versions() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        for name in ["jaq-core", "jaq-std", "jaq-json"] {
            let (_, package) =
                lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
            let (version, _) = package.split_once('"').unwrap();
            assert!(LANGUAGE.contains(&format!("{name} {version}, ")), "{name} {version}");
        }
        assert!(LANGUAGE.ends_with(", fence 2"));
    }

    #[test]
    fn options_without_effect_are_refused() {
        let refused = |options: Transform| Shaper::compile(&options).unwrap_err().to_string();
        let sample = Transform::new().sample(0.5);
        let on_error = refused(sample.clone().on_error(OnError::Skip));
        assert_eq!(on_error, "`on_error` has no effect without `where` or `column`");
        let timeout = refused(sample.clone().expression_timeout(Duration::from_secs(1)));
        assert_eq!(timeout, "`expression_timeout` has no effect without `where` or `column`");
        let seed = refused(Transform::new().keep_where(".id").seed(0));
        assert_eq!(seed, "`seed` has no effect without `sample`");
        assert!(Shaper::compile(&sample.seed(7)).unwrap().is_some());
        assert!(Shaper::compile(&Transform::new()).unwrap().is_none());
    }

    #[test]
    fn fraction_is_recorded_as_it_was_given() {
        for fraction in [0.05, 0.1, 1.0 / 3.0, 1e-12] {
            let shaper = Shaper::compile(&Transform::new().sample(fraction)).unwrap().unwrap();
            let json = serde_json::to_string(shaper.recorded()).unwrap();
            let read: TransformRecord = serde_json::from_str(&json).unwrap();
            assert_eq!(&read, shaper.recorded());
            assert_eq!(read.sample.unwrap().parse(), Ok(fraction));
        }
    }
}
