//! Export Overmind Lab datasets, every row once.

pub mod demo;
