//! The operators of the expression language on its values.

use std::{
    collections::BTreeSet,
    ops::{Add, Div, Mul, Neg, Rem, Sub},
    rc::Rc,
};

use jaq_core::{Error, ops::Math};
use jaq_json::Num;

use super::{
    budget,
    value::{ITEM, JqArray, JqObject, JqValue, ValueResult},
};

/// Largest integer that a product can have, in bits: 78,914 decimal digits. Larger ones make single operations slow.
const INTEGER_BITS: u64 = 1 << 18;

impl Add for JqValue {
    type Output = ValueResult;

    /// Costs a step: `range` adds without asking the evaluator.
    fn add(self, right: Self) -> ValueResult {
        budget::step();
        match (self, right) {
            (Self::Null, other) | (other, Self::Null) => Ok(other),
            (Self::Num(left), Self::Num(right)) => {
                count_integers(&left, &right);
                Ok(Self::Num(left + right))
            }
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
            (Self::Num(left), Self::Num(right)) => {
                count_integers(&left, &right);
                Ok(Self::Num(left - right))
            }
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
                let is_large = matches!(left, Num::BigInt(_)) || matches!(right, Num::BigInt(_));
                if is_large && bits(&left).saturating_add(bits(&right)) > INTEGER_BITS {
                    return Err(Error::str("the product of the integers is too large"));
                }
                count_integers(&left, &right);
                Ok(Self::Num(left * right))
            }
            (Self::Str(text), Self::Num(times @ (Num::Int(_) | Num::BigInt(_))))
            | (Self::Num(times @ (Num::Int(_) | Num::BigInt(_))), Self::Str(text)) => {
                if times <= Num::Int(0) {
                    return Ok(Self::Null);
                }
                let times = times.as_isize().and_then(|times| usize::try_from(times).ok());
                let times = times.unwrap_or(usize::MAX);
                budget::copy(text.len().max(1).saturating_mul(times));
                Ok(Self::Str(Rc::new(text.repeat(times))))
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
            (Self::Num(left), Self::Num(right)) => Ok(Self::Num(left / right)),
            (Self::Str(text), Self::Str(separator)) => Ok(split(&text, &separator)),
            (left, right) => Err(Error::math(left, Math::Div, right)),
        }
    }
}

impl Rem for JqValue {
    type Output = ValueResult;

    fn rem(self, right: Self) -> ValueResult {
        let is_integer = |number: &Num| matches!(number, Num::Int(_) | Num::BigInt(_));
        match (self, right) {
            (Self::Num(left), Self::Num(right))
                if !(is_integer(&left) && is_integer(&right) && right == Num::Int(0)) =>
            {
                count_integers(&left, &right);
                Ok(Self::Num(left % right))
            }
            (left, right) => Err(Error::math(left, Math::Rem, right)),
        }
    }
}

impl Neg for JqValue {
    type Output = ValueResult;

    fn neg(self) -> ValueResult {
        match self {
            Self::Num(number) => {
                count_integers(&number, &number);
                Ok(Self::Num(-number))
            }
            other => Err(Error::typ(other, "number")),
        }
    }
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

/// Counts the bytes of a result that is about as large as both numbers.
fn count_integers(left: &Num, right: &Num) {
    let size = |number: &Num| match number {
        Num::BigInt(integer) => usize::try_from(integer.bits() / 8).unwrap_or(usize::MAX),
        Num::Dec(digits) => digits.len(),
        Num::Int(_) | Num::Float(_) => 0,
    };
    let bytes = size(left).saturating_add(size(right));
    if bytes > 0 {
        budget::copy(bytes);
    }
}

fn bits(number: &Num) -> u64 {
    match number {
        Num::BigInt(integer) => integer.bits(),
        Num::Int(_) | Num::Float(_) | Num::Dec(_) => 64,
    }
}
