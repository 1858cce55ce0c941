//! A column that an expression computes: its output for a row, as a value of the column's type. Nothing is rounded,
//! cut or guessed: an output that does not fit the type is an error of the row.

use std::{ops::ControlFlow, sync::atomic::AtomicBool};

use jaq_json::Num;
use serde::{Deserialize, Serialize};

use super::{
    expression::{EvaluationFailure, Expression},
    json,
    value::JqValue,
};
use crate::{
    batch::{Column, ColumnType, ComputedValue, OutputColumn, timestamp_of},
    client::Row,
    error::{Error, Result},
    text::counted,
};

/// Largest text of a value: 64 MiB, as much as readers of an export accept without other options.
const LARGEST: usize = 64 << 20;
/// The integers up to this one are exact as floating-point numbers.
const EXACT: i64 = 1 << 53;

/// A computed column, as a caller asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ColumnRequest {
    pub(super) name: String,
    pub(super) column_type: Option<ColumnType>,
    pub(super) expression: String,
}

/// A computed column, as records have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComputedColumnRecord {
    /// The name of the column.
    pub name: String,
    /// The type of its values.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// The jq expression that computes it.
    pub expression: String,
}

/// A compiled column.
#[derive(Debug)]
pub(super) struct ComputedColumn {
    pub(super) column: OutputColumn,
    pub(super) expression: Expression,
}

impl ComputedColumn {
    /// Checks the names and types, and compiles the expressions.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a wrong name, type or number of columns, [`Error::Expression`] for a wrong expression.
    pub(super) fn compile_all(requests: &[ColumnRequest]) -> Result<Vec<Self>> {
        let mut columns: Vec<OutputColumn> = Vec::with_capacity(requests.len());
        for request in requests {
            let api = request.name.parse::<Column>().ok();
            let default = api.map_or_else(ColumnType::default, Column::column_type);
            let kind = request.column_type.unwrap_or(default);
            let column = OutputColumn::computed(&*request.name, kind)?;
            // Spark and others read names that differ only in case as the same.
            let name = column.name().to_lowercase();
            let others = columns.iter().map(OutputColumn::name);
            let api_names = Column::ALL.iter().filter(|it| api.as_ref() != Some(*it));
            if let Some(other) = others
                .chain(api_names.map(|column| column.name()))
                .find(|other| other.to_lowercase() == name)
            {
                let why = match other == column.name() {
                    true => "it is computed twice".to_owned(),
                    false => format!("it differs from the column {other} only in case"),
                };
                return Err(Error::invalid("column", column.name(), why));
            }
            columns.push(column);
        }
        let texts: Vec<_> = requests.iter().map(|request| request.expression.clone()).collect();
        let expressions = Expression::compile_values("column", &texts)?;
        let compiled = columns.into_iter().zip(expressions);
        Ok(compiled.map(|(column, expression)| Self { column, expression }).collect())
    }

    /// Returns the expression with the name of the column, for messages.
    pub(super) fn named(&self) -> String {
        format!("{}={}", self.column.name(), self.expression.text())
    }

    pub(super) fn recorded(&self) -> ComputedColumnRecord {
        ComputedColumnRecord {
            name: self.column.name().to_owned(),
            column_type: self.column.column_type(),
            expression: self.expression.text().to_owned(),
        }
    }

    /// Returns the value for a row: null if the expression has no output.
    ///
    /// # Errors
    /// The failure of the evaluation. Several outputs, and an output that does not fit the type, are failures, too.
    pub(super) fn value(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
    ) -> Result<ComputedValue, EvaluationFailure> {
        let mut found: Option<Result<ComputedValue, String>> = None;
        self.expression.outputs(row, stop, &mut |output| {
            let value = match found {
                None => convert(output, self.column.column_type()),
                Some(_) => Err("it has several outputs: collect them with [...]".to_owned()),
            };
            let flow =
                if value.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            found = Some(value);
            flow
        })?;
        found.unwrap_or(Ok(ComputedValue::Null)).map_err(EvaluationFailure::Row)
    }
}

/// A compiled expression whose outputs are lines.
#[derive(Debug)]
pub(super) struct LineMap {
    pub(super) column: OutputColumn,
    pub(super) expression: Expression,
}

impl LineMap {
    /// # Errors
    /// [`Error::Expression`] for an expression that is not valid.
    pub(super) fn compile(text: &str) -> Result<Self> {
        let mut compiled = Expression::compile_values("map", &[text.to_owned()])?;
        let missing = || Error::Internal("a map was not compiled".to_owned());
        Ok(Self { column: OutputColumn::lines(), expression: compiled.pop().ok_or_else(missing)? })
    }

