//! One page of datapoints, decoded without parsing a JSON value into a tree.
//!
//! A [`Page`] keeps the body that came over the wire and says where in it each value lies, so that
//! a value is copied once: from there to where it is written. Never changes a token.

pub(crate) mod compact;
mod located;
pub(super) mod number;
mod refused;
mod scan;
mod tokens;
mod wire;

use std::borrow::Cow;

use serde::{Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;
use uuid::Uuid;

use self::located::{Decoded, JsonText, Span};
use super::link;
use crate::client::{budget::Hold, compact::compact};
use crate::error::PageError;

/// Rows whose ids, 16 bytes each, a file can hold: its offsets have 63 bits.
pub(super) const MAX_COUNT: u64 = i64::MAX as u64 / 16;

/// A datapoint as the API sent it.
///
/// JSON values keep every token: numbers of any size, key order, duplicate keys, escapes. `null` and
/// a missing field are both `None`.
///
/// It serializes to what a line of JSON Lines holds: these fields in this order, nulls explicit, JSON
/// values token for token without the white space between them.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Datapoint {
    /// The datapoint's id.
    pub id: Uuid,
    /// Its place in the dataset, where it has one.
    pub order: Option<i64>,
    /// What the agent is given: any JSON.
    #[serde(serialize_with = "compacted")]
    pub input: Option<Box<RawValue>>,
    /// What it should answer: any JSON.
    #[serde(serialize_with = "compacted")]
    pub expected_output: Option<Box<RawValue>>,
    /// Who asks; at most 128 characters, says the API.
    pub persona: Option<String>,
    /// Labels: any JSON.
    #[serde(serialize_with = "compacted")]
    pub tags: Option<Box<RawValue>>,
    /// The fields that this version does not know, as one JSON object, in the order they came.
    #[serde(serialize_with = "compacted")]
    pub additional_properties: Option<Box<RawValue>>,
}

/// A row of a [`Page`], borrowed from the body that came over the wire.
///
/// The JSON texts are as they were sent, white space included.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Row<'a> {
    /// The datapoint's id.
    pub id: Uuid,
    /// Its place in the dataset.
    pub order: Option<i64>,
    /// JSON text.
    pub input: Option<&'a str>,
    /// JSON text.
    pub expected_output: Option<&'a str>,
    /// The string itself, unescaped.
    pub persona: Option<&'a str>,
    /// JSON text.
    pub tags: Option<&'a str>,
    /// JSON text of an object.
    pub additional_properties: Option<&'a str>,
    /// Whether it is known that no JSON text has white space between its tokens.
    pub(crate) compact: bool,
}

/// One page of a dataset.
#[derive(Debug)]
pub struct Page {
    number: u64,
    /// Whether the stream that the page comes from ends with it.
    ends_stream: bool,
    body: String,
    decoded: Decoded,
    /// Released when the page is dropped: it accounts for the memory that the page holds.
    hold: Option<Hold>,
}

