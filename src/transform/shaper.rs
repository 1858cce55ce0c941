//! A compiled transformation: what becomes of a row, and the record of how it is decided.

use std::{sync::atomic::AtomicBool, time::Duration};

use super::{
    column_edits::ColumnEdit,
    computed::{ComputedColumn, LineMap},
    dedupe::{HashKey, NOT_COMPARED, RowHash, RowKey},
    edits::{EditedRow, NotJson, RowEditor},
    expected::ExpectedValues,
    expression::{EvaluationFailure, Expression},
    options::{OnError, Transform},
    paths::ValuePath,
    places::PathSet,
    recorded::TransformRecord,
    sample::Sample,
    splits::{SplitKey, Splits},
};
use crate::{
    batch::{ComputedValue, OutputColumn, ValueBuilder},
    client::Row,
    error::{Error, Result, human},
};

/// The expression language. It decides which rows an expression keeps, so records and fingerprints hold it.
///
/// `fence` is our own number. Raise it when a function of ours gives other results, or when other expressions are
/// valid.
pub(super) const LANGUAGE: &str = "jaq-core 3.1.2, jaq-std 3.0.4, jaq-json 2.0.3, fence 3";

/// The options with expressions, for messages.
const EXPRESSIONS: &str = "`where`, `column`, `map`, `dedupe` or `split_by`";

/// A compiled transformation.
#[derive(Debug)]
pub(crate) struct Shaper {
    pub(super) conditions: Vec<Expression>,
    pub(super) columns: Vec<ComputedColumn>,
    pub(super) map: Option<LineMap>,
    pub(super) dedupe: Option<RowKey>,
    pub(super) key: SplitKey,
    pub(super) sample: Option<Sample>,
    pub(super) splits: Option<Splits>,
    pub(super) editor: Option<RowEditor>,
    pub(super) on_error: OnError,
    timeout: Duration,
    /// What the rows are expected to give to the expressions.
    expected: ExpectedValues,
    recorded: TransformRecord,
}

/// What becomes of a row that is kept. A stage uses it again for the next row.
#[derive(Debug, Default)]
pub(super) struct ShapedRow {
    /// The values of the computed columns.
    pub(super) values: Vec<ComputedValue>,
    /// The row with its replacements, if there are any.
    pub(super) edited: Option<Box<EditedRow>>,
    /// The hash by which the row is compared with others, if it is.
    pub(super) hash: u128,
    /// What this row and those before it have given to the expressions.
    pub(super) found: PathSet,
}

/// The decision about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) is_kept: bool,
    /// An expression failed on the row.
    pub(super) has_failed: bool,
    /// Number of the split of a row that is kept; 0 without splits.
    pub(super) split: usize,
}

impl Verdict {
    const KEEP: Self = Self { is_kept: true, has_failed: false, split: 0 };
    const DROP: Self = Self { is_kept: false, has_failed: false, split: 0 };
    const FAILED: Self = Self { is_kept: false, has_failed: true, split: 0 };
}

impl Shaper {
    /// Checks the options and compiles the expressions like [`compile`](Self::compile), but does not read the key of
    /// pseudonyms. The result has all columns, and replaces no values by pseudonyms.
    ///
    /// # Errors
    /// [`Error::Expression`], [`Error::Invalid`] or [`Error::Usage`] for the first wrong option.
    pub(crate) fn check(options: &Transform) -> Result<Option<Self>> {
        RowEditor::check_options(options)?;
        let (pseudonymise, pseudonym_key_file) = (Vec::new(), None);
        Self::compile(&Transform { pseudonymise, pseudonym_key_file, ..options.clone() })
    }

