//! The record of an export: its manifest and where it is, the facts in the metadata of each file, the time of
//! a snapshot.
//! Writes no files.

pub(crate) mod card;
pub(crate) mod earlier;
pub(crate) mod facts;
pub(crate) mod layout;
pub(crate) mod manifest;
mod names;
pub(crate) mod origin;
mod part;
pub(crate) mod place;
pub(crate) mod splits;
pub(crate) mod stamp;
pub(crate) mod written;

pub use self::{
    earlier::EarlierTransform,
    facts::digest,
    manifest::{Completeness, Manifest, Part, Tool},
    origin::{ConvertedFrom, Listed, SnapshotOf},
    stamp::Stamp,
    written::{WrittenCard, WrittenRange, WrittenSplit},
};