impl Page {
    /// Decodes the body of page `number`, as the API sends it.
    ///
    /// # Errors
    /// A [`PageError`] that says what the body is instead, or which row and field are wrong. Where
    /// `next` and `previous` carry page numbers, they must be those of the page's neighbours.
    ///
    /// ```
    /// use overmind_export::Page;
    /// let body = br#"{"count":1,"next":null,"results":[
    ///     {"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","input":{"n":1e400}}]}"#;
    /// let page = Page::decode(1, body.to_vec())?;
    /// let row = page.rows().next().expect("there is one");
    /// assert_eq!(row.input, Some(r#"{"n":1e400}"#));
    /// # Ok::<(), overmind_export::PageError>(())
    /// ```
    pub fn decode(number: u64, body: Vec<u8>) -> Result<Self, PageError> {
        let body = String::from_utf8(body).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let why = match error.utf8_error().error_len() {
                None => "they end in the middle of a character".to_owned(),
                Some(_) => format!("byte {at} is not UTF-8"),
            };
            let source = serde_json::Error::custom(why);
            PageError::Malformed { bytes: error.as_bytes().len(), source }
        })?;
        let decoded = scan::scan(&body).map_or_else(|| wire::decode(&body), Ok)?;
        link::check(number, decoded.next, decoded.previous)?;
        if decoded.count > MAX_COUNT {
            return Err(PageError::Count { count: decoded.count });
        }
        Ok(Self { number, ends_stream: false, body, decoded, hold: None })
    }

    pub(crate) fn hold(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    pub(crate) fn end_stream(&mut self) {
        self.ends_stream = true;
    }

    /// Whether no page follows in the stream: what holds rows back for more need not wait until the
    /// stream has proven that it is complete.
    pub(crate) fn ends_stream(&self) -> bool {
        self.ends_stream
    }

    /// Keeps the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.decoded.rows.truncate(rows);
    }

    /// Its number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Rows in the whole dataset, as this page says.
    pub fn count(&self) -> u64 {
        self.decoded.count
    }

    /// Whether the page says that another follows.
    pub fn has_next(&self) -> bool {
        self.decoded.next.is_there()
    }

    /// Rows in this page.
    pub fn len(&self) -> usize {
        self.decoded.rows.len()
    }

    /// Whether the page has no rows.
    pub fn is_empty(&self) -> bool {
        self.decoded.rows.is_empty()
    }

    /// Bytes of the body, after decompression.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Its rows, in order, borrowed from the body.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        let text = |span: &Option<Span>| span.clone().map(|span| &self.body[span]);
        self.decoded.rows.iter().map(move |row| Row {
            id: row.id,
            order: row.order,
            input: text(&row.input),
            expected_output: text(&row.expected_output),
            persona: row.persona.as_ref().map(|persona| match persona {
                JsonText::Borrowed(span) => &self.body[span.clone()],
                JsonText::Owned(text) => text,
            }),
            tags: text(&row.tags),
            additional_properties: row.additional_properties.as_deref(),
            compact: self.decoded.compact,
        })
    }

    /// The `order` of its last row.
    pub(crate) fn last_order(&self) -> Option<i64> {
        self.decoded.rows.last().and_then(|row| row.order)
    }

    /// The ids of its rows, in order.
    pub(crate) fn ids(&self) -> impl ExactSizeIterator<Item = Uuid> {
        self.decoded.rows.iter().map(|row| row.id)
    }

    /// Its rows as [`Datapoint`]s, which own what they hold.
    pub fn datapoints(&self) -> impl ExactSizeIterator<Item = Datapoint> {
        self.rows().map(Datapoint::from)
    }
}

/// As it was sent, in one line.
fn compacted<S: Serializer>(
    value: &Option<Box<RawValue>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Some(value) = value else { return serializer.serialize_none() };
    match compact(value.get()) {
        Cow::Borrowed(_) => value.serialize(serializer),
        Cow::Owned(text) => {
            let value = RawValue::from_string(text).map_err(serde::ser::Error::custom)?;
            value.serialize(serializer)
        }
    }
}

