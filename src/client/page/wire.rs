//! The reference parser for pages. It locates the values in a body, or explains why the body is not a page.
//!
//! Copies only unknown fields and strings with escapes. Never parses the inside of a JSON value.

use std::{borrow::Cow, collections::BTreeMap, mem};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    located::{Decoded, FIELDS, JsonText, RowSpans, Span, Unknown},
    number,
};
use crate::client::link::Link;
use crate::error::PageError;

#[derive(Deserialize)]
struct Envelope<'a> {
    count: u64,
    #[serde(borrow)]
    next: Option<Cow<'a, str>>,
    #[serde(borrow)]
    results: Vec<WireRow<'a>>,
    #[serde(borrow, default)]
    previous: Option<&'a RawValue>,
}

#[derive(Default)]
struct WireRow<'a> {
    id: Uuid,
    order: Option<i64>,
    input: Option<&'a RawValue>,
    expected_output: Option<&'a RawValue>,
    persona: Option<Cow<'a, str>>,
    tags: Option<&'a RawValue>,
    additional_properties: Option<Box<str>>,
}

/// Parses the body of a page and locates its values.
///
/// # Errors
/// A [`PageError`] that names the wrong row and field, as far as they are known.
pub(super) fn decode(body: &str) -> Result<Decoded, PageError> {
    let envelope: Envelope<'_> =
        serde_json::from_str(body).map_err(|error| explain(body, error))?;
    Ok(Decoded {
        count: envelope.count,
        next: envelope.next.map_or(Link::Absent, |url| Link::of(&url)),
        // A `previous` of another type is ignored.
        previous: match envelope
            .previous
            .map(|value| serde_json::from_str::<Cow<'_, str>>(value.get()))
        {
            Some(Ok(url)) => Link::of(&url),
            _ => Link::Absent,
        },
        rows: envelope.results.into_iter().map(|row| row.locate(body)).collect(),
        compact: false,
    })
}

impl WireRow<'_> {
    fn locate(self, body: &str) -> RowSpans {
        let span = |text: &str| -> Span {
            let start = text.as_ptr().addr() - body.as_ptr().addr();
            start..start + text.len()
        };
        let raw = |value: Option<&RawValue>| value.map(|value| span(value.get()));
        RowSpans {
            id: self.id,
            order: self.order,
            input: raw(self.input),
            expected_output: raw(self.expected_output),
            persona: self.persona.map(|persona| match persona {
                Cow::Borrowed(text) => JsonText::Borrowed(span(text)),
                Cow::Owned(text) => JsonText::Owned(text.into()),
            }),
            tags: raw(self.tags),
            additional_properties: self.additional_properties,
        }
    }
}

// Written by hand: `#[serde(flatten)]` could collect the unknown fields, but does not work with `RawValue`.
impl<'de: 'a, 'a> Deserialize<'de> for WireRow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = WireRow<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a datapoint")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut row = WireRow::default();
        let mut unknown = Unknown::default();
        let mut seen = [false; FIELDS.len()];
        while let Some(name) = map.next_key::<&RawValue>()? {
            let known = known_field(name.get());
            if let Some(index) = known
                && mem::replace(&mut seen[index], true)
            {
                let name = FIELDS[index];
                return Err(A::Error::custom(format_args!("field {name:?} appears twice")));
            }
            match known {
                Some(0) => row.id = map.next_value()?,
                Some(1) => row.order = map.next_value()?,
                Some(2) => row.input = map.next_value()?,
                Some(3) => row.expected_output = map.next_value()?,
                Some(4) => row.persona = map.next_value::<Option<Name<'de>>>()?.map(|name| name.0),
                Some(5) => row.tags = map.next_value()?,
                _ => unknown.push(name.get(), map.next_value::<&RawValue>()?.get()),
            }
        }
        row.additional_properties = unknown.finish();
        if seen[0] { Ok(row) } else { Err(A::Error::missing_field("id")) }
    }
}

