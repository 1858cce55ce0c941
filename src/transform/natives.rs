//! The functions that expressions call and that are not written in the language: those of the libraries that are
//! allowed, and own ones.

use jaq_core::{
    Error, Exn, RunPtr, ValT as _, ValXs,
    native::{self, Fun, bome, unary, v},
};
use jaq_json::Num;

use super::{
    access::indices_of_part,
    budget,
    evaluator::Fenced,
    fence::is_native_allowed,
    json::{self, beginning},
    number, regexes, updates,
    value::{ITEM, JqValue, MEMBER, Members, ValueError, ValueResult},
};

/// Returns the functions. An own one replaces that of the libraries with the same name.
pub(super) fn functions() -> Vec<Fun<Fenced>> {
    let own: Vec<_> = own().chain(regexes::own()).chain(updates::own()).collect();
    let is_own = |name: &str| own.iter().any(|(own, ..)| *own == name);
    let libraries = jaq_core::funs().chain(jaq_std::base_funs());
    let kept = libraries.filter(|(name, ..)| is_native_allowed(name) && !is_own(name));
    let mut functions: Vec<_> =
        kept.map(|(name, binds, native)| (renamed(name), binds, native)).collect();
    functions.extend(own);
    functions
}

/// Own definitions check the number first, and call these.
fn renamed(name: &'static str) -> &'static str {
    match name {
        "limit" => "limit_",
        "skip" => "skip_",
        name => name,
    }
}

fn own() -> impl Iterator<Item = Fun<Fenced>> {
    let functions: [native::Filter<RunPtr<Fenced>>; 25] = [
        ("add", v(0), |cv| bome(cv.1.values().try_fold(JqValue::Null, |sum, value| sum + value?))),
        ("join", v(1), |cv| unary(cv, |items, separator| join(items, &separator))),
        ("tojson", v(0), |cv| {
            bome(json::print(&cv.1).map(|text| JqValue::Str(text.into())).map_err(Error::str))
        }),
        ("fromjson", v(0), |cv| {
            bome(cv.1.as_text().and_then(|text| json::parse(text).map_err(Error::str)))
        }),
        ("length", v(0), |cv| bome(length(cv.1))),
        ("flatten", v(0), |cv| bome(flatten(cv.1, f64::INFINITY))),
        ("flatten", v(1), |cv| {
            unary(cv, |value, depth| match &depth {
                JqValue::Num(depth) if number::as_float(depth) >= 0.0 => {
                    flatten(value, number::as_float(depth))
                }
                _ => Err(Error::typ(depth, "depth, which is a number from 0 on")),
            })
        }),
        ("contains", v(1), |cv| {
            unary(cv, |value, part| {
                if value.kind() != part.kind() || value.is_bool() && value != part {
                    let why = format_args!(
                        "{value} and {part} are not of the same type, so neither contains the other"
                    );
                    return Err(Error::str(why));
                }
                Ok(contains(&value, &part).into())
            })
        }),
        ("tonumber", v(0), |cv| bome(to_number(cv.1))),
        ("from_entries", v(0), |cv| bome(from_entries(cv.1))),
        ("has", v(1), |cv| unary(cv, |value, key| has(value, &key).map(JqValue::from))),
        ("nan", v(0), |_| bome(Ok(JqValue::from(f64::NAN)))),
        ("infinite", v(0), |_| bome(Ok(JqValue::from(f64::INFINITY)))),
        ("isnan", v(0), |cv| bome(Ok(is_float(&cv.1, f64::is_nan)))),
        ("isinfinite", v(0), |cv| bome(Ok(is_float(&cv.1, f64::is_infinite)))),
        ("isnormal", v(0), |cv| bome(Ok(is_float(&cv.1, f64::is_normal)))),
        ("floor", v(0), |cv| bome(rounded(cv.1, f64::floor))),
        ("round", v(0), |cv| bome(rounded(cv.1, f64::round))),
        ("ceil", v(0), |cv| bome(rounded(cv.1, f64::ceil))),
        ("range", v(3), |mut cv| {
            let (by, to, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
            range(from, to, by)
        }),
        ("indices", v(1), |cv| unary(cv, |value, part| indices(&value, &part))),
        ("bsearch", v(1), |cv| unary(cv, |value, item| search(&value, &item))),
        ("ascii_downcase", v(0), |cv| {
            bome(cv.1.as_text().map(|text| counted(text, 1, |text| text.to_ascii_lowercase())))
        }),
        ("ascii_upcase", v(0), |cv| {
            bome(cv.1.as_text().map(|text| counted(text, 1, |text| text.to_ascii_uppercase())))
        }),
        ("escape_sh", v(0), |cv| {
            bome(cv.1.as_text().map(|text| counted(text, 4, |text| text.replace('\'', r"'\''"))))
        }),
    ];
    functions.into_iter().map(native::run::<Fenced>)
}

/// Changes a text into one that is at most this many times longer.
fn counted(text: &str, longer: usize, change: impl FnOnce(&str) -> String) -> JqValue {
    budget::copy(text.len().saturating_mul(longer));
    JqValue::Str(change(text).into())
}

/// Joins values as jq does: null is an empty text, and arrays and objects are refused.
fn join(items: JqValue, separator: &JqValue) -> ValueResult {
    let mut joined = JqValue::Null;
    for item in items.values() {
        let item = match item? {
            JqValue::Null => JqValue::text(""),
            item @ (JqValue::Arr(_) | JqValue::Obj(_)) => {
                return Err(Error::typ(item, "text to join"));
            }
            item => JqValue::Str(match item {
                JqValue::Str(text) => text,
                item => json::print(&item).map_err(Error::str)?.into(),
            }),
        };
        joined = match joined {
            JqValue::Null => (JqValue::text("") + item)?,
            joined => ((joined + separator.clone())? + item)?,
        };
    }
    Ok(match joined {
        JqValue::Null => JqValue::text(""),
        joined => joined,
    })
}

/// Whether a value is a number with this property, as a floating-point number.
fn is_float(value: &JqValue, property: impl Fn(f64) -> bool) -> JqValue {
    let has = |number: &Num| property(number::as_float(number));
    matches!(value, JqValue::Num(number) if has(number)).into()
}

/// Applies a function such as `floor`. An integer stays as it is.
fn rounded(value: JqValue, round: impl FnOnce(f64) -> f64) -> Result<JqValue, ValueError> {
    match value {
        JqValue::Num(Num::Int(_) | Num::BigInt(_)) => Ok(value),
        JqValue::Num(number) => Ok(JqValue::from(round(number::as_float(&number)))),
        other => Err(Error::typ(other, "number")),
    }
}

/// Reads a number as jq does: also one with a plus sign or leading zeros, or without digits on one side of the point.
fn to_number(value: JqValue) -> ValueResult {
    let text = match value {
        JqValue::Num(_) => return Ok(value),
        JqValue::Str(text) => text,
        other => return Err(Error::typ(other, "number")),
    };
    let wrong = || Error::str(format_args!("cannot parse {:?} as a number", beginning(&text, 40)));
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    budget::copy(trimmed.len());
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_exponent = |text: &str| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        !digits.is_empty() && are_digits(digits)
    };
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    if !has_digits
        || !are_digits(whole)
        || !are_digits(fraction)
        || !exponent.is_none_or(is_exponent)
    {
        return Err(wrong());
    }
    let mut digits = String::with_capacity(trimmed.len() + 1);
    digits.push_str(if trimmed.starts_with('-') { "-" } else { "" });
    let whole = whole.trim_start_matches('0');
    digits.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        digits.extend([".", fraction]);
    }
    if let Some(exponent) = exponent {
        digits.extend(["e", exponent]);
    }
    Ok(JqValue::number(&digits))
}

