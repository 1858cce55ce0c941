//! What the evaluator and its libraries ask of a value: its parts, its updates, its conversions.

use std::{ops::Range, rc::Rc};

use jaq_core::{Error, Exn, ValX, box_iter::box_once, path::Opt, val};
use jaq_json::Num;

use super::{
    budget, json, number,
    value::{ITEM, JqArray, JqObject, JqValue, MEMBER, Members, ValueError, ValueResult},
};

const ITERABLE: &str = "iterable (array or object)";

impl From<bool> for JqValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<isize> for JqValue {
    fn from(integer: isize) -> Self {
        Self::Num(Num::Int(integer))
    }
}

impl From<usize> for JqValue {
    fn from(integer: usize) -> Self {
        Self::Num(Num::from_integral(integer))
    }
}

impl From<f64> for JqValue {
    fn from(float: f64) -> Self {
        Self::Num(Num::Float(float))
    }
}

impl From<String> for JqValue {
    fn from(text: String) -> Self {
        budget::copy(text.len() + MEMBER / 2);
        Self::Str(Rc::new(text))
    }
}

impl From<val::Range<Self>> for JqValue {
    fn from(range: val::Range<Self>) -> Self {
        let bounds = [("start", range.start), ("end", range.end)].into_iter();
        budget::copy(2 * MEMBER);
        let members = bounds.filter_map(|(key, bound)| Some((Rc::new(key.to_owned()), bound?)));
        Self::object(members.collect())
    }
}

