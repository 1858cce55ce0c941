//! What an export says about itself: the manifest beside its files, the facts inside them, the time of a
//! snapshot. Reads and writes no file.

pub(crate) mod facts;
pub(crate) mod manifest;
pub(crate) mod stamp;

pub use self::{
    manifest::{Completeness, Listed, Manifest, Part, SnapshotOf, Tool},
    stamp::Stamp,
};
