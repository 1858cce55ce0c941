//! JSON values of the expression language: bounded parsing and exact printing.

use std::fmt::Write;

use jaq_json::{Num, Val, read};

use crate::text::grouped;

/// Deepest nesting of a value that is parsed or printed, as in jq.
pub(super) const DEPTH: usize = 10_000;

/// Cost of printing a value, in bytes. Short values take more time than their bytes.
const VALUE_COST: usize = 32;

/// Parses one JSON value.
///
/// # Errors
/// The reason, if the text is nested too deeply, or is not JSON.
pub(super) fn parse(text: &str) -> Result<Val, String> {
    if is_deeper(text, DEPTH) {
        return Err(format!("the value is nested deeper than {} levels", grouped(DEPTH as u64)));
    }
    read::parse_single(text.as_bytes()).map_err(|error| format!("cannot parse the value: {error}"))
}

/// Whether a JSON text has more than this many nested arrays and objects.
pub(super) fn is_deeper(text: &str, most: usize) -> bool {
    // Each level needs two brackets.
    if text.len() <= 2 * most {
        return false;
    }
    let (mut depth, mut in_string, mut bytes) = (0_usize, false, text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Appends a value as compact JSON. `grow` is called with the number of bytes before they are appended.
///
/// # Errors
/// The reason, if JSON has no such value: NaN, an infinite number, bytes that are not text, a key that is not a
/// string, or deep nesting.
pub(super) fn write(value: &Val, text: &mut String, grow: &dyn Fn(usize)) -> Result<(), String> {
    write_at(value, text, grow, 0)
}

fn write_at(
    value: &Val,
    text: &mut String,
    grow: &dyn Fn(usize),
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH {
        return Err(format!("the value is nested deeper than {} levels", grouped(DEPTH as u64)));
    }
    grow(VALUE_COST);
    match value {
        Val::Null => text.push_str("null"),
        Val::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Val::Num(number) => write_number(number, text, grow)?,
        Val::TStr(bytes) => write_text(bytes, text, grow)?,
        Val::BStr(_) => return Err("a string of bytes is not JSON".to_owned()),
        Val::Arr(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_at(item, text, grow, depth + 1)?;
            }
            text.push(']');
        }
        Val::Obj(members) => {
            text.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                let Val::TStr(key) = key else {
                    return Err(format!("the key {key} of an object is not a string"));
                };
                write_text(key, text, grow)?;
                text.push(':');
                write_at(value, text, grow, depth + 1)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn write_number(number: &Num, text: &mut String, grow: &dyn Fn(usize)) -> Result<(), String> {
    let start = text.len();
    if let Num::Float(float) = number
        && !float.is_finite()
    {
        return Err(format!("the number {number} is not JSON"));
    }
    if let Num::Dec(digits) = number {
        grow(digits.len());
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{number}");
    // The parser accepts more than JSON has, such as `+1`, `01` and `.5`.
    match serde_json::from_str::<&serde_json::value::RawValue>(&text[start..]) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the number {number} is not JSON")),
    }
}

fn write_text(bytes: &[u8], text: &mut String, grow: &dyn Fn(usize)) -> Result<(), String> {
    let string = str::from_utf8(bytes).map_err(|_| "a string is not UTF-8".to_owned())?;
    grow(string.len());
    write_string(string, text);
    Ok(())
}

/// Appends a string with quotes. Only what JSON requires is escaped.
pub(super) fn write_string(string: &str, text: &mut String) {
    text.push('"');
    let mut rest = string;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        text.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            // Writing to a string cannot fail.
            byte => drop(write!(text, "\\u{byte:04x}")),
        }
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
    text.push('"');
}