impl jaq_core::ValT for JqValue {
    fn from_num(digits: &str) -> ValueResult {
        Ok(Self::number(digits))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(members: I) -> ValueResult {
        let mut object = Members::default();
        for (key, value) in members {
            let Self::Str(key) = key else {
                let why = format_args!("the key of an object must be a string, not {}", key.kind());
                return Err(Error::str(why));
            };
            budget::copy(MEMBER);
            object.insert(key, value);
        }
        Ok(Self::object(object))
    }

    fn key_values(self) -> Box<dyn Iterator<Item = Result<(Self, Self), ValueError>>> {
        budget::step();
        match self {
            Self::Arr(array) => {
                let pair = |(place, item)| Ok((Self::from(place), item));
                Box::new(JqArray::each(array).enumerate().map(pair))
            }
            Self::Obj(object) => {
                Box::new(JqObject::each(object).map(|(key, value)| Ok((Self::Str(key), value))))
            }
            other => box_once(Err(Error::typ(other, ITERABLE))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValueResult>> {
        budget::step();
        match self {
            Self::Arr(array) => Box::new(JqArray::each(array).map(Ok)),
            Self::Obj(object) => Box::new(JqObject::each(object).map(|(_, value)| Ok(value))),
            other => box_once(Err(Error::typ(other, ITERABLE))),
        }
    }

    fn index(self, index: &Self) -> ValueResult {
        Ok(self.part(index)?.unwrap_or_default())
    }

    fn range(self, range: val::Range<&Self>) -> ValueResult {
        match self {
            Self::Null => Ok(Self::Null),
            Self::Arr(array) => {
                let places = range_of(range, array.items().len())?;
                Ok(array.items()[places].iter().cloned().collect())
            }
            Self::Str(text) => {
                let places = range_of_text(range, &text)?;
                Ok(Self::text(&text[places]))
            }
            other => Err(Error::typ(other, "rangeable (array or string)")),
        }
    }

    // The evaluator updates values by paths, which have functions of their own: `rewrite.rs` leaves no other update.

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        _: Opt,
        _: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        Err(Exn::from(Error::path_expr(self)))
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        _: &Self,
        _: Opt,
        _: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        Err(Exn::from(Error::path_expr(self)))
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        _: val::Range<&Self>,
        _: Opt,
        _: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        Err(Exn::from(Error::path_expr(self)))
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    fn into_string(self) -> Self {
        json::to_text(self)
    }
}

impl jaq_std::ValT for JqValue {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Arr(array) => {
                budget::copy(ITEM.saturating_mul(array.items().len()));
                Ok(JqArray::each(array).collect())
            }
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Self::Num(Num::Int(_) | Num::BigInt(_)))
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Num(number) => number.as_isize(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Num(number) => Some(number::as_float(number)),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Str(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::text(&String::from_utf8_lossy(part))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        // The functions that are allowed cut texts only between characters.
        Self::text(&String::from_utf8_lossy(bytes.as_ref()))
    }
}

impl JqValue {
    /// Returns the part at an index, or nothing if there is none.
    ///
    /// # Errors
    /// A value of this type has no such index.
    pub(super) fn part(self, index: &Self) -> Result<Option<Self>, ValueError> {
        Ok(match (self, index) {
            (Self::Null, Self::Str(_) | Self::Num(_) | Self::Obj(_)) => None,
            (Self::Obj(object), Self::Str(key)) => object.members().get(&**key).cloned(),
            (Self::Arr(array), Self::Num(number)) => {
                let place = whole(number).and_then(|at| absolute(at, array.items().len()));
                place.and_then(|place| array.items().get(place)).cloned()
            }
            (Self::Arr(array), Self::Arr(part)) => {
                Some(indices_of_part(array.items(), part.items()))
            }
            (value @ (Self::Str(_) | Self::Arr(_)), Self::Obj(range)) => {
                let range = bounds(range);
                Some(jaq_core::ValT::range(value, range.start.as_ref()..range.end.as_ref())?)
            }
            (value, _) => return Err(Error::index(value, index.clone())),
        })
    }
}

/// Returns the places where an array contains another.
pub(super) fn indices_of_part(items: &[JqValue], part: &[JqValue]) -> JqValue {
    if part.is_empty() {
        return JqValue::array(Vec::new());
    }
    let windows = items.windows(part.len()).enumerate();
    let places = windows.filter(|(_, window)| {
        budget::step();
        *window == part
    });
    places.map(|(place, _)| JqValue::from(place)).collect()
}

/// Returns the bounds of an object such as `{"start": 1, "end": 2}`.
fn bounds(range: &JqObject) -> val::Range<JqValue> {
    let bound = |name: &str| range.members().get(&name.to_owned()).cloned();
    bound("start")..bound("end")
}

/// Truncates a number to a position. One that is too large is as good as the largest. NaN has none.
fn whole(number: &Num) -> Option<isize> {
    match number {
        Num::Int(integer) => Some(*integer),
        other => {
            let float = number::as_float(other);
            // The conversion saturates.
            (!float.is_nan()).then_some(float as isize)
        }
    }
}

/// The place of a key in an array.
pub(super) enum ArraySlot {
    /// A place, also one after the end, or nothing for one before the start.
    Item(Option<usize>),
    Slice(Range<usize>),
}

/// Returns the place of a key in an array of this length.
///
/// # Errors
/// An array has no such key.
pub(super) fn slot(key: &JqValue, length: usize) -> Result<ArraySlot, ValueError> {
    match key {
        JqValue::Num(number) => match whole(number) {
            Some(at) => Ok(ArraySlot::Item(absolute(at, length))),
            None => Err(Error::str("NaN is not an index of an array")),
        },
        JqValue::Obj(range) => {
            let range = bounds(range);
            Ok(ArraySlot::Slice(range_of(range.start.as_ref()..range.end.as_ref(), length)?))
        }
        other => Err(Error::typ(other.clone(), "index of an array")),
    }
}

/// Rounds a bound of a range to a position: the start down, the end up.
fn bound(value: &JqValue, round: impl FnOnce(f64) -> f64) -> Result<isize, ValueError> {
    match value {
        JqValue::Num(Num::Int(integer)) => Ok(*integer),
        JqValue::Num(number) => Ok(round(number::as_float(number)) as isize),
        _ => Err(Error::typ(value.clone(), "number")),
    }
}

/// Counts a negative position from the end; `None` before the start.
fn absolute(position: isize, length: usize) -> Option<usize> {
    usize::try_from(position).ok().or_else(|| length.checked_sub(position.unsigned_abs()))
}

fn range_of(range: val::Range<&JqValue>, length: usize) -> Result<Range<usize>, ValueError> {
    let place = |at: isize| absolute(at, length).unwrap_or(0).min(length);
    let start = match range.start {
        None | Some(JqValue::Null) => 0,
        Some(start) => place(bound(start, f64::floor)?),
    };
    let end = match range.end {
        None | Some(JqValue::Null) => length,
        Some(end) => place(bound(end, f64::ceil)?),
    };
    Ok(start..end.max(start))
}

/// Returns the bytes of a range of characters.
fn range_of_text(range: val::Range<&JqValue>, text: &str) -> Result<Range<usize>, ValueError> {
    let place = |at: isize| {
        let mut starts = text.char_indices().map(|(start, _)| start);
        match usize::try_from(at) {
            Ok(at) => starts.nth(at).unwrap_or(text.len()),
            Err(_) => starts.nth_back(at.unsigned_abs() - 1).unwrap_or(0),
        }
    };
    let start = match range.start {
        None | Some(JqValue::Null) => 0,
        Some(start) => place(bound(start, f64::floor)?),
    };
    let end = match range.end {
        None | Some(JqValue::Null) => text.len(),
        Some(end) => place(bound(end, f64::ceil)?),
    };
    Ok(start..end.max(start))
}
