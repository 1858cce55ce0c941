//! Own functions of the language, in place of those that allocate without a bound or accept more than JSON.
//!
//! Names that begin with `!` cannot be written in an expression: [`super::fence`] puts them in place of operators.

use jaq_core::{
    Bind, Error, RunPtr, ValT as _,
    native::{self, Fun, bome, v},
};
use jaq_json::{Num, Val, ValR};

use super::{
    budget::{Fenced, StepBudget},
    json,
};

pub(super) const ADD: &str = "!add";
pub(super) const MULTIPLY: &str = "!multiply";
pub(super) const DIVIDE: &str = "!divide";
/// Like `tostring`: a string stays as it is, other values become JSON text.
pub(super) const TEXT: &str = "!text";

/// Largest integer that a product can have, in bits: 78,914 decimal digits. Larger ones make single operations slow.
const INTEGER_BITS: u64 = 1 << 18;

/// Returns the own functions. They replace those of the libraries with the same name.
pub(super) fn own() -> impl Iterator<Item = Fun<Fenced>> {
    let two = || -> Box<[Bind]> { v(2) };
    let functions: [native::Filter<RunPtr<Fenced>>; 9] = [
        (ADD, two(), |mut cv| {
            let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
            bome(add(left, right, cv.0.data().budget))
        }),
        (MULTIPLY, two(), |mut cv| {
            let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
            bome(multiply(left, right, cv.0.data().budget))
        }),
        (DIVIDE, two(), |mut cv| {
            let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
            bome(divide(left, right, cv.0.data().budget))
        }),
        (TEXT, v(0), |cv| bome(text(cv.1, cv.0.data().budget))),
        ("tojson", v(0), |cv| bome(to_json(&cv.1, cv.0.data().budget))),
        ("fromjson", v(0), |cv| bome(from_json(&cv.1, cv.0.data().budget))),
        ("add", v(0), |cv| {
            let budget = cv.0.data().budget;
            let sum = cv.1.values().try_fold(Val::Null, |sum, value| add(sum, value?, budget));
            bome(sum)
        }),
        ("join", v(1), |mut cv| {
            let separator = cv.0.pop_var();
            bome(join(cv.1, &separator, cv.0.data().budget))
        }),
        ("tostring", v(0), |cv| bome(text(cv.1, cv.0.data().budget))),
    ];
    functions.into_iter().map(native::run::<Fenced>)
}

/// Returns the bytes that a copy of the value itself takes. Its elements are shared.
fn size(value: &Val) -> usize {
    match value {
        Val::TStr(bytes) | Val::BStr(bytes) => bytes.len(),
        Val::Arr(items) => 32 * items.len(),
        Val::Obj(members) => 96 * members.len(),
        Val::Num(Num::BigInt(number)) => usize::try_from(number.bits() / 8).unwrap_or(usize::MAX),
        Val::Null | Val::Bool(_) | Val::Num(_) => 0,
    }
}

/// Whether nothing else holds the value, so that it can grow in place.
fn is_unique(value: &Val) -> bool {
    match value {
        Val::TStr(bytes) | Val::BStr(bytes) => bytes.is_unique(),
        Val::Arr(items) => jaq_json::Rc::strong_count(items) == 1,
        Val::Obj(members) => jaq_json::Rc::strong_count(members) == 1,
        Val::Null | Val::Bool(_) | Val::Num(_) => true,
    }
}

fn add(left: Val, right: Val, budget: &StepBudget<'_>) -> ValR {
    if !matches!(left, Val::Null) && !matches!(right, Val::Null) {
        let grown = if is_unique(&left) { 0 } else { size(&left) };
        budget.copy(grown.saturating_add(size(&right)));
    }
    left + right
}

fn multiply(left: Val, right: Val, budget: &StepBudget<'_>) -> ValR {
    match (&left, &right) {
        (Val::Num(Num::BigInt(_)), Val::Num(_)) | (Val::Num(_), Val::Num(Num::BigInt(_)))
            if bits(&left) + bits(&right) > INTEGER_BITS =>
        {
            return Err(Error::str("the product of the integers is too large"));
        }
        (text @ (Val::TStr(_) | Val::BStr(_)), Val::Num(number))
        | (Val::Num(number), text @ (Val::TStr(_) | Val::BStr(_))) => {
            let times = match number {
                Num::Int(times) => usize::try_from(*times).unwrap_or(0),
                Num::BigInt(_) => usize::MAX,
                Num::Float(_) | Num::Dec(_) => 0,
            };
            budget.copy(size(text).max(1).saturating_mul(times));
        }
        _ => budget.copy(size(&left).saturating_add(size(&right))),
    }
    left * right
}

fn bits(value: &Val) -> u64 {
    match value {
        Val::Num(Num::BigInt(number)) => number.bits(),
        _ => 64,
    }
}

fn divide(left: Val, right: Val, budget: &StepBudget<'_>) -> ValR {
    if let (Val::TStr(text), Val::TStr(separator)) = (&left, &right) {
        let pieces = match separator.is_empty() {
            true => text.len(),
            false => memchr::memmem::find_iter(text, &separator[..]).count() + 1,
        };
        budget.copy(pieces.saturating_mul(64));
    }
    left / right
}

fn to_json(value: &Val, budget: &StepBudget<'_>) -> ValR {
    let mut text = String::new();
    json::write(value, &mut text, &|bytes| budget.copy(bytes)).map_err(Error::str)?;
    Ok(Val::from(text))
}

fn text(value: Val, budget: &StepBudget<'_>) -> ValR {
    match value {
        Val::TStr(_) => Ok(value),
        value => to_json(&value, budget),
    }
}

fn from_json(value: &Val, budget: &StepBudget<'_>) -> ValR {
    let Val::TStr(bytes) = value else { return Err(Error::typ(value.clone(), "string")) };
    budget.copy(bytes.len().saturating_mul(16));
    let text = str::from_utf8(bytes).map_err(|_| Error::str("the text is not UTF-8"))?;
    json::parse(text).map_err(Error::str)
}

/// Joins texts like jq: null is an empty text, and arrays and objects are refused.
fn join(items: Val, separator: &Val, budget: &StepBudget<'_>) -> ValR {
    let string = |value: &Val| match value {
        Val::TStr(bytes) => str::from_utf8(bytes).map(str::to_owned).map_err(Error::str),
        _ => Err(Error::typ(value.clone(), "string")),
    };
    let separator = string(separator)?;
    let mut joined = String::new();
    for (index, item) in items.values().enumerate() {
        if index > 0 {
            budget.copy(separator.len());
            joined.push_str(&separator);
        }
        let item = match item? {
            Val::Null => continue,
            value @ (Val::Arr(_) | Val::Obj(_)) => return Err(Error::typ(value, "text to join")),
            value => text(value, budget)?,
        };
        budget.copy(size(&item));
        joined.push_str(&string(&item)?);
    }
    Ok(Val::from(joined))
}
