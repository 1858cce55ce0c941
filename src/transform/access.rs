//! What the evaluator and its libraries ask of a value: its parts, its updates, its conversions.

use std::{ops::Range, rc::Rc};

use jaq_core::{Error, Exn, ValX, box_iter::box_once, path::Opt, val};
use jaq_json::Num;

use super::{
    budget, json,
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

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        budget::step();
        match self {
            Self::Arr(array) => JqArray::each(array).flat_map(f).collect(),
            Self::Obj(object) => {
                let mut members = Members::default();
                for (key, value) in JqObject::each(object) {
                    if let Some(value) = f(value).next() {
                        budget::copy(MEMBER);
                        members.insert(key, value?);
                    }
                }
                Ok(Self::object(members))
            }
            other => opt.fail(other, |other| Exn::from(Error::typ(other, ITERABLE))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        mut self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let first = |value| f(value).next().transpose();
        match (&mut self, index) {
            (Self::Str(_) | Self::Arr(_), Self::Obj(range)) => {
                let range = bounds(range);
                self.map_range(range.start.as_ref()..range.end.as_ref(), opt, f)
            }
            (Self::Obj(object), Self::Str(key)) => {
                JqObject::replace(object, key, first)?;
                Ok(self)
            }
            (Self::Arr(array), index) => {
                let length = array.items().len();
                let place =
                    position(index).map(|at| absolute(at, length).filter(|at| *at < length));
                match place {
                    Ok(Some(place)) => {
                        JqArray::replace(array, place, first)?;
                        Ok(self)
                    }
                    Ok(None) => opt.fail(self, |_| {
                        Exn::from(Error::str(format_args!("index {index} out of bounds")))
                    }),
                    Err(error) => opt.fail(self, |_| Exn::from(error)),
                }
            }
            (Self::Obj(_), _) => {
                opt.fail(self, |object| Exn::from(Error::index(object, index.clone())))
            }
            _ => opt.fail(self, |other| Exn::from(Error::typ(other, ITERABLE))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        mut self,
        range: val::Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match &mut self {
            Self::Arr(array) => {
                let places = match range_of(range, array.items().len()) {
                    Ok(places) => places,
                    Err(error) => return opt.fail(self, |_| Exn::from(error)),
                };
                let slice = array.items()[places.clone()].iter().cloned().collect();
                let with = match f(slice).next().transpose()? {
                    Some(Self::Arr(with)) => JqArray::into_items(with),
                    Some(other) => return Err(Exn::from(Error::typ(other, "array"))),
                    None => Vec::new(),
                };
                budget::copy(ITEM.saturating_mul(with.len()));
                JqArray::change(array, |items| drop(items.splice(places, with)));
                Ok(self)
            }
            Self::Str(text) => {
                let places = match range_of_text(range, text) {
                    Ok(places) => places,
                    Err(error) => return opt.fail(self, |_| Exn::from(error)),
                };
                let with = f(Self::text(&text[places.clone()])).next().transpose()?;
                let with = with.unwrap_or_else(|| Self::text(""));
                let with = with.as_text().map_err(Exn::from)?;
                budget::copy(text.len() + with.len());
                Ok(Self::Str(Rc::new(
                    [&text[..places.start], with.as_str(), &text[places.end..]].concat(),
                )))
            }
            _ => opt.fail(self, |other| Exn::from(Error::typ(other, "array"))),
        }
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
            // A sum with a floating-point number is one.
            Self::Num(number) => match number.clone() + Num::Float(0.0) {
                Num::Float(float) => Some(float),
                _ => None,
            },
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
            (Self::Null, _) => None,
            (Self::Obj(object), Self::Str(key)) => object.members().get(&**key).cloned(),
            (Self::Arr(array), Self::Num(Num::Int(_) | Num::BigInt(_))) => {
                let place = absolute(position(index)?, array.items().len());
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

/// Returns an integer as a position. One that does not fit is as good as the largest.
fn position(value: &JqValue) -> Result<isize, ValueError> {
    match value {
        JqValue::Num(number @ (Num::Int(_) | Num::BigInt(_))) => {
            let limit = if *number < Num::Int(0) { isize::MIN } else { isize::MAX };
            Ok(number.as_isize().unwrap_or(limit))
        }
        _ => Err(Error::typ(value.clone(), "integer")),
    }
}

/// Counts a negative position from the end; `None` before the start.
fn absolute(position: isize, length: usize) -> Option<usize> {
    usize::try_from(position).ok().or_else(|| length.checked_sub(position.unsigned_abs()))
}

fn range_of(range: val::Range<&JqValue>, length: usize) -> Result<Range<usize>, ValueError> {
    let place = |bound: Option<&JqValue>, default: usize| match bound {
        None | Some(JqValue::Null) => Ok(default),
        Some(bound) => position(bound).map(|at| absolute(at, length).unwrap_or(0).min(length)),
    };
    let (start, end) = (place(range.start, 0)?, place(range.end, length)?);
    Ok(start..end.max(start))
}

/// Returns the bytes of a range of characters.
fn range_of_text(range: val::Range<&JqValue>, text: &str) -> Result<Range<usize>, ValueError> {
    let place = |bound: Option<&JqValue>, default: usize| match bound {
        None | Some(JqValue::Null) => Ok(default),
        Some(bound) => position(bound).map(|at| {
            let mut starts = text.char_indices().map(|(start, _)| start);
            match usize::try_from(at) {
                Ok(at) => starts.nth(at).unwrap_or(text.len()),
                Err(_) => starts.nth_back(at.unsigned_abs() - 1).unwrap_or(0),
            }
        }),
    };
    let (start, end) = (place(range.start, 0)?, place(range.end, text.len())?);
    Ok(start..end.max(start))
}
