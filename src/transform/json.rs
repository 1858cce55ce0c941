//! JSON values of the expression language: bounded parsing and exact printing.

use std::{
    fmt::{self, Write},
    rc::Rc,
};

use jaq_json::Num;
use memchr::memchr2;
use serde_json::value::RawValue;

use super::{
    budget::{self, DEPTH, EvaluationEnd},
    number,
    value::{ITEM, JqValue, MEMBER, Members},
};
use crate::{
    json_text::{is_escaped, push_json_string},
    text::grouped,
};

/// Cost of printing a value, in bytes. Short values take more time than their bytes.
const VALUE_COST: usize = 32;
/// Characters of a value that a message shows.
const MOST_SHOWN: usize = 40;

/// Parses one JSON value, and nothing that other parsers accept in addition. Its bytes are counted.
///
/// # Errors
/// The reason, if the text is nested too deeply, or is not JSON.
pub(super) fn parse(text: &str) -> Result<JqValue, String> {
    let wrong = |error| format!("cannot parse the value: {error}");
    let token = serde_json::from_str::<&RawValue>(text).map_err(wrong)?.get();
    JsonReader { text: token, at: 0 }.value(0)
}

/// Reads the values of a text that is JSON.
struct JsonReader<'a> {
    text: &'a str,
    /// Position of the next byte.
    at: usize,
}

impl JsonReader<'_> {
    fn value(&mut self, depth: u32) -> Result<JqValue, String> {
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                budget::copy(text.len() + MEMBER / 2);
                Ok(JqValue::Str(text))
            }
            Some(b'[' | b'{') if depth >= DEPTH => {
                let most = grouped(u64::from(DEPTH));
                Err(format!("the value is nested deeper than {most} levels"))
            }
            Some(b'[') => self.array(depth + 1),
            Some(b'{') => self.object(depth + 1),
            _ => Ok(self.scalar()),
        }
    }

    fn array(&mut self, depth: u32) -> Result<JqValue, String> {
        let mut items = Vec::new();
        self.at += 1;
        while self.has_more(b']') {
            budget::copy(ITEM);
            items.push(self.value(depth)?);
        }
        Ok(JqValue::array(items))
    }

    fn object(&mut self, depth: u32) -> Result<JqValue, String> {
        let mut members = Members::default();
        self.at += 1;
        while self.has_more(b'}') {
            let key = self.string()?;
            budget::copy(key.len() + MEMBER);
            // The colon.
            self.peek();
            self.at += 1;
            let value = self.value(depth)?;
            members.insert(key, value);
        }
        Ok(JqValue::object(members))
    }

    /// Whether another element follows. Passes the comma before it, or the bracket that ends the elements.
    fn has_more(&mut self, end: u8) -> bool {
        let mut next = self.peek();
        if next == Some(b',') {
            self.at += 1;
            next = self.peek();
        }
        let is_end = next == Some(end);
        self.at += usize::from(is_end);
        !is_end && next.is_some()
    }

    /// Reads null, a boolean or a number.
    fn scalar(&mut self) -> JqValue {
        let rest = &self.text[self.at..];
        let is_end = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        let token = &rest[..rest.bytes().position(is_end).unwrap_or(rest.len())];
        // At least one byte, so that every loop ends.
        self.at += token.len().max(1);
        match token {
            "null" => JqValue::Null,
            "true" => JqValue::Bool(true),
            "false" => JqValue::Bool(false),
            digits => JqValue::number(digits),
        }
    }

    fn string(&mut self) -> Result<Rc<String>, String> {
        let (start, bytes) = (self.at + 1, self.text.as_bytes());
        let mut end = start;
        let mut has_escapes = false;
        loop {
            let rest = bytes.get(end..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                return Err("cannot parse the value: a string does not end".to_owned());
            };
            end += found;
            if rest[found] == b'"' {
                break;
            }
            has_escapes = true;
            end += 2;
        }
        let quoted = &self.text[self.at..=end];
        self.at = end + 1;
        if !has_escapes {
            return Ok(Rc::new(self.text[start..end].to_owned()));
        }
        let unescaped = serde_json::from_str(quoted);
        unescaped.map(Rc::new).map_err(|error| format!("cannot parse the value: {error}"))
    }

    /// Returns the next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))?;
        self.text.as_bytes().get(self.at).copied()
    }
}

