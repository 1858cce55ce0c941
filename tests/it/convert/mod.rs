//! `convert`: the same rows in another format, layout or place, and what the record says of them.

mod crafted;
mod formats;
#[cfg(unix)]
mod interrupted;
mod keys;
mod nested;
mod recorded;
mod refused;
mod replaced;
mod shaped;
mod split;
#[cfg(feature = "clouds")]
mod stores;
mod unrecorded;

use overmind_export::demo::Options;
use serde_json::Value;

use crate::{
    rows,
    support::{Ran, World},
    transform,
};

/// File names of every format and of the codecs that a name can have.
const FILES: [&str; 8] = [
    "rows.parquet",
    "rows.arrow",
    "rows.jsonl",
    "rows.jsonl.gz",
    "rows.jsonl.zst",
    "rows.csv",
    "rows.csv.gz",
    "rows.csv.zst",
];

/// Rows with every case that must not change, and enough others for several batches.
fn hostile() -> Vec<String> {
    let mut all = rows::wire(&rows::hard());
    all.extend(transform::rows(1500));
    all
}

fn world(rows: Vec<String>) -> World {
    World::with_rows(Options::default(), rows)
}

/// Runs `convert` without an API: its address is closed, and there is no key.
fn run(world: &World, arguments: &[&str]) -> Ran {
    let mut command = crate::support::command(world.folder.path());
    command.env("OVERMIND_LAB_BASE_URL", "http://127.0.0.1:9");
    Ran::of(command.arg("convert").args(arguments))
}

/// Runs `convert` like [`run`], and returns its summary.
#[track_caller]
fn convert(world: &World, arguments: &[&str]) -> Value {
    let ran = run(world, &[&["-q", "--json"], arguments].concat()).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

#[track_caller]
fn export(world: &World, arguments: &[&str]) -> Value {
    let ran = world.export(&[&["-q", "--json"], arguments].concat()).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

#[track_caller]
fn verified(world: &World, name: &str) -> String {
    Ran::of(world.command().args(["verify", name])).ok().stdout
}

fn record(world: &World, name: &str) -> Value {
    serde_json::from_slice(&world.read(&format!("{name}.manifest.json"))).unwrap()
}