/// Returns the index of a field in [`FIELDS`], or `None` for another field.
///
/// `quoted` is the name as in the JSON text, with quotes and escapes. A name that is not valid Unicode (a
/// lone surrogate) is not in the list.
pub(super) fn known_field(quoted: &str) -> Option<usize> {
    let is = |name: &str| FIELDS.iter().position(|field| *field == name);
    let known = is(quoted.get(1..quoted.len() - 1)?);
    if known.is_none() && quoted.contains('\\') {
        let Name(name) = serde_json::from_str(quoted).ok()?;
        return is(&name);
    }
    known
}

/// A string that is borrowed if it has no escapes. Needed because serde always copies a `Cow<str>` inside an
/// `Option`.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Finds the part of the page that is wrong. Decodes the failed body again, layer by layer and more slowly.
fn explain(body: &str, error: serde_json::Error) -> PageError {
    #[derive(Deserialize)]
    struct LooseEnvelope<'a> {
        #[serde(borrow)]
        results: Vec<&'a RawValue>,
    }
    if let Err(source) = serde_json::from_str::<IgnoredAny>(body) {
        if let Some(error) = number::explain(body) {
            return error;
        }
        return PageError::Malformed { bytes: body.len(), source };
    }
    let Ok(LooseEnvelope { results }) = serde_json::from_str(body) else {
        return not_a_page(body, &error);
    };
    for (row, text) in results.iter().enumerate() {
        let Err(error) = serde_json::from_str::<WireRow<'_>>(text.get()) else { continue };
        let culprit = culprit(text.get());
        return PageError::Row {
            row,
            field: culprit.unwrap_or_else(|| "id".to_owned()),
            why: plain(&error),
        };
    }
    not_a_page(body, &error)
}

/// Creates the error for a body that is not a page. Names the wrong field if there is one.
fn not_a_page(body: &str, error: &serde_json::Error) -> PageError {
    fn fits<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<serde_json::Error> {
        serde_json::from_str::<T>(value.get()).err()
    }
    let Ok(fields) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(body) else {
        return PageError::NotAPage("not an object".to_owned());
    };
    let field = |name: &'static str, fits: fn(&RawValue) -> Option<serde_json::Error>| {
        let why = fits(fields.get(name)?)?;
        Some(format!("field {name:?}: {}", plain(&why)))
    };
    let wrong = field("count", |value| fits::<u64>(value))
        .or_else(|| field("next", |value| fits::<Option<String>>(value)))
        .or_else(|| field("results", |value| fits::<Vec<IgnoredAny>>(value)));
    PageError::NotAPage(wrong.unwrap_or_else(|| plain(error)))
}

/// Returns the first field that makes the row invalid: it has a wrong type or appears a second time.
fn culprit(row: &str) -> Option<String> {
    struct Fields(Option<String>);
    impl<'de> Deserialize<'de> for Fields {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct FieldsVisitor;
            impl<'de> Visitor<'de> for FieldsVisitor {
                type Value = Fields;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                    let (mut wrong, mut seen) = (None, Vec::new());
                    while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                        let Some(name) = known_field(name.get()).map(|index| FIELDS[index]) else {
                            continue;
                        };
                        let fits = match name {
                            "id" => serde_json::from_str::<Uuid>(value.get()).is_ok(),
                            "order" => serde_json::from_str::<Option<i64>>(value.get()).is_ok(),
                            "persona" => {
                                serde_json::from_str::<Option<String>>(value.get()).is_ok()
                            }
                            _ => true,
                        };
                        if wrong.is_none() && (!fits || seen.contains(&name)) {
                            wrong = Some(name.to_owned());
                        }
                        seen.push(name);
                    }
                    Ok(Fields(wrong))
                }
            }
            deserializer.deserialize_map(FieldsVisitor)
        }
    }
    serde_json::from_str::<Fields>(row).ok()?.0
}

/// Returns the text of an error without serde_json's position, which is relative to a fragment.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.contains("hex escape") {
        // The whole text was accepted as JSON, so a lone surrogate is the only possible reason.
        return "a lone surrogate escape is not a character".to_owned();
    }
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}
