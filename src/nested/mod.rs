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
//! the same name twice. An object that is used as a map stays text, too: each of its keys would become a column. Null
//! and a missing member are the same. A value whose arrays or whose text would be too large for readers stays text, too.
//! Values that do not fit given types are taken out and put back by path
//! (`rescue.rs`, `restore.rs`); `widen.rs` finds the types that hold them, too. This module knows no files, formats or
//! columns of the API.

mod asked;
mod build;
mod columns;
mod cursor;
mod given;
mod infer;
mod number;
mod paths;
mod rescue;
mod resolve;
mod restore;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod widen;

pub(crate) use self::{
    build::{Misfit, NestedBuilder},
    columns::InferredColumns,
    cursor::{JsonCursor, JsonKind, MalformedJson, RawString},
    paths::NestPath,
    rescue::{MisfitValue, RESCUED, Rescue, RescuedPaths, recorded_types},
    resolve::NestRules,
    restore::{RescuedRow, WrongRescue},
    text::{LONGEST, NestedValues, TextTooLong},
    types::{HOLDS_JSON, is_nested, is_readable},
    widen::{expected_columns, widened},
};
pub use self::{
    given::GivenSchema,
    types::{NestedField, NestedType},
};
