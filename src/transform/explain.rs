//! Says why a row is kept or left out, for a person who writes expressions. Decides as the transformation itself does.

use std::sync::atomic::AtomicBool;

use super::{
    dedupe::HashKey,
    expression::{EvaluationFailure, Expression},
    options::OnError,
    shaper::Shaper,
};
use crate::{client::Row, text::quoted};

/// Largest text of an expression in a reason, in characters.
const MOST_SHOWN: usize = 60;

/// What becomes of a row, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub(crate) is_kept: bool,
    /// An export would end at this row.
    pub(crate) is_end: bool,
    /// The name of the split of a row that is kept.
    pub(crate) split: Option<String>,
    /// Why the row is left out, or what failed on a row that is kept.
    pub(crate) reason: Option<String>,
    /// The hash by which the row is compared with earlier ones, and why it is left out if it equals one.
    pub(crate) key: Option<(u128, String)>,
}

impl Explanation {
    const KEPT: Self = Self { is_kept: true, is_end: false, split: None, reason: None, key: None };

    fn left_out(reason: String) -> Self {
        Self { is_kept: false, reason: Some(reason), ..Self::KEPT }
    }

    fn failed(reason: String, on_error: OnError) -> Self {
        Self { is_end: on_error == OnError::Fail, ..Self::left_out(reason) }
    }
}

impl Shaper {
    /// Explains what becomes of a row. An expression that fails on it is a reason here, also if it would end an export.
    ///
    /// # Errors
    /// The failure of the expression that was begun last, if it does not end.
    pub(super) fn explain(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
        begin: &dyn Fn(usize),
        hash_key: HashKey,
    ) -> Result<Explanation, EvaluationFailure> {
        let named =
            |it: &Expression| format!("`{}` {}", it.option(), quoted(it.text(), MOST_SHOWN));
        let failed = |it: &Expression, why: &str| format!("{} failed: {why}", named(it));
        for (number, condition) in self.conditions.iter().enumerate() {
            begin(number);
            match condition.is_true(row, stop) {
                Ok(true) => {}
                Ok(false) => {
                    let reason = format!("{} does not hold", named(condition));
                    return Ok(Explanation::left_out(reason));
                }
                Err(EvaluationFailure::Row(why)) => {
                    return Ok(Explanation::failed(failed(condition, &why), self.on_error));
                }
                Err(failure) => return Err(failure),
            }
        }
        let mut explanation = Explanation::KEPT;
        if self.chooses() {
            let key = match self.key_of(row, stop, begin) {
                Err(EvaluationFailure::Row(why)) => {
                    let reason = self.key.expression().map(|it| failed(it, &why));
                    if self.on_error != OnError::Null {
                        let reason = reason.unwrap_or_default();
                        return Ok(Explanation::failed(reason, self.on_error));
                    }
                    explanation.reason = reason;
                    "null".into()
                }
                key => key?,
            };
            if !self.is_in_sample(&key) {
                return Ok(Explanation::left_out("it is not in the sample".to_owned()));
            }
            explanation.split = self.splits().nth(self.split_of(&key)).map(str::to_owned);
        }
        if let Some(key) = &self.dedupe {
            begin(self.conditions.len());
            let why = format!("{} is that of an earlier row", named(&key.expression));
            let hash = match key.hash(row, stop, hash_key) {
                Ok(found) => Some(found.hash),
                Err(EvaluationFailure::Row(why)) => {
                    let reason = failed(&key.expression, &why);
                    if self.on_error != OnError::Null {
                        return Ok(Explanation::failed(reason, self.on_error));
                    }
                    explanation.reason = Some(reason);
                    None
                }
                Err(failure) => return Err(failure),
            };
            explanation.key = hash.map(|hash| (hash, why));
        }
        let edited = self.edited(row, begin)?;
        let row = &edited.as_ref().map_or(*row, |edited| edited.of(*row));
        for (number, column) in self.columns.iter().enumerate() {
            begin(self.first_value() + number);
            match column.value(row, stop) {
                Ok(_) => {}
                Err(EvaluationFailure::Row(why)) => {
                    let named = quoted(&column.named(), MOST_SHOWN);
                    let reason = format!("`{}` {named} failed: {why}", column.expression.option());
                    if self.on_error != OnError::Null {
                        return Ok(Explanation::failed(reason, self.on_error));
                    }
                    explanation.reason.get_or_insert(reason);
                }
                Err(failure) => return Err(failure),
            }
        }
        if let Some(map) = &self.map {
            begin(self.first_value());
            let mut lines = Vec::new();
            match map.lines(row, stop, &mut lines) {
                Ok(()) if lines.is_empty() => {
                    let reason = format!("{} has no output", named(&map.expression));
                    return Ok(Explanation::left_out(reason));
                }
                Ok(()) => {}
                Err(EvaluationFailure::Row(why)) => {
                    return Ok(Explanation::failed(failed(&map.expression, &why), self.on_error));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(explanation)
    }
}
