//! A compiled transformation: the decision about a row, and the record of how it is made.

use std::{sync::atomic::AtomicBool, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    expression::{EvaluationFailure, Expression},
    options::{OnError, Transform},
    sample::Sample,
};
use crate::{
    client::Row,
    error::{Error, Result, human},
};

/// The expression language. It decides which rows an expression keeps, so records and fingerprints hold it.
///
/// `fence` is our own number. Raise it when a function of ours gives other results, or when other expressions are valid.
pub(super) const LANGUAGE: &str = "jaq-core 3.1.2, jaq-std 3.0.4, jaq-json 2.0.3, fence 2";

/// How the rows of an export were chosen, as the manifest and the files record it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TransformRecord {
    /// The expression language and its version, if there are expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The conditions. A row was kept if all of them hold.
    #[serde(rename = "where", default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
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

impl Shaper {
    /// Checks the options and compiles the expressions; `None` if the transformation changes nothing.
    ///
    /// # Errors
    /// [`Error::Expression`], [`Error::Invalid`] or [`Error::Usage`] for the first wrong option.
    pub(crate) fn compile(options: &Transform) -> Result<Option<Self>> {
        let has_expressions = !options.conditions.is_empty();
        let needless = [
            ("on_error", options.on_error.is_some() && !has_expressions, "where"),
            (
                "expression_timeout",
                options.expression_timeout.is_some() && !has_expressions,
                "where",
            ),
            ("seed", options.seed.is_some() && options.sample.is_none(), "sample"),
        ];
        if let Some((option, _, needed)) =
            needless.into_iter().find(|(_, is_needless, _)| *is_needless)
        {
            return Err(Error::Usage(format!("`{option}` has no effect without `{needed}`")));
        }
        let timeout = options.expression_timeout.unwrap_or(Transform::EXPRESSION_TIMEOUT);
        if timeout.is_zero() {
            return Err(Error::invalid("expression timeout", "0s", "it must be longer than zero"));
        }
        let conditions = Expression::compile_all("where", &options.conditions)?;
        let seed = options.seed.unwrap_or_default();
        let sample = options.sample.map(|fraction| Sample::new(fraction, seed)).transpose()?;
        if !has_expressions && sample.is_none() {
            return Ok(None);
        }
        let on_error = options.on_error.unwrap_or_default();
        let recorded = TransformRecord {
            language: has_expressions.then(|| LANGUAGE.to_owned()),
            conditions: options.conditions.clone(),
            on_error: has_expressions.then_some(on_error),
            sample: options.sample.map(|fraction| fraction.to_string()),
            seed: sample.is_some().then_some(seed),
        };
        Ok(Some(Self { conditions, sample, on_error, timeout, recorded }))
    }

    /// Returns the record of the transformation.
    pub(crate) fn recorded(&self) -> &TransformRecord {
        &self.recorded
    }

    /// Whether a decision evaluates expressions, which need a large stack and a time limit.
    pub(super) fn has_expressions(&self) -> bool {
        !self.conditions.is_empty()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Decides about a row. `begin` is called with the number of each condition before its evaluation. Another thread
    /// can set `stop`, to stop the evaluation.
    ///
    /// # Errors
    /// The failure of the condition that was begun last, if it ends the run.
    pub(super) fn decide(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
        begin: &dyn Fn(usize),
    ) -> Result<Verdict, EvaluationFailure> {
        for (number, condition) in self.conditions.iter().enumerate() {
            begin(number);
            match condition.is_true(row, stop) {
                Ok(true) => {}
                Ok(false) => return Ok(Verdict::Drop),
                // A condition that is null does not hold.
                Err(EvaluationFailure::Row(_)) if self.on_error != OnError::Fail => {
                    return Ok(Verdict::Failed);
                }
                Err(failure) => return Err(failure),
            }
        }
        let is_sampled = self.sample.as_ref().is_none_or(|sample| sample.keeps(row));
        Ok(if is_sampled { Verdict::Keep } else { Verdict::Drop })
    }

    /// Returns the error for a failure of the condition with this number, on this row.
    pub(super) fn error(
        &self,
        (page, row, id): (u64, u64, uuid::Uuid),
        condition: usize,
        failure: EvaluationFailure,
    ) -> Error {
        let (option, expression) = match self.conditions.get(condition) {
            Some(condition) => (condition.option(), condition.text().to_owned()),
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
        assert_eq!(on_error, "`on_error` has no effect without `where`");
        let timeout = refused(sample.clone().expression_timeout(Duration::from_secs(1)));
        assert_eq!(timeout, "`expression_timeout` has no effect without `where`");
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