impl From<Row<'_>> for Datapoint {
    fn from(row: Row<'_>) -> Self {
        // The text was accepted as one JSON value when the page was decoded, so this cannot fail.
        let raw = |text: Option<&str>| RawValue::from_string(text?.to_owned()).ok();
        Self {
            id: row.id,
            order: row.order,
            input: raw(row.input),
            expected_output: raw(row.expected_output),
            persona: row.persona.map(str::to_owned),
            tags: raw(row.tags),
            additional_properties: raw(row.additional_properties),
        }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e";

    fn page(results: &str) -> Result<Page, PageError> {
        let body = format!(r#"{{"count":1,"next":null,"previous":null,"results":[{results}]}}"#);
        Page::decode(1, body.into_bytes())
    }

    fn only(results: &str) -> Datapoint {
        let page = page(results).unwrap();
        let mut datapoints = page.datapoints();
        let datapoint = datapoints.next().unwrap();
        assert_eq!(datapoints.len(), 0);
        datapoint
    }

    #[test]
    fn json_values_keep_every_token() {
        for text in [
            r#"{"a":1,"a":2}"#,
            "123456789012345678901234567890",
            "1e400",
            r#""\ud800 \u0000 \/""#,
            r#"[ 1 , {"b" : [ ]} ]"#,
            "-0.0",
            "true",
            "\"\"",
        ] {
            let row = only(&format!(r#"{{"id":"{ID}","input":{text},"tags":{text}}}"#));
            assert_eq!(row.input.unwrap().get(), text);
            assert_eq!(row.tags.unwrap().get(), text);
        }
    }

    #[test]
    fn null_and_missing_are_both_none() {
        let row = only(&format!(r#"{{"id":"{ID}","input":null,"order":null,"persona":null}}"#));
        assert!(row.input.is_none() && row.tags.is_none() && row.expected_output.is_none());
        assert!(row.order.is_none() && row.persona.is_none());
        assert!(row.additional_properties.is_none());
    }

    #[test]
    fn unknown_fields_are_kept_in_order_as_one_object() {
        let row = only(&format!(
            r#"{{"ex\"tra":[1, 2],"\u0069d":"{ID}","source_trace_id":"x","\ud800\u0065":null}}"#
        ));
        assert_eq!(
            row.additional_properties.unwrap().get(),
            r#"{"ex\"tra":[1, 2],"source_trace_id":"x","\ud800\u0065":null}"#
        );
    }

    #[test]
    fn an_escaped_persona_is_unescaped_and_a_plain_one_is_borrowed() {
        assert_eq!(
            only(&format!(r#"{{"id":"{ID}","persona":"\u00fc\n"}}"#)).persona.unwrap(),
            "ü\n"
        );
        let page = page(&format!(r#"{{"id":"{ID}","persona":"größe"}}"#)).unwrap();
        assert!(matches!(page.decoded.rows[0].persona, Some(JsonText::Borrowed(_))));
        assert_eq!(page.rows().next().unwrap().persona, Some("größe"));
    }

    #[test]
    fn a_wrong_field_is_named_with_its_row() {
        let good = format!(r#"{{"id":"{ID}"}}"#);
        let table = [
            (
                format!(r#"{{"id":"{ID}","order":"7"}}"#),
                r#"row 1, field "order": invalid type: string "7", expected i64"#,
            ),
            (
                format!(r#"{{"id":"{ID}","order":9223372036854775808}}"#),
                "row 1, field \"order\": invalid value: integer `9223372036854775808`, expected i64",
            ),
            (
                format!(r#"{{"id":"{ID}","persona":"\ud800"}}"#),
                r#"row 1, field "persona": a lone surrogate escape is not a character"#,
            ),
            (
                format!(r#"{{"\ud800":1,"id":"{ID}","persona":"\udc00\u0020"}}"#),
                r#"row 1, field "persona": a lone surrogate escape is not a character"#,
            ),
            (
                format!(r#"{{"id":"{ID}","persona":5}}"#),
                r#"row 1, field "persona": invalid type: integer `5`, expected a string"#,
            ),
            (r#"{"order":1}"#.to_owned(), "row 1, field \"id\": missing field `id`"),
            (
                format!(r#"{{"id":"{ID}","tags":1,"tags":2}}"#),
                r#"row 1, field "tags": field "tags" appears twice"#,
            ),
            ("[]".to_owned(), r#"row 1, field "id": invalid type: sequence, expected a datapoint"#),
        ];
        for (row, text) in table {
            let error = page(&format!("{good},{row}")).unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn an_answer_that_is_no_page_says_what_it_lacks() {
        let error = |body: &str| Page::decode(1, body.as_bytes().to_vec()).unwrap_err().to_string();
        let table = [
            (r#"{"detail":"hello"}"#, "missing field `count`"),
            (
                r#"{"count":-1,"next":null,"results":[]}"#,
                "field \"count\": invalid value: integer `-1`, expected u64",
            ),
            (
                r#"{"count":1,"next":7,"results":[]}"#,
                "field \"next\": invalid type: integer `7`, expected a string",
            ),
            (
                r#"{"count":1,"next":null,"results":{}}"#,
                "field \"results\": invalid type: map, expected a sequence",
            ),
            ("[]", "not an object"),
        ];
        for (body, why) in table {
            assert_eq!(error(body), format!("it is JSON, but not a page: {why}"));
        }
    }

    #[test]
    fn an_answer_that_is_no_json_says_where_it_goes_wrong() {
        let error = |body: &[u8]| {
            let error = Page::decode(1, body.to_vec()).unwrap_err();
            format!("{error}: {}", std::error::Error::source(&error).unwrap())
        };
        assert_eq!(
            error(br#"{"count":1,"next":null,"resul"#),
            "the 29 bytes received are not JSON: EOF while parsing a string at line 1 column 29"
        );
        assert_eq!(error(b"{\xff}"), "the 3 bytes received are not JSON: byte 1 is not UTF-8");
        assert_eq!(
            error("{\"ü".as_bytes().split_last().unwrap().1),
            "the 3 bytes received are not JSON: they end in the middle of a character"
        );
    }

    #[test]
    fn nesting_without_end_is_an_error_and_not_a_crash() {
        let deep = "[".repeat(200_000);
        assert!(page(&format!(r#"{{"id":"{ID}","input":{deep}}}"#)).is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            only(&format!(r#"{{"id":"{ID}","input":{deep}}}"#)).input.unwrap().get().len(),
            200_000
        );
    }
}
