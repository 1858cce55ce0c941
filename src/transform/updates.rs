//! Updates by paths, as in jq: assignments, deletions and `walk`.
//!
//! An update first collects the paths of its left side, then changes the value at one path after the other. Missing
//! arrays and objects are made on the way. What a deletion removes is removed at the end, all at once.

use std::{collections::HashSet, iter, rc::Rc};

use jaq_core::{
    Bind, Ctx, Error, Exn, Native, PathsPtr, RunPtr, ValX,
    box_iter::box_once,
    compile::TermId,
    native::{self, Fun, bome, v},
};

use super::{
    access::{ArraySlot, slot},
    budget,
    evaluator::Fenced,
    rewrite,
    value::{ITEM, JqArray, JqObject, JqValue, MEMBER, Members, ValueError, ValueResult},
};

/// Bytes of a path, without its keys.
const PATH: usize = 32;
/// Elements that one step moves when others are removed.
const MOVED_A_STEP: usize = 16;

type JqPath = Vec<JqValue>;

/// The functions that change values by paths.
pub(super) fn own() -> impl Iterator<Item = Fun<Fenced>> {
    let functions: [native::Filter<RunPtr<Fenced>>; 5] = [
        (rewrite::UPDATE, [Bind::Fun(()), Bind::Fun(())].into(), |mut cv| {
            let ((change, context), paths) = (cv.0.pop_fun(), cv.0.pop_fun());
            box_once(paths_of(paths, &cv.1).and_then(|paths| {
                updated(cv.1, &paths, |value| change.run((context.clone(), value)).next())
            }))
        }),
        (rewrite::ASSIGN, [Bind::Fun(()), Bind::Var(())].into(), |mut cv| {
            let (value, paths) = (cv.0.pop_var(), cv.0.pop_fun());
            let set = |_| Some(Ok(value.clone()));
            box_once(paths_of(paths, &cv.1).and_then(|paths| updated(cv.1, &paths, set)))
        }),
        ("setpath", v(2), |mut cv| {
            let (value, path) = (cv.0.pop_var(), cv.0.pop_var());
            let done =
                path_of(&path).and_then(|path| changed(cv.1, path, &mut |_| Ok(value.clone())));
            bome(done)
        }),
        ("delpaths", v(1), |mut cv| {
            let paths = cv.0.pop_var();
            bome(items_of(&paths, "array of paths").and_then(|paths| {
                let paths: Result<Vec<_>, _> = paths.iter().map(path_of).collect();
                deleted(cv.1, paths?)
            }))
        }),
        ("walk", [Bind::Fun(())].into(), |mut cv| {
            let (change, context) = cv.0.pop_fun();
            let value = walked(cv.1, &|value| change.run((context.clone(), value)));
            match value {
                Ok(value) => change.run((context, value)),
                Err(error) => box_once(Err(error)),
            }
        }),
    ];
    functions.into_iter().map(native::run::<Fenced>).chain([recursion(), last()])
}

/// Returns the value and all values in it. A stack of iterators takes a step for each value, at any depth.
fn recursion() -> Fun<Fenced> {
    let run: RunPtr<Fenced> = |cv| {
        let mut open: Vec<Box<dyn Iterator<Item = JqValue>>> = vec![Box::new(iter::once(cv.1))];
        Box::new(iter::from_fn(move || {
            loop {
                let Some(value) = open.last_mut()?.next() else {
                    open.pop();
                    continue;
                };
                budget::step();
                match &value {
                    JqValue::Arr(array) => open.push(JqArray::each(array.clone())),
                    JqValue::Obj(object) => {
                        open.push(Box::new(JqObject::each(object.clone()).map(|(_, value)| value)));
                    }
                    _ => {}
                }
                return Some(Ok(value));
            }
        }))
    };
    let paths: PathsPtr<Fenced> = |cv| {
        let mut open: Vec<Box<dyn Iterator<Item = _>>> = vec![Box::new(iter::once(cv.1))];
        Box::new(iter::from_fn(move || {
            loop {
                let Some((value, path)) = open.last_mut()?.next() else {
                    open.pop();
                    continue;
                };
                budget::step();
                let start = path.clone();
                match &value {
                    JqValue::Arr(array) => {
                        let item =
                            move |(place, item)| (item, start.clone().cons(JqValue::from(place)));
                        open.push(Box::new(JqArray::each(array.clone()).enumerate().map(item)));
                    }
                    JqValue::Obj(object) => {
                        let member =
                            move |(key, value)| (value, start.clone().cons(JqValue::Str(key)));
                        open.push(Box::new(JqObject::each(object.clone()).map(member)));
                    }
                    _ => {}
                }
                return Some(Ok((value, path)));
            }
        }))
    };
    (rewrite::RECURSE, v(0), Native::<Fenced>::new(run).with_paths(paths))
}

