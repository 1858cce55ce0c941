//! The values of the expression language. To make, copy or compare one costs bytes and steps of the budget.
//!
//! The evaluator and the functions of its libraries reach values only through this type. So the bounds hold for each
//! function, whatever it does. `arithmetic.rs` has the operators, `access.rs` what reads and changes parts of a value.

use std::{cmp::Ordering, rc::Rc};

use jaq_core::Error;
use jaq_json::{Map, Num};

use super::{
    budget::{self, DEPTH, EvaluationEnd},
    number,
};

/// Bytes of an element of an array.
pub(super) const ITEM: usize = size_of::<JqValue>();
/// Bytes of a member of an object, with its share of the hash table.
pub(super) const MEMBER: usize = 96;
/// Bytes of an array or an object, without its elements.
const CONTAINER: usize = 96;
/// Bytes of a text, without its characters.
const TEXT: usize = 40;
/// Length from which an integer is kept as its digits: arithmetic with more digits is slow.
const LONGEST_INTEGER: usize = 80_000;
/// Square of the number of digits that are parsed in about the time of a step.
const DIGITS_A_STEP: usize = 215 * 215;

/// Most elements that are looked at again when one of them became shallower, so that an update of each takes linear time.
const MEASURED: usize = 64;

pub(super) type ValueError = Error<JqValue>;
pub(super) type ValueResult = Result<JqValue, ValueError>;
pub(super) type Members = Map<Rc<String>, JqValue>;

/// A JSON value, or a number that JSON does not have.
#[derive(Debug, Clone, Default)]
pub(super) enum JqValue {
    #[default]
    Null,
    Bool(bool),
    Num(Num),
    Str(Rc<String>),
    Arr(Rc<JqArray>),
    Obj(Rc<JqObject>),
}

/// An array that knows its depth, or more than that after an element became shallower.
#[derive(Debug, Clone)]
pub(super) struct JqArray {
    items: Vec<JqValue>,
    depth: u32,
}

/// An object that knows its depth, or more than that after a member became shallower. Its members have an order.
#[derive(Debug, Clone)]
pub(super) struct JqObject {
    members: Members,
    depth: u32,
}

impl JqValue {
    /// Copies a text.
    pub(super) fn text(text: &str) -> Self {
        budget::copy(text.len() + TEXT);
        Self::Str(Rc::new(text.to_owned()))
    }

    /// Makes an array of elements whose bytes are counted.
    pub(super) fn array(items: Vec<Self>) -> Self {
        budget::copy(CONTAINER);
        let depth = depth_of(items.iter());
        Self::Arr(Rc::new(JqArray { items, depth }))
    }

    /// Makes an object of members whose bytes are counted.
    pub(super) fn object(members: Members) -> Self {
        budget::copy(CONTAINER);
        let depth = depth_of(members.values());
        Self::Obj(Rc::new(JqObject { members, depth }))
    }

    /// Reads a number. A text that is not JSON, such as `.5`, becomes a floating-point number.
    pub(super) fn number(digits: &str) -> Self {
        let is_integer = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        // An integer has no -0.
        if is_integer && digits.len() < LONGEST_INTEGER && digits != "-0" {
            // The time grows with the square of the length.
            budget::steps(digits.len() * digits.len() / DIGITS_A_STEP);
            if let Some(integer) = Num::from_str_radix(digits, 10) {
                return Self::Num(integer);
            }
        }
        budget::copy(digits.len() + TEXT);
        match serde_json::from_str::<&serde_json::value::RawValue>(digits) {
            Ok(_) => Self::Num(Num::Dec(Rc::new(digits.to_owned()))),
            Err(_) => Self::Num(Num::from_dec_str(digits)),
        }
    }

    /// Returns the nesting of arrays and objects, or a bound of it: 0 for other values.
    pub(super) fn depth(&self) -> u32 {
        match self {
            Self::Arr(array) => array.depth,
            Self::Obj(object) => object.depth,
            Self::Null | Self::Bool(_) | Self::Num(_) | Self::Str(_) => 0,
        }
    }

    /// Returns the name of the type, with an article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Num(_) => "a number",
            Self::Str(_) => "a string",
            Self::Arr(_) => "an array",
            Self::Obj(_) => "an object",
        }
    }

    /// Returns the text of a string.
    ///
    /// # Errors
    /// The value is not a string.
    pub(super) fn as_text(&self) -> Result<&Rc<String>, ValueError> {
        match self {
            Self::Str(text) => Ok(text),
            _ => Err(Error::typ(self.clone(), "string")),
        }
    }

    pub(super) fn is_bool(&self) -> bool {
        matches!(self, Self::Bool(_))
    }

    /// The place of a type in the order of values.
    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Num(_) => 2,
            Self::Str(_) => 3,
            Self::Arr(_) => 4,
            Self::Obj(_) => 5,
        }
    }
}

