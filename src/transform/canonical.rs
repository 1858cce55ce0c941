//! The canonical text of a JSON value: equal values have equal texts, and other values have other texts.
//!
//! No white space, keys in the order of their characters, strings with the escapes of RFC 8785. Repeated keys keep their
//! order. There are two forms. For pseudonyms, numbers stay as they are written, so 1 and 1.0 differ. For comparisons,
//! numbers have the text of their [exact value](super::exact_number), and a null member is the same as a missing one.

use std::cmp::Ordering;

use memchr::memchr;

use super::{
    exact_number::write_exact,
    json_text::{after_space, scalar_end, string_end, unescape},
};

/// Passes the parts of the canonical text of a JSON text to `write`. Takes time that grows with the length of the text,
/// whatever its nesting, and at most 16 bytes of memory for each object, for each member of an object and for each change
/// between nested arrays and objects. The text must be valid JSON; the result for any other text has no meaning.
pub(super) fn canonical(json: &str, write: &mut dyn FnMut(&[u8])) {
    run(json, CanonicalForm::AsWritten, write);
}

/// Does the same for the text that all spellings of a value have in common: numbers have the text of their exact value,
/// and members that are null are left out, unless their key is repeated.
pub(crate) fn canonical_value(json: &str, write: &mut dyn FnMut(&[u8])) {
    run(json, CanonicalForm::ByValue, write);
}

/// What becomes of numbers and of members that are null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CanonicalForm {
    AsWritten,
    ByValue,
}

fn run(json: &str, form: CanonicalForm, write: &mut dyn FnMut(&[u8])) {
    let mut writer = CanonicalWriter {
        bytes: json.as_bytes(),
        form,
        at: 0,
        objects: ObjectTable::of(json.as_bytes(), form),
        key: Vec::new(),
        text: Vec::new(),
        write,
    };
    writer.run();
}

/// Returns the canonical text of a string.
pub(super) fn canonical_string(string: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(string.len() + 2);
    write_string(string.as_bytes(), &mut text);
    text
}

/// The position in a text, in 32 bits: a value of a row has at most 256 MiB, and a text beyond 4 GiB has no canonical text.
type Place = u32;

fn place(at: usize) -> Place {
    Place::try_from(at).unwrap_or(Place::MAX)
}

/// An object of a text.
#[derive(Debug, Clone, Copy)]
struct ObjectPlace {
    start: Place,
    end: Place,
    /// Index of its first member.
    first: u32,
    members: u32,
}

/// The positions of a key and of its value.
#[derive(Debug, Clone, Copy)]
struct MemberPlace {
    key: Place,
    value: Place,
}

/// What is open at a position: arrays in each other, or an object. Arrays take no memory of their own.
#[derive(Debug, Clone, Copy)]
enum OpenParts<O> {
    Arrays(u32),
    Object(O),
}

/// An object whose end was not read yet.
#[derive(Debug, Clone, Copy)]
struct OpenObject {
    index: u32,
    /// Number of members that wait for the ends of outer objects.
    waiting: u32,
    /// The key that waits for its value, as its position and 1.
    key: Place,
}

/// The objects of a text, in their order, and their members, sorted by their keys.
#[derive(Debug, Default)]
struct ObjectTable {
    objects: Vec<ObjectPlace>,
    members: Vec<MemberPlace>,
}

