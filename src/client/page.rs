//! One page of datapoints, decoded without parsing JSON values into a tree.
//!
//! A [`Page`] keeps the received body and the position of each value in it. So each value is copied only
//! once: from the body to the output. Tokens never change.

pub(crate) mod compact;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod invariants;
mod located;
pub(super) mod number;
mod refused;
mod scan;
mod tokens;
mod wire;

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;
use uuid::Uuid;

use self::located::{Decoded, JsonText, Span};
use super::link;
use crate::client::{budget::Hold, compact::compact};
use crate::error::PageError;

/// Largest accepted `count`, in rows. A file offset has 63 bits, and each id takes 16 bytes in a file.
pub(super) const MAX_COUNT: u64 = i64::MAX as u64 / 16;

/// A datapoint as the API sent it.
///
/// JSON values keep every token: numbers of any size, key order, duplicate keys, escapes. Both `null` and
/// a missing field are `None`.
///
/// A datapoint serializes to a line of JSON Lines: these fields in this order, with explicit nulls. JSON
/// values keep their tokens, but not the white space between them. Such a line deserializes to a datapoint, with
/// [`serde_json`] only.
///
/// ```
/// use overmind_export::Datapoint;
///
/// let line = r#"{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","input":{"question":"why?"}}"#;
/// let row: Datapoint = serde_json::from_str(line)?;
///
/// #[derive(serde::Deserialize)]
/// struct Input {
///     question: String,
/// }
/// assert_eq!(row.input_as::<Input>()?.unwrap().question, "why?");
/// assert_eq!(row.tags_as::<Vec<String>>()?, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Datapoint {
    /// Id of the datapoint.
    pub id: Uuid,
    /// Position of the datapoint in the dataset, if it has one.
    pub order: Option<i64>,
    /// Input of the agent: any JSON value.
    #[serde(serialize_with = "compacted")]
    pub input: Option<Box<RawValue>>,
    /// Expected answer of the agent: any JSON value.
    #[serde(serialize_with = "compacted")]
    pub expected_output: Option<Box<RawValue>>,
    /// Persona of the user in the conversation, at most 128 characters according to the API.
    pub persona: Option<String>,
    /// Labels: any JSON value.
    #[serde(serialize_with = "compacted")]
    pub tags: Option<Box<RawValue>>,
    /// The fields that this version does not know, as one JSON object in the original order.
    #[serde(serialize_with = "compacted")]
    pub additional_properties: Option<Box<RawValue>>,
}

impl Datapoint {
    /// Parses the input into a type of yours. Returns `None` if the datapoint has no input.
    ///
    /// # Errors
    /// The error of the parser, if the input does not have that type.
    pub fn input_as<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<Option<T>> {
        typed(self.input.as_deref())
    }

    /// Parses the expected answer into a type of yours. Returns `None` if the datapoint has none.
    ///
    /// # Errors
    /// The error of the parser, if the answer does not have that type.
    pub fn expected_output_as<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<Option<T>> {
        typed(self.expected_output.as_deref())
    }

    /// Parses the labels into a type of yours. Returns `None` if the datapoint has none.
    ///
    /// # Errors
    /// The error of the parser, if the labels do not have that type.
    pub fn tags_as<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<Option<T>> {
        typed(self.tags.as_deref())
    }
}

fn typed<'a, T: Deserialize<'a>>(json: Option<&'a RawValue>) -> serde_json::Result<Option<T>> {
    json.map(|json| serde_json::from_str(json.get())).transpose()
}

/// A row of a [`Page`], borrowed from the received body.
///
/// The JSON texts are unchanged, including white space.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Row<'a> {
    /// Id of the datapoint.
    pub id: Uuid,
    /// Position of the datapoint in the dataset, if it has one.
    pub order: Option<i64>,
    /// Input of the agent, as JSON text.
    pub input: Option<&'a str>,
    /// Expected answer of the agent, as JSON text.
    pub expected_output: Option<&'a str>,
    /// Persona of the user in the conversation, as an unescaped string.
    pub persona: Option<&'a str>,
    /// Labels, as JSON text.
    pub tags: Option<&'a str>,
    /// The fields that this version does not know, as the JSON text of one object.
    pub additional_properties: Option<&'a str>,
    /// Whether the row has its id. A file of another program can be without ids.
    pub(crate) has_id: bool,
    /// Whether the JSON texts are known to have no white space between tokens. False if unknown.
    pub(crate) compact: bool,
}

