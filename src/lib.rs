//! Export Overmind Lab datasets, every row once.

#[allow(dead_code, unused_imports)]
mod proof;
