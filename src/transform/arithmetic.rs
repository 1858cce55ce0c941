//! The operators of the expression language on its values.

use std::{
    collections::BTreeSet,
    ops::{Add, Div, Mul, Neg, Rem, Sub},
    rc::Rc,
};

use jaq_core::{Error, ops::Math};

use super::{
    budget, number,
    value::{ITEM, JqArray, JqObject, JqValue, ValueResult},
};

impl Add for JqValue {
    type Output = ValueResult;

    /// Costs a step: `range` adds without asking the evaluator.
    fn add(self, right: Self) -> ValueResult {
        budget::step();
        match (self, right) {
            (Self::Null, other) | (other, Self::Null) => Ok(other),
            (Self::Num(left), Self::Num(right)) => Ok(Self::Num(number::sum(left, right))),
            (Self::Str(mut left), Self::Str(right)) => {
                budget::copy(right.len());
                // A text that nothing else holds grows in place.
                match Rc::get_mut(&mut left) {
                    Some(text) => text.push_str(&right),
                    None => {
                        budget::copy(left.len());
                        let mut text = String::with_capacity(left.len() + right.len());
                        text.push_str(&left);
                        text.push_str(&right);
                        left = Rc::new(text);
                    }
                }
                Ok(Self::Str(left))
            }
            (Self::Arr(mut left), Self::Arr(right)) => {
                JqArray::append(&mut left, &right);
                Ok(Self::Arr(left))
            }
            (Self::Obj(mut left), Self::Obj(right)) => {
                for (key, value) in JqObject::each(right) {
                    JqObject::set(&mut left, key, value);
                }
                Ok(Self::Obj(left))
            }
            (left, right) => Err(Error::math(left, Math::Add, right)),
        }
    }
}

impl Sub for JqValue {
    type Output = ValueResult;

    /// Costs a step: `limit` and `skip` subtract without asking the evaluator.
    fn sub(self, right: Self) -> ValueResult {
        budget::step();
        match (self, right) {
            (Self::Num(left), Self::Num(right)) => Ok(Self::Num(number::difference(left, right))),
            (Self::Arr(mut left), Self::Arr(right)) => {
                budget::copy(ITEM.saturating_mul(right.items().len()));
                let removed: BTreeSet<&Self> = right.items().iter().collect();
                JqArray::change(&mut left, |items| items.retain(|item| !removed.contains(item)));
                Ok(Self::Arr(left))
            }
            (left, right) => Err(Error::math(left, Math::Sub, right)),
        }
    }
}

impl Mul for JqValue {
    type Output = ValueResult;

    fn mul(self, right: Self) -> ValueResult {
        match (self, right) {
            (Self::Num(left), Self::Num(right)) => {
                number::product(left, right).map(Self::Num).map_err(Error::str)
            }
            (Self::Str(text), Self::Num(times)) | (Self::Num(times), Self::Str(text)) => {
                Ok(repeated(&text, number::as_float(&times)))
            }
            (Self::Obj(mut left), Self::Obj(right)) => {
                JqObject::merge(&mut left, right);
                Ok(Self::Obj(left))
            }
            (left, right) => Err(Error::math(left, Math::Mul, right)),
        }
    }
}

impl Div for JqValue {
    type Output = ValueResult;

    fn div(self, right: Self) -> ValueResult {
        match (self, right) {
            (Self::Num(left), Self::Num(right)) => {
                number::quotient(left, right).map(Self::Num).map_err(Error::str)
            }
            (Self::Str(text), Self::Str(separator)) => Ok(split(&text, &separator)),
            (left, right) => Err(Error::math(left, Math::Div, right)),
        }
    }
}

impl Rem for JqValue {
    type Output = ValueResult;

    fn rem(self, right: Self) -> ValueResult {
        match (self, right) {
            (Self::Num(left), Self::Num(right)) => {
                number::remainder(left, right).map(Self::Num).map_err(Error::str)
            }
            (left, right) => Err(Error::math(left, Math::Rem, right)),
        }
    }
}

impl Neg for JqValue {
    type Output = ValueResult;

    fn neg(self) -> ValueResult {
        match self {
            Self::Num(number) => Ok(Self::Num(number::negated(number))),
            other => Err(Error::typ(other, "number")),
        }
    }
}

/// Repeats a text a whole number of times. It is null for a negative number, as in jq.
fn repeated(text: &str, times: f64) -> JqValue {
    if times.is_nan() || times < 0.0 {
        return JqValue::Null;
    }
    // The conversion truncates and saturates.
    let times = times as usize;
    budget::copy(text.len().max(1).saturating_mul(times));
    JqValue::Str(Rc::new(text.repeat(times)))
}

/// Splits a text. A text without characters has no parts, and an empty separator gives the characters.
fn split(text: &str, separator: &str) -> JqValue {
    match (text, separator) {
        ("", _) => JqValue::array(Vec::new()),
        (_, "") => {
            let mut character = [0; 4];
            text.chars().map(|it| JqValue::text(it.encode_utf8(&mut character))).collect()
        }
        _ => text.split(separator).map(JqValue::text).collect(),
    }
}
