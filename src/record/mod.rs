//! The record of an export: its manifest and where it is, the facts in the metadata of each file, the time of
//! a snapshot.
//! Writes no files.

pub(crate) mod facts;
pub(crate) mod manifest;
mod names;
mod part;
pub(crate) mod place;
pub(crate) mod stamp;

pub use self::{
    facts::digest,
    manifest::{Completeness, Listed, Manifest, Part, SnapshotOf, Tool, WrittenRange},
    stamp::Stamp,
};