/// Returns the depth of an array or object with these elements.
fn depth_of<'a>(values: impl Iterator<Item = &'a JqValue>) -> u32 {
    checked(values.map(JqValue::depth).max().unwrap_or(0) + 1)
}

fn checked(depth: u32) -> u32 {
    if depth > DEPTH {
        budget::end(EvaluationEnd::Depth);
    }
    depth
}

impl JqArray {
    pub(super) fn items(&self) -> &[JqValue] {
        &self.items
    }

    /// Returns the elements. They are copied if the array is shared.
    pub(super) fn into_items(array: Rc<Self>) -> Vec<JqValue> {
        Rc::try_unwrap(array).map(|array| array.items).unwrap_or_else(|shared| {
            budget::copy(ITEM.saturating_mul(shared.items.len()));
            shared.items.clone()
        })
    }

    /// Returns the elements one by one, each for a step. A shared array is not copied.
    pub(super) fn each(array: Rc<Self>) -> Box<dyn Iterator<Item = JqValue>> {
        let counted = |item| {
            budget::step();
            item
        };
        match Rc::try_unwrap(array) {
            Ok(array) => Box::new(array.items.into_iter().map(counted)),
            Err(array) => {
                let places = 0..array.items.len();
                let item = move |place: usize| array.items.get(place).cloned().unwrap_or_default();
                Box::new(places.map(item).map(counted))
            }
        }
    }

    /// Changes the elements. They are copied first if the array is shared.
    pub(super) fn change<T>(
        array: &mut Rc<Self>,
        change: impl FnOnce(&mut Vec<JqValue>) -> T,
    ) -> T {
        let changed = Self::unshared(array);
        let done = change(&mut changed.items);
        changed.depth = depth_of(changed.items.iter());
        done
    }

    /// Appends elements, in place if the array is not shared.
    pub(super) fn append(array: &mut Rc<Self>, more: &Self) {
        budget::copy(ITEM.saturating_mul(more.items.len()));
        let grown = Self::unshared(array);
        grown.items.extend(more.items.iter().cloned());
        grown.depth = grown.depth.max(more.depth);
    }

    /// Appends null until the array has this length, in place if the array is not shared.
    pub(super) fn pad(array: &mut Rc<Self>, length: usize) {
        budget::copy(ITEM.saturating_mul(length.saturating_sub(array.items.len())));
        Self::unshared(array).items.resize(length, JqValue::Null);
    }

    /// Replaces the element at a place that exists by the result.
    pub(super) fn replace<E>(
        array: &mut Rc<Self>,
        place: usize,
        by: impl FnOnce(JqValue) -> Result<JqValue, E>,
    ) -> Result<(), E> {
        let array = Self::unshared(array);
        let Some(item) = array.items.get_mut(place) else { return Ok(()) };
        let before = item.depth();
        let value = by(std::mem::take(item))?;
        let after = value.depth();
        *item = value;
        if is_shallower(array.depth, before, after) && array.items.len() <= MEASURED {
            array.depth = depth_of(array.items.iter());
        } else {
            array.depth = checked(array.depth.max(after + 1));
        }
        Ok(())
    }

    fn unshared(array: &mut Rc<Self>) -> &mut Self {
        if Rc::strong_count(array) > 1 {
            budget::copy(CONTAINER + ITEM.saturating_mul(array.items.len()));
        }
        Rc::make_mut(array)
    }
}

impl JqObject {
    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// Returns the members one by one, each for a step. A shared object is not copied.
    pub(super) fn each(object: Rc<Self>) -> Box<dyn Iterator<Item = (Rc<String>, JqValue)>> {
        let counted = |member| {
            budget::step();
            member
        };
        match Rc::try_unwrap(object) {
            Ok(object) => Box::new(object.members.into_iter().map(counted)),
            Err(object) => {
                let places = 0..object.members.len();
                let member = move |place: usize| {
                    let member = object.members.get_index(place);
                    member.map(|(key, value)| (key.clone(), value.clone())).unwrap_or_default()
                };
                Box::new(places.map(member).map(counted))
            }
        }
    }

    /// Sets a member, in place if the object is not shared.
    pub(super) fn set(object: &mut Rc<Self>, key: Rc<String>, value: JqValue) {
        budget::copy(MEMBER);
        let object = Self::unshared(object);
        let after = value.depth();
        let before = object.members.insert(key, value).map_or(0, |value| value.depth());
        object.measure(before, after);
    }

