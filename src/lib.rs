//! Export Overmind Lab datasets, every row once.
mod budget;
mod client;
mod error;
#[allow(dead_code)]
mod proof;
#[allow(dead_code)]
mod throttle;
pub use client::*;
pub use error::*;