/// Returns a value as compact JSON. The bytes are counted.
///
/// # Errors
/// The reason, if JSON has no such value: NaN, or an infinite number.
pub(super) fn print(value: &JqValue) -> Result<String, String> {
    let mut text = String::new();
    write(value, &mut text, false)?;
    Ok(text)
}

/// Returns a value as compact JSON with the members of objects in the order of their keys: equal values have equal
/// texts. The bytes are counted.
///
/// # Errors
/// Like [`print`].
pub(super) fn sorted(value: &JqValue) -> Result<String, String> {
    let mut text = String::new();
    write(value, &mut text, true)?;
    Ok(text)
}

fn write(value: &JqValue, text: &mut String, is_sorted: bool) -> Result<(), String> {
    budget::copy(VALUE_COST);
    match value {
        JqValue::Null => text.push_str("null"),
        JqValue::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        JqValue::Num(number) => write_number(number, text)?,
        JqValue::Str(string) => write_text(string, text),
        JqValue::Arr(array) => {
            text.push('[');
            for (index, item) in array.items().iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text, is_sorted)?;
            }
            text.push(']');
        }
        JqValue::Obj(object) => {
            text.push('{');
            let mut members: Vec<_> = object.members().iter().collect();
            if is_sorted {
                members.sort_unstable_by_key(|(key, _)| *key);
            }
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_text(key, text);
                text.push(':');
                write(value, text, is_sorted)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn write_number(number: &Num, text: &mut String) -> Result<(), String> {
    match number {
        Num::Float(float) if !float.is_finite() => {
            return Err(format!("the number {number} is not JSON"));
        }
        Num::Float(_) => text.push_str(&number::text(number)),
        Num::Dec(digits) => {
            budget::copy(digits.len());
            text.push_str(digits);
        }
        Num::BigInt(integer) => {
            let bits = usize::try_from(integer.bits()).unwrap_or(usize::MAX);
            budget::copy(bits / 3);
            // The time grows with the square of the length.
            budget::steps((bits / 512).saturating_mul(bits / 512));
            // Writing to a string cannot fail.
            let _ = write!(text, "{number}");
        }
        // Here, too.
        Num::Int(_) => drop(write!(text, "{number}")),
    }
    Ok(())
}

fn write_text(string: &str, text: &mut String) {
    // An escape such as `\u0001` has six characters.
    let escapes = string.bytes().filter(|byte| is_escaped(*byte)).count();
    budget::copy(string.len() + 5 * escapes);
    push_json_string(string, text);
}

/// Returns a value as text, in which a string stays as it is. Ends the evaluation if JSON has no such value, because the
/// language has no error for it.
pub(super) fn to_text(value: JqValue) -> JqValue {
    match value {
        JqValue::Str(_) => value,
        value => match print(&value) {
            Ok(text) => JqValue::Str(Rc::new(text)),
            Err(why) => budget::end(EvaluationEnd::NotJson(why)),
        },
    }
}

impl fmt::Display for JqValue {
    /// Writes the beginning of the value as JSON: errors have values of any size in their messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        show(self, &mut text);
        f.write_str(&beginning(&text, MOST_SHOWN))
    }
}

/// Returns at most this many characters of a text, and an ellipsis in place of the others.
pub(super) fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn show(value: &JqValue, text: &mut String) {
    match value {
        JqValue::Null => text.push_str("null"),
        JqValue::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        JqValue::Num(Num::BigInt(integer)) if integer.bits() > 1000 => {
            text.push_str("an integer of many digits");
        }
        JqValue::Num(Num::Dec(digits)) => text.push_str(&beginning(digits, MOST_SHOWN)),
        JqValue::Num(number) => text.push_str(&number::text(number)),
        JqValue::Str(string) => push_json_string(&beginning(string, MOST_SHOWN), text),
        JqValue::Arr(array) => {
            text.push('[');
            for (index, item) in array.items().iter().enumerate() {
                // Each level has a bracket, so this bounds the depth, too.
                if text.len() > 4 * MOST_SHOWN {
                    return;
                }
                text.push_str(if index > 0 { "," } else { "" });
                show(item, text);
            }
            text.push(']');
        }
        JqValue::Obj(object) => {
            text.push('{');
            for (index, (key, value)) in object.members().iter().enumerate() {
                if text.len() > 4 * MOST_SHOWN {
                    return;
                }
                text.push_str(if index > 0 { "," } else { "" });
                push_json_string(&beginning(key, MOST_SHOWN), text);
                text.push(':');
                show(value, text);
            }
            text.push('}');
        }
    }
}