    /// Adds the outputs for a row, as JSON text.
    ///
    /// # Errors
    /// The failure of the evaluation. An output that JSON does not have, and outputs that are too large together, are
    /// failures, too.
    pub(super) fn lines(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
        lines: &mut Vec<ComputedValue>,
    ) -> Result<(), EvaluationFailure> {
        let (mut wrong, mut bytes) = (None, 0);
        self.expression.outputs(row, stop, &mut |output| {
            let line = convert(output, ColumnType::Json).and_then(|line| {
                bytes += line.size();
                match bytes {
                    ..=LARGEST => Ok(line),
                    _ => Err("its outputs have more than 64 MiB".to_owned()),
                }
            });
            match line {
                Ok(line) => {
                    lines.push(line);
                    ControlFlow::Continue(())
                }
                Err(why) => {
                    wrong = Some(why);
                    ControlFlow::Break(())
                }
            }
        })?;
        wrong.map_or(Ok(()), |why| Err(EvaluationFailure::Row(why)))
    }
}

/// Returns a value of the language as a value of a column.
fn convert(value: JqValue, kind: ColumnType) -> Result<ComputedValue, String> {
    let converted = match (kind, &value) {
        (_, JqValue::Null) => Some(ComputedValue::Null),
        (ColumnType::List(item), JqValue::Arr(array)) => {
            return list(array.items(), item.column_type());
        }
        (ColumnType::String, JqValue::Str(text)) => Some(ComputedValue::Text(text.to_string())),
        (ColumnType::Json, _) => Some(ComputedValue::Text(json::print(&value)?)),
        (ColumnType::Bool, JqValue::Bool(value)) => Some(ComputedValue::Bool(*value)),
        (ColumnType::Int, JqValue::Num(number)) => match integer(number) {
            Some(integer) => Some(ComputedValue::Int(integer)),
            None => return Err(format!("the output {value} is not an integer of 64 bits")),
        },
        (ColumnType::Float, JqValue::Num(number)) => match float(number) {
            Some(float) => Some(ComputedValue::Float(float)),
            None => {
                return Err(format!("the output {value} does not fit a floating-point number"));
            }
        },
        (ColumnType::Timestamp, JqValue::Str(text)) => match timestamp_of(text) {
            Ok(micros) => Some(ComputedValue::Timestamp(micros)),
            Err(why) => return Err(format!("the output {value} is not a timestamp: {why}")),
        },
        _ => None,
    };
    let Some(converted) = converted else {
        let hint = match kind {
            ColumnType::String => ": use tostring, or another type",
            _ => "",
        };
        let kind = match kind {
            ColumnType::String => "a string",
            ColumnType::Int => "an integer",
            ColumnType::Float => "a number",
            ColumnType::Bool => "a boolean",
            ColumnType::Timestamp => "a string with a time",
            ColumnType::Json => "JSON",
            ColumnType::List(_) => "an array",
        };
        return Err(format!("the output {value} is {}, not {kind}{hint}", value.kind()));
    };
    check_size(converted.size()).map(|()| converted)
}

/// Returns the elements of an array as a list of a column.
fn list(items: &[JqValue], kind: ColumnType) -> Result<ComputedValue, String> {
    let (mut values, mut texts) = (Vec::with_capacity(items.len()), 0);
    for (place, item) in items.iter().enumerate() {
        let value = convert(item.clone(), kind)
            .map_err(|why| format!("in element {} of the list, {why}", place + 1))?;
        if let ComputedValue::Text(text) = &value {
            // The elements of an array can share one long text, of which each has a copy here.
            texts += text.len();
            check_size(texts)?;
        }
        values.push(value);
    }
    let list = ComputedValue::List(values);
    check_size(list.size()).map(|()| list)
}

fn check_size(bytes: usize) -> Result<(), String> {
    match bytes {
        ..=LARGEST => Ok(()),
        _ => Err(format!(
            "its output has {}, and the limit is 64 MiB",
            counted(bytes as u64, "byte")
        )),
    }
}

/// Returns a whole number of 64 bits. Numbers with a fraction part or an exponent can be whole, too: their digits decide.
fn integer(number: &Num) -> Option<i64> {
    match number {
        Num::Int(int) => i64::try_from(*int).ok(),
        Num::BigInt(int) => i64::try_from(&**int).ok(),
        // The bounds make the conversion exact. 2^53 itself can be the rounded result of a calculation.
        Num::Float(float) => {
            (float.fract() == 0.0 && float.abs() < EXACT as f64).then_some(*float as i64)
        }
        Num::Dec(digits) => whole(digits),
    }
}

