//! JSON columns as typed, nested Arrow columns: the types that hold all values, arrays from JSON text, and JSON text
//! from arrays.
//!
//! ```text
//!  JSON text of rows ──► inferred columns ──► types ──► builders ──► arrays ──► JSON text
//!                        (join, in any order)  └─ rules of the caller
//! ```
//!
//! A value never loses information. If no type holds the values of a node, the node stays JSON text with its original
//! tokens. Examples are an integer beyond 64 bits, a decimal that a double would change, a number beside a string, and
//! the same name twice. An object that is used as a map stays text, too: each of its keys would become a column. Null and
//! a missing member are the same. This module knows no files, formats or columns of the API.

mod build;
mod cursor;
mod given;
mod infer;
mod number;
mod paths;
mod resolve;
#[cfg(test)]
mod tests;
mod text;
mod types;

pub(crate) use self::{
    build::{Misfit, NestedBuilder},
    cursor::{JsonCursor, JsonKind, MalformedJson, RawString},
    infer::InferredColumn,
    paths::NestPath,
    resolve::{NestRules, resolve},
    text::{NestedValues, TextTooLong},
    types::{HOLDS_JSON, is_nested},
};
pub use self::{
    given::GivenSchema,
    types::{NestedField, NestedType},
};