    /// Replaces the value of a key by the result. A missing member is null.
    pub(super) fn replace<E>(
        object: &mut Rc<Self>,
        key: &Rc<String>,
        by: impl FnOnce(JqValue) -> Result<JqValue, E>,
    ) -> Result<(), E> {
        let object = Self::unshared(object);
        let (before, after);
        if let Some(value) = object.members.get_mut(&**key) {
            before = value.depth();
            *value = by(std::mem::take(value))?;
            after = value.depth();
        } else {
            let value = by(JqValue::Null)?;
            budget::copy(MEMBER);
            (before, after) = (0, value.depth());
            object.members.insert(key.clone(), value);
        }
        object.measure(before, after);
        Ok(())
    }

    /// Keeps the members with these keys, in their order.
    pub(super) fn retain(object: &mut Rc<Self>, mut is_kept: impl FnMut(&Rc<String>) -> bool) {
        let object = Self::unshared(object);
        object.members.retain(|key, _| is_kept(key));
        object.depth = depth_of(object.members.values());
    }

    /// Merges objects, and their members that are objects.
    pub(super) fn merge(object: &mut Rc<Self>, more: Rc<Self>) {
        let merged = Self::unshared(object);
        for (key, value) in Self::each(more) {
            let (before, after) = match (merged.members.get_mut(&*key), value) {
                (Some(JqValue::Obj(inner)), JqValue::Obj(more)) => {
                    let before = inner.depth;
                    Self::merge(inner, more);
                    (before, inner.depth)
                }
                (Some(old), value) => {
                    let depths = (old.depth(), value.depth());
                    *old = value;
                    depths
                }
                (None, value) => {
                    budget::copy(MEMBER);
                    let after = value.depth();
                    merged.members.insert(key, value);
                    (0, after)
                }
            };
            merged.measure(before, after);
        }
    }

    /// Corrects the depth after the depth of a member changed.
    fn measure(&mut self, before: u32, after: u32) {
        self.depth = if is_shallower(self.depth, before, after) && self.members.len() <= MEASURED {
            depth_of(self.members.values())
        } else {
            checked(self.depth.max(after + 1))
        };
    }

    fn unshared(object: &mut Rc<Self>) -> &mut Self {
        if Rc::strong_count(object) > 1 {
            budget::copy(CONTAINER + MEMBER.saturating_mul(object.members.len()));
        }
        Rc::make_mut(object)
    }
}

/// Whether a container may be shallower after the depth of an element changed.
fn is_shallower(depth: u32, before: u32, after: u32) -> bool {
    after < before && before + 1 == depth
}

impl FromIterator<Self> for JqValue {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        let mut list = Vec::new();
        for item in items {
            budget::copy(ITEM);
            list.push(item);
        }
        Self::array(list)
    }
}

impl Eq for JqValue {}

impl PartialEq for JqValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Num(one), Self::Num(other)) => number::is_equal(one, other),
            (Self::Str(one), Self::Str(other)) => one == other,
            (Self::Arr(one), Self::Arr(other)) => {
                count_comparison(one.items.len(), other.items.len());
                one.items == other.items
            }
            (Self::Obj(one), Self::Obj(other)) => {
                let is_in =
                    |(key, value): (&Rc<String>, &Self)| other.members.get(&**key) == Some(value);
                count_comparison(one.members.len(), other.members.len());
                one.members.len() == other.members.len() && one.members.iter().all(is_in)
            }
            _ => false,
        }
    }
}

impl Ord for JqValue {
    /// Two NaN are equal, because sorting needs a total order.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => one.cmp(other),
            (Self::Num(one), Self::Num(other)) => number::compare(one, other),
            (Self::Str(one), Self::Str(other)) => one.cmp(other),
            (Self::Arr(one), Self::Arr(other)) => {
                count_comparison(one.items.len(), other.items.len());
                one.items.cmp(&other.items)
            }
            (Self::Obj(one), Self::Obj(other)) => compare_objects(&one.members, &other.members),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

#[expect(clippy::non_canonical_partial_ord_impl, reason = "the language says that NaN < NaN")]
impl PartialOrd for JqValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Num(one), Self::Num(_)) if number::is_nan(one) => Some(Ordering::Less),
            _ => Some(self.cmp(other)),
        }
    }
}

/// Counts the steps to compare arrays or objects of these lengths, without their elements that are arrays or objects.
fn count_comparison(one: usize, other: usize) {
    // Single values are compared quickly.
    budget::steps(1 + one.min(other) / 16);
}

/// Compares the sorted keys first, then the values in this order.
fn compare_objects(one: &Members, other: &Members) -> Ordering {
    if one.is_empty() || other.is_empty() {
        return one.len().cmp(&other.len());
    }
    count_comparison(one.len(), other.len());
    let sorted = |members: &Members| {
        let mut keys: Vec<_> = members.keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let (keys, other_keys) = (sorted(one), sorted(other));
    keys.cmp(&other_keys).then_with(|| {
        let mut orders = keys.iter().map(|key| one.get(&**key).cmp(&other.get(&**key)));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    })
}