/// Returns the last result, or null if there is none.
fn last() -> Fun<Fenced> {
    let run: RunPtr<Fenced> = |mut cv| {
        let (term, context) = cv.0.pop_fun();
        let mut results = term.run((context, cv.1));
        box_once(results.try_fold(JqValue::Null, |_, result| result))
    };
    let paths: PathsPtr<Fenced> = |mut cv| {
        let (term, context) = cv.0.pop_fun();
        let mut results = term.paths((context, cv.1));
        let last = results.try_fold(None, |_, result| result.map(Some));
        Box::new(last.transpose().into_iter())
    };
    (rewrite::LAST, [Bind::Fun(())].into(), Native::<Fenced>::new(run).with_paths(paths))
}

/// Collects the paths that a term has in a value.
fn paths_of<'a>(
    (term, context): (TermId, Ctx<'a, Fenced>),
    value: &JqValue,
) -> ValX<'a, Vec<JqPath>, JqValue> {
    let mut paths = Vec::new();
    for found in term.paths((context, (value.clone(), Default::default()))) {
        let (_, path) = found?;
        let mut path: JqPath = path.iter().cloned().collect();
        path.reverse();
        budget::copy(PATH + ITEM * path.len());
        paths.push(path);
    }
    Ok(paths)
}

fn items_of<'v>(value: &'v JqValue, what: &'static str) -> Result<&'v [JqValue], ValueError> {
    match value {
        JqValue::Arr(array) => Ok(array.items()),
        other => Err(Error::typ(other.clone(), what)),
    }
}

fn path_of(path: &JqValue) -> Result<&[JqValue], ValueError> {
    items_of(path, "path, which is an array")
}

/// Changes the value at each path. A value without a result is removed at the end.
fn updated<'a>(
    mut value: JqValue,
    paths: &[JqPath],
    change: impl Fn(JqValue) -> Option<ValX<'a, JqValue>>,
) -> ValX<'a, JqValue> {
    let mut removed: Vec<&[JqValue]> = Vec::new();
    for path in paths {
        budget::step();
        // What is inside of a removed value is removed with it.
        if removed.last().is_some_and(|last| path.starts_with(last)) {
            continue;
        }
        let mut is_removed = false;
        value = changed(value, path, &mut |value| match change(value) {
            Some(changed) => changed,
            None => {
                is_removed = true;
                Ok(JqValue::Null)
            }
        })?;
        if is_removed {
            removed.push(path);
        }
    }
    if removed.is_empty() { Ok(value) } else { deleted(value, removed).map_err(Exn::from) }
}

/// Changes the value at a path. Null on the way becomes an object or an array.
fn changed<E: From<ValueError>>(
    mut value: JqValue,
    path: &[JqValue],
    change: &mut dyn FnMut(JqValue) -> Result<JqValue, E>,
) -> Result<JqValue, E> {
    let Some((key, rest)) = path.split_first() else { return change(value) };
    if matches!(value, JqValue::Null) {
        value = match key {
            JqValue::Str(_) => JqValue::object(Members::default()),
            JqValue::Num(_) | JqValue::Obj(_) => JqValue::array(Vec::new()),
            _ => return Err(E::from(Error::index(value, key.clone()))),
        };
    }
    let inner = |value| changed(value, rest, change);
    match (&mut value, key) {
        (JqValue::Obj(object), JqValue::Str(key)) => JqObject::replace(object, key, inner)?,
        (JqValue::Arr(array), JqValue::Num(_) | JqValue::Obj(_)) => {
            match slot(key, array.items().len()).map_err(E::from)? {
                ArraySlot::Item(Some(place)) => {
                    if place >= array.items().len() {
                        JqArray::pad(array, place.saturating_add(1));
                    }
                    JqArray::replace(array, place, inner)?;
                }
                ArraySlot::Item(None) => {
                    let why = format_args!("the index {key} is before the start of the array");
                    return Err(E::from(Error::str(why)));
                }
                ArraySlot::Slice(places) => {
                    let slice = array.items()[places.clone()].iter().cloned().collect();
                    let with = match changed(slice, rest, change)? {
                        JqValue::Arr(with) => JqArray::into_items(with),
                        other => {
                            let what = "array, which is needed in place of a part of an array";
                            return Err(E::from(Error::typ(other, what)));
                        }
                    };
                    budget::copy(ITEM.saturating_mul(with.len()));
                    budget::steps(array.items().len() / 1024);
                    JqArray::change(array, |items| drop(items.splice(places, with)));
                }
            }
        }
        _ => return Err(E::from(Error::index(value, key.clone()))),
    }
    Ok(value)
}

