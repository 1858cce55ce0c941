//! Targets for fuzzers: functions that take any bytes, and panic if an invariant is broken.
//!
//! There is one target for each kind of bytes that come from outside. A target asserts more than the absence of
//! panics: what was parsed is written and parsed again, two ways to read the same bytes agree, and an error is the
//! typed error of damaged data. `tests/fuzz` runs the targets with libFuzzer. `cargo test` replays the corpora there.
//!
//! Targets that need the internals of a module are in that module.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken invariant ends the fuzzer"
)]

#[cfg(feature = "cli")]
mod files;
#[cfg(feature = "snapshots")]
mod record;
#[cfg(feature = "snapshots")]
mod text;

use crate::{client, convert, destination};

/// A name and its target.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets of this build. All features give all of them.
pub const TARGETS: &[FuzzTarget] = &[
    ("answer", client::fuzzing::answer),
    #[cfg(feature = "snapshots")]
    ("arguments", text::arguments),
    #[cfg(feature = "cli")]
    ("arrow", files::arrow),
    #[cfg(feature = "snapshots")]
    ("config", text::config),
    #[cfg(feature = "clouds")]
    ("control", destination::fuzzing::control),
    ("convert", convert::fuzzing::convert),
    #[cfg(feature = "cli")]
    ("csv", files::csv),
    ("headers", client::fuzzing::headers),
    ("journal", destination::fuzzing::journal),
    #[cfg(feature = "cli")]
    ("json_lines", files::json_lines),
    ("page", client::fuzzing::page),
    #[cfg(feature = "cli")]
    ("parquet", files::parquet),
    #[cfg(feature = "snapshots")]
    ("record", record::record),
    #[cfg(feature = "snapshots")]
    ("schedule", text::schedule),
];