impl ObjectTable {
    fn of(bytes: &[u8], form: CanonicalForm) -> Self {
        let mut table = Self::default();
        let (mut open, mut waiting) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let is_value =
                !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}');
            if let Some(OpenParts::Object(OpenObject { key, .. })) = open.last_mut()
                && is_value
            {
                match std::mem::take(key) {
                    0 => *key = place(at).saturating_add(1),
                    key => waiting.push(MemberPlace { key: key - 1, value: place(at) }),
                }
            }
            at = match byte {
                b'"' => string_end(bytes, at) + 1,
                b'[' => {
                    open_array(&mut open);
                    at + 1
                }
                b'{' => {
                    let (index, waiting) = (place(table.objects.len()), place(waiting.len()));
                    open.push(OpenParts::Object(OpenObject { index, waiting, key: 0 }));
                    let (start, end) = (place(at), place(bytes.len()));
                    table.objects.push(ObjectPlace { start, end, first: 0, members: 0 });
                    at + 1
                }
                b']' | b'}' => {
                    if let Some(object) = close(&mut open) {
                        let first = table.close(bytes, object, &mut waiting, at + 1);
                        if form == CanonicalForm::ByValue {
                            table.leave_out_nulls(bytes, object, first);
                        }
                    }
                    at + 1
                }
                _ if is_value => scalar_end(bytes, at),
                _ => at + 1,
            };
        }
        table
    }

    /// Ends an object. Its members are the last ones that wait. Returns the index of the first one.
    fn close(
        &mut self,
        bytes: &[u8],
        object: OpenObject,
        waiting: &mut Vec<MemberPlace>,
        end: usize,
    ) -> usize {
        let first = self.members.len();
        let Some(found) = self.objects.get_mut(object.index as usize) else { return first };
        self.members.extend(waiting.drain((object.waiting as usize).min(waiting.len())..));
        let members = self.members.get_mut(first..).unwrap_or_default();
        // Stable: repeated keys keep their order.
        members.sort_by(|one, other| compare_keys(bytes, one.key, other.key));
        *found = ObjectPlace {
            end: place(end),
            first: place(first),
            members: place(members.len()),
            ..*found
        };
        first
    }

    /// Leaves out the members of the last closed object that are null. One whose key is repeated stays: readers that
    /// take the last of the members would see another value.
    fn leave_out_nulls(&mut self, bytes: &[u8], object: OpenObject, first: usize) {
        let (mut kept, mut last) = (first, None::<Place>);
        for index in first..self.members.len() {
            let member = self.members[index];
            let is_same = |other: Option<Place>| {
                other.is_some_and(|it| compare_keys(bytes, it, member.key).is_eq())
            };
            let next = self.members.get(index + 1).map(|next| next.key);
            let is_null = bytes.get(member.value as usize) == Some(&b'n');
            if !is_null || is_same(last) || is_same(next) {
                self.members[kept] = member;
                kept += 1;
            }
            last = Some(member.key);
        }
        self.members.truncate(kept);
        if let Some(found) = self.objects.get_mut(object.index as usize) {
            found.members = place(kept - first);
        }
    }

    /// Returns the object that begins at a position.
    fn at(&self, at: usize) -> Option<ObjectPlace> {
        let found = self.objects.binary_search_by_key(&place(at), |object| object.start);
        found.ok().and_then(|index| self.objects.get(index).copied())
    }
}

fn open_array<O>(open: &mut Vec<OpenParts<O>>) {
    match open.last_mut() {
        Some(OpenParts::Arrays(arrays)) => *arrays = arrays.saturating_add(1),
        _ => open.push(OpenParts::Arrays(1)),
    }
}

/// Closes the last array or object. Returns the object.
fn close<O>(open: &mut Vec<OpenParts<O>>) -> Option<O> {
    if let Some(OpenParts::Arrays(arrays @ 2..)) = open.last_mut() {
        *arrays -= 1;
        return None;
    }
    match open.pop() {
        Some(OpenParts::Object(object)) => Some(object),
        _ => None,
    }
}

/// Compares two keys by their characters.
fn compare_keys(bytes: &[u8], one: Place, other: Place) -> Ordering {
    let (one, other) = (raw_string(bytes, one), raw_string(bytes, other));
    let has_escapes = |key: &[u8]| memchr(b'\\', key).is_some();
    if !has_escapes(one) && !has_escapes(other) {
        return one.cmp(other);
    }
    let unescaped = |key: &[u8]| {
        let mut text = Vec::with_capacity(key.len());
        unescape(key, &mut text);
        text
    };
    unescaped(one).cmp(&unescaped(other))
}

/// Returns the string that begins at a position, without its quotes and with its escapes.
fn raw_string(bytes: &[u8], start: Place) -> &[u8] {
    let start = start as usize;
    bytes.get(start + 1..string_end(bytes, start)).unwrap_or_default()
}

/// An object of which some members are written.
#[derive(Debug, Clone, Copy)]
struct WrittenObject {
    object: ObjectPlace,
    /// Number of members that are written.
    written: u32,
}

struct CanonicalWriter<'a> {
    bytes: &'a [u8],
    form: CanonicalForm,
    /// Position of the next byte.
    at: usize,
    objects: ObjectTable,
    key: Vec<u8>,
    text: Vec<u8>,
    write: &'a mut dyn FnMut(&[u8]),
}