/// Returns the value of a decimal number that is whole, from its digits.
fn whole(number: &str) -> Option<i64> {
    let (number, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (is_negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{before}{after}");
    let significant = digits.trim_end_matches('0');
    let zeros = (digits.len() - significant.len()) as i64 - after.len() as i64;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // An exponent out of range is that of no whole number of 64 bits.
    let zeros = usize::try_from(exponent.parse::<i64>().ok()?.checked_add(zeros)?).ok()?;
    if significant.len().saturating_add(zeros) > 19 {
        return None;
    }
    let sign = if is_negative { "-" } else { "" };
    format!("{sign}{significant}{}", "0".repeat(zeros)).parse().ok()
}

/// Returns the nearest floating-point number. An integer must be exact, and only zero becomes zero.
fn float(number: &Num) -> Option<f64> {
    match number {
        Num::Int(int) => {
            let int = i64::try_from(*int).ok()?;
            (-EXACT..=EXACT).contains(&int).then_some(int as f64)
        }
        Num::BigInt(_) => None,
        Num::Float(float) => float.is_finite().then_some(*float),
        Num::Dec(digits) => {
            let float = digits.parse().ok().filter(|float: &f64| float.is_finite())?;
            (float != 0.0 || whole(digits) == Some(0)).then_some(float)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::ROW, *};
    use crate::batch::ListItem;

    fn value(kind: ColumnType, expression: &str) -> Result<ComputedValue, String> {
        let request = ColumnRequest {
            name: "x".to_owned(),
            column_type: Some(kind),
            expression: expression.to_owned(),
        };
        let columns = ComputedColumn::compile_all(&[request]).unwrap();
        columns[0].value(&ROW, &AtomicBool::new(false)).map_err(|failure| match failure {
            EvaluationFailure::Row(why) => why,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn outputs_become_values_of_the_type() {
        let text = |text: &str| ComputedValue::Text(text.to_owned());
        for (kind, expression, expected) in [
            (ColumnType::String, "\"a\" + \"b\"", text("ab")),
            (ColumnType::String, "empty", ComputedValue::Null),
            (ColumnType::String, "null", ComputedValue::Null),
            (ColumnType::Json, "[1, {a: \"é\"}]", text("[1,{\"a\":\"é\"}]")),
            (ColumnType::Json, "\"a\"", text("\"a\"")),
            (ColumnType::Json, "null", ComputedValue::Null),
            (ColumnType::Int, "9223372036854775807", ComputedValue::Int(i64::MAX)),
            (ColumnType::Int, "8 / 2", ComputedValue::Int(4)),
            (ColumnType::Int, "1e3", ComputedValue::Int(1000)),
            (ColumnType::Int, "-0.0", ComputedValue::Int(0)),
            (ColumnType::Int, "9007199254740993.0", ComputedValue::Int(9_007_199_254_740_993)),
            (ColumnType::Int, "92233720368547758070e-1", ComputedValue::Int(i64::MAX)),
            (ColumnType::Int, "-9223372036854775808.00", ComputedValue::Int(i64::MIN)),
            (ColumnType::Int, "1e18", ComputedValue::Int(1_000_000_000_000_000_000)),
            (ColumnType::Int, "0e999999999999", ComputedValue::Int(0)),
            (ColumnType::Float, "0.000e5", ComputedValue::Float(0.0)),
            (ColumnType::Float, "5e-324", ComputedValue::Float(5e-324)),
            (ColumnType::Float, "1", ComputedValue::Float(1.0)),
            (ColumnType::Float, "0.1", ComputedValue::Float(0.1)),
            (ColumnType::Bool, "1 == 1", ComputedValue::Bool(true)),
            (
                ColumnType::Timestamp,
                "\"1970-01-01T01:00:00.5+01:00\"",
                ComputedValue::Timestamp(500_000),
            ),
        ] {
            assert_eq!(value(kind, expression), Ok(expected), "{kind} {expression}");
        }
    }

    #[test]
    fn arrays_become_lists_of_the_type() {
        let list = |items: &[ComputedValue]| ComputedValue::List(items.to_vec());
        let text = |text: &str| ComputedValue::Text(text.to_owned());
        let null = || ComputedValue::Null;
        for (item, expression, expected) in [
            (ListItem::String, "[\"a\", null, \"\"]", list(&[text("a"), null(), text("")])),
            (ListItem::String, "null", null()),
            (ListItem::String, "empty", null()),
            (ListItem::String, "[]", list(&[])),
            (ListItem::Int, "[range(2)]", list(&[ComputedValue::Int(0), ComputedValue::Int(1)])),
            (ListItem::Float, "[1]", list(&[ComputedValue::Float(1.0)])),
            (ListItem::Bool, "[1 == 1]", list(&[ComputedValue::Bool(true)])),
            (
                ListItem::Timestamp,
                "[\"1970-01-01T00:00:01Z\"]",
                list(&[ComputedValue::Timestamp(1_000_000)]),
            ),
            (
                ListItem::Json,
                "[1, \"a\", null, [2]]",
                list(&[text("1"), text("\"a\""), null(), text("[2]")]),
            ),
        ] {
            assert_eq!(value(ColumnType::List(item), expression), Ok(expected), "{expression}");
        }
        for (item, expression, why) in [
            (ListItem::String, "\"a\"", "the output \"a\" is a string, not an array"),
            (ListItem::String, "[\"a\", 1]", "in element 2 of the list, the output 1 is a number"),
            (ListItem::String, "[[\"a\"]]", "is an array, not a string"),
            (ListItem::Int, "[1.5]", "in element 1 of the list, the output 1.5 is not an integer"),
            (ListItem::Json, "[nan]", "is not JSON"),
            (ListItem::String, "{}", "is an object, not an array"),
            (ListItem::Int, "[1], [2]", "several outputs"),
            (
                ListItem::String,
                "(\"x\" * 1000000) as $x | [range(100) | $x]",
                "its output has 68,000,000 bytes, and the limit is 64 MiB",
            ),
        ] {
            let found = value(ColumnType::List(item), expression).unwrap_err();
            assert!(found.contains(why), "{expression}: {found}");
        }
    }

    #[test]
    fn outputs_that_do_not_fit_are_errors() {
        for (kind, expression, why) in [
            (ColumnType::String, "1", "the output 1 is a number, not a string: use tostring"),
            (ColumnType::String, "1, 2", "not a string"),
            (ColumnType::String, "\"a\", \"b\"", "several outputs: collect them with [...]"),
            (ColumnType::Int, "9223372036854775808", "is not an integer of 64 bits"),
            (ColumnType::Int, "1.5", "is not an integer of 64 bits"),
            (ColumnType::Int, "1.00000000000000000001", "is not an integer of 64 bits"),
            (ColumnType::Int, "0.99999999999999999999", "is not an integer of 64 bits"),
            (ColumnType::Int, "1e-400", "is not an integer of 64 bits"),
            (ColumnType::Int, "1e19", "is not an integer of 64 bits"),
            (ColumnType::Int, "9223372036854775808.0", "is not an integer of 64 bits"),
            (ColumnType::Int, "9007199254740992 + 0.0", "is not an integer of 64 bits"),
            (ColumnType::Float, "1e-400", "does not fit a floating-point number"),
            (ColumnType::Int, "1e400", "is not an integer of 64 bits"),
            (ColumnType::Int, "\"1\"", "is a string, not an integer"),
            (ColumnType::Float, "9007199254740993", "does not fit a floating-point number"),
            (ColumnType::Float, "1e400", "does not fit a floating-point number"),
            (ColumnType::Float, "nan", "does not fit a floating-point number"),
            (ColumnType::Json, "nan", "is not JSON"),
            (ColumnType::Bool, "0", "is a number, not a boolean"),
            (ColumnType::Timestamp, "\"2026-01-31\"", "give a time with its offset"),
            (ColumnType::Timestamp, "\"2026-01-31T12:00:00.0000001Z\"", "finer than a microsecond"),
            (ColumnType::Timestamp, "\"9999-12-31T23:59:59-12:00\"", "years 0000 to 9999"),
            (ColumnType::Timestamp, "\"0000-01-01T00:00:00+12:00\"", "years 0000 to 9999"),
            (ColumnType::Timestamp, "\"2016-12-31T23:59:60Z\"", "a leap second"),
            (ColumnType::Timestamp, "0", "is a number, not a string with a time"),
            (ColumnType::String, ".id | error", "00000000-0000-0000-0000-000000000000"),
        ] {
            let found = value(kind, expression).unwrap_err();
            assert!(found.contains(why), "{kind} {expression}: {found}");
        }
    }

    #[test]
    fn names_are_distinct_without_case() {
        let refused = |names: &[&str]| {
            let request = |name: &&str| ColumnRequest {
                name: (*name).to_owned(),
                column_type: None,
                expression: "null".to_owned(),
            };
            let requests: Vec<_> = names.iter().map(request).collect();
            ComputedColumn::compile_all(&requests).map(drop).map_err(|error| error.to_string())
        };
        assert!(refused(&["a", "a"]).unwrap_err().contains("it is computed twice"));
        assert!(
            refused(&["a", "A"]).unwrap_err().contains("differs from the column a only in case")
        );
        assert!(
            refused(&["Tags"]).unwrap_err().contains("differs from the column tags only in case")
        );
        assert!(refused(&["tags", "persona"]).is_ok());
    }
}