/// Makes an object of entries, whose keys and values can have one of several names.
fn from_entries(entries: JqValue) -> ValueResult {
    let [key, value, v, last] = ["key", "value", "v", "Value"].map(JqValue::text);
    let others = ["k", "name", "Name", "K", "Key"].map(JqValue::text);
    let mut members = Members::default();
    for entry in entries.values() {
        let entry = entry?;
        budget::step();
        let part = |name: &JqValue| entry.clone().part(name);
        let mut named = part(&key)?.unwrap_or_default();
        if matches!(named, JqValue::Null) {
            for other in &others {
                named = part(other)?.unwrap_or_default();
                if named.as_bool() {
                    break;
                }
            }
        }
        let JqValue::Str(key) = named else {
            let why = format_args!("the key of an entry must be a string, not {named}");
            return Err(Error::str(why));
        };
        let value = match (part(&value)?, part(&v)?) {
            (Some(value), _) | (None, Some(value)) => value,
            (None, None) => part(&last)?.unwrap_or_default(),
        };
        budget::copy(MEMBER);
        members.insert(key, value);
    }
    Ok(JqValue::object(members))
}

/// Puts the elements of arrays in their place, down to a depth.
fn flatten(value: JqValue, depth: f64) -> ValueResult {
    fn collect(value: JqValue, depth: f64, flat: &mut Vec<JqValue>) -> Result<(), ValueError> {
        for item in value.values() {
            match item? {
                item @ JqValue::Arr(_) if depth != 0.0 => collect(item, depth - 1.0, flat)?,
                item => {
                    budget::copy(ITEM);
                    flat.push(item);
                }
            }
        }
        Ok(())
    }
    let mut flat = Vec::new();
    collect(value, depth, &mut flat)?;
    Ok(JqValue::array(flat))
}