impl CanonicalWriter<'_> {
    fn run(&mut self) {
        let mut open: Vec<OpenParts<WrittenObject>> = Vec::new();
        loop {
            self.at = after_space(self.bytes, self.at);
            match self.bytes.get(self.at) {
                None => return,
                Some(b'"') => {
                    self.string(place(self.at));
                    self.at = string_end(self.bytes, self.at) + 1;
                }
                Some(b'[') => {
                    open_array(&mut open);
                    (self.write)(b"[");
                    self.at = after_space(self.bytes, self.at + 1);
                    if self.bytes.get(self.at) != Some(&b']') {
                        continue;
                    }
                }
                Some(b'{') => {
                    (self.write)(b"{");
                    let Some(object) = self.objects.at(self.at) else { return };
                    open.push(OpenParts::Object(WrittenObject { object, written: 0 }));
                }
                Some(_) => {
                    let end = scalar_end(self.bytes, self.at);
                    let scalar = self.bytes.get(self.at..end).unwrap_or_default();
                    match (self.form, scalar.first()) {
                        (CanonicalForm::ByValue, Some(b'-' | b'0'..=b'9')) => {
                            write_exact(scalar, self.write);
                        }
                        _ => (self.write)(scalar),
                    }
                    self.at = end;
                }
            }
            if !self.next(&mut open) {
                return;
            }
        }
    }

    /// Goes on after a value: to the next value, after the ends of arrays and objects. Returns whether there is one.
    fn next(&mut self, open: &mut Vec<OpenParts<WrittenObject>>) -> bool {
        loop {
            match open.last_mut() {
                None => return false,
                Some(OpenParts::Arrays(_)) => {
                    self.at = after_space(self.bytes, self.at);
                    match self.bytes.get(self.at) {
                        Some(b']') => {
                            (self.write)(b"]");
                            close(open);
                        }
                        Some(b',') => (self.write)(b","),
                        found => return found.is_some(),
                    }
                    self.at += 1;
                    if !matches!(self.bytes.get(self.at - 1), Some(b']')) {
                        return true;
                    }
                }
                Some(OpenParts::Object(WrittenObject { object, written })) => {
                    let (object, index) = (*object, *written);
                    if index >= object.members {
                        (self.write)(b"}");
                        self.at = object.end as usize;
                        close(open);
                        continue;
                    }
                    *written += 1;
                    let member = self.objects.members.get((object.first + index) as usize);
                    let Some(&MemberPlace { key, value }) = member else { return false };
                    (self.write)(if index > 0 { b"," } else { b"" });
                    self.string(key);
                    (self.write)(b":");
                    self.at = value as usize;
                    return true;
                }
            }
        }
    }

    /// Writes the string that begins at a position.
    fn string(&mut self, start: Place) {
        let string = raw_string(self.bytes, start);
        if memchr(b'\\', string).is_none() {
            (self.write)(b"\"");
            (self.write)(string);
            return (self.write)(b"\"");
        }
        self.key.clear();
        unescape(string, &mut self.key);
        self.text.clear();
        write_string(&self.key, &mut self.text);
        (self.write)(&self.text);
    }
}