    /// Checks the options, compiles the expressions, and reads the key of pseudonyms; `None` if the transformation
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Expression`], [`Error::Invalid`] or [`Error::Usage`] for the first wrong option, and
    /// [`Error::ConfigurationFile`] for a key that cannot be used.
    pub(crate) fn compile(options: &Transform) -> Result<Option<Self>> {
        let key = SplitKey::compile(options.split_by.as_deref())?;
        let has_rows_or_columns = !(options.conditions.is_empty() && options.columns.is_empty());
        let has_expressions =
            has_rows_or_columns || options.map.is_some() || options.dedupe.is_some();
        let has_expressions = has_expressions || key.expression().is_some();
        let chooses = options.sample.is_some() || !options.splits.is_empty();
        let timeout = options.expression_timeout;
        let needless = [
            ("on_error", options.on_error.is_some() && !has_expressions, EXPRESSIONS),
            ("expression_timeout", timeout.is_some() && !has_expressions, EXPRESSIONS),
            ("seed", options.seed.is_some() && !chooses, "`sample` or `split`"),
            ("split_by", options.split_by.is_some() && !chooses, "`split` or `sample`"),
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
        let map = options.map.as_deref().map(LineMap::compile).transpose()?;
        if map.is_some() && !columns.is_empty() {
            let why = "`map` writes its own lines, so `column` has no effect";
            return Err(Error::Usage(why.to_owned()));
        }
        let dedupe = options.dedupe.as_deref().map(RowKey::compile).transpose()?;
        let seed = options.seed.unwrap_or_default();
        let sample = options.sample.map(|fraction| Sample::new(fraction, seed)).transpose()?;
        let is_split = !options.splits.is_empty();
        let splits = is_split.then(|| Splits::new(&options.splits, seed)).transpose()?;
        let editor = RowEditor::compile(options)?;
        if !has_expressions && !chooses && editor.is_none() {
            return Ok(None);
        }
        let on_error = options.on_error.unwrap_or_default();
        let recorded = TransformRecord {
            language: has_expressions.then(|| LANGUAGE.to_owned()),
            conditions: options.conditions.clone(),
            columns: columns.iter().map(ComputedColumn::recorded).collect(),
            map: options.map.clone(),
            dedupe: options.dedupe.clone(),
            on_error: has_expressions.then_some(on_error),
            sample: options.sample.map(|fraction| fraction.to_string()),
            split: splits.as_ref().map(Splits::recorded).unwrap_or_default(),
            split_by: key.expression().map(|it| it.text().to_owned()),
            seed: chooses.then_some(seed),
            mask: editor.iter().flat_map(|editor| editor.paths("mask")).collect(),
            pseudonymise: editor.iter().flat_map(|editor| editor.paths("pseudonymise")).collect(),
            pseudonym_key: editor.as_ref().and_then(RowEditor::key_check),
        };
        let mut shaper = Self {
            conditions,
            columns,
            map,
            dedupe,
            key,
            sample,
            splits,
            editor,
            on_error,
            timeout,
            expected: ExpectedValues::default(),
            recorded,
        };
        let mut expected = ExpectedValues::default();
        for (expression, label) in shaper.labelled() {
            expected.add(&label, expression, expression.option() != "where");
        }
        for (option, path) in shaper.replaced() {
            expected.add_replaced(option, path);
        }
        shaper.expected = expected;
        Ok(Some(shaper))
    }

    /// Returns the expressions by their numbers, each with the name of its option, and of its column if it has one.
    pub(super) fn labelled(&self) -> impl Iterator<Item = (&Expression, String)> {
        let plain = |it| (it, Expression::option(it).to_owned());
        let keys = self.dedupe.iter().map(|key| &key.expression);
        let columns = self
            .columns
            .iter()
            .map(|it| (&it.expression, format!("{} {}", it.expression.option(), it.column.name())));
        let maps = self.map.iter().map(|map| &map.expression);
        let values = columns.chain(maps.chain(self.key.expression()).map(plain));
        self.conditions.iter().chain(keys).map(plain).chain(values)
    }

    /// Adds what the row gives to the expressions.
    pub(super) fn look(&self, row: &Row<'_>, found: &mut PathSet) {
        self.expected.look(row, found);
    }

    /// Returns what none of these rows has given to the expressions, as records have it.
    pub(super) fn missing<'r>(
        &self,
        found: PathSet,
        rows: impl Iterator<Item = Row<'r>>,
    ) -> Vec<String> {
        self.expected.missing(found, rows)
    }

    /// Returns the record of the transformation.
    pub(crate) fn recorded(&self) -> &TransformRecord {
        &self.recorded
    }

    /// Returns the columns that are computed: that of the lines, if each row is mapped to lines.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &OutputColumn> {
        let lines = self.map.iter().map(|it| &it.column);
        self.columns.iter().map(|it| &it.column).chain(lines)
    }

    /// Whether each row is mapped to any number of lines.
    pub(crate) fn maps(&self) -> bool {
        self.map.is_some()
    }

    /// Whether rows are compared, so that only the first of equal ones is kept.
    pub(crate) fn compares(&self) -> bool {
        self.dedupe.is_some()
    }

    /// Returns the number of the first expression of a column or of lines: the conditions and the key come before.
    pub(super) fn first_value(&self) -> usize {
        self.conditions.len() + usize::from(self.compares())
    }

    /// Returns a builder for the values of each computed column.
    pub(super) fn builders(&self) -> Vec<ValueBuilder> {
        self.columns().map(|column| ValueBuilder::new(column.column_type())).collect()
    }

    /// Whether expressions are evaluated, which need a large stack and a time limit.
    pub(super) fn has_expressions(&self) -> bool {
        let has_values = !(self.conditions.is_empty() && self.columns.is_empty());
        has_values || self.maps() || self.compares() || self.key.expression().is_some()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether values of rows are replaced.
    pub(super) fn has_replacements(&self) -> bool {
        self.editor.is_some()
    }

    /// Returns the number of paths whose values are replaced.
    pub(super) fn replaced_paths(&self) -> usize {
        self.editor.as_ref().map_or(0, RowEditor::len)
    }

    /// Returns a row with its replacements, without evaluating an expression; `None` if no path leads to a value.
    ///
    /// # Errors
    /// A field is not JSON, so a value could stay in it.
    pub(crate) fn replace_in(&self, row: &Row<'_>) -> Result<Option<Box<EditedRow>>, NotJson> {
        let edited = self.editor.as_ref().map(|editor| editor.edited(row)).transpose();
        Ok(edited.map_err(|_| NotJson)?.flatten())
    }

    /// Refuses a path that has replaced no value in any row that was kept. `rows` is the number of these rows, and
    /// `replaced` has for each path the number of those in which it has replaced a value. `missing` is what no row gave.
    ///
    /// # Errors
    /// [`Error::UnmatchedPath`] for the first such path.
    pub(crate) fn check_replaced(
        &self,
        rows: u64,
        replaced: &[u64],
        missing: &[String],
    ) -> Result<()> {
        self.editor.as_ref().map_or(Ok(()), |editor| editor.check(rows, replaced, missing))
    }

    /// Decides about a row, and computes the columns or the lines of a row that is kept. `begin` is called with the number
    /// of each expression before its evaluation. Another thread can set `stop`, to stop the evaluation.
    ///
    /// # Errors
    /// The failure of the expression that was begun last, if it ends the run.
    pub(super) fn shape(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
        begin: &dyn Fn(usize),
        shaped: &mut ShapedRow,
        hash_key: HashKey,
    ) -> Result<Verdict, EvaluationFailure> {
        let ShapedRow { values, edited, hash, found } = shaped;
        self.expected.look(row, found);
        values.clear();
        *hash = NOT_COMPARED;
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
        let mut verdict = Verdict::KEEP;
        if self.chooses() {
            let key = match self.key_of(row, stop, begin) {
                Err(EvaluationFailure::Row(_)) if self.on_error == OnError::Skip => {
                    return Ok(Verdict::FAILED);
                }
                Err(EvaluationFailure::Row(_)) if self.on_error == OnError::Null => {
                    verdict.has_failed = true;
                    "null".into()
                }
                key => key?,
            };
            if key != "null" {
                self.expected.add_result(self.key_number(), found);
            }
            if !self.is_in_sample(&key) {
                return Ok(Verdict { is_kept: false, ..verdict });
            }
            verdict.split = self.split_of(&key);
        }
        if let Some(key) = &self.dedupe {
            begin(self.conditions.len());
            *hash = match key.hash(row, stop, hash_key) {
                Ok(RowHash { hash, is_null }) => {
                    if !is_null {
                        self.expected.add_result(self.conditions.len(), found);
                    }
                    hash
                }
                Err(EvaluationFailure::Row(_)) if self.on_error == OnError::Skip => {
                    return Ok(Verdict::FAILED);
                }
                Err(EvaluationFailure::Row(_)) if self.on_error == OnError::Null => {
                    // Such rows are not known to be equal.
                    verdict.has_failed = true;
                    NOT_COMPARED
                }
                Err(failure) => return Err(failure),
            };
        }
        *edited = self.edited(row, begin)?;
        let row = &edited.as_ref().map_or(*row, |edited| edited.of(*row));
        if let Some(map) = &self.map {
            begin(self.first_value());
            return match map.lines(row, stop, values) {
                Ok(()) => {
                    if values.iter().any(|line| !matches!(line, ComputedValue::Null)) {
                        self.expected.add_result(self.first_value(), found);
                    }
                    Ok(verdict)
                }
                Err(EvaluationFailure::Row(_)) if self.on_error != OnError::Fail => {
                    values.clear();
                    Ok(Verdict::FAILED)
                }
                Err(failure) => Err(failure),
            };
        }
        for (number, column) in self.columns.iter().enumerate() {
            begin(self.first_value() + number);
            match column.value(row, stop) {
                Ok(value) => {
                    if !matches!(value, ComputedValue::Null) {
                        self.expected.add_result(self.first_value() + number, found);
                    }
                    values.push(value);
                }
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

    /// Returns the row with its replacements; `None` if there are none. A row that is not JSON ends the run, whatever
    /// `on_error` says: a value could stay in it.
    pub(super) fn edited(
        &self,
        row: &Row<'_>,
        begin: &dyn Fn(usize),
    ) -> Result<Option<Box<EditedRow>>, EvaluationFailure> {
        let Some(editor) = &self.editor else { return Ok(None) };
        // A replacement is no expression: its number is that of none.
        begin(usize::MAX);
        editor.edited(row)
    }

    /// Returns the key of the hashes by which rows are compared, if the key of pseudonyms decides it.
    pub(crate) fn hash_key(&self) -> Option<HashKey> {
        self.editor.as_ref().and_then(RowEditor::hash_key)
    }

    /// Returns what the paths of the replacements do to a computed column of the source.
    pub(crate) fn column_edit(&self, name: &str) -> Option<ColumnEdit<'_>> {
        let edit = self.editor.as_ref()?.of_column(name);
        (!edit.is_empty()).then_some(edit)
    }

    /// Returns the option of each path whose values are replaced, and the path.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = (&'static str, &ValuePath)> {
        self.editor.iter().flat_map(RowEditor::replaced)
    }

    /// Returns the error for a failure of the expression with this number, on this row.
    pub(super) fn error(
        &self,
        (page, row, id): (u64, u64, uuid::Uuid),
        number: usize,
        failure: EvaluationFailure,
    ) -> Error {
        let plain = |it: &Expression| (it.option(), it.text().to_owned());
        let keys = self.dedupe.iter().map(|key| plain(&key.expression));
        let columns = self.columns.iter().map(|it| (it.expression.option(), it.named()));
        let maps = self.map.iter().map(|map| plain(&map.expression));
        let all = self.conditions.iter().map(plain).chain(keys).chain(columns).chain(maps);
        let mut all = all.chain(self.key.expression().map(plain));
        let (option, expression) = match all.nth(number) {
            Some(found) => found,
            // A replacement, which is no expression.
            None => self.editor.as_ref().map_or(("where", String::new()), RowEditor::first),
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
mod tests;
