//! Export Overmind Lab datasets, every row once.
mod batch;
mod budget;
mod client;
pub mod demo;
mod error;
mod paginator;
mod proof;
mod sink;
mod throttle;
pub use batch::*;
pub use client::*;
pub use error::*;
pub use paginator::*;
pub use sink::*;
pub use throttle::*;