/// Writes a string with its quotes. A lone surrogate, which [`unescape`] writes like a character, is written as an
/// escape.
fn write_string(string: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    let is_plain = |byte: &u8| *byte >= 0x20 && !matches!(byte, b'"' | b'\\' | 0xed);
    let mut rest = string;
    while let Some(byte) = rest.first() {
        let plain = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        if plain > 0 {
            text.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            continue;
        }
        let short = match byte {
            b'"' => Some(b'"'),
            b'\\' => Some(b'\\'),
            0x08 => Some(b'b'),
            b'\t' => Some(b't'),
            b'\n' => Some(b'n'),
            0x0c => Some(b'f'),
            b'\r' => Some(b'r'),
            _ => None,
        };
        let passed = match (short, rest) {
            (Some(short), _) => {
                text.extend([b'\\', short]);
                1
            }
            (None, [0xed, second @ 0xa0..=0xff, third, ..]) => {
                let low = u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
                text.extend(format!("\\u{:04x}", 0xd000 | low).bytes());
                3
            }
            (None, [0xed, ..]) => {
                text.push(0xed);
                1
            }
            (None, _) => {
                text.extend(format!("\\u{byte:04x}").bytes());
                1
            }
        };
        rest = rest.get(passed..).unwrap_or_default();
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn bytes(json: &str) -> Vec<u8> {
        let mut text = Vec::new();
        canonical(json, &mut |part| text.extend_from_slice(part));
        text
    }

    fn text(json: &str) -> String {
        String::from_utf8(bytes(json)).unwrap()
    }

    #[test]
    fn memory_does_not_grow_with_the_depth_of_arrays() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let table = ObjectTable::of(deep.as_bytes(), CanonicalForm::ByValue);
        assert_eq!((table.objects.capacity(), table.members.capacity()), (0, 0));
        let mut open: Vec<OpenParts<OpenObject>> = Vec::new();
        (0..100_000).for_each(|_| open_array(&mut open));
        assert_eq!((open.len(), size_of::<OpenParts<OpenObject>>()), (1, 16));
        assert_eq!((size_of::<ObjectPlace>(), size_of::<MemberPlace>()), (16, 8));
    }

    #[test]
    fn equal_values_have_equal_texts() {
        for (json, expected) in [
            (" 1.50 ", "1.50"),
            ("null", "null"),
            (r#""aü\u00fc\/\u0041""#, r#""aüü/A""#),
            (r#""\u0008\u000C\n\r\t\"\\\u001f\u007f""#, "\"\\b\\f\\n\\r\\t\\\"\\\\\\u001f\u{7f}\""),
            (r#""\uD83D\ude00 \uD800x\uDFFF\uD7FF""#, "\"😀 \\ud800x\\udfff\u{d7ff}\""),
            (r#""\\ud800""#, r#""\\ud800""#),
            (
                " { \"b\" : [ true ,\n null, {} , [] ] ,\t\"a\" : {\"z\":1,\"y\":2} } ",
                r#"{"a":{"y":2,"z":1},"b":[true,null,{},[]]}"#,
            ),
            (r#"{"b":1,"\u0061":2,"b":0}"#, r#"{"a":2,"b":1,"b":0}"#),
            (r#"{"ß":1,"z":2,"\ud800":3,"😀":4}"#, r#"{"z":2,"ß":1,"\ud800":3,"😀":4}"#),
        ] {
            assert_eq!(text(json), expected, "{json}");
            assert_eq!(text(expected), expected);
        }
        assert_eq!(canonical_string("a\"\nü"), "\"a\\\"\\nü\"".as_bytes());
    }

    #[test]
    fn text_by_value_has_exact_numbers_and_no_nulls() {
        let json = r#"{"b":[1.0,null,-0],"a":null,"c":{"x":null},"k":null,"k":1e1}"#;
        let mut text = Vec::new();
        canonical_value(json, &mut |part| text.extend_from_slice(part));
        assert_eq!(text, br#"{"b":[1,null,0],"c":{},"k":null,"k":1e1}"#);
    }

    #[test]
    fn deep_values_take_linear_time() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            let deep = format!("{}1{}", open.repeat(300_000), close.repeat(300_000));
            assert_eq!(text(&deep.replace(':', " : ")), deep);
        }
        // Members that must be sorted, in each other.
        let deep = format!("{}1{}", r#"{"b":"#.repeat(300_000), r#","a":0}"#.repeat(300_000));
        let sorted = format!("{}1{}", r#"{"a":0,"b":"#.repeat(300_000), "}".repeat(300_000));
        assert_eq!(text(&deep), sorted);
    }

    proptest! {
        #[test]
        fn any_text_ends(any in r#"[\[\]{}",:a1\\ud8í\u{d7ff}]{0,40}"#) {
            canonical(&any, &mut |_| {});
        }

        #[test]
        fn value_stays_the_same(text in any::<String>(), numbers in any::<Vec<i64>>()) {
            let value = json!({ "text": text, "a": numbers, "é": { &text: [text], "A": null } });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let printed = tests::text(&pretty);
            prop_assert_eq!(&serde_json::from_str::<Value>(&printed).unwrap(), &value);
            // The map of the parser is sorted like the keys.
            prop_assert_eq!(printed.replace("\\b", "\\u0008"), value.to_string().replace("\\b", "\\u0008"));
        }
    }
}
