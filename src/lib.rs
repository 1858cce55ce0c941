//! Export Overmind Lab datasets, every row once.

#[allow(dead_code)]
mod throttle;

pub use throttle::{Concurrency, InFlight, InvalidConcurrency, InvalidRate, Rate};