/// Removes the values at the paths: the last ones first, and those of one array or object at once.
fn deleted(mut value: JqValue, mut paths: Vec<&[JqValue]>) -> ValueResult {
    paths.sort();
    paths.dedup();
    let mut rest = paths.as_slice();
    while let Some(last) = rest.last() {
        let Some((_, parent)) = last.split_last() else { return Ok(JqValue::Null) };
        let is_sibling = |path: &&&[JqValue]| path.split_last().is_some_and(|it| it.1 == parent);
        let siblings = rest.iter().rev().take_while(is_sibling).count();
        let (before, now) = rest.split_at(rest.len() - siblings);
        rest = before;
        let keys: Vec<&JqValue> = now.iter().filter_map(|path| path.last()).collect();
        if reaches(&value, parent) {
            value = changed(value, parent, &mut |value| without(value, &keys))?;
        }
    }
    Ok(value)
}

/// Whether there is a value other than null at a path. Errors are found when it is followed.
fn reaches(value: &JqValue, path: &[JqValue]) -> bool {
    let mut value = value.clone();
    for key in path {
        match value.part(key) {
            Ok(Some(JqValue::Null) | None) => return false,
            Ok(Some(part)) => value = part,
            Err(_) => return true,
        }
    }
    !matches!(value, JqValue::Null)
}

/// Removes the keys from a value.
fn without(mut value: JqValue, keys: &[&JqValue]) -> ValueResult {
    budget::steps(keys.len());
    match &mut value {
        JqValue::Null => {}
        JqValue::Obj(object) => {
            let mut removed = HashSet::new();
            for key in keys {
                let JqValue::Str(key) = key else {
                    return Err(Error::index(value, (*key).clone()));
                };
                removed.insert(Rc::clone(key));
            }
            budget::steps(object.members().len() / MOVED_A_STEP);
            JqObject::retain(object, |key| !removed.contains(key));
        }
        JqValue::Arr(array) => {
            let length = array.items().len();
            let mut is_removed = vec![false; length];
            for key in keys {
                match slot(key, length)? {
                    ArraySlot::Item(Some(place)) if place < length => is_removed[place] = true,
                    ArraySlot::Item(_) => {}
                    ArraySlot::Slice(places) => is_removed[places].fill(true),
                }
            }
            budget::steps(length / MOVED_A_STEP);
            let mut is_removed = is_removed.into_iter();
            JqArray::change(array, |items| {
                items.retain(|_| !is_removed.next().unwrap_or_default());
            });
        }
        _ => {
            let key = keys.first().copied().cloned().unwrap_or_default();
            return Err(Error::index(value, key));
        }
    }
    Ok(value)
}

/// Changes the values inside of a value, the innermost first. An element of an array becomes all of its results, and a
/// member of an object the first one.
fn walked<'a, I: Iterator<Item = ValX<'a, JqValue>>>(
    value: JqValue,
    change: &impl Fn(JqValue) -> I,
) -> ValX<'a, JqValue> {
    Ok(match value {
        JqValue::Arr(array) => {
            let mut items = Vec::new();
            for item in JqArray::each(array) {
                for item in change(walked(item, change)?) {
                    budget::copy(ITEM);
                    items.push(item?);
                }
            }
            JqValue::array(items)
        }
        JqValue::Obj(object) => {
            let mut members = Members::default();
            for (key, value) in JqObject::each(object) {
                if let Some(value) = change(walked(value, change)?).next() {
                    budget::copy(MEMBER);
                    members.insert(key, value?);
                }
            }
            JqValue::object(members)
        }
        other => other,
    })
}