/// Whether there is a value at a key. An array has no negative one.
fn has(value: JqValue, key: &JqValue) -> Result<bool, ValueError> {
    match (&value, key) {
        (JqValue::Arr(_), JqValue::Num(number)) if number::as_float(number) <= -1.0 => Ok(false),
        (JqValue::Null, _) => Ok(false),
        (JqValue::Arr(_), JqValue::Num(_)) | (JqValue::Obj(_), JqValue::Str(_)) => {
            Ok(value.part(key)?.is_some())
        }
        _ => Err(Error::index(value, key.clone())),
    }
}

/// Returns the numbers from the start on, before the end. There are none if they do not come closer to the end.
fn range<'a>(from: JqValue, to: JqValue, by: JqValue) -> ValXs<'a, JqValue> {
    let is_number = |value: &JqValue| matches!(value, JqValue::Num(_));
    if let Some(other) = [&from, &to, &by].into_iter().find(|value| !is_number(value)) {
        return bome(Err(Error::typ(other.clone(), "bound of a range, which is a number")));
    }
    let direction = by.cmp(&JqValue::from(0_usize));
    let mut next = Some(from);
    Box::new(std::iter::from_fn(move || {
        let current = next.take()?;
        if direction.is_eq() || current.cmp(&to) != direction.reverse() {
            return None;
        }
        match current.clone() + by.clone() {
            Ok(sum) => next = Some(sum),
            Err(error) => return Some(Err(Exn::from(error))),
        }
        Some(Ok(current))
    }))
}

fn length(value: JqValue) -> ValueResult {
    Ok(match value {
        JqValue::Null => JqValue::from(0_usize),
        JqValue::Num(Num::Dec(digits)) => length(JqValue::Num(Num::from_dec_str(&digits)))?,
        JqValue::Num(Num::Float(float)) => JqValue::from(float.abs()),
        JqValue::Num(number) if number::compare(&number, &Num::Int(0)).is_lt() => {
            (-JqValue::Num(number))?
        }
        JqValue::Num(number) => JqValue::Num(number),
        JqValue::Str(text) => JqValue::from(text.chars().count()),
        JqValue::Arr(array) => JqValue::from(array.items().len()),
        JqValue::Obj(object) => JqValue::from(object.members().len()),
        JqValue::Bool(value) => return Err(Error::str(format_args!("{value} has no length"))),
    })
}

/// Whether a value has a part: a text within a text, or, for each element of an array or object, one that has it.
fn contains(value: &JqValue, part: &JqValue) -> bool {
    budget::step();
    match (value, part) {
        (JqValue::Str(text), JqValue::Str(part)) => text.contains(&**part),
        (JqValue::Arr(array), JqValue::Arr(parts)) => {
            let has = |part: &JqValue| array.items().iter().any(|item| contains(item, part));
            parts.items().iter().all(has)
        }
        (JqValue::Obj(object), JqValue::Obj(parts)) => {
            let member = |key: &String| object.members().get(key);
            let mut parts = parts.members().iter();
            parts.all(|(key, part)| member(key).is_some_and(|value| contains(value, part)))
        }
        _ => value == part,
    }
}

/// Returns the places of a value in an array, or of a text in a text, in characters.
fn indices(value: &JqValue, part: &JqValue) -> ValueResult {
    Ok(match (value, part) {
        (JqValue::Str(_), JqValue::Str(part)) if part.is_empty() => JqValue::array(Vec::new()),
        (JqValue::Str(text), JqValue::Str(part)) => {
            let starts = text.char_indices().map(|(start, _)| start).enumerate();
            let found = starts.filter(|(_, start)| text[*start..].starts_with(&**part));
            found.map(|(place, _)| JqValue::from(place)).collect()
        }
        (JqValue::Arr(array), JqValue::Arr(part)) => indices_of_part(array.items(), part.items()),
        (JqValue::Arr(array), item) => {
            let items = array.items().iter().enumerate();
            items.filter(|(_, it)| *it == item).map(|(place, _)| JqValue::from(place)).collect()
        }
        (JqValue::Null, _) => JqValue::Null,
        (value, part) => return Err(Error::index(value.clone(), part.clone())),
    })
}

/// Returns the place of an item in a sorted array, or -1 minus the place where it belongs.
fn search(value: &JqValue, item: &JqValue) -> ValueResult {
    let JqValue::Arr(array) = value else { return Err(Error::typ(value.clone(), "array")) };
    let place = |place: usize| isize::try_from(place).map_err(Error::str);
    Ok(JqValue::from(match array.items().binary_search(item) {
        Ok(found) => place(found)?,
        Err(missing) => -1 - place(missing)?,
    }))
}