/// One page of a dataset.
#[derive(Debug)]
pub struct Page {
    number: u64,
    /// Whether this page is the last one of its stream.
    ends_stream: bool,
    body: String,
    decoded: Decoded,
    /// The memory of this page in the budget. Released when the page is dropped.
    hold: Option<Hold>,
}

impl Page {
    /// Decodes the body of page `number`, in the API's format.
    ///
    /// # Errors
    /// A [`PageError`] that describes the wrong body, or names the wrong row and field. If `next` and
    /// `previous` have page numbers, these must be the numbers of the neighbouring pages.
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

    /// Returns the memory of the page to the budget of the prefetch: the caller counts it from now on.
    pub(crate) fn release(&mut self) {
        self.hold = None;
    }

    /// Returns the memory of the page in bytes: its body, and about 160 for each row.
    pub(crate) fn memory(&self) -> usize {
        const ROW_OVERHEAD: usize = 160;
        self.bytes() + self.len() * ROW_OVERHEAD
    }

    pub(crate) fn end_stream(&mut self) {
        self.ends_stream = true;
    }

    /// Whether this page is the last one of its stream.
    ///
    /// A consumer that collects rows need not wait for the end of the stream, which comes only after the
    /// completeness check.
    pub(crate) fn ends_stream(&self) -> bool {
        self.ends_stream
    }

    /// Keeps only the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.decoded.rows.truncate(rows);
    }

    /// Returns the number of the page, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the number of rows in the whole dataset, according to this page.
    pub fn count(&self) -> u64 {
        self.decoded.count
    }

    /// Whether the page has a link to a next page.
    pub fn has_next(&self) -> bool {
        self.decoded.next.is_there()
    }

    /// Returns the number of rows in this page.
    pub fn len(&self) -> usize {
        self.decoded.rows.len()
    }

    /// Whether the page has no rows.
    pub fn is_empty(&self) -> bool {
        self.decoded.rows.is_empty()
    }

    /// Returns the size of the body in bytes, after decompression.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Returns the rows of the page in order, borrowed from the body.
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
            has_id: true,
            compact: self.decoded.compact,
        })
    }

    /// Returns the `order` of the last row.
    pub(crate) fn last_order(&self) -> Option<i64> {
        self.decoded.rows.last().and_then(|row| row.order)
    }

    /// Returns the ids of the rows, in order.
    pub(crate) fn ids(&self) -> impl ExactSizeIterator<Item = Uuid> {
        self.decoded.rows.iter().map(|row| row.id)
    }

    /// Returns the rows of the page as owned [`Datapoint`]s.
    pub fn datapoints(&self) -> impl ExactSizeIterator<Item = Datapoint> {
        self.rows().map(Datapoint::from)
    }
}

/// Serializes a JSON value without the white space between its tokens.
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
        // Decoding the page has checked that each text is one JSON value, so this cannot fail.
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
    fn unknown_fields_become_one_object_in_order() {
        let row = only(&format!(
            r#"{{"ex\"tra":[1, 2],"\u0069d":"{ID}","source_trace_id":"x","\ud800\u0065":null}}"#
        ));
        assert_eq!(
            row.additional_properties.unwrap().get(),
            r#"{"ex\"tra":[1, 2],"source_trace_id":"x","\ud800\u0065":null}"#
        );
    }

    #[test]
    fn persona_is_borrowed_unless_it_has_escapes() {
        assert_eq!(
            only(&format!(r#"{{"id":"{ID}","persona":"\u00fc\n"}}"#)).persona.unwrap(),
            "ü\n"
        );
        let page = page(&format!(r#"{{"id":"{ID}","persona":"größe"}}"#)).unwrap();
        assert!(matches!(page.decoded.rows[0].persona, Some(JsonText::Borrowed(_))));
        assert_eq!(page.rows().next().unwrap().persona, Some("größe"));
    }

    #[test]
    fn wrong_field_is_reported_with_its_row() {
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
    fn non_page_json_is_explained() {
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
    fn malformed_json_is_reported_with_its_position() {
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
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(200_000);
        assert!(page(&format!(r#"{{"id":"{ID}","input":{deep}}}"#)).is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            only(&format!(r#"{{"id":"{ID}","input":{deep}}}"#)).input.unwrap().get().len(),
            200_000
        );
    }
}
