//! The functions that expressions call and that are not written in the language: those of the libraries that are
//! allowed, and own ones.

use jaq_core::{
    Error, RunPtr, ValT as _,
    native::{self, Fun, bome, unary, v},
};
use jaq_json::Num;

use super::{
    access::indices_of_part,
    budget,
    evaluator::Fenced,
    fence::is_native_allowed,
    json, regexes,
    value::{JqValue, ValueResult},
};

/// Returns the functions. An own one replaces that of the libraries with the same name.
pub(super) fn functions() -> Vec<Fun<Fenced>> {
    let own: Vec<_> = own().chain(regexes::own()).collect();
    let is_own = |name: &str| own.iter().any(|(own, ..)| *own == name);
    let libraries = jaq_core::funs().chain(jaq_std::base_funs());
    let mut functions: Vec<_> =
        libraries.filter(|(name, ..)| is_native_allowed(name) && !is_own(name)).collect();
    functions.extend(own);
    functions
}

fn own() -> impl Iterator<Item = Fun<Fenced>> {
    let functions: [native::Filter<RunPtr<Fenced>>; 12] = [
        ("add", v(0), |cv| bome(cv.1.values().try_fold(JqValue::Null, |sum, value| sum + value?))),
        ("join", v(1), |cv| unary(cv, |items, separator| join(items, &separator))),
        ("tojson", v(0), |cv| {
            bome(json::print(&cv.1).map(|text| JqValue::Str(text.into())).map_err(Error::str))
        }),
        ("fromjson", v(0), |cv| {
            bome(cv.1.as_text().and_then(|text| json::parse(text).map_err(Error::str)))
        }),
        ("length", v(0), |cv| bome(length(cv.1))),
        ("contains", v(1), |cv| unary(cv, |value, part| Ok(contains(&value, &part).into()))),
        ("has", v(1), |cv| unary(cv, |value, key| Ok(value.part(&key)?.is_some().into()))),
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

/// Joins texts like jq: null is an empty text, and arrays and objects are refused.
fn join(items: JqValue, separator: &JqValue) -> ValueResult {
    let separator = separator.as_text()?;
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
            joined => ((joined + JqValue::Str(separator.clone()))? + item)?,
        };
    }
    Ok(match joined {
        JqValue::Null => JqValue::text(""),
        joined => joined,
    })
}

fn length(value: JqValue) -> ValueResult {
    Ok(match value {
        JqValue::Null => JqValue::from(0_usize),
        JqValue::Num(Num::Dec(digits)) => length(JqValue::Num(Num::from_dec_str(&digits)))?,
        JqValue::Num(Num::Float(float)) => JqValue::from(float.abs()),
        JqValue::Num(number) if number < Num::Int(0) => (-JqValue::Num(number))?,
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
